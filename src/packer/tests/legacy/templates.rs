//! Templates as a whole.

use std::time::Duration;

use imgbuild_gotemplate::Rendered;
use imgbuild_packer::fix::fix;
use imgbuild_packer::interpolate::{Context, Generated, Place, Renderer};
use imgbuild_packer::json::Value;
use imgbuild_packer::legacy::{Provisioner, Template, render};
use imgbuild_packer::upgrade::{Options, upgrade};
use proptest::prelude::*;

use crate::support::{check, packer, packer_says, run};

const WHOLE: &str = r#"{
  "_comment": "what it is",
  "min_packer_version": "1.6.0",
  "description": "a web server",
  "variables": {"region": "eu-central-1", "token": null},
  "sensitive-variables": ["token"],
  "builders": [
    {"type": "null", "communicator": "none"},
    {"type": "file", "name": "out-{{user `region`}}", "target": "x", "content": "{{user `token`}}"}
  ],
  "provisioners": [
    {"type": "shell-local", "inline": ["true"], "only": "null", "pause_before": "1m", "timeout": 5000000000},
    {"type": "shell-local", "inline": ["true"], "except": ["null"], "max_retries": 3,
     "override": {"out-{{user `region`}}": {"inline": ["false"]}}}
  ],
  "error-cleanup-provisioner": {"type": "shell-local", "inline": ["true"]},
  "post-processors": [
    "manifest",
    {"type": "checksum", "name": "sums", "keep_input_artifact": true, "only": ["null"]},
    ["compress", {"type": "manifest", "name": "last"}]
  ]
}"#;

#[test]
fn a_template_is_read_whole() {
    let template = Template::parse("t.json", WHOLE).expect("it is one");
    assert_eq!(template.validate("1.16.0"), []);
    assert_eq!(template.comments[0].1.text, "what it is".into());
    assert_eq!(template.description.as_ref().expect("it has one").text, "a web server".into());
    let location = template.variables[1].name.location(&template.source);
    assert_eq!((location.line, location.column), (5, 43));
    let [first, second] = template.provisioners.as_slice() else { panic!("two provisioners") };
    assert_eq!(first.pause_before, Duration::from_secs(60));
    assert_eq!(first.timeout, Some(Duration::from_secs(5)));
    assert_eq!(first.config.len(), 1);
    assert_eq!(second.max_retries.as_ref().expect("it has one").text, "3".into());
    assert_eq!(template.post_processors.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(template.post_processors[1][0].keep_input_artifact, Some(true));

    let given = crate::support::given(&[("token", "t0k3n")]);
    let values = template.resolve(&run(), &given).expect("all have values");
    assert_eq!(values.sensitive, ["token".to_owned()].into());
    let builds = template.builds(&run(), &values, &[], &[]).expect("they can be named");
    let [null, file] = [&builds[0], &builds[1]];
    assert_eq!((null.display_name(), file.display_name()), ("null".into(), "file.out-eu-central-1".into()));
    assert_eq!((null.provisioners.len(), file.provisioners.len()), (1, 1));
    assert!(null.provisioners[0].overriding.is_none() && file.provisioners[0].overriding.is_some());
    assert_eq!(file.provisioners[0].max_retries, 3);
    assert!(file.error_cleanup.is_some());
    assert_eq!((null.post_processors.len(), file.post_processors.len()), (3, 2));
}

#[test]
fn only_and_except_choose_builds_and_end_sequences() {
    let template = Template::parse("t.json", WHOLE).expect("it is one");
    let values =
        template.resolve(&run(), &crate::support::given(&[("token", "t")])).expect("they have values");
    let names = |only: &[&str], except: &[&str]| {
        let [only, except] =
            [only, except].map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let builds = template.builds(&run(), &values, &only, &except).expect("they can be named");
        let describe = |build: &imgbuild_packer::legacy::Build| {
            let sequences: Vec<String> = build
                .post_processors
                .iter()
                .map(|sequence| sequence.iter().map(|one| &*one.name.text).collect::<Vec<_>>().join("+"))
                .collect();
            format!("{} {}", build.name, sequences.join(" "))
        };
        builds.iter().map(describe).collect::<Vec<_>>()
    };
    assert_eq!(names(&["null"], &[]), ["null manifest sums compress+last"]);
    assert_eq!(names(&["nu*"], &[]), [""; 0]);
    assert_eq!(names(&[], &["null", "last"]), ["out-eu-central-1 manifest compress"]);
    assert_eq!(names(&[], &["compress", "out-eu-central-1"]), ["null manifest sums"]);
}

/// Its components say on which build they run.
const LOUD: &str = r#"{
  "variables": {"v": "two"},
  "builders": [
    {"type": "null", "communicator": "none"},
    {"type": "null", "communicator": "none", "name": "one"},
    {"type": "null", "communicator": "none", "name": "is-{{user `v`}}"}
  ],
  "provisioners": [
    {"type": "shell-local", "inline": ["echo {{build_name}} p0 >> log"]},
    {"type": "shell-local", "only": ["null", "is-{{user `v`}}"], "inline": ["echo {{build_name}} p1 >> log"]},
    {"type": "shell-local", "except": ["one"], "inline": ["echo {{build_name}} p2 >> log"],
     "override": {"is-{{user `v`}}": {"inline": ["echo {{build_name}} p2 other >> log"]}}}
  ],
  "post-processors": [
    {"type": "shell-local", "name": "a", "inline": ["echo {{build_name}} a >> log"]},
    [
      {"type": "shell-local", "name": "b", "inline": ["echo {{build_name}} b >> log"]},
      {"type": "shell-local", "name": "c", "except": ["null"], "inline": ["echo {{build_name}} c >> log"]},
      {"type": "shell-local", "name": "d", "inline": ["echo {{build_name}} d >> log"]}
    ]
  ]
}"#;

