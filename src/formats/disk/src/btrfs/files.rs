//! The tree of files: what stands in it for each entry.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::items::{
    FIRST, FS_TREE, Inode, Key, ROOT_TREE_DIR, dir_item, file_extent, inline_extent, inode_ref, kind,
    name_hash, named,
};
use super::pack::LARGEST;
use super::space::Extent;
use super::{BtrfsPlan, Contents, refused};
use crate::DiskError;
use crate::error::shown;
use crate::tree::{Entry, Node, name_of, parent_of};

/// The longest text of a symbolic link, which stands in the tree.
const LONGEST_LINK: usize = 4095 - 1;

/// The longest name.
const LONGEST_NAME: usize = 255;

/// The items of a tree of files, by key.
pub(super) type Items = BTreeMap<Key, Vec<u8>>;

/// Inodes on their way into the tree.
struct Files<'e> {
    items: Items,
    inodes: Vec<Inode>,
    /// The next index in each folder, by its inode's place.
    next: Vec<u64>,
    folders: HashMap<&'e [u8], u64>,
    files: HashMap<&'e [u8], u64>,
    epoch: i64,
}

/// The items of `plan`'s tree, with its contents at `extents`, which are in the order of entries; and for each entry its
/// inode.
pub(super) fn items(
    plan: &BtrfsPlan<'_>,
    extents: &[Extent],
    epoch: i64,
) -> Result<(Items, Vec<u64>), DiskError> {
    let mut files = Files {
        items: empty_folder(),
        inodes: Vec::new(),
        next: Vec::new(),
        folders: HashMap::from([(&b""[..], FIRST)]),
        files: HashMap::new(),
        epoch,
    };
    files.add(Inode { mode: 0o40755, mtime: epoch, links: 1, made: epoch, ..Inode::default() });
    let mut numbers = Vec::with_capacity(plan.entries.len());
    let mut extents = extents;
    for (index, entry) in plan.entries.iter().enumerate() {
        let count = extents.iter().take_while(|extent| extent.entry == index).count();
        let (own, rest) = extents.split_at(count);
        extents = rest;
        numbers.push(files.entry(entry, &plan.contents[index], own)?);
    }
    let Files { mut items, inodes, .. } = files;
    for (inode, number) in inodes.iter().zip(FIRST..) {
        items.insert(Key(number, kind::INODE, 0), inode.to_bytes());
    }
    Ok((items, numbers))
}

/// A tree with an empty root folder, but for the inode.
fn empty_folder() -> Items {
    Items::from([(Key(FIRST, kind::INODE_REF, FIRST), inode_ref(0, b".."))])
}

/// The tree that the kernel moves contents through, which is empty.
pub(super) fn relocation_items(epoch: i64) -> Vec<(Key, Vec<u8>)> {
    let inode = Inode { mode: 0o40755, mtime: epoch, links: 1, made: epoch, ..Inode::default() };
    let mut items = empty_folder();
    items.insert(Key(FIRST, kind::INODE, 0), inode.to_bytes());
    items.into_iter().collect()
}

/// The root folder's name in the tree of trees, by which it is mounted.
pub(super) fn default_volume(items: &mut Items, epoch: i64) {
    let name = b"default";
    let inode = Inode { mode: 0o40755, mtime: epoch, links: 1, made: epoch, ..Inode::default() };
    let location = Key(FS_TREE, kind::ROOT, u64::MAX);
    items.insert(Key(ROOT_TREE_DIR, kind::INODE, 0), inode.to_bytes());
    items.insert(Key(ROOT_TREE_DIR, kind::INODE_REF, ROOT_TREE_DIR), inode_ref(0, b".."));
    items.insert(
        Key(ROOT_TREE_DIR, kind::DIR_ITEM, name_hash(name)),
        dir_item(location, named::DIRECTORY, name, b""),
    );
    items.insert(Key(FS_TREE, kind::INODE_REF, ROOT_TREE_DIR), inode_ref(0, name));
}

/// How the tree of UUIDs finds the tree of files.
pub(super) fn volume_by_uuid(uuid: Uuid) -> (Key, Vec<u8>) {
    let (first, second) = uuid.as_u64_pair();
    let key = Key(first.swap_bytes(), kind::UUID_SUBVOLUME, second.swap_bytes());
    (key, FS_TREE.to_le_bytes().to_vec())
}

impl<'e> Files<'e> {
    /// Gives an inode its number.
    fn add(&mut self, inode: Inode) -> u64 {
        self.inodes.push(inode);
        self.next.push(2);
        FIRST + self.inodes.len() as u64 - 1
    }

    fn inode(&mut self, number: u64) -> &mut Inode {
        &mut self.inodes[(number - FIRST) as usize]
    }

