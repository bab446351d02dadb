//! The plugin `proxmox`.

use imgbuild_model::Role::{Content, Machine, Naming, Output, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, BlockSchema, Deprecation, KindSchema, Rule, Table};

use super::attribute::{builder, dur, flag, int, secret, text, texts, tri, word};
use super::common::{BOOT, CD, HTTP, ISO_OPTIONAL};
use super::communicator::COMM_WITH_LOGIN;

/// Each component of the plugin.
pub(super) static ALL: &[&KindSchema] = &[&ISO_BUILDER, &CLONE, &PROXMOX];

const ACCESS: Table = Table::of(&[
    text("proxmox_url", Placement, "Where the service is; that of the environment if absent."),
    flag("insecure_skip_tls_verify", Transport, "Whether the server's certificate goes unchecked."),
    text("username", Placement, "The user, with the realm or the token's name; that of the environment if absent."),
    secret("password", Placement, "The password."),
    secret("token", Placement, "The token."),
    text("node", Placement, "The node.").required(),
    text("pool", Placement, "The pool."),
    dur("task_timeout", Policy, "How long the service may take.").or_text("1m"),
]);

const NIC: Table = Table::of(&[
    text("model", Machine, "The network card.").or_text("e1000"),
    int("packet_queues", Machine, "The number of queues."),
    text("mac_address", Naming, "Its address; made up if absent."),
    int("mtu", Machine, "The longest packet in bytes.").between(1, 65520),
    text("bridge", Placement, "The bridge that it is attached to."),
    text("vlan_tag", Placement, "The VLAN's number."),
    flag("firewall", Policy, "Whether the firewall guards it."),
]);

const DISK: Table = Table::of(&[
    word("type", &["ide", "sata", "scsi", "virtio"], Machine, "How it is attached.").or_text("scsi"),
    text("storage_pool", Placement, "The storage that it is kept in."),
    text("storage_pool_type", Placement, "The kind of that storage.").deprecated("it is found without it"),
    text("disk_size", Machine, "Its size, with a unit.").or_text("20G"),
    word("cache_mode", &["none", "writethrough", "writeback", "unsafe", "directsync"], Policy, "How writes are cached.").or_text("none"),
    word("format", &["raw", "cow", "qcow", "qed", "qcow2", "vmdk", "cloop"], Placement, "Its format.").or_text("raw"),
    flag("io_thread", Machine, "Whether it has a thread of its own."),
    text("asyncio", Machine, "How it is read and written: `native`, `threads` or `io_uring`."),
    flag("exclude_from_backup", Policy, "Whether it is left out of backups."),
    flag("discard", Machine, "Whether freed blocks leave the storage."),
    flag("ssd", Machine, "Whether it says that it does not turn."),
]);

const ISO_RULES: &[Rule] =
    &[Rule::AtMostOne(&["iso_file", "iso_url"]), Rule::Needs("iso_url", &["iso_storage_pool"])];

const ISO_FILE: Table = Table::of(&[
    word("type", &["ide", "sata", "scsi"], Machine, "How it is attached."),
    text("index", Machine, "The port that it is attached to."),
    text("device", Machine, "How and where it is attached, as `ide3`.").deprecated("`type` and `index` say it"),
    text("iso_file", Content, "A medium that the storage has already."),
    text("iso_storage_pool", Placement, "The storage that it is put into."),
    flag("iso_download_pve", Transport, "Whether the node fetches it."),
    flag("unmount", Content, "Whether it is taken out at the end."),
    flag("keep_cdrom_device", Content, "Whether its empty drive is left."),
])
.rules(ISO_RULES)
.includes(&[&ISO_OPTIONAL, &CD]);

