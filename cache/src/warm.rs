//! Warm snapshots: the memory of machines beside layers (`warm/<name>/`), from which a machine goes on without a boot.
//!
//! Each is a folder of the user's alone, named by the layers that it goes on from, with files and a description of them
//! (`facts.json`). It can always be done without, so it has no row in the index: it goes with the layers that it stands on, and a
//! collection takes it by age and by size like results, unless a run has leased the uppermost of them. All of them together
//! have a budget besides, which is looked after whenever one is kept. What the files are, and what a machine must be to
//! take them, is their maker's to say.

use std::collections::{BTreeMap, HashSet};
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use imgbuild_digest::{ContentHash as _, ContentHasher, Digest, Hash};
use imgbuild_tree::DeltaId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::removal::remove_tree;
use crate::{Cache, Error, Result, Run};

/// What tells of a folder what it is. One without is not whole.
const DESCRIPTION: &str = "facts.json";
/// What all of them may take on the disk, in bytes. Those that were not used for longest go first.
const BUDGET: u64 = 8 << 30;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Description {
    /// The layers that it goes on from, the lowest first.
    layers: Vec<DeltaId>,
    files: BTreeMap<String, Digest>,
    /// What its maker says of it.
    about: serde_json::Value,
}

impl Description {
    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs_err::read(folder.join(DESCRIPTION)).ok()?).ok()
    }
}

/// What is kept of a machine that goes on from some layers.
#[derive(Clone, Debug)]
pub struct WarmSnapshot {
    folder: PathBuf,
    description: Description,
}

impl WarmSnapshot {
    /// What its maker said of it, if it is of this kind.
    #[must_use]
    pub fn about<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&self.description.about).ok()
    }

    /// A file of it, which may be damaged or gone.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The names of its files, each with what it held when it was written.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Digest> {
        &self.description.files
    }

    /// What its files take together, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files().values().map(|digest| digest.size).sum()
    }

    /// Whether a file is as it was written.
    ///
    /// # Errors
    /// If there is none of this name, or it cannot be read.
    pub fn is_whole(&self, name: &str) -> std::io::Result<bool> {
        Ok(Some(&digest_of(&self.file(name))?) == self.files().get(name))
    }

    /// Marks it as used now.
    pub fn touch(&self) {
        if let Ok(file) = fs_err::File::options().append(true).open(self.folder.join(DESCRIPTION)) {
            let _ = file.into_file().set_modified(SystemTime::now());
        }
    }
}

/// A warm snapshot in the making; dropped without [`WarmStaged::commit`], it is removed.
#[derive(Debug)]
pub struct WarmStaged {
    cache: Cache,
    folder: tempfile::TempDir,
    files: BTreeMap<String, Digest>,
}

impl WarmStaged {
    /// What its files take together so far, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.values().map(|digest| digest.size).sum()
    }

    /// Where a file of it is to be written; [`WarmStaged::add`] tells then what it holds.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes in a file that was written.
    pub fn add(&mut self, name: &str, digest: Digest) {
        self.files.insert(name.to_owned(), digest);
    }

    /// Copies a file that nobody writes at the moment.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn copy(&mut self, name: &str, from: &Path) -> Result<()> {
        let to = self.file(name);
        fs_err::copy(from, &to)?;
        let digest = digest_of(&to)?;
        self.add(name, digest);
        Ok(())
    }

    /// Puts it in its place, with what its maker says of it; removes others whose layers are gone, and those that were not used
    /// for longest where all take more than 8 GiB.
    ///
    /// # Errors
    /// [`Error::WarmTooLarge`] if it alone takes more; if it cannot be written or put there.
    pub fn commit(self, layers: &[DeltaId], about: &impl Serialize) -> Result<()> {
        let Self { cache, folder, files } = self;
        let size = size_of(folder.path());
        if size > BUDGET {
            return Err(Error::WarmTooLarge { size, budget: BUDGET });
        }
        let about = serde_json::to_value(about).map_err(std::io::Error::from)?;
        let description = Description { layers: layers.to_vec(), files, about };
        let text = serde_json::to_vec(&description).map_err(std::io::Error::from)?;
        // What a maker says may be what a machine lets in.
        let mut options = fs_err::OpenOptions::new();
        let path = folder.path().join(DESCRIPTION);
        options.write(true).create_new(true).mode(0o600).open(path)?.write_all(&text)?;
        fs_err::create_dir_all(cache.layout().warm())?;
        let place = cache.warm_place(layers);
        // Who reads the one before has it open.
        cache.remove_warm([place.clone()])?;
        fs_err::rename(folder.path(), place)?;
        let _ = folder.keep();
        if let Err(error) = cache.prune_warm(BUDGET) {
            tracing::debug!(%error, "old warm snapshots stay");
        }
        Ok(())
    }
}

