//! What lies around a template while it is fuzzed: files in memory, a clock that stands, nothing random.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_model::EntryKind;
use imgbuild_packer::interpolate::{self, Run};
use imgbuild_packer::template::Files;
use imgbuild_packer_functions::{FileKind, Host, SecretError, SecretRequest};
use jiff::Timestamp;

/// A machine with nothing but one file, `/file`, which is a template.
pub struct Nowhere;

const FILE: &str = "${upper(name)} and %{ for v in list }${v},%{ endfor }";

impl Host for Nowhere {
    fn root(&self) -> &Path {
        Path::new("/")
    }

    fn cwd(&self) -> &Path {
        Path::new("/")
    }

    fn home(&self) -> Option<&Path> {
        None
    }

    fn started(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("/file") { Ok(FILE.into()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        Ok(match path.to_str() {
            Some("/") => Some(FileKind::Folder),
            Some("/file") => Some(FileKind::File),
            _ => None,
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, FileKind)>> {
        if folder == Path::new("/") {
            Ok(vec![("file".to_owned(), FileKind::File)])
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn env(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home".to_owned())
    }
}

impl interpolate::Host for Nowhere {
    fn environment(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home".to_owned())
    }

    fn secret(&self, _: &SecretRequest) -> Result<String, SecretError> {
        Ok("answer".to_owned())
    }

    fn random(&self) -> [u8; 12] {
        [7; 12]
    }
}

/// What is the same for all strings.
#[must_use]
pub fn run() -> Run {
    Run {
        started: Timestamp::UNIX_EPOCH,
        folder: "/".to_owned(),
        template_folder: Some("/".to_owned()),
        packer_version: "1.16.0".to_owned(),
        host: Arc::new(Nowhere),
    }
}

/// The files of a template, by path.
pub struct Memory(pub BTreeMap<String, String>);

impl Files for Memory {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        if path == "." { Some(EntryKind::Directory) } else { self.0.get(path).map(|_| EntryKind::File) }
    }

    fn list(&self, _: &str) -> io::Result<Vec<(String, EntryKind)>> {
        Ok(self.0.keys().map(|name| (name.clone(), EntryKind::File)).collect())
    }

    fn read(&self, path: &str) -> io::Result<Arc<str>> {
        self.0.get(path).map(|text| text.as_str().into()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
