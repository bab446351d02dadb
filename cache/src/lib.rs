//! Content store, layer store, action cache and garbage collection.
//!
//! One folder holds everything that builds share: blobs by digest, layer trees by delta, files of layers as chunks, the
//! results of actions by key, and an index (SQLite) over them. Any number of processes may use it at once, and any of them may be killed
//! at any moment. The order of every commit is: data to disk, rename into place, one row. So a row never points to
//! data that was not written, and what a killed process leaves behind is at worst a file without a row, which
//! [`Cache::gc`] sweeps.
//!
//! What is not here: any idea of images, steps or machines, any network, any SDK. Keys, metadata and fingerprints
//! are opaque. Times that become part of results are given by the caller; the clock is read only for bookkeeping
//! (when was something last used, is a file's status old enough to be believed).
//!
//! The calls are synchronous and block; call them from a blocking task.

mod actions;
mod blobs;
mod chunk_store;
mod chunks;
mod clock;
mod cut;
mod database;
mod error;
mod file_memo;
mod gc;
mod key_lock;
mod layers;
mod layout;
mod pending;
mod records;
mod removal;
mod runs;
mod stats;
mod verify;
mod warm;
mod whole;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use actions::{ActionKey, ActionResult, Missing, OutputFile};
pub use blobs::{StoredBlob, VerifiedReader};
pub use chunk_store::{ChunkedFile, Part};
pub use chunks::{ChunkList, ChunkListError, Piece};
pub use cut::Extent;
pub use error::{Error, Result};
pub use file_memo::{FileDigest, FileMemo};
pub use gc::{GcPolicy, GcReport};
pub use key_lock::{KeyLock, Waiting};
pub use layers::Staged;
pub use pending::{BlobWriter, PendingBlob, SyncBatch};
pub use records::{Epoch, Root, SlotRecord};
pub use runs::{Lease, Run, RunId};
pub use stats::CacheStats;
pub use verify::{Damage, VerifyOptions, VerifyProgress, VerifyReport};
pub use warm::{WarmSnapshot, WarmStaged};

use crate::database::Database;
use crate::layers::ManifestMemory;
use crate::layout::Layout;
use crate::runs::RunLock;

/// From which size on the index's log is worth emptying, in bytes.
const LONG_LOG: u64 = 1 << 20;

/// A handle on one cache folder; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    layout: Layout,
    database: Database,
    manifests: ManifestMemory,
    /// The run in whose temporary folder this process writes when the caller has not begun one.
    own_run: OnceLock<RunLock>,
}

impl Cache {
    /// Opens the cache at `root`, making it (for this user alone) if it does not exist.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or read, or if its index was written by a newer version of this program.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let layout = Layout::new(root.as_ref())?;
        let database = Database::open(&layout)?;
        Ok(Self(Arc::new(Inner {
            layout,
            database,
            manifests: ManifestMemory::default(),
            own_run: OnceLock::new(),
        })))
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.0.layout.root()
    }

    /// Where the logs of runs are kept; the files in it are the caller's.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.layout.logs()
    }

    /// Where archives' package indexes are kept, made by whoever writes one. The files in it are the caller's, who renews a
    /// file's modification time when it is used: [`Cache::gc`] goes by that.
    #[must_use]
    pub fn indexes(&self) -> PathBuf {
        self.0.layout.indexes()
    }

    /// To be called after much was written: the first process that opens the index reads all of its log, so a long log
    /// is copied into the index here, which costs two syncs. Does nothing if another process is in the way.
    ///
    /// # Errors
    ///
    /// If the index cannot be opened.
    pub fn settle(&self) -> Result<()> {
        if self.database().log_size() > LONG_LOG { self.database().empty_log() } else { Ok(()) }
    }

    fn layout(&self) -> &Layout {
        &self.0.layout
    }

    fn database(&self) -> &Database {
        &self.0.database
    }

    /// The temporary folder of this process' own run.
    fn temporary(&self) -> Result<&Path> {
        if let Some(run) = self.0.own_run.get() {
            return Ok(run.temporary());
        }
        let run = RunLock::begin(self)?;
        // Of two threads that got here at once, the second one's run ends at once.
        Ok(self.0.own_run.get_or_init(|| run).temporary())
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cache").field(&self.root()).finish()
    }
}