/// A folder of a warm snapshot, whole or not.
#[derive(Clone, Debug)]
pub(crate) struct WarmFolder {
    pub(crate) path: PathBuf,
    /// What it takes on the disk, in bytes.
    pub(crate) size: u64,
    /// In seconds since 1970.
    pub(crate) last_used: i64,
    /// None if it cannot be read.
    description: Option<Description>,
}

impl WarmFolder {
    /// The layers that it stands on, the lowest first; none if its description cannot be read.
    pub(crate) fn layers(&self) -> Option<&[DeltaId]> {
        self.description.as_ref().map(|description| &*description.layers)
    }

    /// Whether it can be of use while these layers are there.
    pub(crate) fn stands_on(&self, there: impl Fn(&DeltaId) -> bool) -> bool {
        self.layers().is_some_and(|layers| layers.iter().all(there))
    }

    /// The layer that it goes on from.
    pub(crate) fn uppermost(&self) -> Option<&DeltaId> {
        self.layers()?.last()
    }

    /// Why it cannot be used, if something of it is not as it was written.
    pub(crate) fn damage(&self) -> Option<String> {
        let found = self.first_damage()?;
        // What a build has removed or replaced meanwhile is not damaged.
        let is_same = self.path.exists() && Description::read(&self.path) == self.description;
        is_same.then_some(found)
    }

    fn first_damage(&self) -> Option<String> {
        let Some(description) = &self.description else {
            return Some("its description cannot be read".to_owned());
        };
        description.files.iter().find_map(|(name, expected)| match digest_of(&self.path.join(name)) {
            Err(error) => Some(format!("`{name}` cannot be read: {error}")),
            Ok(found) if found.size != expected.size => Some(format!("`{name}` has another length")),
            Ok(found) if found != *expected => Some(format!("`{name}` has other bytes than its digest says")),
            Ok(_) => None,
        })
    }
}

impl Cache {
    /// What is kept of a machine that goes on from exactly these layers, the lowest first. What it says need not hold any more:
    /// its files are to be looked at before they are used.
    #[must_use]
    pub fn warm_snapshot(&self, layers: &[DeltaId]) -> Option<WarmSnapshot> {
        let folder = self.warm_place(layers);
        let description = Description::read(&folder)?;
        (description.layers == layers).then_some(WarmSnapshot { folder, description })
    }

    /// A new one, in the run's folder.
    ///
    /// # Errors
    /// If no folder can be made there.
    pub fn stage_warm(&self, run: &Run) -> Result<WarmStaged> {
        let own = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("warm-").permissions(own).tempdir_in(run.temporary())?;
        Ok(WarmStaged { cache: self.clone(), folder, files: BTreeMap::new() })
    }

    /// Removes one, since it cannot be used; one that another has put in its place stays.
    pub fn remove_warm_snapshot(&self, snapshot: WarmSnapshot) {
        if Description::read(&snapshot.folder) != Some(snapshot.description) {
            return;
        }
        if let Err(error) = self.remove_warm([snapshot.folder]) {
            tracing::debug!(%error, "a warm snapshot stays");
        }
    }

    fn warm_place(&self, layers: &[DeltaId]) -> PathBuf {
        let mut hasher = ContentHasher::new("imgbuild warm snapshot");
        layers.content_hash(&mut hasher);
        self.layout().warm().join(hasher.finish().to_string())
    }

