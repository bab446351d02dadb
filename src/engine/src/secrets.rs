//! Secrets on their way to a step, and what keeps them from coming out again: in its output, or in its layer.
//!
//! What is searched for is the value as it is and as it is most often written down: in base64 (both alphabets, at any
//! place in a longer text), percent-encoded, in hexadecimal digits, as part of a JSON string. Not here: where values
//! come from. What a step encrypts, compresses or cuts into pieces is beyond this; it was given the secret to use it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use aho_corasick::{AhoCorasick, MatchKind};
use async_trait::async_trait;
use imgbuild_model::{Diagnostic, Secret, SecretReference, Value, written_forms};

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// What stands in the place of a sensitive text of a template, as Packer writes it.
pub const SENSITIVE: &str = "<sensitive>";

/// The shortest secret in bytes: a shorter one would be found everywhere.
pub const SHORTEST: usize = imgbuild_model::SHORTEST_SECRET;

/// The shortest line of a secret of several lines, in bytes, that counts as secret by itself in files.
const SHORTEST_LINE_IN_FILES: usize = 32;

/// Where the values of secrets come from.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The value, asked for only when a step that needs it runs.
    ///
    /// # Errors
    /// If the provider is not known, or does not give it.
    async fn resolve(&self, reference: &SecretReference) -> Result<Secret, Box<Diagnostic>>;
}

/// A store without any secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

#[async_trait]
impl SecretStore for NoSecrets {
    async fn resolve(&self, reference: &SecretReference) -> Result<Secret, Box<Diagnostic>> {
        Err(Diagnostic::error(format!("there is no secret `{reference}`")).into())
    }
}

/// A secret that a step is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSecret {
    /// The name of the file in `/run/secrets`.
    pub name: String,
    /// What it holds.
    pub value: Secret,
}

/// Finds secrets in bytes.
#[derive(Debug)]
pub struct SecretFinder {
    output: Option<AhoCorasick>,
    files: Option<AhoCorasick>,
    /// Which secret each pattern of `files` is of.
    owners: Vec<String>,
    longest: usize,
}

impl SecretFinder {
    /// For these secrets; `None` without any.
    #[must_use]
    pub fn new(secrets: &[NamedSecret]) -> Option<Self> {
        if secrets.is_empty() {
            return None;
        }
        let mut output = Vec::new();
        let (mut files, mut owners) = (Vec::new(), Vec::new());
        for NamedSecret { name, value } in secrets {
            let whole = value.expose().trim_ascii();
            let lines = || whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            // Output comes in lines, but encoded a value of several lines is one.
            output.extend(written_forms(whole));
            for line in lines() {
                output.extend(written_forms(line));
            }
            let before = files.len();
            files.extend(written_forms(whole));
            // The frame of a PEM file is in every key, also in those that a step may make.
            let telling = |line: &&[u8]| line.len() >= SHORTEST_LINE_IN_FILES && !line.starts_with(b"-----");
            files.extend(lines().filter(telling).map(<[u8]>::to_vec));
            owners.extend(std::iter::repeat_n(name.clone(), files.len() - before));
        }
        let longest = output.iter().map(Vec::len).max().unwrap_or_default();
        let automaton = |patterns: &[Vec<u8>]| {
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns).ok()
        };
        let for_files = AhoCorasick::new(&files).ok();
        Some(Self { output: automaton(&output), files: for_files, owners, longest })
    }

    /// The length in bytes of the longest text that is masked: so much more than a piece of output must be there
    /// before it can be cut.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Where to cut `bytes` so that the first piece has at least `wanted` of them and no secret is cut in two.
    #[must_use]
    pub fn cut(&self, bytes: &[u8], wanted: usize) -> usize {
        let Some(finder) = &self.output else { return wanted };
        let straddling = finder.find_iter(bytes).find(|found| found.end() > wanted);
        straddling.filter(|found| found.start() < wanted).map_or(wanted, |found| found.end())
    }

    /// A line, or a piece of one, with each secret in it replaced by [`MASK`].
    #[must_use]
    pub fn mask(&self, line: &[u8]) -> Vec<u8> {
        self.mask_as(line, MASK)
    }

    /// As [`Self::mask`], with another text in the place of each secret.
    #[must_use]
    pub fn mask_as(&self, line: &[u8], mask: &str) -> Vec<u8> {
        let Some(finder) = &self.output else { return line.to_vec() };
        let mut masked = Vec::with_capacity(line.len());
        let mut rest = 0;
        for found in finder.find_iter(line) {
            masked.extend_from_slice(&line[rest..found.start()]);
            masked.extend_from_slice(mask.as_bytes());
            rest = found.end();
        }
        masked.extend_from_slice(&line[rest..]);
        masked
    }

    /// The name of a secret that is in a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn in_file(&self, file: impl io::Read) -> io::Result<Option<&str>> {
        let Some(finder) = &self.files else { return Ok(None) };
        match finder.stream_find_iter(file).next() {
            None => Ok(None),
            Some(found) => found.map(|found| Some(&*self.owners[found.pattern().as_usize()])),
        }
    }

    /// The name of a secret that is in these bytes.
    #[must_use]
    pub fn in_bytes(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.files.as_ref()?.find(bytes)?;
        Some(&self.owners[found.pattern().as_usize()])
    }
}

