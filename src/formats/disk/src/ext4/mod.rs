//! ext4 file systems from trees: as `mke2fs -d` makes them, but in order, without a clock and without root.
//!
//! Blocks of 4 KiB, inodes of 256 bytes, a journal, checksums of metadata, hashed folders; times in whole seconds. The
//! root grows with `resize2fs`. What ext4 is made of is written by the crate `mkext4`; here is what to write.

mod acl;
mod journal;
mod read;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mkext4::{
    FsBuilder, InodeCount, InodeHandle, Layout, Meta, Options, ROOT, RegionSink, SparseSeg, SpecialKind,
};
use uuid::Uuid;

use crate::DiskError;
use crate::error::shown;
use crate::size::MIB;
use crate::sparse::{self, DataReader, Segment};
use crate::tree::{Entry, Node, Tree, name_of, parent_of};

pub use read::Ext4Tree;

/// As messages say it.
const NAME: &str = "ext4";

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// The smallest file system, of which the journal takes a quarter.
const SMALLEST: u64 = 16 * MIB;

/// The smallest file that is looked through for holes.
const SCAN_FROM: u64 = sparse::UNIT as u64;

/// The folder that every ext4 has for `e2fsck`.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// The times that ext4 holds: 34 bits of seconds from 1901.
const TIMES: std::ops::Range<i64> = -(1 << 31)..(3 << 32) + (1 << 31);

/// What an ext4 file system has besides its files.
#[derive(Clone, Debug)]
pub struct Ext4Options {
    /// In bytes, a multiple of 4096.
    pub size: u64,
    /// The UUID of the file system; the seed of its folders' hashes follows from it.
    pub uuid: Uuid,
    /// The label, up to 16 bytes.
    pub label: Option<String>,
    /// When it was made, in seconds since 1970 (0 to 2^32 - 1); also the time of folders that no entry describes.
    pub epoch: i64,
}

/// A tree made ready to be written: its entries, and where its files have holes.
pub struct Ext4Plan<'t> {
    tree: &'t dyn Tree,
    entries: Vec<Entry<'t>>,
    /// By index of the entry.
    sparse: HashMap<usize, Vec<Segment>>,
}

