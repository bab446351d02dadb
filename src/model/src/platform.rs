//! Target platforms and configurations.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use imgbuild_digest::{ContentHash, ContentHasher};

/// A processor architecture, by the name that OCI (that is, Go) gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
    /// 32-bit ARM with hardware floating point.
    Arm,
    /// 32-bit x86.
    I386,
    /// 64-bit little-endian POWER.
    Ppc64le,
    /// 64-bit RISC-V.
    Riscv64,
    /// IBM Z.
    S390x,
}

/// What an image is for: operating system and architecture. `Display` writes `linux/amd64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// The architecture; the operating system is Linux.
    pub architecture: Architecture,
}

/// What a target is analyzed for: a platform and the `-D` flags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Configuration {
    /// The target platform.
    pub platform: Platform,
    /// `-D key=value`.
    pub flags: Arc<BTreeMap<String, String>>,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform; known are {list}", list = Platform::list())]
pub struct PlatformError(pub String);

impl Architecture {
    /// Each architecture.
    pub const ALL: [Self; 7] =
        [Self::Amd64, Self::Arm64, Self::Arm, Self::I386, Self::Ppc64le, Self::Riscv64, Self::S390x];

    /// OCI's name: `amd64`, `arm64`, `arm`, `386`, `ppc64le`, `riscv64`, `s390x`.
    #[must_use]
    pub fn oci_name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::Arm => "arm",
            Self::I386 => "386",
            Self::Ppc64le => "ppc64le",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
        }
    }

    /// Debian's name: `amd64`, `arm64`, `armhf`, `i386`, `ppc64el`, `riscv64`, `s390x`.
    #[must_use]
    pub fn debian_name(self) -> &'static str {
        match self {
            Self::Arm => "armhf",
            Self::I386 => "i386",
            Self::Ppc64le => "ppc64el",
            other => other.oci_name(),
        }
    }

    /// The architecture of the machine that this program was compiled for.
    #[must_use]
    pub fn host() -> Self {
        match std::env::consts::ARCH {
            "aarch64" => Self::Arm64,
            "arm" => Self::Arm,
            "x86" => Self::I386,
            "powerpc64" => Self::Ppc64le,
            "riscv64" => Self::Riscv64,
            "s390x" => Self::S390x,
            _ => Self::Amd64,
        }
    }
}

impl Platform {
    /// The platform of the machine that this program was compiled for.
    #[must_use]
    pub fn host() -> Self {
        Self { architecture: Architecture::host() }
    }

    fn list() -> String {
        Architecture::ALL.map(|architecture| format!("`{}`", Self { architecture })).join(", ")
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture.oci_name())
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `linux/ARCH` or `ARCH`, with OCI's, Debian's or the kernel's name of the architecture.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix("linux/").unwrap_or(text);
        let name = match name {
            "x86_64" => "amd64",
            "aarch64" | "arm64/v8" => "arm64",
            "arm/v7" => "arm",
            other => other,
        };
        Architecture::ALL
            .into_iter()
            .find(|architecture| architecture.oci_name() == name || architecture.debian_name() == name)
            .map(|architecture| Self { architecture })
            .ok_or_else(|| PlatformError(text.to_owned()))
    }
}

impl ContentHash for Platform {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self { architecture } = self;
        "linux".content_hash(hasher);
        architecture.oci_name().content_hash(hasher);
    }
}

impl serde::Serialize for Platform {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Platform {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_has_one_spelling_and_reads_several() {
        for text in ["linux/arm64", "arm64", "aarch64", "linux/aarch64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), "linux/arm64");
        }
        assert_eq!("armhf".parse::<Platform>().unwrap().to_string(), "linux/arm");
        let error = "vax".parse::<Platform>().unwrap_err().to_string();
        assert!(error.contains("`vax` is not a platform") && error.contains("`linux/amd64`"), "{error}");
    }
}
