//! The store of chunks: zstd frames by the BLAKE3 of what is in them, each held by layers.
//!
//! A chunk comes in with the first layer that holds it, in that layer's transaction, and is collected with the last one: it has no
//! age of its own. One that is damaged takes the layers that hold it out of the index: they are made again, and it with them. What is
//! not here: how files are cut (`cut`), and when layers go (`gc`).

use std::io::{self, Read as _};

use imgbuild_digest::Hash;
use imgbuild_tree::DeltaId;
use rayon::prelude::*;
use rusqlite::{OptionalExtension as _, Transaction};
use rustix::io::Errno;

use crate::chunks::{ChunkList, MOST, Piece};
use crate::cut::list_name;
use crate::{Cache, Damage, Error, Result, Staged};

/// How many chunks are read at once.
const AHEAD: usize = 16;

/// A file of a layer that is kept as chunks.
#[derive(Clone, Debug)]
pub struct ChunkedFile {
    cache: Cache,
    layer: DeltaId,
    list: ChunkList,
}

/// What a file says in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many zeros.
    Zero(u64),
}

/// Why a chunk cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadChunk {
    Missing,
    Changed,
}

impl ChunkedFile {
    /// What it says where.
    #[must_use]
    pub fn list(&self) -> &ChunkList {
        &self.list
    }

    /// Calls `each` with all that the file says, each with its place, in their order. The bytes are verified.
    ///
    /// # Errors
    ///
    /// What `each` returns; [`Error::BadChunk`] if a chunk is damaged or gone, which then is out of the store together with the layers
    /// that hold it.
    pub fn read<E: From<Error>>(
        &self,
        mut each: impl FnMut(u64, Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for pieces in self.list.pieces().chunks(AHEAD) {
            let parts: Vec<Option<Vec<u8>>> =
                pieces.par_iter().map(|piece| self.bytes(piece)).collect::<Result<_>>()?;
            for (piece, bytes) in pieces.iter().zip(&parts) {
                let part = bytes.as_deref().map_or(Part::Zero(piece.length()), Part::Data);
                each(piece.offset(), part)?;
            }
        }
        Ok(())
    }

    fn bytes(&self, piece: &Piece) -> Result<Option<Vec<u8>>> {
        let Piece::Data { length, chunk, .. } = piece else { return Ok(None) };
        match self.cache.read_chunk(chunk, *length)? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => {
                self.cache.quarantine_chunk(chunk)?;
                Err(Error::BadChunk { layer: self.layer, chunk: *chunk })
            }
        }
    }
}

impl Cache {
    /// Whether a layer has a file of that name that is kept as chunks.
    #[must_use]
    pub fn has_chunked_file(&self, layer: &DeltaId, name: &str) -> bool {
        self.layer_tree(layer).join(list_name(name)).exists()
    }

    /// A file of a layer that is kept as chunks; none if the layer has none of that name.
    ///
    /// # Errors
    ///
    /// If its list cannot be read, or is damaged.
    pub fn chunked_file(&self, layer: &DeltaId, name: &str) -> Result<Option<ChunkedFile>> {
        let list = match fs_err::read(self.layer_tree(layer).join(list_name(name))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            list => ChunkList::decode(&list?),
        };
        let list =
            list.map_err(|error| Error::DamagedList { layer: *layer, name: name.to_owned(), reason: error })?;
        Ok(Some(ChunkedFile { cache: self.clone(), layer: *layer, list }))
    }

    /// Puts the chunks of a layer into the store, in the transaction of the layer. They are on the disk.
    pub(crate) fn put_chunks(
        &self,
        transaction: &Transaction<'_>,
        delta: &DeltaId,
        staged: &Staged,
    ) -> Result<()> {
        let mut chunk_row = transaction.prepare_cached(
            "INSERT INTO chunks (hash, size, stored) VALUES (?1, ?2, ?3)
             ON CONFLICT (hash) DO UPDATE SET stored = ?3",
        )?;
        let mut held =
            transaction.prepare_cached("INSERT OR IGNORE INTO layer_chunks (delta, hash) VALUES (?1, ?2)")?;
        for chunk in staged.chunks() {
            let place = self.layout().chunk(&chunk.hash.0);
            let stored = match fs_err::metadata(&place) {
                Ok(status) => status.len(),
                Err(_) => {
                    let path = staged.chunk_folder().join(chunk.hash.to_string());
                    // It went from the store since it was linked: was it as it should be?
                    if chunk.linked && unpacked(&fs_err::read(&path)?, &chunk.hash, chunk.size).is_none() {
                        return Err(Error::BadChunk { layer: *delta, chunk: chunk.hash });
                    }
                    if let Some(folder) = place.parent() {
                        fs_err::create_dir_all(folder)?;
                    }
                    fs_err::rename(path, &place)?;
                    chunk.stored
                }
            };
            chunk_row.execute((&chunk.hash.0, chunk.size as i64, stored as i64))?;
            held.execute((&delta.0.0, &chunk.hash.0))?;
        }
        Ok(())
    }

