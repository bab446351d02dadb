//! `fix`: the table holds what the real program gives, which is compared with it where there is one.
//! `IMGBUILD_BLESS=1` writes the table anew.

use imgbuild_packer::fix::{FIXERS, fix};
use imgbuild_packer::legacy::Template;
use serde_json::{Value, json};

use crate::support::packer;

const TABLE: &str = include_str!("fix_cases.json");

fn cases() -> Vec<Value> {
    serde_json::from_str(TABLE).expect("a table")
}

fn input(case: &Value) -> String {
    serde_json::to_string(&case["input"]).expect("it can be written")
}

#[test]
fn each_fixer_does_what_packers_does() {
    for case in cases() {
        let input = input(&case);
        let fixed = fix("t.json", &input).map(|fixed| fixed.text);
        assert_eq!(fixed.as_deref(), Ok(case["output"].as_str().expect("a text")), "{input}");
    }
}

#[test]
fn the_table_is_what_packer_gives() {
    let Some(mut command) = packer() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    command.current_dir(folder.path()).args(["fix", "-validate=false", "t.json"]);
    let mut cases = cases();
    for case in &mut cases {
        fs_err::write(folder.path().join("t.json"), input(case)).expect("a template");
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{case}: {output:?}");
        // What is printed has a line break of its own.
        let theirs = String::from_utf8(output.stdout).expect("text").replacen("}\n\n", "}\n", 1);
        if std::env::var_os("IMGBUILD_BLESS").is_some() {
            case["output"] = theirs.into();
        } else {
            assert_eq!(case["output"], json!(theirs), "{case}");
        }
    }
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
        let table = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/legacy/fix_cases.json");
        fs_err::write(table, format!("[\n{}\n]\n", lines.join(",\n"))).expect("the table");
    }
}

#[test]
fn all_fixers_are_there_in_order() {
    let Some(mut command) = packer() else { return };
    let output = command.args(["fix", "-h"]).output().expect("it runs");
    let help = [output.stdout, output.stderr].concat();
    let help = String::from_utf8(help).expect("text");
    let fixes =
        help.split("(in order):").nth(1).and_then(|rest| rest.split("Options:").next()).expect("a list");
    let theirs: Vec<&str> = fixes.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let ours: Vec<&str> = FIXERS.iter().map(|fixer| fixer.name).collect();
    assert_eq!(ours, theirs);
    assert!(FIXERS.iter().all(|fixer| !fixer.summary.is_empty()));
}

#[test]
fn a_fixed_template_is_one_and_is_fixed() {
    // Removing escapes twice removes more.
    for input in cases().iter().map(input).filter(|input| !input.contains("powershell")) {
        let once = fix("t.json", &input).expect("it can be fixed").text;
        let twice = fix("t.json", &once).expect("it can be fixed").text;
        assert_eq!(once, twice, "{input}");
    }
    let old = r#"{"builders": [{"type": "virtualbox", "ssh_key_path": "k"}]}"#;
    let fixed = fix("t.json", old).expect("it can be fixed");
    let template = Template::parse("t.json", &fixed.text).expect("it is a template");
    assert_eq!(template.validate("1.16.0"), []);
}

#[test]
fn errors_say_where() {
    for (text, expected) in [
        ("[]", "t.json:1:1: a template must be an object, not a list"),
        ("{", "t.json:1:2: expected a name in double quotes, found the end of the file"),
        (r#"{"builders": {}}"#, "t.json:1:14: `builders` must be a list, not an object"),
        (r#"{"builders": [1]}"#, "t.json:1:15: a builder must be an object, not a number"),
        (r#"{"post-processors": "x"}"#, "t.json:1:21: `post-processors` must be a list, not a string"),
        (r#"{"provisioners": [{"override": 1}]}"#, "t.json:1:32: `override` must be an object, not a number"),
        (
            r#"{"builders": [{"type": "amazon-ebs", "ssh_private_ip": "maybe"}]}"#,
            "t.json:1:56: `ssh_private_ip` must be `true` or `false`; hint: write `\"ssh_interface\": \"private_ip\"` or `\"public_ip\"` in its place",
        ),
        (
            r#"{"post-processors": [{"type": "docker-tag", "tag": [1]}]}"#,
            "t.json:1:53: a tag must be a string, not a number",
        ),
        (
            r#"{"provisioners": [{"type": "powershell", "elevated_user": 1}]}"#,
            "t.json:1:59: `elevated_user` must be a string, not a number",
        ),
        (
            r#"{"builders": [{"type": "vsphere-iso", "disk_size": 1, "storage": {}}]}"#,
            "t.json:1:66: `storage` must be a list, not an object",
        ),
    ] {
        assert_eq!(fix("t.json", text).expect_err("it cannot be fixed").to_string(), expected, "{text}");
    }
    let twice = fix("t.json", r#"{"a": 1, "a": 2}"#).expect("the last counts");
    assert_eq!(twice.text, "{\n  \"a\": 2,\n  \"builders\": null\n}\n");
    assert_eq!(twice.warnings.len(), 1);
}
