//! Compression block by block on all cores. Where a block ends depends on the input alone, so that the bytes are the same
//! on any number of cores.

use std::io::{self, Write};

use rayon::prelude::*;

/// How many blocks each core gets before they are written: enough that no core waits long for another.
const BLOCKS_EACH: usize = 4;

/// Collects the input in blocks, compresses many at once and writes them in order.
pub(crate) struct Blocks<W, F> {
    sink: W,
    size: usize,
    at_once: usize,
    blocks: Vec<Vec<u8>>,
    compress: F,
}

impl<W: Write, F: Fn(&[u8]) -> io::Result<Vec<u8>> + Sync> Blocks<W, F> {
    /// Blocks of `size` bytes, each turned into its own part of the output by `compress`.
    pub(crate) fn new(sink: W, size: usize, compress: F) -> Self {
        // Small blocks go in larger batches, since handing out work costs as much for them as for large ones.
        let at_once = (rayon::current_num_threads() * BLOCKS_EACH).max((1 << 22) / size);
        Self { sink, size, at_once, blocks: Vec::new(), compress }
    }

    /// Writes what is left and gives the sink back. Nothing is written for no input.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.write_blocks()?;
        Ok(self.sink)
    }

    fn write_blocks(&mut self) -> io::Result<()> {
        let compressed: Vec<_> = self.blocks.par_iter().map(|block| (self.compress)(block)).collect();
        self.blocks.clear();
        compressed.into_iter().try_for_each(|block| self.sink.write_all(&block?))
    }
}

impl<W: Write, F: Fn(&[u8]) -> io::Result<Vec<u8>> + Sync> Write for Blocks<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.blocks.last().is_none_or(|block| block.len() == self.size) {
            if self.blocks.len() == self.at_once {
                self.write_blocks()?;
            }
            self.blocks.push(Vec::with_capacity(self.size));
        }
        let Some(block) = self.blocks.last_mut() else { return Ok(0) };
        let taken = bytes.len().min(self.size - block.len());
        block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: a block that ends early would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
