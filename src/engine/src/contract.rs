//! What builders, sessions and the code behind each kind agree on.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use imgbuild_cache::{OutputFile, Run};
use imgbuild_digest::{ContentHash, ContentHasher, Hash};
use imgbuild_model::{Attributes, ChainState, Class, Diagnostic, Platform, Secret, Stream, with_causes};
use imgbuild_tree::DeltaId;

use crate::ActionContext;
use crate::connection::ConnectionFacts;
use crate::run::Results;
use crate::secrets::NamedSecret;

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// A command of the user's ended with another code than it should.
    #[error("{what} ended with exit code {code}")]
    ExitCode {
        /// What ran.
        what: String,
        /// How it ended.
        code: i32,
    },
    /// A command of the user's was ended by a signal.
    #[error("{what} was ended by signal {signal}")]
    Signal {
        /// What ran.
        what: String,
        /// Which signal.
        signal: i32,
    },
    /// It ran out of the time that it was given.
    #[error("it took longer than its `timeout` of {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The run was cancelled.
    #[error("it was cancelled")]
    Cancelled,
    /// The machine went away while a command ran in it: what it did until then is not known.
    #[error("{0}")]
    MachineLost(Box<Diagnostic>),
    /// Checks failed.
    #[error("{failed} of {total} checks failed")]
    Checks {
        /// How many failed.
        failed: usize,
        /// Of how many.
        total: usize,
    },
    /// Anything else, with what to do about it.
    #[error("{0}")]
    Other(Box<Diagnostic>),
}

/// What the user can do when the disk is full.
pub const FREE_SPACE: &str = "free some space, for example with `imgbuild cache gc`";

impl ActionError {
    /// An error of this machine with all that caused it; a full disk is recognised wherever it stands among the causes.
    #[must_use]
    pub fn caused_by(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = std::iter::successors(Some(error), |error| error.source());
        let is_full = |error: &(dyn std::error::Error + 'static)| {
            error.downcast_ref::<std::io::Error>().is_some_and(is_disk_full)
        };
        let full = chain.any(is_full).then(|| FREE_SPACE.to_owned());
        Diagnostic::error(with_causes(error)).class(Class::Environment).maybe_hint(full).into()
    }

    /// The same failure, of an action that ran out of space: whatever it says, that is what the user has to mend.
    #[must_use]
    pub fn on_full_disk(self) -> Self {
        match self {
            Self::Cancelled | Self::Checks { .. } => self,
            Self::Other(diagnostic) if diagnostic.class == Class::Bug => Self::Other(diagnostic),
            Self::Other(diagnostic) if diagnostic.hint.as_deref() == Some(FREE_SPACE) => {
                Self::Other(diagnostic)
            }
            Self::Other(mut diagnostic) => {
                diagnostic.message.push_str("; no space is left on the disk of the cache");
                Self::Other(Box::new(diagnostic.class(Class::Environment).hint(FREE_SPACE)))
            }
            other => Self::environment(format!("{other}; no space is left on the disk of the cache"))
                .hint(FREE_SPACE),
        }
    }

    /// An error of the user's input.
    #[must_use]
    pub fn input(message: impl Into<String>) -> Self {
        Self::Other(Box::new(Diagnostic::error(message)))
    }

    /// An error of the machine that the program runs on.
    #[must_use]
    pub fn environment(message: impl Into<String>) -> Self {
        Self::Other(Box::new(Diagnostic::error(message).class(Class::Environment)))
    }

    /// The same with a hint; errors that carry no diagnostic are left as they are.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Other(diagnostic) => Self::Other(Box::new(diagnostic.hint(hint))),
            Self::MachineLost(diagnostic) => Self::MachineLost(Box::new(diagnostic.hint(hint))),
            other => other,
        }
    }

    /// Who must act.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Other(diagnostic) | Self::MachineLost(diagnostic) => diagnostic.class,
            _ => Class::Input,
        }
    }

    /// Whether another try could end in another way.
    #[must_use]
    pub fn is_worth_a_retry(&self) -> bool {
        !matches!(self, Self::Cancelled) && self.class() != Class::Bug
    }

    /// Whether a state was left that a shell could be opened in.
    #[must_use]
    pub fn left_a_state(&self) -> bool {
        matches!(self, Self::ExitCode { .. } | Self::Signal { .. } | Self::TimedOut(_))
    }
}

