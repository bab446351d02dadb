//! Stacks of layers as overlay mounts that are attached nowhere.
//!
//! [`mount`] returns a file descriptor: nothing is visible at any path, and closing the descriptor is the unmount.
//! [`squash_tree`] writes the merged view of many folders into one, for stacks the kernel does not take. Not here:
//! what the folders are and how the upper one becomes a layer.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, unmount,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::copy::{Copier, CopyError, CopyOptions};
use crate::{mounts, userns};

/// How many lower folders one mount may have. The kernel's own limit is 500; some room is left for the folders that
/// a mount adds itself.
pub const MAX_LOWERS: usize = 450;

/// How overlay mounts store their marks, and which of the kernel's interfaces makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverlayOptions {
    /// Keep marks in `user.overlay.*` attributes, as mounts in a user namespace must, rather than `trusted.overlay.*`.
    pub user_xattrs: bool,
    /// Skip all syncs of the upper folder: a crash of the machine loses it, and the caller syncs once when it keeps it.
    pub volatile: bool,
    /// Use the interface of kernels before 6.8 even where a newer one is there.
    pub classic: bool,
}

/// Why a stack could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// More lower folders than one mount takes.
    #[error(
        "{count} layers are more than the {MAX_LOWERS} that one overlay mount takes; squash some of them"
    )]
    TooManyLayers {
        /// How many there were.
        count: usize,
    },
    /// A folder of the stack cannot be opened.
    #[error("cannot open the layer folder `{}`", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// The kernel has no overlayfs, or not for this user.
    #[error(
        "this kernel has no overlayfs that this user may mount (5.11 or newer is needed without root); `modprobe overlay` may help"
    )]
    Unsupported {
        /// Why.
        source: Errno,
    },
    /// The mount itself was refused.
    #[error("cannot mount an overlay of {lowers} layers{}", upper.as_ref().map(|path| format!(" with the upper folder `{}`", path.display())).unwrap_or_default())]
    Refused {
        /// How many lower folders there were.
        lowers: usize,
        /// The upper folder.
        upper: Option<PathBuf>,
        /// Why.
        source: Errno,
    },
    /// A temporary folder that the mount needs could not be made.
    #[error("cannot make a temporary folder for an overlay mount")]
    Temporary(#[source] std::io::Error),
    /// The merged view could not be copied.
    #[error("cannot squash layers")]
    Squash(#[source] CopyError),
}

impl Default for OverlayOptions {
    /// What fits the user namespace of this process.
    fn default() -> Self {
        Self { user_xattrs: userns::in_user_namespace(), volatile: true, classic: false }
    }
}

/// Stacks `lowers` (the lowest first) and, over them, the writable `upper` with its `work` folder, which must be empty
/// or fresh and on the same file system. Without an upper folder the mount is read-only; without lower ones it is
/// empty below.
///
/// # Errors
///
/// [`OverlayError`]; nothing stays mounted.
pub fn mount(
    lowers: &[&Path],
    upper: Option<(&Path, &Path)>,
    options: OverlayOptions,
) -> Result<OwnedFd, OverlayError> {
    if lowers.len() > MAX_LOWERS {
        return Err(OverlayError::TooManyLayers { count: lowers.len() });
    }
    // Overlayfs wants one lower folder, and two when nothing is above.
    let filler = if lowers.is_empty() || (upper.is_none() && lowers.len() == 1) {
        Some(empty_folder()?)
    } else {
        None
    };
    let filler_path =
        filler.as_ref().map(|folder| PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())));
    let mut stack: Vec<&Path> = filler_path.iter().map(PathBuf::as_path).collect();
    stack.extend_from_slice(lowers);
    if options.classic {
        return mount_classic(&stack, upper, options);
    }
    match mount_new(&stack, upper, options)? {
        Some(mount) => Ok(mount),
        None => mount_classic(&stack, upper, options),
    }
}

/// An empty folder on a file system of its own, which lives as long as the mount that uses it. A folder on disk would
/// have to stay as long: listing a merged folder fails once one below it is removed.
fn empty_folder() -> Result<OwnedFd, OverlayError> {
    let make = || -> Result<OwnedFd, Errno> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "mode", "0755")?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    make().map_err(|error| OverlayError::Temporary(error.into()))
}

fn open_folder(path: &Path) -> Result<OwnedFd, OverlayError> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| OverlayError::Folder { path: path.into(), source })
}

/// Options that make what ends in the upper folder plain: whole files, no references to a particular lower folder.
fn plain_options(options: OverlayOptions) -> Vec<(&'static str, &'static str)> {
    let mut list = vec![("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")];
    if options.user_xattrs {
        list.push(("userxattr", ""));
    }
    list
}

