//! `windows-restart`: a new start of the guest, as a state machine. It says what to do next and is told how that ended.
//!
//! 1. The restart command is run.
//! 2. Whether the guest has begun to go down is asked by a second restart, a minute away. If it can be ordered, it is
//!    called off at once, and the guest is not down or is back; if Windows says that it is going down already, it is asked
//!    again ten seconds later; if the guest cannot be reached, it is down.
//! 3. Every five seconds the guest is asked whether it is back: by the user's command until it could be run once,
//!    then by a command of our own until it answers, then by the registry if that is wanted, until no key is left that
//!    says that a restart is pending.

use std::time::Duration;

use base64::Engine as _;
use imgbuild_engine::{ActionError, Exit};

/// The command that restarts the guest if no other is given.
pub const RESTART_COMMAND: &str = r#"shutdown /r /f /t 0 /c "packer restart""#;

/// The registry's keys that say that a restart is pending if no others are given.
pub const REGISTRY_KEYS: [&str; 3] = [
    r"HKLM:SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
    r"HKLM:SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\PackagesPending",
    r"HKLM:Software\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootInProgress",
];

const PROBE: &str = r#"shutdown /r /f /t 60 /c "packer restart test""#;
const CALL_OFF: &str = "shutdown /a";
const BETWEEN_PROBES: Duration = Duration::from_secs(10);
const BETWEEN_CHECKS: Duration = Duration::from_secs(5);
/// What the guest says that is back.
const BACK: &str = "restarted.";

/// Windows is shutting down.
const SHUTDOWN_IN_PROGRESS: i32 = 1115;
/// A shutdown has been ordered already.
const SHUTDOWN_IS_SCHEDULED: i32 = 1190;
/// What answers orders to shut down is gone.
const UNKNOWN_INTERFACE: i32 = 1717;

/// `windows-restart` by its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsRestart {
    /// `restart_command`.
    pub restart_command: String,
    /// `restart_check_command`. It counts once it could be run; what it answers is not looked at, as in Packer.
    pub restart_check_command: Option<String>,
    /// `restart_timeout`, from the end of the restart command on. Not keyed.
    pub restart_timeout: Duration,
    /// `check_registry`.
    pub check_registry: bool,
    /// `registry_keys`.
    pub registry_keys: Vec<String>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Run a command in the guest, once.
    Run(String),
    /// Wait.
    Wait(Duration),
    /// Nothing: the guest is back.
    Finished,
}

/// How that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The command ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// What it wrote to its standard output.
        output: &'a str,
    },
    /// The connection broke while the command ran.
    Broken,
    /// The command could not be started: the guest cannot be reached.
    NotStarted,
    /// The time is over.
    Waited,
}

/// A restart on its way.
#[derive(Clone, Debug)]
pub struct Restart<'a> {
    attributes: &'a WindowsRestart,
    stage: Stage,
    /// Whether the user's check could be run.
    was_checked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Restart,
    Probe,
    WaitToProbe,
    CallOff,
    WaitToCheck,
    UserCheck,
    Check,
    Registry { place: usize, is_pending: bool },
}

impl Default for WindowsRestart {
    fn default() -> Self {
        Self {
            restart_command: RESTART_COMMAND.to_owned(),
            restart_check_command: None,
            restart_timeout: Duration::from_secs(5 * 60),
            check_registry: false,
            registry_keys: REGISTRY_KEYS.map(str::to_owned).into(),
        }
    }
}

impl WindowsRestart {
    /// Begins: gives the state and what to do first.
    #[must_use]
    pub fn begin(&self) -> (Restart<'_>, Todo) {
        let restart = Restart { attributes: self, stage: Stage::Restart, was_checked: false };
        (restart, Todo::Run(self.restart_command.clone()))
    }
}

