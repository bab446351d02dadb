//! The workspace's files, as a front end may see them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_model::{EntryKind, Files, PackagePath, WorkspacePath};

/// The file that marks a workspace's root.
const WORKSPACE_FILE: &str = "imgbuild.toml";
/// The file that makes a folder a package.
const BUILD_FILE: &str = "BUILD.star";

/// A workspace on disk.
#[derive(Clone, Debug)]
pub struct DiskFiles {
    root: PathBuf,
}

impl DiskFiles {
    /// The workspace whose root is this folder.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The nearest folder at or above `start` that holds an `imgbuild.toml`.
    #[must_use]
    pub fn find_root(start: &Path) -> Option<PathBuf> {
        start.ancestors().find(|folder| folder.join(WORKSPACE_FILE).is_file()).map(Path::to_path_buf)
    }

    /// The workspace's root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path of the workspace as one of the host.
    #[must_use]
    pub fn host_path(&self, path: &WorkspacePath) -> PathBuf {
        self.root.join(path.as_str())
    }

    /// Whether a package is there.
    #[must_use]
    pub fn has_package(&self, package: &PackagePath) -> bool {
        self.host_path(&package.file(BUILD_FILE)).is_file()
    }

    /// Each package at or below `package`, sorted. Hidden folders, the output folder, and folders that are workspaces
    /// of their own are passed over; so are symbolic links.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn packages_below(&self, package: &PackagePath) -> io::Result<Vec<PackagePath>> {
        let mut found = Vec::new();
        let start = self.root.join(package.as_str());
        if start.is_dir() {
            self.collect(&start, package.as_str().to_owned(), &mut found)?;
        }
        found.sort();
        Ok(found)
    }

    fn collect(&self, folder: &Path, path: String, found: &mut Vec<PackagePath>) -> io::Result<()> {
        let mut folders = Vec::new();
        let mut is_package = false;
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !name.starts_with('.') && name != "imgbuild-out" {
                    folders.push(name);
                }
            } else if name == BUILD_FILE {
                is_package = true;
            } else if name == WORKSPACE_FILE && folder != self.root {
                return Ok(());
            }
        }
        if is_package && let Ok(package) = PackagePath::new(&path) {
            found.push(package);
        }
        for name in folders {
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            self.collect(&folder.join(&name), below, found)?;
        }
        Ok(())
    }
}

impl Files for DiskFiles {
    fn read(&self, path: &WorkspacePath) -> io::Result<Arc<str>> {
        fs_err::read_to_string(self.host_path(path)).map(Arc::from)
    }

    fn read_bytes(&self, path: &WorkspacePath) -> io::Result<Vec<u8>> {
        fs_err::read(self.host_path(path))
    }

    fn list(&self, path: &WorkspacePath) -> io::Result<Vec<(String, EntryKind)>> {
        let folder = self.host_path(path);
        let mut names = Vec::new();
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type()?;
            let kind = if kind.is_symlink() {
                match fs_err::metadata(entry.path()) {
                    Ok(metadata) => entry_kind(metadata.file_type()),
                    Err(_) => EntryKind::Other,
                }
            } else {
                entry_kind(kind)
            };
            names.push((name, kind));
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(names)
    }

    fn kind(&self, path: &WorkspacePath) -> Option<EntryKind> {
        fs_err::metadata(self.host_path(path)).ok().map(|metadata| entry_kind(metadata.file_type()))
    }
}

fn entry_kind(kind: std::fs::FileType) -> EntryKind {
    if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    }
}
