//! Digests of the user's files, without reading those again whose status has not changed.
//!
//! A status is believed when device, inode, size, modification and change time are the same to the nanosecond, and
//! when it was already at least two seconds old when the file was read: a file system with coarse times could
//! otherwise take a second write in the same tick unnoticed. The path is only where to look a status up, so that
//! two names of one file do no harm.

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use imgbuild_digest::{Digest, Hash};
use rayon::prelude::*;
use rusqlite::OptionalExtension as _;

use crate::{Cache, Error, Result};

/// How old a status must be when the file is read, in nanoseconds.
const SETTLED: i64 = 2_000_000_000;

/// Between the look at a path and its opening a link may have taken its place.
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// How often a file is read again that changed meanwhile.
const ATTEMPTS: usize = 3;

/// A file as an input of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileDigest {
    /// The contents.
    pub digest: Digest,
    /// Whether the owner may execute it.
    pub executable: bool,
}

/// Finds the digests of files; see [`Cache::file_memo`].
#[derive(Clone, Debug)]
pub struct FileMemo {
    cache: Cache,
    bypass: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Status {
    dev: i64,
    ino: i64,
    size: i64,
    mtime_ns: i64,
    ctime_ns: i64,
    executable: bool,
}

struct Lookup {
    path: PathBuf,
    status: Status,
}

impl Cache {
    /// The memo of file digests. With `bypass` every file is read, and what is found is remembered all the same.
    #[must_use]
    pub fn file_memo(&self, bypass: bool) -> FileMemo {
        FileMemo { cache: self.clone(), bypass }
    }
}

impl FileMemo {
    /// The digest of one regular file. Links are the caller's to resolve.
    ///
    /// # Errors
    ///
    /// [`Error::NotAFile`] for anything else than a regular file; otherwise if it cannot be read.
    pub fn digest(&self, path: &Path) -> Result<FileDigest> {
        let mut digests = self.digest_many(&[path])?;
        digests.pop().unwrap_or_else(|| Err(Error::NotAFile(path.to_owned())))
    }

    /// The digests of many files, in their order, each with its own error. They are read in parallel; the memo is
    /// read once and written once.
    ///
    /// # Errors
    ///
    /// If the index cannot be read or written.
    pub fn digest_many<P: AsRef<Path> + Sync>(&self, paths: &[P]) -> Result<Vec<Result<FileDigest>>> {
        let lookups: Vec<Result<Lookup>> =
            paths.par_iter().with_min_len(64).map(|path| look_up(path.as_ref())).collect();
        let known = self.known(&lookups)?;
        let (digests, new): (Vec<_>, Vec<_>) = lookups
            .into_par_iter()
            .zip(known)
            .map(|(lookup, known)| match (lookup, known) {
                (Err(error), _) => (Err(error), None),
                (Ok(lookup), Some(digest)) => {
                    (Ok(FileDigest { digest, executable: lookup.status.executable }), None)
                }
                (Ok(lookup), None) => match read(&lookup) {
                    Err(error) => (Err(error), None),
                    Ok((digest, status, settled)) => {
                        let remember = settled.then_some((Lookup { status, ..lookup }, digest));
                        (Ok(FileDigest { digest, executable: status.executable }), remember)
                    }
                },
            })
            .unzip();
        self.remember(new.into_iter().flatten().collect())?;
        Ok(digests)
    }

    fn known(&self, lookups: &[Result<Lookup>]) -> Result<Vec<Option<Digest>>> {
        if self.bypass {
            return Ok(vec![None; lookups.len()]);
        }
        self.cache.database().read(|transaction| {
            let mut select = transaction.prepare_cached(
                "SELECT hash FROM file_memo WHERE path = ?1 AND dev = ?2 AND ino = ?3 AND size = ?4
                                              AND mtime_ns = ?5 AND ctime_ns = ?6",
            )?;
            lookups
                .iter()
                .map(|lookup| {
                    let Ok(Lookup { path, status }) = lookup else { return Ok(None) };
                    let Status { dev, ino, size, mtime_ns, ctime_ns, executable: _ } = *status;
                    let hash: Option<[u8; 32]> = select
                        .query_row((path.as_os_str().as_bytes(), dev, ino, size, mtime_ns, ctime_ns), |row| {
                            row.get(0)
                        })
                        .optional()?;
                    Ok(hash.map(|hash| Digest::blake3(Hash(hash), size as u64)))
                })
                .collect()
        })
    }

    fn remember(&self, new: Vec<(Lookup, Digest)>) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let now = crate::clock::now();
        self.cache.database().write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO file_memo
                     (path, dev, ino, size, mtime_ns, ctime_ns, hash, recorded)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            for (Lookup { path, status }, digest) in &new {
                let Status { dev, ino, size, mtime_ns, ctime_ns, executable: _ } = *status;
                let path = path.as_os_str().as_bytes();
                insert.execute((path, dev, ino, size, mtime_ns, ctime_ns, &digest.bytes, now))?;
            }
            Ok(())
        })
    }
}

fn look_up(path: &Path) -> Result<Lookup> {
    let path = std::path::absolute(path)?;
    let status = status(&path, &fs_err::symlink_metadata(&path)?)?;
    Ok(Lookup { path, status })
}

fn status(path: &Path, status: &std::fs::Metadata) -> Result<Status> {
    if !status.is_file() {
        return Err(Error::NotAFile(path.to_owned()));
    }
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Ok(Status {
        dev: status.dev() as i64,
        ino: status.ino() as i64,
        size: status.size() as i64,
        mtime_ns: nanoseconds(status.mtime(), status.mtime_nsec()),
        ctime_ns: nanoseconds(status.ctime(), status.ctime_nsec()),
        executable: status.mode() & 0o100 != 0,
    })
}

/// Reads a file whose status stays the same meanwhile; says whether that status was old enough to be believed
/// later.
fn read(lookup: &Lookup) -> Result<(Digest, Status, bool)> {
    let path = &lookup.path;
    for _ in 0..ATTEMPTS {
        let begun = crate::clock::now_nanoseconds();
        let mut file = fs_err::OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path)?;
        let before = status(path, &file.metadata()?)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; usize::try_from(before.size).unwrap_or_default().clamp(1, 1 << 18)];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
        }
        let digest = Digest::blake3(Hash(*hasher.finalize().as_bytes()), hasher.count());
        if status(path, &file.metadata()?)? == before && digest.size == before.size as u64 {
            let settled = begun - before.mtime_ns.max(before.ctime_ns) >= SETTLED;
            return Ok((digest, before, settled));
        }
    }
    Err(Error::ChangedWhileRead(path.clone()))
}