    /// Puts down one entry; its inode's number.
    fn entry(
        &mut self,
        entry: &Entry<'e>,
        contents: &Contents,
        extents: &[Extent],
    ) -> Result<u64, DiskError> {
        let (path, metadata) = (entry.path, entry.metadata);
        if let Node::HardLink { target } = entry.node {
            let Some(number) = self.files.get(target).copied() else {
                return Err(DiskError::DanglingHardLink { path: shown(path), target: shown(target) });
            };
            self.inode(number).links += 1;
            self.name(path, number, named::FILE)?;
            return Ok(number);
        }
        let (kind, named, device) = kinds(&entry.node);
        let inode = Inode {
            links: 1,
            uid: metadata.uid,
            gid: metadata.gid,
            mode: kind | metadata.mode & 0o7777,
            device,
            mtime: metadata.mtime,
            made: self.epoch,
            ..Inode::default()
        };
        let number = if path.is_empty() {
            *self.inode(FIRST) = Inode { size: self.inode(FIRST).size, ..inode };
            FIRST
        } else {
            let number = self.add(inode);
            self.name(path, number, named)?;
            number
        };
        match entry.node {
            Node::Directory => drop(self.folders.insert(path, number)),
            Node::File { size } => {
                self.files.insert(path, number);
                self.contents(number, size, contents, extents);
            }
            Node::SymbolicLink { target } => {
                if target.is_empty() || target.len() > LONGEST_LINK {
                    return Err(refused(path, "its target is empty or longer than 4094 bytes".to_owned()));
                }
                self.contents(number, target.len() as u64, &Contents::Inline(target.to_vec()), &[]);
            }
            Node::HardLink { .. } | Node::Fifo | Node::Device { .. } => {}
        }
        for (name, value) in &metadata.xattrs {
            let item = dir_item(Key(0, 0, 0), named::XATTR, name, value);
            self.append(path, Key(number, kind::XATTR, name_hash(name)), &item)?;
        }
        Ok(number)
    }

    fn contents(&mut self, number: u64, size: u64, contents: &Contents, extents: &[Extent]) {
        self.inode(number).size = size;
        if let Contents::Inline(bytes) = contents {
            self.inode(number).bytes = size;
            self.items.insert(Key(number, kind::EXTENT_DATA, 0), inline_extent(bytes));
        }
        for extent in extents {
            self.inode(number).bytes += extent.length;
            self.items.insert(
                Key(number, kind::EXTENT_DATA, extent.offset),
                file_extent(extent.logical, extent.length),
            );
        }
    }

    /// Gives an inode a name in its folder.
    fn name(&mut self, path: &'e [u8], number: u64, kind: u8) -> Result<(), DiskError> {
        let name = name_of(path);
        if name.len() > LONGEST_NAME {
            return Err(refused(path, format!("its name has more than {LONGEST_NAME} bytes")));
        }
        let folder = self.folder(parent_of(path))?;
        self.name_in(folder, path, number, kind)
    }

    fn name_in(&mut self, folder: u64, path: &[u8], number: u64, named: u8) -> Result<(), DiskError> {
        let name = name_of(path);
        let next = &mut self.next[(folder - FIRST) as usize];
        let index = *next;
        *next += 1;
        // A folder's size counts each name twice: once by hash and once by index.
        self.inode(folder).size += 2 * name.len() as u64;
        let item = dir_item(Key(number, kind::INODE, 0), named, name, b"");
        self.append(path, Key(folder, kind::DIR_ITEM, name_hash(name)), &item)?;
        self.append(path, Key(folder, kind::DIR_INDEX, index), &item)?;
        self.append(path, Key(number, kind::INODE_REF, folder), &inode_ref(index, name))
    }

    /// The folder at `path`, made if no entry described it.
    fn folder(&mut self, path: &'e [u8]) -> Result<u64, DiskError> {
        if let Some(number) = self.folders.get(path) {
            return Ok(*number);
        }
        let above = self.folder(parent_of(path))?;
        let epoch = self.epoch;
        let inode = Inode { mode: 0o40755, mtime: epoch, links: 1, made: epoch, ..Inode::default() };
        let number = self.add(inode);
        self.folders.insert(path, number);
        self.name_in(above, path, number, named::DIRECTORY)?;
        Ok(number)
    }

    /// Adds to the item at `key`: names with one hash, and names of one file in one folder, share one.
    fn append(&mut self, path: &[u8], key: Key, item: &[u8]) -> Result<(), DiskError> {
        let whole = self.items.entry(key).or_default();
        whole.extend_from_slice(item);
        if whole.len() <= LARGEST {
            return Ok(());
        }
        let what = match key.1 {
            kind::INODE_REF => "its file has too many names in its folder",
            kind::XATTR => "an extended attribute is too large",
            _ => "too many names in its folder have its hash",
        };
        Err(refused(path, format!("{what}: they take more than {LARGEST} bytes")))
    }
}

/// The type in the mode, the type in folders, the number of the device.
fn kinds(node: &Node<'_>) -> (u32, u8, u64) {
    match node {
        Node::Directory => (0o040_000, named::DIRECTORY, 0),
        Node::File { .. } | Node::HardLink { .. } => (0o100_000, named::FILE, 0),
        Node::SymbolicLink { .. } => (0o120_000, named::SYMBOLIC_LINK, 0),
        Node::Fifo => (0o010_000, named::FIFO, 0),
        Node::Device { block, major, minor } => {
            // As the kernel numbers devices in memory.
            let number = u64::from(*major) << 20 | u64::from(*minor);
            let (kind, named) =
                if *block { (0o060_000, named::BLOCK_DEVICE) } else { (0o020_000, named::CHARACTER_DEVICE) };
            (kind, named, number)
        }
    }
}
