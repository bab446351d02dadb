//! What a lock file keeps of a resolution: for every package its version, digest and size. Mirrors never enter.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::index::{MultiArch, PackageRecord};
use crate::solve::Solution;
use crate::{Sha256, Version};

/// One package, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Name.
    pub name: String,
    /// Version as the archive writes it.
    pub version: Version,
    /// Architecture, `all` included.
    pub architecture: String,
    /// SHA-256 of the `.deb` file.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Its path under a mirror's base.
    pub filename: String,
    /// The archive it is in, where that is not the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// The source package and version, where they differ from the binary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl LockedPackage {
    /// `name_version_arch`, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}_{}_{}", self.name, self.version, self.architecture)
    }
}

impl From<&PackageRecord> for LockedPackage {
    fn from(record: &PackageRecord) -> Self {
        Self {
            name: record.name.clone(),
            version: record.version.clone(),
            architecture: record.architecture.clone(),
            sha256: record.sha256,
            size: record.size,
            filename: record.filename.clone(),
            archive: record.archive.clone(),
            source: record.source.clone(),
        }
    }
}

/// A whole resolution, pinned: what is unpacked, batch after batch, and what is removed before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedClosure {
    /// When the archive was in this state: tells a snapshot service where dropped files are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// Installed packages to be removed first, by dpkg's name for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Packages in the order in which they are unpacked; each batch is configured before the next is unpacked.
    pub batches: Vec<Vec<LockedPackage>>,
}

impl LockedClosure {
    /// Pins a resolution.
    #[must_use]
    pub fn new(solution: &Solution, date: Option<Timestamp>) -> Self {
        Self {
            date,
            remove: solution.remove.iter().map(|removed| removed.id.clone()).collect(),
            batches: solution
                .batches
                .iter()
                .map(|batch| batch.iter().map(LockedPackage::from).collect())
                .collect(),
        }
    }

    /// All packages in unpack order.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.batches.iter().flatten()
    }

    /// Sum of the files' sizes in bytes.
    #[must_use]
    pub fn download_size(&self) -> u64 {
        self.packages().map(|package| package.size).sum()
    }
}

/// dpkg's name for a package in its own files: with the architecture when several may be installed at once.
pub(crate) fn dpkg_id(name: &str, architecture: &str, multi_arch: MultiArch) -> String {
    if multi_arch == MultiArch::Same { format!("{name}:{architecture}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_stable() {
        let closure = LockedClosure {
            date: Some("2026-07-11T10:16:37Z".parse().unwrap()),
            remove: Vec::new(),
            batches: vec![vec![LockedPackage {
                name: "a".into(),
                version: Version::new("1:2-3"),
                architecture: "amd64".into(),
                sha256: Sha256::of(b"abc"),
                size: 3,
                filename: "pool/a.deb".into(),
                archive: None,
                source: None,
            }]],
        };
        let text = serde_json::to_string(&closure).unwrap();
        assert_eq!(
            text,
            r#"{"date":"2026-07-11T10:16:37Z","batches":[[{"name":"a","version":"1:2-3","architecture":"amd64","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3,"filename":"pool/a.deb"}]]}"#
        );
        assert_eq!(serde_json::from_str::<LockedClosure>(&text).unwrap(), closure);
        assert!(serde_json::from_str::<LockedClosure>(r#"{"batches":[],"mirror":"x"}"#).is_err());
    }
}
