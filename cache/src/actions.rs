//! The action cache: what an action with a key came to.
//!
//! Several keys may name one result (a layer's static and content key). A result is never changed; the first that
//! was put stays, as long as what it points to is there. What is not here: how a key is made, or what the opaque
//! parts mean.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use imgbuild_digest::{ContentHash, ContentHasher, Digest, Hash, ParseDigestError};
use imgbuild_tree::DeltaId;
use rusqlite::{OptionalExtension as _, Row, Statement, Transaction};
use serde::{Deserialize, Serialize};

use crate::blobs::TOUCH_SECONDS;
use crate::{Cache, Error, Result};

/// What names an action. `Display` writes 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActionKey(pub Hash);

impl fmt::Display for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionKey({})", self.0.short())
    }
}

impl FromStr for ActionKey {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl ContentHash for ActionKey {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        self.0.content_hash(hasher);
    }
}

/// What an action came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionResult {
    /// What the action's output is, whoever made it.
    pub output: Hash,
    /// All layers of the output, the lowest first. Refers to no other result.
    pub layers: Vec<DeltaId>,
    /// Files that came out.
    pub files: Vec<OutputFile>,
    /// The caller's own, opaque here.
    pub metadata: Vec<u8>,
    /// The components of the key, for telling later what moved; opaque here.
    pub fingerprint: Vec<u8>,
    /// The blob that holds the log.
    pub log: Option<Digest>,
    /// How long the action took. Kept in whole milliseconds.
    pub duration: Duration,
    /// When it was made, in seconds since 1970, by the caller's clock.
    pub created: i64,
    /// Which kind of builder made it.
    pub builder: String,
}

/// A file that came out of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// The name that the action gives it, relative.
    pub path: String,
    /// Its contents, a blob.
    pub digest: Digest,
    /// Whether it may be executed.
    pub executable: bool,
}

/// What a result points to and the store does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the stored result lacks {} of its layers and {} of its blobs", layers.len(), blobs.len())]
pub struct Missing {
    /// Layers.
    pub layers: Vec<DeltaId>,
    /// Blobs.
    pub blobs: Vec<Digest>,
}

impl Missing {
    fn all_of(result: &ActionResult) -> Self {
        Self { layers: result.layers.clone(), blobs: result.blobs().copied().collect() }
    }

    fn is_nothing(&self) -> bool {
        self.layers.is_empty() && self.blobs.is_empty()
    }
}

impl ActionResult {
    /// Every blob that the result points to.
    pub fn blobs(&self) -> impl Iterator<Item = &Digest> {
        self.files.iter().map(|file| &file.digest).chain(&self.log)
    }
}

const COLUMNS: &str = "r.id, r.last_used, r.created, r.output, r.log, r.duration_ms, r.builder, r.layers, r.files, \
                       r.metadata, r.fingerprint";

/// A result with what the index knows about it besides.
pub(crate) struct StoredResult {
    pub(crate) id: i64,
    pub(crate) last_used: i64,
    pub(crate) result: ActionResult,
}

/// A result with its lists as the index keeps them.
struct EncodedRow<'a> {
    result: &'a ActionResult,
    layers: Vec<u8>,
    files: String,
}

impl<'a> EncodedRow<'a> {
    fn of(result: &'a ActionResult) -> Result<Self> {
        let files = serde_json::to_string(&result.files).map_err(|_| Error::DamagedRow("list of files"))?;
        let layers = result.layers.iter().flat_map(|delta| delta.0.0).collect();
        Ok(Self { result, layers, files })
    }
}

impl Cache {
    /// The result of `key`. Whether what it points to is still there is for [`Cache::is_complete`].
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn get(&self, key: &ActionKey) -> Result<Option<ActionResult>> {
        Ok(self.get_many(std::slice::from_ref(key))?.pop().flatten())
    }

