//! Processes that outlive the program: how one is known for sure, and how a detached one is ended.
//!
//! For: identity by pid, start time and boot, and the undo of the kind `process`. Not for: children that are
//! waited for (their handle is enough) or what runs in a pid namespace of a step (it dies with the
//! namespace).

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{EffectKind, IdError, ResourceId, Undo, UndoError, UndoOutcome};

/// One process and no other: pids are used again, so its start time and the boot of the machine belong to it.
///
/// Written as `pid:start:boot`, which is also the id of the resource in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    pid: u32,
    /// In clock ticks since boot: field 22 of `/proc/<pid>/stat` (`proc(5)`).
    start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    boot_id: String,
}

impl ProcessIdentity {
    /// The identity of the process that has `pid` now; `None` if there is none, or only its unburied remains
    /// (a zombie).
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let Some(start_time) = running_since(pid)? else { return Ok(None) };
        Ok(Some(Self { pid, start_time, boot_id: boot_id()? }))
    }

    /// The identity of this process.
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id())?.ok_or_else(|| {
            io::Error::other("this process is not in `/proc`; is `/proc` of another pid namespace?")
        })
    }

    pub(super) fn from_parts(pid: u32, start_time: u64, boot_id: String) -> Self {
        Self { pid, start_time, boot_id }
    }

    /// Its pid, in the pid namespace of who asked for the identity.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it started, in clock ticks since boot.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// The boot of the machine during which it runs.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> io::Result<bool> {
        Ok(boot_id()? == self.boot_id && running_since(self.pid)? == Some(self.start_time))
    }
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.pid, self.start_time, self.boot_id)
    }
}

impl FromStr for ProcessIdentity {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let (pid, start_time) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let boot_id = parts.next().filter(|b| !b.is_empty())?.to_owned();
            Some(Self { pid, start_time, boot_id })
        };
        parse().ok_or_else(|| IdError {
            text: text.to_owned(),
            what: "the identity of a process",
            rule: "`pid:start:boot`",
        })
    }
}

impl From<&ProcessIdentity> for ResourceId {
    fn from(identity: &ProcessIdentity) -> Self {
        identity.to_string().parse().expect("an identity's text is never empty")
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The start time of the process with `pid`, unless there is none or it is dead and only waits for its
/// parent.
fn running_since(pid: u32) -> io::Result<Option<u64>> {
    let stat = match fs_err::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    parse_stat(&stat).ok_or_else(|| io::Error::other(format!("`/proc/{pid}/stat` is not of the known form")))
}

/// From the text of `/proc/<pid>/stat`; the outer `None` if it is malformed.
fn parse_stat(stat: &[u8]) -> Option<Option<u64>> {
    // The second field is the program's name in parentheses, which may itself hold spaces, parentheses and
    // bytes that are not UTF-8.
    let after_name = stat.iter().rposition(|&b| b == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?; // field 3
    let start_time = fields.nth(18)?.parse().ok()?; // field 22
    Some((!matches!(state, "Z" | "X" | "x")).then_some(start_time))
}

/// A process may end between any two reads: `ENOENT` before the file is opened, `ESRCH` after.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// A random mark in a detached process's environment, by which it and its children are found when their pid
/// was never written down.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessTag(String);

impl ProcessTag {
    /// The environment variable that holds the tag. It must be set for the process, as in
    /// `command.env(ProcessTag::VARIABLE, tag.as_str())`.
    pub const VARIABLE: &'static str = "IMGBUILD_PROCESS_TAG";

    /// A tag that no other process has.
    pub fn random() -> io::Result<Self> {
        Ok(Self(fs_err::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned()))
    }

    /// The value of the variable.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All processes of this user that carry the tag, but never the caller.
    fn carriers(&self) -> io::Result<Vec<ProcessIdentity>> {
        let mark = format!("{}={}", Self::VARIABLE, self.0);
        let mut found = Vec::new();
        for entry in fs_err::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if pid != std::process::id()
                && has_variable(&entry.path().join("environ"), mark.as_bytes())
                && let Some(identity) = ProcessIdentity::of(pid)?
            {
                found.push(identity);
            }
        }
        Ok(found)
    }
}

/// Processes of other users, or that have ended meanwhile, cannot be read and are not ours.
fn has_variable(environ: &Path, mark: &[u8]) -> bool {
    fs_err::read(environ).is_ok_and(|environ| environ.split(|&b| b == 0).any(|variable| variable == mark))
}

/// The intent of an effect of kind [`ProcessUndo::KIND`]; written down before the process is started. The id
/// of the resource is the process's [`ProcessIdentity`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIntent {
    /// The mark in its environment.
    pub tag: ProcessTag,
    /// What it is, for the user: `qemu for //images:web`.
    pub description: String,
}

/// Ends detached processes: asks, waits, kills; only those whose identity or tag matches.
#[derive(Clone, Copy, Debug)]
pub struct ProcessUndo {
    grace: Duration,
}

/// Why a process could not be ended.
#[derive(Debug, thiserror::Error)]
enum ProcessUndoError {
    #[error("the intent is not that of a process: {0}")]
    Intent(#[from] serde_json::Error),
    #[error(transparent)]
    Identity(#[from] IdError),
    #[error("cannot look at processes: {0}")]
    Look(#[from] io::Error),
    #[error("cannot signal process {pid} (`{description}`): {source}; end it yourself")]
    Signal { pid: u32, description: String, source: rustix::io::Errno },
    #[error(
        "process {pid} (`{description}`) does not end, not even when killed; it may wait for a device that is stuck"
    )]
    DoesNotEnd { pid: u32, description: String },
}

impl ProcessUndo {
    /// The kind of effect that this undoes.
    pub const KIND: EffectKind = EffectKind::from_static("process");
    /// How long a killed process may take to disappear.
    const AFTER_KILL: Duration = Duration::from_secs(10);
    /// How often it is looked whether a process has ended: cheap, and not noticed by a user who waits.
    const INTERVAL: Duration = Duration::from_millis(10);
    /// A killed process's child may have started another child just before; each round finds what the one
    /// before could not know.
    const ROUNDS: usize = 8;

