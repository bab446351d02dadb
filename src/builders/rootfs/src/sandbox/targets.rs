//! The places in the image over which something is mounted: found, or made for the time of the step and then unmade.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, fstat, futimens, mkdirat, openat, unlinkat,
};
use rustix::io::Errno;

use super::outcome::StepFailure;
use super::wire::Order;
use crate::files::resolve::{Resolved, join, open_in, resolve};

/// Folders in which every step has a file system of its own.
const STANDARD: [&str; 4] = ["proc", "dev", "sys", "run"];

/// What is mounted at a target.
#[derive(Debug)]
pub(crate) enum Content {
    /// The caller's bind mount with this number.
    Bind(usize),
    /// The resolver's file with this number.
    Resolver(usize),
}

/// One place, links resolved.
#[derive(Debug)]
pub(crate) struct Target {
    /// The path inside, without a leading slash.
    pub path: String,
    pub directory: bool,
    /// It lies in `/run`, which is new for each step.
    pub in_run: bool,
    pub content: Content,
}

/// All places of one step, and what must be undone.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    mounts: Vec<Target>,
    made: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    parent: OwnedFd,
    name: Vec<u8>,
    directory: bool,
    /// The parent's times before, and its modification time just after.
    before: Timestamps,
    after: (i64, u64),
}

impl Targets {
    /// Finds or makes every place that the order needs.
    pub(crate) fn prepare(root: BorrowedFd<'_>, order: &Order) -> Result<Self, StepFailure> {
        let mut targets = Self::default();
        let prepared = targets.prepare_all(root, order);
        match prepared {
            Ok(()) => Ok(targets),
            Err(failure) => {
                targets.undo();
                Err(failure)
            }
        }
    }

    fn prepare_all(&mut self, root: BorrowedFd<'_>, order: &Order) -> Result<(), StepFailure> {
        for folder in STANDARD {
            let place = find(root, folder)?;
            self.provide(root, &place, true).map_err(refused(folder))?;
        }
        for (number, bind) in order.binds.iter().enumerate() {
            self.add(root, &bind.target, bind.directory, Content::Bind(number))?;
        }
        for (number, file) in order.resolver.iter().enumerate() {
            // A caller's own file at this place wins.
            if order.binds.iter().all(|bind| bind.target != file.target) {
                self.add(root, &file.target, false, Content::Resolver(number))?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        root: BorrowedFd<'_>,
        target: &str,
        directory: bool,
        content: Content,
    ) -> Result<(), StepFailure> {
        let place = find(root, target)?;
        let path = String::from_utf8(place.path())
            .map_err(|_| wrong(target, "its path in the image is not UTF-8"))?;
        match place.components.first().map(Vec::as_slice) {
            None => return Err(wrong(target, "that is the whole image")),
            Some(b"proc" | b"dev" | b"sys") => {
                return Err(wrong(target, "`/proc`, `/dev` and `/sys` are made anew for each step"));
            }
            Some(b"run") => {
                self.mounts.push(Target { path, directory, in_run: true, content });
            }
            Some(_) => {
                self.provide(root, &place, directory).map_err(refused(target))?;
                self.mounts.push(Target { path, directory, in_run: false, content });
            }
        }
        Ok(())
    }

    /// The mounts to make after the standard ones, in order.
    pub(crate) fn mounts(&self) -> &[Target] {
        &self.mounts
    }

    /// Every path over which something is mounted.
    pub(crate) fn paths(&self) -> Vec<String> {
        let ours = self.mounts.iter().filter(|target| !target.in_run).map(|target| target.path.clone());
        STANDARD.iter().map(ToString::to_string).chain(ours).collect()
    }

    /// Makes the missing components of a place and checks the type of one that exists.
    fn provide(&mut self, root: BorrowedFd<'_>, place: &Resolved, directory: bool) -> Result<(), Errno> {
        if place.missing == 0 {
            let stat = fstat(open_in(root, &place.path(), OFlags::PATH)?)?;
            return match (FileType::from_raw_mode(stat.st_mode), directory) {
                (FileType::Directory, true) => Ok(()),
                (FileType::Directory, false) => Err(Errno::ISDIR),
                (_, true) => Err(Errno::NOTDIR),
                (_, false) => Ok(()),
            };
        }
        let existing = place.components.len() - place.missing;
        for at in existing..place.components.len() {
            let is_directory = directory || at + 1 < place.components.len();
            let parent = open_in(root, &join(&place.components[..at]), OFlags::RDONLY | OFlags::DIRECTORY)?;
            let stat = fstat(&parent)?;
            let name = place.components[at].clone();
            if is_directory {
                mkdirat(&parent, name.as_slice(), Mode::from_raw_mode(0o755))?;
            } else {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(&parent, name.as_slice(), flags, Mode::from_raw_mode(0o644))?;
            }
            let after = fstat(&parent)?;
            let time = |tv_sec, nanoseconds| Timespec {
                tv_sec,
                tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
            };
            self.made.push(Made {
                parent,
                name,
                directory: is_directory,
                before: Timestamps {
                    last_access: time(stat.st_atime, stat.st_atime_nsec),
                    last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
                },
                after: (after.st_mtime, after.st_mtime_nsec),
            });
        }
        Ok(())
    }

    /// Removes what was made, unless the step has put something into it, and gives the folders above their times
    /// back, unless the step has changed them too.
    pub(crate) fn undo(self) {
        for made in self.made.into_iter().rev() {
            let untouched =
                fstat(&made.parent).is_ok_and(|stat| (stat.st_mtime, stat.st_mtime_nsec) == made.after);
            let flags = if made.directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let removed = unlinkat(made.parent.as_fd(), made.name.as_slice(), flags).is_ok();
            if removed && untouched {
                let _ = futimens(&made.parent, &made.before);
            }
        }
    }
}

fn find(root: BorrowedFd<'_>, path: &str) -> Result<Resolved, StepFailure> {
    resolve(root, path.as_bytes(), true).map_err(refused(path))
}

fn wrong(path: &str, reason: &str) -> StepFailure {
    StepFailure::MountTarget { path: path.to_owned(), reason: reason.to_owned() }
}

fn refused(path: &str) -> impl FnOnce(Errno) -> StepFailure {
    move |error| {
        let reason = match error {
            Errno::ROFS => "it is missing, and the image is mounted read-only".to_owned(),
            error => error.to_string(),
        };
        StepFailure::MountTarget { path: path.to_owned(), reason }
    }
}
