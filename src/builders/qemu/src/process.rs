//! A machine that runs: how it is started, known to be up, listened to and ended.
//!
//! For: one QEMU as a child in a process group and a folder of its own, spoken to over a socket that it inherits, which
//! nobody else can open and which needs no path. It ends with this program, however that ends. Not for: what the guest is
//! asked to do, and the journal: who calls gives marks for the environment and gets the pid before the machine is waited for.

mod failure;
pub(crate) mod leash;
mod output;
mod ports;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use imgbuild_digest::Digest;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

pub use failure::Cause;
use output::Tail;
pub use ports::free_port;

use crate::memory::GuestMemory;
use crate::qmp::{EventKind, Forward, MemoryLies, Qmp, QmpError, StateFile};
use crate::spec::{HostPort, MachineSpec, Serial, SpecError, Wiring};

/// How often the power button is pressed again: a guest that still boots does not notice the first time.
const PRESS_AGAIN: Duration = Duration::from_secs(5);

/// How long QEMU may take to end once it was told to: it flushes disks.
const QUIT: Duration = Duration::from_secs(10);

/// How often a file is looked at that QEMU writes.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often it is looked whether a guest has given up.
const LOOK: Duration = Duration::from_secs(1);

/// What Linux writes on its console when it gives up (`kernel/panic.c`).
const PANIC: &str = "Kernel panic - not syncing";

/// In how many of the last lines of the console that is looked for: a trace follows it.
const PANIC_LINES: usize = 200;

/// How many lines of the guest's console an error has.
const CONSOLE_LINES: usize = 20;

/// Which machine is started, and where.
#[derive(Clone)]
pub struct Launch {
    /// The emulator, as a path.
    pub program: PathBuf,
    /// The machine.
    pub spec: MachineSpec,
    /// Where the machine's own folder is made, with its sockets and its console; a short absolute path, because sockets have
    /// short names.
    pub folder: PathBuf,
    /// Where relative paths in a template's own switches start; this program's working folder if absent.
    pub working_folder: Option<PathBuf>,
    /// Further environment variables of the child, such as marks by which it is found again.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether the processors stand still until they are told to run, as is right before a snapshot is loaded.
    pub paused: bool,
    /// Whether what it is comes from a stream ([`Machine::load_state`]), before which nothing runs.
    pub incoming: bool,
    /// What its memory holds as it is started, where that lies beside QEMU; nothing if absent.
    pub memory: Option<Arc<GuestMemory>>,
}

impl Launch {
    /// A machine that runs from its start, with nothing of its own around it and its folder among the temporary ones.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, spec: MachineSpec) -> Self {
        Self {
            program: program.into(),
            spec,
            folder: std::env::temp_dir(),
            working_folder: None,
            environment: Vec::new(),
            paused: false,
            incoming: false,
            memory: None,
        }
    }
}

impl std::fmt::Debug for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What variables hold may be secret.
        let variables: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("spec", &self.spec)
            .field("folder", &self.folder)
            .field("working_folder", &self.working_folder)
            .field("environment", &variables)
            .field("paused", &self.paused)
            .field("incoming", &self.incoming)
            .field("memory", &self.memory)
            .finish()
    }
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot be described to QEMU.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is no folder for it.
    #[error("cannot make a folder for the machine in `{}`: {source}", .folder.display())]
    Folder {
        /// In which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no memory for it.
    #[error("this host gives no memory for the machine: {0}")]
    Memory(io::Error),
    /// What it is to be started with is the memory of another.
    #[error("the memory has {given} bytes, and the machine {size}")]
    OtherMemory {
        /// How much was given.
        given: u64,
        /// How much the machine has.
        size: u64,
    },
    /// A machine that goes on is given no memory, or another where none lies beside QEMU.
    #[error("a machine is given memory to go on with where that lies beside QEMU, and only there")]
    MisplacedMemory,
    /// The process was not made.
    #[error("cannot start `{}`: {source}", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// QEMU ended before it could be spoken to.
    #[error("QEMU ended as it started ({status}): {cause}{}", shown("it said", .stderr))]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What the reason seems to be.
        cause: Cause,
        /// The last of what it wrote on standard error.
        stderr: String,
    },
    /// QEMU runs and cannot be spoken to.
    #[error("QEMU runs but does not answer: {source}{}", shown("it said", .stderr))]
    Silent {
        /// Why.
        source: QmpError,
        /// The last of what it wrote on standard error.
        stderr: String,
    },
    /// A port cannot be forwarded for another reason than that it is taken.
    #[error("cannot forward a port to the guest: {0}; is `-netdev` among the `qemuargs`?")]
    Forward(QmpError),
    /// All ports of a range are taken.
    #[error(
        "each port from {first} to {last} of this host is taken; widen `host_port_min` to `host_port_max`"
    )]
    PortsTaken {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
}