impl From<Diagnostic> for ActionError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Other(Box::new(diagnostic))
    }
}

impl From<imgbuild_cache::Error> for ActionError {
    fn from(error: imgbuild_cache::Error) -> Self {
        let full = error.is_disk_full();
        let error = Self::environment(format!("the cache failed: {error}"));
        if full { error.hint(FREE_SPACE) } else { error }
    }
}

/// Whether a disk, or what a user may have of it, is full.
fn is_disk_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl From<std::io::Error> for ActionError {
    fn from(error: std::io::Error) -> Self {
        let full = is_disk_full(&error);
        let error = Self::environment(error.to_string());
        if full { error.hint(FREE_SPACE) } else { error }
    }
}

/// What an action made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For a layer: all its deltas, the lowest first.
    pub layers: Vec<DeltaId>,
    /// For a layer: what is known of it besides its files.
    pub layer: Option<LayerMetadata>,
    /// For files: what came out, by declared name (and path below it, for folders).
    pub files: Vec<OutputFile>,
    /// Where its machine was not kept: what the layers lack is in there.
    pub passed_on: Option<PassedOn>,
}

/// A machine that waits for the next step of its chain with what no layer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOn {
    /// Which.
    pub machine: MachineId,
    /// Why it was not kept.
    pub why: String,
    /// How long it took to do what no layer has.
    pub worth: Duration,
}

/// A machine that waits, by a number that its builder gives no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MachineId(pub u64);

/// An artifact of a build that another program carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DelegatedArtifact {
    /// What made it.
    pub builder_id: String,
    /// Its identity where it lives.
    pub id: String,
    /// What it is, for people.
    pub description: String,
    /// Its files, relative to the folder of the build, with the digests of those that are regular files.
    pub files: Vec<(String, Option<String>)>,
}

/// What is known of a layer besides its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LayerMetadata {
    /// The deltas that each action of the chain added, from the source on; empty for an action that changed nothing.
    pub steps: Vec<Vec<DeltaId>>,
    /// The configuration that the source brought.
    #[serde(default)]
    pub base: ChainState,
    /// `SOURCE_DATE_EPOCH` of the chain, in seconds since 1970.
    pub source_date: i64,
    /// What the source was, for provenance: a name and a digest.
    #[serde(default)]
    pub materials: Vec<(String, String)>,
}

/// A layer made real: what a machine starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Its deltas, the lowest first.
    pub layers: Vec<DeltaId>,
    /// The machine of this run that has what they lack, where it was not kept.
    pub machine: Option<MachineId>,
}

impl Snapshot {
    /// Of layers that are all of it.
    #[must_use]
    pub fn of(layers: Vec<DeltaId>) -> Self {
        Self { layers, machine: None }
    }
}

/// What a machine is to be.
#[derive(Clone)]
pub struct MachineSpec {
    /// The image's platform.
    pub platform: Platform,
    /// `SOURCE_DATE_EPOCH`: no file that is captured is younger, in seconds since 1970.
    pub source_date: i64,
    /// The run that it belongs to: what it leaves behind goes with it.
    pub run: Arc<Run>,
    /// Which chain of the run it is for: steps of one may be given one machine.
    pub chain: String,
    /// The attributes of the chain's source, with what is sensitive in them.
    pub source: Attributes,
    /// The files that attributes of the source name, by attribute.
    pub files: BTreeMap<Arc<str>, Vec<PathBuf>>,
    /// Whether the step that it is for puts something sensitive into it.
    pub sensitive: bool,
    /// What becomes of its results: where they are thrown away it starts from layers alone, and leaves nothing else.
    pub results: Results,
    /// Who hears what becomes of it.
    pub told: Told,
}

/// Who hears, line by line, what becomes of a machine while it starts and ends.
#[derive(Clone)]
pub struct Told(Arc<dyn Fn(&str) + Send + Sync>);

impl Told {
    /// This one.
    pub fn new(hears: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hears))
    }

    /// Nobody.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(|_| {})
    }

    /// Says a line.
    pub fn line(&self, line: &str) {
        (self.0)(line);
    }
}

