//! What `dpkg --unpack` does, for many packages at once, into any root: a plain folder or a mounted view.
//!
//! The result is a root whose own dpkg carries on: packages are `unpacked`, configuration files wait as `.dpkg-new`,
//! triggers are recorded. Maintainer scripts are not run here, because they need a namespace: for each batch the caller runs
//! what [`Unpacker::stage_scripts`] returns, calls [`Unpacker::unpack_batch`], and runs [`configure_command`] in the
//! root. A batch that [`Unpacker::replaces`] what is there is unpacked by the root's own dpkg instead, with
//! [`unpack_command`]. In a [`Batch::bootstrap`] nothing can run before it is unpacked, so there the scripts follow the unpacking.
//!
//! No path is followed out of the root: everything is resolved by the kernel with `RESOLVE_IN_ROOT` from a descriptor.

mod bootstrap;
mod commands;
mod database;
mod extract;
pub(crate) mod root;
mod scripts;
mod status_update;
mod triggers;
mod upgrade;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::control::ControlError;
use crate::deb::DebError;
use crate::lock::LockedClosure;
use crate::status::State;

pub use bootstrap::{MERGED_USR_GUARD, merged_usr_links};
pub use commands::{
    INITCTL, POLICY_RC_D, ScriptGuard, configure_command, remove_command, script_environment, unpack_command,
};
pub use scripts::ScriptCall;

use database::Database;
use extract::Extraction;
use root::Root;

/// A package file to unpack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebFile {
    /// Where the file is, on the host.
    pub path: PathBuf,
    /// `name_version_arch`, for messages.
    pub label: String,
}

/// Packages that are unpacked together and then configured together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In the order in which dpkg would take them: it decides who owns a file that two packages ship.
    pub packages: Vec<DebFile>,
    /// The root holds nothing that could run a script yet.
    pub bootstrap: bool,
}

/// Everything that is to be done for a lock entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpackPlan {
    /// Packages to remove first, with [`remove_command`].
    pub remove: Vec<String>,
    /// Batches in order.
    pub batches: Vec<Batch>,
}

impl UnpackPlan {
    /// The plan of a lock entry. `files` are the package files in the order of [`LockedClosure::packages`]; `bootstrap` is
    /// true for an empty root.
    #[must_use]
    pub fn new(closure: &LockedClosure, files: &[PathBuf], bootstrap: bool) -> Self {
        let mut files = files.iter();
        let batches = closure.batches.iter().enumerate().map(|(number, batch)| Batch {
            packages: batch
                .iter()
                .zip(&mut files)
                .map(|(package, path)| DebFile { path: path.clone(), label: package.label() })
                .collect(),
            bootstrap: bootstrap && number == 0,
        });
        Self { batches: batches.collect(), remove: closure.remove.clone() }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// How many entries were written.
    pub entries: u64,
    /// How many bytes of content.
    pub bytes: u64,
}

/// Why a package could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A package file is bad.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The root refused an operation.
    #[error("cannot {action} `/{}` in the image: {source}", path.display())]
    Root {
        /// What was tried, for example `write`.
        action: &'static str,
        /// Where, relative to the root.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Two packages ship one file and neither replaces the other.
    #[error("`{package}` and `{other}` both contain `/{}`, and neither says that it replaces the other", path.display())]
    FileConflict {
        /// The package being unpacked.
        package: String,
        /// The package that has the file.
        other: String,
        /// The file.
        path: PathBuf,
    },
    /// A database file of the root is damaged.
    #[error("`/{file}` in the image is damaged: {problem}")]
    Database {
        /// Which file, relative to the root.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

impl UnpackError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Deb(_) => Some("run `imgbuild cache verify`: the stored package may be damaged"),
            Self::Root { source, .. }
                if source.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) =>
            {
                Some("the disk is full; run `imgbuild cache gc` or free some space")
            }
            Self::Root { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("the namespace may not set this owner or make this device")
            }
            Self::Root { .. } => None,
            Self::FileConflict { .. } => Some("leave out one of the two packages"),
            Self::Database { .. } => Some("the parent image's package database is damaged; build it again"),
        }
    }
}

pub(crate) trait RootContext<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, UnpackError>;
}

