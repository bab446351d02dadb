//! What a template that is a target sees of the world: the files of its workspace, whose root is `/` to it.
//!
//! It reads neither the clock, nor chance, nor the environment, so that the same workspace gives the same builds
//! everywhere: the time is the start of 1970, random bytes follow from the target's label, variables are not set.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use imgbuild_model::{EntryKind, Files as WorkspaceFiles, WorkspacePath};
use imgbuild_packer_functions::{FileKind, Host, SecretError, SecretRequest, joined};
use jiff::Timestamp;

use crate::interpolate;
use crate::template;

/// What a template asked for and did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refused {
    Clock,
    Random,
    Environment,
}

/// The world of one template.
pub(super) struct World {
    files: Arc<dyn WorkspaceFiles>,
    /// Random bytes are made of it.
    seed: String,
    drawn: Mutex<u64>,
    refused: Mutex<BTreeSet<Refused>>,
}

impl World {
    pub(super) fn new(files: Arc<dyn WorkspaceFiles>, seed: String) -> Self {
        Self { files, seed, drawn: Mutex::default(), refused: Mutex::default() }
    }

    /// What was asked for in vain.
    pub(super) fn refused(&self) -> BTreeSet<Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, what: Refused) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
    }

    fn draw(&self, bytes: &mut [u8]) {
        self.refuse(Refused::Random);
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        *drawn += 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.seed.as_bytes()).update(&drawn.to_le_bytes());
        hasher.finalize_xof().fill(bytes);
    }
}

/// A path of the template as one of the workspace; `None` for its root.
fn inner(path: &Path) -> io::Result<Option<WorkspacePath>> {
    let whole = joined("/", path.to_str().unwrap_or_default());
    let path = whole.trim_start_matches('/');
    if path.is_empty() {
        return Ok(None);
    }
    WorkspacePath::new(path)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
}

/// The files, by paths relative to a folder.
pub(super) struct FilesFrom<'a> {
    pub(super) world: &'a World,
    pub(super) cwd: &'a str,
}

impl FilesFrom<'_> {
    fn inner(&self, path: &str) -> io::Result<Option<WorkspacePath>> {
        inner(&Path::new(self.cwd).join(path))
    }
}

impl template::Files for FilesFrom<'_> {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        match self.inner(path).ok()? {
            Some(path) => self.world.files.kind(&path),
            None => Some(EntryKind::Directory),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, EntryKind)>> {
        match self.inner(path)? {
            Some(path) => self.world.files.list(&path),
            // The root has no path of its own, and no template is there by its folder.
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn read(&self, path: &str) -> io::Result<Arc<str>> {
        let path = self.inner(path)?.ok_or(io::ErrorKind::IsADirectory)?;
        self.world.files.read(&path)
    }
}

/// What functions are told.
pub(super) struct FunctionHost {
    pub(super) world: Arc<World>,
    pub(super) root: PathBuf,
    pub(super) cwd: PathBuf,
}

impl FunctionHost {
    fn path(&self, path: &Path) -> io::Result<WorkspacePath> {
        inner(&self.root.join(path))?.ok_or_else(|| io::ErrorKind::IsADirectory.into())
    }
}

fn file_kind(kind: EntryKind) -> FileKind {
    match kind {
        EntryKind::File => FileKind::File,
        EntryKind::Directory => FileKind::Folder,
        EntryKind::Other => FileKind::Other,
    }
}

impl Host for FunctionHost {
    fn root(&self) -> &Path {
        &self.root
    }

    fn cwd(&self) -> &Path {
        &self.cwd
    }

    fn home(&self) -> Option<&Path> {
        None
    }

    fn started(&self) -> Timestamp {
        self.world.refuse(Refused::Clock);
        Timestamp::UNIX_EPOCH
    }

    fn now(&self) -> Timestamp {
        self.started()
    }

    fn random(&self, bytes: &mut [u8]) {
        self.world.draw(bytes);
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.world.files.read_bytes(&self.path(path)?)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        Ok(self.world.files.kind(&self.path(path)?).map(file_kind))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, FileKind)>> {
        let entries = self.world.files.list(&self.path(folder)?)?;
        Ok(entries.into_iter().map(|(name, kind)| (name, file_kind(kind))).collect())
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        let path = self.path(path)?;
        Ok(Path::new("/").join(path.as_str()))
    }

    fn env(&self, _name: &str) -> Option<String> {
        self.world.refuse(Refused::Environment);
        None
    }

    fn secret(&self, _request: &SecretRequest) -> Result<String, SecretError> {
        Err(no_stores())
    }
}

fn no_stores() -> SecretError {
    SecretError::Failed {
        reason: "a target asks no store of secrets".to_owned(),
        hint: Some("give the value in `vars`".to_owned()),
    }
}

/// What Go templates are told.
pub(super) struct StringHost(pub(super) Arc<World>);

impl interpolate::Host for StringHost {
    fn environment(&self, _name: &str) -> Option<String> {
        self.0.refuse(Refused::Environment);
        None
    }

    fn secret(&self, _request: &SecretRequest) -> Result<String, SecretError> {
        Err(no_stores())
    }

    fn random(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        self.0.draw(&mut bytes);
        bytes
    }
}
