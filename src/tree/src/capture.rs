//! From the upper directory of an overlay mount to the canonical manifest of what a step changed.
//!
//! Capture does not only read. What the manifest says and what the next step sees must be the same, so the
//! directory is brought to its canonical form on disk: times are clamped, foreign attributes removed, and entries
//! that change nothing are deleted, so that the parents' show through. It runs inside the namespace that the step
//! ran in, where ids are the image's, after the step's last process has ended. What is not here: mounting, and
//! where the directory goes.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use imgbuild_digest::Digest;
use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};

use crate::attributes::{self, XattrNamespace};
use crate::scan::{Kind, Scan, Scanned, hash_file, on_disk, scan};
use crate::{DeltaManifest, Entry, Error, Metadata, Node, ParentView, Result, TreePath};

/// How a directory is captured.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// The latest modification time, in seconds since 1970 (`SOURCE_DATE_EPOCH`); later ones become this.
    pub clamp_mtime: i64,
    /// What is never captured, and is removed from the directory.
    pub exclude: Vec<Exclusion>,
    /// Where the mount kept overlayfs' marks.
    pub xattr_namespace: XattrNamespace,
}

/// A path that is never captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The path.
    pub path: TreePath,
    /// Whether a folder at the path is itself captured, and only what is in it is not.
    pub contents_only: bool,
}

impl CaptureOptions {
    /// The options of an ordinary step: the contents of `/dev`, `/proc`, `/sys` and `/run`, and the files
    /// `/etc/resolv.conf` and `/etc/hosts`, which a sandbox mounts its own over, are left out. Further mount
    /// targets are for the caller to add.
    #[must_use]
    pub fn new(clamp_mtime: i64, xattr_namespace: XattrNamespace) -> Self {
        let contents = ["dev", "proc", "sys", "run"].map(|path| (path, true));
        let files = ["etc/resolv.conf", "etc/hosts"].map(|path| (path, false));
        let exclude = contents
            .into_iter()
            .chain(files)
            .filter_map(|(path, contents_only)| {
                Some(Exclusion { path: TreePath::new(path.as_bytes())?, contents_only })
            })
            .collect();
        Self { clamp_mtime, exclude, xattr_namespace }
    }
}

/// What becomes of one scanned entry.
#[derive(Debug)]
enum Decision {
    /// In the manifest and on disk.
    Keep(Node),
    /// The parents show the same: not in the manifest. A folder stays on disk while it holds something.
    Same,
    /// Neither in the manifest nor on disk.
    Discard,
    /// In the manifest as a whiteout, and on disk to be replaced by one.
    MakeWhiteout,
}

/// Captures the upper directory of an overlay mount whose lower layers show `parents`, and brings it to its
/// canonical form on disk: afterwards the directory as the top layer over the same parents shows exactly what the
/// manifest says.
///
/// # Errors
///
/// If a file cannot be read or changed, if a file is still being written, or if the mount used an overlayfs feature
/// that leaves a file's data in a lower layer. The directory may then be half changed and should be thrown away.
pub fn capture(upper: &Path, parents: &dyn ParentView, options: &CaptureOptions) -> Result<DeltaManifest> {
    let whole: HashSet<&TreePath> =
        options.exclude.iter().filter(|item| !item.contents_only).map(|item| &item.path).collect();
    let contents: HashSet<TreePath> =
        options.exclude.iter().filter(|item| item.contents_only).map(|item| item.path.clone()).collect();
    let excluded = |path: &TreePath| {
        whole.contains(path) || path.parent().is_some_and(|parent| contents.contains(&parent))
    };
    let mut scan = scan(upper, &[options.xattr_namespace], &excluded)?;
    let changed_on_disk: Vec<bool> = scan
        .entries
        .iter_mut()
        .map(|entry| {
            let clamped = entry.metadata.mtime.min(options.clamp_mtime);
            let changed = clamped != entry.metadata.mtime || entry.nanoseconds != 0;
            entry.metadata.mtime = clamped;
            changed
        })
        .collect();
    let groups = link_groups(&scan.entries);
    let hashes = hash_files(upper, &scan.entries, &groups)?;
    let mut decisions = decide(&scan.entries, parents, &groups, &hashes);
    let remaining = folders_to_keep(&scan.entries, &mut decisions);
    apply(upper, &scan, &decisions, &changed_on_disk, &groups, &remaining)?;

    let entries = scan
        .entries
        .into_iter()
        .zip(decisions)
        .filter_map(|(scanned, decision)| {
            let node = match decision {
                Decision::Keep(node) => node,
                Decision::MakeWhiteout => Node::Whiteout,
                Decision::Same | Decision::Discard => return None,
            };
            Some(Entry { path: scanned.path, node })
        })
        .collect();
    let manifest = DeltaManifest { entries };
    manifest.validate()?;
    Ok(manifest)
}

