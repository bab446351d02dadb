//! What a machine is given to make an xfs file system from, and what is taken of what it has made. Machines that do are started by the
//! tests of the program.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imgbuild_disk::extract::DiskImage;
use imgbuild_disk::table::Architecture;
use imgbuild_disk::{
    Bootloader, DiskError, DiskOptions, FileSystem, Node, Table, Tree, UnfinishedDisk, begin_disk, write_disk,
};
use tempfile::TempDir;

use crate::fixture::{EPOCH, Made, MemoryTree, bootable, content, options, owned, text};

const MIB: u64 = 1 << 20;

fn xfs() -> DiskOptions {
    DiskOptions { file_system: FileSystem::Xfs, ..options() }
}

/// A tree with all that a machine runs.
fn runnable() -> MemoryTree {
    let mut tree = bootable();
    for path in ["usr/sbin/mkfs.xfs", "usr/sbin/modprobe", "usr/bin/mount", "bin/umount"] {
        tree.put(path, owned(0o755, 0, 0), Made::Bytes(b"program".to_vec()));
    }
    for name in ["cat", "cp", "mkdir", "rm", "sleep", "sync", "touch"] {
        tree.put(format!("usr/bin/{name}"), owned(0o755, 0, 0), Made::Bytes(b"program".to_vec()));
    }
    tree.put("usr/bin/sh", owned(0o777, 0, 0), Made::SymbolicLink(b"dash".to_vec()));
    tree
}

/// Files of a folder, hidden ones too.
fn files(folder: &Path) -> usize {
    fs_err::read_dir(folder).unwrap().count()
}

fn begun(folder: &TempDir, options: &DiskOptions) -> UnfinishedDisk {
    begin_disk(&runnable(), options, &folder.path().join("disk.raw")).unwrap()
}

#[test]
fn a_machine_is_given_the_tree_and_a_program_that_knows_the_place() {
    let cases = [
        (xfs(), "PARTITION='2'"),
        (DiskOptions { bootloader: Bootloader::None, table: Table::Mbr, ..xfs() }, "PARTITION='1'"),
        (DiskOptions { bootloader: Bootloader::None, table: Table::None, ..xfs() }, "PARTITION=''"),
    ];
    for (options, partition) in cases {
        let folder = TempDir::new().unwrap();
        let disk = begun(&folder, &options);
        let job = disk.job().unwrap().clone();
        assert_eq!(
            fs_err::read(&job.kernel).unwrap(),
            contents(&runnable(), "boot/vmlinuz-6.1.0-35-cloud-amd64")
        );
        assert!(job.initrd.exists());
        content("e2fsck", &["-fn", text(&job.system)]);
        let system = DiskImage::open(&job.system).unwrap().root_tree().unwrap();
        let uuid = options.identity.uuid("root file system");
        let program = format!(".imgbuild-{uuid}");
        assert!(job.command_line.contains(&format!(" init=/{program} ")), "{}", job.command_line);
        let script = String::from_utf8(contents(&system, &program)).unwrap();
        let settings = [
            "#!/bin/sh\nMARK='imgbuild ",
            partition,
            &format!("UUID='{uuid}'"),
            &format!("EXTRA='{program} lost+found'"),
        ];
        for part in settings {
            assert!(script.contains(part), "`{part}` is not in {script}");
        }
        let entry = system.entries().find(|entry| entry.path == program.as_bytes()).unwrap();
        assert_eq!((entry.metadata.mode, entry.metadata.mtime), (0o755, EPOCH));
        assert!(matches!(entry.node, Node::File { .. }));
        let paths: Vec<_> = system.entries().map(|entry| entry.path.to_vec()).collect();
        assert!(runnable().entries().all(|entry| paths.contains(&entry.path.to_vec())));
        assert!(fs_err::metadata(&job.target).unwrap().len() >= 300 * MIB);
        drop(disk);
        assert_eq!(files(folder.path()), 0);
    }
}

pub fn contents(tree: &dyn Tree, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut tree.open(path.as_bytes()).unwrap(), &mut bytes).unwrap();
    bytes
}

