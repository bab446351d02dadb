//! The values of variables.

use imgbuild_packer::legacy::{Given, Template};

use crate::support::{given, packer, run};

fn template(variables: &str) -> Template {
    let text =
        format!("{{\"variables\": {variables},\n\"sensitive-variables\": [\"secret\"], \"builders\": []}}");
    Template::parse("t.json", &text).expect("it is a template")
}

fn resolve(variables: &str, values: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
    let resolved = template(variables).resolve(&run(), &given(values));
    resolved.map(|values| values.values.into_iter().collect()).map_err(|errors| errors.to_string())
}

#[test]
fn variables_are_made_of_others_and_of_what_is_given() {
    let chain = r#"{"c": "{{user `b`}}3", "b": "{{user `a`}}2", "a": "1"}"#;
    for (variables, values, expected) in [
        (chain, &[][..], "a=1 b=12 c=123"),
        (chain, &[("a", "x"), ("a", "y")], "a=y b=y2 c=y23"),
        (chain, &[("b", "{{user `new`}}"), ("new", "n")], "a=1 b=n c=n3 new=n"),
        (r#"{"a": null}"#, &[("a", "")], "a="),
        (
            r#"{"home": "{{env `HOME`}}", "e": "{{env `BRACES`}}", "f": "{{user `e`}}"}"#,
            &[],
            "e={{user `a`}} f={{user `a`}} home=/home/ada",
        ),
        (
            r#"{"a": "http://{{ .HTTPIP }}:{{.HTTPPort}}/{{user `b`}}", "b": "{{ .X | upper }}"}"#,
            &[],
            "a=http://{{ .HTTPIP }}:{{.HTTPPort}}/{{ .X | upper }} b={{ .X | upper }}",
        ),
        (r#"{"a": "{{if eq (user `b`) `1`}}one{{else}}{{user `c`}}{{end}}", "b": "1"}"#, &[], "a=one b=1"),
        (r#"{"a": "{{printf `%s` `b` | user}}", "b": "1"}"#, &[], "a=1 b=1"),
        (r#"{"a": "{{timestamp}}"}"#, &[], "a=1709622489"),
    ] {
        let resolved = resolve(variables, values).expect("all have values");
        let shown: Vec<String> = resolved.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown.join(" "), expected, "{variables}");
    }
}

#[test]
fn a_long_chain_is_no_deep_recursion() {
    let links: Vec<String> = (0..3000).map(|n| format!("\"v{n}\": \"{{{{user `v{}`}}}}\"", n + 1)).collect();
    let variables = format!("{{{}, \"v3000\": \"end\"}}", links.join(", "));
    let resolved = resolve(&variables, &[]).expect("all have values");
    assert!(resolved.iter().all(|(_, value)| value == "end"));
}

#[test]
fn errors_say_which_variable_and_what_to_do() {
    for (variables, values, expected) in [
        (
            r#"{"a": null, "b": "{{user `a`}}"}"#,
            &[][..],
            "t.json:1:16: the variable `a` has no value; hint: give one with `-var a=…` or in a file, or a default in place of `null`",
        ),
        (
            r#"{"name": "x", "b": "é{{user `nane`}}"}"#,
            &[],
            "t.json:1:38: there is no variable `nane`; hint: did you mean `name`?",
        ),
        (
            r#"{"b": "{{user `zebra`}}"}"#,
            &[],
            "t.json:1:24: there is no variable `zebra`; hint: declare it: `\"variables\": {\"zebra\": \"…\"}`",
        ),
        (
            r#"{"a": "{{user `b`}}", "b": "{{user `c`}}", "c": "{{user `b`}}"}"#,
            &[],
            "t.json:1:63: the variable `b` is made of itself: `b` → `c` → `b`",
        ),
        (r#"{"a": "{{user `a`}}"}"#, &[], "t.json:1:21: the variable `a` is made of itself: `a` → `a`"),
        (r#"{"a": "\n{{upper}}"}"#, &[], "t.json:1:26: `upper` takes exactly 1 argument, not 0"),
        (
            "{}",
            &[("x", "{{nothing}}")],
            "the value given for `x`: there is no function `nothing`; hint: text with `{{` that is no template is written `{{\"{{\"}}`",
        ),
        (
            r#"{"a": "{{", "b": "{{x}}"}"#,
            &[],
            "t.json:1:22: the action is not closed: `}}` is missing\nt.json:1:35: there is no function `x`; hint: text with `{{` that is no template is written `{{\"{{\"}}`",
        ),
    ] {
        assert_eq!(resolve(variables, values), Err(expected.to_owned()), "{variables}");
    }
}

#[test]
fn sensitivity_follows_values() {
    let text = r#"{"secret": "s", "url": "x:{{user `secret`}}", "host": "h", "db": "{{vault `secret/db` `password`}}", "all": "{{user `url`}}"}"#;
    let values = template(text).resolve(&run(), &[]).expect("all have values");
    assert_eq!(values.sensitive, ["all", "db", "secret", "url"].map(str::to_owned).into());
    let shown = format!("{values:?}");
    assert!(shown.contains(r#""host": "h""#) && !shown.contains("s3cret"), "{shown}");
    let values = template(r#"{"secrets": "s"}"#).resolve(&run(), &[]).expect("all have values");
    assert_eq!(
        values.warnings[0].to_string(),
        "t.json:2:25: `sensitive-variables` names `secret`, which is no variable; hint: did you mean `secrets`?"
    );
}

#[test]
fn files_of_variables_hold_strings() {
    let (given, warnings) =
        Given::read_file("v.json", r#"{"a": "1", "b": null, "a": "2"}"#).expect("it is one");
    let shown: Vec<_> = given.iter().map(|given| format!("{}={}", given.name, given.value)).collect();
    assert_eq!(shown, ["a=1", "b=", "a=2"]);
    assert_eq!(warnings.len(), 1);
    for (text, expected) in [
        ("[]", "v.json:1:1: a file of variables must be an object, not a list"),
        (
            r#"{"a": 1}"#,
            "v.json:1:7: the variable `a` must be a string, not a number; hint: templates in JSON have strings as variables only; put it in double quotes",
        ),
    ] {
        assert_eq!(Given::read_file("v.json", text).expect_err("it is not").to_string(), expected);
    }
}

/// The values that the real program gives, by its console.
#[test]
fn packer_gives_the_same_values() {
    let Some(mut command) = packer() else { return };
    let variables = r#"{"a": "1", "b": "{{user `a`}}2{{env `PACKER_TEST`}}", "c": "{{ user `b` | upper }}{{user `given`}}",
        "d": "{{split (user `c`) `2` 0}}", "e": "{{if user `empty`}}x{{else}}{{user `d`}}{{end}}", "empty": ""}"#;
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "{{\"variables\": {variables}, \"builders\": [{{\"type\": \"null\", \"communicator\": \"none\"}}]}}"
    );
    fs_err::write(folder.path().join("t.json"), text).expect("a template");
    fs_err::write(folder.path().join("v.json"), r#"{"given": "file", "a": "file"}"#).expect("a file");
    let line = "{{user `a`}}|{{user `b`}}|{{user `c`}}|{{user `d`}}|{{user `e`}}|{{user `empty`}}";
    command.args(["console", "-var", "given=g{{user `a`}}", "-var-file", "v.json", "t.json"]);
    command.current_dir(folder.path()).env("PACKER_TEST", "env");
    let theirs = crate::support::with_input(&mut command, line);

    let mut host_run = run();
    host_run.host = std::sync::Arc::new(crate::support::FakeHost {
        environment: [("PACKER_TEST".to_owned(), "env".to_owned())].into(),
    });
    let (mut values, _) = Given::read_file("v.json", r#"{"given": "file", "a": "file"}"#).expect("it is one");
    values.extend(given(&[("given", "g{{user `a`}}")]));
    let ours = template(variables).resolve(&host_run, &values).expect("all have values").values;
    let ours: Vec<&str> =
        ["a", "b", "c", "d", "e", "empty"].iter().map(|name| ours[*name].as_str()).collect();
    assert_eq!(ours.join("|"), theirs.trim_end());
}
