//! Short constructors for the tables, and the attributes that several kinds share.

use imgbuild_model::{AttributeSchema, AttributeType, Default, Role};

/// An attribute that changes the bytes.
pub(crate) const fn content(
    name: &'static str,
    type_: AttributeType,
    default: Default,
    doc: &'static str,
) -> AttributeSchema {
    AttributeSchema::new(name, type_, default, Role::Content, doc)
}

/// An attribute that never enters a key.
pub(crate) const fn unkeyed(
    name: &'static str,
    type_: AttributeType,
    default: Default,
    role: Role,
    doc: &'static str,
) -> AttributeSchema {
    AttributeSchema::new(name, type_, default, role, doc)
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

/// `secrets`, for kinds that run commands in a sandbox.
pub(crate) const SECRETS: AttributeSchema = content(
    "secrets",
    AttributeType::Secrets,
    Default::EmptyDict,
    "Secrets that it may read, by name: where each is found, as `env:NAME`, `file:/path`, `file:~/path`, or `provider:path` with a provider of the user's configuration; `#field` takes one text of a JSON object. Each is a file `/run/secrets/<name>`, readable by the step's user alone. Only where it is found enters the key, never its value.",
);

/// `secret_env`, beside [`SECRETS`].
pub(crate) const SECRET_ENV: AttributeSchema = content(
    "secret_env",
    AttributeType::StringDict,
    Default::EmptyDict,
    "Environment variables that hold secrets: from the variable's name to the name in `secrets`. Files are safer: whatever the step starts sees its variables.",
);

/// `owner`, as `user`, `user:group` or numbers.
pub(crate) const OWNER: AttributeSchema = content(
    "owner",
    AttributeType::String,
    Default::String("root:root"),
    "Owner as `user`, `user:group` or numbers; names are looked up in the image.",
);
