//! The check itself: conversions of both dialects, places, forms, what is unknown and what is secret.

use imgbuild_kinds::{Dialect, ProblemKind, check, components};
use imgbuild_model::KindClass::{Builder, PostProcessor, Provisioner};
use imgbuild_model::{Field, Form, KindSchema, Location, Node, NodeData, Severity};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::support::{lines_in, node, schema};

fn both(attribute: &str, value: &Value) -> [bool; 2] {
    [Dialect::Hcl, Dialect::Legacy].map(|dialect| {
        let body = json!({"inline": ["true"], attribute: value});
        lines_in(Provisioner, "powershell", &body, dialect).is_empty()
    })
}

#[test]
fn each_dialect_converts_in_its_own_way() {
    let cases = [
        ("remote_path", json!(5), [true, true]),
        ("remote_path", json!(true), [true, true]),
        ("remote_path", json!([]), [false, false]),
        ("remote_path", json!({}), [false, false]),
        ("use_pwsh", json!("true"), [true, true]),
        ("use_pwsh", json!("1"), [true, true]),
        ("use_pwsh", json!("T"), [false, true]),
        ("use_pwsh", json!(""), [false, true]),
        ("use_pwsh", json!(1), [false, true]),
        ("use_pwsh", json!("yes"), [false, false]),
        ("debug_mode", json!("1"), [true, true]),
        ("debug_mode", json!("0x1"), [false, true]),
        ("debug_mode", json!("{{user `debug`}}"), [false, true]),
        ("debug_mode", json!(true), [false, true]),
        ("debug_mode", json!("one"), [false, false]),
        ("debug_mode", json!("NaN"), [false, false]),
        ("debug_mode", json!([1]), [false, false]),
        ("pause_after", json!("-1ms"), [true, true]),
        ("pause_after", json!("1.5h"), [true, true]),
        ("pause_after", json!("1h2m3s4ms5us6ns"), [true, true]),
        ("pause_after", json!("0"), [true, true]),
        ("pause_after", json!(0), [true, true]),
        ("pause_after", json!(5_000_000), [false, true]),
        ("pause_after", json!("5"), [false, false]),
        ("pause_after", json!("1.2.3s"), [false, false]),
        ("pause_after", json!(".s"), [false, false]),
        ("pause_after", json!("5 s"), [false, false]),
        ("environment_vars", json!("A=1,B=2"), [false, true]),
        ("environment_vars", json!([1, true]), [false, false]),
        ("environment_vars", json!(5), [false, false]),
        ("environment_vars", json!({}), [false, true]),
        ("environment_vars", json!({"A": 1}), [false, false]),
        ("environment_vars", json!("A=1,B"), [false, false]),
        ("environment_vars", json!(""), [false, true]),
        ("environment_vars", json!(["A=1", "B="]), [true, true]),
        ("environment_vars", json!(["A=1", "{{ user `b` }}", "<unknown>"]), [true, true]),
        ("environment_vars", json!(["A=1", "B"]), [false, false]),
        ("environment_vars", json!(["=1"]), [false, false]),
        ("environment_vars", json!([""]), [false, false]),
        ("valid_exit_codes", json!("0,3010"), [false, true]),
        ("valid_exit_codes", json!([0, "3010"]), [true, true]),
        ("valid_exit_codes", json!(3010), [false, true]),
        ("env", json!([{"A": "1"}, {"B": "2"}]), [false, true]),
        ("env", json!([]), [false, true]),
        ("env", json!({"A": 1, "B": null}), [true, true]),
        ("Use_Pwsh", json!(true), [false, true]),
    ];
    for (attribute, value, expected) in cases {
        assert_eq!(both(attribute, &value), expected, "{attribute} = {value}");
    }
}

#[test]
fn a_fraction_is_a_warning() {
    let body = json!({"inline": ["true"], "debug_mode": 1.5});
    assert_eq!(
        lines_in(Provisioner, "powershell", &body, Dialect::Hcl),
        ["warning: `debug_mode`: 1.5 is cut to 1"]
    );
}

#[test]
fn what_is_unknown_fits_everywhere() {
    for name in schema(Provisioner, "powershell").table().names() {
        let body = json!({"inline": "<unknown>", name: "<unknown>"});
        let lines = lines_in(Provisioner, "powershell", &body, Dialect::Hcl);
        assert!(lines.is_empty() || name == "elevated_password", "{lines:?}");
    }
    let body = Node::new(NodeData::Unknown, Location::default());
    assert_eq!(check(schema(Builder, "file"), &body, Dialect::Hcl), []);
}

