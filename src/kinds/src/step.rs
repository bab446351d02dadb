//! Steps that change the image's files.

use imgbuild_model::{
    AttributeSchema, AttributeType, Default, Effect, KindClass, KindSchema, Role, StateUse,
};

use crate::attribute::{
    CACHE, CHECKPOINTS, CONTINUE_ON_ERROR, ENV_VAR_FORMAT, EXECUTE_COMMAND, GOSS_ENV, GOSS_NETWORK,
    GOSS_NOT_BOOTED, GOSS_VARS, GOSS_VARS_FILE, MAX_RETRIES, OWNER, PAUSE_BEFORE, SECRET_ENV, SECRETS,
    TIMEOUT, VALID_EXIT_CODES, content, unkeyed,
};

const fn step(
    id: &'static str,
    doc: &'static str,
    keeps_packages: bool,
    attributes: &'static [AttributeSchema],
) -> KindSchema {
    KindSchema {
        id,
        class: KindClass::Step,
        key_version: 1,
        effect: Effect::Guest,
        doc,
        attributes,
        keeps_packages,
        state: StateUse::None,
        ..KindSchema::BLANK
    }
}

/// A step that leaves something in the image.
const fn in_image(
    id: &'static str,
    doc: &'static str,
    keeps_packages: bool,
    attributes: &'static [AttributeSchema],
) -> KindSchema {
    KindSchema { includes: &[&CHECKPOINTS], ..step(id, doc, keeps_packages, attributes) }
}

/// Commands of a shell.
pub(crate) static SHELL: KindSchema = KindSchema {
    id: "shell",
    class: KindClass::Step,
    key_version: 2,
    effect: Effect::Guest,
    doc: "Runs commands in the image in a fresh sandbox: no network unless asked for, no environment but what is declared.",
    attributes: &[
        content(
            "inline",
            AttributeType::StringList,
            Default::None,
            "Commands, run one after the other as one script that stops at the first that fails; this or `script`.",
        ),
        content(
            "script",
            AttributeType::File,
            Default::None,
            "A script of the workspace, run by its `#!` line, or by the chain's shell if it has none.",
        ),
        content("args", AttributeType::StringList, Default::EmptyList, "Arguments of the script."),
        EXECUTE_COMMAND,
        ENV_VAR_FORMAT,
        content(
            "unix_line_ends",
            AttributeType::Bool,
            Default::Bool(false),
            "Whether carriage returns at the ends of the script's lines are left out.",
        ),
        VALID_EXIT_CODES,
        CONTINUE_ON_ERROR,
        content(
            "srcs",
            AttributeType::Files,
            Default::EmptyList,
            "Files that the commands may read; they are in the folder that `$SRCS` names, under their base names.",
        ),
        content(
            "env",
            AttributeType::StringDict,
            Default::EmptyDict,
            "Environment variables of this step alone.",
        ),
        content(
            "user",
            AttributeType::String,
            Default::None,
            "Who runs it; the chain's user if absent, else root.",
        ),
        content(
            "workdir",
            AttributeType::String,
            Default::None,
            "Where it runs; the chain's folder if absent, else `/`.",
        ),
        content("network", AttributeType::Bool, Default::Bool(false), "Whether it may use the network."),
        content(
            "metadata",
            AttributeType::Bool,
            Default::Bool(false),
            "Whether it may, with the network, reach a cloud's metadata addresses.",
        ),
        content(
            "new_privileges",
            AttributeType::Bool,
            Default::Bool(false),
            "Whether programs may gain privileges by set-user-id bits (`sudo` and `su` need it).",
        ),
        SECRETS,
        SECRET_ENV,
        unkeyed(
            "remote_path",
            AttributeType::String,
            Default::None,
            Role::Transport,
            "Where the script is put in a machine that is reached over a network; a folder of the step's own if absent.",
        ),
        content(
            "expect_disconnect",
            AttributeType::Bool,
            Default::Bool(false),
            "Whether a machine that goes away meanwhile is no failure.",
        ),
        unkeyed(
            "skip_clean",
            AttributeType::Bool,
            Default::Bool(false),
            Role::Policy,
            "Whether the script is left in a machine that is reached over a network.",
        ),
        MAX_RETRIES,
        PAUSE_BEFORE,
        unkeyed(
            "pause_after",
            AttributeType::Duration,
            Default::None,
            Role::Policy,
            "How long to wait once it has succeeded.",
        ),
        TIMEOUT,
        CACHE,
    ],
    includes: &[&CHECKPOINTS],
    keeps_packages: false,
    state: StateUse::Commands,
    ..KindSchema::BLANK
};

