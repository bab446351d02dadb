//! What a machine is as a stream, with its memory or without, and disks over which a new one is put while the machine is there (QEMU:
//! `docs/devel/migration`, `qapi/transaction.json`). A stream goes through a socket, so that it can be hashed on its way and needs no
//! QEMU newer than any other. Not for: what a stream fits ([`crate::spec::MemoryFingerprint`]).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blake3::Hasher;
use imgbuild_digest::{Digest, Hash};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use super::{Qmp, QmpError};
use crate::spec::{Disk, DiskCache};

/// How often it is asked how far a stream is.
const INTERVAL: Duration = Duration::from_millis(20);

/// As much as a bus gives, in bytes a second: the machine stands still, and nobody else waits.
const BANDWIDTH: u64 = 64 << 30;

/// How much is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// Where the memory of a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLies {
    /// In QEMU, so that it is part of the stream.
    Within,
    /// Beside it ([`crate::memory::GuestMemory`]).
    Beside,
}

/// Where a machine is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateFile<'a> {
    /// The file.
    pub file: &'a Path,
    /// Where the socket is made through which it goes.
    pub socket: &'a Path,
    /// Whether the machine's memory is part of it.
    pub memory: MemoryLies,
}

/// A new image over a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOverlay<'a> {
    /// The node of the image that becomes the one below.
    pub node: &'a str,
    /// The new image: a file that is there, qcow2, of the same size, without a backing file.
    pub file: &'a Path,
    /// Its node.
    pub name: &'a str,
    /// The disk as it was described to QEMU: what becomes of writes, of zeros and of what is given back is as there.
    pub disk: &'a Disk,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Migration {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error_desc: Option<String>,
}

