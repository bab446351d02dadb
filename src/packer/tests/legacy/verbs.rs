//! `inspect` and `console` of templates in JSON.

use imgbuild_packer::legacy::{Console, Line, Template, inspect};

use crate::support::{packer, run};

const TEMPLATES: [&str; 3] = [
    "{}",
    r#"{"description": "two\nlines", "variables": {"zz": null, "long_name": "x, y", "a": "{{env `A`}}", "e": ""},
        "builders": [{"type": "null", "name": "zname"}, {"type": "file"}, {"type": "null", "name": "q{{user `a`}}"}],
        "provisioners": [{"type": "shell"}, {"type": "file"}], "post-processors": ["manifest"]}"#,
    r#"{"variables": {"s": "sec", "t": "x"}, "sensitive-variables": ["s"], "builders": [{"type": "null"}]}"#,
];

fn said(template: &str) -> String {
    let template = Template::parse("t.json", template).expect("it is one");
    let lines = inspect(&template).into_iter().filter_map(|line| match line {
        Line::Say(text) => Some(text + "\n"),
        Line::Machine(..) => None,
    });
    lines.collect()
}

/// The note at the end is in other words.
fn without_note(text: &str) -> &str {
    text.split("\nNote: ").next().unwrap_or_default()
}

#[test]
fn inspect_prints_what_packer_prints() {
    for text in TEMPLATES {
        let Some(mut command) = packer() else { return };
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("t.json"), text).expect("a template");
        let output =
            command.args(["inspect", "t.json"]).current_dir(folder.path()).output().expect("it runs");
        let theirs = String::from_utf8(output.stdout).expect("text");
        assert_eq!(without_note(&said(text)), without_note(&theirs), "{text}");
    }
}

#[test]
fn programs_get_types_and_values() {
    let template = Template::parse("t.json", TEMPLATES[1]).expect("it is one");
    let machine = inspect(&template).into_iter().filter_map(|line| match line {
        Line::Machine(kind, values) => Some(format!("{kind} {}", values.join("|"))),
        Line::Say(_) => None,
    });
    let expected = [
        "template-variable zz||1",
        "template-variable a|{{env `A`}}|0",
        "template-variable e||0",
        "template-variable long_name|x, y|0",
        "template-builder file|file",
        "template-builder q{{user `a`}}|null",
        "template-builder zname|null",
        "template-provisioner shell",
        "template-provisioner file",
    ];
    assert_eq!(machine.collect::<Vec<_>>(), expected);
}

#[test]
fn sensitive_defaults_are_not_shown() {
    let text = TEMPLATES[2].replace("\"x\"", "\"sec\"");
    assert!(!said(&text).contains("sec\n"), "{}", said(&text));
    assert!(said(&text).contains("s = <sensitive>"));
}

#[test]
fn the_console_answers() {
    let text = r#"{"variables": {"a": "1", "s": "hidden", "n": "{{env `BRACES`}}"}, "sensitive-variables": ["s"],
        "builders": [{"type": "null"}]}"#;
    let template = Template::parse("t.json", text).expect("it is one");
    let values = template.resolve(&run(), &[]).expect("all have values");
    let mut console = Console::new(run(), values);
    for (line, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("{{user `a`}}-{{user `n`}}", "1-1"),
        ("{{user `s`}}", "<sensitive>"),
        ("variables", "a: 1\nn: {{user `a`}}\ns: <sensitive>\n"),
    ] {
        assert_eq!(console.answer(line), Ok(Some(expected.to_owned())), "{line}");
    }
    assert_eq!(console.answer("exit"), Ok(None));
    assert!(console.answer("help").is_ok_and(|answer| answer.is_some_and(|text| text.contains("variables"))));
    let error = console.answer("é{{usr `a`}}").expect_err("it is wrong").to_string();
    assert_eq!(error, "console:1:4: there is no function `usr`; hint: did you mean `user`?");
}
