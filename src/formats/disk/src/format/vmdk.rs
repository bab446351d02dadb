//! VMDK in one growing file, `monolithicSparse` (VMware's Virtual Disk Format 5.0): header, description, two copies of
//! the directory with their tables, then grains of 64 KiB in the order of the disk.
//!
//! The description names the file, as its format wants; so the name of the destination is part of the bytes. The packed
//! form for OVF is in `vmdk_stream`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use super::Conversion;
use super::units::Units;

pub(super) const SECTOR: u64 = 512;

/// Sectors of a grain.
pub(super) const GRAIN: u64 = 128;

/// Entries of a table of grains.
pub(super) const ENTRIES: u64 = 512;

/// Sectors of such a table.
pub(super) const TABLE_SECTORS: u64 = ENTRIES * 4 / SECTOR;

/// The description begins behind the header and has this many sectors.
pub(super) const DESCRIPTION_SECTORS: u64 = 20;

/// The largest that has a place in a directory: 2 TiB less a bit.
pub(super) const LARGEST: u64 = (2 << 40) - (1 << 20);

/// The longest name that leaves room in the description.
const LONGEST_NAME: usize = 255;

/// Where things are, in sectors.
struct Layout {
    sectors: u64,
    tables: u64,
    directory_sectors: u64,
    grains_at: u64,
}

impl Layout {
    fn of(size: u64) -> Self {
        let sectors = size.div_ceil(SECTOR);
        let tables = sectors.div_ceil(GRAIN * ENTRIES);
        let directory_sectors = (tables * 4).div_ceil(SECTOR);
        let before = 1 + DESCRIPTION_SECTORS + 2 * (directory_sectors + tables * TABLE_SECTORS);
        Self { sectors, tables, directory_sectors, grains_at: before.next_multiple_of(GRAIN) }
    }

    /// Where the directory's spare (0) or first (1) copy is.
    fn directory_at(&self, copy: u64) -> u64 {
        1 + DESCRIPTION_SECTORS + copy * (self.directory_sectors + self.tables * TABLE_SECTORS)
    }
}

pub(super) fn write(
    image: &File,
    size: u64,
    conversion: &Conversion<'_>,
    name: &str,
    sink: &File,
) -> io::Result<()> {
    let layout = Layout::of(size);
    let mut table = vec![0u8; (layout.tables * ENTRIES * 4) as usize];
    let mut at = layout.grains_at;
    sink.set_len(at * SECTOR)?;
    io::Seek::seek(&mut &*sink, io::SeekFrom::Start(at * SECTOR))?;
    let mut grains = BufWriter::with_capacity(1 << 20, sink);
    for unit in Units::new(image, size, (GRAIN * SECTOR) as usize) {
        let (index, bytes) = unit?;
        grains.write_all(&bytes)?;
        let entry = index as usize * 4;
        let place = u32::try_from(at).map_err(io::Error::other)?;
        table[entry..entry + 4].copy_from_slice(&place.to_le_bytes());
        at += GRAIN;
    }
    grains.flush()?;
    drop(grains);
    for copy in 0..2 {
        let directory_at = layout.directory_at(copy);
        let tables_at = directory_at + layout.directory_sectors;
        let directory: Vec<u8> = (0..layout.tables)
            .flat_map(|index| ((tables_at + index * TABLE_SECTORS) as u32).to_le_bytes())
            .collect();
        sink.write_all_at(&directory, directory_at * SECTOR)?;
        sink.write_all_at(&table, tables_at * SECTOR)?;
    }
    let text = description(layout.sectors, conversion, name, "monolithicSparse");
    sink.write_all_at(text.as_bytes(), SECTOR)?;
    sink.write_all_at(&header(&layout), 0)
}

fn header(layout: &Layout) -> [u8; SECTOR as usize] {
    let mut header = [0; SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDMV");
    put(4, &1u32.to_le_bytes());
    // Line ends can be tested, and there is a spare directory.
    put(8, &3u32.to_le_bytes());
    put(12, &layout.sectors.to_le_bytes());
    put(20, &GRAIN.to_le_bytes());
    put(28, &1u64.to_le_bytes());
    put(36, &DESCRIPTION_SECTORS.to_le_bytes());
    put(44, &(ENTRIES as u32).to_le_bytes());
    put(48, &layout.directory_at(0).to_le_bytes());
    put(56, &layout.directory_at(1).to_le_bytes());
    put(64, &layout.grains_at.to_le_bytes());
    // Shut down cleanly; then bytes that a transfer as text would change.
    put(72, b"\0\n \r\n");
    header
}

/// The text that describes a disk of so many sectors, of the type `kind`.
pub(super) fn description(sectors: u64, conversion: &Conversion<'_>, name: &str, kind: &str) -> String {
    // Any number but the one that means no parent.
    let id = conversion.identity.number("vmdk") & 0xffff_fffe;
    let cylinders = (sectors / (16 * 63)).min(16383);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n\
         # Extent description\nRW {sectors} SPARSE \"{name}\"\n\n\
         # The Disk Data Base\n#DDB\n\n\
         ddb.virtualHWVersion = \"4\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n\
         ddb.adapterType = \"lsilogic\"\n"
    )
}

/// Whether a file's name can stand in the description.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME && !name.contains(['"', '\n', '\r'])
}
