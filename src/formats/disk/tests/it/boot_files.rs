//! What of a tree becomes the EFI system partition.

use imgbuild_disk::fat::FatContents;
use imgbuild_disk::table::Architecture;
use imgbuild_disk::{BootPlan, Bootloader, DiskError, FileSystem, RootReference, Tree};

use crate::fixture::{MemoryTree, bootable};

fn root() -> RootReference {
    RootReference {
        partuuid: "11-22".to_owned(),
        file_system: uuid::Uuid::from_u128(5),
        kind: FileSystem::Ext4,
    }
}

fn find<'t>(tree: &'t dyn Tree, wanted: Bootloader, extra: &str) -> Result<BootPlan<'t>, DiskError> {
    BootPlan::find(tree, Architecture::X86_64, wanted, &root(), extra)
}

/// What a plan puts where: text as it is, files of the tree by their path.
fn shown(plan: &BootPlan<'_>) -> String {
    let mut text = String::new();
    for file in &plan.files {
        text += &match &file.contents {
            FatContents::Bytes(bytes) => format!("{}:\n{}", file.path, String::from_utf8_lossy(bytes)),
            FatContents::Tree { path, .. } => format!("{} = /{}\n", file.path, String::from_utf8_lossy(path)),
        };
    }
    text
}

#[test]
fn systemd_boot_gets_the_newest_kernel() {
    let tree = bootable();
    let plan = find(&tree, Bootloader::Auto, " quiet ").unwrap();
    assert_eq!(plan.kernel, "6.1.0-35-cloud-amd64");
    assert_eq!(
        shown(&plan),
        "EFI/BOOT/BOOTX64.EFI = /usr/lib/systemd/boot/efi/systemd-bootx64.efi\n\
         EFI/systemd/systemd-bootx64.efi = /usr/lib/systemd/boot/efi/systemd-bootx64.efi\n\
         loader/loader.conf:\ntimeout 0\nconsole-mode keep\n\
         loader/entries.srel:\ntype1\n\
         loader/entries/testos-6.1.0-35-cloud-amd64.conf:\n\
         title Test System 1\nversion 6.1.0-35-cloud-amd64\nsort-key testos\narchitecture x64\n\
         options root=PARTUUID=11-22 rw console=tty0 console=ttyS0 quiet\n\
         linux /testos/6.1.0-35-cloud-amd64/linux\n\
         initrd /testos/6.1.0-35-cloud-amd64/initrd.img-6.1.0-35-cloud-amd64\n\
         testos/6.1.0-35-cloud-amd64/linux = /boot/vmlinuz-6.1.0-35-cloud-amd64\n\
         testos/6.1.0-35-cloud-amd64/initrd.img-6.1.0-35-cloud-amd64 = /boot/initrd.img-6.1.0-35-cloud-amd64\n"
    );
}

