//! Warm snapshots: a machine's memory beside what its disks had then, on this host alone, so that the next step goes on without a
//! boot.
//!
//! Each has a folder of the user's alone below `warm/` of the cache, named by the layers that it goes on from. What a machine must be to take
//! it is written beside, as is the digest of the memory; what does not fit is not loaded, and the disks, which always
//! are there, are started instead.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use imgbuild_cache::Cache;
use imgbuild_digest::{ContentHash as _, ContentHasher, Hash};
use imgbuild_tree::DeltaId;
use serde::{Deserialize, Serialize};

use super::access::Kept;
use super::disks::file_name;
use crate::spec::MemoryFingerprint;

/// What memory may take on the disk in all, in bytes. The oldest goes first.
const BUDGET: u64 = 8 << 30;

/// What is written beside the memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The layers that the disks lie over, the lowest first.
    pub(crate) layers: Vec<String>,
    /// What a machine must be.
    pub(crate) fingerprint: MemoryFingerprint,
    /// The files of disks and firmware variables beside it, each with its BLAKE3.
    pub(crate) files: BTreeMap<String, Hash>,
    /// The length of the memory, in bytes.
    pub(crate) length: u64,
    /// BLAKE3 of it.
    pub(crate) digest: [u8; 32],
    /// The keys that the machine has been given.
    pub(crate) access: Option<Kept>,
}

/// A warm snapshot that is there.
pub(crate) struct Warm {
    folder: PathBuf,
    pub(crate) facts: Facts,
}

/// The file of the memory.
const MEMORY: &str = "memory";
/// The file of what is known of it; what has none is not whole.
const FACTS: &str = "facts.json";

impl Warm {
    /// The one that goes on from these layers.
    pub(crate) fn find(cache: &Cache, layers: &[DeltaId]) -> Option<Self> {
        let folder = folder_of(cache, layers);
        let facts: Facts = serde_json::from_slice(&fs_err::read(folder.join(FACTS)).ok()?).ok()?;
        (facts.layers == names(layers)).then_some(Self { folder, facts })
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.folder.join(MEMORY)
    }

    /// A file beside the memory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether there is such a file beside the memory.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.facts.files.contains_key(name)
    }

    /// Whether it is of a machine with so many disks.
    pub(crate) fn has_disks(&self, count: usize) -> bool {
        (0..count).all(|disk| self.has(&file_name(disk))) && !self.has(&file_name(count))
    }

    /// Whether the files beside the memory are as they were written.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(crate) fn is_whole(&self) -> std::io::Result<bool> {
        for (name, digest) in &self.facts.files {
            if Hash::of(&fs_err::read(self.folder.join(name))?) != *digest {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the memory is as it was written.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn is_memory_whole(&self) -> std::io::Result<bool> {
        let mut hasher = blake3::Hasher::new();
        let length = std::io::copy(&mut fs_err::File::open(self.memory())?, &mut hasher)?;
        Ok((length, *hasher.finalize().as_bytes()) == (self.facts.length, self.facts.digest))
    }

    /// Marks it as used now.
    pub(crate) fn touch(&self) {
        if let Ok(file) = fs_err::File::options().append(true).open(self.folder.join(FACTS)) {
            let _ = file.into_file().set_modified(SystemTime::now());
        }
    }

    /// Removes it, since it cannot be used.
    pub(crate) fn remove(self) {
        if let Err(error) = fs_err::remove_dir_all(&self.folder) {
            tracing::debug!(%error, "a warm snapshot stays");
        }
    }
}

/// A warm snapshot in the making; dropped without [`Making::keep`], it is removed.
pub(crate) struct Making {
    folder: tempfile::TempDir,
}

impl Making {
    /// In a run's folder, which is on the file system of the cache.
    ///
    /// # Errors
    /// If no folder can be made there.
    pub(crate) fn new(temporary: &Path) -> std::io::Result<Self> {
        let own = Permissions::from_mode(0o700);
        Ok(Self { folder: tempfile::Builder::new().prefix("warm-").permissions(own).tempdir_in(temporary)? })
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.folder.path().join(MEMORY)
    }

    /// Copies a file that nobody writes at the moment; gives what it holds.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub(crate) fn copy(&self, file: &Path, name: &str) -> std::io::Result<Hash> {
        let bytes = fs_err::read(file)?;
        fs_err::write(self.folder.path().join(name), &bytes)?;
        Ok(Hash::of(&bytes))
    }

    /// Puts it in its place, and removes the oldest others where there are too many.
    ///
    /// # Errors
    /// If it cannot be put there.
    pub(crate) fn keep(self, cache: &Cache, layers: &[DeltaId], mut facts: Facts) -> std::io::Result<()> {
        facts.layers = names(layers);
        let text = serde_json::to_vec(&facts).map_err(std::io::Error::other)?;
        // There are keys in it.
        let mut options = fs_err::OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.folder.path().join(FACTS))?
            .write_all(&text)?;
        let all = all(cache);
        fs_err::create_dir_all(&all)?;
        let target = folder_of(cache, layers);
        if target.exists() {
            // Who is reading it has it open.
            fs_err::remove_dir_all(&target)?;
        }
        fs_err::rename(self.folder.keep(), target)?;
        prune(cache);
        Ok(())
    }
}

