//! xfs, which is not written here: a machine makes it.
//!
//! The tree is put on a disk of its own as ext4, with one program more. A machine runs the tree's own kernel from that disk, and
//! the program as its first process (`xfs.sh`), which makes the file system on the disk that is wanted and copies everything
//! to it with the tree's own tools. A [`GuestJob`] says all that who runs the machine has to know; what has come of it is looked at
//! when the disk is finished. Not for: the machine.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use uuid::Uuid;

use crate::DiskError;
use crate::boot::Files;
use crate::disk::{DiskOptions, ROOT_FILE_SYSTEM};
use crate::ext4::{Ext4Options, Ext4Plan};
use crate::size::MIB;
use crate::table::Architecture;
use crate::tree::{Overlay, Tree};

/// `mkfs.xfs` makes none that is smaller.
const SMALLEST: u64 = 300 * MIB;

/// What a file system has besides its contents at least: a log of 64 MiB, 32 MiB that xfs keeps back, and headers.
const OVERHEAD: u64 = 128 * MIB;

/// Bytes of an inode more than ext4's have.
const MORE_OF_AN_INODE: u64 = 256;

/// The longest label in bytes.
pub(crate) const LONGEST_LABEL: usize = 12;

/// What the machine runs, with the packages of Debian's that have it.
const NEEDED: [(&str, &str); 12] = [
    ("sh", "dash"),
    ("mkfs.xfs", "xfsprogs"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("cat", "coreutils"),
    ("cp", "coreutils"),
    ("mkdir", "coreutils"),
    ("rm", "coreutils"),
    ("sleep", "coreutils"),
    ("sync", "coreutils"),
    ("touch", "coreutils"),
    ("modprobe", "kmod"),
];

/// Where programs lie.
const FOLDERS: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];

/// What `e2fsck` wants on the disk that the machine runs from.
const LOST_AND_FOUND: &str = "lost+found";

/// What a machine has to do before a disk is finished.
///
/// The machine has two disks on virtio and starts `kernel` with `initrd` and `command_line`. Its first serial port is its console,
/// on which [`GuestJob::report`] finds how far it is; it does not switch itself off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestJob {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: PathBuf,
    /// Its command line.
    pub command_line: String,
    /// The raw disk that it runs from, and does not write to.
    pub system: PathBuf,
    /// The raw disk that it writes to, which has the serial number [`GuestJob::SERIAL`].
    pub target: PathBuf,
    /// How lines of its console begin that are meant for us.
    pub mark: String,
}

/// How far a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestReport {
    /// It has begun.
    Started,
    /// All is on the disk.
    Done,
    /// This did not work; lines of the console before say why.
    Failed(String),
}

impl GuestJob {
    /// The serial number of the disk that is written to.
    pub const SERIAL: &'static str = "imgbuild-target";

    /// What the machine said of itself last.
    #[must_use]
    pub fn report(&self, console: &str) -> Option<GuestReport> {
        let said = |line: &str| match line.trim().strip_prefix(&self.mark)?.trim() {
            "started" => Some(GuestReport::Started),
            "done" => Some(GuestReport::Done),
            other => other.strip_prefix("failed: ").map(|what| GuestReport::Failed(what.to_owned())),
        };
        console.lines().rev().find_map(said)
    }
}

/// What a machine is made from: the tree itself.
pub(crate) struct Guest {
    uuid: Uuid,
    /// Paths in the tree.
    kernel: String,
    initrd: String,
    /// The program's name in the root of the disk that the machine runs from.
    program: String,
    script: String,
    entries: u64,
}

