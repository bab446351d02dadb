//! Go's `fmt`: `print`, `println`, `printf`.

use std::fmt::Write as _;

use crate::float;
use crate::literal::quote_with;
use crate::value::Value;

/// Widths and precisions beyond this are refused, as in Go, which looks before it reads the last digit.
const LARGEST: i64 = 1_000_000;

#[derive(Clone, Copy, Default)]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%+v`: the names of a struct's fields.
    names: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// A space between two operands of which neither is a string.
pub(crate) fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut string_before = true;
    for argument in arguments {
        let string = matches!(argument, Value::String(_));
        if !string && !string_before {
            out.push(' ');
        }
        string_before = string;
        out.push_str(&display(argument));
    }
    out
}

pub(crate) fn println(arguments: &[Value]) -> String {
    let mut out = arguments.iter().map(display).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

/// The value as `%v` shows it.
pub(crate) fn display(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, &Spec::default(), 'v', value, 0);
    out
}

/// Never fails: what is wrong with the format is said in the text, as in Go. `None` if the text is too large.
pub(crate) fn printf(format: &str, arguments: &[Value], limit: usize) -> Option<String> {
    let mut printer = Printer { rest: format, arguments, next: 0, reordered: false, good: true };
    let mut out = String::new();
    while let Some(at) = printer.rest.find('%') {
        out.push_str(&printer.rest[..at]);
        printer.rest = &printer.rest[at + 1..];
        printer.directive(&mut out);
        if out.len() > limit {
            return None;
        }
    }
    out.push_str(printer.rest);
    printer.extra(&mut out);
    (out.len() <= limit).then_some(out)
}

struct Printer<'a> {
    rest: &'a str,
    arguments: &'a [Value],
    next: usize,
    reordered: bool,
    good: bool,
}

impl<'a> Printer<'a> {
    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn directive(&mut self, out: &mut String) {
        let mut spec = Spec::default();
        self.good = true;
        self.flags(&mut spec);
        let mut indexed = self.index();
        self.width(out, &mut spec, indexed);
        indexed = indexed && spec.width.is_none();
        if self.rest.starts_with('.') {
            self.rest = &self.rest[1..];
            if indexed {
                self.good = false;
            }
            indexed = self.index();
            self.precision(out, &mut spec, indexed);
            indexed = false;
        }
        if !indexed {
            self.index();
        }
        let Some(verb) = self.take() else {
            out.push_str("%!(NOVERB)");
            return;
        };
        self.verb(out, &mut spec, verb);
    }

    fn flags(&mut self, spec: &mut Spec) {
        while let Some(c) = self.rest.chars().next() {
            match c {
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                ' ' => spec.space = true,
                _ => return,
            }
            self.rest = &self.rest[1..];
        }
    }

    /// `[n]`: the next argument is the n-th.
    fn index(&mut self) -> bool {
        if !self.rest.starts_with('[') {
            return false;
        }
        self.reordered = true;
        let Some(end) = self.rest.find(']') else {
            self.rest = &self.rest[1..];
            self.good = false;
            return false;
        };
        let digits = &self.rest[1..end];
        self.rest = &self.rest[end + 1..];
        let number =
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<usize>().ok()).flatten();
        match number {
            Some(number) if (1..=self.arguments.len()).contains(&number) => {
                self.next = number - 1;
                true
            }
            _ => {
                self.good = false;
                false
            }
        }
    }

    fn width(&mut self, out: &mut String, spec: &mut Spec, indexed: bool) {
        if self.rest.starts_with('*') {
            self.rest = &self.rest[1..];
            match self.star() {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.zero &= width >= 0;
                    spec.width = Some(width.unsigned_abs() as usize);
                }
                None => out.push_str("%!(BADWIDTH)"),
            }
            return;
        }
        spec.width = self.number();
        if indexed && spec.width.is_some() {
            self.good = false;
        }
    }

    fn precision(&mut self, out: &mut String, spec: &mut Spec, _indexed: bool) {
        if self.rest.starts_with('*') {
            self.rest = &self.rest[1..];
            match self.star().and_then(|precision| usize::try_from(precision).ok()) {
                Some(precision) => spec.precision = Some(precision),
                None => out.push_str("%!(BADPREC)"),
            }
            return;
        }
        spec.precision = Some(self.number().unwrap_or(0));
    }

    fn star(&mut self) -> Option<i64> {
        let argument = self.arguments.get(self.next);
        self.next += usize::from(argument.is_some());
        match argument {
            Some(Value::Int(value)) if (-LARGEST..=LARGEST).contains(value) => Some(*value),
            _ => None,
        }
    }

    /// Digits here; a number that is too large swallows the rest, as in Go.
    fn number(&mut self) -> Option<usize> {
        let length = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        if length == 0 {
            return None;
        }
        let (digits, rest) = self.rest.split_at(length);
        match digits.parse::<i64>() {
            Ok(value) if value / 10 <= LARGEST => {
                self.rest = rest;
                usize::try_from(value).ok()
            }
            _ => {
                self.rest = "";
                None
            }
        }
    }

    fn verb(&mut self, out: &mut String, spec: &mut Spec, verb: char) {
        if verb == '%' {
            out.push('%');
            return;
        }
        if !self.good {
            let _ = write!(out, "%!{verb}(BADINDEX)");
            return;
        }
        let Some(argument) = self.arguments.get(self.next) else {
            let _ = write!(out, "%!{verb}(MISSING)");
            return;
        };
        self.next += 1;
        if verb == 'v' && spec.plus {
            (spec.plus, spec.names) = (false, true);
        }
        match (verb, argument) {
            ('T', _) => pad(out, spec, argument.type_name()),
            ('v', Value::Nil | Value::Absent) => pad(out, spec, "<nil>"),
            (_, Value::Nil | Value::Absent) => {
                let _ = write!(out, "%!{verb}(<nil>)");
            }
            _ => write_value(out, spec, verb, argument, 0),
        }
    }

    fn extra(&self, out: &mut String) {
        if self.reordered || self.next >= self.arguments.len() {
            return;
        }
        out.push_str("%!(EXTRA ");
        for (position, argument) in self.arguments[self.next..].iter().enumerate() {
            if position > 0 {
                out.push_str(", ");
            }
            match argument {
                Value::Nil | Value::Absent => out.push_str("<nil>"),
                _ => {
                    let _ = write!(out, "{}={}", argument.type_name(), display(argument));
                }
            }
        }
        out.push(')');
    }
}

