//! Compression whose bytes depend on the input alone.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use imgbuild_digest::{ContentHash, ContentHasher};

use crate::gzip::{self, ParallelGzip};

/// Zstd's level: its default, three times as fast as gzip with smaller output.
const ZSTD_LEVEL: i32 = 3;

/// How a stream is compressed. Levels are fixed, because they are part of what an output's digest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip, level 6: what every reader knows.
    Gzip,
    /// Zstandard, level 3: smaller and several times as fast; needs an engine of 2020 or later.
    #[default]
    Zstd,
}

impl Compression {
    /// What is appended to `.tar`.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

impl ContentHash for Compression {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        match self {
            Self::None => hasher.write_tag(0),
            Self::Gzip => {
                hasher.write_tag(1);
                hasher.write_u64(gzip::LEVEL as u64);
            }
            Self::Zstd => {
                hasher.write_tag(2);
                hasher.write_u64(ZSTD_LEVEL as u64);
                // Another release of the library may compress differently.
                hasher.write_u64(u64::from(zstd::zstd_safe::version_number()));
            }
        }
    }
}

/// A sink that compresses. The number of threads changes the speed and never the bytes.
pub struct Compressor<W: Write>(Inner<W>);

enum Inner<W: Write> {
    None(W),
    Gzip(ParallelGzip<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Compresses into `sink` on `workers` threads.
    ///
    /// # Errors
    ///
    /// The sink's, and the system's when it starts no thread.
    pub fn new(sink: W, compression: Compression, workers: NonZeroUsize) -> io::Result<Self> {
        Ok(Self(match compression {
            Compression::None => Inner::None(sink),
            Compression::Gzip => Inner::Gzip(ParallelGzip::new(sink, workers.get())?),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
                // With one worker or more zstd cuts its input into jobs of a fixed size; without any (0) it does not, and
                // the bytes are others.
                encoder.multithread(u32::try_from(workers.get()).unwrap_or(1))?;
                Inner::Zstd(encoder)
            }
        }))
    }

    /// Writes what is left and gives the sink back.
    ///
    /// # Errors
    ///
    /// The sink's.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::None(sink) => Ok(sink),
            Inner::Gzip(gzip) => gzip.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::None(sink) => sink.write(bytes),
            Inner::Gzip(gzip) => gzip.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing: what a compressor flushes early compresses differently.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
