//! The formats that hypervisors take, made from a raw image.
//!
//! Which parts of the raw image have data is found out by looking at its bytes, so that the result does not depend on how
//! the host stores the file. Numbers that other programs draw at random come from the disk's identity.

mod overlay;
mod pack;
mod qcow2;
mod qcow2_read;
mod read;
mod units;
mod vhd;
mod vhdx;
mod vmdk;
mod vmdk_stream;

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::{DiskError, Identity};

pub use overlay::{OverlayWriter, Qcow2Overlay, Said};
pub use read::{Found, unpack_disk};
pub use units::Units;

/// The format of a disk's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// The bytes of the disk, with holes where the host's file system has them.
    Raw,
    /// QEMU's format, version 3, clusters of 64 KiB.
    Qcow2 {
        /// How clusters are compressed, if they are.
        compression: Option<ClusterCompression>,
    },
    /// Virtual Hard Disk of fixed size, as Azure takes it.
    Vhd,
    /// VMware's.
    Vmdk {
        /// Whether it is packed (`streamOptimized`), as OVF and clouds take it, or grows (`monolithicSparse`), as machines
        /// run from it.
        packed: bool,
    },
    /// Hyper-V's second format, growing.
    Vhdx,
}

/// How the clusters of a qcow2 image are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterCompression {
    /// Deflate, which every reader knows.
    Zlib,
    /// Zstandard, which QEMU knows since 5.1: smaller and faster.
    Zstd,
}

/// How an image is converted.
#[derive(Clone, Copy, Debug)]
pub struct Conversion<'a> {
    /// To which format.
    pub format: DiskFormat,
    /// What the numbers in the result follow from.
    pub identity: &'a Identity,
    /// When it was made, in seconds since 1970, for formats that say so.
    pub epoch: i64,
    /// How many threads compress; the bytes do not depend on it.
    pub workers: NonZeroUsize,
}

/// Writes the raw `image` in another format to the file `destination`, which is replaced when all is written.
///
/// # Errors
///
/// A size that the format cannot have, an image that cannot be read, a destination that cannot be written.
pub fn convert(image: &File, conversion: &Conversion<'_>, destination: &Path) -> Result<(), DiskError> {
    let size = image.metadata().map_err(DiskError::image("look at"))?.len();
    let staged = RawFile::beside(destination)?;
    let written = match conversion.format {
        DiskFormat::Raw => units::copy(image, staged.file(), size),
        DiskFormat::Qcow2 { compression } => {
            qcow2::write(image, size, compression, conversion.workers, staged.file())
        }
        DiskFormat::Vhd => {
            check_size("a VHD", size, vhd::LARGEST)?;
            vhd::write(image, size, conversion, staged.file())
        }
        DiskFormat::Vmdk { packed } => {
            check_size("a VMDK", size, vmdk::LARGEST)?;
            let name =
                destination.file_name().and_then(|name| name.to_str()).filter(|name| vmdk::is_name(name));
            let name = name.ok_or_else(|| {
                let shown = destination.display();
                DiskError::Options(format!(
                    "`{shown}` has a name that cannot stand in a VMDK: UTF-8 without quotes"
                ))
            })?;
            let write = if packed { vmdk_stream::write } else { vmdk::write };
            write(image, size, conversion, name, staged.file())
        }
        DiskFormat::Vhdx => {
            check_size("a VHDX", size, vhdx::LARGEST)?;
            vhdx::write(image, size, conversion, staged.file())
        }
    };
    written.map_err(DiskError::io("write", destination))?;
    staged.persist(destination)
}

/// Writes what the qcow2 image `source` shows as a raw image to the file `destination`, which is replaced when all is
/// written. Its holes are where the disk is zero.
///
/// # Errors
///
/// Another format, backing files, encryption, damage, files that cannot be read or written.
pub fn unpack_qcow2(source: &Path, destination: &Path) -> Result<(), DiskError> {
    let image = File::open(source).map_err(DiskError::io("open", source))?;
    let staged = RawFile::beside(destination)?;
    qcow2_read::unpack(&image, staged.file())?;
    staged.persist(destination)
}

fn check_size(what: &'static str, size: u64, largest: u64) -> Result<(), DiskError> {
    if size <= largest {
        return Ok(());
    }
    let reason = format!("the most is {}", crate::size::shown(largest));
    Err(DiskError::BadSize { what, size, reason })
}

/// A raw image on its way, which goes away unless it is finished.
pub(crate) struct RawFile {
    staged: NamedTempFile,
}

impl RawFile {
    /// An empty file beside `destination`.
    pub(crate) fn beside(destination: &Path) -> Result<Self, DiskError> {
        let folder =
            destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let staged = tempfile::Builder::new()
            .prefix(".imgbuild-")
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(DiskError::io("create a file in", folder))?;
        Ok(Self { staged })
    }

    pub(crate) fn file(&self) -> &File {
        self.staged.as_file()
    }

    /// Where it lies until it is finished.
    pub(crate) fn path(&self) -> &Path {
        self.staged.path()
    }

    /// Puts the image in its place, converted if need be.
    pub(crate) fn finish(self, conversion: &Conversion<'_>, destination: &Path) -> Result<(), DiskError> {
        match conversion.format {
            DiskFormat::Raw => self.persist(destination),
            _ => convert(self.file(), conversion, destination),
        }
    }

    fn persist(self, destination: &Path) -> Result<(), DiskError> {
        self.staged
            .persist(destination)
            .map_err(|error| error.error)
            .map_err(DiskError::io("write", destination))?;
        Ok(())
    }
}
