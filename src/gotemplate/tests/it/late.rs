//! What a template refers to, and rendering what is known.

use imgbuild_gotemplate::{ErrorKind, Function, Functions, Options, Param, Rendered, Template, Value};

fn functions() -> Functions {
    crate::go::functions().with("build", Function::late([Param::String]))
}

fn data() -> Value {
    Value::map([
        ("Vars", Value::Late),
        ("Path", Value::Late),
        ("Name", "web".into()),
        ("Inner", Value::map([("Late", Value::Late), ("Known", "k".into())])),
        ("List", Value::list(["a", "b"])),
    ])
}

fn partial(source: &str) -> Rendered {
    let functions = functions();
    let template = Template::parse(source, &functions).expect("it parses");
    template.render_partial(&functions, &data(), &Options::default()).expect("it renders")
}

fn template(source: &str) -> String {
    match partial(source) {
        Rendered::Template(text) => text,
        Rendered::Text(text) => panic!("`{source}` is known: {text}"),
    }
}

#[test]
fn what_is_known_is_rendered_and_the_rest_is_left() {
    for (source, expected) in [
        ("{{user `x`}} {{.Vars}}", "<x> {{.Vars}}"),
        ("chmod +x {{ .Path }}; {{ .Vars }} {{.Path}}", "chmod +x {{.Path}}; {{.Vars}} {{.Path}}"),
        ("{{build `ID`}}-{{.Name}}", "{{build \"ID\"}}-web"),
        ("{{printf `%s-%s` .Name .Vars}}", "{{printf \"%s-%s\" \"web\" .Vars}}"),
        ("{{user `a` | printf `%s %s` .Vars}}", "{{\"<a>\" | printf \"%s %s\" .Vars}}"),
        ("{{.Vars | printf `%s %s` (user `a`)}}", "{{.Vars | printf \"%s %s\" \"<a>\"}}"),
        (
            "{{if .Vars}}{{user `a`}}{{else}}{{.Name}}{{end}}",
            "{{if .Vars}}{{\"<a>\"}}{{else}}{{\"web\"}}{{end}}",
        ),
        ("{{if .Name}}{{.Vars}}{{else}}{{.Path}}{{end}}", "{{.Vars}}"),
        ("{{if eq .Name `x`}}{{.Vars}}{{else if .Name}}a{{.Path}}{{end}}", "a{{.Path}}"),
        ("{{range .List}}{{.}}{{end}}{{.Vars}}", "ab{{.Vars}}"),
        ("{{range .List}}{{.}}{{$.Vars}}{{end}}", "{{range .List}}{{.}}{{$.Vars}}{{end}}"),
        ("{{with .Inner}}{{.Known}}{{end}}", "{{with .Inner}}{{.Known}}{{end}}"),
        ("{{.Inner.Known}}{{.Inner.Late}}", "k{{.Inner.Late}}"),
        ("{{$x := .Vars}}{{$y := .Name}}{{$x}}{{$y}}", "{{$x := .Vars}}{{$x}}web"),
        ("{{$y := .Name}}{{print .Vars $y}}{{$y}}", "{{$y := \"web\"}}{{print .Vars $y}}{{$y}}"),
        ("{{$y := 1}}{{if .Vars}}{{$y = 2}}{{end}}{{$y}}", "{{$y := 1}}{{if .Vars}}{{$y = 2}}{{end}}{{$y}}"),
        (
            "{{define `t`}}[{{.}}]{{end}}{{template `t` .Vars}}",
            "{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .Vars}}",
        ),
        (
            "{{define `t`}}{{build `ID`}}{{end}}{{template `t`}}",
            "{{define \"t\"}}{{build \"ID\"}}{{end}}{{template \"t\" }}",
        ),
        ("{{.}}{{.Name}}", "{{.}}web"),
        ("{{print (.Inner).Late -1 1.5 true nil}}", "{{print (.Inner).Late -1 1.5e0 true nil}}"),
        ("{{user (printf `%s` .Vars) | print 'a'}}", "{{user (printf \"%s\" .Vars) | print 97}}"),
    ] {
        assert_eq!(template(source), expected, "{source}");
    }
}

