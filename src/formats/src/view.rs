//! Layers merged into what an archive holds: sorted entries, each with the tree that has its contents.
//!
//! Merging here keeps the origin of every file, since contents are read from the layer that brought them. It changes no
//! manifest and reads no file.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, hash_map};
use std::ops::{Bound, Range};
use std::path::Path;

use imgbuild_digest::Digest;
use imgbuild_tree::{DeltaManifest, Entry, Metadata, Node, TreePath};

use crate::ExportError;

/// A layer: what it changes, and the directory that has its files under the same paths.
#[derive(Clone, Copy, Debug)]
pub struct LayerSource<'a> {
    /// What the layer changes.
    pub manifest: &'a DeltaManifest,
    /// Where its files are.
    pub tree: &'a Path,
}

/// Says which paths an export leaves out. What stands below a path that is left out is left out too.
pub type LeaveOut<'f> = dyn Fn(&TreePath) -> bool + Sync + 'f;

/// The entries of an archive in rising order of path, parents before children.
#[derive(Clone, Debug, Default)]
pub struct TreeView<'a> {
    entries: Vec<ViewEntry<'a>>,
}

/// One path of an archive.
#[derive(Clone, Debug)]
pub struct ViewEntry<'a> {
    /// Where.
    pub path: Cow<'a, TreePath>,
    /// What stands there.
    pub node: ViewNode<'a>,
}

/// What stands at a path of an archive.
#[derive(Clone, Copy, Debug)]
pub enum ViewNode<'a> {
    /// Removed from the layers below.
    Whiteout,
    /// A folder.
    Directory {
        /// Whether lower layers' contents are hidden.
        opaque: bool,
        /// Owner, mode, time, extended attributes.
        metadata: &'a Metadata,
    },
    /// A regular file.
    File(ViewFile<'a>),
    /// A further name of a file that comes earlier in the same view.
    HardLink {
        /// That file's path.
        target: &'a TreePath,
        /// That file's metadata.
        metadata: &'a Metadata,
    },
    /// A symbolic link.
    SymbolicLink {
        /// Its text.
        target: &'a [u8],
        /// Owner, time, extended attributes.
        metadata: &'a Metadata,
    },
    /// A named pipe.
    Fifo {
        /// Owner, mode, time, extended attributes.
        metadata: &'a Metadata,
    },
    /// A device.
    Device {
        /// Whether it is a block device.
        block: bool,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
        /// Owner, mode, time, extended attributes.
        metadata: &'a Metadata,
    },
}

/// A regular file of a view and where its contents are.
#[derive(Clone, Copy, Debug)]
pub struct ViewFile<'a> {
    /// The BLAKE3 digest of the contents.
    pub digest: Digest,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// Owner, mode, time, extended attributes.
    pub metadata: &'a Metadata,
    /// The layer's directory that holds the file.
    pub tree: &'a Path,
    /// The file's path in that directory.
    pub source: &'a TreePath,
}

/// What a folder gets that no layer describes.
static UNDESCRIBED_DIRECTORY: Metadata =
    Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() };

impl<'a> TreeView<'a> {
    /// The tree that `layers`, the lowest first, make together: no whiteouts, no opaque marks.
    ///
    /// # Errors
    ///
    /// A hard link whose target is no file of its layer.
    pub fn squash(layers: &[LayerSource<'a>], leave_out: Option<&LeaveOut<'_>>) -> Result<Self, ExportError> {
        let mut views = Self::groups(layers, std::slice::from_ref(&(0..layers.len())), leave_out)?;
        Ok(views.pop().unwrap_or_default())
    }

    /// One view for each range of adjacent layers, the lowest first; the ranges cover `layers` without gaps.
    ///
    /// A view over other layers carries whiteouts and opaque marks, and the folders above each of its entries, as the
    /// layers below left them: engines unpack each layer by itself, and a folder that is not in the archive would get a
    /// mode of their own choice.
    ///
    /// # Errors
    ///
    /// A hard link whose target is no file of its layer.
    pub fn groups(
        layers: &[LayerSource<'a>],
        ranges: &[Range<usize>],
        leave_out: Option<&LeaveOut<'_>>,
    ) -> Result<Vec<Self>, ExportError> {
        let mut filter = Filter { leave_out, folders: HashMap::new() };
        let mut folders_below: BTreeMap<&'a [u8], &'a Metadata> = BTreeMap::new();
        let mut views = Vec::with_capacity(ranges.len());
        for (index, range) in ranges.iter().enumerate() {
            let lowest = index == 0;
            let mut group = Group::default();
            for layer in range.clone() {
                for entry in &layers[layer].manifest.entries {
                    if !filter.leaves_out(&entry.path) {
                        group.apply(layer, entry, lowest);
                    }
                }
            }
            let mut view = group.resolve(layers)?;
            view.imply_folders(&folders_below);
            view.record_folders(&mut folders_below);
            views.push(view);
        }
        Ok(views)
    }

    /// The entries in rising order of path.
    #[must_use]
    pub fn entries(&self) -> &[ViewEntry<'a>] {
        &self.entries
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What stands at `path`, hard links followed to their file.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<ViewNode<'a>> {
        let index = self.entries.binary_search_by(|entry| entry.path.as_bytes().cmp(path)).ok()?;
        match self.entries[index].node {
            ViewNode::HardLink { target, .. } => self.get(target.as_bytes()),
            node => Some(node),
        }
    }

    /// The sum of its files' sizes in bytes.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        let size = |entry: &ViewEntry<'_>| match entry.node {
            ViewNode::File(file) => file.digest.size,
            _ => 0,
        };
        self.entries.iter().map(size).sum()
    }

