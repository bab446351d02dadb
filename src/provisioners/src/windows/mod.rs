//! What `powershell`, `windows-shell` and `windows-restart` do in a Windows guest, as data: the files that are uploaded
//! and the commands that are run, in their order.
//!
//! All of it is a pure function of the attributes of the provisioner ([`PowerShell`], [`WindowsShell`],
//! [`WindowsRestart`]), of the [`Build`], and of the [`Moment`], which holds whatever differs from run to run. The first
//! two are what a key may cover; a [`Policy`] and a moment never enter one. Whoever holds a connection carries it out: it
//! uploads, runs, waits and measures time. What is not here: connections, clocks, randomness, and the schemas of the
//! attributes, which have been checked before.
//!
//! Commands, file names, variables and exit codes are Packer's, since templates depend on them. The scripts that are
//! uploaded around them are this program's own.

mod elevated;
mod powershell;
mod restart;
mod shell;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use imgbuild_engine::{ActionError, Exit};
use imgbuild_gotemplate::{Function, Functions, Param, Value};

use crate::execute_command;

pub use powershell::{ExecutionPolicy, PowerShell};
pub use restart::{Event, REGISTRY_KEYS, RESTART_COMMAND, Restart, Todo, WindowsRestart};
pub use shell::WindowsShell;

/// The exit code that stands for a connection that broke before there was one. Templates have it in `valid_exit_codes`
/// where a script shuts the machine down.
pub const DISCONNECTED: i32 = 2_300_218;

/// What of a build its scripts are told, the same in each run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// `PACKER_BUILD_NAME`.
    pub name: String,
    /// `PACKER_BUILDER_TYPE`.
    pub builder_type: String,
}

/// What differs from run to run. Not keyed.
#[derive(Clone, Default)]
pub struct Moment {
    /// What tells the names of this provisioner's files and of its task from all others': a UUID as a rule.
    pub id: String,
    /// The server for files of the build, as the guest reaches it.
    pub http: Option<Http>,
    /// What commands and `elevated_user` and `elevated_password` may ask for as `{{ .WinRMPassword }}` or as
    /// ``{{ build `Password` }}``, by name.
    pub data: BTreeMap<String, String>,
}

/// A server for files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Its address.
    pub ip: String,
    /// Its port.
    pub port: u16,
}

/// What a provisioner has to run.
///
/// `binary` means nothing here: scripts of the host are uploaded byte by byte with it and without it, since Windows
/// reads both line ends, but for labels of batch files, which need the ends that they were written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scripts {
    /// The lines of `inline`, which are one script.
    Inline(Vec<String>),
    /// What is in the files of `script` or `scripts`, each of which is run on its own.
    Files(Vec<Vec<u8>>),
}

/// A file for the guest.
#[derive(Clone, PartialEq, Eq)]
pub struct Upload {
    /// Where it goes.
    pub path: String,
    /// What is in it. It may hold secrets.
    pub content: Vec<u8>,
}

/// One run of a script: uploads and the command that is run after them. If an upload fails, or the command cannot be
/// started, all of it is tried again, for as long as [`Policy::again`] says.
#[derive(Clone, PartialEq, Eq)]
pub struct ScriptRun {
    /// What is uploaded first, in this order.
    pub uploads: Vec<Upload>,
    /// What is run then, by the shell that the connection leads to. It may hold secrets.
    pub command: String,
}

/// All that a provisioner does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Runs in their order. The first that [`Runs::judge`] does not accept ends it, and nothing is cleaned then.
    pub scripts: Vec<ScriptRun>,
    /// What removes the files afterwards. It is tried again for [`CLEANUP_TIMEOUT`], and that it fails is said and no more.
    pub cleanup: Option<ScriptRun>,
    /// Exit codes that mean success; 0 alone if there are none.
    pub valid_exit_codes: Vec<i64>,
}

/// For how long cleaning up is tried again.
pub const CLEANUP_TIMEOUT: Duration = Duration::from_secs(60);

/// How patient a provisioner is. Not keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For how long starting a script is tried again.
    pub start_retry_timeout: Duration,
    /// How long to wait after the last script has succeeded; `powershell` alone has it.
    pub pause_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { start_retry_timeout: Duration::from_secs(5 * 60), pause_after: Duration::ZERO }
    }
}

impl Policy {
    /// How long to wait before a run that could not be started is tried again, so long after it was first tried;
    /// `None` if it is given up.
    #[must_use]
    pub fn again(&self, since_first: Duration) -> Option<Duration> {
        const PAUSE: Duration = Duration::from_secs(2);
        (since_first < self.start_retry_timeout).then_some(PAUSE)
    }
}

impl Runs {
    /// Whether a script succeeded that ended with this exit code, or with none since the connection broke.
    ///
    /// # Errors
    /// If it did not.
    pub fn judge(&self, code: Option<i32>) -> Result<(), ActionError> {
        let code = code.unwrap_or(DISCONNECTED);
        let result = Exit::Code(code).among(&self.valid_exit_codes, "the script");
        match code {
            DISCONNECTED => result.map_err(|_| {
                ActionError::environment("the connection broke while the script ran").hint(format!(
                    "if the script restarts the guest, use `windows-restart`, or put {DISCONNECTED} into `valid_exit_codes`"
                ))
            }),
            _ => result,
        }
    }
}

impl Scripts {
    /// Each script as it would be uploaded: the lines of `inline`, each with a line feed behind it, or the files' bytes.
    fn texts(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Inline(lines) => {
                vec![lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>().into()]
            }
            Self::Files(files) => files.clone(),
        }
    }
}

impl Upload {
    fn new(path: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), content: content.into() }
    }
}

/// Renders an attribute with data of its own and with what is known at the moment.
fn render(
    attribute: &str,
    template: &str,
    own: &[(&str, &str)],
    moment: &Moment,
) -> Result<String, ActionError> {
    let known = moment.data.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let data = Value::map(known.chain(own.iter().copied()));
    let names: Vec<_> =
        own.iter().map(|(name, _)| *name).chain(moment.data.keys().map(String::as_str)).collect();
    let build = moment.data.clone();
    let build = Function::new([Param::String], move |arguments| {
        let name = arguments.first().and_then(Value::as_str).unwrap_or_default();
        build
            .get(name)
            .map(|value| Value::from(value.clone()))
            .ok_or_else(|| format!("nothing is known as `{name}`"))
    });
    let functions = Functions::new().with("build", build);
    execute_command::render(attribute, template, &functions, &data, &names)
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.data.keys().collect();
        f.debug_struct("Moment")
            .field("id", &self.id)
            .field("http", &self.http)
            .field("data", &names)
            .finish()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("bytes", &self.content.len()).finish()
    }
}

impl fmt::Debug for ScriptRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptRun").field("uploads", &self.uploads).finish_non_exhaustive()
    }
}
