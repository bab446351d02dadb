//! Sorted items as a B-tree: blocks of 16 KiB, filled one after the other, leaves first, the root last.

use std::ops::Range;

use uuid::Uuid;

use super::items::{Bytes, GENERATION, Key};

/// Bytes of a block.
pub(super) const NODE: usize = 16384;

/// Bytes of a block's head.
const HEADER: usize = 101;

/// Bytes of an item's head in a leaf.
const HEAD: usize = 25;

/// How many blocks one points to.
const FAN_OUT: usize = (NODE - HEADER) / 33;

/// The largest item.
pub(super) const LARGEST: usize = NODE - HEADER - HEAD;

/// What is the same in all blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) file_system: Uuid,
    pub(super) chunk_tree: Uuid,
}

/// The items of one tree.
pub(super) struct Packed {
    pub(super) owner: u64,
    items: Vec<(Key, Vec<u8>)>,
    leaves: Vec<Range<usize>>,
}

/// How many blocks each level of a tree has, leaves first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape(Vec<u64>);

impl Shape {
    pub(super) fn blocks(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blocks() * NODE as u64
    }

    /// The level of the root.
    pub(super) fn level(&self) -> u8 {
        self.0.len().saturating_sub(1) as u8
    }

    /// The address of the root, if the first block is at `base`.
    pub(super) fn root(&self, base: u64) -> u64 {
        base + (self.blocks().saturating_sub(1)) * NODE as u64
    }

    /// Address and level of each block.
    pub(super) fn each(&self, base: u64) -> impl Iterator<Item = (u64, u8)> {
        let levels = self.0.iter().enumerate();
        let levels = levels.flat_map(|(level, count)| (0..*count).map(move |_| level as u8));
        levels.enumerate().map(move |(index, level)| (base + (index * NODE) as u64, level))
    }
}

impl Packed {
    /// A tree of `items`, which are sorted.
    pub(super) fn new(owner: u64, items: Vec<(Key, Vec<u8>)>) -> Self {
        debug_assert!(items.is_sorted_by(|(one, _), (other, _)| one < other), "tree {owner}");
        let mut leaves = Vec::new();
        let (mut start, mut used) = (0, HEADER);
        for (index, (_, data)) in items.iter().enumerate() {
            let size = HEAD + data.len();
            if used + size > NODE {
                leaves.push(start..index);
                (start, used) = (index, HEADER);
            }
            used += size;
        }
        leaves.push(start..items.len());
        Self { owner, items, leaves }
    }

    pub(super) fn shape(&self) -> Shape {
        let mut levels = vec![self.leaves.len() as u64];
        while let Some(count @ 2..) = levels.last() {
            levels.push(count.div_ceil(FAN_OUT as u64));
        }
        Shape(levels)
    }

    /// Gives each block to `write` with its address, the first being `base`.
    pub(super) fn write<E>(
        &self,
        common: Common,
        base: u64,
        mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = base;
        let mut below = Vec::new();
        for leaf in &self.leaves {
            let items = &self.items[leaf.clone()];
            write(at, &self.leaf(common, at, items))?;
            let first = items.first().map_or(Key(0, 0, 0), |(key, _)| *key);
            below.push((first, at));
            at += NODE as u64;
        }
        for level in 1.. {
            if below.len() == 1 {
                break;
            }
            let mut above = Vec::new();
            for children in below.chunks(FAN_OUT) {
                let mut block = self.header(common, at, children.len(), level);
                for (key, child) in children {
                    block = block.key(*key).u64(*child).u64(GENERATION);
                }
                write(at, &sealed(block.0))?;
                above.push((children[0].0, at));
                at += NODE as u64;
            }
            below = above;
        }
        Ok(())
    }

    fn leaf(&self, common: Common, at: u64, items: &[(Key, Vec<u8>)]) -> Vec<u8> {
        let mut block = self.header(common, at, items.len(), 0);
        let mut end = NODE;
        for (key, data) in items {
            end -= data.len();
            block = block.key(*key).u32((end - HEADER) as u32).u32(data.len() as u32);
        }
        let mut bytes = block.0;
        bytes.resize(NODE, 0);
        let mut end = NODE;
        for (_, data) in items {
            bytes[end - data.len()..end].copy_from_slice(data);
            end -= data.len();
        }
        sealed(bytes)
    }

    fn header(&self, common: Common, at: u64, items: usize, level: u8) -> Bytes {
        // Written, and with references back of the second kind.
        let flags = 1 | 1 << 56;
        Bytes(vec![0; 32])
            .uuid(common.file_system)
            .u64(at)
            .u64(flags)
            .uuid(common.chunk_tree)
            .u64(GENERATION)
            .u64(self.owner)
            .u32(items as u32)
            .u8(level)
    }
}

/// A block of full size with its checksum.
fn sealed(mut block: Vec<u8>) -> Vec<u8> {
    block.resize(NODE, 0);
    let sum = crc32c::crc32c(&block[32..]);
    block[..4].copy_from_slice(&sum.to_le_bytes());
    block
}
