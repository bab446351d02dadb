//! A whole file system around a tree of files: the trees that say what lies where, and the superblocks.
//!
//! Where blocks lie depends on how many there are, and how many there are on what they say of each other; so trees are
//! made again until nothing changes any more.

use std::fs::File;
use std::os::unix::fs::FileExt;

use uuid::{Builder, Uuid};

use super::files::{self, Items};
use super::items::{
    Bytes, CHUNK_TREE, CSUM_TREE, DATA_RELOC_TREE, DEV_TREE, DEVICE, EXTENT_CSUM, EXTENT_TREE, FIRST,
    FREE_SPACE_TREE, FS_TREE, GENERATION, Key, ROOT_TREE, ROOT_TREE_DIR, Root, UUID_TREE, data_extent, kind,
    tree_block,
};
use super::pack::{Common, NODE, Packed, Shape};
use super::space::{Chunk, Extent, METADATA_TWICE, MIRRORS, SECTOR, SYSTEM_TWICE, Space};
use super::{BtrfsOptions, BtrfsPlan};
use crate::DiskError;

/// Where the first superblock is.
const SUPERBLOCK: u64 = 64 << 10;

/// How many sectors' checksums stand in one item: the kernel takes no more than fit into a leaf.
const SUMS: usize = 4000;

/// Bytes of a stripe, of which a chunk of one or two copies has only one.
const STRIPE: u64 = 64 << 10;

/// Mixed references back, large metadata, many names of a file, small items of blocks, holes without items.
const INCOMPATIBLE: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9;

/// A tree of free space, which is true.
const COMPATIBLE_TO_READ: u64 = 1 | 1 << 1;

/// A file system made ready to be written.
pub(super) struct Volume<'o> {
    options: &'o BtrfsOptions,
    ids: Ids,
    space: Space,
    trees: Vec<Packed>,
    /// Address of the first block, by tree.
    places: Vec<u64>,
}

/// Identifiers that follow from the file system's.
struct Ids {
    common: Common,
    device: Uuid,
    volume: Uuid,
}

/// What does not change from round to round.
struct Fixed<'a> {
    options: &'a BtrfsOptions,
    ids: Ids,
    contents: Space,
    /// The data's lines in the tree of extents.
    extents: Vec<(Key, Vec<u8>)>,
}

/// What a round begins with: how large each tree is, and so where it lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Guess(Vec<(u64, Shape)>);

impl<'o> Volume<'o> {
    /// The file system of a plan, whose contents are at `extents` and have the checksums `sums`.
    pub(super) fn new(
        plan: &BtrfsPlan<'_>,
        options: &'o BtrfsOptions,
        contents: Space,
        extents: &[Extent],
        sums: &[Vec<u32>],
    ) -> Result<Self, DiskError> {
        let ids = Ids::of(options.uuid);
        let (items, numbers) = files::items(plan, extents, options.epoch)?;
        let lines = extents
            .iter()
            .map(|extent| {
                let line = data_extent(numbers[extent.entry], extent.offset);
                (Key(extent.logical, kind::EXTENT, extent.length), line)
            })
            .collect();
        let steady = vec![
            Packed::new(FS_TREE, items.into_iter().collect()),
            Packed::new(CSUM_TREE, checksums(extents, sums)),
            Packed::new(UUID_TREE, vec![files::volume_by_uuid(ids.volume)]),
            Packed::new(DATA_RELOC_TREE, files::relocation_items(options.epoch)),
        ];
        let fixed = Fixed { options, ids, contents, extents: lines };
        let mut guess = Guess::default();
        loop {
            let space = guess.space(&fixed.contents);
            let moving = fixed.moving(&guess, &space);
            let shapes = steady.iter().chain(&moving).map(|tree| (tree.owner, tree.shape())).collect();
            let found = Guess(shapes);
            if found == guess {
                let places = guess.places(&space).into_iter().map(|(_, _, place)| place).collect();
                let trees = steady.into_iter().chain(moving).collect();
                return Ok(Self { options, ids: fixed.ids, space, trees, places });
            }
            guess = found;
        }
    }

    /// The first byte behind all that is in use.
    pub(super) fn end(&self) -> u64 {
        self.space.end
    }

    pub(super) fn write(&self, image: &File, start: u64) -> Result<(), DiskError> {
        let failed = DiskError::image("write");
        for (tree, place) in self.trees.iter().zip(&self.places) {
            tree.write(self.ids.common, *place, |at, block| {
                let chunk = self
                    .space
                    .chunks
                    .iter()
                    .find(|chunk| (chunk.logical()..chunk.logical() + chunk.length).contains(&at));
                let Some(chunk) = chunk else { return Err(failed(std::io::ErrorKind::InvalidInput.into())) };
                for copy in &chunk.copies {
                    image.write_all_at(block, start + copy + at - chunk.logical()).map_err(&failed)?;
                }
                Ok(())
            })?;
        }
        for at in [SUPERBLOCK].into_iter().chain(MIRRORS) {
            if at + SECTOR <= self.options.size {
                image.write_all_at(&self.superblock(at), start + at).map_err(&failed)?;
            }
        }
        Ok(())
    }