#[test]
fn only_what_a_machine_has_made_is_a_disk() {
    let folder = TempDir::new().unwrap();
    let destination = folder.path().join("disk.raw");
    assert!(matches!(write_disk(&runnable(), &xfs(), &destination), Err(DiskError::Unmade)));
    assert_eq!(files(folder.path()), 0);

    let (options, other) = (xfs(), uuid::Uuid::from_u128(7));
    let uuid = options.identity.uuid("root file system");
    for (uuid, is_ours) in [(other, false), (uuid, true)] {
        let disk = begun(&folder, &options);
        let target = File::options().read(true).write(true).open(&disk.job().unwrap().target).unwrap();
        let partitions = imgbuild_disk::table::read_table(&target, target.metadata().unwrap().len()).unwrap();
        let root = partitions.last().unwrap();
        assert_eq!(partitions.len(), 2);
        let made = folder.path().join("made");
        File::create(&made).unwrap().set_len(root.size).unwrap();
        let arguments = ["-q", "-f", "-m", &format!("uuid={uuid}"), text(&made)];
        if content("mkfs.xfs", &arguments).is_none() {
            return;
        }
        // The headers of its groups and the log are enough to be looked at.
        let bytes = fs_err::read(&made).unwrap();
        for (index, block) in
            bytes.chunks(1 << 16).enumerate().filter(|(_, block)| block.iter().any(|&b| b != 0))
        {
            target.write_all_at(block, root.start + (index << 16) as u64).unwrap();
        }
        fs_err::remove_file(&made).unwrap();
        let finished = disk.finish();
        assert_eq!(finished.is_ok(), is_ours, "{finished:?}");
    }
    let error = DiskImage::open(&destination).unwrap().root_tree().err().unwrap().to_string();
    assert_eq!(error, "cannot read the disk image: its root file system is xfs; only ext4 is read");
}

#[test]
fn a_tree_that_cannot_run_is_refused_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let refused = |tree: &dyn Tree, options: &DiskOptions| {
        let error = begin_disk(tree, options, &folder.path().join("disk")).err().unwrap().to_string();
        assert_eq!(files(folder.path()), 0);
        error
    };
    let no_loader = || DiskOptions { bootloader: Bootloader::None, ..xfs() };
    assert_eq!(
        refused(&MemoryTree::default(), &no_loader()),
        "xfs is made by a machine that runs the tree itself, and that has no kernel (`/boot/vmlinuz-*`); install \
         `linux-image-cloud-amd64` or `linux-image-amd64`, or set `filesystem` to `ext4` or `btrfs`"
    );
    assert_eq!(
        refused(runnable().remove("usr/sbin/mkfs.xfs").remove("usr/bin/cp"), &xfs()),
        "xfs is made by a machine that runs the tree itself, and that has no `mkfs.xfs`, `cp`; install \
         `coreutils`, `xfsprogs`, or set `filesystem` to `ext4` or `btrfs`"
    );
    let initrd = "boot/initrd.img-6.1.0-35-cloud-amd64";
    assert!(
        refused(runnable().remove(initrd), &no_loader()).contains("install `initramfs-tools` or `dracut`")
    );
    let modules = "lib/modules/6.1.0-35-cloud-amd64";
    let without = "xfs is made by a machine that runs the tree itself, and that has no module `xfs` for its kernel \
         `6.1.0-35-cloud-amd64`; install `linux-image-6.1.0-35-cloud-amd64` (Debian), \
         `linux-modules-6.1.0-35-cloud-amd64` (Ubuntu) or another kernel, or set `filesystem` to `ext4` or `btrfs`";
    for place in ["", "usr/"] {
        let mut tree = runnable();
        tree.file(format!("{place}{modules}/kernel/fs/ext4/ext4.ko"), "module");
        tree.file(
            format!("{place}{modules}/modules.builtin"),
            "kernel/fs/notxfs.ko\nkernel/fs/xfs.ko.d/a.ko\n",
        );
        tree.file("lib/modules/6.1.0-34-cloud-amd64/kernel/fs/xfs/xfs.ko", "of another kernel");
        assert_eq!(refused(&tree, &xfs()), without);
        for (path, text) in
            [("kernel/fs/xfs/xfs.ko.xz", "module"), ("modules.builtin", "kernel/fs/xfs/xfs.ko\n")]
        {
            let mut tree = runnable();
            tree.file(format!("{place}{modules}/modules.order"), "")
                .file(format!("{place}{modules}/{path}"), text);
            let target = TempDir::new().unwrap();
            begin_disk(&tree, &xfs(), &target.path().join("disk")).unwrap();
        }
    }
    assert_eq!(
        refused(&runnable(), &DiskOptions { architecture: Architecture::Aarch64, ..no_loader() }),
        "xfs is made by a machine, which is built in for x86-64 and not for arm64; set `filesystem` to `ext4` or `btrfs`"
    );
    for (size, has) in [(300, "300M"), (100, "100M")] {
        let error = refused(&runnable(), &DiskOptions { size: Some(size * MIB), ..no_loader() });
        let expected = format!(
            "the disk needs at least 302M and has {has}; set `size` to 302M or more, or leave it out"
        );
        assert_eq!(error, expected);
    }
    for (label, expected) in [
        ("thirteen byte", "the label of an xfs file system has at most 12 bytes"),
        ("it's", "`it's` cannot be the label of an xfs file system here: letters, digits, `-`, `_` and `.`"),
    ] {
        assert_eq!(refused(&runnable(), &DiskOptions { label: Some(label.to_owned()), ..xfs() }), expected);
    }
}

