//! One lock for each key, so that two processes that are to build the same thing build it once, and wait for
//! nothing else.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::{ActionKey, Cache, Error, Result};

/// How long to sleep between two attempts, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The lock of one key, free when this is dropped or its process dies.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    // Held, not read: closing it frees the lock.
    _file: File,
}

/// What a waiting caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The process that holds the lock, where it has said so.
    pub process: Option<u32>,
    /// How long this caller has waited.
    pub waited: Duration,
}

impl Cache {
    /// Waits until no other process or thread holds the lock of `key`, and takes it.
    ///
    /// # Errors
    ///
    /// If the lock's file cannot be made.
    pub fn lock_key(&self, key: &ActionKey) -> Result<KeyLock> {
        self.lock_key_with(key, |_| ControlFlow::Continue(()))
    }

    /// Takes the lock of `key` if nobody holds it.
    ///
    /// # Errors
    ///
    /// If the lock's file cannot be made.
    pub fn try_lock_key(&self, key: &ActionKey) -> Result<Option<KeyLock>> {
        Ok(self.attempt(key)?.ok())
    }

    /// As [`Cache::lock_key`], but calls `waiting` before each pause, several times a second; `Break` ends the
    /// wait.
    ///
    /// # Errors
    ///
    /// [`Error::WaitCancelled`] after `Break`; otherwise if the lock's file cannot be made.
    pub fn lock_key_with(
        &self,
        key: &ActionKey,
        mut waiting: impl FnMut(Waiting) -> ControlFlow<()>,
    ) -> Result<KeyLock> {
        let mut waited = Duration::ZERO;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.attempt(key)? {
                Ok(lock) => return Ok(lock),
                Err(process) => {
                    if waiting(Waiting { process, waited }).is_break() {
                        return Err(Error::WaitCancelled(*key));
                    }
                    std::thread::sleep(pause);
                    waited += pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// The lock, or the process that holds it.
    fn attempt(&self, key: &ActionKey) -> Result<Result<KeyLock, Option<u32>>> {
        let path = self.layout().key_lock(key);
        loop {
            let mut file =
                File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(
                    |error| {
                        std::io::Error::new(
                            error.kind(),
                            format!("cannot open the lock `{}`: {error}", path.display()),
                        )
                    },
                )?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    // Only for a message: whatever goes wrong, the holder is unknown.
                    let process = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                    return Ok(Err(process));
                }
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // The holder before removed the file: a lock on it excludes nobody.
            if file.metadata()?.nlink() == 0 {
                continue;
            }
            // Only for others' messages: a full disk must not keep anybody from a lock.
            let told = file.set_len(0).and_then(|()| file.rewind());
            if let Err(error) = told.and_then(|()| writeln!(file, "{}", std::process::id())) {
                tracing::debug!(%error, "a key's lock does not say who holds it");
            }
            return Ok(Ok(KeyLock { path, _file: file }));
        }
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // While the lock is held, so that nobody else can have taken it meanwhile.
        if let Err(error) = fs_err::remove_file(&self.path) {
            tracing::debug!(%error, "a key's lock was not removed");
        }
    }
}
