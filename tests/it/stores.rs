//! What templates read from stores of secrets and settings, in both languages, and that it is shown and kept nowhere.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use imgbuild_stores::test_support::{ConsulAgent, StandIn};

use crate::support::{Said, Workspace, said};

const SECRET: &str = "hunter2-from-vault";

/// Sensitive texts as values, in pieces of others, and in the middle of an attribute.
const HCL: &str = r#"
locals {
  password = vault("secret/data/db", "password")
}
source "null" "x" {
  communicator = "none"
}
source "file" "x" {
  target  = "x.txt"
  content = "${local.password} ${jsondecode("[\"${vault("kv/db", "password")}\"]")[0]}"
}
build {
  sources = ["null.x", "file.x"]
  provisioner "shell-local" {
    inline           = ["echo said ${vault("secret/data/db", "password")}", "echo $UPPER"]
    environment_vars = ["UPPER=${upper(local.password)}"]
  }
}
"#;

const JSON: &str = r#"{
  "variables": {
    "password": "{{vault `secret/data/db` `password`}}",
    "address": "ada:{{user `password`}}@db"
  },
  "builders": [{"type": "file", "target": "x.txt", "content": "{{user `address`}}"}],
  "provisioners": [{"type": "shell-local", "inline": ["echo said {{user `address`}}"]}]
}"#;

fn run(workspace: &Workspace, environment: &[(&str, &str)], words: &[&str]) -> Said {
    said(&workspace.command(words).envs(environment.iter().copied()).output().unwrap())
}

#[track_caller]
fn ok(workspace: &Workspace, environment: &[(&str, &str)], words: &[&str]) -> Said {
    let said = run(workspace, environment, words);
    assert_eq!(said.code, Some(0), "imgbuild {}: {said:#?}", words.join(" "));
    assert!(!format!("{said:?}").to_lowercase().contains(SECRET), "it is shown: {said:#?}");
    said
}

/// Whether a text is in a file of the cache.
fn is_kept(workspace: &Workspace, text: &str) -> bool {
    Command::new("grep").args(["-rqi", text]).arg(workspace.cache()).status().unwrap().success()
}

#[test]
fn what_vault_tells_templates_in_hcl_is_used_and_not_shown() {
    let vault = StandIn::vault();
    let url = vault.url();
    let environment = [("VAULT_ADDR", url.as_str()), ("VAULT_TOKEN", "s.token")];
    let workspace = Workspace::new();
    workspace.write("t.pkr.hcl", HCL);
    let first = ok(&workspace, &environment, &["build", "t.pkr.hcl"]);
    assert!(first.stdout.contains("==> null.x: said <sensitive>\n"), "{}", first.stdout);
    assert!(first.stdout.contains("==> null.x: <sensitive>\n"), "{}", first.stdout);
    assert_eq!(workspace.read("x.txt"), format!("{SECRET} {SECRET}"));
    let asked: Vec<String> = vault.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(asked.len(), 2, "equal requests are made once: {asked:?}");
    let second = ok(&workspace, &environment, &["build", "t.pkr.hcl"]);
    assert!(second.stdout.contains("==> null.x: shell-local: not run again"), "{}", second.stdout);
    ok(&workspace, &environment, &["plan", "t.pkr.hcl"]);
    ok(&workspace, &environment, &["why", "t.pkr.hcl"]);
    ok(&workspace, &environment, &["validate", "t.pkr.hcl"]);
    assert!(!is_kept(&workspace, SECRET));

    let asked = vault.requests().len();
    let inspected = ok(&workspace, &environment, &["inspect", "t.pkr.hcl"]);
    assert!(inspected.stdout.contains("local.password: \"<unknown>\""), "{}", inspected.stdout);
    ok(&workspace, &environment, &["validate", "-syntax-only", "t.pkr.hcl"]);
    ok(&workspace, &environment, &["init", "t.pkr.hcl"]);
    assert_eq!(vault.requests().len(), asked, "to look at a template asks nobody");
}

#[test]
fn what_vault_tells_templates_in_json_is_used_and_not_shown() {
    let vault = StandIn::vault();
    let url = vault.url();
    let environment = [("VAULT_ADDR", url.as_str()), ("VAULT_TOKEN", "s.token")];
    let workspace = Workspace::new();
    workspace.write("t.json", JSON);
    ok(&workspace, &environment, &["validate", "t.json"]);
    let built = ok(&workspace, &environment, &["build", "t.json"]);
    assert!(built.stdout.contains("==> file: said <sensitive>"), "{}", built.stdout);
    assert_eq!(workspace.read("x.txt"), format!("ada:{SECRET}@db"));
    assert!(!is_kept(&workspace, SECRET));
    ok(&workspace, &environment, &["inspect", "t.json"]);
    assert_eq!(vault.requests().len(), 2, "once for each run that asks");
}

#[test]
fn another_value_runs_a_step_again() {
    let version = Arc::new(AtomicUsize::new(1));
    let told = Arc::clone(&version);
    let vault = StandIn::start(move |_| {
        Some((200, format!("{{\"data\": {{\"a\": \"{SECRET}-{}\"}}}}", told.load(Ordering::Relaxed))))
    });
    let url = vault.url();
    let environment = [("VAULT_ADDR", url.as_str()), ("VAULT_TOKEN", "t")];
    let workspace = Workspace::new();
    workspace.write(
        "t.pkr.hcl",
        r#"
source "null" "x" {
  communicator = "none"
}
build {
  sources = ["null.x"]
  provisioner "shell-local" {
    inline = ["echo said ${vault("kv/x", "a")}"]
  }
}
"#,
    );
    for (value, runs) in [(1, true), (1, false), (2, true), (2, false)] {
        version.store(value, Ordering::Relaxed);
        let built = ok(&workspace, &environment, &["build", "t.pkr.hcl"]);
        assert_eq!(built.stdout.contains("==> null.x: said <sensitive>"), runs, "{value}: {}", built.stdout);
    }
}

