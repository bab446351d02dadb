//! Digests that users write: `sha256:…`, or digits alone, whose number says which function they are of (as Packer's
//! `iso_checksum`), and lists of them (`file:…`), as `sha256sum` and the tools of BSD write them.

use std::io::Read;
use std::path::Path;

use imgbuild_engine::ActionError;
use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha512};

/// The digest of a medium in a list: that of a line that names it, or the only one of a list that names nothing. Files are named as
/// the medium is at the end of its address (`name`), with folders before it or without.
///
/// # Errors
/// If there is none.
pub(crate) fn in_list(list: &str, name: &str) -> Result<String, ActionError> {
    let entries: Vec<(String, Option<&str>)> = list.lines().filter_map(entry).collect();
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let named = entries.iter().find(|(_, file)| file.is_some_and(|file| base(file) == name));
    let found = match (named, &entries[..]) {
        (Some((digest, _)), _) | (None, [(digest, None)]) => digest,
        (None, []) => {
            return Err(ActionError::input("the list of checksums has none")
                .hint("a line is `DIGITS  FILE` or `SHA256 (FILE) = DIGITS`"));
        }
        _ => {
            let some: Vec<&str> = entries.iter().filter_map(|(_, file)| *file).take(3).collect();
            let what = format!("the list of checksums does not name `{name}`");
            return Err(ActionError::input(what).hint(format!("it names {}", some.join(", "))));
        }
    };
    Ok(found.clone())
}

/// A line's digest and file: `DIGITS  FILE`, `DIGITS *FILE`, `SHA256 (FILE) = DIGITS`, or `DIGITS` alone. Signatures, comments and
/// digests of other functions are none.
fn entry(line: &str) -> Option<(String, Option<&str>)> {
    let line = line.trim();
    let known = |digits: &str| {
        let is_digest = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_digest && !by_length(digits).is_empty()).then(|| digits.to_ascii_lowercase())
    };
    if let Some((start, digits)) = line.rsplit_once(") = ")
        && let Some((function, file)) = start.split_once(" (")
    {
        let digits = known(digits.trim())?;
        return (function.to_ascii_lowercase().replace('-', "") == by_length(&digits))
            .then_some((digits, Some(file)));
    }
    let (digits, file) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let file = file.trim_start();
    let file = file.strip_prefix('*').unwrap_or(file);
    Some((known(digits)?, (!file.is_empty()).then_some(file)))
}

/// How much is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// Holds a file against a digest; `none` is held against nothing.
///
/// # Errors
/// If it is another file, cannot be read, or the digest is none.
pub(crate) fn verify(path: &Path, checksum: &str) -> Result<(), ActionError> {
    if checksum == "none" {
        return Ok(());
    }
    let (function, expected) = match checksum.split_once(':') {
        Some((function, digits)) => (function.to_ascii_lowercase(), digits.to_ascii_lowercase()),
        None => (by_length(checksum).to_owned(), checksum.to_ascii_lowercase()),
    };
    let mut hasher: Box<dyn DynDigest> = match function.as_str() {
        "md5" => Box::new(Md5::default()),
        "sha1" => Box::new(Sha1::default()),
        "sha256" => Box::new(Sha256::default()),
        "sha512" => Box::new(Sha512::default()),
        _ => {
            return Err(ActionError::input(format!("`{checksum}` is no checksum"))
                .hint("write `sha256:` and 64 hexadecimal digits; md5, sha1 and sha512 are taken too"));
        }
    };
    let found = tokio::task::block_in_place(|| digest_of(path, &mut *hasher))?;
    if found == expected {
        return Ok(());
    }
    let what = format!("`{}` is not what `checksum` says: its {function} is {found}", path.display());
    Err(ActionError::input(what)
        .hint(format!("`{function}:{expected}` is expected; fetch it again, or correct it")))
}

fn digest_of(path: &Path, hasher: &mut dyn DynDigest) -> std::io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize_reset()));
        }
        hasher.update(&piece[..read]);
    }
}

/// Which function digits are of.
fn by_length(digits: &str) -> &'static str {
    match digits.len() {
        32 => "md5",
        40 => "sha1",
        64 => "sha256",
        128 => "sha512",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_of_two_kinds() {
        let (one, two) = ("aa".repeat(32), "bb".repeat(32));
        let gnu = format!(
            "# of today\n{one}  ./iso/first.iso\n{two} *second file.iso\n{}  second.iso\n",
            "cc".repeat(24)
        );
        assert_eq!(in_list(&gnu, "first.iso").unwrap(), one);
        assert_eq!(in_list(&gnu, "second file.iso").unwrap(), two);
        let bsd = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nSIZE (first.iso) = 12\nSHA256 (first.iso) = {}\n",
            one.to_uppercase()
        );
        assert_eq!(in_list(&bsd, "first.iso").unwrap(), one);
        assert_eq!(in_list(&format!("{two}\n"), "any.iso").unwrap(), two);
        for (list, said) in [
            (gnu.as_str(), "the list of checksums does not name `third.iso`"),
            // A number of that length is of SHA-384, which is not taken.
            (&*format!("{}  third.iso", "dd".repeat(48)), "the list of checksums has none"),
            (&*format!("MD5 (third.iso) = {one}"), "the list of checksums has none"),
            ("<html>", "the list of checksums has none"),
        ] {
            let error = in_list(list, "third.iso").unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_function_is_known() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), b"abc").unwrap();
        for good in [
            "none",
            "md5:900150983cd24fb0d6963f7d28e17f72",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
            "SHA256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ] {
            verify(file.path(), good).unwrap();
        }
        let error = verify(file.path(), "md5:00").unwrap_err().to_string();
        assert!(error.contains("its md5 is 9001"), "{error}");
        assert!(verify(file.path(), "crc:1").is_err() && verify(file.path(), "12").is_err());
    }
}