    /// The bytes of a chunk that has so many, if they are those of its name.
    pub(crate) fn read_chunk(&self, chunk: &Hash, length: u64) -> Result<Result<Vec<u8>, BadChunk>> {
        let file = match fs_err::File::open(self.layout().chunk(&chunk.0)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(BadChunk::Missing)),
            file => file?,
        };
        let mut packed = Vec::new();
        match file.into_file().read_to_end(&mut packed) {
            Err(error) if is_damage(&error) => return Ok(Err(BadChunk::Changed)),
            read => read?,
        };
        Ok(unpacked(&packed, chunk, length).ok_or(BadChunk::Changed))
    }

    /// Moves a chunk that cannot be used out of the store, and the layers that hold it out of the index: who needs one makes
    /// it again. What runs use of them stays where it is until these runs are over.
    ///
    /// One that is as it should be by now stays: somebody has made it again.
    pub(crate) fn quarantine_chunk(&self, chunk: &Hash) -> Result<()> {
        self.database().write(|transaction| {
            let size: Option<i64> = transaction
                .prepare_cached("SELECT size FROM chunks WHERE hash = ?1")?
                .query_row([&chunk.0], |row| row.get(0))
                .optional()?;
            if let Some(size) = size
                && self.read_chunk(chunk, size.unsigned_abs())?.is_ok()
            {
                return Ok(());
            }
            for sql in [
                "DELETE FROM layers WHERE delta IN (SELECT delta FROM layer_chunks WHERE hash = ?1)",
                "DELETE FROM whole WHERE delta IN (SELECT delta FROM layer_chunks WHERE hash = ?1)",
                "DELETE FROM layer_chunks WHERE delta IN (SELECT delta FROM layer_chunks WHERE hash = ?1)",
                "DELETE FROM chunks WHERE hash = ?1",
            ] {
                transaction.prepare_cached(sql)?.execute([&chunk.0])?;
            }
            let aside = self.layout().quarantine().join(chunk.to_string());
            match fs_err::rename(self.layout().chunk(&chunk.0), aside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            }
        })
    }

    /// All chunks that layers hold, with their lengths; of one without a row, none.
    pub(crate) fn known_chunks(&self) -> Result<Vec<(Hash, Option<u64>)>> {
        self.database().read(|transaction| {
            let mut statement = transaction.prepare(
                "SELECT DISTINCT l.hash, c.size FROM layer_chunks l LEFT JOIN chunks c ON c.hash = l.hash",
            )?;
            let rows = statement.query_map([], |row| {
                let size: Option<i64> = row.get(1)?;
                Ok((Hash(row.get(0)?), size.map(i64::unsigned_abs)))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// What is wrong with a chunk.
    pub(crate) fn check_chunk(&self, chunk: &Hash, length: Option<u64>) -> Result<Option<Damage>> {
        let Some(length) = length else { return Ok(Some(Damage::ChunkMissing(*chunk))) };
        Ok(match self.read_chunk(chunk, length)? {
            Ok(_) => None,
            Err(BadChunk::Missing) => Some(Damage::ChunkMissing(*chunk)),
            Err(BadChunk::Changed) => Some(Damage::ChunkChanged(*chunk)),
        })
    }

    /// The layers that hold a chunk.
    pub(crate) fn holders(&self, chunk: &Hash) -> Result<Vec<DeltaId>> {
        self.database().read(|transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT delta FROM layer_chunks WHERE hash = ?1")?;
            let rows = statement.query_map([&chunk.0], |row| Ok(DeltaId(Hash(row.get(0)?))))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// The bytes of a chunk that has so many, if they are those of its name.
fn unpacked(packed: &[u8], chunk: &Hash, length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(MOST);
    let bytes = zstd::bulk::decompress(packed, length).ok()?;
    (bytes.len() == length && Hash::of(&bytes) == *chunk).then_some(bytes)
}

/// A sector that cannot be read, or what a file system says of one, is damage, as another byte is.
fn is_damage(error: &io::Error) -> bool {
    let damage = [Errno::IO, Errno::UCLEAN, Errno::BADMSG];
    damage.iter().any(|damage| error.raw_os_error() == Some(damage.raw_os_error()))
}

/// Takes chunks that no layer holds any more out of the index; which ones.
pub(crate) fn drop_unheld(transaction: &Transaction<'_>) -> Result<Vec<[u8; 32]>> {
    let mut statement = transaction.prepare_cached(
        "DELETE FROM chunks WHERE NOT EXISTS (SELECT 1 FROM layer_chunks l WHERE l.hash = chunks.hash)
         RETURNING hash",
    )?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
