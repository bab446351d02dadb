//! ext4 file systems as trees.
//!
//! Reads what `mkext4` and `mke2fs` write; a journal that was not replayed is read with the rest. Only metadata is held.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use imgbuild_tree::Metadata;
use mkext4::reader::{FileExtent, Fs, ReadAt};
use mkext4::spec::Inode;
use mkext4::spec::inode::FileType;

use super::journal::{self, Over};
use super::{BLOCK, acl};
use crate::DiskError;
use crate::error::shown;
use crate::tree::{Entry, Node, Tree};

/// The number of the root's inode.
const ROOT_INODE: u32 = 2;

/// A part of a disk image.
pub(crate) struct Region {
    pub(crate) image: File,
    pub(crate) start: u64,
    /// In bytes.
    pub(crate) size: u64,
    /// Blocks that stand in place of its own.
    pub(super) over: Over,
}

impl Region {
    /// The same once more.
    pub(super) fn again(&self) -> Result<Self, DiskError> {
        let image = self.image.try_clone().map_err(DiskError::image("open"))?;
        Ok(Self { image, start: self.start, size: self.size, over: self.over.clone() })
    }
}

impl ReadAt for Region {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        FileExt::read_exact_at(&self.image, buffer, self.start + offset)?;
        if self.over.is_empty() {
            return Ok(());
        }
        for number in offset / BLOCK..end.div_ceil(BLOCK) {
            let Some(block) = self.over.get(&number) else { continue };
            let place = number * BLOCK;
            let (from, to) = (place.max(offset), (place + BLOCK).min(end));
            let within = |base: u64| (from - base) as usize..(to - base) as usize;
            buffer[within(offset)].copy_from_slice(&block[within(place)]);
        }
        Ok(())
    }
}

/// A tree that stands on an ext4 file system.
pub struct Ext4Tree {
    fs: Fs<Region>,
    found: Vec<Found>,
    by_path: HashMap<Vec<u8>, usize>,
}

struct Found {
    path: Vec<u8>,
    metadata: Metadata,
    inode: u32,
    kind: Kind,
}

enum Kind {
    Directory,
    File { size: u64 },
    HardLink { first: usize },
    SymbolicLink { target: Vec<u8> },
    Fifo,
    Device { block: bool, major: u32, minor: u32 },
}

impl Ext4Tree {
    /// Reads the metadata of the file system in `size` bytes from `start` of `image`. Sockets are left out, and so is an
    /// empty `lost+found`.
    ///
    /// # Errors
    ///
    /// What is no ext4, features that are not known, damage.
    pub fn open(image: File, start: u64, size: u64) -> Result<Self, DiskError> {
        let region = journal::replayed(Region { image, start, size, over: Over::new() })?;
        let fs = Fs::open(region).map_err(damaged)?;
        let found = walk(&fs)?;
        let mut tree = Self { fs, found, by_path: HashMap::new() };
        tree.arrange();
        Ok(tree)
    }

    /// The UUID of the file system.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_bytes(self.fs.superblock().uuid)
    }

    /// Sorts by path, and makes further names of a file hard links to its first.
    fn arrange(&mut self) {
        self.found.sort_by(|one, other| one.path.cmp(&other.path));
        let lost = |found: &Found| found.path.starts_with(b"lost+found");
        if self.found.iter().filter(|found| lost(found)).count() == 1 {
            self.found.retain(|found| found.path != b"lost+found");
        }
        let mut first_names: HashMap<u32, usize> = HashMap::new();
        for index in 0..self.found.len() {
            let found = &mut self.found[index];
            if matches!(found.kind, Kind::File { .. }) {
                match first_names.get(&found.inode) {
                    Some(first) => found.kind = Kind::HardLink { first: *first },
                    None => {
                        first_names.insert(found.inode, index);
                    }
                }
            }
            self.by_path.insert(self.found[index].path.clone(), index);
        }
    }
}

