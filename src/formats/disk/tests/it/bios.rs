//! GRUB for machines with BIOS, against what `grub-mkimage` links from the same parts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imgbuild_disk::extract::DiskImage;
use imgbuild_disk::table::Role;
use imgbuild_disk::{Bootloader, DiskOptions, Table, Tree, write_disk};
use liblzma::stream::{Action, Filters, LzmaOptions, Stream};
use tempfile::TempDir;

use crate::fixture::{MemoryTree, bootable, content, options, text};

const PARTS: &str = "usr/lib/grub/i386-pc";

/// Bytes of `lzma_decompress.img` before the packed part; the rest has another length in each version.
const SIZES: usize = 16;

/// A bootable tree with the host's parts of GRUB.
fn tree() -> Option<MemoryTree> {
    let parts = Path::new("/").join(PARTS);
    if !parts.join("kernel.img").exists() {
        eprintln!("SKIPPED: `grub-pc-bin` is not installed");
        return None;
    }
    let mut tree = bootable();
    tree.directory("usr/lib/grub").directory(PARTS);
    for part in fs_err::read_dir(&parts).unwrap() {
        let part = part.unwrap();
        if part.file_type().unwrap().is_file() {
            let name = part.file_name().into_string().unwrap();
            tree.file(format!("{PARTS}/{name}"), fs_err::read(part.path()).unwrap());
        }
    }
    Some(tree)
}

fn bytes(disk: &Path, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(disk).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}

