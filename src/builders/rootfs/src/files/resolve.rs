//! Paths inside a root: links are followed as a process in that root would follow them, never out of it.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat};
use rustix::io::Errno;

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// Where a path leads, whether or not something is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The components from the root on, none of them a link.
    pub components: Vec<Vec<u8>>,
    /// How many of the last components do not exist.
    pub missing: usize,
}

impl Resolved {
    /// The path without a leading slash; `.` for the root.
    pub(crate) fn path(&self) -> Vec<u8> {
        join(&self.components)
    }
}

/// `a/b/c`, or `.` for no components.
pub(crate) fn join(components: &[Vec<u8>]) -> Vec<u8> {
    if components.is_empty() { b".".to_vec() } else { components.join(&b'/') }
}

/// Opens what `path` leads to inside `root`, following links.
pub(crate) fn open_in(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    retry(|| openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// The kernel says `EAGAIN` when a rename anywhere raced with the check that a path stays inside.
fn retry(mut open: impl FnMut() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    for _ in 0..64 {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    open()
}

/// Follows `path` as far as it exists. With `follow_last` a link at its end is followed too.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &[u8], follow_last: bool) -> Result<Resolved, Errno> {
    let split = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut todo: VecDeque<Vec<u8>> = split(path).into();
    let mut done = Resolved { components: Vec::new(), missing: 0 };
    let mut links = 0;
    while let Some(component) = todo.pop_front() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done.components.pop();
                done.missing = done.missing.saturating_sub(1);
                continue;
            }
            _ => done.components.push(component),
        }
        if done.missing > 0 {
            done.missing += 1;
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let here = retry(|| {
            openat2(
                root,
                done.path(),
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            )
        });
        let here = match here {
            Ok(here) => here,
            Err(Errno::NOENT) => {
                done.missing = 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        let last = todo.iter().all(|rest| matches!(rest.as_slice(), b"" | b"."));
        match FileType::from_raw_mode(fstat(&here)?.st_mode) {
            FileType::Symlink if follow_last || !last => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = readlinkat(&here, "", Vec::new())?.into_bytes();
                done.components.pop();
                if target.starts_with(b"/") {
                    done.components.clear();
                }
                for part in split(&target).into_iter().rev() {
                    todo.push_front(part);
                }
            }
            FileType::Directory => {}
            _ if last => {}
            _ => return Err(Errno::NOTDIR),
        }
    }
    Ok(done)
}
