//! Checks of a layer.

use imgbuild_model::{
    AttributeSchema, AttributeType, Default, Effect, KindClass, KindSchema, Role, StateUse,
};

use crate::attribute::{
    GOSS_ENV, GOSS_NETWORK, GOSS_NOT_BOOTED, GOSS_VARS, GOSS_VARS_FILE, TIMEOUT, content, unkeyed,
};

const fn test(id: &'static str, doc: &'static str, attributes: &'static [AttributeSchema]) -> KindSchema {
    KindSchema {
        id,
        class: KindClass::Test,
        key_version: 1,
        effect: Effect::Output,
        doc,
        attributes,
        keeps_packages: true,
        state: StateUse::Commands,
        ..KindSchema::BLANK
    }
}

/// A command that must succeed.
pub(crate) static COMMAND_SUCCEEDS: KindSchema = test(
    "command_succeeds",
    "A command in a throw-away copy of the image ends as expected.",
    &[
        content("command", AttributeType::StringList, Default::Required, "Program and arguments."),
        content("exit_code", AttributeType::Int, Default::Int(0), "The exit code that is expected."),
        content(
            "stdout_matches",
            AttributeType::String,
            Default::None,
            "A regular expression that its output must match.",
        ),
        content("user", AttributeType::String, Default::None, "Who runs it; the image's user if absent."),
    ],
);

/// A file that must be there.
pub(crate) static FILE_EXISTS: KindSchema = test(
    "file_exists",
    "A file, folder or link is there.",
    &[
        content("path", AttributeType::String, Default::Required, "An absolute path."),
        content("mode", AttributeType::Mode, Default::None, "The permission bits that it must have."),
        content(
            "owner",
            AttributeType::String,
            Default::None,
            "The owner that it must have, as `user:group` or numbers.",
        ),
        content("link_target", AttributeType::String, Default::None, "What it must say, as a symbolic link."),
        content(
            "content_matches",
            AttributeType::String,
            Default::None,
            "A regular expression that its text must match.",
        ),
    ],
);

/// A file that must not be there.
pub(crate) static FILE_ABSENT: KindSchema = test(
    "file_absent",
    "Nothing is there.",
    &[content("path", AttributeType::String, Default::Required, "An absolute path.")],
);

/// An account that must be there.
pub(crate) static USER_EXISTS: KindSchema = test(
    "user_exists",
    "An account is there.",
    &[
        content("name", AttributeType::String, Default::Required, "The account's name."),
        content("uid", AttributeType::Int, Default::None, "The number that it must have."),
        content("groups", AttributeType::StringList, Default::EmptyList, "Groups that it must be in."),
    ],
);

/// A package that must be there.
pub(crate) static PACKAGE_INSTALLED: KindSchema = test(
    "package_installed",
    "A Debian package is installed.",
    &[
        content("name", AttributeType::String, Default::Required, "The package's name."),
        content("version", AttributeType::String, Default::None, "The version that it must have."),
    ],
);

/// A unit that must be enabled.
pub(crate) static UNIT_ENABLED: KindSchema = test(
    "unit_enabled",
    "A unit of systemd is enabled.",
    &[content("name", AttributeType::String, Default::Required, "The unit's name.")],
);

/// `within`, for checks of what takes its time after a boot.
const WITHIN: AttributeSchema = unkeyed(
    "within",
    AttributeType::Duration,
    Default::None,
    Role::Policy,
    "How long it is looked at again where it does not hold yet; it is looked at once if absent.",
);

/// A unit that must be active.
pub(crate) static UNIT_ACTIVE: KindSchema = KindSchema {
    needs_machine: true,
    ..test(
        "unit_active",
        "A service, or another unit of systemd, runs.",
        &[content("name", AttributeType::String, Default::Required, "The unit's name."), WITHIN],
    )
};

