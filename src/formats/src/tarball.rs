//! Writes a tree as one tar file, compressed or not.

use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use imgbuild_digest::Digest;

use crate::ExportError;
use crate::compress::{Compression, Compressor};
use crate::hashing::Sha256Writer;
use crate::staging::StagedFile;
use crate::tar_stream::write_tar;
use crate::view::TreeView;

/// A finished tarball.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenTarball {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 and size of the file.
    pub digest: Digest,
    /// SHA-256 and size of the tar stream in it.
    pub diff_id: Digest,
}

/// Writes `view` to the file `destination`, which is replaced when all is written.
///
/// # Errors
///
/// Damaged layers, a destination that cannot be written.
pub fn write_tarball(
    destination: &Path,
    view: &TreeView<'_>,
    compression: Compression,
    workers: NonZeroUsize,
) -> Result<WrittenTarball, ExportError> {
    let failed = || ExportError::io("write", destination);
    let mut staged = StagedFile::create(destination)?;
    let file = Sha256Writer::new(BufWriter::with_capacity(256 << 10, staged.sink()));
    let mut stream = Sha256Writer::new(Compressor::new(file, compression, workers).map_err(failed())?);
    write_tar(view, &mut stream)?;
    let (compressor, diff_id) = stream.finish();
    let (file, digest) = compressor.finish().map_err(failed())?.finish();
    file.into_inner().map_err(std::io::IntoInnerError::into_error).map_err(failed())?;
    staged.commit()?;
    Ok(WrittenTarball { path: destination.to_owned(), digest, diff_id })
}