/// Gives a fresh upper directory the mode, owner, attributes and time that the parents show for the root. Overlayfs
/// shows the upper directory's own for the merged root, so without this every step would seem to have changed it.
///
/// # Errors
///
/// If the directory cannot be changed.
pub fn prepare_root(upper: &Path, parents: &dyn ParentView) -> Result<()> {
    let Some(Node::Directory { metadata, .. }) = parents.lookup(&TreePath::root()) else { return Ok(()) };
    let (owner, group) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
    rustix::fs::chown(upper, Some(owner), Some(group))
        .map_err(|error| Error::file("change the owner of", upper, error))?;
    rustix::fs::chmod(upper, Mode::from_raw_mode(metadata.mode))
        .map_err(|error| Error::file("change the mode of", upper, error))?;
    for (name, value) in &metadata.xattrs {
        attributes::set(upper, name, value)
            .map_err(|error| Error::file("set an extended attribute of", upper, error))?;
    }
    set_mtime(upper, metadata.mtime)
}

/// For each file with several names in the directory: the indices of all of them, in order of path.
type LinkGroups = HashMap<(u64, u64), Vec<usize>>;

/// A file's BLAKE3 digest and its SHA-256.
type FileHash = (Digest, [u8; 32]);

/// The hashes at the index of each file's first name; nothing elsewhere.
type Hashes = Vec<Option<FileHash>>;

fn link_groups(entries: &[Scanned]) -> LinkGroups {
    let mut groups = LinkGroups::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.kind == Kind::File && entry.links > 1 {
            groups.entry(entry.device_and_inode).or_default().push(index);
        }
    }
    groups.retain(|_, names| names.len() > 1);
    groups
}

/// The hashes of every file, at the index of its first name.
fn hash_files(upper: &Path, entries: &[Scanned], groups: &LinkGroups) -> Result<Hashes> {
    entries
        .par_iter()
        .enumerate()
        .with_max_len(16)
        .map(|(index, entry)| {
            let first = groups.get(&entry.device_and_inode).is_none_or(|names| names[0] == index);
            if entry.kind != Kind::File || !first {
                return Ok(None);
            }
            hash_file(&on_disk(upper, &entry.path), entry.size).map(Some)
        })
        .collect()
}

