//! The lines of a [`DebianPin`](super::DebianPin): one package a line, in words that a person can review.
//!
//! ```text
//! name version architecture sha256 size path [archive=…] [source=name[=version]] [configure]
//! - name
//! ```
//!
//! Optional words stand in this order. `configure` ends a batch: what was unpacked so far is configured before the next
//! package is unpacked; the last line ends the last batch without it. A line that begins with `-` is a package that is
//! removed first, by dpkg's name for it.
//!
//! Not here: what a version or an archive is.

use imgbuild_digest::{ContentHash, ContentHasher};

/// A package of a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture, `all` included.
    pub architecture: String,
    /// SHA-256 of the package file, in lower-case hexadecimal.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where it was found, under the base of any mirror of its archive.
    pub path: String,
    /// The archive, where that is not the distribution's main one.
    pub archive: Option<String>,
    /// Its source package, and that one's version where it is another.
    pub source: Option<(String, Option<String>)>,
}

/// What a pin says, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinnedClosure {
    /// What is removed first, by dpkg's names.
    pub remove: Vec<String>,
    /// What is unpacked and configured, batch after batch.
    pub batches: Vec<Vec<PinnedPackage>>,
}

/// A line of a pin that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` is not a locked package: {problem}")]
pub struct PinLineError {
    line: String,
    problem: &'static str,
}

enum Line {
    Remove(String),
    Add { package: PinnedPackage, ends_batch: bool },
}

fn parse_line(line: &str) -> Result<Line, PinLineError> {
    let fail = |problem| PinLineError { line: line.to_owned(), problem };
    let mut words = line.split(' ');
    let mut word = |problem| words.next().filter(|word| !word.is_empty()).ok_or_else(|| fail(problem));
    let name = word("it is empty")?.to_owned();
    if name == "-" {
        let removed = word("it does not say what is removed")?.to_owned();
        return if words.next().is_none() {
            Ok(Line::Remove(removed))
        } else {
            Err(fail("it says too much"))
        };
    }
    let version = word("it has no version")?.to_owned();
    let architecture = word("it has no architecture")?.to_owned();
    let sha256 = word("it has no SHA-256")?.to_owned();
    if !sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(fail("its SHA-256 is not hexadecimal"));
    }
    let size = word("it has no size")?.parse().map_err(|_| fail("its size is not a number"))?;
    let path = word("it has no path")?.to_owned();
    let mut package =
        PinnedPackage { name, version, architecture, sha256, size, path, archive: None, source: None };
    let mut ends_batch = false;
    for word in words {
        if word == "configure" {
            ends_batch = true;
        } else if let Some(archive) = word.strip_prefix("archive=") {
            package.archive = Some(archive.to_owned());
        } else if let Some(source) = word.strip_prefix("source=") {
            package.source = Some(match source.split_once('=') {
                Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
                None => (source.to_owned(), None),
            });
        } else {
            return Err(fail("it has a word that is not known"));
        }
    }
    Ok(Line::Add { package, ends_batch })
}

/// Refuses lines that [`PinnedClosure::parse`] would refuse, while a lock file is read and the place is known.
pub(super) fn deserialize_lines<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let lines: Vec<String> = serde::Deserialize::deserialize(deserializer)?;
    match lines.iter().find_map(|line| parse_line(line).err()) {
        Some(error) => Err(serde::de::Error::custom(error)),
        None => Ok(lines),
    }
}

/// What of the lines decides which bytes are installed: not where packages were found, nor what they were made from.
pub(super) fn hash_lines(lines: &[String], hasher: &mut ContentHasher) {
    hasher.write_u64(lines.len() as u64);
    for line in lines {
        match parse_line(line) {
            Ok(Line::Add { package, ends_batch }) => {
                let PinnedPackage {
                    name,
                    version,
                    architecture,
                    sha256,
                    size,
                    path: _,
                    archive: _,
                    source: _,
                } = package;
                for word in [name, version, architecture, sha256] {
                    word.content_hash(hasher);
                }
                size.content_hash(hasher);
                ends_batch.content_hash(hasher);
            }
            Ok(Line::Remove(_)) | Err(_) => line.content_hash(hasher),
        }
    }
}

