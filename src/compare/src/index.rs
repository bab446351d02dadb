//! The metadata of a tree in memory, in order: what folders and archives are made into. Contents are elsewhere.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use imgbuild_digest::Hash;
use imgbuild_tree::Metadata;

use crate::tree::{Entry, Node, cleaned, parent_of};

/// What stands at a path.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Directory,
    /// The number of a file, which several names may have.
    File(usize),
    SymbolicLink(Box<[u8]>),
    Fifo,
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
}

/// A file, whatever its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    pub(crate) size: u64,
    pub(crate) digest: Option<Hash>,
}

/// A tree's metadata.
#[derive(Debug, Default)]
pub(crate) struct Index {
    items: Vec<Item>,
    files: Vec<File>,
    /// The place of the first name of each file.
    first: Vec<usize>,
}

#[derive(Debug)]
struct Item {
    path: Box<[u8]>,
    metadata: Metadata,
    body: Body,
}

/// A tree that is being put together, layer over layer.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    below: BTreeMap<Box<[u8]>, (Metadata, Body)>,
    files: Vec<File>,
}

impl Builder {
    /// A new file; its number.
    pub(crate) fn file(&mut self, size: u64, digest: Option<Hash>) -> usize {
        self.files.push(File { size, digest });
        self.files.len() - 1
    }

    /// Puts something at a path, in place of what stands there and, if it is no folder, of all that is below.
    pub(crate) fn put(&mut self, path: &[u8], metadata: Metadata, body: Body) {
        if !matches!(body, Body::Directory) {
            self.remove_below(path);
        }
        self.below.insert(path.into(), (cleaned(metadata), body));
    }

    /// What stands at a path.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&(Metadata, Body)> {
        self.below.get(path)
    }

    /// Removes a path and all that is below.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.below.remove(path);
        self.remove_below(path);
    }

    /// Removes all that is below a path.
    pub(crate) fn remove_below(&mut self, path: &[u8]) {
        if path.is_empty() {
            self.below.retain(|path, _| path.is_empty());
            return;
        }
        let prefix = [path, b"/"].concat();
        let gone: Vec<Box<[u8]>> = self
            .below
            .range::<[u8], _>((Bound::Included(&*prefix), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(&prefix))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.below.remove(&path);
        }
    }

    /// Puts an upper layer over this: files of both have numbers of one [`Builder`].
    pub(crate) fn cover(&mut self, upper: BTreeMap<Box<[u8]>, (Metadata, Body)>) {
        for (path, (metadata, body)) in upper {
            self.put(&path, metadata, body);
        }
    }

    /// The tree, with the folders that were left out.
    pub(crate) fn finish(mut self) -> Index {
        let mut missing: Vec<Box<[u8]>> = Vec::new();
        for path in self.below.keys() {
            let mut folder = parent_of(path);
            while !folder.is_empty() && !self.below.contains_key(folder) {
                missing.push(folder.into());
                folder = parent_of(folder);
            }
        }
        for folder in missing {
            let metadata = Metadata { mode: 0o755, ..Metadata::default() };
            self.below.entry(folder).or_insert((metadata, Body::Directory));
        }
        let items: Vec<Item> =
            self.below.into_iter().map(|(path, (metadata, body))| Item { path, metadata, body }).collect();
        Index::new(items, self.files)
    }
}

impl Index {
    fn new(items: Vec<Item>, files: Vec<File>) -> Self {
        let mut first = vec![usize::MAX; files.len()];
        for (place, item) in items.iter().enumerate() {
            if let Body::File(file) = item.body {
                first[file] = first[file].min(place);
            }
        }
        Self { items, files, first }
    }

    /// A tree of entries that are in no order; each path once.
    pub(crate) fn of(entries: Vec<(Box<[u8]>, Metadata, Body)>, files: Vec<File>) -> Self {
        let mut items: Vec<Item> = entries
            .into_iter()
            .map(|(path, metadata, body)| Item { path, metadata: cleaned(metadata), body })
            .collect();
        items.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Self::new(items, files)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.items.iter().enumerate().map(|(place, item)| Entry {
            path: &item.path,
            metadata: Cow::Borrowed(&item.metadata),
            node: match &item.body {
                Body::Directory => Node::Directory,
                Body::File(number) => {
                    let (file, first) = (self.files[*number], self.first[*number]);
                    let first_name = (first != place).then(|| &*self.items[first].path);
                    Node::File { size: file.size, digest: file.digest, first_name }
                }
                Body::SymbolicLink(target) => Node::SymbolicLink { target },
                Body::Fifo => Node::Fifo,
                Body::Device { block, major, minor } => {
                    Node::Device { block: *block, major: *major, minor: *minor }
                }
            },
        })
    }

    /// The number of the regular file at a path.
    pub(crate) fn file(&self, path: &[u8]) -> Option<usize> {
        let place = self.items.binary_search_by(|item| (*item.path).cmp(path)).ok()?;
        match self.items[place].body {
            Body::File(number) => Some(number),
            _ => None,
        }
    }

    /// The size of a file, by its number.
    pub(crate) fn size(&self, file: usize) -> u64 {
        self.files[file].size
    }
}
