//! Provisioners as steps.

use std::collections::BTreeMap;
use std::time::Duration;

use imgbuild_model::{Diagnostic, EntryKind, Value};

use super::chain::{Chain, Machine};
use super::config::Config;
use super::manage;
use crate::go_time;
use crate::recipe::Step;

/// How Packer runs scripts when nothing else is said.
const EXECUTE: &str = "chmod +x {{.Path}}; {{.Vars}} {{.Path}}";
const EXECUTE_WITH_FILE: &str = "chmod +x {{.Path}}; . {{.EnvVarFile}} && {{.Path}}";
const SHEBANG: &str = "/bin/sh -e";
/// The provisioners that do something to a machine.
const NEED_MACHINE: [&str; 7] =
    ["shell", "file", "goss", "ansible", "ansible-local", "puppet-masterless", "salt-masterless"];
/// Where relative paths in the machine start: the home of who is logged in.
const HOME: &str = "/root";

/// The attributes of a provisioner that name files of the host, which must be there before the build begins.
pub(super) fn files_of(kind: &str, config: &Config<'_>) -> &'static [&'static str] {
    match kind {
        "shell" | "shell-local" | "powershell" | "windows-shell" => &["script", "scripts"],
        "file" => match (config.text("direction").as_deref(), config.flag("generated")) {
            (Some("download"), _) | (_, Some(true)) => &[],
            _ => &["source", "sources"],
        },
        "goss" => &["tests", "vars_file"],
        "ansible" => &["playbook_file", "galaxy_file"],
        "ansible-local" => &["playbook_file", "playbook_files", "galaxy_file"],
        "puppet-masterless" => &["manifest_file"],
        "salt-masterless" => &["local_state_tree"],
        _ => &[],
    }
}

/// Adds the steps of a provisioner.
pub(super) fn lower(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    match &*step.kind {
        "shell-local" => shell_local(step, config, chain),
        "sleep" => sleep(step, config, chain),
        "breakpoint" => breakpoint(step, config, chain),
        kind if NEED_MACHINE.contains(&kind) && chain.machine == Machine::Mock => {
            let message = format!("`{}` does nothing here: the builder `file` has no machine", step.kind);
            chain.problem(Diagnostic::warning(message).at(step.location.clone()));
        }
        kind if NEED_MACHINE.contains(&kind) && chain.machine == Machine::None => {
            let message = format!("`{}` needs a machine, and this build has none", step.kind);
            let hint = "`communicator = \"none\"` means that nothing is connected to; `shell-local` runs on the host";
            chain.problem(Diagnostic::error(message).at(step.location.clone()).hint(hint));
        }
        "shell" => shell(step, config, chain),
        "file" => file(step, config, chain),
        "ansible" => manage::ansible(step, config, chain),
        "ansible-local" => manage::ansible_local(step, config, chain),
        "puppet-masterless" => manage::puppet_masterless(step, config, chain),
        "salt-masterless" => manage::salt_masterless(step, config, chain),
        "goss" => goss(step, config, chain),
        other => {
            let message = format!(
                "the provisioner `{other}` is not built in yet for the builder `{}`",
                chain.recipe.kind
            );
            chain.problem(Diagnostic::error(message).at(step.location.clone()));
        }
    }
}

fn seconds(duration: Duration) -> Value {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    Value::Int(i64::try_from(whole).unwrap_or(i64::MAX))
}

fn duration(config: &Config<'_>, name: &str) -> Value {
    config.text(name).and_then(|text| go_time::duration(&text)).map_or(Value::None, seconds)
}

pub(super) fn texts(texts: &[String]) -> Value {
    Value::list(texts.iter().map(|text| Value::string(text)))
}

pub(super) fn dict(pairs: impl IntoIterator<Item = (String, String)>) -> Value {
    Value::Dict(pairs.into_iter().map(|(name, value)| (name.into(), Value::string(&value))).collect())
}

/// How a provisioner's steps are tried, and what a failure means. The first of them waits.
pub(super) fn tries(step: &Step, is_first: bool) -> Vec<(&'static str, Value)> {
    let waits = is_first && !step.pause_before.is_zero();
    vec![
        ("continue_on_error", if step.continue_on_error { Value::Bool(true) } else { Value::None }),
        ("max_retries", if step.max_retries > 0 { Value::Int(step.max_retries.into()) } else { Value::None }),
        ("pause_before", if waits { seconds(step.pause_before) } else { Value::None }),
        ("timeout", step.timeout.map_or(Value::None, seconds)),
    ]
}

/// What all steps that run something take.
fn common(step: &Step, config: &Config<'_>, is_first: bool) -> Vec<(&'static str, Value)> {
    let codes = config.numbers("valid_exit_codes");
    let codes = if codes.is_empty() { Value::None } else { Value::list(codes.into_iter().map(Value::Int)) };
    [vec![("valid_exit_codes", codes)], tries(step, is_first)].concat()
}

/// The variables of a step: the template's, then those that every script gets.
fn variables(config: &Config<'_>, chain: &mut Chain<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for assignment in config.assignments("environment_vars") {
        match assignment {
            Ok((name, value)) => drop(all.insert(name, value)),
            Err(text) => {
                let error = Diagnostic::error(format!("`{text}` in `environment_vars` is no `NAME=value`"));
                chain.problem(error.at(config.location("environment_vars")));
            }
        }
    }
    all.extend(config.hidden_pairs("env"));
    all.insert("PACKER_BUILD_NAME".to_owned(), chain.recipe.source.to_string());
    all.insert("PACKER_BUILDER_TYPE".to_owned(), chain.recipe.kind.to_string());
    all
}

