//! The functions, against expectations and against the real program.

use imgbuild_gotemplate::{Rendered, Value};
use imgbuild_packer::interpolate::{Build, Cleaner, Context, Generated, Place, Renderer};
use imgbuild_packer_functions::SecretRequest;

use crate::support::{context, packer, with_input};

fn render(context: Context, source: &str) -> Result<Rendered, String> {
    let mut renderer = Renderer::new(context);
    renderer.render(source).map(|output| output.text).map_err(|error| {
        let hint = renderer.hint(&error).map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        format!("{error}{hint}")
    })
}

fn text(place: Place, source: &str) -> String {
    match render(context(place), source) {
        Ok(Rendered::Text(text)) => text,
        other => panic!("{source}: {other:?}"),
    }
}

fn component() -> Context {
    let build = Build { name: "web".to_owned(), kind: "amazon-ebs".to_owned() };
    let names = ["ID", "Host"].map(str::to_owned).into();
    Context { build: Some(build), generated: Generated::Late(names), ..context(Place::Elsewhere) }
}

#[test]
fn functions_give_what_packer_gives() {
    for (source, expected) in [
        ("plain }} text", "plain }} text"),
        ("{{user `x`}}", "ex"),
        ("{{user `nothing`}}|", "|"),
        ("{{user `templated`}}", "{{.Vars}}"),
        ("{{timestamp}}", "1709622489"),
        ("{{isotime}}", "2024-03-05T07:08:09Z"),
        ("{{isotime `2006-01-02`}}", "2024-03-05"),
        ("{{strftime `%Y%m%d%H%M%S`}}", "20240305070809"),
        ("{{uuid}}", "65e6c4d9-0001-0203-0405-060708090a0b"),
        ("{{pwd}}:{{template_dir}}", "/work:/work/templates"),
        ("{{packer_version}}", "1.16.0"),
        ("{{user `x` | upper | printf `%s-%s` `a`}}", "a-EX"),
        ("{{split (user `list`) `,` 1}}", "b"),
        ("{{user `x` | replace `e` `o` 1}}", "ox"),
    ] {
        assert_eq!(text(Place::Elsewhere, source), expected, "{source}");
    }
}

#[test]
fn variables_may_ask_the_environment_and_stores() {
    for (source, expected) in [
        ("{{env `HOME`}}/x", "/home/ada/x"),
        ("{{env `UNSET`}}|", "|"),
        ("{{consul_key `app/name`}}", "web"),
        ("{{vault `secret/db` `password`}}", "s3cret"),
        ("{{aws_secretsmanager `db`}} {{aws_secretsmanager `db` `user`}}", "whole user"),
        ("{{aws_secretsmanager_raw `db`}}", "{}"),
    ] {
        assert_eq!(text(Place::Variables, source), expected, "{source}");
    }
}

#[test]
fn names_are_cleaned_by_the_rules_of_the_cloud() {
    for (kind, expected) in
        [("amazon-ebs", "Web (1) ä_x."), ("azure-arm", "Web--1----_x"), ("googlecompute", "web--1-----x-")]
    {
        let cleaner = Cleaner::of_component(kind);
        let context = Context { cleaner, ..context(Place::Elsewhere) };
        let expected = expected.replace('ä', "--");
        let rendered = render(context, "{{clean_resource_name `Web (1) ä_x.`}}");
        assert_eq!(rendered, Ok(Rendered::Text(expected)), "{kind}");
    }
    assert_eq!(Cleaner::of_component("qemu"), None);
}

#[test]
fn what_a_running_build_makes_is_left_for_later() {
    for (source, expected) in [
        ("{{build_name}}.{{build_type}} {{build `ID`}}", "web.amazon-ebs {{build \"ID\"}}"),
        ("{{user `x`}} {{`Host` | build}}", "ex {{\"Host\" | build}}"),
    ] {
        assert_eq!(render(component(), source), Ok(Rendered::Template(expected.to_owned())), "{source}");
    }
    let late = Context { data: Value::record([("Vars", Value::Late)]), ..component() };
    assert_eq!(render(late, "{{.Vars}} {{user `x`}}"), Ok(Rendered::Template("{{.Vars}} ex".to_owned())));
    let known = Generated::Known([("ID".to_owned(), "i-1".to_owned())].into());
    let known = Context { generated: known, ..component() };
    assert_eq!(render(known, "{{build `ID`}}"), Ok(Rendered::Text("i-1".to_owned())));
}

