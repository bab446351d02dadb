//! The values of flags, as Go reads them: switches, whole numbers; and spans of time, as this program's other flags take
//! them.

use std::time::Duration;

/// A switch.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A whole number of 64 bits: decimal, `0x`, `0o` or a bare `0` before octal, `0b`, with `_` between digits of those
/// that have such a prefix or none.
pub(super) fn number(text: &str) -> Result<i64, &'static str> {
    const NO_NUMBER: &str = "it is not a whole number";
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, &*lower)
    };
    let first_may_be_underscore = radix != 10;
    let digits = match digits.strip_prefix('_') {
        Some(rest) if first_may_be_underscore => rest,
        _ => digits,
    };
    if digits.is_empty() || digits.ends_with('_') || digits.contains("__") || digits.starts_with('_') {
        return Err(NO_NUMBER);
    }
    let digits = digits.replace('_', "");
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(NO_NUMBER);
    }
    let sign = if negative { "-" } else { "" };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|_| "it is too large")
}

/// A span of time: whole numbers, each with a unit of `w`, `d`, `h`, `m`, `s`.
pub(super) fn age(text: &str) -> Result<Duration, &'static str> {
    let mut seconds = 0_u64;
    let mut rest = text;
    if rest.is_empty() {
        return Err("it is empty");
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or("its last number has no unit")?;
        if end == 0 {
            return Err("a number is missing");
        }
        let number: u64 = rest[..end].parse().map_err(|_| "it is too large")?;
        let mut characters = rest[end..].chars();
        let unit = match characters.next() {
            Some('w') => 604_800,
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err("there is no such unit"),
        };
        let part = number.checked_mul(unit).ok_or("it is too large")?;
        seconds = seconds.checked_add(part).ok_or("it is too large")?;
        rest = characters.as_str();
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("+7", 7),
            ("-3", -3),
            ("1_000", 1000),
            ("0x1F", 31),
            ("0x_1F", 31),
            ("017", 15),
            ("0_17", 15),
            ("0o17", 15),
            ("0b101", 5),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        for text in ["", "-", "x", "1.5", "08", "1_", "_1", "1__0", "0x", "--1", "+-1", " 1", "٣"] {
            assert_eq!(number(text), Err("it is not a whole number"), "{text}");
        }
        assert_eq!(number("9223372036854775808"), Err("it is too large"));
    }

    #[test]
    fn ages_are_numbers_with_units() {
        for (text, seconds) in
            [("7d", 604_800), ("1w", 604_800), ("12h", 43_200), ("1h30m", 5_400), ("0s", 0)]
        {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for (text, reason) in [
            ("", "it is empty"),
            ("7", "its last number has no unit"),
            ("d", "a number is missing"),
            ("7y", "there is no such unit"),
            ("1.5h", "there is no such unit"),
            ("-1h", "a number is missing"),
            ("99999999999999999999d", "it is too large"),
            ("9999999999999999999d", "it is too large"),
        ] {
            assert_eq!(age(text), Err(reason), "{text}");
        }
    }
}