fn with_grub(signed: bool) -> MemoryTree {
    let mut tree = bootable();
    tree.remove("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    tree.file("usr/lib/grub/x86_64-efi/monolithic/grubx64.efi", "grub");
    if signed {
        tree.file("usr/lib/shim/shimx64.efi.signed", "shim").file("usr/lib/shim/mmx64.efi.signed", "mm");
        tree.file("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "signed grub");
    }
    tree
}

#[test]
fn grub_reads_the_kernel_from_the_root() {
    let tree = with_grub(false);
    let config = "set timeout=0\nsearch --no-floppy --set=root --fs-uuid 00000000-0000-0000-0000-000000000005\n\
                  menuentry 'Test System 1' {\n\
                  \tlinux /boot/vmlinuz-6.1.0-35-cloud-amd64 root=PARTUUID=11-22 rw console=tty0 console=ttyS0\n\
                  \tinitrd /boot/initrd.img-6.1.0-35-cloud-amd64\n}\n";
    let folders = ["BOOT", "debian", "ubuntu", "testos"];
    let configs: String = folders.iter().map(|folder| format!("EFI/{folder}/grub.cfg:\n{config}")).collect();
    assert_eq!(
        shown(&find(&tree, Bootloader::Auto, "").unwrap()),
        format!("EFI/BOOT/BOOTX64.EFI = /usr/lib/grub/x86_64-efi/monolithic/grubx64.efi\n{configs}")
    );
    let tree = with_grub(true);
    let plan = find(&tree, Bootloader::Grub, "").unwrap();
    assert_eq!(plan.loader, Bootloader::Grub);
    assert!(shown(&plan).starts_with(
        "EFI/BOOT/BOOTX64.EFI = /usr/lib/shim/shimx64.efi.signed\n\
         EFI/BOOT/grubx64.efi = /usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed\n\
         EFI/BOOT/mmx64.efi = /usr/lib/shim/mmx64.efi.signed\n"
    ));
}

#[test]
fn what_is_missing_is_named_with_its_package() {
    let kernel = "boot/vmlinuz-6.1.0-35-cloud-amd64";
    let error = |tree: &MemoryTree, wanted| find(tree, wanted, "").err().unwrap().to_string();
    let mut tree = bootable();
    tree.remove(kernel).remove("boot/vmlinuz-6.1.0-9-cloud-amd64");
    assert_eq!(
        error(&tree, Bootloader::Auto),
        "the tree has no kernel (`/boot/vmlinuz-*`), so the disk would not boot; install `linux-image-cloud-amd64` or \
         `linux-image-amd64`, or set `bootloader = \"none\"`"
    );
    let mut tree = bootable();
    tree.remove("boot/initrd.img-6.1.0-35-cloud-amd64");
    assert_eq!(
        error(&tree, Bootloader::Auto),
        "the kernel `/boot/vmlinuz-6.1.0-35-cloud-amd64` has no initial RAM disk \
         (`/boot/initrd.img-6.1.0-35-cloud-amd64`), without which it finds no disk; install `initramfs-tools` or `dracut`"
    );
    let mut tree = bootable();
    tree.remove("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    assert_eq!(
        error(&tree, Bootloader::Auto),
        "the tree has no boot loader for UEFI on x86-64: none of \
         `/usr/lib/systemd/boot/efi/systemd-bootx64.efi`, `/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed`, \
         `/usr/lib/grub/x86_64-efi/monolithic/grubx64.efi`; install `systemd-boot-efi` or `grub-efi-amd64-bin`, \
         or set `bootloader = \"none\"`"
    );
    assert_eq!(
        error(&tree, Bootloader::SystemdBoot),
        "the tree has no boot loader for UEFI on x86-64: none of `/usr/lib/systemd/boot/efi/systemd-bootx64.efi`; \
         install `systemd-boot-efi`, or set `bootloader = \"none\"`"
    );
    assert_eq!(
        error(&bootable(), Bootloader::Hybrid),
        "the tree has no boot loader for BIOS on x86-64: none of `/usr/lib/grub/i386-pc/kernel.img`; \
         install `grub-pc-bin`, or set `bootloader = \"none\"`"
    );
    let error = find(&with_grub(false), Bootloader::Grub, "init='/bin/sh'").err().unwrap().to_string();
    assert!(error.contains("cannot be written to `grub.cfg`"), "{error}");
    let error = find(&bootable(), Bootloader::Auto, "a\nb").err().unwrap().to_string();
    assert_eq!(error, "`cmdline` must be one line");
}

#[test]
fn arm_has_names_of_its_own() {
    let mut tree = bootable();
    tree.file("usr/lib/systemd/boot/efi/systemd-bootaa64.efi", "arm");
    let plan = BootPlan::find(&tree, Architecture::Aarch64, Bootloader::Auto, &root(), "").unwrap();
    assert_eq!(plan.command_line, "root=PARTUUID=11-22 rw console=tty0 console=ttyAMA0");
    assert!(
        shown(&plan).starts_with("EFI/BOOT/BOOTAA64.EFI = /usr/lib/systemd/boot/efi/systemd-bootaa64.efi\n"),
        "{}",
        shown(&plan)
    );
    let error =
        BootPlan::find(&tree, Architecture::Aarch64, Bootloader::GrubBios, &root(), "").err().unwrap();
    assert_eq!(
        error.to_string(),
        "no arm64 machine has a BIOS; set `bootloader = \"auto\"`, which boots by UEFI"
    );
    let error = BootPlan::find(&tree, Architecture::Riscv64, Bootloader::Auto, &root(), "").err().unwrap();
    assert!(
        error.to_string().ends_with(
            "install `systemd-boot-efi` or `grub-efi-riscv64-bin`, or set `bootloader = \"none\"`"
        )
    );
}