    fn imply_folders(&mut self, below: &BTreeMap<&'a [u8], &'a Metadata>) {
        let mut missing: BTreeMap<TreePath, &'a Metadata> = BTreeMap::new();
        for entry in &self.entries {
            let mut folder = parent_of(entry.path.as_bytes());
            while !folder.is_empty() && !self.has(folder) {
                let Some(path) = TreePath::new(folder) else { break };
                if missing.contains_key(&path) {
                    break;
                }
                missing.insert(path, below.get(folder).copied().unwrap_or(&UNDESCRIBED_DIRECTORY));
                folder = parent_of(folder);
            }
        }
        if missing.is_empty() {
            return;
        }
        self.entries.extend(missing.into_iter().map(|(path, metadata)| ViewEntry {
            path: Cow::Owned(path),
            node: ViewNode::Directory { opaque: false, metadata },
        }));
        self.entries.sort_by(|one, other| one.path.cmp(&other.path));
    }

    fn has(&self, path: &[u8]) -> bool {
        self.entries.binary_search_by(|entry| entry.path.as_bytes().cmp(path)).is_ok()
    }

    fn record_folders(&self, folders: &mut BTreeMap<&'a [u8], &'a Metadata>) {
        for entry in &self.entries {
            let path = entry.path.as_bytes();
            match entry.node {
                ViewNode::Directory { opaque, metadata } => {
                    if opaque {
                        remove_below(folders, path);
                    }
                    // An owned path was taken from `folders` and is as it was.
                    if let Cow::Borrowed(path) = entry.path {
                        folders.insert(path.as_bytes(), metadata);
                    }
                }
                _ => {
                    if folders.remove(path).is_some() {
                        remove_below(folders, path);
                    }
                }
            }
        }
    }
}

/// Asks the caller's filter once for each folder.
struct Filter<'f, 'a> {
    leave_out: Option<&'f LeaveOut<'f>>,
    folders: HashMap<&'a [u8], bool>,
}

impl<'a> Filter<'_, 'a> {
    fn leaves_out(&mut self, path: &'a TreePath) -> bool {
        let Some(leave_out) = self.leave_out else { return false };
        self.folder(parent_of(path.as_bytes())) || leave_out(path)
    }

    fn folder(&mut self, folder: &'a [u8]) -> bool {
        let Some(leave_out) = self.leave_out else { return false };
        if folder.is_empty() {
            return false;
        }
        if let Some(known) = self.folders.get(folder) {
            return *known;
        }
        let left_out =
            self.folder(parent_of(folder)) || TreePath::new(folder).is_some_and(|path| leave_out(&path));
        self.folders.insert(folder, left_out);
        left_out
    }
}

/// Adjacent layers being merged.
#[derive(Default)]
struct Group<'a> {
    slots: BTreeMap<&'a [u8], Slot<'a>>,
}

#[derive(Clone, Copy)]
struct Slot<'a> {
    layer: usize,
    entry: &'a Entry,
    opaque: bool,
}