impl Guest {
    /// Finds in `tree` what the machine needs. The file system is on the partition of that number, or is the whole disk.
    ///
    /// # Errors
    ///
    /// What the tree lacks, machines that there are none of.
    pub(crate) fn find(
        tree: &dyn Tree,
        options: &DiskOptions,
        partition: Option<usize>,
    ) -> Result<Self, DiskError> {
        if options.architecture != Architecture::X86_64 {
            let name = options.architecture.name();
            return Err(DiskError::Options(format!(
                "xfs is made by a machine, which is built in for x86-64 and not for {name}; \
                 set `filesystem` to `ext4` or `btrfs`"
            )));
        }
        let files = Files::of(tree);
        let kernel = files.kernel(options.architecture).map_err(|error| match error {
            DiskError::NoKernel { packages } => lacks("kernel (`/boot/vmlinuz-*`)", packages),
            DiskError::NoInitrd { version } => lacks(
                &format!("initial RAM disk (`/boot/initrd.img-{version}`)"),
                "`initramfs-tools` or `dracut`",
            ),
            other => other,
        })?;
        check_programs(tree)?;
        if files.has_module(&kernel, "xfs")? == Some(false) {
            let version = &kernel.version;
            return Err(lacks(
                &format!("module `xfs` for its kernel `{version}`"),
                &format!(
                    "`linux-image-{version}` (Debian), `linux-modules-{version}` (Ubuntu) or another kernel"
                ),
            ));
        }
        let uuid = options.identity.uuid(ROOT_FILE_SYSTEM);
        let program = format!(".imgbuild-{uuid}");
        let has_lost_and_found = tree.entries().any(|entry| entry.path == LOST_AND_FOUND.as_bytes());
        let extra = if has_lost_and_found { program.clone() } else { format!("{program} {LOST_AND_FOUND}") };
        let settings = [
            ("MARK", mark(uuid)),
            ("SERIAL", GuestJob::SERIAL.to_owned()),
            ("PARTITION", partition.map(|number| number.to_string()).unwrap_or_default()),
            ("UUID", uuid.to_string()),
            ("LABEL", options.label.clone().unwrap_or_default()),
            ("EXTRA", extra),
        ];
        let settings: String = settings.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        Ok(Self {
            uuid,
            kernel: kernel.image,
            initrd: kernel.initrd,
            program,
            script: format!("#!/bin/sh\n{settings}{}", include_str!("xfs.sh")),
            entries: tree.entries().count() as u64,
        })
    }

    /// Adds the program to what the machine runs from.
    pub(crate) fn add_program(&self, overlay: &mut Overlay<'_>, epoch: i64) {
        overlay.put_program(&self.program, self.script.clone().into_bytes(), epoch);
    }

    /// The size in bytes, a multiple of 1 MiB, that surely holds a tree which takes `contents` bytes as ext4.
    pub(crate) fn minimal_size(&self, contents: u64) -> u64 {
        // Each group keeps room for the trees that say what is free and what is shared.
        let needed = contents + contents / 32 + self.entries * MORE_OF_AN_INODE + OVERHEAD;
        needed.next_multiple_of(MIB).max(SMALLEST)
    }

    /// Writes what the machine runs from beside `target`, the raw disk that it is to write to.
    ///
    /// # Errors
    ///
    /// A tree that ext4 cannot hold or whose contents cannot be read, a folder that cannot be written to.
    pub(crate) fn lay_out(
        &self,
        tree: &dyn Tree,
        contents: &Ext4Plan<'_>,
        options: &DiskOptions,
        target: &Path,
    ) -> Result<LaidOut, DiskError> {
        let beside = target.parent().unwrap_or(Path::new("/"));
        let folder = tempfile::Builder::new()
            .prefix(".imgbuild-")
            .tempdir_in(beside)
            .map_err(DiskError::io("create a folder in", beside))?;
        let place = |name: &str| folder.path().join(name);
        let (kernel, initrd, system) = (place("kernel"), place("initrd"), place("system"));
        let files = Files::of(tree);
        files.save(&self.kernel, &kernel)?;
        files.save(&self.initrd, &initrd)?;

        let size = contents.minimal_size()?;
        let uuid = options.identity.uuid("system of the machine that makes xfs");
        let image = File::create_new(&system).map_err(DiskError::io("create", &system))?;
        image.set_len(size).map_err(DiskError::io("size", &system))?;
        contents.write(&Ext4Options { size, uuid, label: None, epoch: options.epoch }, &image, 0)?;
        // Where something goes wrong the machine is to end, and not to ask at its console. The timer's test fails on busy hosts.
        let command_line = format!(
            "root=UUID={uuid} rootfstype=ext4 ro init=/{} console=ttyS0 loglevel=4 panic=-1 rd.shell=0 \
             rd.emergency=reboot fsck.mode=skip no_timer_check",
            self.program
        );
        let target = target.to_owned();
        let job = GuestJob { kernel, initrd, command_line, system, target, mark: mark(self.uuid) };
        Ok(LaidOut { job, uuid: self.uuid, _folder: folder })
    }
}

