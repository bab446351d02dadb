//! Errors of archives as diagnostics: whose they are, and what to do.

use imgbuild_debian::Error;
use imgbuild_debian::download::DownloadError;
use imgbuild_debian::fetch::FetchError;
use imgbuild_debian::index::IndexError;
use imgbuild_debian::release::ReleaseError;
use imgbuild_debian::solve::SolveError;
use imgbuild_debian::unpack::UnpackError;
use imgbuild_engine::ActionError;
use imgbuild_model::{Class, Diagnostic};

/// A diagnostic on its way to the user. It is boxed because every result on that way would be as large as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) Box<Diagnostic>);

impl Problem {
    /// The same with another hint.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        self.0.hint(hint).into()
    }
}

impl From<Diagnostic> for Problem {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(Box::new(diagnostic))
    }
}

impl From<Problem> for ActionError {
    fn from(Problem(diagnostic): Problem) -> Self {
        Self::Other(diagnostic)
    }
}

/// A diagnostic for an error of an archive; hints name the settings of `distribution`.
pub(crate) fn diagnostic(distribution: &str, error: impl Into<Error>) -> Problem {
    let error = error.into();
    let hint = error.hint().map(|hint| hint.replace("IMGBUILD_DEBIAN_MIRROR", &mirror_setting(distribution)));
    Diagnostic::error(error.to_string()).class(class(&error)).maybe_hint(hint).into()
}

/// A diagnostic for packages that cannot be had; `request` is what was asked for.
pub(crate) fn solve_diagnostic(request: &str, error: &SolveError) -> Problem {
    Diagnostic::error(format!("{request}: {error}")).maybe_hint(error.hint()).into()
}

fn class(error: &Error) -> Class {
    match error {
        // The suite is the user's word; that a mirror which exists does not have it is an answer, not a failure.
        Error::Release(ReleaseError::Fetch { source: FetchError::NotFound { .. }, .. }) => Class::Input,
        Error::Release(ReleaseError::NoMirror { .. }) => Class::Environment,
        Error::Release(ReleaseError::Fetch { source, .. })
        | Error::Fetch(source)
        | Error::Index(IndexError::Fetch(source))
        | Error::Download(DownloadError::Fetch { source, .. }) => class_of_fetch(source),
        Error::Release(_) | Error::Index(IndexError::Digest { .. } | IndexError::Malformed { .. }) => {
            Class::Remote
        }
        Error::Index(IndexError::NotListed { .. }) => Class::Input,
        Error::Download(DownloadError::Vanished { .. } | DownloadError::NoMirror { .. }) => Class::Input,
        Error::Download(DownloadError::Digest { .. }) => Class::Remote,
        Error::Solve(_) => Class::Input,
        // That two packages ship one file is a fact of the archive, and the user chose both.
        Error::Unpack(UnpackError::FileConflict { .. }) => Class::Input,
        // Packages are verified before they are read, so a bad one is bad on this machine.
        Error::Deb(_) | Error::Unpack(_) => Class::Environment,
        Error::Control(_) | Error::Keyring(_) | Error::Sources(_) => Class::Environment,
        Error::Download(_) | Error::Index(_) => Class::Environment,
    }
}

fn class_of_fetch(error: &FetchError) -> Class {
    match error {
        FetchError::Setup(_) | FetchError::Store { .. } | FetchError::Unreadable { .. } => Class::Environment,
        FetchError::NotFound { .. }
        | FetchError::Refused { .. }
        | FetchError::GaveUp { .. }
        | FetchError::TooLarge { .. } => Class::Remote,
    }
}

/// The environment variable that names a distribution's mirror.
pub(crate) fn mirror_setting(distribution: &str) -> String {
    format!("IMGBUILD_{}_MIRROR", distribution.to_uppercase())
}

/// The configuration's key that names a distribution's keyring.
pub(crate) fn keyring_setting(distribution: &str) -> String {
    format!("keyrings.{distribution}")
}
