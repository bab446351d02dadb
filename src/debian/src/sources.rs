//! The host's apt configuration, read for one fact: which mirrors it uses for a suite.
//!
//! Not for trust: the keyring is the caller's choice, never what a host file names.

use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::control;

/// One entry of `sources.list` or one paragraph of a `*.sources` file, binary packages only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptSource {
    /// Base addresses, `http` and `https` only, each ending in `/`.
    pub uris: Vec<Url>,
    /// Suites or codenames, as written.
    pub suites: Vec<String>,
    /// Components; empty for a flat repository.
    pub components: Vec<String>,
    /// Architectures it is restricted to; empty for all.
    pub architectures: Vec<String>,
    /// `Signed-By`, where it is a file.
    pub signed_by: Option<PathBuf>,
}

/// All sources that a host's apt is configured with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AptSources {
    /// In the order in which apt reads them.
    pub entries: Vec<AptSource>,
}

/// Why the configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// A file could not be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A `*.sources` file is not a control file.
    #[error("`{}`: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: control::ControlError,
    },
}

impl AptSources {
    /// Reads `sources.list` and `sources.list.d/` under `etc_apt`. What is absent counts as empty.
    pub fn read(etc_apt: &Path) -> Result<Self, SourcesError> {
        let mut sources = Self::default();
        let single = etc_apt.join("sources.list");
        if single.is_file() {
            sources.add_list(&fs_err::read_to_string(&single)?);
        }
        let folder = etc_apt.join("sources.list.d");
        if folder.is_dir() {
            let mut files = fs_err::read_dir(&folder)?
                .map(|entry| entry.map(|e| e.path()))
                .collect::<Result<Vec<_>, _>>()?;
            files.sort();
            for file in files {
                match file.extension().and_then(|e| e.to_str()) {
                    Some("list") => sources.add_list(&fs_err::read_to_string(&file)?),
                    Some("sources") => sources
                        .add_deb822(&fs_err::read_to_string(&file)?)
                        .map_err(|source| SourcesError::Syntax { path: file.clone(), source })?,
                    _ => {}
                }
            }
        }
        Ok(sources)
    }

    /// The mirrors for a suite, in apt's order, without repetition.
    #[must_use]
    pub fn mirrors(&self, suite: &str) -> Vec<Url> {
        let mut found: Vec<Url> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.suites.iter().any(|s| s == suite)) {
            for uri in &entry.uris {
                if !found.contains(uri) {
                    found.push(uri.clone());
                }
            }
        }
        found
    }

    /// The mirrors whose path ends in `archive` (for example `debian`), whatever suites they are configured for: a
    /// mirror carries all suites of an archive, so a host's bookworm mirror serves trixie too.
    #[must_use]
    pub fn mirrors_of_archive(&self, archive: &str) -> Vec<Url> {
        let mut found: Vec<Url> = Vec::new();
        for uri in self.entries.iter().flat_map(|entry| &entry.uris) {
            if uri.path().trim_end_matches('/').rsplit('/').next() == Some(archive) && !found.contains(uri) {
                found.push(uri.clone());
            }
        }
        found
    }

    /// Adds the entries of a one-line format file; lines that apt would reject are skipped.
    pub fn add_list(&mut self, text: &str) {
        self.entries.extend(text.lines().filter_map(parse_line));
    }

    /// Adds the paragraphs of a deb822 file.
    pub fn add_deb822(&mut self, text: &str) -> Result<(), control::ControlError> {
        for paragraph in control::parse(text)? {
            let words = |name: &str| -> Vec<String> {
                paragraph.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
            };
            let enabled = !paragraph.get("Enabled").is_some_and(|v| v.eq_ignore_ascii_case("no"));
            if !enabled || !words("Types").iter().any(|t| t == "deb") {
                continue;
            }
            self.entries.push(AptSource {
                uris: words("URIs").iter().filter_map(|uri| base_url(uri)).collect(),
                suites: words("Suites").iter().map(|s| suite_name(s)).collect(),
                components: words("Components"),
                architectures: words("Architectures"),
                signed_by: words("Signed-By").first().filter(|p| p.starts_with('/')).map(PathBuf::from),
            });
        }
        Ok(())
    }
}

fn parse_line(line: &str) -> Option<AptSource> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let mut architectures = Vec::new();
    let mut signed_by = None;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("arch", value)) => architectures = value.split(',').map(str::to_owned).collect(),
                Some(("signed-by", value)) if value.starts_with('/') => {
                    signed_by = Some(PathBuf::from(value))
                }
                _ => {}
            }
        }
        rest = after;
    }
    let mut words = rest.split_whitespace();
    let uri = base_url(words.next()?)?;
    let suite = suite_name(words.next()?);
    let components = words.map(str::to_owned).collect();
    Some(AptSource { uris: vec![uri], suites: vec![suite], components, architectures, signed_by })
}

fn suite_name(word: &str) -> String {
    word.trim_end_matches('/').to_owned()
}

/// Parses a base address so that `join` appends to it. `None` for what is neither reached over HTTP nor a folder of this
/// machine.
#[must_use]
pub fn base_url(text: &str) -> Option<Url> {
    let with_slash = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    Url::parse(&with_slash).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("sources.list.d");
        fs_err::create_dir(&parts).unwrap();
        fs_err::write(
            folder.path().join("sources.list"),
            "# comment\ndeb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://one.example/debian bookworm main # x\n\
             deb-src http://src.example/debian bookworm main\ndeb cdrom:[Debian]/ bookworm main\n",
        )
        .unwrap();
        fs_err::write(
            parts.join("debian.sources"),
            "Types: deb deb-src\n# note\nURIs: http://two.example/debian\n  http://three.example/debian/\nSuites: bookworm \
             bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://two.example/debian-security\nSuites: \
             bookworm-security\nComponents: main\n\nTypes: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: bookworm\n",
        )
        .unwrap();
        fs_err::write(parts.join("ignored.list.disabled"), "deb http://no.example/ bookworm main\n").unwrap();
        let sources = AptSources::read(folder.path()).unwrap();
        let urls = |list: Vec<Url>| list.iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(
            urls(sources.mirrors("bookworm")),
            ["http://one.example/debian/", "http://two.example/debian/", "http://three.example/debian/"]
        );
        assert_eq!(urls(sources.mirrors("bookworm-security")), ["http://two.example/debian-security/"]);
        assert!(sources.mirrors("trixie").is_empty());
        assert_eq!(sources.mirrors_of_archive("debian").len(), 3);
        assert_eq!(sources.entries[0].signed_by.as_deref(), Some(Path::new("/usr/share/keyrings/k.gpg")));
    }

    #[test]
    fn an_absent_configuration_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(AptSources::read(folder.path()).unwrap(), AptSources::default());
    }
}
