//! Unpacks and configures a closure in a machine, batch by batch, as dpkg would.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_debian::lock::LockedClosure;
use imgbuild_debian::unpack::{
    Batch, MERGED_USR_GUARD, ScriptCall, UnpackError, UnpackPlan, Unpacker, configure_command,
    remove_command, script_environment, unpack_command,
};
use imgbuild_engine::{ActionContext, ActionError, Command, Exit, Session};
use imgbuild_model::{Diagnostic, Stream};

use crate::resolve::{blocking, diagnostic};

/// How many lines of a failed script are shown with the error; all of them are in the log.
const LAST_LINES: usize = 15;

/// What is to be installed.
pub(super) struct Target<'a> {
    /// The packages.
    pub(super) closure: &'a LockedClosure,
    /// Their files, in the closure's order.
    pub(super) files: &'a [PathBuf],
    /// Debian's name of the image's architecture.
    pub(super) native: &'static str,
    /// Whether the root is empty.
    pub(super) bootstrap: bool,
}

/// Why an installation stopped.
pub(super) struct Failure {
    /// For the user.
    pub(super) error: ActionError,
    /// Whether what is there is worth a look.
    pub(super) keep_state: bool,
}

impl<E: Into<ActionError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), keep_state: false }
    }
}

/// Installs into one machine.
pub(super) struct Installer<'a> {
    context: &'a ActionContext,
    session: &'a mut dyn Session,
    unpacker: Arc<Unpacker>,
}

impl<'a> Installer<'a> {
    /// An installer for a machine whose files can be reached from outside.
    pub(super) fn new(
        context: &'a ActionContext,
        session: &'a mut dyn Session,
        native: &str,
    ) -> Result<Self, Failure> {
        let root = session.root().ok_or_else(|| {
            ActionError::input("packages cannot be installed by this builder: its files cannot be reached")
                .hint("use the `rootfs` builder")
        })?;
        let root = root.try_clone_to_owned()?;
        Ok(Self { context, session, unpacker: Arc::new(Unpacker::from_fd(root, native)) })
    }

    /// Does all of it.
    pub(super) async fn run(mut self, target: &Target<'_>) -> Result<(), Failure> {
        let plan = UnpackPlan::new(target.closure, target.files, target.bootstrap);
        let foreign: Vec<String> = target
            .closure
            .packages()
            .map(|package| package.architecture.clone())
            .filter(|architecture| architecture != target.native && architecture != "all")
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if target.bootstrap {
            let merged_usr = target.closure.packages().any(|package| package.name == MERGED_USR_GUARD);
            self.blocking(move |unpacker| unpacker.bootstrap(&foreign, merged_usr)).await?;
        } else {
            for architecture in foreign {
                // It is no error to add one that is there already.
                let argv = ["dpkg", "--add-architecture", &architecture].map(str::to_owned).to_vec();
                self.dpkg(argv, &format!("`dpkg --add-architecture {architecture}`")).await?;
            }
        }
        let guards = self.blocking(Unpacker::add_guards).await?;
        if !plan.remove.is_empty() {
            self.dpkg(remove_command(&plan.remove), "the removal of packages").await?;
        }
        let total = target.files.len() as u64;
        let mut done = 0;
        for batch in plan.batches {
            let count = batch.packages.len() as u64;
            self.context.progress("unpacking", done, total);
            self.batch(Arc::new(batch), done, total).await?;
            done += count;
        }
        self.context.progress("configuring", total, total);
        self.blocking(move |unpacker| {
            unpacker.remove_guards(guards)?;
            unpacker.clean()
        })
        .await
    }

    /// One batch: the scripts that come before, the files, the scripts that come after, the configuration. In an empty root
    /// no script can run before the files are there.
    async fn batch(&mut self, batch: Arc<Batch>, done: u64, total: u64) -> Result<(), Failure> {
        let replaces = {
            let batch = batch.clone();
            self.blocking(move |unpacker| Ok(!batch.bootstrap && unpacker.replaces(&batch)?)).await?
        };
        if replaces {
            self.upgrade(&batch).await?;
        } else {
            self.install(&batch).await?;
        }
        self.context.progress("configuring", done, total);
        self.dpkg(configure_command(), "the configuration of packages").await
    }

    /// A batch that takes the place of what is there: dpkg's own work.
    async fn upgrade(&mut self, batch: &Arc<Batch>) -> Result<(), Failure> {
        let batch = batch.clone();
        let files = self.blocking(move |unpacker| unpacker.stage_packages(&batch)).await?;
        self.dpkg(unpack_command(&files), "the unpacking of packages").await?;
        self.blocking(Unpacker::unstage_packages).await
    }

    /// A batch of packages that were not there.
    async fn install(&mut self, batch: &Arc<Batch>) -> Result<(), Failure> {
        if !batch.bootstrap {
            self.stage(batch).await?;
        }
        let unpacked = batch.clone();
        self.blocking(move |unpacker| unpacker.unpack_batch(&unpacked)).await?;
        if batch.bootstrap {
            self.stage(batch).await?;
        }
        self.blocking(Unpacker::unstage_scripts).await
    }

    async fn stage(&mut self, batch: &Arc<Batch>) -> Result<(), Failure> {
        let batch = batch.clone();
        let calls = self.blocking(move |unpacker| unpacker.stage_scripts(&batch)).await?;
        self.scripts(&calls).await
    }