/// To the wanted width, in characters.
fn pad(out: &mut String, spec: &Spec, text: &str) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else {
        out.extend(std::iter::repeat_n(if spec.zero { '0' } else { ' ' }, missing));
        out.push_str(text);
    }
}

fn bad_verb(out: &mut String, spec: &Spec, verb: char, value: &Value) {
    let _ = write!(out, "%!{verb}({}=", value.type_name());
    write_value(out, spec, 'v', value, 0);
    out.push(')');
}

fn write_value(out: &mut String, spec: &Spec, verb: char, value: &Value, depth: usize) {
    match value {
        Value::Absent | Value::Nil | Value::Late if spec.sharp && verb == 'v' && depth > 0 => {
            out.push_str("interface {}(nil)");
        }
        Value::Absent | Value::Nil | Value::Late => out.push_str("<nil>"),
        Value::Bool(flag) if matches!(verb, 't' | 'v') => {
            pad(out, spec, if *flag { "true" } else { "false" })
        }
        Value::Bool(_) => bad_verb(out, spec, verb, value),
        Value::Int(number) => write_int(out, spec, verb, *number, value),
        Value::Float(number) => write_float(out, spec, verb, *number, value),
        Value::String(text) => write_string(out, spec, verb, text, value),
        Value::List(elements) => write_list(out, spec, verb, elements, depth),
        Value::Map(entries) => {
            let fields = entries.iter().map(|(name, value)| (name.as_str(), value));
            write_fields(out, spec, verb, fields, ("map[", "]"), depth, true);
        }
        Value::Record(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.as_str(), value));
            write_fields(out, spec, verb, fields, ("{", "}"), depth, spec.names);
        }
    }
}

fn write_list(out: &mut String, spec: &Spec, verb: char, elements: &[Value], depth: usize) {
    let go_syntax = spec.sharp && verb == 'v';
    let (open, separator, close) = if go_syntax { ("[]interface {}{", ", ", "}") } else { ("[", " ", "]") };
    out.push_str(open);
    for (position, element) in elements.iter().enumerate() {
        if position > 0 {
            out.push_str(separator);
        }
        write_value(out, spec, verb, element, depth + 1);
    }
    out.push_str(close);
}

fn write_fields<'a>(
    out: &mut String,
    spec: &Spec,
    verb: char,
    fields: impl Iterator<Item = (&'a str, &'a Value)>,
    (open, close): (&str, &str),
    depth: usize,
    names: bool,
) {
    let go_syntax = spec.sharp && verb == 'v';
    let is_map = open == "map[";
    let (open, separator, close) = match (go_syntax, is_map) {
        (true, true) => ("map[string]interface {}{", ", ", "}"),
        (true, false) => ("struct {", ", ", "}"),
        _ => (open, " ", close),
    };
    out.push_str(open);
    for (position, (name, value)) in fields.enumerate() {
        if position > 0 {
            out.push_str(separator);
        }
        if is_map {
            write_string(out, spec, verb, name, &Value::from(name));
        } else if names || go_syntax {
            out.push_str(name);
        }
        if names || go_syntax {
            out.push(':');
        }
        write_value(out, spec, verb, value, depth + 1);
    }
    out.push_str(close);
}

