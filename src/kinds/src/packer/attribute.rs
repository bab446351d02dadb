//! Short constructors, so that an attribute is a line.

use imgbuild_model::{
    AttributeSchema, AttributeType, Availability, Default, Effect, KindClass, KindSchema, OutputSchema, Role,
};

const fn new(
    name: &'static str,
    type_: AttributeType,
    default: Default,
    role: Role,
    doc: &'static str,
) -> AttributeSchema {
    AttributeSchema::new(name, type_, default, role, doc)
}

/// A text.
pub(super) const fn text(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::String, Default::None, role, doc)
}

/// A text that nobody may see.
pub(super) const fn secret(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    text(name, role, doc).secret()
}

/// A whole number.
pub(super) const fn int(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::Int, Default::None, role, doc)
}

/// A number.
pub(super) const fn number(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::Number, Default::None, role, doc)
}

/// A truth value, false when not given.
pub(super) const fn flag(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::Bool, Default::Bool(false), role, doc)
}

/// A truth value of which absent is a third state.
pub(super) const fn tri(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::Trilean, Default::None, role, doc)
}

/// A duration.
pub(super) const fn dur(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::GoDuration, Default::None, role, doc)
}

/// A list of texts.
pub(super) const fn texts(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::StringList, Default::EmptyList, role, doc)
}

/// A list of whole numbers.
pub(super) const fn ints(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::List(&AttributeType::Int), Default::EmptyList, role, doc)
}

/// A list of lists of texts.
pub(super) const fn rows(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::List(&AttributeType::StringList), Default::EmptyList, role, doc)
}

/// A map from text to text.
pub(super) const fn dict(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::StringDict, Default::EmptyDict, role, doc)
}

/// One of these texts.
pub(super) const fn word(
    name: &'static str,
    words: &'static [&'static str],
    role: Role,
    doc: &'static str,
) -> AttributeSchema {
    new(name, AttributeType::Enum(words), Default::None, role, doc)
}

/// One of these texts, in upper or lower case.
pub(super) const fn word_any_case(
    name: &'static str,
    words: &'static [&'static str],
    role: Role,
    doc: &'static str,
) -> AttributeSchema {
    new(name, AttributeType::EnumAnyCase(words), Default::None, role, doc)
}

/// Any data.
pub(super) const fn any(name: &'static str, role: Role, doc: &'static str) -> AttributeSchema {
    new(name, AttributeType::Any, Default::None, role, doc)
}

/// A text that a component makes known.
pub(super) const fn output(name: &'static str, doc: &'static str) -> OutputSchema {
    OutputSchema { name, type_: AttributeType::String, secret: false, doc }
}

/// A text that a component makes known to those who may see it.
pub(super) const fn secret_output(name: &'static str, doc: &'static str) -> OutputSchema {
    OutputSchema { secret: true, ..output(name, doc) }
}

/// A value of another type that a component makes known.
pub(super) const fn typed_output(
    name: &'static str,
    type_: AttributeType,
    doc: &'static str,
) -> OutputSchema {
    OutputSchema { type_, ..output(name, doc) }
}

const fn component(class: KindClass, effect: Effect, id: &'static str, doc: &'static str) -> KindSchema {
    KindSchema { id, class, effect, doc, availability: Availability::Unavailable, ..KindSchema::BLANK }
}

/// A builder.
pub(super) const fn builder(id: &'static str, doc: &'static str) -> KindSchema {
    component(KindClass::Builder, Effect::Guest, id, doc)
}

/// A provisioner that changes the guest and nothing else.
pub(super) const fn provisioner(id: &'static str, doc: &'static str) -> KindSchema {
    component(KindClass::Provisioner, Effect::Guest, id, doc)
}

/// A post-processor.
pub(super) const fn post_processor(id: &'static str, doc: &'static str) -> KindSchema {
    component(KindClass::PostProcessor, Effect::Output, id, doc)
}

/// A data source.
pub(super) const fn data_source(id: &'static str, doc: &'static str) -> KindSchema {
    component(KindClass::DataSource, Effect::Host, id, doc)
}

/// A communicator.
pub(super) const fn communicator(id: &'static str, doc: &'static str) -> KindSchema {
    component(KindClass::Communicator, Effect::Host, id, doc)
}