    /// How long a process that was just forked may take to show an environment of its own.
    const STARTING: Duration = Duration::from_millis(50);

    /// Processes get `grace` to end by themselves before they are killed.
    pub fn new(grace: Duration) -> Self {
        Self { grace }
    }

    async fn end_all(
        &self,
        intent: &ProcessIntent,
        known: Option<ProcessIdentity>,
    ) -> Result<UndoOutcome, ProcessUndoError> {
        let mut outcome = UndoOutcome::AlreadyGone;
        let mut signal = Signal::TERM;
        let mut patience = self.grace;
        let mut survivors = Vec::new();
        // Only a process whose pid was never written down may be that young.
        let mut unseen = if known.is_none() { 2 } else { 0 };
        for _ in 0..Self::ROUNDS {
            let mut processes = intent.tag.carriers()?;
            if let Some(known) = &known
                && known.is_alive()?
                && !processes.contains(known)
            {
                processes.push(known.clone());
            }
            if processes.is_empty() {
                if unseen == 0 {
                    return Ok(outcome);
                }
                unseen -= 1;
                tokio::time::sleep(Self::STARTING).await;
                continue;
            }
            unseen = 0;
            outcome = UndoOutcome::Undone;
            for process in &processes {
                send(process, signal, &intent.description)?;
            }
            survivors = wait_until_ended(processes, patience).await?;
            (signal, patience) = (Signal::KILL, Self::AFTER_KILL);
        }
        match survivors.first() {
            None => Ok(outcome),
            Some(process) => Err(ProcessUndoError::DoesNotEnd {
                pid: process.pid,
                description: intent.description.clone(),
            }),
        }
    }
}

impl Default for ProcessUndo {
    fn default() -> Self {
        Self::new(Duration::from_secs(10))
    }
}

#[async_trait::async_trait]
impl Undo for ProcessUndo {
    fn kind(&self) -> &EffectKind {
        const { &Self::KIND }
    }

