//! VHD of fixed size and growing (Microsoft's Virtual Hard Disk Image Format Specification 1.0).

use std::fs::File;

use super::{big, put, read, refused, set_size, units};
use crate::DiskError;

const SECTOR: u64 = 512;
const FIXED: u64 = 2;
const GROWING: u64 = 3;

/// A block that is not stored.
const NOWHERE: u32 = u32::MAX;

/// No more than this is a block, in bytes; 2 MiB is usual.
const LARGEST_BLOCK: u64 = 256 << 20;

pub(super) fn unpack(image: &File, raw: &File) -> Result<(), DiskError> {
    let file_size = image.metadata().map_err(DiskError::image("look at"))?.len();
    let mut footer = [0; SECTOR as usize];
    let end = file_size.checked_sub(SECTOR).ok_or_else(|| refused("it is cut off"))?;
    read(image, &mut footer, end)?;
    let sum = footer[..64].iter().chain(&footer[68..]).map(|byte| u32::from(*byte)).sum::<u32>();
    if &footer[..8] != b"conectix" || big(&footer, 64, 4) != u64::from(!sum) {
        return Err(refused("its footer is damaged"));
    }
    let size = big(&footer, 48, 8);
    set_size(raw, size)?;
    match big(&footer, 60, 4) {
        FIXED if size <= end => units::copy(image, raw, size).map_err(DiskError::image("copy")),
        FIXED => Err(refused("it is cut off")),
        GROWING => growing(image, raw, size, big(&footer, 16, 8)),
        _ => Err(refused("it holds differences to another disk")),
    }
}

fn growing(image: &File, raw: &File, size: u64, header_at: u64) -> Result<(), DiskError> {
    let mut header = [0; 1024];
    read(image, &mut header, header_at)?;
    let (table_at, entries, block) = (big(&header, 16, 8), big(&header, 28, 4), big(&header, 32, 4));
    let sound = &header[..8] == b"cxsparse"
        && block.is_power_of_two()
        && (SECTOR..=LARGEST_BLOCK).contains(&block)
        && entries.saturating_mul(block) >= size;
    if !sound {
        return Err(refused("its header is damaged"));
    }
    // Each block begins with a map of its sectors; what is not marked there is zero.
    let map = (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
    let mut table = vec![0; size.div_ceil(block) as usize * 4];
    read(image, &mut table, table_at)?;
    let mut bytes = vec![0; block as usize];
    for (index, entry) in table.as_chunks::<4>().0.iter().enumerate() {
        let entry = u32::from_be_bytes(*entry);
        if entry != NOWHERE {
            read(image, &mut bytes, u64::from(entry) * SECTOR + map)?;
            put(raw, &bytes, index as u64 * block, size)?;
        }
    }
    Ok(())
}
