//! File operations on a root, without any process in it.
//!
//! What the `file`, `mkdir`, `symlink`, `remove`, `copy_from`, `user`, `group` and `systemd_unit` steps do. A path is
//! understood as a process in the root would understand it: links are followed inside the root and never out of it.
//! All that is written, and every folder that is changed, gets one time, so that the same step gives the same layer.
//! Not here: what the steps' attributes are called, and globbing over source files.

pub mod accounts;
mod download;
mod remove;
pub(crate) mod resolve;
pub mod systemd;

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, fchmod, fchown, fstat, futimens,
    mkdirat, openat, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::copy::{Copier, CopyOptions, copy_contents, sorted_names};
pub use crate::copy::{CopyError, Modes};
use resolve::{Resolved, join, open_in, resolve};

/// The largest file that is read whole.
const MAX_READ: u64 = 64 * 1024 * 1024;

/// The files of a root.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    time: i64,
}

/// The owner and mode of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The twelve permission bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// What is written into a file.
#[derive(Clone, Copy, Debug)]
pub enum Contents<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// What this file of the host holds.
    HostFile(&'a Path),
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The type.
    pub kind: Kind,
    /// Owner and mode.
    pub attributes: Attributes,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
}

/// What kind of thing is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link and where it points.
    SymbolicLink(Vec<u8>),
    /// Anything else.
    Other,
}