/// Runs each time, whatever is known of it.
const ALWAYS: AttributeSchema = unkeyed(
    "always",
    AttributeType::Bool,
    Default::Bool(false),
    Role::Policy,
    "Whether it is carried out in every build, also when nothing before it has changed.",
);

const fn on_host(id: &'static str, doc: &'static str, attributes: &'static [AttributeSchema]) -> KindSchema {
    KindSchema { effect: Effect::Host, ..step(id, doc, true, attributes) }
}

/// Commands of the host's shell.
pub(crate) static SHELL_LOCAL: KindSchema = on_host(
    "shell_local",
    "Runs commands on the host between two steps, without a sandbox. Skipped where a build finds that nothing before it, nor itself, has changed.",
    &[
        content(
            "inline",
            AttributeType::StringList,
            Default::None,
            "Commands, run as one script of `/bin/sh -e` unless the first begins with `#!`; this or `script`.",
        ),
        content("script", AttributeType::File, Default::None, "A script of the workspace; this or `inline`."),
        content(
            "env",
            AttributeType::StringDict,
            Default::EmptyDict,
            "Environment variables, beside those of the program itself.",
        ),
        content(
            "execute_command",
            AttributeType::StringList,
            Default::None,
            "Program and arguments that run the script, as templates: `{{ .Script }}` is the script, `{{ .Vars }}` are the variables of `env` as assignments. `/bin/sh -c '{{.Vars}} {{.Script}}'` if absent.",
        )
        .late(),
        ENV_VAR_FORMAT,
        VALID_EXIT_CODES,
        CONTINUE_ON_ERROR,
        unkeyed(
            "workdir",
            AttributeType::String,
            Default::None,
            Role::Placement,
            "The folder that it starts in, relative to the workspace's root; that root if absent.",
        ),
        ALWAYS,
        MAX_RETRIES,
        PAUSE_BEFORE,
        TIMEOUT,
    ],
);

/// A pause.
pub(crate) static SLEEP: KindSchema = on_host(
    "sleep",
    "Waits before the next step.",
    &[
        content("duration", AttributeType::Duration, Default::Required, "How long."),
        CONTINUE_ON_ERROR,
        ALWAYS,
        MAX_RETRIES,
        PAUSE_BEFORE,
        TIMEOUT,
    ],
);

/// A question.
pub(crate) static BREAKPOINT: KindSchema = on_host(
    "breakpoint",
    "Stops until the user presses enter; on a machine that runs, `shell` and enter opens a shell first.",
    &[
        unkeyed("note", AttributeType::String, Default::String(""), Role::Policy, "What is shown meanwhile."),
        content("disable", AttributeType::Bool, Default::Bool(false), "Whether it is passed over."),
        CONTINUE_ON_ERROR,
        ALWAYS,
        MAX_RETRIES,
        PAUSE_BEFORE,
        TIMEOUT,
    ],
);

/// Files out of the image, in the middle of a chain.
pub(crate) static DOWNLOAD: KindSchema = KindSchema {
    effect: Effect::Output,
    ..step(
        "download",
        "Copies a file or folder out of the image to the host, as it is at this step.",
        true,
        &[
            content(
                "src",
                AttributeType::String,
                Default::Required,
                "An absolute path in the image; a glob may match several.",
            ),
            unkeyed(
                "dest",
                AttributeType::String,
                Default::Required,
                Role::Output,
                "Where on the host: the new path; with a trailing `/`, the folder that receives it.",
            ),
            CONTINUE_ON_ERROR,
            MAX_RETRIES,
            PAUSE_BEFORE,
            TIMEOUT,
        ],
    )
};

