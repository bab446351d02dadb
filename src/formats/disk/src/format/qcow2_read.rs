//! qcow2, versions 2 and 3 (QEMU's `docs/interop/qcow2.txt`), made raw: whole and compressed clusters, clusters of zeros.
//!
//! Refused: backing files, encryption, data in another file, subclusters. Snapshots are passed over.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress};

use super::qcow2::ZERO;
use crate::DiskError;
use crate::sparse::is_zero;

/// Features that a reader must know and that make no difference here: not closed properly, corrupt counts.
const HARMLESS: u64 = 0b1;
const ZSTD: u64 = 1 << 3;

pub(super) const COMPRESSED: u64 = 1 << 62;
/// Bits of an entry that say where a table or a cluster is.
pub(super) const PLACE: u64 = 0x00ff_ffff_ffff_fe00;

/// The largest disk that is taken, in bytes: 64 TiB.
const LARGEST: u64 = 64 << 40;

/// What the header says.
pub(super) struct Head {
    pub(super) cluster_bits: u32,
    /// The size of the disk in bytes.
    pub(super) size: u64,
    first_level_size: u64,
    first_level_at: u64,
    zstd: bool,
}

/// Writes what the qcow2 `image` shows to the empty file `raw`, whose holes are where it is zero.
pub(crate) fn unpack(image: &File, raw: &File) -> Result<(), DiskError> {
    let failed = DiskError::image("read");
    let head = head(image)?;
    raw.set_len(head.size).map_err(DiskError::image("size"))?;
    let cluster = 1u64 << head.cluster_bits;
    let file_size = image.metadata().map_err(&failed)?.len();
    let mut bytes = vec![0; cluster as usize];
    each_entry(image, &head, |start, entry| {
        let length = (head.size - start).min(cluster) as usize;
        if entry & COMPRESSED != 0 {
            inflate(image, file_size, entry, &head, &mut bytes)?;
        } else if entry & PLACE == 0 || entry & ZERO != 0 {
            return Ok(());
        } else {
            image.read_exact_at(&mut bytes[..length], entry & PLACE).map_err(&failed)?;
        }
        if is_zero(&bytes[..length]) {
            return Ok(());
        }
        raw.write_all_at(&bytes[..length], start).map_err(DiskError::image("write"))
    })
}

/// Calls `each` with the entry of each cluster of the disk that a table has, and where the cluster begins on the disk.
pub(super) fn each_entry(
    image: &File,
    head: &Head,
    mut each: impl FnMut(u64, u64) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let failed = DiskError::image("read");
    let cluster = 1u64 << head.cluster_bits;
    let entries = cluster / 8;
    // The header says at least as many.
    for index in 0..head.size.div_ceil(cluster * entries) {
        let mut root = [0; 8];
        image.read_exact_at(&mut root, head.first_level_at.saturating_add(index * 8)).map_err(&failed)?;
        let table_at = u64::from_be_bytes(root) & PLACE;
        if table_at == 0 {
            continue;
        }
        let mut table = vec![0; cluster as usize];
        image.read_exact_at(&mut table, table_at).map_err(&failed)?;
        for (number, entry) in table.as_chunks::<8>().0.iter().enumerate() {
            let entry = u64::from_be_bytes(*entry);
            let start = (index * entries + number as u64) << head.cluster_bits;
            if start >= head.size {
                break;
            }
            each(start, entry)?;
        }
    }
    Ok(())
}

pub(super) fn head(image: &File) -> Result<Head, DiskError> {
    let refused =
        |what: &str| Err(DiskError::Damaged(format!("{what}; `qemu-img convert -O raw` may read it")));
    let mut bytes = [0; 112];
    image.read_exact_at(&mut bytes[..72], 0).map_err(DiskError::image("read"))?;
    let version = number(&bytes, 4, 4);
    if &bytes[..4] != b"QFI\xfb" || !(2..=3).contains(&version) {
        return refused("it is no qcow2 of version 2 or 3");
    }
    let mut features = 0;
    if version == 3 {
        image.read_exact_at(&mut bytes[..104], 0).map_err(DiskError::image("read"))?;
        features = number(&bytes, 72, 8);
        if number(&bytes, 100, 4) > 104 {
            image.read_exact_at(&mut bytes, 0).map_err(DiskError::image("read"))?;
        }
    }
    if number(&bytes, 8, 8) != 0 {
        return refused("it has a backing file");
    }
    if number(&bytes, 32, 4) != 0 {
        return refused("it is encrypted");
    }
    let zstd = features & ZSTD != 0 && bytes[104] == 1;
    if features & !(HARMLESS | ZSTD) != 0 || (features & ZSTD != 0 && bytes[104] > 1) {
        return refused("it has features that are not known here");
    }
    let head = Head {
        cluster_bits: number(&bytes, 20, 4) as u32,
        size: number(&bytes, 24, 8),
        first_level_size: number(&bytes, 36, 4),
        first_level_at: number(&bytes, 40, 8),
        zstd,
    };
    let covered = || u128::from(head.first_level_size) << (2 * head.cluster_bits - 3);
    if !(9..=21).contains(&head.cluster_bits) || head.size > LARGEST || covered() < u128::from(head.size) {
        return refused("its header is damaged");
    }
    Ok(head)
}

/// Reads a compressed cluster.
fn inflate(
    image: &File,
    file_size: u64,
    entry: u64,
    head: &Head,
    cluster: &mut [u8],
) -> Result<(), DiskError> {
    let failed = DiskError::image("read");
    let shift = 62 - (head.cluster_bits - 8);
    let at = entry & ((1 << shift) - 1);
    let sectors = (entry & (COMPRESSED - 1)) >> shift;
    let end = ((at / 512 + sectors + 1) * 512).min(file_size);
    let damaged = || DiskError::Damaged(format!("the compressed cluster at {at} is damaged"));
    let length = end.checked_sub(at).filter(|length| *length > 0).ok_or_else(damaged)?;
    let mut packed = vec![0; length as usize];
    image.read_exact_at(&mut packed, at).map_err(&failed)?;
    let unpacked = if head.zstd { unpack_zstd(&packed, cluster) } else { unpack_deflate(&packed, cluster) };
    match unpacked {
        Ok(length) if length == cluster.len() => Ok(()),
        _ => Err(damaged()),
    }
}

/// What comes behind the end of the stream, to the end of the sector, is passed over.
fn unpack_deflate(packed: &[u8], cluster: &mut [u8]) -> io::Result<usize> {
    let mut inflate = Decompress::new(false);
    inflate.decompress(packed, cluster, FlushDecompress::Finish)?;
    Ok(inflate.total_out() as usize)
}

fn unpack_zstd(packed: &[u8], cluster: &mut [u8]) -> io::Result<usize> {
    let mut source = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
    crate::sparse::read_full(&mut source, cluster)
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
