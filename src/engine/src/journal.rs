//! The journal of outside effects: what was made, and how to unmake it, on disk before it is made.
//!
//! For: every effect that the kernel would not undo by itself when this process dies: detached processes,
//! temporary folders, and the resources of clouds. A run writes an *intent* before each effect (with the tag
//! or client token by which the effect can be found again) and the effect's id after it; whatever a dead run
//! left behind is undone by [`cleanup()`], newest first. Not for: mounts and pid namespaces (they die with
//! their process), results (the cache), or logs.
//!
//! How a dead run is told from a live one: each run holds a lock on its own file for its life, and the kernel
//! releases it however the process ends. Cleanup takes that lock before it touches anything, so that it
//! neither disturbs a live run nor another cleanup.
//!
//! The journal is a folder: `journal.db` (SQLite, one writer at a time, every write on disk before the call
//! returns) and `runs/<id>.lock`. All calls except undoing block for the time of a disk write, a few
//! milliseconds.

mod cleanup;
mod id;
mod path;
mod process;
mod store;
mod undo;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fs_err::{File, OpenOptions};

pub use cleanup::{
    CleanupOptions, CleanupReport, EffectCleanup, EffectResult, RunCleanup, RunStatus, cleanup,
};
pub use id::{EffectId, EffectKind, HostId, IdError, ResourceId, RunId, WorkspaceId};
pub use path::{PathError, PathIntent, PathUndo};
pub use process::{ProcessIdentity, ProcessIntent, ProcessTag, ProcessUndo};
pub use undo::{Undo, UndoError, UndoOutcome, UndoRegistry};

use store::Store;

/// Where the journal is, in the folder of the cache.
pub const FOLDER: &str = "journal";

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file of the journal cannot be read or written; the message names it.
    #[error(
        "cannot use the journal: {0}; check that the disk is not full and that the folder belongs to you"
    )]
    Io(#[from] io::Error),
    /// The database cannot be read or written.
    #[error("cannot use the journal `{}`: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// It was written by a newer version of this program.
    #[error(
        "the journal `{}` has format {found}, and this version knows formats up to {known}; use the newer version that wrote it",
        path.display()
    )]
    NewerFormat {
        /// The database.
        path: PathBuf,
        /// The format found.
        found: i64,
        /// The newest format that this version can use.
        known: i64,
    },
    /// It is the database of another program.
    #[error("`{}` is not a journal of imgbuild but a database of another program; move it away", path.display())]
    NotAJournal {
        /// The database.
        path: PathBuf,
    },
    /// An intent cannot be written as JSON.
    #[error("the intent of an effect of kind `{kind}` cannot be written as JSON: {source}")]
    Intent {
        /// The effect's kind.
        kind: EffectKind,
        /// Why not.
        source: serde_json::Error,
    },
    /// The effect is not in the state that the call needs: a bug of the caller.
    #[error("effect {effect} of this run cannot become {wanted}: it does not exist or is settled")]
    NoSuchEffect {
        /// The effect.
        effect: EffectId,
        /// The state asked for.
        wanted: EffectState,
    },
}

/// How far an effect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EffectState {
    /// About to be made; it may or may not exist.
    Intended,
    /// It exists.
    Done,
    /// It does not exist any more.
    Undone,
    /// It exists and is meant to stay: it became a result that someone else looks after.
    Kept,
    /// The last attempt to undo it failed; the next cleanup tries again.
    Failed,
}

impl EffectState {
    const ALL: [Self; 5] = [Self::Intended, Self::Done, Self::Undone, Self::Kept, Self::Failed];

    /// Whether nothing is left to do about it.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Undone | Self::Kept)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Kept => "kept",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for EffectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One effect as it stands in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Its id; a later effect has a higher one.
    pub id: EffectId,
    /// What kind of thing it is, and so which [`Undo`] knows it.
    pub kind: EffectKind,
    /// What was written before it was made.
    pub intent: serde_json::Value,
    /// What it was called once it was made.
    pub resource: Option<ResourceId>,
    /// How far it has come.
    pub state: EffectState,
    /// When the intent was written, in seconds since 1970.
    pub created: i64,
    /// What the last attempt to undo it said, if it failed.
    pub error: Option<String>,
}

/// One run as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInfo {
    /// Its id, unique over all journals.
    pub id: RunId,
    /// The workspace that it builds.
    pub workspace: WorkspaceId,
    /// The process that it runs in.
    pub process: ProcessIdentity,
    /// The machine that it runs on.
    pub host: HostId,
    /// When it began, in seconds since 1970.
    pub started: i64,
}

