//! Every format against `qemu-img`.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use imgbuild_disk::{
    ClusterCompression, Conversion, DiskFormat, DiskOptions, Found, Identity, convert, unpack_disk,
    unpack_qcow2, write_disk,
};
use tempfile::TempDir;

use crate::fixture::{EPOCH, bootable, content, hash, noise, options, text};

const FORMATS: [(&str, DiskFormat, &str); 7] = [
    ("plain.qcow2", DiskFormat::Qcow2 { compression: None }, "qcow2"),
    ("zlib.qcow2", DiskFormat::Qcow2 { compression: Some(ClusterCompression::Zlib) }, "qcow2"),
    ("zstd.qcow2", DiskFormat::Qcow2 { compression: Some(ClusterCompression::Zstd) }, "qcow2"),
    ("disk.vhd", DiskFormat::Vhd, "vpc"),
    ("disk.vmdk", DiskFormat::Vmdk { packed: false }, "vmdk"),
    ("packed.vmdk", DiskFormat::Vmdk { packed: true }, "vmdk"),
    ("disk.vhdx", DiskFormat::Vhdx, "vhdx"),
];

fn converted(raw: &Path, folder: &Path, name: &str, format: DiskFormat, workers: usize) -> PathBuf {
    let path = folder.join(name);
    let workers = NonZeroUsize::new(workers).unwrap();
    let identity = Identity::new([9; 32]);
    let conversion = Conversion { format, identity: &identity, epoch: EPOCH, workers };
    convert(&File::open(raw).unwrap(), &conversion, &path).unwrap();
    path
}

/// `qemu-img` finds no fault with the image and reads what the raw one has.
fn judged(raw: &Path, image: &Path, kind: &str) {
    if kind != "vpc" {
        let Some(report) = content("qemu-img", &["check", "-f", kind, text(image)]) else { return };
        assert!(report.contains("No errors were found"), "{report}");
    }
    content("qemu-img", &["compare", "-f", "raw", "-F", kind, text(raw), text(image)]);
}

#[test]
fn qemu_reads_what_was_written() {
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("disk.raw");
    write_disk(&bootable(), &options(), &raw).unwrap();
    for (name, format, kind) in FORMATS {
        let image = folder.path().join(name);
        write_disk(&bootable(), &DiskOptions { format, ..options() }, &image).unwrap();
        judged(&raw, &image, kind);
    }
}

/// Bytes and where they stand.
type Parts = Vec<(u64, Vec<u8>)>;

#[test]
fn odd_images_are_converted() {
    use std::os::unix::fs::FileExt;
    let folder = TempDir::new().unwrap();
    let unit = 64 << 10;
    let mut cases: Vec<(&str, u64, Parts)> = vec![
        ("empty", 1 << 20, vec![]),
        ("small", 512, vec![(0, vec![1; 512])]),
        ("last sector", (5 << 20) + 512, vec![((5 << 20), vec![2; 512])]),
        ("large and empty", 3 << 40, vec![(1 << 40, vec![3; 100])]),
        (
            "gigabytes",
            (4 << 30) + 512,
            vec![(0, vec![1; 5]), ((4 << 30) - (2 << 20), noise((2 << 20) + 512))],
        ),
        ("noise", 4 << 20, vec![(0, noise(4 << 20))]),
        ("zeros that are stored", 4 << 20, vec![(0, vec![0; 4 << 20]), (unit, vec![1; 1])]),
    ];
    // Compressed clusters that end and begin in the same sector.
    let tiny: Vec<_> = (0..500).map(|index| (index * unit, vec![(index % 250) as u8 + 1; 3000])).collect();
    cases.push(("tiny", 40 << 20, tiny));
    for (what, size, parts) in cases {
        let raw = folder.path().join("raw");
        let image = File::create(&raw).unwrap();
        image.set_len(size).unwrap();
        for (at, bytes) in parts {
            image.write_all_at(&bytes, at).unwrap();
        }
        for (name, format, kind) in FORMATS {
            // Two end at about 2 TiB, and of the third QEMU reads all zeros.
            if kind != "qcow2" && size > 1 << 40 {
                continue;
            }
            eprintln!("{what}: {name}");
            judged(&raw, &converted(&raw, folder.path(), name, format, 2), kind);
        }
    }
}

