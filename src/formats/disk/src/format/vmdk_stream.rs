//! VMDK in packed form, `streamOptimized` (VMware's Virtual Disk Format 5.0), as OVF and imports to clouds take it: grains
//! of 64 KiB deflated one by one, each table behind its grains, the directory and a second header at the end.
//!
//! It is made to be read from front to back and cannot be written to. Its description names the file, so the name of the
//! destination is part of the bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use zlib_rs::{Deflate, DeflateFlush, Status};

use super::vmdk::{DESCRIPTION_SECTORS, ENTRIES, GRAIN, SECTOR, TABLE_SECTORS, description};
use super::{Conversion, pack};

/// What a marker is of.
const END_OF_STREAM: u32 = 0;
const TABLE: u32 = 1;
const DIRECTORY: u32 = 2;
const FOOTER: u32 = 3;

/// Where the directory is, is said at the end.
const AT_THE_END: u64 = u64::MAX;

/// Grains begin here, in sectors.
const GRAINS_AT: u64 = 128;

const LEVEL: i32 = 6;
const WINDOW_BITS: u8 = 15;

pub(super) fn write(
    image: &File,
    size: u64,
    conversion: &Conversion<'_>,
    name: &str,
    sink: &File,
) -> io::Result<()> {
    let sectors = size.div_ceil(SECTOR);
    let tables = sectors.div_ceil(GRAIN * ENTRIES);
    let mut stream = Stream {
        sink: BufWriter::with_capacity(1 << 20, sink),
        sector: 0,
        directory: vec![0; tables as usize],
        table: None,
    };
    stream.append(&header(sectors, AT_THE_END))?;
    let mut text = description(sectors, conversion, name, "streamOptimized").into_bytes();
    text.resize(((GRAINS_AT - 1) * SECTOR) as usize, 0);
    stream.append(&text)?;
    pack::for_each(
        image,
        size,
        (GRAIN * SECTOR) as usize,
        conversion.workers,
        deflate,
        |index, _, packed| stream.grain(index, packed),
    )?;
    stream.finish(sectors)
}

struct Stream<'f> {
    sink: BufWriter<&'f File>,
    sector: u64,
    /// Where each table is.
    directory: Vec<u32>,
    /// The table that is being filled, and its number.
    table: Option<(u64, Vec<u32>)>,
}

impl Stream<'_> {
    /// Writes bytes and fills up the sector.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = (bytes.len() as u64).next_multiple_of(SECTOR);
        self.sink.write_all(bytes)?;
        self.sink.write_all(&vec![0; length as usize - bytes.len()])?;
        self.sector += length / SECTOR;
        Ok(())
    }

    fn place(&self) -> io::Result<u32> {
        u32::try_from(self.sector).map_err(io::Error::other)
    }

    fn grain(&mut self, index: u64, packed: &[u8]) -> io::Result<()> {
        let number = index / ENTRIES;
        if self.table.as_ref().is_some_and(|(filled, _)| *filled != number) {
            self.end_table()?;
        }
        let place = self.place()?;
        let (_, table) = self.table.get_or_insert_with(|| (number, vec![0; ENTRIES as usize]));
        table[(index % ENTRIES) as usize] = place;
        let mut bytes = (index * GRAIN).to_le_bytes().to_vec();
        bytes.extend((packed.len() as u32).to_le_bytes());
        bytes.extend(packed);
        self.append(&bytes)
    }

    fn end_table(&mut self) -> io::Result<()> {
        let Some((number, table)) = self.table.take() else { return Ok(()) };
        self.marker(TABLE, TABLE_SECTORS)?;
        self.directory[number as usize] = self.place()?;
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        self.append(&bytes)
    }

    fn marker(&mut self, kind: u32, sectors: u64) -> io::Result<()> {
        let mut marker = sectors.to_le_bytes().to_vec();
        marker.extend(0u32.to_le_bytes());
        marker.extend(kind.to_le_bytes());
        self.append(&marker)
    }

    fn finish(mut self, sectors: u64) -> io::Result<()> {
        self.end_table()?;
        let directory: Vec<u8> = self.directory.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        self.marker(DIRECTORY, (directory.len() as u64).div_ceil(SECTOR))?;
        let directory_at = self.sector;
        self.append(&directory)?;
        self.marker(FOOTER, 1)?;
        self.append(&header(sectors, directory_at))?;
        self.marker(END_OF_STREAM, 0)?;
        self.sink.flush()
    }
}

fn header(sectors: u64, directory_at: u64) -> [u8; SECTOR as usize] {
    let mut header = [0; SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDMV");
    put(4, &3u32.to_le_bytes());
    // Line ends can be tested, grains are compressed, there are markers.
    put(8, &0x0003_0001u32.to_le_bytes());
    put(12, &sectors.to_le_bytes());
    put(20, &GRAIN.to_le_bytes());
    put(28, &1u64.to_le_bytes());
    put(36, &DESCRIPTION_SECTORS.to_le_bytes());
    put(44, &(ENTRIES as u32).to_le_bytes());
    put(56, &directory_at.to_le_bytes());
    put(64, &GRAINS_AT.to_le_bytes());
    put(72, b"\0\n \r\n");
    // Deflate.
    put(77, &1u16.to_le_bytes());
    header
}

/// A grain as a zlib stream.
fn deflate(part: &[(u64, Vec<u8>)]) -> io::Result<Vec<Vec<u8>>> {
    part.iter().map(|(_, bytes)| zlib(bytes)).collect()
}

fn zlib(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Deflate grows no input by more than five bytes in 16 KiB.
    let mut packed = vec![0; bytes.len() + bytes.len() / 1024 + 64];
    let mut deflate = Deflate::new(LEVEL, true, WINDOW_BITS);
    let status = deflate
        .compress(bytes, &mut packed, DeflateFlush::Finish)
        .map_err(|error| io::Error::other(error.as_str()))?;
    if status != Status::StreamEnd {
        return Err(io::Error::other("deflate made no progress"));
    }
    packed.truncate(deflate.total_out() as usize);
    Ok(packed)
}
