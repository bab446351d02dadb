//! Units of an image, compressed on several threads and handed on in order.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;

use super::units::Units;

/// How many units each thread compresses before they are handed on.
const BATCH: usize = 32;

/// Compresses each unit of `image` that is not zero with `pack`, which takes some of them at a time, and gives number,
/// bytes and compressed bytes to `sink` in the order of the disk.
pub(super) fn for_each(
    image: &File,
    size: u64,
    unit: usize,
    workers: NonZeroUsize,
    pack: impl Fn(&[(u64, Vec<u8>)]) -> io::Result<Vec<Vec<u8>>> + Sync,
    mut sink: impl FnMut(u64, &[u8], &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let workers = workers.get();
    let mut units = Units::new(image, size, unit);
    loop {
        let batch = units.by_ref().take(BATCH * workers).collect::<io::Result<Vec<_>>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        let share = batch.len().div_ceil(workers);
        let parts: Vec<io::Result<Vec<Vec<u8>>>> = std::thread::scope(|scope| {
            let pack = &pack;
            let threads: Vec<_> = batch.chunks(share).map(|part| scope.spawn(move || pack(part))).collect();
            let panicked = |_| Err(io::Error::other("a compressing thread panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        });
        let mut packed = Vec::with_capacity(batch.len());
        for part in parts {
            packed.extend(part?);
        }
        for ((index, bytes), packed) in batch.iter().zip(packed) {
            sink(*index, bytes, &packed)?;
        }
    }
}
