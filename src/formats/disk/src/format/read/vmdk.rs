//! VMDK in one file, growing and packed (VMware's Virtual Disk Format 5.0).

use std::fs::File;

use flate2::{Decompress, FlushDecompress};

use super::{little, put, read, refused, set_size};
use crate::DiskError;

const SECTOR: u64 = 512;

/// Flags: a grain of zeros has the place 1; grains are compressed.
const ZERO_GRAINS: u64 = 1 << 2;
const COMPRESSED: u64 = 1 << 16;

/// The directory's place, where that is said at the end.
const AT_THE_END: u64 = u64::MAX;

/// No grain is larger, in sectors; 128 is usual.
const LARGEST_GRAIN: u64 = 8192;

struct Head {
    flags: u64,
    sectors: u64,
    grain: u64,
    entries: u64,
    directory_at: u64,
}

impl Head {
    fn read(image: &File, at: u64) -> Result<(Self, [u8; SECTOR as usize]), DiskError> {
        let mut bytes = [0; SECTOR as usize];
        read(image, &mut bytes, at)?;
        let head = Self {
            flags: little(&bytes, 8, 4),
            sectors: little(&bytes, 12, 8),
            grain: little(&bytes, 20, 8),
            entries: little(&bytes, 44, 4),
            directory_at: little(&bytes, 56, 8),
        };
        let sound = &bytes[..4] == b"KDMV"
            && head.grain.is_power_of_two()
            && head.grain <= LARGEST_GRAIN
            && (1..=65536).contains(&head.entries)
            && head.sectors <= super::LARGEST / SECTOR;
        if sound { Ok((head, bytes)) } else { Err(refused("its header is damaged")) }
    }
}

pub(super) fn unpack(image: &File, raw: &File) -> Result<(), DiskError> {
    let file_size = image.metadata().map_err(DiskError::image("look at"))?.len();
    let (mut head, bytes) = Head::read(image, 0)?;
    check_description(image, little(&bytes, 28, 8), little(&bytes, 36, 8))?;
    if head.directory_at == AT_THE_END {
        // Before the mark of the end stands the footer: a second header.
        let at = file_size.checked_sub(2 * SECTOR).ok_or_else(|| refused("it is cut off"))?;
        head = Head::read(image, at)?.0;
    }
    let size = head.sectors * SECTOR;
    set_size(raw, size)?;
    let tables = head.sectors.div_ceil(head.grain * head.entries);
    let mut directory = vec![0; tables as usize * 4];
    read(image, &mut directory, head.directory_at.saturating_mul(SECTOR))?;
    let mut table = vec![0; head.entries as usize * 4];
    let mut grain = vec![0; (head.grain * SECTOR) as usize];
    for (number, place) in directory.as_chunks::<4>().0.iter().enumerate() {
        let place = u64::from(u32::from_le_bytes(*place));
        if place == 0 {
            continue;
        }
        read(image, &mut table, place * SECTOR)?;
        for (index, place) in table.as_chunks::<4>().0.iter().enumerate() {
            let place = u64::from(u32::from_le_bytes(*place));
            let start = (number as u64 * head.entries + index as u64) * head.grain * SECTOR;
            if place == 0 || start >= size || (place == 1 && head.flags & ZERO_GRAINS != 0) {
                continue;
            }
            if head.flags & COMPRESSED != 0 {
                inflate(image, place * SECTOR, &mut grain)?;
            } else {
                let within = grain.len().min(usize::try_from(size - start).unwrap_or(usize::MAX));
                read(image, &mut grain[..within], place * SECTOR)?;
            }
            put(raw, &grain, start, size)?;
        }
    }
    Ok(())
}

/// A disk of differences, or one of several files, is told by the description.
fn check_description(image: &File, at: u64, sectors: u64) -> Result<(), DiskError> {
    if at == 0 {
        return Ok(());
    }
    let mut text = vec![0; (sectors.min(2048) * SECTOR) as usize];
    read(image, &mut text, at.saturating_mul(SECTOR))?;
    let text = String::from_utf8_lossy(&text);
    let parent = text.lines().find_map(|line| line.trim().strip_prefix("parentCID="));
    match parent {
        Some(parent) if !parent.trim().eq_ignore_ascii_case("ffffffff") => {
            Err(refused("it holds differences to another disk"))
        }
        _ => Ok(()),
    }
}

/// Reads a grain that is a zlib stream behind its place on the disk and its length.
fn inflate(image: &File, at: u64, grain: &mut [u8]) -> Result<(), DiskError> {
    let damaged = || DiskError::Damaged(format!("the compressed grain at {at} is damaged"));
    let mut mark = [0; 12];
    read(image, &mut mark, at)?;
    let length = little(&mark, 8, 4) as usize;
    if length > 2 * grain.len() + 1024 {
        return Err(damaged());
    }
    let mut packed = vec![0; length];
    read(image, &mut packed, at + 12)?;
    let mut inflate = Decompress::new(true);
    let done = inflate.decompress(&packed, grain, FlushDecompress::Finish);
    let out = inflate.total_out() as usize;
    if done.is_err() || out == 0 {
        return Err(damaged());
    }
    grain[out..].fill(0);
    Ok(())
}
