//! New images over the disks of a machine that is there.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use imgbuild_qemu::qmp::NewOverlay;
use imgbuild_qemu::spec::{Disk, DiskCache, DiskFormat, DiskZeroes, MachineSpec};

use crate::guest::{Guest, LONG};

/// What a file takes on the disk, in bytes.
fn taken(file: &Path) -> u64 {
    fs_err::metadata(file).unwrap().blocks() * 512
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disk_says_of_zeros_holds_for_each_image_that_is_put_over_it() {
    let Some(guest) = Guest::new().await else { return };
    let image = |name: &str| guest.path(name);
    let make = async |name: &str| {
        guest.images.create(&image(name), DiskFormat::Qcow2, Some(64 << 20), None, &[]).await.unwrap();
        image(name)
    };
    let disk = Disk {
        cache: DiskCache::Unsafe,
        discard: true,
        zeroes: DiskZeroes::Discarded,
        ..Disk::new(make("first.qcow2").await, DiskFormat::Qcow2)
    };
    let spec = MachineSpec { memory: 32, disks: vec![disk.clone()], ..MachineSpec::default() };
    let mut machine = guest.launch(spec).start(LONG).await.unwrap();
    for (below, name) in [("disk0", "disk0-1"), ("disk0-1", "disk0-2")] {
        let file = make(&format!("{name}.qcow2")).await;
        let overlay = NewOverlay { node: below, file: &file, name, disk: &disk };
        machine.qmp().put_over(std::slice::from_ref(&overlay)).await.unwrap();
        let again = machine.qmp().put_over(&[overlay]).await.unwrap_err().to_string();
        assert!(again.starts_with("QEMU refused `blockdev-add`: "), "{again}");
        // It writes as the guest does: through the drive.
        let write = async |what: &str| {
            let said = machine.qmp().human(&format!("qemu-io drive0 \"write {what}\""), LONG).await.unwrap();
            assert!(!said.contains("rror") && !said.contains("failed"), "{said}");
            machine.qmp().human("qemu-io drive0 flush", LONG).await.unwrap();
            taken(&file)
        };
        assert!(write("-P 0 0 8M").await < 1 << 20, "{name}: zeros are not stored");
        assert!(write("-P 1 8M 8M").await >= 8 << 20, "{name}: all else is");
        assert!(write("-P 0 8M 8M").await < 1 << 20, "{name}: what zeros are written over is given back");
    }
    assert_eq!(machine.qmp().block_devices().await.unwrap()[0].node.as_deref(), Some("disk0-2"));
    machine.kill().await;
}