fn number32(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The kernel and the modules in a core image whose unpacking code has `stub` bytes.
fn unpacked(core: &[u8], stub: usize) -> Vec<u8> {
    let (packed, size) = (number32(core, 512 + 8), number32(core, 512 + 12));
    let mut lzma = LzmaOptions::new_preset(6).unwrap();
    lzma.dict_size(1 << 16).literal_context_bits(3).literal_position_bits(0).position_bits(2);
    let mut decoder = Stream::new_raw_decoder(Filters::new().lzma1(&lzma)).unwrap();
    let mut plain = Vec::with_capacity(size);
    let packed = &core[512 + stub..512 + stub + packed];
    decoder.process_vec(packed, &mut plain, Action::Run).unwrap();
    assert_eq!(plain.len(), size);
    plain
}

/// Type and contents of all that stands behind the kernel.
fn modules(plain: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let kernel = plain.windows(8).position(|bytes| bytes == b"mimg\x0c\0\0\0").unwrap();
    assert_eq!(number32(plain, kernel + 8), plain.len() - kernel);
    let mut rest = &plain[kernel + 12..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (own, after) = rest.split_at(number32(rest, 4));
        found.push((number32(own, 0), own[8..].to_vec()));
        rest = after;
    }
    found.sort();
    found
}

#[test]
fn a_core_image_is_what_grub_mkimage_links() {
    let Some(tree) = tree() else { return };
    let folder = TempDir::new().unwrap();
    let stub =
        fs_err::metadata(Path::new("/").join(PARTS).join("lzma_decompress.img")).unwrap().len() as usize;
    for (table, start) in [(Table::Gpt, 1 << 20), (Table::Mbr, 512)] {
        let disk = folder.path().join("disk");
        let options = DiskOptions { table, bootloader: Bootloader::GrubBios, ..options() };
        let made = write_disk(&tree, &options, &disk).unwrap();
        let has_room = made.partitions.iter().any(|part| part.role == Role::BiosBoot && part.start == start);
        assert_eq!(has_room, table == Table::Gpt);
        assert!(made.partitions.iter().all(|part| part.role != Role::EfiSystem));

        let boot = bytes(&disk, 0, 512);
        let part = fs_err::read(Path::new("/").join(PARTS).join("boot.img")).unwrap();
        assert_eq!(boot[..0x5c], part[..0x5c]);
        assert_eq!(boot[0x68..440], part[0x68..440]);
        assert_eq!(number32(&boot, 0x5c) as u64, start / 512);
        let head = bytes(&disk, start, 512);
        let sectors = usize::from(u16::from_le_bytes([head[508], head[509]]));
        assert_eq!((number32(&head, 500) as u64, &head[510..]), (start / 512 + 1, &[0x20, 0x08][..]));

        let core = bytes(&disk, start, 512 * (1 + sectors));
        let uuid = options.identity.uuid("root file system");
        let config = folder.path().join("config");
        fs_err::write(&config, format!("search.fs_uuid {uuid} root\nset prefix=($root)/boot/grub\n"))
            .unwrap();
        let linked = folder.path().join("core.img");
        let names = "ext2 biosdisk part_gpt part_msdos search search_fs_uuid search_label linux normal configfile \
                     echo test true gzio loadenv all_video serial terminal minicmd halt reboot";
        let mut arguments =
            vec!["-O", "i386-pc", "-p", "/boot/grub", "-c", text(&config), "-o", text(&linked)];
        arguments.extend(names.split_whitespace());
        if content("grub-mkimage", &arguments).is_none() {
            return;
        }
        let linked = fs_err::read(&linked).unwrap();
        assert_eq!(core[512..512 + 8], linked[512..512 + 8]);
        assert_eq!(core[512 + SIZES..512 + stub], linked[512 + SIZES..512 + stub]);
        let (own, other) = (unpacked(&core, stub), unpacked(&linked, stub));
        let kernel = own.iter().zip(&other).take_while(|(one, other)| one == other).count();
        assert!(kernel > 20_000, "the kernels differ at {kernel}");
        assert_eq!(modules(&own), modules(&other));
    }
}

#[test]
fn its_configuration_is_on_the_root() {
    let Some(tree) = tree() else { return };
    let folder = TempDir::new().unwrap();
    for (bootloader, parts) in [(Bootloader::GrubBios, 2), (Bootloader::Hybrid, 3)] {
        let disk = folder.path().join("disk");
        write_disk(&tree, &DiskOptions { bootloader, ..options() }, &disk).unwrap();
        let image = DiskImage::open(&disk).unwrap();
        assert_eq!(image.partitions().len(), parts);
        let root = image.root_tree().unwrap();
        let mut config = String::new();
        std::io::Read::read_to_string(&mut root.open(b"boot/grub/grub.cfg").unwrap(), &mut config).unwrap();
        let uuid = options().identity.uuid("root file system");
        let partition = options().identity.uuid("root partition");
        assert_eq!(
            config,
            format!(
                "set timeout=0\nsearch --no-floppy --set=root --fs-uuid {uuid}\nmenuentry 'Test System 1' {{\n\
                 \tlinux /boot/vmlinuz-6.1.0-35-cloud-amd64 root=PARTUUID={partition} rw console=tty0 console=ttyS0\n\
                 \tinitrd /boot/initrd.img-6.1.0-35-cloud-amd64\n}}\n"
            )
        );
        if let Some(report) = content("sgdisk", &["-v", text(&disk)]) {
            assert!(report.contains("No problems found"), "{report}");
        }
    }
}

#[test]
fn parts_that_are_odd_are_refused() {
    let mut tree = bootable();
    for folder in ["usr/lib/grub", PARTS] {
        tree.directory(folder);
    }
    let folder = TempDir::new().unwrap();
    let error = |tree: &MemoryTree| {
        let options = DiskOptions { bootloader: Bootloader::GrubBios, ..options() };
        write_disk(tree, &options, &folder.path().join("disk")).unwrap_err().to_string()
    };
    let part = |name: &str| format!("{PARTS}/{name}");
    tree.file(part("kernel.img"), b"\x7fELF\x01\x01 and nothing");
    assert_eq!(error(&tree), "the tree has no file `/usr/lib/grub/i386-pc/boot.img`");
    tree.file(part("boot.img"), [0; 512]).file(part("diskboot.img"), [0; 512]);
    assert_eq!(
        error(&tree),
        "`kernel.img` in `/usr/lib/grub/i386-pc` is not what GRUB 2 has there; reinstall `grub-pc-bin`"
    );
    // A head, a table of one segment at 52, and the segment.
    let mut kernel = vec![0; 84];
    kernel[..6].copy_from_slice(b"\x7fELF\x01\x01");
    (kernel[28], kernel[42], kernel[44]) = (52, 32, 1);
    (kernel[52], kernel[56], kernel[61], kernel[68]) = (1, 84, 0x90, 5);
    kernel.extend_from_slice(b"start");
    tree.file(part("kernel.img"), kernel);
    tree.file(part("moddep.lst"), "linux: normal\nnormal: linux\n");
    assert!(error(&tree).starts_with("`moddep.lst` in "), "{}", error(&tree));
    tree.file(part("moddep.lst"), "linux: normal\nnormal: boot\n");
    assert_eq!(error(&tree), "the tree has no file `/usr/lib/grub/i386-pc/ext2.mod`");
}