fn attributes(writable: bool) -> MountAttrFlags {
    // Devices come from the host by bind mounts; those that a base image brings must not open.
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOATIME;
    if !writable {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    attributes
}

/// Mounts through `fsopen`. `None` when the kernel does not know `lowerdir+` (before 6.8).
fn mount_new(
    stack: &[&Path],
    upper: Option<(&Path, &Path)>,
    options: OverlayOptions,
) -> Result<Option<OwnedFd>, OverlayError> {
    let refused = |source| match source {
        Errno::NODEV | Errno::PERM => OverlayError::Unsupported { source },
        source => {
            OverlayError::Refused { lowers: stack.len(), upper: upper.map(|(upper, _)| upper.into()), source }
        }
    };
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(Errno::NOSYS) => return Ok(None),
        Err(source) => return Err(refused(source)),
    };
    for (name, value) in plain_options(options) {
        let set = if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), name)
        } else {
            fsconfig_set_string(context.as_fd(), name, value)
        };
        set.map_err(refused)?;
    }
    // The topmost comes first. One descriptor is open at a time: a stack may have more layers than the process may
    // have files. A string value is limited to 255 bytes, so a folder is named through its descriptor where the
    // kernel (before 6.13) does not take the descriptor itself.
    for (index, path) in stack.iter().rev().enumerate() {
        let folder = open_folder(path)?;
        let set = fsconfig_set_fd(context.as_fd(), "lowerdir+", folder.as_fd()).or_else(|_| {
            fsconfig_set_string(context.as_fd(), "lowerdir+", format!("/proc/self/fd/{}", folder.as_raw_fd()))
        });
        match set {
            Ok(()) => {}
            Err(Errno::INVAL) if index == 0 => return Ok(None),
            Err(source) => return Err(refused(source)),
        }
    }
    if let Some((upper, work)) = upper {
        for (name, path) in [("upperdir", upper), ("workdir", work)] {
            let folder = open_folder(path)?;
            let by_name = format!("/proc/self/fd/{}", folder.as_raw_fd());
            fsconfig_set_string(context.as_fd(), name, by_name).map_err(refused)?;
        }
        if options.volatile {
            fsconfig_set_flag(context.as_fd(), "volatile").map_err(refused)?;
        }
    }
    fsconfig_create(context.as_fd()).map_err(refused)?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes(upper.is_some()))
        .map(Some)
        .map_err(refused)
}

/// Mounts through `mount(2)`, whose options must fit one page: the folders get names of a few bytes as symbolic links
/// in a temporary folder, which is the working directory of a thread made for this call.
fn mount_classic(
    stack: &[&Path],
    upper: Option<(&Path, &Path)>,
    options: OverlayOptions,
) -> Result<OwnedFd, OverlayError> {
    let names = tempfile::tempdir().map_err(OverlayError::Temporary)?;
    let link = |name: &str, path: &Path| {
        let target = std::path::absolute(path).map_err(OverlayError::Temporary)?;
        fs_err::os::unix::fs::symlink(target, names.path().join(name)).map_err(OverlayError::Temporary)
    };
    let mut list = String::from("lowerdir=");
    for (index, path) in stack.iter().enumerate().rev() {
        link(&index.to_string(), path)?;
        list.push_str(&index.to_string());
        if index > 0 {
            list.push(':');
        }
    }
    if let Some((upper, work)) = upper {
        link("u", upper)?;
        link("w", work)?;
        list.push_str(",upperdir=u,workdir=w");
        if options.volatile {
            list.push_str(",volatile");
        }
    }
    for (name, value) in plain_options(options) {
        list.push(',');
        list.push_str(name);
        if !value.is_empty() {
            list.push('=');
            list.push_str(value);
        }
    }
    let point = names.path().join("m");
    fs_err::create_dir(&point).map_err(OverlayError::Temporary)?;
    let mut flags = MountFlags::NODEV | MountFlags::NOATIME;
    if upper.is_none() {
        flags |= MountFlags::RDONLY;
    }
    let list = std::ffi::CString::new(list).map_err(|_| OverlayError::Temporary(Errno::INVAL.into()))?;
    let mounted = std::thread::scope(|scope| {
        scope
            .spawn(|| -> Result<OwnedFd, Errno> {
                // SAFETY: `CLONE_FS` gives this thread a working directory of its own; descriptors stay shared.
                unsafe { unshare_unsafe(UnshareFlags::FS) }?;
                rustix::process::chdir(names.path())?;
                rustix::mount::mount("overlay", "m", "overlay", flags, list.as_c_str())?;
                let cloned = mounts::clone_host_path("m", false);
                unmount("m", UnmountFlags::DETACH)?;
                cloned
            })
            .join()
            .unwrap_or(Err(Errno::IO))
    });
    mounted.map_err(|source| match source {
        Errno::NODEV | Errno::PERM => OverlayError::Unsupported { source },
        source => {
            OverlayError::Refused { lowers: stack.len(), upper: upper.map(|(upper, _)| upper.into()), source }
        }
    })
}

/// Writes the merged view of `lowers` (the lowest first) into the empty folder `out`: owners, modes, times, attributes
/// and hard links are kept, whiteouts are gone. No inode is shared with the sources.
///
/// # Errors
///
/// [`OverlayError`]; `out` may then be half written.
pub fn squash_tree(lowers: &[&Path], out: &Path) -> Result<(), OverlayError> {
    let options = OverlayOptions::default();
    if lowers.len() <= MAX_LOWERS {
        return copy_merged(lowers, out, options);
    }
    let (first, rest) = lowers.split_at(MAX_LOWERS);
    let beside = out.parent().unwrap_or(out);
    let partial =
        tempfile::Builder::new().prefix(".squash-").tempdir_in(beside).map_err(OverlayError::Temporary)?;
    copy_merged(first, partial.path(), options)?;
    let mut next = vec![partial.path()];
    next.extend_from_slice(rest);
    squash_tree(&next, out)
}

fn copy_merged(lowers: &[&Path], out: &Path, options: OverlayOptions) -> Result<(), OverlayError> {
    let view = mount(lowers, None, options)?;
    let out = openat(CWD, out, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| OverlayError::Folder { path: out.into(), source })?;
    // A mount's descriptor is O_PATH; reading needs one that is open.
    let view = openat(view.as_fd(), ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| OverlayError::Folder { path: "/".into(), source })?;
    Copier::new(CopyOptions::faithful())
        .copy_directory_into(view.as_fd(), out.as_fd())
        .map_err(OverlayError::Squash)
}
