//! Blobs on their way into the store: written and hashed in the run's temporary folder, synced, then renamed.
//!
//! A blob becomes visible only as a whole. A write that fails (a full disk, the wrong digest, a killed process)
//! leaves nothing but a temporary file, which is removed with its writer or with its dead run.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use imgbuild_digest::{Digest, Hash, HashFunction};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::layout::blake3_of;
use crate::{Cache, Error, Result, StoredBlob};

/// From how many blobs on one sync of the file system is cheaper than one of each file.
const SYNC_TOGETHER: usize = 8;

/// Writes one blob. Nothing of it is visible before [`BlobWriter::commit`]; a dropped writer leaves nothing behind.
pub struct BlobWriter {
    cache: Cache,
    file: NamedTempFile,
    blake3: blake3::Hasher,
    sha256: Sha256,
    size: u64,
    expected: Option<Digest>,
}

/// A blob that is written and hashed, but neither synced nor visible.
#[derive(Debug)]
pub struct PendingBlob {
    cache: Cache,
    file: NamedTempFile,
    blob: StoredBlob,
}

/// Blobs that become durable and visible together, with one sync for all: for many downloads at once.
#[derive(Debug)]
pub struct SyncBatch {
    cache: Cache,
    pending: Mutex<Vec<PendingBlob>>,
}

impl Cache {
    /// A writer for one blob. With `expected` (BLAKE3 or SHA-256) the bytes must have that digest.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be made.
    pub fn writer(&self, expected: Option<Digest>) -> Result<BlobWriter> {
        let file = tempfile::Builder::new()
            .prefix("blob-")
            .permissions(std::fs::Permissions::from_mode(0o444))
            .tempfile_in(self.temporary()?)?;
        Ok(BlobWriter {
            cache: self.clone(),
            file,
            blake3: blake3::Hasher::new(),
            sha256: Sha256::new(),
            size: 0,
            expected,
        })
    }

    /// A batch for blobs that are to be synced together.
    #[must_use]
    pub fn sync_batch(&self) -> SyncBatch {
        SyncBatch { cache: self.clone(), pending: Mutex::default() }
    }

    /// Renames written and synced blobs into the store, with one transaction for all.
    fn publish(&self, pending: Vec<PendingBlob>) -> Result<Vec<StoredBlob>> {
        let now = crate::clock::now();
        self.database().write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO blobs (hash, size, sha256, last_used) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (hash) DO UPDATE SET last_used = ?4",
            )?;
            let mut stored = Vec::with_capacity(pending.len());
            for PendingBlob { file, blob, .. } in pending {
                let path = self.layout().blob(&blob.digest.bytes);
                let is_there = fs_err::metadata(&path).is_ok_and(|status| status.len() == blob.digest.size);
                if !is_there {
                    if let Some(folder) = path.parent() {
                        fs_err::create_dir_all(folder)?;
                    }
                    file.persist(&path).map_err(|error| error.error)?;
                }
                insert.execute((&blob.digest.bytes, blob.digest.size as i64, &blob.sha256, now))?;
                stored.push(blob);
            }
            Ok(stored)
        })
    }

    /// Waits until everything that was written to the cache's file system is on disk.
    pub(crate) fn sync_file_system(&self) -> Result<()> {
        let root = fs_err::File::open(self.root())?;
        Ok(rustix::fs::syncfs(root.file())?)
    }
}

impl BlobWriter {
    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ends the writing and checks the digest; the blob may then be committed alone or with others.
    ///
    /// # Errors
    ///
    /// [`Error::DigestMismatch`] if the bytes are not the expected ones.
    pub fn finish(self) -> Result<PendingBlob> {
        let Self { cache, file, blake3, sha256, size, expected } = self;
        let digest = Digest::blake3(Hash(*blake3.finalize().as_bytes()), size);
        let sha256: [u8; 32] = sha256.finalize().into();
        if let Some(expected) = expected {
            let actual = match expected.function {
                HashFunction::Blake3 => digest,
                HashFunction::Sha256 => Digest::sha256(sha256, size),
            };
            if actual != expected {
                return Err(Error::DigestMismatch { expected, actual });
            }
        }
        Ok(PendingBlob { cache, file, blob: StoredBlob { digest, sha256 } })
    }

    /// Checks the digest, syncs, and puts the blob into the store.
    ///
    /// # Errors
    ///
    /// If the bytes are not the expected ones, or if they cannot be written.
    pub fn commit(self) -> Result<StoredBlob> {
        self.finish()?.commit()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(expected) = self.expected
            && self.size + bytes.len() as u64 > expected.size
        {
            // A server that sends without end must not fill the disk.
            return Err(io::Error::other(Error::TooLong { expected }));
        }
        let written = self.file.write(bytes)?;
        self.blake3.update(&bytes[..written]);
        self.sha256.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl PendingBlob {
    /// What was written.
    #[must_use]
    pub fn blob(&self) -> StoredBlob {
        self.blob
    }

    /// Syncs and puts the blob into the store.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn commit(self) -> Result<StoredBlob> {
        let blob = self.blob;
        if self.cache.contains(&blob.digest)? {
            // Nothing to wait for: the bytes are there. The row is renewed.
            self.cache.clone().publish(vec![self])?;
            return Ok(blob);
        }
        self.file.as_file().sync_data()?;
        self.cache.clone().publish(vec![self])?;
        Ok(blob)
    }
}

impl SyncBatch {
    /// Adds a written blob. It becomes visible with [`SyncBatch::commit`]; dropping the batch drops it.
    pub fn add(&self, blob: PendingBlob) {
        self.pending.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(blob);
    }

    /// Writes bytes as a blob of this batch.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<StoredBlob> {
        let mut writer = self.cache.writer(None)?;
        writer.write_all(bytes)?;
        let pending = writer.finish()?;
        let blob = pending.blob();
        self.add(pending);
        Ok(blob)
    }

    /// How many blobs wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len()
    }

    /// Whether no blob waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Syncs once and makes all blobs visible, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// If they cannot be written; then none is visible.
    pub fn commit(self) -> Result<Vec<StoredBlob>> {
        let pending = self.pending.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        if pending.len() < SYNC_TOGETHER {
            for blob in &pending {
                blob.file.as_file().sync_data()?;
            }
        } else {
            self.cache.sync_file_system()?;
        }
        self.cache.publish(pending)
    }
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter").field("size", &self.size).field("expected", &self.expected).finish()
    }
}

impl Cache {
    /// Whether the store holds the blob: its file is there with the right size. Nothing is read.
    ///
    /// # Errors
    ///
    /// If the digest is not BLAKE3.
    pub fn contains(&self, digest: &Digest) -> Result<bool> {
        let path = self.layout().blob(blake3_of(digest)?);
        Ok(std::fs::metadata(path).is_ok_and(|status| status.len() == digest.size))
    }
}
