//! Where things lie: chunks of the device, and in them the pieces of files' contents.
//!
//! What a chunk has in use is at its beginning. Logical addresses are the physical ones of a chunk's first copy.

use crate::size::MIB;

/// Bytes of a sector, the unit of contents and of their checksums.
pub(super) const SECTOR: u64 = 4096;

/// Where the copies of the superblock are, after the first at 64 KiB.
pub(super) const MIRRORS: [u64; 2] = [64 * MIB, 256 << 30];

/// The first byte that a chunk may have.
const START: u64 = MIB;

/// Bytes of the chunk for the chunk tree.
const SYSTEM: u64 = 4 * MIB;

/// The largest chunk of contents, as the kernel makes them.
const LARGEST_CHUNK: u64 = 1 << 30;

/// The largest piece of contents.
const LARGEST_EXTENT: u64 = 128 * MIB;

/// The smallest chunk of metadata.
const LEAST_METADATA: u64 = 16 * MIB;

/// What a chunk is for (`BTRFS_BLOCK_GROUP_*`).
pub(super) const DATA: u64 = 1;
pub(super) const SYSTEM_TWICE: u64 = 2 | TWICE;
pub(super) const METADATA_TWICE: u64 = 4 | TWICE;
const TWICE: u64 = 1 << 5;

/// A part of the device for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) flags: u64,
    pub(super) length: u64,
    /// How much of it is in use.
    pub(super) used: u64,
    /// Where its copies begin; the first is also its logical address.
    pub(super) copies: Vec<u64>,
}

impl Chunk {
    pub(super) fn logical(&self) -> u64 {
        self.copies[0]
    }
}

/// A piece of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Of which entry.
    pub(super) entry: usize,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// Where it lies.
    pub(super) logical: u64,
    /// In bytes, whole sectors.
    pub(super) length: u64,
}

/// What of a device is given out.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) chunks: Vec<Chunk>,
    /// The first byte behind them.
    pub(super) end: u64,
}

impl Space {
    /// Places pieces of contents: entry, offset in the file and length, in order.
    pub(super) fn of_contents(parts: impl Iterator<Item = (usize, u64, u64)>) -> (Self, Vec<Extent>) {
        let mut space = Self { chunks: Vec::new(), end: START };
        space.add(SYSTEM_TWICE, SYSTEM, 2);
        let mut extents = Vec::new();
        // The chunk that is being filled: begin, what comes next, what it must not reach.
        let (mut begin, mut at, mut limit) = (space.end, space.end, chunk_limit(space.end));
        for (entry, offset, length) in parts {
            let mut done = 0;
            while done < length {
                if at == limit {
                    space.close(begin, at);
                    begin = space.end;
                    (at, limit) = (begin, chunk_limit(begin));
                }
                let piece = (length - done).next_multiple_of(SECTOR).min(limit - at).min(LARGEST_EXTENT);
                extents.push(Extent { entry, offset: offset + done, logical: at, length: piece });
                at += piece;
                done += piece;
            }
        }
        space.close(begin, at);
        (space, extents)
    }

    /// Ends a chunk of contents that is filled from `begin` to `at`. An empty one has the smallest size.
    fn close(&mut self, begin: u64, at: u64) {
        let length = (at - begin).next_multiple_of(MIB).max(MIB);
        self.chunks.push(Chunk { flags: DATA, length, used: at - begin, copies: vec![begin] });
        self.end = behind_mirrors(begin + length, 1);
    }

    /// The same with a chunk for metadata, of which `used` bytes are in use, and as much again for what comes.
    pub(super) fn with_metadata(&self, used: u64) -> Self {
        let mut space = self.clone();
        space.add(METADATA_TWICE, (2 * used).next_multiple_of(MIB).max(LEAST_METADATA), 2);
        space.chunks.sort_by_key(Chunk::logical);
        space
    }

    pub(super) fn chunk_mut(&mut self, flags: u64) -> Option<&mut Chunk> {
        self.chunks.iter_mut().find(|chunk| chunk.flags == flags)
    }

    fn add(&mut self, flags: u64, length: u64, copies: usize) {
        let mut places = Vec::new();
        for _ in 0..copies {
            let place = behind_mirrors(self.end, length);
            places.push(place);
            self.end = place + length;
        }
        self.end = behind_mirrors(self.end, 1);
        self.chunks.push(Chunk { flags, length, used: 0, copies: places });
    }
}

/// Where `length` bytes can lie from `at` on, without a copy of the superblock in them.
fn behind_mirrors(mut at: u64, length: u64) -> u64 {
    for mirror in MIRRORS {
        if at < mirror + MIB && at + length > mirror {
            at = mirror + MIB;
        }
    }
    at
}

/// Where a chunk of contents that begins at `begin` ends at the latest.
fn chunk_limit(begin: u64) -> u64 {
    let mirrors = MIRRORS.into_iter().filter(|mirror| *mirror > begin);
    mirrors.fold(begin + LARGEST_CHUNK, u64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lies_on_a_superblock_and_nothing_on_anything_else() {
        for length in [0, 1, SECTOR, 54 * MIB, 55 * MIB, 56 * MIB, 5 << 30, 300 << 30] {
            let (space, extents) = Space::of_contents([(0, 0, length), (1, 0, 5)].into_iter());
            let space = space.with_metadata(100 * MIB);
            let mut places: Vec<_> = space
                .chunks
                .iter()
                .flat_map(|chunk| chunk.copies.iter().map(|copy| (*copy, copy + chunk.length)))
                .chain(MIRRORS.map(|mirror| (mirror, mirror + (64 << 10))))
                .collect();
            places.sort_unstable();
            assert!(places.is_sorted_by(|one, other| one.1 <= other.0), "{length}: {places:?}");
            assert!(
                space.end >= space.chunks.iter().map(|chunk| chunk.logical() + chunk.length).max().unwrap()
            );
            assert_eq!(
                extents.iter().map(|extent| extent.length).sum::<u64>(),
                length.next_multiple_of(SECTOR) + SECTOR
            );
            for extent in extents {
                let end = extent.logical + extent.length;
                let inside = |chunk: &&Chunk| {
                    chunk.flags == DATA
                        && chunk.logical() <= extent.logical
                        && end <= chunk.logical() + chunk.used
                };
                assert!(space.chunks.iter().any(|chunk| inside(&chunk)), "{extent:?}");
            }
        }
    }
}