/// The lines of `inline` as one script, with the line that names its interpreter.
fn inline(config: &Config<'_>, lines: &[String]) -> Value {
    let mut lines = lines.to_vec();
    let named = lines.first().is_some_and(|line| line.starts_with("#!"));
    match config.text("inline_shebang") {
        Some(shebang) => lines.insert(0, format!("#!{shebang}")),
        None if !named => lines.insert(0, format!("#!{SHEBANG}")),
        None => {}
    }
    texts(&lines)
}

/// What a step runs: `inline`, or each of its scripts.
fn scripts(config: &Config<'_>, chain: &mut Chain<'_>) -> Vec<(&'static str, Value)> {
    let lines = [config.hidden_texts("inline"), config.hidden_texts("command")].concat();
    if !lines.is_empty() {
        return vec![("inline", inline(config, &lines))];
    }
    let mut found = Vec::new();
    for name in ["script", "scripts"] {
        for path in config.texts(name) {
            match chain.input(&path, &config.location(name)) {
                Some((file, EntryKind::File)) => found.push(("script", file)),
                Some(_) => {
                    let error = Diagnostic::error(format!("the script `{path}` is not a file"));
                    chain.problem(error.at(config.location(name)));
                }
                None => {}
            }
        }
    }
    found
}

fn shell(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    let network = match chain.machine {
        Machine::Rootfs { network } => network,
        Machine::Host => false,
        Machine::None | Machine::Mock => return,
    };
    let env = variables(config, chain);
    let execute = match (config.hidden("execute_command"), config.flag("use_env_var_file")) {
        (Some(command), _) if command != EXECUTE => Value::string(&command),
        (_, Some(true)) => Value::string(EXECUTE_WITH_FILE),
        _ if config.text("env_var_format").is_some() || chain.machine == Machine::Host => {
            Value::string(EXECUTE)
        }
        _ => Value::None,
    };
    let scripts = scripts(config, chain);
    let last = scripts.len().saturating_sub(1);
    for (place, (what, script)) in scripts.into_iter().enumerate() {
        let mut attributes = vec![
            (what, script),
            ("env", dict(env.clone())),
            ("execute_command", execute.clone()),
            (
                "env_var_format",
                config.text("env_var_format").map_or(Value::None, |text| Value::string(&text)),
            ),
            (
                "unix_line_ends",
                if config.flag("binary") == Some(true) { Value::None } else { Value::Bool(true) },
            ),
            ("network", if network { Value::Bool(true) } else { Value::None }),
            // Scripts of templates call `sudo` whoever they run as.
            ("new_privileges", Value::Bool(true)),
            ("remote_path", machine_path(config, chain, place)),
            ("expect_disconnect", in_machine_only(config, "expect_disconnect", chain.machine)),
            ("skip_clean", in_machine_only(config, "skip_clean", chain.machine)),
            ("pause_after", if place == last { duration(config, "pause_after") } else { Value::None }),
        ];
        attributes.extend(common(step, config, place == 0));
        chain.step("shell", attributes, &step.location);
    }
}