impl PinnedPackage {
    fn line(&self, ends_batch: bool) -> String {
        let Self { name, version, architecture, sha256, size, path, archive, source } = self;
        let mut line = format!("{name} {version} {architecture} {sha256} {size} {path}");
        if let Some(archive) = archive {
            line.push_str(&format!(" archive={archive}"));
        }
        match source {
            Some((source, Some(version))) => line.push_str(&format!(" source={source}={version}")),
            Some((source, None)) => line.push_str(&format!(" source={source}")),
            None => {}
        }
        if ends_batch {
            line.push_str(" configure");
        }
        line
    }
}

impl PinnedClosure {
    /// Takes lines apart.
    ///
    /// # Errors
    /// If one of them means nothing.
    pub fn parse(lines: &[String]) -> Result<Self, PinLineError> {
        let mut closure = Self::default();
        let mut batch = Vec::new();
        for line in lines {
            match parse_line(line)? {
                Line::Remove(name) => closure.remove.push(name),
                Line::Add { package, ends_batch } => {
                    batch.push(package);
                    if ends_batch {
                        closure.batches.push(std::mem::take(&mut batch));
                    }
                }
            }
        }
        if !batch.is_empty() {
            closure.batches.push(batch);
        }
        Ok(closure)
    }

    /// The lines that say this.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.remove.iter().map(|name| format!("- {name}")).collect();
        let batches: Vec<_> = self.batches.iter().filter(|batch| !batch.is_empty()).collect();
        for (number, batch) in batches.iter().enumerate() {
            let is_last_batch = number + 1 == batches.len();
            for (place, package) in batch.iter().enumerate() {
                lines.push(package.line(place + 1 == batch.len() && !is_last_batch));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> PinnedPackage {
        PinnedPackage {
            name: name.to_owned(),
            version: "1:2.3-4+deb12u1".to_owned(),
            architecture: "amd64".to_owned(),
            sha256: "ab".repeat(32),
            size: 12,
            path: format!("pool/main/{name}.deb"),
            archive: None,
            source: None,
        }
    }

    #[test]
    fn lines_survive_a_round_trip() {
        let from_security = PinnedPackage {
            archive: Some("debian-security".to_owned()),
            source: Some(("glibc".to_owned(), Some("2.36-9".to_owned()))),
            ..package("libc6")
        };
        let closure = PinnedClosure {
            remove: vec!["old:amd64".to_owned()],
            batches: vec![
                vec![package("base-files"), from_security],
                vec![PinnedPackage { source: Some(("shell".to_owned(), None)), ..package("bash") }],
            ],
        };
        let lines = closure.lines();
        let sha256 = "ab".repeat(32);
        assert_eq!(
            lines,
            [
                "- old:amd64".to_owned(),
                format!("base-files 1:2.3-4+deb12u1 amd64 {sha256} 12 pool/main/base-files.deb"),
                format!(
                    "libc6 1:2.3-4+deb12u1 amd64 {sha256} 12 pool/main/libc6.deb archive=debian-security \
                     source=glibc=2.36-9 configure"
                ),
                format!("bash 1:2.3-4+deb12u1 amd64 {sha256} 12 pool/main/bash.deb source=shell"),
            ]
        );
        assert_eq!(PinnedClosure::parse(&lines).unwrap(), closure);
        assert_eq!(PinnedClosure::parse(&[]).unwrap(), PinnedClosure::default());
    }

    #[test]
    fn damage_is_named() {
        let fail = |line: &str| PinnedClosure::parse(&[line.to_owned()]).unwrap_err().to_string();
        assert_eq!(
            fail("a 1 amd64 zz 1 p"),
            "`a 1 amd64 zz 1 p` is not a locked package: its SHA-256 is not hexadecimal"
        );
        assert!(fail("a 1 amd64 00 x p").ends_with("its size is not a number"));
        assert!(fail("a 1 amd64 00 1").ends_with("it has no path"));
        assert!(fail("a 1 amd64 00 1 p mirror=x").ends_with("it has a word that is not known"));
        assert!(fail("-").ends_with("it does not say what is removed"));
        assert!(fail("").ends_with("it is empty"));
    }
}
