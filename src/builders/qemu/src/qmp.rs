//! A client of QEMU's machine protocol (QMP): one JSON object a line over a stream; replies are matched with commands by
//! an id, events come in between (QEMU: `docs/interop/qmp-spec.rst`).
//!
//! For: the protocol itself. What is asked of a machine in words of its own is in `verbs`. Not for: starting a machine,
//! or how long its guest may take for something.

mod event;
mod streams;
mod verbs;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use event::{Event, EventKind};
pub use streams::{MemoryLies, NewOverlay, StateFile};
pub use verbs::{BlockDevice, Forward, RunStatus, SnapshotSet};

/// The longest line that is read, in bytes. The longest answers, those about all devices, have some hundred thousand.
const LONGEST_LINE: u64 = 16 << 20;

/// How many events are kept for a listener that is slow.
const EVENTS: usize = 256;

/// How long an ordinary command may take: it changes or tells something in QEMU's memory.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Why a command brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU refused the command.
    #[error("QEMU refused `{command}`: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class of the error: `GenericError`, `CommandNotFound`, `DeviceNotFound`.
        class: String,
        /// What QEMU says.
        description: String,
    },
    /// The stream ended, as it does when QEMU ends.
    #[error("QEMU closed its control socket before it answered `{command}`; it has ended or is ending")]
    Closed {
        /// The command.
        command: String,
    },
    /// There was no answer in time.
    #[error("QEMU did not answer `{command}` within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// The command.
        command: String,
        /// How long was waited.
        limit: Duration,
    },
    /// What was answered is not what the protocol says.
    #[error("QEMU's answer to `{command}` is not of the known form: {reason}")]
    Malformed {
        /// The command.
        command: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The stream could not be opened, read or written.
    #[error("cannot speak to QEMU over its control socket: {0}")]
    Io(#[from] io::Error),
}

/// Which QEMU it is, as it says itself in its greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QmpVersion {
    /// The first number of `10.0.2`.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub micro: u32,
    /// What the distribution calls its build: `Debian 1:10.0.2+ds-2`, or nothing.
    pub package: String,
}

/// A reply: QEMU's `return`, or its `error` as class and description.
type Reply = Result<Value, (String, String)>;

#[derive(Default)]
struct Pending {
    /// Those who wait for a reply, by the command's id.
    replies: BTreeMap<u64, oneshot::Sender<Reply>>,
    /// Whether the stream has ended, after which nobody may begin to wait.
    closed: bool,
}

/// A conversation with one QEMU. Commands may be given from several tasks at a time. The stream is closed when it is
/// dropped.
#[derive(Debug)]
pub struct Qmp {
    version: QmpVersion,
    lines: mpsc::UnboundedSender<Vec<u8>>,
    pending: Arc<Mutex<Pending>>,
    events: broadcast::Sender<Event>,
    next: AtomicU64,
    reader: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} commands wait, closed: {}", self.replies.len(), self.closed)
    }
}

