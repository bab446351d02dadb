//! What happens in a run of builds.

use std::time::Duration;

/// A build of a run: its place in the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(pub(super) usize);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The run begins.
    Started {
        /// Whether with `-debug`.
        debug: bool,
    },
    /// Something to say about a build.
    Say {
        /// Which.
        build: BuildId,
        /// One or more lines.
        text: String,
    },
    /// Something that went wrong in a build, without being its end.
    Error {
        /// Which.
        build: BuildId,
        /// One or more lines.
        text: String,
    },
    /// What a command wrote, on the machine or beside it.
    Remote {
        /// Of which build.
        build: BuildId,
        /// Where it wrote.
        stream: Stream,
        /// One or more lines.
        text: String,
    },
    /// There is a pause.
    Pausing {
        /// Which build pauses.
        build: BuildId,
        /// For how long.
        duration: Duration,
    },
    /// The next provisioner must end in time.
    Timeout {
        /// Of which build.
        build: BuildId,
        /// Within which time.
        duration: Duration,
    },
    /// A provisioner failed and runs again.
    Retrying {
        /// Of which build.
        build: BuildId,
        /// Why it failed.
        error: String,
        /// How many times it may run after that.
        left: u64,
    },
    /// A provisioner failed for the last time.
    RetriesUsedUp {
        /// Of which build.
        build: BuildId,
    },
    /// A provisioner failed, and the build goes on (`continue_on_error`).
    Continuing {
        /// Of which build.
        build: BuildId,
        /// Why it failed.
        error: String,
    },
    /// Provisioning failed, and the provisioner for that case runs if there is one.
    CleanupProvisioner {
        /// Of which build.
        build: BuildId,
    },
    /// A step was taken from the cache. Such events in a row become one line.
    Cached {
        /// Of which build.
        build: BuildId,
        /// The step, as the template calls it: `shell-local`.
        step: String,
        /// How long ago it ran, if that is known.
        age: Option<Duration>,
    },
    /// Something that a post-processor says.
    PostProcessor {
        /// Of which build.
        build: BuildId,
        /// Its type.
        kind: String,
        /// Where it says it.
        stream: Stream,
        /// One or more lines.
        text: String,
    },
    /// A build ended: with its artifacts (`None` for one that is nothing), or with why it failed.
    BuildFinished {
        /// Which.
        build: BuildId,
        /// How long it took.
        duration: Duration,
        /// What came out.
        result: Result<Vec<Option<Artifact>>, String>,
    },
    /// The user wants it to end.
    Interrupted {
        /// How that was said.
        signal: Signal,
    },
    /// All builds have ended.
    Finished {
        /// How long all took.
        duration: Duration,
        /// Whether they were cancelled.
        cancelled: bool,
    },
}

/// Where a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error: shown like the other, in red.
    Error,
}

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`.
    Terminate,
}

/// What a build or a post-processor made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifact {
    /// What made it: `packer.file`.
    pub builder_id: String,
    /// Its identity among those: an image's, a file's.
    pub id: String,
    /// What it is, for people.
    pub text: String,
    /// The files that it consists of.
    pub files: Vec<String>,
}

impl Event {
    /// The build that it is of.
    pub(super) fn build(&self) -> Option<BuildId> {
        match self {
            Self::Started { .. } | Self::Interrupted { .. } | Self::Finished { .. } => None,
            Self::Say { build, .. }
            | Self::Error { build, .. }
            | Self::Remote { build, .. }
            | Self::Pausing { build, .. }
            | Self::Timeout { build, .. }
            | Self::Retrying { build, .. }
            | Self::RetriesUsedUp { build }
            | Self::Continuing { build, .. }
            | Self::CleanupProvisioner { build }
            | Self::Cached { build, .. }
            | Self::PostProcessor { build, .. }
            | Self::BuildFinished { build, .. } => Some(*build),
        }
    }
}
