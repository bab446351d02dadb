//! What can go wrong when a disk is written or read.

use std::io;
use std::path::{Path, PathBuf};

/// Why a disk could not be written or read. Nothing half-written is left behind.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file of the host could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The raw image could not be written or read.
    #[error("cannot {action} the disk image")]
    Image {
        /// What was tried, as a verb.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The contents of a file of the tree could not be read.
    #[error("cannot read the contents of `{path}`")]
    Contents {
        /// The file, as the image sees it.
        path: String,
        /// Why not; a digest that does not match is said here.
        source: io::Error,
    },
    /// A file has not the contents that it had when the disk was laid out.
    #[error(
        "the contents of `{path}` changed while the disk was written; nothing may write to a tree that is exported"
    )]
    Changed {
        /// The file, as the image sees it.
        path: String,
    },
    /// The tree has no such file.
    #[error("the tree has no file `{path}`")]
    NoSuchFile {
        /// The file, as the image sees it.
        path: String,
    },
    /// A name that the writer of the file system cannot put down.
    #[error("{what} `{path}` is not UTF-8, which the ext4 writer needs; rename it")]
    NotText {
        /// What is not text: a name, a link's target, an attribute's name.
        what: &'static str,
        /// Where, with what is not text replaced.
        path: String,
    },
    /// Something of an entry that the file system cannot hold.
    #[error("`{path}` cannot be put on {file_system}: {reason}")]
    Entry {
        /// The file system.
        file_system: &'static str,
        /// The entry, as the image sees it.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A hard link to what is no earlier file.
    #[error("the hard link `{path}` points to `{target}`, which is no file before it in the tree")]
    DanglingHardLink {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// The size that was asked for does not hold what must go in.
    #[error(
        "{what} needs at least {} and has {}; set `{option}` to {} or more, or leave it out",
        crate::size::shown(*needed), crate::size::shown(*size), crate::size::shown(*needed)
    )]
    TooSmall {
        /// What does not fit: the disk, the EFI system partition.
        what: &'static str,
        /// The option that says the size.
        option: &'static str,
        /// The size that was given, in bytes.
        size: u64,
        /// The size that suffices, in bytes.
        needed: u64,
    },
    /// A size that the format cannot have.
    #[error("a size of {size} bytes does not work for {what}: {reason}")]
    BadSize {
        /// What would have the size.
        what: &'static str,
        /// In bytes.
        size: u64,
        /// Why not.
        reason: String,
    },
    /// Options that contradict each other.
    #[error("{0}")]
    Options(String),
    /// The tree has no kernel.
    #[error(
        "the tree has no kernel (`/boot/vmlinuz-*`), so the disk would not boot; \
         install {packages}, or set `bootloader = \"none\"`"
    )]
    NoKernel {
        /// Packages that bring one.
        packages: &'static str,
    },
    /// The newest kernel has no initial RAM disk.
    #[error(
        "the kernel `/boot/vmlinuz-{version}` has no initial RAM disk (`/boot/initrd.img-{version}`), without which it \
         finds no disk; install `initramfs-tools` or `dracut`"
    )]
    NoInitrd {
        /// The kernel's version.
        version: String,
    },
    /// The tree has no loader.
    #[error(
        "the tree has no boot loader for {firmware} on {architecture}: none of {looked_for}; install {packages}, \
         or set `bootloader = \"none\"`"
    )]
    NoLoader {
        /// `UEFI` or `BIOS`.
        firmware: &'static str,
        /// For which machines.
        architecture: &'static str,
        /// Paths that were looked for.
        looked_for: String,
        /// Packages that bring one.
        packages: &'static str,
    },
    /// The tree is not what a machine that makes its file system could run from.
    #[error(
        "xfs is made by a machine that runs the tree itself, and that has no {lacks}; install {packages}, \
         or set `filesystem` to `ext4` or `btrfs`"
    )]
    NoGuest {
        /// What the tree lacks.
        lacks: String,
        /// Packages that bring it.
        packages: String,
    },
    /// A disk was finished whose root file system nobody has made.
    #[error("no machine has made the xfs file system of the disk")]
    Unmade,
    /// The ext4 writer or reader refused.
    #[error("ext4: {0}")]
    Ext4(String),
    /// A disk image that cannot be understood.
    #[error("cannot read the disk image: {0}")]
    Damaged(String),
}

impl DiskError {
    /// For `map_err`: names what was tried on which path of the host.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source: source.into() }
    }

    /// For `map_err`: an image could not be `action`ed.
    pub(crate) fn image(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Image { action, source }
    }

    /// For `map_err`: the contents of `path` in the tree could not be read.
    pub(crate) fn contents(path: &[u8]) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Contents { path: shown(path), source }
    }
}

impl From<mkext4::Error> for DiskError {
    fn from(error: mkext4::Error) -> Self {
        match error {
            mkext4::Error::Io(source) => Self::Image { action: "write", source },
            other => Self::Ext4(other.to_string()),
        }
    }
}

/// A path of a tree as a message shows it: with a slash in front, what is not text replaced.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
