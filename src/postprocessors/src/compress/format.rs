//! Which archive and which compression the name of the output asks for. The rule is Packer's: only the last two
//! extensions count, in the text of `output` before it is rendered, with `format` behind it.

use imgbuild_digest::{ContentHash, ContentHasher};
use imgbuild_model::Diagnostic;

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// How files are joined, if they are.
    pub(crate) archive: Option<Archive>,
    /// How the bytes are compressed, if they are.
    pub(crate) codec: Option<Codec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    Tar,
    /// Compresses by itself.
    Zip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Gzip,
    Lz4,
    Bgzf,
    Xz,
    Bzip2,
}

impl Codec {
    /// The word that Packer's lines have for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "pgzip",
            Self::Lz4 => "lz4",
            Self::Bgzf => "bgzf",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension {
            "gz" => Self::Gzip,
            "lz4" => Self::Lz4,
            "bgzf" => Self::Bgzf,
            "xz" => Self::Xz,
            "bzip2" => Self::Bzip2,
            _ => return None,
        })
    }
}

impl Format {
    pub(crate) fn detect(output: &str, format: &str) -> Self {
        let text = if format.is_empty() { output.to_owned() } else { format!("{output}.{format}") };
        let extensions = extensions(&text);
        let last = extensions.last().copied().unwrap_or_default();
        let is_tar = extensions.len() > 1 && extensions[extensions.len() - 2] == "tar";
        match last {
            "zip" => Self { archive: Some(Archive::Zip), codec: None },
            "tar" => Self { archive: Some(Archive::Tar), codec: None },
            last => match Codec::of_extension(last) {
                Some(codec) => Self { archive: is_tar.then_some(Archive::Tar), codec: Some(codec) },
                None => Self { archive: Some(Archive::Tar), codec: Some(Codec::Gzip) },
            },
        }
    }
}

/// Each run of small letters and digits behind a dot, wherever it ends.
fn extensions(text: &str) -> Vec<&str> {
    text.split('.')
        .skip(1)
        .filter_map(|part| {
            let end = part
                .find(|character: char| !matches!(character, 'a'..='z' | '0'..='9'))
                .unwrap_or(part.len());
            (end > 0).then(|| &part[..end])
        })
        .collect()
}

/// A level of compression from 1 to 9, or else what the format takes for a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(Option<u8>);

impl Level {
    /// Packer's rule: nothing and 0 are the default, as is -1; what is above 9 is 9.
    ///
    /// # Errors
    ///
    /// Below -1.
    pub(crate) fn new(level: Option<i64>) -> Result<Self, Diagnostic> {
        match level {
            None | Some(-1 | 0) => Ok(Self(None)),
            Some(level @ 1..) => Ok(Self(Some(level.min(9) as u8))),
            Some(level) => Err(Diagnostic::error(format!("`compression_level` is {level}"))
                .hint("it goes from 1 (fast) to 9 (small); -1 is the default of the format")),
        }
    }

    /// The level, where the format's default is `default`.
    pub(crate) fn or(self, default: u8) -> u8 {
        self.0.unwrap_or(default)
    }
}

impl ContentHash for Format {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self { archive, codec } = self;
        hasher.write_tag(match archive {
            None => 0,
            Some(Archive::Tar) => 1,
            Some(Archive::Zip) => 2,
        });
        hasher.write_tag(match codec {
            None => 0,
            Some(Codec::Gzip) => 1,
            Some(Codec::Lz4) => 2,
            Some(Codec::Bgzf) => 3,
            Some(Codec::Xz) => 4,
            Some(Codec::Bzip2) => 5,
        });
    }
}

impl ContentHash for Level {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self(level) = self;
        hasher.write_tag(level.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_extensions_decide() {
        let tar = Some(Archive::Tar);
        for (output, format, archive, codec) in [
            ("packer_{{.BuildName}}_{{.BuilderType}}", "", tar, Some(Codec::Gzip)),
            ("a", "", tar, Some(Codec::Gzip)),
            ("a-v1.2", "", tar, Some(Codec::Gzip)),
            ("a.zip", "", Some(Archive::Zip), None),
            ("a.tar", "", tar, None),
            ("a.tar.gz", "", tar, Some(Codec::Gzip)),
            ("a.gz", "", None, Some(Codec::Gzip)),
            ("a.tar.lz4", "", tar, Some(Codec::Lz4)),
            ("a.bgzf", "", None, Some(Codec::Bgzf)),
            ("a.raw.xz", "", None, Some(Codec::Xz)),
            ("a.tar.bzip2", "", tar, Some(Codec::Bzip2)),
            ("a.tar.bz2", "", tar, Some(Codec::Gzip)),
            ("a.tgz", "", tar, Some(Codec::Gzip)),
            ("a.gz.tar", "", tar, None),
            ("a.tar", "gz", tar, Some(Codec::Gzip)),
            ("a", "zip", Some(Archive::Zip), None),
            ("a.tar.GZ", "", tar, None),
            ("{{.BuildName}}.tar.xz", "", tar, Some(Codec::Xz)),
            // Packer looks at the whole text, folders included.
            ("a.zip.d/out", "", tar, Some(Codec::Gzip)),
            ("a.zip/out", "", Some(Archive::Zip), None),
        ] {
            let expected = Format { archive, codec };
            assert_eq!(Format::detect(output, format), expected, "{output} {format}");
        }
    }

    #[test]
    fn levels_are_those_of_packer() {
        for (given, level) in
            [(None, 6), (Some(-1), 6), (Some(0), 6), (Some(1), 1), (Some(9), 9), (Some(22), 9)]
        {
            assert_eq!(Level::new(given).unwrap().or(6), level);
        }
        let error = Level::new(Some(-2)).unwrap_err();
        assert_eq!(error.message, "`compression_level` is -2");
        assert!(error.hint.unwrap().contains("1 (fast) to 9"));
    }
}