impl StartError {
    /// Whether another attempt with another port would do.
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { cause: Cause::PortTaken { .. }, .. })
    }
}

/// A machine died that was needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("QEMU ended ({status}){}{}", shown("it said", .stderr), shown("the guest's console ends with", .console))]
pub struct Died {
    /// How it ended.
    pub status: ExitStatus,
    /// The last of what it wrote on standard error.
    pub stderr: String,
    /// The last lines of the guest's first serial port.
    pub console: String,
}

fn shown(what: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("; {what}:\n{text}") }
}

/// How a machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest switched itself off.
    PoweredDown,
    /// QEMU was told to end, because the guest did not in time.
    Quit,
    /// QEMU did not end when told to, and was killed.
    Killed,
}

/// QEMU's process, which may not yet listen.
#[derive(Debug)]
pub struct Starting {
    running: Running,
    monitor: UnixStream,
    ranges: Vec<(usize, u16, u16, u16)>,
}

/// What there is of a machine besides its control socket.
#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    /// What is held on to: when it closes, the process group is killed and the folder goes.
    _leash: Option<ChildStdin>,
    stderr: Tail,
    wiring: Wiring,
    serial: Serial,
    memory: Option<Arc<GuestMemory>>,
    folder: TempDir,
}

impl Launch {
    /// Makes the process, which is a process group of its own. It must be called where a Tokio runtime is.
    ///
    /// # Errors
    /// If the machine cannot be described, its folder not be made, or the program not be started.
    pub fn spawn(&self) -> Result<Starting, StartError> {
        let folder = tempfile::Builder::new()
            .prefix("qemu-")
            .tempdir_in(&self.folder)
            .map_err(|source| StartError::Folder { folder: self.folder.clone(), source })?;
        let wiring = Wiring::in_folder(folder.path());
        let memory = self.memory()?;
        let arguments = self.spec.arguments(&wiring)?;
        let failed = |source| StartError::Spawn { program: self.program.clone(), source };
        // The shell that holds the leash would only say that there is no such file.
        fs_err::metadata(&self.program).map_err(failed)?;
        let (monitor, theirs) = UnixStream::pair().map_err(failed)?;
        let theirs = theirs.into_std().map_err(failed)?;
        theirs.set_nonblocking(false).map_err(failed)?;

        let mut command = leash::command(&self.program, folder.path());
        command.args(arguments.to_vec());
        let socket = format!("socket,id=imgbuild-monitor,fd={}", leash::DESCRIPTOR);
        command.args(["-chardev", &socket, "-mon", "chardev=imgbuild-monitor,mode=control"]);
        if self.paused {
            command.arg("-S");
        }
        if self.incoming {
            command.args(["-incoming", "defer"]);
        }
        command.envs(self.environment.iter().cloned());
        if let Some(folder) = &self.working_folder {
            command.current_dir(folder);
        }
        if let Some(memory) = &memory {
            let parent_fd = memory.share().map_err(failed)?;
            let mapping = FdMapping { parent_fd, child_fd: leash::MEMORY };
            command.fd_mappings(vec![mapping]).map_err(|error| failed(io::Error::other(error)))?;
        }
        command.stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        drop(command);
        let pid = child.id().ok_or_else(|| failed(io::Error::other("it has no pid")))?;
        let leash = child.stdin.take();
        let stderr = Tail::of(child.stderr.take());
        let running =
            Running { child, pid, _leash: leash, stderr, wiring, serial: self.spec.serial, memory, folder };
        Ok(Starting { running, monitor, ranges: self.ranges() })
    }

