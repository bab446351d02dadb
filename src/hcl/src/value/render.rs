//! A value as a person would write it, on one line.

use std::fmt;

use super::{Data, Mark, Value};

impl fmt::Display for Value {
    /// A literal of the language: `{a = ["x", 1]}`. What is sensitive or unknown is said instead of shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.marks.contains(&Mark::SENSITIVE) {
            return f.write_str("(sensitive)");
        }
        match &self.data {
            Data::Unknown => f.write_str("(unknown)"),
            Data::Null => f.write_str("null"),
            Data::Bool(value) => write!(f, "{value}"),
            Data::Number(number) => write!(f, "{number}"),
            Data::String(text) => f.write_str(&quote(text)),
            Data::Sequence(elements) => {
                f.write_str("[")?;
                for (index, element) in elements.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{element}")?;
                }
                f.write_str("]")
            }
            Data::Mapping(entries) => {
                f.write_str("{")?;
                for (index, (name, value)) in entries.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    if crate::syntax::is_identifier(name) {
                        write!(f, "{comma}{name} = {value}")?;
                    } else {
                        write!(f, "{comma}{} = {value}", quote(name))?;
                    }
                }
                f.write_str("}")
            }
        }
    }
}

/// Text as a quoted template that evaluates to it.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for (index, c) in text.char_indices() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '$' | '%' if text[index + 1..].starts_with('{') => quoted.extend([c, c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
