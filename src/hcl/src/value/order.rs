//! The order of the elements of a set: by their own order for strings, numbers and truth values, nulls and unknowns last.
//! All else is in the order of a text that tells values of one type apart, the one by which `cty` orders them.

use std::cmp::Ordering;
use std::fmt::Write;

use super::{Data, Number, Type, Value};

/// Sorts elements of one type.
pub(super) fn sort(elements: &mut [Value]) {
    if elements.iter().all(|element| element.ty.is_primitive()) {
        elements.sort_by(primitive);
    } else {
        // Numbers that differ only further on have one key.
        elements.sort_by_cached_key(|element| (rank(element), key(element), element.to_string()));
    }
}

fn rank(value: &Value) -> u8 {
    match value.data {
        Data::Unknown => 2,
        Data::Null => 1,
        _ => 0,
    }
}

fn primitive(left: &Value, right: &Value) -> Ordering {
    rank(left).cmp(&rank(right)).then_with(|| match (&left.data, &right.data) {
        (Data::Bool(a), Data::Bool(b)) => a.cmp(b),
        (Data::Number(a), Data::Number(b)) => a.cmp(b),
        (Data::String(a), Data::String(b)) => a.cmp(b),
        _ => left.ty.cmp(&right.ty),
    })
}

fn key(value: &Value) -> String {
    let mut text = String::new();
    write_key(value, &mut text);
    text
}

fn write_key(value: &Value, out: &mut String) {
    let named = matches!(value.ty, Type::Map(_));
    let (open, close) = match value.ty {
        Type::Map(_) => ('{', '}'),
        Type::List(_) | Type::Set(_) => ('[', ']'),
        _ => ('<', '>'),
    };
    match &value.data {
        Data::Unknown => out.push('?'),
        Data::Null => out.push('~'),
        Data::Bool(flag) => out.push(if *flag { 'T' } else { 'F' }),
        Data::Number(number) => out.push_str(&short(number)),
        Data::String(text) => write_quoted(text, out),
        Data::Sequence(elements) => {
            out.push(open);
            for element in elements.iter() {
                write_key(element, out);
                out.push(';');
            }
            out.push(close);
        }
        Data::Mapping(entries) => {
            out.push(open);
            for (name, element) in entries.iter() {
                if named {
                    write_quoted(name, out);
                    out.push(':');
                }
                write_key(element, out);
                out.push(';');
            }
            out.push(close);
        }
    }
}

/// A text in quotes, with escapes as in Go.
fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\0'..='\u{1f}' | '\u{7f}' => write!(out, "\\x{:02x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
}

/// A number with ten digits, with an exponent if it is large or small.
fn short(number: &Number) -> String {
    if number.is_infinite() {
        return number.to_string();
    }
    let scientific = format!("{:.9e}", number.to_f64());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..10).contains(&exponent) {
        let places = usize::try_from(9 - exponent).unwrap_or(0);
        let fixed = format!("{:.places$}", number.to_f64());
        return trimmed(&fixed).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

/// Without zeros at the end of a fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}
