//! Short constructors for the tables, and the attributes that several kinds share.

use imgbuild_model::{AttributeSchema, AttributeType, Default, Role};

/// An attribute that changes the bytes.
pub(crate) const fn content(
    name: &'static str,
    type_: AttributeType,
    default: Default,
    doc: &'static str,
) -> AttributeSchema {
    AttributeSchema { name, type_, default, doc, role: Role::Content, late_template: false, secret: false }
}

/// An attribute that never enters a key.
pub(crate) const fn unkeyed(
    name: &'static str,
    type_: AttributeType,
    default: Default,
    role: Role,
    doc: &'static str,
) -> AttributeSchema {
    AttributeSchema { name, type_, default, doc, role, late_template: false, secret: false }
}

/// `timeout`, for kinds that run something.
pub(crate) const TIMEOUT: AttributeSchema = unkeyed(
    "timeout",
    AttributeType::Duration,
    Default::None,
    Role::Policy,
    "How long it may take before it is ended and fails; no limit if absent.",
);

/// `cache`, for kinds whose result may be impure.
pub(crate) const CACHE: AttributeSchema = unkeyed(
    "cache",
    AttributeType::Bool,
    Default::Bool(true),
    Role::Policy,
    "Whether the result may be kept and used again; with `False` it runs in every build that needs what follows it.",
);

/// `owner`, as `user`, `user:group` or numbers.
pub(crate) const OWNER: AttributeSchema = content(
    "owner",
    AttributeType::String,
    Default::String("root:root"),
    "Owner as `user`, `user:group` or numbers; names are looked up in the image.",
);
