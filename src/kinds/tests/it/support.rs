//! Bodies from JSON, and what is said of them.

use imgbuild_kinds::{Dialect, Problem, check, component};
use imgbuild_model::{Field, Form, KindClass, KindSchema, Location, Node, NodeData, Severity};
use serde_json::Value;

/// A place, so that places can be told apart: each value has the line of its depth.
fn place(depth: u32) -> Location {
    Location { line: depth, ..Location::file("test") }
}

/// A body as JSON has it. `"<unknown>"` is not known yet.
pub fn node(value: &Value) -> Node {
    node_at(value, 1)
}

fn node_at(value: &Value, depth: u32) -> Node {
    let data = match value {
        Value::Null => NodeData::Null,
        Value::Bool(value) => NodeData::Bool(*value),
        Value::Number(number) => NodeData::Number(number.as_f64().unwrap()),
        Value::String(text) if text == "<unknown>" => NodeData::Unknown,
        Value::String(text) => NodeData::String(text.as_str().into()),
        Value::Array(items) => NodeData::List(items.iter().map(|item| node_at(item, depth + 1)).collect()),
        Value::Object(members) => NodeData::Object(
            members
                .iter()
                .map(|(name, value)| Field {
                    name: name.as_str().into(),
                    location: place(depth),
                    form: Form::Json,
                    value: node_at(value, depth + 1),
                })
                .collect(),
        ),
    };
    Node::new(data, place(depth))
}

pub fn schema(class: KindClass, id: &str) -> &'static KindSchema {
    component(class, id).unwrap_or_else(|| panic!("no {} `{id}`", class.word()))
}

/// A problem as a line: severity, message, hint.
pub fn line(problem: &Problem) -> String {
    let severity = match problem.severity {
        Severity::Error => "",
        Severity::Warning => "warning: ",
    };
    let hint = problem.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{severity}{}{hint}", problem.message())
}

pub fn lines_in(class: KindClass, id: &str, body: &Value, dialect: Dialect) -> Vec<String> {
    check(schema(class, id), &node(body), dialect).iter().map(line).collect()
}

pub fn lines(class: KindClass, id: &str, body: &Value) -> Vec<String> {
    lines_in(class, id, body, Dialect::Hcl)
}

/// A component with a body that is right, from which each test makes wrong ones.
pub struct Good {
    class: KindClass,
    id: &'static str,
    body: Value,
}

impl Good {
    /// Checks that the body is right in both dialects.
    pub fn new(class: KindClass, id: &'static str, body: Value) -> Self {
        for dialect in [Dialect::Hcl, Dialect::Legacy] {
            assert_eq!(lines_in(class, id, &body, dialect), Vec::<String>::new(), "{id} {dialect:?}");
        }
        Self { class, id, body }
    }

    /// Each change, with the lines that it brings: `null` takes an entry away.
    pub fn but(self, changes: &[(Value, &[&str])]) -> Self {
        for (change, expected) in changes {
            let mut body = self.body.clone();
            for (name, value) in change.as_object().unwrap() {
                body[name] = value.clone();
            }
            assert_eq!(lines(self.class, self.id, &body), *expected, "{} with {change}", self.id);
        }
        self
    }
}
