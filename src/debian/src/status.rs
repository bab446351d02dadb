//! dpkg's status file: what is installed in a root. Reading for the resolver and for `unpack`, which writes it back.

use crate::Version;
use crate::control::{self, ControlError, Paragraph};
use crate::index::MultiArch;
use crate::lock::dpkg_id;

/// How far dpkg got with a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageStatus {
    /// Nothing of it is there.
    NotInstalled,
    /// Only its configuration files are there.
    ConfigFiles,
    /// Its unpacking was interrupted.
    HalfInstalled,
    /// Its files are there, its `postinst` has not run.
    Unpacked,
    /// Its `postinst` failed.
    HalfConfigured,
    /// It waits for another package's trigger.
    TriggersAwaited,
    /// It has triggers to process.
    TriggersPending,
    /// It is installed.
    Installed,
}

impl PackageStatus {
    fn parse(word: &str) -> Self {
        match word {
            "config-files" => Self::ConfigFiles,
            "half-installed" => Self::HalfInstalled,
            "unpacked" => Self::Unpacked,
            "half-configured" => Self::HalfConfigured,
            "triggers-awaited" => Self::TriggersAwaited,
            "triggers-pending" => Self::TriggersPending,
            "installed" => Self::Installed,
            _ => Self::NotInstalled,
        }
    }

    /// Whether its files are there, which is what a resolver asks.
    #[must_use]
    pub fn is_unpacked(self) -> bool {
        !matches!(self, Self::NotInstalled | Self::ConfigFiles | Self::HalfInstalled)
    }

    /// Whether its `postinst` has run.
    #[must_use]
    pub fn is_configured(self) -> bool {
        matches!(self, Self::TriggersAwaited | Self::TriggersPending | Self::Installed)
    }
}

/// One package of a status file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: Version,
    /// Architecture, `all` included.
    pub architecture: String,
    /// `Multi-Arch`.
    pub multi_arch: MultiArch,
    /// How far dpkg got.
    pub status: PackageStatus,
    /// Every field as written.
    pub paragraph: Paragraph,
}

impl InstalledPackage {
    /// dpkg's name for it in `info/`.
    #[must_use]
    pub fn id(&self) -> String {
        dpkg_id(&self.name, &self.architecture, self.multi_arch)
    }
}

/// What a root has installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// All packages of the status file in its order.
    pub packages: Vec<InstalledPackage>,
}

impl State {
    /// A root without packages.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the text of `/var/lib/dpkg/status`.
    pub fn parse(text: &str) -> Result<Self, ControlError> {
        let packages = control::parse(text)?.into_iter().filter_map(|paragraph| {
            let word =
                paragraph.get("Status").and_then(|s| s.split_whitespace().nth(2)).unwrap_or("not-installed");
            Some(InstalledPackage {
                name: paragraph.get("Package")?.to_owned(),
                version: Version::new(paragraph.get("Version").unwrap_or_default()),
                architecture: paragraph.get("Architecture").unwrap_or_default().to_owned(),
                multi_arch: MultiArch::parse(paragraph.get("Multi-Arch").unwrap_or_default()),
                status: PackageStatus::parse(word),
                paragraph,
            })
        });
        Ok(Self { packages: packages.collect() })
    }

    /// The text of a status file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for package in &self.packages {
            package.paragraph.write(&mut out);
            out.push('\n');
        }
        out
    }

    /// Packages whose files are there.
    pub fn unpacked(&self) -> impl Iterator<Item = &InstalledPackage> {
        self.packages.iter().filter(|package| package.status.is_unpacked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let text = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\n\n\
                    Package: b\nStatus: deinstall ok config-files\nVersion: 2\nArchitecture: all\n\n";
        let state = State::parse(text).unwrap();
        assert_eq!(state.to_text(), text);
        assert_eq!(state.unpacked().map(InstalledPackage::id).collect::<Vec<_>>(), ["a:amd64"]);
    }
}
