//! Spans of time as Packer writes them: spelled out for people, and as Go prints them within messages.

use std::time::Duration;

/// Units in microseconds, from the largest. A year is 365 days.
const UNITS: [(&str, u128); 8] = [
    ("year", 31_536_000_000_000),
    ("week", 604_800_000_000),
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
    ("millisecond", 1_000),
    ("microsecond", 1),
];

/// The largest units that are not zero, at most so many, spelled out: `1 hour 5 seconds`. What is shorter than a
/// microsecond is `0 seconds`.
pub(crate) fn spelled(duration: Duration, units: usize) -> String {
    let mut rest = duration.as_micros();
    let mut parts = Vec::new();
    for (unit, micros) in UNITS {
        let count = rest / micros;
        rest %= micros;
        match count {
            0 => {}
            1 => parts.push(format!("1 {unit}")),
            count => parts.push(format!("{count} {unit}s")),
        }
    }
    parts.truncate(units);
    if parts.is_empty() { "0 seconds".to_owned() } else { parts.join(" ") }
}

/// As Go prints a duration: `1m30s`, `1.5s`, `100ms`.
pub(crate) fn go(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => return format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => return format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {}
    }
    let seconds = duration.as_secs();
    let within_minute = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0) => format!("{within_minute}s"),
        (0, minutes) => format!("{minutes}m{within_minute}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{within_minute}s"),
    }
}

/// A number of units with what is left as a fraction, without zeros at its end.
fn decimal(value: u128, unit: u128) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_spelled_in_their_two_largest_units() {
        for (micros, text) in [
            (0, "0 seconds"),
            (1, "1 microsecond"),
            (3_002, "3 milliseconds 2 microseconds"),
            (11_782, "11 milliseconds 782 microseconds"),
            (2_032_555, "2 seconds 32 milliseconds"),
            (61_000_000, "1 minute 1 second"),
            (3_605_000_000, "1 hour 5 seconds"),
            (3_600_000_001, "1 hour 1 microsecond"),
            (90_000_000_000, "1 day 1 hour"),
            (8 * 86_400_000_000, "1 week 1 day"),
            (366 * 86_400_000_000, "1 year 1 day"),
            (364 * 86_400_000_000, "52 weeks"),
        ] {
            assert_eq!(spelled(Duration::from_micros(micros), 2), text);
        }
        assert_eq!(spelled(Duration::from_nanos(999), 2), "0 seconds");
        assert_eq!(spelled(Duration::from_secs(90_061), 1), "1 day");
    }

    #[test]
    fn spans_are_printed_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (1_000_000_001, "1.000000001s"),
            (90_000_000_000, "1m30s"),
            (600_000_000_000, "10m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (360_000_000_000_000, "100h0m0s"),
        ] {
            assert_eq!(go(Duration::from_nanos(nanos)), text);
        }
    }
}
