//! Writing the files of a batch, several packages at once, with a result that does not depend on their interleaving.
//!
//! Files: every path is claimed before it is written, and who keeps a path that two packages ship follows from `Replaces` and
//! the order of the batch, not from who comes first. Folders: made by whoever comes first, given the owner, mode and time
//! that the first package *of the batch* wants when all are done.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::database::Database;
use super::root::{Metadata, Root, create, finish_at, finish_file, suffixed, suffixed_path};
use super::{Batch, DebFile, RootContext, UnpackError};
use crate::deb::{self, Conffile, Control, DataEntry, DebError, DebVisitor, EntryKind};
use crate::index::MultiArch;
use crate::relation;
use crate::status::InstalledPackage;

/// One package of a batch after its files are written.
#[derive(Debug)]
pub(crate) struct Extracted {
    pub control: Control,
    pub conffiles: Vec<Conffile>,
    /// Paths relative to the root in the order of the archive; empty for the root itself.
    pub list: Vec<PathBuf>,
    /// Paths taken from packages that were there before, with dpkg's name for them.
    pub taken: Vec<(PathBuf, String)>,
    pub entries: u64,
    pub bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Extraction {
    pub packages: Vec<Extracted>,
}

/// What both sides of a contest for a path are known by.
struct Party<'a> {
    name: &'a str,
    version: &'a str,
    multi_arch: MultiArch,
    architecture: &'a str,
    replaces: &'a str,
}

impl<'a> Party<'a> {
    fn of_control(control: &'a Control) -> Self {
        Self {
            name: control.name(),
            version: control.version(),
            multi_arch: control.multi_arch(),
            architecture: control.architecture(),
            replaces: control.fields.get("Replaces").unwrap_or_default(),
        }
    }

    fn of_installed(package: &'a InstalledPackage) -> Self {
        Self {
            name: &package.name,
            version: package.version.as_str(),
            multi_arch: package.multi_arch,
            architecture: &package.architecture,
            replaces: package.paragraph.get("Replaces").unwrap_or_default(),
        }
    }

    fn replaces(&self, other: &Party<'_>) -> bool {
        relation::groups(self.replaces).flat_map(relation::alternatives).any(|relation| {
            relation.name == other.name
                && relation.constraint.is_none_or(|(operator, bound)| operator.holds(other.version, bound))
        })
    }

    /// Builds of one package for several architectures share files that are the same.
    fn shares_with(&self, other: &Party<'_>) -> bool {
        self.name == other.name
            && self.architecture != other.architecture
            && self.multi_arch == MultiArch::Same
            && other.multi_arch == MultiArch::Same
    }
}

/// What all packages of a batch see.
struct Shared<'a> {
    root: &'a Root,
    database: &'a Database,
    controls: &'a [Control],
    installed: HashMap<String, &'a InstalledPackage>,
    /// Who has each path, by its canonical form and the number of the package in the batch.
    claims: Mutex<HashMap<PathBuf, usize>>,
    /// Paths that a package lost to another of the batch.
    lost: Mutex<Vec<(usize, PathBuf)>>,
    created: Mutex<BTreeSet<PathBuf>>,
    wanted: Mutex<HashMap<PathBuf, (usize, Metadata)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Extraction {
    pub fn run(root: &Root, database: &Database, batch: &Batch) -> Result<Self, UnpackError> {
        let controls = batch
            .packages
            .par_iter()
            .map(|package| deb::read_control_of(&package.path))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Shared {
            root,
            database,
            controls: &controls,
            installed: database.state.unpacked().map(|package| (package.id(), package)).collect(),
            claims: Mutex::default(),
            lost: Mutex::default(),
            created: Mutex::default(),
            wanted: Mutex::default(),
        };
        // The largest first, so that no thread ends alone with a large one; results keep the order of the batch.
        let mut by_size: Vec<usize> = (0..batch.packages.len()).collect();
        by_size.sort_by_key(|n| {
            std::cmp::Reverse(fs_err::metadata(&batch.packages[*n].path).map(|m| m.len()).unwrap_or_default())
        });
        let mut results: Vec<(usize, Result<Extracted, UnpackError>)> = by_size
            .into_par_iter()
            .with_max_len(1)
            .map(|number| (number, extract(&shared, number, &batch.packages[number])))
            .collect();
        results.sort_by_key(|(number, _)| *number);
        let mut packages = results.into_iter().map(|(_, result)| result).collect::<Result<Vec<_>, _>>()?;
        finish_folders(&shared)?;
        for (number, path) in lock(&shared.lost).iter() {
            packages[*number].list.retain(|listed| listed != path);
        }
        Ok(Self { packages })
    }
}

fn finish_folders(shared: &Shared<'_>) -> Result<(), UnpackError> {
    let wanted = lock(&shared.wanted);
    for path in lock(&shared.created).iter() {
        if let Some((_, metadata)) = wanted.get(path) {
            shared.root.finish_folder(path, *metadata).at("finish", path)?;
        }
    }
    Ok(())
}

