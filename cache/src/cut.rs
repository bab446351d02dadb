//! Cutting a file by its contents (FastCDC), so that what is alike in two files is kept once, wherever it stands.
//!
//! Zeros are told apart first, in units that lie at the same places in each file; each run of units between them is cut. So the list
//! follows from what the file says and from nothing else. Chunks wait in the folder of the layer that they are of: new ones
//! compressed, those that the store has as hard links, so that nobody can take them away before the layer is committed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use fastcdc::v2020::FastCDC;
use imgbuild_digest::Hash;
use rayon::prelude::*;

use crate::chunks::{ChunkList, LEAST, MOST, Piece, UNIT, USUAL};
use crate::{Cache, Result, Staged};

/// The fastest of zstd: a build waits for it.
const LEVEL: i32 = 1;
/// How much of a run is held in memory before it is cut, in bytes.
const WINDOW: usize = 8 << 20;
/// How much is compressed at once, in bytes.
const BATCH: usize = 16 << 20;

/// A part of a file that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Whether it is known to be zero; it is not read then.
    pub zero: bool,
}

/// A chunk that waits for its layer to be committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StagedChunk {
    pub(crate) hash: Hash,
    /// How long it is, in bytes.
    pub(crate) size: u64,
    /// What it takes in the store, in bytes.
    pub(crate) stored: u64,
    /// Whether it is the file that the store has; else it was written and not synced.
    pub(crate) linked: bool,
}

impl Cache {
    /// Keeps a file of a staged tree as chunks: its list, `name.chunks`, takes its place in the tree, and the file itself lies
    /// beside the tree as the first whole form of it ([`crate::Run::whole_file`]). Of one that says nothing, nothing stays.
    /// `name` is that of a file at the tree's root, `size` the length of what it describes, `extents` the places that it
    /// speaks of, in their order, and `read` gives the bytes from a place on.
    ///
    /// # Errors
    ///
    /// If something cannot be read or written, or the extents are not in order or go beyond `size`.
    pub fn keep_as_chunks(
        &self,
        staged: &mut Staged,
        name: &str,
        size: u64,
        extents: &[Extent],
        read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> Result<()> {
        let mut cutter = Cutter::new(self, staged)?;
        let mut buffer = vec![0; UNIT as usize];
        for extent in extents {
            if extent.zero {
                cutter.zero(extent.offset, extent.length)?;
                continue;
            }
            let end = extent.offset.saturating_add(extent.length);
            let mut at = extent.offset;
            while at < end {
                let next = (at / UNIT + 1).saturating_mul(UNIT).min(end);
                let bytes = &mut buffer[..(next - at) as usize];
                read(bytes, at)?;
                cutter.unit(at, bytes)?;
                at = next;
            }
        }
        let list = ChunkList::new(size, cutter.finish()?)?;
        let path = staged.upper().join(name);
        if list.is_empty() {
            return Ok(fs_err::remove_file(path)?);
        }
        let at = staged.upper().join(list_name(name));
        fs_err::write(&at, list.encode())?;
        fs_err::set_permissions(at, std::fs::Permissions::from_mode(0o644))?;
        staged.keep_whole(name)
    }
}

/// The list of a file that is kept as chunks.
pub(crate) fn list_name(name: &str) -> String {
    format!("{name}.chunks")
}

struct Cutter<'a> {
    cache: &'a Cache,
    folder: PathBuf,
    staged: &'a mut HashMap<Hash, StagedChunk>,
    /// What has not been cut yet, and where it stands.
    run: Vec<u8>,
    run_at: u64,
    pieces: Vec<Piece>,
    /// Chunks whose pieces have no hash yet, by their places.
    waiting: Vec<(usize, Vec<u8>)>,
    waiting_size: usize,
}

impl<'a> Cutter<'a> {
    fn new(cache: &'a Cache, staged: &'a mut Staged) -> Result<Self> {
        let folder = staged.chunk_folder();
        fs_err::create_dir_all(&folder)?;
        Ok(Self {
            cache,
            folder,
            staged: staged.chunks_mut(),
            run: Vec::new(),
            run_at: 0,
            pieces: Vec::new(),
            waiting: Vec::new(),
            waiting_size: 0,
        })
    }

    /// At most one unit.
    fn unit(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        if bytes.iter().all(|byte| *byte == 0) {
            return self.zero(at, bytes.len() as u64);
        }
        if self.run_at + self.run.len() as u64 != at {
            self.cut(true)?;
            self.run_at = at;
        }
        self.run.extend_from_slice(bytes);
        if self.run.len() >= WINDOW { self.cut(false) } else { Ok(()) }
    }

    fn zero(&mut self, at: u64, more: u64) -> Result<()> {
        self.cut(true)?;
        match self.pieces.last_mut() {
            Some(Piece::Zero { offset, length }) if *offset + *length == at => *length += more,
            _ if more == 0 => {}
            _ => self.pieces.push(Piece::Zero { offset: at, length: more }),
        }
        Ok(())
    }

    /// Cuts what was read of the run. Where it goes on, so much stays that the next cut is where it would be with all of it.
    fn cut(&mut self, is_all: bool) -> Result<()> {
        let mut done = 0;
        for chunk in FastCDC::new(&self.run, LEAST, USUAL, MOST) {
            if !is_all && self.run.len() - chunk.offset < MOST {
                break;
            }
            let bytes = self.run[chunk.offset..chunk.offset + chunk.length].to_vec();
            let (offset, length) = (self.run_at + chunk.offset as u64, chunk.length as u64);
            done = chunk.offset + chunk.length;
            self.waiting.push((self.pieces.len(), bytes));
            self.waiting_size += chunk.length;
            self.pieces.push(Piece::Data { offset, length, chunk: Hash([0; 32]) });
        }
        self.run.drain(..done);
        self.run_at += done as u64;
        if self.waiting_size >= BATCH { self.store() } else { Ok(()) }
    }

    /// Puts the chunks that wait into the layer's folder.
    fn store(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_size = 0;
        let hashes: Vec<Hash> = waiting.par_iter().map(|(_, bytes)| Hash::of(bytes)).collect();
        for ((place, _), hash) in waiting.iter().zip(&hashes) {
            if let Piece::Data { chunk, .. } = &mut self.pieces[*place] {
                *chunk = *hash;
            }
        }
        let mut seen = HashSet::new();
        let new: Vec<(Hash, &[u8])> = std::iter::zip(&hashes, &waiting)
            .filter(|(hash, _)| !self.staged.contains_key(hash) && seen.insert(**hash))
            .map(|(hash, (_, bytes))| (*hash, &**bytes))
            .collect();
        let stored: Vec<StagedChunk> =
            new.par_iter().map(|(hash, bytes)| self.store_one(*hash, bytes)).collect::<Result<_>>()?;
        self.staged.extend(stored.into_iter().map(|chunk| (chunk.hash, chunk)));
        Ok(())
    }

    fn store_one(&self, hash: Hash, bytes: &[u8]) -> Result<StagedChunk> {
        let path = self.folder.join(hash.to_string());
        // Whatever keeps a file system from linking, a copy of one's own is as good.
        let linked = fs_err::hard_link(self.cache.layout().chunk(&hash.0), &path).is_ok();
        if !linked {
            fs_err::write(&path, zstd::bulk::compress(bytes, LEVEL)?)?;
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o444))?;
        }
        let stored = fs_err::metadata(&path)?.size();
        Ok(StagedChunk { hash, size: bytes.len() as u64, stored, linked })
    }

    fn finish(mut self) -> Result<Vec<Piece>> {
        self.cut(true)?;
        self.store()?;
        Ok(self.pieces)
    }
}