/// A command to run in a machine.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment, but for what the machine must add (`HOME`, `PATH` if absent).
    pub env: BTreeMap<String, String>,
    /// Who runs it, as `user`, `user:group` or numbers; root if absent.
    pub user: Option<String>,
    /// Where it runs; `/` if absent.
    pub workdir: Option<String>,
    /// What it reads; nothing if absent.
    pub stdin: Option<Vec<u8>>,
    /// Whether it may use the network.
    pub network: bool,
    /// Whether it may reach metadata addresses.
    pub metadata: bool,
    /// Whether set-user-id bits count.
    pub new_privileges: bool,
    /// Folders and files of the host that it sees, read-only unless said otherwise.
    pub binds: Vec<Bind>,
    /// What it finds in `/run/secrets`: masked in its output, and in no layer that it leaves.
    pub secrets: Vec<NamedSecret>,
    /// Further variables that hold secrets, by name; the values are those of `secrets`.
    pub secret_env: Vec<(String, Secret)>,
    /// Whether it has the terminal: its streams are those of this process and `on_line` is not called.
    pub interactive: bool,
}

/// A folder or file of the host inside a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the machine: an absolute path.
    pub target: String,
    /// Whether the machine may write to it.
    pub writable: bool,
    /// Whether it stays, where it had to be copied into the machine.
    pub leave: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// An error unless it is code 0.
    ///
    /// # Errors
    /// [`ActionError::ExitCode`] or [`ActionError::Signal`], naming `what`.
    pub fn success(self, what: &str) -> Result<(), ActionError> {
        match self {
            Self::Code(0) => Ok(()),
            Self::Code(code) => Err(ActionError::ExitCode { what: what.to_owned(), code }),
            Self::Signal(signal) => Err(ActionError::Signal { what: what.to_owned(), signal }),
        }
    }

    /// An error unless it is one of these codes; 0 alone if there are none.
    ///
    /// # Errors
    /// As [`Self::success`].
    pub fn among(self, valid: &[i64], what: &str) -> Result<(), ActionError> {
        match self {
            Self::Code(0) if !valid.is_empty() && !valid.contains(&0) => {
                Err(ActionError::ExitCode { what: what.to_owned(), code: 0 })
            }
            Self::Code(code) if valid.contains(&i64::from(code)) => Ok(()),
            other => other.success(what),
        }
    }
}

/// Takes each line of a command's output, without its end.
pub type OnLine<'a> = &'a mut (dyn FnMut(Stream, &str) + Send);

/// A change of files that needs no process of the machine's own.
#[derive(Clone, Debug)]
pub enum FileOperation {
    /// A file with these contents, in place of what is there.
    Write {
        /// An absolute path in the machine; below the home of who is logged in, where it begins with `~/`.
        path: String,
        /// What it holds.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// `user:group` by names or numbers.
        owner: String,
    },
    /// A file of the host, in place of what is there.
    CopyFile {
        /// On the host.
        source: PathBuf,
        /// An absolute path in the machine.
        path: String,
        /// Permission bits.
        mode: u32,
        /// `user:group`.
        owner: String,
    },
    /// The contents of a folder of the host into one of the machine.
    CopyTree {
        /// On the host.
        source: PathBuf,
        /// An absolute path in the machine.
        path: String,
        /// Permission bits of files; 0644, or 0755 where the owner may execute, if absent.
        mode: Option<u32>,
        /// `user:group`.
        owner: String,
    },
    /// A folder, and those above it.
    MakeDirectory {
        /// An absolute path in the machine.
        path: String,
        /// Permission bits.
        mode: u32,
        /// `user:group`.
        owner: String,
    },
    /// A symbolic link, in place of a file or link that is there.
    Symlink {
        /// What it says.
        target: String,
        /// An absolute path in the machine.
        path: String,
        /// `user:group`.
        owner: String,
    },
    /// What matches, with all below it.
    Remove {
        /// An absolute path in the machine; may be a glob.
        path: String,
        /// Whether it is well if nothing matches.
        missing_ok: bool,
    },
    /// Files out of another image.
    CopyFrom {
        /// The other image.
        from: Snapshot,
        /// An absolute path there; may be a glob.
        source: String,
        /// An absolute path in the machine; with a trailing `/`, the folder that receives them.
        path: String,
        /// `user:group`; as there if absent.
        owner: Option<String>,
    },
    /// A user account.
    AddUser(UserSpec),
    /// A group.
    AddGroup {
        /// Its name.
        name: String,
        /// Its number.
        gid: Option<u32>,
        /// Who is in it.
        members: Vec<String>,
        /// Whether it is a service's.
        system: bool,
    },
    /// Enables, disables or masks a unit of systemd, after writing its file if there is one.
    Unit {
        /// Its name.
        name: String,
        /// Its text.
        content: Option<Vec<u8>>,
        /// What to do with it.
        state: UnitState,
    },
    /// Removes what belongs to one machine and not to an image; a machine that runs is switched off then.
    Seal,
    /// Switches the machine off.
    PowerOff,
}

