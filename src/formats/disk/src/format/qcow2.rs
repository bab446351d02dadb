//! qcow2, version 3 (QEMU's `docs/interop/qcow2.txt`): clusters of 64 KiB, counts of 16 bits, no snapshots, no backing
//! file.
//!
//! Data comes in the order of the disk, then the tables. Clusters of zeros are not allocated. A compressed cluster begins
//! right behind the one before it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;

use zlib_rs::{Deflate, DeflateFlush, Status};

use super::units::Units;
use super::{ClusterCompression, pack};

const CLUSTER_BITS: u32 = 16;
pub(super) const CLUSTER: u64 = 1 << CLUSTER_BITS;

/// Entries of a table of clusters.
const ENTRIES: u64 = CLUSTER / 8;

/// Counts in a cluster of them.
const COUNTS: u64 = CLUSTER / 2;

/// The cluster that an entry points to is used once, so it may be written in place.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whatever is below.
pub(super) const ZERO: u64 = 1;

/// Where the number of sectors begins in an entry of a compressed cluster.
const SECTORS_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);

/// Readers inflate with a window of 4 KiB.
const WINDOW_BITS: u8 = 12;

/// zlib's and zstd's own defaults.
const ZLIB_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

pub(super) fn write(
    image: &File,
    size: u64,
    compression: Option<ClusterCompression>,
    workers: NonZeroUsize,
    sink: &File,
) -> io::Result<()> {
    let mut writer = Writer::begin(sink, size)?;
    match compression {
        None => {
            for unit in Units::new(image, size, CLUSTER as usize) {
                let (index, bytes) = unit?;
                writer.whole(index, &bytes)?;
            }
        }
        Some(compression) => {
            let pack = |part: &[_]| compress_all(part, compression);
            pack::for_each(image, size, CLUSTER as usize, workers, pack, |index, bytes, packed| {
                if packed.len() < CLUSTER as usize {
                    writer.packed(index, packed)
                } else {
                    writer.whole(index, bytes)
                }
            })?;
        }
    }

    writer.finish(compression == Some(ClusterCompression::Zstd))
}

fn header(size: u64, first_level: u64, counts_at: u64, counts_clusters: u64, zstd: bool) -> Vec<u8> {
    let mut header = b"QFI\xfb".to_vec();
    header.extend(3u32.to_be_bytes());
    // No backing file.
    header.extend([0; 12]);
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(size.to_be_bytes());
    // Not encrypted.
    header.extend(0u32.to_be_bytes());
    header.extend((first_level as u32).to_be_bytes());
    header.extend(CLUSTER.to_be_bytes());
    header.extend(counts_at.to_be_bytes());
    header.extend((counts_clusters as u32).to_be_bytes());
    // No snapshots.
    header.extend([0; 12]);
    // What a reader must know: bit 3, another compression than zlib.
    header.extend((u64::from(zstd) << 3).to_be_bytes());
    header.extend([0; 16]);
    // Counts have 2^4 bits.
    header.extend(4u32.to_be_bytes());
    header.extend(112u32.to_be_bytes());
    header.extend([u8::from(zstd), 0, 0, 0, 0, 0, 0, 0]);
    // No extensions.
    header.extend([0; 8]);
    header
}

/// Writes an image from its beginning to its end, and its header last.
pub(super) struct Writer<'f> {
    file: &'f File,
    sink: BufWriter<&'f File>,
    /// The size of the disk in bytes.
    size: u64,
    position: u64,
    /// How often each cluster of the file is used.
    counts: Vec<u16>,
    /// Tables of the second level, by their index in the first.
    tables: Vec<Option<Vec<u64>>>,
}

impl<'f> Writer<'f> {
    /// In an empty file.
    pub(super) fn begin(file: &'f File, size: u64) -> io::Result<Self> {
        let first_level = size.div_ceil(CLUSTER).div_ceil(ENTRIES);
        let first_level_clusters = (first_level * 8).div_ceil(CLUSTER).max(1);
        let mut writer = Self {
            file,
            sink: BufWriter::with_capacity(1 << 20, file),
            size,
            position: 0,
            counts: Vec::new(),
            tables: vec![None; usize::try_from(first_level).map_err(io::Error::other)?],
        };
        writer.pad_to((1 + first_level_clusters) * CLUSTER)?;
        for cluster in 0..=first_level_clusters {
            writer.count(cluster * CLUSTER, 1);
        }
        Ok(writer)
    }

