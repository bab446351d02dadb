//! `checksum`: digests of an artifact's files, in lines as `md5sum` of coreutils reads them back once the tab is two spaces.
//!
//! A line is the digest in hexadecimal, a tab, and the file's name without its folder. Packer appends; here a line about the
//! same name is replaced, so that a build that runs again leaves one line for each file, in the order of the first time.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_model::{Diagnostic, did_you_mean};
use sha2::digest::DynDigest;

use crate::artifact::joined;
use crate::files::{behind_links, lock_folder_of, make_folder_of, read_existing, replace, unusable};
use crate::{Artifact, PostContext, PostProcessor, Processed};

/// The settings of `checksum`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChecksumSettings {
    /// Which digests: `md5`, `sha1`, `sha224`, `sha256`, `sha384`, `sha512`.
    pub checksum_types: Vec<String>,
    /// The file that the lines go to, a late template with `BuildName`, `BuilderType` and `ChecksumType`.
    pub output: String,
}

impl Default for ChecksumSettings {
    fn default() -> Self {
        Self {
            checksum_types: vec!["md5".to_owned()],
            output: "packer_{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}.checksum".to_owned(),
        }
    }
}

/// The post-processor `checksum`. It keeps its input, whatever the user says.
#[derive(Clone, Debug)]
pub struct Checksum {
    types: Vec<ChecksumType>,
    output: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChecksumType {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl ChecksumType {
    const ALL: [Self; 6] = [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn parse(name: &str) -> Result<Self, Diagnostic> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            Diagnostic::error(format!("`{name}` is no type of checksum")).hint(
                match did_you_mean(name, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", names.map(|name| format!("`{name}`")).join(", ")),
                },
            )
        })
    }

    fn hasher(self) -> Box<dyn DynDigest + Send> {
        match self {
            Self::Md5 => Box::new(md5::Md5::default()),
            Self::Sha1 => Box::new(sha1::Sha1::default()),
            Self::Sha224 => Box::new(sha2::Sha224::default()),
            Self::Sha256 => Box::new(sha2::Sha256::default()),
            Self::Sha384 => Box::new(sha2::Sha384::default()),
            Self::Sha512 => Box::new(sha2::Sha512::default()),
        }
    }
}

impl Checksum {
    /// # Errors
    ///
    /// If a type of checksum is unknown.
    pub fn new(settings: ChecksumSettings) -> Result<Self, Diagnostic> {
        let types =
            settings.checksum_types.iter().map(|name| ChecksumType::parse(name)).collect::<Result<_, _>>()?;
        Ok(Self { types, output: settings.output })
    }

    fn run(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic> {
        let outputs = self.outputs(context)?;
        // A list that was found among the files, for example by a pattern, is not about itself.
        let is_output = |file: &Path| {
            outputs.iter().any(|output| same_file(&context.resolve(output), &context.resolve(file)))
        };
        let (lists, files): (Vec<PathBuf>, Vec<PathBuf>) =
            input.files.iter().cloned().partition(|file| is_output(file));
        lists.iter().try_for_each(|list| must_be_list(context, list))?;
        let digests = digests(context, &self.types, &files)?;
        let mut own = lists;
        for (index, output) in outputs.iter().enumerate() {
            let lines: Vec<Line> = files
                .iter()
                .zip(&digests)
                .map(|(file, digests)| Line { digest: digests[index].clone(), name: base_name(file) })
                .collect();
            let is_own = write_lines(context, &context.resolve(output), &lines)?;
            if is_own && !own.iter().any(|own| same_file(&context.resolve(own), &context.resolve(output))) {
                own.push(output.clone());
            }
        }
        let mut written = outputs;
        written.dedup();
        let files: Vec<PathBuf> = files.into_iter().chain(own).collect();
        let description = format!("Created artifact from files: {}", joined(&files));
        Ok(Processed {
            artifact: Some(Artifact::of_files("checksum", description, files)),
            keep_input: true,
            force_keep: true,
            written,
        })
    }

    /// The file of each type, in the order of the types.
    fn outputs(&self, context: &PostContext) -> Result<Vec<PathBuf>, Diagnostic> {
        let mut data = context.output_data();
        self.types
            .iter()
            .map(|kind| {
                data.insert("ChecksumType".to_owned(), kind.name().into());
                context.render_output(&self.output, &data)
            })
            .collect()
    }
}

#[async_trait]
impl PostProcessor for Checksum {
    fn kind(&self) -> &'static str {
        "checksum"
    }

