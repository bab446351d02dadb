//! Provisioners that Packer brings.

use imgbuild_model::Role::{Content, Naming, Output, Policy};
use imgbuild_model::{AttributeSchema, AttributeType, Availability, Default, Effect, KindSchema, Rule, Table};

use crate::packer::attribute::{dur, flag, int, provisioner, text, texts, word};
use crate::packer::common::{ELEVATED, ONE_SCRIPT, SCRIPT};

const PAUSE_AFTER: AttributeSchema = dur("pause_after", Policy, "How long to wait after it.");

const START_RETRY_TIMEOUT: AttributeSchema =
    dur("start_retry_timeout", Policy, "How long starting the script is tried again.").or_text("5m");

const SKIP_CLEAN: AttributeSchema = flag("skip_clean", Content, "Whether the script is left in the guest.");

const EXECUTE_COMMAND: AttributeSchema =
    text("execute_command", Content, "How the uploaded script is run: a template with `.Path` and `.Vars`.").late();

const REMOTE_PATH: AttributeSchema = text("remote_path", Content, "Where the script is put in the guest.");

/// A shell's commands in the guest.
pub(super) static SHELL: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        EXECUTE_COMMAND,
        text("inline_shebang", Content, "The `#!` line of `inline`, without `#!`.").or_text("/bin/sh -e"),
        flag("use_env_var_file", Content, "Whether variables are put into a file in place of the command line."),
        text("remote_folder", Content, "The folder of the guest that the script is put into.").or_text("/tmp"),
        text("remote_file", Content, "The script's name in the guest; random if absent."),
        REMOTE_PATH,
        START_RETRY_TIMEOUT,
        flag("expect_disconnect", Content, "Whether a connection that breaks is no failure."),
        SKIP_CLEAN,
        PAUSE_AFTER,
    ],
    rules: &[ONE_SCRIPT],
    includes: &[&SCRIPT],
    ..provisioner("shell", "Runs a shell's commands or scripts in the guest.")
};

/// What `shell-local` takes as a provisioner and as a post-processor.
pub(super) const LOCAL: Table = Table::of(&[
    text("command", Content, "One command.").old_name_of("inline"),
    AttributeSchema::new(
        "execute_command",
        AttributeType::StringList,
        Default::EmptyList,
        Content,
        "The program and its arguments that run the script: templates with `.Script` and `.Vars`.",
    )
    .late(),
    text("inline_shebang", Content, "The `#!` line of `inline`, without `#!`.").or_text("/bin/sh -e"),
    AttributeSchema::new(
        "only_on",
        AttributeType::List(&AttributeType::Enum(&["darwin", "freebsd", "linux", "openbsd", "solaris", "windows"])),
        Default::EmptyList,
        Content,
        "The hosts' systems on which it runs; on all if empty.",
    ),
    text("tempfile_extension", Content, "The file extension of the script."),
    flag("use_linux_pathing", Content, "Whether paths are translated for Linux on Windows."),
])
.rules(&[
    Rule::ExactlyOne(&["command", "inline", "script", "scripts"]),
    Rule::Excludes("use_linux_pathing", &["inline"]),
])
.includes(&[&SCRIPT]);

/// A shell's commands on the host.
pub(super) static SHELL_LOCAL: KindSchema = KindSchema {
    availability: Availability::Native,
    effect: Effect::Host,
    includes: &[&LOCAL],
    ..provisioner("shell-local", "Runs a shell's commands or scripts on the host.")
};

/// Files to the guest and back.
pub(super) static FILE: KindSchema = KindSchema {
    availability: Availability::Native,
    attributes: &[
        text("source", Content, "A file or folder; with a trailing `/` only what is in the folder."),
        texts("sources", Content, "Files and folders, for a destination that is a folder."),
        text("content", Content, "The text of the file."),
        text("destination", Content, "Where it goes; with a trailing `/` the folder that receives it.").required(),
        word("direction", &["upload", "download"], Content, "To the guest or from it.").or_text("upload"),
        flag("generated", Policy, "Whether the source is made during the build, and so need not exist before."),
    ],
    rules: &[Rule::AtMostOne(&["source", "content"]), Rule::AtMostOne(&["sources", "content"])],
    ..provisioner("file", "Puts files into the guest, or fetches them from it.")
};

