//! A connection as the engine's session: what steps do in a machine, said in commands and transfers.
//!
//! Whatever a step is given is copied into a folder of its own below `/tmp` for the length of a command. Files belong to who
//! is logged in, and to the `owner` of a step where that is root. What only a file system that lies open can do (accounts,
//! the seal, other images) is refused.

use std::fmt::Write as _;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use imgbuild_engine::{
    ActionError, Command, ConnectionFacts, Exit, FileOperation, OnLine, Reboot, Session, Stat,
};
use imgbuild_model::Stream;

use crate::{Connection, Error, Stdin, quote};

/// How long a machine that went away may take to come back before a command, as Packer's `start_retry_timeout`.
const START_RETRY: Duration = Duration::from_secs(5 * 60);
/// How long is waited between two tries.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How a machine is started anew where a step does not say it.
const REBOOT: &str = "systemctl reboot 2>/dev/null || reboot || shutdown -r now";
/// Who `owner` is where a step does not say it.
const ROOT: &str = "root:root";

/// A machine that is connected.
pub struct SshSession {
    connection: Connection,
    folder: String,
    login: Option<LoggedIn>,
    /// What was copied into the machine for a command, and is still to be taken away.
    shown: Vec<String>,
}

/// Who is logged in.
#[derive(Clone, Debug)]
struct LoggedIn {
    is_root: bool,
    home: String,
}

