//! Garbage collection: what goes when the cache is too large or too old, while others go on building.
//!
//! First the rows go, in one transaction, then the files, in transactions of their own that look again whether
//! somebody has put a row there meanwhile. Files are renamed away inside the transaction and deleted outside it. So
//! at no moment does a row point to a file that is gone, and a collector that is killed leaves only files without
//! rows, which the next one takes.
//!
//! Roots, what living runs have leased, and whatever was written or used in the last minutes stay.

mod choose;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgbuild_digest::Hash;
use imgbuild_tree::DeltaId;
use rusqlite::Transaction;

use self::choose::{Beside, Object, Plan, Rules, choose, held_objects, protected_results, seconds};
use crate::chunk_store::drop_unheld;
use crate::removal::remove_tree;
use crate::runs::{live_runs, sweep_dead_runs};
use crate::whole::Whole;
use crate::{Cache, Error, Result};

const DAY: i64 = 86_400;
/// After how long without use small records are forgotten.
const MEMO_AGE: i64 = 30 * DAY;
const RECORD_AGE: i64 = 365 * DAY;
/// How much all memos may take together, in bytes.
const MEMO_SIZE: i64 = 256 << 20;
/// How long damaged blobs are kept for whoever wants to look at them.
const QUARANTINE_AGE: i64 = 7 * DAY;
/// How many files are moved away in one transaction, so that writers wait only for moments.
const BATCH: usize = 256;

/// What may stay.
#[derive(Clone, Debug)]
pub struct GcPolicy {
    /// How many bytes layers, blobs, chunks, whole files and the memory of machines may take together; `None` for any
    /// number.
    pub max_size: Option<u64>,
    /// How long something may go unused (known to the hour); `None` for ever.
    pub max_age: Option<Duration>,
    /// What is younger than this stays in any case: a build that has written it may not have recorded its result
    /// yet.
    pub grace: Duration,
    /// Only say what would go.
    pub dry_run: bool,
}

impl Default for GcPolicy {
    /// No limits: only what nothing points to goes, an hour after it was written.
    fn default() -> Self {
        Self { max_size: None, max_age: None, grace: Duration::from_secs(3600), dry_run: false }
    }
}

/// What went, or with a dry run, what would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Results.
    pub results: usize,
    /// Layers.
    pub layers: usize,
    /// Blobs.
    pub blobs: usize,
    /// Chunks of files of layers.
    pub chunks: usize,
    /// Whole forms of such files, those of layers that went among them.
    pub whole: usize,
    /// Machines whose memory was kept.
    pub warm: usize,
    /// The size of all that, in bytes.
    pub bytes_freed: u64,
    /// The size of all that there was before, in bytes.
    pub bytes_before: u64,
    /// Files and folders without a row, left by killed processes.
    pub orphans: usize,
    /// Package indexes that were not used for long.
    pub indexes: usize,
    /// Their size in bytes.
    pub index_bytes_freed: u64,
    /// Dead runs whose temporary files were swept.
    pub dead_runs: usize,
}

/// A file of [`Cache::indexes`].
pub(crate) struct PackageIndex {
    path: PathBuf,
    /// In bytes.
    pub(crate) size: u64,
    /// In seconds since 1970.
    last_used: i64,
}