/// Where the template wants its script to be, in a machine.
fn machine_path(config: &Config<'_>, chain: &Chain<'_>, place: usize) -> Value {
    if chain.machine != Machine::Host {
        return Value::None;
    }
    let (folder, file) = (config.text("remote_folder"), config.text("remote_file"));
    let path = config.text("remote_path").or_else(|| {
        let file = match (&folder, file) {
            (None, None) => return None,
            // Several scripts and several builds may be there at once.
            (Some(_), None) => format!("script_{}_{place}.sh", chain.recipe.source),
            (_, Some(file)) => file,
        };
        Some(format!("{}/{file}", folder.as_deref().unwrap_or("/tmp").trim_end_matches('/')))
    });
    path.map_or(Value::None, |path| Value::string(&path))
}

/// An attribute that says something of machines alone.
fn in_machine_only(config: &Config<'_>, name: &str, machine: Machine) -> Value {
    match (machine, config.flag(name)) {
        (Machine::Host, Some(true)) => Value::Bool(true),
        _ => Value::None,
    }
}

fn shell_local(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    let systems = config.texts("only_on");
    if !systems.is_empty() && !systems.iter().any(|system| system == "linux") {
        let message = format!("`shell-local` is passed over: it is for {}", systems.join(", "));
        chain.problem(Diagnostic::warning(message).at(step.location.clone()));
        return;
    }
    let env = variables(config, chain);
    let execute = config.hidden_texts("execute_command");
    for (place, (what, script)) in scripts(config, chain).into_iter().enumerate() {
        let mut attributes = vec![
            (what, script),
            ("env", dict(env.clone())),
            ("execute_command", if execute.is_empty() { Value::None } else { texts(&execute) }),
            (
                "env_var_format",
                config.text("env_var_format").map_or(Value::None, |text| Value::string(&text)),
            ),
            ("workdir", Value::string(&chain.on_host("."))),
        ];
        attributes.extend(common(step, config, place == 0));
        chain.step("shell_local", attributes, &step.location);
    }
}

fn sleep(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    let own = vec![("duration", duration(config, "duration"))];
    chain.step("sleep", [own, tries(step, true)].concat(), &step.location);
}

fn breakpoint(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    let own = vec![
        ("note", config.text("note").map_or(Value::None, |note| Value::string(&note))),
        ("disable", config.flag("disable").map_or(Value::None, Value::Bool)),
    ];
    chain.step("breakpoint", [own, tries(step, true)].concat(), &step.location);
}

/// A path in the machine: absolute, or below the home of who is logged in where that is not known yet.
fn in_machine(path: &str, machine: Machine) -> String {
    match machine {
        _ if path.starts_with('/') => path.to_owned(),
        Machine::Host if path.starts_with("~/") => path.to_owned(),
        Machine::Host => format!("~/{path}"),
        _ => format!("{HOME}/{path}"),
    }
}

