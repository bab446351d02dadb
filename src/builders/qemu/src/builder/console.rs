//! Machines that are known by what their console shows: one that nobody logs in to is watched, and cannot be looked into.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use imgbuild_engine::{
    ActionError, Command, Exit, FileOperation, Machine as EngineMachine, MachineSpec as Wanted, OnLine,
    Session, Snapshot, Stat,
};
use imgbuild_tree::DeltaId;
use regex::Regex;

use super::QemuBuilder;
use super::attributes::Source;
use super::start::{ANSWER, CONSOLE_LINES, Parts, halted, with_console};
use crate::process::Machine;

/// What the console of a system that is up shows.
const LOGIN: &str = "login:";
/// How long it may take until the console shows that.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// How often it is looked whether a machine stands still.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until a machine's console shows what its source says.
///
/// # Errors
/// If it does not, or the machine ends before; with the last lines of the console.
pub(crate) async fn shown(machine: &mut Machine, source: Source<'_>) -> Result<(), ActionError> {
    let pattern = source.text("console").unwrap_or(LOGIN);
    let regex = Regex::new(pattern).map_err(|error| {
        ActionError::input(format!("`{pattern}` of `console` is no regular expression: {error}"))
    })?;
    source.wanted.told.line(&format!("Waiting for the console to show `{pattern}`..."));
    let limit = source.duration("ssh_timeout").unwrap_or(LIMIT);
    if shows(machine, |text| regex.is_match(text), limit).await? {
        return Ok(());
    }
    let what = format!("the console did not show `{pattern}` in {} s", limit.as_secs());
    Err(with_console(ActionError::input(what), &machine.console(CONSOLE_LINES)))
}

/// Waits until something is on a machine's console, within `limit`; gives whether it is.
///
/// # Errors
/// If the machine ends before, or will never do anything again.
pub(crate) async fn shows(
    machine: &mut Machine,
    is_there: impl Fn(&str) -> bool + Send + Sync,
    limit: Duration,
) -> Result<bool, ActionError> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if machine.wait_until_console(&is_there, left.min(LOOK)).await? {
            return Ok(true);
        }
        if let Some(halt) = machine.halt().await {
            return Err(with_console(halted(&halt), &machine.console(CONSOLE_LINES)));
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

/// A machine that nobody logs in to. It ends when it is let go of.
pub(crate) struct WatchedMachine {
    machine: Machine,
    /// Its images and media, which go with it.
    _parts: Parts,
}

impl QemuBuilder {
    /// Starts a machine that nobody logs in to, and waits for its console.
    ///
    /// # Errors
    /// If it does not come up.
    pub(crate) async fn watched(
        &self,
        layers: &[DeltaId],
        wanted: &Wanted,
    ) -> Result<WatchedMachine, ActionError> {
        let parts = self.parts(layers, wanted, None, None).await?;
        wanted.told.line("Starting the machine...");
        let mut machine = self.launch(&parts).start(ANSWER).await?;
        shown(&mut machine, Source { wanted }).await?;
        Ok(WatchedMachine { machine, _parts: parts })
    }
}

#[async_trait]
impl EngineMachine for WatchedMachine {
    fn session(&mut self) -> &mut dyn Session {
        self
    }

    async fn finish(mut self: Box<Self>) -> Result<Snapshot, ActionError> {
        self.machine.kill().await;
        Err(locked())
    }

    async fn discard(mut self: Box<Self>) -> Result<(), ActionError> {
        self.machine.kill().await;
        Ok(())
    }
}

/// Why nothing can be done in such a machine.
fn locked() -> ActionError {
    ActionError::input("nobody is named to log in as, and so nothing can be done in this machine")
        .hint("say `ssh_username`, and a password, a key file or `seed = \"nocloud\"`")
}

#[async_trait]
impl Session for WatchedMachine {
    async fn exec(&mut self, _: &Command, _: OnLine<'_>) -> Result<Exit, ActionError> {
        Err(locked())
    }

    async fn apply(&mut self, _: Vec<FileOperation>) -> Result<(), ActionError> {
        Err(locked())
    }

    async fn read(&mut self, _: &str) -> Result<Option<Vec<u8>>, ActionError> {
        Err(locked())
    }

    async fn stat(&mut self, _: &str) -> Result<Option<Stat>, ActionError> {
        Err(locked())
    }

    async fn list(&mut self, _: &str) -> Result<Vec<String>, ActionError> {
        Err(locked())
    }

    async fn download(&mut self, _: &str, _: &Path) -> Result<Vec<String>, ActionError> {
        Err(locked())
    }

    async fn identity(&mut self, _: &str) -> Result<(u32, u32), ActionError> {
        Err(locked())
    }

    fn root(&mut self) -> Option<BorrowedFd<'_>> {
        None
    }
}
