//! The plugin `vmware`, for the hypervisors of desktops.

use imgbuild_model::Role::{Content, Machine, Naming, Output, Placement, Transport};
use imgbuild_model::{AttributeSchema, KindSchema, Table};

use super::attribute::{builder, dict, flag, int, ints, text, texts, word};
use super::common::{BOOT_VNC, CD, FLOPPY, HTTP, ISO, SHUTDOWN};
use super::communicator::COMM_WITH_LOGIN;

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&ISO_BUILDER, &VMX];

/// What both builders take.
const SHARED: Table = Table::of(&[
    text("fusion_app_path", Placement, "Where Fusion is."),
    text("remote_type", Placement, "A remote hypervisor.").deprecated("remote hypervisors moved to the plugin `vsphere`"),
    text("output_directory", Output, "The folder that the machine is put into; `output-` and the build's name if absent."),
    flag("headless", Transport, "Whether there is no window."),
    text("vnc_bind_address", Transport, "The address that VNC listens on.").or_text("127.0.0.1"),
    int("vnc_port_min", Transport, "The first port to try for VNC.").or_int(5900).between(1, 65535),
    int("vnc_port_max", Transport, "The last port to try for VNC.").or_int(6000).between(1, 65535),
    flag("vnc_disable_password", Transport, "Whether VNC has no password."),
    word("tools_mode", &["upload", "attach", "disable"], Content, "How the guest gets VMware's tools."),
    text("tools_source_path", Content, "Where they are."),
    text("tools_upload_flavor", Content, "Which of them are put into the guest: `darwin`, `linux` or `windows`."),
    text("tools_upload_path", Content, "Where they are put in the guest: a template with `.Flavor`.").late(),
    dict("vmx_data", Machine, "Entries of the machine's file before the start."),
    dict("vmx_data_post", Content, "Entries of the machine's file after the shutdown."),
    flag("vmx_remove_ethernet_interfaces", Content, "Whether network cards are taken out of the machine's file."),
    text("display_name", Naming, "What the machine is called in lists."),
    word("format", &["vmx", "ovf", "ova"], Content, "The export's format.").or_text("vmx"),
    texts("ovftool_options", Content, "Further arguments of the export."),
    flag("skip_export", Output, "Whether nothing is exported."),
    flag("skip_compaction", Content, "Whether disks are left as the guest wrote them."),
    ints("disk_additional_size", Machine, "Sizes of further disks in mebibytes."),
    text("disk_adapter_type", Machine, "How disks are attached: `ide`, `sata`, `nvme`, or the SCSI controller."),
    text("vmdk_name", Naming, "The disk's file name."),
    text("disk_type_id", Content, "How the disk is kept: a number from 0 to 5."),
    text("cdrom_adapter_type", Machine, "How CDs are attached."),
    text("vm_name", Naming, "The machine's file name; `packer-` and the build's name if absent."),
    text("snapshot_name", Naming, "A snapshot that is made at the end."),
    text("guest_os_type", Machine, "The guest's system, as VMware calls it."),
    int("version", Machine, "The version of the virtual hardware.").at_least(1),
])
.includes(&[&HTTP, &FLOPPY, &CD, &BOOT_VNC, &SHUTDOWN, &COMM_WITH_LOGIN]);

const HARDWARE: Table = Table::of(&[
    word("firmware", &["bios", "efi", "efi-secure"], Machine, "The firmware."),
    int("cpus", Placement, "The number of processors.").at_least(1),
    int("cores", Placement, "The number of cores of a processor.").at_least(1),
    int("memory", Placement, "The memory in mebibytes.").at_least(0),
    text("network", Placement, "The network: `nat`, `bridged`, `hostonly`, or a device."),
    text("network_name", Placement, "The network's name."),
    text("network_adapter_type", Machine, "The network card."),
    flag("sound", Machine, "Whether it has sound."),
    flag("usb", Machine, "Whether it has USB."),
    word("usb_version", &["2.0", "3.1", "3.2"], Machine, "The version of USB."),
    text("serial", Machine, "A serial port, as `pipe:…`, `file:…`, `device:…` or `auto:…`."),
    text("parallel", Machine, "A parallel port, as `file:…`, `device:…` or `auto:…`."),
    int("disk_size", Machine, "The disk's size in mebibytes.").or_int(40000).at_least(1),
    text("vmx_disk_template_path", Machine, "A file with the template of a disk's entries."),
    text("vmx_template_path", Machine, "A file with the template of the machine's file."),
    flag("vhv_enabled", Machine, "Whether the guest can run machines."),
]);

const SOURCE_PATH: AttributeSchema = text("source_path", Content, "The machine's file to start from.").required();

/// From a medium.
static ISO_BUILDER: KindSchema = KindSchema {
    includes: &[&SHARED, &HARDWARE, &ISO],
    ..builder("vmware-iso", "A machine of VMware that is installed from a medium.")
};

/// From a machine.
static VMX: KindSchema = KindSchema {
    attributes: &[
        SOURCE_PATH,
        flag("linked", Content, "Whether the machine stands on a snapshot of the source."),
        text("attach_snapshot", Content, "The snapshot to start from."),
    ],
    includes: &[&SHARED],
    ..builder("vmware-vmx", "A machine of VMware that starts from another.")
};
