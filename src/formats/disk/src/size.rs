//! Sizes as people write them: `512M`, `10G`.

/// A mebibyte, to which partitions are aligned.
pub(crate) const MIB: u64 = 1 << 20;

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write a number with `K`, `M`, `G` or `T` for powers of 1024, such as `10G`")]
pub struct ParseSizeError(pub String);

/// The bytes that a text such as `10G` stands for: a whole number, then nothing or `B` (bytes), or `K`, `M`, `G`, `T`
/// for powers of 1024, which may be followed by `iB` or `B`.
///
/// # Errors
///
/// Other texts, and more than 2^64 bytes.
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let refused = || ParseSizeError(text.to_owned());
    let trimmed = text.trim();
    let end = trimmed.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(trimmed.len());
    let number: u64 = trimmed[..end].parse().map_err(|_| refused())?;
    let unit = trimmed[end..].trim_start();
    let power = match unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B')).unwrap_or(unit) {
        "" if !unit.starts_with('i') => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(refused()),
    };
    number.checked_mul(1 << power).ok_or_else(refused)
}

/// A size as a message shows it, in the form that [`parse_size`] takes, rounded up.
pub(crate) fn shown(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{}K", bytes.div_ceil(1024)),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}G", bytes >> 30),
        _ => format!("{}M", bytes.div_ceil(MIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("3B", 3),
            ("4k", 4096),
            ("10G", 10 << 30),
            ("2 MiB", 2 << 20),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "1.5G", "-1", "10X", "10 G B", "99999999999T", "1i", "1iB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn messages_show_what_is_read() {
        for bytes in [512, 4096, 10 << 30, 70 << 20] {
            assert_eq!(parse_size(&shown(bytes)), Ok(bytes));
        }
        assert_eq!(shown((1 << 20) + 1), "2M");
    }
}
