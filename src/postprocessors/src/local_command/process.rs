//! A process on the host that ends with this program's interest in it.

use std::io;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use imgbuild_model::{Class, Diagnostic};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::LocalContext;
use crate::context::{Voice, cancelled};

/// Knows processes before they start, so that what is left of them is found even if this program is killed.
pub trait ProcessJournal: Send + Sync {
    /// Writes down a process that is about to start. It may set variables by which the process is known.
    ///
    /// # Errors
    ///
    /// If it cannot be written down; the process is not started then.
    fn intend(&self, command: &mut Command, description: &str) -> io::Result<Box<dyn JournaledProcess>>;
}

/// A process that is written down.
#[async_trait]
pub trait JournaledProcess: Send {
    /// It has started.
    ///
    /// # Errors
    ///
    /// If that cannot be written down; the process is killed then.
    fn started(&mut self, id: u32) -> io::Result<()>;

    /// It has ended or was killed: what it left running is ended too, and the entry with it.
    ///
    /// # Errors
    ///
    /// If something cannot be ended.
    async fn ended(self: Box<Self>) -> io::Result<()>;
}

/// A process that runs. Dropped before its end, it is killed with the processes of its group.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Who has ended already cannot be killed.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a command to its end; what comes out is its exit code, or else the signal that ended it.
pub(super) async fn run(
    context: &LocalContext,
    command: &[String],
    script: &str,
) -> Result<Result<i32, i32>, Diagnostic> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Diagnostic::error("`execute_command` is empty").hint("name a program"));
    };
    if context.cancel.is_cancelled() {
        return Err(cancelled());
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&context.folder).env("PACKER_RUN_UUID", &context.run_uuid);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let journal = Arc::clone(&context.journal);
    let description = format!("`{script}` of the build `{}`", context.build_name);
    let mut entry = journal.intend(&mut command, &description).map_err(|error| unknown(script, &error))?;
    let exit = tokio::select! {
        exit = run_known(context, &mut command, entry.as_mut(), program, script) => exit,
        () = context.cancel.cancelled() => Err(cancelled()),
    };
    // By now it has ended or was dropped and killed.
    let ended = entry.ended().await.map_err(|error| {
        Diagnostic::error(format!("what `{script}` left running could not be ended: {error}"))
            .class(Class::Environment)
    });
    let exit = exit?;
    ended?;
    Ok(exit)
}

async fn run_known(
    context: &LocalContext,
    command: &mut Command,
    entry: &mut dyn JournaledProcess,
    program: &str,
    script: &str,
) -> Result<Result<i32, i32>, Diagnostic> {
    let child = command.spawn().map_err(|error| {
        Diagnostic::error(format!("cannot start `{program}`: {error}"))
            .class(Class::Environment)
            .hint("check `execute_command`")
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut running = Running { child, group };
    if let Some(id) = running.child.id() {
        entry.started(id).map_err(|error| unknown(script, &error))?;
    }
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    let read = tokio::try_join!(pass_on(context, Voice::Say, stdout), pass_on(context, Voice::Error, stderr));
    let lost =
        |error: io::Error| Diagnostic::error(format!("lost `{script}`: {error}")).class(Class::Environment);
    read.map_err(lost)?;
    let status = running.child.wait().await.map_err(lost)?;
    // Its number is free for others now.
    running.group = None;
    use std::os::unix::process::ExitStatusExt as _;
    Ok(status.code().ok_or_else(|| status.signal().unwrap_or_default()))
}

async fn pass_on(
    context: &LocalContext,
    voice: Voice,
    from: Option<impl AsyncRead + Unpin>,
) -> io::Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        (context.output)(voice, String::from_utf8_lossy(&line).trim_end_matches('\r'));
    }
    Ok(())
}

fn unknown(script: &str, error: &io::Error) -> Diagnostic {
    Diagnostic::error(format!("the journal cannot note `{script}`: {error}")).class(Class::Environment)
}
