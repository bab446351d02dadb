//! The journal's database: its tables, their migrations and the few statements on them. Not for: locks, or
//! what an effect means.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use fs_err::File;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{
    Effect, EffectId, EffectKind, EffectState, HostId, IdError, JournalError, ProcessIdentity, ResourceId,
    RunId, RunInfo, WorkspaceId,
};

/// `imgJ`: tells the journal from any other SQLite database (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x696d_674a;

/// Each entry leads from the format of its index to the next. Entries are never changed once released, only
/// added.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE runs (
        id         TEXT PRIMARY KEY,
        workspace  TEXT NOT NULL,
        pid        INTEGER NOT NULL,
        start_time INTEGER NOT NULL,
        boot_id    TEXT NOT NULL,
        host       TEXT NOT NULL,
        started    INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE effects (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        run         TEXT NOT NULL REFERENCES runs (id),
        kind        TEXT NOT NULL,
        intent_json TEXT NOT NULL,
        resource_id TEXT,
        state       TEXT NOT NULL CHECK (state IN ('intended', 'done', 'undone', 'kept', 'failed')),
        created     INTEGER NOT NULL,
        error       TEXT
    ) STRICT;
    CREATE INDEX effects_by_run ON effects (run, id);
"];

/// The format after all migrations (`PRAGMA user_version`).
const NEWEST_FORMAT: i64 = MIGRATIONS.len() as i64;

/// How long a writer waits for another process's write. Each takes milliseconds, so this is only reached when
/// something is very wrong.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Database { path: path.to_path_buf(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        if check_format(&mut connection, path)? != MIGRATIONS.len() {
            prepare(&mut connection, path)?;
        }
        // An intent must outlive a power cut, not only a crash: WAL syncs each commit at FULL, and at NORMAL
        // only now and then.
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), connection })
    }

    fn failed(&self, source: rusqlite::Error) -> JournalError {
        JournalError::Database { path: self.path.clone(), source }
    }

    pub(super) fn new_run_id(&self) -> Result<RunId, JournalError> {
        self.connection
            .query_row("SELECT lower(hex(randomblob(16)))", [], |row| parsed(row, 0))
            .map_err(|e| self.failed(e))
    }

    pub(super) fn insert_run(
        &self,
        id: &RunId,
        workspace: &WorkspaceId,
        process: &ProcessIdentity,
        host: &HostId,
    ) -> Result<(), JournalError> {
        self.connection
            .execute(
                "INSERT INTO runs (id, workspace, pid, start_time, boot_id, host, started)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, unixepoch())",
                params![
                    id.as_str(),
                    workspace.as_str(),
                    process.pid(),
                    // Clock ticks since boot; they pass 2^63 in some billion years.
                    process.start_time().cast_signed(),
                    process.boot_id(),
                    host.as_str()
                ],
            )
            .map_err(|e| self.failed(e))?;
        Ok(())
    }

    pub(super) fn run_exists(&self, id: &RunId) -> Result<bool, JournalError> {
        self.connection
            .query_row("SELECT 1 FROM runs WHERE id = ?1", [id.as_str()], |_| Ok(()))
            .optional()
            .map(|row| row.is_some())
            .map_err(|e| self.failed(e))
    }

    pub(super) fn runs(&self) -> Result<Vec<RunInfo>, JournalError> {
        self.collect(
            "SELECT id, workspace, pid, start_time, boot_id, host, started FROM runs ORDER BY started, rowid",
            [],
            |row| {
                let process = ProcessIdentity::from_parts(
                    row.get(2)?,
                    row.get::<_, i64>(3)?.cast_unsigned(),
                    row.get(4)?,
                );
                Ok(RunInfo {
                    id: parsed(row, 0)?,
                    workspace: parsed(row, 1)?,
                    process,
                    host: parsed(row, 5)?,
                    started: row.get(6)?,
                })
            },
        )
    }

    pub(super) fn delete_run(&mut self, id: &RunId) -> Result<(), JournalError> {
        let delete = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM effects WHERE run = ?1", [id.as_str()])?;
            transaction.execute("DELETE FROM runs WHERE id = ?1", [id.as_str()])?;
            transaction.commit()
        };
        delete(&mut self.connection).map_err(|e| self.failed(e))
    }

    pub(super) fn insert_effect(
        &self,
        run: &RunId,
        kind: &EffectKind,
        intent_json: &str,
    ) -> Result<EffectId, JournalError> {
        self.connection
            .prepare_cached(
                "INSERT INTO effects (run, kind, intent_json, state, created) VALUES (?1, ?2, ?3, 'intended', unixepoch())",
            )
            .and_then(|mut statement| statement.insert(params![run.as_str(), kind.as_str(), intent_json]))
            .map(EffectId)
            .map_err(|e| self.failed(e))
    }

    pub(super) fn set_done(
        &self,
        run: &RunId,
        effect: EffectId,
        resource: &ResourceId,
    ) -> Result<(), JournalError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE effects SET state = 'done', resource_id = ?3 WHERE id = ?1 AND run = ?2 AND state = 'intended'",
            )
            .and_then(|mut statement| statement.execute(params![effect.0, run.as_str(), resource.as_str()]))
            .map_err(|e| self.failed(e))?;
        expect_one(changed, effect, EffectState::Done)
    }

    /// To [`EffectState::Undone`] or [`EffectState::Kept`], once; to the same again is nothing.
    pub(super) fn settle(
        &self,
        run: &RunId,
        effect: EffectId,
        state: EffectState,
    ) -> Result<(), JournalError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE effects SET state = ?3, error = NULL
                 WHERE id = ?1 AND run = ?2 AND (state NOT IN ('undone', 'kept') OR state = ?3)",
            )
            .and_then(|mut statement| statement.execute(params![effect.0, run.as_str(), state.as_str()]))
            .map_err(|e| self.failed(e))?;
        expect_one(changed, effect, state)
    }

    pub(super) fn set_failed(&self, run: &RunId, effect: EffectId, error: &str) -> Result<(), JournalError> {
        let changed = self
            .connection
            .execute(
                "UPDATE effects SET state = 'failed', error = ?3
                 WHERE id = ?1 AND run = ?2 AND state NOT IN ('undone', 'kept')",
                params![effect.0, run.as_str(), error],
            )
            .map_err(|e| self.failed(e))?;
        expect_one(changed, effect, EffectState::Failed)
    }

    pub(super) fn effects(&self, run: &RunId) -> Result<Vec<Effect>, JournalError> {
        self.collect(
            "SELECT id, kind, intent_json, resource_id, state, created, error FROM effects WHERE run = ?1 ORDER BY id",
            [run.as_str()],
            |row| {
                let intent: String = row.get(2)?;
                let resource: Option<String> = row.get(3)?;
                let state: String = row.get(4)?;
                Ok(Effect {
                    id: EffectId(row.get(0)?),
                    kind: parsed(row, 1)?,
                    intent: serde_json::from_str(&intent).map_err(|e| malformed(2, e))?,
                    resource: resource.map(|r| r.parse()).transpose().map_err(|e| malformed(3, e))?,
                    state: EffectState::parse(&state).ok_or_else(|| {
                        malformed(
                            4,
                            IdError { text: state, what: "the state of an effect", rule: "it must be known" },
                        )
                    })?,
                    created: row.get(5)?,
                    error: row.get(6)?,
                })
            },
        )
    }

    fn collect<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(parameters, read)?.collect())
            .map_err(|e| self.failed(e))
    }
}

