//! Writing the user's files so that nobody sees half of one, and in turn with others who write them.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgbuild_model::{Class, Diagnostic};
use tempfile::NamedTempFile;

use crate::PostContext;
use crate::context::cancelled;

/// How long to wait before the lock of a folder is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// A file of this machine that cannot be used.
pub(crate) fn unusable(verb: &str, path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(format!("cannot {verb} `{}`: {error}", path.display())).class(Class::Environment)
}

/// Where the bytes of `path` are: what a link leads to is written, and the link stays.
pub(crate) fn behind_links(path: &Path) -> PathBuf {
    fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the folder that a file is to be in.
pub(crate) fn make_folder_of(path: &Path) -> Result<(), Diagnostic> {
    let folder = folder_of(path);
    std::fs::DirBuilder::new()
        .recursive(true)
        .create(folder)
        .map_err(|error| unusable("make the folder", folder, &error))
}

/// A file beside `path` that [`put`] puts in its place; gone if that does not happen.
pub(crate) fn beside(path: &Path, mode: u32) -> Result<NamedTempFile, Diagnostic> {
    tempfile::Builder::new()
        .prefix(".imgbuild-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder_of(path))
        .map_err(|error| unusable("write", path, &error))
}

/// Renames a finished file into its place.
pub(crate) fn put(file: NamedTempFile, path: &Path) -> Result<(), Diagnostic> {
    file.persist(path).map(drop).map_err(|error| unusable("write", path, &error.error))
}

/// Replaces the contents of a file at once. `mode` is cut by the umask, as for any new file; an existing file keeps its own.
pub(crate) fn replace(path: &Path, mode: u32, contents: &[u8]) -> Result<(), Diagnostic> {
    let path = &behind_links(path);
    let mut file = beside(path, mode)?;
    io::Write::write_all(&mut file, contents).map_err(|error| unusable("write", path, &error))?;
    if let Ok(status) = fs_err::metadata(path) {
        file.as_file()
            .set_permissions(status.permissions())
            .map_err(|error| unusable("write", path, &error))?;
    }
    put(file, path)
}

/// The contents of a file, or none if there is no such file.
pub(crate) fn read_existing(path: &Path) -> Result<Option<Vec<u8>>, Diagnostic> {
    match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file
            .and_then(|mut file| {
                let mut contents = Vec::new();
                io::Read::read_to_end(&mut file, &mut contents)?;
                Ok(Some(contents))
            })
            .map_err(|error| unusable("read", path, &error)),
    }
}

/// Held while a file is read, changed and replaced, by whoever does so in one folder, where the file system can do that.
/// Free when dropped or when the process ends; leaves no file behind.
pub(crate) struct FolderLock {
    // Held, not read: closing it frees the lock.
    _folder: File,
}

/// Waits for the lock of the folder that `path` is in. Blocks.
pub(crate) fn lock_folder_of(path: &Path, context: &PostContext) -> Result<FolderLock, Diagnostic> {
    let path = behind_links(path);
    let folder = folder_of(&path);
    let file = File::open(folder).map_err(|error| unusable("read the folder", folder, &error))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(FolderLock { _folder: file }),
            Err(TryLockError::WouldBlock) if context.cancel.is_cancelled() => return Err(cancelled()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => {
                // Some network file systems lock no folders. Packer never does.
                tracing::debug!(%error, folder = %folder.display(), "a folder was not locked");
                return Ok(FolderLock { _folder: file });
            }
        }
    }
}
