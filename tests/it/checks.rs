//! Checks of images by goss files, OpenSCAP and Lynis, and of templates' machines by `goss`.

use std::path::Path;

use crate::support::{BUSYBOX, Said, Workspace, busybox, files, has, has_not, ran};

const GOSS: &str = r#"
user:
  app: {exists: true, uid: 1000, groups: [app], shell: {not: /bin/bash}}
file:
  /tmp: {exists: true, filetype: directory, mode: "1777"}
  /etc/passwd: {exists: true, owner: root, contents: ["/^root:/", "!{{ .Vars.stranger }}"]}
  /bin/busybox: {exists: true, filetype: file, size: {gt: 1000}}
command:
  "echo '$WORD'; echo $WORD": {exit-status: 0, stdout: "$WORD\nhello\n"}
gossfile: {"goss.d/*.yaml": {}}
"#;

const TEST: &str = r#"
image_test(
    name = "checked",
    image = ":base",
    reports = True,
    failed_reports = "failed",
    checks = [
        goss("goss.yaml", srcs = ["goss.d"], vars = {"stranger": "nobody"}, env = {"WORD": "hello"}),
        file_exists("/tmp"),
    ],
)
"#;

fn workspace(more: &str) -> Option<Workspace> {
    let workspace = Workspace::with(&format!("{BUSYBOX}{more}"));
    busybox(&workspace)?;
    workspace.write("goss.yaml", GOSS);
    workspace.write("goss.d/a.yaml", "file: {/nothing: {exists: false, mode: '0644'}}\n");
    Some(workspace)
}

/// What verbs on targets say is on both streams.
#[track_caller]
fn tells(said: &Said, parts: &[&str]) {
    let all = format!("{}{}", said.stdout, said.stderr);
    for part in parts {
        assert!(all.contains(part), "`{part}` is not in:\n{all}");
    }
}

#[test]
fn an_image_is_checked_by_goss_files_once() {
    let Some(workspace) = workspace(TEST) else { return };
    let first = workspace.ok(&["--json", "test", "//:checked"]);
    assert!(ran(&first).iter().any(|step| step.starts_with("image_test")), "{:?}", ran(&first));
    assert!(ran(&workspace.ok(&["--json", "test", "//:checked"])).is_empty());
    workspace.ok(&["build", "//:checked"]);
    let junit = workspace.read("imgbuild-out/checked/results/junit.xml");
    assert!(junit.contains("failures=\"0\" errors=\"0\" skipped=\"1\""), "{junit}");
    assert!(junit.contains("name=\"File /nothing mode\" file=\"goss.d/a.yaml\" line=\"1\""), "{junit}");
    assert!(junit.contains("name=\"file_exists /tmp\""), "{junit}");

    // Each input is in the key.
    let build = workspace.read("BUILD.star");
    workspace.write("BUILD.star", &build.replace("\"nobody\"", "\"app:\""));
    let said = workspace.fails(1, &["test", "//:checked"]);
    tells(
        &said,
        &[
            "1 of",
            "FAIL goss File: /etc/passwd: contents: ",
            "missing: [\"!app:\"] (at goss.yaml:6)",
            "the reports are in failed",
        ],
    );
    assert!(workspace.read("failed/junit.xml").contains("<failure message="));
    workspace.write("BUILD.star", &build);
    workspace.write("goss.d/b.yaml", "file: {/etc/group: {exists: true, mode: '0600'}}\n");
    let said = workspace.fails(1, &["test", "//:checked"]);
    tells(
        &said,
        &["FAIL goss File: /etc/group: mode: expected \"0644\" to equal \"0600\" (at goss.d/b.yaml:1)"],
    );
}

