//! The plugin `virtualbox`.

use imgbuild_model::Role::{Content, Machine, Naming, Output, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, KindSchema, Table};

use super::attribute::{builder, dur, flag, int, ints, rows, text, texts, word};
use super::common::{BOOT, CD, FLOPPY, HTTP, ISO, SHUTDOWN};
use super::communicator::COMM_WITH_LOGIN;

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&ISO_BUILDER, &OVF, &VM];

/// What all three builders take.
const SHARED: Table = Table::of(&[
    word("format", &["ovf", "ova"], Content, "The export's format.").or_text("ovf"),
    texts("export_opts", Content, "Further arguments of the export."),
    text("output_directory", Output, "The folder that the export is put into; `output-` and the build's name if absent."),
    text("output_filename", Output, "The export's name; the machine's if absent."),
    flag("headless", Transport, "Whether there is no window."),
    text("vrdp_bind_address", Transport, "The address that the remote desktop listens on.").or_text("127.0.0.1"),
    int("vrdp_port_min", Transport, "The first port to try for the remote desktop.").or_int(5900).between(1, 65535),
    int("vrdp_port_max", Transport, "The last port to try for the remote desktop.").or_int(6000).between(1, 65535),
    dur("post_shutdown_delay", Policy, "How long to wait after the shutdown."),
    flag("disable_shutdown", Policy, "Whether the guest shuts itself down."),
    flag("acpi_shutdown", Policy, "Whether the guest is shut down by its power button."),
    int("host_port_min", Transport, "The first port of the host to try for the communicator.").or_int(2222).between(1, 65535),
    int("host_port_max", Transport, "The last port of the host to try for the communicator.").or_int(4444).between(1, 65535),
    flag("skip_nat_mapping", Transport, "Whether the communicator's port is used as it is."),
    int("ssh_host_port_min", Transport, "The first port of the host to try.").old_name_of("host_port_min"),
    int("ssh_host_port_max", Transport, "The last port of the host to try.").old_name_of("host_port_max"),
    flag("ssh_skip_nat_mapping", Transport, "Whether the communicator's port is used as it is.").old_name_of("skip_nat_mapping"),
    rows("vboxmanage", Machine, "Commands of `VBoxManage` before the start.").late(),
    rows("vboxmanage_post", Content, "Commands of `VBoxManage` after the shutdown.").late(),
    text("virtualbox_version_file", Content, "The file of the guest that gets VirtualBox's version.").or_text(".vbox_version"),
    word("guest_additions_mode", &["upload", "attach", "disable"], Content, "How the guest gets VirtualBox's additions.").or_text("upload"),
    text("guest_additions_interface", Machine, "How the additions are attached; as the medium if absent."),
    text("guest_additions_path", Content, "Where they are put in the guest: a template with `.Version`.").or_text("VBoxGuestAdditions.iso").late(),
    text("guest_additions_sha256", Content, "Their checksum."),
    text("guest_additions_url", Content, "Where they are: a template with `.Version`.").late(),
    flag("keep_registered", Policy, "Whether the machine is kept."),
    flag("skip_export", Output, "Whether nothing is exported."),
])
.includes(&[&HTTP, &FLOPPY, &CD, &BOOT, &SHUTDOWN, &COMM_WITH_LOGIN]);

const VM_NAME: AttributeSchema = text("vm_name", Naming, "The machine's name; `packer-` and the build's name if absent.");

const HARDWARE: Table = Table::of(&[
    int("cpus", Placement, "The number of processors.").or_int(1).at_least(1),
    int("memory", Placement, "The memory in mebibytes.").or_int(512).at_least(0),
    text("sound", Machine, "The sound's driver; none if absent."),
    flag("usb", Machine, "Whether it has USB."),
    word("chipset", &["piix3", "ich9", "armv8virtual"], Machine, "The chipset.").or_text("piix3"),
    word("firmware", &["bios", "efi"], Machine, "The firmware.").or_text("bios"),
    flag("nested_virt", Machine, "Whether the guest can run machines."),
    word("rtc_time_base", &["UTC", "local"], Machine, "The clock's time.").or_text("local"),
    int("disk_size", Machine, "The disk's size in mebibytes.").or_int(40000).at_least(1),
    word("nic_type", &["82540EM", "82543GC", "82545EM", "Am79C970A", "Am79C973", "Am79C960", "virtio"], Machine, "The network card.").or_text("82540EM"),
    word("audio_controller", &["ac97", "hda", "sb16"], Machine, "The sound card.").or_text("ac97"),
    text("usb_controller", Machine, "The USB controller; `ehci` if there is USB."),
    word("mouse", &["ps2", "usb", "usbtablet", "usbmultitouch"], Machine, "The mouse.").or_text("ps2"),
    word("keyboard", &["ps2", "usb"], Machine, "The keyboard.").or_text("ps2"),
    word("gfx_controller", &["vboxvga", "vboxsvga", "vmsvga", "none"], Machine, "The graphics card."),
    int("gfx_vram_size", Machine, "The graphics card's memory in mebibytes.").or_int(4).between(1, 128),
    flag("gfx_accelerate_3d", Machine, "Whether it accelerates 3D."),
    text("gfx_efi_resolution", Machine, "The screen's size under EFI, as `1024x768`."),
    text("guest_os_type", Machine, "The guest's system, as VirtualBox calls it.").or_text("Other"),
    flag("hard_drive_discard", Machine, "Whether freed blocks leave the disk's file."),
    word("hard_drive_interface", &["ide", "sata", "scsi", "pcie", "virtio"], Machine, "How the disk is attached.").or_text("ide"),
    int("sata_port_count", Machine, "The number of ports of the SATA controller.").or_int(1).between(1, 30),
    int("nvme_port_count", Machine, "The number of ports of the NVMe controller.").or_int(1).between(1, 255),
    flag("hard_drive_nonrotational", Machine, "Whether the disk says that it does not turn."),
    word("iso_interface", &["ide", "sata", "virtio"], Machine, "How the medium is attached.").or_text("ide"),
    ints("disk_additional_size", Machine, "Sizes of further disks in mebibytes."),
    flag("bundle_iso", Output, "Whether the medium is exported too."),
]);

/// From a medium.
static ISO_BUILDER: KindSchema = KindSchema {
    attributes: &[VM_NAME],
    includes: &[&SHARED, &HARDWARE, &ISO],
    ..builder("virtualbox-iso", "A machine of VirtualBox that is installed from a medium.")
};

/// From an export.
static OVF: KindSchema = KindSchema {
    attributes: &[
        VM_NAME,
        text("source_path", Content, "The export to start from: a file or an address.").required(),
        text("checksum", Content, "The checksum of that file."),
        texts("import_flags", Machine, "Further arguments of the import."),
        text("import_opts", Machine, "Options of the import."),
        text("target_path", Output, "Where a download is kept; the cache if absent."),
    ],
    includes: &[&SHARED],
    ..builder("virtualbox-ovf", "A machine of VirtualBox that starts from an export.")
};

/// From a machine.
static VM: KindSchema = KindSchema {
    attributes: &[
        text("vm_name", Content, "The machine to start from.").required(),
        text("attach_snapshot", Content, "The snapshot to start from; the machine as it is if absent."),
        text("target_snapshot", Naming, "The snapshot that is made."),
        flag("force_delete_snapshot", Policy, "Whether a snapshot of that name is taken away before."),
    ],
    includes: &[&SHARED],
    ..builder("virtualbox-vm", "A machine of VirtualBox that is there already, provisioned further.")
};