/// A goss file, in the middle of a chain.
pub(crate) static GOSS_VALIDATE: KindSchema = KindSchema {
    key_version: 2,
    effect: Effect::Output,
    state: StateUse::Commands,
    ..step(
        "goss_validate",
        "Checks the machine by a goss file, as it is at this step, and changes nothing. Made for templates; in `BUILD.star` images have `tests`.",
        true,
        &[
            content("srcs", AttributeType::Files, Default::Required, "Goss files and folders with some."),
            content(
                "file",
                AttributeType::String,
                Default::String("goss.yaml"),
                "The one to begin with, by its name among `srcs`.",
            ),
            GOSS_VARS_FILE,
            GOSS_VARS,
            GOSS_ENV,
            GOSS_NETWORK,
            content("inspect", AttributeType::Bool, Default::Bool(false), "Whether what fails is only told."),
            GOSS_NOT_BOOTED,
            unkeyed(
                "retry_timeout",
                AttributeType::Duration,
                Default::None,
                Role::Policy,
                "How long checks that fail are tried again.",
            ),
            unkeyed(
                "retry_sleep",
                AttributeType::Duration,
                Default::Int(1),
                Role::Policy,
                "How long to wait between.",
            ),
            unkeyed(
                "format",
                AttributeType::Enum(&[
                    "rspecish",
                    "documentation",
                    "json",
                    "json_oneline",
                    "junit",
                    "nagios",
                    "nagios_verbose",
                    "silent",
                    "tap",
                ]),
                Default::String("rspecish"),
                Role::Output,
                "How results are shown.",
            ),
            unkeyed(
                "format_options",
                AttributeType::Enum(&["perfdata", "verbose", "pretty"]),
                Default::None,
                Role::Output,
                "What else is shown.",
            ),
            unkeyed(
                "dest",
                AttributeType::String,
                Default::None,
                Role::Output,
                "A file of the host for the results as JUnit's XML, also of checks that fail.",
            ),
            CONTINUE_ON_ERROR,
            MAX_RETRIES,
            PAUSE_BEFORE,
            TIMEOUT,
        ],
    )
};

/// Files into the image.
pub(crate) static FILE: KindSchema = in_image(
    "file",
    "Puts a file, a folder or several files of the workspace, or a text, into the image.",
    true,
    &[
        content(
            "src",
            AttributeType::Files,
            Default::EmptyList,
            "What to put there: a file, a folder, a target's files, a glob; this or `content`.",
        ),
        content("content", AttributeType::String, Default::None, "The text of the file; this or `src`."),
        unkeyed(
            "generated",
            AttributeType::String,
            Default::None,
            Role::Transport,
            "A file or folder of the host that is there only when the step runs, by its absolute path; in place of `src`. What is in it is in no key, so it goes with `cache = False`.",
        ),
        content(
            "dest",
            AttributeType::String,
            Default::Required,
            "Where: the file's absolute path; for several files or with a trailing `/`, the folder that receives them. A folder's contents go into it.",
        ),
        content(
            "mode",
            AttributeType::Mode,
            Default::None,
            "Permission bits of files; `0644`, or `0755` for executable ones, if absent.",
        ),
        OWNER,
        CONTINUE_ON_ERROR,
        MAX_RETRIES,
        PAUSE_BEFORE,
        TIMEOUT,
        CACHE,
    ],
);

/// The closure of an `apt_install` whose parent's packages are not known before it runs.
pub(crate) static APT_RESOLVE: KindSchema = KindSchema {
    id: "apt_resolve",
    class: KindClass::Command,
    key_version: 1,
    effect: Effect::Output,
    doc: "Resolves packages against what the parent layer has installed and the locked package index. Made by the planner.",
    attributes: &[content("packages", AttributeType::StringList, Default::Required, "What is asked for.")],
    keeps_packages: true,
    state: StateUse::None,
    ..KindSchema::BLANK
};

/// Debian packages.
pub(crate) static APT_INSTALL: KindSchema = KindSchema {
    // 2: what takes the place of another is unpacked by the dpkg in the image.
    key_version: 2,
    ..step(
        "apt_install",
        "Installs Debian packages with what they depend on, in the versions of the lock file, without recommended ones.",
        true,
        &[content(
            "packages",
            AttributeType::StringList,
            Default::Required,
            "Packages, as `name`, `name=version` or `name:architecture`.",
        )],
    )
};

/// A user account.
pub(crate) static USER: KindSchema = in_image(
    "user",
    "Makes a user account, with a group of the same name unless one is given.",
    true,
    &[
        content("name", AttributeType::String, Default::Required, "The account's name."),
        content(
            "uid",
            AttributeType::Int,
            Default::None,
            "Its number; the first free one from 1000 (100 for `system`) if absent.",
        ),
        content(
            "group",
            AttributeType::String,
            Default::None,
            "Its primary group; one of its own name if absent.",
        ),
        content("groups", AttributeType::StringList, Default::EmptyList, "Further groups; they must exist."),
        content(
            "home",
            AttributeType::String,
            Default::None,
            "Its home; `/home/<name>` if absent, `/nonexistent` for `system`.",
        ),
        content(
            "create_home",
            AttributeType::Bool,
            Default::None,
            "Whether the home is made; as `not system` if absent.",
        ),
        content(
            "shell",
            AttributeType::String,
            Default::None,
            "Its login shell; `/bin/sh` if absent, `/usr/sbin/nologin` for `system`.",
        ),
        content("comment", AttributeType::String, Default::String(""), "The full name or purpose."),
        content(
            "system",
            AttributeType::Bool,
            Default::Bool(false),
            "Whether it is an account for a service.",
        ),
    ],
);

