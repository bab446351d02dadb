//! Digests that users write: `sha256:…`, or digits alone, whose number says which function they are of (as Packer's
//! `iso_checksum`).

use std::io::Read;
use std::path::Path;

use imgbuild_engine::ActionError;
use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha512};

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