const PCI: Table = Table::of(&[
    text("host", Placement, "The device's place on the host."),
    text("device_id", Machine, "The device's number, as the guest sees it."),
    flag("legacy_igd", Machine, "Whether it is an old integrated graphics card."),
    text("mapping", Placement, "The mapping that says which device it is."),
    flag("pcie", Machine, "Whether it is on the faster bus."),
    text("mdev", Machine, "The kind of mediated device."),
    flag("hide_rombar", Machine, "Whether its firmware is hidden."),
    text("romfile", Machine, "A file with its firmware."),
    text("sub_device_id", Machine, "The subsystem's device number, as the guest sees it."),
    text("sub_vendor_id", Machine, "The subsystem's maker, as the guest sees it."),
    text("vendor_id", Machine, "The maker, as the guest sees it."),
    flag("x_vga", Machine, "Whether it is the main graphics card."),
])
.rules(&[Rule::ExactlyOne(&["host", "mapping"])]);

const HARDWARE_BLOCKS: &[BlockSchema] = &[
    BlockSchema::one(
        "efi_config",
        "The disk of the EFI firmware.",
        Table::of(&[
            text("efi_storage_pool", Placement, "The storage that it is kept in."),
            word("efi_format", &["raw", "cow", "qcow", "qed", "qcow2", "vmdk", "cloop"], Placement, "Its format."),
            flag("pre_enrolled_keys", Machine, "Whether it has the usual keys."),
            word("efi_type", &["2m", "4m"], Machine, "Its size."),
        ]),
    ),
    BlockSchema::one(
        "rng0",
        "A source of random numbers.",
        Table::of(&[
            word("source", &["/dev/urandom", "/dev/random", "/dev/hwrng"], Machine, "The host's source.").required(),
            int("max_bytes", Machine, "How many bytes a period gives; any number if 0.").required(),
            int("period", Machine, "The period in milliseconds."),
        ]),
    ),
    BlockSchema::one(
        "tpm_config",
        "A TPM.",
        Table::of(&[
            text("tpm_storage_pool", Placement, "The storage that it is kept in."),
            word("tpm_version", &["v1.2", "v2.0"], Machine, "Its version.").or_text("v2.0"),
        ]),
    ),
    BlockSchema::one(
        "vga",
        "The graphics card.",
        Table::of(&[
            text("type", Machine, "Its kind."),
            int("memory", Machine, "Its memory in mebibytes.").between(4, 512),
        ]),
    ),
    BlockSchema::many("network_adapters", "A network card.", NIC),
    BlockSchema::many("disks", "A disk.", DISK),
    BlockSchema::many("pci_devices", "A device of the host that the guest gets.", PCI),
    BlockSchema::many("additional_iso_files", "A further medium.", ISO_FILE),
];

/// What both builders take.
const SHARED: Table = Table::of(&[
    dur("boot_key_interval", Policy, "How long to wait between keys."),
    text("vm_name", Naming, "The machine's name; made up if absent."),
    int("vm_id", Naming, "The machine's number; the next free one if absent.").between(100, 999_999_999),
    text("tags", Naming, "The template's tags, joined with `;`."),
    text("boot", Machine, "The order of devices to boot from, as `order=scsi0;net0`."),
    int("memory", Placement, "The memory in mebibytes.").or_int(512).at_least(0),
    int("ballooning_minimum", Placement, "The least memory in mebibytes.").at_least(0),
    int("cores", Placement, "The number of cores of a socket.").or_int(1).at_least(1),
    text("cpu_type", Machine, "The processor's model.").or_text("kvm64"),
    int("sockets", Placement, "The number of sockets.").or_int(1).at_least(1),
    flag("numa", Machine, "Whether memory has nodes."),
    word("os", &["wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26", "solaris", "other"], Machine, "The guest's system.").or_text("other"),
    word("bios", &["seabios", "ovmf"], Machine, "The firmware.").or_text("seabios"),
    text("efidisk", Placement, "The storage of the disk of the EFI firmware.").deprecated("it became the block `efi_config`"),
    text("machine", Machine, "The machine: `pc`, `q35`, or with a version."),
    texts("serials", Machine, "Serial ports: `socket` or devices of the host.").at_most(4),
    tri("qemu_agent", Machine, "Whether the guest has QEMU's agent; it has unless false."),
    word("scsi_controller", &["lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"], Machine, "The SCSI controller.").or_text("lsi"),
    flag("onboot", Policy, "Whether it starts with its node."),
    flag("disable_kvm", Placement, "Whether the processor's help is left out."),
    text("template_name", Naming, "The template's name; the machine's if absent."),
    text("template_description", Naming, "The template's description."),
    flag("skip_convert_to_template", Output, "Whether the machine is left one, and becomes no template."),
    flag("cloud_init", Content, "Whether an empty drive for cloud-init is attached."),
    text("cloud_init_storage_pool", Placement, "The storage of that drive."),
    word("cloud_init_disk_type", &["scsi", "sata", "ide"], Machine, "How that drive is attached.").or_text("ide"),
    flag("cloud_init_disable_upgrade_packages", Content, "Whether cloud-init leaves packages as they are."),
    text("vm_interface", Transport, "The guest's network interface whose address is used."),
    text("qemu_additional_args", Machine, "Further arguments of QEMU."),
])
.blocks(HARDWARE_BLOCKS)
.includes(&[&ACCESS, &HTTP, &BOOT, &COMM_WITH_LOGIN]);