fn all(cache: &Cache) -> PathBuf {
    cache.root().join("warm")
}

fn names(layers: &[DeltaId]) -> Vec<String> {
    layers.iter().map(ToString::to_string).collect()
}

fn folder_of(cache: &Cache, layers: &[DeltaId]) -> PathBuf {
    let mut hasher = ContentHasher::new("imgbuild warm snapshot");
    layers.content_hash(&mut hasher);
    all(cache).join(hasher.finish().to_string())
}

/// Removes those whose layers are gone, and the oldest until the rest fits.
fn prune(cache: &Cache) {
    let Ok(entries) = fs_err::read_dir(all(cache)) else { return };
    let mut found = Vec::new();
    for folder in entries.flatten().map(|entry| entry.path()) {
        let facts = folder.join(FACTS);
        let used = fs_err::metadata(&facts).and_then(|status| status.modified()).ok();
        let known = fs_err::read(&facts).ok().and_then(|text| serde_json::from_slice::<Facts>(&text).ok());
        let whole = known.is_some_and(|facts| {
            facts.layers.iter().all(|name| cache.root().join("layers").join(name).join("manifest").exists())
        });
        match used.filter(|_| whole) {
            Some(used) => found.push((used, size_of(&folder), folder)),
            None => drop(fs_err::remove_dir_all(&folder)),
        }
    }
    found.sort();
    let mut sum: u64 = found.iter().map(|(_, size, _)| size).sum();
    for (_, size, folder) in &found {
        if sum <= BUDGET {
            break;
        }
        if fs_err::remove_dir_all(folder).is_ok() {
            sum -= size;
        }
    }
}

/// What a folder takes on the disk, in bytes.
fn size_of(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs_err::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
}

/// Whether memory is worth being kept, from what was measured in this run: it is, unless keeping it took longer than the boot that
/// it spares. A machine of which nothing is known is kept once.
pub(crate) fn is_worth(boot: Option<Duration>, last: Option<Duration>) -> bool {
    match (boot, last) {
        (Some(boot), Some(last)) => last < boot,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_cache::Run;

    use super::*;

    fn facts() -> Facts {
        let fingerprint = serde_json::from_str("{}").unwrap();
        let digest = [7; 32];
        Facts { layers: Vec::new(), fingerprint, files: BTreeMap::new(), length: 4, digest, access: None }
    }

    #[test]
    fn one_is_found_by_its_layers_until_they_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let run = Run::begin(&cache).unwrap();
        let make = |layers: &[DeltaId]| {
            let making = Making::new(run.temporary()).unwrap();
            fs_err::write(making.memory(), b"mem!").unwrap();
            making.keep(&cache, layers, facts()).unwrap();
        };
        make(&[]);
        let warm = Warm::find(&cache, &[]).unwrap();
        assert_eq!((fs_err::read(warm.memory()).unwrap(), warm.facts.length), (b"mem!".to_vec(), 4));
        make(&[]);
        let gone = [DeltaId(imgbuild_digest::Hash([9; 32]))];
        assert!(Warm::find(&cache, &gone).is_none());
        make(&gone);
        assert!(Warm::find(&cache, &gone).is_none(), "its layer is not there");
        Warm::find(&cache, &[]).unwrap().remove();
        assert!(Warm::find(&cache, &[]).is_none());
    }

    #[test]
    fn what_costs_more_than_a_boot_is_not_kept() {
        let seconds = Duration::from_secs;
        assert!(is_worth(None, Some(seconds(9))));
        assert!(is_worth(Some(seconds(10)), None));
        assert!(is_worth(Some(seconds(10)), Some(seconds(1))));
        assert!(!is_worth(Some(seconds(1)), Some(seconds(2))));
    }
}
