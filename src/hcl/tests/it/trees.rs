//! What a program can ask of trees without evaluating them.

use imgbuild_hcl::eval::{Scope, references};
use imgbuild_hcl::syntax::{self, Source, Traversal, TraversalStep, parse_expression, parse_json};
use imgbuild_hcl::value::Value;

fn written(reference: &Traversal) -> String {
    reference.steps.iter().fold(reference.root.name.to_string(), |text, step| match step {
        TraversalStep::Name(name) => format!("{text}.{name}"),
        TraversalStep::Index(index) => format!("{text}[{index}]"),
    })
}

fn found(text: &str) -> String {
    let expression = parse_expression(&Source::new("x", text)).unwrap();
    references(&expression).iter().map(written).collect::<Vec<_>>().join(" ")
}

#[test]
fn references_are_names_from_outside_with_their_constant_steps() {
    let table = [
        ("1", ""),
        ("a", "a"),
        ("a.b.c", "a.b.c"),
        ("a.b[0][\"c\"].d", "a.b[0].c.d"),
        ("a[b.c].d", "a b.c"),
        ("a.0.b", "a[0].b"),
        ("a.b[*].c", "a.b"),
        ("a.*.c[d]", "a d"),
        ("f(a.b, [c, {d = e, (g) = h}])", "a.b c e g h"),
        ("\"x${a.b}%{ if c }${d}%{ else }${e}%{ endif }\"", "a.b c d e"),
        ("\"%{ for v in a.b }${v.x}${c}%{ endfor }\"", "a.b c"),
        ("[for k, v in a : \"${k}${v}${b}\" if c.d]", "a b c.d"),
        ("{for v in v : v.a => w...}", "v w"),
        ("[for a in a.b : [for b in a : a + b + c]]", "a.b c"),
        ("a ? b : -c + !d", "a b c d"),
        ("(a).b", "a"),
        ("<<E\n${a.b}\nE\n", "a.b"),
        ("try(a.b.c, var.d)", "a.b.c var.d"),
        ("{a = 1, \"b\" = 2}", ""),
    ];
    for (text, expected) in table {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn references_know_where_they_stand() {
    let source = Source::new("x", "1 + var.name[0].x[n]");
    let expression = parse_expression(&source).unwrap();
    let spans: Vec<&str> =
        references(&expression).iter().map(|reference| source.slice(reference.span)).collect();
    assert_eq!(spans, ["var.name[0].x", "n"]);
}

#[test]
fn expressions_can_be_read_as_what_is_written() {
    let read = |text: &str| parse_expression(&Source::new("x", text)).unwrap();
    assert_eq!(read("null").as_keyword(), Some("null"));
    assert_eq!(read("a").as_keyword(), Some("a"));
    assert_eq!(read("(a)").as_keyword(), None);
    assert_eq!(read("\"a\\n\"").as_text().as_deref(), Some("a\n"));
    assert_eq!(read("\"${a}\"").as_text(), None);
    assert_eq!(read("\"a${a}\"").as_text(), None);
    assert_eq!(read("[a, 1]").elements().unwrap().len(), 2);
    assert!(read("a").elements().is_none());
    let items = read("{a = 1, \"b\" = 2, (c) = 3}").items().unwrap();
    let keys: Vec<Option<String>> = items.iter().map(|(key, _)| key.as_text()).collect();
    assert_eq!(keys, [Some("a".to_owned()), Some("b".to_owned()), None]);
    assert_eq!(written(&read("a.b[\"c\"]").as_traversal().unwrap()), "a.b.c");
    assert!(read("a[b]").as_traversal().is_none());
    assert!(read("f(a)").as_traversal().is_none());
}

#[test]
fn every_node_of_json_knows_its_place() {
    let text = "{\n  \"a\": \"x\\n${s +\\t\\\"y\\\"}\",\n  \"b\": [\"${no}\"]\n}\n";
    let file = parse_json("x.pkr.json", text).into_result().unwrap();
    let errors: Vec<String> = file
        .body
        .attributes
        .iter()
        .map(|attribute| attribute.expr.evaluate(&crate::support::scope()).unwrap_err().to_string())
        .collect();
    assert_eq!(errors[1], "x.pkr.json:3:12: there is no variable named `no`; hint: did you mean `eo`?");
    let mut lines = errors[0].lines();
    assert_eq!(
        lines.next(),
        Some("x.pkr.json:2:14: the left operand must be a number, and this text is none"),
    );
    assert_eq!(
        lines.next(),
        Some("x.pkr.json:2:19: the right operand must be a number, and this text is none"),
    );
}

#[test]
fn json_values_can_be_had_without_their_templates() {
    let file = parse_json("x", r#"{"a": ["${", {"b": 1.5}]}"#).into_result().unwrap();
    let attribute = file.body.attribute("a").unwrap();
    assert!(attribute.expr.evaluate(&Scope::new()).is_err());
    let value = attribute.expr.json_value().unwrap();
    assert_eq!(value.to_string(), r#"["$${", {b = 1.5}]"#);
    let native = syntax::parse("x", "a = 1\n").into_result().unwrap();
    assert_eq!(native.body.attribute("a").unwrap().expr.json_value(), None);
}

#[test]
fn all_errors_of_a_file_are_found_and_what_is_right_is_kept() {
    let text = "a = 1\nb = = 2\nc {\n  d = [1\n  e = 2\n}\nf \"g\" {\n  h = 'x'\n  i = 3\n}\nj = 4\nk = @\n";
    let file = syntax::parse("x", text);
    let places: Vec<String> =
        file.errors.iter().map(|error| error.location.clone().unwrap().to_string()).collect();
    assert_eq!(places, ["x:2:5", "x:5:3", "x:8:7", "x:12:5"]);
    let scope = Scope::new();
    let value =
        |name: &str| file.body.attribute(name).map(|attribute| attribute.expr.evaluate(&scope).unwrap());
    assert_eq!(value("a"), Some(Value::int(1)));
    assert_eq!(value("j"), Some(Value::int(4)));
    assert_eq!(value("b"), None);
    let block = file.body.blocks_of("f").next().unwrap();
    assert!(block.body.attribute("i").is_some());
}

#[test]
fn what_is_nested_too_deep_is_refused_however_deep() {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let kinds = [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{a=", "1", "}"),
        ("!", "true", ""),
        ("f(", "1", ")"),
        ("true ? 1 : ", "2", ""),
        ("\"${", "1", "}\""),
        ("[for x in [] : ", "1", "]"),
        ("a[", "1", "]"),
    ];
    for (open, inner, close) in kinds {
        let just = nested(open, inner, close, 62);
        let _ = parse_expression(&Source::new("x", just)).unwrap().evaluate(&crate::support::scope());
        for depth in [250, 50_000] {
            let source = Source::new("x", nested(open, inner, close, depth));
            let errors = parse_expression(&source).unwrap_err();
            assert_eq!(errors.0[0].message, "this is nested more than 128 deep", "{open}");
        }
    }
    let blocks = syntax::parse("x", &nested("b {\n", "", "}\n", 50_000));
    assert_eq!(blocks.errors[0].message, "this is nested more than 128 deep");
    let json = parse_json("x", &nested("[", "", "]", 50_000));
    assert_eq!(json.errors[0].message, "values are nested more than 256 deep");
    let directives = nested("%{ if true }", "", "%{ endif }", 50_000);
    let errors = syntax::parse_template(&Source::new("x", directives)).unwrap_err();
    assert_eq!(errors.0[0].message, "this is nested more than 128 deep");
}

#[test]
fn long_chains_are_not_deep() {
    for (first, more) in [("1", " + 1"), ("true", " && true"), ("a", ".b"), ("a", "[*]")] {
        let source = Source::new("x", format!("{first}{}", more.repeat(20_000)));
        let expression = parse_expression(&source);
        if more == "[*]" {
            assert_eq!(expression.unwrap_err().0[0].message, "this is nested more than 128 deep");
        } else {
            let _ = expression.unwrap().evaluate(&Scope::new());
        }
    }
}

#[test]
fn errors_are_told_up_to_a_number() {
    let file = syntax::parse("x", &"a = = 1\n".repeat(100_000));
    assert_eq!(file.errors.len(), 100);
    let list = format!("[{}]", "missing, ".repeat(100_000));
    let errors = parse_expression(&Source::new("x", list)).unwrap().evaluate(&Scope::new()).unwrap_err();
    assert_eq!(errors.0.len(), 100);
}