    /// Its memory, where that lies beside QEMU.
    fn memory(&self) -> Result<Option<Arc<GuestMemory>>, StartError> {
        let size = self.spec.memory << 20;
        match (&self.memory, self.spec.has_memory_beside()) {
            (None, false) => Ok(None),
            (None, true) if !self.incoming => {
                GuestMemory::new(size).map(|memory| Some(Arc::new(memory))).map_err(StartError::Memory)
            }
            (Some(memory), true) if memory.size() == size => Ok(Some(memory.clone())),
            (Some(memory), true) => Err(StartError::OtherMemory { given: memory.size(), size }),
            (None, true) | (Some(_), false) => Err(StartError::MisplacedMemory),
        }
    }

    /// The process, and then the machine that answers, within `limit`.
    ///
    /// # Errors
    /// As [`Launch::spawn`] and [`Starting::ready`].
    pub async fn start(&self, limit: Duration) -> Result<Machine, StartError> {
        self.spawn()?.ready(limit).await
    }

    /// Network, first and last port of the host, port of the guest.
    fn ranges(&self) -> Vec<(usize, u16, u16, u16)> {
        let forwards = self
            .spec
            .nics
            .iter()
            .enumerate()
            .flat_map(|(number, nic)| nic.forwards.iter().map(move |forward| (number, forward)));
        forwards
            .filter_map(|(number, forward)| match forward.host {
                HostPort::Range(first, last) => Some((number, first, last, forward.guest)),
                HostPort::Fixed(_) | HostPort::Any => None,
            })
            .collect()
    }
}

impl Starting {
    /// The pid of QEMU, which is also that of its process group.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// Waits until QEMU answers, and forwards those ports that are one of a range.
    ///
    /// # Errors
    /// If QEMU ends, with what it said and what that means; if it is silent for `limit`; if no port is free.
    pub async fn ready(self, limit: Duration) -> Result<Machine, StartError> {
        let Self { mut running, monitor, ranges } = self;
        let qmp = match Qmp::over(monitor, limit).await {
            Ok(qmp) => qmp,
            Err(source) => return Err(running.failure(source).await),
        };
        let machine = Machine { running, qmp };
        for (netdev, first, last, guest) in ranges {
            machine.forward_one_of(&format!("user.{netdev}"), first, last, guest).await?;
        }
        Ok(machine)
    }
}

impl Running {
    /// What became of a QEMU that closed its socket or never spoke.
    async fn failure(&mut self, source: QmpError) -> StartError {
        // Its sockets are closed a moment before it can be waited for.
        let status = match source {
            QmpError::TimedOut { .. } => self.child.try_wait().ok().flatten(),
            _ => tokio::time::timeout(QUIT, self.child.wait()).await.ok().and_then(Result::ok),
        };
        match status {
            Some(status) => {
                let stderr = self.stderr.last().await;
                StartError::Ended { status, cause: Cause::of(&stderr), stderr }
            }
            None => StartError::Silent { source, stderr: self.stderr.now() },
        }
    }
}

/// Why QEMU stopped a guest for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A disk of the guest was not read or written on the host, with the host's word for it if it was heard.
    #[error("this host failed to read or write a disk of the machine, which stands still{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Disk(Option<String>),
    /// The guest's kernel gave up: its console shows it, or a device of the machine tells so.
    #[error("the kernel in the machine has given up")]
    Panic,
}

/// A machine that answers. It is killed when it is dropped, and its images are free a moment later; [`Machine::kill`] waits for that.
#[derive(Debug)]
pub struct Machine {
    running: Running,
    qmp: Qmp,
}

impl Machine {
    /// The pid of QEMU, which is also that of its process group.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// How it is spoken to.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// The machine's own folder; it goes with the machine.
    pub fn folder(&self) -> &Path {
        self.running.folder.path()
    }

