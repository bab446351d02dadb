//! Whole disks: their tables, their partitions, reading them back.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imgbuild_disk::extract::DiskImage;
use imgbuild_disk::table::{GROW_FILE_SYSTEM, Role, read_table};
use imgbuild_disk::{Bootloader, DiskOptions, FileSystem, Overlay, Table, Tree, write_disk};
use imgbuild_tree::Metadata;
use tempfile::TempDir;

use crate::btrfs::check as check_btrfs;
use crate::ext4::listing;
use crate::fixture::{EPOCH, Made, MemoryTree, bootable, content, hash, options, owned, text};
use crate::xfs::contents;

const MIB: u64 = 1 << 20;

fn written(folder: &TempDir, options: &DiskOptions) -> PathBuf {
    let path = folder.path().join("disk.raw");
    write_disk(&bootable(), options, &path).unwrap();
    path
}

/// A part of a disk as a file of its own.
fn cut(disk: &Path, start: u64, size: u64) -> PathBuf {
    let mut bytes = vec![0; size as usize];
    File::open(disk).unwrap().read_exact_at(&mut bytes, start).unwrap();
    let path = disk.with_extension(format!("part-{start}"));
    fs_err::write(&path, bytes).unwrap();
    path
}

fn is_btrfs(image: &Path) -> bool {
    let mut magic = [0; 8];
    File::open(image).unwrap().read_exact_at(&mut magic, 0x1_0040).is_ok() && &magic == b"_BHRfS_M"
}

fn check_parts(disk: &Path) {
    let image = DiskImage::open(disk).unwrap();
    for partition in image.partitions() {
        let part = cut(disk, partition.start, partition.size);
        match partition.role {
            Role::EfiSystem => drop(content("fsck.vfat", &["-n", text(&part)])),
            Role::Root(_) | Role::OtherMbr(_) if is_btrfs(&part) => check_btrfs(&part),
            Role::Root(_) | Role::OtherMbr(_) => drop(content("e2fsck", &["-fn", text(&part)])),
            _ => {}
        }
    }
}

#[test]
fn a_gpt_disk_is_sound() {
    let folder = TempDir::new().unwrap();
    let options = DiskOptions { size: Some(512 * MIB), ..options() };
    let disk = written(&folder, &options);
    check_parts(&disk);
    let image = DiskImage::open(&disk).unwrap();
    let parts: Vec<_> = image
        .partitions()
        .iter()
        .map(|part| (part.role, part.start / MIB, part.size / MIB, part.attributes))
        .collect();
    assert_eq!(
        parts,
        [(Role::EfiSystem, 1, 128, 0), (Role::Root(options.architecture), 129, 382, GROW_FILE_SYSTEM)]
    );
    assert_eq!(image.root_partition().unwrap().uuid, options.identity.uuid("root partition"));
    if let Some(report) = content("sgdisk", &["-v", text(&disk)]) {
        assert!(report.contains("No problems found"), "{report}");
    }
    if let Some(dump) = content("sfdisk", &["-d", text(&disk)]) {
        assert!(dump.contains("label: gpt"), "{dump}");
        assert!(dump.contains("type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"), "{dump}");
        assert!(dump.contains("attrs=\"GUID:59\""), "{dump}");
        assert!(dump.contains("name=\"EFI system partition\""), "{dump}");
    }
}

#[test]
fn the_tree_comes_back_with_its_host_name() {
    let folder = TempDir::new().unwrap();
    let options = DiskOptions { hostname: Some("web-1".to_owned()), ..options() };
    let disk = written(&folder, &options);
    let tree = bootable();
    let mut expected = Overlay::new(&tree);
    expected.put("etc/hostname", b"web-1\n".to_vec(), EPOCH);
    let expected: &dyn Tree = &expected;
    let read = DiskImage::open(&disk).unwrap().root_tree().unwrap();
    assert_eq!(listing(&read), listing(expected));
}