fn write_string(out: &mut String, spec: &Spec, verb: char, text: &str, value: &Value) {
    match verb {
        'v' if spec.sharp => pad(out, spec, &quoted(spec, text, false)),
        's' | 'v' => pad(out, spec, truncate(spec, text)),
        'q' => pad(out, spec, &quoted(spec, truncate(spec, text), spec.sharp)),
        'x' | 'X' => pad(out, spec, &hex(spec, text, verb == 'X')),
        _ => bad_verb(out, spec, verb, value),
    }
}

fn truncate<'a>(spec: &Spec, text: &'a str) -> &'a str {
    let end =
        spec.precision.and_then(|count| text.char_indices().nth(count)).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

fn quoted(spec: &Spec, text: &str, raw: bool) -> String {
    let can_be_raw =
        !text.contains(['`', '\u{feff}', '\x7f']) && text.chars().all(|c| c == '\t' || !c.is_ascii_control());
    if raw && can_be_raw { format!("`{text}`") } else { quote_with(text, '"', spec.plus) }
}

fn hex(spec: &Spec, text: &str, upper: bool) -> String {
    let count = spec.precision.unwrap_or(text.len()).min(text.len());
    let prefix = match (spec.sharp, upper) {
        (false, _) => "",
        (true, false) => "0x",
        (true, true) => "0X",
    };
    let mut out = String::new();
    for (position, byte) in text.as_bytes()[..count].iter().enumerate() {
        if position == 0 || spec.space {
            if position > 0 {
                out.push(' ');
            }
            out.push_str(prefix);
        }
        let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
    }
    out
}

fn write_int(out: &mut String, spec: &Spec, verb: char, number: i64, value: &Value) {
    let size = number.unsigned_abs();
    let (prefix, digits) = match verb {
        'v' | 'd' => ("", size.to_string()),
        'b' => (if spec.sharp { "0b" } else { "" }, format!("{size:b}")),
        'o' | 'O' => {
            let digits = format!("{size:o}");
            let leading = spec.sharp && !digits.starts_with('0');
            (if verb == 'O' { "0o" } else { "" }, if leading { format!("0{digits}") } else { digits })
        }
        'x' => (if spec.sharp { "0x" } else { "" }, format!("{size:x}")),
        'X' => (if spec.sharp { "0X" } else { "" }, format!("{size:X}")),
        'c' => return pad(out, spec, &character(number).to_string()),
        'q' => {
            return pad(out, spec, &quote_with(&character(number).to_string(), '\'', spec.plus));
        }
        'U' => return write_unicode(out, spec, number),
        _ => return bad_verb(out, spec, verb, value),
    };
    let sign = match (number < 0, spec.plus, spec.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    write_number(out, spec, sign, prefix, digits);
}

/// The digits with zeros up to the precision, or up to the width where `0` asks for it.
fn write_number(out: &mut String, spec: &Spec, sign: &str, prefix: &str, digits: String) {
    let by_zeros = spec.zero && !spec.minus && spec.precision.is_none();
    let wanted = match spec.precision {
        Some(precision) => precision,
        None if by_zeros => spec.width.unwrap_or(0).saturating_sub(sign.len()),
        None => 0,
    };
    let digits = if spec.precision == Some(0) && digits == "0" { String::new() } else { digits };
    let blank = digits.is_empty();
    let text = if blank {
        String::new()
    } else {
        format!("{sign}{prefix}{}{digits}", "0".repeat(wanted.saturating_sub(digits.len())))
    };
    pad(out, &Spec { zero: false, ..*spec }, &text);
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn write_unicode(out: &mut String, spec: &Spec, number: i64) {
    let digits = spec.precision.unwrap_or(4).max(4);
    let hex = format!("{number:X}");
    let mut text = format!("U+{}{hex}", "0".repeat(digits.saturating_sub(hex.len())));
    if spec.sharp
        && let Some(c) = u32::try_from(number).ok().and_then(char::from_u32)
        && crate::literal::is_printable(c)
    {
        let _ = write!(text, " '{c}'");
    }
    pad(out, &Spec { zero: false, ..*spec }, &text);
}

fn write_float(out: &mut String, spec: &Spec, verb: char, number: f64, value: &Value) {
    let (style, precision) = match verb {
        'v' => ('g', spec.precision),
        'g' | 'G' => (verb, spec.precision),
        'e' | 'E' | 'f' | 'F' => (verb, Some(spec.precision.unwrap_or(6))),
        'b' | 'x' | 'X' => (verb, spec.precision),
        _ => return bad_verb(out, spec, verb, value),
    };
    let text = float::format(number, style, precision, spec.sharp && verb != 'v');
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits.to_owned()),
        None => (false, text),
    };
    let sign = match (negative, spec.plus, spec.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ if number == f64::INFINITY => "+",
        _ => "",
    };
    let zeros = match spec.width {
        Some(width) if spec.zero && !spec.minus && number.is_finite() => {
            width.saturating_sub(sign.len() + digits.chars().count())
        }
        _ => 0,
    };
    pad(out, &Spec { zero: false, ..*spec }, &format!("{sign}{}{digits}", "0".repeat(zeros)));
}