/// The lock of whoever removes or checks things; free when dropped.
pub(crate) struct CollectorLock(#[expect(dead_code, reason = "held, not read")] File);

impl CollectorLock {
    pub(crate) fn take(cache: &Cache) -> Result<Self> {
        let path = cache.layout().collector_lock();
        let file = fs_err::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let file = file.into_file();
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Busy),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

impl Cache {
    /// Removes what the policy does not let stay, the least recently used results first. Safe while others build.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if another process collects or verifies; otherwise if something cannot be removed.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport> {
        let _lock = CollectorLock::take(self)?;
        let now = crate::clock::now();
        let dead_runs = if policy.dry_run { 0 } else { sweep_dead_runs(self)? };
        let live: HashSet<String> = live_runs(self)?.into_iter().map(|run| run.as_str().to_owned()).collect();
        let beside = Beside { warm: self.warm_folders()?, whole: self.all_whole()? };
        let rules = Rules { policy, live: &live, now };
        let choose = |transaction: &Transaction<'_>| choose(transaction, &rules, &beside);
        let plan = if policy.dry_run {
            self.database().read(choose)?
        } else {
            self.database().write(|transaction| {
                let plan = choose(transaction)?;
                delete_rows(transaction, &plan)?;
                forget(transaction, &live, now)?;
                Ok(plan)
            })?
        };
        let orphans = self.orphans(&plan.known, now - seconds(policy.grace))?;
        let unused = now - policy.max_age.map_or(MEMO_AGE, seconds).max(seconds(policy.grace));
        let indexes: Vec<_> =
            self.package_indexes()?.into_iter().filter(|index| index.last_used <= unused).collect();
        let count = |is: fn(&Object) -> bool| plan.objects.iter().filter(|object| is(object)).count();
        let mut report = GcReport {
            results: plan.results.len(),
            layers: count(|object| matches!(object, Object::Layer(_))),
            blobs: count(|object| matches!(object, Object::Blob(_))),
            chunks: count(|object| matches!(object, Object::Chunk(_))),
            whole: plan.whole.len(),
            warm: plan.warm.len(),
            bytes_freed: plan.freed,
            bytes_before: plan.before,
            orphans: orphans.len(),
            indexes: indexes.len(),
            index_bytes_freed: indexes.iter().map(|index| index.size).sum(),
            dead_runs,
        };
        if !policy.dry_run {
            let objects: Vec<Object> = plan.objects.iter().copied().chain(orphans).collect();
            self.remove_warm(plan.warm.iter().map(|place| beside.warm[*place].path.clone()))?;
            let whole: Vec<Whole> = plan.whole.iter().map(|place| beside.whole[*place].clone()).collect();
            self.remove_whole(&whole)?;
            self.remove_objects(&objects)?;
            for index in indexes {
                remove_tree(&index.path)?;
            }
            self.remove_old_quarantine(now)?;
            self.remove_free_locks()?;
            self.database().empty_log()?;
        }
        report.orphans += self.sweep_whole(now - seconds(policy.grace), policy.dry_run)?;
        Ok(report)
    }

    /// Files in the store without a row that were last changed before `before`.
    fn orphans(&self, known: &HashSet<Object>, before: i64) -> Result<Vec<Object>> {
        Ok(self
            .objects_on_disk()?
            .into_iter()
            .filter(|(object, path)| {
                !known.contains(object)
                    && fs_err::symlink_metadata(path).is_ok_and(|status| status.ctime() <= before)
            })
            .map(|(object, _)| object)
            .collect())
    }

    fn objects_on_disk(&self) -> Result<Vec<(Object, PathBuf)>> {
        let mut found = Vec::new();
        let mut add = |folder: &Path, object: fn([u8; 32]) -> Object| -> Result<()> {
            for entry in fs_err::read_dir(folder)? {
                let entry = entry?;
                if let Ok(hash) = entry.file_name().to_string_lossy().parse::<Hash>() {
                    found.push((object(hash.0), entry.path()));
                }
            }
            Ok(())
        };
        add(&self.layout().layers(), Object::Layer)?;
        for shard in fs_err::read_dir(self.layout().blobs())? {
            add(&shard?.path(), Object::Blob)?;
        }
        for shard in fs_err::read_dir(self.layout().chunks())? {
            add(&shard?.path(), Object::Chunk)?;
        }
        Ok(found)
    }

    /// What lies in the store without a row, right now.
    pub(crate) fn paths_without_row(&self) -> Result<Vec<PathBuf>> {
        let found = self.objects_on_disk()?;
        self.database().read(|transaction| {
            let mut without = Vec::new();
            for (object, path) in found {
                if !has_row(transaction, object)? && path.exists() {
                    without.push(path);
                }
            }
            without.sort_unstable();
            Ok(without)
        })
    }

    /// Removes the files of objects that have no row.
    fn remove_objects(&self, objects: &[Object]) -> Result<()> {
        for batch in objects.chunks(BATCH) {
            let trash = tempfile::Builder::new().prefix("trash-").tempdir_in(self.temporary()?)?.keep();
            self.database().write(|transaction| {
                for object in batch {
                    // Somebody may have put it again since its row went.
                    if !has_row(transaction, *object)? {
                        move_away(&self.place(*object), &trash)?;
                    }
                }
                Ok(())
            })?;
            remove_tree(&trash)?;
        }
        Ok(())
    }

    /// Takes a layer out of the store, with its row.
    pub(crate) fn remove_layer(&self, delta: &DeltaId) -> Result<()> {
        let gone =
            self.database().write(|transaction| drop_layers(transaction, vec![Object::Layer(delta.0.0)]))?;
        self.remove_objects(&gone)
    }

    /// Removes those of these layers that no result points to and no living run has leased.
    ///
    /// # Errors
    ///
    /// If the index cannot be read or written, or a file cannot be removed.
    pub fn remove_unused_layers(&self, layers: &[DeltaId]) -> Result<()> {
        let live: HashSet<String> = live_runs(self)?.into_iter().map(|run| run.as_str().to_owned()).collect();
        let unused: Vec<Object> = self.database().write(|transaction| {
            let mut held = held_objects(transaction)?;
            protected_results(transaction, &live, &mut held)?;
            let is_leased =
                |delta: &DeltaId| held.get(&Object::Layer(delta.0.0)).is_some_and(|held| held.leased);
            let mut unused: HashSet<DeltaId> =
                layers.iter().copied().filter(|delta| !is_leased(delta)).collect();
            crate::actions::each_result(transaction, |stored| {
                unused.retain(|delta| !stored.result.layers.contains(delta));
                Ok(())
            })?;
            drop_layers(transaction, unused.iter().map(|delta| Object::Layer(delta.0.0)).collect())
        })?;
        self.remove_objects(&unused)
    }

    fn place(&self, object: Object) -> PathBuf {
        match object {
            Object::Layer(hash) => self.layout().layer(&DeltaId(Hash(hash))),
            Object::Blob(hash) => self.layout().blob(&hash),
            Object::Chunk(hash) => self.layout().chunk(&hash),
        }
    }

    /// The files of [`Cache::indexes`].
    pub(crate) fn package_indexes(&self) -> Result<Vec<PackageIndex>> {
        let entries = match fs_err::read_dir(self.layout().indexes()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // One that has gone meanwhile was its writer's temporary file.
            let Ok(status) = entry.metadata() else { continue };
            found.push(PackageIndex { path: entry.path(), size: status.len(), last_used: status.mtime() });
        }
        Ok(found)
    }

    fn remove_old_quarantine(&self, now: i64) -> Result<()> {
        for entry in fs_err::read_dir(self.layout().quarantine())? {
            let entry = entry?;
            // Renaming sets the change time: when it was put there.
            if entry.metadata().is_ok_and(|status| status.ctime() < now - QUARANTINE_AGE) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the lock files that killed processes have left.
    fn remove_free_locks(&self) -> Result<()> {
        let collector = self.layout().collector_lock();
        let Some(folder) = collector.parent() else { return Ok(()) };
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            let Ok(file) = File::open(&path) else { continue };
            if path != collector && file.try_lock().is_ok() && file.metadata()?.nlink() > 0 {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

fn delete_rows(transaction: &Transaction<'_>, plan: &Plan) -> Result<()> {
    for id in &plan.results {
        crate::actions::remove_result(transaction, *id)?;
    }
    for object in &plan.objects {
        let (statements, hash): (&[&str], _) = match object {
            Object::Layer(hash) => (
                &[
                    "DELETE FROM layers WHERE delta = ?1",
                    "DELETE FROM layer_chunks WHERE delta = ?1",
                    "DELETE FROM whole WHERE delta = ?1",
                ],
                hash,
            ),
            Object::Blob(hash) => (&["DELETE FROM blobs WHERE hash = ?1"], hash),
            Object::Chunk(hash) => (&["DELETE FROM chunks WHERE hash = ?1"], hash),
        };
        for sql in statements {
            transaction.prepare_cached(sql)?.execute([hash])?;
        }
    }
    Ok(())
}

/// Takes layers out of the index, and the chunks that no other holds; gives all that is without a row then.
fn drop_layers(transaction: &Transaction<'_>, layers: Vec<Object>) -> Result<Vec<Object>> {
    let mut plan = Plan { objects: layers, ..Plan::default() };
    delete_rows(transaction, &plan)?;
    plan.objects.extend(drop_unheld(transaction)?.into_iter().map(Object::Chunk));
    Ok(plan.objects)
}

/// Forgets small records by age and size, and leases of runs that are gone.
fn forget(transaction: &Transaction<'_>, live: &HashSet<String>, now: i64) -> Result<()> {
    let leasing: Vec<String> = transaction
        .prepare("SELECT DISTINCT run FROM leases")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for run in leasing.iter().filter(|run| !live.contains(*run)) {
        transaction.execute("DELETE FROM leases WHERE run = ?1", [run])?;
    }
    // An older program that removes a layer leaves these.
    transaction.execute("DELETE FROM layer_chunks WHERE delta NOT IN (SELECT delta FROM layers)", [])?;
    transaction.execute("DELETE FROM memo WHERE last_used < ?1", [now - MEMO_AGE])?;
    transaction.execute("DELETE FROM file_memo WHERE recorded < ?1", [now - MEMO_AGE])?;
    transaction.execute("DELETE FROM durations WHERE last_used < ?1", [now - RECORD_AGE])?;
    // Runs are told apart by milliseconds.
    transaction.execute("DELETE FROM slots WHERE created < ?1", [(now - RECORD_AGE) * 1000])?;
    transaction.execute(
        "DELETE FROM memo WHERE rowid IN (
             SELECT rowid FROM (
                 SELECT rowid, sum(length(value)) OVER (ORDER BY last_used DESC, rowid DESC) AS newer FROM memo
             ) WHERE newer > ?1
         )",
        [MEMO_SIZE],
    )?;
    Ok(())
}

fn has_row(transaction: &Transaction<'_>, object: Object) -> Result<bool> {
    let (sql, hash) = match object {
        Object::Layer(hash) => ("SELECT 1 FROM layers WHERE delta = ?1", hash),
        Object::Blob(hash) => ("SELECT 1 FROM blobs WHERE hash = ?1", hash),
        Object::Chunk(hash) => ("SELECT 1 FROM chunks WHERE hash = ?1", hash),
    };
    Ok(transaction.prepare_cached(sql)?.exists([hash])?)
}

fn move_away(path: &Path, trash: &Path) -> Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    match fs_err::rename(path, trash.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