    /// All that there are.
    pub(crate) fn warm_folders(&self) -> Result<Vec<WarmFolder>> {
        let entries = match fs_err::read_dir(self.layout().warm()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            // One that has gone meanwhile was removed by another.
            let described =
                fs_err::metadata(path.join(DESCRIPTION)).or_else(|_| fs_err::symlink_metadata(&path));
            let Ok(status) = described else { continue };
            let description = Description::read(&path);
            found.push(WarmFolder { size: size_of(&path), last_used: status.mtime(), description, path });
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    /// Removes them. Who reads one meanwhile finds that it is not whole, and does without.
    pub(crate) fn remove_warm(&self, paths: impl IntoIterator<Item = PathBuf>) -> Result<()> {
        let trash = tempfile::Builder::new().prefix("trash-").tempdir_in(self.temporary()?)?.keep();
        let mut moved = Ok(());
        for (place, path) in paths.into_iter().enumerate() {
            match fs_err::rename(&path, trash.join(place.to_string())) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => moved = moved.and(Err(error)),
                _ => {}
            }
        }
        remove_tree(&trash)?;
        Ok(moved?)
    }

    /// Removes one that is damaged still: a build may have put another in its place.
    pub(crate) fn remove_damaged_warm(&self, path: &Path) -> Result<()> {
        let found = self.warm_folders()?.into_iter().find(|one| one.path == path);
        self.remove_warm(found.filter(|one| one.damage().is_some()).map(|one| one.path))
    }

    /// Those that stand on layers without a row.
    pub(crate) fn warm_without_layers(&self, known: &HashSet<DeltaId>) -> Result<Vec<PathBuf>> {
        let all = self.warm_folders()?.into_iter();
        Ok(all.filter(|one| !one.stands_on(|delta| known.contains(delta))).map(|one| one.path).collect())
    }

    /// Removes those whose layers are gone, and the oldest until the rest fits.
    fn prune_warm(&self, budget: u64) -> Result<()> {
        let (mut whole, gone): (Vec<_>, Vec<_>) =
            self.warm_folders()?.into_iter().partition(|one| one.stands_on(|delta| self.has_layer(delta)));
        whole.sort_by_key(|one| one.last_used);
        let mut sum: u64 = whole.iter().map(|one| one.size).sum();
        let too_much = whole.into_iter().take_while(|one| {
            let is_too_much = sum > budget;
            sum -= one.size;
            is_too_much
        });
        self.remove_warm(gone.into_iter().chain(too_much).map(|one| one.path))
    }
}

pub(crate) fn digest_of(path: &Path) -> std::io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs_err::File::open(path)?)?;
    Ok(Digest::blake3(Hash(*hasher.finalize().as_bytes()), hasher.count()))
}

/// What a folder takes on the disk, in bytes.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs_err::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use imgbuild_tree::{CaptureOptions, EmptyView, XattrNamespace, capture};

    use super::*;

    fn layer(cache: &Cache, run: &Run, text: &str) -> DeltaId {
        let staged = cache.stage(run).unwrap();
        fs_err::write(staged.upper().join("file"), text).unwrap();
        let options = CaptureOptions::new(1_600_000_000, XattrNamespace::User);
        let manifest = capture(staged.upper(), &EmptyView, &options).unwrap();
        cache.commit_layer(staged, &manifest).unwrap()
    }

    #[test]
    fn those_that_were_not_used_for_longest_go_until_the_rest_fits() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let run = Run::begin(&cache).unwrap();
        let places = [(5, "used long ago"), (1, "used now"), (3, "used then")].map(|(days, name)| {
            let layers = [layer(&cache, &run, name)];
            let mut staged = cache.stage_warm(&run).unwrap();
            fs_err::write(staged.file("memory"), vec![1; 1 << 16]).unwrap();
            staged.add("memory", Digest::of(&vec![1; 1 << 16]));
            staged.commit(&layers, &()).unwrap();
            let place = cache.warm_place(&layers);
            let description = std::fs::File::options().write(true).open(place.join(DESCRIPTION)).unwrap();
            description.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
            place
        });
        let there = || places.iter().map(|place| place.exists()).collect::<Vec<_>>();
        let all: u64 = places.iter().map(|place| size_of(place)).sum();
        cache.prune_warm(all).unwrap();
        assert_eq!(there(), [true, true, true]);
        cache.prune_warm(all - 1).unwrap();
        assert_eq!(there(), [false, true, true]);
        cache.prune_warm(all / 2).unwrap();
        assert_eq!(there(), [false, true, false]);
    }
}
