//! What travels between imgbuild, the helper and the sandbox's pid 1, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::{Exit, Outcome, StepFailure, Usage};
use super::{Limits, Network};

/// The work order. It may hold secrets: it is a file in memory, and is never written or shown. Descriptors travel beside it, in this order: the order itself (a memory file), the root's mount,
/// the step's standard input, then one mount for each of `binds`, then the emulator if there is one.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub workdir: String,
    pub user: String,
    pub network: WireNetwork,
    pub interactive: bool,
    pub merge_stderr: bool,
    pub allow_new_privileges: bool,
    pub binds: Vec<WireBind>,
    pub secrets: Vec<WireSecret>,
    pub limits: Limits,
    pub emulator: Option<WireEmulator>,
    /// The contents of the host's resolver files, where the step sees the network.
    pub resolver: Vec<ResolverFile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WireNetwork {
    None,
    Host,
    HostWithMetadata,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireBind {
    pub target: String,
    pub directory: bool,
}

/// A file of `/run/secrets`.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireSecret {
    pub name: String,
    pub contents: Vec<u8>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireEmulator {
    pub architecture: String,
    /// The line to write to binfmt_misc's `register`, without the interpreter's path.
    pub magic: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ResolverFile {
    /// Where it belongs, absolute.
    pub target: String,
    pub contents: String,
}

/// The helper's last word.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Ended(Outcome),
    Failed(StepFailure),
}

/// From pid 1 to the supervisor, one per packet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InitEvent {
    /// The descriptor beside it is the step's seccomp listener.
    Listener,
    Failed(StepFailure),
    Ended {
        exit: Exit,
        duration: Duration,
        usage: Usage,
    },
}

impl From<Network> for WireNetwork {
    fn from(network: Network) -> Self {
        match network {
            Network::None => Self::None,
            Network::Host { metadata: false } => Self::Host,
            Network::Host { metadata: true } => Self::HostWithMetadata,
        }
    }
}