impl<'t> Ext4Plan<'t> {
    /// Looks at all entries, and through the contents of files of 64 KiB and more for holes.
    ///
    /// # Errors
    ///
    /// Files that cannot be read, entries that ext4 cannot hold.
    pub fn new(tree: &'t dyn Tree) -> Result<Self, DiskError> {
        let entries: Vec<_> = tree.entries().collect();
        let mut sparse = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            check(entry)?;
            if let Node::File { size: SCAN_FROM.. } = entry.node {
                let failed = DiskError::contents(entry.path);
                let mut source = tree.open(entry.path).map_err(&failed)?;
                if let Some(segments) = sparse::segments(&mut source).map_err(&failed)? {
                    sparse.insert(index, segments);
                }
            }
        }
        Ok(Self { tree, entries, sparse })
    }

    /// The size in bytes, a multiple of 1 MiB, that holds the tree with next to nothing left.
    ///
    /// # Errors
    ///
    /// A tree that fits in no file system.
    pub fn minimal_size(&self) -> Result<u64, DiskError> {
        let options = |size| Ext4Options { size, uuid: Uuid::nil(), label: None, epoch: 0 };
        let size = self.least_size().next_multiple_of(MIB).max(SMALLEST);
        if self.seal(&options(size)).is_ok() {
            return Ok(size);
        }
        // Whatever is wrong with a file system that has room in plenty is not its size.
        self.seal(&options(size.saturating_mul(2) + 1024 * MIB))?;
        let grain = (size / 64).next_multiple_of(MIB);
        let (mut too_small, mut step) = (size, grain);
        while self.seal(&options(size + step)).is_err() {
            (too_small, step) = (size + step, 2 * step);
        }
        let mut enough = size + step;
        while enough - too_small > grain {
            let middle = (too_small + (enough - too_small) / 2).next_multiple_of(MIB);
            if self.seal(&options(middle)).is_ok() {
                enough = middle;
            } else {
                too_small = middle;
            }
        }
        Ok(enough)
    }

    /// Writes the file system at `start` bytes of `image`, which must be zero there: what is zero is not written.
    ///
    /// # Errors
    ///
    /// [`DiskError::TooSmall`], contents that changed or cannot be read, an image that cannot be written.
    pub fn write(&self, options: &Ext4Options, image: &File, start: u64) -> Result<(), DiskError> {
        let (layout, files) = match self.seal(options) {
            Ok(sealed) => sealed,
            Err(error) => {
                let needed = self.minimal_size()?;
                let size = options.size;
                return Err(if needed > size {
                    DiskError::TooSmall { what: "the root file system", option: "size", size, needed }
                } else {
                    error
                });
            }
        };
        let mut writer = layout.writer(ImageRegion { image, start })?;
        for (index, handle) in files {
            let entry = &self.entries[index];
            let Node::File { size } = entry.node else { continue };
            let source = self.tree.open(entry.path).map_err(DiskError::contents(entry.path))?;
            let segments = match self.sparse.get(&index) {
                Some(segments) => segments.clone(),
                None => vec![Segment { hole: false, length: size }],
            };
            let has_data = size > 0 && segments.iter().any(|segment| !segment.hole);
            let mut reader = DataReader::new(entry.path, source, segments);
            let filled = if has_data { writer.fill(handle, &mut reader) } else { Ok(()) };
            // What went wrong with the contents says more than that filling failed.
            if size > 0 {
                reader.finish()?;
            }
            filled?;
        }
        writer.finish()?;
        Ok(())
    }

    /// A bound from below: blocks of files, inodes, folders, the journal.
    fn least_size(&self) -> u64 {
        let mut blocks = 0;
        let mut names = 0;
        for (index, entry) in self.entries.iter().enumerate() {
            names += name_of(entry.path).len() as u64 + 12;
            blocks += match entry.node {
                Node::File { size } => match self.sparse.get(&index) {
                    Some(segments) => segments
                        .iter()
                        .filter(|segment| !segment.hole)
                        .map(|segment| segment.length.div_ceil(BLOCK))
                        .sum(),
                    None => size.div_ceil(BLOCK),
                },
                Node::Directory => 1,
                Node::SymbolicLink { target } if target.len() > 59 => 1,
                _ => 0,
            };
        }
        let size = blocks * BLOCK + names + u64::from(self.inodes(0)) * 256;
        size + journal_size(size)
    }

    /// How many inodes a file system of `size` bytes gets: `mke2fs`' ratio, or a quarter more than there are entries.
    fn inodes(&self, size: u64) -> u32 {
        let entries = self.entries.len() as u64;
        let wanted = (size / 16384).max(entries + entries / 4 + 64);
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    /// Declares all entries in order; the layout, and the files to fill with their handles.
    fn seal(&self, options: &Ext4Options) -> Result<(Layout, Vec<(usize, InodeHandle)>), DiskError> {
        let mut settings = Options::new(options.size, *options.uuid.as_bytes(), options.epoch);
        settings.label.clone_from(&options.label);
        settings.inodes = InodeCount::Exact(self.inodes(options.size));
        let mut declaring = Declaring {
            builder: FsBuilder::new(settings)?,
            epoch: options.epoch,
            folders: HashMap::from([(&b""[..], ROOT)]),
            files: HashMap::new(),
        };
        let mut to_fill = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let sparse = self.sparse.get(&index).map(Vec::as_slice);
            if let Some(handle) = declaring.declare(entry, sparse)? {
                to_fill.push((index, handle));
            }
        }
        Ok((declaring.builder.seal()?, to_fill))
    }
}

/// Writes `tree` as an ext4 file system at `start` bytes of `image`, which must be zero there.
///
/// # Errors
///
/// As [`Ext4Plan::new`] and [`Ext4Plan::write`].
pub fn write_ext4(tree: &dyn Tree, options: &Ext4Options, image: &File, start: u64) -> Result<(), DiskError> {
    Ext4Plan::new(tree)?.write(options, image, start)
}

/// Entries on their way into the builder.
struct Declaring<'e> {
    builder: FsBuilder,
    epoch: i64,
    folders: HashMap<&'e [u8], InodeHandle>,
    files: HashMap<&'e [u8], InodeHandle>,
}

