//! File operations under a root that cannot leave it: parents are opened with `openat2(RESOLVE_IN_ROOT)`, the last component
//! is used with `*at` calls that do not follow it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

/// Owner, permissions and time of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
}

impl Root {
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::openat(CWD, path, flags, Mode::empty())? })
    }

    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // The kernel asks to try again when a rename elsewhere raced with the lookup.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// A folder, symbolic links followed within the root.
    pub fn folder(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        self.resolve(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// The parent folder of a path, and the last component.
    pub fn parent<'p>(&self, path: &'p Path) -> rustix::io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        Ok((self.folder(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// The status of a path itself, links not followed; `None` if there is nothing.
    pub fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let result = match path.file_name() {
            None => rustix::fs::fstat(&self.fd),
            Some(_) => self
                .parent(path)
                .and_then(|(parent, name)| rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)),
        };
        absent_as_none(result)
    }

    /// Whether a path is a folder, links followed.
    pub fn is_folder(&self, path: &Path) -> bool {
        self.folder(path).is_ok()
    }

    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.stat(path)?.is_some())
    }

    /// The content of a file, `None` if there is none.
    pub fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let Some(fd) = absent_as_none(self.resolve(path, OFlags::RDONLY))? else { return Ok(None) };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(fd), &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The content of a text file; empty if there is none.
    pub fn read_text(&self, path: &Path) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.read(path)?.unwrap_or_default()).into_owned())
    }

    /// Replaces a file as a whole. Its parent must exist.
    pub fn write(&self, path: &Path, bytes: &[u8], metadata: Metadata) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let temporary = suffixed(name, ".dpkg-new");
        let _ = rustix::fs::unlinkat(&parent, &temporary, AtFlags::empty());
        let file = create(parent.as_fd(), &temporary)?;
        io::Write::write_all(&mut &file, bytes)?;
        finish_file(&file, metadata)?;
        rustix::fs::renameat(&parent, &temporary, &parent, name)?;
        Ok(())
    }

    /// Makes a folder and its parents, mode 0755, owned by root. What exists stays.
    pub fn make_folders(&self, path: &Path) -> io::Result<()> {
        if self.is_folder(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_folders(parent)?;
        }
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            // Another thread was first.
            Err(Errno::EXIST) if self.is_folder(path) => return Ok(()),
            result => result?,
        }
        // The umask is the caller's; the mode must not be.
        rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
        Ok(())
    }

    pub fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::symlinkat(target, parent, name)?)
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        Ok(rustix::fs::renameat(from_parent, from_name, to_parent, to_name)?)
    }

    /// Removes a file or link; nothing happens if there is none. A folder is an error.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.parent(path).and_then(|(p, name)| rustix::fs::unlinkat(p, name, AtFlags::empty()));
        absent_as_none(removed).map(|_| ())
    }

    /// Removes a folder if it is empty; whether it did.
    pub fn remove_empty_folder(&self, path: &Path) -> io::Result<bool> {
        let removed =
            self.parent(path).and_then(|(p, name)| rustix::fs::unlinkat(p, name, AtFlags::REMOVEDIR));
        match removed {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::BUSY) => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }

    /// The names in a folder, sorted; none if it does not exist.
    pub fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let fd = match fd {
            Err(Errno::NOTDIR) => return Ok(Vec::new()),
            fd => match absent_as_none(fd)? {
                Some(fd) => fd,
                None => return Ok(Vec::new()),
            },
        };
        let mut buffer = Vec::with_capacity(1 << 15);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes a path and everything below it; links are not followed.
    pub fn remove_all(&self, path: &Path) -> io::Result<()> {
        let Some(stat) = self.stat(path)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.remove_file(path);
        }
        for name in self.list(path)? {
            self.remove_all(&path.join(name))?;
        }
        self.remove_empty_folder(path)?;
        Ok(())
    }

    /// Sets owner, permissions and time of a folder that is not a link.
    pub fn finish_folder(&self, path: &Path, metadata: Metadata) -> io::Result<()> {
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
        finish(fd.as_fd(), metadata)
    }
}

/// `name` with a suffix.
pub(crate) fn suffixed(name: &OsStr, suffix: &str) -> OsString {
    let mut out = name.to_owned();
    out.push(suffix);
    out
}

/// `path` with a suffix at its last component.
pub(crate) fn suffixed_path(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(suffixed(path.as_os_str(), suffix))
}

pub(crate) fn absent_as_none<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Creates a file that must not exist yet.
pub(crate) fn create(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<std::fs::File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map(std::fs::File::from)
}

fn times(mtime: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or(i64::MAX), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

pub(crate) fn finish_file(file: &std::fs::File, metadata: Metadata) -> io::Result<()> {
    finish(file.as_fd(), metadata)
}

fn finish(fd: BorrowedFd<'_>, metadata: Metadata) -> io::Result<()> {
    // The owner first: changing it clears the set-id bits.
    rustix::fs::fchown(fd, owner(metadata.uid), group(metadata.gid))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(metadata.mode))?;
    rustix::fs::futimens(fd, &times(metadata.mtime))?;
    Ok(())
}

/// Sets owner and time, and for what is not a link permissions too, of a name in a folder.
pub(crate) fn finish_at(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    metadata: Metadata,
    is_link: bool,
) -> rustix::io::Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(parent, name, owner(metadata.uid), group(metadata.gid), nofollow)?;
    if !is_link {
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(metadata.mode), AtFlags::empty())?;
    }
    rustix::fs::utimensat(parent, name, &times(metadata.mtime), nofollow)
}

fn owner(uid: u32) -> Option<Uid> {
    Some(Uid::from_raw(uid))
}

fn group(gid: u32) -> Option<Gid> {
    Some(Gid::from_raw(gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Metadata = Metadata { mode: 0o644, uid: 0, gid: 0, mtime: 1 };

    fn as_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("skipped: owners can only be set by root");
        }
        root
    }

    #[test]
    fn links_do_not_lead_out() {
        if !as_root() {
            return;
        }
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        fs_err::os::unix::fs::symlink(outside.path(), inside.path().join("out")).unwrap();
        fs_err::os::unix::fs::symlink("../../../../..", inside.path().join("up")).unwrap();
        let root = Root::open(inside.path()).unwrap();
        assert!(root.write(Path::new("out/file"), b"x", PLAIN).is_err());
        assert!(!outside.path().join("file").exists());
        root.write(Path::new("up/file"), b"x", PLAIN).unwrap();
        assert_eq!(fs_err::read(inside.path().join("file")).unwrap(), b"x");
        assert_eq!(root.read(Path::new("/up/../../up/file")).unwrap().unwrap(), b"x");
    }

    #[test]
    fn removes_links_not_their_targets() {
        if !as_root() {
            return;
        }
        let inside = tempfile::tempdir().unwrap();
        let root = Root::open(inside.path()).unwrap();
        root.make_folders(Path::new("a/b/c")).unwrap();
        root.make_folders(Path::new("keep")).unwrap();
        root.write(Path::new("keep/file"), b"x", PLAIN).unwrap();
        root.symlink(Path::new("/keep"), Path::new("a/b/link")).unwrap();
        root.remove_all(Path::new("a")).unwrap();
        assert!(!root.exists(Path::new("a")).unwrap());
        assert!(root.exists(Path::new("keep/file")).unwrap());
        assert_eq!(root.list(Path::new("")).unwrap(), ["keep"]);
        root.remove_file(Path::new("never/was")).unwrap();
    }
}