#[test]
fn a_file_that_is_replaced_is_another_and_its_further_names_stay() {
    let mut tree = bootable();
    tree.put("etc/a", owned(0o600, 7, 8), Made::Bytes(b"old".to_vec()));
    for name in ["b", "c", "d"] {
        tree.put(format!("etc/{name}"), owned(0o644, 0, 0), Made::HardLink(b"etc/a".to_vec()));
    }
    let mut overlay = Overlay::new(&tree);
    overlay.put("etc/a", b"new".to_vec(), EPOCH);
    overlay.put("etc/c", b"other".to_vec(), EPOCH);
    let mut expected = bootable();
    expected.put(
        "etc/a",
        Metadata { mode: 0o644, mtime: EPOCH, ..Metadata::default() },
        Made::Bytes(b"new".to_vec()),
    );
    expected.put("etc/b", owned(0o600, 7, 8), Made::Bytes(b"old".to_vec()));
    expected.put(
        "etc/c",
        Metadata { mode: 0o644, mtime: EPOCH, ..Metadata::default() },
        Made::Bytes(b"other".to_vec()),
    );
    expected.put("etc/d", owned(0o644, 0, 0), Made::HardLink(b"etc/b".to_vec()));
    assert_eq!(listing(&overlay), listing(&expected));

    overlay.put("etc/b", b"third".to_vec(), EPOCH);
    let folder = TempDir::new().unwrap();
    let disk = folder.path().join("disk.raw");
    write_disk(&overlay, &options(), &disk).unwrap();
    let read = DiskImage::open(&disk).unwrap().root_tree().unwrap();
    for (name, text) in [("a", "new"), ("b", "third"), ("c", "other"), ("d", "old")] {
        assert_eq!(contents(&read, &format!("etc/{name}")), text.as_bytes(), "{name}");
    }
}

#[test]
fn an_mbr_disk_is_sound() {
    let folder = TempDir::new().unwrap();
    let disk = written(&folder, &DiskOptions { table: Table::Mbr, ..options() });
    check_parts(&disk);
    if let Some(dump) = content("sfdisk", &["-d", text(&disk)]) {
        assert!(dump.contains("label: dos"), "{dump}");
        assert!(dump.contains("type=ef") && dump.contains("type=83, bootable"), "{dump}");
        let signature = options().identity.number("mbr");
        assert!(dump.contains(&format!("label-id: 0x{signature:08x}")), "{dump}");
    }
    let entry = "::loader/entries/testos-6.1.0-35-cloud-amd64.conf";
    if let Some(entry) = content("mtype", &["-i", &format!("{}@@1M", text(&disk)), entry]) {
        let partuuid = format!("root=PARTUUID={:08x}-02 rw", options().identity.number("mbr"));
        assert!(entry.contains(&partuuid), "{entry}");
    }
    let read = DiskImage::open(&disk).unwrap().root_tree().unwrap();
    assert_eq!(listing(&read), listing(&bootable()));
}

#[test]
fn a_disk_with_btrfs_is_sound() {
    let folder = TempDir::new().unwrap();
    for table in [Table::Gpt, Table::Mbr] {
        let disk = written(&folder, &DiskOptions { table, file_system: FileSystem::Btrfs, ..options() });
        check_parts(&disk);
        assert_eq!(
            DiskImage::open(&disk).unwrap().root_tree().err().unwrap().to_string(),
            "cannot read the disk image: its root file system is btrfs; only ext4 is read"
        );
    }
}

#[test]
fn a_disk_without_a_table_is_the_file_system() {
    let folder = TempDir::new().unwrap();
    let options = DiskOptions { table: Table::None, bootloader: Bootloader::None, ..options() };
    let disk = written(&folder, &options);
    content("e2fsck", &["-fn", text(&disk)]);
    let read = DiskImage::open(&disk).unwrap().root_tree().unwrap();
    assert_eq!(listing(&read), listing(&bootable()));
}

#[test]
fn bytes_do_not_depend_on_place_time_or_threads() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new_in("/dev/shm").unwrap());
    let first = written(&one, &options());
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = written(&other, &options());
    assert_eq!(hash(&first), hash(&second));
    // Another seed, another disk.
    let identity = imgbuild_disk::Identity::new([43; 32]);
    let third = written(&other, &DiskOptions { identity, ..options() });
    assert_ne!(hash(&first), hash(&third));
}

#[test]
fn the_copy_of_a_gpt_is_read_when_the_first_is_damaged() {
    let folder = TempDir::new().unwrap();
    let disk = written(&folder, &options());
    let image = File::options().read(true).write(true).open(&disk).unwrap();
    let size = image.metadata().unwrap().len();
    let whole = read_table(&image, size).unwrap();
    image.write_all_at(&[0xff; 512], 512).unwrap();
    assert_eq!(read_table(&image, size).unwrap(), whole);
    image.write_all_at(&[0xff; 512], size - 512).unwrap();
    assert_eq!(
        read_table(&image, size).unwrap_err().to_string(),
        "cannot read the disk image: both headers of its GPT are damaged"
    );
}

