//! What functions ask for outside: the clock, random bytes, files, the environment, stores of secrets.
//!
//! Every question goes through [`Host`], and so the host knows what a result depends on. [`LocalHost`] answers from
//! this machine and keeps a list of all that it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A regular file, or a link to one.
    File,
    /// A folder.
    Folder,
    /// A link to a folder.
    LinkedFolder,
    /// A device, a socket, a pipe, or a link that leads nowhere.
    Other,
}

/// A value that a function asks a store for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRequest {
    /// `consul_key(key)`: the value of a key of Consul, which is not empty.
    Consul {
        /// The key.
        key: String,
    },
    /// `vault(path, key)`: a field of a secret of Vault's key-value store, of version 2 or else 1.
    Vault {
        /// Where the secret is.
        path: String,
        /// Which of its fields.
        key: String,
    },
    /// `aws_secretsmanager(name, key)`: a field of a secret that is a JSON object, or a text if there is no key.
    Aws {
        /// The name or ARN of the secret.
        name: String,
        /// Which of its fields; `None` for the only one.
        key: Option<String>,
    },
    /// `aws_secretsmanager_raw(name)`: the text of a secret as it is.
    AwsRaw {
        /// The name or ARN of the secret.
        name: String,
    },
}

impl SecretRequest {
    /// The store that is asked, as a person calls it.
    #[must_use]
    pub fn store(&self) -> &'static str {
        match self {
            Self::Consul { .. } => "Consul",
            Self::Vault { .. } => "Vault",
            Self::Aws { .. } | Self::AwsRaw { .. } => "AWS Secrets Manager",
        }
    }
}

/// Why a store gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// This host cannot ask that store.
    NotAvailable,
    /// The store was asked and refused, or could not be reached.
    Failed {
        /// Why, in one sentence.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAvailable => f.write_str("it cannot be asked from here"),
            Self::Failed { reason, .. } => f.write_str(reason),
        }
    }
}

impl std::error::Error for SecretError {}

impl SecretError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotAvailable => {
                Some("give the value in a variable, for example with `PKR_VAR_name` in the environment")
            }
            Self::Failed { hint, .. } => hint.as_deref(),
        }
    }
}

/// Asks stores of secrets and settings.
pub trait Stores: fmt::Debug + Send + Sync {
    /// A value of a store.
    ///
    /// # Errors
    /// Why there is none.
    fn secret(&self, request: &SecretRequest) -> Result<String, SecretError>;
}

/// Answers what functions ask for outside.
///
/// A function asks each time that it is called, and keeps nothing: a host that wants one answer in all of a run gives
/// the same one again.
pub trait Host: Send + Sync {
    /// The folder of the template (`path.root`), absolute; relative paths start there.
    fn root(&self) -> &Path;

    /// The working directory (`path.cwd`), absolute.
    fn cwd(&self) -> &Path;

    /// The home of the user, which `~` stands for.
    fn home(&self) -> Option<&Path>;

    /// When the run started.
    fn started(&self) -> Timestamp;

    /// What time it is.
    fn now(&self) -> Timestamp;

    /// Fills with random bytes.
    fn random(&self, bytes: &mut [u8]);

    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// What a path leads to; `None` if there is nothing.
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>>;

    /// What is in a folder, by name. Names that are no UTF-8 are left out.
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, FileKind)>>;

    /// Where a path really leads: absolute, without links.
    fn real(&self, path: &Path) -> io::Result<PathBuf>;

    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<String>;

    /// A value of a store of secrets.
    fn secret(&self, _request: &SecretRequest) -> Result<String, SecretError> {
        Err(SecretError::NotAvailable)
    }
}

/// Something that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observation {
    /// The content of a file.
    File(PathBuf),
    /// What a path leads to.
    Kind(PathBuf),
    /// The names in a folder.
    Folder(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// When the run started.
    Started,
    /// What time it is.
    Clock,
    /// Random bytes.
    Random,
    /// A value of a store.
    Secret(SecretRequest),
}

/// Answers from this machine: its clock and files, and an environment that it is given.
#[derive(Debug)]
pub struct LocalHost {
    root: PathBuf,
    cwd: PathBuf,
    home: Option<PathBuf>,
    started: Timestamp,
    environment: BTreeMap<String, String>,
    stores: Option<Arc<dyn Stores>>,
    seen: Mutex<BTreeSet<Observation>>,
}

impl LocalHost {
    /// A host for templates in a folder, an absolute path, which is the working directory too. It has no home and an
    /// empty environment, asks no store, and the run starts now.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            cwd: root.clone(),
            root,
            home: None,
            started: Timestamp::now(),
            environment: BTreeMap::new(),
            stores: None,
            seen: Mutex::default(),
        }
    }

    /// With another working directory, an absolute path.
    #[must_use]
    pub fn with_cwd(self, cwd: impl Into<PathBuf>) -> Self {
        Self { cwd: cwd.into(), ..self }
    }

    /// With a home.
    #[must_use]
    pub fn with_home(self, home: impl Into<PathBuf>) -> Self {
        Self { home: Some(home.into()), ..self }
    }

    /// With a time at which the run started.
    #[must_use]
    pub fn with_started(self, started: Timestamp) -> Self {
        Self { started, ..self }
    }

    /// With an environment.
    #[must_use]
    pub fn with_environment(self, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { environment: environment.into_iter().collect(), ..self }
    }

    /// With stores that are asked.
    #[must_use]
    pub fn with_stores(self, stores: Arc<dyn Stores>) -> Self {
        Self { stores: Some(stores), ..self }
    }

    /// All that it was asked so far, in an order that does not depend on that of the questions.
    #[must_use]
    pub fn observations(&self) -> Vec<Observation> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn saw(&self, observation: Observation) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(observation);
    }
}

impl Host for LocalHost {
    fn root(&self) -> &Path {
        &self.root
    }

    fn cwd(&self) -> &Path {
        &self.cwd
    }

    fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    fn started(&self) -> Timestamp {
        self.saw(Observation::Started);
        self.started
    }

    fn now(&self) -> Timestamp {
        self.saw(Observation::Clock);
        Timestamp::now()
    }

    fn random(&self, bytes: &mut [u8]) {
        self.saw(Observation::Random);
        aws_lc_rs::rand::fill(bytes).expect("the system gives random bytes");
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.saw(Observation::File(path.to_owned()));
        fs_err::read(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.saw(Observation::Kind(path.to_owned()));
        kind(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, FileKind)>> {
        self.saw(Observation::Folder(folder.to_owned()));
        let mut all = Vec::new();
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                all.extend(kind(&entry.path())?.map(|kind| (name, kind)));
            }
        }
        all.sort();
        Ok(all)
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        self.saw(Observation::Kind(path.to_owned()));
        fs_err::canonicalize(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.saw(Observation::Environment(name.to_owned()));
        self.environment.get(name).cloned()
    }

    fn secret(&self, request: &SecretRequest) -> Result<String, SecretError> {
        self.saw(Observation::Secret(request.clone()));
        self.stores.as_ref().map_or(Err(SecretError::NotAvailable), |stores| stores.secret(request))
    }
}

fn kind(path: &Path) -> io::Result<Option<FileKind>> {
    let absent =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let own = match fs_err::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let target = match fs_err::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(_) if own.is_symlink() => return Ok(Some(FileKind::Other)),
        Err(error) => return Err(error),
    };
    Ok(Some(match () {
        () if target.is_file() => FileKind::File,
        () if target.is_dir() && own.is_symlink() => FileKind::LinkedFolder,
        () if target.is_dir() => FileKind::Folder,
        () => FileKind::Other,
    }))
}
