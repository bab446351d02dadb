//! The plugin `docker`, and `podman`, which is like it.

use imgbuild_model::Role::{Content, Machine, Naming, Output, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, BlockSchema, KindSchema, OutputSchema, Rule, Table};

use super::attribute::{builder, dict, flag, output, post_processor, secret, text, texts, tri};
use super::communicator::{COMMUNICATOR, CONNECTION, LOGIN as COMM_LOGIN};

/// Each component of the plugins.
pub(super) static ALL: &[&KindSchema] = &[&DOCKER, &IMPORT, &TAG, &PUSH, &SAVE, &PODMAN];

const DOCKER_PATH: AttributeSchema = text("docker_path", Placement, "The engine's program.").or_text("docker");

/// How a registry is logged in to.
const LOGIN: Table = Table::of(&[
    flag("login", Transport, "Whether the registry is logged in to."),
    text("login_username", Transport, "Who logs in."),
    secret("login_password", Transport, "The password."),
    text("login_server", Transport, "The registry."),
]);

/// How Amazon's registry is logged in to.
const ECR: Table = Table::of(&[
    flag("ecr_login", Transport, "Whether Amazon's registry is logged in to; needs `login_server`."),
    text("aws_access_key", Transport, "The account's key."),
    secret("aws_secret_key", Transport, "The account's secret key."),
    secret("aws_token", Transport, "A session's token."),
    text("aws_profile", Transport, "A profile of the AWS configuration."),
    flag("aws_force_use_public_ecr", Transport, "Whether it is the public registry."),
])
.rules(&[Rule::Needs("ecr_login", &["login_server"])])
.includes(&[&LOGIN]);

/// What a container is run with, by either engine.
const CONTAINER: Table = Table::of(&[
    flag("commit", Output, "Whether the container becomes an image."),
    text("export_path", Output, "A tarball that the container's tree is written to."),
    flag("discard", Output, "Whether the container is thrown away."),
    flag("pull", Policy, "Whether the base is pulled before.").or_true(),
    text("author", Content, "The author in the image's configuration."),
    text("message", Content, "The message in the image's history."),
    texts("changes", Content, "Instructions for the image's configuration, such as `ENV A=b` or `CMD [\"sh\"]`."),
    texts("run_command", Machine, "What follows `run`: templates with `.Image`.").late(),
    text("container_dir", Machine, "Where files are handed over in the container; `/packer-files` if absent."),
    dict("volumes", Machine, "Folders that are mounted, from path on the host to path in the container."),
    texts("tmpfs", Machine, "Paths that are kept in memory."),
    texts("device", Machine, "Devices that the container sees."),
    texts("cap_add", Machine, "Capabilities that are added."),
    texts("cap_drop", Machine, "Capabilities that are taken away."),
    flag("privileged", Machine, "Whether the container has all rights."),
    text("exec_user", Content, "Who runs commands in the container."),
    flag("pty", Transport, "Whether commands get a terminal."),
    flag("fix_upload_owner", Content, "Whether files that are put in belong to who runs commands.").or_true(),
])
.rules(&[Rule::ExactlyOne(&["commit", "export_path", "discard"])])
.includes(&[&CONNECTION, &COMM_LOGIN]);

const IMAGE: AttributeSchema = text("image", Content, "The base: a tag or a digest.");
const IMAGE_DIGEST: OutputSchema = output("ImageSha256", "The id of the image that was made.");

const BUILD: Table = Table::of(&[
    text("path", Content, "The Dockerfile.").required(),
    text("build_dir", Content, "The folder that is the context.").or_text("."),
    dict("arguments", Content, "Arguments of the build."),
    tri("pull", Policy, "Whether bases are pulled; they are unless false."),
    flag("compress", Transport, "Whether the context is compressed on its way."),
]);

/// A container.
static DOCKER: KindSchema = KindSchema {
    attributes: &[
        COMMUNICATOR.or_text("docker"),
        IMAGE,
        text("runtime", Machine, "The runtime of containers, such as `runsc`."),
        text("platform", Content, "The platform of the base and the container."),
        flag("windows_container", Machine, "Whether it is a Windows container."),
        DOCKER_PATH,
    ],
    blocks: &[BlockSchema::one("build", "A base that is built before from a Dockerfile; this or `image`.", BUILD)],
    rules: &[Rule::ExactlyOne(&["image", "build"])],
    includes: &[&CONTAINER, &ECR],
    outputs: &[
        IMAGE_DIGEST,
        output("SourceImageDigest", "The digest of the base, in its registry."),
        output("SourceImageSha256", "The id of the base."),
    ],
    ..builder("docker", "An image made of a container of a base.")
};

const REPOSITORY: AttributeSchema = text("repository", Naming, "The repository.").required();

/// A tarball as an image.
static IMPORT: KindSchema = KindSchema {
    attributes: &[
        REPOSITORY,
        text("tag", Naming, "The tag."),
        texts("changes", Content, "Instructions for the image's configuration."),
        text("platform", Content, "The platform that the image says it is for."),
        DOCKER_PATH,
    ],
    ..post_processor("docker-import", "Makes an image of an exported tarball.")
};

/// Names.
static TAG: KindSchema = KindSchema {
    attributes: &[
        REPOSITORY,
        texts("tags", Naming, "The tags; `latest` if there are none."),
        texts("tag", Naming, "The tags.").old_name_of("tags"),
        flag("force", Policy, "Whether a tag is moved.").deprecated("it does nothing since Docker 1.12"),
        DOCKER_PATH,
    ],
    ..post_processor("docker-tag", "Gives an image names.")
};

/// To a registry.
static PUSH: KindSchema = KindSchema {
    attributes: &[text("platform", Content, "The platform that is pushed."), DOCKER_PATH],
    includes: &[&ECR],
    outputs: &[output("Digest", "The digest in the registry.")],
    ..post_processor("docker-push", "Sends an image to a registry.")
};

/// To a file.
static SAVE: KindSchema = KindSchema {
    attributes: &[text("path", Output, "The archive.").required(), DOCKER_PATH],
    ..post_processor("docker-save", "Writes an image into an archive.")
};

/// A container of the other engine.
static PODMAN: KindSchema = KindSchema {
    attributes: &[
        COMMUNICATOR.or_text("docker"),
        IMAGE.required(),
        text("systemd", Machine, "Whether the container is made fit for systemd: `true`, `false` or `always`.").or_text("true"),
    ],
    includes: &[&CONTAINER, &LOGIN],
    outputs: &[IMAGE_DIGEST],
    ..builder("podman", "An image made of a container of a base, by Podman.")
};
