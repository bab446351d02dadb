//! Where chains start.

use imgbuild_model::{
    AttributeSchema, AttributeType, Default, Effect, KindClass, KindSchema, Role, StateUse, Table,
};

use crate::attribute::{content, unkeyed};

const fn source(id: &'static str, doc: &'static str, attributes: &'static [AttributeSchema]) -> KindSchema {
    KindSchema {
        id,
        class: KindClass::Source,
        key_version: 1,
        effect: Effect::Guest,
        doc,
        attributes,
        keeps_packages: true,
        state: StateUse::None,
        ..KindSchema::BLANK
    }
}

const PACKAGES: AttributeSchema = content(
    "packages",
    AttributeType::StringList,
    Default::EmptyList,
    "Packages to install besides those of the variant, as `name`, `name=version` or `name:architecture`.",
);

const COMPONENTS: AttributeSchema = content(
    "components",
    AttributeType::StringList,
    Default::None,
    "Components of the archive to look in; `main` if absent.",
);

const VARIANT: AttributeSchema = content(
    "variant",
    AttributeType::Enum(&["essential", "minbase", "standard"]),
    Default::String("minbase"),
    "What is there without asking: `essential` packages alone; `minbase`, those and apt; `standard`, all that are required or important.",
);

/// A release of Debian, from its archive.
pub(crate) static DEBIAN: KindSchema = source(
    "debian",
    "A minimal Debian system, made from the packages of its signed archive; the closure is in the lock file.",
    &[
        content(
            "suite",
            AttributeType::String,
            Default::String("stable"),
            "The release: a suite (`stable`) or a codename (`bookworm`).",
        ),
        COMPONENTS,
        VARIANT,
        PACKAGES,
        content(
            "security",
            AttributeType::Bool,
            Default::Bool(false),
            "Whether the suite's security and updates archives are looked in too.",
        ),
    ],
);

/// A release of Ubuntu, from its archive.
pub(crate) static UBUNTU: KindSchema = source(
    "ubuntu",
    "A minimal Ubuntu system, made from the packages of its signed archive; the closure is in the lock file.",
    &[
        content(
            "suite",
            AttributeType::String,
            Default::Required,
            "The release's codename, for example `noble`.",
        ),
        COMPONENTS,
        VARIANT,
        PACKAGES,
    ],
);

/// An image of a registry or of a local layout.
pub(crate) static OCI_BASE: KindSchema = source(
    "oci_base",
    "A container image, from a registry or from an OCI layout in the workspace; its digest is in the lock file.",
    &[
        content(
            "image",
            AttributeType::String,
            Default::None,
            "The image's reference, for example `registry.example/app:1.2` or `…@sha256:…`; this or `layout`.",
        ),
        content(
            "layout",
            AttributeType::File,
            Default::None,
            "A folder of the workspace that holds an OCI layout; this or `image`.",
        ),
        content(
            "ref",
            AttributeType::String,
            Default::None,
            "Which image of the layout, by its `org.opencontainers.image.ref.name`; needed if it has several.",
        ),
    ],
);

/// A tarball of a root file system.
pub(crate) static ROOTFS_TAR: KindSchema = source(
    "rootfs_tar",
    "The root file system in a tarball (plain, gzip, xz or zstd).",
    &[content("src", AttributeType::File, Default::Required, "The tarball.")],
);

/// A machine that is there.
pub(crate) static HOST: KindSchema = KindSchema {
    includes: &[&crate::packer::OVER_SSH],
    builder: "host",
    live: true,
    ..source(
        "host",
        "A machine that is there already, reached over SSH. What is done to it is done in each build, and nothing of it is kept.",
        &[],
    )
};

/// A machine of QEMU.
pub(crate) static QEMU: KindSchema = KindSchema {
    includes: &[&QEMU_OWN, &crate::packer::QEMU_MAKING],
    builder: "qemu",
    ..source(
        "qemu",
        "A virtual machine of QEMU that starts from a disk, or is installed from a medium, and is provisioned over SSH. Each step's result is what it wrote to the disks, over those below; the machine goes on from one step to the next, and a later build from the last snapshot that holds.",
        QEMU_OWN_MAKING,
    )
};

/// A machine of QEMU that is looked at.
pub(crate) static BOOT: KindSchema = KindSchema {
    includes: &[&QEMU_OWN],
    builder: "qemu",
    ..source(
        "boot",
        "A virtual machine of QEMU that starts from an image's disk, so that the system on it can be looked at. Nothing of what it does is kept. Without `seed` and `ssh_username` nobody logs in to it, and its console is watched.",
        &[
            content(
                "console",
                AttributeType::String,
                Default::None,
                "A regular expression that the console must show before anything else is looked at. It is `login:` if absent, for a machine that nobody logs in to.",
            ),
            content("disk", AttributeType::File, Default::Required, "The disk, of another target."),
        ],
    )
};

