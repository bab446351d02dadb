//! Data sources that are not built in: a stand-in for a real `packer` is asked for their answers.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Said, Workspace, said};

/// Says what real ones say. It is asked by a template for the builder `file`: the first such is kept as `asked-1.json` and
/// answered with the text in `answers-1.json`, and so on; without that file it says what is in `error.txt`. Other builds are
/// delegated ones.
const PACKER: &str = r#"#!/bin/sh
for template; do :; done
case "$*" in
version) cat version.txt 2>/dev/null || echo "Packer v1.9.4" ;;
"plugins installed") ;;
*-only=*)
    echo "$*" >> delegated.txt
    for argument; do
        case $argument in -var-file=/*) cat "${argument#*=}" > given.json; stat -c %a "${argument#*=}" > mode.txt ;; esac
    done
    echo "1,amazon-ebs.web,artifact,0,builder-id,mitchellh.amazonebs"
    echo "1,amazon-ebs.web,artifact,0,id,us-east-1:ami-2"
    ;;
build\ *)
    echo x >> asked.txt
    n=$(($(wc -l < asked.txt)))
    echo "$*" > "arguments-$n.txt"
    cp "$template" "asked-$n.json"
    printf '%s\n' '1795293786,,ui,error,Warning: Bundled plugins used\n\nThis template relies on the use of plugins.'
    if [ -e slow ]; then echo $$ > slow; sleep 90; fi
    if [ ! -e "answers-$n.json" ]; then
        sed "s|TEMPLATE|$template|" error.txt
        exit 1
    fi
    target=$(sed -n 's/.*"target":"\([^"]*\)".*/\1/p' "$template")
    base64 -w0 < "answers-$n.json" > "$target"
    echo "1795293786,,ui,say,Build 'file.answers' finished after 854 microseconds."
    ;;
*) exit 1 ;;
esac
"#;

const AMI: &str = r#"
variable "owner" { default = "0997" }
data "amazon-ami" "base" {
  filters     = { name = "ubuntu-*", "tag:$${x}" = "%%{y}" }
  owners      = [var.owner]
  most_recent = true
  assume_role {
    role_arn = "arn:1"
  }
}
data "amazon-ami" "other" {
  filters = { name = "debian-*" }
  owners  = [var.owner]
}
data "amazon-ami" "same" {
  filters = { image-id = data.amazon-ami.base.id }
  owners  = [var.owner]
}
data "null" "x" { input = "n" }
source "file" "note" {
  content = "${data.amazon-ami.base.id} ${data.amazon-ami.other.tags["k"]} ${data.amazon-ami.same.name} ${data.null.x.output}\n"
  target  = "note.txt"
}
source "amazon-ebs" "web" {
  source_ami    = data.amazon-ami.base.id
  instance_type = "t3.micro"
  ami_name      = "web"
  ssh_username  = "ubuntu"
  region        = "us-east-1"
}
build { sources = ["source.file.note", "source.amazon-ebs.web"] }
"#;

const SECRET: &str = r#"
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.2"
    }
    docker = {
      source  = "github.com/hashicorp/docker"
      version = "~> 1"
    }
  }
}
data "amazon-secretsmanager" "db" {
  name = "db"
  key  = "password"
}
source "file" "x" {
  content = "${data.amazon-secretsmanager.db.value} ${data.amazon-secretsmanager.db.version_id}"
  target  = "x.txt"
}
build {
  sources = ["source.file.x"]
  provisioner "shell-local" {
    inline = ["echo ${jsondecode(data.amazon-secretsmanager.db.secret_string)["user"]}"]
  }
}
"#;

const SECRET_ANSWER: &str = r#"{"asked0": {"secret_binary": "", "secret_string": "{\"user\":\"ada-lovelace\",\"password\":\"sesame-17\"}", "value": "sesame-17", "version_id": "v7"}}"#;

/// A workspace with a template, the stand-in, and a folder for temporary files.
fn workspace(template: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("t.pkr.hcl", template);
    workspace.write("bin/packer", PACKER);
    workspace.write("tmp/.keep", "");
    let program = workspace.root().join("bin/packer");
    fs_err::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    workspace
}