impl Restart<'_> {
    /// Whether `restart_timeout` counts: the restart has been ordered.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        !matches!(self.stage, Stage::Restart)
    }

    /// What to say if `restart_timeout` is over before it is finished.
    #[must_use]
    pub fn timed_out(&self) -> ActionError {
        let waited = self.attributes.restart_timeout.as_secs();
        ActionError::environment(format!("the guest is not back from its restart after {waited} s"))
            .hint("give it more time by `restart_timeout`")
    }

    /// What to do next, after what was said last ended so.
    ///
    /// # Errors
    /// If the guest cannot be told to restart.
    pub fn next(&mut self, event: Event<'_>) -> Result<Todo, ActionError> {
        Ok(match (self.stage, event) {
            (Stage::Restart, Event::NotStarted) => {
                return Err(ActionError::environment(
                    "the restart command cannot be run: the guest is not reached",
                ));
            }
            (Stage::Restart, Event::Exited { code, .. }) => {
                let accepted = [0, SHUTDOWN_IN_PROGRESS, SHUTDOWN_IS_SCHEDULED].map(i64::from);
                Exit::Code(code).among(&accepted, "the restart command")?;
                self.probe()
            }
            // A restart is what breaks connections.
            (Stage::Restart, Event::Broken | Event::Waited) => self.probe(),
            (Stage::Probe, Event::Exited { code: 0, .. }) => {
                self.stage = Stage::CallOff;
                Todo::Run(CALL_OFF.to_owned())
            }
            (Stage::Probe, Event::Exited { code, .. }) => match code {
                1 => self.wait_to_check(),
                SHUTDOWN_IN_PROGRESS | SHUTDOWN_IS_SCHEDULED | UNKNOWN_INTERFACE => {
                    self.stage = Stage::WaitToProbe;
                    Todo::Wait(BETWEEN_PROBES)
                }
                _ => self.probe(),
            },
            (Stage::WaitToProbe, _) => self.probe(),
            (Stage::Probe | Stage::CallOff, _) => self.wait_to_check(),
            (Stage::WaitToCheck, _) => match &self.attributes.restart_check_command {
                Some(command) if !self.was_checked => {
                    self.stage = Stage::UserCheck;
                    Todo::Run(command.clone())
                }
                _ => self.check(),
            },
            (Stage::UserCheck, Event::Exited { .. }) => {
                self.was_checked = true;
                self.check()
            }
            (Stage::Check, Event::Exited { output, .. }) if output.contains(BACK) => self.registry(0, false),
            (Stage::Registry { place, is_pending }, Event::Exited { output, .. }) => {
                self.registry(place + 1, is_pending || output.contains("True"))
            }
            (Stage::UserCheck | Stage::Check | Stage::Registry { .. }, _) => self.wait_to_check(),
        })
    }

    fn probe(&mut self) -> Todo {
        self.stage = Stage::Probe;
        Todo::Run(PROBE.to_owned())
    }

    fn wait_to_check(&mut self) -> Todo {
        self.stage = Stage::WaitToCheck;
        Todo::Wait(BETWEEN_CHECKS)
    }

    fn check(&mut self) -> Todo {
        self.stage = Stage::Check;
        Todo::Run(encoded(&format!("Write-Output ([Net.Dns]::GetHostName() + ' {BACK}')")))
    }

    /// Asks for the key at a place, or decides if there is none.
    fn registry(&mut self, place: usize, is_pending: bool) -> Todo {
        let keys = if self.attributes.check_registry { &*self.attributes.registry_keys } else { &[] };
        match keys.get(place) {
            Some(key) => {
                self.stage = Stage::Registry { place, is_pending };
                Todo::Run(encoded(&format!(r#"Test-Path -Path "{key}""#)))
            }
            None if is_pending => self.wait_to_check(),
            None => Todo::Finished,
        }
    }
}

/// A command that runs PowerShell's, whatever shell the connection leads to.
fn encoded(command: &str) -> String {
    let bytes: Vec<u8> = command.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("powershell.exe -EncodedCommand {encoded}")
}
