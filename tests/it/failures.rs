//! Builds of templates that fail: the cleanup provisioner, `-on-error`, and `-debug`.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Said, Workspace, busybox, files, said};

/// Fails after it has left something, and is cleaned up on the machine and on the host.
const ROOTFS: &str = r#"
source "rootfs" "web" {}
build {
  sources = ["rootfs.web"]
  provisioner "file" {
    source      = "busybox/"
    destination = "/"
  }
  provisioner "file" {
    content     = "root:x:0:0:root:/root:/bin/sh\n"
    destination = "/etc/passwd"
  }
  provisioner "shell" { inline = ["echo half > /log; exit 7"] }
  error-cleanup-provisioner "file" {
    direction   = "download"
    source      = "/log"
    destination = "out/"
  }
}
"#;

/// Fails as long as there is no file `ready`.
const HOST: &str = r#"
source "null" "x" { communicator = "none" }
build {
  sources = ["null.x"]
  provisioner "shell-local" { inline = ["echo first >> steps"] }
  provisioner "shell-local" { inline = ["echo second >> steps; test -e ready || { touch ready; exit 1; }"] }
  error-cleanup-provisioner "shell-local" { inline = ["echo cleanup $PACKER_BUILD_NAME >> steps"] }
}
"#;

fn workspace(template: &str) -> Workspace {
    files(&[("t.pkr.hcl", template)])
}

/// As at a terminal, with these lines typed.
fn typed(workspace: &Workspace, words: &[&str], lines: &str) -> Said {
    let program = env!("CARGO_BIN_EXE_imgbuild");
    let command = workspace.command(&[]);
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qefc", &format!("{program} {}", words.join(" ")), "/dev/null"]);
    terminal.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = terminal
        .current_dir(workspace.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // Who does not read it may be gone already. The end of what is typed comes when the program has ended.
    let _ = input.write_all(lines.as_bytes());
    let output = child.wait_with_output();
    drop(input);
    said(&output.unwrap())
}

#[test]
fn what_a_failed_machine_holds_can_be_brought_out() {
    let workspace = workspace(ROOTFS);
    if busybox(&workspace).is_none() {
        return;
    }
    for flag in ["-on-error=cleanup", "-on-error=run-cleanup-provisioner"] {
        let failed = workspace.fails(1, &["build", flag, "t.pkr.hcl"]);
        let text = "Provisioning step had errors: Running the cleanup provisioner, if present...";
        assert!(failed.stdout.contains(text), "{failed:?}");
        assert_eq!(workspace.read("out/log"), "half\n");
        fs_err::remove_dir_all(workspace.root().join("out")).unwrap();
    }
    let aborted = workspace.fails(1, &["build", "-on-error=abort", "t.pkr.hcl"]);
    assert!(aborted.stdout.contains("Step \"StepProvision\" failed, aborting..."), "{aborted:?}");
    assert!(!workspace.has("out/log"));
    // What it left can be entered, as the output says.
    let hint = aborted.stdout.lines().find_map(|line| line.split_once("imgbuild shell --failed ")).unwrap().1;
    let mut shell = workspace.command(&["shell", "--failed", hint.trim().trim_matches('\'')]);
    let output = shell.stdin(Stdio::null()).output().unwrap();
    let entered = said(&output);
    assert!(entered.stderr.contains("this is the state that `shell"), "{entered:?}");
}

#[test]
fn a_cleanup_provisioner_runs_once_for_each_failure_and_on_no_success() {
    let workspace = workspace(HOST);
    let failed = workspace.fails(1, &["build", "t.pkr.hcl"]);
    assert_eq!(workspace.read("steps"), "first\nsecond\ncleanup x\n", "{failed:?}");
    workspace.ok(&["build", "t.pkr.hcl"]);
    assert_eq!(workspace.read("steps"), "first\nsecond\ncleanup x\nsecond\n");
    let workspace = self::workspace(HOST);
    workspace.fails(1, &["build", "-on-error=abort", "t.pkr.hcl"]);
    assert_eq!(workspace.read("steps"), "first\nsecond\n");
}

#[test]
fn whoever_is_asked_decides() {
    for (answers, code, steps) in [
        ("r\n", 0, "first\nsecond\nfirst\nsecond\n"),
        ("what\nc\n", 1, "first\nsecond\ncleanup x\n"),
        ("a\n", 1, "first\nsecond\n"),
    ] {
        let workspace = workspace(HOST);
        let said = typed(&workspace, &["build", "-on-error=ask", "t.pkr.hcl"], answers);
        assert_eq!(said.code, Some(code), "{answers}: {said:?}");
        assert_eq!(workspace.read("steps"), steps, "{answers}: {said:?}");
        assert!(said.stdout.contains("[c] Clean up and exit, [a] abort without cleanup"), "{said:?}");
        assert_eq!(
            said.stdout.contains("Incorrect input: \"what\""),
            answers.starts_with("what"),
            "{said:?}"
        );
    }
    // Where nobody sits, it is cleaned up.
    let workspace = workspace(HOST);
    workspace.fails(1, &["build", "-on-error=ask", "t.pkr.hcl"]);
    assert_eq!(workspace.read("steps"), "first\nsecond\ncleanup x\n");
}

#[test]
fn debug_asks_before_each_provisioner() {
    let workspace = workspace(HOST);
    workspace.write("ready", "");
    let said = typed(&workspace, &["build", "-debug", "t.pkr.hcl"], "\n\n\n");
    assert_eq!(said.code, Some(0), "{said:?}");
    let question = "Pausing before the next provisioner, shell-local. Press enter to continue.";
    assert_eq!(said.stdout.matches(question).count(), 2, "{said:?}");
    assert!(said.stdout.contains("Pausing after run of step 'StepProvision'"), "{said:?}");
}

#[test]
fn a_cleanup_provisioner_is_looked_at_before_anything_runs() {
    let workspace = workspace(
        &HOST.replace("inline = [\"echo cleanup $PACKER_BUILD_NAME >> steps\"]", "script = \"gone.sh\""),
    );
    let refused = workspace.fails(1, &["build", "t.pkr.hcl"]);
    assert!(refused.stdout.contains("there is no file or folder `gone.sh`"), "{refused:?}");
    assert!(!workspace.has("steps"));
}