#[test]
fn errors_say_where_and_what_to_do() {
    let no_user = Context { user: None, ..component() };
    let known = Context { generated: Generated::Known([].into()), ..component() };
    let variables = || context(Place::Variables);
    let elsewhere = || context(Place::Elsewhere);
    for (context, source, expected) in [
        (
            elsewhere(),
            "a{{env `X`}}",
            "1:4: `env`: it can only be used in the variables of a template in JSON; hint: use it as the default of a variable, and `{{user}}` here",
        ),
        (
            elsewhere(),
            "{{vault `a` `b`}}",
            "1:3: `vault`: it can only be used in the variables of a template in JSON; hint: use it as the default of a variable, and `{{user}}` here",
        ),
        (
            variables(),
            "{{vault `a` `b`}}",
            "1:3: `vault`: Vault gave no value: the store does not answer; hint: wake the store",
        ),
        (
            variables(),
            "{{aws_secretsmanager `a` `b` `c`}}",
            "1:3: `aws_secretsmanager`: it takes a name and at most one key, not 3 texts",
        ),
        (variables(), "{{user `nothing`}}", "1:3: `user`: the variable `nothing` has no value"),
        (
            variables(),
            "{{build_name}}",
            "1:3: `build_name`: there is no build here; hint: they can be used in builders, provisioners and post-processors",
        ),
        (
            variables(),
            "{{build `ID`}}",
            "1:3: `build`: nothing of the machine is known here; hint: it can be used in provisioners and post-processors",
        ),
        (
            no_user.clone(),
            "{{user `x`}}",
            "1:3: `user`: there are no user variables here; hint: templates in HCL write `${var.NAME}`",
        ),
        (component(), "{{build `Id`}}", "1:3: `build`: the builder gives no value `Id`"),
        (known, "{{build `ID`}}", "1:3: `build`: the builder gives no value `ID`"),
        (
            elsewhere(),
            "{{sed `s/a/b/` `a`}}",
            "1:3: `sed`: this function was removed from Packer; hint: use `replace` or `replace_all`",
        ),
        (elsewhere(), "{{isotime `a` `b`}}", "1:3: `isotime`: it takes one layout at most, not 2"),
        (
            elsewhere(),
            "{{split `a` `,` 1}}",
            "1:3: `split`: there is no part 1: `,` makes 1 part of the text",
        ),
        (
            elsewhere(),
            "{{split `a,b` `,` -1}}",
            "1:3: `split`: there is no part -1: `,` makes 2 parts of the text",
        ),
        (
            elsewhere(),
            "{{timstamp}}",
            "1:3: there is no function `timstamp`; hint: did you mean `timestamp`?",
        ),
        (
            elsewhere(),
            "{{github}}",
            "1:3: there is no function `github`; hint: text with `{{` that is no template is written `{{\"{{\"}}`",
        ),
        (
            elsewhere(),
            "{{clean_resource_name `a`}}",
            "1:3: there is no function `clean_resource_name`; hint: `clean_resource_name` is there in builders for Amazon, Azure and Google",
        ),
    ] {
        assert_eq!(render(context, source), Err(expected.to_owned()), "{source}");
    }
    let mut folderless = no_user;
    folderless.run.template_folder = None;
    let expected =
        "1:3: `template_dir`: the template is not in a folder; hint: templates in HCL write `${path.root}`";
    assert_eq!(render(folderless, "{{template_dir}}"), Err(expected.to_owned()));
}

#[test]
fn what_was_asked_for_is_told() {
    let mut renderer = Renderer::new(context(Place::Variables));
    let source =
        "{{env `HOME`}}{{env `UNSET`}}{{user `x`}}{{timestamp}}{{pwd}}{{vault `secret/db` `password`}}";
    let reads = renderer.render(source).expect("it renders").reads;
    assert_eq!(
        reads.environment,
        [("HOME".to_owned(), Some("/home/ada".to_owned())), ("UNSET".to_owned(), None)].into()
    );
    assert_eq!(reads.user, ["x".to_owned()].into());
    let vault = SecretRequest::Vault { path: "secret/db".to_owned(), key: "password".to_owned() };
    assert_eq!(reads.secrets, [vault].into());
    assert!(reads.clock && reads.folder && !reads.random);
    let next = renderer.render("{{uuid}}").expect("it renders").reads;
    assert!(next.random && next.environment.is_empty());
}

