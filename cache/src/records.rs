//! Small things to remember by name: what a place built last, how long things took, epochs, roots, and other rooms'
//! memos.

use std::time::Duration;

use imgbuild_digest::Hash;
use rusqlite::OptionalExtension as _;

use crate::blobs::TOUCH_SECONDS;
use crate::{ActionKey, Cache, Error, Result};

/// Results remembered for each slot.
const SLOT_HISTORY: i64 = 16;

/// Durations remembered for each key; the estimate is their median.
const RECENT_DURATIONS: usize = 5;

/// What a slot built once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRecord {
    /// The key at that time.
    pub key: ActionKey,
    /// The key's components at that time, opaque here.
    pub fingerprint: Vec<u8>,
    /// When its run began, in milliseconds since 1970, by the caller's clock: records of one run have one time.
    pub created: i64,
}

/// The point in time that a chain's networked layers stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// What enters the keys.
    pub id: String,
    /// When it began, in seconds since 1970, by the caller's clock.
    pub created: i64,
}

/// A result that the garbage collector must leave, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The name, unique.
    pub name: String,
    /// The result's key.
    pub key: ActionKey,
}

impl Cache {
    /// Remembers what the place `slot` (a target, a platform, a step) came to. The same key twice in a row is one
    /// record, of the first time.
    ///
    /// # Errors
    ///
    /// If the index cannot be written.
    pub fn record_slot(&self, slot: &str, key: &ActionKey, fingerprint: &[u8], created: i64) -> Result<()> {
        self.database().write(|transaction| {
            let last: Option<(i64, [u8; 32])> = transaction
                .prepare_cached("SELECT id, key FROM slots WHERE slot = ?1 ORDER BY id DESC LIMIT 1")?
                .query_row([slot], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((id, last)) = last
                && last == key.0.0
            {
                transaction
                    .prepare_cached("UPDATE slots SET fingerprint = ?2 WHERE id = ?1")?
                    .execute((id, fingerprint))?;
                return Ok(());
            }
            transaction
                .prepare_cached(
                    "INSERT INTO slots (slot, key, fingerprint, created) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((slot, &key.0.0, fingerprint, created))?;
            transaction
                .prepare_cached(
                    "DELETE FROM slots WHERE slot = ?1 AND id NOT IN
                         (SELECT id FROM slots WHERE slot = ?1 ORDER BY id DESC LIMIT ?2)",
                )?
                .execute((slot, SLOT_HISTORY))?;
            Ok(())
        })
    }

    /// The last `count` records of a slot, the newest first.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn slot_history(&self, slot: &str, count: usize) -> Result<Vec<SlotRecord>> {
        self.database().read(|transaction| {
            transaction
                .prepare_cached(
                    "SELECT key, fingerprint, created FROM slots WHERE slot = ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_map((slot, i64::try_from(count).unwrap_or(i64::MAX)), slot_record)?
                .map(|record| Ok(record?))
                .collect()
        })
    }

    /// The records of all places whose names start with `prefix`, by name and then the newest first.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn slots_under(&self, prefix: &str) -> Result<Vec<(String, SlotRecord)>> {
        // A text that is greater than all that start with the prefix, in SQLite's order of bytes.
        let end = format!("{prefix}\u{10ffff}");
        self.database().read(|transaction| {
            transaction
                .prepare_cached(
                    "SELECT key, fingerprint, created, slot FROM slots WHERE slot >= ?1 AND slot < ?2
                     ORDER BY slot, id DESC",
                )?
                .query_map((prefix, end), |row| Ok((row.get(3)?, slot_record(row)?)))?
                .map(|record| Ok(record?))
                .collect()
        })
    }

    /// Remembers how long the thing that `key` stands for took.
    ///
    /// # Errors
    ///
    /// If the index cannot be written.
    pub fn record_duration(&self, key: &Hash, duration: Duration) -> Result<()> {
        self.database().write(|transaction| {
            let recent: Option<Vec<u8>> = transaction
                .prepare_cached("SELECT recent FROM durations WHERE key = ?1")?
                .query_row([&key.0], |row| row.get(0))
                .optional()?;
            let mut recent = durations(&recent.unwrap_or_default())?;
            recent.insert(0, duration);
            recent.truncate(RECENT_DURATIONS);
            let encoded: Vec<u8> = recent
                .iter()
                .flat_map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).to_le_bytes())
                .collect();
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO durations (key, recent, last_used) VALUES (?1, ?2, ?3)",
                )?
                .execute((&key.0, encoded, crate::clock::now()))?;
            Ok(())
        })
    }

    /// How long each thing will take by what is remembered: the median of the last few times.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn estimates(&self, keys: &[Hash]) -> Result<Vec<Option<Duration>>> {
        self.database().read(|transaction| {
            let mut select = transaction.prepare_cached("SELECT recent FROM durations WHERE key = ?1")?;
            keys.iter()
                .map(|key| {
                    let recent: Option<Vec<u8>> = select.query_row([&key.0], |row| row.get(0)).optional()?;
                    let mut recent = durations(&recent.unwrap_or_default())?;
                    recent.sort_unstable();
                    Ok(recent.get(recent.len() / 2).copied())
                })
                .collect()
        })
    }

    /// The epoch of a record, whatever its age.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn epoch(&self, record: &ActionKey) -> Result<Option<Epoch>> {
        self.database().read(|transaction| epoch(transaction, record))
    }

    /// Begins an epoch, and returns the one that counts: an earlier one stays unless `replace`.
    ///
    /// # Errors
    ///
    /// If the index cannot be written.
    pub fn put_epoch(&self, record: &ActionKey, new: &Epoch, replace: bool) -> Result<Epoch> {
        self.database().write(|transaction| {
            if !replace && let Some(stored) = epoch(transaction, record)? {
                return Ok(stored);
            }
            transaction
                .prepare_cached("INSERT OR REPLACE INTO epochs (record, id, created) VALUES (?1, ?2, ?3)")?
                .execute((&record.0.0, &new.id, new.created))?;
            Ok(new.clone())
        })
    }

    /// Protects the result of `key` from garbage collection under a name; a root of that name is replaced.
    ///
    /// # Errors
    ///
    /// If the index cannot be written.
    pub fn add_root(&self, name: &str, key: &ActionKey) -> Result<()> {
        self.database().write(|transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO roots (name, key) VALUES (?1, ?2)")?
                .execute((name, &key.0.0))?;
            Ok(())
        })
    }

    /// Ends a root's protection. Returns whether there was one of that name.
    ///
    /// # Errors
    ///
    /// If the index cannot be written.
    pub fn remove_root(&self, name: &str) -> Result<bool> {
        self.database().write(|transaction| {
            Ok(transaction.prepare_cached("DELETE FROM roots WHERE name = ?1")?.execute([name])? > 0)
        })
    }

    /// All roots, in order of name.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn roots(&self) -> Result<Vec<Root>> {
        self.database().read(|transaction| {
            transaction
                .prepare_cached("SELECT name, key FROM roots ORDER BY name")?
                .query_map([], |row| Ok(Root { name: row.get(0)?, key: ActionKey(Hash(row.get(1)?)) }))?
                .map(|root| Ok(root?))
                .collect()
        })
    }

    /// What another room has remembered under a key of its own namespace. It may be gone at any time.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn memo_get(&self, namespace: &str, key: &Hash) -> Result<Option<Vec<u8>>> {
        let found: Option<(Vec<u8>, i64)> = self.database().read(|transaction| {
            Ok(transaction
                .prepare_cached("SELECT value, last_used FROM memo WHERE namespace = ?1 AND key = ?2")?
                .query_row((namespace, &key.0), |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?)
        })?;
        let Some((value, last_used)) = found else { return Ok(None) };
        let now = crate::clock::now();
        if now - last_used > TOUCH_SECONDS {
            self.database().note(|transaction| {
                transaction
                    .prepare_cached("UPDATE memo SET last_used = ?3 WHERE namespace = ?1 AND key = ?2")?
                    .execute((namespace, &key.0, now))?;
                Ok(())
            });
        }
        Ok(Some(value))
    }

    /// Remembers a value until the garbage collector forgets it for its age or for all memos' size.
    ///
    /// # Errors
    ///
    /// If the index cannot be written.
    pub fn memo_put(&self, namespace: &str, key: &Hash, value: &[u8]) -> Result<()> {
        self.database().write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO memo (namespace, key, value, last_used) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((namespace, &key.0, value, crate::clock::now()))?;
            Ok(())
        })
    }
}

fn durations(encoded: &[u8]) -> Result<Vec<Duration>> {
    let (chunks, rest) = encoded.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Error::DamagedRow("list of durations"));
    }
    Ok(chunks.iter().map(|bytes| Duration::from_millis(u64::from_le_bytes(*bytes))).collect())
}

fn epoch(transaction: &rusqlite::Transaction<'_>, record: &ActionKey) -> Result<Option<Epoch>> {
    Ok(transaction
        .prepare_cached("SELECT id, created FROM epochs WHERE record = ?1")?
        .query_row([&record.0.0], |row| Ok(Epoch { id: row.get(0)?, created: row.get(1)? }))
        .optional()?)
}

/// A record from the columns `key, fingerprint, created`.
fn slot_record(row: &rusqlite::Row<'_>) -> rusqlite::Result<SlotRecord> {
    Ok(SlotRecord { key: ActionKey(Hash(row.get(0)?)), fingerprint: row.get(1)?, created: row.get(2)? })
}
