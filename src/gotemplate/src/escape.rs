//! Escaping for HTML, JavaScript and queries.

use std::fmt::Write as _;

use crate::literal::is_printable;

pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            _ => out.push(c),
        }
    }
    out
}

pub(crate) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let _ = match c {
            '\\' | '\'' | '"' => write!(out, "\\{c}"),
            '<' | '>' | '&' | '=' => write!(out, "\\u{:04X}", c as u32),
            _ if c < ' ' => write!(out, "\\u{:04X}", c as u32),
            _ if c.is_ascii() || is_printable(c) => {
                out.push(c);
                Ok(())
            }
            _ => write!(out, "\\u{:04X}", c as u32),
        };
    }
    out
}

pub(crate) fn query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
