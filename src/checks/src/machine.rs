//! What is found in a machine, asked through its session.
//!
//! What only a running system knows (services that run, ports, processes, mounts, addresses) is asked on one that is
//! booted; of an image's files it is [`Problem::NotBooted`].

mod network;
mod packages;

use std::collections::BTreeMap;
use std::time::Duration;

use imgbuild_engine::{ActionError, Command, Exit, Session};
use imgbuild_model::Stream;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

pub(crate) use network::{Request, Response};
pub use packages::PackageManager;

/// Why something is not known.
#[derive(Debug)]
pub enum Problem {
    /// Only a booted system knows it.
    NotBooted(String),
    /// It cannot be found out.
    Unknown(String),
    /// The machine cannot be worked with any more.
    Machine(ActionError),
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Cancelled | ActionError::MachineLost(_) => Self::Machine(error),
            other => Self::Unknown(other.to_string()),
        }
    }
}

/// Something that was asked for.
pub type Fact<T> = Result<T, Problem>;

/// With what the commands of checks run.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Who runs them.
    pub user: Option<String>,
    /// Where.
    pub workdir: Option<String>,
    /// Whether they may use the network.
    pub network: bool,
}

/// A machine that is looked at.
pub struct Machine<'a> {
    pub(crate) session: &'a mut dyn Session,
    /// Whether its system runs, rather than being files alone.
    pub booted: bool,
    /// With what commands run.
    pub around: Surroundings,
    /// How its packages are kept; found out when first asked if absent.
    pub packages: Option<PackageManager>,
}

/// What a command wrote, and how it ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote.
    pub stdout: String,
    /// What it wrote to say what went wrong.
    pub stderr: String,
}

/// What stands at a path.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What goss calls it.
    pub kind: &'static str,
    /// Permission bits in octal, four digits.
    pub mode: String,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// What it says, as a link.
    pub target: Option<String>,
}

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its number.
    pub uid: i64,
    /// Its group's number.
    pub gid: i64,
    /// Its home.
    pub home: String,
    /// Its shell.
    pub shell: String,
}

impl<'a> Machine<'a> {
    /// A machine behind a session.
    pub fn new(session: &'a mut dyn Session, booted: bool, around: Surroundings) -> Self {
        Self { session, booted, around, packages: None }
    }

    pub(crate) fn needs_boot(&self, what: &str) -> Fact<()> {
        if self.booted {
            return Ok(());
        }
        Err(Problem::NotBooted(format!("{what} cannot be known: the image's system does not run here")))
    }

    /// A program of the machine with its arguments, in plain English, as the user who may see all.
    pub(crate) async fn run(&mut self, words: &[&str]) -> Fact<Ran> {
        self.run_with(words, None).await
    }

