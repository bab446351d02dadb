//! The root as the step sees it: the image's tree, and over it the few file systems that a process needs.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, mkdirat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::helper::Handed;
use super::outcome::StepFailure;
use super::step;
use super::targets::{Content, Targets};
use super::wire::Order;
use crate::files::accounts::Identity;
use crate::mounts::{INERT, add_attributes, attach_at, clone_host_path, new_filesystem};

/// The host's devices that a step sees; all of them are harmless to share.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Parts of `/proc` that tell of, or change, the host's kernel: seen but not written.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Files of `/proc` that hold the host's secrets: empty.
const MASKED_FILES: [&str; 6] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/kmsg",
];

/// Folders of `/proc` that hold the host's hardware: empty.
const MASKED_FOLDERS: [&str; 3] = ["/proc/acpi", "/proc/scsi", "/proc/asound"];

/// Makes the image's tree this namespace's root and mounts what a process needs.
pub(crate) fn enter(order: &Order, handed: &Handed, targets: &Targets) -> Result<(), StepFailure> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(StepFailure::system("make mounts private"))?;
    // What comes from the host is taken while the host's paths are still there.
    let devices = DEVICES
        .iter()
        .map(|name| clone_host_path(format!("/dev/{name}"), false).map(|mount| (*name, mount)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StepFailure::system("take the host's devices"))?;
    // In a user namespace a new `/proc` is allowed only while another one, unmasked, is mounted.
    let proc = new_filesystem("proc", &[], INERT)
        .map_err(|error| StepFailure::Proc { reason: error.to_string() })?;
    pivot(&handed.root).map_err(StepFailure::system("enter the image's root"))?;
    mount_proc(&proc)?;
    mount_devices(&devices)?;
    let failed = |action: &'static str| StepFailure::system(action);
    let sys = new_filesystem(
        "tmpfs",
        &[("mode", "0555"), ("size", "4k")],
        INERT | MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .and_then(|sys| attach_at(&sys, "/sys"));
    sys.map_err(failed("mount an empty `/sys`"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    new_filesystem("tmpfs", &[("mode", "0755")], attributes)
        .and_then(|run| attach_at(&run, "/run"))
        .map_err(failed("mount `/run`"))?;
    make_folder("/run/lock", 0o1777).map_err(failed("make `/run/lock`"))?;
    attach_targets(order, handed, targets)?;
    mount_secrets(order)
}

/// A file for each secret, in memory, for the step's user alone and for nobody to write.
fn mount_secrets(order: &Order) -> Result<(), StepFailure> {
    const FOLDER: &str = "/run/secrets";
    if order.secrets.is_empty() {
        return Ok(());
    }
    let Identity { uid, gid, .. } = step::identity(&order.user)?;
    let make = || -> std::io::Result<()> {
        use std::os::unix::fs::chown;
        make_target(FOLDER, true)?;
        let files = new_filesystem("tmpfs", &[("mode", "0700")], INERT)?;
        attach_at(&files, FOLDER)?;
        for secret in &order.secrets {
            let path = format!("{FOLDER}/{}", secret.name);
            make_file_as(&path, &secret.contents, 0o400)?;
            chown(&path, Some(uid), Some(gid))?;
        }
        rustix::fs::chmod(FOLDER, Mode::from_raw_mode(0o500))?;
        chown(FOLDER, Some(uid), Some(gid))?;
        Ok(add_attributes(files.as_fd(), INERT | MountAttrFlags::MOUNT_ATTR_RDONLY, false)?)
    };
    make().map_err(StepFailure::system("hand over the step's secrets"))
}

/// The tree is mounted over `/`, made the root, and the host's tree is let go.
fn pivot(tree: &OwnedFd) -> Result<(), Errno> {
    attach_at(tree, "/")?;
    rustix::process::fchdir(tree)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn mount_proc(proc: &OwnedFd) -> Result<(), StepFailure> {
    attach_at(proc, "/proc").map_err(|error| StepFailure::Proc { reason: error.to_string() })?;
    for path in READ_ONLY {
        cover(path, || {
            let mount = clone_host_path(path, true)?;
            add_attributes(mount.as_fd(), INERT | MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
            Ok(mount)
        })?;
    }
    Ok(())
}

/// Hides the host's part of `/proc`; needs `/dev/null`.
fn mask_proc() -> Result<(), StepFailure> {
    for path in MASKED_FILES {
        cover(path, || clone_host_path("/dev/null", false))?;
    }
    for path in MASKED_FOLDERS {
        cover(path, || {
            new_filesystem(
                "tmpfs",
                &[("mode", "0555"), ("size", "4k")],
                INERT | MountAttrFlags::MOUNT_ATTR_RDONLY,
            )
        })?;
    }
    Ok(())
}

/// Mounts over a path if it is there: what a kernel does not have need not be hidden.
fn cover(path: &str, mount: impl FnOnce() -> Result<OwnedFd, Errno>) -> Result<(), StepFailure> {
    if rustix::fs::access(path, rustix::fs::Access::EXISTS).is_err() {
        return Ok(());
    }
    mount()
        .and_then(|mount| attach_at(&mount, path))
        .map_err(StepFailure::system(format!("protect `{path}`")))
}

fn mount_devices(devices: &[(&str, OwnedFd)]) -> Result<(), StepFailure> {
    let failed = |what: &str| StepFailure::system::<Errno>(format!("make `/dev/{what}`"));
    let unmade = |what: &str| StepFailure::system::<std::io::Error>(format!("make `/dev/{what}`"));
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    new_filesystem("tmpfs", &[("mode", "0755"), ("size", "64k")], attributes)
        .and_then(|dev| attach_at(&dev, "/dev"))
        .map_err(failed(""))?;
    for (name, device) in devices {
        let path = format!("/dev/{name}");
        make_file(&path, b"").map_err(unmade(name))?;
        attach_at(device, path.as_str()).map_err(failed(name))?;
    }
    mask_proc()?;
    make_folder("/dev/pts", 0o755).map_err(failed("pts"))?;
    make_folder("/dev/shm", 0o1777).map_err(failed("shm"))?;
    let pts = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    new_filesystem("devpts", &pts, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC)
        .and_then(|pts| attach_at(&pts, "/dev/pts"))
        .map_err(failed("pts"))?;
    new_filesystem("tmpfs", &[("mode", "1777")], INERT)
        .and_then(|shm| attach_at(&shm, "/dev/shm"))
        .map_err(failed("shm"))?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, format!("/dev/{name}")).map_err(unmade(name))?;
    }
    Ok(())
}

/// Mounts the caller's files and the resolver's over the places that the supervisor found or made for them.
fn attach_targets(order: &Order, handed: &Handed, targets: &Targets) -> Result<(), StepFailure> {
    for (index, target) in targets.mounts().iter().enumerate() {
        let path = format!("/{}", target.path);
        let failed = |error: String| StepFailure::MountTarget { path: path.clone(), reason: error };
        // `/run` is new for each step, so what belongs there is made now.
        if target.in_run {
            make_target(&path, target.directory).map_err(|error| failed(error.to_string()))?;
        }
        match &target.content {
            Content::Bind(number) => {
                let mount = &handed.binds[*number];
                attach_at(mount, path.as_str()).map_err(|error| failed(error.to_string()))?;
            }
            Content::Resolver(number) => {
                let contents = order.resolver[*number].contents.as_bytes();
                // The source of a bind mount needs a place only until it is mounted.
                let source = format!("/run/.imgbuild-{index}");
                make_file(&source, contents).map_err(|error| failed(error.to_string()))?;
                clone_host_path(source.as_str(), false)
                    .and_then(|mount| attach_at(&mount, path.as_str()))
                    .and_then(|()| rustix::fs::unlink(source.as_str()))
                    .map_err(|error| failed(error.to_string()))?;
            }
        }
    }
    Ok(())
}

fn make_target(path: &str, directory: bool) -> std::io::Result<()> {
    let path = Path::new(path);
    if directory {
        return fs_err::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn make_file(path: &str, contents: &[u8]) -> std::io::Result<()> {
    make_file_as(path, contents, 0o644)
}

fn make_file_as(path: &str, contents: &[u8], mode: u32) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(contents)
}

fn make_folder(path: &str, mode: u32) -> Result<(), Errno> {
    mkdirat(CWD, path, Mode::from_raw_mode(mode))?;
    // The umask has taken bits away.
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))
}
