//! Quotes words for a POSIX shell. Every text that is not this crate's own goes through here on its way into a command.

/// A word as a shell reads it back, whatever is in it.
///
/// ```
/// assert_eq!(imgbuild_ssh::quote("it's"), r"'it'\''s'");
/// ```
#[must_use]
pub fn quote(word: &str) -> String {
    String::from_utf8_lossy(&quote_bytes(word.as_bytes())).into_owned()
}

/// The same of bytes that are no UTF-8.
pub(crate) fn quote_bytes(word: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(word.len() + 2);
    quoted.push(b'\'');
    for &byte in word {
        if byte == b'\'' {
            quoted.extend_from_slice(br"'\''");
        } else {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

/// A path that no program takes for an option.
pub(crate) fn path_word(path: &str) -> String {
    if path.starts_with('-') { quote(&format!("./{path}")) } else { quote(path) }
}