/// Texts that actions hold marks in place of, so that no key, plan or record has them: those that must not be shown, and
/// those that are another in each run.
#[derive(Default)]
pub struct Fillings {
    texts: BTreeMap<String, Secret>,
    finder: Option<SecretFinder>,
}

impl Fillings {
    /// Texts by their marks, and what is masked in all output.
    #[must_use]
    pub fn new(texts: BTreeMap<String, Secret>, masked: &[NamedSecret]) -> Self {
        Self { texts, finder: SecretFinder::new(masked) }
    }

    /// Whether a value has marks in it.
    #[must_use]
    pub fn changes(&self, value: &Value) -> bool {
        !self.texts.is_empty() && self.fill_value(value) != *value
    }

    /// A value with what the marks in its texts stand for.
    #[must_use]
    pub fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::string(&self.fill(text)),
            Value::List(items) => Value::list(items.iter().map(|item| self.fill_value(item))),
            Value::Dict(entries) => Value::Dict(
                entries.iter().map(|(name, value)| (name.clone(), self.fill_value(value))).collect(),
            ),
            other => other.clone(),
        }
    }

    /// A text with its marks replaced.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (mark, value) in &self.texts {
            if text.contains(mark) {
                text = text.replace(mark, &String::from_utf8_lossy(value.expose()));
            }
        }
        text
    }

    /// A line of output without what must not be shown.
    #[must_use]
    pub fn mask<'l>(&self, line: &'l str) -> Cow<'l, str> {
        match &self.finder {
            None => Cow::Borrowed(line),
            Some(finder) => {
                let masked = finder.mask_as(line.as_bytes(), SENSITIVE);
                Cow::Owned(String::from_utf8_lossy(&masked).into_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

    use super::*;

    fn finder(value: &str) -> SecretFinder {
        SecretFinder::new(&[NamedSecret { name: "token".to_owned(), value: Secret::new(value) }]).unwrap()
    }

    fn masked(finder: &SecretFinder, line: &str) -> String {
        String::from_utf8(finder.mask(line.as_bytes())).unwrap()
    }

    #[test]
    fn a_value_is_masked_wherever_it_stands() {
        let finder = finder("s3cr3t value\n");
        for (line, shown) in [
            ("s3cr3t value", "***"),
            ("a s3cr3t value, s3cr3t values", "a ***, ***s"),
            ("s3cr3t%20value", "***"),
            ("q=s3cr3t+value&x", "q=***&x"),
            ("7333637233742076616c7565", "***"),
            ("7333637233742076616C7565", "***"),
            ("s3cr3t", "s3cr3t"),
        ] {
            assert_eq!(masked(&finder, line), shown);
        }
    }

    #[test]
    fn base64_is_masked_at_every_offset_in_both_alphabets() {
        let value = "t0ken?>>~value";
        let finder = finder(value);
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                    let text = engine.encode(format!("{before}{value}{after}"));
                    let shown = masked(&finder, &text);
                    assert!(shown.contains(MASK) && shown.len() <= text.len() / 2 + 8, "{text} {shown}");
                }
            }
        }
    }

    #[test]
    fn each_line_of_a_key_is_masked_and_a_telling_one_is_found_in_files() {
        let line = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";
        let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{line}\nshort=\n-----END-----\n");
        let finder = finder(&key);
        assert_eq!(masked(&finder, line), MASK);
        assert_eq!(masked(&finder, "short="), MASK);
        assert_eq!(finder.in_bytes(format!("x{line}y").as_bytes()), Some("token"));
        assert_eq!(finder.in_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\nanother\n"), None);
        assert_eq!(finder.in_bytes(key.as_bytes()), Some("token"));
    }

    #[test]
    fn json_is_searched_for_too() {
        let finder = finder("a\"quote\\d");
        assert_eq!(finder.in_bytes(br#"{"password": "a\"quote\\d"}"#), Some("token"));
    }

    #[test]
    fn a_piece_is_never_cut_inside_a_secret() {
        let finder = finder("abcdefgh");
        let line = b"....abcdefgh....";
        for wanted in 1..line.len() {
            let cut = finder.cut(line, wanted);
            assert_eq!(cut, if wanted > 4 && wanted < 12 { 12 } else { wanted });
        }
    }

    #[test]
    fn a_secret_is_found_across_the_buffers_of_a_large_file() {
        let finder = finder("needle-in-the-hay");
        for place in [0, 1, 65_530, 65_536, 200_000] {
            let mut bytes = vec![b'.'; 300_000];
            bytes[place..place + 17].copy_from_slice(b"needle-in-the-hay");
            assert_eq!(finder.in_file(&*bytes).unwrap(), Some("token"), "{place}");
        }
        assert_eq!(finder.in_file(&vec![b'.'; 300_000][..]).unwrap(), None);
    }
}
