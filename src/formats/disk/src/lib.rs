//! Disk images from trees, and trees from disk images.
//!
//! A tree (whatever implements [`Tree`]; a [`imgbuild_formats::TreeView`] does) becomes a disk that a machine boots:
//! partition table, EFI system partition with a loader and its entries, GRUB for machines with BIOS, root on ext4 or
//! btrfs, in one raw file or in a format of a hypervisor. Everything is done by calculation: no root, no loop device, no
//! mount, no tool of the host. The bytes are a function of the arguments: identifiers come from a seed, times are given,
//! what is a hole follows from contents. Not so xfs: a machine makes it, and who calls runs that ([`GuestJob`]).
//!
//! What is not here: how a tree is made, where artifacts are kept, uploads, running a machine. Nothing prints and
//! nothing reads the clock or the environment.

mod bios;
mod boot;
pub mod btrfs;
mod disk;
mod error;
pub mod ext4;
pub mod extract;
pub mod fat;
mod format;
mod identity;
mod size;
mod sparse;
pub mod table;
mod tree;
mod version;
mod view;
mod xfs;

pub use bios::BiosLoader;
pub use boot::{BootPlan, Bootloader, RootReference};
pub use disk::{DiskOptions, FileSystem, Table, UnfinishedDisk, WrittenDisk, begin_disk, write_disk};
pub use error::DiskError;
pub use format::{
    ClusterCompression, Conversion, DiskFormat, Found, OverlayWriter, Qcow2Overlay, Said, Units, convert,
    unpack_disk, unpack_qcow2,
};
pub use identity::Identity;
pub use size::{ParseSizeError, parse_size};
pub use tree::{Entry, Node, Overlay, Tree};
pub use xfs::{GuestJob, GuestReport};
