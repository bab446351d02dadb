//! Templates as targets of a workspace: `packer_template`.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Workspace, ran};

const TEMPLATE: &str = r#"
variable "greeting" { type = string }
variable "token" {
  default   = "sesame-open"
  sensitive = true
}
source "rootfs" "base" {
  tarball = "out/base.tar"
}
source "null" "check" { communicator = "none" }
source "file" "note" {
  content = "say ${var.greeting}\n"
  target  = "out/note.txt"
}
build {
  sources = ["source.rootfs.base"]
  provisioner "file" {
    source      = "hello.sh"
    destination = "/usr/bin/hello"
  }
}
build {
  sources = ["source.null.check", "source.file.note"]
  provisioner "shell-local" {
    inline = ["pwd > ran-$PACKER_BUILDER_TYPE.txt; echo ${var.token} >> ran-$PACKER_BUILDER_TYPE.txt"]
  }
}
"#;

const BUILD: &str = r#"
packer_template(
    name = "web",
    srcs = ["web.pkr.hcl"],
    vars = {"greeting": "hello"},
)
image(
    name = "shop",
    base = ":web[rootfs.base]",
    steps = [file(content = "open", dest = "/etc/shop")],
    exports = [tarball(compression = "none")],
)
image(name = "other", base = ":web", exports = [])
"#;

fn web() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("images/BUILD.star", BUILD);
    workspace.write("images/web.pkr.hcl", TEMPLATE);
    workspace.write("images/hello.sh", "echo hello\n");
    workspace
}

#[test]
fn the_builds_of_a_template_are_targets() {
    let workspace = web();
    let listed = workspace.ok(&["query", "//images:all"]).stdout;
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(
        listed,
        [
            "//images:other",
            "//images:shop",
            "//images:web",
            "//images:web[file.note]",
            "//images:web[null.check]",
            "//images:web[rootfs.base]"
        ]
    );

    let first = workspace.ok(&["build", "--json", "//images:all"]);
    let expected = ["file /usr/bin/hello", "shell_local", "write_file", "file /etc/shop"];
    for step in expected {
        assert!(ran(&first).iter().any(|one| one.contains(step)), "{step}: {first:?}");
    }
    assert_eq!(workspace.read("imgbuild-out/images/web[file.note]/note.txt"), "say hello\n");
    let folder = fs_err::canonicalize(workspace.root().join("images")).unwrap();
    for builder in ["null", "file"] {
        let text = workspace.read(&format!("images/ran-{builder}.txt"));
        assert_eq!(text, format!("{}\nsesame-open\n", folder.display()));
    }
    let archive = workspace.root().join("imgbuild-out/images/shop/shop.tar");
    let listed = std::process::Command::new("tar").arg("-tf").arg(archive).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let paths: Vec<&str> = listed.lines().collect();
    for path in ["usr/bin/hello", "etc/shop"] {
        assert!(paths.iter().any(|own| own.trim_start_matches("./") == path), "{paths:?}");
    }
    // What is sensitive is in no plan and in no output.
    let plan = workspace.ok(&["plan", "//images:web[null.check]"]);
    for said in [&first, &plan] {
        assert!(!format!("{said:?}").contains("sesame-open"), "{said:?}");
    }

    let again = workspace.ok(&["build", "--json", "//images:all"]);
    assert!(ran(&again).is_empty(), "{again:?}");
}

#[test]
fn a_changed_file_runs_what_reads_it() {
    let workspace = web();
    workspace.ok(&["build", "--json", "//images:all"]);
    workspace.write("images/hello.sh", "echo goodbye\n");
    let said = workspace.ok(&["build", "--json", "//images:all"]);
    let ran = ran(&said);
    assert!(ran.iter().any(|step| step.contains("file /usr/bin/hello")), "{ran:?}");
    assert!(!ran.iter().any(|step| step.contains("shell_local")), "{ran:?}");
    let why = workspace.ok(&["why", "//images:web[rootfs.base]"]).stdout;
    assert!(why.contains("hello.sh"), "{why}");
}