    /// Its memory, where that lies beside QEMU.
    pub fn memory(&self) -> Option<&Arc<GuestMemory>> {
        self.running.memory.as_ref()
    }

    /// Writes what it is, but for its disks and the memory beside QEMU, into a file, which is made. It must stand still.
    ///
    /// # Errors
    /// If QEMU refuses, ends or is silent for `limit`, or the file cannot be written.
    pub async fn save_state(&self, file: &Path, limit: Duration) -> Result<Digest, QmpError> {
        let socket = self.folder().join("state");
        self.qmp.save_state(self.state(file, &socket), limit).await
    }

    /// Reads what [`Machine::save_state`] wrote, if it was started for that. It still runs nothing then: the file may be another than
    /// the one that was written, which the caller tells by what is given.
    ///
    /// # Errors
    /// If QEMU refuses, as it does where the machine is another, ends or is silent for `limit`; if the file cannot be read.
    pub async fn load_state(&self, file: &Path, limit: Duration) -> Result<Digest, QmpError> {
        let socket = self.folder().join("state");
        self.qmp.load_state(self.state(file, &socket), limit).await
    }

    fn state<'a>(&self, file: &'a Path, socket: &'a Path) -> StateFile<'a> {
        let memory = if self.running.memory.is_some() { MemoryLies::Beside } else { MemoryLies::Within };
        StateFile { file, socket, memory }
    }

    /// Where its sockets and its console are.
    pub fn wiring(&self) -> &Wiring {
        &self.running.wiring
    }