#[test]
fn each_problem_has_its_place_and_way() {
    let body = node(&json!({"output": "x", "custom_data": {"a": {"b": 1}}}));
    let problems = check(schema(PostProcessor, "manifest"), &body, Dialect::Hcl);
    let problem = &problems[0];
    assert_eq!(problem.path(), "custom_data.a");
    assert_eq!(problem.location.line, 3);
    assert!(matches!(&problem.kind, ProblemKind::WrongType { .. }));
    let diagnostic = problem.diagnostic();
    assert_eq!(diagnostic.message, "`custom_data.a`: expected string, got object");
    assert_eq!(diagnostic.severity, Severity::Error);
    assert_eq!(diagnostic.location.unwrap().line, 3);
}

#[test]
fn all_problems_of_a_body_are_found_at_once() {
    let body = json!({"sorce": "a", "generated": "x", "direction": "y"});
    assert_eq!(lines_in(Provisioner, "file", &body, Dialect::Hcl).len(), 4);
}

fn body(name: &str, form: Form, value: Node) -> Node {
    let field = Field { name: name.into(), location: Location::default(), form, value };
    Node::new(NodeData::Object(vec![field]), Location::default())
}

#[test]
fn an_attribute_is_no_block() {
    let inner = Node::new(NodeData::Object(Vec::new()), Location::default());
    let problems =
        check(schema(PostProcessor, "manifest"), &body("custom_data", Form::Block, inner), Dialect::Hcl);
    assert_eq!(problems[0].message(), "`custom_data` is an attribute, not a block");
    assert_eq!(problems[0].hint().unwrap(), "write `custom_data = …`");
}

#[test]
fn a_body_is_an_object() {
    let text = Node::string("x", Location::default());
    let problems = check(schema(PostProcessor, "manifest"), &text, Dialect::Hcl);
    assert_eq!(problems[0].message(), "post-processor `manifest`: expected an object, got string");
}

#[test]
fn a_secret_is_not_shown() {
    let secret = Node::string("hunter2", Location::default()).secret();
    let problems =
        check(schema(Provisioner, "sleep"), &body("duration", Form::Attribute, secret), Dialect::Hcl);
    assert_eq!(problems[0].message(), "`duration`: expected duration (\"90s\"), got string");
    let digits = Node::string("1234", Location::default()).secret();
    let problems =
        check(schema(Provisioner, "sleep"), &body("duration", Form::Attribute, digits), Dialect::Hcl);
    assert_eq!(problems[0].hint(), None);
}

/// A body with names that mean something somewhere in the schema, and values that may mean anything.
fn bodies(schema: &'static KindSchema) -> impl Strategy<Value = Value> {
    const TEXTS: &[&str] =
        &["", "<unknown>", "true", "0x", "1e999", "-", "..s", "µs", "{{", "{{ .Vars }}", "a,b", "é", "ssh"];
    let mut names: Vec<_> = schema.table().names().chain(["nonsense", "packer_debug", "type"]).collect();
    names.extend(schema.table().all_blocks().flat_map(|block| block.table.names()));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-50_000.5_f64..50_000.0).prop_map(Value::from),
        select(TEXTS).prop_map(Value::from),
    ];
    let object = move |value: BoxedStrategy<Value>, size| {
        vec((select(names.clone()), value), size).prop_map(|members| {
            members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
        })
    };
    let inner = object.clone();
    let value = leaf.prop_recursive(3, 24, 4, move |value| {
        prop_oneof![vec(value.clone(), 0..4).prop_map(Value::from), inner(value.boxed(), 0..6)]
    });
    object(value.boxed(), 0..20)
}

proptest! {
    /// Whatever is written, each problem has something to say and a place within the body.
    #[test]
    fn any_body_gets_an_answer(
        (schema, body) in select(components().collect::<Vec<_>>())
            .prop_flat_map(|schema| bodies(schema).prop_map(move |body| (schema, body)))
    ) {
        for dialect in [Dialect::Hcl, Dialect::Legacy] {
            for problem in check(schema, &node(&body), dialect) {
                let message = problem.message();
                prop_assert!(!message.is_empty() && !message.ends_with('.'), "{message}");
                prop_assert!(!message.contains("``"), "{message}");
                prop_assert!(problem.location.line > 0, "{message}");
            }
        }
    }
}
