//! btrfs file systems from trees: what `mkfs.btrfs --rootdir` is for, but in order, without a clock, and with hard links,
//! owners and attributes as the tree has them.
//!
//! One device, one subvolume (the top), metadata twice and contents once, checksums by CRC-32C, blocks of 16 KiB, no
//! compression, a tree of free space. The format is that of the kernel's `btrfs_tree.h`; features are those that every
//! kernel from 5.15 on has by default. The root grows with `btrfs filesystem resize`.

mod files;
mod items;
mod pack;
mod space;
mod volume;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use uuid::Uuid;

use crate::DiskError;
use crate::error::shown;
use crate::size::MIB;
use crate::sparse::{self, DataReader, Segment, read_full};
use crate::tree::{Entry, Node, Tree};

use space::{Extent, SECTOR, Space};

/// The smallest file system: below, the kernel finds no room to work in.
const SMALLEST: u64 = 128 * MIB;

/// The largest file whose contents stand in the tree, as the kernel does it by default.
const LARGEST_INLINE: u64 = 2048;

/// The smallest file that is looked through for holes.
const SCAN_FROM: u64 = sparse::UNIT as u64;

/// How much of a file is written at once.
const PIECE: usize = 1 << 20;

/// What a btrfs file system has besides its files.
#[derive(Clone, Debug)]
pub struct BtrfsOptions {
    /// In bytes, a multiple of 4096.
    pub size: u64,
    /// The UUID of the file system, which others follow from.
    pub uuid: Uuid,
    /// The label, up to 255 bytes.
    pub label: Option<String>,
    /// When it was made, in seconds since 1970; also the time of folders that no entry describes.
    pub epoch: i64,
}

/// What a file holds.
enum Contents {
    /// Nothing, or what is no file.
    None,
    /// What stands in the tree.
    Inline(Vec<u8>),
    /// Data and holes.
    Segments(Vec<Segment>),
}

/// A tree made ready to be written: its entries, its small contents, and where its files have holes.
pub struct BtrfsPlan<'t> {
    tree: &'t dyn Tree,
    entries: Vec<Entry<'t>>,
    /// By entry.
    contents: Vec<Contents>,
    /// What [`BtrfsPlan::minimal_size`] has found.
    minimal_size: OnceLock<u64>,
}

impl<'t> BtrfsPlan<'t> {
    /// Looks at all entries, reads small files, and looks through files of 64 KiB and more for holes.
    ///
    /// # Errors
    ///
    /// Files that cannot be read.
    pub fn new(tree: &'t dyn Tree) -> Result<Self, DiskError> {
        let entries: Vec<_> = tree.entries().collect();
        let mut contents = Vec::with_capacity(entries.len());
        for entry in &entries {
            contents.push(match entry.node {
                Node::File { size: 1.. } => read(tree, entry)?,
                _ => Contents::None,
            });
        }
        Ok(Self { tree, entries, contents, minimal_size: OnceLock::new() })
    }

    /// The size in bytes, a multiple of 1 MiB, that holds the tree, with as much room for metadata as it needs now.
    ///
    /// For that all trees are made once; they are made anew when the file system is written, with checksums that are not known before
    /// its contents are.
    ///
    /// # Errors
    ///
    /// Entries that btrfs cannot hold.
    pub fn minimal_size(&self) -> Result<u64, DiskError> {
        if let Some(size) = self.minimal_size.get() {
            return Ok(*size);
        }
        let (space, extents) = self.place();
        // What checksums say does not change how much room they take.
        let sums: Vec<_> = extents.iter().map(|extent| vec![0; sectors(extent)]).collect();
        let options = BtrfsOptions { size: 0, uuid: Uuid::nil(), label: None, epoch: 0 };
        let end = volume::Volume::new(self, &options, space, &extents, &sums)?.end();
        Ok(*self.minimal_size.get_or_init(|| end.next_multiple_of(MIB).max(SMALLEST)))
    }

    /// Writes the file system at `start` bytes of `image`, which must be zero there: what is zero is not written.
    ///
    /// # Errors
    ///
    /// [`DiskError::TooSmall`], entries that btrfs cannot hold, contents that changed or cannot be read, an image that
    /// cannot be written.
    pub fn write(&self, options: &BtrfsOptions, image: &File, start: u64) -> Result<(), DiskError> {
        let needed = self.minimal_size()?;
        let size = options.size;
        if size < needed {
            return Err(DiskError::TooSmall { what: "the root file system", option: "size", size, needed });
        }
        let (space, extents) = self.place();
        let mut sums = Vec::with_capacity(extents.len());
        let mut left = extents.as_slice();
        for (index, contents) in self.contents.iter().enumerate() {
            let Contents::Segments(segments) = contents else { continue };
            let count = left.iter().take_while(|extent| extent.entry == index).count();
            let (own, rest) = left.split_at(count);
            left = rest;
            self.fill(index, segments, own, image, start, &mut sums)?;
        }
        volume::Volume::new(self, options, space, &extents, &sums)?.write(image, start)
    }

