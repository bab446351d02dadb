//! Whole forms of files that are kept as chunks (`layers/<delta>/whole/<name>`), for who needs a file.
//!
//! One can always be put together again, so it may go whenever no run leases its layer: by age and by size with all else that a
//! collection takes, with its layer, and where all of them together take more than their budget, which is looked after
//! whenever there is a new one. Its row says what it holds; a file without a row is none. What is in such a file,
//! and how it is put together, is its maker's to say.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use imgbuild_digest::{Digest, Hash};
use imgbuild_tree::DeltaId;
use rusqlite::{OptionalExtension as _, Row, Transaction};

use crate::blobs::TOUCH_SECONDS;
use crate::removal::remove_tree;
use crate::runs::{KIND_LAYER, live_runs};
use crate::warm::digest_of;
use crate::{ActionKey, Cache, ChunkedFile, Damage, Error, Lease, Result, Run, Staged};

/// What all of them may take on the disk, in bytes. Those that were not used for longest go first.
pub(crate) const BUDGET: u64 = 8 << 30;

/// A whole form of a file, which may be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) delta: DeltaId,
    pub(crate) name: String,
    /// What it takes on the disk, in bytes.
    pub(crate) size: u64,
    /// In seconds since 1970.
    pub(crate) last_used: i64,
    /// What it held when it was written.
    digest: Digest,
}

/// One that waits for its layer to be committed.
#[derive(Clone, Debug)]
pub(crate) struct StagedWhole {
    name: String,
    size: u64,
    digest: Digest,
}

const COLUMNS: &str = "delta, name, taken, last_used, hash, size";

impl Whole {
    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let size: i64 = row.get(5)?;
        Ok(Self {
            delta: DeltaId(Hash(row.get(0)?)),
            name: row.get(1)?,
            size: row.get::<_, i64>(2)?.unsigned_abs(),
            last_used: row.get(3)?,
            digest: Digest::blake3(Hash(row.get(4)?), size.unsigned_abs()),
        })
    }
}

impl StagedWhole {
    fn of(name: &str, path: &Path) -> io::Result<Self> {
        let size = fs_err::metadata(path)?.blocks() * 512;
        Ok(Self { name: name.to_owned(), size, digest: digest_of(path)? })
    }

    fn put(&self, transaction: &Transaction<'_>, delta: &DeltaId) -> Result<()> {
        let sql = format!("INSERT OR REPLACE INTO whole ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
        let size = self.digest.size as i64;
        let values = (&delta.0.0, &self.name, self.size as i64, crate::clock::now(), self.digest.bytes, size);
        transaction.prepare_cached(&sql)?.execute(values)?;
        Ok(())
    }
}

impl Staged {
    /// Moves a file of the tree to the place of its whole form.
    pub(crate) fn keep_whole(&mut self, name: &str) -> Result<()> {
        let folder = self.whole_folder();
        fs_err::create_dir_all(&folder)?;
        let path = folder.join(name);
        fs_err::rename(self.upper().join(name), &path)?;
        let whole = StagedWhole::of(name, &path)?;
        self.whole_mut().push(whole);
        Ok(())
    }
}

impl Run {
    /// The path of a file of a layer that is kept as chunks. Where there is no whole form of it, `write` puts it together in an
    /// empty file. The layer is leased, so that the file stays until this run ends.
    ///
    /// # Errors
    ///
    /// What `write` returns; [`Error::NoSuchFile`] if the layer has no such file; if it cannot be written.
    pub fn whole_file<E: From<Error>>(
        &self,
        delta: &DeltaId,
        name: &str,
        write: impl FnOnce(&ChunkedFile, &File) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.lease(&[Lease::Layer(*delta)])?;
        let cache = self.cache();
        if let Some(path) = cache.whole(delta, name)? {
            return Ok(path);
        }
        // Of several that need it one puts it together.
        let lock = Hash::of(format!("whole {delta} {name}").as_bytes());
        let _lock = cache.lock_key(&ActionKey(lock))?;
        if let Some(path) = cache.whole(delta, name)? {
            return Ok(path);
        }
        let chunked = cache.chunked_file(delta, name)?;
        let chunked = chunked.ok_or_else(|| Error::NoSuchFile { layer: *delta, name: name.to_owned() })?;
        let temporary = tempfile::Builder::new().prefix("whole-").tempfile_in(self.temporary());
        let temporary = temporary.map_err(Error::Io)?;
        write(&chunked, temporary.as_file())?;
        Ok(cache.put_whole(delta, name, temporary)?)
    }
}

impl Cache {
    /// One that is there, which is used now.
    fn whole(&self, delta: &DeltaId, name: &str) -> Result<Option<PathBuf>> {
        let path = self.whole_place(delta, name);
        let known = self.database().read(|transaction| {
            let mut select =
                transaction.prepare_cached("SELECT last_used FROM whole WHERE delta = ?1 AND name = ?2")?;
            Ok(select.query_row((&delta.0.0, name), |row| row.get::<_, i64>(0)).optional()?)
        })?;
        let Some(last_used) = known.filter(|_| path.exists()) else { return Ok(None) };
        let now = crate::clock::now();
        if now - last_used > TOUCH_SECONDS {
            self.database().note(|transaction| {
                transaction
                    .prepare_cached("UPDATE whole SET last_used = ?3 WHERE delta = ?1 AND name = ?2")?
                    .execute((&delta.0.0, name, now))?;
                Ok(())
            });
        }
        Ok(Some(path))
    }

