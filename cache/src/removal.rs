//! Removing trees that steps have written, whatever modes they left behind.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Removes a file or a whole folder. Folders that their owner may not enter or change (overlayfs' `work/work` has
/// mode 0, package managers leave 0555 ones) are opened first. That nothing is there is not an error.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let status = match fs_err::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        status => status?,
    };
    if !status.is_dir() {
        return ignore_absent(fs_err::remove_file(path));
    }
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(path)?;
            ignore_absent(fs_err::remove_dir_all(path))
        }
        outcome => ignore_absent(outcome),
    }
}

fn open_folders(path: &Path) -> io::Result<()> {
    // Before its folders are read: `walkdir` yields a folder before it opens it.
    for entry in walkdir::WalkDir::new(path).follow_links(false) {
        let entry = entry.map_err(io::Error::from)?;
        if entry.file_type().is_dir() {
            fs_err::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

fn ignore_absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
