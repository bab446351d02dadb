//! What a disk is made from: a tree as entries in order, and contents by path.
//!
//! The trait is small so that tests make trees in memory, and so that a tree read from one disk can be written to
//! another. Where trees come from is not said here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use imgbuild_tree::Metadata;

/// A tree of files.
///
/// Paths are bytes without a leading slash, cleaned as [`imgbuild_tree::TreePath`] cleans them; the root's is empty.
pub trait Tree {
    /// The entries in rising order of path, each once, folders before what is in them, files before further names of
    /// them. Folders that are not among them, the root included, belong to root with mode 0755.
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's>;

    /// The contents of the regular file at `path`, which is an entry with [`Node::File`].
    ///
    /// The reader fails at its end if the contents are not those that the tree promises, where it knows them.
    ///
    /// # Errors
    ///
    /// No such file, a file that cannot be opened.
    fn open<'s>(&'s self, path: &[u8]) -> io::Result<Box<dyn Read + 's>>;
}

/// One path of a tree.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Where, without a leading slash.
    pub path: &'a [u8],
    /// Owner, mode, time, extended attributes. A hard link's are not looked at.
    pub metadata: &'a Metadata,
    /// What stands there.
    pub node: Node<'a>,
}

/// What stands at a path of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// A folder.
    Directory,
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
    },
    /// A further name of a file that comes earlier.
    HardLink {
        /// That file's path.
        target: &'a [u8],
    },
    /// A symbolic link.
    SymbolicLink {
        /// Its text.
        target: &'a [u8],
    },
    /// A named pipe.
    Fifo,
    /// A device.
    Device {
        /// Whether it is a block device.
        block: bool,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// A tree with some files replaced or added, owned by root with mode 0644, and folders that it lacked, with mode 0755.
///
/// A file that is replaced is another one: further names of the one before still are names of that.
pub struct Overlay<'t> {
    base: &'t dyn Tree,
    /// By path; what has no contents is a folder.
    added: BTreeMap<Vec<u8>, (Metadata, Option<Vec<u8>>)>,
    /// Files of the base that are replaced and have further names, by the path that was replaced.
    renamed: BTreeMap<Vec<u8>, Renamed>,
}

/// A file without its first name.
struct Renamed {
    /// Its first name now.
    path: Vec<u8>,
    metadata: Metadata,
    size: u64,
}

impl<'t> Overlay<'t> {
    /// The tree as it is.
    #[must_use]
    pub fn new(base: &'t dyn Tree) -> Self {
        Self { base, added: BTreeMap::new(), renamed: BTreeMap::new() }
    }

    /// Puts a file with `contents` at `path` (without a leading slash), changed at `mtime` in seconds since 1970,
    /// whatever stands there.
    pub fn put(&mut self, path: &str, contents: Vec<u8>, mtime: i64) {
        self.put_with_mode(path, contents, mtime, 0o644);
    }

    /// As [`Overlay::put`], with mode 0755.
    pub(crate) fn put_program(&mut self, path: &str, contents: Vec<u8>, mtime: i64) {
        self.put_with_mode(path, contents, mtime, 0o755);
    }

    fn put_with_mode(&mut self, path: &str, contents: Vec<u8>, mtime: i64, mode: u32) {
        let metadata = Metadata { mode, mtime, ..Metadata::default() };
        self.added.insert(path.as_bytes().to_vec(), (metadata, Some(contents)));
        self.renamed = self.renamed_files();
    }

    /// The files that have lost their first name and have another.
    fn renamed_files(&self) -> BTreeMap<Vec<u8>, Renamed> {
        let mut files = BTreeMap::new();
        let mut renamed = BTreeMap::new();
        for entry in self.base.entries() {
            let is_replaced = self.added.contains_key(entry.path);
            match entry.node {
                Node::File { size } if is_replaced => {
                    files.insert(entry.path, (entry.metadata, size));
                }
                Node::HardLink { target } if !is_replaced && !renamed.contains_key(target) => {
                    let Some((metadata, size)) = files.get(target) else { continue };
                    let file =
                        Renamed { path: entry.path.to_vec(), metadata: (*metadata).clone(), size: *size };
                    renamed.insert(target.to_vec(), file);
                }
                _ => {}
            }
        }
        renamed
    }

    /// Adds those of the folders (without a leading slash, each below one that is there) at whose place nothing stands,
    /// changed at `mtime` in seconds since 1970.
    pub fn add_missing_folders(&mut self, paths: &[&str], mtime: i64) {
        let mut missing: BTreeSet<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
        for entry in self.base.entries() {
            missing.remove(entry.path);
        }
        for path in missing {
            let metadata = Metadata { mode: 0o755, mtime, ..Metadata::default() };
            self.added.entry(path.to_vec()).or_insert((metadata, None));
        }
    }
}

impl Overlay<'_> {
    /// An entry of the base: further names of a file that was replaced are names of where it is now.
    fn with_its_name<'s>(&'s self, entry: Entry<'s>) -> Entry<'s> {
        let Node::HardLink { target } = entry.node else { return entry };
        match self.renamed.get(target) {
            None => entry,
            Some(Renamed { path, metadata, size }) if path == entry.path => {
                Entry { metadata, node: Node::File { size: *size }, ..entry }
            }
            Some(Renamed { path, .. }) => Entry { node: Node::HardLink { target: path }, ..entry },
        }
    }
}

impl Tree for Overlay<'_> {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        let mut added = self
            .added
            .iter()
            .map(|(path, (metadata, contents))| Entry {
                path,
                metadata,
                node: match contents {
                    Some(contents) => Node::File { size: contents.len() as u64 },
                    None => Node::Directory,
                },
            })
            .peekable();
        let kept = self.base.entries().filter(|entry| !self.added.contains_key(entry.path));
        let mut base = kept.map(|entry| self.with_its_name(entry)).peekable();
        Box::new(std::iter::from_fn(move || match (base.peek(), added.peek()) {
            (Some(entry), Some(file)) if file.path < entry.path => added.next(),
            (Some(_), _) => base.next(),
            (None, _) => added.next(),
        }))
    }

    fn open<'s>(&'s self, path: &[u8]) -> io::Result<Box<dyn Read + 's>> {
        if let Some((_, contents)) = self.added.get(path) {
            return Ok(Box::new(contents.as_deref().unwrap_or_default()));
        }
        let was = self.renamed.iter().find(|(_, file)| file.path == path);
        self.base.open(was.map_or(path, |(was, _)| was))
    }
}

/// The folder that holds `path`; empty for what stands in the root.
pub(crate) fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |end| &path[..end])
}

/// The last component of `path`.
pub(crate) fn name_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |end| &path[end + 1..])
}