/// A path with the slash at its end that it was written with.
fn with_slash_of(mut path: String, written: &str) -> String {
    if written.ends_with('/') {
        path.push('/');
    }
    path
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn file(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    let destination = config.text("destination").unwrap_or_default();
    let sources: Vec<(String, &str)> = ["source", "sources"]
        .into_iter()
        .flat_map(|name| config.texts(name).into_iter().map(move |path| (path, name)))
        .collect();
    if config.text("direction").as_deref() == Some("download") {
        for (place, (source, _)) in sources.into_iter().enumerate() {
            download(step, &source, &destination, place == 0, chain);
        }
        return;
    }
    let target = in_machine(&destination, chain.machine);
    if let Some(content) = config.hidden("content") {
        let path = if target.ends_with('/') { format!("{target}content") } else { target };
        let own = vec![("content", Value::string(&content)), ("dest", Value::string(&path))];
        let attributes = [own, tries(step, true)].concat();
        return chain.step("file", attributes, &step.location);
    }
    let generated = config.flag("generated") == Some(true);
    let several = sources.len() > 1;
    if several && !target.ends_with('/') {
        let error = Diagnostic::error("several files go to a folder, which is written with a `/` at its end");
        return chain.problem(error.at(config.location("destination")));
    }
    for (place, (source, name)) in sources.into_iter().enumerate() {
        let tries = tries(step, place == 0);
        if generated {
            let own = vec![
                ("generated", Value::string(&with_slash_of(chain.on_host(&source), &source))),
                ("dest", Value::string(&target)),
                ("cache", Value::Bool(false)),
            ];
            chain.step("file", [own, tries].concat(), &step.location);
            continue;
        }
        let Some((input, kind)) = chain.input(&source, &config.location(name)) else { continue };
        let dest = match kind {
            EntryKind::Directory if !source.ends_with('/') => {
                format!("{}/{}", target.trim_end_matches('/'), base_name(&source))
            }
            _ => target.clone(),
        };
        let own = vec![("src", Value::list([input])), ("dest", Value::string(&dest))];
        chain.step("file", [own, tries].concat(), &step.location);
    }
}

fn download(step: &Step, source: &str, destination: &str, is_first: bool, chain: &mut Chain<'_>) {
    let source = in_machine(source, chain.machine);
    // A folder with a slash at its end means what is in it.
    let pattern = if source.ends_with('/') { format!("{source}*") } else { source };
    let mut target = chain.on_host(destination);
    if destination.ends_with('/') {
        target.push('/');
    }
    let own = vec![("src", Value::string(&pattern)), ("dest", Value::string(&target))];
    chain.step("download", [own, tries(step, is_first)].concat(), &step.location);
}

fn goss(step: &Step, config: &Config<'_>, chain: &mut Chain<'_>) {
    if config.text("target_os").as_deref() == Some("Windows") {
        let error = Diagnostic::error("`goss` is carried out for Linux alone");
        return chain.problem(error.at(config.location("target_os")));
    }
    let mut srcs = Vec::new();
    for path in config.texts("tests") {
        srcs.extend(chain.input(&path, &config.location("tests")).map(|(file, _)| file));
    }
    let vars_file = config.text("vars_file");
    let vars_file = vars_file.and_then(|path| chain.input(&path, &config.location("vars_file")));
    let text = |name: &str| config.text(name).filter(|text| !text.is_empty());
    let given = |name: &str| text(name).map_or(Value::None, |text| Value::string(&text));
    // Goss looks for the file in the folder that all is put into.
    let file = text("goss_file").map_or(Value::None, |path| Value::string(path.trim_start_matches("./")));
    let junit = text("junit_file").map_or(Value::None, |path| Value::string(&chain.on_host(&path)));
    let network = chain.machine == Machine::Rootfs { network: true };
    let own = vec![
        ("srcs", Value::list(srcs)),
        ("file", file),
        ("vars_file", vars_file.map_or(Value::None, |(file, _)| file)),
        ("vars", dict(config.hidden_pairs("vars_inline"))),
        ("env", dict(config.hidden_pairs("vars_env"))),
        ("network", if network { Value::Bool(true) } else { Value::None }),
        ("inspect", config.flag("inspect").map_or(Value::None, Value::Bool)),
        ("retry_timeout", duration(config, "retry_timeout")),
        ("retry_sleep", duration(config, "sleep")),
        ("format", given("format")),
        ("format_options", given("format_options")),
        ("dest", junit),
    ];
    chain.step("goss_validate", [own, tries(step, true)].concat(), &step.location);
}
