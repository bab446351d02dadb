//! What makes artifacts from a layer.

use imgbuild_model::{AttributeSchema, AttributeType, Default, Effect, KindClass, KindSchema, StateUse};

use crate::attribute::content;

const fn export(
    id: &'static str,
    doc: &'static str,
    state: StateUse,
    attributes: &'static [AttributeSchema],
) -> KindSchema {
    KindSchema {
        id,
        class: KindClass::Export,
        key_version: 2,
        effect: Effect::Output,
        doc,
        attributes,
        keeps_packages: true,
        state,
        ..KindSchema::BLANK
    }
}

const LAYERS: AttributeSchema = content(
    "layers",
    AttributeType::String,
    Default::String("steps"),
    "`steps`: one layer a step that changed files; `squash`: one layer; a number: at most so many.",
);

const REF: AttributeSchema = content(
    "ref",
    AttributeType::String,
    Default::None,
    "The image's name and tag in the artifact; the target's name and `latest` if absent.",
);

/// An OCI image layout.
pub(crate) static OCI: KindSchema = export(
    "oci",
    "An OCI image layout: a folder that podman, skopeo, containerd and registries' tools read.",
    StateUse::Image,
    &[
        LAYERS,
        content(
            "compression",
            AttributeType::Enum(&["zstd", "gzip"]),
            Default::String("gzip"),
            "How layers are compressed; `gzip` is read by everything, `zstd` is quicker and smaller.",
        ),
        REF,
    ],
);

/// What `docker load` reads.
pub(crate) static DOCKER_ARCHIVE: KindSchema = export(
    "docker_archive",
    "A tarball as `docker save` writes it and `docker load` and `podman load` read it.",
    StateUse::Image,
    &[LAYERS, REF],
);

/// A tarball of the root file system.
pub(crate) static TARBALL: KindSchema = export(
    "tarball",
    "The root file system as one tarball.",
    StateUse::None,
    &[content(
        "compression",
        AttributeType::Enum(&["none", "gzip", "zstd"]),
        Default::String("zstd"),
        "How it is compressed.",
    )],
);

/// The root file system as a folder.
pub(crate) static DIRECTORY: KindSchema = export(
    "directory",
    "The root file system as a folder; owners are kept where the user may set them.",
    StateUse::None,
    &[],
);

/// A disk that boots.
pub(crate) static DISK: KindSchema = KindSchema {
    key_version: 1,
    ..export(
        "disk",
        "A disk image with the root file system on it, which boots by UEFI or BIOS with the kernel and the loader of the image's own packages. The same image gives the same bytes, unless `filesystem` is `xfs`.",
        StateUse::None,
        &[
            content(
                "format",
                AttributeType::Enum(&["qcow2", "raw", "vmdk", "vhd", "vhdx", "efivars"]),
                Default::String("qcow2"),
                "The format of the file: `vhd` is of a fixed size, as Azure takes it. `efivars` is no disk, but the variables of a virtual machine's UEFI.",
            ),
            content(
                "number",
                AttributeType::Int,
                Default::None,
                "Which disk of a virtual machine: 0 is the one that it boots from, and is meant if absent; 1 the first of `disk_additional_size`.",
            ),
            content(
                "compression",
                AttributeType::Enum(&["none", "zlib", "zstd"]),
                Default::String("none"),
                "How `qcow2` is compressed; `zstd` needs QEMU 5.1 or later.",
            ),
            content(
                "size",
                AttributeType::String,
                Default::None,
                "The size of the disk, as `\"10G\"`; what is on it and some room if absent.",
            ),
            content(
                "table",
                AttributeType::Enum(&["gpt", "mbr", "none"]),
                Default::String("gpt"),
                "The partition table; with `none` the file system is the whole disk, which does not boot by itself.",
            ),
            content(
                "filesystem",
                AttributeType::Enum(&["ext4", "btrfs", "xfs"]),
                Default::String("ext4"),
                "The root file system. `btrfs` has no subvolume but its top. `xfs` is for amd64, and of 300 MiB at least; see docs/virtual-machines.md.",
            ),
            content(
                "bootloader",
                AttributeType::Enum(&["auto", "systemd-boot", "grub", "grub-bios", "hybrid", "none"]),
                Default::String("auto"),
                "What loads the kernel. By UEFI: `systemd-boot`, `grub`, or `auto`, which is the first of them that the image has. By BIOS: `grub-bios`, of `grub-pc-bin`. `hybrid` boots by both: `auto` and `grub-bios`.",
            ),
            content(
                "cmdline",
                AttributeType::String,
                Default::String(""),
                "What is put behind the kernel's command line.",
            ),
            content(
                "hostname",
                AttributeType::String,
                Default::None,
                "The name that the machine has; that of the image if absent.",
            ),
        ],
    )
};

/// A list of what is inside.
pub(crate) static SBOM: KindSchema = KindSchema {
    key_version: 2,
    ..export(
        "sbom",
        "A software bill of materials, read from the image's package database.",
        StateUse::None,
        &[content(
            "format",
            AttributeType::Enum(&["spdx", "cyclonedx"]),
            Default::String("spdx"),
            "SPDX 2.3 or CycloneDX 1.5, as JSON.",
        )],
    )
};

/// Several platforms' OCI layouts as one.
pub(crate) static INDEX: KindSchema = export(
    "index",
    "Joins the OCI layouts of several platforms into one, with an index over them.",
    StateUse::None,
    &[REF],
);
