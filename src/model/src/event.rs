//! What happens during a run, as data. The command line renders it; nothing below prints.

use std::sync::Arc;
use std::time::Duration;

use imgbuild_digest::Hash;

/// An action of a run, by its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ActionId(pub u32);

/// Which of a process's outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It ran and its result is kept.
    Built,
    /// Its result was there already.
    Hit,
    /// It ran, and its output is the one known already: what depends on it need not run.
    Unchanged,
    /// It failed.
    Failed {
        /// Why, in one line.
        message: String,
    },
    /// It did not run because something before it failed or the run was cancelled.
    Skipped,
}

/// Something that happened. The JSON form is one object a line with the field `event`.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The plan is made and execution starts.
    RunStarted {
        /// Number of actions in the plan.
        actions: usize,
        /// How many of them have a result already.
        hits: usize,
        /// What the rest will take, in seconds, from recorded durations; absent where there are none.
        #[serde(skip_serializing_if = "Option::is_none")]
        estimate_seconds: Option<f64>,
    },
    /// An action starts.
    ActionStarted {
        /// Which.
        id: ActionId,
        /// The target it belongs to, with its platform.
        target: String,
        /// Its kind.
        kind: String,
        /// What it does, in a few words.
        description: String,
    },
    /// An action says how far it is, where that can be counted.
    Progress {
        /// Which.
        id: ActionId,
        /// What it is doing.
        message: Arc<str>,
        /// How much is done.
        done: u64,
        /// Of how much; 0 if unknown.
        total: u64,
    },
    /// A line of an action's output.
    Output {
        /// Which.
        id: ActionId,
        /// Standard output or error.
        stream: Stream,
        /// The line, without its end.
        line: String,
    },
    /// An attempt at an action failed, and the run goes on.
    Tried {
        /// Which.
        id: ActionId,
        /// Why.
        error: String,
        /// How many further attempts there are; none where the chain goes on from what the last one left.
        #[serde(skip_serializing_if = "Option::is_none")]
        left: Option<u64>,
    },
    /// An action ended.
    ActionFinished {
        /// Which.
        id: ActionId,
        /// The target it belongs to, with its platform.
        target: String,
        /// Its kind.
        kind: String,
        /// What it did, in a few words.
        description: String,
        /// Its key.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<Hash>,
        /// How it ended.
        #[serde(flatten)]
        outcome: Outcome,
        /// How long it took, in seconds.
        #[serde(serialize_with = "seconds")]
        duration: Duration,
    },
    /// A file or folder was written for the user.
    Artifact {
        /// The target.
        target: String,
        /// Where it was written.
        path: String,
        /// What it is, by the kind of export.
        kind: String,
        /// Its digest.
        digest: String,
        /// Its size in bytes.
        size: u64,
    },
    /// Something that the user should know.
    Warning {
        /// What.
        message: String,
    },
    /// Another process builds the same key; this one waits for it.
    Waiting {
        /// Which.
        id: ActionId,
        /// The target that it belongs to.
        target: String,
        /// For what.
        message: String,
    },
    /// The run ended.
    RunFinished {
        /// Whether everything asked for is there.
        success: bool,
        /// How many actions ran.
        built: usize,
        /// How many had a result already.
        hits: usize,
        /// How many failed.
        failed: usize,
        /// How many did not run.
        skipped: usize,
        /// How long the run took, in seconds.
        #[serde(serialize_with = "seconds")]
        duration: Duration,
    },
}

/// Where events go. Called from many threads; must not block for long.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> EventSink for F {
    fn emit(&self, event: Event) {
        self(event);
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// What is said of an attempt that failed: see [`Event::Tried`].
#[must_use]
pub fn tried_line(error: &str, left: Option<u64>) -> String {
    match left {
        None => format!("it failed ({error}); `continue_on_error` is set, so the chain goes on"),
        Some(1) => format!("it failed ({error}); 1 try left"),
        Some(left) => format!("it failed ({error}); {left} tries left"),
    }
}