#[test]
fn a_platform_of_one_build_is_that_of_the_template() {
    let workspace = web();
    let template = TEMPLATE.replace(
        "source \"rootfs\" \"base\" {",
        "source \"rootfs\" \"base\" {\n  platform = \"linux/arm64\"",
    );
    workspace.write("images/web.pkr.hcl", &template);
    let plan = workspace.ok(&["plan", "//images:web"]).stdout;
    assert!(plan.contains("//images:web[rootfs.base] (linux/arm64)"), "{plan}");
    let refused = workspace.fails(1, &["plan", "--platform", "linux/amd64", "//images:web"]);
    assert!(refused.stderr.contains("is for linux/arm64, and not for linux/amd64"), "{refused:?}");
}

#[test]
fn a_template_in_json_is_a_target_too() {
    let workspace = Workspace::with(
        r#"packer_template(name = "old", srcs = ["old.json"], vars = select({"//conditions:default": {"n": "7"}}))"#,
    );
    let template = r#"{
      "variables": {"n": "1"},
      "builders": [{"type": "file", "name": "note", "content": "n={{user `n`}}\n", "target": "note.txt"}]
    }"#;
    workspace.write("old.json", template);
    workspace.ok(&["build", "//:old"]);
    assert_eq!(workspace.read("imgbuild-out/old[note]/note.txt"), "n=7\n");
}

