//! A real system on a disk, and a machine that boots it.
//!
//! Needs a tar file of a Debian system with kernel, initial RAM disk, systemd and systemd-boot (or GRUB), such as
//! `mmdebstrap --variant=minbase --include=linux-image-cloud-amd64,systemd-sysv,systemd-boot-efi,udev bookworm FILE`
//! makes, in the variable `IMGBUILD_TEST_DEBIAN_TAR`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use imgbuild_disk::extract::DiskImage;
use imgbuild_disk::{ClusterCompression, DiskFormat, DiskOptions, Table, Tree, write_disk};
use tempfile::TempDir;

use crate::ext4::listing;
use crate::fixture::{TarTree, content, hash, options, text};

const TAR: &str = "IMGBUILD_TEST_DEBIAN_TAR";

/// How long a machine without hardware's help may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(300);

const FIRMWARE: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

fn debian() -> Option<TarTree> {
    let Some(path) = std::env::var_os(TAR) else {
        eprintln!("SKIPPED: `{TAR}` names no tar file of a Debian system");
        return None;
    };
    Some(TarTree::open(Path::new(&path)).unwrap())
}

/// Boots a disk until `wanted` stands on the serial console; what stood there before. `None` if there is no QEMU.
fn boot(disk: &Path, format: &str, wanted: &str) -> Option<String> {
    let Some((code, variables)) = FIRMWARE.iter().find(|(code, _)| Path::new(code).exists()) else {
        eprintln!("SKIPPED: `ovmf` is not installed");
        return None;
    };
    let own_variables = disk.with_extension("vars");
    fs_err::copy(variables, &own_variables).unwrap();
    let machine = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg,thread=multi,tb-size=512",
            "-cpu",
            "qemu64",
            "-M",
            "q35",
            "-m",
            "768",
            "-smp",
            "2",
        ])
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-snapshot"])
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,readonly=on,file={code}"))
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,file={}", text(&own_variables)))
        .arg("-drive")
        .arg(format!("if=virtio,format={format},file={}", text(disk)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut machine) = machine else {
        eprintln!("SKIPPED: `qemu-system-x86_64` is not installed");
        return None;
    };
    let mut console = machine.stdout.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = console.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut seen = String::new();
    while !seen.contains(wanted) {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            Err(_) => break,
        }
    }
    machine.kill().unwrap();
    machine.wait().unwrap();
    drop(receiver);
    reader.join().unwrap();
    Some(seen)
}

fn written(tree: &dyn Tree, folder: &TempDir, name: &str, options: &DiskOptions) -> PathBuf {
    let disk = folder.path().join(name);
    let started = Instant::now();
    let workers = std::thread::available_parallelism().unwrap();
    let hostname = Some("disk-test".to_owned());
    let made = write_disk(tree, &DiskOptions { hostname, workers, ..options.clone() }, &disk).unwrap();
    use std::os::unix::fs::MetadataExt;
    let metadata = disk.metadata().unwrap();
    eprintln!(
        "{name}: {} ms, {} MiB of disk, {} MiB of file, {} MiB stored",
        started.elapsed().as_millis(),
        made.size >> 20,
        metadata.len() >> 20,
        metadata.blocks() >> 11
    );
    disk
}

#[test]
fn a_debian_tree_is_the_same_on_the_disk() {
    let Some(tree) = debian() else { return };
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new_in("/dev/shm").unwrap());
    let raw = written(&tree, &folder, "disk.raw", &options());
    assert_eq!(hash(&raw), hash(&written(&tree, &other, "disk", &options())));
    drop(other);
    let image = DiskImage::open(&raw).unwrap();
    let mut expected = listing(&tree);
    let mut found = listing(&image.root_tree().unwrap());
    assert!(
        expected.remove(b"etc/hostname".as_slice()).is_some()
            & found.remove(b"etc/hostname".as_slice()).is_some()
    );
    assert!(expected == found, "the trees differ");
    let root = image.root_partition().unwrap();
    content("e2fsck", &["-fn", &format!("{}?offset={}", text(&raw), root.start)]);
    if let Some(report) = content("sgdisk", &["-v", text(&raw)]) {
        assert!(report.contains("No problems found"), "{report}");
    }
    for (name, compression) in [
        ("plain.qcow2", None),
        ("zlib.qcow2", Some(ClusterCompression::Zlib)),
        ("zstd.qcow2", Some(ClusterCompression::Zstd)),
    ] {
        let image = written(
            &tree,
            &folder,
            name,
            &DiskOptions { format: DiskFormat::Qcow2 { compression }, ..options() },
        );
        let Some(report) = content("qemu-img", &["check", text(&image)]) else { continue };
        assert!(report.contains("No errors were found"), "{report}");
        content("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", text(&raw), text(&image)]);
        fs_err::remove_file(image).unwrap();
    }
}

#[test]
fn a_debian_disk_boots_to_a_login() {
    let format = DiskFormat::Qcow2 { compression: Some(ClusterCompression::Zstd) };
    boots_to_a_login("disk.qcow2", "qcow2", &DiskOptions { format, ..options() });
}

#[test]
fn a_debian_disk_with_an_mbr_boots_to_a_login() {
    boots_to_a_login(
        "disk.vhdx",
        "vhdx",
        &DiskOptions { format: DiskFormat::Vhdx, table: Table::Mbr, ..options() },
    );
}

fn boots_to_a_login(name: &str, kind: &str, options: &DiskOptions) {
    let Some(tree) = debian() else { return };
    let folder = TempDir::new().unwrap();
    let disk = written(&tree, &folder, name, options);
    let started = Instant::now();
    if let Some(console) = boot(&disk, kind, "disk-test login:") {
        assert!(console.contains("disk-test login:"), "{console}");
        eprintln!("login after {} s", started.elapsed().as_secs());
    }
}
