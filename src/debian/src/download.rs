//! Locked packages from mirrors into the caller's store, in parallel, verified while they stream.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use reqwest::Url;

use crate::Sha256;
use crate::fetch::{FetchError, Fetcher, Receiver, storing_hint};
use crate::lock::LockedPackage;
use crate::mirror::Mirrors;
use crate::sha256::Sha256Hasher;

/// A store of blobs by SHA-256, the caller's.
pub trait BlobSink: Send + Sync {
    /// Where the blob is, if the store has it.
    fn contains(&self, sha256: &Sha256, size: u64) -> io::Result<Option<PathBuf>>;
    /// Starts to write one. What is dropped without [`BlobWriter::commit`] must leave nothing behind.
    fn begin(&self, sha256: &Sha256, size: u64) -> io::Result<Box<dyn BlobWriter>>;
}

/// A blob being written.
pub trait BlobWriter: Send {
    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Forgets everything written.
    fn restart(&mut self) -> io::Result<()>;
    /// Makes the blob visible; called only when digest and size are right. The path of the blob is returned.
    fn commit(self: Box<Self>) -> io::Result<PathBuf>;
}

/// What happened to one package; for progress display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadEvent<'a> {
    /// The store had it.
    Cached(&'a LockedPackage),
    /// Its transfer begins.
    Started(&'a LockedPackage),
    /// It arrived.
    Finished(&'a LockedPackage),
    /// So many bytes of all packages together have been received.
    Bytes(u64),
}

/// How packages are fetched.
#[derive(Clone, Copy, Debug)]
pub struct DownloadOptions {
    /// Transfers at the same time.
    pub parallel: usize,
    /// The date of the lock entry, which tells the snapshot service where to look.
    pub date: Option<Timestamp>,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self { parallel: 8, date: None }
    }
}

/// Why a package could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Neither a mirror nor the snapshot service has this version any more.
    #[error("`{package}` has vanished: neither the mirror nor the snapshot service has `{filename}`")]
    Vanished {
        /// `name_version_arch`.
        package: String,
        /// Path under the mirror's base.
        filename: String,
    },
    /// The bytes are not those that the lock names.
    #[error("`{package}` from `{url}`: {problem}")]
    Digest {
        /// `name_version_arch`.
        package: String,
        /// Where it came from.
        url: String,
        /// What differs, from what to what.
        problem: String,
    },
    /// The transfer failed; the error of the last place that was tried.
    #[error("`{package}`: {source}")]
    Fetch {
        /// `name_version_arch`.
        package: String,
        /// What went wrong.
        source: FetchError,
    },
    /// No mirror is known for its archive.
    #[error("`{package}`: no mirror is known for archive `{archive}`")]
    NoMirror {
        /// `name_version_arch`.
        package: String,
        /// The archive's name.
        archive: String,
    },
    /// The store failed.
    #[error("cannot store `{package}`: {source}")]
    Store {
        /// `name_version_arch`.
        package: String,
        /// The store's error.
        source: io::Error,
    },
}

impl DownloadError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Vanished { .. } => {
                Some("run `imgbuild update` to lock the version that the archive has now")
            }
            Self::Digest { .. } => {
                Some("the mirror is faulty; name another, or run `imgbuild update` if the lock is wrong")
            }
            Self::Fetch { source, .. } => source.hint(),
            Self::NoMirror { .. } => Some("name a mirror for this archive in the configuration"),
            Self::Store { source, .. } => Some(storing_hint(source)),
        }
    }
}