#[test]
fn fields_that_nothing_gives_are_told() {
    let mut renderer = Renderer::new(component());
    let output = renderer.render("{{ .Vars }}{{with `a`}}{{.}}{{end}}").expect("it renders");
    assert_eq!(output.text, Rendered::Text("<no value>a".to_owned()));
    assert_eq!(output.unknown_fields[0].0, ".Vars");
}

/// Expressions whose result does not depend on the time.
const EXPRESSIONS: [&str; 40] = [
    "{{upper `straße ǆ é`}}",
    "{{lower `ÀÉ ΟΔΟΣ`}}",
    "{{split `a-b-c` `-` 2}}",
    "{{split `abc` `` 1}}",
    "{{split `a-b` `-` 7}}",
    "{{split `a` `-` `0`}}",
    "{{replace `a` `b` 1 `aaa`}}",
    "{{replace `a` `b` -1 `aaa`}}",
    "{{replace `a` `b` 0 `aaa`}}",
    "{{replace `` `-` -1 `aéa`}}",
    "{{replace `` `-` 2 `aéa`}}",
    "{{replace_all `a` `` `banana`}}",
    "{{replace_all `` `.` `ab`}}",
    "{{`x-y` | replace_all `-` `_` | upper}}",
    "{{user `x`}}{{user `y`}}",
    "{{user `nested`}}",
    "{{user `none`}}|",
    "{{user 1}}",
    "{{user}}",
    "{{user `x` | len}}",
    "{{if user `x`}}yes{{else}}no{{end}}",
    "{{if eq (user `x`) `one`}}yes{{end}}",
    "{{range $i, $e := (slice `abc`)}}{{$i}}{{end}}",
    "{{printf `%q %5.2f %x` `a` 1.5 255}}",
    "{{with user `x`}}[{{.}}]{{end}}",
    "{{env `HOME`}}",
    "{{build_name}}",
    "{{build `ID`}}",
    "{{vault `a` `b`}}",
    "{{consul_key `a`}}",
    "{{isotime `Monday` `x`}}",
    "{{isotime 3}}",
    "{{nosuch}}",
    "{{.Name}}",
    "{{ .Name | upper }}",
    "{{define `t`}}<{{.}}>{{end}}{{template `t` `v`}}",
    "{{- /* nothing */ -}} x",
    "{{`{{`}}",
    "{{print 1 2 `a` `b` 3}}",
    "{{html `<a>`}}{{urlquery `a b`}}{{js `'`}}",
];

#[test]
fn the_console_of_packer_agrees() {
    if packer().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let template = folder.path().join("t.json");
    fs_err::write(
        &template,
        r#"{"variables":{"x":"one","y":"two","nested":"<{{user `x`}}>"},"builders":[{"type":"null","communicator":"none"}]}"#,
    )
    .expect("a template");
    for expression in EXPRESSIONS {
        let mut command = packer().expect("it was there");
        command.args(["console", "t.json"]).current_dir(folder.path());
        let theirs = with_input(&mut command, expression).trim_end().to_owned();
        let theirs = (!theirs.contains("Interpolation error")).then_some(theirs);
        let user = [("x", "one"), ("y", "two"), ("nested", "<one>")];
        let user = user.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let context = Context { user: Some(user), ..context(Place::Elsewhere) };
        let ours = match until_stable(&context, expression) {
            Ok(Rendered::Text(text)) => Ok(text.trim_end().to_owned()),
            Ok(Rendered::Template(text)) => panic!("{expression}: {text}"),
            Err(error) => Err(error),
        };
        assert_eq!(ours.as_ref().ok(), theirs.as_ref(), "{expression}: {ours:?}");
    }
}

/// The console renders its result until it does not change.
fn until_stable(context: &Context, expression: &str) -> Result<Rendered, String> {
    let mut text = expression.to_owned();
    loop {
        match render(context.clone(), &text)? {
            Rendered::Text(next) if next != text => text = next,
            stable => return Ok(stable),
        }
    }
}