#[test]
fn bytes_do_not_depend_on_holes_place_time_or_threads() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new_in("/dev/shm").unwrap());
    let raw = one.path().join("disk.raw");
    write_disk(&bootable(), &options(), &raw).unwrap();
    let dense = other.path().join("dense.raw");
    fs_err::write(&dense, fs_err::read(&raw).unwrap()).unwrap();
    for (name, format, _) in FORMATS {
        let first = converted(&raw, one.path(), name, format, 1);
        let second = converted(&dense, other.path(), name, format, 3);
        assert_eq!(hash(&first), hash(&second), "{name}");
    }
}

#[test]
fn compressed_images_are_smaller() {
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("disk.raw");
    write_disk(&bootable(), &options(), &raw).unwrap();
    let size = |name: &str, format| converted(&raw, folder.path(), name, format, 1).metadata().unwrap().len();
    let plain = size("plain", FORMATS[0].1);
    let (zlib, zstd) = (size("zlib", FORMATS[1].1), size("zstd", FORMATS[2].1));
    assert!(zlib < plain && zstd < plain, "{plain} {zlib} {zstd}");
}

#[test]
fn a_vhd_has_an_end() {
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("raw");
    File::create(&raw).unwrap().set_len(2041 << 30).unwrap();
    let identity = Identity::new([9; 32]);
    let workers = NonZeroUsize::MIN;
    let conversion = Conversion { format: DiskFormat::Vhd, identity: &identity, epoch: EPOCH, workers };
    let error = convert(&File::open(&raw).unwrap(), &conversion, &folder.path().join("vhd")).unwrap_err();
    assert_eq!(error.to_string(), "a size of 2191507062784 bytes does not work for a VHD: the most is 2040G");
}

/// A hash that moves without intent means that the same tree makes another disk than it did: keys would lie. Whoever
/// moves one on purpose (a newer `mkext4`, say) raises the version of the key too.
#[test]
fn bytes_are_those_of_before() {
    let folder = TempDir::new().unwrap();
    let mut found = vec![];
    let raw = ("disk.raw", DiskFormat::Raw, "raw");
    for (name, format, _) in [raw].into_iter().chain(FORMATS) {
        let image = folder.path().join(name);
        write_disk(&bootable(), &DiskOptions { format, ..options() }, &image).unwrap();
        found.push((name, hash(&image).to_hex()[..16].to_owned()));
    }
    let golden = [
        ("disk.raw", "913737e10ffab3d5"),
        ("plain.qcow2", "61747d6f0d9e6d61"),
        ("zlib.qcow2", "68a6ac7820888c32"),
        ("zstd.qcow2", "5e14b83e8326d8f5"),
        ("disk.vhd", "cab6802c3587d230"),
        ("disk.vmdk", "e853d5ef52b5abd7"),
        ("packed.vmdk", "de887c330a4a532e"),
        ("disk.vhdx", "34feaadc7ad648ec"),
    ];
    assert_eq!(found, golden.map(|(name, hash)| (name, hash.to_owned())));
}

#[test]
fn qcow2_is_made_raw_again() {
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("disk.raw");
    let back = folder.path().join("back.raw");
    write_disk(&bootable(), &options(), &raw).unwrap();
    for (name, format, _) in &FORMATS[..3] {
        let image = converted(&raw, folder.path(), name, *format, 2);
        unpack_qcow2(&image, &back).unwrap();
        assert_eq!(hash(&raw), hash(&back), "{name}");
    }
    let by_qemu = folder.path().join("by-qemu.qcow2");
    for settings in ["compat=0.10", "cluster_size=4k", "cluster_size=2M", "compression_type=zstd"] {
        for compress in [&["-c"][..], &[]] {
            let arguments =
                [&["convert"], compress, &["-O", "qcow2", "-o", settings, text(&raw), text(&by_qemu)]];
            if content("qemu-img", &arguments.concat()).is_none() {
                return;
            }
            unpack_qcow2(&by_qemu, &back).unwrap();
            assert_eq!(hash(&raw), hash(&back), "{settings} {compress:?}");
        }
    }
    let overlay = folder.path().join("overlay.qcow2");
    content(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", text(&by_qemu), "-F", "qcow2", text(&overlay)],
    );
    let refused = |path: &Path| unpack_qcow2(path, &back).unwrap_err().to_string();
    assert_eq!(
        refused(&overlay),
        "cannot read the disk image: it has a backing file; `qemu-img convert -O raw` may read it"
    );
    assert_eq!(
        refused(&raw),
        "cannot read the disk image: it is no qcow2 of version 2 or 3; `qemu-img convert -O raw` may read it"
    );
}

