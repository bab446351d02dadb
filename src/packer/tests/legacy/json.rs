//! JSON with places.

use imgbuild_gotemplate::Span;
use imgbuild_packer::json::{Document, Value};
use proptest::prelude::*;

fn error(text: &str) -> String {
    match Document::parse("t.json", text) {
        Ok((_, duplicates)) => duplicates.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(diagnostic) => diagnostic.to_string(),
    }
}

#[test]
fn errors_say_where() {
    for (text, expected) in [
        ("", "t.json:1:1: expected a value, found the end of the file"),
        (
            "{\n  \"a\": 1,\n}",
            "t.json:3:1: expected a name in double quotes, found `}`; hint: remove the comma before it",
        ),
        ("[1, 2,]", "t.json:1:7: expected a value, found `]`; hint: remove the comma before it"),
        ("{\"a\" 1}", "t.json:1:6: expected `:`, found `1`"),
        ("{\"a\": 1 \"b\": 2}", "t.json:1:9: expected `,` or `}`, found `\"`"),
        ("[1 2]", "t.json:1:4: expected `,` or `]`, found `2`"),
        ("{} x", "t.json:1:4: expected the end of the file, found `x`"),
        (
            "// a\n{}",
            "t.json:1:1: expected a value, found `/`; hint: JSON has no comments; at the top of a template a name that begins with `_` is one",
        ),
        (
            "{'a': 1}",
            "t.json:1:2: expected a name in double quotes, found `'`; hint: strings stand in double quotes",
        ),
        (
            "[\"a\nb\"]",
            "t.json:1:4: `\\n` cannot stand in a string; hint: write a line break as `\\n` and a tab as `\\t`, or use a list of lines",
        ),
        (
            "[\"C:\\Windows\"]",
            "t.json:1:5: there is no such escape sequence; hint: write a backslash as `\\\\`",
        ),
        ("[\"é\", \"a", "t.json:1:7: the string is not closed: `\"` is missing"),
        ("[-]", "t.json:1:3: expected a digit, found `]`"),
        ("[01]", "t.json:1:3: expected `,` or `]`, found `1`"),
        ("[1e999]", "t.json:1:2: the number `1e999` is too large"),
        ("[nul]", "t.json:1:2: expected a value, found `n`"),
        (
            "{\"a\": 1, \"b\": {\"a\": 2,\n \"a\": 3}}",
            "t.json:2:2: `a` is given twice; the first is here (t.json:1:16); hint: remove one of the two",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(error(&deep), "t.json:1:202: values are nested more than 200 deep");
}

#[test]
fn errors_are_told_up_to_a_number() {
    let text = format!("{{{}\"a\": 1}}", "\"a\": 1, ".repeat(50_000));
    let (_, diagnostics) = Document::parse("t.json", &text).expect("it is JSON");
    assert_eq!(diagnostics.len(), 100);
}

#[test]
fn places_inside_of_strings_count_escapes() {
    let text = r#"{"a": "x\n\u00e9\ud83d\ude00 here"}"#;
    let (document, _) = Document::parse("t.json", text).expect("it is JSON");
    let Value::Object(members) = &document.root.value else { panic!("an object") };
    let value = members[0].value.as_str().expect("a string");
    let start = value.find("here").expect("it is there");
    let inner = Span { start, end: start + 4 };
    let location = document.source().inside_string(members[0].value.span, inner);
    let column = u32::try_from(text.find("here").expect("it is there")).expect("short") + 1;
    assert_eq!((location.column, location.end_column), (column, column + 4));
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(|number| f64::from(number).into()),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|entries| entries.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_is_read_back(value in value()) {
        let text = serde_json::to_string_pretty(&value).expect("it can be written");
        let (document, duplicates) = Document::parse("t.json", &text).expect("it is JSON");
        prop_assert_eq!(document.root.plain(), value);
        prop_assert!(duplicates.is_empty());
    }

    #[test]
    fn what_is_accepted_is_json(text in r#"[\[\]{},:"\\u0-9a-f \-+.eEtrunlsé]{0,20}"#) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        let ours = Document::parse("t.json", &text);
        // Half of a pair of surrogates is an error there, and a replacement character here, as in Go.
        let lone = theirs.as_ref().is_err_and(|error| error.to_string().contains("surrogate"));
        prop_assert!(lone || theirs.is_ok() == ours.is_ok(), "{:?} {:?}", theirs, ours);
    }
}