    /// The same with something to read, which is no argument for all to see.
    pub(crate) async fn run_with(&mut self, words: &[&str], stdin: Option<Vec<u8>>) -> Fact<Ran> {
        let command = Command {
            argv: words.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned())]),
            network: self.around.network,
            stdin,
            ..Command::default()
        };
        self.exec(&command).await
    }

    async fn exec(&mut self, command: &Command) -> Fact<Ran> {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let exit = self
            .session
            .exec(command, &mut |stream, line| {
                let text = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
                text.push_str(line);
                text.push('\n');
            })
            .await?;
        Ok(Ran { exit, stdout, stderr })
    }

    /// The standard output of a program that must succeed.
    pub(crate) async fn said(&mut self, words: &[&str]) -> Fact<String> {
        let ran = self.run(words).await?;
        if ran.exit == Exit::Code(0) {
            return Ok(ran.stdout);
        }
        let why = ran.stderr.lines().last().unwrap_or("it says nothing").to_owned();
        Err(Problem::Unknown(format!("`{}` failed: {why}", words.join(" "))))
    }

    /// Whether a program is there.
    pub(crate) async fn has_program(&mut self, name: &str) -> Fact<bool> {
        for folder in ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"] {
            if self.session.stat(&format!("{folder}/{name}")).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A line of the shell, as a check of the user's says it, with exactly what it wrote.
    pub(crate) async fn shell(&mut self, line: &str, limit: Duration) -> Fact<Ran> {
        // Output comes in lines: one more line end shows whether the last one had its own.
        const EXACT: &str = "sh -c \"$1\"; code=$?; echo; echo >&2; exit $code";
        let command = Command {
            argv: ["/bin/sh", "-c", EXACT, "sh", line].map(str::to_owned).to_vec(),
            env: self.around.env.clone(),
            user: self.around.user.clone(),
            workdir: self.around.workdir.clone(),
            network: self.around.network,
            ..Command::default()
        };
        let ran = tokio::time::timeout(limit, self.exec(&command)).await;
        let mut ran = ran.map_err(|_| {
            Problem::Unknown(format!("the command took longer than its timeout of {} ms", limit.as_millis()))
        })??;
        ran.stdout.pop();
        ran.stderr.pop();
        Ok(ran)
    }

    /// A file's bytes, links followed; `None` if it is not there.
    pub(crate) async fn bytes(&mut self, path: &str) -> Fact<Option<Vec<u8>>> {
        Ok(self.session.read(path).await?)
    }

    /// A file's text; empty if it is not there.
    pub(crate) async fn text(&mut self, path: &str) -> Fact<String> {
        let bytes = self.bytes(path).await?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A path with `~` and `~name` as the machine's accounts have them.
    pub(crate) async fn path(&mut self, path: &str) -> Fact<String> {
        let Some(rest) = path.strip_prefix('~') else { return Ok(path.to_owned()) };
        let (name, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let name = if name.is_empty() { "root" } else { name };
        match self.account(name).await? {
            Some(account) => Ok(format!("{}{below}", account.home.trim_end_matches('/'))),
            None => Err(Problem::Unknown(format!("there is no user `{name}`, whose home `{path}` is in"))),
        }
    }

    /// What stands at a path, links not followed.
    pub(crate) async fn entry(&mut self, path: &str) -> Fact<Option<Entry>> {
        let Some(stat) = self.session.stat(path).await? else { return Ok(None) };
        let kind = match (&stat.link_target, stat.is_directory) {
            (Some(_), _) => "symlink",
            (None, true) => "directory",
            (None, false) => self.kind(path).await?,
        };
        Ok(Some(Entry {
            kind,
            mode: format!("{:04o}", stat.mode),
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
            target: stat.link_target,
        }))
    }

    /// What something is that is neither a folder nor a link.
    async fn kind(&mut self, path: &str) -> Fact<&'static str> {
        if let Some(root) = self.session.root() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let relative = path.trim_start_matches('/');
            let found = rustix::fs::openat2(root, relative, flags, Mode::empty(), ResolveFlags::IN_ROOT)
                .and_then(|file| rustix::fs::statat(file, "", AtFlags::EMPTY_PATH));
            let found = found.map_err(|error| Problem::Unknown(format!("`{path}`: {error}")))?;
            return Ok(match FileType::from_raw_mode(found.st_mode) {
                FileType::CharacterDevice => "character-device",
                FileType::BlockDevice => "block-device",
                FileType::Fifo => "pipe",
                FileType::Socket => "socket",
                _ => "file",
            });
        }
        let said = self.said(&["stat", "-c", "%F", "--", path]).await?;
        Ok(match said.trim() {
            "character special file" => "character-device",
            "block special file" => "block-device",
            "fifo" => "pipe",
            "socket" => "socket",
            _ => "file",
        })
    }

    /// The fields of the line of `/etc/passwd` or `/etc/group` whose field `place` is this.
    async fn line_of(&mut self, file: &str, place: usize, value: &str) -> Fact<Option<Vec<String>>> {
        let text = self.text(file).await?;
        let mut lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
        Ok(lines.find(|fields| fields.get(place).is_some_and(|field| field == value)))
    }

    /// The name of a user or group by its number, or the number.
    pub(crate) async fn name(&mut self, file: &str, number: u32) -> Fact<String> {
        let line = self.line_of(file, 2, &number.to_string()).await?;
        Ok(line.and_then(|fields| fields.first().cloned()).unwrap_or_else(|| number.to_string()))
    }

    /// An account of `/etc/passwd`.
    pub(crate) async fn account(&mut self, name: &str) -> Fact<Option<Account>> {
        let Some(fields) = self.line_of("/etc/passwd", 0, name).await? else { return Ok(None) };
        let field = |place: usize| fields.get(place).cloned().unwrap_or_default();
        let number = |place: usize| field(place).parse().unwrap_or(-1);
        Ok(Some(Account { uid: number(2), gid: number(3), home: field(5), shell: field(6) }))
    }

    /// The number of a group.
    pub(crate) async fn group(&mut self, name: &str) -> Fact<Option<i64>> {
        let line = self.line_of("/etc/group", 0, name).await?;
        Ok(line.map(|fields| fields.get(2).and_then(|gid| gid.parse().ok()).unwrap_or(-1)))
    }

    /// The names of the groups that an account is in, sorted.
    pub(crate) async fn groups_of(&mut self, name: &str, primary: i64) -> Fact<Vec<String>> {
        let text = self.text("/etc/group").await?;
        let primary = primary.to_string();
        let mut names: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                let is_in = fields.get(2) == Some(&&*primary)
                    || fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name));
                is_in.then(|| fields[0].to_owned())
            })
            .collect();
        names.sort();
        Ok(names)
    }

    /// Whether a service is started at boot. An image whose system does not run is asked by its files.
    pub(crate) async fn is_enabled(&mut self, name: &str, runlevels: &[String]) -> Fact<bool> {
        let openrc = self.list("/etc/runlevels").await?;
        if !openrc.is_empty() {
            let wanted = if runlevels.is_empty() {
                vec!["default".to_owned(), "sysinit".to_owned(), "boot".to_owned()]
            } else {
                runlevels.to_vec()
            };
            for level in openrc.iter().filter(|level| wanted.contains(level)) {
                if self.list(&format!("/etc/runlevels/{level}")).await?.iter().any(|entry| entry == name) {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        if self.has_program("systemctl").await? {
            let words: &[&str] = if self.booted {
                &["systemctl", "--quiet", "is-enabled", "--", name]
            } else {
                &["systemctl", "--root=/", "--quiet", "is-enabled", "--", name]
            };
            if self.run(words).await?.exit == Exit::Code(0) {
                return Ok(true);
            }
        } else if self.is_wanted(name).await? {
            return Ok(true);
        }
        let levels = if runlevels.is_empty() { vec!["3".to_owned()] } else { runlevels.to_vec() };
        Ok(self.runlevels(name).await?.iter().any(|level| levels.contains(level)))
    }

    /// Whether a link below `/etc/systemd` or the vendor's wants a unit.
    async fn is_wanted(&mut self, name: &str) -> Fact<bool> {
        let unit = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
        for folder in ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"] {
            let below = self.list(folder).await?;
            for entry in
                below.iter().filter(|entry| entry.ends_with(".wants") || entry.ends_with(".requires"))
            {
                if self.list(&format!("{folder}/{entry}")).await?.contains(&unit) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The levels at which a service of System V's init is started.
    pub(crate) async fn runlevels(&mut self, name: &str) -> Fact<Vec<String>> {
        let mut found = Vec::new();
        for level in self.list("/etc/runlevels").await? {
            if self.list(&format!("/etc/runlevels/{level}")).await?.iter().any(|entry| entry == name) {
                found.push(level);
            }
        }
        for level in 0..=6 {
            let links = self.list(&format!("/etc/rc{level}.d")).await?;
            let is_start = |link: &String| {
                let Some(rest) = link.strip_prefix('S') else { return false };
                rest.len() > 2
                    && rest.is_char_boundary(2)
                    && rest[..2].parse::<u8>().is_ok()
                    && rest[2..] == *name
            };
            if links.iter().any(is_start) {
                found.push(level.to_string());
            }
        }
        Ok(found)
    }

    async fn list(&mut self, path: &str) -> Fact<Vec<String>> {
        Ok(self.session.list(path).await?)
    }

    /// Waits until all that is started at boot has been, where there is systemd and it comes to that within `limit`.
    ///
    /// # Errors
    /// If the machine cannot be worked with.
    pub async fn wait_for_boot(&mut self, limit: Duration) -> Fact<()> {
        if self.has_program("systemctl").await? && self.has_program("timeout").await? {
            let limit = limit.as_secs().to_string();
            // That something has failed is a code, and is for checks to find.
            self.run(&["timeout", &limit, "systemctl", "is-system-running", "--wait"]).await?;
        }
        Ok(())
    }

    /// What systemd says of a unit: `not-found`, `active (running)`, `failed (failed, exit-code)`.
    ///
    /// # Errors
    /// If there is no systemd.
    pub async fn unit_state(&mut self, name: &str) -> Fact<String> {
        let properties = "--property=LoadState,ActiveState,SubState,Result";
        let said = self.said(&["systemctl", "show", "--no-pager", properties, "--", name]).await?;
        let value = |property: &str| {
            let found = said.lines().find_map(|line| line.strip_prefix(property)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        let load = value("LoadState");
        if load != "loaded" {
            return Ok(load);
        }
        let (active, sub, result) = (value("ActiveState"), value("SubState"), value("Result"));
        Ok(match &*result {
            "" | "success" => format!("{active} ({sub})"),
            result => format!("{active} ({sub}, {result})"),
        })
    }

    /// Whether a service runs.
    ///
    /// # Errors
    /// If that cannot be known, as of a machine that is not booted.
    pub async fn is_running(&mut self, name: &str) -> Fact<bool> {
        self.needs_boot("whether a service runs")?;
        let words: &[&str] = if self.has_program("systemctl").await? {
            &["systemctl", "--quiet", "is-active", "--", name]
        } else if self.has_program("rc-service").await? {
            &["rc-service", name, "status"]
        } else {
            &["service", name, "status"]
        };
        Ok(self.run(words).await?.exit == Exit::Code(0))
    }

    /// Whether a process of that name runs.
    pub(crate) async fn has_process(&mut self, name: &str) -> Fact<bool> {
        self.needs_boot("whether a process runs")?;
        // Processes end while they are listed.
        let ran = self.run(&["/bin/sh", "-c", "cat /proc/[0-9]*/comm"]).await?;
        Ok(ran.stdout.lines().any(|line| line == name))
    }

    /// A parameter of the kernel.
    pub(crate) async fn kernel_param(&mut self, name: &str) -> Fact<String> {
        self.needs_boot("a parameter of the kernel")?;
        // `net.ipv4.conf.eth0/1.forwarding`: slashes and dots change places.
        let path: String = name
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        if path.split('/').any(|part| part == ".." || part.is_empty()) {
            return Err(Problem::Unknown(format!("`{name}` is no name of a parameter")));
        }
        let ran = self.run(&["cat", "--", &format!("/proc/sys/{path}")]).await?;
        match ran.exit {
            Exit::Code(0) => Ok(ran.stdout.trim_end_matches('\n').to_owned()),
            _ => Err(Problem::Unknown(format!("the kernel has no parameter `{name}`"))),
        }
    }
}