/// A user account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSpec {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: Option<u32>,
    /// Its primary group; one of its own name if absent.
    pub group: Option<String>,
    /// Further groups.
    pub groups: Vec<String>,
    /// Its home.
    pub home: Option<String>,
    /// Whether the home is made; as `not system` if absent.
    pub create_home: Option<bool>,
    /// Its login shell.
    pub shell: Option<String>,
    /// The full name or purpose.
    pub comment: String,
    /// Whether it is a service's.
    pub system: bool,
}

/// What to do with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// Started at boot.
    Enabled,
    /// Not started at boot.
    Disabled,
    /// Never started.
    Masked,
}

/// Where layers are made.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Its name with its version, as it enters keys: `rootfs/1`.
    fn key(&self) -> &str;

    /// Starts a copy of a snapshot.
    ///
    /// # Errors
    /// If this machine does not allow it; the message says what to switch on.
    async fn start(&self, from: &Snapshot, spec: &MachineSpec) -> Result<Box<dyn Machine>, ActionError>;

    /// Ends a machine that waits in a run, by the run's id, for a step that need not be carried out.
    async fn let_go(&self, run: &str, machine: MachineId) {
        let _ = (run, machine);
    }

    /// Ends what it holds ready for further steps of a run that is over, by the run's id.
    async fn run_ended(&self, run: &str) {
        let _ = run;
    }
}

/// One running, or entered, copy of a snapshot.
#[async_trait]
pub trait Machine: Send {
    /// The way to it.
    fn session(&mut self) -> &mut dyn Session;

    /// Ends it and keeps what changed as a layer; nothing is added where nothing changed.
    ///
    /// # Errors
    /// If what changed cannot be read or kept.
    async fn finish(self: Box<Self>) -> Result<Snapshot, ActionError>;

    /// Lets it wait for the next step of its run, with all that it has done and that runs in it, and keeps nothing. Where there is
    /// nothing that could wait it is kept.
    ///
    /// # Errors
    /// As [`Self::finish`].
    async fn pass_on(self: Box<Self>) -> Result<Snapshot, ActionError> {
        self.finish().await
    }

    /// Ends it and forgets what changed.
    ///
    /// # Errors
    /// If something of it cannot be removed.
    async fn discard(self: Box<Self>) -> Result<(), ActionError>;
}