    /// Writes the tables and the header.
    pub(super) fn finish(mut self, zstd: bool) -> io::Result<()> {
        let first_level = self.tables.len() as u64;
        let roots = self.write_tables()?;
        let (counts_at, counts_clusters) = self.write_counts()?;
        self.sink.flush()?;
        for (index, root) in roots.iter().enumerate() {
            self.file.write_all_at(&root.to_be_bytes(), CLUSTER + index as u64 * 8)?;
        }
        self.file.write_all_at(&header(self.size, first_level, counts_at, counts_clusters, zstd), 0)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn pad_to(&mut self, position: u64) -> io::Result<()> {
        let zeros = usize::try_from(position - self.position).map_err(io::Error::other)?;
        self.append(&vec![0; zeros])
    }

    fn align(&mut self) -> io::Result<()> {
        self.pad_to(self.position.next_multiple_of(CLUSTER))
    }

    /// Counts the clusters of `length` bytes from `start` once more.
    fn count(&mut self, start: u64, length: u64) {
        let last = ((start + length - 1) / CLUSTER) as usize;
        if self.counts.len() <= last {
            self.counts.resize(last + 1, 0);
        }
        for count in &mut self.counts[(start / CLUSTER) as usize..=last] {
            *count += 1;
        }
    }

    pub(super) fn enter(&mut self, index: u64, entry: u64) {
        let table = self.tables[(index / ENTRIES) as usize].get_or_insert_with(|| vec![0; ENTRIES as usize]);
        table[(index % ENTRIES) as usize] = entry;
    }

    /// Writes a cluster as it is.
    pub(super) fn whole(&mut self, index: u64, bytes: &[u8]) -> io::Result<()> {
        self.align()?;
        let at = self.position;
        self.append(bytes)?;
        self.count(at, CLUSTER);
        self.enter(index, at | COPIED);
        Ok(())
    }

    /// Writes a compressed cluster.
    fn packed(&mut self, index: u64, bytes: &[u8]) -> io::Result<()> {
        let at = self.position;
        self.append(bytes)?;
        // Readers take whole sectors of 512 bytes, so those count.
        let first = at / 512;
        let last = (at + bytes.len() as u64 - 1) / 512;
        self.count(first * 512, (last - first + 1) * 512);
        self.enter(index, COMPRESSED | (last - first) << SECTORS_SHIFT | at);
        Ok(())
    }

    /// Writes the tables of the second level; the first level.
    fn write_tables(&mut self) -> io::Result<Vec<u64>> {
        self.align()?;
        let mut roots = Vec::with_capacity(self.tables.len());
        for table in std::mem::take(&mut self.tables) {
            let Some(table) = table else {
                roots.push(0);
                continue;
            };
            let at = self.position;
            let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            self.append(&bytes)?;
            self.count(at, CLUSTER);
            roots.push(at | COPIED);
        }
        Ok(roots)
    }

    /// Writes how often each cluster is used; where the table of counts is, and how many clusters long.
    fn write_counts(&mut self) -> io::Result<(u64, u64)> {
        let used = self.counts.len() as u64;
        // The counts count themselves and their table, so the number is approached from below.
        let (mut blocks, mut table) = (1, 1);
        loop {
            let blocks_needed = (used + blocks + table).div_ceil(COUNTS);
            let table_needed = blocks_needed.div_ceil(ENTRIES);
            if (blocks_needed, table_needed) == (blocks, table) {
                break;
            }
            (blocks, table) = (blocks_needed.max(blocks), table_needed.max(table));
        }
        let start = self.position;
        self.count(start, (blocks + table) * CLUSTER);
        let mut counts: Vec<u8> = self.counts.iter().flat_map(|count| count.to_be_bytes()).collect();
        counts.resize((blocks * CLUSTER) as usize, 0);
        self.append(&counts)?;
        let table_at = self.position;
        for block in 0..blocks {
            self.append(&(start + block * CLUSTER).to_be_bytes())?;
        }
        self.align()?;
        Ok((table_at, table))
    }
}

fn compress_all(part: &[(u64, Vec<u8>)], compression: ClusterCompression) -> io::Result<Vec<Vec<u8>>> {
    match compression {
        ClusterCompression::Zlib => part.iter().map(|(_, bytes)| deflate(bytes)).collect(),
        ClusterCompression::Zstd => {
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            part.iter().map(|(_, bytes)| compressor.compress(bytes)).collect()
        }
    }
}

/// Raw deflate. What does not become smaller is given back longer than a cluster.
fn deflate(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; bytes.len() + 1024];
    let mut deflate = Deflate::new(ZLIB_LEVEL, false, WINDOW_BITS);
    let status = deflate
        .compress(bytes, &mut packed, DeflateFlush::Finish)
        .map_err(|error| io::Error::other(error.as_str()))?;
    if status == Status::StreamEnd {
        packed.truncate(deflate.total_out() as usize);
    }
    Ok(packed)
}