/// What a medium adds.
const MEDIUM: Table = Table::of(&[
    text("iso_file", Content, "A medium that the storage has already.").deprecated("it became part of the block `boot_iso`"),
    text("iso_storage_pool", Placement, "The storage that it is put into.").deprecated("it became part of the block `boot_iso`"),
    flag("iso_download_pve", Transport, "Whether the node fetches it.").deprecated("it became part of the block `boot_iso`"),
    flag("unmount_iso", Content, "Whether it is taken out at the end.").deprecated("it became part of the block `boot_iso`"),
])
.blocks(&[BlockSchema::one("boot_iso", "The medium to boot from.", ISO_FILE)])
.rules(&[
    Rule::AtLeastOne(&["boot_iso", "iso_file", "iso_url", "iso_urls"]),
    Rule::AtMostOne(&["iso_file", "iso_url"]),
    Rule::Needs("iso_url", &["iso_storage_pool"]),
])
.includes(&[&SHARED, &ISO_OPTIONAL]);

/// From a medium.
static ISO_BUILDER: KindSchema = KindSchema {
    includes: &[&MEDIUM],
    ..builder("proxmox-iso", "A template of Proxmox, made of a machine that is installed from a medium.")
};

/// The same by its former name.
static PROXMOX: KindSchema = KindSchema {
    includes: &[&MEDIUM],
    deprecated: Some(Deprecation { message: "it is an old name", replacement: Some("proxmox-iso") }),
    ..builder("proxmox", "A template of Proxmox, made of a machine that is installed from a medium.")
};

const FULL_CLONE: AttributeSchema = tri("full_clone", Placement, "Whether disks are copied whole; they are unless false.");

/// From a template.
static CLONE: KindSchema = KindSchema {
    attributes: &[
        text("clone_vm", Content, "The template to start from."),
        int("clone_vm_id", Content, "The template to start from, by number.").between(100, 999_999_999),
        FULL_CLONE,
        text("nameserver", Content, "The server of names that cloud-init sets."),
        text("searchdomain", Content, "The domain that cloud-init sets."),
    ],
    blocks: &[BlockSchema::many(
        "ipconfig",
        "The addresses of a network card that cloud-init sets.",
        Table::of(&[
            text("ip", Content, "The address and the length of its network, or `dhcp`."),
            text("gateway", Content, "The gateway."),
            text("ip6", Content, "The address of IPv6, `dhcp` or `auto`."),
            text("gateway6", Content, "The gateway of IPv6."),
        ]),
    )],
    rules: &[Rule::ExactlyOne(&["clone_vm", "clone_vm_id"])],
    includes: &[&SHARED],
    ..builder("proxmox-clone", "A template of Proxmox, made of a machine that starts from another template.")
};
