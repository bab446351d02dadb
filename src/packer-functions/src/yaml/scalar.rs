//! What a scalar of YAML 1.1 stands for: `yes` a truth value, `0x1F` a number, `2001-1-2` a time, and else a text.

use base64::Engine;
use imgbuild_hcl::value::{Number, Type, Value};

use crate::encoding::{STANDARD, unbroken};

const TRUE: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const FALSE: [&str; 11] = ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];

/// The value of a scalar with a tag of YAML's own (`str`, `int`, …), or none.
pub(super) fn resolved(tag: Option<&str>, text: &str, quoted: bool) -> Result<Value, String> {
    let fails = || Err(format!("`{text}` is no `!!{}`", tag.unwrap_or_default()));
    match tag {
        Some("str") => return Ok(Value::string(text)),
        Some("binary") => {
            return if STANDARD.decode(unbroken(text)).is_ok() { Ok(Value::string(text)) } else { fails() };
        }
        None | Some("bool" | "int" | "float" | "null" | "timestamp") => {}
        Some(other) => return Err(format!("the tag `!!{other}` is not supported")),
    }
    let may_be_more =
        text.is_empty() || text.starts_with(|c: char| "+-.~yYnNtTfFoO".contains(c) || c.is_ascii_digit());
    if quoted && may_be_more {
        return Ok(Value::string(text));
    }
    if may_be_more && let Some(value) = implicit(tag, text)? {
        return Ok(value);
    }
    match tag {
        None => Ok(Value::string(text)),
        Some("null") => Ok(Value::null(Type::Dynamic)),
        Some("int" | "float") => any_number(text).map_or_else(fails, |number| Ok(Value::number(number))),
        Some("timestamp") => timestamp(text).map_or_else(fails, |time| Ok(Value::string(time))),
        Some(_) => fails(),
    }
}

fn implicit(tag: Option<&str>, text: &str) -> Result<Option<Value>, String> {
    if TRUE.contains(&text) || FALSE.contains(&text) {
        return Ok(Some(Value::bool(TRUE.contains(&text))));
    }
    let found = match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Value::null(Type::Dynamic)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            Some(Value::number(Number::infinity(false)))
        }
        "-.inf" | "-.Inf" | "-.INF" => Some(Value::number(Number::infinity(true))),
        ".nan" | ".NaN" | ".NAN" if tag.is_none() => {
            return Err(format!("`{text}`: there is no such number here"));
        }
        _ => None,
    };
    if found.is_some() || text.starts_with(|c: char| c == '~' || c.is_ascii_alphabetic()) {
        return Ok(found);
    }
    if text.starts_with('.') {
        return Ok(Number::parse(text).ok().map(Value::number));
    }
    if matches!(tag, None | Some("timestamp"))
        && let Some(time) = timestamp(text)
    {
        return Ok(Some(Value::string(time)));
    }
    let plain = text.replace('_', "");
    if let Ok(number) = Number::parse(&plain) {
        return Ok(Some(Value::number(number)));
    }
    let is_binary = plain.starts_with("0b") || plain.starts_with("-0b");
    match any_number(text).filter(|_| is_binary) {
        Some(number) => Ok(Some(Value::number(number))),
        None if is_binary => Err(format!("`{text}` is no number in base 2")),
        None => Ok(None),
    }
}

/// A number in any of the bases that Go reads: `0x`, `0o`, `0b`, or a leading zero for eight.
fn any_number(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    if let Ok(number) = Number::parse(&plain) {
        return Some(number);
    }
    let (negative, bare) = match plain.strip_prefix('-') {
        Some(bare) => (true, bare),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = match bare.get(..2)?.to_ascii_lowercase().as_str() {
        "0x" => 16,
        "0o" => 8,
        "0b" => 2,
        _ => return None,
    };
    let magnitude = u64::from_str_radix(&bare[2..], radix).ok().filter(|_| !bare[2..].starts_with('+'))?;
    let number = Number::from(magnitude);
    Some(if negative { number.neg() } else { number })
}

/// A time in one of the four forms of YAML 1.1, as RFC 3339 has it: with a `T` or `t` and an offset, with a space and
/// no offset, or only a date. Parts may have one digit.
fn timestamp(text: &str) -> Option<String> {
    let mut reader = Reader(text);
    let year = reader.digits(4..=4)?;
    let month = reader.after('-')?.digits(1..=2)?;
    let day = reader.after('-')?.digits(1..=2)?;
    let date = jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    let date = format!("{year}-{:02}-{:02}", date.month(), date.day());
    if reader.0.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    let separator = reader.0.chars().next().filter(|c| matches!(c, 'T' | 't' | ' '))?;
    let hour: u8 = reader.after(separator)?.digits(1..=2)?.parse().ok()?;
    let minute: u8 = reader.after(':')?.digits(1..=2)?.parse().ok()?;
    let second: u8 = reader.after(':')?.digits(1..=2)?.parse().ok()?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if let Some(fraction) =
        reader.0.strip_prefix(['.', ',']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        reader.0 = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let offset = match (separator, reader.0) {
        (' ', "") => "Z".to_owned(),
        (' ', _) => return None,
        (_, rest) => offset(rest)?,
    };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{offset}"))
}

fn offset(text: &str) -> Option<String> {
    if text == "Z" {
        return Some("Z".to_owned());
    }
    let mut reader = Reader(text.strip_prefix(['+', '-'])?);
    let hours: u8 = reader.digits(2..=2)?.parse().ok().filter(|hours| *hours <= 24)?;
    let minutes: u8 = reader.after(':')?.digits(2..=2)?.parse().ok().filter(|minutes| *minutes < 60)?;
    let none = hours == 0 && minutes == 0;
    reader.0.is_empty().then(|| if none { "Z".to_owned() } else { text.to_owned() })
}

struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn digits(&mut self, count: std::ops::RangeInclusive<usize>) -> Option<&'a str> {
        let found = self.0.bytes().take(*count.end()).take_while(u8::is_ascii_digit).count();
        if !count.contains(&found) {
            return None;
        }
        let (digits, rest) = self.0.split_at(found);
        self.0 = rest;
        Some(digits)
    }

    fn after(&mut self, c: char) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(c)?;
        Some(self)
    }
}
