//! A command on the host, known to the journal before it starts.
//!
//! Nothing ties such a command to this program: killed, it would leave the command behind. So its mark is written down
//! first; at the end, however that came, all that carries it is ended, and what a killed program left is found by
//! `imgbuild cleanup`.

use std::process::Stdio;
use std::time::Duration;

use imgbuild_engine::journal::{
    self, CleanupOptions, EffectId, Journal, ProcessIdentity, ProcessIntent, ProcessTag, ProcessUndo,
    ResourceId, RunJournal, UndoRegistry, WorkspaceId,
};
use imgbuild_engine::{ActionContext, ActionError, Exit};
use imgbuild_model::Stream;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// How long what a command started may take to end once the command has.
const GRACE: Duration = Duration::from_secs(2);

/// How long what is interrupted has to clear up after itself before it is killed.
const INTERRUPTED: Duration = Duration::from_secs(10);

/// A command that runs. Dropped before its end, it is killed with the processes of its group; those that left the group
/// are `imgbuild cleanup`'s.
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

/// Takes each line of a command's output.
pub(crate) type OnLine<'a> = &'a (dyn Fn(Stream, &str) + Send + Sync);

/// Runs a command to its end, its output going to the action's log.
///
/// # Errors
/// If it cannot be started, or written down before.
pub(crate) async fn run(context: &ActionContext, command: &mut Command) -> Result<Exit, ActionError> {
    run_with(context, command, &|stream, line| context.line(stream, line)).await
}

/// The same, its output going where the caller says.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_with(
    context: &ActionContext,
    command: &mut Command,
    on_line: OnLine<'_>,
) -> Result<Exit, ActionError> {
    carry_out(context, command, on_line, false).await
}

/// Runs a command that has things of its own to clear up: it is interrupted when the run is cancelled, as by Ctrl-C, and
/// waited for, though not without a limit.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_interruptible(
    context: &ActionContext,
    command: &mut Command,
    on_line: OnLine<'_>,
) -> Result<Exit, ActionError> {
    carry_out(context, command, on_line, true).await
}

async fn carry_out(
    context: &ActionContext,
    command: &mut Command,
    on_line: OnLine<'_>,
    interruptible: bool,
) -> Result<Exit, ActionError> {
    let (run, effect) = write_down(context, command)?;
    let exit = run_known(context, command, on_line, interruptible, (&run, effect)).await;
    let registry = UndoRegistry::new().with(ProcessUndo::new(GRACE));
    run.undo_outstanding(&registry, &CleanupOptions::default()).await.map_err(unusable)?;
    run.finish().map_err(unusable)?;
    exit
}

fn write_down(context: &ActionContext, command: &mut Command) -> Result<(RunJournal, EffectId), ActionError> {
    let journal = Journal::open(context.cache.root().join(journal::FOLDER)).map_err(unusable)?;
    let workspace: WorkspaceId = context.workspace.to_string_lossy().parse().map_err(unusable)?;
    let run = journal.start_run(workspace).map_err(unusable)?;
    let tag = ProcessTag::random()?;
    command.env(ProcessTag::VARIABLE, tag.as_str()).env_remove(imgbuild_engine::ENTER_MARKER);
    let description = format!("{} of {}", context.node().describe(), context.node().label());
    let effect =
        run.record_intent(&ProcessUndo::KIND, &ProcessIntent { tag, description }).map_err(unusable)?;
    Ok((run, effect))
}

async fn run_known(
    context: &ActionContext,
    command: &mut Command,
    on_line: OnLine<'_>,
    interruptible: bool,
    (run, effect): (&RunJournal, EffectId),
) -> Result<Exit, ActionError> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).kill_on_drop(true).spawn();
    let child = child.map_err(|error| {
        let program = command.as_std().get_program().to_string_lossy();
        unusable(format!("`{program}` cannot be started: {error}"))
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut running = Running { child, group };
    if let Some(id) = running.child.id()
        && let Some(identity) = ProcessIdentity::of(id)?
    {
        run.record_done(effect, &ResourceId::from(&identity)).map_err(unusable)?;
    }
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    let output = async {
        tokio::try_join!(pass_on(on_line, Stream::Stdout, stdout), pass_on(on_line, Stream::Stderr, stderr))
    };
    if interruptible {
        let mut output = std::pin::pin!(output);
        if context.cancel.unless_cancelled(&mut output).await.transpose()?.is_none() {
            let signal = |signal| {
                if let Some(group) = group {
                    // Who has ended already cannot be told.
                    let _ = kill_process_group(group, signal);
                }
            };
            signal(Signal::INT);
            match tokio::time::timeout(INTERRUPTED, &mut output).await {
                Ok(ended) => _ = ended?,
                Err(_) => signal(Signal::KILL),
            }
        }
    } else {
        output.await?;
    }
    let status = running.child.wait().await?;
    // Its number is free for others now.
    running.group = None;
    use std::os::unix::process::ExitStatusExt as _;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    })
}

async fn pass_on(
    on_line: OnLine<'_>,
    stream: Stream,
    from: Option<impl AsyncRead + Unpin>,
) -> Result<(), ActionError> {
    let Some(from) = from else { return Ok(()) };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        on_line(stream, String::from_utf8_lossy(&line).trim_end_matches('\r'));
    }
    Ok(())
}

fn unusable(error: impl std::fmt::Display) -> ActionError {
    ActionError::environment(error.to_string())
}