fn decide(
    entries: &[Scanned],
    parents: &dyn ParentView,
    groups: &LinkGroups,
    hashes: &[Option<FileHash>],
) -> Vec<Decision> {
    let below = what_is_below(entries, parents);
    let unchanged_groups: HashSet<(u64, u64)> = groups
        .iter()
        .filter(|(_, names)| group_is_unchanged(names, entries, &below, parents, hashes))
        .map(|(inode, _)| *inode)
        .collect();
    entries
        .par_iter()
        .enumerate()
        .map(|(index, entry)| {
            let below = below[index].as_ref();
            let metadata = || entry.metadata.clone();
            let node = match &entry.kind {
                Kind::Whiteout { marked_file } => {
                    return match (below, marked_file) {
                        (None, _) => Decision::Discard,
                        (Some(_), false) => Decision::Keep(Node::Whiteout),
                        (Some(_), true) => Decision::MakeWhiteout,
                    };
                }
                // A socket says nothing without its process. One that replaced something has removed it.
                Kind::Socket => {
                    return if below.is_some() { Decision::MakeWhiteout } else { Decision::Discard };
                }
                Kind::File => match groups.get(&entry.device_and_inode) {
                    Some(_) if unchanged_groups.contains(&entry.device_and_inode) => return Decision::Same,
                    Some(names) if names[0] != index => {
                        let target = entries[names[0]].path.clone();
                        return Decision::Keep(Node::HardLink { target });
                    }
                    Some(_) => return Decision::Keep(file_node(entry, hashes[index])),
                    None => file_node(entry, hashes[index]),
                },
                Kind::Directory => Node::Directory {
                    // Overlayfs marks most new folders; the mark means something only where there was a folder.
                    opaque: entry.attributes.opaque && matches!(below, Some(Node::Directory { .. })),
                    metadata: metadata(),
                },
                Kind::SymbolicLink(target) => {
                    Node::SymbolicLink { target: target.clone(), metadata: metadata() }
                }
                Kind::Fifo => Node::Fifo { metadata: metadata() },
                Kind::Device { block, major, minor } => {
                    Node::Device { block: *block, major: *major, minor: *minor, metadata: metadata() }
                }
            };
            let same = match (below, &node) {
                (_, Node::Directory { opaque: true, .. }) => false,
                // The parents' own mark is about what is below them.
                (Some(Node::Directory { metadata: old, .. }), Node::Directory { metadata, .. }) => {
                    old == metadata
                }
                (below, node) => below == Some(node),
            };
            if same { Decision::Same } else { Decision::Keep(node) }
        })
        .collect()
}

/// What the parents show at each entry, as far as this directory lets it through.
fn what_is_below(entries: &[Scanned], parents: &dyn ParentView) -> Vec<Option<Node>> {
    let mut hidden: HashSet<&TreePath> = HashSet::new();
    for entry in entries {
        if entry.kind != Kind::Directory {
            continue;
        }
        let inherited = parent_is_in(&hidden, &entry.path);
        if inherited || entry.attributes.opaque {
            hidden.insert(&entry.path);
        }
    }
    entries
        .par_iter()
        .map(|entry| if parent_is_in(&hidden, &entry.path) { None } else { parents.lookup(&entry.path) })
        .collect()
}

fn parent_is_in(folders: &HashSet<&TreePath>, path: &TreePath) -> bool {
    !folders.is_empty() && path.parent().is_some_and(|parent| folders.contains(&parent))
}

fn file_node(entry: &Scanned, hash: Option<FileHash>) -> Node {
    let (digest, sha256) = hash.expect("every file's first name was hashed");
    Node::File { digest, sha256, metadata: entry.metadata.clone() }
}

/// Whether all names of a file are names of one equal file below. If one is new, none may be left to the parents:
/// the names would come apart.
fn group_is_unchanged(
    names: &[usize],
    entries: &[Scanned],
    below: &[Option<Node>],
    parents: &dyn ParentView,
    hashes: &[Option<FileHash>],
) -> bool {
    let node = file_node(&entries[names[0]], hashes[names[0]]);
    let mut group = None;
    names.iter().all(|index| {
        below[*index].as_ref() == Some(&node)
            && parents
                .link_group(&entries[*index].path)
                .is_some_and(|found| *group.get_or_insert_with(|| found.clone()) == found)
    })
}

