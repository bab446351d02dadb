//! Does the cache still hold what its index says? Reads everything; nothing of this is on the path of a hit.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use imgbuild_digest::{Digest, Hash};
use imgbuild_tree::{DeltaId, Mismatch};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::actions::{StoredResult, each_result, remove_result};
use crate::gc::CollectorLock;
use crate::{Cache, Error, Missing, Result};

/// How to verify.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Take damaged blobs, layers and results out of the cache, so that they are made again.
    pub repair: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Blobs, chunks and layers that were read.
    pub checked: u64,
    /// Blobs, chunks and layers that there are.
    pub total: u64,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A blob whose file is gone.
    #[error("the blob `{0}` is missing")]
    BlobMissing(Digest),
    /// A blob whose bytes have another digest.
    #[error("the blob `{0}` has other bytes than its digest says")]
    BlobChanged(Digest),
    /// A chunk of a layer whose file is gone.
    #[error("the chunk `{0}` is missing")]
    ChunkMissing(Hash),
    /// A chunk of a layer with other contents.
    #[error("the chunk `{0}` has other contents than its name says")]
    ChunkChanged(Hash),
    /// A whole form of a file that is kept as chunks, which is not as it was written. It can be done without.
    #[error("the file `{}` cannot be used: {reason}", path.display())]
    WholeUnusable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A layer that is gone or whose manifest is damaged.
    #[error("the layer `{layer}` cannot be used: {reason}")]
    LayerUnusable {
        /// The layer.
        layer: DeltaId,
        /// Why.
        reason: String,
    },
    /// A layer whose files are not those of its manifest.
    #[error(
        "the layer `{layer}` differs from its manifest in {} places; the first: {}",
        mismatches.len(),
        mismatches[0]
    )]
    LayerChanged {
        /// The layer.
        layer: DeltaId,
        /// All differences; at least one.
        mismatches: Vec<Mismatch>,
    },
    /// The memory of a machine that is not as it was written.
    #[error("the memory of a machine in `{}` cannot be used: {reason}", folder.display())]
    MemoryUnusable {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        reason: String,
    },
    /// A result that points to what is not there or not whole.
    #[error("the result with the output `{output}` is incomplete: {missing}")]
    ResultIncomplete {
        /// The result's output.
        output: Hash,
        /// What it lacks.
        missing: Missing,
    },
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs that were read.
    pub blobs: usize,
    /// Chunks of files of layers that were read.
    pub chunks: usize,
    /// Layers that were read.
    pub layers: usize,
    /// Results that were checked.
    pub results: usize,
    /// Machines whose memory was read.
    pub warm: usize,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// What lies in the store without a row: harmless, and garbage collection's to remove.
    pub orphans: Vec<PathBuf>,
    /// How many of the damaged things were taken out.
    pub repaired: usize,
}

struct Blob {
    digest: Digest,
    sha256: [u8; 32],
}