    async fn undo(
        &self,
        intent: &serde_json::Value,
        resource: Option<&ResourceId>,
    ) -> Result<UndoOutcome, UndoError> {
        let intent = ProcessIntent::deserialize(intent).map_err(ProcessUndoError::from)?;
        let known = resource.map(|r| r.as_str().parse()).transpose().map_err(ProcessUndoError::from)?;
        Ok(self.end_all(&intent, known).await?)
    }
}

/// Signals this very process: the descriptor holds on to whoever has the pid, and only then is it looked
/// whether that is the one.
fn send(process: &ProcessIdentity, signal: Signal, description: &str) -> Result<(), ProcessUndoError> {
    let failed =
        |source| ProcessUndoError::Signal { pid: process.pid, description: description.to_owned(), source };
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => descriptor,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !process.is_alive()? {
        return Ok(());
    }
    match pidfd_send_signal(&descriptor, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Those of `processes` that still run after `patience`.
async fn wait_until_ended(
    mut processes: Vec<ProcessIdentity>,
    patience: Duration,
) -> io::Result<Vec<ProcessIdentity>> {
    let deadline = Instant::now() + patience;
    loop {
        let mut alive = Vec::with_capacity(processes.len());
        for process in processes {
            if process.is_alive()? {
                alive.push(process);
            }
        }
        if alive.is_empty() || Instant::now() >= deadline {
            return Ok(alive);
        }
        processes = alive;
        tokio::time::sleep(ProcessUndo::INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn tagged(script: &str) -> (Child, ProcessIntent) {
        let tag = ProcessTag::random().unwrap();
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .env(ProcessTag::VARIABLE, tag.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        (child, ProcessIntent { tag, description: "a test".into() })
    }

    async fn undo(intent: &ProcessIntent, resource: Option<&ProcessIdentity>) -> UndoOutcome {
        let intent = serde_json::to_value(intent).unwrap();
        let resource = resource.map(ResourceId::from);
        ProcessUndo::new(Duration::from_millis(300)).undo(&intent, resource.as_ref()).await.unwrap()
    }

    #[test]
    fn identity_has_a_wire_form() {
        let me = ProcessIdentity::current().unwrap();
        assert_eq!(me.to_string().parse::<ProcessIdentity>().unwrap(), me);
        assert_eq!(me.pid(), std::process::id());
        assert!(me.is_alive().unwrap());
        for wrong in ["", "1", "1:2", "1:2:", "a:2:b", "-1:2:b"] {
            assert!(wrong.parse::<ProcessIdentity>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn odd_program_names_are_read() {
        let stat = |name: &str, state: &str| {
            parse_stat(
                format!("7 ({name}) {state} 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 0")
                    .as_bytes(),
            )
        };
        assert_eq!(stat("sh", "S"), Some(Some(4711)));
        assert_eq!(stat("a) R (b c", "S"), Some(Some(4711)));
        assert_eq!(stat("sh", "Z"), Some(None));
        assert_eq!(parse_stat(b"7 (\xff\xfe) S 1 7 7 0 -1 1 1 2 3 4 5 6 7 8 20 0 1 0 12 9"), Some(Some(12)));
        assert_eq!(parse_stat(b"7 (sh) S 1"), None);
    }

    #[test]
    fn another_start_or_boot_is_another_process() {
        let me = ProcessIdentity::current().unwrap();
        assert!(!ProcessIdentity { start_time: me.start_time + 1, ..me.clone() }.is_alive().unwrap());
        assert!(!ProcessIdentity { boot_id: "another".into(), ..me }.is_alive().unwrap());
    }

    #[test]
    fn a_dead_child_that_nobody_waited_for_is_not_alive() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while ProcessIdentity::of(child.id()).unwrap().is_some() {
            assert!(std::time::Instant::now() < deadline, "a zombie counts as alive");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_process_is_found_by_identity_and_by_tag() {
        for by_identity in [true, false] {
            let (mut child, intent) = tagged("echo ready; exec sleep 1000");
            io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
            let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
            let resource = by_identity.then_some(&identity);
            assert_eq!(undo(&intent, resource).await, UndoOutcome::Undone);
            assert!(!identity.is_alive().unwrap());
            assert_eq!(undo(&intent, resource).await, UndoOutcome::AlreadyGone, "idempotent");
            child.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_killed_with_its_children() {
        let (mut child, intent) =
            tagged("trap '' TERM; (trap '' TERM; sleep 1000) & echo ready; while :; do sleep 0.05; done");
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
        assert!(intent.tag.carriers().unwrap().len() >= 2);
        assert_eq!(undo(&intent, None).await, UndoOutcome::Undone);
        assert_eq!(intent.tag.carriers().unwrap(), []);
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_reused_pid_is_left_alone() {
        let (mut child, _) = tagged("exec sleep 1000");
        let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
        let earlier = ProcessIdentity { start_time: identity.start_time - 1, ..identity.clone() };
        let intent = ProcessIntent { tag: ProcessTag::random().unwrap(), description: String::new() };
        assert_eq!(undo(&intent, Some(&earlier)).await, UndoOutcome::AlreadyGone);
        assert!(identity.is_alive().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_foreign_intent_is_an_error() {
        let error = ProcessUndo::default().undo(&serde_json::json!({"path": "x"}), None).await.unwrap_err();
        assert!(error.to_string().starts_with("the intent is not that of a process: "), "{error}");
    }
}
