//! The plugin `qemu`.

use imgbuild_model::Role::{Content, Machine, Naming, Output, Placement, Policy, Transport};
use imgbuild_model::{BlockSchema, KindSchema, Rule, Table};

use super::attribute::{builder, flag, int, rows, secret, text, texts, word};
use super::common::{BOOT_VNC, CD, FLOPPY, HTTP, ISO_OPTIONAL, SHUTDOWN};
use super::communicator::{COMM_WITH_LOGIN, OVER_SSH};

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&QEMU];

/// Switches of QEMU's that take the place of the machine's disks.
pub static DISK_SWITCHES: [&str; 6] = ["-drive", "-blockdev", "-hda", "-hdb", "-hdc", "-hdd"];

const DISK: Table = Table::of(&[
    flag("disk_image", Content, "Whether the medium is a disk that boots, in place of an installer."),
    flag("skip_compaction", Content, "Whether the disk is left as the guest wrote it."),
    flag("disk_compression", Content, "Whether the disk is compressed."),
    word("format", &["qcow2", "raw"], Content, "The disk's format.").or_text("qcow2"),
    flag("use_backing_file", Content, "Whether the disk is an overlay over the medium."),
])
.rules(&[Rule::Needs("use_backing_file", &["disk_image"]), Rule::Needs("skip_resize_disk", &["disk_image"])])
.includes(&[&ISO_OPTIONAL, &DISKS, &FURTHER_DISKS]);

/// Disks, whatever is on them.
const DISKS: Table = Table::of(&[
    flag("skip_resize_disk", Content, "Whether the disk keeps its size."),
    text("disk_size", Machine, "The disk's size, with a unit; mebibytes if there is none.").or_text("40960M"),
    word("disk_interface", &["ide", "sata", "scsi", "sd", "virtio", "virtio-scsi"], Machine, "How the disk is attached.").or_text("virtio"),
    word("disk_cache", &["writethrough", "writeback", "none", "unsafe", "directsync"], Policy, "How writes to the disk are cached.").or_text("writeback"),
    word("disk_discard", &["unmap", "ignore"], Policy, "What becomes of discarded blocks.").or_text("ignore"),
    word("disk_detect_zeroes", &["unmap", "on", "off"], Policy, "What becomes of blocks of zeros.").or_text("off"),
]);

const FURTHER_DISKS: Table = Table::of(&[texts("disk_additional_size", Machine, "Sizes of further disks.")]);

const HARDWARE: Table = Table::of(&[
    word("accelerator", &["none", "kvm", "tcg", "hax", "hvf", "whpx", "xen"], Placement, "What runs the guest's code; `kvm` where there is one, else `tcg`."),
    text("machine_type", Machine, "The machine.").or_text("pc"),
    text("cpu_model", Machine, "The processor's model."),
    int("cpus", Placement, "The number of processors.").at_least(0),
    int("sockets", Placement, "The number of sockets.").at_least(0),
    int("cores", Placement, "The number of cores of a socket.").at_least(0),
    int("threads", Placement, "The number of threads of a core.").at_least(0),
    int("memory", Placement, "The memory in mebibytes.").or_int(512).at_least(0),
    text("firmware", Machine, "The firmware's file."),
    flag("use_pflash", Machine, "Whether the firmware is a flash memory."),
    flag("efi_boot", Machine, "Whether it boots by EFI."),
    text("efi_firmware_code", Machine, "The EFI firmware's code; that of OVMF if absent."),
    text("efi_firmware_vars", Machine, "The EFI firmware's variables; those of OVMF if absent."),
    flag("efi_drop_efivars", Output, "Whether the variables are left out of the artifact."),
    text("net_device", Machine, "The network card.").or_text("virtio-net"),
    text("net_bridge", Transport, "A bridge of the host that the guest is attached to."),
    text("cdrom_interface", Machine, "How CDs are attached: `ide`, `scsi`, `virtio` or `virtio-scsi`."),
    flag("vtpm", Machine, "Whether it has a TPM."),
    flag("use_tpm1", Machine, "Whether that is a TPM of version 1.2."),
    text("tpm_device_type", Machine, "The TPM's device.").or_text("tpm-tis"),
    text("vga", Machine, "The graphics card."),
    rows("qemuargs", Machine, "Switches of QEMU with their values; one replaces all defaults of its switch.").late(),
    text("qemu_binary", Placement, "The program.").or_text("qemu-system-x86_64"),
]);

