//! `compress`: an artifact's files as one archive or compressed file.
//!
//! What was compressed once is kept: the result of the same files with the same settings is written again, and nothing
//! is compressed. The key is BLAKE3 over, in this order,
//!
//! | what | why |
//! |---|---|
//! | `imgbuild post-processor compress` and [`VERSION`] | raised when the same inputs come to mean other bytes |
//! | the archive (none, tar, zip) and the compression | |
//! | the level, 0 for the format's default | |
//! | for each input, in order of name: its name in the archive, its digest, whether it is executable | what is not archived has neither name nor mode in the output, so these are empty |
//!
//! and not over the output's path, which changes no byte.

mod archive;
mod blocks;
mod codec;
mod format;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_cache::{ActionKey, ActionResult, Cache, OutputFile};
use imgbuild_digest::{ContentHash as _, ContentHasher, Digest};
use imgbuild_model::{Class, Diagnostic, with_causes};

use self::archive::{Failure, Input, entry_name};
use self::format::{Archive, Codec, Format, Level};
use crate::artifact::joined;
use crate::context::cancelled;
use crate::files::{behind_links, beside, make_folder_of, put, unusable};
use crate::{Artifact, PostContext, PostProcessor, Processed};

/// What the same inputs mean. To be raised with any change of the bytes that they come to.
const VERSION: u32 = 1;

/// The settings of `compress`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompressSettings {
    /// The file to write, a late template with `BuildName` and `BuilderType`. Its extensions say how.
    pub output: String,
    /// Extensions that count as if they stood behind `output`.
    pub format: String,
    /// From 1 to 9; -1 and 0 are the format's default.
    pub compression_level: Option<i64>,
}

impl Default for CompressSettings {
    fn default() -> Self {
        Self {
            output: "packer_{{.BuildName}}_{{.BuilderType}}".to_owned(),
            format: String::new(),
            compression_level: None,
        }
    }
}

/// The post-processor `compress`. Its input goes unless the user says otherwise.
#[derive(Clone, Debug)]
pub struct Compress {
    output: String,
    format: Format,
    level: Level,
}

impl Compress {
    /// # Errors
    ///
    /// If the level is none.
    pub fn new(settings: CompressSettings) -> Result<Self, Diagnostic> {
        let CompressSettings { mut output, format, compression_level } = settings;
        if output.is_empty() {
            output = CompressSettings::default().output;
        }
        Ok(Self { format: Format::detect(&output, &format), level: Level::new(compression_level)?, output })
    }

