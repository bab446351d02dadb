//! Layers: the tree that a step wrote, beside its canonical manifest, under the name of its delta.
//!
//! A tree is written in a run's temporary folder by an overlay mount, captured there, and renamed as a whole; it
//! shares no inode with anything. What is not here: the mount and the capture.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use imgbuild_digest::Hash;
use imgbuild_tree::{DeltaId, DeltaManifest, Node};
use rusqlite::OptionalExtension as _;

use crate::cut::StagedChunk;
use crate::removal::remove_tree;
use crate::whole::StagedWhole;
use crate::{Cache, Error, Result, Run};

/// What a file's blocks are rounded up to when a layer's size is told, in bytes.
const BLOCK: u64 = 4096;

/// The two folders of an overlay mount whose result may become a layer. Dropped without commit, they are removed.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    chunks: HashMap<Hash, StagedChunk>,
    whole: Vec<StagedWhole>,
}

impl Staged {
    /// The upper directory.
    #[must_use]
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// The work directory, on the same file system.
    #[must_use]
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// What is renamed into the store: the upper directory lies in it as `tree`.
    fn layer(&self) -> PathBuf {
        self.folder.join("layer")
    }

    /// Where chunks wait, each a file of its hash.
    pub(crate) fn chunk_folder(&self) -> PathBuf {
        self.folder.join("chunks")
    }

    /// The chunks that wait.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &StagedChunk> {
        self.chunks.values()
    }

    pub(crate) fn chunks_mut(&mut self) -> &mut HashMap<Hash, StagedChunk> {
        &mut self.chunks
    }

    /// The whole forms of files that are kept as chunks, which go into the store with the layer.
    pub(crate) fn whole(&self) -> &[StagedWhole] {
        &self.whole
    }

    pub(crate) fn whole_mut(&mut self) -> &mut Vec<StagedWhole> {
        &mut self.whole
    }

    /// Where those lie.
    pub(crate) fn whole_folder(&self) -> PathBuf {
        self.layer().join("whole")
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.folder) {
            tracing::warn!(%error, "a staged layer was not removed; it goes with its run");
        }
    }
}

/// A staged tree on its way into the store.
struct Captured {
    staged: Staged,
    delta: DeltaId,
    encoded: Vec<u8>,
    size: u64,
}

impl Captured {
    fn new(staged: Staged, manifest: &DeltaManifest) -> Self {
        let encoded = manifest.encode();
        let delta = DeltaManifest::id_of_encoded(&encoded);
        Self { staged, delta, encoded, size: size_of(manifest) }
    }

    fn write_manifest(&self) -> io::Result<()> {
        fs_err::write(self.staged.layer().join("manifest"), &self.encoded)
    }
}

/// Manifests that are in use, so that images with common layers share them.
#[derive(Default)]
pub(crate) struct ManifestMemory(Mutex<HashMap<DeltaId, Weak<DeltaManifest>>>);

impl ManifestMemory {
    fn get(&self, delta: &DeltaId) -> Option<Arc<DeltaManifest>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(delta)?.upgrade()
    }

    fn keep(&self, delta: DeltaId, manifest: &Arc<DeltaManifest>) {
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.retain(|_, manifest| manifest.strong_count() > 0);
        known.insert(delta, Arc::downgrade(manifest));
    }
}

