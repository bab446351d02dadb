//! `console`: expressions against a template, one a line, and values as other tools show them.

use std::fmt::Write as _;
use std::sync::Arc;

use imgbuild_hcl::syntax::{Source, parse_expression};
use imgbuild_hcl::value::{Mark, Number, Value};
use imgbuild_model::Diagnostics;

use super::Template;
use super::evaluate::{Evaluator, Names};
use super::inspect::values;
use super::mask::{MASKED, Mask};
use super::report::Report;

/// What `help` answers.
const HELP: &str = "An expression is answered with its value: `upper(var.name)`, `local.tags`.\n\
                    `variables` shows all variables and locals, `exit` ends.\n\
                    Go templates (`{{timestamp}}`) are no expressions; they work in the settings of components.";

/// Answers lines.
pub struct Console<'a> {
    template: &'a Template,
    names: Names,
    mask: Mask,
}

/// What a line is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Text to show.
    Text(String),
    /// Nothing more is wanted.
    Exit,
}

impl<'a> Console<'a> {
    /// Against a template.
    #[must_use]
    pub fn new(template: &'a Template) -> Self {
        let names = Names {
            variables: template.variables.iter().map(|variable| Arc::clone(&variable.name)).collect(),
            locals: template.locals.iter().map(|local| Arc::clone(&local.name)).collect(),
            data: template.data.iter().map(|data| format!("{}.{}", data.kind, data.name)).collect(),
        };
        Self { template, names, mask: template.mask() }
    }

    /// Answers a line.
    ///
    /// # Errors
    /// What is wrong with the expression; places are in a file named `console`.
    pub fn answer(&self, line: &str) -> Result<Answer, Diagnostics> {
        match line.trim() {
            "" => Ok(Answer::Text(String::new())),
            "exit" => Ok(Answer::Exit),
            "help" => Ok(Answer::Text(HELP.to_owned())),
            "variables" => Ok(Answer::Text(values(self.template))),
            expression => {
                let expression = parse_expression(&Source::new("console", expression))?;
                let report = Report::default();
                let evaluator = Evaluator { names: &self.names, report: &report };
                let value = evaluator.try_value(&expression, &self.template.scope)?;
                Ok(Answer::Text(self.mask.apply(&render(&value))))
            }
        }
    }
}

/// A value as other tools show it: texts bare, lists and maps over several lines, `<unknown>` for what is not wholly
/// known, and entries of maps that are null left out.
#[must_use]
pub fn render(value: &Value) -> String {
    if value.marks().contains(&Mark::SENSITIVE) {
        return MASKED.to_owned();
    }
    if !value.is_wholly_known() {
        return "<unknown>".to_owned();
    }
    let mut out = String::new();
    match value.as_str() {
        Some(text) => out.push_str(text),
        None => write(value, 0, &mut out),
    }
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let inner = "  ".repeat(depth + 1);
    let outer = "  ".repeat(depth);
    if value.marks().contains(&Mark::SENSITIVE) {
        out.push_str(MASKED);
    } else if value.is_null() {
        out.push_str("null");
    } else if let Some(text) = value.as_str() {
        out.push_str(&quoted(text));
    } else if let Some(number) = value.as_number() {
        out.push_str(&number_text(number));
    } else if let Some(flag) = value.as_bool() {
        let _ = write!(out, "{flag}");
    } else if let Some(elements) = value.elements() {
        if elements.is_empty() {
            out.push_str("[]");
            return;
        }
        out.push_str("[\n");
        for element in elements {
            out.push_str(&inner);
            write(element, depth + 1, out);
            out.push_str(",\n");
        }
        let _ = write!(out, "{outer}]");
    } else if let Some(entries) = value.entries() {
        let mut entries = entries.iter().filter(|(_, value)| !value.is_null()).peekable();
        if entries.peek().is_none() {
            out.push_str("{}");
            return;
        }
        out.push_str("{\n");
        for (name, element) in entries {
            let _ = write!(out, "{inner}{} = ", quoted(name));
            write(element, depth + 1, out);
            out.push('\n');
        }
        let _ = write!(out, "{outer}}}");
    }
}

/// A whole number that fits 64 bits as it is, any other as the nearest 64-bit float in the shortest form of Go's `%g`.
fn number_text(number: &Number) -> String {
    if let Some(whole) = number.to_i64() {
        return whole.to_string();
    }
    let float: f64 = number.to_f64();
    if float.is_infinite() {
        return if float < 0.0 { "-Inf" } else { "+Inf" }.to_owned();
    }
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    float.to_string()
}

/// Text in quotes as Go writes it with `%q`.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if !is_printable(c) => {
                let code = u32::from(c);
                let _ =
                    if code < 0x10000 { write!(out, "\\u{code:04x}") } else { write!(out, "\\U{code:08x}") };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Nearly Go's notion: no control characters, no spaces but the plain one, no private use, nothing invisible.
fn is_printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{f0000}'..))
}
