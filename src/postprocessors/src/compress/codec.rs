//! The compressors, each with output that depends on the input and the level alone.

use std::io::{self, Write};

use bzip2::write::BzEncoder;
use liblzma::stream::{Check, MtStreamBuilder};
use liblzma::write::XzEncoder;
use zlib_rs::{Deflate, DeflateFlush, Status};

use super::blocks::Blocks;
use super::format::{Codec, Level};

/// How much input goes into one block of gzip.
const GZIP_BLOCK: usize = 1 << 20;
/// How much goes into one block of BGZF: what `bgzip` takes, so that a block that cannot be compressed still fits in 64 KiB.
const BGZF_BLOCK: usize = 0xff00;
/// How much goes into one block of xz.
const XZ_BLOCK: u64 = 8 << 20;

/// The format's own defaults.
const DEFLATE_LEVEL: u8 = 6;
const BZIP2_LEVEL: u8 = 9;
const XZ_LEVEL: u8 = 6;
const LZ4_LEVEL: u8 = 0;

/// Magic, deflate, no flags, no time, no hint, made on Unix.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
/// A last block of deflate with nothing in it.
const DEFLATE_END: [u8; 2] = [3, 0];
/// A block with an extra field `BC` of two bytes, the block's length less one, which follows (SAM specification, 4.1).
const BGZF_HEADER: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, b'B', b'C', 2, 0];

type Compress = Box<dyn Fn(&[u8]) -> io::Result<Vec<u8>> + Sync + Send>;

/// A sink that compresses.
pub(crate) enum Encoder<W: Write> {
    None(W),
    Gzip(Gzip<W>),
    Bgzf(Blocks<W, Compress>),
    Bzip2 { blocks: Blocks<W, Compress>, is_empty: bool, level: u8 },
    Lz4(lz4::Encoder<W>),
    Xz(XzEncoder<W>),
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(sink: W, codec: Option<Codec>, level: Level) -> io::Result<Self> {
        Ok(match codec {
            None => Self::None(sink),
            Some(Codec::Gzip) => Self::Gzip(Gzip::new(sink, level.or(DEFLATE_LEVEL))?),
            Some(Codec::Bgzf) => {
                let level = level.or(DEFLATE_LEVEL);
                Self::Bgzf(Blocks::new(sink, BGZF_BLOCK, Box::new(move |block| bgzf_block(block, level))))
            }
            Some(Codec::Bzip2) => {
                let level = level.or(BZIP2_LEVEL);
                let size = usize::from(level) * 100_000;
                let blocks =
                    Blocks::new(sink, size, Box::new(move |block: &[u8]| bzip2(block, level)) as Compress);
                Self::Bzip2 { blocks, is_empty: true, level }
            }
            Some(Codec::Lz4) => Self::Lz4(
                lz4::EncoderBuilder::new()
                    .level(u32::from(level.or(LZ4_LEVEL)))
                    .auto_flush(false)
                    .build(sink)?,
            ),
            Some(Codec::Xz) => {
                // Blocks are cut whatever the number of threads, so that it does not show.
                let stream = MtStreamBuilder::new()
                    .threads(u32::try_from(rayon::current_num_threads()).unwrap_or(1))
                    .block_size(XZ_BLOCK)
                    .preset(u32::from(level.or(XZ_LEVEL)))
                    .check(Check::Crc64)
                    .encoder()?;
                Self::Xz(XzEncoder::new_stream(sink, stream))
            }
        })
    }

