//! Removing files from a root, by path or by pattern.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};

use globset::{GlobBuilder, GlobMatcher};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

use super::resolve::{join, open_in, resolve};
use super::{FilesError, Root, failed};
use crate::copy::sorted_names;

impl Root {
    /// Removes what is at a path; a link at its end is removed, not followed. Returns whether something was there.
    ///
    /// # Errors
    ///
    /// [`FilesError::NotEmpty`] for a folder that holds something, unless `recursive`.
    pub fn remove(&self, path: &str, recursive: bool) -> Result<bool, FilesError> {
        let place = resolve(self.fd(), path.as_bytes(), false).map_err(failed("find", path))?;
        if place.missing > 0 {
            return Ok(false);
        }
        let Some((name, parents)) = place.components.split_last() else {
            return Err(FilesError::WholeImage { path: path.to_owned() });
        };
        let parent = open_in(self.fd(), &join(parents), OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(failed("open", path))?;
        let name = std::ffi::CString::new(name.clone()).map_err(|_| failed("remove", path)(Errno::INVAL))?;
        remove_entry(parent.as_fd(), &name, recursive).map_err(failed("remove", path))?;
        self.touch(&parent, path)?;
        Ok(true)
    }

    /// Removes whatever matches a pattern (`*`, `?`, `[…]` inside a component, `**` for any folders). Returns the
    /// paths that were removed, in order.
    ///
    /// # Errors
    ///
    /// [`FilesError::BadPattern`], and those of [`Root::remove`].
    pub fn remove_matching(&self, pattern: &str, recursive: bool) -> Result<Vec<String>, FilesError> {
        let mut removed = Vec::new();
        for path in self.matching(pattern)? {
            if self.remove(&path, recursive)? {
                removed.push(path);
            }
        }
        Ok(removed)
    }

    /// The absolute paths that match a pattern, in order; a pattern without signs matches itself if it is there.
    ///
    /// # Errors
    ///
    /// [`FilesError::BadPattern`], and those of reading folders.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>, FilesError> {
        let components: Vec<&str> =
            pattern.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
        let is_pattern = |component: &&str| component.contains(['*', '?', '[', '{', '\\']);
        let fixed = components.iter().position(is_pattern).unwrap_or(components.len());
        if fixed == components.len() {
            let path = format!("/{}", components.join("/"));
            return Ok(if self.status_if_there(&path)?.is_some() { vec![path] } else { vec![] });
        }
        let (folder, rest) = components.split_at(fixed);
        let bad = |error: globset::Error| FilesError::BadPattern {
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        };
        let matcher =
            GlobBuilder::new(&rest.join("/")).literal_separator(true).build().map_err(bad)?.compile_matcher();
        let depth = if rest.contains(&"**") { usize::MAX } else { rest.len() };
        let folder = folder.join("/");
        let opened = match open_in(
            self.fd(),
            if folder.is_empty() { b"." } else { folder.as_bytes() },
            OFlags::RDONLY | OFlags::DIRECTORY,
        ) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(error) => return Err(failed("open", pattern)(error)),
        };
        let mut found = Vec::new();
        matching(opened.as_fd(), "", &matcher, depth, &mut found).map_err(failed("list", pattern))?;
        let prefix = if folder.is_empty() { String::new() } else { format!("/{folder}") };
        Ok(found.into_iter().map(|path| format!("{prefix}/{path}")).collect())
    }
}

/// Collects what matches; does not look into what does, nor through links. Names that are not UTF-8 match nothing.
fn matching(
    folder: BorrowedFd<'_>,
    prefix: &str,
    matcher: &GlobMatcher,
    depth: usize,
    found: &mut Vec<String>,
) -> Result<(), Errno> {
    for name in sorted_names(folder)? {
        let Ok(text) = name.to_str() else { continue };
        let path = if prefix.is_empty() { text.to_owned() } else { format!("{prefix}/{text}") };
        if matcher.is_match(&path) {
            found.push(path);
        } else if depth > 1 && is_directory(folder, &name)? {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = openat(folder, name.as_c_str(), flags, Mode::empty())?;
            matching(inner.as_fd(), &path, matcher, depth - 1, found)?;
        }
    }
    Ok(())
}

fn is_directory(folder: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn remove_entry(folder: BorrowedFd<'_>, name: &CStr, recursive: bool) -> Result<(), Errno> {
    if !is_directory(folder, name)? {
        return unlinkat(folder, name, AtFlags::empty());
    }
    if recursive {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = openat(folder, name, flags, Mode::empty())?;
        for name in sorted_names(inner.as_fd())? {
            remove_entry(inner.as_fd(), &name, true)?;
        }
    }
    unlinkat(folder, name, AtFlags::REMOVEDIR)
}