/// A stand-in for a real `packer`, which notes how it was called.
const PACKER: &str = r#"#!/bin/sh
case "$1" in
version) echo "Packer v1.11.2" ;;
plugins) ;;
build)
    for argument; do
        case $argument in
        -var-file=/*) cat "${argument#*=}" >> variables.txt; stat -c %a "${argument#*=}" >> variables.txt ;;
        *) set -- "$@" "$argument" ;;
        esac
        shift
    done
    echo "$PWD $*" >> "$PWD/calls.txt"
    echo made > made.img
    echo "1,docker.web,artifact,0,builder-id,packer.docker"
    echo "1,docker.web,artifact,0,id,sha256:1"
    echo "1,docker.web,artifact,0,file,0,made.img"
    ;;
esac
"#;

#[test]
fn what_is_not_built_in_goes_through_a_real_packer() {
    let workspace = Workspace::new();
    workspace.write(
        "images/BUILD.star",
        "packer_template(name = \"web\", srcs = [\"web.pkr.hcl\"], vars = {\"image\": \"debian\"}, var_files = [\"//shared:x.pkrvars.hcl\"])",
    );
    workspace.write("shared/BUILD.star", "");
    workspace.write("shared/x.pkrvars.hcl", "tag = \"from a file\"\n");
    workspace.write(
        "images/web.pkr.hcl",
        "variable \"image\" {}\nvariable \"tag\" {}\nvariable \"own\" { default = 7 }\nsource \"docker\" \"web\" {\n  image  = var.image\n  commit = true\n}\nbuild {\n  sources = [\"docker.web\"]\n}\n",
    );
    let program = workspace.root().join("bin/packer");
    workspace.write("bin/packer", PACKER);
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", workspace.root().join("bin").display());
    let build = || {
        let output = workspace.command(&["build", "//images:web"]).env("PATH", &path).output().unwrap();
        let said = crate::support::said(&output);
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    build();
    build();
    let folder = fs_err::canonicalize(workspace.root().join("images")).unwrap();
    let call = format!("{} build -machine-readable -only=docker.web web.pkr.hcl\n", folder.display());
    assert_eq!(workspace.read("images/calls.txt"), call, "it ran once");
    assert_eq!(
        workspace.read("images/variables.txt"),
        "{\"image\":\"debian\",\"own\":7,\"tag\":\"from a file\"}600\n"
    );
    assert!(workspace.read("imgbuild-out/images/web[docker.web]/artifacts.json").contains("sha256:1"));
    // What it made is gone: it runs again.
    fs_err::remove_file(workspace.root().join("images/made.img")).unwrap();
    build();
    assert_eq!(workspace.read("images/calls.txt"), call.repeat(2));

    // It would read what the target does not know of.
    let build = workspace
        .read("images/BUILD.star")
        .replace("[\"web.pkr.hcl\"]", "[\"web.pkr.hcl\", \"more.pkr.hcl\"]");
    workspace.write("images/BUILD.star", &build);
    workspace.write("images/more.pkr.hcl", "locals { x = 1 }\n");
    workspace.write("images/stranger.pkr.hcl", "locals { y = 1 }\n");
    let output = workspace.command(&["build", "//images:web"]).env("PATH", &path).output().unwrap();
    let said = crate::support::said(&output);
    assert!(said.stderr.contains("would read `stranger.pkr.hcl` too"), "{said:?}");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let workspace = web();
    let fails = |template: &str, parts: &[&str]| {
        workspace.write("images/web.pkr.hcl", template);
        let said = workspace.fails(1, &["build", "//images:web"]);
        for part in parts {
            assert!(said.stderr.contains(part), "`{part}` is not in {}", said.stderr);
        }
    };
    fails("build {", &["images/web.pkr.hcl:1:1", "never closed"]);
    fails(&TEMPLATE.replace("hello.sh", "gone.sh"), &["images/web.pkr.hcl:", "no file or folder `gone.sh`"]);
    fails(&TEMPLATE.replace("tarball =", "tarbal ="), &["did you mean `tarball`"]);
    fails(
        &format!("{TEMPLATE}\ndata \"http\" \"x\" {{\n  url = \"http://localhost:1\"\n}}\n"),
        &["the data source `http` asks the world", "images/web.pkr.hcl:"],
    );
    fails(
        &TEMPLATE.replace(
            "source \"rootfs\" \"base\" {",
            "source \"rootfs\" \"base\" {\n  platform = \"linux/nothing\"",
        ),
        &["images/web.pkr.hcl:", "platform"],
    );
    workspace.write("images/web.pkr.hcl", TEMPLATE);
    for (build, part) in [
        ("packer_template(name = \"web\", srcs = [\"none.pkr.hcl\"])", "images/BUILD.star:1:1"),
        ("packer_template(name = \"web\", srcs = [\"web.pkr.hcl\"])", "greeting"),
        ("image(name = \"web[x]\", source = scratch())", "names with brackets"),
        (
            "packer_template(name = \"web\", srcs = select({\"//conditions:default\": [\"web.pkr.hcl\"]}))",
            "cannot depend on the configuration",
        ),
    ] {
        workspace.write("images/BUILD.star", build);
        let said = workspace.fails(1, &["build", "//images:web"]);
        assert!(said.stderr.contains(part), "{build}: {}", said.stderr);
    }
}

#[test]
fn a_target_asks_neither_clock_nor_chance_nor_environment() {
    let workspace = Workspace::with("packer_template(name = \"t\", srcs = [\"t.pkr.hcl\"])");
    let template = r#"
variable "home" { default = env("HOME") }
source "file" "x" {
  content = "${timestamp()} ${uuidv4()} [${var.home}] {{isotime}}\n"
  target  = "x.txt"
}
build { sources = ["file.x"] }
"#;
    workspace.write("t.pkr.hcl", template);
    let said = workspace.ok(&["build", "//:t"]);
    for part in ["asks for the time", "asks for random bytes", "asks for the environment"] {
        assert!(said.stderr.contains(part), "{said:?}");
    }
    let text = workspace.read("imgbuild-out/t[file.x]/x.txt");
    assert!(text.starts_with("1970-01-01T00:00:00Z "), "{text}");
    assert!(text.contains(" [] 1970-01-01T00:00:00Z"), "{text}");
    fs_err::remove_dir_all(workspace.cache()).unwrap();
    workspace.ok(&["build", "//:t"]);
    assert_eq!(workspace.read("imgbuild-out/t[file.x]/x.txt"), text);
}
