//! Streams that hash what passes through them.

use std::io::{self, Read, Write};

use imgbuild_digest::{Digest, Hash};
use sha2::{Digest as _, Sha256};

/// Passes bytes on and keeps their SHA-256 and count.
pub(crate) struct Sha256Writer<W> {
    inner: W,
    sha256: Sha256,
    size: u64,
}

impl<W: Write> Sha256Writer<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, sha256: Sha256::new(), size: 0 }
    }

    /// The sink and the SHA-256 digest of all that it took.
    pub(crate) fn finish(self) -> (W, Digest) {
        (self.inner, Digest::sha256(self.sha256.finalize().into(), self.size))
    }
}

impl<W: Write> Write for Sha256Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Passes bytes on and keeps their SHA-256 and count.
pub(crate) struct Sha256Reader<R> {
    inner: R,
    sha256: Sha256,
    size: u64,
}

impl<R: Read> Sha256Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, sha256: Sha256::new(), size: 0 }
    }

    /// The source and the digest of what was read from it.
    pub(crate) fn finish(self) -> (R, Digest) {
        (self.inner, Digest::sha256(self.sha256.finalize().into(), self.size))
    }
}

impl<R: Read> Read for Sha256Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sha256.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}

/// A file's BLAKE3 digest, taken while it is copied.
#[derive(Default)]
pub(crate) struct ContentHashing {
    blake3: blake3::Hasher,
    size: u64,
}

impl ContentHashing {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest::blake3(Hash(*self.blake3.finalize().as_bytes()), self.size)
    }
}

/// The SHA-256 digest of `bytes`.
pub(crate) fn sha256_of(bytes: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(bytes).into(), bytes.len() as u64)
}
