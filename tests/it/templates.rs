//! The verbs that read templates, under both names of the program.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Said, Workspace};

const GOOD: &str = r#"
variable "name" { default = "web" }
variable "token" {
  default   = "s3cr3t"
  sensitive = true
}
source "file" "x" {
  target  = "${var.name}.txt"
  content = "token ${var.token}"
}
build { sources = ["file.x"] }
"#;

fn workspace(files: &[(&str, &str)]) -> Workspace {
    let workspace = Workspace::new();
    for (name, text) in files {
        workspace.write(name, text);
    }
    workspace
}

/// The program under the name `packer`, with text on its standard input.
fn packer(workspace: &Workspace, words: &[&str], input: &str) -> Said {
    let link = workspace.root().join("packer");
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imgbuild"), &link).unwrap();
    }
    let mut child = Command::new(&link)
        .args(words)
        .current_dir(workspace.root())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PKR_VAR_name", "environment")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn a_good_template_is_valid_under_both_names() {
    let workspace = workspace(&[("t.pkr.hcl", GOOD), ("vars.pkrvars.hcl", "nmae = 1\n")]);
    assert_eq!(workspace.ok(&["validate", "t.pkr.hcl"]).stdout, "The configuration is valid.\n");
    assert_eq!(packer(&workspace, &["validate", "."], "").stdout, "The configuration is valid.\n");
    let syntax = packer(&workspace, &["validate", "--syntax-only", "t.pkr.hcl"], "");
    assert_eq!(syntax.stdout, "Syntax-only check passed. Everything looks okay.\n");
    let warned = packer(&workspace, &["validate", "-var-file=vars.pkrvars.hcl", "t.pkr.hcl"], "");
    assert_eq!(
        (warned.code, warned.stderr.contains("variable `nmae` is set here but not declared")),
        (Some(0), true)
    );
    let quiet = ["validate", "-no-warn-undeclared-var", "-var-file", "vars.pkrvars.hcl", "t.pkr.hcl"];
    assert_eq!(packer(&workspace, &quiet, "").stderr, "");
}

#[test]
fn what_is_wrong_is_shown_with_its_line() {
    let workspace = workspace(&[(
        "t.pkr.hcl",
        "source \"file\" \"x\" {\n  trget = var.nope\n}\nbuild { sources = [\"file.x\"] }\n",
    )]);
    let said = workspace.fails(1, &["validate", "t.pkr.hcl"]);
    for part in
        ["there is no variable named `nope`", "t.pkr.hcl:2", "trget = var.nope", "did you mean `target`?"]
    {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    assert_eq!(said.stdout, "");
}

#[test]
fn templates_are_inspected_and_asked() {
    let workspace = workspace(&[("t.pkr.hcl", GOOD)]);
    let said = packer(&workspace, &["inspect", "-var", "name=given", "t.pkr.hcl"], "");
    assert!(
        said.stdout.starts_with("Packer Inspect: HCL2 mode\n\n> input-variables:\n\nvar.name: \"given\"\n"),
        "{said:?}"
    );
    assert!(!said.stdout.contains("s3cr3t"), "{said:?}");
    let said = packer(&workspace, &["console", "t.pkr.hcl"], "var.name\nupper(\"${var.name}!\")\n");
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "ENVIRONMENT!\n"));
    let said = packer(&workspace, &["console", "t.pkr.hcl"], "var.nme\n");
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("there is no variable named `nme`"), "{said:?}");
    let said = packer(&workspace, &["console"], "nope\n1 + 1\n");
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), "2\n"));
}

#[test]
fn lines_for_programs_have_packers_form() {
    let workspace = workspace(&[("t.pkr.hcl", GOOD), ("bad.pkr.hcl", "unknown {}\n")]);
    let said = packer(&workspace, &["validate", "t.pkr.hcl", "-machine-readable"], "");
    let (time, rest) = said.stdout.split_once(',').unwrap();
    assert!(time.parse::<u64>().is_ok(), "{said:?}");
    assert_eq!(rest, ",ui,say,The configuration is valid.\n");
    let said = packer(&workspace, &["-machine-readable", "validate", "bad.pkr.hcl"], "");
    assert!(
        said.stdout.contains(",,ui,error,bad.pkr.hcl:1:1: error: a template has no block `unknown`"),
        "{said:?}"
    );
}