    /// Ports of the host that go to the guest.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub async fn forwards(&self) -> Result<Vec<Forward>, QmpError> {
        self.qmp.forwards().await
    }

    /// What the guest wrote on its first serial port, without what moves cursors and colours, the last `lines` of its last 256 KiB. Nothing
    /// if it has no such port.
    pub fn console(&self, lines: usize) -> String {
        self.running.console(lines)
    }

    /// Waits until the guest has written `text` on its first serial port, within `limit`; gives whether it has.
    ///
    /// # Errors
    /// If QEMU ends before.
    pub async fn wait_for_console(&mut self, text: &str, limit: Duration) -> Result<bool, Died> {
        self.wait_until_console(|console| console.contains(text), limit).await
    }

    /// Waits until `is_there` holds of what the guest has written last on its first serial port, within `limit`; gives whether it has.
    /// It is asked of the last 16 KiB and what has come since.
    ///
    /// # Errors
    /// If QEMU ends before.
    pub async fn wait_until_console(
        &mut self,
        is_there: impl Fn(&str) -> bool + Send,
        limit: Duration,
    ) -> Result<bool, Died> {
        let deadline = Instant::now() + limit;
        let log = self.running.wiring.serial_log.clone();
        let mut console = output::Follower::new(&log);
        loop {
            let ended = self.has_ended();
            if console.shows(&is_there) {
                return Ok(true);
            }
            if let Some(status) = ended {
                return Err(self.died(status).await);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn has_ended(&mut self) -> Option<ExitStatus> {
        self.running.child.try_wait().ok().flatten()
    }

    async fn died(&mut self, status: ExitStatus) -> Died {
        let stderr = self.running.stderr.last().await;
        Died { status, stderr, console: self.console(CONSOLE_LINES) }
    }

    /// That QEMU still runs.
    ///
    /// # Errors
    /// If it does not: what it said last, and what the guest did.
    pub async fn alive(&mut self) -> Result<(), Died> {
        match self.has_ended() {
            None => Ok(()),
            Some(status) => Err(self.died(status).await),
        }
    }

    /// Waits until QEMU stops the guest for good, and says why: a disk of the guest could not be written, as on a host whose own is full,
    /// or its kernel gave up. Forever, if neither happens; that QEMU ends is not seen here.
    pub async fn halted(&self) -> Halt {
        let mut events = self.qmp.events();
        if let Some(halt) = self.halt().await {
            return halt;
        }
        loop {
            match events.recv().await.map(|event| event.kind) {
                Ok(EventKind::BlockIoError { action, reason, .. }) if action == "stop" => {
                    return Halt::Disk(Some(reason));
                }
                Ok(EventKind::GuestPanicked { action }) if action == "pause" => return Halt::Panic,
                Err(RecvError::Closed) => std::future::pending().await,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    /// Waits until QEMU ends by itself, as it does when its guest switches off.
    ///
    /// # Errors
    /// If it ended otherwise.
    pub async fn wait(&mut self) -> Result<(), Died> {
        match self.running.child.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.died(status).await),
            // The child was waited for before, which tells its status again and does not fail.
            Err(_) => Ok(()),
        }
    }

    /// Waits until QEMU ends by itself, which is `None`, or it is seen that the guest will never do anything again: QEMU has
    /// stopped it, or its console shows that Linux has given up.
    ///
    /// # Errors
    /// If it ended otherwise.
    pub async fn wait_or_halt(&mut self) -> Result<Option<Halt>, Died> {
        loop {
            if let Ok(ended) = tokio::time::timeout(LOOK, self.wait()).await {
                return ended.map(|()| None);
            }
            if let Some(halt) = self.halt().await {
                return Ok(Some(halt));
            }
        }
    }

    /// Why the guest will never do anything again, if that is so: QEMU has stopped it, or its console shows that Linux has given up.
    pub async fn halt(&self) -> Option<Halt> {
        match self.qmp.status().await.map(|is| is.status).as_deref() {
            Ok("io-error") => Some(Halt::Disk(None)),
            Ok("guest-panicked") => Some(Halt::Panic),
            _ if self.console(PANIC_LINES).contains(PANIC) => Some(Halt::Panic),
            _ => None,
        }
    }

    /// Presses the power button until the guest is off; after `patience` QEMU is told to end, and then killed.
    ///
    /// # Errors
    /// If QEMU ended with an error.
    pub async fn shut_down(&mut self, patience: Duration) -> Result<Ended, Died> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.quit().await;
            }
            // One that does not answer is waited for nevertheless: it may be about to end.
            let _ = tokio::time::timeout(left, self.qmp.power_down()).await;
            if let Ok(ended) = tokio::time::timeout(left.min(PRESS_AGAIN), self.wait()).await {
                return ended.map(|()| Ended::PoweredDown);
            }
        }
    }

    /// Tells QEMU to end, as if power failed: what the guest wrote to its disks is flushed, what it did not is lost. Kills it
    /// if it does not.
    ///
    /// # Errors
    /// If QEMU ended with an error.
    pub async fn quit(&mut self) -> Result<Ended, Died> {
        let _ = tokio::time::timeout(QUIT, self.qmp.quit()).await;
        if let Ok(ended) = tokio::time::timeout(QUIT, self.wait()).await {
            return ended.map(|()| Ended::Quit);
        }
        self.kill().await;
        Ok(Ended::Killed)
    }

    /// Kills QEMU at once. Its disks are as they are.
    pub async fn kill(&mut self) {
        // It may have ended before.
        let _ = self.running.child.start_kill();
        let _ = self.running.child.wait().await;
    }

    /// QEMU itself tries to bind, so that there is no moment at which another could.
    async fn forward_one_of(
        &self,
        netdev: &str,
        first: u16,
        last: u16,
        guest: u16,
    ) -> Result<u16, StartError> {
        for port in first..=last {
            match self.qmp.add_forward(netdev, port, guest).await {
                Ok(()) => return Ok(port),
                Err(QmpError::Refused { description, .. }) if failure::is_port_taken(&description) => {}
                Err(source) => return Err(StartError::Forward(source)),
            }
        }
        Err(StartError::PortsTaken { first, last })
    }
}

impl Running {
    fn console(&self, lines: usize) -> String {
        match self.serial {
            Serial::None => String::new(),
            Serial::Log | Serial::Socket => output::last_lines(&output::read(&self.wiring.serial_log), lines),
        }
    }
}
