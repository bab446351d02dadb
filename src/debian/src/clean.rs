//! What makes two builds of one image differ or makes it larger for nothing, as data. Nothing that a program needs is listed.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::unpack::root::{Metadata, Root};
use crate::unpack::{RootContext as _, UnpackError};

/// What is done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The path is removed, with everything below it.
    Remove,
    /// What is in the folder is removed, the folder stays.
    EmptyFolder,
    /// The files in the folder whose names end in this are removed.
    RemoveSuffix(&'static str),
    /// The file stays, without content, if it exists.
    Truncate,
}

/// Every path, relative to the root, and what is done with it.
pub const ENTRIES: &[(&str, Action)] = &[
    // Package lists and caches: fetched anew by whoever needs them.
    ("var/lib/apt/lists", Action::EmptyFolder),
    ("var/cache/apt/archives", Action::EmptyFolder),
    ("var/cache/apt/pkgcache.bin", Action::Remove),
    ("var/cache/apt/srcpkgcache.bin", Action::Remove),
    // ldconfig's own cache holds inode numbers and times.
    ("var/cache/ldconfig/aux-cache", Action::Remove),
    // Logs of the installation hold its time.
    ("var/log/dpkg.log", Action::Remove),
    ("var/log/alternatives.log", Action::Remove),
    ("var/log/bootstrap.log", Action::Remove),
    ("var/log/apt", Action::EmptyFolder),
    // Copies of the state before the last change depend on the order of changes.
    ("var/lib/dpkg", Action::RemoveSuffix("-old")),
    ("var/cache/debconf", Action::RemoveSuffix("-old")),
    ("var/lib/dpkg/lock", Action::Remove),
    ("var/lib/dpkg/lock-frontend", Action::Remove),
    ("var/lib/dpkg/triggers/Lock", Action::Remove),
    ("var/lib/dpkg/tmp.ci", Action::Remove),
    ("var/lib/dpkg/updates", Action::EmptyFolder),
    // Backups that shadow's tools write.
    ("etc/passwd-", Action::Remove),
    ("etc/group-", Action::Remove),
    ("etc/shadow-", Action::Remove),
    ("etc/gshadow-", Action::Remove),
    ("etc/subuid-", Action::Remove),
    ("etc/subgid-", Action::Remove),
    // An empty file is filled at the first boot; an absent one makes systemd ask questions.
    ("etc/machine-id", Action::Truncate),
    ("var/lib/dbus/machine-id", Action::Remove),
    ("usr/sbin/policy-rc.d", Action::Remove),
];

pub(crate) fn run(root: &Root) -> Result<(), UnpackError> {
    for (path, action) in ENTRIES {
        let path = Path::new(path);
        match action {
            Action::Remove => root.remove_all(path).at("remove", path)?,
            Action::EmptyFolder => {
                for entry in entries(root, path)? {
                    root.remove_all(&entry).at("remove", &entry)?;
                }
            }
            Action::RemoveSuffix(suffix) => {
                for entry in entries(root, path)? {
                    if entry.as_os_str().as_encoded_bytes().ends_with(suffix.as_bytes()) {
                        root.remove_all(&entry).at("remove", &entry)?;
                    }
                }
            }
            Action::Truncate => truncate(root, path)?,
        }
    }
    Ok(())
}

fn entries(root: &Root, folder: &Path) -> Result<Vec<PathBuf>, UnpackError> {
    Ok(root.list(folder).at("list", folder)?.into_iter().map(|name| folder.join(name)).collect())
}

fn truncate(root: &Root, path: &Path) -> Result<(), UnpackError> {
    let Some(stat) = root.stat(path).at("look at", path)? else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size != 0 {
        let metadata = Metadata { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime: 0 };
        root.write(path, b"", metadata).at("empty", path)?;
    }
    Ok(())
}
