//! One error for callers that do not care which part failed. Each part has its own type.

use crate::control::ControlError;
use crate::deb::DebError;
use crate::download::DownloadError;
use crate::fetch::FetchError;
use crate::index::IndexError;
use crate::keyring::KeyringError;
use crate::release::ReleaseError;
use crate::solve::SolveError;
use crate::sources::SourcesError;
use crate::unpack::UnpackError;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is named after the module whose error it carries")]
pub enum Error {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Deb(#[from] DebError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error(transparent)]
    Solve(#[from] Box<SolveError>),
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// Who must act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The user's input: a name, a set that cannot be installed, a lock that disagrees.
    Input,
    /// This machine: disk, permissions.
    Environment,
    /// A mirror or the network.
    Remote,
}

impl Error {
    /// What the user can do, if anything can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Control(_) | Self::Deb(_) | Self::Sources(_) => None,
            Self::Download(error) => error.hint().map(str::to_owned),
            Self::Fetch(error) => error.hint().map(str::to_owned),
            Self::Index(error) => error.hint(),
            Self::Keyring(_) => {
                Some("name the distribution's keyring, or install its keyring package".to_owned())
            }
            Self::Release(error) => error.hint().map(str::to_owned),
            Self::Solve(error) => error.hint(),
            Self::Unpack(error) => error.hint().map(str::to_owned),
        }
    }

    /// Who must act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Solve(_) | Self::Index(IndexError::NotListed { .. }) => Fault::Input,
            Self::Download(DownloadError::Vanished { .. } | DownloadError::NoMirror { .. }) => Fault::Input,
            Self::Download(DownloadError::Store { .. }) | Self::Index(IndexError::Io(_)) => {
                Fault::Environment
            }
            Self::Control(_) | Self::Keyring(_) | Self::Sources(_) | Self::Unpack(_) => Fault::Environment,
            Self::Deb(_) | Self::Download(_) | Self::Fetch(_) | Self::Index(_) | Self::Release(_) => {
                Fault::Remote
            }
        }
    }
}
