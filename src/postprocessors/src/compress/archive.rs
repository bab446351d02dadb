//! Files into one file. Nothing of this machine shows: owners are 0, modes 0644 or 0755, every time is the first that zip
//! knows.

use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use imgbuild_digest::{ContentHash, ContentHasher, Digest};
use imgbuild_model::Diagnostic;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::codec::Encoder;
use super::format::{Archive, Codec, Format, Level};
use crate::PostContext;
use crate::context::cancelled;
use crate::files::unusable;

/// 1980-01-01, in seconds since 1970.
const TIME: u64 = 315_532_800;

/// The level of zip where the user gives none.
const ZIP_LEVEL: u8 = 6;

/// From which size on an entry of zip gets the long form: less than what its own compression may make of 4 GiB.
const LARGE: u64 = u32::MAX as u64 - (1 << 24);

/// A file that goes into the output.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// As the artifact names it.
    pub(crate) file: PathBuf,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What the archive calls it; empty where there is no archive.
    pub(crate) name: String,
    /// Its contents.
    pub(crate) digest: Digest,
    /// Whether the owner may execute it; false where there is no archive.
    pub(crate) executable: bool,
}

impl ContentHash for Input {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self { file: _, path: _, name, digest, executable } = self;
        name.content_hash(hasher);
        digest.content_hash(hasher);
        executable.content_hash(hasher);
    }
}

/// What an archive calls a file: in tar its own name, in zip its path as the artifact has it, without a root and without
/// steps upwards.
pub(crate) fn entry_name(archive: Archive, file: &Path) -> Result<String, Diagnostic> {
    let name: PathBuf = match archive {
        Archive::Tar => file.file_name().map(PathBuf::from).unwrap_or_default(),
        Archive::Zip => file.components().filter(|part| matches!(part, Component::Normal(_))).collect(),
    };
    match name.to_str() {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Diagnostic::error(format!("`{}` has no name that an archive can hold", file.display()))
            .hint("names in archives are UTF-8; rename the file")),
    }
}

/// Why no output was made.
pub(crate) enum Failure {
    /// An input or the run.
    Told(Diagnostic),
    /// The output.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<zip::result::ZipError> for Failure {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Output(match error {
            zip::result::ZipError::Io(error) => error,
            error => io::Error::other(error),
        })
    }
}

/// Writes all of the output.
pub(crate) fn write(
    context: &PostContext,
    format: Format,
    level: Level,
    inputs: &[Input],
    sink: impl Write + Seek,
) -> Result<(), Failure> {
    match format.archive {
        Some(Archive::Zip) => write_zip(context, level, inputs, sink),
        Some(Archive::Tar) => write_tar(context, format.codec, level, inputs, sink),
        None => {
            let mut encoder = Encoder::new(io::BufWriter::new(sink), format.codec, level)?;
            for input in inputs {
                let mut source = Source::open(context, input)?;
                source.copy(&mut encoder)?;
            }
            Ok(encoder.finish()?.flush()?)
        }
    }
}

fn write_tar(
    context: &PostContext,
    codec: Option<Codec>,
    level: Level,
    inputs: &[Input],
    sink: impl Write,
) -> Result<(), Failure> {
    let mut tar = tar::Builder::new(Encoder::new(io::BufWriter::new(sink), codec, level)?);
    for input in inputs {
        let mut source = Source::open(context, input)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(source.size);
        header.set_mode(if input.executable { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(TIME);
        header.set_entry_type(tar::EntryType::Regular);
        let appended = tar.append_data(&mut header, &input.name, &mut source);
        source.failure(appended)?;
    }
    Ok(tar.into_inner()?.finish()?.flush()?)
}

fn write_zip(
    context: &PostContext,
    level: Level,
    inputs: &[Input],
    sink: impl Write + Seek,
) -> Result<(), Failure> {
    let mut zip = ZipWriter::new(io::BufWriter::new(sink));
    for input in inputs {
        let mut source = Source::open(context, input)?;
        let options = SimpleFileOptions::DEFAULT
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(i64::from(level.or(ZIP_LEVEL))))
            .unix_permissions(if input.executable { 0o755 } else { 0o644 })
            .large_file(source.size >= LARGE);
        zip.start_file(&*input.name, options)?;
        source.copy(&mut zip)?;
    }
    Ok(zip.finish()?.flush()?)
}

/// An input that is read from the beginning to the end, exactly as long as it was at first.
struct Source<'a> {
    context: &'a PostContext,
    input: &'a Input,
    file: std::fs::File,
    size: u64,
    left: u64,
    told: Option<Diagnostic>,
}

impl<'a> Source<'a> {
    fn open(context: &'a PostContext, input: &'a Input) -> Result<Self, Failure> {
        let opened = std::fs::File::open(&input.path).and_then(|file| {
            let size = file.metadata()?.len();
            Ok((file, size))
        });
        let (file, size) = opened.map_err(|error| Failure::Told(unusable("read", &input.file, &error)))?;
        Ok(Self { context, input, file, size, left: size, told: None })
    }

    fn copy(&mut self, sink: &mut impl Write) -> Result<(), Failure> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = self.read(&mut buffer);
            match self.failure(read)? {
                0 => return Ok(()),
                length => sink.write_all(&buffer[..length])?,
            }
        }
    }

    /// What was told while reading is the reason of a failure, if anything was.
    fn failure<T>(&mut self, outcome: io::Result<T>) -> Result<T, Failure> {
        outcome.map_err(|error| self.told.take().map_or(Failure::Output(error), Failure::Told))
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.context.cancel.is_cancelled() {
            self.told = Some(cancelled());
            return Err(io::Error::other("cancelled"));
        }
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        match self.file.read(&mut buffer[..wanted]) {
            Ok(0) => {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter");
                self.told = Some(unusable("read", &self.input.file, &error));
                Err(error)
            }
            Ok(length) => {
                self.left -= length as u64;
                Ok(length)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.told = Some(unusable("read", &self.input.file, &error));
                }
                Err(error)
            }
        }
    }
}
