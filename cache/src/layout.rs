//! Where things are under the cache's root. The only place that knows a path.
//!
//! ```text
//! index.db                 the index
//! blobs/<aa>/<hex>         blobs by BLAKE3, read-only
//! chunks/<aa>/<hex>        chunks of files of layers by the BLAKE3 of their contents, compressed, read-only
//! layers/<delta>/tree      a layer's files as overlayfs wrote them
//! layers/<delta>/manifest  its canonical manifest; with the folder's rename, the commit marker
//! layers/<delta>/whole/    whole forms of files that are kept as chunks, which can be done without
//! tmp/<run>/               what a run has not committed yet
//! runs/<run>.lock          held by the run's process while it lives
//! locks/                   one lock a key, and the collector's
//! quarantine/              damaged blobs
//! logs/                    the callers'
//! indexes/                 the callers' too: what can be downloaded again
//! warm/<name>/             warm snapshots: the memory of machines, which can be done without
//! ```

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use imgbuild_digest::{Digest, HashFunction};
use imgbuild_tree::DeltaId;

use crate::{ActionKey, Error, Result};

pub(crate) struct Layout {
    root: PathBuf,
}

const FOLDERS: [&str; 8] = ["blobs", "chunks", "layers", "tmp", "runs", "locks", "quarantine", "logs"];

impl Layout {
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root)?;
        // Layers hold set-user-id programs of whatever images were built: nobody else may reach them.
        if let Ok(status) = fs_err::metadata(&root)
            && status.mode() & 0o077 != 0
        {
            if fs_err::read_dir(&root)?.next().is_some() {
                return Err(Error::OpenToOthers(root));
            }
            fs_err::set_permissions(&root, Permissions::from_mode(0o700))?;
        }
        Ok(Self { root })
    }

    /// Makes what is not there yet.
    pub(crate) fn create(&self) -> Result<()> {
        let make = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        let named = |path: &Path, error: std::io::Error| {
            std::io::Error::new(
                error.kind(),
                format!("cannot make the cache folder `{}`: {error}", path.display()),
            )
        };
        make(&self.root).map_err(|error| named(&self.root, error))?;
        for folder in FOLDERS {
            let path = self.root.join(folder);
            make(&path).map_err(|error| named(&path, error))?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index.db")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn blob(&self, hash: &[u8; 32]) -> PathBuf {
        sharded(self.blobs(), hash)
    }

    pub(crate) fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    pub(crate) fn chunk(&self, hash: &[u8; 32]) -> PathBuf {
        sharded(self.chunks(), hash)
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, delta: &DeltaId) -> PathBuf {
        let mut path = self.root.join("layers");
        path.push(delta.to_string());
        path
    }

    pub(crate) fn whole(&self, delta: &DeltaId) -> PathBuf {
        let mut path = self.layer(delta);
        path.push("whole");
        path
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(crate) fn key_lock(&self, key: &ActionKey) -> PathBuf {
        let mut path = self.root.join("locks");
        path.push(format!("{key}.lock"));
        path
    }

    /// Held by whoever removes things that others might use.
    pub(crate) fn collector_lock(&self) -> PathBuf {
        self.root.join("locks").join("collector.lock")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn warm(&self) -> PathBuf {
        self.root.join("warm")
    }

    pub(crate) fn indexes(&self) -> PathBuf {
        self.root.join("indexes")
    }
}

fn sharded(mut folder: PathBuf, hash: &[u8; 32]) -> PathBuf {
    let hex = hex::encode(hash);
    folder.push(&hex[..2]);
    folder.push(hex);
    folder
}

/// The bytes of a digest that the store is addressed by.
pub(crate) fn blake3_of(digest: &Digest) -> Result<&[u8; 32]> {
    match digest.function {
        HashFunction::Blake3 => Ok(&digest.bytes),
        HashFunction::Sha256 => Err(Error::NotBlake3(*digest)),
    }
}
