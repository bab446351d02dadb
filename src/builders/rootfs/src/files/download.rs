//! Files out of a root to the host.

use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::resolve::open_in;
use super::{FilesError, Root, failed};
use crate::copy::copy_contents;

/// How deep folders may lie in each other: a link to a folder above would go on for ever.
const DEPTH: usize = 64;

impl Root {
    /// Copies a file, or a folder with all that is in it, to a new path of the host. Links are followed within the root; what
    /// is neither a file nor a folder is left out of a folder. Nothing but contents and the owner's execute bit comes along.
    ///
    /// # Errors
    ///
    /// [`FilesError::NotFound`] also for a link that leads nowhere, [`FilesError::Host`] if the copy cannot be written.
    pub fn copy_to_host(&self, path: &str, to: &Path) -> Result<(), FilesError> {
        self.copy_down(path, to, DEPTH)
    }

    fn copy_down(&self, path: &str, to: &Path, depth: usize) -> Result<(), FilesError> {
        // Without waiting: opening a named pipe would.
        let from = open_in(self.fd(), path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK)
            .map_err(failed("read", path))?;
        let stat = fstat(&from).map_err(failed("read", path))?;
        let host = |error: std::io::Error| FilesError::Host {
            path: to.to_path_buf(),
            source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                use fs_err::os::unix::fs::OpenOptionsExt as _;
                let mode = if stat.st_mode & 0o100 == 0 { 0o644 } else { 0o755 };
                let copy = fs_err::OpenOptions::new().write(true).create_new(true).mode(mode).open(to);
                let copy = copy.map_err(host)?;
                copy_contents(from.as_fd(), copy.as_fd()).map_err(failed("read", path))
            }
            FileType::Directory if depth == 0 => Err(failed("read", path)(Errno::LOOP)),
            FileType::Directory => {
                fs_err::create_dir(to).map_err(host)?;
                for name in self.list(path)? {
                    let Ok(name) = String::from_utf8(name) else { continue };
                    let below = format!("{}/{name}", path.trim_end_matches('/'));
                    if self.is_copied(&below) {
                        self.copy_down(&below, &to.join(&name), depth - 1)?;
                    }
                }
                Ok(())
            }
            _ => Err(failed("read", path)(Errno::INVAL)),
        }
    }

    fn is_copied(&self, path: &str) -> bool {
        let opened = open_in(self.fd(), path.as_bytes(), OFlags::PATH);
        let kind = opened.and_then(fstat).map(|stat| FileType::from_raw_mode(stat.st_mode));
        matches!(kind, Ok(FileType::RegularFile | FileType::Directory))
    }
}