/// What can be done in a machine.
#[async_trait]
pub trait Session: Send + Sync {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// If it cannot be started; how it ended is no error here.
    async fn exec(&mut self, command: &Command, on_line: OnLine<'_>) -> Result<Exit, ActionError>;

    /// Changes files, in order; stops at the first that fails.
    ///
    /// # Errors
    /// What cannot be done, naming the path.
    async fn apply(&mut self, operations: Vec<FileOperation>) -> Result<(), ActionError>;

    /// What a file holds; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be read.
    async fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, ActionError>;

    /// What stands at a path, links not followed at the end; `None` if nothing does.
    ///
    /// # Errors
    /// If it cannot be looked at.
    async fn stat(&mut self, path: &str) -> Result<Option<Stat>, ActionError>;

    /// The names in a folder, sorted; empty if it is not there.
    ///
    /// # Errors
    /// If it cannot be read.
    async fn list(&mut self, path: &str) -> Result<Vec<String>, ActionError>;

    /// Copies what matches a path or a pattern into a folder of the host, each under its own name, folders with all that is
    /// in them. Gives the names.
    ///
    /// # Errors
    /// If something of it cannot be read or written; that nothing matches is no error here.
    async fn download(&mut self, pattern: &str, folder: &Path) -> Result<Vec<String>, ActionError>;

    /// The numbers of `user`, `user:group` or numbers, by the machine's own accounts.
    ///
    /// # Errors
    /// If there is no such user or group.
    async fn identity(&mut self, owner: &str) -> Result<(u32, u32), ActionError>;

    /// How a program of the host reaches the machine itself, which then is ready for it; `None` where there is nothing to connect to.
    ///
    /// # Errors
    /// If the machine cannot be made ready.
    async fn connection(&mut self) -> Result<Option<ConnectionFacts>, ActionError> {
        Ok(None)
    }

    /// Starts the machine anew and waits until it is back: until the kernel says that it was started another time.
    ///
    /// # Errors
    /// If there is nothing that could be started anew, or it is not back in time.
    async fn reboot(&mut self, reboot: &Reboot) -> Result<(), ActionError> {
        let _ = reboot;
        Err(ActionError::input("there is no machine here that could be started anew")
            .hint("an image's tree is not running; take the step out"))
    }

    /// The root of the machine's files, where it can be reached without a process of the machine's own.
    fn root(&mut self) -> Option<BorrowedFd<'_>>;

    /// The folder of the machine in which a step is shown what it is given. It is no part of what is captured.
    fn step_folder(&self) -> String {
        "/run/imgbuild".to_owned()
    }
}

/// How a machine is started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reboot {
    /// The line for the machine's shell that does it; what the session thinks right if absent.
    pub command: Option<String>,
    /// How long it may take until the machine is back.
    pub limit: Duration,
}

/// What stands at a path of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Permission bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// What it says, if it is a symbolic link.
    pub link_target: Option<String>,
    /// Whether it is a folder.
    pub is_directory: bool,
}

/// Who can be asked while a run goes on.
#[async_trait]
pub trait Prompt: Send + Sync {
    /// Shows a question and waits for a line, which is given without its end.
    ///
    /// # Errors
    /// If there is nobody to answer.
    async fn ask(&self, question: &str) -> Result<String, ActionError>;

    /// Called before each action that runs: whoever debugs a run may wish to be asked.
    ///
    /// # Errors
    /// If the action is not to run.
    async fn before(&self, place: usize) -> Result<(), ActionError> {
        let _ = place;
        Ok(())
    }
}

/// Nobody: each question fails.
pub struct Nobody;

#[async_trait]
impl Prompt for Nobody {
    async fn ask(&self, question: &str) -> Result<String, ActionError> {
        Err(ActionError::environment(format!("there is no terminal to ask on: {question}")))
    }
}

/// The code behind a kind.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Carries out an action.
    ///
    /// # Errors
    /// What went wrong, for the user.
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError>;
}

impl ContentHash for LayerMetadata {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self { steps, base, source_date, materials } = self;
        steps.content_hash(hasher);
        base.content_hash(hasher);
        source_date.content_hash(hasher);
        materials.content_hash(hasher);
    }
}

/// The output hash of a layer: all of it that what stands on it can see or inherits, whoever made it.
///
/// The metadata is part of it: steps run in the environment of the source's configuration, and exports write how the
/// layers are divided among the steps. Without it, a base image whose configuration alone moved would leave stale
/// results above it.
#[must_use]
pub fn layer_output(layers: &[DeltaId], metadata: &LayerMetadata) -> Hash {
    let mut hasher = ContentHasher::new("imgbuild layer output");
    layers.content_hash(&mut hasher);
    metadata.content_hash(&mut hasher);
    hasher.finish()
}

/// The output hash of files.
#[must_use]
pub fn files_output(files: &[OutputFile]) -> Hash {
    let mut hasher = ContentHasher::new("imgbuild files output");
    hasher.write_u64(files.len() as u64);
    for OutputFile { path, digest, executable } in files {
        path.content_hash(&mut hasher);
        digest.content_hash(&mut hasher);
        executable.content_hash(&mut hasher);
    }
    hasher.finish()
}

/// An executor that many actions share.
pub type SharedExecutor = Arc<dyn Executor>;