/// How a tree is copied into the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeOptions {
    /// Give everything to this user and group; owners are kept otherwise.
    pub owner: Option<(u32, u32)>,
    /// What becomes of permission bits.
    pub modes: Modes,
    /// Keep capabilities, ACLs and `user.*` attributes.
    pub attributes: bool,
}

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Nothing is there.
    #[error("`{path}` is not in the image")]
    NotFound {
        /// The path.
        path: String,
    },
    /// A folder is where a file is wanted.
    #[error("`{path}` is a directory in the image; remove it first, or name a path inside of it")]
    IsDirectory {
        /// The path.
        path: String,
    },
    /// Something else is where a folder is wanted.
    #[error("`{path}` is not a directory in the image")]
    NotDirectory {
        /// The path.
        path: String,
    },
    /// A folder that holds something would be removed.
    #[error("the directory `{path}` is not empty; say `recursive = True` to remove it with all it holds")]
    NotEmpty {
        /// The path.
        path: String,
    },
    /// The whole image, or no path at all.
    #[error("`{path}` does not name something inside the image")]
    WholeImage {
        /// The path.
        path: String,
    },
    /// A file is too large to be read whole.
    #[error("`{path}` has {size} bytes, more than the {MAX_READ} that are read at once")]
    TooLarge {
        /// The path.
        path: String,
        /// Its size.
        size: u64,
    },
    /// A pattern is not one.
    #[error("`{pattern}` is not a pattern: {reason}")]
    BadPattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the host cannot be read.
    #[error("cannot read `{}`", path.display())]
    Host {
        /// The host's path.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// A tree cannot be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A name that the image does not have.
    #[error(transparent)]
    Identity(#[from] accounts::IdentityError),
    /// An account cannot be added.
    #[error(transparent)]
    Account(#[from] accounts::AccountError),
    /// A unit cannot be enabled.
    #[error(transparent)]
    Unit(#[from] systemd::UnitError),
    /// A system call failed.
    #[error("cannot {action} `{path}` in the image")]
    System {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// To what.
        path: String,
        /// Why it failed.
        source: Errno,
    },
}

fn failed<'a>(action: &'static str, path: &'a str) -> impl FnOnce(Errno) -> FilesError + 'a {
    move |source| {
        let path = path.to_owned();
        match source {
            Errno::NOENT => FilesError::NotFound { path },
            Errno::ISDIR => FilesError::IsDirectory { path },
            Errno::NOTDIR => FilesError::NotDirectory { path },
            Errno::NOTEMPTY => FilesError::NotEmpty { path },
            source => FilesError::System { action, path, source },
        }
    }
}

/// An open folder and a name in it.
struct Entry {
    parent: OwnedFd,
    name: Vec<u8>,
}

impl Root {
    /// The files of a mount (from [`crate::overlay::mount`]) or of any open folder. Whatever is written gets `time`,
    /// in seconds since 1970.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn open(directory: BorrowedFd<'_>, time: i64) -> Result<Self, FilesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(directory, ".", flags, Mode::empty()).map_err(failed("open", "/"))?;
        Ok(Self { directory, time })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.time, tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }

    /// The user and group that `user`, `user:group` or their numbers mean in this root.
    ///
    /// # Errors
    ///
    /// For names that are not in its `/etc/passwd` and `/etc/group`.
    pub fn owner(&self, specification: &str) -> Result<accounts::Identity, FilesError> {
        let read = |path: &str| match self.read_file(path) {
            Err(FilesError::NotFound { .. }) => Ok(Vec::new()),
            other => other,
        };
        let (passwd, group) = (read("/etc/passwd")?, read("/etc/group")?);
        Ok(accounts::Identity::find(specification, &passwd, &group)?)
    }

    /// What is at a path, a link itself at its end.
    ///
    /// # Errors
    ///
    /// [`FilesError::NotFound`] and others.
    pub fn status(&self, path: &str) -> Result<Status, FilesError> {
        let place = resolve(self.fd(), path.as_bytes(), false).map_err(failed("find", path))?;
        if place.missing > 0 {
            return Err(FilesError::NotFound { path: path.to_owned() });
        }
        let stat =
            statat(self.fd(), place.path(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("read", path))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::SymbolicLink(
                readlinkat(self.fd(), place.path(), Vec::new()).map_err(failed("read", path))?.into_bytes(),
            ),
            _ => Kind::Other,
        };
        Ok(Status {
            kind,
            attributes: Attributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid },
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: stat.st_mtime,
        })
    }

    /// A file's contents; links are followed.
    ///
    /// # Errors
    ///
    /// [`FilesError::TooLarge`] above 64 MiB, and others.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>, FilesError> {
        use std::io::Read as _;
        // Without waiting: opening a named pipe would.
        let file = open_in(self.fd(), path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK)
            .map_err(failed("read", path))?;
        let stat = fstat(&file).map_err(failed("read", path))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(failed("read", path)(Errno::ISDIR)),
            _ => return Err(failed("read", path)(Errno::INVAL)),
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if size > MAX_READ {
            return Err(FilesError::TooLarge { path: path.to_owned(), size });
        }
        let mut contents = Vec::new();
        std::fs::File::from(file)
            .take(MAX_READ)
            .read_to_end(&mut contents)
            .map_err(|error| failed("read", path)(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        Ok(contents)
    }

    /// The names in a folder, in byte order; links are followed.
    ///
    /// # Errors
    ///
    /// [`FilesError::NotDirectory`] and others.
    pub fn list(&self, path: &str) -> Result<Vec<Vec<u8>>, FilesError> {
        let folder = open_in(self.fd(), path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(failed("list", path))?;
        let names = sorted_names(folder.as_fd()).map_err(failed("list", path))?;
        Ok(names.into_iter().map(CString::into_bytes).collect())
    }

    /// Writes a file; missing folders above are made (0755, root's). A file or link that is there is replaced, so that
    /// other names of it keep what they had.
    ///
    /// # Errors
    ///
    /// [`FilesError::IsDirectory`] when a folder is in the way, and others.
    pub fn write_file(
        &self,
        path: &str,
        contents: Contents<'_>,
        attributes: Attributes,
    ) -> Result<(), FilesError> {
        let source = match contents {
            Contents::Bytes(_) => None,
            Contents::HostFile(host) => Some(
                openat(CWD, host, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|source| FilesError::Host { path: host.into(), source })?,
            ),
        };
        let entry = self.entry(path)?;
        match unlinkat(&entry.parent, entry.name.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("replace", path)(error)),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&entry.parent, entry.name.as_slice(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(failed("create", path))?;
        match (contents, &source) {
            (Contents::HostFile(host), Some(source)) => {
                copy_contents(source.as_fd(), file.as_fd())
                    .map_err(|source| FilesError::Host { path: host.into(), source })?;
            }
            (Contents::Bytes(bytes), _) => write_all(&file, bytes).map_err(failed("write", path))?,
            (Contents::HostFile(_), None) => {}
        }
        set_attributes(&file, attributes).map_err(failed("set the attributes of", path))?;
        futimens(&file, &self.times()).map_err(failed("set the time of", path))?;
        self.touch(&entry.parent, path)
    }

    /// Makes a folder and those above it. With `attributes` the folder gets them, whether it was there or not; folders
    /// that are made on the way are 0755 and root's.
    ///
    /// # Errors
    ///
    /// [`FilesError::NotDirectory`] when something else is in the way, and others.
    pub fn make_directory(&self, path: &str, attributes: Option<Attributes>) -> Result<(), FilesError> {
        let place = resolve(self.fd(), path.as_bytes(), true).map_err(failed("make", path))?;
        let folder = self.provide(&place, path)?;
        if let Some(attributes) = attributes {
            set_attributes(&folder, attributes).map_err(failed("set the attributes of", path))?;
            self.touch(&folder, path)?;
        }
        Ok(())
    }

    /// Makes a symbolic link at `path` that points to `target`, as it is written; replaces a file or link.
    ///
    /// # Errors
    ///
    /// [`FilesError::IsDirectory`] when a folder is in the way, and others.
    pub fn symlink(&self, target: &str, path: &str) -> Result<(), FilesError> {
        let entry = self.entry(path)?;
        match unlinkat(&entry.parent, entry.name.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("replace", path)(error)),
        }
        symlinkat(target, &entry.parent, entry.name.as_slice()).map_err(failed("make the link", path))?;
        utimensat(&entry.parent, entry.name.as_slice(), &self.times(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the time of", path))?;
        self.touch(&entry.parent, path)
    }

    /// Copies a file or folder of the host to `path`: a folder's contents are merged into the folder there.
    ///
    /// # Errors
    ///
    /// [`FilesError::Host`] when the source is missing, [`FilesError::Copy`] on the way.
    pub fn copy_from_host(&self, source: &Path, path: &str, options: TreeOptions) -> Result<(), FilesError> {
        let opened = openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| FilesError::Host { path: source.into(), source: error })?;
        self.copy_opened(&opened, path, options)
    }

    /// Copies a file or folder out of another root, following links at its end; inside a folder links stay links.
    ///
    /// # Errors
    ///
    /// [`FilesError::NotFound`] when the source is missing, [`FilesError::Copy`] on the way.
    pub fn copy_from(
        &self,
        other: &Root,
        source: &str,
        path: &str,
        options: TreeOptions,
    ) -> Result<(), FilesError> {
        let opened = open_in(other.fd(), source.as_bytes(), OFlags::PATH).map_err(failed("find", source))?;
        self.copy_opened(&opened, path, options)
    }

    fn copy_opened(&self, source: &OwnedFd, path: &str, options: TreeOptions) -> Result<(), FilesError> {
        let stat = fstat(source).map_err(failed("read", path))?;
        let mut copier = Copier::new(CopyOptions {
            owner: options.owner,
            time: Some(self.time),
            attributes: options.attributes,
            modes: options.modes,
            keep_existing: true,
        });
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let place = resolve(self.fd(), path.as_bytes(), true).map_err(failed("find", path))?;
            let made = place.missing > 0;
            let folder = self.provide(&place, path)?;
            let source =
                openat(source, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(failed("read", path))?;
            copier.copy_directory_into(source.as_fd(), folder.as_fd())?;
            if made {
                copier.finish_directory(source.as_fd(), folder.as_fd())?;
            }
            return Ok(());
        }
        let entry = self.entry(path)?;
        let name = CString::new(entry.name.clone()).map_err(|_| failed("copy", path)(Errno::INVAL))?;
        copier.copy_opened_file(source.as_fd(), entry.parent.as_fd(), &name)?;
        self.touch(&entry.parent, path)
    }

    /// Resolves a path whose last component is to be made or replaced: its folder exists afterwards.
    fn entry(&self, path: &str) -> Result<Entry, FilesError> {
        let place = resolve(self.fd(), path.as_bytes(), false).map_err(failed("find", path))?;
        let Some((name, parents)) = place.components.split_last() else {
            return Err(FilesError::WholeImage { path: path.to_owned() });
        };
        let parents = Resolved { components: parents.to_vec(), missing: place.missing.saturating_sub(1) };
        Ok(Entry { parent: self.provide(&parents, path)?, name: name.clone() })
    }

    /// Opens a folder, made with those above it if it is missing.
    fn provide(&self, place: &Resolved, path: &str) -> Result<OwnedFd, FilesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let existing = place.components.len() - place.missing;
        let mut folder =
            open_in(self.fd(), &join(&place.components[..existing]), OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(failed("open", path))?;
        for name in &place.components[existing..] {
            mkdirat(&folder, name.as_slice(), Mode::RWXU).map_err(failed("make", path))?;
            let made =
                openat(&folder, name.as_slice(), flags, Mode::empty()).map_err(failed("open", path))?;
            set_attributes(&made, Attributes { mode: 0o755, uid: 0, gid: 0 })
                .map_err(failed("set the attributes of", path))?;
            self.touch(&made, path)?;
            self.touch(&folder, path)?;
            folder = made;
        }
        Ok(folder)
    }

    fn touch(&self, folder: &OwnedFd, path: &str) -> Result<(), FilesError> {
        futimens(folder, &self.times()).map_err(failed("set the time of the directory of", path))
    }
}

/// Owner first, because changing it clears the set-id bits.
fn set_attributes(file: &OwnedFd, attributes: Attributes) -> Result<(), Errno> {
    fchown(file, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
    fchmod(file, Mode::from_raw_mode(attributes.mode & 0o7777))
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