impl SshSession {
    /// Of a connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            folder: format!("/tmp/imgbuild-{}", uuid::Uuid::new_v4().simple()),
            login: None,
            shown: Vec::new(),
        }
    }

    /// What it goes over.
    #[must_use]
    pub fn ssh(&self) -> &Connection {
        &self.connection
    }

    async fn login(&mut self) -> Result<LoggedIn, ActionError> {
        if let Some(login) = &self.login {
            return Ok(login.clone());
        }
        let said = self.said(r#"id -u && printf '%s\n' "$HOME""#).await?;
        let mut lines = said.lines();
        let login = LoggedIn {
            is_root: lines.next() == Some("0"),
            home: lines.next().filter(|home| home.starts_with('/')).unwrap_or("/").to_owned(),
        };
        self.login = Some(login.clone());
        Ok(login)
    }

    /// A path of the machine without `~/`.
    async fn path(&mut self, path: &str) -> Result<String, ActionError> {
        Ok(match path.strip_prefix("~/") {
            Some(below) => format!("{}/{below}", self.login().await?.home.trim_end_matches('/')),
            None => path.to_owned(),
        })
    }

    /// Runs a command of this module's own; gives how it ended and what it said.
    async fn run(&self, line: &str) -> Result<(crate::Exit, String, String), ActionError> {
        let (mut out, mut problems) = (String::new(), String::new());
        let exit = self
            .connection
            .exec_with(line, Stdin::Empty, false, &mut |stream, line| {
                let text = if stream == Stream::Stdout { &mut out } else { &mut problems };
                text.push_str(line);
                text.push('\n');
            })
            .await?;
        Ok((exit, out, problems))
    }

    /// What a command of this module's own says, if it succeeds.
    async fn said(&self, line: &str) -> Result<String, ActionError> {
        let (exit, out, problems) = self.run(line).await?;
        if exit.is_success() {
            return Ok(out);
        }
        let address = self.connection.settings().address();
        let why = problems.lines().next().map_or_else(|| exit.to_string(), str::to_owned);
        Err(ActionError::environment(format!("`{line}` failed on {address}: {why}")))
    }

    /// Gives what was put at a path to somebody, which only root can.
    async fn give(&mut self, path: &str, owner: &str) -> Result<(), ActionError> {
        if owner == ROOT {
            return Ok(());
        }
        self.said(&format!("chown -hR {} {}", quote(owner), quote(path))).await.map(drop)
    }

    async fn apply_one(&mut self, operation: FileOperation) -> Result<(), ActionError> {
        match operation {
            FileOperation::Write { path, content, mode, owner } => {
                let path = self.path(&path).await?;
                self.make_way(&path).await?;
                self.connection.upload_bytes(&content, &path, mode).await?;
                self.give(&path, &owner).await
            }
            FileOperation::CopyFile { source, path, mode, owner } => {
                let mut path = self.path(&path).await?;
                if self.is_folder(&path).await? {
                    let name = source.file_name().unwrap_or_default().to_string_lossy();
                    path = format!("{}/{name}", path.trim_end_matches('/'));
                }
                self.make_way(&path).await?;
                self.connection.upload_file(&source, &path, Some(mode)).await?;
                self.give(&path, &owner).await
            }
            FileOperation::CopyTree { source, path, mode, owner } => {
                let path = self.path(&path).await?;
                self.make_way(&path).await?;
                self.connection.upload_folder(&source, &path).await?;
                if let Some(mode) = mode {
                    self.said(&format!("find {} -type f -exec chmod {mode:o} {{}} +", quote(&path))).await?;
                }
                self.give(&path, &owner).await
            }
            FileOperation::MakeDirectory { path, mode, owner } => {
                let path = self.path(&path).await?;
                let word = quote(&path);
                self.said(&format!("mkdir -p {word} && chmod {mode:o} {word}")).await?;
                self.give(&path, &owner).await
            }
            FileOperation::Symlink { target, path, owner } => {
                let path = self.path(&path).await?;
                self.make_way(&path).await?;
                self.said(&format!("ln -sfn {} {}", quote(&target), quote(&path))).await?;
                self.give(&path, &owner).await
            }
            FileOperation::Remove { path, missing_ok } => {
                let found = self.matching(&path).await?;
                if found.is_empty() && !missing_ok {
                    return Err(ActionError::input(format!("`{path}` matches nothing on the machine"))
                        .hint("`missing_ok = True` allows it"));
                }
                for path in found {
                    self.said(&format!("rm -rf {}", quote(&path))).await?;
                }
                Ok(())
            }
            FileOperation::AddUser(_) | FileOperation::AddGroup { .. } | FileOperation::Unit { .. } => {
                Err(ActionError::input("accounts and units are not made over SSH yet")
                    .hint("make them by commands in a `shell` step"))
            }
            FileOperation::CopyFrom { .. } | FileOperation::Seal | FileOperation::PowerOff => {
                Err(ActionError::input("this cannot be done to a machine that is reached over SSH"))
            }
        }
    }

    /// Makes the folders above a path.
    async fn make_way(&mut self, path: &str) -> Result<(), ActionError> {
        match path.trim_end_matches('/').rsplit_once('/') {
            None | Some(("", _)) => Ok(()),
            Some((folder, _)) => self.said(&format!("mkdir -p {}", quote(folder))).await.map(drop),
        }
    }

    async fn is_folder(&self, path: &str) -> Result<bool, ActionError> {
        Ok(self.run(&format!("test -d {}", quote(path))).await?.0.is_success())
    }

    /// The paths that a pattern matches; only what the shell itself takes for a sign of a pattern is one.
    async fn matching(&mut self, pattern: &str) -> Result<Vec<String>, ActionError> {
        let pattern = self.path(pattern).await?;
        let line = format!(
            r#"for one in {}; do if test -e "$one" || test -L "$one"; then printf '%s\n' "$one"; fi; done"#,
            pattern_word(&pattern)
        );
        Ok(self.said(&line).await?.lines().map(str::to_owned).collect())
    }

    /// Copies what a command is shown into the machine.
    async fn show(&mut self, command: &Command) -> Result<(), ActionError> {
        for bind in &command.binds {
            let target = self.path(&bind.target).await?;
            if !bind.leave && !self.shown.contains(&target) {
                self.shown.push(target.clone());
            }
            if self.connection.upload_small(&bind.source, &target).await? {
                continue;
            }
            self.make_way(&target).await?;
            if bind.source.is_dir() {
                self.connection.upload_folder(&bind.source, &target).await?;
            } else {
                self.connection.upload_file(&bind.source, &target, None).await?;
            }
        }
        Ok(())
    }

    /// The same, also of a machine that goes away meanwhile and comes back: nothing has run yet.
    async fn show_at_last(&mut self, command: &Command) -> Result<(), ActionError> {
        let began = Instant::now();
        loop {
            match self.show(command).await {
                Err(problem) if began.elapsed() < START_RETRY && self.connection.is_lost().await => {
                    tracing::debug!(%problem, "the machine went away before the command ran");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                shown => return shown,
            }
        }
    }

    /// Says goodbye, once what commands were shown is taken away.
    pub async fn end(mut self) {
        self.take_away().await;
        self.connection.disconnect().await;
    }

    /// Takes away what commands were shown, also those that were cut short. That it stays is nothing that a step could fail of:
    /// the machine may be gone.
    pub async fn take_away(&mut self) {
        if self.shown.is_empty() || self.connection.is_lost().await {
            return;
        }
        let targets: Vec<_> = self.shown.iter().map(|target| quote(target)).collect();
        match self.said(&format!("rm -rf {}", targets.join(" "))).await {
            Ok(_) => self.shown.clear(),
            Err(problem) => tracing::warn!(%problem, "what a step was given stays on the machine"),
        }
    }

    /// The line for the machine's shell.
    async fn line(&mut self, command: &Command) -> Result<String, ActionError> {
        if !command.secrets.is_empty() {
            return Err(ActionError::input("`secrets` are not given to machines over SSH yet")
                .hint("give them as sensitive variables"));
        }
        let mut line = String::new();
        if let Some(folder) = &command.workdir {
            let _ = write!(line, "cd {} && ", quote(folder));
        }
        if let Some(user) = &command.user {
            if !self.login().await?.is_root {
                return Err(ActionError::input(format!("only root can run commands as `{user}`"))
                    .hint("log in as that user, or call `sudo` in the step"));
            }
            let _ = write!(line, "runuser -u {} -- ", quote(user));
        }
        if !command.env.is_empty() {
            line.push_str("env ");
            for (name, value) in &command.env {
                let _ = write!(line, "{} ", quote(&format!("{name}={value}")));
            }
        }
        let words: Vec<_> = command.argv.iter().map(|word| quote(word)).collect();
        line.push_str(&words.join(" "));
        Ok(line)
    }
}

/// A word that a shell expands as a pattern, with all else in it quoted.
fn pattern_word(pattern: &str) -> String {
    let (mut word, mut plain) = (String::new(), String::new());
    for sign in pattern.chars() {
        if matches!(sign, '*' | '?' | '[' | ']') {
            if !plain.is_empty() {
                word.push_str(&quote(&std::mem::take(&mut plain)));
            }
            word.push(sign);
        } else {
            plain.push(sign);
        }
    }
    if !plain.is_empty() || word.is_empty() {
        word.push_str(&quote(&plain));
    }
    word
}

impl From<Error> for ActionError {
    fn from(error: Error) -> Self {
        error.diagnostic().into()
    }
}

/// How a command ended, as the engine says it.
fn as_engine(exit: crate::Exit) -> Result<Exit, ActionError> {
    match exit {
        crate::Exit::Code(code) => Ok(Exit::Code(i32::try_from(code).unwrap_or(i32::MAX))),
        crate::Exit::Signal(signal) => match signal.number() {
            Some(number) => Ok(Exit::Signal(number)),
            None => Err(ActionError::input(format!("it was ended by signal `{signal}`"))),
        },
    }
}

/// The error of a command that had begun.
fn of_command(error: Error) -> ActionError {
    match error {
        Error::Lost { .. } | Error::NoExit(_) => ActionError::MachineLost(Box::new(error.diagnostic())),
        other => other.into(),
    }
}

#[async_trait]
impl Session for SshSession {
    async fn exec(&mut self, command: &Command, on_line: OnLine<'_>) -> Result<Exit, ActionError> {
        let line = self.line(command).await?;
        if command.interactive {
            let line = (!command.argv.is_empty()).then_some(&*line);
            return as_engine(self.connection.enter(line).await.map_err(of_command)?);
        }
        let ended = match self.show_at_last(command).await {
            Ok(()) => {
                let stdin = command.stdin.as_deref().map_or(Stdin::Empty, Stdin::Bytes);
                self.connection.exec(&line, stdin, on_line).await.map_err(of_command)
            }
            Err(error) => Err(error),
        };
        self.take_away().await;
        as_engine(ended?)
    }

    async fn apply(&mut self, operations: Vec<FileOperation>) -> Result<(), ActionError> {
        for operation in operations {
            self.apply_one(operation).await?;
        }
        Ok(())
    }

    async fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, ActionError> {
        let path = &self.path(path).await?;
        if !self.run(&format!("test -e {}", quote(path))).await?.0.is_success() {
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("file");
        self.connection.download_file(path, &file).await?;
        Ok(Some(fs_err::read(file)?))
    }

    async fn stat(&mut self, path: &str) -> Result<Option<Stat>, ActionError> {
        let word = quote(&self.path(path).await?);
        let line = format!(
            "if test -e {word} || test -L {word}; then stat -c '%f %u %g %s' {word} && readlink {word}; fi; true"
        );
        let said = self.said(&line).await?;
        let mut lines = said.lines();
        let Some(numbers) = lines.next() else { return Ok(None) };
        let numbers: Vec<&str> = numbers.split(' ').collect();
        let mode = numbers.first().and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or_default();
        let number = |place: usize| numbers.get(place).and_then(|text: &&str| text.parse().ok());
        Ok(Some(Stat {
            mode: mode & 0o7777,
            uid: number(1).unwrap_or_default(),
            gid: number(2).unwrap_or_default(),
            size: numbers.get(3).and_then(|text| text.parse().ok()).unwrap_or_default(),
            link_target: lines.next().map(str::to_owned),
            is_directory: mode & 0o170_000 == 0o040_000,
        }))
    }

    async fn list(&mut self, path: &str) -> Result<Vec<String>, ActionError> {
        let word = quote(&self.path(path).await?);
        let said = self.said(&format!("if test -d {word}; then ls -1A {word}; fi")).await?;
        let mut names: Vec<String> = said.lines().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    async fn download(&mut self, pattern: &str, folder: &Path) -> Result<Vec<String>, ActionError> {
        let mut names = Vec::new();
        for path in self.matching(pattern).await? {
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
            if self.is_folder(&path).await? {
                self.connection.download_folder(&path, &folder.join(&name)).await?;
            } else {
                self.connection.download_file(&path, &folder.join(&name)).await?;
            }
            names.push(name);
        }
        Ok(names)
    }

    async fn identity(&mut self, owner: &str) -> Result<(u32, u32), ActionError> {
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let group = if group.is_empty() { format!("id -g {}", quote(user)) } else { group_line(group) };
        let said = self.said(&format!("id -u {} && {group}", quote(user))).await?;
        let numbers: Vec<u32> = said.lines().filter_map(|line| line.trim().parse().ok()).collect();
        match numbers.as_slice() {
            [user, group] => Ok((*user, *group)),
            _ => Err(ActionError::input(format!("there is no user or group `{owner}` on the machine"))),
        }
    }

    async fn connection(&mut self) -> Result<Option<ConnectionFacts>, ActionError> {
        self.connection.settle().await?;
        Ok(Some(self.connection.facts()))
    }

    async fn reboot(&mut self, reboot: &Reboot) -> Result<(), ActionError> {
        let before = self.connection.boot_id().await?;
        let line = match &reboot.command {
            Some(line) => line.clone(),
            None if self.login().await?.is_root => REBOOT.to_owned(),
            None => format!("sudo -n sh -c {}", quote(REBOOT)),
        };
        let mut last = String::new();
        let told = self
            .connection
            .exec(&line, Stdin::Empty, &mut |_, line| {
                if !line.trim().is_empty() {
                    line.clone_into(&mut last);
                }
            })
            .await;
        match told {
            // It may go down before it can say how the command ended, and takes the command with it.
            Ok(crate::Exit::Code(0) | crate::Exit::Signal(_))
            | Err(Error::Lost { .. } | Error::NoExit(_)) => {}
            Ok(crate::Exit::Code(code)) => {
                let why = if last.is_empty() { format!("exit code {code}") } else { last };
                return Err(ActionError::input(format!("`{line}` did not start the machine anew: {why}"))
                    .hint("`command` says how it is done there"));
            }
            Err(error) => return Err(error.into()),
        }
        // What was shown to commands was in a folder for temporary files.
        self.connection.wait_for_reboot(before.as_deref(), reboot.limit).await?;
        Ok(())
    }

    fn root(&mut self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn step_folder(&self) -> String {
        self.folder.clone()
    }
}

/// The line that says a group's number.
fn group_line(group: &str) -> String {
    match group.parse::<u32>() {
        Ok(number) => format!("echo {number}"),
        Err(_) => format!("getent group {} | cut -d: -f3", quote(group)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_quoted_but_for_their_signs() {
        for (pattern, expected) in [
            ("/a b/*.log", "'/a b/'*'.log'"),
            ("/plain", "'/plain'"),
            ("/x/$(rm)/[ab]?", "'/x/$(rm)/'['ab']?"),
        ] {
            assert_eq!(pattern_word(pattern), expected);
        }
    }
}
