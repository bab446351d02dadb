//! The form of `formatdate`: letters that stand for parts of a time, text in single quotes.

use imgbuild_hcl::eval::CallError;
use jiff::Zoned;

use super::moment::{month_name, offset, weekday_name};
use crate::wrong;

pub(super) fn formatted(format: &str, time: &Zoned) -> Result<String, CallError> {
    let mut out = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            rest = quoted(&rest[1..], &mut out)?;
        } else if c.is_ascii_alphabetic() {
            let end = rest.find(|other| other != c).unwrap_or(rest.len());
            let (verb, after) = rest.split_at(end);
            out.push_str(&part(verb, time)?);
            rest = after;
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(out)
}

/// Copies text after an opening quote, and gives what comes after the closing one. Two quotes are one.
fn quoted<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, CallError> {
    if let Some(after) = rest.strip_prefix('\'') {
        out.push('\'');
        return Ok(after);
    }
    let mut rest = rest;
    loop {
        let end = rest.find('\'').ok_or_else(|| wrong(0, "a text in single quotes does not end"))?;
        out.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                out.push('\'');
                rest = after;
            }
            None => return Ok(rest),
        }
    }
}

fn part(verb: &str, time: &Zoned) -> Result<String, CallError> {
    let twelve = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let afternoon = time.hour() >= 12;
    Ok(match verb {
        "YYYY" => format!("{:04}", time.year()),
        "YY" => format!("{:02}", time.year() % 100),
        "MMMM" => month_name(time),
        "MMM" => time.strftime("%b").to_string(),
        "MM" => format!("{:02}", time.month()),
        "M" => time.month().to_string(),
        "DD" => format!("{:02}", time.day()),
        "D" => time.day().to_string(),
        "EEEE" => weekday_name(time),
        "EEE" => time.strftime("%a").to_string(),
        "hh" => format!("{:02}", time.hour()),
        "h" => time.hour().to_string(),
        "HH" => format!("{twelve:02}"),
        "H" => twelve.to_string(),
        "AA" => if afternoon { "PM" } else { "AM" }.to_owned(),
        "aa" => if afternoon { "pm" } else { "am" }.to_owned(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "ZZZZZ" => offset(time, true, false),
        "ZZZZ" => offset(time, false, false),
        "ZZZ" if time.offset().seconds() == 0 => "UTC".to_owned(),
        "ZZZ" => offset(time, false, false),
        "Z" => offset(time, true, true),
        _ => return Err(unknown(verb)),
    })
}

fn unknown(verb: &str) -> CallError {
    let choices = match verb.as_bytes().first() {
        Some(b'Y') => "a year is `YYYY` or `YY`",
        Some(b'M') => "a month is `MMMM`, `MMM`, `MM` or `M`",
        Some(b'D') => "a day is `DD` or `D`",
        Some(b'E') => "a day of the week is `EEEE` or `EEE`",
        Some(b'h') => "an hour of 24 is `hh` or `h`",
        Some(b'H') => "an hour of 12 is `HH` or `H`",
        Some(b'A' | b'a') => "the half of the day is `AA` or `aa`",
        Some(b'm') => "a minute is `mm` or `m`",
        Some(b's') => "a second is `ss` or `s`",
        Some(b'Z') => "an offset is `Z`, `ZZZ`, `ZZZZ` or `ZZZZZ`",
        _ => "text that stands for itself goes in single quotes",
    };
    wrong(0, format!("`{verb}` is no part of a time")).hint(choices)
}
