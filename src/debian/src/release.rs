//! `InRelease`: the signed table of contents of a suite.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use reqwest::Url;

use crate::Sha256;
use crate::control;
use crate::fetch::{FetchError, Fetcher};
use crate::keyring::{Keyring, SignatureError};

/// The largest `InRelease` that is read, in bytes; real ones have up to 400 KB.
const LIMIT: u64 = 16 << 20;

/// What to do with `Valid-Until` and with keys that expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Refuse what has expired at this time: the caller's clock.
    At(Timestamp),
    /// Accept what was valid when it was signed: for a snapshot of the past.
    WhenSigned,
}

/// A verified release file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `Suite`, for example `stable`.
    pub suite: Option<String>,
    /// `Codename`, for example `bookworm`.
    pub codename: Option<String>,
    /// `Version`, for example `12.15`.
    pub version: Option<String>,
    /// `Origin`, for example `Debian`.
    pub origin: Option<String>,
    /// When it was made.
    pub date: Timestamp,
    /// Until when it may be believed.
    pub valid_until: Option<Timestamp>,
    /// Whether index files can be fetched by their hash.
    pub acquire_by_hash: bool,
    /// Architectures that the suite has.
    pub architectures: Vec<String>,
    /// Components that the suite has.
    pub components: Vec<String>,
    /// The files by path under `dists/<suite>/`.
    pub files: HashMap<String, ReleaseFile>,
    /// The fingerprint of the certificate that signed.
    pub signer: String,
    /// SHA-256 of the `InRelease` file as fetched.
    pub digest: Sha256,
}

/// One line of the `SHA256` list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseFile {
    /// Digest.
    pub sha256: Sha256,
    /// Size in bytes.
    pub size: u64,
}

/// Why a release file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// No mirror was given.
    #[error("no mirror is known for suite `{suite}`")]
    NoMirror {
        /// The suite.
        suite: String,
    },
    /// It could not be fetched; the error of the last mirror.
    #[error("suite `{suite}`: {source}")]
    Fetch {
        /// The suite.
        suite: String,
        /// What the last mirror answered.
        source: FetchError,
    },
    /// The signature does not count.
    #[error("`{url}` is not trusted: {source}")]
    Signature {
        /// Where it came from.
        url: String,
        /// Why not.
        source: SignatureError,
    },
    /// `Valid-Until` has passed.
    #[error("`{url}` expired at {valid_until}, it is {now} now")]
    Expired {
        /// Where it came from.
        url: String,
        /// Its limit.
        valid_until: Timestamp,
        /// The caller's clock.
        now: Timestamp,
    },
    /// It is of another suite than asked for.
    #[error("`{url}` describes suite {found}, not `{asked}`")]
    OtherSuite {
        /// Where it came from.
        url: String,
        /// What was asked for.
        asked: String,
        /// Its suite and codename.
        found: String,
    },
    /// A field is absent or malformed.
    #[error("`{url}`: {problem}")]
    Malformed {
        /// Where it came from.
        url: String,
        /// What is wrong.
        problem: String,
    },
}

impl ReleaseError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoMirror { .. } => Some("name a mirror with `IMGBUILD_DEBIAN_MIRROR`"),
            Self::Fetch { source: FetchError::NotFound { .. }, .. } => {
                Some("check the spelling of the suite, and whether the mirror still carries it")
            }
            Self::Fetch { source, .. } => source.hint(),
            Self::Signature { source: SignatureError::UnknownKey { .. }, .. } => {
                Some("install the distribution's current keyring package, or name its keyring")
            }
            Self::Signature { .. } => {
                Some("the mirror is faulty or has been tampered with; name another one")
            }
            Self::Expired { .. } => Some("the mirror is stale, or this machine's clock is wrong"),
            Self::OtherSuite { .. } | Self::Malformed { .. } => {
                Some("the mirror is faulty; name another one")
            }
        }
    }
}

/// Fetches `dists/<suite>/InRelease` from the first mirror that has a good one, verified.
pub async fn fetch(
    fetcher: &Fetcher,
    mirrors: &[Url],
    suite: &str,
    keyring: &Keyring,
    validity: Validity,
) -> Result<Release, ReleaseError> {
    let mut last = ReleaseError::NoMirror { suite: suite.to_owned() };
    for mirror in mirrors {
        let url = match mirror.join(&format!("dists/{suite}/InRelease")) {
            Ok(url) => url,
            Err(error) => {
                last = malformed(mirror.as_str(), error.to_string());
                continue;
            }
        };
        let result = match fetcher.get(&url, LIMIT).await {
            Ok(bytes) => Release::verify(&bytes, keyring, validity, url.as_str())
                .and_then(|release| release.check_suite(suite, url.as_str())),
            Err(source) => Err(ReleaseError::Fetch { suite: suite.to_owned(), source }),
        };
        match result {
            Ok(release) => return Ok(release),
            Err(error) => {
                tracing::debug!(%url, %error, "release file not usable");
                last = error;
            }
        }
    }
    Err(last)
}

