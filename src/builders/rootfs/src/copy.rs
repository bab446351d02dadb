//! Copies trees between open folders, never through a path that a link could bend.
//!
//! Used to squash layers and by the file steps. A copy keeps what a layer records: type, owner, mode, modification
//! time, hard links and the attributes that images carry. Sockets are not copied: they mean nothing without their
//! process.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat,
    mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

/// What a copy keeps and what it sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyOptions {
    /// Give everything to this user and group instead of keeping owners.
    pub owner: Option<(u32, u32)>,
    /// Set every modification time to this many seconds since 1970 instead of keeping times.
    pub time: Option<i64>,
    /// Keep attributes (capabilities, ACLs, `user.*`).
    pub attributes: bool,
    /// What becomes of permission bits.
    pub modes: Modes,
    /// A directory that exists keeps its owner, mode and attributes.
    pub keep_existing: bool,
}

/// What becomes of permission bits in a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// They are kept.
    Keep,
    /// Directories and executable files get 0755, other files 0644: what a source tree means, whatever the umask was
    /// when it was written.
    Normal,
    /// The same for all.
    Fixed {
        /// For files.
        file: u32,
        /// For directories.
        directory: u32,
    },
}

impl Modes {
    fn of(self, mode: u32) -> u32 {
        let directory = FileType::from_raw_mode(mode) == FileType::Directory;
        match self {
            Self::Keep => mode & 0o7777,
            Self::Normal if directory || mode & 0o111 != 0 => 0o755,
            Self::Normal => 0o644,
            Self::Fixed { directory: mode, .. } if directory => mode,
            Self::Fixed { file, .. } => file,
        }
    }
}

/// Why a copy stopped.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`: {source}")]
pub struct CopyError {
    /// What was being done, as an infinitive.
    pub action: &'static str,
    /// To what: a path inside the copied tree.
    pub path: String,
    /// Why it failed.
    pub source: Errno,
}

/// One run of copying; remembers which inodes were copied, for the hard links between them.
pub(crate) struct Copier {
    options: CopyOptions,
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// Where the copier is: the destination's top and the path below it, for links and messages.
struct Place<'a> {
    top: BorrowedFd<'a>,
    path: Vec<u8>,
}

impl CopyOptions {
    /// Everything is kept.
    pub(crate) fn faithful() -> Self {
        Self { owner: None, time: None, attributes: true, modes: Modes::Keep, keep_existing: false }
    }
}

impl Place<'_> {
    fn enter(&mut self, name: &CStr) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
        before
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.escape_ascii())
    }
}

fn failed(action: &'static str, place: &Place<'_>) -> impl FnOnce(Errno) -> CopyError {
    let path = place.to_string();
    move |source| CopyError { action, path, source }
}

impl Copier {
    pub(crate) fn new(options: CopyOptions) -> Self {
        Self { options, links: HashMap::new() }
    }

    /// Copies the contents of one open folder into another that exists, and its metadata unless what exists is kept.
    pub(crate) fn copy_directory_into(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
    ) -> Result<(), CopyError> {
        let mut place = Place { top: to, path: Vec::new() };
        let stat = fstat(from).map_err(failed("read", &place))?;
        self.contents(from, to, &mut place)?;
        if self.options.keep_existing {
            return futimens(to, &self.times(&stat)).map_err(failed("set the time of", &place));
        }
        self.finish(from, to, &stat, &place)
    }

    /// Gives a folder the metadata of the one that it was copied from.
    pub(crate) fn finish_directory(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), CopyError> {
        let place = Place { top: to, path: Vec::new() };
        let stat = fstat(from).map_err(failed("read", &place))?;
        self.finish(from, to, &stat, &place)
    }