/// A port that must be listened on.
pub(crate) static PORT_LISTENING: KindSchema = KindSchema {
    needs_machine: true,
    ..test(
        "port_listening",
        "The machine listens on a port.",
        &[
            content("port", AttributeType::Int, Default::Required, "The port.").between(1, 65535),
            content(
                "protocol",
                AttributeType::Enum(&["tcp", "udp"]),
                Default::String("tcp"),
                "The protocol, of either version of IP.",
            ),
            content(
                "address",
                AttributeType::String,
                Default::None,
                "The address that it must listen at, as `127.0.0.1` or `::`; any if absent.",
            ),
            WITHIN,
        ],
    )
};

/// Tests of testinfra.
pub(crate) static TESTINFRA: KindSchema = KindSchema {
    needs_machine: true,
    tool: "command",
    ..test(
        "testinfra",
        "Tests of testinfra hold, as the host's pytest finds over a connection of its own, with the keys of the build. They are run in a folder that has what is named here and nothing else. The report is `testinfra/junit.xml`.",
        &[
            content(
                "tests",
                AttributeType::Files,
                Default::Required,
                "Files and folders of tests, for pytest.",
            ),
            content(
                "srcs",
                AttributeType::Files,
                Default::EmptyList,
                "What they need besides, such as `conftest.py`: beside them, each under its own name.",
            ),
            unkeyed(
                "command",
                AttributeType::String,
                Default::String("pytest"),
                Role::Placement,
                "The program: a name on the path, or a path relative to the workspace's root. Its version and those of its plugins are in the key.",
            ),
            content(
                "extra_arguments",
                AttributeType::StringList,
                Default::EmptyList,
                "Further arguments, as they are.",
            ),
            content(
                "env",
                AttributeType::StringDict,
                Default::EmptyDict,
                "Environment variables of the tests.",
            ),
            content(
                "sudo",
                AttributeType::Bool,
                Default::Bool(false),
                "Whether who is logged in looks at the machine as root, by `sudo`.",
            ),
        ],
    )
};

/// A goss file.
pub(crate) static GOSS: KindSchema = KindSchema {
    key_version: 2,
    ..test(
        "goss",
        "What a goss file says holds. It is evaluated by this program: goss is neither needed nor put into the image. What only a running system knows (services that run, ports, processes, mounts, the kernel's parameters, addresses) cannot be known of an image.",
        &[
            content(
                "file",
                AttributeType::File,
                Default::Required,
                "The goss file, of the language of goss 0.4.",
            ),
            content(
                "srcs",
                AttributeType::Files,
                Default::EmptyList,
                "Files and folders that it includes. They are beside it, each under its own name, wherever they lie.",
            ),
            GOSS_VARS_FILE,
            GOSS_VARS,
            GOSS_ENV,
            content(
                "user",
                AttributeType::String,
                Default::None,
                "Who runs its commands; the image's user if absent.",
            ),
            GOSS_NETWORK,
            content(
                "package_manager",
                AttributeType::Enum(&["dpkg", "apk", "rpm", "pacman"]),
                Default::None,
                "Whose packages `package` means; found out if absent.",
            ),
            GOSS_NOT_BOOTED,
        ],
    )
};

/// An audit by OpenSCAP.
pub(crate) static OPENSCAP: KindSchema = KindSchema {
    tools: &["oscap"],
    key_version: 2,
    ..test(
        "openscap",
        "A profile of a SCAP data stream holds, as the host's `oscap` finds. Of a tree it cannot say what only a systemd that runs knows (`service_…_enabled`); such rules count as not holding unless `skip_rules` names them. The reports are `openscap.html`, `openscap.xml` (results) and `openscap-arf.xml`.",
        &[
            content(
                "content",
                AttributeType::File,
                Default::Required,
                "The data stream: `ssg-debian12-ds.xml`.",
            ),
            content("profile", AttributeType::String, Default::Required, "The profile's id."),
            content("tailoring", AttributeType::File, Default::None, "A tailoring file."),
            content(
                "severity",
                AttributeType::Enum(&["unknown", "low", "medium", "high"]),
                Default::String("unknown"),
                "The lowest severity of a rule whose failure counts.",
            ),
            content("max_failures", AttributeType::Int, Default::Int(0), "How many such rules may fail."),
            content(
                "min_score",
                AttributeType::Int,
                Default::None,
                "The score that must be reached, of 100.",
            ),
            content(
                "skip_rules",
                AttributeType::StringList,
                Default::EmptyList,
                "Ids of rules that are left out.",
            ),
        ],
    )
};

