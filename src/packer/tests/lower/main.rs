//! From templates to actions: what each provisioner becomes, as text.

mod builds;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use imgbuild_model::{Action, Configuration, EntryKind, Label, PackagePath, Platform, TargetName, Value};
use imgbuild_packer::interpolate::{Generated, Host as TemplateHost, Run};
use imgbuild_packer::lower::{Holes, Lowered, Lowering, Purpose, RealPacker, Surroundings, delegate, lower};
use imgbuild_packer::recipe::{Recipe, of_template};
use imgbuild_packer::template::{Components, Files, Inputs, load};
use imgbuild_packer_functions::{Host, LocalHost, SecretError, SecretRequest};
use jiff::Timestamp;

/// A template and some files beside it, in `/w`.
struct Memory(BTreeMap<&'static str, String>);

impl Files for Memory {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let path = path.strip_prefix("/w/").unwrap_or(path);
        let below = format!("{}/", path.trim_end_matches('/'));
        if self.0.contains_key(path) {
            Some(EntryKind::File)
        } else if path == "." || self.0.keys().any(|name| name.starts_with(&below)) {
            Some(EntryKind::Directory)
        } else {
            None
        }
    }

    fn list(&self, _: &str) -> io::Result<Vec<(String, EntryKind)>> {
        Ok(self.0.keys().map(|name| ((*name).to_owned(), EntryKind::File)).collect())
    }

    fn read(&self, path: &str) -> io::Result<Arc<str>> {
        self.0.get(path).map(|text| text.as_str().into()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct Nothing;

impl TemplateHost for Nothing {
    fn environment(&self, _: &str) -> Option<String> {
        None
    }

    fn secret(&self, _: &SecretRequest) -> Result<String, SecretError> {
        Err(SecretError::NotAvailable)
    }

    fn random(&self) -> [u8; 12] {
        [0; 12]
    }
}

fn files(template: &str) -> Memory {
    Memory(BTreeMap::from([
        ("t.pkr.hcl", template.to_owned()),
        ("one.sh", "true\n".to_owned()),
        ("two.sh", "true\n".to_owned()),
        ("site/index.html", "hello\n".to_owned()),
    ]))
}

fn recipe(files: &Memory) -> Recipe {
    let catalog = Components(|_: &str| Arc::new(LocalHost::new("/w")) as Arc<dyn Host>);
    let inputs = Inputs { cwd: "/w".to_owned(), ..Inputs::default() };
    let (template, _) = load(&["t.pkr.hcl".to_owned()], &inputs, files, &catalog).unwrap();
    let run = Run {
        started: Timestamp::UNIX_EPOCH,
        folder: "/w".to_owned(),
        template_folder: None,
        packer_version: "1.16.0".to_owned(),
        host: Arc::new(Nothing),
    };
    let recipes = of_template(&template, &run, &|_| Generated::Nothing).unwrap();
    recipes.recipes.into_iter().next().unwrap()
}

fn around<'a>(files: &'a Memory, holes: &'a Holes) -> Surroundings<'a> {
    Surroundings {
        label: Label::new(PackagePath::root(), TargetName::new("t").unwrap()),
        configuration: Configuration {
            platform: "linux/amd64".parse::<Platform>().unwrap(),
            flags: Arc::default(),
        },
        cwd: "/w",
        files,
        holes,
        purpose: Purpose::Build,
    }
}

fn lowered(template: &str) -> Result<Lowered, String> {
    let files = files(template);
    let holes = Holes::new([7; 32], ["hunter2"]);
    match lower(&recipe(&files), &around(&files, &holes)) {
        Ok(Lowering::Native(lowered)) => Ok(*lowered),
        Ok(Lowering::Foreign(why)) => Err(format!("foreign: {}", why.message)),
        Err(problems) => {
            Err(problems.0.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n"))
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Dict(entries) => {
            let entries = entries.iter().map(|(name, value)| format!("{name}={}", shown(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Artifact(artifact) => format!("<{}>", artifact.base_name()),
        other => format!("{other:?}"),
    }
}

fn dump(action: &Action) -> String {
    let mut text = action.kind.to_string();
    for (name, value) in action.attributes.iter() {
        let _ = write!(text, "\n  {name} = {}", shown(value));
    }
    text
}

/// The actions of a template's only provisioner on the builder `rootfs`.
fn steps(provisioner: &str) -> String {
    let template = format!(
        "source \"rootfs\" \"web\" {{}}\nbuild {{\n  sources = [\"rootfs.web\"]\n  {provisioner}\n}}\n"
    );
    let lowered = lowered(&template).unwrap_or_else(|problem| panic!("{template}: {problem}"));
    let steps = lowered.actions.iter().zip(&lowered.provisioners).filter(|(_, place)| **place == Some(0));
    steps.map(|(action, _)| dump(action)).collect::<Vec<_>>().join("\n")
}

fn problem(body: &str) -> String {
    lowered(body).map(|lowered| format!("{lowered:?}")).unwrap_err()
}

const ENV: &str = "env = {PACKER_BUILDER_TYPE=\"rootfs\", PACKER_BUILD_NAME=\"web\"}";

#[test]
fn a_shell_is_one_step_with_its_interpreter_and_packers_variables() {
    assert_eq!(
        steps(r#"provisioner "shell" { inline = ["one", "two"] }"#),
        format!(
            "shell\n  inline = [\"#!/bin/sh -e\", \"one\", \"two\"]\n  {ENV}\n  unix_line_ends = true\n  network = true\n  new_privileges = true"
        )
    );
    for (body, expected) in [
        (r##"inline = ["#!/bin/bash", "one"]"##, "inline = [\"#!/bin/bash\", \"one\"]"),
        (
            r##"inline = ["#!/bin/bash", "one"]
            inline_shebang = "/bin/zsh""##,
            "inline = [\"#!/bin/zsh\", \"#!/bin/bash\", \"one\"]",
        ),
        (
            r#"inline = ["x"]
            environment_vars = ["B=1", "A=x=y"]
            env = { B = "2" }"#,
            "env = {A=\"x=y\", B=\"2\", PACKER_BUILDER_TYPE=\"rootfs\", PACKER_BUILD_NAME=\"web\"}",
        ),
        (
            r#"inline = ["x"]
            execute_command = "sudo sh {{ .Path }}""#,
            "execute_command = \"sudo sh {{.Path}}\"",
        ),
        (
            r#"inline = ["x"]
            use_env_var_file = true"#,
            "execute_command = \"chmod +x {{.Path}}; . {{.EnvVarFile}} && {{.Path}}\"",
        ),
        (
            r#"inline = ["x"]
            valid_exit_codes = [0, 3]
            max_retries = 2
            pause_before = "1500ms"
            timeout = "1m""#,
            "valid_exit_codes = [0, 3]\n  max_retries = 2\n  pause_before = 2\n  timeout = 60",
        ),
    ] {
        let found = steps(&format!("provisioner \"shell\" {{\n{body}\n}}"));
        assert!(found.contains(expected), "{body}:\n{found}");
    }
    let usual = steps(
        r#"provisioner "shell" {
            inline = ["x"]
            execute_command = "chmod +x {{.Path}}; {{.Vars}} {{.Path}}"
            binary = true
        }"#,
    );
    assert!(!usual.contains("execute_command") && !usual.contains("unix_line_ends"), "{usual}");
}

#[test]
fn each_script_is_a_step_of_its_own() {
    let found = steps(r#"provisioner "shell" { scripts = ["one.sh", "./two.sh"] }"#);
    let scripts: Vec<&str> = found.lines().filter(|line| line.contains("script = ")).collect();
    assert_eq!(scripts, ["  script = <one.sh>", "  script = <two.sh>"]);
}

#[test]
fn files_go_where_packer_puts_them() {
    for (body, expected) in [
        ("source = \"one.sh\"\n destination = \"/opt/one.sh\"", "src = [<one.sh>]\n  dest = \"/opt/one.sh\""),
        ("source = \"one.sh\"\n destination = \"/opt/\"", "src = [<one.sh>]\n  dest = \"/opt/\""),
        ("source = \"site\"\n destination = \"/srv\"", "src = [<site>]\n  dest = \"/srv/site\""),
        ("source = \"site/\"\n destination = \"/srv\"", "src = [<site>]\n  dest = \"/srv\""),
        ("source = \"one.sh\"\n destination = \"one.sh\"", "dest = \"/root/one.sh\""),
        ("content = \"x\"\n destination = \"/x\"", "content = \"x\"\n  dest = \"/x\""),
        (
            "direction = \"download\"\n source = \"/var/log/\"\n destination = \"logs/\"",
            "src = \"/var/log/*\"\n  dest = \"/w/logs/\"",
        ),
    ] {
        let found = steps(&format!("provisioner \"file\" {{\n{body}\n}}"));
        assert!(found.contains(expected), "{body}:\n{found}");
    }
}

#[test]
fn commands_on_the_host_start_where_the_user_is() {
    let found = steps(r#"provisioner "shell-local" { inline = ["make"] }"#);
    assert!(found.starts_with("shell_local\n  inline = [\"#!/bin/sh -e\", \"make\"]"), "{found}");
    assert!(found.contains("workdir = \"/w\""), "{found}");
    let found = steps("provisioner \"shell-local\" {\n inline = [\"x\"]\n only_on = [\"windows\"]\n}");
    assert_eq!(found, "");
}

#[test]
fn what_is_sensitive_is_in_no_action() {
    let lowered = lowered(
        r#"
variable "token" {
  default   = "top-secret"
  sensitive = true
}
source "null" "n" { communicator = "none" }
build {
  sources = ["null.n"]
  provisioner "shell-local" {
    inline = ["login ${var.token}", "login hunter2", "plain"]
    env    = { TOKEN = base64encode(var.token) }
  }
}
"#,
    )
    .unwrap();
    let text: String = lowered.actions.iter().map(|action| dump(action)).collect();
    for secret in ["top-secret", "hunter2", "dG9wLXNlY3JldA"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(text.matches("⟨secret:").count(), 3, "{text}");
    assert!(text.contains("\"plain\""), "{text}");
}

#[test]
fn what_cannot_be_carried_out_is_said_at_once() {
    let null = "source \"null\" \"n\" { communicator = \"none\" }\nbuild {\n  sources = [\"null.n\"]\n";
    for (body, expected) in [
        (format!("{null}  provisioner \"shell\" {{ inline = [\"x\"] }}\n}}"), "`shell` needs a machine, and this build has none"),
        (
            "source \"rootfs\" \"r\" {}\nbuild {\n  sources = [\"rootfs.r\"]\n  provisioner \"shell\" { script = \"gone.sh\" }\n}".to_owned(),
            "there is no file or folder `gone.sh`",
        ),
        (
            "source \"rootfs\" \"r\" {}\nbuild {\n  sources = [\"rootfs.r\"]\n  provisioner \"file\" {\n    sources = [\"one.sh\", \"two.sh\"]\n    destination = \"/x\"\n  }\n}".to_owned(),
            "several files go to a folder",
        ),
    ] {
        let found = problem(&body);
        assert!(found.contains(expected), "{body}: {found}");
    }
}

#[test]
fn a_delegated_build_is_keyed_by_what_changes_it() {
    let real = |versions: &str| RealPacker {
        program: "/usr/bin/packer".to_owned(),
        versions: versions.to_owned(),
        template: "t.pkr.hcl".to_owned(),
        args: Vec::new(),
        variables: String::new(),
    };
    let keyed = |settings: &str| {
        let files = files(&format!(
            "source \"docker\" \"d\" {{\n  image = \"base:1\"\n  {settings}\n}}\nbuild {{\n  sources = [\"docker.d\"]\n  provisioner \"shell\" {{ script = \"one.sh\" }}\n}}\n"
        ));
        let holes = Holes::new([7; 32], []);
        let lowered = delegate(&recipe(&files), &around(&files, &holes), &real("1.6.6")).unwrap();
        let attributes = lowered.actions[0].attributes.clone();
        (attributes.str("recipe").unwrap().to_owned(), shown(attributes.get("srcs").unwrap()))
    };
    let (plain, inputs) = keyed("commit = true");
    assert_eq!(inputs, "[<one.sh>]");
    // How the machine is reached is no part of it; what is in the image is.
    assert_eq!(keyed("commit = true\n  ssh_timeout = \"9m\"").0, plain);
    assert_ne!(keyed("commit = true\n  changes = [\"USER app\"]").0, plain);
}

#[test]
fn files_are_tried_as_often_as_is_said_and_a_provisioner_waits_once() {
    let tries = "max_retries = 2\npause_before = \"3s\"\ntimeout = \"1m\"";
    for body in [
        "content = \"x\"\ndestination = \"/x\"",
        "source = \"one.sh\"\ndestination = \"/x\"",
        "direction = \"download\"\nsource = \"/x\"\ndestination = \"x\"",
    ] {
        let found = steps(&format!("provisioner \"file\" {{\n{body}\n{tries}\n}}"));
        assert!(found.contains("max_retries = 2\n  pause_before = 3\n  timeout = 60"), "{body}:\n{found}");
    }
    let two = "scripts = [\"one.sh\", \"two.sh\"]\npause_after = \"5s\"";
    let found = steps(&format!("provisioner \"shell\" {{\n{two}\n{tries}\n}}"));
    let (first, second) = found.split_once("two.sh").unwrap();
    assert!(first.contains("pause_before = 3") && !first.contains("pause_after"), "{found}");
    assert!(second.contains("pause_after = 5") && !second.contains("pause_before"), "{found}");
}

/// A template whose machine is there already.
fn on_machine(source: &str, provisioner: &str) -> Lowered {
    let template = format!(
        "source \"null\" \"x\" {{\n  ssh_host = \"h\"\n  ssh_username = \"u\"\n  ssh_password = \"p\"\n{source}\n}}\n\
         build {{\n  sources = [\"null.x\"]\n  {provisioner}\n}}\n"
    );
    lowered(&template).unwrap_or_else(|problem| panic!("{template}: {problem}"))
}

#[test]
fn what_is_said_of_a_key_pair_that_nobody_makes_is_warned_of() {
    let source = "  ssh_keypair_name = \"mine\"\n  temporary_key_pair_type = \"ed25519\"\n  temporary_key_pair_bits = 0";
    let said = |warning: &imgbuild_model::Diagnostic| {
        format!("{} {}", warning.message, warning.location.as_ref().map_or(0, |location| location.line))
    };
    let warnings: Vec<_> = on_machine(source, "").warnings.0.iter().map(said).collect();
    assert_eq!(
        warnings,
        [
            "`ssh_keypair_name` has no effect: no key pair is made for the connection 5",
            "`temporary_key_pair_type` has no effect: no key pair is made for the connection 6",
            "`temporary_key_pair_bits` has no effect: no key pair is made for the connection 7",
        ]
    );
    assert!(on_machine("", "").warnings.0.is_empty());
}

#[test]
fn the_key_that_is_typed_is_the_one_that_lets_in() {
    let template = |key: &str, typed: &str| {
        format!(
            "source \"qemu\" \"x\" {{\n  iso_url = \"two.sh\"\n  iso_checksum = \"none\"\n  ssh_username = \"u\"\n  {key}\n  \
             boot_command = [\"{typed}<enter>\"]\n}}\nbuild {{\n  sources = [\"qemu.x\"]\n}}\n"
        )
    };
    let on_qemu = |key: &str, typed: &str| {
        let lowered = lowered(&template(key, typed)).unwrap();
        let source = lowered
            .actions
            .iter()
            .map(|action| dump(action))
            .find(|action| action.starts_with("qemu"))
            .unwrap();
        let key =
            source.lines().find(|line| line.contains("authorized_key")).map(|line| line.trim().to_owned());
        let warnings: Vec<_> = lowered.warnings.0.iter().map(|warning| warning.message.clone()).collect();
        (key, warnings)
    };
    let file = "ssh_private_key_file = \"one.sh\"";
    let (key, warnings) = on_qemu(file, "{{ .SSHPublicKey | urlquery }}");
    assert!(
        key.as_ref().is_some_and(|key| key.contains("one.sh")) && warnings.is_empty(),
        "{key:?} {warnings:?}"
    );
    assert_eq!(on_qemu(file, "{{ .Name }}"), (None, Vec::new()));
    for (key, why) in [
        ("ssh_private_key_file = \"~/key\"", "where `~` is, is not known as it is read"),
        ("ssh_password = \"p\"", "no key pair is made for the connection"),
    ] {
        let empty = format!("`{{{{ .SSHPublicKey }}}}` is empty: {why}");
        assert_eq!(on_qemu(key, "{{ .SSHPublicKey }}"), (None, vec![empty]));
    }
    let gone = lowered(&template("ssh_private_key_file = \"gone\"", "{{ .SSHPublicKey }}"));
    assert_eq!(gone.err().map(|problem| problem.matches("gone").count()), Some(1));
}

#[test]
fn a_program_is_one_from_where_the_build_runs() {
    for (command, expected) in [
        ("ansible-playbook", "ansible-playbook"),
        ("tools/ansible-playbook", "/w/tools/ansible-playbook"),
        ("./ansible-playbook", "/w/ansible-playbook"),
        ("/opt/ansible-playbook", "/opt/ansible-playbook"),
    ] {
        let provisioner = format!(
            "provisioner \"ansible\" {{\n    playbook_file = \"site/index.html\"\n    command = \"{command}\"\n  }}"
        );
        let lowered = on_machine("", &provisioner);
        let step = lowered.actions.iter().map(|action| dump(action)).find(|text| text.starts_with("ansible"));
        let step = step.unwrap_or_default();
        assert!(step.contains(&format!("command = {expected:?}\n")), "{step}");
    }
}