/// What a machine of QEMU is and how it is spoken to: what templates and workspaces have in common.
pub(crate) const MACHINE: Table = Table::EMPTY.includes(&[&DISKS, &HARDWARE, &OVER_SSH]);

/// And how its disks come to be: what one that starts from a disk to be looked at has no use for.
pub(crate) const MAKING: Table = Table::EMPTY.includes(&[&FURTHER_DISKS, &STEPS, &BOOT_VNC, &SHUTDOWN]);

const STEPS: Table = Table::of(&[rows("boot_steps", Content, "Keys to type, each with a description; this or `boot_command`.").late()])
    .rules(&[Rule::AtMostOne(&["boot_steps", "boot_command"])]);

const CONTROL: Table = Table::of(&[
    flag("headless", Transport, "Whether there is no window."),
    text("display", Transport, "The display; `gtk` if absent."),
    flag("use_default_display", Transport, "Whether QEMU chooses the display."),
    text("vnc_bind_address", Transport, "The address that VNC listens on.").or_text("127.0.0.1"),
    int("vnc_port_min", Transport, "The first port to try for VNC.").or_int(5900).between(5900, 65535),
    int("vnc_port_max", Transport, "The last port to try for VNC.").or_int(6000).between(5900, 65535),
    flag("vnc_use_password", Transport, "Whether VNC has a password."),
    secret("vnc_password", Transport, "VNC's password; random if absent.").at_most(8),
    flag("qmp_enable", Transport, "Whether QEMU's control socket is there."),
    text("qmp_socket_path", Transport, "The control socket."),
    int("host_port_min", Transport, "The first port of the host to try for the communicator.").or_int(2222).between(1, 65535),
    int("host_port_max", Transport, "The last port of the host to try for the communicator.").or_int(4444).between(1, 65535),
    int("ssh_host_port_min", Transport, "The first port of the host to try.").old_name_of("host_port_min"),
    int("ssh_host_port_max", Transport, "The last port of the host to try.").old_name_of("host_port_max"),
    flag("skip_nat_mapping", Transport, "Whether the communicator's port is used as it is."),
])
.includes(&[&STEPS]);

/// A virtual machine of QEMU.
static QEMU: KindSchema = KindSchema {
    attributes: &[
        flag("iso_skip_cache", Policy, "Whether QEMU reads the medium over the network."),
        text("output_directory", Output, "The folder that disks are put into; `output-` and the build's name if absent."),
        text("vm_name", Naming, "The disk's file name; `packer-` and the build's name if absent."),
        flag("run_once", Policy, "Nothing.").deprecated("it does nothing"),
    ],
    blocks: &[BlockSchema::one(
        "qemu_img_args",
        "Further arguments of `qemu-img`.",
        Table::of(&[
            texts("convert", Content, "For `qemu-img convert`."),
            texts("create", Content, "For `qemu-img create`."),
            texts("resize", Content, "For `qemu-img resize`."),
        ]),
    )],
    rules: &[Rule::AtLeastOne(&["iso_url", "iso_urls"]), Rule::AtLeastOne(&["iso_checksum", "iso_skip_cache"])],
    includes: &[&DISK, &HARDWARE, &CONTROL, &HTTP, &BOOT_VNC, &FLOPPY, &CD, &SHUTDOWN, &COMM_WITH_LOGIN],
    ..builder("qemu", "A disk that a virtual machine of QEMU is installed on or provisioned from.")
};
