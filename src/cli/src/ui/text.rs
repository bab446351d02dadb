//! How durations, sizes, counts and other people's output are written for people. Not where they are written.

use std::borrow::Cow;
use std::time::Duration;

/// A duration: `14ms`, `4.2s`, `1m10s`, `2h05m`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    // What would be rounded up to the next unit is written in that unit: never `1000ms` or `60.0s`.
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    if millis < 59_950 {
        return format!("{:.1}s", duration.as_secs_f64());
    }
    let seconds = (millis + 500) / 1_000;
    match seconds / 60 {
        minutes @ 0..60 => format!("{minutes}m{:02}s", seconds % 60),
        minutes => format!("{}h{:02}m", minutes / 60, minutes % 60),
    }
}

/// A duration that changes while one looks at it: whole seconds from a minute on, tenths before.
#[must_use]
pub fn elapsed(elapsed: Duration) -> String {
    if elapsed < Duration::from_secs(60) {
        return format!("{}.{}s", elapsed.as_secs(), elapsed.subsec_millis() / 100);
    }
    duration(elapsed)
}

/// A rough duration, in whole seconds at the least: `5s`, `1m10s`.
#[must_use]
pub fn rough(rough: Duration) -> String {
    if rough < Duration::from_secs(60) {
        return format!("{}s", rough.as_secs().max(1));
    }
    duration(rough)
}

/// A size: `512 B`, `45.2 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_023.95 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number with its noun: `1 target`, `3 targets`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A digest with the first twelve of its digits, enough to tell two apart: `sha256:0123456789ab`.
#[must_use]
pub fn short_digest(digest: &str) -> &str {
    let start = digest.find(':').map_or(0, |colon| colon + 1);
    digest.get(..start + 12).unwrap_or(digest)
}

/// A line of a step's output as it may be shown: without escape sequences, what a carriage return has overwritten, and
/// control characters, any of which could change the terminal for what follows.
#[must_use]
pub fn harmless(line: &str) -> Cow<'_, str> {
    if !line.contains(|c: char| c.is_control()) {
        return Cow::Borrowed(line);
    }
    let plain = console::strip_ansi_codes(line);
    let plain = plain.trim_end_matches('\r');
    let last = plain.rsplit('\r').next().unwrap_or(plain);
    Cow::Owned(last.replace('\t', "    ").chars().filter(|c| !c.is_control()).collect())
}

/// A line cut to `width` columns, by the width of what is shown; styles stay whole.
#[must_use]
pub fn cut<'a>(line: &'a str, width: usize, ellipsis: &str) -> Cow<'a, str> {
    console::truncate_str(line, width, ellipsis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (millis, text) in [
            (0, "0ms"),
            (14, "14ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (12_340, "12.3s"),
            (59_949, "59.9s"),
            (59_950, "1m00s"),
            (70_000, "1m10s"),
            (3_599_400, "59m59s"),
            (3_600_000, "1h00m"),
            (7_500_000, "2h05m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text, "{millis}");
        }
        assert_eq!(elapsed(Duration::from_millis(340)), "0.3s");
        assert_eq!(rough(Duration::from_millis(340)), "1s");
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (47_395_635, "45.2 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn digests_are_cut_and_short_ones_left() {
        assert_eq!(short_digest("sha256:0123456789abcdef"), "sha256:0123456789ab");
        assert_eq!(short_digest("0123456789abcdef"), "0123456789ab");
        assert_eq!(short_digest("sha256:0123"), "sha256:0123");
    }

    #[test]
    fn output_cannot_drive_the_terminal() {
        for (line, shown) in [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            (" 10%\r 50%\r100%\r", "100%"),
            ("a\tb", "a    b"),
            ("bell\u{7} and \u{1b}]0;title\u{7}", "bell and "),
            ("\u{9b}2J", "2J"),
        ] {
            assert!(!harmless(line).contains(|c: char| c.is_control()), "{line:?}");
            if !line.contains('\u{9b}') {
                assert_eq!(harmless(line), shown, "{line:?}");
            }
        }
    }

    #[test]
    fn lines_are_cut_by_the_width_shown() {
        assert_eq!(cut("abcdef", 4, "…"), "abc…");
        assert_eq!(cut("日本語", 5, "…"), "日本…");
        assert_eq!(cut("abc", 3, "…"), "abc");
    }
}