#[test]
fn sizes_that_do_not_fit_say_what_is_needed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let error = |options: &DiskOptions| write_disk(&bootable(), options, &path).unwrap_err().to_string();
    let small = error(&DiskOptions { size: Some(40 * MIB), ..options() });
    let large = error(&DiskOptions { size: Some(140 * MIB), ..options() });
    assert!(
        small.starts_with("the disk needs at least ") && small.contains(" and has 40M; set `size` to "),
        "{small}"
    );
    let needed = |text: &str| {
        text["the disk needs at least ".len()..].split('M').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(needed(&small), needed(&large));
    write_disk(&bootable(), &DiskOptions { size: Some(needed(&small) * MIB), ..options() }, &path).unwrap();
    assert_eq!(
        error(&DiskOptions { efi_size: Some(8 * MIB), ..options() }),
        "the EFI system partition needs at least 34M and has 8M; set `efi_size` to 34M or more, or leave it out"
    );
    assert_eq!(
        error(&DiskOptions { size: Some(1000), ..options() }),
        "a size of 1000 bytes does not work for a disk: it is no multiple of 1M"
    );
    let left: Vec<_> = fs_err::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let error = |options: &DiskOptions| write_disk(&bootable(), options, &path).unwrap_err().to_string();
    assert_eq!(
        error(&DiskOptions { table: Table::None, ..options() }),
        "a disk without a partition table has no place for a boot loader; set `bootloader = \"none\"`, \
         or `table = \"gpt\"`"
    );
    assert_eq!(
        error(&DiskOptions { hostname: Some("a b".to_owned()), ..options() }),
        "`a b` is not a host name: up to 64 letters, digits, `-` and `.`"
    );
    assert_eq!(
        error(&DiskOptions { label: Some("seventeen letters".to_owned()), ..options() }),
        "the label of an ext4 file system has at most 16 bytes"
    );
    let (label, file_system) = (Some("l".repeat(256)), FileSystem::Btrfs);
    assert_eq!(
        error(&DiskOptions { label, file_system, ..options() }),
        "the label of a btrfs file system has at most 255 bytes"
    );
    assert!(!path.exists());
}

#[test]
fn other_formats_are_not_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.qcow2");
    fs_err::write(&path, [b"QFI\xfb".as_slice(), &[0; 1000]].concat()).unwrap();
    assert_eq!(
        DiskImage::open(&path).err().unwrap().to_string(),
        "cannot read the disk image: it is qcow2; make it raw first with `qemu-img convert -O raw`"
    );
    fs_err::write(&path, [0; 10_000]).unwrap();
    assert!(DiskImage::open(&path).unwrap().root_tree().is_err());
}

#[test]
fn an_empty_tree_is_a_disk_too() {
    let folder = TempDir::new().unwrap();
    let options = DiskOptions { bootloader: Bootloader::None, ..options() };
    let path = folder.path().join("disk");
    let disk = write_disk(&MemoryTree::default(), &options, &path).unwrap();
    assert_eq!((disk.partitions.len(), disk.kernel), (1, None));
    check_parts(&path);
}

#[test]
fn a_fat_of_many_files_is_sound() {
    use imgbuild_disk::fat::{FatContents, FatFile, FatOptions, minimal_size, write_fat};
    let folder = TempDir::new().unwrap();
    let mut files = Vec::new();
    for index in 0..2000 {
        let path = format!("EFI/folder {}/file with a long name, number {index}.txt", index % 3);
        files.push(FatFile { path, contents: FatContents::Bytes(vec![b'x'; index]) });
    }
    files.push(FatFile {
        path: format!("{}/\u{fc}ber", "deep/".repeat(20)).replace("//", "/"),
        contents: FatContents::Bytes(vec![1; 70_000]),
    });
    for size in [minimal_size(&files), 100 * MIB, 300 * MIB + 512] {
        let path = folder.path().join("fat");
        let image = File::create(&path).unwrap();
        image.set_len(size).unwrap();
        let options = FatOptions { size, label: "esp".to_owned(), volume_id: 0x1234_abcd };
        write_fat(&options, &files, &image, 0).unwrap();
        content("fsck.vfat", &["-n", text(&path)]);
        let long = "::EFI/folder 1/file with a long name, number 1999.txt";
        if let Some(read) = content("mtype", &["-i", text(&path), long]) {
            assert_eq!(read, "x".repeat(1999));
        }
        if let Some(listed) = content("mdir", &["-i", text(&path), "::"]) {
            assert!(listed.contains("Volume in drive : is ESP") && listed.contains("1234-ABCD"), "{listed}");
        }
    }
    let error = |path: &str| {
        let image = tempfile::tempfile().unwrap();
        let options = FatOptions { size: 34 * MIB, label: "esp".to_owned(), volume_id: 1 };
        let files =
            ["a/x", path].map(|path| FatFile { path: path.to_owned(), contents: FatContents::Bytes(vec![]) });
        write_fat(&options, &files, &image, 0).unwrap_err().to_string()
    };
    for path in ["A/X", "a:b", "a//b"] {
        assert_eq!(
            error(path),
            format!("`{path}` cannot be a name on FAT, or is there twice but for upper and lower case")
        );
    }
}
