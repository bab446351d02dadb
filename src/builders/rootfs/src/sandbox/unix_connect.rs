//! Connects a step's local socket as the step itself would: from its root and folder, with its rights.
//!
//! The peer sees the step's user and groups; as the process it sees 0, because the supervisor has no number in the
//! sandbox. Letting the kernel go on with the step's own call would show the right one, and let the step change what
//! it connects to after it was looked at.

use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Mode, OFlags, Uid, open};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::metadata::{connect_raw, thread_group};

/// The ids that a process acts with, in this process' user namespace.
struct Rights {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// Connects on behalf of `caller`. The calling thread is of no other use afterwards: it has the caller's root and ids.
pub(crate) fn connect_as(caller: Pid, socket: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
    let rights = Rights::of(caller)?;
    let folder = |name: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(format!("/proc/{}/{name}", caller.as_raw_nonzero()), flags, Mode::empty())
    };
    let (root, current) = (folder("root")?, folder("cwd")?);
    // SAFETY: `CLONE_FS` gives this thread a root and folder of its own; descriptors stay shared.
    unsafe { unshare_unsafe(UnshareFlags::FS) }?;
    rustix::process::fchdir(&root)?;
    rustix::process::chroot(".")?;
    rustix::process::fchdir(&current)?;
    // These change the calling thread alone, and take its capabilities with the user id.
    let groups: Vec<Gid> = rights.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(rights.uid), Gid::from_raw(rights.gid));
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    connect_raw(socket, address)
}

impl Rights {
    fn of(process: Pid) -> Result<Self, Errno> {
        // Threads may differ in principle; the C library keeps them equal.
        let process = thread_group(process).unwrap_or(process);
        let status = fs_err::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::SRCH))?;
        let numbers = |name: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        // Real, effective, saved, file system.
        let second = |numbers: &[u32]| numbers.get(1).copied().ok_or(Errno::SRCH);
        Ok(Self {
            uid: second(&numbers("Uid:"))?,
            gid: second(&numbers("Gid:"))?,
            groups: numbers("Groups:"),
        })
    }
}