/// What a machine is, besides what templates say of one.
const QEMU_OWN: Table = Table::of(&[
    content(
        "vm_name",
        AttributeType::String,
        Default::None,
        "What `{{ .Name }}` stands for in `boot_command`, `boot_steps` and `qemuargs`; `imgbuild` if absent.",
    ),
    content(
        "network",
        AttributeType::Bool,
        Default::Bool(false),
        "Whether the machine reaches more than this program: the first networked action of a chain has an age.",
    ),
    content(
        "seed",
        AttributeType::Enum(&["none", "nocloud"]),
        Default::String("none"),
        "What the machine is told at each boot: with `nocloud` cloud-init makes `ssh_username` and lets in a key that is made for the boot; no layer keeps it.",
    ),
    content(
        "hostname",
        AttributeType::String,
        Default::None,
        "The machine's name, with a seed; `machine` if absent.",
    ),
    content(
        "floppy",
        AttributeType::Files,
        Default::EmptyList,
        "Files and folders for the root of a floppy disk.",
    ),
    content(
        "floppy_content",
        AttributeType::StringDict,
        Default::EmptyDict,
        "Texts for a floppy disk, by path.",
    ),
    content("floppy_label", AttributeType::String, Default::None, "The floppy disk's label."),
    content("cd", AttributeType::Files, Default::EmptyList, "Files and folders for a CD."),
    content("cd_content", AttributeType::StringDict, Default::EmptyDict, "Texts for a CD, by path."),
    content("cd_label", AttributeType::String, Default::None, "The CD's label; `cidata` for cloud-init."),
    unkeyed(
        "host_port_min",
        AttributeType::Int,
        Default::None,
        Role::Transport,
        "The first port of the host's loopback to try for SSH; any that is free if absent.",
    ),
    unkeyed("host_port_max", AttributeType::Int, Default::None, Role::Transport, "The last port to try."),
])
.includes(&[&crate::packer::QEMU_MACHINE]);

/// How its disks come to be, and what becomes of it.
const QEMU_OWN_MAKING: &[AttributeSchema] = &[
    content(
        "disk",
        AttributeType::File,
        Default::None,
        "The disk or medium: a file of the workspace, or of another target, such as the `disk` of an image. This or `urls`.",
    ),
    unkeyed(
        "urls",
        AttributeType::StringList,
        Default::EmptyList,
        Role::Placement,
        "Where the disk or medium is fetched from, tried in order; `checksum` says what it is.",
    ),
    content(
        "checksum",
        AttributeType::String,
        Default::None,
        "The digest of the disk or medium, as `sha256:…`; also of md5, sha1 and sha512; in templates also `file:` and the address of a list of digests, as `sha256sum` writes it. `urls` need one, or `checksum_list`.",
    ),
    content(
        "checksum_list",
        AttributeType::File,
        Default::None,
        "A list of digests in place of `checksum`, in which the disk or medium is looked up by its name.",
    ),
    content(
        "listed_as",
        AttributeType::String,
        Default::None,
        "The name by which the list of digests has what `urls` lead to; that of the first of them if absent.",
    ),
    content(
        "installer",
        AttributeType::Bool,
        Default::Bool(false),
        "Whether it is a medium that installs a system on an empty disk, in place of a disk that boots.",
    ),
    unkeyed(
        "boot_wait_for",
        AttributeType::String,
        Default::None,
        Role::Policy,
        "A text on the first serial port that is waited for before keys are typed, in place of `boot_wait`: for 15 minutes at most, or `ssh_timeout` if that is longer.",
    ),
    content(
        "http",
        AttributeType::File,
        Default::None,
        "A folder whose files are served while it boots first, at `{{ .HTTPIP }}:{{ .HTTPPort }}` of `boot_command`.",
    ),
    content(
        "http_content",
        AttributeType::StringDict,
        Default::EmptyDict,
        "Texts that are served, by path; paths start with `/`. This or `http`.",
    ),
    content(
        "authorized_key",
        AttributeType::File,
        Default::None,
        "A public or private key, whose public half `{{ .SSHPublicKey }}` stands for in `qemuargs`, `boot_command` and `boot_steps`; with a seed, what is typed is the key made for the boot.",
    ),
    unkeyed(
        "warm",
        AttributeType::Bool,
        Default::Bool(true),
        Role::Policy,
        "Whether the machine's memory is kept beside the disks, on this host alone, so that the next build goes on without a boot.",
    ),
];

/// Nothing.
pub(crate) static SCRATCH: KindSchema = source("scratch", "An empty tree.", &[]);
