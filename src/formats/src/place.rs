//! Makes files in a directory that others may have prepared: every path is resolved inside it by the kernel, without
//! following any symbolic link, so that no archive can write outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use imgbuild_tree::{Metadata, TreePath};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// What prefixes the name of an extended attribute in a PAX record.
pub(crate) const PAX_XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Something that could not be made here and was left out or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A device was left out, because user namespaces cannot make any.
    DeviceSkipped {
        /// Where it would be.
        path: TreePath,
        /// Whether it is a block device.
        block: bool,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// An extended attribute was left out, because this user or file system does not have it.
    AttributeSkipped {
        /// The file.
        path: TreePath,
        /// The attribute's full name.
        name: String,
    },
    /// A folder had no entry and got the metadata of one in a layer below or, if there is none, mode 0755 and root.
    FolderImplied {
        /// The folder.
        path: TreePath,
    },
}

/// A directory that files are made in.
pub(crate) struct Place {
    root: OwnedFd,
    path: PathBuf,
}

/// A path in it whose folder is open.
pub(crate) struct Spot {
    folder: OwnedFd,
    name: Vec<u8>,
}

/// Who owns what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Whom the metadata names.
    Recorded,
    /// The process; attributes that need privilege are left out with a notice.
    Process,
}

impl Place {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// The path as the host sees it, for messages.
    pub(crate) fn host_path(&self, path: &TreePath) -> PathBuf {
        self.path.join(path.as_path())
    }

    /// Opens the folder `path`; fails with `ELOOP` or `ENOTDIR` where a symbolic link or a file is on the way.
    pub(crate) fn folder(&self, path: &TreePath) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = if path.is_root() { Path::new(".") } else { path.as_path() };
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Opens the folder that holds `path`, which is not the root.
    pub(crate) fn spot(&self, path: &TreePath) -> Result<Spot, Errno> {
        let folder = self.folder(&path.parent().unwrap_or_default())?;
        Ok(Spot { folder, name: path.file_name().to_vec() })
    }
}

impl Spot {
    /// What stands there, not followed.
    pub(crate) fn stat(&self) -> Result<Option<Stat>, Errno> {
        match rustix::fs::statat(&self.folder, self.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a folder that only its owner can enter; its metadata come when all is in it.
    pub(crate) fn make_folder(&self) -> Result<(), Errno> {
        rustix::fs::mkdirat(&self.folder, self.name.as_slice(), Mode::RWXU)
    }

    pub(crate) fn make_file(&self) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.folder, self.name.as_slice(), flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    pub(crate) fn make_symlink(&self, target: &[u8]) -> Result<(), Errno> {
        rustix::fs::symlinkat(target, &self.folder, self.name.as_slice())
    }

    /// Makes this a further name of what stands at `target`.
    pub(crate) fn make_link(&self, target: &Self) -> Result<(), Errno> {
        rustix::fs::linkat(
            &target.folder,
            target.name.as_slice(),
            &self.folder,
            self.name.as_slice(),
            AtFlags::empty(),
        )
    }

    pub(crate) fn make_node(&self, kind: FileType, major: u32, minor: u32) -> Result<(), Errno> {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(&self.folder, self.name.as_slice(), kind, Mode::RUSR | Mode::WUSR, device)
    }

    /// Removes what stands there, folders with all that is in them.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        remove_tree(&self.folder, &self.name)
    }

    /// Gives what stands there its owner, mode, attributes and time, in the order in which none undoes another.
    pub(crate) fn describe(
        &self,
        path: &TreePath,
        metadata: &Metadata,
        kind: FileType,
        ownership: Ownership,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Errno> {
        let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
        let name = self.name.as_slice();
        if ownership == Ownership::Recorded {
            let owner = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
            rustix::fs::chownat(&self.folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.set_attributes(path, xattrs, ownership, notices)?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(&self.folder, name, Mode::from_raw_mode(*mode), AtFlags::empty())?;
        }
        rustix::fs::utimensat(&self.folder, name, &times(*mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(crate) fn set_attributes(
        &self,
        path: &TreePath,
        xattrs: &BTreeMap<Box<[u8]>, Box<[u8]>>,
        ownership: Ownership,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Errno> {
        for (name, value) in xattrs {
            match self.set_attribute(name, value) {
                Ok(()) => {}
                // Without privilege these are expected; with it, the file system may not have the attribute at all.
                Err(Errno::OPNOTSUPP) => notices.push(skipped(path, name)),
                Err(Errno::PERM | Errno::ACCESS) if ownership == Ownership::Process => {
                    notices.push(skipped(path, name));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn set_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        rustix::fs::lsetxattr(self.through_proc(), name, value, XattrFlags::empty())
    }

    /// A path whose folder is the one that is open, for the calls that take no descriptor.
    fn through_proc(&self) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.folder.as_raw_fd()).into_bytes();
        path.extend_from_slice(&self.name);
        path
    }

    /// Owner, mode, time and attributes of what stands there.
    pub(crate) fn metadata(&self, stat: &Stat) -> Result<Metadata, Errno> {
        let path = self.through_proc();
        let mut xattrs = BTreeMap::new();
        let names = grown(|buffer| rustix::fs::llistxattr(path.as_slice(), buffer))?;
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let value = grown(|buffer| rustix::fs::lgetxattr(path.as_slice(), name, buffer))?;
            xattrs.insert(name.into(), value.into());
        }
        Ok(Metadata {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            xattrs,
        })
    }
}

/// Sets metadata on a folder that is open: the root has no spot.
pub(crate) fn describe_root(
    root: &OwnedFd,
    metadata: &Metadata,
    ownership: Ownership,
    notices: &mut Vec<Notice>,
) -> Result<(), Errno> {
    let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
    if ownership == Ownership::Recorded {
        rustix::fs::fchown(root, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))?;
    }
    for (name, value) in xattrs {
        match rustix::fs::fsetxattr(root, &**name, value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => notices.push(skipped(&TreePath::root(), name)),
            Err(Errno::PERM | Errno::ACCESS) if ownership == Ownership::Process => {
                notices.push(skipped(&TreePath::root(), name));
            }
            Err(error) => return Err(error),
        }
    }
    rustix::fs::fchmod(root, Mode::from_raw_mode(*mode))?;
    rustix::fs::futimens(root, &times(*mtime))
}

/// Calls with a buffer that grows until the answer fits.
fn grown(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}

fn skipped(path: &TreePath, name: &[u8]) -> Notice {
    Notice::AttributeSkipped { path: path.clone(), name: name.escape_ascii().to_string() }
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// Removes `name` from `folder`, with all below it. No symbolic link is followed.
fn remove_tree(folder: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&inner)? {
        let entry = entry?;
        let child = entry.file_name().to_bytes();
        if child != b"." && child != b".." {
            remove_tree(&inner, child)?;
        }
    }
    rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)
}
