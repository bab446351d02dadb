//! Runs: what one process is working on, and what must not be taken from it.
//!
//! A run is alive while its process holds the lock on `runs/<id>.lock`. The kernel frees the lock when the process
//! dies, however it dies; from then on its temporary files and leases are nobody's and the next one to look sweeps
//! them.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use imgbuild_digest::Digest;
use imgbuild_tree::DeltaId;

use crate::layout::blake3_of;
use crate::removal::remove_tree;
use crate::{ActionKey, Cache, Error, Result};

/// What names a run: unique among the runs of one cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that the garbage collector must leave to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lease {
    /// A result with all that it points to.
    Key(ActionKey),
    /// A blob.
    Blob(Digest),
    /// A layer.
    Layer(DeltaId),
}

pub(crate) const KIND_KEY: i64 = 1;
pub(crate) const KIND_BLOB: i64 = 2;
pub(crate) const KIND_LAYER: i64 = 3;

impl Lease {
    fn row(&self) -> Result<(i64, &[u8; 32])> {
        Ok(match self {
            Self::Key(key) => (KIND_KEY, &key.0.0),
            Self::Blob(digest) => (KIND_BLOB, blake3_of(digest)?),
            Self::Layer(delta) => (KIND_LAYER, &delta.0.0),
        })
    }
}

/// The lock and the temporary folder of a run.
pub(crate) struct RunLock {
    id: RunId,
    temporary: PathBuf,
    lock_path: PathBuf,
    // Held, not read: closing it frees the lock.
    _lock: File,
}

impl RunLock {
    pub(crate) fn begin(cache: &Cache) -> Result<Self> {
        loop {
            let file = tempfile::Builder::new()
                .prefix("run-")
                .suffix(".lock")
                .rand_bytes(12)
                .tempfile_in(cache.layout().runs())?;
            let (lock, lock_path) = file.keep().map_err(|error| error.error)?;
            // A sweep may take the file for a dead run's before it is locked; then it is gone, and another is made.
            match lock.try_lock() {
                Ok(()) if lock.metadata()?.nlink() > 0 => {}
                Ok(()) | Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            let id = RunId(run_of(&lock_path).unwrap_or_default().to_owned());
            let temporary = cache.layout().tmp().join(id.as_str());
            fs_err::create_dir(&temporary)?;
            return Ok(Self { id, temporary, lock_path, _lock: lock });
        }
    }

    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.temporary) {
            // What is left is swept once the lock is free; the lock's file must then stay for the sweep to find it.
            tracing::warn!(%error, "the run's temporary folder was not removed");
            return;
        }
        if let Err(error) = fs_err::remove_file(&self.lock_path) {
            tracing::debug!(%error, "the run's lock was not removed");
        }
    }
}

/// A run of this program over a cache. While it lives, what it has leased stays.
pub struct Run {
    cache: Cache,
    lock: RunLock,
}

impl Run {
    /// Begins a run, and sweeps what dead ones have left.
    ///
    /// # Errors
    ///
    /// If the lock or the temporary folder cannot be made.
    pub fn begin(cache: &Cache) -> Result<Self> {
        sweep_dead_runs(cache)?;
        Ok(Self { cache: cache.clone(), lock: RunLock::begin(cache)? })
    }

    /// What names this run.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.lock.id
    }

    /// The cache that this run works on.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// A folder for temporary files on the cache's file system; gone when the run ends.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        self.lock.temporary()
    }

    /// Leases what is to stay until this run ends, whether it exists yet or not. Lease first and look afterwards:
    /// what is there then cannot go away.
    ///
    /// # Errors
    ///
    /// If the index cannot be written, or if a blob's digest is not BLAKE3.
    pub fn lease(&self, leases: &[Lease]) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        self.cache.database().write(|transaction| {
            let mut insert = transaction
                .prepare_cached("INSERT OR IGNORE INTO leases (run, kind, id) VALUES (?1, ?2, ?3)")?;
            for lease in leases {
                let (kind, id) = lease.row()?;
                insert.execute((self.id().as_str(), kind, id))?;
            }
            Ok(())
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let run = self.id().as_str().to_owned();
        self.cache.database().note(|transaction| {
            transaction.prepare_cached("DELETE FROM leases WHERE run = ?1")?.execute([run])?;
            Ok(())
        });
    }
}

fn run_of(lock_path: &Path) -> Option<&str> {
    lock_path.file_name()?.to_str()?.strip_suffix(".lock")
}

/// Removes the temporary folders, leases and locks of runs whose process is gone. Returns how many there were.
pub(crate) fn sweep_dead_runs(cache: &Cache) -> Result<usize> {
    let mut swept = 0;
    let tmp = cache.layout().tmp();
    for entry in fs_err::read_dir(cache.layout().runs())? {
        let lock_path = entry?.path();
        let Some(run) = run_of(&lock_path) else { continue };
        let Ok(lock) = File::open(&lock_path) else { continue };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if lock.metadata()?.nlink() == 0 {
            continue;
        }
        // Files of subordinate ids can only be removed inside their namespace: the lock stays, and a run there
        // sweeps.
        if let Err(error) = remove_tree(&tmp.join(run)) {
            tracing::warn!(%error, run, "a dead run's temporary files were not removed");
            continue;
        }
        cache.database().write(|transaction| {
            transaction.prepare_cached("DELETE FROM leases WHERE run = ?1")?.execute([run])?;
            Ok(())
        })?;
        fs_err::remove_file(&lock_path)?;
        swept += 1;
    }
    // A lock is made before its folder, so a folder without one belongs to nobody.
    for entry in fs_err::read_dir(&tmp)? {
        let entry = entry?;
        let lock = cache.layout().runs().join(format!("{}.lock", entry.file_name().to_string_lossy()));
        if matches!(lock.try_exists(), Ok(false))
            && let Err(error) = remove_tree(&entry.path())
        {
            tracing::warn!(%error, "a dead run's temporary files were not removed");
        }
    }
    Ok(swept)
}

/// The ids of the runs that are alive.
pub(crate) fn live_runs(cache: &Cache) -> Result<Vec<RunId>> {
    let mut live = Vec::new();
    for entry in fs_err::read_dir(cache.layout().runs())? {
        let lock_path = entry?.path();
        let Some(run) = run_of(&lock_path) else { continue };
        let lock = match File::open(&lock_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lock => lock?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => live.push(RunId(run.to_owned())),
            Err(TryLockError::Error(error)) => return Err(Error::Io(error)),
        }
    }
    Ok(live)
}