/// A journal, open. Clones share it; several processes may have it open at once.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    store: Mutex<Store>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `folder`, which is made (mode 0700) if it is missing, and brings an older format
    /// up to date.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let folder = folder.into();
        let runs = folder.join("runs");
        // `fs_err` has no builder with a mode, so the path is named here.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&runs).map_err(|error| {
            io::Error::new(error.kind(), format!("failed to create folder `{}`: {error}", runs.display()))
        })?;
        let store = Store::open(&folder.join("journal.db"))?;
        Ok(Self { inner: Arc::new(Inner { folder, store: Mutex::new(store) }) })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Begins a run and takes its lock.
    pub fn start_run(&self, workspace: WorkspaceId) -> Result<RunJournal, JournalError> {
        let process = ProcessIdentity::current()?;
        let host = HostId::current();
        // The lock comes before the row: a row whose lock is free is the mark of a dead run.
        let (id, lock) = loop {
            let id = self.store().new_run_id()?;
            if let Some(lock) = self.create_lock(&id)? {
                break (id, lock);
            }
        };
        self.store().insert_run(&id, &workspace, &process, &host)?;
        Ok(RunJournal { inner: Arc::new(RunInner { journal: self.clone(), id, lock }) })
    }

    /// All runs that the journal knows, dead or alive, oldest first.
    pub fn runs(&self) -> Result<Vec<RunInfo>, JournalError> {
        self.store().runs()
    }

    /// The effects of a run, oldest first.
    pub fn effects(&self, run: &RunId) -> Result<Vec<Effect>, JournalError> {
        self.store().effects(run)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // Each call is one transaction, which SQLite rolls back if it is cut short: a panic leaves nothing
        // half done.
        self.inner.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_path(&self, run: &RunId) -> PathBuf {
        self.inner.folder.join("runs").join(format!("{run}.lock"))
    }

    /// A new lock file, locked; `None` if a cleanup took it for an orphan and removed it before it was
    /// locked.
    fn create_lock(&self, run: &RunId) -> Result<Option<File>, JournalError> {
        let path = self.lock_path(run);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.lock()?;
        Ok(is_still_at(&file, &path)?.then_some(file))
    }

    /// The lock of a run that is not alive; `None` if it is alive or another cleanup has it.
    fn lock_of_dead_run(&self, run: &RunInfo) -> Result<Option<File>, JournalError> {
        let path = self.lock_path(&run.id);
        let existed = path.try_exists()?;
        // Someone may have removed the file of a live run by hand: then its process decides.
        if !existed && run.host == HostId::current() && run.process.is_alive()? {
            return Ok(None);
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        Ok((try_lock(&file)? && is_still_at(&file, &path)?).then_some(file))
    }

    /// Removes lock files without a run: their processes died before they had written anything, or after all
    /// was settled.
    fn remove_orphaned_locks(&self) -> Result<(), JournalError> {
        for entry in fs_err::read_dir(self.inner.folder.join("runs"))? {
            let path = entry?.path();
            let Some(run) = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".lock"))
                .and_then(|stem| stem.parse::<RunId>().ok())
            else {
                continue;
            };
            let file = match OpenOptions::new().write(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            // The row is looked for under the lock: whoever could still write one would hold it.
            if try_lock(&file)? && is_still_at(&file, &path)? && !self.store().run_exists(&run)? {
                remove_if_there(&path)?;
            }
        }
        Ok(())
    }
}

/// The journal of one run that is alive for as long as this or a clone of it lives.
#[derive(Clone, Debug)]
pub struct RunJournal {
    inner: Arc<RunInner>,
}

#[derive(Debug)]
struct RunInner {
    journal: Journal,
    id: RunId,
    /// Held for the life of the run; released by the kernel at the latest.
    lock: File,
}

impl RunJournal {
    /// The run's id, unique over all journals: also the value of the run tag of cloud resources.
    pub fn id(&self) -> &RunId {
        &self.inner.id
    }

    /// The journal that it is part of.
    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// Writes down that an effect is about to be made, and how it can be found again. It is on disk when this
    /// returns: only then may the effect be made.
    pub fn record_intent(
        &self,
        kind: &EffectKind,
        intent: &impl serde::Serialize,
    ) -> Result<EffectId, JournalError> {
        let intent = serde_json::to_string(intent)
            .map_err(|source| JournalError::Intent { kind: kind.clone(), source })?;
        self.store().insert_effect(self.id(), kind, &intent)
    }

    /// Writes down that the effect exists and what it is called.
    pub fn record_done(&self, effect: EffectId, resource: &ResourceId) -> Result<(), JournalError> {
        self.store().set_done(self.id(), effect, resource)
    }

    /// Writes down that the effect does not exist any more, or never came to be.
    pub fn record_undone(&self, effect: EffectId) -> Result<(), JournalError> {
        self.store().settle(self.id(), effect, EffectState::Undone)
    }

    /// Writes down that the effect is meant to stay: it has become a result (a published image, a stored
    /// snapshot), and cleanup must not undo it.
    pub fn record_kept(&self, effect: EffectId) -> Result<(), JournalError> {
        self.store().settle(self.id(), effect, EffectState::Kept)
    }

    /// What this run has made and not settled, oldest first.
    pub fn outstanding(&self) -> Result<Vec<Effect>, JournalError> {
        let mut effects = self.store().effects(self.id())?;
        effects.retain(|e| !e.state.is_settled());
        Ok(effects)
    }

    /// Undoes what is outstanding, newest first: for the end of a run that failed or was cancelled. What
    /// cannot be undone now is left to the next cleanup.
    pub async fn undo_outstanding(
        &self,
        registry: &UndoRegistry,
        options: &CleanupOptions,
    ) -> Result<Vec<EffectCleanup>, JournalError> {
        cleanup::undo_effects(&self.inner.journal, self.id(), registry, options).await
    }

    /// Ends the run. If everything is settled, the run is forgotten; else it stays for the next cleanup, and
    /// what is outstanding is returned. A run that is dropped without this is like one that died. Other
    /// clones must not be used any more.
    pub fn finish(self) -> Result<Vec<Effect>, JournalError> {
        let outstanding = self.outstanding()?;
        if outstanding.is_empty() {
            self.inner.journal.forget_run(self.id(), &self.inner.lock)?;
        }
        Ok(outstanding)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.inner.journal.store()
    }
}

impl Journal {
    /// Removes a settled run; the caller holds its lock.
    fn forget_run(&self, run: &RunId, _held: &File) -> Result<(), JournalError> {
        // The row first: a lock file without a row is harmless and removed later, a row without its lock file
        // is a dead run.
        self.store().delete_run(run)?;
        remove_if_there(&self.lock_path(run))?;
        Ok(())
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether `path` still leads to `file`: a lock on a file that was removed meanwhile protects nothing.
fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs_err::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
