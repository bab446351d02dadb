//! `hcl2_upgrade`: what is written, and that the real program builds the same from both.
//! `IMGBUILD_BLESS=1` writes the expected text anew.

use std::collections::BTreeMap;
use std::path::Path;

use imgbuild_packer::legacy::Template;
use imgbuild_packer::upgrade::{Options, Upgraded, upgrade};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::packer;

const WHOLE: &str = include_str!("upgrade/whole.json");
const EXPECTED: &str = include_str!("upgrade/whole.pkr.hcl");
const BUILT: &str = include_str!("upgrade/built.json");

#[test]
fn names_of_any_length_are_written() {
    let name = "n".repeat(70_000);
    let text = format!("{{\"builders\": [{{\"type\": \"null\", \"{name}\": 1, \"a\": 2}}]}}");
    let written = upgraded(&text, false).text;
    assert!(written.contains(&format!("{name} = 1\n")) || written.contains(&format!("{name} = \"1\"\n")));
}

fn upgraded(text: &str, annotations: bool) -> Upgraded {
    let template = Template::parse("t.json", text).expect("it is a template");
    upgrade(&template, Options { annotations }, &|kind| matches!(kind, "null" | "file"))
}

/// The upgrade of a template with one builder, without what is the same each time.
fn of_builder(config: &str) -> String {
    let text = format!("{{\"builders\": [{{\"type\": \"null\", {config}}}]}}");
    let text = upgraded(&text, false).text;
    let (before, _) = text.split_once("\nbuild {").expect("a build");
    before.trim().to_owned()
}

#[test]
fn a_whole_template_is_upgraded() {
    let upgraded = upgraded(WHOLE, false);
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/legacy/upgrade/whole.pkr.hcl");
        fs_err::write(path, &upgraded.text).expect("it is written");
        return;
    }
    assert_eq!(upgraded.text, EXPECTED);
    let unknown: Vec<String> = upgraded.unknown_builders.iter().map(ToString::to_string).collect();
    assert_eq!(unknown, ["t.json:78:15: there is no builder `foo`"]);
}

#[test]
fn blocks_and_lists_are_what_the_component_takes() {
    let template = r#"{
      "variables": {"regions": ""},
      "builders": [{"type": "amazon-ebs", "ami_regions": "{{user `regions`}}", "ami_users": "1,2", "ami_groups": "",
        "metadata_options": {"http_tokens": "required"}, "tags": {"a": "b"}, "run_tag": [{"key": "k", "value": "v"}]}],
      "post-processors": [{"type": "vagrant", "override": {"virtualbox": {"compression_level": 9}}}]
    }"#;
    let text = upgraded(template, false).text;
    for part in [
        "  ami_groups  = []\n  ami_regions = compact(split(\",\", \"${var.regions}\"))\n  ami_users   = [\"1\", \"2\"]\n",
        "  metadata_options {\n    http_tokens = \"required\"\n  }\n",
        "  run_tag {\n    key   = \"k\"\n    value = \"v\"\n  }\n",
        "  tags = {\n    a = \"b\"\n  }\n",
        "    override = {\n      virtualbox = {\n        compression_level = 9\n      }\n    }\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn annotations_only_add_comments() {
    let plain = upgraded(WHOLE, false).text;
    let annotated = upgraded(WHOLE, true).text;
    let blocks = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(blocks(&annotated), blocks(&plain));
    assert!(annotated.starts_with("# Made by hcl2_upgrade"));
    let sections = annotated.lines().filter(|line| line.starts_with("# ")).count();
    assert!(sections > 8, "{annotated}");
}