fn extract(shared: &Shared<'_>, number: usize, package: &DebFile) -> Result<Extracted, UnpackError> {
    let control = shared.controls[number].clone();
    let conffiles = control.conffiles();
    let io = |source| DebError::Io { package: package.label.clone(), source };
    let file = fs_err::File::open(&package.path).map_err(io)?;
    let mut extractor = Extractor {
        shared,
        number,
        conffile_paths: conffiles
            .iter()
            .filter(|conffile| !conffile.remove_on_upgrade)
            .map(|conffile| PathBuf::from(conffile.path.trim_start_matches('/')))
            .collect(),
        result: Extracted { control, conffiles, list: Vec::new(), taken: Vec::new(), entries: 0, bytes: 0 },
        parent: None,
        buffer: vec![0; 1 << 17],
        label: &package.label,
    };
    deb::read(file, &package.label, &mut extractor)?;
    Ok(extractor.result)
}

struct Extractor<'s, 'a> {
    shared: &'s Shared<'a>,
    number: usize,
    conffile_paths: HashSet<PathBuf>,
    result: Extracted,
    /// The last parent folder: archives list a folder's files one after the other.
    parent: Option<(PathBuf, OwnedFd)>,
    buffer: Vec<u8>,
    label: &'s str,
}

impl DebVisitor for Extractor<'_, '_> {
    type Error = UnpackError;

    fn control(&mut self, _: Control) -> Result<bool, UnpackError> {
        Ok(true)
    }

    fn entry(&mut self, entry: DataEntry, content: &mut dyn Read) -> Result<(), UnpackError> {
        if entry.path.as_os_str().is_empty() {
            self.result.list.push(PathBuf::new());
            return Ok(());
        }
        let mut metadata = Metadata { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime };
        if let Some(chosen) = self.shared.database.overrides.get(&entry.path) {
            metadata = Metadata { mode: chosen.mode, uid: chosen.uid, gid: chosen.gid, ..metadata };
        }
        if entry.kind == EntryKind::Directory {
            self.folder(&entry.path, metadata)?;
        } else {
            if !self.claim(&entry.path)? {
                return Ok(());
            }
            let place = self.place(&entry.path);
            self.write(&entry, &place, metadata, content)?;
        }
        self.result.entries += 1;
        self.result.list.push(entry.path);
        Ok(())
    }
}

impl Extractor<'_, '_> {
    /// Where an entry goes: past diversions, and beside its final place for a configuration file.
    fn place(&self, path: &Path) -> PathBuf {
        let place = self.shared.database.place(path, self.result.control.name());
        if self.conffile_paths.contains(path) { suffixed_path(&place, ".dpkg-new") } else { place }
    }

    /// Runs an operation in a path's parent, which is made if a package forgot to ship it.
    fn in_parent<T>(
        &mut self,
        path: &Path,
        operation: impl Fn(&OwnedFd, &OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().ok_or(Errno::INVAL)?;
        if self.parent.as_ref().is_none_or(|(known, _)| known != parent) {
            let folder = match self.shared.root.folder(parent) {
                Err(Errno::NOENT) => {
                    self.shared.root.make_folders(parent)?;
                    self.shared.root.folder(parent)?
                }
                folder => folder?,
            };
            self.parent = Some((parent.to_owned(), folder));
        }
        let (_, folder) = self.parent.as_ref().ok_or(Errno::NOENT)?;
        Ok(operation(folder, name)?)
    }

    fn folder(&mut self, path: &Path, metadata: Metadata) -> Result<(), UnpackError> {
        let canonical = self.shared.database.canonical(path);
        let made = self.in_parent(path, |parent, name| {
            match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(error) => Err(error),
            }
        });
        if made.at("create folder", path)? {
            lock(&self.shared.created).insert(canonical.clone());
        } else if !self.shared.root.is_folder(path) {
            return Err(io::Error::from(Errno::NOTDIR)).at("create folder", path);
        }
        let mut wanted = lock(&self.shared.wanted);
        let slot = wanted.entry(canonical).or_insert((self.number, metadata));
        if self.number < slot.0 {
            *slot = (self.number, metadata);
        }
        Ok(())
    }