fn expected_log(only: &[String], except: &[String]) -> Vec<String> {
    let template = Template::parse("t.json", LOUD).expect("it is one");
    let values = template.resolve(&run(), &[]).expect("all have values");
    let mut lines = Vec::new();
    for build in template.builds(&run(), &values, only, except).expect("they can be named") {
        for one in &build.provisioners {
            let same = |other: &Provisioner| std::ptr::eq(other, one.provisioner);
            let position = template.provisioners.iter().position(same).expect("it is one of them");
            let other = if one.overriding.is_some() { " other" } else { "" };
            lines.push(format!("{} p{position}{other}", build.name));
        }
        for one in build.post_processors.iter().flatten() {
            lines.push(format!("{} {}", build.name, one.name.text));
        }
    }
    lines.sort();
    lines
}

#[test]
fn packer_runs_what_the_builds_hold() {
    for (only, except) in
        [("", ""), ("one,null", ""), ("", "is-two,c"), ("", "b"), ("is-two", "a,d"), ("one", "null")]
    {
        let Some(mut command) = packer() else { return };
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("t.json"), LOUD).expect("a template");
        command.args(["build", "-parallel-builds=1"]).current_dir(folder.path());
        let names = |names: &str| {
            names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        for (flag, value) in [("-only", only), ("-except", except)] {
            if !value.is_empty() {
                command.arg(format!("{flag}={value}"));
            }
        }
        let output = command.arg("t.json").output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let log = fs_err::read_to_string(folder.path().join("log")).expect("a log");
        let mut theirs: Vec<&str> = log.lines().collect();
        theirs.sort_unstable();
        assert_eq!(expected_log(&names(only), &names(except)), theirs, "only {only}, except {except}");
    }
}

