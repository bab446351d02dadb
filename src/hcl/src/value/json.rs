//! Values to and from JSON, as `jsonencode` and `jsondecode` do it.

use std::fmt::{self, Write};

use super::{Data, Number, Type, Value, normalize};
use crate::json::{self, Kind, Node};

/// Why a value has no JSON, or a text no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Something in the value is not known yet.
    Unknown,
    /// A number is infinite.
    Infinite,
    /// The text is not JSON: what, line and column (from 1).
    Syntax(String, usize, usize),
    /// A number of the text is out of bounds.
    Number(String),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the value is not wholly known"),
            Self::Infinite => f.write_str("JSON has no infinite numbers"),
            Self::Syntax(what, line, column) => {
                write!(f, "{what} (line {line}, column {column} of the JSON)")
            }
            Self::Number(text) => write!(f, "the number `{text}` is too large or too close to zero"),
        }
    }
}

impl std::error::Error for JsonError {}

/// Compact JSON: names in order; `<`, `>`, `&` and the two line separators of Unicode escaped, as Go does it. Marks are
/// looked through.
pub fn to_json(value: &Value) -> Result<String, JsonError> {
    let mut text = String::new();
    write_json(value, &mut text)?;
    Ok(text)
}

fn write_json(value: &Value, out: &mut String) -> Result<(), JsonError> {
    match &value.data {
        Data::Unknown => return Err(JsonError::Unknown),
        Data::Null => out.push_str("null"),
        Data::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Data::Number(number) if number.is_infinite() => return Err(JsonError::Infinite),
        Data::Number(number) => out.push_str(&number.to_string()),
        Data::String(text) => write_string(text, out),
        Data::Sequence(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(element, out)?;
            }
            out.push(']');
        }
        Data::Mapping(entries) => {
            out.push('{');
            for (index, (name, element)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write_json(element, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn parsed(text: &str) -> Result<Node, JsonError> {
    json::parse(text).map_err(|error| {
        let before = &text[..error.span.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        JsonError::Syntax(error.message, line, column)
    })
}

/// Reads JSON: objects and tuples, strings, numbers at full precision.
pub fn from_json(text: &str) -> Result<Value, JsonError> {
    node_value(&parsed(text)?)
}

fn node_value(node: &Node) -> Result<Value, JsonError> {
    Ok(match &node.kind {
        Kind::Null => Value::null(Type::Dynamic),
        Kind::Bool(flag) => Value::bool(*flag),
        Kind::Number(text) => {
            Value::number(Number::parse(text).map_err(|_| JsonError::Number(text.clone()))?)
        }
        Kind::String(text) => Value::string(&text.text),
        Kind::Array(elements) => {
            Value::tuple(elements.iter().map(node_value).collect::<Result<Vec<_>, _>>()?)
        }
        Kind::Object(entries) => Value::object(
            entries
                .iter()
                .map(|(name, value)| Ok((normalize(&name.text), node_value(value)?)))
                .collect::<Result<_, _>>()?,
        ),
    })
}

/// The type that [`from_json`] gives.
pub fn implied_type(text: &str) -> Result<Type, JsonError> {
    from_json(text).map(|value| value.ty)
}
