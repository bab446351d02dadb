//! The files of this machine, for templates and for formatting.

use std::io;
use std::sync::Arc;

use imgbuild_model::EntryKind;
use imgbuild_packer::template::Files;

/// Files by paths relative to the working folder, or absolute.
pub(super) struct Disk;

impl Files for Disk {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let metadata = fs_err::metadata(path).ok()?;
        Some(if metadata.is_file() {
            EntryKind::File
        } else if metadata.is_dir() {
            EntryKind::Directory
        } else {
            EntryKind::Other
        })
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, EntryKind)>> {
        let mut all = Vec::new();
        for entry in fs_err::read_dir(path)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of a template.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.path().to_str().and_then(|path| self.kind(path)).unwrap_or(EntryKind::Other);
            all.push((name, kind));
        }
        all.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(all)
    }

    fn read(&self, path: &str) -> io::Result<Arc<str>> {
        fs_err::read_to_string(path).map(Into::into)
    }
}