/// Fetches all packages; the paths of their blobs come back in the same order.
pub async fn fetch_packages(
    fetcher: &Fetcher,
    packages: &[LockedPackage],
    mirrors: &Mirrors,
    options: DownloadOptions,
    sink: &dyn BlobSink,
    events: &(dyn Fn(DownloadEvent<'_>) + Sync),
) -> Result<Vec<PathBuf>, DownloadError> {
    let total = AtomicU64::new(0);
    let total = &total;
    futures::stream::iter(packages)
        .map(|package| async move {
            let store = |source| DownloadError::Store { package: package.label(), source };
            if let Some(path) = sink.contains(&package.sha256, package.size).map_err(store)? {
                events(DownloadEvent::Cached(package));
                return Ok(path);
            }
            events(DownloadEvent::Started(package));
            let path = fetch_one(fetcher, package, mirrors, options.date, sink, total, events).await?;
            events(DownloadEvent::Finished(package));
            Ok(path)
        })
        .buffered(options.parallel.max(1))
        .try_collect()
        .await
}

async fn fetch_one(
    fetcher: &Fetcher,
    package: &LockedPackage,
    mirrors: &Mirrors,
    date: Option<Timestamp>,
    sink: &dyn BlobSink,
    total: &AtomicU64,
    events: &(dyn Fn(DownloadEvent<'_>) + Sync),
) -> Result<PathBuf, DownloadError> {
    let archive = package.archive.as_deref();
    let mut places: Vec<Url> =
        mirrors.of(archive).iter().filter_map(|mirror| mirror.join(&package.filename).ok()).collect();
    if let Some(date) = date {
        places.extend(mirrors.snapshots(archive, date, &package.filename));
    }
    if places.is_empty() {
        let archive = archive.unwrap_or(&mirrors.archive).to_owned();
        return Err(DownloadError::NoMirror { package: package.label(), archive });
    }
    let mut last = None;
    for url in places {
        let mut verifier = Verifier::begin(package, sink, total, events)?;
        match fetcher.get_into(&url, package.size, &mut verifier).await {
            Ok(_) => match verifier.finish(package, &url)? {
                Ok(path) => return Ok(path),
                Err(error) => last = Some(error),
            },
            // A later 404 says less than an earlier failure: the file may well be at the place that failed.
            Err(FetchError::NotFound { .. }) => {}
            Err(FetchError::TooLarge { .. }) => {
                let problem = format!("it is larger than the {} bytes that are locked", package.size);
                last =
                    Some(DownloadError::Digest { package: package.label(), url: url.to_string(), problem });
            }
            Err(source) => last = Some(DownloadError::Fetch { package: package.label(), source }),
        }
    }
    Err(last.unwrap_or_else(|| DownloadError::Vanished {
        package: package.label(),
        filename: package.filename.clone(),
    }))
}

struct Verifier<'a> {
    writer: Box<dyn BlobWriter>,
    hasher: Sha256Hasher,
    received: u64,
    total: &'a AtomicU64,
    events: &'a (dyn Fn(DownloadEvent<'_>) + Sync),
}

impl<'a> Verifier<'a> {
    fn begin(
        package: &LockedPackage,
        sink: &dyn BlobSink,
        total: &'a AtomicU64,
        events: &'a (dyn Fn(DownloadEvent<'_>) + Sync),
    ) -> Result<Self, DownloadError> {
        let writer = sink
            .begin(&package.sha256, package.size)
            .map_err(|source| DownloadError::Store { package: package.label(), source })?;
        Ok(Self { writer, hasher: Sha256Hasher::new(), received: 0, total, events })
    }

    /// The outer error ends everything, the inner one is the fault of this place.
    fn finish(
        self,
        package: &LockedPackage,
        url: &Url,
    ) -> Result<Result<PathBuf, DownloadError>, DownloadError> {
        let found = self.hasher.finish();
        let problem = if self.received != package.size {
            format!("it has {} bytes, locked are {}", self.received, package.size)
        } else if found != package.sha256 {
            format!("its SHA-256 is {found}, locked is {}", package.sha256)
        } else {
            let store = |source| DownloadError::Store { package: package.label(), source };
            return Ok(Ok(self.writer.commit().map_err(store)?));
        };
        Ok(Err(DownloadError::Digest { package: package.label(), url: url.to_string(), problem }))
    }
}

impl Receiver for Verifier<'_> {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        let total = self.total.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        (self.events)(DownloadEvent::Bytes(total));
        self.writer.write(bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.hasher = Sha256Hasher::new();
        self.total.fetch_sub(self.received, Ordering::Relaxed);
        self.received = 0;
        self.writer.restart()
    }
}

/// A plain folder as a store: one file a blob, named by its digest.
#[derive(Clone, Debug)]
pub struct FolderSink {
    folder: PathBuf,
}

impl FolderSink {
    /// A store in `folder`, which is created.
    pub fn new(folder: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, sha256: &Sha256) -> PathBuf {
        self.folder.join(format!("{sha256}.deb"))
    }
}

impl BlobSink for FolderSink {
    fn contains(&self, sha256: &Sha256, size: u64) -> io::Result<Option<PathBuf>> {
        let path = self.path(sha256);
        Ok(fs_err::metadata(&path).is_ok_and(|meta| meta.len() == size).then_some(path))
    }

    fn begin(&self, sha256: &Sha256, _size: u64) -> io::Result<Box<dyn BlobWriter>> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("{sha256}.{}.{serial}.tmp", std::process::id()));
        let file = fs_err::File::create_new(&temporary)?;
        Ok(Box::new(FolderWriter { file, temporary, target: self.path(sha256), committed: false }))
    }
}

struct FolderWriter {
    file: fs_err::File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl BlobWriter for FolderWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.file, bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        io::Seek::rewind(&mut self.file)
    }

    fn commit(mut self: Box<Self>) -> io::Result<PathBuf> {
        fs_err::rename(&self.temporary, &self.target)?;
        self.committed = true;
        Ok(self.target.clone())
    }
}

impl Drop for FolderWriter {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs_err::remove_file(&self.temporary);
        }
    }
}