fn known_layers(transaction: &rusqlite::Transaction<'_>) -> Result<Vec<DeltaId>> {
    let mut statement = transaction.prepare("SELECT delta FROM layers")?;
    let rows = statement.query_map([], |row| Ok(DeltaId(Hash(row.get(0)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

impl Cache {
    /// Reads every blob and every layer and compares them with their names, and checks that every result has what
    /// it points to. In a store whose layers were made in a user namespace, call this in one with the same mapping.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if another process collects or verifies; otherwise if the index or a folder cannot be read.
    /// What is damaged is no error; it is in the report.
    pub fn verify(
        &self,
        options: VerifyOptions,
        progress: &(dyn Fn(VerifyProgress) + Sync),
    ) -> Result<VerifyReport> {
        let _lock = CollectorLock::take(self)?;
        let (blobs, layers) = self.database().read(|transaction| {
            let blobs: Vec<Blob> = transaction
                .prepare("SELECT hash, size, sha256 FROM blobs")?
                .query_map([], |row| {
                    let size = row.get::<_, i64>(1)?.unsigned_abs();
                    Ok(Blob { digest: Digest::blake3(Hash(row.get(0)?), size), sha256: row.get(2)? })
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok((blobs, known_layers(transaction)?))
        })?;
        let chunks = self.known_chunks()?;
        let total = (blobs.len() + chunks.len() + layers.len()) as u64;
        let checked = AtomicU64::new(0);
        let step = || {
            let checked = checked.fetch_add(1, Ordering::Relaxed) + 1;
            progress(VerifyProgress { checked, total });
        };
        let damaged_blobs: Vec<Damage> = blobs
            .par_iter()
            .with_max_len(16)
            .filter_map(|blob| {
                let damage = self.check_blob(blob).transpose();
                step();
                damage
            })
            .collect::<Result<_>>()?;
        let damaged_chunks: Vec<(Hash, Damage)> = chunks
            .par_iter()
            .with_max_len(16)
            .filter_map(|(chunk, length)| {
                let damage = self.check_chunk(chunk, *length).transpose();
                step();
                damage.map(|damage| damage.map(|damage| (*chunk, damage)))
            })
            .collect::<Result<_>>()?;
        let mut damage = damaged_blobs;
        // Each layer's files are read in parallel.
        for delta in &layers {
            damage.extend(self.check_layer(delta));
            step();
        }
        self.add_damaged_chunks(damaged_chunks, &mut damage)?;
        if damage.iter().any(|one| matches!(one, Damage::LayerUnusable { .. })) {
            // What a run has removed meanwhile is not damaged.
            let known: HashSet<DeltaId> = self.database().read(known_layers)?.into_iter().collect();
            damage
                .retain(|one| !matches!(one, Damage::LayerUnusable { layer, .. } if !known.contains(layer)));
        }
        let results = self.check_results(&mut damage)?;
        let warm = self.warm_folders()?;
        for one in &warm {
            if let Some(reason) = one.damage() {
                damage.push(Damage::MemoryUnusable { folder: one.path.clone(), reason });
            }
        }
        damage.extend(self.damaged_whole()?);
        let mut orphans = self.paths_without_row()?;
        let known: HashSet<DeltaId> = layers.iter().copied().collect();
        let is_damaged = |path: &PathBuf| {
            damage.iter().any(|one| matches!(one, Damage::MemoryUnusable { folder, .. } if folder == path))
        };
        orphans.extend(self.warm_without_layers(&known)?.into_iter().filter(|path| !is_damaged(path)));
        let repaired = if options.repair { self.repair(&damage)? } else { 0 };
        Ok(VerifyReport {
            blobs: blobs.len(),
            chunks: chunks.len(),
            layers: layers.len(),
            results,
            warm: warm.len(),
            damage,
            orphans,
            repaired,
        })
    }

    fn check_blob(&self, blob: &Blob) -> Result<Option<Damage>> {
        let path = self.layout().blob(&blob.digest.bytes);
        let mut file = match fs_err::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some(Damage::BlobMissing(blob.digest)));
            }
            file => file?,
        };
        let mut blake3 = blake3::Hasher::new();
        let mut sha256 = Sha256::new();
        let mut buffer = vec![0; usize::try_from(blob.digest.size).unwrap_or(usize::MAX).clamp(1, 1 << 20)];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    blake3.update(&buffer[..length]);
                    sha256.update(&buffer[..length]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A sector that cannot be read is damage, not a reason to stop looking.
                Err(_) => return Ok(Some(Damage::BlobChanged(blob.digest))),
            }
        }
        let actual = Digest::blake3(Hash(*blake3.finalize().as_bytes()), blake3.count());
        let same = actual == blob.digest && <[u8; 32]>::from(sha256.finalize()) == blob.sha256;
        Ok((!same).then_some(Damage::BlobChanged(blob.digest)))
    }

    /// A chunk that cannot be used makes the layers that hold it such. What a run has removed meanwhile is not damaged.
    fn add_damaged_chunks(&self, chunks: Vec<(Hash, Damage)>, damage: &mut Vec<Damage>) -> Result<()> {
        for (chunk, what) in chunks {
            let holders = self.holders(&chunk)?;
            if holders.is_empty() {
                continue;
            }
            let reason = what.to_string();
            damage.push(what);
            for layer in holders {
                let is_known = |one: &Damage| matches!(one, Damage::LayerUnusable { layer: known, .. } if *known == layer);
                if !damage.iter().any(is_known) {
                    damage.push(Damage::LayerUnusable { layer, reason: reason.clone() });
                }
            }
        }
        Ok(())
    }

    fn check_layer(&self, delta: &DeltaId) -> Option<Damage> {
        let unusable = |reason: String| Some(Damage::LayerUnusable { layer: *delta, reason });
        let manifest = match self.read_manifest(delta) {
            Ok(manifest) => manifest,
            Err(Error::NoSuchLayer(_)) => return unusable("it is missing".to_owned()),
            Err(Error::DamagedLayer { reason, .. }) => {
                return unusable(format!("its manifest is damaged: {reason}"));
            }
            Err(error) => return unusable(error.to_string()),
        };
        match imgbuild_tree::verify(&self.layer_tree(delta), &manifest) {
            Ok(mismatches) if mismatches.is_empty() => None,
            Ok(mismatches) => Some(Damage::LayerChanged { layer: *delta, mismatches }),
            Err(error) => unusable(error.to_string()),
        }
    }

    /// Whether a layer is in the index and has all that it should, now that damaged chunks are out of the store.
    fn is_whole_now(&self, layer: &DeltaId) -> Result<bool> {
        let known = self.database().read(known_layers)?.contains(layer);
        Ok(known && self.check_layer(layer).is_none())
    }

    /// Adds the incomplete results to `damage`; one that points to something damaged is incomplete too.
    fn check_results(&self, damage: &mut Vec<Damage>) -> Result<usize> {
        let mut results = 0;
        let mut incomplete = Vec::new();
        self.database().read(|transaction| {
            each_result(transaction, |StoredResult { result, .. }| {
                results += 1;
                let mut missing = self.missing(transaction, &result)?;
                for damage in damage.iter() {
                    match damage {
                        Damage::BlobChanged(digest) if result.blobs().any(|blob| blob == digest) => {
                            missing.blobs.push(*digest);
                        }
                        Damage::LayerChanged { layer, .. } | Damage::LayerUnusable { layer, .. }
                            if result.layers.contains(layer) && !missing.layers.contains(layer) =>
                        {
                            missing.layers.push(*layer);
                        }
                        _ => {}
                    }
                }
                if missing != Missing::default() {
                    incomplete.push(Damage::ResultIncomplete { output: result.output, missing });
                }
                Ok(())
            })
        })?;
        damage.extend(incomplete);
        Ok(results)
    }

    /// Takes out what is damaged. Results go last, by what is missing then.
    fn repair(&self, damage: &[Damage]) -> Result<usize> {
        for damage in damage {
            match damage {
                Damage::BlobMissing(digest) | Damage::BlobChanged(digest) => {
                    self.quarantine_blob(&digest.bytes)?;
                }
                Damage::ChunkMissing(chunk) | Damage::ChunkChanged(chunk) => self.quarantine_chunk(chunk)?,
                // One of whose chunks one was damaged may have been made again meanwhile.
                Damage::LayerUnusable { layer, .. } if self.is_whole_now(layer)? => {}
                Damage::LayerUnusable { layer, .. } | Damage::LayerChanged { layer, .. } => {
                    self.remove_layer(layer)?;
                }
                Damage::WholeUnusable { path, .. } => self.remove_damaged_whole(path)?,
                Damage::MemoryUnusable { folder, .. } => self.remove_damaged_warm(folder)?,
                Damage::ResultIncomplete { .. } => {}
            }
        }
        self.database().write(|transaction| {
            let mut incomplete = Vec::new();
            each_result(transaction, |stored| {
                if self.missing(transaction, &stored.result)? != Missing::default() {
                    incomplete.push(stored.id);
                }
                Ok(())
            })?;
            for id in incomplete {
                remove_result(transaction, id)?;
            }
            Ok(())
        })?;
        Ok(damage.len())
    }
}
