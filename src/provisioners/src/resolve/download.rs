//! Packages into the cache: what it lacks is fetched in parallel and becomes durable with one sync for all.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_cache::{BlobWriter, Cache, SyncBatch};
use imgbuild_debian::Sha256;
use imgbuild_debian::download::{self, BlobSink, DownloadError, DownloadEvent, DownloadOptions};
use imgbuild_debian::fetch::Fetcher;
use imgbuild_debian::lock::LockedPackage;
use imgbuild_debian::mirror::Mirrors;
use imgbuild_model::{Class, Diagnostic};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::archive::Archive;
use super::errors::{Problem, diagnostic};

/// Takes how many bytes have come, and how many are to come in all.
pub(crate) type OnProgress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// The files of packages in the cache, in the order of `packages`; what is not there is fetched. `date` tells the snapshot
/// service where to look for what mirrors have dropped.
///
/// # Errors
/// If a package cannot be had. What came before is kept.
pub(crate) async fn packages(
    archive: &Archive,
    distribution: &str,
    suite: &str,
    packages: &[LockedPackage],
    date: Option<Timestamp>,
    on_progress: OnProgress<'_>,
) -> Result<Vec<PathBuf>, Problem> {
    let cache = &archive.config().cache;
    let (found, missing) = look_up(cache, packages.to_vec()).await?;
    if missing.is_empty() {
        return Ok(found);
    }
    let transfer = Transfer {
        fetcher: archive.fetcher()?.clone(),
        mirrors: archive.mirrors(distribution, suite)?,
        options: DownloadOptions { parallel: archive.config().parallel, date },
        cache: cache.clone(),
        packages: missing,
    };
    transfer.run(distribution, on_progress).await?;
    let (found, missing) = look_up(cache, packages.to_vec()).await?;
    match missing.first() {
        None => Ok(found),
        Some(package) => {
            let message = format!("the cache lost `{}` while it was needed", package.label());
            Err(Diagnostic::error(message).class(Class::Environment).hint("build again").into())
        }
    }
}

/// What is to be fetched, and from where.
struct Transfer {
    fetcher: Fetcher,
    mirrors: Mirrors,
    options: DownloadOptions,
    cache: Cache,
    packages: Vec<LockedPackage>,
}

impl Transfer {
    /// Fetches on a thread of its own: what arrives is hashed twice and written, and the reactor has other tasks. The
    /// transfers end when this future is dropped.
    async fn run(self, distribution: &str, on_progress: OnProgress<'_>) -> Result<(), Problem> {
        let total: u64 = self.packages.iter().map(|package| package.size).sum();
        let (progress, mut reports) = watch::channel(0);
        let (wanted, unwanted) = oneshot::channel::<()>();
        let reactor = Handle::current();
        let mut work = tokio::task::spawn_blocking(move || self.carry_out(&reactor, &progress, unwanted));
        on_progress(0, total);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                Ok(()) = reports.changed() => on_progress(*reports.borrow_and_update(), total),
            }
        };
        drop(wanted);
        let (fetched, kept) =
            done.map_err(|error| Diagnostic::error(format!("a task failed: {error}")).class(Class::Bug))?;
        fetched.map_err(|error| diagnostic(distribution, error))?;
        kept.map_err(|error| cache_problem(&error))?;
        on_progress(total, total);
        Ok(())
    }

    fn carry_out(
        self,
        reactor: &Handle,
        progress: &watch::Sender<u64>,
        unwanted: oneshot::Receiver<()>,
    ) -> (Result<(), DownloadError>, imgbuild_cache::Result<()>) {
        let sink = CacheSink { cache: self.cache.clone(), batch: Arc::new(self.cache.sync_batch()) };
        let report = |event: DownloadEvent<'_>| {
            if let DownloadEvent::Bytes(done) = event {
                progress.send_replace(done);
            }
        };
        let fetched = reactor.block_on(async {
            let transfers = download::fetch_packages(
                &self.fetcher,
                &self.packages,
                &self.mirrors,
                self.options,
                &sink,
                &report,
            );
            tokio::select! {
                fetched = transfers => fetched.map(drop),
                // Nobody waits for the answer any more.
                _ = unwanted => Ok(()),
            }
        });
        // What came is kept even if something failed: the next run need not fetch it again.
        let kept = match Arc::into_inner(sink.batch) {
            Some(batch) => batch.commit().map(drop),
            None => Ok(()),
        };
        (fetched, kept)
    }
}

/// The files of those that the cache has, and those that it lacks, each once.
async fn look_up(
    cache: &Cache,
    packages: Vec<LockedPackage>,
) -> Result<(Vec<PathBuf>, Vec<LockedPackage>), Problem> {
    let cache = cache.clone();
    let result = blocking(move || {
        let mut found = Vec::with_capacity(packages.len());
        let mut missing: Vec<LockedPackage> = Vec::new();
        for package in packages {
            match cache.find_sha256(&package.sha256.0, package.size)? {
                Some(digest) => found.push(cache.path(&digest)?),
                None if missing.iter().any(|other| other.sha256 == package.sha256) => {}
                None => missing.push(package),
            }
        }
        Ok((found, missing))
    });
    result.await?.map_err(|error: imgbuild_cache::Error| cache_problem(&error))
}

fn cache_problem(error: &imgbuild_cache::Error) -> Problem {
    let diagnostic = Diagnostic::error(format!("the cache failed: {error}")).class(Class::Environment);
    if error.is_disk_full() {
        diagnostic.hint("free some space, for example with `imgbuild cache gc`").into()
    } else {
        diagnostic.into()
    }
}

/// Work that would keep the reactor from its other tasks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Diagnostic::error(format!("a task failed: {error}")).class(Class::Bug).into())
}

/// The cache, as downloads see it.
struct CacheSink {
    cache: Cache,
    batch: Arc<SyncBatch>,
}

impl BlobSink for CacheSink {
    fn contains(&self, sha256: &Sha256, size: u64) -> io::Result<Option<PathBuf>> {
        let digest = self.cache.find_sha256(&sha256.0, size).map_err(io_error)?;
        digest.map(|digest| self.cache.path(&digest).map_err(io_error)).transpose()
    }

    fn begin(&self, sha256: &Sha256, size: u64) -> io::Result<Box<dyn download::BlobWriter>> {
        let writer = begin(&self.cache, *sha256, size)?;
        Ok(Box::new(CacheWriter {
            writer,
            cache: self.cache.clone(),
            batch: self.batch.clone(),
            sha256: *sha256,
            size,
        }))
    }
}

/// A package on its way into the batch.
struct CacheWriter {
    writer: BlobWriter,
    cache: Cache,
    batch: Arc<SyncBatch>,
    sha256: Sha256,
    size: u64,
}

fn begin(cache: &Cache, sha256: Sha256, size: u64) -> io::Result<BlobWriter> {
    cache.writer(Some(sha256.with_size(size))).map_err(io_error)
}

impl download::BlobWriter for CacheWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.writer = begin(&self.cache, self.sha256, self.size)?;
        Ok(())
    }

    /// The path is known only when the whole batch is in the store; the caller looks it up then.
    fn commit(self: Box<Self>) -> io::Result<PathBuf> {
        self.batch.add(self.writer.finish().map_err(io_error)?);
        Ok(PathBuf::new())
    }
}

/// The kind tells a full disk from other failures, so it is kept.
fn io_error(error: imgbuild_cache::Error) -> io::Error {
    let kind = if error.is_disk_full() { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
    io::Error::new(kind, error)
}
