//! Where chains start.

use imgbuild_model::{AttributeSchema, AttributeType, Default, Effect, KindClass, KindSchema, StateUse};

use crate::attribute::content;

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
    includes: &[&crate::packer::CONNECTION, &crate::packer::SSH],
    builder: "host",
    live: true,
    ..source(
        "host",
        "A machine that is there already, reached over SSH. What is done to it is done in each build, and nothing of it is kept.",
        &[],
    )
};

/// Nothing.
pub(crate) static SCRATCH: KindSchema = source("scratch", "An empty tree.", &[]);
