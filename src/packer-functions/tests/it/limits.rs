//! No function makes a text that is much larger than what can be meant.

use imgbuild_hcl::value::Value;

use crate::support::{evaluate, fixed};

#[test]
fn texts_are_bounded() {
    let mut scope = fixed();
    scope.set("s", Value::string("a".repeat(1 << 16)));
    scope.set("lines", Value::string("\n".repeat(1 << 16)));
    for call in [
        "replace(s, \"\", s)",
        "replace(s, \"a\", s)",
        "regex_replace(s, \"a\", s)",
        "regex_replace(s, \"(a+)\", join(\"\", [for i in range(1024) : \"$1$1\"]))",
        "join(s, split(\"\", s))",
        "indent(65000, lines)",
        "format(replace(s, \"a\", \"%[1]s\"), s)",
        "formatlist(\"%s%s\", s, range(1024))",
    ] {
        let errors = evaluate(call, &scope).unwrap_err();
        let message = &errors.0[0].message;
        assert!(message.ends_with("failed: the result would have more than 64 MiB"), "{call}: {message}");
    }
}

#[test]
fn results_that_are_large_already_do_not_take_long() {
    let mut scope = fixed();
    scope.set("digits", Value::string("9".repeat(1 << 20)));
    assert!(evaluate("parseint(digits, 10)", &scope).is_err());
    assert!(evaluate("convert(digits, number)", &scope).is_err());
    scope.set("list", Value::strings((0..20_000).map(|at| at.to_string())));
    assert_eq!(evaluate("length(distinct(list))", &scope).unwrap(), Value::int(20_000));
    assert_eq!(
        evaluate("distinct([\"b\", \"a\", \"b\"])", &scope).unwrap(),
        evaluate("convert([\"b\", \"a\"], list(string))", &scope).unwrap()
    );
}