    /// Whether this package gets to write a path.
    fn claim(&mut self, path: &Path) -> Result<bool, UnpackError> {
        let shared = self.shared;
        let canonical = shared.database.canonical(path);
        let control = &shared.controls[self.number];
        let own = Party::of_control(control);
        let is_diverted = shared.database.diversions.contains_key(path);
        let conflict = |other: String| {
            Err(UnpackError::FileConflict { package: control.id(), other, path: path.to_owned() })
        };
        for id in shared.database.owners.get(&canonical).into_iter().flatten() {
            let Some(installed) = shared.installed.get(id) else { continue };
            if is_diverted {
                continue;
            }
            let theirs = Party::of_installed(installed);
            if own.replaces(&theirs) {
                self.result.taken.push((path.to_owned(), id.clone()));
            } else if theirs.replaces(&own) {
                return Ok(false);
            } else if !self.is_folder_there(path) {
                return conflict(id.clone());
            }
        }
        let mut claims = lock(&shared.claims);
        let Some(&holder) = claims.get(&canonical) else {
            claims.insert(canonical, self.number);
            return Ok(true);
        };
        let theirs = Party::of_control(&shared.controls[holder]);
        if holder == self.number || is_diverted {
            return Ok(true);
        }
        if own.shares_with(&theirs) {
            // The same file either way; the first of the batch writes it, so that its time is always the same.
            if self.number < holder {
                claims.insert(canonical, self.number);
            }
            return Ok(true);
        }
        let wins = match (own.replaces(&theirs), theirs.replaces(&own)) {
            (true, true) => self.number > holder,
            (true, false) => true,
            (false, true) => false,
            (false, false) => return conflict(shared.controls[holder].id()),
        };
        if wins {
            claims.insert(canonical, self.number);
            lock(&shared.lost).push((holder, path.to_owned()));
        }
        Ok(wins)
    }

    fn is_folder_there(&self, path: &Path) -> bool {
        self.shared.root.is_folder(path)
    }

    fn still_holds(&self, path: &Path) -> bool {
        let canonical = self.shared.database.canonical(path);
        lock(&self.shared.claims).get(&canonical) == Some(&self.number)
    }

    fn write(
        &mut self,
        entry: &DataEntry,
        place: &Path,
        metadata: Metadata,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        match self.make(entry, place, None, metadata, content) {
            Err(UnpackError::Root { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result,
        }
        if !self.still_holds(&entry.path) && !self.shared.database.diversions.contains_key(&entry.path) {
            return Ok(());
        }
        let existing = self.shared.root.stat(place).at("look at", place)?;
        if existing.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            // dpkg never replaces a folder by a link to one.
            if matches!(entry.kind, EntryKind::Symlink(_)) {
                return Ok(());
            }
            return Err(io::Error::from(Errno::ISDIR)).at("write", place);
        }
        let name = place.file_name().unwrap_or_default();
        let temporary = suffixed(name, &format!(".imgbuild-{}", self.number));
        self.make(entry, place, Some(temporary.clone()), metadata, content)?;
        self.in_parent(place, |parent, name| rustix::fs::renameat(parent, &temporary, parent, name))
            .at("replace", place)
    }

    /// Makes an entry that must not exist yet at `place`, or beside it under a temporary name.
    fn make(
        &mut self,
        entry: &DataEntry,
        place: &Path,
        temporary: Option<OsString>,
        metadata: Metadata,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let name_or = |name: &OsStr| temporary.clone().unwrap_or_else(|| name.to_owned());
        match &entry.kind {
            EntryKind::Regular => {
                let file = self
                    .in_parent(place, |parent, name| create(parent.as_fd(), &name_or(name)))
                    .at("create", place)?;
                self.copy(content, &file, place)?;
                finish_file(&file, metadata).at("finish", place)
            }
            EntryKind::Symlink(target) => {
                let link = |parent: &OwnedFd, name: &OsStr| {
                    let name = name_or(name);
                    rustix::fs::symlinkat(target, parent, &name)?;
                    finish_at(parent.as_fd(), &name, metadata, true)
                };
                self.in_parent(place, link).at("link", place)
            }
            EntryKind::HardLink(source) => {
                let source = self.place(source);
                let (source_parent, source_name) = self.shared.root.parent(&source).at("link", &source)?;
                let link = |parent: &OwnedFd, name: &OsStr| {
                    rustix::fs::linkat(&source_parent, source_name, parent, name_or(name), AtFlags::empty())
                };
                self.in_parent(place, link).at("link", place)
            }
            EntryKind::CharDevice(..) | EntryKind::BlockDevice(..) | EntryKind::Fifo => {
                let (kind, device) = match entry.kind {
                    EntryKind::CharDevice(major, minor) => {
                        (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
                    }
                    EntryKind::BlockDevice(major, minor) => {
                        (FileType::BlockDevice, rustix::fs::makedev(major, minor))
                    }
                    _ => (FileType::Fifo, 0),
                };
                let node = |parent: &OwnedFd, name: &OsStr| {
                    let name = name_or(name);
                    rustix::fs::mknodat(parent, &name, kind, Mode::from_raw_mode(0o600), device)?;
                    finish_at(parent.as_fd(), &name, metadata, false)
                };
                self.in_parent(place, node).at("make", place)
            }
            // Folders are shared, not claimed.
            EntryKind::Directory => Ok(()),
        }
    }

    fn copy(
        &mut self,
        content: &mut dyn Read,
        mut file: &std::fs::File,
        place: &Path,
    ) -> Result<(), UnpackError> {
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(DebError::Io { package: self.label.to_owned(), source }.into()),
            };
            file.write_all(&self.buffer[..count]).at("write", place)?;
            self.result.bytes += count as u64;
        }
    }
}
