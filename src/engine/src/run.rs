//! A run as its callers see it: what it is given, how it is to be done, how it ended, and where what outlives it is kept.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use imgbuild_cache::{ActionResult, Cache};
use imgbuild_digest::Hash;
use imgbuild_model::EventSink;
use imgbuild_plan::{DiskFiles, KeyInputs, Plan};

use crate::secrets::{Fillings, SecretStore};
use crate::{ActionError, Builder, Cancel, Prompt, SharedExecutor};

/// Where the digest of each place's last log is kept.
pub const LOG_MEMO: &str = "log";
/// Where the state that a failed step left is kept, by target.
pub const FAILED_MEMO: &str = "failed";

/// The code behind each kind, and the builders.
#[derive(Clone)]
pub struct Registry {
    /// Where layers are made, by what they are called in keys.
    builders: HashMap<String, Arc<dyn Builder>>,
    /// By the kind's name.
    pub executors: HashMap<&'static str, SharedExecutor>,
}

impl Registry {
    /// Of these builders, and of this code by the kind's name.
    pub fn new(
        builders: impl IntoIterator<Item = Arc<dyn Builder>>,
        executors: HashMap<&'static str, SharedExecutor>,
    ) -> Self {
        let builders = builders.into_iter().map(|builder| (builder.key().to_owned(), builder)).collect();
        Self { builders, executors }
    }

    /// All builders, in no order.
    pub(crate) fn builders(&self) -> impl Iterator<Item = &Arc<dyn Builder>> {
        self.builders.values()
    }

    /// The builder that keys call so.
    #[must_use]
    pub fn builder(&self, key: &str) -> Option<&Arc<dyn Builder>> {
        self.builders.get(key)
    }
}

/// What becomes of a run's results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Results {
    /// They are kept, for this run and all others.
    #[default]
    Kept,
    /// They are of this run alone: nothing is looked up and nothing kept for others, and neither the history nor logs nor files
    /// outside the cache tell of it. What they point to stays until the run ends, and then until it is collected.
    ThrownAway,
}

/// Behind which steps machines are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checkpoints {
    /// Behind those that are worth it, or whose user says so.
    #[default]
    ByPolicy,
    /// Behind each that is not joined to the next.
    Everywhere,
}

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// `--jobs`.
    pub jobs: Option<NonZeroUsize>,
    /// `--keep-going`.
    pub keep_going: bool,
    /// What becomes of its results.
    pub results: Results,
    /// Behind which steps machines are kept.
    pub checkpoints: Checkpoints,
}

/// What to run, with all that it needs.
pub struct RunRequest {
    /// The graph, and what else the plan's keys were made from.
    pub keys: KeyInputs,
    /// What is to be done about each of its actions.
    pub plan: Plan,
    /// The workspace.
    pub files: DiskFiles,
    /// The cache.
    pub cache: Cache,
    /// The code.
    pub registry: Registry,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretStore>,
    /// What attributes hold marks in place of.
    pub fillings: Arc<Fillings>,
    /// Who is asked.
    pub prompt: Arc<dyn Prompt>,
    /// How.
    pub options: RunOptions,
    /// Seconds since 1970, for what is kept.
    pub now: i64,
    /// Ends the run.
    pub cancel: Cancel,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
}

/// An action that failed.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub place: usize,
    /// Why.
    pub error: ActionError,
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct RunReport {
    /// The result of each action that has one, by place; a step whose machine went on has none.
    pub results: HashMap<usize, Arc<ActionResult>>,
    /// How many ran.
    pub built: usize,
    /// How many had a result already.
    pub hits: usize,
    /// Those that failed.
    pub failures: Vec<Failure>,
    /// How many did not run.
    pub skipped: usize,
    /// The run's id.
    pub run: String,
    /// Whether it was cancelled.
    pub cancelled: bool,
}

/// The state that a failed step left.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct FailedState {
    /// Its layers.
    pub layers: Vec<imgbuild_tree::DeltaId>,
    /// What failed, in a few words.
    pub description: String,
    /// The state of the chain there.
    pub state: imgbuild_model::ChainState,
    /// The platform.
    pub platform: imgbuild_model::Platform,
}

/// What the state of a failed target is kept under.
#[must_use]
pub fn failed_memo_key(label: &imgbuild_model::Label) -> Hash {
    Hash::of(label.to_string().as_bytes())
}