impl Qmp {
    /// Puts new images over disks, all at one moment. What is below is not written again.
    ///
    /// # Errors
    /// If QEMU refuses, ends or is silent; then no disk has a new one.
    pub async fn put_over(&self, overlays: &[NewOverlay<'_>]) -> Result<(), QmpError> {
        let mut opened = Vec::new();
        let put = async {
            for overlay in overlays {
                // `blockdev-snapshot-sync` would open it without what the disk says of zeros.
                self.execute("blockdev-add", opening(overlay)?).await?;
                opened.push(overlay.name);
            }
            let over = |overlay: &NewOverlay<'_>| json!({"type": "blockdev-snapshot", "data": {"node": overlay.node, "overlay": overlay.name}});
            let actions: Vec<Value> = overlays.iter().map(over).collect();
            self.execute("transaction", json!({"actions": actions})).await.map(drop)
        };
        let put: Result<(), QmpError> = put.await;
        if put.is_err() {
            for name in opened {
                // What went wrong first is what is told.
                let _ = self.execute("blockdev-del", json!({"node-name": name})).await;
            }
        }
        put
    }

    /// Writes what a machine that stands still is, its disks apart, into a file, which is made. The machine can go on behind.
    ///
    /// # Errors
    /// If QEMU refuses, ends or is silent, or the file cannot be written.
    pub async fn save_state(&self, state: StateFile<'_>, limit: Duration) -> Result<Digest, QmpError> {
        let StateFile { file, socket, memory } = state;
        let listener = UnixListener::bind(socket)?;
        let written = async {
            let (stream, _) = listener.accept().await?;
            keep(stream, file).await
        };
        let asked = async {
            self.leave_out(memory).await?;
            self.execute("migrate-set-parameters", json!({"max-bandwidth": BANDWIDTH})).await?;
            let address = format!("unix:{}", text("migrate", socket)?);
            self.execute("migrate", json!({"uri": address})).await?;
            self.migrated("migrate", limit).await
        };
        let both = async { tokio::try_join!(async { written.await.map_err(QmpError::Io) }, asked) };
        let done = tokio::time::timeout(limit, both).await;
        let _ = fs_err::remove_file(socket);
        let (stream, ()) =
            done.map_err(|_| QmpError::TimedOut { command: "migrate".to_owned(), limit })??;
        Ok(stream)
    }

    /// Reads what [`Qmp::save_state`] wrote into a machine that was started for it and runs nothing yet. It still runs nothing
    /// then: the stream may be another than the one that was written, which the caller tells by what is given.
    ///
    /// # Errors
    /// If QEMU refuses, as it does where the machine is another, ends or is silent; if the file cannot be read.
    pub async fn load_state(&self, state: StateFile<'_>, limit: Duration) -> Result<Digest, QmpError> {
        let StateFile { file, socket, memory } = state;
        self.leave_out(memory).await?;
        let address = format!("unix:{}", text("migrate-incoming", socket)?);
        self.execute("migrate-incoming", json!({"uri": address})).await?;
        let given = async {
            let stream = UnixStream::connect(socket).await?;
            give(file, stream).await
        };
        let given = async {
            match given.await {
                // QEMU takes no more, and why is its to say.
                Err(error) if is_cut(&error) => Ok(Err(error)),
                given => given.map(Ok).map_err(QmpError::Io),
            }
        };
        let loaded = async {
            let (stream, ()) = tokio::try_join!(given, self.migrated("migrate-incoming", limit))?;
            stream.map_err(QmpError::Io)
        };
        let done = tokio::time::timeout(limit, loaded).await;
        let _ = fs_err::remove_file(socket);
        done.map_err(|_| QmpError::TimedOut { command: "migrate-incoming".to_owned(), limit })?
    }

    /// Has streams, and snapshots too, leave out memory that lies beside, or not.
    pub(super) async fn leave_out(&self, memory: MemoryLies) -> Result<(), QmpError> {
        let is_beside = memory == MemoryLies::Beside;
        let capability = json!({"capability": "x-ignore-shared", "state": is_beside});
        self.execute("migrate-set-capabilities", json!({"capabilities": [capability]})).await.map(drop)
    }

    /// Waits until a stream has ended.
    async fn migrated(&self, command: &str, limit: Duration) -> Result<(), QmpError> {
        let deadline = Instant::now() + limit;
        loop {
            let said = self.execute("query-migrate", Value::Null).await?;
            let Migration { status, error_desc } = serde_json::from_value(said).map_err(|error| {
                QmpError::Malformed { command: "query-migrate".to_owned(), reason: error.to_string() }
            })?;
            match status.as_deref() {
                Some("completed") => return Ok(()),
                Some(ended @ ("failed" | "cancelled")) => {
                    return Err(QmpError::Refused {
                        command: command.to_owned(),
                        class: "GenericError".to_owned(),
                        description: error_desc.unwrap_or_else(|| format!("it {ended}")),
                    });
                }
                _ if Instant::now() >= deadline => {
                    return Err(QmpError::TimedOut { command: command.to_owned(), limit });
                }
                _ => tokio::time::sleep(INTERVAL).await,
            }
        }
    }
}

/// Whether it is who reads that has ended.
fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

/// How QEMU opens a new image.
fn opening(overlay: &NewOverlay<'_>) -> Result<Value, QmpError> {
    let NewOverlay { file, name, disk, .. } = overlay;
    let discard = if disk.discard { "unmap" } else { "ignore" };
    let cache = json!({
        "direct": matches!(disk.cache, DiskCache::None | DiskCache::Directsync),
        "no-flush": disk.cache == DiskCache::Unsafe,
    });
    Ok(json!({
        "driver": "qcow2", "node-name": name, "backing": null,
        "discard": discard, "detect-zeroes": disk.zeroes.name(), "cache": cache,
        "file": {"driver": "file", "filename": text("blockdev-add", file)?, "discard": discard, "cache": cache},
    }))
}

/// Paths in QEMU's protocol are texts.
fn text<'p>(command: &str, path: &'p Path) -> Result<&'p str, QmpError> {
    path.to_str().ok_or_else(|| QmpError::Malformed {
        command: command.to_owned(),
        reason: format!("`{}` is no UTF-8, as QEMU's protocol needs", path.display()),
    })
}

/// Writes a stream to a new file that is the user's alone.
async fn keep(stream: UnixStream, file: &Path) -> io::Result<Digest> {
    let mut options = tokio::fs::OpenOptions::new();
    pass(stream, options.write(true).create_new(true).mode(0o600).open(file).await?).await
}

async fn give(file: &Path, stream: UnixStream) -> io::Result<Digest> {
    pass(tokio::fs::File::open(file).await?, stream).await
}

/// Reads all that comes and writes it; gives what it was. One piece is hashed while the next is on its way.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<Digest> {
    let mut hashing = tokio::task::spawn_blocking(Hasher::new);
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if (&mut from).take(PIECE as u64).read_to_end(&mut piece).await? == 0 {
            break;
        }
        let piece = Arc::new(piece);
        let mut hasher = hashing.await?;
        hashing = tokio::task::spawn_blocking({
            let piece = piece.clone();
            move || {
                hasher.update(&piece);
                hasher
            }
        });
        to.write_all(&piece).await?;
    }
    to.shutdown().await?;
    let hasher = hashing.await?;
    Ok(Digest::blake3(Hash(hasher.finalize().into()), hasher.count()))
}