fn command(workspace: &Workspace, words: &[&str]) -> Command {
    let mut command = workspace.command(words);
    let root = workspace.root();
    command.env("PATH", format!("{}:/usr/bin:/bin", root.join("bin").display()));
    command.env("TMPDIR", root.join("tmp"));
    command
}

#[track_caller]
fn run(workspace: &Workspace, code: i32, words: &[&str]) -> Said {
    let said = said(&command(workspace, words).output().unwrap());
    assert_eq!(said.code, Some(code), "imgbuild {}: {said:#?}", words.join(" "));
    assert!(left(workspace).is_empty(), "{:?}", left(workspace));
    said
}

/// What is left of what the program was told.
fn left(workspace: &Workspace) -> Vec<String> {
    let entries = fs_err::read_dir(workspace.root().join("tmp")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("imgbuild-asked-")).collect()
}

/// The answers of [`AMI`], in its two rounds.
fn answer_ami(workspace: &Workspace, id: &str) {
    for file in ["asked.txt", "answers-3.json"] {
        let _ = fs_err::remove_file(workspace.root().join(file));
    }
    let image = |id: &str, name: &str| {
        format!(
            r#"{{"id": "{id}", "name": "{name}", "creation_date": "", "owner": "1", "owner_name": null, "tags": {{"k": "v {{w}} ${{z}}"}}}}"#
        )
    };
    let both =
        format!(r#"{{"asked0": {}, "asked1": {}}}"#, image(id, "ubuntu-1"), image("ami-9", "debian-1"));
    workspace.write("answers-1.json", &both);
    workspace.write("answers-2.json", &format!(r#"{{"asked0": {}}}"#, image(id, "ubuntu-1")));
}

#[test]
fn a_real_packer_answers_for_builds_of_both_kinds() {
    let workspace = workspace(AMI);
    answer_ami(&workspace, "ami-1");
    let first = run(&workspace, 0, &["build", "-var", "owner=0998", "t.pkr.hcl"]);
    assert_eq!(workspace.read("note.txt"), "ami-1 v {w} ${z} ubuntu-1 n\n");
    assert!(
        !first.stdout.contains("Bundled plugins"),
        "what it says of its own template is of no use: {first:?}"
    );
    assert_eq!(workspace.read("delegated.txt").lines().count(), 1);

    // All that can be asked at once is; what is told is evaluated, and stands for itself.
    assert_eq!(workspace.read("asked.txt").lines().count(), 2);
    let asked: serde_json::Value = serde_json::from_str(&workspace.read("asked-1.json")).unwrap();
    let settings = &asked["data"][0]["amazon-ami"]["asked0"];
    assert_eq!(settings["owners"][0], "0998");
    assert_eq!(settings["assume_role"][0]["role_arn"], "arn:1");
    assert_eq!(settings["filters"]["name"], "ubuntu-*");
    assert_eq!(settings["filters"]["${base64decode(\"dGFnOiR7eH0=\")}"], "${base64decode(\"JXt5fQ==\")}");
    assert_eq!(asked["data"].as_array().map(Vec::len), Some(2), "{asked}");
    let arguments = workspace.read("arguments-1.txt");
    assert!(!arguments.contains("0998") && arguments.starts_with("build -machine-readable /"), "{arguments}");
    assert!(workspace.read("asked-2.json").contains(r#""filters":{"image-id":"ami-1"}"#));

    // The same answers run nothing again, others do.
    let build = |id: &str| {
        answer_ami(&workspace, id);
        run(&workspace, 0, &["build", "-var", "owner=0998", "t.pkr.hcl"])
    };
    build("ami-1");
    assert_eq!(workspace.read("delegated.txt").lines().count(), 1);
    build("ami-3");
    assert_eq!(workspace.read("delegated.txt").lines().count(), 2);
    assert_eq!(workspace.read("note.txt"), "ami-3 v {w} ${z} ubuntu-1 n\n");
}

#[test]
fn values_of_variables_are_in_no_arguments() {
    let template = r#"
variable "text" { sensitive = true }
variable "plain" { type = string }
variable "number" { type = number }
variable "list" { type = list(string) }
variable "object" { type = object({ a = string, b = list(number) }) }
variable "nothing" { type = list(string) }
variable "big" { type = list(number) }
variable "default" { default = "d" }
source "docker" "web" {
  image  = "base:1"
  commit = true
}
build { sources = ["source.docker.web"] }
"#;
    let workspace = workspace(template);
    workspace.write("f.pkrvars.hcl", "plain = \"file\"\n");
    let vars = [
        "text=007 hunter2",
        r#"plain=${x} "q" %{if}"#,
        "number=7.50",
        r#"list=["a", "$${y}"]"#,
        r#"object={a = "x", b = [1]}"#,
        "nothing=null",
        "big=[12345678901234567890123]",
    ];
    let mut words = vec!["build", "-var-file=f.pkrvars.hcl", "-force"];
    vars.iter().for_each(|var| words.extend(["-var", var]));
    run(&workspace, 0, &[&words[..], &["t.pkr.hcl"]].concat());
    let given = workspace.read("given.json").replace(r#""big":[12345678901234567890123],"#, "");
    let given: serde_json::Value = serde_json::from_str(&given).unwrap();
    let expected = serde_json::json!({
        "text": "007 hunter2", "plain": "${x} \"q\" %{if}", "number": 7.5, "list": ["a", "${y}"],
        "object": {"a": "x", "b": [1]}, "nothing": null,
    });
    assert_eq!(given, expected);
    assert_eq!(workspace.read("mode.txt"), "600\n");
    let arguments = workspace.read("delegated.txt");
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let start = ["build", "-machine-readable", "-only=docker.web", "-var-file=f.pkrvars.hcl", "-force"];
    assert_eq!(words[..5], start, "{arguments}");
    // The last file counts.
    assert!(words[5].ends_with("/variables.pkrvars.json") && words[6..] == ["t.pkr.hcl"], "{arguments}");
    let path = words[5].strip_prefix("-var-file=").unwrap();
    assert!(!std::path::Path::new(path).exists());
    let kept = Command::new("grep").args(["-rq", "hunter2"]).arg(workspace.cache()).status().unwrap();
    assert!(!kept.success());

    let legacy = r#"{"variables": {"a": "1", "b": "2"}, "builders": [{"type": "docker", "image": "{{user `a`}}", "commit": true}]}"#;
    workspace.write("t.json", legacy);
    run(&workspace, 0, &["build", "-var", "a=007", "t.json"]);
    assert_eq!(workspace.read("given.json"), r#"{"a":"007"}"#);
}

#[test]
fn it_is_asked_only_when_that_is_wanted() {
    let workspace = workspace(AMI);
    run(&workspace, 0, &["validate", "t.pkr.hcl"]);
    run(&workspace, 0, &["inspect", "t.pkr.hcl"]);
    workspace.write("broken.pkr.hcl", &AMI.replace("most_recent", "most_resent"));
    run(&workspace, 1, &["build", "broken.pkr.hcl"]);
    assert!(!workspace.has("asked.txt"));
    answer_ami(&workspace, "ami-1");
    run(&workspace, 0, &["validate", "-evaluate-datasources", "t.pkr.hcl"]);
    assert!(workspace.has("asked-2.json"));
    assert!(!workspace.has("delegated.txt"));
}

#[test]
fn secrets_that_it_tells_are_shown_and_kept_nowhere() {
    let workspace = workspace(SECRET);
    workspace.write("answers-1.json", SECRET_ANSWER);
    let build = run(&workspace, 0, &["build", "t.pkr.hcl"]);
    assert_eq!(workspace.read("x.txt"), "sesame-17 v7");
    assert!(build.stdout.contains("file.x: <sensitive>"), "{build:?}");
    for text in ["sesame-17", "ada-lovelace"] {
        assert!(!format!("{build:?}").contains(text), "{build:?}");
        let kept = Command::new("grep").args(["-rqi", text]).arg(workspace.cache()).status().unwrap();
        assert!(!kept.success(), "{text}");
    }
    // It asks for the plugin that is needed, and for no other.
    let asked: serde_json::Value = serde_json::from_str(&workspace.read("asked-1.json")).unwrap();
    let plugins = asked["packer"]["required_plugins"].as_object().unwrap();
    assert_eq!(plugins.keys().collect::<Vec<_>>(), ["amazon"]);
    assert_eq!(plugins["amazon"]["version"], "~> 1.2");
    assert_eq!(plugins["amazon"]["source"], "github.com/hashicorp/amazon");
}

#[test]
fn what_it_refuses_is_told_where_it_is_asked() {
    let workspace = workspace(AMI);
    let fails = |error: &str, parts: &[&str], not: &[&str]| {
        workspace.write("error.txt", error);
        let said = run(&workspace, 1, &["build", "t.pkr.hcl"]);
        let text = said.stdout + &said.stderr;
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in {text}");
        }
        for part in not {
            assert!(!text.contains(part), "`{part}` is in {text}");
        }
    };
    // As version 1.9.4 says it.
    fails(
        r"1,,ui,error,Error: Datasource.Execute failed: Error querying AMI: RequestError\ncaused by: dial tcp%!(PACKER_COMMA) refused\n\n  on TEMPLATE line 3:\n  (source code not available)\n\n",
        &[
            "`packer` has no answer of the data source `amazon-ami`: Datasource.Execute failed: Error querying AMI: RequestError caused by: dial tcp, refused",
            "t.pkr.hcl line 11",
        ],
        &["line 3:", "asked.pkr.json", "source code", "Bundled"],
    );
    fails(
        r"1,,ui,error,Error: Missing plugins\n\nThe following plugins are required%!(PACKER_COMMA) but not installed:\n\n* github.com/hashicorp/amazon >= 1.2\n\n",
        &["t.pkr.hcl line 3", "t.pkr.hcl line 11", "* github.com/hashicorp/amazon >= 1.2", "`packer init`"],
        &[],
    );
    fails("panic: no line for programs\n", &["`amazon-ami`: panic: no line for programs"], &["Bundled"]);
    fails("", &["`amazon-ami`: it does not say why"], &["Bundled"]);
}

#[test]
fn who_cannot_be_asked_is_said() {
    let workspace = workspace(AMI);
    workspace.write("version.txt", "Packer v1.6.6\n");
    let said = run(&workspace, 1, &["build", "t.pkr.hcl"]);
    for part in ["the data source `amazon-ami` is not built in yet", "since 1.7", "is version 1.6.6"] {
        assert!(said.stdout.contains(part), "{said:?}");
    }
    workspace.write("version.txt", "something else\n");
    let said = run(&workspace, 1, &["build", "t.pkr.hcl"]);
    assert!(said.stdout.contains("does not say its version"), "{said:?}");
    fs_err::remove_file(workspace.root().join("bin/packer")).unwrap();
    let mut command = command(&workspace, &["build", "t.pkr.hcl"]);
    let said = crate::support::said(&command.env("PATH", workspace.root().join("bin")).output().unwrap());
    for part in ["the data source `amazon-ami` is not built in yet", "a real `packer` on the path is asked"] {
        assert!(said.stdout.contains(part), "{said:?}");
    }
    assert!(!workspace.has("asked.txt"));
}

#[test]
fn it_ends_with_the_program() {
    let workspace = workspace(AMI);
    workspace.write("slow", "");
    let mut child = command(&workspace, &["build", "t.pkr.hcl"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < Duration::from_secs(30), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait("it is not asked", &|| !workspace.read("slow").is_empty());
    assert_eq!(left(&workspace).len(), 1);
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    child.wait().unwrap();
    wait("something is left", &|| left(&workspace).is_empty());
    let process = workspace.read("slow");
    let stat = std::path::Path::new("/proc").join(process.trim()).join("stat");
    wait("it still runs", &|| fs_err::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")));
}
