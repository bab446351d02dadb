//! The journal of an ext4 file system that was not unmounted: what it says is laid over the blocks that are read.
//!
//! Nothing is written. A disk that was kept while its machine ran has such a journal: what was written last stands there alone.
//! As in the kernel (`fs/jbd2/recovery.c`) whole transactions count, in their order, but for blocks that a later one
//! has revoked.

use std::collections::HashMap;

use mkext4::reader::{FileExtent, Fs, ReadAt as _};
use mkext4::spec::Inode;
use mkext4::spec::consts::{JBD2_MAGIC, incompat, ro_compat};
use mkext4::spec::{JournalSuperblock, Superblock};

use super::read::{Region, damaged};
use crate::DiskError;

/// Bytes of a block, of the file system and of its journal.
const BLOCK: usize = super::BLOCK as usize;
/// Where the superblock stands, in bytes.
const SUPERBLOCK: usize = 1024;
/// Where in it the features stand without which it cannot be read, those without which it cannot be written, its checksum.
const INCOMPAT: usize = SUPERBLOCK + 0x60;
const RO_COMPAT: usize = SUPERBLOCK + 0x64;
const CHECKSUM: usize = SUPERBLOCK + 0x3fc;

/// Features of journals (`include/linux/jbd2.h`).
const REVOKES: u32 = 0x1;
const WIDE: u32 = 0x2;
const CHECKSUM_V2: u32 = 0x8;
const CHECKSUM_V3: u32 = 0x10;
const KNOWN: u32 = REVOKES | WIDE | CHECKSUM_V2 | CHECKSUM_V3;

/// What a block of the journal is.
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOCATION: u32 = 5;

/// Flags of a descriptor's tag.
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;

/// Blocks that stand in place of those of the image, by number.
pub(super) type Over = HashMap<u64, Vec<u8>>;

/// The file system with what its journal says, if that was not written to its places yet.
pub(super) fn replayed(mut region: Region) -> Result<Region, DiskError> {
    let mut first = vec![0; BLOCK];
    if region.read_exact_at(0, &mut first).is_err() || number(&first, INCOMPAT) & incompat::RECOVER == 0 {
        return Ok(region);
    }
    // The journal's own file is where it always was, and can be found without the journal.
    region.over.insert(0, as_if_clean(first));
    let fs = Fs::open(region.again()?).map_err(damaged)?;
    let journal = Journal::open(&fs)?;
    let over = journal.replay()?;
    region.over.extend(over);
    if let Some(first) = region.over.remove(&0) {
        region.over.insert(0, as_if_clean(first));
    }
    Ok(region)
}