/// What the program says first of what it has done, where the named program fails. The others do nothing.
fn said_of_a_failing(program: &str, script: &str) -> String {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (disk, serial) in [("vda", ""), ("vdb", "imgbuild-target")] {
        fs_err::create_dir_all(path("block").join(disk)).unwrap();
        fs_err::write(path("block").join(disk).join("serial"), serial).unwrap();
    }
    fs_err::create_dir(path("bin")).unwrap();
    for name in ["cp", "mkdir", "mkfs.xfs", "mount", "rm", "sync", "touch", "umount"] {
        let stub = format!("#!/bin/sh\n[ {name} != '{program}' ]\n");
        fs_err::write(path("bin").join(name), stub).unwrap();
        fs_err::set_permissions(path("bin").join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for name in ["cat", "sleep"] {
        symlink(Path::new("/bin").join(name), path("bin").join(name)).unwrap();
    }
    let mut script = script.to_owned();
    for (from, to) in [
        ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", format!("PATH={}", path("bin").display())),
        ("/sys/block", path("block").display().to_string()),
        ("[ -b ", "[ -n ".to_owned()),
        ("/etc/xattr.conf", path("xattr.conf").display().to_string()),
    ] {
        assert!(script.contains(from), "{from}");
        script = script.replace(from, &to);
    }
    fs_err::write(path("script"), script).unwrap();
    let mut running = std::process::Command::new("/bin/sh")
        .arg(path("script"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(running.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said = lines
        .filter_map(|line| Some(line.split_once(": ")?.1.to_owned()))
        .find(|line| line != "started")
        .unwrap_or_default();
    running.kill().unwrap();
    running.wait().unwrap();
    said
}

#[test]
fn a_machine_says_what_did_not_work_and_only_else_that_it_is_done() {
    let folder = TempDir::new().unwrap();
    let disk = begun(&folder, &xfs());
    let job = disk.job().unwrap();
    let program = format!(".imgbuild-{}", xfs().identity.uuid("root file system"));
    let system = DiskImage::open(&job.system).unwrap().root_tree().unwrap();
    let script = String::from_utf8(contents(&system, &program)).unwrap();
    for (failing, expected) in [
        ("mount", "failed: mount -t tmpfs"),
        ("mkdir", "failed: mount -t tmpfs"),
        ("mkfs.xfs", "failed: mkfs.xfs"),
        ("cp", "failed: cp"),
        ("rm", "failed: rm"),
        ("touch", "failed: touch"),
        ("sync", "failed: sync"),
        ("umount", "failed: umount"),
        ("", "done"),
    ] {
        assert_eq!(said_of_a_failing(failing, &script), expected, "{failing}");
    }
}
