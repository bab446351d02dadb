//! Whatever the arguments are, a function gives a value or an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_hcl::value::{Mark, Number, Type, Value, normalize};
use imgbuild_packer_functions::{Host, functions};
use proptest::prelude::*;

use crate::support::{FixedHost, evaluate, fixed};

/// Functions that would look through the whole machine, or take very long on purpose.
const LEFT_OUT: [&str; 10] = [
    "bcrypt",
    "can",
    "convert",
    "file",
    "filebase64",
    "fileexists",
    "fileset",
    "templatefile",
    "try",
    "setproduct",
];

/// Texts that look like what functions read: patterns, verbs, times, YAML, CSV, ranges of addresses.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "",
        "a",
        "Z",
        "0",
        "12",
        "-",
        "+",
        ".",
        ",",
        ":",
        ";",
        " ",
        "\n",
        "\r\n",
        "\t",
        "\"",
        "'",
        "\\",
        "/",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "*",
        "?",
        "|",
        "^",
        "$",
        "%",
        "%5",
        "%v",
        "%-05.2",
        "#",
        "&",
        "<<",
        "!",
        "!!",
        "!!int",
        "é",
        "e\u{301}",
        "🤷‍♂️",
        "\u{0}",
        "\u{2028}",
        "\u{feff}",
        "2018-01-02T03:04:05Z",
        "T",
        "Z07:00",
        "_2",
        "002",
        ".999",
        "YYYY",
        "h",
        "EEE",
        "1h",
        "1.5s",
        "10.0.0.0/8",
        "::/0",
        "0x1f",
        "1e400",
        "---",
        "- ",
        "? ",
        "|\n ",
        ">-\n ",
        "*a",
        "&a ",
        "\\Q",
        "\\E",
        "\\w",
        "[:alpha:]",
        "\\p{L}",
        "(?P<n>",
        "~",
        "-----BEGIN ",
        "UTF-16",
        "YQ==",
    ]);
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(Value::string),
        3 => any::<i64>().prop_map(Value::int),
        3 => (-40i64..80).prop_map(Value::int),
        1 => any::<f64>().prop_filter_map("no number", Number::from_f64).prop_map(Value::number),
        1 => any::<bool>().prop_map(Value::bool),
        1 => Just(Value::null(Type::Dynamic)),
        1 => Just(Value::null(Type::String)),
        1 => Just(Value::dynamic()),
        1 => Just(Value::unknown(Type::list(Type::String))),
        1 => Just(Value::unknown(Type::Number)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let inner = scalar().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::tuple),
            prop::collection::vec(text(), 0..4).prop_map(Value::strings),
            prop::collection::vec(text(), 0..4)
                .prop_map(|all| Value::set(Type::String, all.iter().map(Value::string).collect())),
            prop::collection::vec((text(), inner.clone()), 0..4).prop_map(Value::object_of),
            prop::collection::btree_map(text(), text(), 0..4).prop_map(|all: BTreeMap<String, String>| {
                let entries = all.into_iter().map(|(name, text)| (normalize(&name), Value::string(text)));
                Value::map(Type::String, entries.collect())
            }),
        ]
    });
    (inner, prop::bool::weighted(0.1))
        .prop_map(|(value, marked)| if marked { value.mark(Mark::SENSITIVE) } else { value })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_argument_makes_a_function_panic(arguments in prop::collection::vec(value(), 0..5)) {
        let host: Arc<dyn Host> = Arc::new(FixedHost::new());
        let all = functions(&host);
        for name in all.names().filter(|name| !LEFT_OUT.contains(name)) {
            let function = all.get(name).unwrap();
            for count in 0..=arguments.len() {
                let arguments = &arguments[..count];
                if let Ok(value) = function.call(arguments) {
                    let sensitive = arguments.iter().any(|value| value.marks().contains(&Mark::SENSITIVE));
                    let known = arguments.iter().all(Value::is_wholly_known);
                    prop_assert!(!sensitive || !known || value.is_sensitive(), "{} loses a mark", name);
                    prop_assert!(!known || value.is_wholly_known(), "{} knows less than it could", name);
                }
            }
        }
    }

    #[test]
    fn yaml_and_json_come_back_as_they_went(value in value()) {
        let mut scope = fixed();
        scope.set("value", value.clone());
        let again = |text: &str| evaluate(text, &scope);
        // U+2028 breaks lines in YAML 1.1, which is written, and not in YAML 1.2, which is read.
        let line_separator = again("jsonencode(value)")
            .is_ok_and(|json| json.as_str().is_some_and(|json| json.contains("\\u2028")));
        prop_assume!(!line_separator);
        if let Ok(first) = again("yamldecode(yamlencode(value))") {
            prop_assert_eq!(&again("yamldecode(yamlencode(yamldecode(yamlencode(value))))").unwrap(), &first);
            let json = again("jsonencode(value)").unwrap();
            prop_assert_eq!(again("jsonencode(yamldecode(yamlencode(value)))").unwrap(), json);
        }
    }

    #[test]
    fn base64_gives_back_the_text(text in text()) {
        let mut scope = fixed();
        scope.set("text", Value::string(&text));
        prop_assert_eq!(evaluate("base64decode(base64encode(text)) == text", &scope).unwrap(), Value::bool(true));
    }
}
