//! Times and durations as texts.

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// `January`.
pub(super) fn month_name(time: &Zoned) -> String {
    time.strftime("%B").to_string()
}

/// `Monday`.
pub(super) fn weekday_name(time: &Zoned) -> String {
    time.strftime("%A").to_string()
}

/// `-07:00`, `-0700`, or, if asked for, `Z` where there is no offset.
pub(super) fn offset(time: &Zoned, colon: bool, z: bool) -> String {
    let seconds = time.offset().seconds();
    if seconds == 0 && z {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    let colon = if colon { ":" } else { "" };
    format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
}

/// With whole seconds.
pub(super) fn rfc3339(time: &Zoned) -> String {
    let (date, clock) = (time.date(), time.time());
    let (hour, minute, second) = (clock.hour(), clock.minute(), clock.second());
    let year = if date.year() < 0 { format!("-{:04}", -date.year()) } else { format!("{:04}", date.year()) };
    let day = format!("{year}-{:02}-{:02}", date.month(), date.day());
    format!("{day}T{hour:02}:{minute:02}:{second:02}{}", offset(time, true, true))
}

/// Reads RFC 3339 to the letter: `2006-01-02T15:04:05Z`, with a fraction or an offset.
pub(super) fn parse(text: &str) -> Result<Zoned, String> {
    read(text, &['T'])
}

/// The same, where a space may stand for the `T`.
pub(super) fn parse_with_space(text: &str) -> Result<Zoned, String> {
    read(text, &['T', ' '])
}

struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn fails<X>(reason: impl std::fmt::Display) -> Result<X, String> {
        Err(format!("it is no time as RFC 3339 has it (`2006-01-02T15:04:05Z`): {reason}"))
    }

    fn number(
        &mut self,
        digits: usize,
        what: &str,
        range: std::ops::RangeInclusive<i16>,
    ) -> Result<i16, String> {
        if self.0.is_empty() {
            return Self::fails(format!("it ends before the {what}"));
        }
        let count = self.0.bytes().take(digits).take_while(u8::is_ascii_digit).count();
        if count < digits {
            return Self::fails(format!("the {what} must have {digits} digits"));
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        match number.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(number),
            None => Self::fails(format!(
                "the {what} must be from {} to {}, not {number}",
                range.start(),
                range.end()
            )),
        }
    }

    fn sign(&mut self, wanted: &[char], what: &str) -> Result<(), String> {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                Ok(())
            }
            None if self.0.is_empty() => Self::fails(format!("it ends before the {what}")),
            None => Self::fails(format!("there is no `{}` before the {what}", wanted[0])),
        }
    }

    fn fraction(&mut self) -> i32 {
        let Some(rest) = self.0.strip_prefix('.') else { return 0 };
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return 0;
        }
        let (digits, rest) = rest.split_at(count);
        self.0 = rest;
        let digits: String = digits.chars().chain("000000000".chars()).take(9).collect();
        digits.parse().unwrap_or(0)
    }

    fn offset(&mut self) -> Result<i32, String> {
        if self.0 == "Z" {
            return Ok(0);
        }
        let sign = match self.0.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            None => return Self::fails("it ends before the offset (`Z`, `+02:00`)"),
            Some(c) => return Self::fails(format!("an offset starts with `Z`, `+` or `-`, not with `{c}`")),
        };
        self.0 = &self.0[1..];
        let hours = self.number(2, "hours of the offset", 0..=23)?;
        self.sign(&[':'], "minutes of the offset")?;
        let minutes = self.number(2, "minutes of the offset", 0..=59)?;
        if !self.0.is_empty() {
            return Self::fails(format!("after the offset there is `{}`", self.0));
        }
        Ok(sign * (i32::from(hours) * 60 + i32::from(minutes)) * 60)
    }
}

fn read(text: &str, between: &[char]) -> Result<Zoned, String> {
    let mut reader = Reader(text);
    let year = reader.number(4, "year", 0..=9999)?;
    reader.sign(&['-'], "month")?;
    let month = reader.number(2, "month", 1..=12)?;
    reader.sign(&['-'], "day")?;
    let day = reader.number(2, "day", 1..=31)?;
    reader.sign(between, "hour")?;
    let hour = reader.number(2, "hour", 0..=23)?;
    reader.sign(&[':'], "minute")?;
    let minute = reader.number(2, "minute", 0..=59)?;
    reader.sign(&[':'], "second")?;
    let second = reader.number(2, "second", 0..=59)?;
    let nanosecond = reader.fraction();
    let offset = reader.offset()?;
    // All but the year is below 60.
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|part| part as i8);
    let time = DateTime::new(year, month, day, hour, minute, second, nanosecond)
        .or_else(|_| Reader::fails(format!("month {month} of {year} has no day {day}")))?;
    Offset::from_seconds(offset)
        .and_then(|offset| time.to_zoned(TimeZone::fixed(offset)))
        .or_else(|_| Reader::fails("it is out of range"))
}

/// A duration as Go writes it, in nanoseconds: signed decimals with units, `1h30m`, `-1.5s`.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let wrong = || {
        format!(
            "`{text}` is no duration; write numbers with the units `h`, `m`, `s`, `ms`, `us` or `ns`, as in `1h30m`"
        )
    };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        rest = after;
        let size: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(wrong());
        }
        let too_long = || format!("the duration `{text}` is longer than 292 years");
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
        let fraction: String = fraction.chars().take(15).collect();
        let part = fraction.parse::<i128>().unwrap_or(0) * size / 10i128.pow(fraction.len() as u32);
        total = whole
            .checked_mul(size)
            .and_then(|nanoseconds| total.checked_add(nanoseconds + part))
            .filter(|total| *total <= i128::from(i64::MAX))
            .ok_or_else(too_long)?;
    }
    let total = total as i64;
    Ok(if negative { -total } else { total })
}
