//! The order of kernels' versions, as in the UAPI group's Version Format Specification: digits by value, `~` before all,
//! then `-`, `^`, `.`, letters by their bytes.

use std::cmp::Ordering;

/// Which of two versions is older.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (clean(one.as_bytes()), clean(other.as_bytes()));
    loop {
        if one.is_empty() && other.is_empty() {
            return Ordering::Equal;
        }
        for mark in [b'~', 0, b'-', b'^', b'.'] {
            let has = |rest: &[u8]| if mark == 0 { rest.is_empty() } else { rest.first() == Some(&mark) };
            match (has(one), has(other)) {
                (true, false) => return Ordering::Less,
                (false, true) => return Ordering::Greater,
                (true, true) if mark != 0 => {
                    (one, other) = (&one[1..], &other[1..]);
                    break;
                }
                _ => {}
            }
        }
        let digit = |rest: &[u8]| rest.first().is_some_and(u8::is_ascii_digit);
        let letter = |rest: &[u8]| rest.first().is_some_and(u8::is_ascii_alphabetic);
        let order = if digit(one) || digit(other) {
            let (number, after) = split(one, u8::is_ascii_digit);
            let (other_number, other_after) = split(other, u8::is_ascii_digit);
            (one, other) = (after, other_after);
            let (number, other_number) = (without_zeros(number), without_zeros(other_number));
            number.len().cmp(&other_number.len()).then_with(|| number.cmp(other_number))
        } else if letter(one) || letter(other) {
            let (word, after) = split(one, u8::is_ascii_alphabetic);
            let (other_word, other_after) = split(other, u8::is_ascii_alphabetic);
            (one, other) = (after, other_after);
            word.cmp(other_word)
        } else {
            Ordering::Equal
        };
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (clean(one), clean(other));
    }
}

/// `rest` without characters in front that have no meaning.
fn clean(rest: &[u8]) -> &[u8] {
    let meant = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    rest.iter().position(meant).map_or(&[], |start| &rest[start..])
}

fn split(rest: &[u8], belongs: fn(&u8) -> bool) -> (&[u8], &[u8]) {
    rest.split_at(rest.iter().position(|byte| !belongs(byte)).unwrap_or(rest.len()))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    number.iter().position(|digit| *digit != b'0').map_or(&[], |start| &number[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_an_order() {
        let rising = [
            "",
            "5.10.0-8-amd64",
            "5.10.0-21-amd64",
            "6.1~rc1",
            "6.1",
            "6.1-1",
            "6.1.0-9-cloud-amd64",
            "6.1.0-35-cloud-amd64",
            "6.1.0-35-rt-amd64",
            "6.12.9+bpo-amd64",
            "6.12.10-amd64",
            "10.0",
        ];
        for (index, one) in rising.iter().enumerate() {
            for (other_index, other) in rising.iter().enumerate() {
                assert_eq!(compare(one, other), index.cmp(&other_index), "`{one}` and `{other}`");
            }
        }
        assert_eq!(compare("1.01", "1.1"), Ordering::Equal);
    }
}
