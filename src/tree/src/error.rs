//! What can go wrong when a tree is read or captured.

use std::io;
use std::path::PathBuf;

use crate::{InvalidManifest, TreePath};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a tree could not be captured or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call of the operating system failed on one file.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was tried, as a verb with its object left out.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The upper directory was written by a mount with an option that splits one file over several layers.
    #[error(
        "`{path}` carries overlayfs' `{feature}` mark, so its layer does not hold it whole; \
         mount with `metacopy=off,redirect_dir=nofollow`"
    )]
    OverlayFeature {
        /// The entry.
        path: TreePath,
        /// The mark's name without its namespace.
        feature: String,
    },
    /// A file was written while it was being read.
    #[error("`{}` changed while it was read; is a process of the step still running?", .0.display())]
    ChangedWhileRead(PathBuf),
    /// What was captured is not a manifest. This is a bug.
    #[error("the captured tree makes no valid manifest")]
    Invalid(#[from] InvalidManifest),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { action, path: path.into(), source: source.into() }
    }
}