/// The first block of a file system whose journal has nothing left to say.
fn as_if_clean(mut block: Vec<u8>) -> Vec<u8> {
    let features = number(&block, INCOMPAT) & !incompat::RECOVER;
    block[INCOMPAT..INCOMPAT + 4].copy_from_slice(&features.to_le_bytes());
    if number(&block, RO_COMPAT) & ro_compat::METADATA_CSUM != 0
        && let Ok(superblock) =
            <&[u8; Superblock::LEN]>::try_from(&block[SUPERBLOCK..SUPERBLOCK + Superblock::LEN])
    {
        let checksum = mkext4::csum::superblock(superblock);
        block[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
    }
    block
}

/// A number of the file system, which is little-endian.
fn number(block: &[u8], at: usize) -> u32 {
    block.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A number of the journal, which is big-endian.
fn big(block: &[u8], at: usize) -> u32 {
    block.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

struct Journal<'f> {
    fs: &'f Fs<Region>,
    inode: Inode,
    extents: Vec<FileExtent>,
    head: JournalSuperblock,
}

/// A block that a transaction has written.
struct Write {
    to: u64,
    /// Its place in the journal.
    at: u32,
    /// Whether it begins as blocks of the journal do, and that was taken out.
    escaped: bool,
}

#[derive(Default)]
struct Transaction {
    sequence: u32,
    writes: Vec<Write>,
    revoked: Vec<u64>,
}

impl<'f> Journal<'f> {
    fn open(fs: &'f Fs<Region>) -> Result<Self, DiskError> {
        let place = fs.superblock().journal_inum;
        if place == 0 {
            return Err(DiskError::Damaged(
                "its journal is not replayed, and lies on another device".to_owned(),
            ));
        }
        let inode = fs.inode(place).map_err(damaged)?;
        let extents = fs.extents(place, &inode).map_err(damaged)?;
        let mut first = vec![0; BLOCK];
        fs.read_file_at(&inode, &extents, 0, &mut first).map_err(damaged)?;
        let head = JournalSuperblock::decode(&first).map_err(damaged)?;
        let unknown = head.feature_incompat & !KNOWN;
        if unknown != 0 {
            return Err(DiskError::Damaged(format!(
                "its journal is not replayed, and has features that are not known here ({unknown:#x})"
            )));
        }
        if head.blocksize as usize != BLOCK || head.first == 0 || head.first >= head.maxlen {
            return Err(DiskError::Damaged("its journal is of no known shape".to_owned()));
        }
        Ok(Self { fs, inode, extents, head })
    }

    fn has(&self, feature: u32) -> bool {
        self.head.feature_incompat & feature != 0
    }

    fn block(&self, place: u32) -> Result<Vec<u8>, DiskError> {
        let mut block = vec![0; BLOCK];
        let offset = u64::from(place) * BLOCK as u64;
        self.fs.read_file_at(&self.inode, &self.extents, offset, &mut block).map_err(damaged)?;
        Ok(block)
    }

    /// The place behind another: the journal is a ring.
    fn behind(&self, place: u32) -> u32 {
        if place + 1 >= self.head.maxlen { self.head.first } else { place + 1 }
    }

    fn replay(&self) -> Result<Over, DiskError> {
        let transactions = if self.head.start == 0 { Vec::new() } else { self.transactions()? };
        let mut revoked: HashMap<u64, u32> = HashMap::new();
        for transaction in &transactions {
            revoked.extend(transaction.revoked.iter().map(|block| (*block, transaction.sequence)));
        }
        let mut over = Over::new();
        for Transaction { sequence, writes, .. } in transactions {
            for Write { to, at, escaped } in writes {
                // Sequences count round.
                if revoked.get(&to).is_some_and(|last| last.wrapping_sub(sequence) < 1 << 31) {
                    continue;
                }
                let mut block = self.block(at)?;
                if escaped {
                    block[..4].copy_from_slice(&JBD2_MAGIC.to_be_bytes());
                }
                over.insert(to, block);
            }
        }
        Ok(over)
    }

    /// The transactions that are whole, the first first.
    fn transactions(&self) -> Result<Vec<Transaction>, DiskError> {
        let mut whole = Vec::new();
        let mut now = Transaction { sequence: self.head.sequence, ..Transaction::default() };
        let mut place = self.head.start;
        let mut left = self.head.maxlen;
        while let Some(rest) = left.checked_sub(1) {
            left = rest;
            let block = self.block(place)?;
            if big(&block, 0) != JBD2_MAGIC || big(&block, 8) != now.sequence {
                break;
            }
            place = self.behind(place);
            match big(&block, 4) {
                DESCRIPTOR => {
                    for (to, escaped) in self.tags(&block) {
                        now.writes.push(Write { to, at: place, escaped });
                        place = self.behind(place);
                        left = left.saturating_sub(1);
                    }
                }
                REVOCATION => now.revoked.extend(self.revocations(&block)),
                COMMIT => {
                    let next =
                        Transaction { sequence: now.sequence.wrapping_add(1), ..Transaction::default() };
                    whole.push(std::mem::replace(&mut now, next));
                }
                _ => break,
            }
        }
        Ok(whole)
    }

    /// Where the blocks behind a descriptor belong, and whether each is escaped.
    fn tags(&self, block: &[u8]) -> Vec<(u64, bool)> {
        let (wide, third) = (self.has(WIDE), self.has(CHECKSUM_V3));
        let size = match (third, wide) {
            (true, _) => 16,
            (false, true) => 12,
            (false, false) => 8,
        } + if self.has(CHECKSUM_V2) && !third { 2 } else { 0 };
        let tail = if third || self.has(CHECKSUM_V2) { 4 } else { 0 };
        let mut tags = Vec::new();
        let mut at = 12;
        while at + size <= BLOCK - tail {
            // In the older form the flags are the lower half of a word whose upper half is a checksum.
            let flags = if third { big(block, at + 4) } else { big(block, at + 4) & 0xffff };
            let high = if wide { big(block, at + 8) } else { 0 };
            tags.push((u64::from(high) << 32 | u64::from(big(block, at)), flags & ESCAPED != 0));
            if flags & LAST != 0 {
                break;
            }
            at += size + if flags & SAME_UUID == 0 { 16 } else { 0 };
        }
        tags
    }

    fn revocations(&self, block: &[u8]) -> Vec<u64> {
        let size = if self.has(WIDE) { 8 } else { 4 };
        let end = (big(block, 12) as usize).min(BLOCK);
        (16..end.saturating_sub(size - 1))
            .step_by(size)
            .map(|at| match size {
                8 => u64::from(big(block, at)) << 32 | u64::from(big(block, at + 4)),
                _ => u64::from(big(block, at)),
            })
            .collect()
    }
}