/// A question to the user.
pub(super) static BREAKPOINT: KindSchema = KindSchema {
    availability: Availability::Native,
    effect: Effect::Host,
    attributes: &[
        text("note", Naming, "What to say while waiting."),
        flag("disable", Policy, "Whether it does not stop."),
    ],
    ..provisioner("breakpoint", "Stops until the user presses enter.")
};

/// A pause.
pub(super) static SLEEP: KindSchema = KindSchema {
    availability: Availability::Native,
    effect: Effect::Host,
    attributes: &[dur("duration", Policy, "How long; not at all if absent.")],
    ..provisioner("sleep", "Waits.")
};

const POLICIES: &[&str] =
    &["bypass", "allsigned", "default", "remotesigned", "restricted", "undefined", "unrestricted", "none"];

/// PowerShell in the guest.
pub(super) static POWERSHELL: KindSchema = KindSchema {
    attributes: &[
        EXECUTE_COMMAND,
        text("elevated_execute_command", Content, "How the script is run with elevated rights.").late(),
        text("elevated_env_var_format", Content, "How a variable is written with elevated rights.").or_text(r#"$env:%s="%s"; "#),
        REMOTE_PATH,
        text("remote_env_var_path", Content, "Where the file of variables is put in the guest."),
        word("execution_policy", POLICIES, Content, "PowerShell's execution policy.").or_text("bypass"),
        flag("use_pwsh", Content, "Whether `pwsh` runs it in place of `powershell`."),
        int("debug_mode", Policy, "How much of the script's run is shown.").or_int(0).between(0, 2),
        START_RETRY_TIMEOUT,
        SKIP_CLEAN,
        PAUSE_AFTER,
    ],
    rules: &[ONE_SCRIPT],
    includes: &[&SCRIPT, &ELEVATED],
    ..provisioner("powershell", "Runs PowerShell's commands or scripts in the guest.")
};

/// Windows' command shell in the guest.
pub(super) static WINDOWS_SHELL: KindSchema = KindSchema {
    attributes: &[
        EXECUTE_COMMAND,
        REMOTE_PATH.or_text("c:/Windows/Temp/script.bat"),
        START_RETRY_TIMEOUT,
    ],
    rules: &[ONE_SCRIPT],
    includes: &[&SCRIPT],
    ..provisioner("windows-shell", "Runs commands or scripts of Windows' command shell in the guest.")
};

/// A new start of Windows.
pub(super) static WINDOWS_RESTART: KindSchema = KindSchema {
    attributes: &[
        text("restart_command", Content, "The command that starts the guest anew.").or_text(r#"shutdown /r /f /t 0 /c "packer restart""#),
        text("restart_check_command", Policy, "A command that can be run once the guest is back; what it answers does not matter."),
        dur("restart_timeout", Policy, "How long the guest may take to come back.").or_text("5m"),
        flag("check_registry", Policy, "Whether to wait until no restart is pending by the registry."),
        texts("registry_keys", Policy, "Registry keys that say that a restart is pending."),
    ],
    ..provisioner("windows-restart", "Starts a Windows guest anew and waits until it is back.")
};

/// A bill of materials.
pub(super) static HCP_SBOM: KindSchema = KindSchema {
    effect: Effect::Output,
    attributes: &[
        text("source", Content, "The bill of materials in the guest, in SPDX or CycloneDX."),
        text("destination", Output, "Where a copy is kept on the host."),
        text("sbom_name", Naming, "What the registry calls it.").between(3, 36),
        flag("auto_generate", Content, "Whether one is made in the guest."),
        texts("scanner_args", Content, "Arguments of the scanner.").or_texts(&["-o", "cyclonedx-json"]),
        text("scan_path", Content, "What is scanned.").or_text("/"),
        text("execute_command", Content, "How the scanner is run: a template with `.Path`, `.Args`, `.ScanPath` and `.Output`.").late(),
        text("scanner_url", Content, "Where the scanner is found.").deprecated("Packer brings the scanner since 1.15.4"),
        text("scanner_checksum", Content, "The scanner's checksum.").deprecated("Packer brings the scanner since 1.15.4"),
    ],
    rules: &[Rule::ExactlyOne(&["source", "auto_generate"])],
    includes: &[&ELEVATED],
    ..provisioner("hcp-sbom", "Keeps a software bill of materials of the guest, and sends it to the registry.")
};