#[test]
fn strings_keep_their_meaning() {
    for (json, expected) in [
        (r#""a": "x\n\t\"\\ ${y} %{z} $ % é\u0001""#, r#"a = "x\n\t\"\\ $${y} %%{z} $ % é\u0001""#),
        (r#""a": "$$%{{user `v`}}""#, r#"a = "${"$$%"}${var.v}""#),
        (r#""a": "${{.X}}""#, r#"a = "$${{ .X }}""#),
        (r#""a": "{{`{{`}} {{`a`}}""#, r#"a = "{{`{{`}} a""#),
        (r#""a": "{{env \"X\"}}""#, r#"a = "${env("X")}""#),
        (
            r#""a": "{{strftime `%Y ${x}`}} {{strftime}}""#,
            r#"a = "${legacy_strftime("%Y $${x}")} ${timestamp()}""#,
        ),
        (r#""a": "{{isotime (user `v`)}}""#, r#"a = "${legacy_isotime("${var.v}")}""#),
        (r#""a": "{{user `v` | printf `%s-%v%%` `b`}}""#, r#"a = "b-${var.v}%""#),
        (
            r#""a": "{{pwd}}{{uuid}}{{packer_version}}{{build_type}}""#,
            r#"a = "${path.cwd}${uuidv4()}${packer.version}${source.type}""#,
        ),
        (
            r#""a": "{{consul_key `k`}}{{aws_secretsmanager_raw `s`}}""#,
            r#"a = "${consul_key("k")}${aws_secretsmanager_raw("s")}""#,
        ),
    ] {
        let written = of_builder(json);
        let line = written.lines().find(|line| line.starts_with("  a = ")).expect("the attribute");
        assert_eq!(line.trim(), expected, "{json}");
    }
}

#[test]
fn what_cannot_be_upgraded_is_left_with_a_note() {
    for (template, note, left) in [
        (
            "{{lower `A`}}",
            "unhandled \"lower\" call: it is left as a Go template. In HCL: lower(text)",
            "{{ lower `A` }}",
        ),
        ("{{.X | upper | split `-` `,` 1}}", "`split`", "{{.X | upper | split `-` `,` 1}}"),
        (
            "{{split (upper .X) `-` 1}}",
            "unhandled \"split\" call: it is left as a Go template. In HCL: split(separator, text)",
            "{{ split (upper (.X)) `-` 1 }}",
        ),
        (r#"{{upper \"`\"}}"#, "unhandled \"upper\" call", r#"{{ upper \"`\" }}"#),
        (
            "{{if .X}}a{{end}}",
            "unhandled template, left as it is: {{if .X}}a{{end}} (it does more than put texts together)",
            "{{if .X}}a{{end}}",
        ),
        (
            "{{len `a`}}",
            "unhandled template, left as it is: {{len `a`}} (`len` has no counterpart)",
            "{{len `a`}}",
        ),
        ("{{printf `%5s` `a`}}", "(`printf` has no counterpart)", "{{printf `%5s` `a`}}"),
        ("{{user .X}}", "(`user`: its argument is made of other values)", "{{user .X}}"),
        ("{{", "(the action is not closed: `}}` is missing)", "{{"),
        ("{{.}}", "(it does more than put texts together)", "{{.}}"),
    ] {
        let written = of_builder(&format!("\"a\": \"{template}\""));
        let line = |prefix: &str| written.lines().find(|line| line.starts_with(prefix)).unwrap_or_default();
        assert!(line("# ").contains(note), "{template}: {written}");
        // One that is left whole has no notes about its parts.
        assert!(left != template || written.matches("# ").count() == 1, "{template}: {written}");
        assert_eq!(line("  a = "), format!("  a = \"{left}\""), "{template}");
    }
}

#[test]
fn objects_become_blocks_or_attributes() {
    for (json, expected) in [
        (r#""m": {"a": 1, "b": "x"}"#, "m = {\n    a = 1\n    b = \"x\"\n  }"),
        (r#""m": {"a": {"b": 1.5}}"#, "m {\n    a = {\n      b = 1.5\n    }\n  }"),
        (r#""m": {"a": [1]}"#, "m {\n    a = [1]\n  }"),
        (r#""m": {}"#, "m {\n  }"),
        (
            r#""m": {"a b": [1], "{{user `v`}}": 2}"#,
            "m = {\n    \"${var.v}\" = 2\n    \"a b\"      = [1]\n  }",
        ),
        (r#""m": [{"a": 1}, {"b": true}]"#, "m {\n    a = 1\n  }\n  m {\n    b = true\n  }"),
        (r#""m": [1, {"a": 1}, [], null]"#, "m = [1, {\n    a = 1\n  }, [], null]"),
        (r#""m": [{"a b": 1}, {"c": 2}]"#, "m = [{\n    \"a b\" = 1\n    }, {\n    c = 2\n  }]"),
        (r#""m": [], "n": 1e21"#, "n = 1000000000000000000000"),
        (r#""network_interface": {"a": "b"}"#, "network_interface {\n    a = \"b\"\n  }"),
    ] {
        let written = of_builder(json);
        let (_, inside) = written.split_once("\"autogenerated_1\" {\n  ").expect("a source");
        assert_eq!(inside.strip_suffix("\n}"), Some(expected), "{json}");
    }
}

#[test]
fn notes_about_a_filter_stand_above_its_data_block_only() {
    let filter = r#"{"filters": {"name": "{{lower `A`}}"}, "owners": ["self"]}"#;
    let text = format!(
        r#"{{"builders": [{{"type": "amazon-ebs", "source_ami_filter": {filter}}},
            {{"type": "amazon-ebs", "name": "b", "source_ami_filter": {filter}}}]}}"#
    );
    let text = upgraded(&text, false).text;
    let note =
        "# unhandled \"lower\" call: it is left as a Go template. In HCL: lower(text)\ndata \"amazon-ami\"";
    assert!(text.contains(note), "{text}");
    assert_eq!(text.matches("# ").count(), 1, "{text}");
}

#[test]
fn names_become_identifiers() {
    let text = r#"{"variables": {"a b": "1", "1st": "{{user `a b`}}"}, "builders": [
        {"type": "null", "name": "my box"}, {"type": "null", "name": "my_box"}, {"type": "null", "name": "{{user `a b`}}.1"}],
        "provisioners": [{"type": "shell", "only": ["my box"], "except": ["gone"]}]}"#;
    let text = upgraded(text, false).text;
    for expected in [
        "variable \"a_b\" {",
        "  _1st = \"${var.a_b}\"",
        "sources = [\"source.null.my_box\", \"source.null.my_box_2\", \"source.null.__user__a_b____1\"]",
        "only   = [\"null.my_box\"]",
        "except = [\"gone\"]",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
}

/// All files below a folder but logs, whose lines are sorted, since the order of builds differs.
fn files(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let entries = fs_err::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with("t."))
        .map(|entry| {
            let text = fs_err::read_to_string(entry.path()).expect("a text");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            (entry.file_name().to_string_lossy().into_owned(), lines)
        })
        .collect()
}

#[test]
fn packer_builds_the_same_from_both() {
    let mut results = Vec::new();
    for (name, text) in [("t.json", BUILT.to_owned()), ("t.pkr.hcl", upgraded(BUILT, false).text)] {
        let Some(mut command) = packer() else { return };
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join(name), text).expect("a template");
        let output = command.args(["build", "-parallel-builds=1", name]).current_dir(folder.path()).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
        results.push(files(folder.path()));
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0]["log"].len(), 10, "{results:?}");
}

/// The formatter of the real program would change nothing.
#[test]
fn the_layout_is_that_of_fmt() {
    let Some(mut command) = packer() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let maps = r#"{"builders": [{"type": "null", "m": [1, {"a": 1, "bb": [{"c": {"d": 1}}]}, []], "n": {"a b": {"c": 1, "dd": 2}},
        "l": [{"a b": 1, "c": {"d": 1}}, {"e": 2}, [{"f": 3}, [{"g": 4}]], 5], "o": {"x": {"yy": 1, "z": {"q": 1}}, "long": 2}}], "provisioners": [{"type": "shell", "x": {"a": null}}]}"#;
    for (name, text, annotations) in
        [("a", WHOLE, false), ("b", WHOLE, true), ("c", BUILT, false), ("d", maps, false), ("e", "{}", true)]
    {
        let path = folder.path().join(format!("{name}.pkr.hcl"));
        fs_err::write(path, upgraded(text, annotations).text).expect("a template");
    }
    let output = command.args(["fmt", "-check", "-diff"]).arg(folder.path()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Strings of pieces that mean something in one of the two languages.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{user `a`}}",
        "{{user `a b`}}",
        "${",
        "%{",
        "$",
        "%",
        "\"",
        "\\",
        "\n",
        "{{",
        "}}",
        "{{.X}}",
        "{{ .Y | upper }}",
        "{{upper `a`}}",
        "{{lower (upper (user `a`))}}",
        "é",
        " ",
        "x",
        "{",
        "}",
        "{{timestamp}}",
        "{{isotime `2006`}}",
        "{{build `ID`}}",
        "{{`{{`}}",
        "{{if .X}}",
        "{{end}}",
        "{{split (user `a`) `-` 0}}",
        "{{env `A`}}",
        "\u{1}",
        "\u{e010}",
        "`",
        "~}",
        "{{- uuid -}}",
        "{{printf `%s\"` .X}}",
        "{{aws_secretsmanager `a` `b`}}",
        "{{isotime (user `a`)}}",
        "{{user \"q\\\"\"}}",
        "/*",
        "#",
    ]);
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        let name = prop::sample::select(vec!["a", "B-c", "a b", "linux_options"]).prop_map(str::to_owned);
        let name = prop_oneof![name, any_text()];
        let members = prop::collection::btree_map(name, inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            members.prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// The real formatter reads what is made of templates at random, and would change nothing.
#[test]
fn whatever_is_upgraded_is_hcl() {
    let Some(mut command) = packer() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut runner = TestRunner::deterministic();
    let parts = (any_value(), any_value(), any_text(), any_text(), any::<bool>());
    for number in 0..300 {
        let (x, y, text, name, annotations) = parts.new_tree(&mut runner).expect("a value").current();
        let template = json!({
            "variables": {"a": text, "a b": name, "c": text}, "sensitive-variables": ["a"], "description": text,
            "builders": [{"type": "null", "name": name, "x": x, "y": y}, {"type": "amazon-ebs", "source_ami_filter": x}],
            "provisioners": [{"type": "shell", "x": y, "override": {"amazon-ebs": {"q": x}}}],
            "post-processors": [["manifest", {"type": "x", "y": x}]],
        });
        let path = folder.path().join(format!("{number}.pkr.hcl"));
        fs_err::write(path, upgraded(&template.to_string(), annotations).text).expect("a template");
    }
    let output = command.args(["fmt", "-check", "-diff"]).arg(folder.path()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
