//! The memory of machines, which its maker keeps beside layers (`warm/<name>/`): how large it is, since when it is of no use,
//! whether it is as it was written.
//!
//! Each is a folder with a description (`facts.json`) and the files that this tells the digests of. It can always be done without,
//! so it has no row in the index: it goes with the layers that it stands on, by age and by size like results, and while a
//! run has leased the uppermost of them it stays.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use imgbuild_digest::Hash;
use imgbuild_tree::DeltaId;
use serde::Deserialize;

use crate::removal::remove_tree;
use crate::{Cache, Result};

/// What tells of a folder what it is.
const FACTS: &str = "facts.json";
/// The file of the memory itself.
const MEMORY: &str = "memory";

/// What of the description is read here; the rest is its maker's.
#[derive(Deserialize)]
struct Facts {
    layers: Vec<String>,
    files: BTreeMap<String, Hash>,
    length: u64,
    digest: [u8; 32],
}

/// One folder.
#[derive(Clone, Debug)]
pub(crate) struct WarmSnapshot {
    pub(crate) path: PathBuf,
    /// What it takes on the disk, in bytes.
    pub(crate) size: u64,
    /// In seconds since 1970.
    pub(crate) last_used: i64,
    /// The layers that it stands on, the lowest first; none if its description cannot be read.
    pub(crate) layers: Option<Vec<DeltaId>>,
}

impl WarmSnapshot {
    /// Whether it can be of use while these layers are there.
    pub(crate) fn stands_on(&self, there: impl Fn(&DeltaId) -> bool) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.iter().all(there))
    }

    /// The layer that it goes on from.
    pub(crate) fn uppermost(&self) -> Option<&DeltaId> {
        self.layers.as_ref()?.last()
    }

    /// Why it cannot be used, if something of it is not as it was written.
    pub(crate) fn damage(&self) -> Option<String> {
        let Some(Facts { files, length, digest, .. }) = facts(&self.path) else {
            return Some("its description cannot be read".to_owned());
        };
        let memory = (MEMORY.to_owned(), Hash(digest));
        for (name, expected) in files.into_iter().chain([memory]) {
            match read(&self.path.join(&name)) {
                Err(error) => return Some(format!("`{name}` cannot be read: {error}")),
                Ok((_, found)) if found != expected => {
                    return Some(format!("`{name}` has other bytes than its digest says"));
                }
                Ok((found, _)) if name == MEMORY && found != length => {
                    return Some(format!("`{name}` has another length"));
                }
                Ok(_) => {}
            }
        }
        None
    }
}

fn facts(folder: &Path) -> Option<Facts> {
    serde_json::from_slice(&fs_err::read(folder.join(FACTS)).ok()?).ok()
}

/// The length of a file and the BLAKE3 hash of what is in it.
fn read(path: &Path) -> std::io::Result<(u64, Hash)> {
    let mut hasher = blake3::Hasher::new();
    let length = std::io::copy(&mut fs_err::File::open(path)?, &mut hasher)?;
    Ok((length, Hash(*hasher.finalize().as_bytes())))
}

impl Cache {
    /// Where the memory of machines is kept, made by whoever keeps one. Each folder in it has `facts.json`, an object with at
    /// least `layers` (names, the lowest first), `files` (BLAKE3 by name), and the `length` and BLAKE3 (`digest`, as numbers) of
    /// the file `memory`. Who uses one renews the modification time of its `facts.json`.
    #[must_use]
    pub fn warm(&self) -> PathBuf {
        self.layout().warm()
    }

    /// All that there are.
    pub(crate) fn warm_snapshots(&self) -> Result<Vec<WarmSnapshot>> {
        let entries = match fs_err::read_dir(self.warm()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            // One that has gone meanwhile was removed by another.
            let described = fs_err::metadata(path.join(FACTS)).or_else(|_| fs_err::symlink_metadata(&path));
            let Ok(status) = described else { continue };
            let layers = facts(&path)
                .and_then(|facts| facts.layers.iter().map(|name| name.parse().ok().map(DeltaId)).collect());
            found.push(WarmSnapshot { size: size_of(&path), last_used: status.mtime(), layers, path });
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    /// Removes them. Who reads one meanwhile finds that it is not whole, and does without.
    pub(crate) fn remove_warm(&self, paths: impl IntoIterator<Item = PathBuf>) -> Result<()> {
        let trash = tempfile::Builder::new().prefix("trash-").tempdir_in(self.temporary()?)?.keep();
        for (place, path) in paths.into_iter().enumerate() {
            match fs_err::rename(&path, trash.join(place.to_string())) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        remove_tree(&trash)?;
        Ok(())
    }

    /// Those that stand on layers without a row.
    pub(crate) fn warm_without_layers(&self, known: &HashSet<DeltaId>) -> Result<Vec<PathBuf>> {
        let all = self.warm_snapshots()?.into_iter();
        Ok(all.filter(|one| !one.stands_on(|delta| known.contains(delta))).map(|one| one.path).collect())
    }
}

/// What a folder takes on the disk, in bytes.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs_err::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
}
