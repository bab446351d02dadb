//! What checks a guest, and small plugins of a component or two: `inspec`, `goss`, `windows-update`, `external`.

use imgbuild_model::Role::{Content, Output, Placement, Policy, Transport};
use imgbuild_model::{AttributeSchema, AttributeType, Availability, Deprecation, Effect, KindSchema};

use super::attribute::{
    data_source, dict, dur, flag, int, ints, output, provisioner, secret, text, texts, typed_output, word,
};

/// Each component of the plugins.
pub(super) static ALL: &[&KindSchema] = &[&INSPEC, &GOSS, &WINDOWS_UPDATE, &EXTERNAL, &EXTERNAL_JSON, &EXTERNAL_RAW];

/// InSpec.
static INSPEC: KindSchema = KindSchema {
    effect: Effect::Output,
    attributes: &[
        text("profile", Content, "The profile: a folder, a file or an address.").required(),
        text("command", Content, "The program.").or_text("inspec"),
        texts("extra_arguments", Content, "Further arguments."),
        texts("inspec_env_vars", Content, "Environment variables, as `NAME=value`."),
        texts("attributes", Content, "Files with inputs."),
        text("attributes_directory", Placement, "The folder for a file with inputs that is made."),
        text("backend", Transport, "How the machine is reached.").or_text("ssh"),
        text("host", Transport, "The machine, for other ways than SSH.").or_text("127.0.0.1"),
        text("user", Transport, "Who logs in; the user of this program if absent."),
        int("local_port", Transport, "The local port that InSpec connects to; a free one if absent.").between(1, 65535),
        text("ssh_host_key_file", Transport, "The host key of that port; made for the run if absent."),
        text("ssh_authorized_key_file", Transport, "The key that may connect to that port; made for the run if absent."),
        ints("valid_exit_codes", Content, "Exit codes that mean success; 0 and 101 if absent."),
    ],
    ..provisioner("inspec", "Checks the guest by a profile of InSpec.")
};

const FORMATS: &[&str] =
    &["documentation", "json", "json_oneline", "junit", "nagios", "nagios_verbose", "rspecish", "silent", "tap"];

/// Goss. It is evaluated by this program: what says how goss itself gets into the guest has no effect.
static GOSS: KindSchema = KindSchema {
    availability: Availability::Native,
    effect: Effect::Output,
    attributes: &[
        texts("tests", Content, "Files and folders with checks.").required(),
        text("version", Content, "Goss's version (no effect here).").or_text("0.4.2"),
        text("arch", Content, "Goss's architecture (no effect here).").or_text("amd64"),
        text("url", Content, "Where Goss is; its releases if absent (no effect here)."),
        text("download_path", Content, "Where Goss is put in the guest (no effect here)."),
        text("username", Transport, "Who fetches it (no effect here)."),
        secret("password", Transport, "The password of that user (no effect here)."),
        flag("skip_install", Content, "Whether Goss is there already (no effect here)."),
        flag("skip_download", Content, "Whether Goss is not fetched (no effect here)."),
        flag("inspect", Content, "Whether a failed check is no failure."),
        word("target_os", &["Linux", "Windows"], Content, "The guest's system.").or_text("Linux"),
        dur("retry_timeout", Policy, "How long checks are tried again.").or_text("0s"),
        dur("sleep", Policy, "How long to wait between.").or_text("1s"),
        flag("use_sudo", Content, "Whether Goss runs with `sudo` (no effect here)."),
        flag("skip_ssl", Transport, "Whether the server's certificate goes unchecked (no effect here)."),
        text("goss_file", Content, "The main file of checks."),
        text("vars_file", Content, "A file with variables."),
        dict("vars_inline", Content, "Variables."),
        dict("vars_env", Content, "Environment variables."),
        text("remote_folder", Content, "The folder of the guest that all is put into (no effect here).").or_text("/tmp"),
        text("remote_path", Content, "The folder that checks are put into (no effect here).").or_text("/tmp/goss"),
        word("format", FORMATS, Output, "How results are written; `rspecish` if absent."),
        word("format_options", &["perfdata", "verbose", "pretty"], Output, "What else is written."),
        text("junit_file", Output, "A file of the host for the results as JUnit's XML: an attribute of this program's own."),
    ],
    ..provisioner("goss", "Checks the guest by files of Goss.")
};

/// Updates.
static WINDOWS_UPDATE: KindSchema = KindSchema {
    attributes: &[
        text("search_criteria", Content, "Which updates are looked for, in Windows' words.").or_text("BrowseOnly=0 and IsInstalled=0"),
        texts("filters", Content, "Which of them are installed: `include:` or `exclude:` and an expression of PowerShell; the first that holds counts."),
        int("update_limit", Content, "How many are installed at once.").or_int(1000).at_least(1),
        int("update_max_retries", Policy, "How often the installation is tried again.").or_int(5),
        dur("restart_timeout", Policy, "How long the guest may take to come back.").or_text("4h"),
        text("username", Content, "Who runs it.").or_text("SYSTEM"),
        secret("password", Content, "The password of that user."),
    ],
    ..provisioner("windows-update", "Installs Windows' updates, starting the guest anew as often as it takes.")
};

const PROGRAM: AttributeSchema = texts("program", Content, "The program and its arguments.").required();
const WORKING_DIR: AttributeSchema = text("working_dir", Content, "The folder that it runs in.");

/// A program that speaks JSON.
static EXTERNAL: KindSchema = KindSchema {
    attributes: &[PROGRAM, WORKING_DIR, dict("query", Content, "What it reads, as JSON.")],
    outputs: &[typed_output("result", AttributeType::StringDict, "What it wrote, as JSON.")],
    availability: Availability::Native,
    ..data_source("external", "What a program writes, as a map of texts.")
};

/// The same by another name.
static EXTERNAL_JSON: KindSchema = KindSchema {
    attributes: EXTERNAL.attributes,
    outputs: EXTERNAL.outputs,
    deprecated: Some(Deprecation { message: "it is an old name", replacement: Some("external") }),
    availability: Availability::Native,
    ..data_source("external-json", "What a program writes, as a map of texts.")
};

/// A program that speaks text.
static EXTERNAL_RAW: KindSchema = KindSchema {
    attributes: &[PROGRAM, WORKING_DIR, text("query", Content, "What it reads.")],
    outputs: &[output("result", "What it wrote.")],
    availability: Availability::Native,
    ..data_source("external-raw", "What a program writes, as a text.")
};
