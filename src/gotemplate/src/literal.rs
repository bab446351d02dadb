//! Go's literals: numbers, strings and characters into values, and strings back into literals.

use crate::ast::Number;
use crate::error::ErrorKind;

/// A string as a Go literal in double quotes, as `%q` writes it.
#[must_use]
pub fn quote(text: &str) -> String {
    quote_with(text, '"', false)
}

/// Whether Go would print the character as it is.
pub(crate) fn is_printable(c: char) -> bool {
    let mut two = String::from("a");
    two.push(c);
    matches!(c, '"' | '\'' | '\\') || two.escape_debug().count() == 2
}

pub(crate) fn quote_with(text: &str, quote: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            _ if c == quote => out.extend(['\\', c]),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if is_printable(c) && (c.is_ascii() || !ascii) => out.push(c),
            _ if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            _ if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            _ => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
    out
}

/// What stands in double quotes.
pub(crate) fn unquote(token: &str) -> Result<String, ErrorKind> {
    let inner = &token[1..token.len() - 1];
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (unit, after) = next_unit(rest, '"').ok_or_else(|| ErrorKind::BadEscape(token.to_owned()))?;
        match unit {
            Unit::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Byte(byte) => bytes.push(byte),
        }
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| ErrorKind::NotUtf8(token.to_owned()))
}

/// The code of what stands in single quotes.
pub(crate) fn character(token: &str) -> Result<i64, ErrorKind> {
    let inner = &token[1..token.len() - 1];
    match next_unit(inner, '\'') {
        Some((Unit::Char(c), "")) => Ok(i64::from(c as u32)),
        Some((Unit::Byte(byte), "")) => Ok(i64::from(byte)),
        _ => Err(ErrorKind::BadCharacterConstant(token.to_owned())),
    }
}

enum Unit {
    Char(char),
    Byte(u8),
}

fn next_unit(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut chars = text.chars();
    let c = chars.next()?;
    if c != '\\' {
        return Some((Unit::Char(c), chars.as_str()));
    }
    let escape = chars.next()?;
    let rest = chars.as_str();
    let plain = match escape {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '\\' => '\\',
        '\'' | '"' if escape == quote => escape,
        'x' => return digits(rest, 2, 16).map(|(code, rest)| (Unit::Byte(code as u8), rest)),
        'u' | 'U' => {
            let (code, rest) = digits(rest, if escape == 'u' { 4 } else { 8 }, 16)?;
            return Some((Unit::Char(char::from_u32(code)?), rest));
        }
        '0'..='7' => {
            let (code, rest) = digits(&text[1..], 3, 8)?;
            return Some((Unit::Byte(u8::try_from(code).ok()?), rest));
        }
        _ => return None,
    };
    Some((Unit::Char(plain), rest))
}

fn digits(text: &str, count: usize, radix: u32) -> Option<(u32, &str)> {
    let digits = text.get(..count)?;
    let good = digits.chars().all(|c| c.is_digit(radix));
    good.then(|| u32::from_str_radix(digits, radix).ok())?.map(|code| (code, &text[count..]))
}

/// A number as Go reads it.
pub(crate) fn number(text: &str) -> Result<Number, ErrorKind> {
    let bad = || ErrorKind::BadNumber(text.to_owned());
    if text.ends_with('i') || text[1..].contains(['+', '-']) && !has_exponent_sign(text) {
        return Err(ErrorKind::Complex(text.to_owned()));
    }
    if !underscores_are_well_placed(text) {
        return Err(bad());
    }
    let plain = text.replace('_', "");
    if let Some(value) = integer(&plain) {
        return match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Ok(Number::Int(value)),
            (_, Ok(value)) if !text.starts_with('+') => Ok(Number::Unsigned(value)),
            _ => Err(ErrorKind::IntegerOverflow(text.to_owned())),
        };
    }
    let value = real(&plain).ok_or_else(bad)?;
    if !plain.contains(['.', 'e', 'E', 'p', 'P']) {
        return Err(ErrorKind::IntegerOverflow(text.to_owned()));
    }
    let limit = 9.2e18;
    let whole = (value.trunc() == value && value.abs() < limit).then_some(value as i64);
    Ok(Number::Float(value, whole))
}

/// Whether the only sign behind the first character belongs to an exponent.
fn has_exponent_sign(text: &str) -> bool {
    let hex = text.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("0x");
    let exponent: &[char] = if hex { &['p', 'P'] } else { &['e', 'E'] };
    let signs: Vec<usize> = text[1..].match_indices(['+', '-']).map(|(at, _)| at + 1).collect();
    matches!(signs.as_slice(), [at] if text[..*at].ends_with(exponent))
}

/// Between digits, or between a base's prefix and a digit.
fn underscores_are_well_placed(text: &str) -> bool {
    if !text.contains('_') {
        return true;
    }
    let unsigned = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let hex = unsigned.starts_with("0x");
    let is_digit = |c: char| c.is_ascii_digit() || hex && c.is_ascii_hexdigit();
    let (mut before, digits) = match unsigned.get(..2) {
        Some("0x" | "0o" | "0b") => (true, &unsigned[2..]),
        _ => (false, unsigned.as_str()),
    };
    let mut chars = digits.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '_' && !(before && chars.peek().copied().is_some_and(is_digit)) {
            return false;
        }
        before = is_digit(c);
    }
    true
}

fn integer(plain: &str) -> Option<i128> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

fn real(plain: &str) -> Option<f64> {
    let unsigned = plain.trim_start_matches(['+', '-']);
    let value = match unsigned.get(..2) {
        Some("0x" | "0X") => hexadecimal(&unsigned[2..])?,
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => unsigned.parse().ok()?,
        _ => return None,
    };
    value.is_finite().then_some(if plain.starts_with('-') { -value } else { value })
}

fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let mut exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (mut value, mut any) = (0u64, false);
    for (c, after_point) in whole.chars().map(|c| (c, false)).chain(fraction.chars().map(|c| (c, true))) {
        let digit = u64::from(c.to_digit(16)?);
        any = true;
        if value >> 59 == 0 {
            value = value << 4 | digit;
            exponent = exponent.checked_sub(if after_point { 4 } else { 0 })?;
        } else {
            value |= u64::from(digit != 0);
            exponent = exponent.checked_add(if after_point { 0 } else { 4 })?;
        }
    }
    any.then(|| value as f64 * 2f64.powi(exponent.clamp(-1100, 1100)))
}
