//! What makes files with an image's tools.

use imgbuild_model::{AttributeType, Default, Effect, KindClass, KindSchema, Role, StateUse};

use crate::attribute::{CACHE, TIMEOUT, content, unkeyed};

/// A command that makes files.
pub(crate) static GENRULE: KindSchema = KindSchema {
    id: "genrule",
    class: KindClass::Command,
    key_version: 1,
    effect: Effect::Output,
    doc: "Runs a command in the tree of an image, or on the host, and keeps the files it makes.",
    attributes: &[
        content(
            "cmd",
            AttributeType::String,
            Default::Required,
            "A script for `sh -eu`. `$SRCS` is the folder of the inputs, `$OUT` the folder that outputs are written to.",
        ),
        content(
            "srcs",
            AttributeType::Files,
            Default::EmptyList,
            "Files that it reads, under their base names.",
        ),
        content("env", AttributeType::StringDict, Default::EmptyDict, "Environment variables."),
        content("network", AttributeType::Bool, Default::Bool(false), "Whether it may use the network."),
        content(
            "host",
            AttributeType::Bool,
            Default::Bool(false),
            "Whether it runs on the host instead, without a sandbox: its result is never kept.",
        ),
        TIMEOUT,
        CACHE,
    ],
    keeps_packages: true,
    state: StateUse::Commands,
    ..KindSchema::BLANK
};

/// A build of a template by a real `packer`, as one action.
pub(crate) static PACKER_BUILD: KindSchema = KindSchema {
    id: "packer_build",
    class: KindClass::Command,
    key_version: 1,
    effect: Effect::Output,
    doc: "A build of a template whose builder is not built in, carried out whole by a real `packer`. Made for templates.",
    attributes: &[
        content("recipe", AttributeType::String, Default::Required, "The build, evaluated."),
        content("packer", AttributeType::String, Default::Required, "The versions that the program reports."),
        content("srcs", AttributeType::Files, Default::EmptyList, "The files that the build names."),
        unkeyed(
            "name",
            AttributeType::String,
            Default::Required,
            Role::Naming,
            "The build, as `-only` names it.",
        ),
        unkeyed("program", AttributeType::String, Default::Required, Role::Placement, "The program."),
        unkeyed(
            "template",
            AttributeType::String,
            Default::Required,
            Role::Placement,
            "The template's path.",
        ),
        unkeyed("args", AttributeType::StringList, Default::EmptyList, Role::Transport, "Further arguments."),
        unkeyed(
            "variables",
            AttributeType::String,
            Default::String(""),
            Role::Transport,
            "Values of variables, as a JSON object. They are given in a file, since arguments are for all to see.",
        ),
        unkeyed(
            "workdir",
            AttributeType::String,
            Default::Required,
            Role::Placement,
            "The folder that it runs in.",
        ),
        TIMEOUT,
        CACHE,
    ],
    keeps_packages: true,
    state: StateUse::None,
    ..KindSchema::BLANK
};

/// A file of known content.
pub(crate) static WRITE_FILE: KindSchema = KindSchema {
    id: "write_file",
    class: KindClass::Command,
    key_version: 1,
    effect: Effect::Output,
    doc: "Writes a text, or copies a file of the workspace: what the builder `file` of a template makes.",
    attributes: &[
        content("content", AttributeType::String, Default::None, "The text; this or `src`."),
        content("src", AttributeType::Files, Default::EmptyList, "The file; this or `content`."),
        CACHE,
    ],
    keeps_packages: true,
    state: StateUse::None,
    ..KindSchema::BLANK
};
