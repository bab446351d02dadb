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