impl Qmp {
    /// Connects to the socket at `path` and exchanges greetings, within `limit`. The socket must exist.
    ///
    /// # Errors
    /// If it cannot be connected to, or what answers is not QEMU.
    pub async fn connect(path: &Path, limit: Duration) -> Result<Self, QmpError> {
        let stream = UnixStream::connect(path).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot connect to `{}`: {error}", path.display()))
        })?;
        Self::over(stream, limit).await
    }

    /// Exchanges greetings over a stream, within `limit`: QEMU greets, and accepts commands once capabilities are agreed
    /// on (none are asked for).
    ///
    /// # Errors
    /// If QEMU does not greet in time, or what is said is not its greeting.
    pub async fn over<S>(stream: S, limit: Duration) -> Result<Self, QmpError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        const GREETING: &str = "the greeting";
        let (reader, writer) = tokio::io::split(stream);
        let mut reader = BufReader::new(reader);
        let line = tokio::time::timeout(limit, read_line(&mut reader))
            .await
            .map_err(|_| QmpError::TimedOut { command: GREETING.into(), limit })??
            .ok_or_else(|| QmpError::Closed { command: GREETING.into() })?;
        let version =
            greeting(&line).map_err(|reason| QmpError::Malformed { command: GREETING.into(), reason })?;

        let (lines, queue) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(EVENTS);
        let pending = Arc::new(Mutex::new(Pending::default()));
        tokio::spawn(write_lines(writer, queue));
        let reader = tokio::spawn(read_lines(reader, Arc::clone(&pending), events.clone()));
        let this = Self { version, lines, pending, events, next: AtomicU64::new(1), reader };
        this.execute_within("qmp_capabilities", Value::Null, limit).await?;
        Ok(this)
    }

    /// Which QEMU it is.
    pub fn version(&self) -> &QmpVersion {
        &self.version
    }

    /// The events from now on. A listener that lags by more than some hundred events loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Whether QEMU has closed the stream.
    pub fn is_closed(&self) -> bool {
        lock(&self.pending).closed
    }

    /// Carries out a command with its arguments (an object, or null for none) within [`COMMAND_LIMIT`], and gives its
    /// `return`.
    ///
    /// # Errors
    /// If QEMU refuses, ends or is silent.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.execute_within(command, arguments, COMMAND_LIMIT).await
    }

    /// As [`Qmp::execute`], with another limit. After the limit the command may still be carried out; its answer is then
    /// dropped.
    ///
    /// # Errors
    /// If QEMU refuses, ends or is silent.
    pub async fn execute_within(
        &self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let closed = || QmpError::Closed { command: command.to_owned() };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut line = json!({"execute": command, "id": id});
        if !arguments.is_null() {
            line["arguments"] = arguments;
        }
        let mut line = line.to_string().into_bytes();
        line.push(b'\n');

        let (sender, reply) = oneshot::channel();
        {
            let mut pending = lock(&self.pending);
            if pending.closed {
                return Err(closed());
            }
            pending.replies.insert(id, sender);
        }
        // Who stops waiting, also by being dropped, is forgotten.
        let _forget = Forget { pending: &self.pending, id };
        self.lines.send(line).map_err(|_| closed())?;
        match tokio::time::timeout(limit, reply).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err((class, description)))) => {
                Err(QmpError::Refused { command: command.to_owned(), class, description })
            }
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(QmpError::TimedOut { command: command.to_owned(), limit }),
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

struct Forget<'p> {
    pending: &'p Mutex<Pending>,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.pending).replies.remove(&self.id);
    }
}

fn lock(pending: &Mutex<Pending>) -> std::sync::MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write_lines(mut writer: impl AsyncWrite + Unpin, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    use tokio::io::AsyncWriteExt as _;
    while let Some(line) = queue.recv().await {
        // The reader sees the end of the stream as well, and tells those who wait.
        if writer.write_all(&line).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

async fn read_lines(
    mut reader: impl AsyncBufRead + Unpin,
    pending: Arc<Mutex<Pending>>,
    events: broadcast::Sender<Event>,
) {
    while let Ok(Some(line)) = read_line(&mut reader).await {
        let Ok(message) = serde_json::from_slice::<Message>(&line) else { break };
        if let Some(event) = message.event {
            // It is no error that nobody listens.
            let _ = events.send(Event::new(&event, message.data, message.timestamp.seconds));
            continue;
        }
        let Some(id) = message.id else { continue };
        let reply = match message.error {
            Some(error) => Err((error.class, error.desc)),
            None => Ok(message.value),
        };
        if let Some(sender) = lock(&pending).replies.remove(&id) {
            // Who asked may have stopped waiting.
            let _ = sender.send(reply);
        }
    }
    let mut pending = lock(&pending);
    pending.closed = true;
    pending.replies.clear();
}

/// One line; `None` at the end of the stream.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let length = reader.take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
    if length as u64 == LONGEST_LINE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line has no end"));
    }
    Ok((length > 0).then_some(line))
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default, rename = "return")]
    value: Value,
    #[serde(default)]
    error: Option<Refusal>,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

#[derive(Default, Deserialize)]
struct Timestamp {
    seconds: i64,
}

fn greeting(line: &[u8]) -> Result<QmpVersion, String> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "QMP")]
        qmp: Greeting,
    }
    #[derive(Deserialize)]
    struct Greeting {
        version: Versions,
    }
    #[derive(Deserialize)]
    struct Versions {
        qemu: Numbers,
        #[serde(default)]
        package: String,
    }
    #[derive(Deserialize)]
    struct Numbers {
        major: u32,
        minor: u32,
        micro: u32,
    }
    let Line { qmp } = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Versions { qemu, package } = qmp.version;
    let package = package.trim().trim_start_matches('(').trim_end_matches(')').to_owned();
    Ok(QmpVersion { major: qemu.major, minor: qemu.minor, micro: qemu.micro, package })
}

#[cfg(test)]
mod tests;
