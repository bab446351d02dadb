//! Blobs: immutable bytes by BLAKE3 digest, with their SHA-256 beside it.
//!
//! What is not here: how a blob gets in safely (`pending`) and when it goes (`gc`).

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use imgbuild_digest::{Digest, Hash};
use rusqlite::OptionalExtension as _;

use crate::layout::blake3_of;
use crate::{Cache, Error, Result};

/// How stale a `last_used` may be before it is worth a write.
pub(crate) const TOUCH_SECONDS: i64 = 3600;

/// A blob in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoredBlob {
    /// What names it: BLAKE3 and size.
    pub digest: Digest,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl Cache {
    /// Puts bytes into the store. Nothing is written if they are there already.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<StoredBlob> {
        let digest = Digest::of(bytes);
        if let Some(stored) = self.stored(&digest)? {
            return Ok(stored);
        }
        let mut writer = self.writer(Some(digest))?;
        writer.write_all(bytes)?;
        writer.commit()
    }

    /// Puts a copy of a file into the store.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or the copy not be written.
    pub fn put_file(&self, path: &Path) -> Result<StoredBlob> {
        let mut file = fs_err::File::open(path)?;
        let mut writer = self.writer(None)?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return writer.commit(),
                Ok(length) => writer.write_all(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The blob's file, for reading. It must not be changed or linked to; what reads it directly trusts the disk.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBlob`] if the store does not hold it.
    pub fn path(&self, digest: &Digest) -> Result<PathBuf> {
        if self.contains(digest)? {
            Ok(self.layout().blob(&digest.bytes))
        } else {
            Err(Error::NoSuchBlob(*digest))
        }
    }

    /// Opens a blob for reading once from beginning to end. The last read fails if the bytes are not those of the
    /// digest; whoever uses what was read before that must be able to take it back.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBlob`] if the store does not hold it.
    pub fn open_verified(&self, digest: &Digest) -> Result<VerifiedReader> {
        let path = self.layout().blob(blake3_of(digest)?);
        let file = match fs_err::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NoSuchBlob(*digest)),
            file => file?,
        };
        Ok(VerifiedReader {
            cache: self.clone(),
            file,
            hasher: blake3::Hasher::new(),
            digest: *digest,
            size: 0,
            checked: false,
        })
    }

    /// The whole of a blob, verified.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchBlob`], or [`Error::DamagedBlob`] if its bytes have changed on disk.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(digest.size).unwrap_or_default().min(1 << 24));
        match self.open_verified(digest)?.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(match error.downcast::<Error>() {
                Ok(error) => error,
                Err(error) => error.into(),
            }),
        }
    }

    /// The blob with this SHA-256 and size, if the store holds it.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn find_sha256(&self, sha256: &[u8; 32], size: u64) -> Result<Option<Digest>> {
        let found = self.database().read(|transaction| {
            Ok(transaction
                .prepare_cached("SELECT hash, last_used FROM blobs WHERE sha256 = ?1 AND size = ?2")?
                .query_row((sha256, size as i64), |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get(1)?)))
                .optional()?)
        })?;
        let Some((hash, last_used)) = found else { return Ok(None) };
        let digest = Digest::blake3(Hash(hash), size);
        if !self.contains(&digest)? {
            return Ok(None);
        }
        self.touch_blob(&hash, last_used);
        Ok(Some(digest))
    }

    /// The SHA-256 of each of these blobs, as it was computed when they were stored; none for what is not there.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn sha256_of(&self, digests: &[Digest]) -> Result<Vec<Option<[u8; 32]>>> {
        self.database().read(|transaction| {
            let mut select = transaction.prepare_cached("SELECT sha256 FROM blobs WHERE hash = ?1")?;
            digests
                .iter()
                .map(|digest| Ok(select.query_row([blake3_of(digest)?], |row| row.get(0)).optional()?))
                .collect()
        })
    }

    fn stored(&self, digest: &Digest) -> Result<Option<StoredBlob>> {
        if !self.contains(digest)? {
            return Ok(None);
        }
        let row = self.database().read(|transaction| {
            Ok(transaction
                .prepare_cached("SELECT sha256, last_used FROM blobs WHERE hash = ?1")?
                .query_row([&digest.bytes], |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get(1)?)))
                .optional()?)
        })?;
        Ok(row.map(|(sha256, last_used)| {
            self.touch_blob(&digest.bytes, last_used);
            StoredBlob { digest: *digest, sha256 }
        }))
    }

    fn touch_blob(&self, hash: &[u8; 32], last_used: i64) {
        let now = crate::clock::now();
        if now - last_used > TOUCH_SECONDS {
            self.database().note(|transaction| {
                transaction
                    .prepare_cached("UPDATE blobs SET last_used = ?2 WHERE hash = ?1")?
                    .execute((hash, now))?;
                Ok(())
            });
        }
    }

    /// Moves a damaged blob out of the store, so that the next one who needs it makes it again.
    pub(crate) fn quarantine_blob(&self, hash: &[u8; 32]) -> Result<()> {
        self.database().write(|transaction| {
            transaction.prepare_cached("DELETE FROM blobs WHERE hash = ?1")?.execute([hash])?;
            match fs_err::rename(self.layout().blob(hash), self.layout().quarantine().join(hex::encode(hash)))
            {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            }
        })
    }
}

/// Reads a blob and checks it on the way; see [`Cache::open_verified`].
pub struct VerifiedReader {
    cache: Cache,
    file: fs_err::File,
    hasher: blake3::Hasher,
    digest: Digest,
    size: u64,
    checked: bool,
}

impl Read for VerifiedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.checked {
            return Ok(0);
        }
        let length = self.file.read(buffer)?;
        self.size += length as u64;
        if length > 0 && self.size <= self.digest.size {
            self.hasher.update(&buffer[..length]);
            return Ok(length);
        }
        let actual = Digest::blake3(Hash(*self.hasher.finalize().as_bytes()), self.size);
        if actual == self.digest {
            self.checked = true;
            return Ok(0);
        }
        if let Err(error) = self.cache.quarantine_blob(&self.digest.bytes) {
            tracing::warn!(%error, digest = %self.digest, "a damaged blob was not moved away");
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, Error::DamagedBlob(self.digest)))
    }
}
