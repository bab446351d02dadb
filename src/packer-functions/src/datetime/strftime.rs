//! The form of `legacy_strftime`: verbs like `%Y`. Only times in UTC are written here.

use jiff::Zoned;

use super::layout;

/// Verbs that Go's way to give a form has too.
fn as_layout(verb: char) -> Option<&'static str> {
    Some(match verb {
        'A' => "Monday",
        'a' => "Mon",
        'B' => "January",
        'b' | 'h' => "Jan",
        'c' => "Mon Jan _2 15:04:05 2006",
        'D' | 'x' => "01/02/06",
        'd' => "02",
        'e' => "_2",
        'F' => "2006-01-02",
        'H' => "15",
        'I' => "03",
        'M' => "04",
        'm' => "01",
        'p' => "PM",
        'R' => "15:04",
        'r' => "03:04:05 PM",
        'S' => "05",
        'T' | 'X' => "15:04:05",
        'v' => "_2-Jan-2006",
        'Y' => "2006",
        'y' => "06",
        'Z' => "MST",
        'z' => "-0700",
        _ => return None,
    })
}

pub(super) fn formatted(format: &str, time: &Zoned) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let verb = rest[at + 1..].chars().next().ok_or("the format ends with a `%`")?;
        rest = &rest[at + 1 + verb.len_utf8()..];
        match as_layout(verb) {
            Some(form) => out.push_str(&layout::go_layout(form, time)),
            None => out.push_str(&own(verb, time)?),
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn own(verb: char, time: &Zoned) -> Result<String, String> {
    let twelve = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let from_sunday = i32::from(time.weekday().to_sunday_zero_offset());
    let from_monday = i32::from(time.weekday().to_monday_zero_offset());
    // Packer's library counts so, one week ahead of what C does on most days.
    let week = |offset: i32| match i32::from(time.day_of_year()) {
        day if day < offset => 0,
        day => (day - offset) / 7 + 1,
    };
    Ok(match verb {
        '%' => "%".to_owned(),
        'C' => format!("{:02}", time.year() / 100),
        'j' => format!("{:03}", time.day_of_year()),
        'k' => format!("{:2}", time.hour()),
        'l' => format!("{twelve:2}"),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        'U' => format!("{:02}", week(from_sunday)),
        'u' => (from_monday + 1).to_string(),
        'V' => format!("{:02}", time.date().iso_week_date().week()),
        'W' => format!("{:02}", week(from_monday)),
        'w' => from_sunday.to_string(),
        other => return Err(format!("`%{other}` is no part of a time")),
    })
}