/// What is on the host for a machine to start from; its files go with it.
pub(crate) struct LaidOut {
    pub(crate) job: GuestJob,
    uuid: Uuid,
    _folder: TempDir,
}

impl LaidOut {
    /// That a machine has made the file system in the `size` bytes of `image` from `start` on.
    ///
    /// # Errors
    ///
    /// [`DiskError::Unmade`] if not, an image that cannot be read.
    pub(crate) fn check(&self, image: &File, start: u64, size: u64) -> Result<(), DiskError> {
        // `struct xfs_dsb`: magic, size of a block, their number; the UUID; whether it is being made.
        let mut head = [0; 128];
        image.read_exact_at(&mut head, start).map_err(DiskError::image("read"))?;
        let (block, count) = (be32(&head[4..8]), be64(&head[8..16]));
        let is_made = &head[..4] == b"XFSB"
            && head[32..48] == *self.uuid.as_bytes()
            && u64::from(block).checked_mul(count).is_some_and(|bytes| bytes <= size)
            && head[126] == 0;
        if is_made { Ok(()) } else { Err(DiskError::Unmade) }
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn be64(bytes: &[u8]) -> u64 {
    u64::from(be32(&bytes[..4])) << 32 | u64::from(be32(&bytes[4..8]))
}

/// A mark that no other line has: neither the kernel's command line nor its messages show these words.
fn mark(uuid: Uuid) -> String {
    format!("imgbuild {uuid}:")
}

fn check_programs(tree: &dyn Tree) -> Result<(), DiskError> {
    let mut missing: Vec<(&str, &str)> = NEEDED.to_vec();
    for entry in tree.entries() {
        let Ok(path) = std::str::from_utf8(entry.path) else { continue };
        let Some((folder, name)) = path.rsplit_once('/') else { continue };
        if FOLDERS.contains(&folder) {
            missing.retain(|(program, _)| *program != name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let join = |words: Vec<&str>| {
        let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    let programs = join(missing.iter().map(|(program, _)| *program).collect());
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package)| *package).collect();
    Err(lacks(&programs, &join(packages.into_iter().collect())))
}

fn lacks(what: &str, packages: &str) -> DiskError {
    DiskError::NoGuest { lacks: what.to_owned(), packages: packages.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> GuestJob {
        GuestJob {
            kernel: PathBuf::new(),
            initrd: PathBuf::new(),
            command_line: String::new(),
            system: PathBuf::new(),
            target: PathBuf::new(),
            mark: mark(Uuid::from_u128(5)),
        }
    }

    #[test]
    fn what_a_machine_says_is_understood() {
        let job = job();
        let mark = &job.mark;
        let cases = [
            (String::new(), None),
            (format!("init=/.imgbuild-{}\nXFS (vdb1): Ending clean mount\n", Uuid::from_u128(5)), None),
            (format!("a\n{mark} started\nb\n"), Some(GuestReport::Started)),
            (
                format!("{mark} started\ncp: x\n{mark} failed: cp\n"),
                Some(GuestReport::Failed("cp".to_owned())),
            ),
            (format!("{mark} started\n{mark} do[ 12.3] torn\nne\n"), Some(GuestReport::Started)),
            (format!("{mark} do[ 12.3] torn\n{mark} done\r\n\n{mark} do"), Some(GuestReport::Done)),
        ];
        for (console, expected) in cases {
            assert_eq!(job.report(&console), expected, "{console}");
        }
        assert_eq!(GuestJob { mark: "imgbuild other:".to_owned(), ..job }.report("imgbuild x: done"), None);
    }

    #[test]
    fn numbers_of_the_superblock_are_big_endian() {
        assert_eq!(be32(&[0, 0, 16, 0]), 4096);
        assert_eq!(be64(&[0, 0, 0, 1, 0, 0, 0, 2]), (1 << 32) + 2);
    }
}