#[test]
fn what_an_image_cannot_tell_fails_and_says_so() {
    let Some(workspace) = workspace(TEST) else { return };
    workspace.write(
        "goss.yaml",
        "port: {'tcp:22': {listening: true}}\nprocess: {sshd: {running: true}}\ncommand: {slow: {exec: sleep 9, exit-status: 0, timeout: 200}}\n",
    );
    let said = workspace.fails(1, &["test", "//:checked"]);
    tells(
        &said,
        &[
            "3 of 4 checks failed",
            "FAIL goss Port: tcp:22: listening: whether a port is listened on cannot be known: the image's system does not run here (at goss.yaml:1)",
            "FAIL goss Command: slow: exit-status: the command took longer than its timeout of 200 ms",
        ],
    );
    let build = workspace.read("BUILD.star");
    workspace.write("BUILD.star", &build.replace("srcs =", "not_booted = \"skip\", srcs ="));
    let said = workspace.fails(1, &["test", "//:checked"]);
    tells(
        &said,
        &[
            "1 of 4 checks failed",
            "goss Process: sshd: running: skipped: whether a process runs cannot be known",
        ],
    );
    // What is included and not given is not looked for on the disk.
    workspace.write("goss.yaml", "gossfile: {others/*.yaml: {}}\n");
    workspace.write("others/x.yaml", "file: {/: {exists: true}}\n");
    let said = workspace.fails(1, &["test", "//:checked"]);
    tells(
        &said,
        &[
            "goss.yaml:1:12",
            "no file matches `others/*.yaml`",
            "must be among the files that the check is given",
        ],
    );
    workspace.write(
        "BUILD.star",
        &build.replace("srcs = [", "srcs = [\"others\", \"goss.d/a.yaml\", \"others/a.yaml\", "),
    );
    workspace.write("others/a.yaml", "");
    tells(&workspace.fails(1, &["test", "//:checked"]), &["two of the files are called `a.yaml`"]);
    workspace.write("BUILD.star", &build);
    workspace.write("goss.yaml", "file:\n  /x: {exist: true}\n");
    let said = workspace.fails(1, &["test", "//:checked"]);
    tells(&said, &["goss.yaml:2:8", "`file` has no attribute `exist`", "did you mean `exists`?"]);
}

#[test]
fn templates_check_their_machines() {
    let template = r#"
source "rootfs" "web" {
  base_tarball = "base.tar"
  tarball      = "out/web.tar"
}
build {
  sources = ["rootfs.web"]
  provisioner "goss" {
    tests          = ["tests/goss.yaml", "tests/more"]
    vars_inline    = { owner = "0" }
    vars_env       = { WORD = "hello" }
    format         = "documentation"
    skip_install   = true
    junit_file     = "out/goss.xml"
  }
}
"#;
    let workspace = files(&[
        ("t.pkr.hcl", template),
        (
            "tests/goss.yaml",
            "gossfile: {more/*.yaml: {}}\nfile: {/one: {exists: true, owner: \"{{ .Vars.owner }}\"}}\n",
        ),
        ("tests/more/a.yaml", "matching: {word: {content: \"{{ .Env.WORD }}\", matches: hello}}\n"),
        ("tree/one", "1\n"),
    ]);
    let made = std::process::Command::new("tar")
        .args(["-C", "tree", "--owner=0", "--group=0", "-cf", "base.tar", "one"])
        .current_dir(workspace.root())
        .status();
    assert!(made.unwrap().success());
    let said = workspace.ok(&["build", "t.pkr.hcl"]);
    has(
        &said,
        &[
            "File: /one: owner: matches expectation: \"0\"",
            "Matching: word: matches: matches expectation: \"hello\"",
        ],
    );
    assert!(workspace.read("out/goss.xml").contains("tests=\"3\" failures=\"0\""));
    // On a hit what was found is written again.
    fs_err::remove_file(workspace.root().join("out/goss.xml")).unwrap();
    has_not(&workspace.ok(&["build", "t.pkr.hcl"]), &["File: /one"]);
    assert!(workspace.has("out/goss.xml"));
    workspace.write("tests/more/a.yaml", "matching: {word: {content: \"{{ .Env.WORD }}\", matches: bye}}\n");
    let said = workspace.fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["1 of 3 checks failed", "to equal", "\"bye\"", "at ", "tests/more/a.yaml:1"]);
    assert!(workspace.read("out/goss.xml").contains("failures=\"1\""));
    workspace.write("t.pkr.hcl", &template.replace("skip_install   = true", "inspect = true"));
    has(&workspace.ok(&["build", "t.pkr.hcl"]), &["Failed: 1"]);

    // What is sensitive is in no report, also not as XML has it.
    let variable = "variable \"word\" {\n  default = \"s3cr3t<word\"\n  sensitive = true\n}\n";
    let template = template.replace("\"hello\"", "var.word").replace("documentation", "json");
    workspace.write("t.pkr.hcl", &format!("{variable}{template}"));
    let said = workspace.fails(1, &["build", "t.pkr.hcl"]);
    has(&said, &["<sensitive>"]);
    has_not(&said, &["s3cr3t"]);
    let junit = workspace.read("out/goss.xml");
    assert!(junit.contains("&lt;sensitive&gt;") && !junit.contains("s3cr3t"), "{junit}");
}