#[test]
fn damaged_qcow2_is_read_to_an_end() {
    use std::os::unix::fs::FileExt;
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("raw");
    let image = File::create(&raw).unwrap();
    image.set_len(8 << 20).unwrap();
    image.write_all_at(&[7; 300_000], 1 << 20).unwrap();
    let path = converted(&raw, folder.path(), "zlib", FORMATS[1].1, 1);
    let sound = fs_err::read(&path).unwrap();
    let used: Vec<usize> = (0..sound.len()).filter(|at| *at < 112 || sound[*at] != 0).collect();
    let file = File::options().write(true).open(&path).unwrap();
    for mark in noise(4 * 500).as_chunks::<4>().0 {
        let at = used[u32::from_le_bytes(*mark) as usize % used.len()];
        file.write_all_at(&[sound[at] ^ (mark[0] | 1)], at as u64).unwrap();
        let _ = unpack_qcow2(&path, &folder.path().join("back"));
        file.write_all_at(&[sound[at]], at as u64).unwrap();
    }
}

/// The name that `qemu-img` has for a format.
fn found(kind: &str) -> Found {
    match kind {
        "qcow2" => Found::Qcow2,
        "vmdk" => Found::Vmdk,
        "vpc" => Found::Vhd,
        "vhdx" => Found::Vhdx,
        _ => Found::Raw,
    }
}

#[test]
fn every_format_is_made_raw_again() {
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("disk.raw");
    let back = folder.path().join("back.raw");
    write_disk(&bootable(), &options(), &raw).unwrap();
    assert_eq!(unpack_disk(&raw, &back).unwrap(), Found::Raw);
    assert_eq!(hash(&raw), hash(&back));
    for (name, format, kind) in FORMATS {
        let image = converted(&raw, folder.path(), name, format, 2);
        assert_eq!(unpack_disk(&image, &back).unwrap(), found(kind), "{name}");
        assert_eq!(hash(&raw), hash(&back), "{name}");
    }
    let by_qemu = folder.path().join("by-qemu");
    for (kind, settings) in [
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=streamOptimized"),
        ("vpc", "subformat=dynamic,force_size=on"),
        ("vpc", "subformat=fixed,force_size=on"),
        ("vhdx", "subformat=dynamic"),
        ("vhdx", "subformat=fixed,block_size=16M"),
    ] {
        let arguments = ["convert", "-O", kind, "-o", settings, text(&raw), text(&by_qemu)];
        if content("qemu-img", &arguments).is_none() {
            return;
        }
        assert_eq!(unpack_disk(&by_qemu, &back).unwrap(), found(kind), "{kind} {settings}");
        assert_eq!(hash(&raw), hash(&back), "{kind} {settings}");
    }
}

#[test]
fn damaged_disks_are_read_to_an_end() {
    use std::os::unix::fs::FileExt;
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("raw");
    let image = File::create(&raw).unwrap();
    image.set_len(8 << 20).unwrap();
    image.write_all_at(&[7; 300_000], 1 << 20).unwrap();
    for (name, format, _) in &FORMATS[3..] {
        let path = converted(&raw, folder.path(), name, *format, 1);
        let sound = fs_err::read(&path).unwrap();
        let used: Vec<usize> =
            (0..sound.len()).filter(|at| *at < 512 || !matches!(sound[*at], 0 | 7)).collect();
        let file = File::options().write(true).open(&path).unwrap();
        let mut refused = 0;
        for mark in noise(4 * 200).as_chunks::<4>().0 {
            let at = used[u32::from_le_bytes(*mark) as usize % used.len()];
            file.write_all_at(&[sound[at] ^ (mark[0] | 1)], at as u64).unwrap();
            refused += usize::from(unpack_disk(&path, &folder.path().join("back")).is_err());
            file.write_all_at(&[sound[at]], at as u64).unwrap();
        }
        assert!(refused > 0, "{name}: no damage was seen");
    }
}