    /// The results of many keys, in their order, from one state of the index.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn get_many(&self, keys: &[ActionKey]) -> Result<Vec<Option<ActionResult>>> {
        let now = crate::clock::now();
        let mut stale = Vec::new();
        let found = self.database().read(|transaction| {
            let mut select = transaction.prepare_cached(&find_sql())?;
            keys.iter()
                .map(|key| {
                    Ok(find_with(&mut select, key)?.map(|stored| {
                        if now - stored.last_used > TOUCH_SECONDS {
                            stale.push(stored.id);
                        }
                        stored.result
                    }))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        if !stale.is_empty() {
            self.database().note(|transaction| {
                let mut update =
                    transaction.prepare_cached("UPDATE results SET last_used = ?2 WHERE id = ?1")?;
                for id in stale {
                    update.execute((id, now))?;
                }
                Ok(())
            });
        }
        Ok(found)
    }

    /// Stores the result of `key`, and returns the one that counts: an earlier one stays if it is complete.
    ///
    /// # Errors
    ///
    /// If the index cannot be written.
    pub fn put(&self, key: &ActionKey, result: &ActionResult) -> Result<ActionResult> {
        let row = EncodedRow::of(result)?;
        self.database().write(|transaction| self.put_in(transaction, key, &row))
    }

    /// Stores many results, as [`Cache::put`] does each, in one transaction.
    ///
    /// # Errors
    ///
    /// If the index cannot be written; then none is stored.
    pub fn put_many(&self, results: &[(ActionKey, ActionResult)]) -> Result<()> {
        let rows = results.iter().map(|(_, result)| EncodedRow::of(result)).collect::<Result<Vec<_>>>()?;
        self.database().write(|transaction| {
            for ((key, _), row) in results.iter().zip(&rows) {
                self.put_in(transaction, key, row)?;
            }
            Ok(())
        })
    }

    fn put_in(
        &self,
        transaction: &Transaction<'_>,
        key: &ActionKey,
        row: &EncodedRow<'_>,
    ) -> Result<ActionResult> {
        if let Some(stored) = find(transaction, key)? {
            if self.missing(transaction, &stored.result)?.is_nothing() {
                return Ok(stored.result);
            }
            remove_result(transaction, stored.id)?;
        }
        let EncodedRow { result, layers, files } = row;
        transaction
            .prepare_cached(
                "INSERT INTO results (last_used, created, output, log, duration_ms, builder, layers, files,
                                      metadata, fingerprint)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute((
                crate::clock::now(),
                result.created,
                &result.output.0,
                result.log.map(|digest| digest.to_string()),
                i64::try_from(result.duration.as_millis()).unwrap_or(i64::MAX),
                &result.builder,
                layers,
                files,
                &result.metadata,
                &result.fingerprint,
            ))?;
        bind(transaction, key, transaction.last_insert_rowid())?;
        let stored = find(transaction, key)?.ok_or(Error::NoSuchResult(*key))?;
        Ok(stored.result)
    }

    /// Lets `key` name the result that `existing` names too. A complete result that `key` has already stays.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchResult`] if `existing` names none.
    pub fn alias(&self, key: &ActionKey, existing: &ActionKey) -> Result<()> {
        self.database().write(|transaction| {
            let target = find(transaction, existing)?.ok_or(Error::NoSuchResult(*existing))?;
            match find(transaction, key)? {
                Some(stored) if stored.id == target.id => return Ok(()),
                Some(stored) if self.missing(transaction, &stored.result)?.is_nothing() => return Ok(()),
                Some(stored) => remove_result(transaction, stored.id)?,
                None => {}
            }
            bind(transaction, key, target.id)
        })
    }

    /// Removes the result of `key` and every key that names it. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// If the index cannot be written.
    pub fn invalidate(&self, key: &ActionKey) -> Result<bool> {
        self.database().write(|transaction| {
            let Some(stored) = find(transaction, key)? else { return Ok(false) };
            remove_result(transaction, stored.id)?;
            Ok(true)
        })
    }

    /// Whether the store holds everything that a result points to: the layers' commit markers and the blobs' files,
    /// and that neither is about to be collected. Nothing is read or hashed.
    ///
    /// # Errors
    ///
    /// What is missing. If the index cannot be read, that is everything: a hit that cannot be proved is none.
    pub fn is_complete(&self, result: &ActionResult) -> Result<(), Missing> {
        self.are_complete([result]).pop().unwrap_or_else(|| Err(Missing::all_of(result)))
    }

    /// [`Cache::is_complete`] of many results, in their order, from one state of the index.
    #[must_use]
    pub fn are_complete<'a>(
        &self,
        results: impl IntoIterator<Item = &'a ActionResult> + Clone,
    ) -> Vec<Result<(), Missing>> {
        let missing = self.database().read(|transaction| {
            results
                .clone()
                .into_iter()
                .map(|result| self.missing(transaction, result))
                .collect::<Result<Vec<_>>>()
        });
        let missing = missing.unwrap_or_else(|error| {
            tracing::warn!(%error, "stored results could not be checked");
            results.into_iter().map(Missing::all_of).collect()
        });
        missing.into_iter().map(|missing| if missing.is_nothing() { Ok(()) } else { Err(missing) }).collect()
    }

    pub(crate) fn missing(&self, transaction: &Transaction<'_>, result: &ActionResult) -> Result<Missing> {
        let mut missing = Missing::default();
        let mut layer_row = transaction.prepare_cached("SELECT 1 FROM layers WHERE delta = ?1")?;
        for delta in &result.layers {
            if !layer_row.exists([&delta.0.0])? || !self.has_layer(delta) {
                missing.layers.push(*delta);
            }
        }
        let mut blob_row = transaction.prepare_cached("SELECT 1 FROM blobs WHERE hash = ?1")?;
        for digest in result.blobs() {
            if !blob_row.exists([&digest.bytes])? || !self.contains(digest)? {
                missing.blobs.push(*digest);
            }
        }
        Ok(missing)
    }
}

fn bind(transaction: &Transaction<'_>, key: &ActionKey, result: i64) -> Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO result_keys (key, result) VALUES (?1, ?2)")?
        .execute((&key.0.0, result))?;
    Ok(())
}

pub(crate) fn remove_result(transaction: &Transaction<'_>, id: i64) -> Result<()> {
    transaction.prepare_cached("DELETE FROM result_keys WHERE result = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM results WHERE id = ?1")?.execute([id])?;
    Ok(())
}

pub(crate) fn find(transaction: &Transaction<'_>, key: &ActionKey) -> Result<Option<StoredResult>> {
    find_with(&mut *transaction.prepare_cached(&find_sql())?, key)
}

fn find_sql() -> String {
    format!("SELECT {COLUMNS} FROM result_keys k JOIN results r ON r.id = k.result WHERE k.key = ?1")
}

fn find_with(select: &mut Statement<'_>, key: &ActionKey) -> Result<Option<StoredResult>> {
    select.query_row([&key.0.0], |row| Ok(stored_result(row))).optional()?.transpose()
}

/// Calls `each` with every result, those first that were used longest ago.
pub(crate) fn each_result(
    transaction: &Transaction<'_>,
    mut each: impl FnMut(StoredResult) -> Result<()>,
) -> Result<()> {
    let mut statement =
        transaction.prepare_cached(&format!("SELECT {COLUMNS} FROM results r ORDER BY r.last_used, r.id"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(stored_result(row)?)?;
    }
    Ok(())
}

fn stored_result(row: &Row<'_>) -> Result<StoredResult> {
    let log: Option<String> = row.get(4)?;
    let layers = row.get_ref(7)?.as_blob().map_err(rusqlite::Error::from)?;
    let (layers, rest) = layers.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(Error::DamagedRow("list of layers"));
    }
    let files = row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)?;
    let result = ActionResult {
        created: row.get(2)?,
        output: Hash(row.get(3)?),
        log: log
            .map(|text| text.parse())
            .transpose()
            .map_err(|_: ParseDigestError| Error::DamagedRow("digest of a log"))?,
        duration: Duration::from_millis(row.get::<_, i64>(5)?.unsigned_abs()),
        builder: row.get(6)?,
        layers: layers.iter().map(|bytes| DeltaId(Hash(*bytes))).collect(),
        files: if files == "[]" {
            Vec::new()
        } else {
            serde_json::from_str(files).map_err(|_| Error::DamagedRow("list of files"))?
        },
        metadata: row.get(9)?,
        fingerprint: row.get(10)?,
    };
    Ok(StoredResult { id: row.get(0)?, last_used: row.get(1)?, result })
}
