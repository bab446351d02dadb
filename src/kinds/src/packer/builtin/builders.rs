//! Builders without a machine of their own.

use imgbuild_model::Role::{Content, Output};
use imgbuild_model::{Availability, BlockSchema, KindSchema, Rule, Table};

use crate::packer::attribute::{builder, dict, flag, text, texts, word};
use crate::packer::communicator::COMM;

/// A machine that is there already.
pub(super) static NULL: KindSchema = KindSchema {
    availability: Availability::Native,
    rules: &[
        Rule::When { attribute: "communicator", values: &["ssh"], then: &Rule::All(&["ssh_host", "ssh_username"]) },
        Rule::When {
            attribute: "communicator",
            values: &["ssh"],
            then: &Rule::ExactlyOne(&["ssh_password", "ssh_private_key_file", "ssh_agent_auth"]),
        },
        Rule::When {
            attribute: "communicator",
            values: &["winrm"],
            then: &Rule::All(&["winrm_host", "winrm_username", "winrm_password"]),
        },
    ],
    includes: &[&COMM],
    ..builder("null", "No image: provisions a machine that is there already, or nothing.")
};

/// A file.
pub(super) static FILE: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        text("target", Output, "The file that is written.").required(),
        text("source", Content, "The file that is copied; this or `content`."),
        text("content", Content, "The text that is written; this or `source`."),
    ],
    rules: &[Rule::AtMostOne(&["source", "content"])],
    ..builder("file", "One file of the host, as an artifact.")
};

const DISTRIBUTION: Table = Table::of(&[
    texts("components", Content, "Components of the archive to look in; `main` if absent."),
    word("variant", &["essential", "minbase", "standard"], Content, "What is there without asking.").or_text("minbase"),
    texts("packages", Content, "Packages to install besides."),
]);

/// An image made in namespaces. Ours: Packer has nothing like it.
pub(super) static ROOTFS: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        text("base_image", Content, "The container image of a registry that it starts from."),
        text("base_layout", Content, "The folder with an OCI layout that it starts from."),
        text("base_tarball", Content, "The tarball of a root file system that it starts from."),
        text("platform", Content, "The platform, as `linux/arm64`; the host's if absent."),
        flag("network", Content, "Whether provisioners have the network.").or_true(),
        text("oci_layout", Output, "The folder that gets the image as an OCI layout."),
        text("docker_archive", Output, "The file that gets the image for `docker load`."),
        text("tarball", Output, "The file that gets the root file system; compressed as its ending says: `.tar`, `.tar.gz`, `.tar.zst`."),
        text("image_name", Content, "The image's name and tag in its artifacts; the source's name and `latest` if absent."),
        dict("env", Content, "The container's environment variables; provisioners see them too."),
        texts("entrypoint", Content, "The container's entry point."),
        texts("cmd", Content, "The container's default arguments."),
        text("workdir", Content, "The folder that provisioners and the container start in."),
        text("user", Content, "The user that provisioners and the container run as."),
        dict("labels", Content, "Labels of the image."),
        texts("expose", Content, "Ports that the container listens on."),
        texts("volumes", Content, "Paths meant for volumes."),
    ],
    blocks: &[
        BlockSchema::one("debian", "A release of Debian that it starts from.", Table {
            attributes: &[
                text("suite", Content, "The release: a suite or a codename.").or_text("stable"),
                flag("security", Content, "Whether the suite's security and updates archives are looked in too."),
            ],
            includes: &[&DISTRIBUTION],
            ..Table::EMPTY
        }),
        BlockSchema::one("ubuntu", "A release of Ubuntu that it starts from.", Table {
            attributes: &[text("suite", Content, "The release's codename.").required()],
            includes: &[&DISTRIBUTION],
            ..Table::EMPTY
        }),
    ],
    rules: &[Rule::AtMostOne(&["debian", "ubuntu", "base_image", "base_layout", "base_tarball"])],
    ..builder("rootfs", "An image made in namespaces of this host: no machine, no container engine.")
};
