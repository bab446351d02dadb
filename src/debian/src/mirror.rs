//! Where the files of an archive are: mirrors in order, then the snapshot service for what mirrors have dropped.
//!
//! Mirrors are places, never identities: nothing here may enter a key or a lock file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::Url;

use crate::sources::base_url;

/// The mirror used when neither the user nor the host names one.
pub const DEFAULT_MIRROR: &str = "http://ftp.debian.org/debian/";
/// Where every version that Debian ever published can still be found.
pub const DEFAULT_SNAPSHOT: &str = "http://snapshot.debian.org/";

/// The places of one distribution's archives, given by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrors {
    /// Base addresses of the main archive (they hold `dists/` and `pool/`), tried in order.
    pub primary: Vec<Url>,
    /// Mirrors of further archives by name, for example `debian-security`; see [`crate::lock::LockedPackage::archive`].
    pub others: BTreeMap<String, Vec<Url>>,
    /// Base of a snapshot service: files are at `archive/<archive>/<timestamp>/<path>` under it.
    pub snapshot: Option<Url>,
    /// The main archive's name at the snapshot service.
    pub archive: String,
}

impl Mirrors {
    /// Debian's own hosts.
    #[must_use]
    pub fn debian() -> Self {
        Self::new(base_url(DEFAULT_MIRROR).into_iter().collect()).with_snapshot(base_url(DEFAULT_SNAPSHOT))
    }

    /// Mirrors of one archive called `debian`, without a snapshot service.
    #[must_use]
    pub fn new(primary: Vec<Url>) -> Self {
        Self { primary, others: BTreeMap::new(), snapshot: None, archive: "debian".to_owned() }
    }

    /// The same mirrors with another snapshot service.
    #[must_use]
    pub fn with_snapshot(self, snapshot: Option<Url>) -> Self {
        Self { snapshot, ..self }
    }

    /// The same mirrors with those of a further archive.
    #[must_use]
    pub fn with_archive(mut self, name: impl Into<String>, mirrors: Vec<Url>) -> Self {
        self.others.insert(name.into(), mirrors);
        self
    }

    /// The mirrors of an archive; `None` means the main one.
    #[must_use]
    pub fn of(&self, archive: Option<&str>) -> &[Url] {
        match archive {
            None => &self.primary,
            Some(name) if name == self.archive => &self.primary,
            Some(name) => self.others.get(name).map_or(&[], Vec::as_slice),
        }
    }

    /// Addresses at the snapshot service at which a file of an archive should be found that was published at `at`.
    ///
    /// The service imports an archive a few times a day and answers a time with the last import before it, so a file
    /// that was new at `at` appears only in a later import.
    #[must_use]
    pub fn snapshots(&self, archive: Option<&str>, at: Timestamp, path: &str) -> Vec<Url> {
        let Some(base) = &self.snapshot else { return Vec::new() };
        let archive = archive.unwrap_or(&self.archive);
        [0, 12, 48]
            .iter()
            .filter_map(|hours| {
                let at = at.checked_add(jiff::SignedDuration::from_hours(*hours)).ok()?;
                base.join(&format!("archive/{archive}/{}/{path}", at.strftime("%Y%m%dT%H%M%SZ"))).ok()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_addresses() {
        let mirrors = Mirrors::debian();
        let at: Timestamp = "2026-07-11T10:16:37Z".parse().unwrap();
        let urls = mirrors.snapshots(None, at, "pool/main/a/a/a_1_amd64.deb");
        assert_eq!(
            urls[0].as_str(),
            "http://snapshot.debian.org/archive/debian/20260711T101637Z/pool/main/a/a/a_1_amd64.deb"
        );
        assert!(urls[2].as_str().contains("/20260713T101637Z/"));
        assert_eq!(mirrors.of(Some("debian")), mirrors.primary);
        assert!(mirrors.of(Some("debian-security")).is_empty());
    }
}
