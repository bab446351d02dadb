//! What lies on a medium that is made for a guest: files by path, from texts and from files of the host.
//!
//! `fat` writes them as a floppy disk or a seed, `iso` as a CD; equal files give equal bytes. Not for: patterns of file names,
//! which the caller resolves.

mod fat;
mod iso;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use fat::{FatSize, fat_image};
pub use iso::iso_image;

/// Why a medium cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// A path that is none below a root.
    #[error("`{0}` is no path on a medium; use names with `/` between them, without `.` and `..`")]
    Path(String),
    /// A file and a folder of one name, or two files.
    #[error("the medium has two things at `{0}`")]
    Twice(String),
    /// A file of the host that cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// A path of the host without a name of its own, or with one that is no text.
    #[error("`{}` has no name that a medium could take", .0.display())]
    Name(PathBuf),
    /// A label that the format cannot have.
    #[error("`{label}` cannot be the label of a {medium}: {rule}")]
    Label {
        /// The label.
        label: String,
        /// Of what.
        medium: &'static str,
        /// What can.
        rule: &'static str,
    },
    /// A name that the format cannot have.
    #[error("`{name}` cannot be a name on a {medium}: {rule}")]
    BadName {
        /// The name.
        name: String,
        /// Of what.
        medium: &'static str,
        /// What can.
        rule: &'static str,
    },
    /// The files do not fit.
    #[error("{needed} bytes do not fit on a {medium} of {size}")]
    Full {
        /// What.
        medium: &'static str,
        /// What the files have in all.
        needed: u64,
        /// What there is.
        size: u64,
    },
}

/// Files by path. Folders are there if something is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Content>);

/// The bytes of a file; they may be secret, and `Debug` shows only how many there are.
#[derive(Clone, PartialEq, Eq)]
struct Content(Vec<u8>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Files {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file at `path`, whose parts have `/` between them; one at the start is not needed.
    ///
    /// # Errors
    /// If the path is none, or something is there.
    pub fn add(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Result<(), MediaError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\\']);
        if !path.split('/').all(good) {
            return Err(MediaError::Path(path.to_owned()));
        }
        let below = format!("{path}/");
        let inside = |one: &String| {
            one.starts_with(&below)
                || path.strip_prefix(one.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        if self.0.contains_key(path) || self.0.keys().any(inside) {
            return Err(MediaError::Twice(path.to_owned()));
        }
        self.0.insert(path.to_owned(), Content(bytes.into()));
        Ok(())
    }

    /// Puts a file or folder of the host into the root under its own name, a folder with all that is in it. Of a path that ends
    /// with `/` only what is in the folder. Links are followed.
    ///
    /// # Errors
    /// If something cannot be read, or is there already.
    pub fn add_from_host(&mut self, path: &Path) -> Result<(), MediaError> {
        use std::os::unix::ffi::OsStrExt as _;
        let contents_only = path.as_os_str().as_bytes().ends_with(b"/") && fs_err::metadata(path)?.is_dir();
        let name = if contents_only { String::new() } else { name_of(path)? };
        self.add_below(&name, path)
    }

    fn add_below(&mut self, at: &str, path: &Path) -> Result<(), MediaError> {
        if !fs_err::metadata(path)?.is_dir() {
            return self.add(at, fs_err::read(path)?);
        }
        for entry in fs_err::read_dir(path)? {
            let path = entry?.path();
            let name = name_of(&path)?;
            let at = if at.is_empty() { name } else { format!("{at}/{name}") };
            self.add_below(&at, &path)?;
        }
        Ok(())
    }

    /// The files in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, content)| (path.as_str(), content.0.as_slice()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All folders, each after the one that it is in.
    fn folders(&self) -> std::collections::BTreeSet<&str> {
        self.0.keys().flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end])).collect()
    }
}

fn name_of(path: &Path) -> Result<String, MediaError> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| MediaError::Name(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_root() {
        let mut files = Files::new();
        files.add("/a/b", "1").unwrap();
        files.add("a/c", "2").unwrap();
        for wrong in ["", "/", "a//b", "../x", "a/./b", "a/", "a\\b"] {
            assert!(matches!(files.add(wrong, ""), Err(MediaError::Path(_))), "{wrong}");
        }
        for twice in ["a", "a/b", "a/b/c"] {
            let error = files.add(twice, "").unwrap_err().to_string();
            assert_eq!(error, format!("the medium has two things at `{twice}`"));
        }
        assert_eq!(files.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["a/b", "a/c"]);
        assert_eq!(format!("{files:?}"), r#"Files({"a/b": 1 bytes, "a/c": 1 bytes})"#);
    }

    #[test]
    fn folders_of_the_host_keep_their_names_unless_told() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner/deep");
        fs_err::create_dir_all(&inner).unwrap();
        fs_err::write(inner.join("file"), "x").unwrap();
        let mut files = Files::new();
        files.add_from_host(&folder.path().join("inner")).unwrap();
        files.add_from_host(&inner.join("file")).unwrap();
        files.add_from_host(&folder.path().join("inner/")).unwrap();
        assert_eq!(
            files.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            ["deep/file", "file", "inner/deep/file"]
        );
        assert_eq!(files.folders().into_iter().collect::<Vec<_>>(), ["deep", "inner", "inner/deep"]);
        let error = files.add_from_host(Path::new("/nowhere/file")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/file"), "{error}");
    }
}
