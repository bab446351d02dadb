//! VHDX that grows (Microsoft's MS-VHDX): blocks of data in the order of the disk, an empty log, no parent.
//!
//! Sectors are 512 bytes for the machine and 4096 below. Blocks of zeros are not stored.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use uuid::{Uuid, uuid};

use super::Conversion;
use super::units::Units;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The largest there is: 64 TiB.
pub(super) const LARGEST: u64 = 64 << 40;

/// Bytes of a block of data.
const BLOCK: u64 = 2 * MIB;

/// Sectors that one block of the bitmap of sectors covers.
const BITMAP_SECTORS: u64 = 1 << 23;

const SECTOR: u64 = 512;

/// Blocks of data for each block of the bitmap.
const CHUNK: u64 = BITMAP_SECTORS * SECTOR / BLOCK;

const LOG_AT: u64 = MIB;
const METADATA_AT: u64 = 2 * MIB;
const TABLE_AT: u64 = 3 * MIB;

/// Entries of the block allocation table: stored in full, and all zeros.
const PRESENT: u64 = 6;
const ZERO: u64 = 2;

const TABLE_REGION: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA_REGION: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");

const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");
const LOGICAL_SECTOR: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
const PHYSICAL_SECTOR: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");

pub(super) fn write(image: &File, size: u64, conversion: &Conversion<'_>, sink: &File) -> io::Result<()> {
    let blocks = size.div_ceil(BLOCK);
    let entries = blocks + blocks.saturating_sub(1) / CHUNK;
    let table_size = (entries * 8).next_multiple_of(MIB);
    let mut table = vec![0u8; (entries * 8) as usize];
    let mut enter = |block: u64, entry: u64| {
        let index = (block + block / CHUNK) as usize * 8;
        table[index..index + 8].copy_from_slice(&entry.to_le_bytes());
    };
    for block in 0..blocks {
        enter(block, ZERO);
    }
    let mut at = TABLE_AT + table_size;
    for unit in Units::new(image, size, BLOCK as usize) {
        let (block, bytes) = unit?;
        sink.write_all_at(&bytes, at)?;
        enter(block, at | PRESENT);
        at += BLOCK;
    }
    sink.set_len(at)?;
    sink.write_all_at(&table, TABLE_AT)?;

    let identity = conversion.identity;
    let mut creator = b"vhdxfile".to_vec();
    creator.extend("imgbuild".encode_utf16().flat_map(u16::to_le_bytes));
    sink.write_all_at(&creator, 0)?;
    for (copy, place) in [(0, 64 * KIB), (1, 128 * KIB)] {
        let header = header(copy + 1, identity.uuid("vhdx file"), identity.uuid("vhdx data"));
        sink.write_all_at(&header, place)?;
    }
    let regions = regions(table_size);
    sink.write_all_at(&regions, 192 * KIB)?;
    sink.write_all_at(&regions, 256 * KIB)?;
    sink.write_all_at(&metadata(size, identity.uuid("vhdx disk")), METADATA_AT)
}

/// A header; the one with the higher number counts.
fn header(number: u64, file: Uuid, data: Uuid) -> Vec<u8> {
    let mut header = vec![0; 4 * KIB as usize];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"head");
    put(8, &number.to_le_bytes());
    put(16, &file.to_bytes_le());
    put(32, &data.to_bytes_le());
    // A log number of zero says that there is nothing to replay.
    put(66, &1u16.to_le_bytes());
    put(68, &(MIB as u32).to_le_bytes());
    put(72, &LOG_AT.to_le_bytes());
    sealed(header)
}

/// The table of regions.
fn regions(table_size: u64) -> Vec<u8> {
    let mut regions = vec![0; 64 * KIB as usize];
    let mut put = |at: usize, bytes: &[u8]| regions[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"regi");
    put(8, &2u32.to_le_bytes());
    for (index, (kind, place, size)) in
        [(TABLE_REGION, TABLE_AT, table_size), (METADATA_REGION, METADATA_AT, MIB)].into_iter().enumerate()
    {
        let at = 16 + index * 32;
        put(at, &kind.to_bytes_le());
        put(at + 16, &place.to_le_bytes());
        put(at + 24, &(size as u32).to_le_bytes());
        // A reader must know it.
        put(at + 28, &1u32.to_le_bytes());
    }
    sealed(regions)
}

/// The metadata of the disk: a table, and behind 64 KiB what it points to.
fn metadata(size: u64, disk: Uuid) -> Vec<u8> {
    const USER_NOTHING: u32 = 0;
    const IS_DISK: u32 = 2;
    const REQUIRED: u32 = 4;
    let mut parameters = (BLOCK as u32).to_le_bytes().to_vec();
    parameters.extend(USER_NOTHING.to_le_bytes());
    let items: [(Uuid, Vec<u8>, u32); 5] = [
        (FILE_PARAMETERS, parameters, REQUIRED),
        (DISK_SIZE, size.to_le_bytes().to_vec(), IS_DISK | REQUIRED),
        (DISK_ID, disk.to_bytes_le().to_vec(), IS_DISK | REQUIRED),
        (LOGICAL_SECTOR, (SECTOR as u32).to_le_bytes().to_vec(), IS_DISK | REQUIRED),
        (PHYSICAL_SECTOR, 4096u32.to_le_bytes().to_vec(), IS_DISK | REQUIRED),
    ];
    let mut table = vec![0; 64 * KIB as usize];
    table[0..8].copy_from_slice(b"metadata");
    table[10..12].copy_from_slice(&(items.len() as u16).to_le_bytes());
    for (index, (kind, value, flags)) in items.iter().enumerate() {
        let place = table.len() as u32;
        let entry = &mut table[32 + index * 32..64 + index * 32];
        entry[0..16].copy_from_slice(&kind.to_bytes_le());
        entry[16..20].copy_from_slice(&place.to_le_bytes());
        entry[20..24].copy_from_slice(&(value.len() as u32).to_le_bytes());
        entry[24..28].copy_from_slice(&flags.to_le_bytes());
        table.extend(value);
    }
    table
}

/// Puts the CRC-32C of the whole into its fifth to eighth byte.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = !mkext4::csum::crc32c_raw(u32::MAX, &bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}
