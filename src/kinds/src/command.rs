//! What makes files with an image's tools.

use imgbuild_model::{AttributeType, Default, Effect, KindClass, KindSchema, StateUse};

use crate::attribute::{CACHE, TIMEOUT, content};

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