    async fn scripts(&mut self, calls: &[ScriptCall]) -> Result<(), Failure> {
        for call in calls {
            let script = call.env.iter().find(|(name, _)| name == "DPKG_MAINTSCRIPT_NAME");
            let script = script.map_or("script", |(_, value)| value.as_str());
            let (exit, last) = self.exec(call.argv.clone(), call.env.iter().cloned().collect()).await?;
            if exit != Exit::Code(0) {
                let what = format!("`{script}` of package `{}`", call.package);
                return Err(failure(&format!("{what} {}", describe(exit)), &last));
            }
        }
        Ok(())
    }

    /// Runs dpkg; an error names the packages that it complains of.
    async fn dpkg(&mut self, argv: Vec<String>, what: &str) -> Result<(), Failure> {
        let (exit, last) = self.exec(argv, script_environment().into_iter().collect()).await?;
        if exit == Exit::Code(0) {
            return Ok(());
        }
        match blame(&last.lines) {
            Some(message) => Err(failure(&message, &last)),
            None => Err(failure(&format!("{what} {}", describe(exit)), &last)),
        }
    }

    async fn exec(
        &mut self,
        argv: Vec<String>,
        env: BTreeMap<String, String>,
    ) -> Result<(Exit, LastLines), Failure> {
        let command = Command { argv, env, ..Command::default() };
        let mut last = LastLines::default();
        let context = self.context;
        let mut on_line = |stream: Stream, line: &str| {
            last.push(line);
            context.line(stream, line);
        };
        let work = self.session.exec(&command, &mut on_line);
        let exit = context.cancel.unless_cancelled(work).await.ok_or(ActionError::Cancelled)??;
        Ok((exit, last))
    }

    /// Works on the files of the image. Such work is short and is not cut off, only not begun: a machine must not be taken
    /// down while it is written to.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Unpacker) -> Result<T, UnpackError> + Send + 'static,
    ) -> Result<T, Failure> {
        if self.context.cancel.is_cancelled() {
            return Err(ActionError::Cancelled.into());
        }
        let unpacker = self.unpacker.clone();
        let done = blocking(move || work(&unpacker)).await?;
        Ok(done.map_err(|error| diagnostic("debian", error))?)
    }
}

/// The end of a command's output.
#[derive(Default)]
struct LastLines {
    lines: VecDeque<String>,
}

impl LastLines {
    fn push(&mut self, line: &str) {
        // dpkg's complaint of one package may be followed by those of others, so more is kept than is shown.
        if self.lines.len() == 20 * LAST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    fn shown(&self) -> String {
        let skipped = self.lines.len().saturating_sub(LAST_LINES);
        self.lines.iter().skip(skipped).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

fn describe(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("ended with exit code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
    }
}

fn failure(message: &str, last: &LastLines) -> Failure {
    let mut diagnostic = Diagnostic::error(message);
    let lines = last.shown();
    if !lines.is_empty() {
        diagnostic = diagnostic.note(format!("its last lines were:\n{lines}"), None);
    }
    Failure {
        error: diagnostic.hint("`imgbuild shell --failed` opens a shell where it failed").into(),
        keep_state: true,
    }
}

/// The first package that dpkg complains of, and what about it.
///
/// dpkg writes `dpkg: error processing package NAME (--configure):` and, on the next line, the reason:
/// ` installed NAME package post-installation script subprocess returned error exit status 1`.
fn blame(lines: &VecDeque<String>) -> Option<String> {
    let mut lines = lines.iter();
    let package = lines.by_ref().find_map(|line| {
        let rest = line.strip_prefix("dpkg: error processing package ")?;
        rest.split(' ').next().map(str::to_owned)
    })?;
    let reason = lines.next().map(|line| line.trim().to_owned()).unwrap_or_default();
    let scripts = [
        ("pre-installation script", "preinst"),
        ("post-installation script", "postinst"),
        ("pre-removal script", "prerm"),
        ("post-removal script", "postrm"),
    ];
    let script = scripts.iter().find(|(words, _)| reason.contains(words)).map(|(_, script)| script);
    Some(match (script, reason.rsplit_once("exit status ")) {
        (Some(script), Some((_, code))) => {
            format!("`{script}` of package `{package}` ended with exit code {code}")
        }
        (Some(script), None) => format!("`{script}` of package `{package}` failed: {reason}"),
        (None, _) if reason.is_empty() => format!("package `{package}` cannot be configured"),
        (None, _) => format!("package `{package}` cannot be configured: {reason}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> VecDeque<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_failing_package_is_named() {
        let text = "Setting up bad (1) ...\nboom\ndpkg: error processing package bad (--configure):\n \
                    installed bad package post-installation script subprocess returned error exit status 7\n\
                    Errors were encountered while processing:\n bad\n";
        assert_eq!(blame(&lines(text)).unwrap(), "`postinst` of package `bad` ended with exit code 7");
        let text = "dpkg: error processing package a:amd64 (--configure):\n dependency problems - leaving unconfigured\n";
        assert_eq!(
            blame(&lines(text)).unwrap(),
            "package `a:amd64` cannot be configured: dependency problems - leaving unconfigured"
        );
        assert_eq!(blame(&lines("exec format error\n")), None);
    }

    #[test]
    fn an_error_ends_with_the_last_lines() {
        let mut last = LastLines::default();
        for number in 0..1000 {
            last.push(&format!("line {number}"));
        }
        let failure = failure("`preinst` of package `bad` ended with exit code 1", &last);
        assert!(failure.keep_state);
        let ActionError::Other(diagnostic) = failure.error else { panic!("another error") };
        assert_eq!(diagnostic.message, "`preinst` of package `bad` ended with exit code 1");
        let note = &diagnostic.notes[0].text;
        assert!(note.starts_with("its last lines were:\nline 985\n") && note.ends_with("line 999"), "{note}");
    }
}