impl<'a> Group<'a> {
    /// Puts an entry of a higher layer over what is there. `lowest`: nothing lies below the group.
    fn apply(&mut self, layer: usize, entry: &'a Entry, lowest: bool) {
        let path = entry.path.as_bytes();
        let mut slot = Slot { layer, entry, opaque: false };
        match &entry.node {
            Node::Whiteout => {
                remove_below(&mut self.slots, path);
                // Below the lowest layer, and below a folder that hides everything, there is nothing to remove.
                if lowest || self.is_hidden_below(path) {
                    self.slots.remove(path);
                    return;
                }
            }
            Node::Directory { opaque, .. } => {
                let before = self.slots.get(path).copied();
                if *opaque {
                    remove_below(&mut self.slots, path);
                }
                // Whatever the group has there already hides what lies below, so the folder must go on hiding it.
                slot.opaque = !lowest
                    && (*opaque
                        || before.is_some_and(|slot| {
                            slot.opaque || !matches!(slot.entry.node, Node::Directory { .. })
                        }));
            }
            Node::File { .. }
            | Node::HardLink { .. }
            | Node::SymbolicLink { .. }
            | Node::Fifo { .. }
            | Node::Device { .. } => remove_below(&mut self.slots, path),
        }
        self.slots.insert(path, slot);
    }

    fn is_hidden_below(&self, path: &[u8]) -> bool {
        std::iter::successors(Some(path), |path| (!path.is_empty()).then(|| parent_of(path)))
            .skip(1)
            .any(|folder| self.slots.get(folder).is_some_and(|slot| slot.opaque))
    }

    /// Gives every file its contents' place and every group of hard links a first name among those that are left.
    fn resolve(self, layers: &[LayerSource<'a>]) -> Result<TreeView<'a>, ExportError> {
        let mut first_names: HashMap<(usize, &'a TreePath), &'a TreePath> = HashMap::new();
        let mut entries = Vec::with_capacity(self.slots.len());
        for slot in self.slots.into_values() {
            let Slot { layer, entry, opaque } = slot;
            let path = &entry.path;
            let node = match &entry.node {
                Node::Whiteout => ViewNode::Whiteout,
                Node::Directory { metadata, .. } => ViewNode::Directory { opaque, metadata },
                Node::File { digest, sha256, metadata } => {
                    let tree = layers[layer].tree;
                    let file = ViewFile { digest: *digest, sha256: *sha256, metadata, tree, source: path };
                    first_or_link(&mut first_names, layer, path, file)
                }
                Node::HardLink { target } => {
                    let file = file_of(layers[layer], path, target)?;
                    first_or_link(&mut first_names, layer, path, file)
                }
                Node::SymbolicLink { target, metadata } => ViewNode::SymbolicLink { target, metadata },
                Node::Fifo { metadata } => ViewNode::Fifo { metadata },
                Node::Device { block, major, minor, metadata } => {
                    ViewNode::Device { block: *block, major: *major, minor: *minor, metadata }
                }
            };
            entries.push(ViewEntry { path: Cow::Borrowed(path), node });
        }
        Ok(TreeView { entries })
    }
}

/// The file itself where `path` is the first name of its group, else a link to the first.
fn first_or_link<'a>(
    first_names: &mut HashMap<(usize, &'a TreePath), &'a TreePath>,
    layer: usize,
    path: &'a TreePath,
    file: ViewFile<'a>,
) -> ViewNode<'a> {
    match first_names.entry((layer, file.source)) {
        hash_map::Entry::Occupied(first) => {
            ViewNode::HardLink { target: first.get(), metadata: file.metadata }
        }
        hash_map::Entry::Vacant(none) => {
            none.insert(path);
            ViewNode::File(file)
        }
    }
}

/// The file that a hard link is a name of.
fn file_of<'a>(
    layer: LayerSource<'a>,
    path: &TreePath,
    source: &'a TreePath,
) -> Result<ViewFile<'a>, ExportError> {
    let entries = &layer.manifest.entries;
    let entry = entries.binary_search_by(|entry| entry.path.cmp(source)).ok().map(|index| &entries[index]);
    match entry.map(|entry| &entry.node) {
        Some(Node::File { digest, sha256, metadata }) => {
            Ok(ViewFile { digest: *digest, sha256: *sha256, metadata, tree: layer.tree, source })
        }
        _ => Err(ExportError::DanglingHardLink { path: path.clone(), target: source.clone() }),
    }
}

/// The folder that holds `path`; empty for what stands in the root.
fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |end| &path[..end])
}

fn remove_below<'a, V>(map: &mut BTreeMap<&'a [u8], V>, path: &[u8]) {
    if path.is_empty() {
        map.retain(|key, _| key.is_empty());
        return;
    }
    let mut prefix = path.to_vec();
    prefix.push(b'/');
    let below: Vec<&'a [u8]> = map
        .range::<[u8], _>((Bound::Included(prefix.as_slice()), Bound::Unbounded))
        .map(|(key, _)| *key)
        .take_while(|key| key.starts_with(&prefix))
        .collect();
    for key in below {
        map.remove(key);
    }
}
