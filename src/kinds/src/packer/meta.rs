//! Meta-arguments: what the core takes out of the body of any provisioner or post-processor.

use imgbuild_model::Role::{Naming, Policy};
use imgbuild_model::{AttributeSchema, AttributeType, Default, Role, Rule, Table};

use super::attribute::{dur, flag, int, text, texts, tri};

const ONLY: AttributeSchema = texts("only", Policy, "Names of the sources that it runs for.");
const EXCEPT: AttributeSchema = texts("except", Policy, "Names of the sources that it does not run for.");

/// What any provisioner takes.
pub const PROVISIONER_META: Table = Table::of(&[
    text("name", Naming, "What it is called in listings."),
    ONLY,
    EXCEPT,
    AttributeSchema::new(
        "override",
        AttributeType::Any,
        Default::None,
        Role::Content,
        "Attributes for single sources, by the source's name.",
    ),
    dur("pause_before", Policy, "How long to wait before it."),
    dur("timeout", Policy, "How long one attempt may take."),
    int("max_retries", Policy, "How often it is tried again after a failure.").or_int(0),
    flag("continue_on_error", Policy, "Whether its failure is only a warning."),
])
.rules(&[Rule::AtMostOne(&["only", "except"])]);

/// What any post-processor takes.
pub const POST_PROCESSOR_META: Table = Table::of(&[
    text("name", Naming, "What `-except` knows it by."),
    ONLY,
    EXCEPT,
    tri("keep_input_artifact", Policy, "Whether what came in is kept; if absent, it decides for itself."),
])
.rules(&[Rule::AtMostOne(&["only", "except"])]);