impl<T, E: Into<io::Error>> RootContext<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, UnpackError> {
        self.map_err(|source| UnpackError::Root {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}

pub(crate) fn damaged(file: &str, error: &ControlError) -> UnpackError {
    UnpackError::Database { file: file.to_owned(), problem: error.to_string() }
}

/// Unpacks into one root.
#[derive(Debug)]
pub struct Unpacker {
    root: Root,
    native: String,
}

impl Unpacker {
    /// An unpacker for the root at `path`, whose packages are for architecture `native`.
    pub fn open(path: &Path, native: &str) -> Result<Self, UnpackError> {
        Ok(Self { root: Root::open(path).at("open", "")?, native: native.to_owned() })
    }

    /// The same from a descriptor of the root folder.
    #[must_use]
    pub fn from_fd(root: OwnedFd, native: &str) -> Self {
        Self { root: Root::from_fd(root), native: native.to_owned() }
    }

    /// Prepares an empty root: dpkg's empty database, and with `merged_usr` the links that packages of suites with a
    /// merged `/usr` take for granted and do not all ship. What is there already stays.
    pub fn bootstrap(&self, foreign: &[String], merged_usr: bool) -> Result<(), UnpackError> {
        bootstrap::prepare(&self.root, &self.native, foreign, merged_usr)
    }

    /// What the root has installed; nothing if it has no database.
    pub fn state(&self) -> Result<State, UnpackError> {
        database::read_state(&self.root)
    }

    /// Puts the control files of each package where its `preinst` expects them, and says which scripts to run, in order.
    pub fn stage_scripts(&self, batch: &Batch) -> Result<Vec<ScriptCall>, UnpackError> {
        scripts::stage(&self.root, batch)
    }

    /// Whether a package of the batch takes the place of one whose files, or whose configuration files, the root has. Such a
    /// batch is the root's own dpkg's to unpack: scripts of both versions are called, and may fail and be mended, while old
    /// files are being replaced (Debian Policy, chapter 6), and nothing that does less would be right.
    pub fn replaces(&self, batch: &Batch) -> Result<bool, UnpackError> {
        upgrade::replaces(&self.root, batch)
    }

    /// Puts the files of a batch into the root, for [`unpack_command`]; their paths there are returned, in order.
    pub fn stage_packages(&self, batch: &Batch) -> Result<Vec<String>, UnpackError> {
        upgrade::stage(&self.root, batch)
    }

    /// Removes what [`Unpacker::stage_packages`] put there.
    pub fn unstage_packages(&self) -> Result<(), UnpackError> {
        upgrade::unstage(&self.root)
    }

    /// Removes what [`Unpacker::stage_scripts`] put there; to be called when all scripts of the batch have run.
    pub fn unstage_scripts(&self) -> Result<(), UnpackError> {
        scripts::unstage(&self.root)
    }

    /// Unpacks a batch that [replaces](Self::replaces) nothing, and records it in the database. Packages are extracted in parallel on rayon's pool; the result does
    /// not depend on how they interleave. After an error the root is to be thrown away.
    pub fn unpack_batch(&self, batch: &Batch) -> Result<Unpacked, UnpackError> {
        let mut database = Database::read(&self.root)?;
        let extraction = Extraction::run(&self.root, &database, batch)?;
        status_update::apply(&self.root, &mut database, &extraction)?;
        let mut result = Unpacked::default();
        for package in &extraction.packages {
            result.entries += package.entries;
            result.bytes += package.bytes;
        }
        Ok(result)
    }

    /// Guards against maintainer scripts that start services: see [`ScriptGuard`].
    pub fn add_guards(&self) -> Result<ScriptGuard, UnpackError> {
        commands::add_guards(&self.root)
    }

    /// Takes the guards away again, and puts back what was in their place.
    pub fn remove_guards(&self, guard: ScriptGuard) -> Result<(), UnpackError> {
        commands::remove_guards(&self.root, guard)
    }

    /// Removes and empties what [`crate::clean`] lists.
    pub fn clean(&self) -> Result<(), UnpackError> {
        crate::clean::run(&self.root)
    }
}

/// Owners of paths, by path.
pub(crate) type Owners = HashMap<PathBuf, Vec<String>>;
