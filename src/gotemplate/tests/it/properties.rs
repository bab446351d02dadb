//! Whatever the text is: no panic, bounded work, and what partial rendering leaves means the same.

use imgbuild_gotemplate::{Function, Functions, Limits, Options, Param, Rendered, Template, Value};
use proptest::prelude::*;

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "{",
        "}",
        "x",
        " ",
        "\n",
        "é",
        "if ",
        "else",
        "end",
        "range ",
        "with ",
        "define ",
        "template ",
        "block ",
        "break",
        "continue",
        "$x",
        "$",
        " := ",
        " = ",
        ", ",
        "|",
        "(",
        ")",
        ".",
        ".Vars",
        ".Name",
        ".List",
        ".Nope",
        "`t`",
        "\"q\"",
        "'c'",
        "1",
        "-2",
        "1.5e3",
        "0x",
        "nil",
        "true",
        "print ",
        "printf `%v%5.2f%[1]x%*d` ",
        "index ",
        "slice ",
        "len ",
        "eq ",
        "and ",
        "or ",
        "not ",
        "user `u`",
        "late",
        "/*",
        "*/",
        "{{end}}",
        "{{if .Vars}}",
        "{{range .List}}",
        "{{$x := 1}}",
        "{{$x}}",
        "{{.Vars}}",
        "{{.Name}}",
        "{{`{`}}",
        "{{else}}",
        "{{define `t`}}",
        "{{template `t` .}}",
        "{{late | print .Name}}",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn functions(late: bool) -> Functions {
    let body = if late { Function::late([]) } else { Function::new([], |_| Ok("L".into())) };
    Functions::new()
        .with(
            "user",
            Function::new([Param::String], |a| Ok(format!("u{}", a[0].as_str().unwrap_or("")).into())),
        )
        .with("late", body)
}

fn data(late: bool) -> Value {
    let vars = if late { Value::Late } else { "V=1".into() };
    Value::map([("Vars", vars), ("Name", "na{{me".into()), ("List", Value::list(["a", "b"]))])
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(3000), failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_parsed_and_rendered_without_panic(source in "\\PC*") {
        exercise(&source)?;
    }

    #[test]
    fn any_mixture_of_pieces_is_parsed_and_rendered_without_panic(source in pieces()) {
        exercise(&source)?;
    }
}

fn exercise(source: &str) -> Result<(), TestCaseError> {
    let options =
        Options { limits: Limits { steps: 10_000, output: 100_000, depth: 50 }, ..Options::default() };
    let template = match Template::parse(source, &functions(true)) {
        Ok(template) => template,
        Err(error) => {
            prop_assert!(error.span.start <= error.span.end && error.span.end <= source.len());
            return Ok(());
        }
    };
    let _ = template.uses();
    let whole = template.render(&functions(false), &data(false), &options);
    let partial = template.render_partial(&functions(true), &data(true), &options);
    let later = match &partial {
        Ok(Rendered::Text(text)) => Ok(text.clone()),
        Ok(Rendered::Template(rest)) => {
            let rest = Template::parse(rest, &functions(false))
                .map_err(|error| TestCaseError::fail(format!("{source:?} left {rest:?}: {error}")))?;
            rest.render(&functions(false), &data(false), &options)
        }
        Err(error) => Err(error.clone()),
    };
    if let (Ok(whole), Ok(later)) = (&whole, &later) {
        prop_assert_eq!(whole, later, "{:?}", partial);
    }
    prop_assert!(whole.is_err() || later.is_ok(), "{whole:?} {later:?} {partial:?}");
    Ok(())
}