    fn whole_place(&self, delta: &DeltaId, name: &str) -> PathBuf {
        self.layout().whole(delta).join(name)
    }

    fn put_whole(&self, delta: &DeltaId, name: &str, file: tempfile::NamedTempFile) -> Result<PathBuf> {
        file.as_file().sync_data()?;
        let whole = StagedWhole::of(name, file.path())?;
        let path = self.whole_place(delta, name);
        self.database().write(|transaction| {
            match fs_err::create_dir(self.layout().whole(delta)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(Error::NoSuchLayer(*delta));
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
            file.persist(&path).map_err(|error| error.error)?;
            whole.put(transaction, delta)
        })?;
        self.prune_whole(BUDGET);
        Ok(path)
    }

    /// Puts down those of a layer that is put into the store, in its transaction.
    pub(crate) fn put_staged_whole(
        &self,
        transaction: &Transaction<'_>,
        delta: &DeltaId,
        staged: &Staged,
    ) -> Result<()> {
        staged.whole().iter().try_for_each(|whole| whole.put(transaction, delta))
    }

    /// Takes over those that a layer which is there already lacks, in the transaction of its row.
    pub(crate) fn adopt_staged_whole(
        &self,
        transaction: &Transaction<'_>,
        delta: &DeltaId,
        staged: &Staged,
    ) -> Result<()> {
        for whole in staged.whole() {
            let known = transaction
                .prepare_cached("SELECT 1 FROM whole WHERE delta = ?1 AND name = ?2")?
                .exists((&delta.0.0, &whole.name))?;
            let place = self.whole_place(delta, &whole.name);
            if known && place.exists() {
                continue;
            }
            fs_err::create_dir_all(self.layout().whole(delta))?;
            fs_err::rename(staged.whole_folder().join(&whole.name), &place)?;
            whole.put(transaction, delta)?;
        }
        Ok(())
    }

    /// Removes what lies in the places of whole files without a row and has been there since before a time, in seconds since 1970.
    /// How many those were; with `dry`, would be.
    pub(crate) fn sweep_whole(&self, before: i64, dry: bool) -> Result<usize> {
        let known: HashSet<PathBuf> = self
            .database()
            .read(whole_rows)?
            .iter()
            .map(|one| self.whole_place(&one.delta, &one.name))
            .collect();
        let mut swept = 0;
        for layer in fs_err::read_dir(self.layout().layers())? {
            let Ok(files) = fs_err::read_dir(layer?.path().join("whole")) else { continue };
            for file in files {
                let path = file?.path();
                let is_old = fs_err::symlink_metadata(&path).is_ok_and(|status| status.ctime() <= before);
                if is_old && !known.contains(&path) {
                    swept += 1;
                    if !dry {
                        remove_tree(&path)?;
                    }
                }
            }
        }
        Ok(swept)
    }

    /// All that there are, those first that were not used for longest. Whoever removes one by hand leaves its row.
    pub(crate) fn all_whole(&self) -> Result<Vec<Whole>> {
        let mut all = self.database().read(whole_rows)?;
        all.retain(|one| self.whole_place(&one.delta, &one.name).exists());
        Ok(all)
    }

    /// Removes the oldest until the rest fits.
    pub(crate) fn prune_whole(&self, budget: u64) {
        let pruned = self.all_whole().and_then(|all| {
            let mut sum: u64 = all.iter().map(|one| one.size).sum();
            let leased = self.database().read(|transaction| self.leased(transaction))?;
            let mut old = Vec::new();
            for one in all.into_iter().filter(|one| !leased.contains(&one.delta)) {
                if sum <= budget {
                    break;
                }
                sum -= one.size;
                old.push(one);
            }
            self.remove_whole(&old)
        });
        if let Err(error) = pruned {
            tracing::debug!(%error, "old whole files stay");
        }
    }

    /// Removes them, but for those of layers that a run has leased meanwhile.
    pub(crate) fn remove_whole(&self, old: &[Whole]) -> Result<()> {
        if old.is_empty() {
            return Ok(());
        }
        let trash = tempfile::Builder::new().prefix("trash-").tempdir_in(self.temporary()?)?.keep();
        self.database().write(|transaction| {
            let leased = self.leased(transaction)?;
            for (place, Whole { delta, name, .. }) in old.iter().enumerate() {
                if leased.contains(delta) {
                    continue;
                }
                transaction
                    .prepare_cached("DELETE FROM whole WHERE delta = ?1 AND name = ?2")?
                    .execute((&delta.0.0, name))?;
                match fs_err::rename(self.whole_place(delta, name), trash.join(place.to_string())) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            Ok(())
        })?;
        Ok(remove_tree(&trash)?)
    }

    /// The layers that living runs have leased.
    fn leased(&self, transaction: &Transaction<'_>) -> Result<HashSet<DeltaId>> {
        let live: HashSet<String> = live_runs(self)?.into_iter().map(|run| run.as_str().to_owned()).collect();
        let mut statement = transaction.prepare_cached("SELECT run, id FROM leases WHERE kind = ?1")?;
        let rows = statement.query_map([KIND_LAYER], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        let mut leased = HashSet::new();
        for row in rows {
            let (run, id) = row?;
            if live.contains(&run) {
                leased.insert(DeltaId(Hash(id)));
            }
        }
        Ok(leased)
    }

    /// Those that are not as they were written. One that is gone is not damaged.
    pub(crate) fn damaged_whole(&self) -> Result<Vec<Damage>> {
        let mut damage = Vec::new();
        for one in self.all_whole()? {
            let path = self.whole_place(&one.delta, &one.name);
            let reason = match digest_of(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => format!("it cannot be read: {error}"),
                Ok(found) if found == one.digest => continue,
                Ok(_) => "it has other bytes than its digest says".to_owned(),
            };
            // What a build has replaced meanwhile is not damaged.
            let is_it = |other: &Whole| {
                (other.delta, &other.name, other.digest) == (one.delta, &one.name, one.digest)
            };
            if self.all_whole()?.iter().any(is_it) {
                damage.push(Damage::WholeUnusable { path, reason });
            }
        }
        Ok(damage)
    }

    /// Removes one that is damaged, unless a run may be about to use it.
    pub(crate) fn remove_damaged_whole(&self, path: &Path) -> Result<()> {
        let mut all = self.all_whole()?;
        all.retain(|one| self.whole_place(&one.delta, &one.name) == path);
        self.remove_whole(&all)
    }
}

fn whole_rows(transaction: &Transaction<'_>) -> Result<Vec<Whole>> {
    let sql = format!("SELECT {COLUMNS} FROM whole ORDER BY last_used, delta, name");
    let mut statement = transaction.prepare_cached(&sql)?;
    let rows = statement.query_map([], Whole::of_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use imgbuild_tree::{CaptureOptions, EmptyView, XattrNamespace, capture};

    use super::*;
    use crate::Extent;

    fn layer(cache: &Cache, run: &Run, byte: u8) -> DeltaId {
        let mut staged = cache.stage(run).unwrap();
        fs_err::write(staged.upper().join("file"), vec![byte; 1 << 16]).unwrap();
        let extents = [Extent { offset: 0, length: 1 << 16, zero: false }];
        let mut read = |buffer: &mut [u8], _| {
            buffer.fill(byte);
            Ok(())
        };
        cache.keep_as_chunks(&mut staged, "file", 1 << 16, &extents, &mut read).unwrap();
        let options = CaptureOptions::new(1_600_000_000, XattrNamespace::User);
        let manifest = capture(staged.upper(), &EmptyView, &options).unwrap();
        cache.commit_layer(staged, &manifest).unwrap()
    }

    #[test]
    fn those_that_were_not_used_for_longest_go_until_the_rest_fits() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let run = Run::begin(&cache).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let layers = [(9, 1), (5, 2), (1, 3), (3, 4)].map(|(days, byte)| {
            let delta = layer(&cache, &run, byte);
            let used = now - days * 86_400;
            cache
                .database()
                .write(|transaction| {
                    let sql = "UPDATE whole SET last_used = ?2 WHERE delta = ?1";
                    Ok(transaction.execute(sql, (&delta.0.0, used))?)
                })
                .unwrap();
            delta
        });
        run.lease(&[Lease::Layer(layers[0])]).unwrap();
        let there = || layers.map(|delta| cache.whole_place(&delta, "file").exists());
        let all: u64 = cache.all_whole().unwrap().iter().map(|one| one.size).sum();
        cache.prune_whole(all);
        assert_eq!(there(), [true; 4]);
        cache.prune_whole(all - 1);
        assert_eq!(there(), [true, false, true, true], "the oldest is leased");
        cache.prune_whole(all / 2);
        assert_eq!(there(), [true, false, true, false]);
        cache.prune_whole(0);
        assert_eq!(there(), [true, false, false, false]);
        assert_eq!(std::fs::read_dir(cache.temporary().unwrap()).unwrap().count(), 0);
    }
}
