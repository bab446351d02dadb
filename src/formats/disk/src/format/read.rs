//! Disk images of any format, made raw: which format a file has, and what each part of its disk shows.
//!
//! Refused: differences to another disk, encryption, images that were not closed properly. Zeros become holes.

mod vhd;
mod vhdx;
mod vmdk;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{RawFile, qcow2_read, units};
use crate::DiskError;
use crate::sparse::is_zero;

/// The largest disk that is taken, in bytes: 64 TiB.
const LARGEST: u64 = 64 << 40;

/// The format of a disk's file, found by its first or last bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// None of those below: the bytes of the disk, if it is one.
    Raw,
    /// QEMU's.
    Qcow2,
    /// VMware's, in one file.
    Vmdk,
    /// Virtual Hard Disk, of fixed size or growing.
    Vhd,
    /// Hyper-V's second format.
    Vhdx,
}

impl Found {
    /// Looks at a file.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn detect(image: &File) -> io::Result<Self> {
        let size = image.metadata()?.len();
        let starts: [(&[u8], Self); 4] = [
            (b"QFI\xfb", Self::Qcow2),
            (b"KDMV", Self::Vmdk),
            (b"vhdxfile", Self::Vhdx),
            (b"conectix", Self::Vhd),
        ];
        let mut magic = [0; 8];
        if size >= 512 {
            image.read_exact_at(&mut magic, 0)?;
            if let Some((_, found)) = starts.iter().find(|(start, _)| magic.starts_with(start)) {
                return Ok(*found);
            }
            image.read_exact_at(&mut magic, size - 512)?;
            if &magic == b"conectix" {
                return Ok(Self::Vhd);
            }
        }
        Ok(Self::Raw)
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
        }
    }
}

/// Writes what the disk image `source`, of any format, shows as a raw image to the file `destination`, which is replaced
/// when all is written. Its holes are where the disk is zero.
///
/// # Errors
///
/// A format or a feature that is not known, damage, files that cannot be read or written.
pub fn unpack_disk(source: &Path, destination: &Path) -> Result<Found, DiskError> {
    let image = File::open(source).map_err(DiskError::io("open", source))?;
    let found = Found::detect(&image).map_err(DiskError::io("read", source))?;
    let staged = RawFile::beside(destination)?;
    match found {
        Found::Raw => {
            let size = image.metadata().map_err(DiskError::io("look at", source))?.len();
            units::copy(&image, staged.file(), size).map_err(DiskError::image("copy"))?;
        }
        Found::Qcow2 => qcow2_read::unpack(&image, staged.file())?,
        Found::Vmdk => vmdk::unpack(&image, staged.file())?,
        Found::Vhd => vhd::unpack(&image, staged.file())?,
        Found::Vhdx => vhdx::unpack(&image, staged.file())?,
    }
    staged.persist(destination)?;
    Ok(found)
}

/// Writes a part of the disk, cut at its end, unless it is zero.
fn put(raw: &File, bytes: &[u8], start: u64, size: u64) -> Result<(), DiskError> {
    let length = size.saturating_sub(start).min(bytes.len() as u64) as usize;
    let bytes = &bytes[..length];
    if is_zero(bytes) {
        return Ok(());
    }
    raw.write_all_at(bytes, start).map_err(DiskError::image("write"))
}

/// Makes the raw file as large as the disk.
fn set_size(raw: &File, size: u64) -> Result<(), DiskError> {
    if size == 0 || size > LARGEST {
        return Err(refused("its header is damaged"));
    }
    raw.set_len(size).map_err(DiskError::image("size"))
}

fn read(image: &File, bytes: &mut [u8], at: u64) -> Result<(), DiskError> {
    image.read_exact_at(bytes, at).map_err(DiskError::image("read"))
}

fn refused(what: &str) -> DiskError {
    DiskError::Damaged(format!("{what}; `qemu-img convert -O raw` may read it"))
}

/// A number of up to eight bytes, the lowest first.
fn little(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A number of up to eight bytes, the highest first.
fn big(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