#[test]
fn a_long_chain_of_variables_is_followed() {
    let count = 3000;
    let declared: String = (0..=count).map(|at| format!("{{{{$v{at} := 1}}}}")).collect();
    let assigned: String = (0..count).map(|at| format!("{{{{$v{at} = $v{}}}}}", at + 1)).collect();
    let source = format!("{declared}{assigned}{{{{$v{count} = .Vars}}}}{{{{$v0}}}}{{{{.Name}}}}");
    let left = template(&source);
    assert!(left.starts_with("{{$v0 := 1}}") && left.ends_with("{{$v0}}web"));
}

#[test]
fn without_anything_late_it_is_text() {
    assert_eq!(partial("{{user `x`}}{{`{{`}}{{.Name}}"), Rendered::Text("<x>{{web".to_owned()));
    assert_eq!(partial("{{if false}}{{.Vars}}{{end}}x"), Rendered::Text("x".to_owned()));
}

#[test]
fn braces_of_known_text_stay_text() {
    let functions = functions();
    let known = Value::map([("Vars", "V")]);
    for source in [
        "{{`{{`}}{{.Vars}}",
        "{{`{`}}{{.Vars}}",
        "{{`{`}}{ {{.Vars}}",
        "{{{`a`}}{{`{`}}{{`{`}}{{`{`}}{{.Vars}}}}",
        "{{.Vars}}{{`{{.Vars}}`}}",
        "{{`{{- x`}}{{.Vars -}}  {{`{`}}",
    ]
    .into_iter()
    .filter(|source| Template::parse(source, &functions).is_ok())
    {
        let whole = Template::parse(source, &functions).expect("it parses");
        let whole = whole.render(&functions, &known, &Options::default()).expect("it renders");
        let rest = template(source);
        let rest = Template::parse(&rest, &functions).unwrap_or_else(|error| panic!("{rest}: {error}"));
        assert_eq!(
            rest.render(&functions, &known, &Options::default()).expect("it renders"),
            whole,
            "{source}"
        );
    }
}

#[test]
fn what_is_late_fails_when_it_is_rendered_whole() {
    let functions = functions();
    for (source, name) in [("{{.Vars}}", ".Vars"), ("{{build `ID`}}", "build"), ("{{.Inner.Late.x}}", ".x")] {
        let template = Template::parse(source, &functions).expect("it parses");
        let error = template.render(&functions, &data(), &Options::default()).expect_err("it is late");
        assert_eq!(error.kind, ErrorKind::Late(name.to_owned()), "{source}");
    }
}

#[test]
fn uses_are_found_with_constant_arguments() {
    let template = Template::parse_any(
        "{{user `x`}}{{if .A.B}}{{`y` | user}}{{end}}{{range .L}}{{.I}}{{$.R}}{{end}}{{user .V}}{{print .}}{{(user (`z`)).f}}",
    )
    .expect("it parses");
    let uses = template.uses();
    let calls: Vec<_> =
        uses.functions.iter().map(|call| (&*call.name, call.arguments.first().cloned().flatten())).collect();
    assert_eq!(
        calls,
        [
            ("user", Some("x".into())),
            ("user", Some("y".into())),
            ("user", None),
            ("print", None),
            ("user", Some("z".into())),
        ]
    );
    let fields: Vec<_> = uses.fields.iter().map(|field| (field.path.join("."), field.inner)).collect();
    let expected = [("A.B", false), ("L", false), ("I", true), ("R", false), ("V", false)];
    assert_eq!(fields, expected.map(|(path, inner)| (path.to_owned(), inner)));
    assert_eq!(uses.whole_data.len(), 1);
    assert_eq!(template.constant(), None);
    assert_eq!(Template::parse_any("a{{/* b */}}c").expect("it parses").constant().as_deref(), Some("ac"));
}

#[test]
fn flat_templates_only_print() {
    for (source, flat) in [
        ("text", true),
        ("a{{user `x` | printf `%s`}}{{.Vars}}", true),
        ("{{if .X}}a{{end}}", false),
        ("{{range .X}}a{{end}}", false),
        ("{{$x := 1}}", false),
        ("{{define `t`}}{{end}}", false),
        ("{{template `t`}}", false),
    ] {
        let template = Template::parse_any(source).expect("it parses");
        assert_eq!(template.is_flat(), flat, "{source}");
    }
}
