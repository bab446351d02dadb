//! VHDX, growing and fixed (Microsoft's MS-VHDX).

use std::fs::File;

use uuid::{Uuid, uuid};

use super::{little, put, read, refused, set_size};
use crate::DiskError;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Sectors that one block of the bitmap of sectors covers.
const BITMAP_SECTORS: u64 = 1 << 23;

/// Entries of the block allocation table: stored in full, and stored in part over a parent.
const PRESENT: u64 = 6;
const IN_PART: u64 = 7;

/// The part of an entry that says where a block is.
const PLACE: u64 = !(MIB - 1);

const TABLE_REGION: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA_REGION: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const LOGICAL_SECTOR: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");

/// What the file's parameters say of a parent.
const HAS_PARENT: u64 = 1 << 1;

pub(super) fn unpack(image: &File, raw: &File) -> Result<(), DiskError> {
    check_log(image)?;
    let (table_at, metadata_at) = regions(image)?;
    let disk = Disk::read(image, metadata_at)?;
    set_size(raw, disk.size)?;
    let blocks = disk.size.div_ceil(disk.block);
    let chunk = BITMAP_SECTORS * disk.sector / disk.block;
    let mut table = vec![0; (blocks + (blocks - 1) / chunk) as usize * 8];
    read(image, &mut table, table_at)?;
    let mut bytes = vec![0; disk.block as usize];
    for block in 0..blocks {
        let entry = little(&table, (block + block / chunk) as usize * 8, 8);
        match entry & 7 {
            PRESENT => {
                read(image, &mut bytes, entry & PLACE)?;
                put(raw, &bytes, block * disk.block, disk.size)?;
            }
            IN_PART => return Err(refused("it holds differences to another disk")),
            _ => {}
        }
    }
    Ok(())
}

/// What is in the log was not put in its place yet. Of the two headers, the one with the higher number counts.
fn check_log(image: &File) -> Result<(), DiskError> {
    let mut newest: Option<(u64, bool)> = None;
    for place in [64 * KIB, 128 * KIB] {
        let mut header = vec![0; 4 * KIB as usize];
        read(image, &mut header, place)?;
        if &header[..4] == b"head" && is_sealed(&header) {
            let (number, is_clean) = (little(&header, 8, 8), header[48..64] == [0; 16]);
            if newest.is_none_or(|(other, _)| number > other) {
                newest = Some((number, is_clean));
            }
        }
    }
    match newest {
        Some((_, true)) => Ok(()),
        Some((_, false)) => Err(refused("it was not closed properly: its log is not empty")),
        None => Err(refused("both of its headers are damaged")),
    }
}

/// Where the block allocation table and the metadata are.
fn regions(image: &File) -> Result<(u64, u64), DiskError> {
    for place in [192 * KIB, 256 * KIB] {
        let mut regions = vec![0; 64 * KIB as usize];
        read(image, &mut regions, place)?;
        if &regions[..4] != b"regi" || !is_sealed(&regions) {
            continue;
        }
        let count = little(&regions, 8, 4).min(2047) as usize;
        let of = |kind: Uuid| {
            let mut entries = (0..count).map(|index| 16 + index * 32);
            let at = entries.find(|at| regions[*at..at + 16] == kind.to_bytes_le())?;
            Some(little(&regions, at + 16, 8))
        };
        if let (Some(table), Some(metadata)) = (of(TABLE_REGION), of(METADATA_REGION)) {
            return Ok((table, metadata));
        }
    }
    Err(refused("its table of regions is damaged"))
}

struct Disk {
    size: u64,
    block: u64,
    sector: u64,
}

impl Disk {
    fn read(image: &File, at: u64) -> Result<Self, DiskError> {
        let mut table = vec![0; 64 * KIB as usize];
        read(image, &mut table, at)?;
        let count = little(&table, 10, 2).min(2047) as usize;
        let item = |kind: Uuid| -> Result<[u8; 8], DiskError> {
            let mut entries = (0..count).map(|index| 32 + index * 32);
            let entry = entries.find(|entry| table[*entry..entry + 16] == kind.to_bytes_le());
            let entry = entry.ok_or_else(|| refused("its metadata are damaged"))?;
            let length = little(&table, entry + 20, 4).min(8) as usize;
            let mut value = [0; 8];
            read(image, &mut value[..length], at + little(&table, entry + 16, 4))?;
            Ok(value)
        };
        let parameters = item(FILE_PARAMETERS)?;
        if little(&parameters, 4, 4) & HAS_PARENT != 0 {
            return Err(refused("it holds differences to another disk"));
        }
        let disk = Self {
            size: little(&item(DISK_SIZE)?, 0, 8),
            block: little(&parameters, 0, 4),
            sector: little(&item(LOGICAL_SECTOR)?, 0, 4),
        };
        let sound = disk.block.is_power_of_two()
            && (MIB..=256 * MIB).contains(&disk.block)
            && matches!(disk.sector, 512 | 4096);
        if sound { Ok(disk) } else { Err(refused("its metadata are damaged")) }
    }
}

/// Whether the CRC-32C of the whole stands in the fifth to eighth byte.
fn is_sealed(bytes: &[u8]) -> bool {
    let mut plain = bytes.to_vec();
    plain[4..8].fill(0);
    little(bytes, 4, 4) == u64::from(!mkext4::csum::crc32c_raw(u32::MAX, &plain))
}
