//! What all ways to move files share: names that are safe, files of this host that appear only when they are whole.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::Error;
use crate::error::io_reason;

/// What temporary names begin with.
pub(crate) const PREFIX: &str = ".imgbuild-";

/// The name under which a file is written before it has its own: beside it, always the same, so that one that was left by a
/// connection that was cut is replaced by the next try.
pub(crate) fn temporary(path: &str) -> String {
    let (folder, name) = match path.rfind('/') {
        Some(slash) => path.split_at(slash + 1),
        None => ("", path),
    };
    format!("{folder}{PREFIX}{}", short_hash(name.as_bytes()))
}

/// Sixteen digits that stand for a name.
pub(crate) fn short_hash(name: &[u8]) -> String {
    hex::encode(&Sha256::digest(name)[..8])
}

/// A name that a server gave, if it is one name of a file and nothing else.
pub(crate) fn checked_name(name: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(name);
    match text {
        Ok(text) if !matches!(text, "" | "." | "..") && !text.contains(['/', '\0']) => Ok(text),
        _ => Err(Error::HostileName(String::from_utf8_lossy(name).escape_debug().to_string())),
    }
}

/// An error of a path of the machine.
pub(crate) fn remote_error(path: &str, reason: &str) -> Error {
    Error::Remote { path: path.to_owned(), reason: reason.to_owned() }
}

/// An error of a path of this host.
pub(crate) fn local_error(path: &Path, error: &std::io::Error) -> Error {
    Error::Local { path: path.display().to_string(), reason: io_reason(error) }
}

/// A file of this host that takes its name when it is whole. One that is dropped before is taken away.
pub(crate) struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    is_whole: bool,
}

impl NewFile {
    /// Begins one, with these permission bits less the mask of this process.
    pub(crate) fn create(path: &Path, mode: u32) -> Result<Self, Error> {
        use fs_err::os::unix::fs::OpenOptionsExt;
        let mut name = OsString::from(PREFIX);
        let own = path.file_name().unwrap_or_default();
        name.push(short_hash(own.as_encoded_bytes()));
        let temporary = path.with_file_name(name);
        // Whatever is left there from another time, a link as well.
        let _ = fs_err::remove_file(&temporary);
        let opened =
            fs_err::OpenOptions::new().write(true).create_new(true).mode(mode & 0o777).open(&temporary);
        let file = opened.map_err(|error| local_error(path, &error))?;
        let file = File::from_std(file.into_parts().0);
        Ok(Self { file, temporary, path: path.to_owned(), is_whole: false })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).await.map_err(|error| local_error(&self.path, &error))
    }

    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        self.file.flush().await.map_err(|error| local_error(&self.path, &error))?;
        fs_err::rename(&self.temporary, &self.path).map_err(|error| local_error(&self.path, &error))?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_whole {
            // The error that it is dropped for counts.
            let _ = fs_err::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_are_checked() {
        for name in ["a", "a b", "-rf", "\n", "...", "ä", "a\\..\\b"] {
            assert_eq!(checked_name(name.as_bytes()).unwrap(), name);
        }
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b"] {
            assert!(matches!(checked_name(name.as_bytes()), Err(Error::HostileName(_))), "{name:?}");
        }
    }

    #[test]
    fn temporary_names_are_beside_their_own() {
        assert_eq!(temporary("/etc/motd"), format!("/etc/.imgbuild-{}", short_hash(b"motd")));
        assert_eq!(temporary("motd"), format!(".imgbuild-{}", short_hash(b"motd")));
        assert!(temporary(&"x".repeat(255)).len() < 30);
    }
}
