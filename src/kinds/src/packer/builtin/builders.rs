//! Builders without a machine of their own.

use imgbuild_model::Role::{Content, Output};
use imgbuild_model::{KindSchema, Rule};

use crate::packer::attribute::{builder, text};
use crate::packer::communicator::COMM;

/// A machine that is there already.
pub(super) static NULL: KindSchema = KindSchema {
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
    attributes: &[
        text("target", Output, "The file that is written.").required(),
        text("source", Content, "The file that is copied; this or `content`."),
        text("content", Content, "The text that is written; this or `source`."),
    ],
    rules: &[Rule::AtMostOne(&["source", "content"])],
    ..builder("file", "One file of the host, as an artifact.")
};