impl Tree for Ext4Tree {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        Box::new(self.found.iter().map(|found| Entry {
            path: &found.path,
            metadata: &found.metadata,
            node: match &found.kind {
                Kind::Directory => Node::Directory,
                Kind::File { size } => Node::File { size: *size },
                Kind::HardLink { first } => Node::HardLink { target: &self.found[*first].path },
                Kind::SymbolicLink { target } => Node::SymbolicLink { target },
                Kind::Fifo => Node::Fifo,
                Kind::Device { block, major, minor } => {
                    Node::Device { block: *block, major: *major, minor: *minor }
                }
            },
        }))
    }

    fn open<'s>(&'s self, path: &[u8]) -> io::Result<Box<dyn Read + 's>> {
        let found = self.by_path.get(path).map(|index| &self.found[*index]);
        let Some(found) = found.filter(|found| matches!(found.kind, Kind::File { .. })) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let inode = self.fs.inode(found.inode).map_err(io::Error::other)?;
        let extents = self.fs.extents(found.inode, &inode).map_err(io::Error::other)?;
        Ok(Box::new(FileReader { fs: &self.fs, inode, extents, offset: 0 }))
    }
}

/// All that stands on the file system, in no particular order.
fn walk(fs: &Fs<Region>) -> Result<Vec<Found>, DiskError> {
    let mut found = Vec::new();
    let mut folders = HashSet::new();
    let mut waiting = vec![(ROOT_INODE, Vec::new())];
    while let Some((number, path)) = waiting.pop() {
        let inode = fs.inode(number).map_err(damaged)?;
        let kind = match inode.file_type() {
            FileType::Dir => Kind::Directory,
            FileType::Regular => Kind::File { size: inode.size },
            FileType::Symlink => Kind::SymbolicLink { target: fs.symlink_target(number).map_err(damaged)? },
            FileType::Fifo => Kind::Fifo,
            FileType::CharDev | FileType::BlockDev => {
                let (major, minor) = inode.dev_numbers().unwrap_or_default();
                Kind::Device { block: inode.file_type() == FileType::BlockDev, major, minor }
            }
            FileType::Socket => continue,
            FileType::Unknown => {
                return Err(DiskError::Damaged(format!("`{}` is of no known type", shown(&path))));
            }
        };
        if matches!(kind, Kind::Directory) {
            if !folders.insert(number) {
                return Err(DiskError::Damaged(format!(
                    "the folder `{}` stands at two places",
                    shown(&path)
                )));
            }
            for child in fs.read_dir(number).map_err(damaged)? {
                if child.name == b"." || child.name == b".." {
                    continue;
                }
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(&child.name);
                waiting.push((child.inode, below));
            }
        }
        let metadata = metadata(fs, number, &inode, &path)?;
        found.push(Found { path, metadata, inode: number, kind });
    }
    Ok(found)
}

fn metadata(fs: &Fs<Region>, number: u32, inode: &Inode, path: &[u8]) -> Result<Metadata, DiskError> {
    let mut metadata = Metadata {
        mode: u32::from(inode.mode & 0o7777),
        uid: inode.uid,
        gid: inode.gid,
        mtime: Inode::timestamp(inode.mtime, inode.mtime_extra).0,
        ..Metadata::default()
    };
    for attribute in fs.xattrs(number).map_err(damaged)? {
        let Some(name) = attribute.full_name() else { continue };
        let value = acl::from_disk(&name, attribute.value)
            .ok_or_else(|| DiskError::Damaged(format!("the ACL of `{}`", shown(path))))?;
        metadata.xattrs.insert(name.into(), value.into());
    }
    Ok(metadata)
}

pub(super) fn damaged(error: mkext4::Error) -> DiskError {
    DiskError::Damaged(error.to_string())
}

/// The contents of a file, holes as zeros.
struct FileReader<'f> {
    fs: &'f Fs<Region>,
    inode: Inode,
    extents: Vec<FileExtent>,
    offset: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self
            .fs
            .read_file_at(&self.inode, &self.extents, self.offset, buffer)
            .map_err(io::Error::other)?;
        self.offset += read as u64;
        Ok(read)
    }
}