    /// Says where contents lie.
    fn place(&self) -> (Space, Vec<Extent>) {
        let parts = self.contents.iter().enumerate().flat_map(|(index, contents)| {
            let segments: &[Segment] = match contents {
                Contents::Segments(segments) => segments,
                Contents::None | Contents::Inline(_) => &[],
            };
            let mut at = 0;
            segments.iter().filter_map(move |segment| {
                let begin = at;
                at += segment.length;
                (!segment.hole).then_some((index, begin, segment.length))
            })
        });
        Space::of_contents(parts)
    }

    /// Writes a file's contents; the checksums of its extents' sectors are added to `sums`.
    fn fill(
        &self,
        index: usize,
        segments: &[Segment],
        extents: &[Extent],
        image: &File,
        start: u64,
        sums: &mut Vec<Vec<u32>>,
    ) -> Result<(), DiskError> {
        let path = self.entries[index].path;
        let source = self.tree.open(path).map_err(DiskError::contents(path))?;
        let mut data: u64 = segments.iter().filter(|part| !part.hole).map(|part| part.length).sum();
        let mut reader = DataReader::new(path, source, segments.to_vec());
        let mut buffer = vec![0; PIECE];
        for extent in extents {
            let mut own = Vec::with_capacity(sectors(extent));
            let mut done = 0;
            while done < extent.length {
                let piece = &mut buffer[..(extent.length - done).min(PIECE as u64) as usize];
                // The last sector of a file is filled up with zeros.
                let wanted = data.min(piece.len() as u64) as usize;
                match read_full(&mut reader, &mut piece[..wanted]) {
                    Ok(read) if read == wanted => {}
                    _ => {
                        return Err(reader
                            .finish()
                            .err()
                            .unwrap_or(DiskError::Changed { path: shown(path) }));
                    }
                }
                piece[wanted..].fill(0);
                data -= wanted as u64;
                own.extend(piece.chunks(SECTOR as usize).map(crc32c::crc32c));
                image
                    .write_all_at(piece, start + extent.logical + done)
                    .map_err(DiskError::image("write"))?;
                done += piece.len() as u64;
            }
            sums.push(own);
        }
        reader.finish()
    }
}

/// Writes `tree` as a btrfs file system at `start` bytes of `image`, which must be zero there.
///
/// # Errors
///
/// As [`BtrfsPlan::new`] and [`BtrfsPlan::write`].
pub fn write_btrfs(
    tree: &dyn Tree,
    options: &BtrfsOptions,
    image: &File,
    start: u64,
) -> Result<(), DiskError> {
    BtrfsPlan::new(tree)?.write(options, image, start)
}

/// What is known of a file's contents before they are written.
fn read(tree: &dyn Tree, entry: &Entry<'_>) -> Result<Contents, DiskError> {
    let Node::File { size } = entry.node else { return Ok(Contents::None) };
    let whole = || vec![Segment { hole: false, length: size }];
    let failed = DiskError::contents(entry.path);
    if size > LARGEST_INLINE && size < SCAN_FROM {
        return Ok(Contents::Segments(whole()));
    }
    let mut source = tree.open(entry.path).map_err(&failed)?;
    if size >= SCAN_FROM {
        let segments = sparse::segments(&mut source).map_err(&failed)?;
        return Ok(Contents::Segments(segments.unwrap_or_else(whole)));
    }
    // One more, so that a file's end is seen, where its digest is checked.
    let mut bytes = vec![0; size as usize + 1];
    let read = read_full(&mut source, &mut bytes).map_err(&failed)?;
    bytes.truncate(size as usize);
    if read as u64 == size {
        Ok(Contents::Inline(bytes))
    } else {
        Err(DiskError::Changed { path: shown(entry.path) })
    }
}

fn sectors(extent: &Extent) -> usize {
    (extent.length / SECTOR) as usize
}

fn refused(path: &[u8], reason: String) -> DiskError {
    DiskError::Entry { file_system: "btrfs", path: shown(path), reason }
}
