//! An image of a registry as a layout on disk: its manifest and configuration first, its layers when they are needed.
//!
//! The layout holds symbolic links to the cache's blobs, so that nothing is there twice. What is not here: the transfer
//! itself, and what is made of the layers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt as _;
use imgbuild_digest::Digest;
use imgbuild_engine::ActionError;
use imgbuild_formats::Platform;
use imgbuild_formats::oci_read::StoredLayer;
use serde::Deserialize;

use super::transfer::{MAX_DOCUMENT, Repository, remote, sha256};
use super::wanted_platforms;

/// Indexes within indexes are followed so far.
const MAX_DEPTH: usize = 4;

/// Layers that are fetched at the same time.
const PARALLEL: usize = 4;

/// How many bytes are worth an event.
const EVENT_BYTES: i64 = 1 << 20;

/// What is asked of a manifest or an index.
#[derive(Deserialize)]
struct Document {
    config: Option<Reference>,
    #[serde(default)]
    manifests: Vec<Reference>,
}

/// What a document says of another blob.
#[derive(Deserialize)]
struct Reference {
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

/// A layout that is filled as needed.
pub(super) struct Pull<'a> {
    repository: &'a Repository<'a>,
    cache: &'a imgbuild_cache::Cache,
    folder: PathBuf,
}

impl<'a> Pull<'a> {
    /// An empty layout in `folder`, which is not there yet.
    pub(super) fn new(
        repository: &'a Repository<'a>,
        cache: &'a imgbuild_cache::Cache,
        folder: &Path,
    ) -> Result<Self, ActionError> {
        let make = || -> std::io::Result<()> {
            fs_err::create_dir_all(folder.join("blobs/sha256"))?;
            fs_err::write(folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            fs_err::write(folder.join("index.json"), br#"{"schemaVersion":2,"manifests":[]}"#)
        };
        make()?;
        Ok(Self { repository, cache, folder: folder.to_owned() })
    }

    /// Fetches the manifest or index `digest` and what it refers to for the platform, but for layers.
    pub(super) async fn documents(
        &self,
        digest: &str,
        platform: imgbuild_model::Platform,
    ) -> Result<(), ActionError> {
        let wanted = wanted_platforms(platform);
        let mut waiting = vec![(digest.to_owned(), 0)];
        while let Some((name, depth)) = waiting.pop() {
            let digest = self.repository.manifest(&name).await?;
            let path = self.link(&digest)?;
            let bytes = fs_err::read(path)?;
            let document: Document = serde_json::from_slice(&bytes).map_err(|error| {
                remote(format!(
                    "the manifest `{name}` of `{}` is not valid: {error}",
                    self.repository.reference()
                ))
            })?;
            if let Some(Reference { digest, size, .. }) = document.config {
                if size > MAX_DOCUMENT {
                    return Err(remote(format!(
                        "the configuration `{digest}` has {size} bytes, more than the {MAX_DOCUMENT} that one may have"
                    )));
                }
                let digest = sha256(&digest, size)?;
                self.repository.blob(&digest, &|_| {}).await?;
                self.link(&digest)?;
            }
            let fits = |entry: &&Reference| {
                let stated = entry.platform.as_ref();
                stated.is_none_or(|stated| wanted.iter().any(|wanted| stated.satisfies(wanted)))
            };
            if depth < MAX_DEPTH {
                let inner = document.manifests.iter().filter(fits);
                waiting.extend(inner.map(|entry| (entry.digest.clone(), depth + 1)));
            }
        }
        Ok(())
    }

    /// Fetches layers; `on_progress` takes the bytes that are there and those that there are to be.
    pub(super) async fn layers(
        &self,
        layers: &[StoredLayer],
        on_progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(), ActionError> {
        // One blob may be several layers.
        let blobs: BTreeMap<[u8; 32], Digest> =
            layers.iter().map(|layer| (layer.blob.bytes, layer.blob)).collect();
        let total: u64 = blobs.values().map(|blob| blob.size).sum();
        let (done, told) = (AtomicI64::new(0), AtomicI64::new(0));
        let on_bytes = |more: i64| {
            let now = done.fetch_add(more, Ordering::Relaxed) + more;
            let before = told.load(Ordering::Relaxed);
            if (now - before).abs() >= EVENT_BYTES || now.cast_unsigned() == total {
                told.store(now, Ordering::Relaxed);
                on_progress(now.max(0).cast_unsigned(), total);
            }
        };
        futures::stream::iter(blobs.values().map(Ok::<_, ActionError>))
            .try_for_each_concurrent(PARALLEL, |blob| async { self.repository.blob(blob, &on_bytes).await })
            .await?;
        blobs.values().try_for_each(|blob| self.link(blob).map(drop))
    }

    /// Shows a blob of the cache in the layout.
    fn link(&self, digest: &Digest) -> Result<PathBuf, ActionError> {
        let missing = || ActionError::environment(format!("the blob `{digest}` went out of the cache"));
        let found = self.repository.find(digest)?.ok_or_else(missing)?;
        let path = self.folder.join("blobs/sha256").join(digest.hex());
        let target = self.cache.path(&found)?;
        match fs_err::os::unix::fs::symlink(target, &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(path),
        }
    }
}
