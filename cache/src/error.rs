//! What can go wrong in the cache.

use std::io;
use std::path::PathBuf;

use imgbuild_digest::{Digest, Hash};
use imgbuild_tree::DeltaId;

use crate::{ActionKey, ChunkListError};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on the cache failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call of the operating system failed; the message names the file.
    #[error("the cache cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// The index failed.
    #[error("the cache's index `index.db` failed: {0}")]
    Index(#[from] rusqlite::Error),
    /// A newer program has used this cache.
    #[error(
        "the cache at `{}` has version {found}, but this imgbuild knows version {known}; \
         use a newer imgbuild, or another cache folder",
        path.display()
    )]
    NewerVersion {
        /// The cache.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// The folder is not one of this user's own.
    #[error(
        "the cache folder `{}` is open to other users; run `chmod 700` on it, or use another folder",
        .0.display()
    )]
    OpenToOthers(PathBuf),
    /// The memory of one machine takes more than that of all may.
    #[error("it takes {} MiB, and the memory of all machines may take {} MiB", size >> 20, budget >> 20)]
    WarmTooLarge {
        /// What it takes on the disk, in bytes.
        size: u64,
        /// What all of them may take, in bytes.
        budget: u64,
    },
    /// Bytes that should have a digest have another.
    #[error("expected `{expected}`, but the bytes are `{actual}`")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// More bytes than the expected digest has.
    #[error("expected `{expected}`, but there are more bytes than that")]
    TooLong {
        /// What was asked for.
        expected: Digest,
    },
    /// A blob that is not in the store.
    #[error("the cache does not hold the blob `{0}`")]
    NoSuchBlob(Digest),
    /// A blob whose bytes have changed on disk; it has been moved out of the store.
    #[error(
        "the blob `{0}` was damaged on disk and has been moved to the cache's `quarantine` folder; build again"
    )]
    DamagedBlob(Digest),
    /// The store is addressed by BLAKE3 only.
    #[error("`{0}` is no BLAKE3 digest; look it up with its SHA-256 first")]
    NotBlake3(Digest),
    /// A layer that is not in the store.
    #[error("the cache does not hold the layer `{0}`")]
    NoSuchLayer(DeltaId),
    /// A layer whose manifest is not what its name says.
    #[error("the manifest of the layer `{layer}` is damaged: {reason}; run `imgbuild cache verify --repair`")]
    DamagedLayer {
        /// The layer.
        layer: DeltaId,
        /// What was found.
        reason: String,
    },
    /// A file of a layer that is kept as chunks, by a list that is not one.
    #[error("the file `{name}` of the layer `{layer}` cannot be read: {reason}{}", advice(reason))]
    DamagedList {
        /// The layer.
        layer: DeltaId,
        /// The file.
        name: String,
        /// What is wrong with its list.
        reason: ChunkListError,
    },
    /// A chunk of a layer that is gone or whose bytes have changed on disk; the layer is no longer in the index.
    #[error(
        "the chunk `{chunk}` of the layer `{layer}` is gone or was damaged on disk, and the layer has been taken out of \
         the cache; build again"
    )]
    BadChunk {
        /// The layer.
        layer: DeltaId,
        /// What the chunk should hold.
        chunk: Hash,
    },
    /// A layer without a file.
    #[error("the layer `{layer}` has no file `{name}`")]
    NoSuchFile {
        /// The layer.
        layer: DeltaId,
        /// The file.
        name: String,
    },
    /// What a file says is out of order.
    #[error(transparent)]
    Chunks(#[from] ChunkListError),
    /// An alias to a result that does not exist.
    #[error("no result has the key `{0}`")]
    NoSuchResult(ActionKey),
    /// A row that this program did not write that way.
    #[error("the cache's index holds a damaged {0}; run `imgbuild cache verify --repair`")]
    DamagedRow(&'static str),
    /// A file that is to be hashed is a folder, a link or a device.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A file is written while it is hashed.
    #[error("`{}` changes while it is read; wait until it is complete", .0.display())]
    ChangedWhileRead(PathBuf),
    /// Another process collects garbage or verifies.
    #[error("another process is cleaning this cache; wait for it to end")]
    Busy,
    /// The caller stopped waiting for a lock.
    #[error("waiting for the lock of `{0}` was cancelled")]
    WaitCancelled(ActionKey),
    /// A tree could not be read.
    #[error(transparent)]
    Tree(#[from] imgbuild_tree::Error),
}

/// What helps, where that is not said.
fn advice(reason: &ChunkListError) -> &'static str {
    match reason {
        ChunkListError::Unknown(_) => "",
        _ => "; run `imgbuild cache verify --repair`",
    }
}

impl Error {
    /// Whether the disk is full, which the user can do something about (`imgbuild cache gc`).
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Index(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}
