//! Times and durations as Go writes and reads them.

use std::time::Duration;

use imgbuild_packer_functions::go_layout;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The layout `2006-01-02T15:04:05Z07:00`.
pub const RFC3339: &str = "2006-01-02T15:04:05Z07:00";

/// A time in UTC after a layout of Go's (`2006-01-02`).
#[must_use]
pub fn format(time: Timestamp, layout: &str) -> String {
    go_layout(layout, &time.to_zoned(TimeZone::UTC))
}

/// A time in UTC after a format in the manner of `strftime`, as the function of that name in templates has it: the
/// letters `a A b B d H I m M p S y Y z Z`, and text between them is a layout of Go's.
#[must_use]
pub fn strftime(time: Timestamp, text: &str) -> String {
    let mut layout = String::new();
    for chunk in text.split('%').filter(|chunk| !chunk.is_empty()) {
        let letter = match chunk.chars().next() {
            Some('B') => "January",
            Some('b') => "Jan",
            Some('m') => "01",
            Some('A') => "Monday",
            Some('a') => "Mon",
            Some('d') => "02",
            Some('H') => "15",
            Some('I') => "03",
            Some('M') => "04",
            Some('S') => "05",
            Some('Y') => "2006",
            Some('y') => "06",
            Some('p') => "PM",
            Some('Z') => "MST",
            Some('z') => "-0700",
            _ => {
                layout.push('%');
                layout.push_str(chunk);
                continue;
            }
        };
        layout.push_str(letter);
        layout.push_str(&chunk[1..]);
    }
    format(time, &layout)
}

/// A duration such as `1h30m`, `1.5s` or `-2ms`, in nanoseconds. `None` if it is none.
fn duration_nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..length].parse().ok()?;
        rest = &rest[length..];
        let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..length] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[length..];
    }
    let total = if negative { -total } else { total };
    (total.abs() < 9.2e18).then_some(total as i64)
}

/// A duration that is not negative.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    duration_nanoseconds(text).and_then(|count| u64::try_from(count).ok()).map(Duration::from_nanos)
}

/// A duration as Go writes it: `5s`, `1m30s`, `1h0m0s`, `1.5s`, `20ms`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let small = |unit: u128, name: &str| {
        let fraction = format!("{:0width$}", nanoseconds % unit, width = unit.ilog10() as usize);
        let number = format!("{}.{fraction}", nanoseconds / unit);
        format!("{}{name}", number.trim_end_matches('0').trim_end_matches('.'))
    };
    let hours = nanoseconds / 3_600_000_000_000;
    let minutes = nanoseconds / 60_000_000_000 % 60;
    let seconds = {
        let rest = nanoseconds % 60_000_000_000;
        let fraction = format!("{}.{:09}", rest / 1_000_000_000, rest % 1_000_000_000);
        format!("{}s", fraction.trim_end_matches('0').trim_end_matches('.'))
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => small(1_000, "µs"),
        1_000_000..1_000_000_000 => small(1_000_000, "ms"),
        _ if hours > 0 => format!("{hours}h{minutes}m{seconds}"),
        _ if minutes > 0 => format!("{minutes}m{seconds}"),
        _ => seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::{RFC3339, duration, duration_nanoseconds, duration_text, format, strftime};

    fn time(text: &str) -> jiff::Timestamp {
        text.parse().expect("a time")
    }

    /// Expectations are those of Go 1.26.
    #[test]
    fn layouts_are_those_of_go() {
        let morning = time("2024-03-05T07:08:09.012345678Z");
        for (layout, expected) in [
            (RFC3339, "2024-03-05T07:08:09Z"),
            ("2006-01-02", "2024-03-05"),
            ("060102150405", "240305070809"),
            ("Mon Jan _2 15:04:05 MST 2006", "Tue Mar  5 07:08:09 UTC 2024"),
            ("Monday, 02-Jan-06 3:04PM", "Tuesday, 05-Mar-24 7:08AM"),
            ("January 2, 2006 at 3:4:5pm", "March 5, 2024 at 7:8:9am"),
            ("002 __2 _2", "065  65  5"),
            ("-0700 -07:00 -07 Z0700 Z07", "+0000 +00:00 +00 Z Z"),
            ("05.000 05.999999 05,000000000", "09.012 09.012345 09,012345678"),
            ("Janet Jan. Months Mon", "Janet Mar. Months Tue"),
            ("20060102-1504", "20240305-0708"),
            ("1/2/06 03", "3/5/24 07"),
            ("plain é", "plain é"),
            ("_2006", "_2024"),
        ] {
            assert_eq!(format(morning, layout), expected, "{layout}");
        }
        assert_eq!(format(time("2024-12-31T00:00:00Z"), "3PM 03pm 15 002 05.999"), "12AM 12am 00 366 00");
    }

    #[test]
    fn strftime_has_fifteen_letters() {
        let noon = time("2024-03-05T12:08:09Z");
        assert_eq!(strftime(noon, "%Y-%m-%d %H:%M:%S %p %I"), "2024-03-05 12:08:09 PM 12");
        assert_eq!(strftime(noon, "%A %a %B %b %y %Z %z %Q x"), "Tuesday Tue March Mar 24 UTC +0000 %Q x");
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-2ms", Some(-2_000_000)),
            ("3us4ns", Some(3_004)),
            ("10", None),
            ("", None),
            ("s", None),
            ("1d", None),
            ("1h-2m", None),
            ("9999999999h", None),
        ] {
            assert_eq!(duration_nanoseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for text in
            ["0s", "5s", "1.5s", "1m30s", "10m0s", "1h0m0s", "26h3m0.25s", "20ms", "1.5ms", "3µs", "7ns"]
        {
            assert_eq!(duration_text(duration(text).expect("a duration")), text);
        }
    }
}