impl<'e> Declaring<'e> {
    /// Declares one entry; its handle if it is a file.
    fn declare(
        &mut self,
        entry: &Entry<'e>,
        sparse: Option<&[Segment]>,
    ) -> Result<Option<InodeHandle>, DiskError> {
        let path = entry.path;
        let metadata = entry.metadata;
        let refused = |error: mkext4::Error| DiskError::Entry {
            file_system: NAME,
            path: shown(path),
            reason: reason(error),
        };
        let meta =
            Meta::new((metadata.mode & 0o7777) as u16, metadata.uid, metadata.gid, (metadata.mtime, 0));
        if path == LOST_AND_FOUND && entry.node == Node::Directory {
            return Ok(None);
        }
        let mut file = None;
        let handle = if path.is_empty() {
            self.builder.set_meta(ROOT, meta).map_err(refused)?;
            ROOT
        } else {
            let parent = self.folder(parent_of(path))?;
            let name = text("the name", path, name_of(path))?;
            match entry.node {
                Node::Directory => {
                    let handle = self.builder.mkdir(parent, name, meta).map_err(refused)?;
                    self.folders.insert(path, handle);
                    handle
                }
                Node::File { size } => {
                    let handle = match sparse {
                        Some(segments) => {
                            let segments: Vec<_> = segments.iter().map(sparse_segment).collect();
                            self.builder.file_sparse(parent, name, meta, &segments)
                        }
                        None => self.builder.file(parent, name, meta, size),
                    }
                    .map_err(refused)?;
                    self.files.insert(path, handle);
                    file = Some(handle);
                    handle
                }
                Node::HardLink { target } => {
                    let Some(handle) = self.files.get(target) else {
                        return Err(DiskError::DanglingHardLink { path: shown(path), target: shown(target) });
                    };
                    self.builder.hardlink(parent, name, *handle).map_err(refused)?;
                    return Ok(None);
                }
                Node::SymbolicLink { target } => {
                    let target = text("the target of the link", path, target)?;
                    self.builder.symlink(parent, name, target, meta).map_err(refused)?
                }
                Node::Fifo => self.builder.mknod(parent, name, meta, SpecialKind::Fifo).map_err(refused)?,
                Node::Device { block, major, minor } => {
                    let kind = if block {
                        SpecialKind::Block { major, minor }
                    } else {
                        SpecialKind::Char { major, minor }
                    };
                    self.builder.mknod(parent, name, meta, kind).map_err(refused)?
                }
            }
        };
        for (name, value) in &metadata.xattrs {
            let name = text("an extended attribute's name at", path, name)?;
            let value = acl::to_disk(name, value).ok_or_else(|| DiskError::Entry {
                file_system: NAME,
                path: shown(path),
                reason: format!("`{name}` is no POSIX ACL"),
            })?;
            self.builder.set_xattr(handle, name, &value).map_err(refused)?;
        }
        Ok(file)
    }

    /// The folder at `path`, made if no entry described it.
    fn folder(&mut self, path: &'e [u8]) -> Result<InodeHandle, DiskError> {
        let mut missing = Vec::new();
        let mut above = path;
        let mut handle = loop {
            match self.folders.get(above) {
                Some(handle) => break *handle,
                None => {
                    missing.push(above);
                    above = parent_of(above);
                }
            }
        };
        for folder in missing.into_iter().rev() {
            let meta = Meta::new(0o755, 0, 0, (self.epoch, 0));
            let name = text("the name", folder, name_of(folder))?;
            handle = self.builder.mkdir(handle, name, meta).map_err(|error| DiskError::Entry {
                file_system: NAME,
                path: shown(folder),
                reason: reason(error),
            })?;
            self.folders.insert(folder, handle);
        }
        Ok(handle)
    }
}

/// Refuses what would end in a damaged file system or in an error without a path.
fn check(entry: &Entry<'_>) -> Result<(), DiskError> {
    let refused =
        |reason: String| Err(DiskError::Entry { file_system: NAME, path: shown(entry.path), reason });
    if entry.path.strip_prefix(LOST_AND_FOUND).is_some_and(|rest| rest.starts_with(b"/"))
        || (entry.path == LOST_AND_FOUND && entry.node != Node::Directory)
    {
        return refused("`/lost+found` belongs to `e2fsck`".to_owned());
    }
    if !TIMES.contains(&entry.metadata.mtime) {
        return refused(format!("{} seconds since 1970 is beyond its times", entry.metadata.mtime));
    }
    // In the worst case all of them are in one block: a head, an end mark, and each with a head of its own.
    let attributes = &entry.metadata.xattrs;
    let padded = |bytes: &[u8]| bytes.len().next_multiple_of(4);
    let length = attributes.iter().map(|(name, value)| 16 + padded(name) + padded(value)).sum::<usize>();
    if length > BLOCK as usize - 36 {
        return refused("its extended attributes take more than a block of 4096 bytes".to_owned());
    }
    Ok(())
}

/// How large the journal of a file system of `size` bytes is, as in `mke2fs`.
fn journal_size(size: u64) -> u64 {
    match size / MIB {
        0..128 => 4 * MIB,
        128..1024 => 16 * MIB,
        1024..2048 => 32 * MIB,
        2048..16384 => 64 * MIB,
        16384..32768 => 128 * MIB,
        32768..65536 => 256 * MIB,
        65536..131_072 => 512 * MIB,
        _ => 1024 * MIB,
    }
}

fn sparse_segment(segment: &Segment) -> SparseSeg {
    if segment.hole { SparseSeg::Hole(segment.length) } else { SparseSeg::Data(segment.length) }
}

fn text<'b>(what: &'static str, path: &[u8], bytes: &'b [u8]) -> Result<&'b str, DiskError> {
    std::str::from_utf8(bytes).map_err(|_| DiskError::NotText { what, path: shown(path) })
}

fn reason(error: mkext4::Error) -> String {
    match error {
        mkext4::Error::Invalid(reason) | mkext4::Error::Unsupported(reason) => reason,
        other => other.to_string(),
    }
}

/// A part of an image that is zero until it is written.
struct ImageRegion<'f> {
    image: &'f File,
    start: u64,
}

impl RegionSink for ImageRegion<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.image.write_all_at(bytes, self.start + offset)
    }

    fn zeros(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
}
