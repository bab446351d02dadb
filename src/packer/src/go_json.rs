//! JSON as Go writes it: sorted names, two spaces, Go's numbers and escapes.

use std::fmt::Write as _;

use crate::json::{Node, Value};

/// The value as indented text with a line break at its end. `<` and `>` stand for themselves, as `packer fix` has it.
#[must_use]
pub fn write(node: &Node) -> String {
    let mut out = String::new();
    value(&mut out, node, 0);
    out.push('\n');
    out
}

fn value(out: &mut String, node: &Node, depth: usize) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(written) => out.push_str(&number(written)),
        Value::String(text) => string(out, text),
        Value::Array(elements) => {
            let write = elements.iter().map(|element| move |out: &mut String| value(out, element, depth + 1));
            block(out, ['[', ']'], depth, write);
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|one, other| one.name.cmp(&other.name));
            let write = members.into_iter().map(|member| {
                move |out: &mut String| {
                    string(out, &member.name);
                    out.push_str(": ");
                    value(out, &member.value, depth + 1);
                }
            });
            block(out, ['{', '}'], depth, write);
        }
    }
}

fn block<F: FnOnce(&mut String)>(
    out: &mut String,
    [open, close]: [char; 2],
    depth: usize,
    parts: impl ExactSizeIterator<Item = F>,
) {
    out.push(open);
    let last = parts.len();
    for (index, part) in parts.enumerate() {
        out.push('\n');
        out.push_str(&"  ".repeat(depth + 1));
        part(out);
        if index + 1 < last {
            out.push(',');
        } else {
            out.push('\n');
            out.push_str(&"  ".repeat(depth));
        }
    }
    out.push(close);
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// The shortest digits that give the same number, with an exponent if it is very large or very small.
fn number(written: &str) -> String {
    let Ok(number) = written.parse::<f64>() else {
        return written.to_owned();
    };
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}