#[test]
fn expressions_ask_stores_too() {
    use std::io::Write as _;
    let vault = StandIn::vault();
    let workspace = Workspace::new();
    let mut command = workspace.command(&["console"]);
    command.env("VAULT_ADDR", vault.url()).env("VAULT_TOKEN", "s.token");
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"upper(vault(\"kv/db\", \"password\"))\n").unwrap();
    let output = said(&child.wait_with_output().unwrap());
    assert_eq!(output.stdout, "<sensitive>\n");
    assert_eq!(vault.requests().len(), 1);
}

#[test]
fn why_there_is_no_value_is_said_in_both_languages() {
    let workspace = Workspace::new();
    workspace.write("t.pkr.hcl", HCL);
    workspace.write("t.json", JSON);
    let vault = StandIn::vault();
    let url = vault.url();
    let hint = "set `VAULT_TOKEN`, or log in by `vault login`, which writes `~/.vault-token`";
    for template in ["t.pkr.hcl", "t.json"] {
        let failed = run(&workspace, &[("VAULT_ADDR", &url)], &["build", template]);
        assert_eq!(failed.code, Some(1), "{failed:#?}");
        for part in ["Vault gave no value: there is no token", hint] {
            assert!(failed.stdout.contains(part), "`{part}` is not in {failed:#?}");
        }
        let refused =
            run(&workspace, &[("VAULT_ADDR", &url), ("VAULT_TOKEN", "s.wrong")], &["build", template]);
        assert_eq!(refused.code, Some(1), "{refused:#?}");
        let why = format!(
            "Vault gave no value: `{url}` refuses to read `secret/data/db`: 1 error occurred: * permission denied"
        );
        assert!(refused.stdout.contains(&why), "{refused:#?}");
        assert!(!format!("{refused:?}").contains("s.wrong"), "{refused:#?}");
    }
}

#[test]
fn what_is_wrong_with_a_secret_is_said_without_it() {
    let vault = StandIn::vault();
    let url = vault.url();
    let environment = [("VAULT_ADDR", url.as_str()), ("VAULT_TOKEN", "s.token")];
    let workspace = Workspace::new();
    workspace.write(
        "t.json",
        r#"{"variables": {"password": "{{vault `kv/db` `password`}}", "own": "s3cr3t-own"}, "sensitive-variables": ["own"],
"builders": [{"type": "null", "communicator": "{{user `password`}}", "ssh_port": "{{user `own`}}"}]}"#,
    );
    workspace.write(
        "t.pkr.hcl",
        r#"
source "null" "x" {
  communicator = vault("kv/db", "password")
}
build {
  sources = ["null.x"]
  provisioner "shell-local" {
    inline       = ["true"]
    pause_before = vault("kv/db", "password")
  }
}
"#,
    );
    for (template, said) in [
        ("t.json", ["`communicator`: expected ", "`ssh_port`: expected int, got \"<sensitive>\""]),
        ("t.pkr.hcl", ["`communicator`: expected ", "`<sensitive>` is not a duration"]),
    ] {
        for verb in ["validate", "build"] {
            let wrong = run(&workspace, &environment, &[verb, template]);
            assert_eq!(wrong.code, Some(1), "{wrong:#?}");
            assert!(said.iter().all(|said| wrong.stdout.contains(said)), "{wrong:#?}");
            for secret in [SECRET, "s3cr3t-own"] {
                assert!(!format!("{wrong:?}").contains(secret), "{secret} is shown: {wrong:#?}");
            }
        }
    }
}

#[test]
fn settings_of_a_real_consul_are_read_by_both_languages() {
    let Some(agent) = ConsulAgent::start() else { return };
    agent.put("image/name", "web");
    let address = agent.address();
    let environment = [("CONSUL_HTTP_ADDR", address.as_str()), ("CONSUL_HTTP_TOKEN", ConsulAgent::TOKEN)];
    let workspace = Workspace::new();
    workspace.write(
        "t.pkr.hcl",
        r#"
locals {
  name = consul_key("image/name")
}
source "file" "x" {
  target  = "${local.name}.txt"
  content = consul_key("image/name")
}
build {
  sources = ["file.x"]
}
"#,
    );
    workspace.write(
        "t.json",
        r#"{"variables": {"name": "{{consul_key `image/name`}}"},
"builders": [{"type": "file", "target": "{{user `name`}}.json", "content": "{{user `name`}}"}]}"#,
    );
    let built = ok(&workspace, &environment, &["build", "t.pkr.hcl"]);
    assert!(built.stdout.contains("Stored file: web.txt"), "settings are no secrets: {}", built.stdout);
    ok(&workspace, &environment, &["build", "t.json"]);
    assert_eq!((workspace.read("web.txt"), workspace.read("web.json")), ("web".to_owned(), "web".to_owned()));
    let wrong = run(&workspace, &[("CONSUL_HTTP_ADDR", &address)], &["validate", "t.json"]);
    assert_eq!(wrong.code, Some(1), "{wrong:#?}");
    assert!(wrong.stdout.contains("Consul gave no value: "), "{wrong:#?}");
}
