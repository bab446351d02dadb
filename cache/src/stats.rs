//! What the cache holds, in numbers.

use crate::runs::live_runs;
use crate::{Cache, Result};

/// What the cache holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Results.
    pub results: u64,
    /// Keys that name them.
    pub keys: u64,
    /// Layers.
    pub layers: u64,
    /// Their size in bytes.
    pub layer_bytes: u64,
    /// Blobs.
    pub blobs: u64,
    /// Their size in bytes.
    pub blob_bytes: u64,
    /// Chunks of files of layers.
    pub chunks: u64,
    /// What they take in the store, in bytes.
    pub chunk_bytes: u64,
    /// Whole forms of such files.
    pub whole: u64,
    /// What they take on the disk, in bytes.
    pub whole_bytes: u64,
    /// Files whose digest is remembered.
    pub memo_files: u64,
    /// The size of the index in bytes.
    pub index_bytes: u64,
    /// Package indexes that archives were downloaded for.
    pub package_indexes: u64,
    /// Their size in bytes.
    pub package_index_bytes: u64,
    /// Machines whose memory is kept.
    pub warm: u64,
    /// Its size in bytes.
    pub warm_bytes: u64,
    /// Names that protect a result.
    pub roots: u64,
    /// Runs that are alive.
    pub runs: u64,
}

impl Cache {
    /// Counts and sizes.
    ///
    /// # Errors
    ///
    /// If the index cannot be read.
    pub fn stats(&self) -> Result<CacheStats> {
        let runs = live_runs(self)?.len() as u64;
        let index_bytes = fs_err::metadata(self.layout().index())?.len();
        let indexes = self.package_indexes()?;
        let warm = self.warm_folders()?;
        let whole = self.all_whole()?;
        self.database().read(|transaction| {
            let number = |sql: &str| -> Result<u64> {
                Ok(transaction.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))? as u64)
            };
            Ok(CacheStats {
                results: number("SELECT count(*) FROM results")?,
                keys: number("SELECT count(*) FROM result_keys")?,
                layers: number("SELECT count(*) FROM layers")?,
                layer_bytes: number("SELECT coalesce(sum(size), 0) FROM layers")?,
                blobs: number("SELECT count(*) FROM blobs")?,
                blob_bytes: number("SELECT coalesce(sum(size), 0) FROM blobs")?,
                chunks: number("SELECT count(*) FROM chunks")?,
                chunk_bytes: number("SELECT coalesce(sum(stored), 0) FROM chunks")?,
                whole: whole.len() as u64,
                whole_bytes: whole.iter().map(|one| one.size).sum(),
                memo_files: number("SELECT count(*) FROM file_memo")?,
                roots: number("SELECT count(*) FROM roots")?,
                index_bytes,
                package_indexes: indexes.len() as u64,
                package_index_bytes: indexes.iter().map(|index| index.size).sum(),
                warm: warm.len() as u64,
                warm_bytes: warm.iter().map(|one| one.size).sum(),
                runs,
            })
        })
    }
}
