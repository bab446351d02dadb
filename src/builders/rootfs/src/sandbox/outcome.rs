//! How a step ended, as data: what the helper reports and the caller reads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the command itself ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// Whether it returned 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// The code a shell would show: 128 and the signal's number for a signal.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// What the command and its children took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time outside the kernel.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The largest resident set of any one process, in bytes.
    pub max_resident: u64,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How the command ended.
    pub exit: Exit,
    /// From the start of the command to its end.
    pub duration: Duration,
    /// What it took.
    pub usage: Usage,
    /// Paths inside the root, without a leading slash, over which something was mounted. What the upper folder holds
    /// there is not the step's work; those that had to be made were removed again.
    pub mount_targets: Vec<String>,
}

/// Why a command could not be started. Reported by the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum StepFailure {
    /// The command is not in the root.
    #[error("the command `{command}` is not in the image (searched `{path}`)")]
    CommandNotFound {
        /// What was to be run.
        command: String,
        /// Where it was looked for: the step's `PATH`, or the path given.
        path: String,
    },
    /// The command is there and cannot be executed.
    #[error("the command `{command}` cannot be executed: {reason}")]
    NotExecutable {
        /// What was to be run.
        command: String,
        /// The kernel's words, and what they mean here.
        reason: String,
    },
    /// The working directory is missing or not a directory.
    #[error("the working directory `{path}` cannot be entered: {reason}; make it with a `mkdir` step before")]
    Workdir {
        /// Where the command was to run.
        path: String,
        /// The kernel's words.
        reason: String,
    },
    /// The user is not in the root's `/etc/passwd`.
    #[error("the user `{name}` is not in the image's `/etc/passwd`; add it with a `user` step before")]
    UnknownUser {
        /// The name.
        name: String,
    },
    /// The group is not in the root's `/etc/group`.
    #[error("the group `{name}` is not in the image's `/etc/group`; add it with a `group` step before")]
    UnknownGroup {
        /// The name.
        name: String,
    },
    /// A place at which something must be mounted is of the wrong type, or cannot be made.
    #[error("cannot mount over `{path}` in the image: {reason}")]
    MountTarget {
        /// The path inside.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The kernel refuses a namespace.
    #[error(
        "the kernel refuses new namespaces for the step: {reason} (`user.max_*_namespaces` may be used up)"
    )]
    Namespaces {
        /// The kernel's words.
        reason: String,
    },
    /// The kernel refuses a private `/proc`.
    #[error(
        "the kernel refuses a private `/proc`: {reason}; in a container, parts of the outer one are masked (podman: `--security-opt unmask=ALL`, docker: `--security-opt systempaths=unconfined`)"
    )]
    Proc {
        /// The kernel's words.
        reason: String,
    },
    /// Emulation of another architecture could not be set up.
    #[error("cannot emulate `{architecture}`: {reason}")]
    Emulation {
        /// Which architecture.
        architecture: String,
        /// Why not.
        reason: String,
    },
    /// Anything else on the way.
    #[error("cannot {action}: {reason}")]
    System {
        /// What was being done, as an infinitive.
        action: String,
        /// The kernel's words.
        reason: String,
    },
}

impl StepFailure {
    /// For `map_err` on system calls.
    pub(crate) fn system<E: std::fmt::Display>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |error| Self::System { action: action.into(), reason: error.to_string() }
    }
}
