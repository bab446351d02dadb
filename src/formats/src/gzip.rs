//! Gzip on several threads, with the same bytes whatever their number.
//!
//! The input is cut every [`BLOCK_SIZE`] bytes. Each block is deflated by itself and ended by a full flush, so that the
//! blocks joined are one deflate stream in one gzip member, which every reader takes. That costs about half a per
//! cent in size. The header has no name and no time.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::Crc;
use zlib_rs::{Deflate, DeflateFlush, Status};

/// How much input goes into one block.
const BLOCK_SIZE: usize = 1 << 20;

/// The level of compression: zlib's default.
pub(crate) const LEVEL: i32 = 6;

const WINDOW_BITS: u8 = 15;

/// Magic, deflate, no flags, no time, no hint, made on Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// The last block: final, fixed codes, nothing in it.
const LAST_BLOCK: [u8; 2] = [3, 0];

type Block = io::Result<Vec<u8>>;
type Job = (Vec<u8>, SyncSender<Block>);

/// Writes gzip to the sink it holds.
pub(crate) struct ParallelGzip<W: Write> {
    sink: W,
    block: Vec<u8>,
    crc: Crc,
    pending: VecDeque<Receiver<Block>>,
    jobs: Option<SyncSender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl<W: Write> ParallelGzip<W> {
    /// A compressor with `workers` threads, at least one.
    pub(crate) fn new(mut sink: W, workers: usize) -> io::Result<Self> {
        sink.write_all(&HEADER)?;
        let workers = workers.max(1);
        let (jobs, queue) = sync_channel::<Job>(workers);
        let queue = Arc::new(Mutex::new(queue));
        let spawn = |_| {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name("gzip".to_owned()).spawn(move || work(&queue))
        };
        let workers = (0..workers).map(spawn).collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            sink,
            block: Vec::with_capacity(BLOCK_SIZE),
            crc: Crc::new(),
            pending: VecDeque::new(),
            jobs: Some(jobs),
            workers,
        })
    }

    /// Writes what is left and the trailer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.submit()?;
        }
        while !self.pending.is_empty() {
            self.write_oldest()?;
        }
        self.sink.write_all(&LAST_BLOCK)?;
        self.sink.write_all(&self.crc.sum().to_le_bytes())?;
        self.sink.write_all(&self.crc.amount().to_le_bytes())?;
        self.jobs = None;
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| io::Error::other("a compressing thread panicked"))?;
        }
        Ok(self.sink)
    }

    fn submit(&mut self) -> io::Result<()> {
        // Two blocks a thread keep every thread busy while the oldest is written, and bound the memory.
        while self.pending.len() >= self.workers.len() * 2 {
            self.write_oldest()?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_SIZE));
        let (result, receiver) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(lost_worker)?;
        jobs.send((block, result)).map_err(|_| lost_worker())?;
        self.pending.push_back(receiver);
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.pending.pop_front() else { return Ok(()) };
        let block = oldest.recv().map_err(|_| lost_worker())??;
        self.sink.write_all(&block)
    }
}

impl<W: Write> Write for ParallelGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_SIZE - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        self.crc.update(&bytes[..taken]);
        if self.block.len() == BLOCK_SIZE {
            self.submit()?;
        }
        Ok(taken)
    }

    /// Does nothing: cutting a block early would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lost_worker() -> io::Error {
    io::Error::other("a compressing thread ended early")
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut deflate = Deflate::new(LEVEL, false, WINDOW_BITS);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, result)) = job else { return };
        deflate.reset();
        // The receiver is gone only when the whole stream was given up.
        if result.send(compress(&mut deflate, &block)).is_err() {
            return;
        }
    }
}

/// Deflates one block to a byte boundary.
fn compress(deflate: &mut Deflate, block: &[u8]) -> Block {
    // Deflate grows no input by more than five bytes in 16 KiB; the flush marker takes five more.
    let mut output = vec![0; block.len() + block.len() / 1024 + 64];
    let (mut read, mut written) = (0, 0);
    loop {
        let (in_before, out_before) = (deflate.total_in(), deflate.total_out());
        let status = deflate
            .compress(&block[read..], &mut output[written..], DeflateFlush::FullFlush)
            .map_err(|error| io::Error::other(error.as_str()))?;
        read += (deflate.total_in() - in_before) as usize;
        written += (deflate.total_out() - out_before) as usize;
        if read == block.len() && written < output.len() {
            break;
        }
        if status == Status::BufError && written < output.len() {
            return Err(io::Error::other("deflate made no progress"));
        }
        output.resize(output.len() * 2, 0);
    }
    output.truncate(written);
    Ok(output)
}