    fn run(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic> {
        let output = context.render_output(&self.output, &context.output_data())?;
        let path = context.resolve(&output);
        let inputs = self.inputs(context, input, &path)?;
        let key = self.key(&inputs);
        make_folder_of(&path)?;
        // Who waits here for another process that compresses the same finds its result.
        let _lock = lock(context, &key)?;
        if write_kept(context, &key, &path)? {
            context.say(&format!("Nothing changed: the kept result is {}", output.display()));
        } else {
            self.announce(context, &inputs, &output);
            self.compress(context, &inputs, &key, &path)?;
            context.say(&format!("Archive {} completed", output.display()));
        }
        let description = format!("compressed artifacts in: {}", output.display());
        Ok(Processed {
            artifact: Some(Artifact::of_files("compress", description, vec![output.clone()])),
            keep_input: false,
            force_keep: false,
            written: vec![output],
        })
    }

    /// The files with their digests, in the order in which they are written.
    fn inputs(
        &self,
        context: &PostContext,
        input: &Artifact,
        output: &Path,
    ) -> Result<Vec<Input>, Diagnostic> {
        let files = self.files(context, input, output)?;
        let digests = digests(context, &files)?;
        let names = match self.format.archive {
            Some(archive) => entry_names(context, archive, &files)?,
            None => vec![String::new(); files.len()],
        };
        let mut inputs: Vec<Input> = files
            .iter()
            .zip(names)
            .zip(digests)
            .map(|((file, name), found)| Input {
                file: file.clone(),
                path: context.resolve(file),
                name,
                digest: found.digest,
                executable: found.executable && self.format.archive.is_some(),
            })
            .collect();
        inputs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(inputs)
    }

    /// The artifact's files, each once, without what an earlier run has written as the output.
    fn files(
        &self,
        context: &PostContext,
        input: &Artifact,
        output: &Path,
    ) -> Result<Vec<PathBuf>, Diagnostic> {
        let mut files: Vec<PathBuf> = Vec::new();
        for file in &input.files {
            let is_output = behind_links(&context.resolve(file)) == behind_links(output);
            if is_output && self.format.archive.is_none() {
                return Err(Diagnostic::error(format!(
                    "`output` is `{}`, which is to be compressed",
                    file.display()
                ))
                .hint("name another file"));
            }
            if is_output {
                context.warn(&format!("Warning: {} is the output itself and left out", file.display()));
            } else if !files.contains(file) {
                files.push(file.clone());
            }
        }
        if self.format.archive.is_none() && files.len() != 1 {
            return Err(only_one(&self.output, &files));
        }
        Ok(files)
    }

    /// See the module.
    fn key(&self, inputs: &[Input]) -> ActionKey {
        let Self { output: _, format, level } = self;
        let mut hasher = ContentHasher::new("imgbuild post-processor compress");
        VERSION.content_hash(&mut hasher);
        format.content_hash(&mut hasher);
        level.content_hash(&mut hasher);
        inputs.content_hash(&mut hasher);
        ActionKey(hasher.finish())
    }

    fn announce(&self, context: &PostContext, inputs: &[Input], output: &Path) {
        let output = output.display();
        let codec = self.format.codec.map_or("no compression", Codec::name);
        let cores = match self.format.codec {
            None => String::new(),
            Some(Codec::Lz4) => "1 core".to_owned(),
            Some(_) => format!("{} cores", rayon::current_num_threads()),
        };
        if !cores.is_empty() {
            context.say(&format!("Using {codec} compression with {cores} for {output}"));
        }
        context.say(&match self.format.archive {
            Some(Archive::Zip) => format!("Zipping {output}"),
            Some(Archive::Tar) => format!("Tarring {output} with {codec}"),
            None => {
                let files: Vec<_> = inputs.iter().map(|input| input.file.clone()).collect();
                format!("Archiving {} with {codec}", joined(&files))
            }
        });
    }

    fn compress(
        &self,
        context: &PostContext,
        inputs: &[Input],
        key: &ActionKey,
        path: &Path,
    ) -> Result<(), Diagnostic> {
        let begun = std::time::Instant::now();
        let path = &behind_links(path);
        let mut file = beside(path, 0o644)?;
        archive::write(context, self.format, self.level, inputs, file.as_file_mut()).map_err(|failure| {
            match failure {
                Failure::Told(diagnostic) => diagnostic,
                Failure::Output(error) => unusable("write", path, &error),
            }
        })?;
        // Only what was made of these very inputs may stand under their key.
        if unchanged(context, inputs) {
            let kept = keep(context, key, file.path(), begun.elapsed());
            if let Err(error) = kept {
                let reason = with_causes(&error);
                context.warn(&format!("Warning: the result could not be kept: {reason}"));
            }
        } else {
            context.warn("Warning: a file changed while it was compressed, so the result is not kept");
        }
        put(file, path)
    }
}

#[async_trait]
impl PostProcessor for Compress {
    fn kind(&self) -> &'static str {
        "compress"
    }

