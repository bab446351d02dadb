//! Outputs that appear whole or not at all: written beside their place and renamed into it.

use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use tempfile::{NamedTempFile, TempDir};

use crate::ExportError;

/// The folder that holds `destination`.
fn folder_of(destination: &Path) -> &Path {
    destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that takes its name when it is finished.
pub(crate) struct StagedFile {
    file: NamedTempFile,
    destination: PathBuf,
}

impl StagedFile {
    pub(crate) fn create(destination: &Path) -> Result<Self, ExportError> {
        let folder = folder_of(destination);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".imgbuild-").permissions(permissions(0o644));
        let file = builder.tempfile_in(folder).map_err(ExportError::io("create a file in", folder))?;
        Ok(Self { file, destination: destination.to_owned() })
    }

    pub(crate) fn sink(&mut self) -> &mut std::fs::File {
        self.file.as_file_mut()
    }

    /// Where it is until then.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) fn commit(self) -> Result<(), ExportError> {
        let Self { file, destination } = self;
        file.persist(&destination)
            .map_err(|error| error.error)
            .map_err(ExportError::io("write", &destination))?;
        Ok(())
    }

    /// Like [`StagedFile::commit`], at a place that was not known before.
    pub(crate) fn commit_at(mut self, destination: PathBuf) -> Result<(), ExportError> {
        self.destination = destination;
        self.commit()
    }
}

/// Writes a small file whole.
pub(crate) fn write_file(destination: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let mut staged = StagedFile::create(destination)?;
    staged.sink().write_all(bytes).map_err(ExportError::io("write", destination))?;
    staged.commit()
}

/// A directory that takes its name when it is finished.
pub(crate) struct StagedDirectory {
    directory: TempDir,
    destination: PathBuf,
}

impl StagedDirectory {
    /// Starts a directory that will replace `destination` if that is missing, empty, or one that `replaceable` knows
    /// as an earlier output; `expected` says in the error what it would have to be.
    pub(crate) fn create(
        destination: &Path,
        expected: &'static str,
        replaceable: impl FnOnce(&Path) -> bool,
    ) -> Result<Self, ExportError> {
        let taken = match std::fs::read_dir(destination) {
            Ok(mut entries) => entries.next().is_some() && !replaceable(destination),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => true,
            Err(error) => return Err(ExportError::io("look at", destination)(error)),
        };
        if taken {
            return Err(ExportError::DestinationTaken { path: destination.to_owned(), expected });
        }
        let folder = folder_of(destination);
        let directory = tempfile::Builder::new()
            .prefix(".imgbuild-")
            .permissions(permissions(0o755))
            .tempdir_in(folder)
            .map_err(ExportError::io("create a folder in", folder))?;
        Ok(Self { directory, destination: destination.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts it in its place; what was there goes.
    pub(crate) fn commit(self) -> Result<(), ExportError> {
        let Self { directory, destination } = self;
        let exchange =
            rustix::fs::renameat_with(CWD, directory.path(), CWD, &destination, RenameFlags::EXCHANGE);
        match exchange {
            // `directory` now holds what was there and removes it.
            Ok(()) => directory.close().map_err(ExportError::io("remove the former", &destination)),
            Err(rustix::io::Errno::NOENT) => {
                fs_err::rename(directory.path(), &destination)
                    .map_err(ExportError::io("write", &destination))?;
                // Its name is gone, so there is nothing left to remove.
                let _: PathBuf = directory.keep();
                Ok(())
            }
            Err(error) => Err(ExportError::io("replace", &destination)(error)),
        }
    }
}

fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}
