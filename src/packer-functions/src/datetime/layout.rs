//! Go's way to give the form of a time: by how one moment, `Mon Jan 2 15:04:05 MST 2006`, would be written.
//!
//! Only times in UTC are written here.

use jiff::Zoned;

use super::moment::{month_name, weekday_name};

/// What can stand in a layout, the longer before the shorter where both could.
const PARTS: [&str; 34] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "1",
    "2006",
    "2",
    "__2",
    "_2006",
    "_2",
    "3",
    "4",
    "5",
    "PM",
    "pm",
    "-070000",
    "-07:00:00",
    "-0700",
    "-07:00",
    "-07",
    "Z070000",
    "Z07:00:00",
    "Z0700",
    "Z07:00",
    "Z07",
];

/// A time, in UTC, as a layout of Go's (`2006-01-02`) has it.
#[must_use]
pub fn go_layout(layout: &str, time: &Zoned) -> String {
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some((text, length)) = fraction(rest, time) {
            out.push_str(&text);
            rest = &rest[length..];
            continue;
        }
        match PARTS.iter().find(|part| stands(rest, part)) {
            Some(part) => {
                out.push_str(&written(part, time));
                rest = &rest[part.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// Short names are none if a small letter follows: `Monkey`.
fn stands(rest: &str, part: &str) -> bool {
    let Some(after) = rest.strip_prefix(part) else { return false };
    !(matches!(part, "Jan" | "Mon") && after.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// `.000` and the like: digits of the second, those of nines without zeros at the end.
fn fraction(rest: &str, time: &Zoned) -> Option<(String, usize)> {
    let point = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digit = rest[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let count = rest[1..].chars().take_while(|c| *c == digit).count();
    if rest[1 + count..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{:09}", time.subsec_nanosecond());
    let digits: String = nanoseconds.chars().chain(std::iter::repeat('0')).take(count).collect();
    let digits = if digit == '9' { digits.trim_end_matches('0') } else { &digits };
    let text = if digits.is_empty() { String::new() } else { format!("{point}{digits}") };
    Some((text, 1 + count))
}

fn written(part: &str, time: &Zoned) -> String {
    let twelve = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    match part {
        "January" => month_name(time),
        "Jan" => time.strftime("%b").to_string(),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "Monday" => weekday_name(time),
        "Mon" => time.strftime("%a").to_string(),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:2}", time.day()),
        "2" => time.day().to_string(),
        "002" => format!("{:03}", time.day_of_year()),
        "__2" => format!("{:3}", time.day_of_year()),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{twelve:02}"),
        "3" => twelve.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "2006" => format!("{:04}", time.year()),
        "_2006" => format!("_{:04}", time.year()),
        "06" => format!("{:02}", time.year() % 100),
        "PM" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "pm" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "MST" => "UTC".to_owned(),
        "-070000" => "+000000".to_owned(),
        "-07:00:00" => "+00:00:00".to_owned(),
        "-0700" => "+0000".to_owned(),
        "-07:00" => "+00:00".to_owned(),
        "-07" => "+00".to_owned(),
        _ => "Z".to_owned(),
    }
}
