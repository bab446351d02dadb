//! Undoing what dead runs left behind. Not for: how a kind of effect is undone (`undo`), or results without a
//! run (the cache's gc).

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use imgbuild_model::with_causes;

use super::{Effect, EffectState, HostId, Journal, JournalError, RunId, RunInfo, UndoOutcome, UndoRegistry};

/// How to clean up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanupOptions {
    /// Say what would be undone, and undo nothing.
    pub dry_run: bool,
    /// The longest that one effect may take.
    pub timeout: Duration,
    /// Hosts that do not exist any more, or that this one used to be called: their runs are treated as runs
    /// of this host.
    pub adopt: Vec<HostId>,
}

impl Default for CleanupOptions {
    fn default() -> Self {
        Self { dry_run: false, timeout: Duration::from_secs(300), adopt: Vec::new() }
    }
}

/// What a cleanup found and did, run by run, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CleanupReport {
    /// One for each run in the journal.
    pub runs: Vec<RunCleanup>,
}

impl CleanupReport {
    /// Whether nothing of dead runs of this host is left. Never so for a dry run that found something.
    pub fn is_clean(&self) -> bool {
        self.runs.iter().all(|r| !matches!(r.status, RunStatus::Remaining | RunStatus::WouldClean))
    }

    /// Every effect looked at, with its run.
    pub fn effects(&self) -> impl Iterator<Item = (&RunInfo, &EffectCleanup)> {
        self.runs.iter().flat_map(|run| run.effects.iter().map(move |effect| (&run.run, effect)))
    }
}

/// What became of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunCleanup {
    /// The run.
    pub run: RunInfo,
    /// What became of it.
    pub status: RunStatus,
    /// What was done about its effects, in the order in which it was done; empty if the run was not touched.
    pub effects: Vec<EffectCleanup>,
}

/// What became of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// It is alive, or another cleanup is at it: not touched.
    Live,
    /// It is of another host, which alone can tell whether it is alive: not touched.
    OtherHost,
    /// Nothing of it is left, and the journal has forgotten it.
    Cleaned,
    /// Something of it is left for the next cleanup.
    Remaining,
    /// A dry run: it would be cleaned.
    WouldClean,
}

/// What was done about one effect.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectCleanup {
    /// The effect as it stood before.
    pub effect: Effect,
    /// What was done.
    pub result: EffectResult,
}

/// What was done about one effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectResult {
    /// It existed and does not any more.
    Undone,
    /// It did not exist.
    AlreadyGone,
    /// A dry run: it would be undone.
    WouldUndo,
    /// This program does not know its kind: a builder that is not compiled in, or a newer version. It stays.
    UnknownKind,
    /// It could not be undone. It stays, and the next cleanup tries again.
    Failed {
        /// Why.
        message: String,
    },
}

impl EffectResult {
    fn is_settled(&self) -> bool {
        matches!(self, Self::Undone | Self::AlreadyGone)
    }
}

/// Undoes the effects of all dead runs of this host, newest first, and goes on after errors.
///
/// Idempotent: what was undone is not tried again, and a cleanup that dies is finished by the next. Live runs
/// (those whose lock is held) are not touched.
pub async fn cleanup(
    journal: &Journal,
    registry: &UndoRegistry,
    options: &CleanupOptions,
) -> Result<CleanupReport, JournalError> {
    let here = HostId::current();
    let mut report = CleanupReport::default();
    for run in journal.runs()? {
        if run.host != here && !options.adopt.contains(&run.host) {
            report.runs.push(RunCleanup { run, status: RunStatus::OtherHost, effects: Vec::new() });
            continue;
        }
        let Some(lock) = journal.lock_of_dead_run(&run)? else {
            // Between the listing and the lock it may have ended and been forgotten.
            if journal.store().run_exists(&run.id)? {
                report.runs.push(RunCleanup { run, status: RunStatus::Live, effects: Vec::new() });
            }
            continue;
        };
        let existed = journal.store().run_exists(&run.id)?;
        let effects = undo_effects(journal, &run.id, registry, options).await?;
        let status = if effects.iter().all(|e| e.result.is_settled()) && !options.dry_run {
            journal.forget_run(&run.id, &lock)?;
            RunStatus::Cleaned
        } else if options.dry_run {
            RunStatus::WouldClean
        } else {
            RunStatus::Remaining
        };
        if existed {
            report.runs.push(RunCleanup { run, status, effects });
        }
    }
    if !options.dry_run {
        journal.remove_orphaned_locks()?;
    }
    Ok(report)
}

/// Undoes what is not settled of one run, newest first. The caller holds the run's lock.
pub(super) async fn undo_effects(
    journal: &Journal,
    run: &RunId,
    registry: &UndoRegistry,
    options: &CleanupOptions,
) -> Result<Vec<EffectCleanup>, JournalError> {
    let mut effects = journal.effects(run)?;
    effects.retain(|e| !e.state.is_settled());
    let mut done = Vec::with_capacity(effects.len());
    for effect in effects.into_iter().rev() {
        let result = undo_one(&effect, registry, options).await;
        match &result {
            EffectResult::Undone | EffectResult::AlreadyGone => {
                journal.store().settle(run, effect.id, EffectState::Undone)?;
            }
            EffectResult::Failed { message } => {
                tracing::warn!(%run, effect = %effect.id, kind = %effect.kind, message, "could not undo an effect");
                journal.store().set_failed(run, effect.id, message)?;
            }
            EffectResult::WouldUndo | EffectResult::UnknownKind => {}
        }
        done.push(EffectCleanup { effect, result });
    }
    Ok(done)
}

async fn undo_one(effect: &Effect, registry: &UndoRegistry, options: &CleanupOptions) -> EffectResult {
    let Some(undo) = registry.get(&effect.kind) else {
        return EffectResult::UnknownKind;
    };
    if options.dry_run {
        return EffectResult::WouldUndo;
    }
    // A panic must not keep the other effects from being undone. The undo is not used again after one for
    // this effect.
    let attempt = AssertUnwindSafe(undo.undo(&effect.intent, effect.resource.as_ref())).catch_unwind();
    let message = match tokio::time::timeout(options.timeout, attempt).await {
        Ok(Ok(Ok(UndoOutcome::Undone))) => return EffectResult::Undone,
        Ok(Ok(Ok(UndoOutcome::AlreadyGone))) => return EffectResult::AlreadyGone,
        Ok(Ok(Err(error))) => with_causes(&*error),
        Ok(Err(panic)) => format!("undoing it panicked: {}", crate::panic_message(&*panic)),
        Err(_) => format!("undoing it took longer than {} seconds", options.timeout.as_secs_f64()),
    };
    EffectResult::Failed { message }
}
