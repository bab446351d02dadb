//! The caller's side: starts the helper, reads the step's output, learns how it ended.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use imgbuild_engine::secrets::{NamedSecret, SecretFinder};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::outcome::{Outcome, StepFailure};
use super::wire::{Order, Report, ResolverFile, WireBind, WireEmulator, WireNetwork, WireSecret};
use super::{HELPER_ARGUMENT, Network, SandboxSpec, Stdin, passing};
use crate::binfmt::BinfmtError;
use crate::mounts;

/// A line longer than this is given in pieces.
const MAX_LINE: usize = 64 * 1024;

/// Why a step could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There is no command.
    #[error("a step needs a command")]
    NoCommand,
    /// A string that goes to the kernel holds a NUL byte, or an environment name a `=`.
    #[error("`{value}` cannot be an argument or a variable of a program")]
    BadString {
        /// Which.
        value: String,
    },
    /// More bind mounts than one step can have.
    #[error("a step takes at most {} bind mounts", passing::MAX_DESCRIPTORS - 8)]
    TooManyBinds,
    /// A bind mount's source is missing or cannot be cloned.
    #[error("cannot bind `{}` into the image", source_path.display())]
    Bind {
        /// The host's path.
        source_path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// The emulator is missing.
    #[error(transparent)]
    Emulator(#[from] BinfmtError),
    /// The command could not be started in the root.
    #[error(transparent)]
    Step(StepFailure),
    /// The helper ended without a report.
    #[error("the sandbox's helper ended without a report ({status}){}", if messages.is_empty() { String::new() } else { format!(": {messages}") })]
    HelperDied {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error, where that was captured and not read by the caller.
        messages: String,
    },
    /// A system call failed that should not.
    #[error("cannot {action}")]
    System {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn system<E: Into<std::io::Error>>(action: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError::System { action, source: source.into() }
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a step's output, without its end. Lines of more than 64 KiB come in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLine {
    /// Where it was written.
    pub stream: Stream,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Starts steps.
#[derive(Clone, Debug)]
pub struct Sandbox {
    helper: PathBuf,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// With this very program as the helper: its `main` must call [`super::helper_main`] when its first argument is
    /// [`HELPER_ARGUMENT`].
    #[must_use]
    pub fn new() -> Self {
        Self { helper: "/proc/self/exe".into() }
    }

    /// Starts a step in `root`, a mount from [`crate::overlay::mount`]. The mount lives on until the step has ended
    /// and every other copy of the descriptor is closed.
    ///
    /// # Errors
    ///
    /// [`SandboxError`], for what can be known before the helper has begun; the rest comes from
    /// [`RunningStep::wait`].
    pub fn spawn(&self, spec: &SandboxSpec, root: BorrowedFd<'_>) -> Result<RunningStep, SandboxError> {
        check_strings(spec)?;
        let (ours, theirs) = StdUnixStream::pair().map_err(system("make a socket pair"))?;
        send_order(&theirs, &ours, spec, root)?;
        let mut command = Command::new(&self.helper);
        command.arg(HELPER_ARGUMENT).env_clear().stdin(OwnedFd::from(theirs)).kill_on_drop(false);
        if spec.interactive {
            command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = command.spawn().map_err(system("start the sandbox's helper"))?;
        // The command keeps its copy of the helper's end until it is dropped.
        drop(command);
        let finder = SecretFinder::new(&spec.secrets).map(Arc::new);
        let stdout = child.stdout.take().map(|pipe| LineReader::new(Stream::Stdout, pipe, finder.clone()));
        let stderr = child.stderr.take().map(|pipe| LineReader::new(Stream::Stderr, pipe, finder));
        ours.set_nonblocking(true).map_err(system("set up the control socket"))?;
        let killer =
            StepKiller { control: Arc::new(ours.try_clone().map_err(system("set up the control socket"))?) };
        let control = UnixStream::from_std(ours).map_err(system("set up the control socket"))?;
        Ok(RunningStep { child, control, killer, stdout, stderr })
    }
}

fn check_strings(spec: &SandboxSpec) -> Result<(), SandboxError> {
    if spec.arguments.first().is_none_or(String::is_empty) {
        return Err(SandboxError::NoCommand);
    }
    let secret_names = spec.secret_environment.iter().map(|(name, _)| name);
    let names = spec.environment.keys().chain(secret_names);
    if let Some(name) = names.clone().find(|name| name.is_empty() || name.contains('=')) {
        return Err(SandboxError::BadString { value: name.clone() });
    }
    let all = spec.arguments.iter().chain(names).chain(spec.environment.values()).chain([&spec.workdir]);
    match all.into_iter().find(|value| value.contains('\0')) {
        Some(value) => Err(SandboxError::BadString { value: value.escape_default().to_string() }),
        None => Ok(()),
    }
}

/// Puts the order and its descriptors into the socket before the helper exists: nothing has to wait for it, and no
/// descriptor has to be inheritable, which another thread's child could then inherit as well.
fn send_order(
    theirs: &StdUnixStream,
    ours: &StdUnixStream,
    spec: &SandboxSpec,
    root: BorrowedFd<'_>,
) -> Result<(), SandboxError> {
    debug_assert_ne!(theirs.as_raw_fd(), ours.as_raw_fd());
    if spec.binds.len() > passing::MAX_DESCRIPTORS - 8 {
        return Err(SandboxError::TooManyBinds);
    }
    let mut binds = Vec::new();
    let mut mounts = Vec::new();
    for bind in &spec.binds {
        let failed = |source| SandboxError::Bind { source_path: bind.source.clone(), source };
        let directory = fs_err::metadata(&bind.source)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?
            .is_dir();
        let mount = mounts::clone_host_path(bind.source.as_path(), directory).map_err(failed)?;
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        if !bind.writable {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        mounts::add_attributes(mount.as_fd(), attributes, directory).map_err(failed)?;
        binds.push(WireBind { target: bind.target.clone(), directory });
        mounts.push(mount);
    }
    let emulator = spec.emulator.as_ref().map(|emulator| WireEmulator {
        architecture: emulator.architecture().to_owned(),
        magic: emulator.magic(),
    });
    if let Some(emulator) = &spec.emulator {
        mounts.push(emulator.open()?);
    }
    let mut environment = spec.environment.clone();
    if let Some(epoch) = spec.source_date_epoch {
        environment.entry("SOURCE_DATE_EPOCH".into()).or_insert_with(|| epoch.to_string());
    }
    for (name, value) in &spec.secret_environment {
        environment.insert(name.clone(), String::from_utf8_lossy(value.expose()).into_owned());
    }
    let secret = |secret: &NamedSecret| WireSecret {
        name: secret.name.clone(),
        contents: secret.value.expose().to_vec(),
    };
    let order = Order {
        arguments: spec.arguments.clone(),
        environment,
        workdir: spec.workdir.clone(),
        user: spec.user.clone(),
        network: WireNetwork::from(spec.network),
        interactive: spec.interactive,
        merge_stderr: spec.merge_stderr,
        allow_new_privileges: spec.allow_new_privileges,
        binds,
        secrets: spec.secrets.iter().map(secret).collect(),
        limits: spec.limits,
        emulator,
        resolver: if spec.network == Network::None { Vec::new() } else { resolver_files() },
    };
    let order = serde_json::to_vec(&order)
        .map_err(|error| SandboxError::System { action: "write the step's order", source: error.into() })?;
    let order = memory_file(&order).map_err(system("write the step's order"))?;
    let stdin = match &spec.stdin {
        _ if spec.interactive => std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(system("share the terminal with the step"))?,
        Stdin::Null => fs_err::File::open("/dev/null")
            .map(|file| file.into_file().into())
            .map_err(system("open `/dev/null`"))?,
        Stdin::Bytes(bytes) => memory_file(bytes).map_err(system("prepare the step's input"))?,
    };
    // A step takes the mount away with its namespaces; a copy is taken, so that the next step can have another. Before
    // Linux 6.15 a mount that is attached nowhere cannot be copied: it serves one step.
    let copy = mounts::clone_mount(root, c"", false).ok();
    let root = copy.as_ref().map_or(root, OwnedFd::as_fd);
    let mut descriptors = vec![order.as_fd(), root, stdin.as_fd()];
    descriptors.extend(mounts.iter().map(OwnedFd::as_fd));
    passing::send(ours, b"o", &descriptors).map_err(system("send the step's order to the helper"))
}

/// A file in memory that holds `bytes`, to be read from its start.
fn memory_file(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    use std::io::Seek as _;
    let mut file = std::fs::File::from(memfd_create("imgbuild", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// What the host's resolver reads. Files that the host does not have are not shown to the step either.
fn resolver_files() -> Vec<ResolverFile> {
    ["/etc/resolv.conf", "/etc/hosts"]
        .into_iter()
        .filter_map(|path| {
            let contents = fs_err::read_to_string(path).ok()?;
            Some(ResolverFile { target: path.to_owned(), contents })
        })
        .collect()
}

/// Ends a step from elsewhere: another task, a timeout, a signal handler.
#[derive(Clone, Debug)]
pub struct StepKiller {
    control: Arc<StdUnixStream>,
}

impl StepKiller {
    /// Asks the command to end: sends a signal to its process group. Does nothing once it has ended.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Ok(number) = u8::try_from(signal.as_raw()) {
            let _ = rustix::net::send(
                &self.control,
                &[number],
                rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT,
            );
        }
    }

    /// Kills everything in the sandbox at once.
    pub fn kill(&self) {
        // The helper takes the end of the life line for the end of imgbuild.
        let _ = self.control.shutdown(std::net::Shutdown::Write);
    }
}

/// A step that runs. Dropping it kills everything in its sandbox.
#[derive(Debug)]
pub struct RunningStep {
    child: Child,
    control: UnixStream,
    killer: StepKiller,
    stdout: Option<LineReader<tokio::process::ChildStdout>>,
    stderr: Option<LineReader<tokio::process::ChildStderr>>,
}

impl Drop for RunningStep {
    fn drop(&mut self) {
        // A `StepKiller` elsewhere keeps the socket open; the step must end all the same.
        self.killer.kill();
    }
}

impl RunningStep {
    /// A handle that can end the step from elsewhere.
    #[must_use]
    pub fn killer(&self) -> StepKiller {
        self.killer.clone()
    }

    /// Kills everything in the sandbox at once; [`RunningStep::wait`] then reports the signal.
    pub fn kill(&self) {
        self.killer.kill();
    }

    /// The next line of output; `None` when there will be no more. Safe to cancel: no byte is lost.
    ///
    /// # Errors
    ///
    /// When a pipe cannot be read.
    pub async fn next_line(&mut self) -> std::io::Result<Option<OutputLine>> {
        while self.stdout.is_some() || self.stderr.is_some() {
            let (line, from) = tokio::select! {
                line = next_of(&mut self.stdout) => (line?, Stream::Stdout),
                line = next_of(&mut self.stderr) => (line?, Stream::Stderr),
            };
            match (line, from) {
                (Some(line), _) => return Ok(Some(line)),
                (None, Stream::Stdout) => self.stdout = None,
                (None, Stream::Stderr) => self.stderr = None,
            }
        }
        Ok(None)
    }

    /// Reads what is left of the output, then learns how the command ended.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Step`] when the command was never started; [`SandboxError::HelperDied`] when nobody can say.
    pub async fn wait(self) -> Result<Outcome, SandboxError> {
        self.wait_with(|_| {}).await
    }

    /// As [`RunningStep::wait`], giving each line to `line`.
    ///
    /// # Errors
    ///
    /// As [`RunningStep::wait`].
    pub async fn wait_with(mut self, mut line: impl FnMut(OutputLine)) -> Result<Outcome, SandboxError> {
        let mut last_words = Vec::new();
        while let Some(output) = self.next_line().await.map_err(system("read the step's output"))? {
            if output.stream == Stream::Stderr {
                last_words.clone_from(&output.bytes);
            }
            line(output);
        }
        let mut report = Vec::new();
        self.control.read_to_end(&mut report).await.map_err(system("read the sandbox's report"))?;
        let status = self.child.wait().await.map_err(system("wait for the sandbox's helper"))?;
        match serde_json::from_slice(&report) {
            Ok(Report::Ended(outcome)) => Ok(outcome),
            Ok(Report::Failed(failure)) => Err(SandboxError::Step(failure)),
            Err(_) => Err(SandboxError::HelperDied {
                status,
                messages: String::from_utf8_lossy(&last_words).into_owned(),
            }),
        }
    }
}

async fn next_of<R: AsyncRead + Unpin>(
    reader: &mut Option<LineReader<R>>,
) -> std::io::Result<Option<OutputLine>> {
    match reader {
        Some(reader) => reader.next().await,
        None => std::future::pending().await,
    }
}

/// Cuts a pipe into lines.
#[derive(Debug)]
struct LineReader<R> {
    stream: Stream,
    pipe: R,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are given already.
    given: usize,
    /// Bytes of `buffer` known to hold no line end.
    searched: usize,
    /// What must not be in a line.
    secrets: Option<Arc<SecretFinder>>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    fn new(stream: Stream, pipe: R, secrets: Option<Arc<SecretFinder>>) -> Self {
        Self { stream, pipe, buffer: Vec::new(), given: 0, searched: 0, secrets }
    }

    async fn next(&mut self) -> std::io::Result<Option<OutputLine>> {
        // A secret that begins in a piece of a line is seen whole before the piece is cut.
        let beyond = self.secrets.as_ref().map_or(0, |secrets| secrets.longest());
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                if end - self.given <= MAX_LINE + beyond {
                    return Ok(Some(self.give(end, end + 1)));
                }
            } else {
                self.searched = self.buffer.len();
            }
            if self.buffer.len() - self.given >= MAX_LINE + beyond {
                let cut = match &self.secrets {
                    Some(secrets) => secrets.cut(&self.buffer[self.given..], MAX_LINE),
                    None => MAX_LINE,
                };
                let piece = self.given + cut;
                return Ok(Some(self.give(piece, piece)));
            }
            self.buffer.drain(..self.given);
            self.searched -= self.given;
            self.given = 0;
            self.buffer.reserve(8 * 1024);
            // Cancelled here, nothing is lost: bytes are in the buffer or in the pipe.
            if self.pipe.read_buf(&mut self.buffer).await? == 0 {
                let end = self.buffer.len();
                return Ok((end > 0).then(|| self.give(end, end)));
            }
        }
    }

    fn give(&mut self, end: usize, next: usize) -> OutputLine {
        let bytes = &self.buffer[self.given..end];
        let bytes = self.secrets.as_ref().map_or_else(|| bytes.to_vec(), |secrets| secrets.mask(bytes));
        let line = OutputLine { stream: self.stream, bytes };
        self.given = next;
        self.searched = next;
        line
    }
}