fn expect_one(changed: usize, effect: EffectId, wanted: EffectState) -> Result<(), JournalError> {
    if changed == 1 { Ok(()) } else { Err(JournalError::NoSuchEffect { effect, wanted }) }
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err = IdError>,
{
    row.get::<_, String>(column)?.parse().map_err(|e| malformed(column, e))
}

fn malformed(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// The format that the database has; an error if it is not a journal or from a newer version. Writes nothing, so that
/// a database of someone else is left as it is.
fn check_format(connection: &mut Connection, path: &Path) -> Result<usize, JournalError> {
    let failed = |source| JournalError::Database { path: path.to_path_buf(), source };
    // One read transaction: half of another process's migration would look like another program's database.
    let snapshot = connection.transaction().map_err(failed)?;
    let number =
        |pragma| snapshot.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failed);
    let tables: i64 =
        snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let (application, found) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION_ID && (application != 0 || found != 0 || tables != 0) {
        return Err(JournalError::NotAJournal { path: path.to_path_buf() });
    }
    match usize::try_from(found) {
        Ok(format) if format <= MIGRATIONS.len() => Ok(format),
        _ => Err(JournalError::NewerFormat { path: path.to_path_buf(), found, known: NEWEST_FORMAT }),
    }
}

/// Brings a new or older journal to the newest format.
fn prepare(connection: &mut Connection, path: &Path) -> Result<(), JournalError> {
    let failed = |source| JournalError::Database { path: path.to_path_buf(), source };
    // One process at a time: SQLite does not wait for others when it changes the journal mode, it fails at once.
    let lock = File::open(path.parent().unwrap_or(Path::new(".")))?;
    lock.file().lock()?;
    let format = check_format(connection, path)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    for migration in &MIGRATIONS[format..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", NEWEST_FORMAT).map_err(failed)?;
    transaction.commit().map_err(failed)
}
