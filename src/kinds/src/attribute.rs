//! Short constructors for the tables, and the attributes that several kinds share.

use imgbuild_model::{AttributeSchema, AttributeType, Default, Role, Table};

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

/// `max_retries`, for kinds that run something.
pub(crate) const MAX_RETRIES: AttributeSchema = unkeyed(
    "max_retries",
    AttributeType::Int,
    Default::Int(0),
    Role::Policy,
    "How many times it is tried again, each time from the same start, when it fails.",
);

/// `pause_before`, for kinds that run something.
pub(crate) const PAUSE_BEFORE: AttributeSchema = unkeyed(
    "pause_before",
    AttributeType::Duration,
    Default::None,
    Role::Policy,
    "How long to wait before each try.",
);

/// `valid_exit_codes`, for kinds that run something.
pub(crate) const VALID_EXIT_CODES: AttributeSchema = content(
    "valid_exit_codes",
    AttributeType::List(&AttributeType::Int),
    Default::EmptyList,
    "Exit codes that count as success; 0 alone if empty.",
);

/// `continue_on_error`, for steps that run something.
pub(crate) const CONTINUE_ON_ERROR: AttributeSchema = content(
    "continue_on_error",
    AttributeType::Bool,
    Default::Bool(false),
    "Whether the chain goes on from what it left when it failed.",
);

/// `execute_command`, for kinds that run a script.
pub(crate) const EXECUTE_COMMAND: AttributeSchema = content(
        "execute_command",
        AttributeType::String,
        Default::None,
        "The line for `/bin/sh -c` that runs the script, as a template: `{{ .Path }}` is the script, `{{ .Vars }}` are the variables of `env` as assignments, `{{ .EnvVarFile }}` is a file that exports them. The script is run with the variables in its environment if absent.",
)
.late();

/// `env_var_format`, beside [`EXECUTE_COMMAND`].
pub(crate) const ENV_VAR_FORMAT: AttributeSchema = content(
    "env_var_format",
    AttributeType::String,
    Default::None,
    "How each variable is written, as `printf` of its name and value; `%s='%s' ` in `{{ .Vars }}`, and lines of `export %s='%s'` in a file of variables, if absent.",
);

/// `cache`, for kinds whose result may be impure.
pub(crate) const CACHE: AttributeSchema = unkeyed(
    "cache",
    AttributeType::Bool,
    Default::Bool(true),
    Role::Policy,
    "Whether the result may be kept and used again; with `False` it runs in every build that needs what follows it.",
);

/// What a machine is left with behind a step, for kinds that change an image.
pub(crate) const CHECKPOINTS: Table = Table::of(&[
    unkeyed(
        "checkpoint",
        AttributeType::Enum(&["auto", "always", "never"]),
        Default::String("auto"),
        Role::Policy,
        "Whether a machine is kept behind the step, so that a later build can go on from there: `auto` keeps it unless doing the step again takes less than keeping did the last times. It is kept in any case where something else stands on it. In a tree every step is kept, which costs nothing.",
    ),
    content(
        "fuse",
        AttributeType::Bool,
        Default::Bool(false),
        "Whether the next step needs what this one leaves running, as a service, a mount or a setting of the kernel: no machine is started between the two, and where one runs again, so does the other.",
    ),
]);

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

/// `vars_file` of goss files.
pub(crate) const GOSS_VARS_FILE: AttributeSchema =
    content("vars_file", AttributeType::File, Default::None, "YAML or JSON with variables: `.Vars`.");

/// `vars` of goss files.
pub(crate) const GOSS_VARS: AttributeSchema = content(
    "vars",
    AttributeType::StringDict,
    Default::EmptyDict,
    "Variables, in place of those of `vars_file`.",
);

/// `env` of goss files.
pub(crate) const GOSS_ENV: AttributeSchema = content(
    "env",
    AttributeType::StringDict,
    Default::EmptyDict,
    "Environment variables: `.Env` of its templates, and of its commands.",
);

/// `network` of goss files.
pub(crate) const GOSS_NETWORK: AttributeSchema = content(
    "network",
    AttributeType::Bool,
    Default::Bool(false),
    "Whether its commands may use the network.",
);

/// `not_booted` of goss files.
pub(crate) const GOSS_NOT_BOOTED: AttributeSchema = content(
    "not_booted",
    AttributeType::Enum(&["fail", "skip"]),
    Default::String("fail"),
    "What becomes of what cannot be known of an image whose system does not run: `fail`, or `skip`, which is said.",
);