/// A data stream with one rule: `/etc/app.conf` says `secure=yes`.
const STREAM: &str = include_str!("stream.xml");

#[test]
fn an_image_is_audited_by_openscap() {
    if !Path::new("/usr/bin/oscap").exists() {
        return eprintln!("SKIPPED: there is no oscap; `tests/run` installs it");
    }
    let test = r#"
image(name = "app", base = ":base", steps = [file(content = "secure=yes\n", dest = "/etc/app.conf")])
image_test(
    name = "audited",
    image = ":app",
    reports = True,
    failed_reports = "failed",
    checks = [openscap("stream.xml", "xccdf_x_profile_all", min_score = 100)],
)
"#;
    let Some(workspace) = workspace(test) else { return };
    workspace.write("stream.xml", STREAM);
    let said = workspace.ok(&["test", "//:audited"]);
    assert!(!said.stderr.contains("FAIL") && !said.stdout.contains("FAIL"), "{said:#?}");
    workspace.ok(&["build", "//:audited"]);
    for name in ["junit.xml", "openscap/openscap.html", "openscap/openscap.xml", "openscap/openscap-arf.xml"]
    {
        assert!(workspace.has(&format!("imgbuild-out/audited/results/{name}")), "{name}");
    }
    let build = workspace.read("BUILD.star");
    workspace.write("BUILD.star", &build.replace("secure=yes", "secure=no"));
    let said = workspace.fails(1, &["test", "//:audited"]);
    tells(
        &said,
        &[
            "2 of 2 checks failed",
            "1 rules do not hold, 0 may: xccdf_x_rule_secure (medium, fail)",
            "the score is 0, expected at least 100",
        ],
    );
    assert!(workspace.has("failed/openscap/openscap.html"));
    // Below the severity that counts, it does not.
    workspace.write(
        "BUILD.star",
        &build.replace("secure=yes", "secure=no").replace("min_score = 100", "severity = \"high\""),
    );
    workspace.ok(&["test", "//:audited"]);
    workspace.write("BUILD.star", &build.replace("xccdf_x_profile_all", "xccdf_x_profile_none"));
    workspace.fails(1, &["test", "//:audited"]);
}

#[test]
fn an_image_is_audited_by_lynis() {
    if !Path::new("/usr/sbin/lynis").exists() {
        return eprintln!("SKIPPED: there is no lynis; `tests/run` installs it");
    }
    let test = r#"
image_test(name = "audited", image = ":base", failed_reports = "failed", checks = [lynis(min_index = 100)])
"#;
    let Some(workspace) = workspace(test) else { return };
    let said = workspace.fails(1, &["test", "//:audited"]);
    tells(&said, &["FAIL lynis: hardening index ", "expected at least 100"]);
    assert!(workspace.read("failed/lynis/lynis-report.dat").contains("hardening_index="));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let test =
        "image_test(name = \"audited\", image = \":base\", checks = [openscap(\"goss.yaml\", \"x\")])\n";
    let Some(workspace) = workspace(test) else { return };
    let output = workspace.command(&["test", "//:audited"]).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no `oscap` on this host"), "{said}");
    assert!(said.contains("on Debian it is in `openscap-scanner`"), "{said}");
}
