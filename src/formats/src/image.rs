//! An image as the writers here take it and the readers give it: plain values, of no format.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;

use crate::view::LayerSource;

/// What an image runs on, in OCI's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `riscv64`, ...: Go's names.
    pub architecture: String,
    /// `v7` for 32-bit ARM and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on `architecture`.
    #[must_use]
    pub fn linux(architecture: &str) -> Self {
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image for `self` is one that `wanted` asks for. `arm64` and `arm64/v8` are the same.
    #[must_use]
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let variant = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("arm64", Some("v8")) => None,
            (_, variant) => variant.map(str::to_owned),
        };
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || variant(self) == variant(wanted))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// How containers of an image run.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ImageConfig {
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// The program that always runs.
    pub entrypoint: Vec<String>,
    /// Its default arguments, or the default command.
    pub cmd: Vec<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty for root.
    pub user: String,
    /// The directory it runs in; empty for `/`.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `80/tcp` and the like.
    pub exposed_ports: BTreeSet<String>,
    /// Directories that get a volume.
    pub volumes: BTreeSet<String>,
    /// The signal that stops it.
    pub stop_signal: Option<String>,
}

/// A step of an image: one entry of its history.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// What it changed; `None` for a step that changed the configuration only.
    pub layer: Option<LayerSource<'a>>,
    /// What it was, as text for people.
    pub created_by: String,
}

/// One image for one platform.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// What it runs on.
    pub platform: Platform,
    /// How its containers run.
    pub config: ImageConfig,
    /// Its steps, the lowest first.
    pub steps: Vec<Step<'a>>,
    /// When it says it was made, in seconds since 1970.
    pub created: i64,
}

/// Which layers an exported image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LayerPolicy {
    /// One for each step that changed something.
    #[default]
    Steps,
    /// One.
    Squash,
    /// At most so many: the neighbours with the least in them are merged first.
    AtMost(NonZeroUsize),
}

/// How many layers an image may have: Docker mounts 127 at most, some of which engines add themselves.
pub(crate) const MAX_LAYERS: usize = 120;
