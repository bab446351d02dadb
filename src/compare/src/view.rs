//! Trees of layers and of disk images.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::sync::Mutex;

use imgbuild_digest::Hash;
use imgbuild_disk::ext4::Ext4Tree;
use imgbuild_disk::{Node as DiskNode, Tree as DiskTree};
use imgbuild_formats::{ExportError, LayerSource, TreeView, ViewNode};
use imgbuild_tree::Metadata;

use crate::tree::{Contents, Entry, Node, Tree, cleaned};

/// The tree that layers make together. Digests are those of the manifests: nothing is read to compare two of them.
pub struct LayerTree<'a> {
    view: TreeView<'a>,
}

impl<'a> LayerTree<'a> {
    /// The tree of `layers`, the lowest first.
    ///
    /// # Errors
    ///
    /// A damaged layer.
    pub fn new(layers: &[LayerSource<'a>]) -> Result<Self, ExportError> {
        Ok(Self { view: TreeView::squash(layers, None)? })
    }
}

impl Tree for LayerTree<'_> {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        Box::new(self.view.entries().iter().filter_map(|entry| {
            let (metadata, node) = match entry.node {
                ViewNode::Whiteout => return None,
                ViewNode::Directory { metadata, .. } => (metadata, Node::Directory),
                ViewNode::File(file) => {
                    let node = Node::File {
                        size: file.digest.size,
                        digest: Some(Hash(file.digest.bytes)),
                        first_name: None,
                    };
                    (file.metadata, node)
                }
                ViewNode::HardLink { target, metadata } => {
                    let Some(ViewNode::File(file)) = self.view.get(target.as_bytes()) else { return None };
                    let node = Node::File {
                        size: file.digest.size,
                        digest: Some(Hash(file.digest.bytes)),
                        first_name: Some(target.as_bytes()),
                    };
                    (metadata, node)
                }
                ViewNode::SymbolicLink { target, metadata } => (metadata, Node::SymbolicLink { target }),
                ViewNode::Fifo { metadata } => (metadata, Node::Fifo),
                ViewNode::Device { block, major, minor, metadata } => {
                    (metadata, Node::Device { block, major, minor })
                }
            };
            Some(Entry { path: entry.path.as_bytes(), metadata: Cow::Borrowed(metadata), node })
        }))
    }

    fn digest(&self, path: &[u8]) -> io::Result<Hash> {
        hash(DiskTree::open(&self.view, path)?)
    }

    fn read(&self, paths: &BTreeSet<Vec<u8>>, limit: u64) -> io::Result<Contents> {
        read_from(&self.view, paths, limit)
    }
}

/// The tree on the root file system of a disk.
pub(crate) struct DiskImageTree {
    /// Its reader keeps what it has looked at, and so is for one thread at a time.
    tree: Mutex<Ext4Tree>,
    entries: Vec<Found>,
}

struct Found {
    path: Vec<u8>,
    metadata: Metadata,
    kind: FoundKind,
}

enum FoundKind {
    Directory,
    File { size: u64, first: Option<usize> },
    SymbolicLink(Vec<u8>),
    Fifo,
    Device { block: bool, major: u32, minor: u32 },
}

impl DiskImageTree {
    pub(crate) fn new(tree: Ext4Tree) -> Self {
        let mut entries: Vec<Found> = Vec::new();
        let mut files: HashMap<Vec<u8>, usize> = HashMap::new();
        for entry in tree.entries() {
            let kind = match entry.node {
                DiskNode::Directory => FoundKind::Directory,
                DiskNode::File { size } => {
                    files.insert(entry.path.to_vec(), entries.len());
                    FoundKind::File { size, first: None }
                }
                DiskNode::HardLink { target } => {
                    let Some(first) = files.get(target).copied() else { continue };
                    let FoundKind::File { size, .. } = entries[first].kind else { continue };
                    FoundKind::File { size, first: Some(first) }
                }
                DiskNode::SymbolicLink { target } => FoundKind::SymbolicLink(target.to_vec()),
                DiskNode::Fifo => FoundKind::Fifo,
                DiskNode::Device { block, major, minor } => FoundKind::Device { block, major, minor },
            };
            let metadata = cleaned(entry.metadata.clone());
            entries.push(Found { path: entry.path.to_vec(), metadata, kind });
        }
        Self { tree: Mutex::new(tree), entries }
    }

    /// A further name of a file is read as its first.
    fn first_name<'s>(&'s self, path: &'s [u8]) -> &'s [u8] {
        let found = self.entries.binary_search_by(|entry| entry.path.as_slice().cmp(path));
        match found.map(|index| &self.entries[index].kind) {
            Ok(FoundKind::File { first: Some(first), .. }) => &self.entries[*first].path,
            _ => path,
        }
    }
}

impl Tree for DiskImageTree {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        Box::new(self.entries.iter().map(|found| Entry {
            path: &found.path,
            metadata: Cow::Borrowed(&found.metadata),
            node: match &found.kind {
                FoundKind::Directory => Node::Directory,
                FoundKind::File { size, first } => Node::File {
                    size: *size,
                    digest: None,
                    first_name: first.map(|first| &*self.entries[first].path),
                },
                FoundKind::SymbolicLink(target) => Node::SymbolicLink { target },
                FoundKind::Fifo => Node::Fifo,
                FoundKind::Device { block, major, minor } => {
                    Node::Device { block: *block, major: *major, minor: *minor }
                }
            },
        }))
    }

    fn digest(&self, path: &[u8]) -> io::Result<Hash> {
        let tree = self.tree.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        hash(tree.open(self.first_name(path))?)
    }

    fn read(&self, paths: &BTreeSet<Vec<u8>>, limit: u64) -> io::Result<Contents> {
        let first: BTreeSet<Vec<u8>> = paths.iter().map(|path| self.first_name(path).to_vec()).collect();
        let tree = self.tree.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let read = read_from(&*tree, &first, limit)?;
        let of = |path: &Vec<u8>| Some((path.clone(), read.get(self.first_name(path))?.clone()));
        Ok(paths.iter().filter_map(of).collect())
    }
}

fn read_from(tree: &dyn DiskTree, paths: &BTreeSet<Vec<u8>>, limit: u64) -> io::Result<Contents> {
    let mut contents = Contents::new();
    for path in paths {
        let mut reader = match tree.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            reader => reader?,
        };
        let mut bytes = Vec::new();
        (&mut reader).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= limit {
            contents.insert(path.clone(), bytes);
        }
    }
    Ok(contents)
}

/// The BLAKE3 hash of all that is read.
pub(crate) fn hash(mut reader: impl Read) -> io::Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Hash(*hasher.finalize().as_bytes())),
            Ok(read) => drop(hasher.update(&buffer[..read])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
