//! Reading a folder tree from disk as it is: every entry with its status and attributes, and the hashes of files.
//!
//! Nothing is followed, nothing is changed, and nothing is decided here; `capture` and `verify` do that.

use std::fs::FileType;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use imgbuild_digest::{Digest, Hash};
use rayon::prelude::*;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::attributes::{self, Attributes, XattrNamespace};
use crate::{Error, Metadata, Result, TreePath};

/// What kind of thing stands on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A character device 0:0, or an empty file that is marked as a whiteout.
    Whiteout {
        /// Whether it is the marked file.
        marked_file: bool,
    },
    Directory,
    File,
    SymbolicLink(Box<[u8]>),
    Fifo,
    Socket,
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
}

/// One entry on disk.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) path: TreePath,
    pub(crate) kind: Kind,
    /// As found, the seconds not yet limited.
    pub(crate) metadata: Metadata,
    /// The part of the modification time below a second.
    pub(crate) nanoseconds: u32,
    pub(crate) size: u64,
    pub(crate) device_and_inode: (u64, u64),
    pub(crate) links: u64,
    /// `kept` has been moved to `metadata`.
    pub(crate) attributes: Attributes,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Sorted by path; the root is the first.
    pub(crate) entries: Vec<Scanned>,
    /// What was not looked into.
    pub(crate) excluded: Vec<TreePath>,
}

/// Reads the tree under `root`, except for the entries that `excluded` names.
pub(crate) fn scan(
    root: &Path,
    namespaces: &[XattrNamespace],
    excluded: &(dyn Fn(&TreePath) -> bool + Sync),
) -> Result<Scan> {
    let scanner = Scanner { root, namespaces, excluded, found: Mutex::default(), failure: Mutex::default() };
    let top = scanner.entry(TreePath::root())?;
    if top.kind != Kind::Directory {
        return Err(Error::file("open the folder", root, io::Error::from(io::ErrorKind::NotADirectory)));
    }
    // One task a folder, spawned and not nested: the depth of a tree costs no stack.
    rayon::scope(|scope| scanner.folder(scope, TreePath::root()));
    if let Some(error) = scanner.failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        return Err(error);
    }
    let mut scan = scanner.found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    scan.entries.push(top);
    scan.entries.par_sort_unstable_by(|one, other| one.path.cmp(&other.path));
    scan.excluded.sort_unstable();
    Ok(scan)
}

struct Scanner<'a> {
    root: &'a Path,
    namespaces: &'a [XattrNamespace],
    excluded: &'a (dyn Fn(&TreePath) -> bool + Sync),
    found: Mutex<Scan>,
    failure: Mutex<Option<Error>>,
}

