//! One command in one root, in fresh namespaces.
//!
//! ```text
//!   imgbuild ── control socket ──▶ imgbuild __sandbox (supervisor: host's namespaces)
//!                                     └─▶ pid 1 of the sandbox (init: reaps, forwards signals)
//!                                            └─▶ the command
//! ```
//!
//! [`Sandbox::spawn`] starts the helper, which is this program executed again, so that nothing forks a threaded
//! process. The control socket is the life line: when imgbuild ends, however it ends, the supervisor reads its end
//! and kills pid 1, and with it the kernel kills everything in the sandbox. Not here: how the root came to be
//! (`overlay`), what becomes of the changes (the tree crate), timeouts (the caller's, through [`StepKiller`]).

mod helper;
mod init;
mod metadata;
mod outcome;
mod passing;
mod root;
mod running;
mod seccomp;
mod step;
mod targets;
mod unix_connect;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use imgbuild_engine::secrets::NamedSecret;
use imgbuild_model::Secret;

pub use helper::helper_main;
pub use outcome::{Exit, Outcome, StepFailure, Usage};
pub use running::{OutputLine, RunningStep, Sandbox, SandboxError, StepKiller, Stream};

/// The first argument with which this program is the sandbox's helper.
pub const HELPER_ARGUMENT: &str = "__sandbox";

/// The search path of a step that declares none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run, and with what.
#[derive(Debug)]
pub struct SandboxSpec {
    /// The command and its arguments; a command without a slash is looked up in the step's `PATH`.
    pub arguments: Vec<String>,
    /// The declared environment. `PATH` and `HOME` have defaults, nothing else is added.
    pub environment: BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH` for the step, in seconds since 1970.
    pub source_date_epoch: Option<i64>,
    /// The working directory inside the root; it must exist.
    pub workdir: String,
    /// `user`, `user:group`, `uid` or `uid:gid`, looked up in the root's own files.
    pub user: String,
    /// What of the network there is.
    pub network: Network,
    /// What the command reads.
    pub stdin: Stdin,
    /// The command gets this process' own terminal, as a shell for a person does. Nothing is captured then.
    pub interactive: bool,
    /// Standard error goes where standard output goes, so that the order of lines is kept.
    pub merge_stderr: bool,
    /// Programs with set-user-id or capabilities may take them (`no_new_privs` is off).
    pub allow_new_privileges: bool,
    /// Host files and folders to show inside, read-only unless said otherwise.
    pub binds: Vec<Bind>,
    /// Files that the step alone may read in `/run/secrets`, and that its output is kept free of.
    pub secrets: Vec<NamedSecret>,
    /// Further variables that hold secrets.
    pub secret_environment: Vec<(String, Secret)>,
    /// Limits below those of this process.
    pub limits: Limits,
    /// Runs programs of another architecture.
    pub emulator: Option<crate::binfmt::Emulator>,
}

/// What of the network a step sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Network {
    /// A loopback interface of its own.
    #[default]
    None,
    /// The host's network and resolver.
    Host {
        /// The metadata services of clouds may be reached too.
        metadata: bool,
    },
}

/// What a step reads.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Stdin {
    /// Nothing.
    #[default]
    Null,
    /// These bytes.
    Bytes(Vec<u8>),
}

/// A host file or folder shown inside the root. Its target is made if missing, and unmade afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The host's path.
    pub source: PathBuf,
    /// The absolute path inside.
    pub target: String,
    /// Whether the step may write to it.
    pub writable: bool,
}

/// Resource limits. Each lowers what this process has; none can raise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Open files of a process; 1024 softly if not given.
    pub open_files: Option<u64>,
    /// Bytes of address space of a process.
    pub address_space: Option<u64>,
    /// Bytes of the largest file.
    pub file_size: Option<u64>,
    /// Seconds of CPU time of a process.
    pub cpu_seconds: Option<u64>,
}

impl SandboxSpec {
    /// A command as root in `/`, without network, that reads nothing.
    #[must_use]
    pub fn new(arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: BTreeMap::new(),
            source_date_epoch: None,
            workdir: "/".into(),
            user: "0:0".into(),
            network: Network::None,
            stdin: Stdin::Null,
            interactive: false,
            merge_stderr: false,
            allow_new_privileges: false,
            binds: Vec::new(),
            secrets: Vec::new(),
            secret_environment: Vec::new(),
            limits: Limits::default(),
            emulator: None,
        }
    }
}
