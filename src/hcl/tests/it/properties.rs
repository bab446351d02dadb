//! What holds for any text, shown on generated and on damaged ones.

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::format::format;
use imgbuild_hcl::syntax::{self, Body, Source, Start, TokenKind, tokens};
use imgbuild_hcl::value::{Mark, Number, Type, Value, convert, from_json, quote, to_json};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support;
use crate::tables;

/// Something of every kind of token.
const PIECES: [&str; 58] = [
    "a",
    "bb",
    "for",
    "in",
    "if",
    "true",
    "null",
    "é",
    "=",
    "==",
    "=>",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    ".",
    "...",
    ":",
    "::",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "&&",
    "||",
    "<",
    ">=",
    "1",
    "2.5e3",
    "\"x\"",
    "\"${a}\"",
    "\"%{ if a }b%{ else }c%{ endif }\"",
    "\"",
    "${",
    "%{",
    "~}",
    "<<E\nx ${a}\nE\n",
    "<<-E\n  x\n  E\n",
    "<<E",
    "# c\n",
    "// d\n",
    "/* e */",
    "/*",
    "\n",
    "\n",
    "\r\n",
    " ",
    "\t",
    "$",
    "'",
    ";",
    "\u{feff}",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&PIECES[..]), 0..40).prop_map(|pieces| pieces.concat())
}

fn kinds(text: &str) -> Vec<(TokenKind, &str)> {
    tokens(text, Start::Main)
        .into_iter()
        .map(|token| (token.kind, &text[token.span.start as usize..token.span.end as usize]))
        .collect()
}

/// Reads a text in every way there is, and evaluates what comes out.
fn exercise(text: &str) {
    let scope = support::scope();
    let source = Source::new("x", text);
    let file = syntax::parse_source(&source);
    evaluate(&file.body, &scope);
    evaluate(&file.body.expand(&scope).body, &scope);
    for read in [syntax::parse_expression, syntax::parse_template] {
        if let Ok(expression) = read(&source) {
            let _ = expression.evaluate(&scope).map(|value| value.to_string());
            let _ = syntax::parse_type(&expression);
            let _ = imgbuild_hcl::eval::references(&expression);
        }
    }
    evaluate(&syntax::parse_json("x", text).body.content(&[("b", 0), ("l", 1)]).body, &scope);
    let _ = from_json(text);
    let _ = format(text);
}

fn evaluate(body: &Body, scope: &Scope<'_>) {
    for attribute in &body.attributes {
        let _ = attribute.expr.evaluate(scope).map(|value| to_json(&value));
    }
    for block in &body.blocks {
        evaluate(&block.body, scope);
    }
}

/// A known value without sets, whose JSON loses something.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::bool),
        any::<i64>().prop_map(Value::int),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| Value::number(Number::parse(&number.to_string()).unwrap())),
        any::<String>().prop_map(Value::string),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::tuple),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(Value::object_of),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_layout_changes_nothing_but_spaces(text in text()) {
        let formatted = format(&text);
        if syntax::parse("x", &text).errors.is_empty() {
            prop_assert_eq!(kinds(text.trim_start_matches('\u{feff}')), kinds(&formatted));
            prop_assert_eq!(format(&formatted), formatted);
        }
    }

    #[test]
    fn nothing_panics_on_pieces(text in text()) {
        exercise(&text);
    }

    #[test]
    fn nothing_panics_on_damaged_programs(
        program in any::<Index>(),
        cuts in prop::collection::vec((any::<Index>(), 0usize..4, select(&PIECES[..])), 1..5),
    ) {
        let programs = tables::programs();
        let mut text = program.get(programs).1.clone();
        for (at, length, piece) in cuts {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((start + length).min(text.len())).max(start);
            text.replace_range(start..end, piece);
        }
        exercise(&text);
    }

    #[test]
    fn every_place_of_an_error_is_in_the_text(text in text()) {
        let lines = text.split('\n').count() as u32;
        for error in syntax::parse("x", &text).errors {
            let location = error.location.unwrap();
            prop_assert!((1..=lines).contains(&location.line) && (location.line..=lines).contains(&location.end_line));
        }
    }

    #[test]
    fn numbers_survive_their_text(digits in "-?[0-9]{1,40}(\\.[0-9]{1,40})?(e-?[0-9]{1,3})?") {
        let number = Number::parse(&digits).unwrap();
        prop_assert_eq!(Number::parse(&number.to_string()).unwrap(), number);
    }

    #[test]
    fn machine_numbers_keep_their_value(number in any::<f64>().prop_filter("no NaN", |number| !number.is_nan())) {
        prop_assert_eq!(Number::from_f64(number).unwrap().to_f64(), number);
    }

    #[test]
    fn sums_and_products_of_integers_are_exact(a in any::<i64>(), b in any::<i64>()) {
        let (x, y) = (Number::from(a), Number::from(b));
        let (a, b) = (i128::from(a), i128::from(b));
        prop_assert_eq!(x.mul(&y).unwrap(), Number::parse(&(a * b).to_string()).unwrap());
        let sum = Number::parse(&a.to_string()).unwrap().add(&y).unwrap();
        prop_assert_eq!(sum.to_string(), (a + b).to_string());
        if b != 0 {
            let remainder = Number::parse(&a.to_string()).unwrap().rem(&y).unwrap();
            prop_assert_eq!(remainder, Number::parse(&(a % b).to_string()).unwrap());
        }
    }

    #[test]
    fn values_survive_json(value in value()) {
        prop_assert_eq!(from_json(&to_json(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn values_survive_being_written_and_evaluated(value in value()) {
        let source = Source::new("x", value.to_string());
        let read = syntax::parse_expression(&source).unwrap().evaluate(&Scope::new()).unwrap();
        prop_assert_eq!(read, value);
    }

    #[test]
    fn marks_survive_being_taken_off(value in value(), places in prop::collection::vec(any::<bool>(), 40)) {
        let mut places = places.into_iter().cycle();
        let marked = value.map_leaves(&mut |leaf| {
            if places.next() == Some(true) { leaf.clone().mark(Mark::SENSITIVE) } else { leaf.clone() }
        });
        let (plain, marks) = marked.clone().unmark_with_paths();
        prop_assert_eq!(&plain, &value);
        prop_assert!(!plain.is_sensitive());
        prop_assert_eq!(marks.is_empty(), !marked.is_sensitive());
        prop_assert_eq!(plain.mark_with_paths(&marks), marked);
    }

    #[test]
    fn quoted_text_evaluates_to_itself(text in any::<String>()) {
        let source = Source::new("x", quote(&text));
        let read = syntax::parse_expression(&source).unwrap().evaluate(&Scope::new()).unwrap();
        prop_assert_eq!(read, Value::string(&text));
    }

    #[test]
    fn primitives_survive_a_conversion_to_text(value in value()) {
        if value.ty().is_primitive() {
            let text = convert(&value, &Type::String).unwrap();
            prop_assert_eq!(convert(&text, value.ty()).unwrap(), value);
        }
    }

    #[test]
    fn a_conversion_gives_the_type_that_was_asked_for(value in value()) {
        for ty in [Type::String, Type::list(Type::String), Type::map(Type::Dynamic), Type::set(Type::Number)] {
            if let Ok(converted) = convert(&value, &ty) {
                prop_assert!(converted.ty() == &ty || ty.has_dynamic());
                prop_assert_eq!(&convert(&converted, &ty).unwrap(), &converted);
            }
        }
    }
}