    /// The root of a tree, and its level.
    fn root(&self, owner: u64) -> (u64, u8) {
        let mut trees = self.trees.iter().zip(&self.places);
        trees.find(|(tree, _)| tree.owner == owner).map_or((0, 0), |(tree, place)| {
            let shape = tree.shape();
            (shape.root(*place), shape.level())
        })
    }

    fn superblock(&self, at: u64) -> Vec<u8> {
        let used: u64 = self.space.chunks.iter().map(|chunk| chunk.used).sum();
        let system = self.space.chunks.iter().find(|chunk| chunk.flags == SYSTEM_TWICE);
        let system = system.map(|chunk| {
            let key = Bytes::default().key(Key(FIRST, kind::CHUNK, chunk.logical()));
            key.raw(&chunk_item(chunk, &self.ids)).0
        });
        let system = system.unwrap_or_default();
        let (root, root_level) = self.root(ROOT_TREE);
        let (chunks, chunks_level) = self.root(CHUNK_TREE);
        let mut label = self.options.label.clone().unwrap_or_default().into_bytes();
        label.resize(256, 0);
        let bytes = Bytes(vec![0; 32])
            .uuid(self.options.uuid)
            .u64(at)
            .u64(1)
            .raw(b"_BHRfS_M")
            .u64(GENERATION)
            .u64(root)
            .u64(chunks)
            .u64(0)
            .u64(0)
            .u64(self.options.size)
            .u64(used)
            .u64(ROOT_TREE_DIR)
            .u64(1)
            .u32(SECTOR as u32)
            .u32(NODE as u32)
            .u32(NODE as u32)
            .u32(SECTOR as u32)
            .u32(system.len() as u32)
            .u64(GENERATION)
            .u64(0)
            .u64(COMPATIBLE_TO_READ)
            .u64(INCOMPATIBLE)
            .u16(0)
            .u8(root_level)
            .u8(chunks_level)
            .u8(0)
            .raw(&device_item(self.options, &self.ids, &self.space))
            .raw(&label)
            .u64(0)
            .u64(GENERATION);
        let mut bytes = bytes.0;
        bytes.resize(811, 0);
        bytes.extend_from_slice(&system);
        bytes.resize(SECTOR as usize, 0);
        let sum = crc32c::crc32c(&bytes[32..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

impl Ids {
    fn of(file_system: Uuid) -> Self {
        let named = |name: &str| {
            let hash =
                blake3::Hasher::new().update(file_system.as_bytes()).update(name.as_bytes()).finalize();
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash.as_bytes()[..16]);
            Builder::from_custom_bytes(bytes).into_uuid()
        };
        let common = Common { file_system, chunk_tree: named("btrfs chunk tree") };
        Self { common, device: named("btrfs device"), volume: named("btrfs volume") }
    }
}

impl Guess {
    /// The device's space with a chunk for so much metadata.
    fn space(&self, contents: &Space) -> Space {
        let bytes = |is_chunks: bool| -> u64 {
            let trees = self.0.iter().filter(|(owner, _)| (*owner == CHUNK_TREE) == is_chunks);
            trees.map(|(_, shape)| shape.bytes()).sum()
        };
        let mut space = contents.with_metadata(bytes(false));
        for (flags, used) in [(SYSTEM_TWICE, bytes(true)), (METADATA_TWICE, bytes(false))] {
            if let Some(chunk) = space.chunk_mut(flags) {
                chunk.used = used;
            }
        }
        space
    }

    /// Each tree with the address of its first block.
    fn places(&self, space: &Space) -> Vec<(u64, &Shape, u64)> {
        let begin = |flags| space.chunks.iter().find(|chunk| chunk.flags == flags).map_or(0, Chunk::logical);
        let mut at = begin(METADATA_TWICE);
        let mut places = Vec::new();
        for (owner, shape) in &self.0 {
            if *owner == CHUNK_TREE {
                places.push((*owner, shape, begin(SYSTEM_TWICE)));
            } else {
                places.push((*owner, shape, at));
                at += shape.bytes();
            }
        }
        places
    }
}

impl Fixed<'_> {
    /// The trees that say where things are, if they and the others lie as guessed.
    fn moving(&self, guess: &Guess, space: &Space) -> Vec<Packed> {
        let places = guess.places(space);
        vec![
            Packed::new(CHUNK_TREE, self.chunks(space)),
            Packed::new(DEV_TREE, self.device_extents(space)),
            Packed::new(FREE_SPACE_TREE, free_space(space)),
            Packed::new(ROOT_TREE, self.roots(&places)),
            Packed::new(EXTENT_TREE, self.extents(space, &places)),
        ]
    }

    fn chunks(&self, space: &Space) -> Vec<(Key, Vec<u8>)> {
        let device = (Key(DEVICE, kind::DEV, DEVICE), device_item(self.options, &self.ids, space));
        let chunks = space
            .chunks
            .iter()
            .map(|chunk| (Key(FIRST, kind::CHUNK, chunk.logical()), chunk_item(chunk, &self.ids)));
        [device].into_iter().chain(chunks).collect()
    }

    fn device_extents(&self, space: &Space) -> Vec<(Key, Vec<u8>)> {
        let mut items = Items::new();
        for chunk in &space.chunks {
            for copy in &chunk.copies {
                let item = Bytes::default()
                    .u64(CHUNK_TREE)
                    .u64(FIRST)
                    .u64(chunk.logical())
                    .u64(chunk.length)
                    .uuid(self.ids.common.chunk_tree);
                items.insert(Key(DEVICE, kind::DEV_EXTENT, *copy), item.0);
            }
        }
        items.into_iter().collect()
    }

    fn roots(&self, places: &[(u64, &Shape, u64)]) -> Vec<(Key, Vec<u8>)> {
        let mut items = Items::new();
        let made = self.options.epoch;
        files::default_volume(&mut items, made);
        let known = |tree| places.iter().find(|(owner, ..)| *owner == tree);
        for tree in [EXTENT_TREE, DEV_TREE, FS_TREE, CSUM_TREE, UUID_TREE, FREE_SPACE_TREE, DATA_RELOC_TREE] {
            let (block, level, bytes) = known(tree)
                .map_or((0, 0, 0), |(_, shape, place)| (shape.root(*place), shape.level(), shape.bytes()));
            let uuid = if tree == FS_TREE { self.ids.volume } else { Uuid::nil() };
            let root = Root { tree, block, level, bytes, uuid, made };
            items.insert(Key(tree, kind::ROOT, 0), root.to_bytes());
        }
        items.into_iter().collect()
    }

    fn extents(&self, space: &Space, places: &[(u64, &Shape, u64)]) -> Vec<(Key, Vec<u8>)> {
        let mut items: Items = self.extents.iter().cloned().collect();
        for chunk in &space.chunks {
            let group = Bytes::default().u64(chunk.used).u64(FIRST).u64(chunk.flags);
            items.insert(Key(chunk.logical(), kind::BLOCK_GROUP, chunk.length), group.0);
        }
        for (owner, shape, place) in places {
            for (at, level) in shape.each(*place) {
                items.insert(Key(at, kind::METADATA, u64::from(level)), tree_block(*owner));
            }
        }
        items.into_iter().collect()
    }
}

/// The checksums of all sectors, by address, in items that go on as long as addresses do.
fn checksums(extents: &[Extent], sums: &[Vec<u32>]) -> Vec<(Key, Vec<u8>)> {
    let mut items: Vec<(Key, Vec<u8>)> = Vec::new();
    let mut next = None;
    for (extent, sums) in extents.iter().zip(sums) {
        let mut at = extent.logical;
        for sum in sums {
            match items.last_mut() {
                Some((_, item)) if next == Some(at) && item.len() < 4 * SUMS => {
                    item.extend_from_slice(&sum.to_le_bytes());
                }
                _ => items.push((Key(EXTENT_CSUM, kind::EXTENT_CSUM, at), sum.to_le_bytes().to_vec())),
            }
            at += SECTOR;
            next = Some(at);
        }
    }
    items
}

/// What is free in each chunk: its end.
fn free_space(space: &Space) -> Vec<(Key, Vec<u8>)> {
    let mut items = Vec::new();
    for chunk in &space.chunks {
        let (begin, free) = (chunk.logical(), chunk.length - chunk.used);
        let count = u32::from(free > 0);
        items.push((Key(begin, kind::FREE_SPACE_INFO, chunk.length), Bytes::default().u32(count).u32(0).0));
        if free > 0 {
            items.push((Key(begin + chunk.used, kind::FREE_SPACE_EXTENT, free), Vec::new()));
        }
    }
    items
}

fn chunk_item(chunk: &Chunk, ids: &Ids) -> Vec<u8> {
    let mut item = Bytes::default()
        .u64(chunk.length)
        .u64(EXTENT_TREE)
        .u64(STRIPE)
        .u64(chunk.flags)
        .u32(STRIPE as u32)
        .u32(STRIPE as u32)
        .u32(SECTOR as u32)
        .u16(chunk.copies.len() as u16)
        .u16(1);
    for copy in &chunk.copies {
        item = item.u64(DEVICE).u64(*copy).uuid(ids.device);
    }
    item.0
}

fn device_item(options: &BtrfsOptions, ids: &Ids, space: &Space) -> Vec<u8> {
    let used = space.chunks.iter().map(|chunk| chunk.length * chunk.copies.len() as u64).sum();
    Bytes::default()
        .u64(DEVICE)
        .u64(options.size)
        .u64(used)
        .u32(SECTOR as u32)
        .u32(SECTOR as u32)
        .u32(SECTOR as u32)
        .u64(0)
        .u64(0)
        .u64(0)
        .u32(0)
        .u8(0)
        .u8(0)
        .uuid(ids.device)
        .uuid(options.uuid)
        .0
}