#[test]
fn command_lines_that_are_wrong_say_so() {
    let workspace = workspace(&[("t.pkr.hcl", GOOD), ("t.json", "{}")]);
    for (words, code, part) in [
        (&["unheard"][..], 127, "there is no command `unheard`"),
        (&[], 127, "a command is missing"),
        (&["validate"], 1, "one template must be named"),
        (
            &["validate", "t.pkr.hcl", "-syntax-only"],
            1,
            "one template must be named, after the flags; there are 2",
        ),
        (
            &["validate", "-sintax-only", "t.pkr.hcl"],
            1,
            "there is no flag `-sintax-only`; did you mean `-syntax-only`?",
        ),
        (&["validate", "-var", "x", "t.pkr.hcl"], 1, "`-var x` has no value"),
        (&["validate", "t.json"], 1, "is a template in the older JSON form"),
        (&["validate", "gone"], 1, "there is no template at `gone`"),
        (&["fmt"], 1, "at least one path must be named"),
        (&["fmt", "t.json"], 1, "`t.json` is not a template in HCL"),
    ] {
        let said = packer(&workspace, words, "");
        assert_eq!((said.code, said.stderr.contains(part)), (Some(code), true), "{words:?}: {said:?}");
    }
    let help = packer(&workspace, &["validate", "--help"], "");
    assert!(help.code == Some(0) && help.stdout.contains("-syntax-only"), "{help:?}");
}

#[test]
fn data_sources_that_cannot_be_asked_are_told() {
    let workspace =
        workspace(&[("t.pkr.hcl", "data \"http\" \"x\" {\n  url = \"http://127.0.0.1:1/\"\n}\n")]);
    assert_eq!(packer(&workspace, &["validate", "t.pkr.hcl"], "").code, Some(0));
    let said = packer(&workspace, &["validate", "-evaluate-datasources", "t.pkr.hcl"], "");
    assert!(
        said.code == Some(1) && said.stderr.contains("the data source `http` cannot be asked"),
        "{said:?}"
    );
}

#[test]
fn files_are_laid_out() {
    let ugly = "locals {\n a=1\n  long   = 2\n}\n";
    let fine = "locals {\n  a    = 1\n  long = 2\n}\n";
    let workspace = workspace(&[
        ("b.pkr.hcl", ugly),
        ("sub/c.pkrvars.hcl", "a=1\n"),
        (".d.pkr.hcl", ugly),
        ("e.hcl", ugly),
    ]);
    assert_eq!(packer(&workspace, &["fmt", "-"], ugly).stdout, fine);
    let checked = packer(&workspace, &["fmt", "-check", "."], "");
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(3), "b.pkr.hcl\n"));
    let shown = packer(&workspace, &["fmt", "-write=false", "-diff", "b.pkr.hcl"], "");
    assert!(
        shown.stdout.contains("--- old/b.pkr.hcl\n+++ new/b.pkr.hcl\n") && shown.stdout.contains("\n- a=1\n"),
        "{shown:?}"
    );
    assert_eq!(workspace.read("b.pkr.hcl"), ugly);
    assert_eq!(packer(&workspace, &["fmt", "-recursive", "."], "").stdout, "b.pkr.hcl\nsub/c.pkrvars.hcl\n");
    assert_eq!(workspace.read("b.pkr.hcl"), fine);
    assert_eq!(workspace.read("sub/c.pkrvars.hcl"), "a = 1\n");
    assert_eq!((workspace.read(".d.pkr.hcl"), workspace.read("e.hcl")), (ugly.to_owned(), ugly.to_owned()));
    let again = packer(&workspace, &["fmt", "-check", "-recursive", "."], "");
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
    workspace.write("bad.pkr.hcl", "a = \n");
    let bad = packer(&workspace, &["fmt", "bad.pkr.hcl"], "");
    assert!(bad.code == Some(1) && bad.stderr.contains("bad.pkr.hcl:1"), "{bad:?}");
}
