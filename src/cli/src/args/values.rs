//! Values that a person types, on the command line or in a configuration file: sizes, ages, `key=value`. Not labels and
//! platforms, which are words of the model.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. `Display` writes the largest unit of which it is a whole multiple, so that it reads back the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A span of time in whole seconds. `Display` writes the largest unit of which it is a whole multiple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(pub Duration);

/// `-D key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The name of the flag.
    pub key: String,
    /// Its value, which may be empty and may hold `=`.
    pub value: String,
}

/// Why a text is not such a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a size.
    #[error("`{text}` is not a size: {reason}; write a number and a unit, as in `10GiB` or `500MB`")]
    Size {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not an age.
    #[error("`{text}` is not an age: {reason}; write numbers with units, as in `30d` or `12h`")]
    Age {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not `key=value`.
    #[error("`{text}` is not a definition: {reason}; write `key=value`")]
    Definition {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Units of sizes with their bytes, from the largest; the first spelling of each is the one that is written.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of ages with their seconds, from the largest.
const AGE_UNITS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl FromStr for ByteSize {
    type Err = ValueError;

    /// Reads `10GiB`, `1.5 GB`, `512K`; a bare letter (`G`) is the binary unit, a bare number is bytes.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fail = |reason: String| ValueError::Size { text: text.to_owned(), reason };
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..split], trimmed[split..].trim());
        if number.is_empty() {
            return Err(fail("it does not begin with a number".to_owned()));
        }
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" => 1,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            "t" => 1 << 40,
            other => SIZE_UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(other))
                .map(|(_, factor)| *factor)
                .ok_or_else(|| fail(format!("there is no unit `{unit}`")))?,
        };
        // Whole numbers are exact; only those with a fraction pass through floating point.
        let bytes = if number.contains('.') {
            let number: f64 = number.parse().map_err(|_| fail(format!("`{number}` is not a number")))?;
            let bytes = number * factor as f64;
            if bytes >= u64::MAX as f64 {
                return Err(fail("it is too large".to_owned()));
            }
            bytes.round() as u64
        } else {
            number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(factor))
                .ok_or_else(|| fail("it is too large".to_owned()))?
        };
        Ok(Self(bytes))
    }
}

impl FromStr for Age {
    type Err = ValueError;

    /// Reads one or more numbers with units from `w` to `s`: `30d`, `1d12h`. A bare number is refused: it could be
    /// seconds as well as days.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fail = |reason: String| ValueError::Age { text: text.to_owned(), reason };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(fail("it is empty".to_owned()));
        }
        let mut seconds = 0_u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            if number.is_empty() {
                return Err(fail("a unit needs a number before it".to_owned()));
            }
            let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, next) = after.split_at(letters);
            let unit = unit.trim();
            let factor = match unit {
                "" => return Err(fail(format!("`{number}` has no unit"))),
                _ => AGE_UNITS
                    .iter()
                    .find(|(name, _)| *name == unit)
                    .map(|(_, factor)| *factor)
                    .ok_or_else(|| fail(format!("there is no unit `{unit}`")))?,
            };
            seconds = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(factor))
                .and_then(|part| seconds.checked_add(part))
                .ok_or_else(|| fail("it is too long".to_owned()))?;
            rest = next;
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl FromStr for Definition {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fail = |reason| ValueError::Definition { text: text.to_owned(), reason };
        let (key, value) = text.split_once('=').ok_or_else(|| fail("it has no `=`"))?;
        if key.is_empty() {
            return Err(fail("it has no key"));
        }
        if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(fail("its key has a space"));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

fn write_in_units(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: &[(&'static str, u64)],
    smallest: &str,
) -> fmt::Result {
    match units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}{smallest}"),
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_units(f, self.0, &SIZE_UNITS, "B")
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_units(f, self.0.as_secs(), &AGE_UNITS, "s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("0", 0, "0B"),
            ("1024", 1024, "1KiB"),
            ("10GiB", 10 << 30, "10GiB"),
            ("10 gib", 10 << 30, "10GiB"),
            ("10G", 10 << 30, "10GiB"),
            ("1.5MiB", 1_572_864, "1536KiB"),
            ("500MB", 500_000_000, "500MB"),
            ("3b", 3, "3B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, written), "{text}");
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, reason) in [
            ("", "it does not begin with a number"),
            ("GiB", "it does not begin with a number"),
            ("-1", "it does not begin with a number"),
            ("1.2.3G", "`1.2.3` is not a number"),
            ("10 Gibs", "there is no unit `Gibs`"),
            ("99999999999999999999", "it is too large"),
            ("99999999T", "it is too large"),
            ("99999999.5T", "it is too large"),
        ] {
            let error = text.parse::<ByteSize>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a size: {reason};")), "{error}");
        }
    }

    #[test]
    fn ages_are_read_and_written() {
        for (text, seconds, written) in [
            ("30d", 2_592_000, "30d"),
            ("12h", 43_200, "12h"),
            ("1d12h", 129_600, "36h"),
            ("14d", 1_209_600, "2w"),
            ("90s", 90, "90s"),
            ("5 m", 300, "5m"),
        ] {
            let age: Age = text.parse().unwrap();
            assert_eq!((age.0.as_secs(), age.to_string().as_str()), (seconds, written), "{text}");
        }
    }

    #[test]
    fn what_is_no_age_says_why() {
        for (text, reason) in [
            ("", "it is empty"),
            ("30", "`30` has no unit"),
            ("d", "a unit needs a number before it"),
            ("3 months", "there is no unit `months`"),
            ("99999999999999999999d", "it is too long"),
        ] {
            let error = text.parse::<Age>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not an age: {reason};")), "{error}");
        }
    }

    #[test]
    fn definitions_split_at_the_first_equals_sign() {
        let definition: Definition = "mode=a=b".parse().unwrap();
        assert_eq!((definition.key.as_str(), definition.value.as_str()), ("mode", "a=b"));
        assert_eq!("debug=".parse::<Definition>().unwrap().value, "");
        for text in ["debug", "=x", "a b=c"] {
            assert!(text.parse::<Definition>().is_err(), "{text}");
        }
    }
}