/// The folders that stay on disk; the others among the unchanged are discarded.
fn folders_to_keep<'a>(entries: &'a [Scanned], decisions: &mut [Decision]) -> HashSet<&'a TreePath> {
    let mut holding: HashSet<TreePath> = HashSet::new();
    let mut remaining = HashSet::new();
    // Whatever is in a folder sorts after it.
    for (entry, decision) in entries.iter().zip(decisions).rev() {
        let stays = match decision {
            Decision::Keep(_) | Decision::MakeWhiteout => true,
            Decision::Discard => false,
            Decision::Same => {
                entry.kind == Kind::Directory && (entry.path.is_root() || holding.contains(&entry.path))
            }
        };
        if !stays {
            continue;
        }
        if entry.kind == Kind::Directory {
            remaining.insert(&entry.path);
        }
        holding.extend(entry.path.parent());
    }
    remaining
}

fn apply(
    upper: &Path,
    scan: &Scan,
    decisions: &[Decision],
    time_differs: &[bool],
    groups: &LinkGroups,
    remaining_folders: &HashSet<&TreePath>,
) -> Result<()> {
    scan.excluded.par_iter().try_for_each(|path| remove_whole(&on_disk(upper, path)))?;
    let entries = &scan.entries;
    entries.par_iter().enumerate().try_for_each(|(index, entry)| {
        let path = on_disk(upper, &entry.path);
        match &decisions[index] {
            _ if entry.kind == Kind::Directory => Ok(()),
            Decision::Same | Decision::Discard => remove_file(&path),
            Decision::MakeWhiteout => {
                remove_file(&path)?;
                rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|error| Error::file("make a whiteout at", &path, error))
            }
            Decision::Keep(Node::Whiteout) => Ok(()),
            Decision::Keep(_) => {
                let first = groups.get(&entry.device_and_inode).is_none_or(|names| names[0] == index);
                if first { settle(&path, entry, time_differs[index]) } else { Ok(()) }
            }
        }
    })?;
    for entry in entries.iter().rev() {
        if entry.kind == Kind::Directory && !remaining_folders.contains(&entry.path) {
            let path = on_disk(upper, &entry.path);
            std::fs::remove_dir(&path).map_err(|error| Error::file("remove the folder", &path, error))?;
        }
    }
    // Last, since removing an entry changes its folder's time.
    entries.par_iter().enumerate().try_for_each(|(index, entry)| {
        if entry.kind != Kind::Directory || !remaining_folders.contains(&entry.path) {
            return Ok(());
        }
        let path = on_disk(upper, &entry.path);
        let means_something =
            matches!(decisions[index], Decision::Keep(Node::Directory { opaque: true, .. }));
        if let Some(mark) = &entry.attributes.opaque_mark
            && !means_something
        {
            attributes::remove(&path, mark)
                .map_err(|error| Error::file("remove overlayfs' mark of", &path, error))?;
        }
        settle(&path, entry, true)
    })
}

/// Brings attributes and time of one file to what the manifest says.
fn settle(path: &Path, entry: &Scanned, set_time: bool) -> Result<()> {
    for name in &entry.attributes.dropped {
        attributes::remove(path, name)
            .map_err(|error| Error::file("remove an extended attribute of", path, error))?;
    }
    if set_time { set_mtime(path, entry.metadata.mtime) } else { Ok(()) }
}

fn set_mtime(path: &Path, seconds: i64) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Error::file("set the time of", path, error))
}

#[expect(clippy::disallowed_methods, reason = "this crate's own error names the path")]
fn remove_file(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|error| Error::file("remove", path, error))
}

#[expect(clippy::disallowed_methods, reason = "this crate's own error names the path")]
fn remove_whole(path: &Path) -> Result<()> {
    let is_folder = std::fs::symlink_metadata(path)
        .map_err(|error| Error::file("read the status of", path, error))?
        .is_dir();
    if is_folder {
        std::fs::remove_dir_all(path).map_err(|error| Error::file("remove the folder", path, error))
    } else {
        remove_file(path)
    }
}

impl Metadata {
    /// The metadata of a folder or file of the image's root with `mode` and `mtime`, without extended attributes.
    #[must_use]
    pub fn of_root(mode: u32, mtime: i64) -> Self {
        Self { mode, mtime, ..Self::default() }
    }
}