    async fn process(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic> {
        let (this, input) = (self.clone(), input.clone());
        context.blocking(move |context| this.run(context, &input)).await
    }
}

#[derive(Debug)]
struct Line {
    digest: String,
    name: Vec<u8>,
}

fn base_name(path: &Path) -> Vec<u8> {
    path.file_name().unwrap_or(path.as_os_str()).as_encoded_bytes().to_vec()
}

/// All digests of all files, each file read once.
fn digests(
    context: &PostContext,
    types: &[ChecksumType],
    files: &[PathBuf],
) -> Result<Vec<Vec<String>>, Diagnostic> {
    let mut buffer = vec![0; 1 << 18];
    files
        .iter()
        .map(|file| {
            let mut hashers: Vec<_> = types.iter().map(|kind| kind.hasher()).collect();
            let unreadable = |error| unusable("read", file, &error);
            let mut from = std::fs::File::open(context.resolve(file)).map_err(unreadable)?;
            loop {
                context.check_cancelled()?;
                let length = match from.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(unreadable(error)),
                };
                hashers.iter_mut().for_each(|hasher| hasher.update(&buffer[..length]));
            }
            Ok(hashers.into_iter().map(|hasher| hex::encode(hasher.finalize())).collect())
        })
        .collect()
}

fn same_file(one: &Path, other: &Path) -> bool {
    behind_links(one) == behind_links(other)
}

/// # Errors
///
/// If one of the artifact's files would be written over that is no list of checksums.
fn must_be_list(context: &PostContext, file: &Path) -> Result<(), Diagnostic> {
    let contents = read_existing(&context.resolve(file))?.unwrap_or_default();
    let is_line = |line: &[u8]| {
        let tab = line.iter().position(|byte| *byte == b'\t');
        tab.is_some_and(|tab| tab > 0 && line[..tab].iter().all(u8::is_ascii_hexdigit))
    };
    let text = contents.strip_suffix(b"\n").unwrap_or(&contents);
    if text.is_empty() || text.split(|byte| *byte == b'\n').all(is_line) {
        return Ok(());
    }
    Err(Diagnostic::error(format!("`output` is `{}`, one of the files to be summed", file.display()))
        .hint("name another file"))
}

/// Puts lines into a file in place of those of the same names. Tells whether the file is about nothing else then.
fn write_lines(context: &PostContext, path: &Path, lines: &[Line]) -> Result<bool, Diagnostic> {
    make_folder_of(path)?;
    let _lock = lock_folder_of(path, context)?;
    let before = read_existing(path)?.unwrap_or_default();
    let (after, is_own) = merged(&before, lines);
    if after != before || !path.exists() {
        replace(path, 0o644, &after)?;
    }
    Ok(is_own)
}

/// The contents with `lines` in the places of older ones about the same names, or else at the end.
fn merged(before: &[u8], lines: &[Line]) -> (Vec<u8>, bool) {
    let mut after = Vec::with_capacity(before.len());
    let mut placed = vec![false; lines.len()];
    let mut is_own = true;
    for old in before.split_inclusive(|byte| *byte == b'\n') {
        let text = old.strip_suffix(b"\n").unwrap_or(old);
        let name = text.iter().position(|byte| *byte == b'\t').map(|tab| &text[tab + 1..]);
        let digest_length = text.len() - name.map_or(0, |name| name.len() + 1);
        is_own &= name.is_some_and(|name| lines.iter().any(|line| line.name == name));
        // Several types may share a file; the length tells their digests apart.
        let mut same = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| name == Some(&line.name) && line.digest.len() == digest_length);
        match same.find(|(index, _)| !placed[*index]) {
            Some((index, line)) => {
                placed[index] = true;
                line.write(&mut after);
            }
            None if same_exists(lines, name, digest_length) => {}
            None => {
                after.extend_from_slice(text);
                after.push(b'\n');
            }
        }
    }
    for (line, _) in lines.iter().zip(placed).filter(|(_, placed)| !placed) {
        line.write(&mut after);
    }
    (after, is_own)
}

fn same_exists(lines: &[Line], name: Option<&[u8]>, digest_length: usize) -> bool {
    lines.iter().any(|line| name == Some(&line.name) && line.digest.len() == digest_length)
}

impl Line {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.digest.as_bytes());
        to.push(b'\t');
        to.extend_from_slice(&self.name);
        to.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line() -> impl Strategy<Value = Line> {
        (prop::sample::select(vec![32, 40, 64]), "[0-9a-f]", "[a-c]")
            .prop_map(|(length, digit, name)| Line { digest: digit.repeat(length), name: name.into_bytes() })
    }

    proptest! {
        #[test]
        fn lines_are_merged_once_and_others_stay(
            before in "([0-9a-f]{2}\\t[a-z]\n|[a-z ]{0,3}\n|[0]{32}\\t[a-c]\n){0,6}",
            lines in prop::collection::vec(line(), 0..4),
        ) {
            let (once, _) = merged(before.as_bytes(), &lines);
            let (twice, _) = merged(&once, &lines);
            prop_assert_eq!(&once, &twice);
            let text = String::from_utf8(once).unwrap();
            for line in &lines {
                let name = std::str::from_utf8(&line.name).unwrap();
                let written = format!("{}\t{name}", line.digest);
                prop_assert!(text.lines().any(|found| found == written));
            }
            let foreign = |text: &str| -> Vec<String> {
                let is_foreign = |line: &&str| line.split_once('\t').is_none_or(|(digest, _)| digest.len() == 2);
                text.lines().filter(is_foreign).map(str::to_owned).collect()
            };
            prop_assert_eq!(foreign(&before), foreign(&text));
        }
    }
}