/// A group.
pub(crate) static GROUP: KindSchema = in_image(
    "group",
    "Makes a group.",
    true,
    &[
        content("name", AttributeType::String, Default::Required, "The group's name."),
        content(
            "gid",
            AttributeType::Int,
            Default::None,
            "Its number; the first free one from 1000 (100 for `system`) if absent.",
        ),
        content(
            "members",
            AttributeType::StringList,
            Default::EmptyList,
            "Users to put into it; they must exist.",
        ),
        content("system", AttributeType::Bool, Default::Bool(false), "Whether it is a group for a service."),
    ],
);

/// A symbolic link.
pub(crate) static SYMLINK: KindSchema = in_image(
    "symlink",
    "Makes a symbolic link, in place of a link or file that is there.",
    true,
    &[
        content("target", AttributeType::String, Default::Required, "What the link says, as it is."),
        content("path", AttributeType::String, Default::Required, "Where the link stands: an absolute path."),
        OWNER,
    ],
);

/// A folder.
pub(crate) static MKDIR: KindSchema = in_image(
    "mkdir",
    "Makes a folder, and those above it; one that is there gets mode and owner.",
    true,
    &[
        content("path", AttributeType::String, Default::Required, "Where: an absolute path."),
        content("mode", AttributeType::Mode, Default::String("0755"), "Permission bits."),
        OWNER,
    ],
);

/// Removes files.
pub(crate) static REMOVE: KindSchema = in_image(
    "remove",
    "Removes files and folders with all that is in them.",
    false,
    &[
        content(
            "paths",
            AttributeType::StringList,
            Default::Required,
            "Absolute paths; `*`, `?`, `[…]` and `**` match as in a glob.",
        ),
        content(
            "missing_ok",
            AttributeType::Bool,
            Default::Bool(false),
            "Whether it is well if a path matches nothing.",
        ),
    ],
);

/// Files out of another image.
pub(crate) static COPY_FROM: KindSchema = in_image(
    "copy_from",
    "Copies files out of another image, with modes, owners and links: builds in several stages.",
    false,
    &[
        content("image", AttributeType::Image, Default::Required, "The other image."),
        content(
            "src",
            AttributeType::String,
            Default::Required,
            "An absolute path in the other image; a glob may match several.",
        ),
        content(
            "dest",
            AttributeType::String,
            Default::Required,
            "Where: the new path; with a trailing `/`, the folder that receives it.",
        ),
        content(
            "owner",
            AttributeType::String,
            Default::None,
            "Owner of all that is copied; as in the other image if absent.",
        ),
    ],
);

/// A unit of systemd.
pub(crate) static SYSTEMD_UNIT: KindSchema = in_image(
    "systemd_unit",
    "Puts a unit file into the image and enables, disables or masks it, as `systemctl --root` does.",
    true,
    &[
        content(
            "name",
            AttributeType::String,
            Default::Required,
            "The unit's name, for example `web.service`.",
        ),
        content(
            "src",
            AttributeType::File,
            Default::None,
            "The unit file; this, `content`, or a unit that the image has.",
        ),
        content("content", AttributeType::String, Default::None, "The text of the unit file."),
        content(
            "state",
            AttributeType::Enum(&["enabled", "disabled", "masked"]),
            Default::String("enabled"),
            "What to do with it.",
        ),
    ],
);

/// Ends a machine as its owner would.
pub(crate) static POWER_OFF: KindSchema = step(
    "power_off",
    "Switches the machine off, by `shutdown_command` or its power button, so that its disks are as after a day's work.",
    true,
    &[],
);

/// Makes an image out of a machine.
pub(crate) static SEAL: KindSchema = KindSchema {
    key_version: 2,
    ..step(
        "seal",
        "Removes what belongs to one machine and not to an image: machine id, host keys, seeds, leases, logs, histories, `/tmp`. The last layer of every image.",
        true,
        &[],
    )
};