impl Scanner<'_> {
    fn folder<'s>(&'s self, scope: &rayon::Scope<'s>, folder: TreePath) {
        if self.failure.lock().is_ok_and(|failure| failure.is_some()) {
            return;
        }
        match self.read_folder(&folder) {
            Ok(here) => {
                for entry in &here.entries {
                    if entry.kind == Kind::Directory {
                        let path = entry.path.clone();
                        scope.spawn(move |scope| self.folder(scope, path));
                    }
                }
                let mut found = self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                found.entries.extend(here.entries);
                found.excluded.extend(here.excluded);
            }
            Err(error) => {
                let mut failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                failure.get_or_insert(error);
            }
        }
    }

    fn read_folder(&self, folder: &TreePath) -> Result<Scan> {
        let on_disk = on_disk(self.root, folder);
        let read = |error| Error::file("read the folder", &on_disk, error);
        let mut scan = Scan::default();
        for item in std::fs::read_dir(&on_disk).map_err(read)? {
            let path = folder.join(item.map_err(read)?.file_name().as_bytes());
            if (self.excluded)(&path) {
                scan.excluded.push(path);
            } else {
                scan.entries.push(self.entry(path)?);
            }
        }
        Ok(scan)
    }

    fn entry(&self, path: TreePath) -> Result<Scanned> {
        let on_disk = on_disk(self.root, &path);
        let status = std::fs::symlink_metadata(&on_disk)
            .map_err(|error| Error::file("read the status of", &on_disk, error))?;
        let mut kind = kind(&on_disk, &status)?;
        let mut attributes = match kind {
            Kind::Whiteout { .. } => Attributes::default(),
            _ => attributes::read(&on_disk, self.namespaces)
                .map_err(|error| Error::file("read the extended attributes of", &on_disk, error))?,
        };
        if kind == Kind::File && attributes.whiteout && status.len() == 0 {
            kind = Kind::Whiteout { marked_file: true };
        }
        if let Some(feature) = attributes.foreign_feature.take() {
            return Err(Error::OverlayFeature { path, feature });
        }
        let metadata = Metadata {
            mode: if matches!(kind, Kind::SymbolicLink(_)) { 0o777 } else { status.mode() & 0o7777 },
            uid: status.uid(),
            gid: status.gid(),
            mtime: status.mtime(),
            xattrs: std::mem::take(&mut attributes.kept),
        };
        Ok(Scanned {
            path,
            kind,
            metadata,
            nanoseconds: status.mtime_nsec() as u32,
            size: status.len(),
            device_and_inode: (status.dev(), status.ino()),
            links: status.nlink(),
            attributes,
        })
    }
}

fn kind(on_disk: &Path, status: &std::fs::Metadata) -> Result<Kind> {
    let file_type: FileType = status.file_type();
    if file_type.is_dir() {
        return Ok(Kind::Directory);
    }
    if file_type.is_file() {
        return Ok(Kind::File);
    }
    if file_type.is_symlink() {
        let target =
            std::fs::read_link(on_disk).map_err(|error| Error::file("read the link", on_disk, error))?;
        return Ok(Kind::SymbolicLink(target.as_os_str().as_bytes().into()));
    }
    if file_type.is_fifo() {
        return Ok(Kind::Fifo);
    }
    if file_type.is_socket() {
        return Ok(Kind::Socket);
    }
    let (major, minor) = (rustix::fs::major(status.rdev()), rustix::fs::minor(status.rdev()));
    let block = file_type.is_block_device();
    if !block && (major, minor) == (0, 0) {
        return Ok(Kind::Whiteout { marked_file: false });
    }
    Ok(Kind::Device { block, major, minor })
}

/// Where an entry is on disk.
pub(crate) fn on_disk(root: &Path, path: &TreePath) -> PathBuf {
    if path.is_root() { root.to_owned() } else { root.join(path.as_path()) }
}

/// The digest of a file and its SHA-256, from one pass, in bounded memory. `size` is what its status said.
pub(crate) fn hash_file(path: &Path, size: u64) -> Result<(Digest, [u8; 32])> {
    const CHUNK: usize = 1 << 20;
    let read = |error| Error::file("read", path, error);
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(read)?;
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(CHUNK).min(CHUNK - 1) + 1];
    let mut blake3 = blake3::Hasher::new();
    let mut sha256 = Sha256::new();
    let mut total = 0u64;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read(error)),
            }
        }
        total += filled as u64;
        let chunk = &buffer[..filled];
        if filled == CHUNK {
            // A large file would otherwise keep one core busy with two functions in turn.
            rayon::join(|| blake3.update(chunk), || sha256.update(chunk));
        } else {
            blake3.update(chunk);
            sha256.update(chunk);
        }
        if filled < buffer.len() {
            break;
        }
        if total > size {
            return Err(Error::ChangedWhileRead(path.to_owned()));
        }
    }
    if total != size {
        return Err(Error::ChangedWhileRead(path.to_owned()));
    }
    Ok((Digest::blake3(Hash(*blake3.finalize().as_bytes()), total), sha256.finalize().into()))
}