#[test]
fn each_error_says_where_and_what_to_do() {
    let null = r#"{"type": "null", "communicator": "none"}"#;
    for (text, expected) in [
        ("[]", "t.json:1:1: a template must be an object, not a list"),
        (
            "{}",
            "t.json:1:1: a template needs at least one builder; hint: write `\"builders\": [{\"type\": \"…\"}]`",
        ),
        (
            r#"{"builder": []}"#,
            "t.json:1:2: a template has no section `builder`; hint: did you mean `builders`?",
        ),
        (
            r#"{"x-notes": 1}"#,
            "t.json:1:2: a template has no section `x-notes`; hint: a name that begins with `_` makes it a comment",
        ),
        (r#"{"_a": 1}"#, "t.json:1:8: a comment must be a string, not a number"),
        (r#"{"builders": {}}"#, "t.json:1:14: `builders` must be a list, not an object"),
        (r#"{"builders": ["null"]}"#, "t.json:1:15: a builder must be an object, not a string"),
        (
            r#"{"builders": [{"name": "a"}]}"#,
            "t.json:1:15: a builder has no type; hint: write `\"type\": \"…\"` in it",
        ),
        (
            r#"{"builders": [{"type": "null"}, {"type": "null"}]}"#,
            "t.json:1:42: there are two builders `null`; the first is here (t.json:1:24); hint: give each its own `name`",
        ),
        (r#"{"builders": [{"type": []}]}"#, "t.json:1:24: `type` must be a string, not a list"),
        (r#"{"description": 1}"#, "t.json:1:17: `description` must be a string, not a number"),
        (
            r#"{"variables": {"a": 1}}"#,
            "t.json:1:21: the variable `a` must be a string or null, not a number; hint: write `\"1\"`",
        ),
        (r#"{"variables": {"a": []}}"#, "t.json:1:21: the variable `a` must be a string or null, not a list"),
        (
            r#"{"sensitive-variables": [1]}"#,
            "t.json:1:26: the name of a variable in `sensitive-variables` must be a string, not a number",
        ),
        (
            r#"{"provisioners": [{"type": "x", "pause_before": "5"}]}"#,
            "t.json:1:49: `pause_before` must be a duration, not `5`; hint: write a number and a unit: `30s`, `5m`, `1h30m`",
        ),
        (
            r#"{"provisioners": [{"type": "x", "timeout": {}}]}"#,
            "t.json:1:44: `timeout` must be a duration, not an object",
        ),
        (
            r#"{"provisioners": [{"type": "x", "override": {"a": 1}}]}"#,
            "t.json:1:51: the override for `a` must be an object, not a number",
        ),
        (r#"{"provisioners": [3]}"#, "t.json:1:19: a provisioner must be an object, not a number"),
        (
            r#"{"post-processors": [["a", ["b"]]]}"#,
            "t.json:1:28: a sequence cannot stand in a sequence; hint: a sequence holds post-processors; write this one beside it",
        ),
        (
            r#"{"post-processors": [true, ""]}"#,
            "t.json:1:22: a post-processor must be a string, an object or a list, not a truth value\nt.json:1:28: a post-processor has no type",
        ),
        (
            r#"{"post-processors": [{"type": "a", "keep_input_artifact": "true", "only": "x"}]}"#,
            "t.json:1:59: `keep_input_artifact` must be `true` or `false`, not a string\nt.json:1:75: `only` must be a list, not a string",
        ),
        (
            r#"{"builders": [NULL], "provisioners": [{"type": "a", "only": ["nul"], "override": {"zebra": {}}}]}"#,
            "t.json:1:98: `only` names the builder `nul`, which does not exist; hint: did you mean `null`?\nt.json:1:119: `override` names the builder `zebra`, which does not exist; hint: the builders are `null`",
        ),
        (
            r#"{"builders": [NULL], "post-processors": [{"type": "a", "only": ["null"], "except": ["null"]}]}"#,
            "t.json:1:121: `only` and `except` cannot stand together; hint: what `only` does not name is left out already; remove `except`",
        ),
        (
            r#"{"builders": [NULL], "min_packer_version": "2.0"}"#,
            "t.json:1:80: this template needs Packer 2.0 or newer; this is 1.16.0",
        ),
        (
            r#"{"builders": [NULL], "min_packer_version": "new"}"#,
            "t.json:1:80: `min_packer_version` must be a version, not `new`; hint: write for example `1.8.0`",
        ),
        (
            r#"{"variables": {"b": null}, "builders": [NULL, {"type": "null", "name": "{{usr `a`}}"}]}"#,
            "t.json:1:16: the variable `b` has no value; hint: give one with `-var b=…` or in a file, or a default in place of `null`",
        ),
        (
            r#"{"builders": [NULL, {"type": "null", "name": "a{{usr `a`}}"}]}"#,
            "t.json:1:86: there is no function `usr`; hint: did you mean `user`?",
        ),
        (
            r#"{"builders": [NULL, {"type": "x", "name": "null{{user `q`}}"}]}"#,
            "t.json:1:79: two builders get the name `null`; the first is here (t.json:1:24); hint: make the names differ",
        ),
        (
            r#"{"builders": [NULL], "provisioners": [{"type": "a", "max_retries": 1.5}]}"#,
            "t.json:1:104: `max_retries` must be a whole number, not `1.5`",
        ),
        (
            r#"{"builders": [{"type": "a", "x": ["\u00e9 {{upper 1}}"]}]}"#,
            "t.json:1:51: an argument of `upper` must be a string, not an integer",
        ),
    ] {
        let text = text.replace("NULL", null);
        assert_eq!(check(&text, &[]), Err(expected.to_owned()), "{text}");
    }
    for (default, expected) in [
        (
            "{{env `BRACES`}}x",
            "t.json:1:106: this changes each of 100 times that it is rendered; hint: a variable in it gives a template that uses it again",
        ),
        (
            r#"{{printf `%s%s` `{{user \"a\"}}` `{{user \"a\"}}`}}"#,
            "t.json:1:140: this grows to more than 1048576 bytes when it is rendered again and again; hint: a variable in it gives a template that uses it again",
        ),
        ("{{env `BROKEN`}}", "t.json:1:105: the action is not closed: `}}` is missing"),
    ] {
        let text = format!(
            r#"{{"variables": {{"a": "{default}"}}, "builders": [{{"type": "null", "communicator": "none", "name": "{{{{user `a`}}}}"}}]}}"#
        );
        assert_eq!(check(&text, &[]), Err(expected.to_owned()), "{text}");
    }
    let two = "{\"builders\": 1,\n\"builders\": [{}]}";
    let expected = "t.json:1:14: `builders` must be a list, not a number
t.json:2:1: `builders` is given twice; the first is here (t.json:1:2); hint: remove one of the two
t.json:2:14: a builder has no type; hint: write `\"type\": \"…\"` in it";
    assert_eq!(check(two, &[]), Err(expected.to_owned()), "all errors at once");
}

/// Each is judged by the real program and by this one.
#[test]
fn packer_accepts_and_refuses_the_same() {
    let null = r#"{"type": "null", "communicator": "none"}"#;
    let local = r#""type": "shell-local", "inline": ["true"]"#;
    for (text, given) in [
        (r#"{"builders": [NULL]}"#, &[][..]),
        (r#"{"Builders": [NULL]}"#, &[]),
        (r#"{"Builders": [NULL], "builders": [NULL]}"#, &[]),
        (r#"{"builders": null}"#, &[]),
        (r"null", &[]),
        (r"3", &[]),
        ("[]", &[]),
        ("", &[]),
        ("\u{feff}{}", &[]),
        (r#"{"builders": [NULL],}"#, &[]),
        (r#"{"builders": [NULL], "builders": [NULL]}"#, &[]),
        (r#"{"builders": [{"type": "null", "communicator": "none", "name": 12}]}"#, &[]),
        (r#"{"builders": [{"type": "null", "communicator": "none", "name": true}]}"#, &[]),
        (r#"{"builders": [{"type": "null", "communicator": "none", "name": ""}]}"#, &[]),
        (r#"{"builders": [NULL, NULL]}"#, &[]),
        (r#"{"builders": [NULL, {}]}"#, &[]),
        (r#"{"builders": [NULL, null]}"#, &[]),
        (r#"{"builders": [NULL], "_c": "x", "push": {"a": 1}, "comments": [{"a": "b"}]}"#, &[]),
        (r#"{"builders": [NULL], "_c": ["x"]}"#, &[]),
        (r#"{"builders": [NULL], "push": []}"#, &[]),
        (r#"{"builders": [NULL], "other": 1}"#, &[]),
        (r#"{"builders": [NULL], "description": null}"#, &[]),
        (r#"{"builders": [NULL], "description": 1}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": true}}"#, &[]),
        (r#"{"builders": [NULL], "variables": []}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": null}}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": null}}"#, &["a=1"]),
        (r#"{"builders": [NULL], "variables": {"a": "{{user `b`}}"}}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": "{{user `b`}}"}}"#, &["b=1"]),
        (r#"{"builders": [NULL], "variables": {"a": "{{user `b`}}", "b": "{{user `a`}}"}}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": "{{user `a`}}"}}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": "{{ .X }} {{.Y}}"}}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": "{{upper .X}}"}}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": "{{build_name}}"}}"#, &[]),
        (r#"{"builders": [NULL], "variables": {"a": "{{"}}"#, &[]),
        (r#"{"builders": [NULL]}"#, &["a={{"]),
        (r#"{"builders": [NULL]}"#, &["a={{user `b`}}", "b={{env `HOME`}}"]),
        (r#"{"builders": [NULL], "sensitive-variables": ["a"]}"#, &[]),
        (r#"{"builders": [NULL], "sensitive-variables": "a"}"#, &[]),
        (r#"{"builders": [NULL], "min_packer_version": "0.9"}"#, &[]),
        (r#"{"builders": [NULL], "min_packer_version": "v1.2.3-beta1+x"}"#, &[]),
        (r#"{"builders": [NULL], "min_packer_version": "99"}"#, &[]),
        (r#"{"builders": [NULL], "min_packer_version": "1.x"}"#, &[]),
        (r#"{"builders": [NULL], "min_packer_version": ""}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "only": "null", "pause_before": 5}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "only": ["x"]}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "except": ["x"]}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "only": ["null"], "except": ["null"]}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "only": [], "except": ["null"]}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "only": null}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "pause_before": "1x"}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "pause_before": "1h2m3.5s"}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "timeout": ""}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "max_retries": "{{user `n`}}"}]}"#, &["n=2"]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "max_retries": "{{user `n`}}"}]}"#, &["n=two"]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "max_retries": 2}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "max_retries": 2.5}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "override": {"null": {"inline": ["x"]}}}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": [{LOCAL, "override": {"x": {}}}]}"#, &[]),
        (r#"{"builders": [NULL], "provisioners": {LOCAL}}"#, &[]),
        (r#"{"builders": [NULL], "error-cleanup-provisioner": {LOCAL, "only": ["x"]}}"#, &[]),
        (r#"{"builders": [NULL], "error-cleanup-provisioner": {"inline": ["x"]}}"#, &[]),
        (r#"{"builders": [NULL], "post-processors": ["manifest", ["manifest"], []]}"#, &[]),
        (r#"{"builders": [NULL], "post-processors": [["manifest", ["manifest"]]]}"#, &[]),
        (r#"{"builders": [NULL], "post-processors": [{"type": "manifest", "only": "null"}]}"#, &[]),
        (r#"{"builders": [NULL], "post-processors": [{"type": "manifest", "keep_input_artifact": 1}]}"#, &[]),
        (
            r#"{"builders": [NULL], "post-processors": [{"type": "manifest", "keep_input_artifact": true, "name": "n"}]}"#,
            &[],
        ),
        (r#"{"builders": [NULL], "post-processors": [3]}"#, &[]),
        (r#"{"builders": [NULL], "post-processors": "manifest"}"#, &[]),
        (r#"{"builders": [{"type": "file", "target": "{{env `HOME`}}"}]}"#, &[]),
        (
            r#"{"builders": [{"type": "file", "target": "{{build_name}}-{{build_type}}-{{user `none`}}"}]}"#,
            &[],
        ),
        (r#"{"builders": [{"type": "file", "target": "x{{isotime `a` `b`}}"}]}"#, &[]),
        (r#"{"builders": [{"type": "file", "target": "x", "content": "{{ .Nothing }}"}]}"#, &[]),
        (r#"{"builders": [{"type": "file", "target": "x", "content": "{{build `ID`}}"}]}"#, &[]),
        (
            r#"{"builders": [NULL], "provisioners": [{"type": "shell-local", "inline": ["{{build `ID`}}"]}]}"#,
            &[],
        ),
        (
            r#"{"builders": [NULL], "provisioners": [{"type": "shell-local", "inline": ["{{build `Nothing`}}"]}]}"#,
            &[],
        ),
        (r#"{"builders": [{"type": "null", "communicator": "none", "name": "{{user `a`}}"}]}"#, &["a=x"]),
        (r#"{"builders": [{"type": "null", "communicator": "none", "name": "{{env `HOME`}}"}]}"#, &[]),
    ] {
        let text = text.replace("NULL", null).replace("LOCAL", local);
        let Some((theirs, said)) = packer_says("validate", &text, given) else { return };
        let ours = check(&text, given);
        assert_eq!(ours.is_ok(), theirs, "{text} {given:?}: {ours:?}\n{said}");
    }
}

#[test]
fn a_configuration_is_rendered_but_for_what_is_later() {
    let text = r#"{"builders": [{"type": "a", "b": "{{user `x`}} {{user `y`}}", "execute_command": "{{.Vars}} {{user `x`}}",
        "c": {"{{user `x`}}": ["{{build `ID`}}", 1, null]}, "d": "{{ .Gone }}"}]}"#;
    let template = Template::parse("t.json", text).expect("it is one");
    let context = Context {
        generated: Generated::Late(["ID".to_owned()].into()),
        ..Context::new(run(), Place::Elsewhere, Some([("x".to_owned(), "X".to_owned())].into()))
    };
    let mut renderer = Renderer::new(context);
    let builder = &template.builders[0];
    let config =
        render(&template.source, &builder.config, &mut renderer, &["Execute_Command"]).expect("it renders");
    let plain: Vec<_> = config.members.iter().map(|member| member.value.plain().to_string()).collect();
    let expected = [
        r#""X ""#,
        r#""{{.Vars}} {{user `x`}}""#,
        r#"{"X":["{{build \"ID\"}}",1.0,null]}"#,
        r#""<no value>""#,
    ];
    assert_eq!(plain, expected);
    assert_eq!(config.late.len(), 2);
    assert_eq!(config.reads.user, ["x".to_owned(), "y".to_owned()].into());
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "t.json:1:34: there is no variable `y`, so this is empty; hint: did you mean `x`?",
            "t.json:2:70: nothing gives `.Gone` here, so it is `<no value>`"
        ]
    );
    let bad = r#"{"builders": [{"type": "a", "later": ["{{nothing}}"], "now": "{{"}]}"#;
    let template = Template::parse("t.json", bad).expect("it is one");
    let errors = render(&template.source, &template.builders[0].config, &mut renderer, &["later"])
        .expect_err("it cannot");
    assert_eq!(errors.0.len(), 2, "{errors}");
    let Value::Array(_) = &template.builders[0].config[0].value.value else { panic!("a list") };
    assert!(matches!(renderer.render("x").expect("it renders").text, Rendered::Text(_)));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(cut in 0..WHOLE.len(), with in "[\\[\\]{}\",:a`0-9 ]{0,6}", length in 0..30usize) {
        let end = (cut + length).min(WHOLE.len());
        let text = format!("{}{with}{}", &WHOLE[..cut], &WHOLE[end..]);
        let _ = check(&text, &["token=x"]);
        if let Ok(template) = Template::parse("t.json", &text) {
            let upgraded = upgrade(&template, Options::default(), &|_| true);
            let is_mark = |c: char| ('\u{e000}'..='\u{e003}').contains(&c);
            prop_assert!(!upgraded.text.contains(is_mark), "marks are left");
        }
        if let Ok(fixed) = fix("t.json", &text) {
            prop_assert_eq!(fix("t.json", &fixed.text).map(|fixed| fixed.text), Ok(fixed.text));
        }
    }
}
