//! Steps that change what later steps and the image's configuration start from, and no file: they make no layer.

use imgbuild_model::{AttributeSchema, AttributeType, Default, Effect, KindClass, KindSchema, StateUse};

use crate::attribute::content;

const fn state(id: &'static str, doc: &'static str, attributes: &'static [AttributeSchema]) -> KindSchema {
    KindSchema {
        id,
        class: KindClass::Step,
        key_version: 1,
        effect: Effect::State,
        doc,
        attributes,
        keeps_packages: true,
        state: StateUse::None,
        ..KindSchema::BLANK
    }
}

/// Environment variables.
pub(crate) static ENV: KindSchema = state(
    "env",
    "Sets environment variables, for later steps and for the container.",
    &[content("variables", AttributeType::StringDict, Default::Required, "The variables.")],
);

/// The user.
pub(crate) static RUN_AS: KindSchema = state(
    "run_as",
    "Sets the user of later steps and of the container.",
    &[content("user", AttributeType::String, Default::Required, "`user`, `user:group` or numbers.")],
);

/// The working folder.
pub(crate) static WORKDIR: KindSchema = state(
    "workdir",
    "Sets the folder in which later steps and the container start.",
    &[content("path", AttributeType::String, Default::Required, "An absolute path.")],
);

/// The shell of `shell` steps.
pub(crate) static DEFAULT_SHELL: KindSchema = state(
    "default_shell",
    "Sets the command that later `shell` steps hand their script to.",
    &[content(
        "command",
        AttributeType::StringList,
        Default::Required,
        "For example `[\"/bin/bash\", \"-euo\", \"pipefail\"]`.",
    )],
);

/// The entry point.
pub(crate) static ENTRYPOINT: KindSchema = state(
    "entrypoint",
    "Sets the container's entry point.",
    &[content("command", AttributeType::StringList, Default::Required, "Program and arguments.")],
);

/// The default arguments.
pub(crate) static CMD: KindSchema = state(
    "cmd",
    "Sets the container's default command, or the entry point's default arguments.",
    &[content("command", AttributeType::StringList, Default::Required, "Program and arguments.")],
);

/// Labels.
pub(crate) static LABEL: KindSchema = state(
    "label",
    "Sets labels of the image.",
    &[content("labels", AttributeType::StringDict, Default::Required, "The labels.")],
);

/// Ports.
pub(crate) static EXPOSE: KindSchema = state(
    "expose",
    "Says which ports the container listens on.",
    &[content("ports", AttributeType::StringList, Default::Required, "For example `80/tcp`.")],
);

/// Volumes.
pub(crate) static VOLUME: KindSchema = state(
    "volume",
    "Says which paths are meant for volumes.",
    &[content("paths", AttributeType::StringList, Default::Required, "Absolute paths.")],
);

/// The stop signal.
pub(crate) static STOP_SIGNAL: KindSchema = state(
    "stop_signal",
    "Sets the signal that ends the container.",
    &[content("signal", AttributeType::String, Default::Required, "For example `SIGTERM`.")],
);
