//! What a text can ask for is bounded: steps, sizes, depths. Most of these were found by fuzzing.

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::format::format;
use imgbuild_hcl::syntax::{self, Source, parse_expression};
use imgbuild_hcl::value::{Number, NumberError, Type, Value};

use crate::support;

fn evaluated(text: &str, scope: &Scope<'_>) -> Result<Value, String> {
    let expression = parse_expression(&Source::new("x", text)).unwrap();
    expression.evaluate(scope).map_err(|errors| errors.0[0].message.clone())
}

fn error(text: &str) -> String {
    evaluated(text, &support::scope()).unwrap_err()
}

#[test]
fn exponents_of_any_size_are_read() {
    for text in ["1.5e-9223372036854775808", "1e9223372036854775807", "1p-9223372036854775808"] {
        assert_eq!(Number::parse(text), Err(NumberError::Range), "{text}");
    }
    assert_eq!(Number::parse(&"9".repeat(5_000_000)), Err(NumberError::Range));
}

#[test]
fn steps_are_bounded() {
    let list = format!("[{}]", "1, ".repeat(500));
    let cubic = format!("[for a in {list} : [for b in {list} : [for c in {list} : c]]]");
    let condition = |inner: &str| format!("[for a in [1] : a if {inner} != []]");
    let doubling = (0..50).fold("[]".to_owned(), |inner, _| condition(&inner));
    for text in [
        cubic.as_str(),
        &format!("try({cubic}, 1)"),
        &format!("[for x in [1] : can({cubic})]"),
        &format!("true ? 1 : {cubic}"),
        &doubling,
    ] {
        assert_eq!(error(text), "this takes more than 1048576 steps to evaluate");
    }
}

#[test]
fn values_are_bounded() {
    let nested =
        |inner: &str| (0..40).fold("\"a\"".to_owned(), |x, _| format!("[for x in [{x}] : {inner}][0]"));
    for inner in ["[x, x, x]", "{a = x, b = x, c = x}", "\"${x}${x}${x}\"", "{for k in [0, 1, 2] : k => x}"] {
        assert_eq!(error(&nested(inner)), "this value is too large", "{inner}");
    }
}

#[test]
fn what_is_shared_counts_each_time() {
    let mut scope = Scope::new();
    for text in ["[v, v]", "{a = v, b = v}", "convert([[v, v]], list(any))"] {
        scope.set_functions(support::functions());
        scope.set("v", Value::int(1));
        let refused = (0..60).find_map(|_| match evaluated(text, &scope) {
            Ok(value) => {
                scope.set("v", value);
                None
            }
            Err(message) => Some(message),
        });
        assert_eq!(refused.as_deref(), Some("this value is too large"), "{text}");
    }
}

#[test]
fn values_are_not_nested_deeper_by_being_built_up() {
    let mut scope = Scope::new();
    for text in ["[v]", "{a = v}", "[for x in [v] : x]"] {
        scope.set("v", Value::int(1));
        let refused = (0..10_000).find_map(|_| match evaluated(text, &scope) {
            Ok(value) => {
                scope.set("v", value);
                None
            }
            Err(message) => Some(message),
        });
        assert_eq!(refused.as_deref(), Some("this value is nested more than 384 deep"), "{text}");
    }
}

#[test]
fn types_of_what_is_not_known_count_too() {
    let mut scope = Scope::new();
    let deep = (0..1000).fold(Type::String, |ty, _| Type::list(ty));
    scope.set("v", Value::unknown(deep));
    assert_eq!(evaluated("[v]", &scope).unwrap_err(), "this value is nested more than 384 deep");
    let shared = (0..60).fold(Type::String, |ty, _| Type::tuple([ty.clone(), ty]));
    scope.set("v", Value::list(shared, Vec::new()));
    assert!(evaluated("[v]", &scope).is_err());
}

#[test]
fn dynamic_blocks_are_bounded() {
    let list = format!("[{}]", "1, ".repeat(300));
    let block = |name: &str, inner: &str| {
        format!("dynamic \"{name}\" {{\n  for_each = {list}\n  content {{\n{inner}\n}}\n}}\n")
    };
    let file = syntax::parse("x", &block("a", &block("b", &block("c", ""))));
    assert!(file.errors.is_empty());
    let expanded = file.body.expand(&Scope::new());
    let message = "`dynamic` blocks stand for more than 16384 blocks";
    assert!(!expanded.errors.is_empty() && expanded.errors.iter().all(|error| error.message == message));
}

#[test]
fn the_layout_of_what_is_never_closed_is_not_much_longer() {
    let text = "a {\n  b = [\n".repeat(20_000);
    let formatted = format(&text);
    assert!(formatted.len() < 100 * text.len(), "{}", formatted.len());
    assert_eq!(format(&formatted), formatted);
}