fn malformed(url: &str, problem: impl Into<String>) -> ReleaseError {
    ReleaseError::Malformed { url: url.to_owned(), problem: problem.into() }
}

impl Release {
    /// Verifies an `InRelease` file and reads it; `url` is only for messages. Only signed text is looked at.
    pub fn verify(
        in_release: &[u8],
        keyring: &Keyring,
        validity: Validity,
        url: &str,
    ) -> Result<Self, ReleaseError> {
        let now = match validity {
            Validity::At(now) => Some(now.as_second().max(0).unsigned_abs()),
            Validity::WhenSigned => None,
        };
        let verified = keyring
            .verify_cleartext(in_release, now)
            .map_err(|source| ReleaseError::Signature { url: url.to_owned(), source })?;
        let release = Self::parse(&verified.text, verified.signer, Sha256::of(in_release), url)?;
        match (validity, release.valid_until) {
            (Validity::At(now), Some(valid_until)) if now > valid_until => {
                Err(ReleaseError::Expired { url: url.to_owned(), valid_until, now })
            }
            _ => Ok(release),
        }
    }

    fn parse(text: &str, signer: String, digest: Sha256, url: &str) -> Result<Self, ReleaseError> {
        let paragraphs = control::parse(text).map_err(|error| malformed(url, error.to_string()))?;
        let [fields] = paragraphs.as_slice() else {
            return Err(malformed(url, "it is not one paragraph"));
        };
        let owned = |name: &str| fields.get(name).map(str::to_owned);
        let words = |name: &str| -> Vec<String> {
            fields.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let date_of = |name: &str| -> Result<Option<Timestamp>, ReleaseError> {
            fields
                .get(name)
                .map(|text| {
                    parse_date(text).ok_or_else(|| malformed(url, format!("`{name}: {text}` is not a date")))
                })
                .transpose()
        };
        let list = fields.get("SHA256").ok_or_else(|| malformed(url, "it has no SHA256 list"))?;
        let mut files = HashMap::new();
        for line in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut parts = line.split_whitespace();
            let entry = (|| {
                let sha256 = parts.next()?.parse().ok()?;
                let size = parts.next()?.parse().ok()?;
                Some((parts.next()?.to_owned(), ReleaseFile { sha256, size }))
            })();
            let (path, file) =
                entry.ok_or_else(|| malformed(url, format!("bad line in its SHA256 list: `{line}`")))?;
            files.insert(path, file);
        }
        Ok(Self {
            suite: owned("Suite"),
            codename: owned("Codename"),
            version: owned("Version"),
            origin: owned("Origin"),
            date: date_of("Date")?.ok_or_else(|| malformed(url, "it has no date"))?,
            valid_until: date_of("Valid-Until")?,
            acquire_by_hash: fields.get("Acquire-By-Hash") == Some("yes"),
            architectures: words("Architectures"),
            components: words("Components"),
            files,
            signer,
            digest,
        })
    }

    /// A mirror that answers with another suite's file, validly signed, is refused.
    fn check_suite(self, asked: &str, url: &str) -> Result<Self, ReleaseError> {
        let names = [self.suite.as_deref(), self.codename.as_deref()];
        // Security suites were called `<suite>/updates`; their files name the part before or after the slash.
        let matches = names.iter().flatten().any(|name| {
            *name == asked || asked.split('/').next() == Some(name) || name.split('/').next() == Some(asked)
        });
        if matches {
            return Ok(self);
        }
        let found = names.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(ReleaseError::OtherSuite { url: url.to_owned(), asked: asked.to_owned(), found })
    }

    /// The newest point in time that the release speaks of, as a snapshot service wants it.
    #[must_use]
    pub fn snapshot_time(&self) -> Timestamp {
        self.date
    }
}

/// Dates are written `Sat, 11 Jul 2026 10:16:37 UTC`; some archives write `+0000` or `GMT` for the zone.
fn parse_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let text = ["UTC", "GMT", "+0000", "Z"].iter().find_map(|zone| text.strip_suffix(zone))?.trim_end();
    let civil = strtime::parse("%a, %d %b %Y %H:%M:%S", text).ok()?.to_datetime().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let expected: Timestamp = "2026-07-11T10:16:37Z".parse().unwrap();
        assert_eq!(parse_date("Sat, 11 Jul 2026 10:16:37 UTC"), Some(expected));
        assert_eq!(parse_date("Sat, 11 Jul 2026 10:16:37 +0000"), Some(expected));
        assert_eq!(
            parse_date("Sat, 04 Jul 2026  1:00:00 GMT"),
            Some("2026-07-04T01:00:00Z".parse().unwrap())
        );
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn bad_lists_are_named() {
        let parse =
            |text: &str| Release::parse(text, String::new(), Sha256::of(b""), "u").unwrap_err().to_string();
        assert_eq!(parse("Suite: stable\n"), "`u`: it has no SHA256 list");
        assert_eq!(
            parse("Date: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n zz 3 main/x\n"),
            "`u`: bad line in its SHA256 list: `zz 3 main/x`"
        );
    }
}