    /// Writes what is left.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(sink) => Ok(sink),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Bgzf(blocks) => {
                let mut sink = blocks.finish()?;
                // An empty block tells that the file is whole.
                sink.write_all(&bgzf_block(&[], DEFLATE_LEVEL)?)?;
                Ok(sink)
            }
            Self::Bzip2 { blocks, is_empty, level } => {
                let mut sink = blocks.finish()?;
                if is_empty {
                    sink.write_all(&bzip2(&[], level)?)?;
                }
                Ok(sink)
            }
            Self::Lz4(encoder) => {
                let (sink, ended) = encoder.finish();
                ended.map(|()| sink)
            }
            Self::Xz(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(sink) => sink.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Bgzf(blocks) => blocks.write(bytes),
            Self::Bzip2 { blocks, is_empty, .. } => {
                *is_empty &= bytes.is_empty();
                blocks.write(bytes)
            }
            Self::Lz4(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing: what a compressor flushes early compresses differently.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One member of gzip, whose blocks are deflated one by one and joined.
pub(crate) struct Gzip<W: Write> {
    blocks: Blocks<W, Compress>,
    crc: u32,
    length: u32,
}

impl<W: Write> Gzip<W> {
    fn new(mut sink: W, level: u8) -> io::Result<Self> {
        sink.write_all(&GZIP_HEADER)?;
        let compress: Compress = Box::new(move |block| deflate(block, level));
        Ok(Self { blocks: Blocks::new(sink, GZIP_BLOCK, compress), crc: 0, length: 0 })
    }

    fn finish(self) -> io::Result<W> {
        let mut sink = self.blocks.finish()?;
        sink.write_all(&DEFLATE_END)?;
        sink.write_all(&self.crc.to_le_bytes())?;
        sink.write_all(&self.length.to_le_bytes())?;
        Ok(sink)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.blocks.write(bytes)?;
        self.crc = zlib_rs::crc32::crc32(self.crc, &bytes[..taken]);
        // Modulo 2^32 by the format's own rule.
        self.length = self.length.wrapping_add(taken as u32);
        Ok(taken)
    }
}

fn bgzf_block(block: &[u8], level: u8) -> io::Result<Vec<u8>> {
    let mut body = if block.is_empty() { Vec::new() } else { deflate(block, level)? };
    body.extend_from_slice(&DEFLATE_END);
    let mut output = BGZF_HEADER.to_vec();
    let length = u16::try_from(output.len() + 2 + body.len() + 8 - 1)
        .map_err(|_| io::Error::other("a block of BGZF is too long"))?;
    output.extend_from_slice(&length.to_le_bytes());
    output.extend_from_slice(&body);
    output.extend_from_slice(&zlib_rs::crc32::crc32(0, block).to_le_bytes());
    output.extend_from_slice(&(block.len() as u32).to_le_bytes());
    Ok(output)
}

/// One stream of bzip2; streams joined are a file, as `pbzip2` writes it.
fn bzip2(block: &[u8], level: u8) -> io::Result<Vec<u8>> {
    let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::new(u32::from(level)));
    encoder.write_all(block)?;
    encoder.finish()
}

/// Deflates one block by itself, up to a byte boundary, without a last block.
fn deflate(block: &[u8], level: u8) -> io::Result<Vec<u8>> {
    const WINDOW_BITS: u8 = 15;
    let mut deflate = Deflate::new(i32::from(level), false, WINDOW_BITS);
    // Deflate grows no input by more than five bytes in 16 KiB; the flush marker takes five more.
    let mut output = vec![0; block.len() + block.len() / 1024 + 64];
    loop {
        let (read, written) = (deflate.total_in() as usize, deflate.total_out() as usize);
        let status = deflate
            .compress(&block[read..], &mut output[written..], DeflateFlush::FullFlush)
            .map_err(|error| io::Error::other(error.as_str()))?;
        let written = deflate.total_out() as usize;
        if deflate.total_in() as usize == block.len() && written < output.len() {
            output.truncate(written);
            return Ok(output);
        }
        if status == Status::BufError && written < output.len() {
            return Err(io::Error::other("deflate made no progress"));
        }
        output.resize(output.len() * 2, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the sample comes to on so many threads, in pieces of so many bytes.
    fn encoded(codec: Codec, sample: &[u8], threads: usize, piece: usize) -> Vec<u8> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut encoder = Encoder::new(Vec::new(), Some(codec), Level::new(Some(1)).unwrap()).unwrap();
            sample.chunks(piece).for_each(|piece| encoder.write_all(piece).unwrap());
            encoder.finish().unwrap()
        })
    }

    /// Numbers that are never quite the same.
    fn sample(size: usize) -> Vec<u8> {
        (0..size as u64 / 8).flat_map(|number| (number * number % 1_000_003).to_le_bytes()).collect()
    }

    #[test]
    fn neither_threads_nor_pieces_show() {
        for (codec, block) in [
            (Codec::Gzip, GZIP_BLOCK),
            (Codec::Bgzf, BGZF_BLOCK),
            (Codec::Bzip2, 100_000),
            (Codec::Lz4, 1 << 20),
            (Codec::Xz, XZ_BLOCK as usize),
        ] {
            let sample = sample(block + block / 8);
            let one = encoded(codec, &sample, 1, 1 << 20);
            assert!(one == encoded(codec, &sample, 3, 77_777), "{codec:?}");
        }
    }
}