/// An audit by Lynis.
pub(crate) static LYNIS: KindSchema = KindSchema {
    tools: &["lynis"],
    ..test(
        "lynis",
        "The hardening index that the host's Lynis finds is high enough. Some of its tests look at the host that it runs on (its kernel, and profiles in `/etc/lynis` where `profile` is absent), which no key has. The reports are `lynis.log` and `lynis-report.dat`.",
        &[
            content(
                "min_index",
                AttributeType::Int,
                Default::Required,
                "The index that must be reached, of 100.",
            ),
            content("profile", AttributeType::File, Default::None, "A profile of Lynis."),
            content(
                "skip_tests",
                AttributeType::StringList,
                Default::EmptyList,
                "Ids of tests that are left out.",
            ),
            content(
                "max_warnings",
                AttributeType::Int,
                Default::None,
                "How many warnings there may be; any number if absent.",
            ),
        ],
    )
};

/// All checks of one test target.
pub(crate) static IMAGE_TEST: KindSchema = test(
    "image_test",
    "Runs checks on an image; all of them, and fails if one does.",
    &[
        content("checks", AttributeType::Steps, Default::Required, "The checks."),
        unkeyed(
            "failed_reports",
            AttributeType::String,
            Default::None,
            Role::Output,
            "The folder for the reports of a test that fails, relative to the workspace's root.",
        ),
        TIMEOUT,
    ],
);

/// What two images may differ in.
pub(crate) static IMAGE_DIFF: KindSchema = KindSchema {
    // Nothing of either image is run.
    state: StateUse::None,
    ..test(
        "image_diff",
        "Compares an image with another, and fails if they differ in what they may not.",
        &[
            content("base", AttributeType::Image, Default::Required, "The image that it is compared with."),
            content(
                "allow_files",
                AttributeType::StringList,
                Default::None,
                "Globs of the paths that may differ; a folder's takes in what is below. Files of packages that differ are left to `allow_packages`. Any may if absent, none if empty.",
            ),
            content(
                "allow_packages",
                AttributeType::StringList,
                Default::None,
                "Globs of the names of packages that may be added, removed or of another version. Any may if absent, none if empty.",
            ),
            content(
                "allow_units",
                AttributeType::StringList,
                Default::None,
                "Globs of the names of systemd's units that may come to be enabled, disabled or masked. Any may if absent, none if empty.",
            ),
            content(
                "max_growth",
                AttributeType::String,
                Default::None,
                "By how much the files may grow: a size, such as `50MB`, or a share of the base, such as `10%`; by any amount if absent.",
            ),
            content(
                "no_new_setuid",
                AttributeType::Bool,
                Default::Bool(true),
                "Whether it fails if a file gives rights that it did not give in the base: set-uid, set-gid or capabilities.",
            ),
            content(
                "allow_setuid",
                AttributeType::StringList,
                Default::EmptyList,
                "Globs of the paths for which `no_new_setuid` does not hold.",
            ),
            content(
                "no_new_users",
                AttributeType::Bool,
                Default::Bool(true),
                "Whether it fails if there is a user that the base lacks, or one has got rights: become root, joined a group, got a password.",
            ),
            content(
                "allow_users",
                AttributeType::StringList,
                Default::EmptyList,
                "Globs of the names of users for which `no_new_users` does not hold.",
            ),
            TIMEOUT,
        ],
    )
};