    /// Copies one opened thing that is not a folder to a name in an open folder. A file or link there is replaced.
    pub(crate) fn copy_opened_file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), CopyError> {
        let mut place = Place { top: to, path: Vec::new() };
        place.enter(name);
        let stat = fstat(from).map_err(failed("read", &place))?;
        self.clear_the_way(to, name, FileType::from_raw_mode(stat.st_mode), &place)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return self.special(to, name, &stat, &place);
        }
        let path = format!("/proc/self/fd/{}", from.as_raw_fd());
        let source = openat(from, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open", &place))?;
        self.file_from(source.as_fd(), to, name, &stat, &place)
    }

    fn contents(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        place: &mut Place<'_>,
    ) -> Result<(), CopyError> {
        for name in sorted_names(from).map_err(failed("list", place))? {
            self.entry(from, &name, to, &name, place)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        from_name: &CStr,
        to: BorrowedFd<'_>,
        to_name: &CStr,
        place: &mut Place<'_>,
    ) -> Result<(), CopyError> {
        let before = place.enter(to_name);
        let stat = statat(from, from_name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("read", place))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Socket {
            self.clear_the_way(to, to_name, kind, place)?;
        }
        match kind {
            FileType::Directory => self.directory(from, from_name, to, to_name, &stat, place)?,
            FileType::Socket => {}
            _ if self.link_again(&stat, to, to_name, place)? => {}
            FileType::RegularFile => self.file(from, from_name, to, to_name, &stat, place)?,
            FileType::Symlink => self.symbolic_link(from, from_name, to, to_name, &stat, place)?,
            _ => self.special(to, to_name, &stat, place)?,
        }
        place.path.truncate(before);
        Ok(())
    }

    /// Removes a file that stands where the copy goes. Folders are merged, never replaced by something else.
    fn clear_the_way(
        &self,
        to: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        place: &Place<'_>,
    ) -> Result<(), CopyError> {
        let existing = match statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed("read", place)(error)),
        };
        match (existing, kind) {
            (FileType::Directory, FileType::Directory) => Ok(()),
            (FileType::Directory, _) => Err(failed("replace by a file the directory", place)(Errno::ISDIR)),
            (_, FileType::Directory) => Err(failed("replace by a directory the file", place)(Errno::NOTDIR)),
            _ => rustix::fs::unlinkat(to, name, AtFlags::empty()).map_err(failed("replace", place)),
        }
    }

    /// Makes a hard link if another name of this inode was copied before.
    fn link_again(
        &mut self,
        stat: &Stat,
        to: BorrowedFd<'_>,
        name: &CStr,
        place: &Place<'_>,
    ) -> Result<bool, CopyError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&key) {
            // Every folder on the way is one that was opened without following links.
            linkat(place.top, first.as_slice(), to, name, AtFlags::empty()).map_err(failed("link", place))?;
            return Ok(true);
        }
        self.links.insert(key, place.path.clone());
        Ok(false)
    }

    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        from_name: &CStr,
        to: BorrowedFd<'_>,
        to_name: &CStr,
        stat: &Stat,
        place: &mut Place<'_>,
    ) -> Result<(), CopyError> {
        let existed = match mkdirat(to, to_name, Mode::RWXU) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(error) => return Err(failed("make the directory", place)(error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = openat(from, from_name, flags, Mode::empty()).map_err(failed("open", place))?;
        let target = openat(to, to_name, flags, Mode::empty()).map_err(failed("open", place))?;
        self.contents(source.as_fd(), target.as_fd(), place)?;
        if existed && self.options.keep_existing {
            return futimens(target.as_fd(), &self.times(stat)).map_err(failed("set the time of", place));
        }
        self.finish(source.as_fd(), target.as_fd(), stat, place)
    }

    fn file(
        &self,
        from: BorrowedFd<'_>,
        from_name: &CStr,
        to: BorrowedFd<'_>,
        to_name: &CStr,
        stat: &Stat,
        place: &Place<'_>,
    ) -> Result<(), CopyError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = openat(from, from_name, flags, Mode::empty()).map_err(failed("open", place))?;
        self.file_from(source.as_fd(), to, to_name, stat, place)
    }

    fn file_from(
        &self,
        source: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        to_name: &CStr,
        stat: &Stat,
        place: &Place<'_>,
    ) -> Result<(), CopyError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(to, to_name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("create", place))?;
        copy_contents(source, target.as_fd()).map_err(failed("copy", place))?;
        self.finish(source, target.as_fd(), stat, place)
    }

    fn symbolic_link(
        &self,
        from: BorrowedFd<'_>,
        from_name: &CStr,
        to: BorrowedFd<'_>,
        to_name: &CStr,
        stat: &Stat,
        place: &Place<'_>,
    ) -> Result<(), CopyError> {
        let target = readlinkat(from, from_name, Vec::new()).map_err(failed("read the link", place))?;
        symlinkat(target.as_c_str(), to, to_name).map_err(failed("make the link", place))?;
        self.finish_by_name(to, to_name, stat, place)
    }

    fn special(
        &self,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        place: &Place<'_>,
    ) -> Result<(), CopyError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        mknodat(to, name, kind, mode, stat.st_rdev).map_err(failed("make the special file", place))?;
        self.finish_by_name(to, name, stat, place)?;
        // The umask took bits from the mode, and changing the owner may have taken more.
        rustix::fs::chmodat(to, name, mode, AtFlags::empty()).map_err(failed("set the mode of", place))
    }

    fn finish_by_name(
        &self,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        place: &Place<'_>,
    ) -> Result<(), CopyError> {
        let (uid, gid) = self.options.owner.unwrap_or((stat.st_uid, stat.st_gid));
        chownat(to, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the owner of", place))?;
        utimensat(to, name, &self.times(stat), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the time of", place))
    }

    /// Owner first, because changing it clears the set-id bits and capabilities; time last.
    fn finish(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        stat: &Stat,
        place: &Place<'_>,
    ) -> Result<(), CopyError> {
        let (uid, gid) = self.options.owner.unwrap_or((stat.st_uid, stat.st_gid));
        fchown(to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(failed("set the owner of", place))?;
        fchmod(to, Mode::from_raw_mode(self.options.modes.of(stat.st_mode)))
            .map_err(failed("set the mode of", place))?;
        if self.options.attributes {
            copy_attributes(from, to).map_err(failed("copy the attributes of", place))?;
        }
        futimens(to, &self.times(stat)).map_err(failed("set the time of", place))
    }

    fn times(&self, stat: &Stat) -> Timestamps {
        let kept = Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        };
        let time = self.options.time.map_or(kept, |tv_sec| Timespec { tv_sec, tv_nsec: 0 });
        Timestamps { last_access: time, last_modification: time }
    }
}

/// The names in an open folder, in byte order, without `.` and `..`.
pub(crate) fn sorted_names(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Copies a file's bytes: shared extents where the file system can, holes stay holes.
pub(crate) fn copy_contents(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let size = u64::try_from(fstat(from)?.st_size).unwrap_or_default();
    let mut position = 0;
    while position < size {
        let start = match seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(_) => position,
        };
        let end = seek(from, SeekFrom::Hole(start)).unwrap_or(size).min(size);
        copy_range(from, to, start, end)?;
        position = end.max(start + 1);
    }
    rustix::fs::ftruncate(to, size)
}

fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<(), Errno> {
    let (mut read, mut written) = (start, start);
    while read < end {
        let length = usize::try_from(end - read).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut read), to, Some(&mut written), length) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_by_hand(from, to, read, end);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn copy_by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<(), Errno> {
    let mut buffer = vec![0_u8; 128 * 1024];
    let mut position = start;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(buffer.len());
        let read = rustix::io::pread(from, &mut buffer[..wanted], position)?;
        if read == 0 {
            return Ok(());
        }
        let mut done = 0;
        while done < read {
            done += rustix::io::pwrite(to, &buffer[done..read], position + done as u64)?;
        }
        position += read as u64;
    }
    Ok(())
}

/// Whether images carry this attribute.
fn is_carried(name: &[u8]) -> bool {
    matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default")
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut list = Vec::with_capacity(1024);
    loop {
        match flistxattr(from, rustix::buffer::spare_capacity(&mut list)) {
            Ok(_) => break,
            Err(Errno::RANGE) => list.reserve(list.capacity() * 2),
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    for name in list.split(|byte| *byte == 0).filter(|name| is_carried(name)) {
        let mut value = Vec::with_capacity(256);
        loop {
            match fgetxattr(from, name, rustix::buffer::spare_capacity(&mut value)) {
                Ok(_) => break,
                Err(Errno::RANGE) => value.reserve(value.capacity() * 4),
                Err(error) => return Err(error),
            }
        }
        fsetxattr(to, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}
