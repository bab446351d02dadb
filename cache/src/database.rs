//! The index: connections, schema and its versions.
//!
//! Opening is on the path of every hit, so nothing is created, migrated or checked when the version is the known
//! one. A connection is used by one thread at a time and goes back to a small pool with its prepared statements.
//! What is not here: any statement of the tables; each module has its own.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::layout::Layout;
use crate::{Error, Result};

/// How long a writer waits for another process' transaction. They are short; the collector's are cut into pieces.
const BUSY: Duration = Duration::from_secs(60);

/// Connections kept for reuse.
const KEPT: usize = 8;

/// Each brings the schema from the version of its index to the next. Never change one that was released: add one.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE blobs (
        hash BLOB PRIMARY KEY, size INTEGER NOT NULL, sha256 BLOB NOT NULL, last_used INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX blobs_by_sha256 ON blobs (sha256);
    CREATE TABLE layers (
        delta BLOB PRIMARY KEY, size INTEGER NOT NULL, last_used INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE results (
        id INTEGER PRIMARY KEY AUTOINCREMENT, last_used INTEGER NOT NULL, created INTEGER NOT NULL,
        output BLOB NOT NULL, log BLOB, duration_ms INTEGER NOT NULL, builder TEXT NOT NULL,
        layers BLOB NOT NULL, files TEXT NOT NULL, metadata BLOB NOT NULL, fingerprint BLOB NOT NULL
    );
    CREATE TABLE result_keys (key BLOB PRIMARY KEY, result INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX result_keys_by_result ON result_keys (result);
    CREATE TABLE slots (
        id INTEGER PRIMARY KEY AUTOINCREMENT, slot TEXT NOT NULL, key BLOB NOT NULL,
        fingerprint BLOB NOT NULL, created INTEGER NOT NULL
    );
    CREATE INDEX slots_by_slot ON slots (slot, id);
    CREATE TABLE durations (key BLOB PRIMARY KEY, recent BLOB NOT NULL, last_used INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE file_memo (
        path BLOB PRIMARY KEY, dev INTEGER NOT NULL, ino INTEGER NOT NULL, size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, hash BLOB NOT NULL, recorded INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE memo (
        namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, last_used INTEGER NOT NULL,
        PRIMARY KEY (namespace, key)
    );
    CREATE TABLE epochs (record BLOB PRIMARY KEY, id TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE roots (name TEXT PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE leases (
        run TEXT NOT NULL, kind INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (run, kind, id)
    ) WITHOUT ROWID;
", "
    CREATE TABLE chunks (hash BLOB PRIMARY KEY, size INTEGER NOT NULL, stored INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE layer_chunks (
        delta BLOB NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (delta, hash)
    ) WITHOUT ROWID;
    CREATE INDEX layer_chunks_by_hash ON layer_chunks (hash);
    CREATE TABLE whole (
        delta BLOB NOT NULL, name TEXT NOT NULL, taken INTEGER NOT NULL, last_used INTEGER NOT NULL,
        hash BLOB NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (delta, name)
    ) WITHOUT ROWID;
"];

pub(crate) struct Database {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let path = layout.index();
        let connection = match connect(&path, false) {
            Ok(connection) if version(&connection)? == MIGRATIONS.len() as i64 => connection,
            Ok(connection) => {
                layout.create()?;
                migrate(connection, layout)?
            }
            Err(_) => {
                layout.create()?;
                migrate(connect(&path, true)?, layout)?
            }
        };
        Ok(Self { path, idle: Mutex::new(vec![connection]) })
    }

    /// Lends a connection to `work`.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let idle = self.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path, false)?,
        };
        let outcome = work(&mut connection);
        let mut idle = self.lock();
        if idle.len() < KEPT {
            idle.push(connection);
        }
        outcome
    }

    /// Runs `work` on one state of the index.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            work(&transaction)
        })
    }

    /// Runs `work` while no other process writes; all of it counts, or nothing if it fails.
    ///
    /// Renames into and out of the store happen inside such a transaction, which makes "is the file there" and "is
    /// there a row" one question.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcome = work(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        })
    }

    /// Writes what may as well be lost: gives up at once when another process is writing, and reports nothing.
    pub(crate) fn note(&self, work: impl FnOnce(&Transaction<'_>) -> Result<()>) {
        let outcome = self.with(|connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let outcome = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(Error::from)
                .and_then(|transaction| {
                    work(&transaction)?;
                    Ok(transaction.commit()?)
                });
            connection.busy_timeout(BUSY)?;
            outcome
        });
        if let Err(error) = outcome {
            tracing::debug!(%error, "a note in the index was not written");
        }
    }

    /// Copies the log into the index and empties it, unless another process is in the way: it only saves space and time.
    pub(crate) fn empty_log(&self) -> Result<()> {
        self.with(|connection| {
            connection.busy_timeout(Duration::ZERO)?;
            if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
                tracing::debug!(%error, "the index's log was not emptied");
            }
            Ok(connection.busy_timeout(BUSY)?)
        })
    }

    /// The size of the log in bytes.
    pub(crate) fn log_size(&self) -> u64 {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        fs_err::metadata(log).map_or(0, |status| status.len())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn connect(path: &Path, create: bool) -> Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // The last process to close would otherwise copy the log into the index and sync both, at the end of every run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    // A power cut may lose the last rows; it cannot damage the index, and data without a row is only a miss.
    connection.execute_batch("PRAGMA synchronous = NORMAL;")?;
    Ok(connection)
}

fn version(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

fn migrate(mut connection: Connection, layout: &Layout) -> Result<Connection> {
    let known = MIGRATIONS.len() as i64;
    let newer = |found| Error::NewerVersion { path: layout.root().to_owned(), found, known };
    let found = version(&connection)?;
    if found > known {
        return Err(newer(found));
    }
    // One process at a time: SQLite does not wait for others when it changes the journal mode, it fails at once.
    let lock = fs_err::File::open(layout.root())?;
    lock.file().lock()?;
    connection.execute_batch("PRAGMA journal_mode = WAL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let found = version(&transaction)?;
    if found > known {
        return Err(newer(found));
    }
    for migration in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(connection)
}

/// A hash from a column.
pub(crate) fn hash_column(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<[u8; 32]> {
    row.get(column)
}