    async fn process(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic> {
        let (this, input) = (self.clone(), input.clone());
        context.blocking(move |context| this.run(context, &input)).await
    }
}

fn only_one(output: &str, files: &[PathBuf]) -> Diagnostic {
    let found = match files {
        [] => "there is none".to_owned(),
        files => format!("there are {}: {}", files.len(), joined(files)),
    };
    Diagnostic::error(format!("`{output}` takes one file, but {found}"))
        .hint("let `output` end in `.tar.gz` or `.zip`, or choose one file with `artifice`")
}

/// What the archive calls each file. Of several with one name each gets its folders too, since only the last would be
/// there once unpacked.
fn entry_names(
    context: &PostContext,
    archive: Archive,
    files: &[PathBuf],
) -> Result<Vec<String>, Diagnostic> {
    let mut names = files.iter().map(|file| entry_name(archive, file)).collect::<Result<Vec<_>, _>>()?;
    let short = names.clone();
    for ((file, name), own) in files.iter().zip(&mut names).zip(&short) {
        if short.iter().filter(|other| *other == own).count() > 1 {
            *name = entry_name(Archive::Zip, file)?;
            context.warn(&format!("Warning: there are several files `{own}`; this one becomes `{name}`"));
        }
    }
    let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
    match twice {
        None => Ok(names),
        Some((_, name)) => Err(Diagnostic::error(format!("two files would both be `{name}` in the archive"))
            .hint("rename one of them")),
    }
}

fn digests(context: &PostContext, files: &[PathBuf]) -> Result<Vec<imgbuild_cache::FileDigest>, Diagnostic> {
    context.check_cancelled()?;
    // The memo wants to be told what a link leads to.
    let paths: Vec<PathBuf> = files.iter().map(|file| behind_links(&context.resolve(file))).collect();
    let digests = context.cache.file_memo(false).digest_many(&paths).map_err(|error| cache_error(&error))?;
    files
        .iter()
        .zip(digests)
        .map(|(file, digest)| digest.map_err(|error| unreadable(context, file, error)))
        .collect()
}

fn unreadable(context: &PostContext, file: &Path, error: imgbuild_cache::Error) -> Diagnostic {
    match error {
        imgbuild_cache::Error::NotAFile(_) => Diagnostic::error(format!("`{}` is no file", file.display()))
            .hint("`compress` takes files; name those in a folder with `artifice`"),
        imgbuild_cache::Error::Io(error) => {
            // The cache names the path once more; the system's own error does not.
            let again = std::fs::File::open(context.resolve(file)).err();
            unusable("read", file, &again.unwrap_or(error))
        }
        error => cache_error(&error),
    }
}

fn unchanged(context: &PostContext, inputs: &[Input]) -> bool {
    let paths: Vec<PathBuf> = inputs.iter().map(|input| behind_links(&input.path)).collect();
    context.cache.file_memo(false).digest_many(&paths).is_ok_and(|digests| {
        inputs
            .iter()
            .zip(digests)
            .all(|(input, digest)| digest.is_ok_and(|digest| digest.digest == input.digest))
    })
}

fn cache_error(error: &imgbuild_cache::Error) -> Diagnostic {
    Diagnostic::error(with_causes(error)).class(Class::Environment)
}

fn lock(context: &PostContext, key: &ActionKey) -> Result<imgbuild_cache::KeyLock, Diagnostic> {
    let waiting = |_| {
        if context.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    context.cache.lock_key_with(key, waiting).map_err(|error| match error {
        imgbuild_cache::Error::WaitCancelled(_) => cancelled(),
        error => cache_error(&error),
    })
}

/// Writes the kept result, if there is one that is whole.
fn write_kept(context: &PostContext, key: &ActionKey, path: &Path) -> Result<bool, Diagnostic> {
    let found = context.cache.get(key).map_err(|error| cache_error(&error))?;
    let Some([kept]) = found.as_ref().map(|result| &*result.files) else { return Ok(false) };
    let path = &behind_links(path);
    let mut file = beside(path, 0o644)?;
    match copy_kept(&context.cache, &kept.digest, file.as_file_mut()) {
        Ok(()) => put(file, path).map(|()| true),
        // It was collected or damaged: then it is made again.
        Err(None) => Ok(false),
        Err(Some(error)) => Err(unusable("write", path, &error)),
    }
}

/// Copies a blob; the error is that of the target, if it is not the blob's.
fn copy_kept(cache: &Cache, digest: &Digest, to: &mut std::fs::File) -> Result<(), Option<io::Error>> {
    use std::io::{Read as _, Write as _};
    let mut from = cache.open_verified(digest).map_err(|_| None)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length]).map_err(Some)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::debug!(%error, %digest, "a kept result cannot be read");
                return Err(None);
            }
        }
    }
}

fn keep(
    context: &PostContext,
    key: &ActionKey,
    path: &Path,
    duration: std::time::Duration,
) -> imgbuild_cache::Result<()> {
    let digest = context.cache.put_file(path)?.digest;
    let result = ActionResult {
        output: digest.hash_as("imgbuild post-processor output"),
        layers: Vec::new(),
        files: vec![OutputFile { path: "output".to_owned(), digest, executable: false }],
        metadata: Vec::new(),
        fingerprint: Vec::new(),
        log: None,
        duration,
        created: context.time,
        builder: "post-processor compress".to_owned(),
    };
    context.cache.put(key, &result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_has_not_drifted() {
        let input = |name: &str, executable| Input {
            file: PathBuf::from("somewhere"),
            path: PathBuf::from("/somewhere"),
            name: name.to_owned(),
            digest: Digest::of(name.as_bytes()),
            executable,
        };
        let key = |output: &str, level| {
            let settings = CompressSettings { output: output.to_owned(), ..CompressSettings::default() };
            let settings = CompressSettings { compression_level: level, ..settings };
            Compress::new(settings).unwrap().key(&[input("a", false), input("b", true)]).to_string()
        };
        assert_eq!(key("x.tar.gz", None), "98ff615d93afb888894f375dcd34b69cc961ef0260d764d6926f657e50967d15");
        assert_eq!(key("x.zip", Some(9)), "7101be47422f8355b5887424141ba72c61f87ff83945eee2f00ab33cc1167488");
    }
}
