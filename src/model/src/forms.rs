//! The ways in which a secret is written down, for those who search for it: as it is, in base64, percent-encoded, in
//! hexadecimal digits, as part of a JSON string.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The shortest text in bytes that is worth a search: a shorter one would be found everywhere.
pub const SHORTEST_SECRET: usize = 4;

/// A value in each way that it is most often written down, each once; nothing if it is shorter than
/// [`SHORTEST_SECRET`]. Base64 is there in both alphabets, and as it looks at any place in a longer text.
#[must_use]
pub fn written_forms(value: &[u8]) -> Vec<Vec<u8>> {
    if value.len() < SHORTEST_SECRET {
        return Vec::new();
    }
    let mut all = vec![value.to_vec(), percent(value, false), percent(value, true), hexadecimal(value)];
    all.push(hexadecimal(value).to_ascii_uppercase());
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(json) = serde_json::to_string(text)
    {
        all.push(json.as_bytes()[1..json.len() - 1].to_vec());
    }
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        all.extend((0..3).map(|offset| base64_at(&engine, value, offset)));
    }
    all.sort();
    all.dedup();
    all.retain(|form| form.len() >= SHORTEST_SECRET);
    all
}

/// The characters of a longer text's base64 that this value alone decides, if it begins `offset` bytes after a group of
/// three.
fn base64_at(engine: &GeneralPurpose, value: &[u8], offset: usize) -> Vec<u8> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value);
    let encoded = engine.encode(&bytes).into_bytes();
    // A character is six bits: those that hold a bit of a neighbour are left out.
    let (first, end) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
    encoded[first.min(end)..end].to_vec()
}

/// As in an address; a space as `+` in a form.
fn percent(value: &[u8], form: bool) -> Vec<u8> {
    let mut encoded = Vec::new();
    for byte in value {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(*byte),
            b' ' if form => encoded.push(b'+'),
            byte => encoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    encoded
}

fn hexadecimal(value: &[u8]) -> Vec<u8> {
    value.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_in_each_form_and_a_short_one_in_none() {
        let forms = written_forms(b"a \"b\"?");
        for form in [
            &b"a \"b\"?"[..],
            b"a%20%22b%22%3F",
            b"a+%22b%22%3F",
            b"61202262223f",
            b"61202262223F",
            br#"a \"b\"?"#,
        ] {
            assert!(forms.iter().any(|known| known == form), "{}", String::from_utf8_lossy(form));
        }
        assert!(forms.contains(&STANDARD_NO_PAD.encode("a \"b\"?").into_bytes()));
        assert!(written_forms(b"abc").is_empty());
    }
}