impl Cache {
    /// Makes the folders for an overlay mount, on the file system of the store.
    ///
    /// # Errors
    ///
    /// If they cannot be made.
    pub fn stage(&self, run: &Run) -> Result<Staged> {
        let folder = tempfile::Builder::new().prefix("stage-").tempdir_in(run.temporary())?.keep();
        let staged = Staged {
            upper: folder.join("layer/tree"),
            work: folder.join("work"),
            folder,
            chunks: HashMap::new(),
            whole: Vec::new(),
        };
        fs_err::create_dir(staged.layer())?;
        fs_err::create_dir(&staged.upper)?;
        // The root of an image is open to its users; the folders around it are not.
        fs_err::set_permissions(&staged.upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        fs_err::create_dir(&staged.work)?;
        Ok(staged)
    }

    /// Puts a captured tree into the store. `manifest` is what its capture returned. If an equal layer is there
    /// already, the staged one is removed.
    ///
    /// # Errors
    ///
    /// If the tree cannot be synced or renamed.
    pub fn commit_layer(&self, staged: Staged, manifest: &DeltaManifest) -> Result<DeltaId> {
        Ok(self.commit_layers(vec![(staged, manifest)])?[0])
    }

    /// Puts many captured trees into the store, each with what its capture returned: with one sync and one
    /// transaction for all.
    ///
    /// # Errors
    ///
    /// If a tree cannot be synced or renamed; then no layer has a row.
    pub fn commit_layers<M: Borrow<DeltaManifest>>(&self, layers: Vec<(Staged, M)>) -> Result<Vec<DeltaId>> {
        let layers: Vec<Captured> =
            layers.into_iter().map(|(staged, manifest)| Captured::new(staged, manifest.borrow())).collect();
        let new: HashSet<DeltaId> =
            layers.iter().map(|layer| layer.delta).filter(|delta| !self.has_layer(delta)).collect();
        for layer in layers.iter().filter(|layer| new.contains(&layer.delta)) {
            layer.write_manifest()?;
        }
        let is_written = |layer: &Captured| layer.staged.chunks().any(|chunk| !chunk.linked);
        if !new.is_empty() || layers.iter().any(is_written) {
            self.sync_file_system()?;
        }
        let has_whole = layers.iter().any(|layer| !layer.staged.whole().is_empty());
        let deltas = self.database().write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO layers (delta, size, last_used) VALUES (?1, ?2, ?3)
                 ON CONFLICT (delta) DO UPDATE SET last_used = ?3",
            )?;
            for layer in &layers {
                if !self.has_layer(&layer.delta) {
                    if !new.contains(&layer.delta) {
                        // It went away between the two looks: there is nothing synced to put in its place.
                        layer.write_manifest()?;
                        self.sync_file_system()?;
                    }
                    let target = self.layout().layer(&layer.delta);
                    // A folder without a manifest is what a damaged disk leaves.
                    remove_tree(&target)?;
                    fs_err::rename(layer.staged.layer(), &target)?;
                    self.put_staged_whole(transaction, &layer.delta, &layer.staged)?;
                } else {
                    self.adopt_staged_whole(transaction, &layer.delta, &layer.staged)?;
                }
                self.put_chunks(transaction, &layer.delta, &layer.staged)?;
                insert.execute((&layer.delta.0.0, layer.size as i64, crate::clock::now()))?;
            }
            Ok(layers.iter().map(|layer| layer.delta).collect())
        })?;
        if has_whole {
            self.prune_whole(crate::whole::BUDGET);
        }
        Ok(deltas)
    }

    /// Whether the store holds the layer: its commit marker is there.
    #[must_use]
    pub fn has_layer(&self, delta: &DeltaId) -> bool {
        self.layout().layer(delta).join("manifest").exists()
    }

    /// The folder of a layer's files, to be mounted as a lower layer. Whether it is there is for
    /// [`Cache::has_layer`].
    #[must_use]
    pub fn layer_tree(&self, delta: &DeltaId) -> PathBuf {
        self.layout().layer(delta).join("tree")
    }

    /// What layers alone take on disk, in bytes, with their chunks that no other layer holds and their whole files; those that are not
    /// there take nothing.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn size_of_layers(&self, deltas: &[DeltaId]) -> Result<u64> {
        self.database().read(|transaction| {
            let mut select = transaction.prepare_cached(
                "SELECT size
                     + (SELECT coalesce(sum(taken), 0) FROM whole WHERE delta = ?1)
                     + (SELECT coalesce(sum(c.stored), 0) FROM layer_chunks l JOIN chunks c ON c.hash = l.hash
                        WHERE l.delta = ?1
                          AND NOT EXISTS (SELECT 1 FROM layer_chunks o WHERE o.hash = l.hash AND o.delta <> ?1))
                 FROM layers WHERE delta = ?1",
            )?;
            let size =
                |delta: &DeltaId| select.query_row([&delta.0.0], |row| row.get::<_, i64>(0)).optional();
            let sizes = deltas.iter().map(size).collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(sizes.into_iter().flatten().map(i64::unsigned_abs).sum())
        })
    }

    /// A layer's manifest; one that is in use already is shared.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchLayer`], or [`Error::DamagedLayer`] if the manifest is not what the name says.
    pub fn layer_manifest(&self, delta: &DeltaId) -> Result<Arc<DeltaManifest>> {
        if let Some(manifest) = self.0.manifests.get(delta) {
            return Ok(manifest);
        }
        let manifest = Arc::new(self.read_manifest(delta)?);
        self.0.manifests.keep(*delta, &manifest);
        Ok(manifest)
    }

    pub(crate) fn read_manifest(&self, delta: &DeltaId) -> Result<DeltaManifest> {
        let encoded = match fs_err::read(self.layout().layer(delta).join("manifest")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NoSuchLayer(*delta)),
            encoded => encoded?,
        };
        let damaged = |reason: String| Error::DamagedLayer { layer: *delta, reason };
        if DeltaManifest::id_of_encoded(&encoded) != *delta {
            return Err(damaged("its hash is another".to_owned()));
        }
        DeltaManifest::decode(&encoded).map_err(|error| damaged(error.to_string()))
    }
}

/// What a layer takes on disk, nearly: each file's bytes in whole blocks, and one block for everything else.
pub(crate) fn size_of(manifest: &DeltaManifest) -> u64 {
    manifest
        .entries
        .iter()
        .map(|entry| match &entry.node {
            Node::File { digest, .. } => digest.size.next_multiple_of(BLOCK),
            Node::Directory { .. } => BLOCK,
            _ => 0,
        })
        .sum::<u64>()
        + BLOCK
}
