//! What is known about a run, folded from its events. No text for people, no terminal, no clock: the time is given.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use imgbuild_model::{ActionId, Event, Outcome, tried_line};

use super::text;

/// How many of the last lines of an action's output are kept to be shown if it fails.
pub(super) const KEPT_LINES: usize = 30;
/// How much of a line is kept, in characters.
const KEPT_CHARACTERS: usize = 2_000;
/// How often an action that runs long says so where there is no region.
const REMIND_EVERY: Duration = Duration::from_secs(30);

/// An action that has started and not ended.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub id: ActionId,
    pub target: String,
    pub kind: String,
    pub description: String,
    /// When it started, in time since the program did.
    pub since: Duration,
    /// What it counts, if it does.
    pub progress: Option<Counted>,
    /// The last lines of its output, harmless to a terminal.
    pub output: VecDeque<String>,
    /// How many lines came before those that are kept.
    pub dropped: usize,
    reminded: Duration,
}

/// How far an action says it is.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub message: std::sync::Arc<str>,
    /// In percent, if the whole is known.
    pub percent: Option<u64>,
}

/// A file that was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub path: String,
    pub size: u64,
    pub digest: String,
}

/// The counts of a run that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub success: bool,
    pub built: usize,
    pub hits: usize,
    pub failed: usize,
    pub skipped: usize,
    pub duration: Duration,
}

/// A run so far.
#[derive(Debug, Default)]
pub(super) struct State {
    /// How many actions the plan has.
    pub actions: usize,
    /// How many of them the plan found in the cache.
    planned_hits: usize,
    /// When all is expected to have ended, in time since the program started.
    expected_end: Option<Duration>,
    /// In the order in which they started.
    pub running: Vec<Running>,
    /// Actions that have not started because another process builds the same.
    pub waiting: BTreeSet<ActionId>,
    hits: usize,
    others: usize,
    pub written: Vec<Written>,
    pub ended: Option<Ended>,
}

impl State {
    /// Keeps a line of an action's output.
    fn keep(&mut self, id: ActionId, line: &str) {
        if let Some(action) = self.action(id) {
            if action.output.len() == KEPT_LINES {
                action.output.pop_front();
                action.dropped += 1;
            }
            action.output.push_back(text::harmless(line).chars().take(KEPT_CHARACTERS).collect());
        }
    }

    /// Takes an event in; gives the action that it ends.
    pub fn apply(&mut self, event: &Event, now: Duration) -> Option<Running> {
        match event {
            Event::RunStarted { actions, hits, estimate_seconds } => {
                *self = Self {
                    actions: *actions,
                    planned_hits: *hits,
                    expected_end: estimate_seconds
                        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                        .map(|estimate| now + estimate),
                    ..Self::default()
                };
            }
            Event::ActionStarted { id, target, kind, description } => {
                self.waiting.remove(id);
                self.running.push(Running {
                    id: *id,
                    target: target.clone(),
                    kind: kind.clone(),
                    description: text::harmless(description).into_owned(),
                    since: now,
                    progress: None,
                    output: VecDeque::new(),
                    dropped: 0,
                    reminded: now,
                });
            }
            Event::Progress { id, message, done, total } => {
                if let Some(action) = self.action(*id) {
                    let percent = (*total > 0).then(|| {
                        u64::try_from(u128::from(*done) * 100 / u128::from(*total)).unwrap_or(100).min(100)
                    });
                    action.progress = Some(Counted { message: message.clone(), percent });
                }
            }
            Event::Output { id, stream: _, line } => self.keep(*id, line),
            Event::Tried { id, error, left } => self.keep(*id, &tried_line(error, *left)),
            Event::Waiting { id, .. } => {
                self.waiting.insert(*id);
            }
            Event::ActionFinished { id, outcome, .. } => {
                self.waiting.remove(id);
                match outcome {
                    Outcome::Hit => self.hits += 1,
                    _ => self.others += 1,
                }
                let place = self.running.iter().position(|action| action.id == *id)?;
                return Some(self.running.remove(place));
            }
            Event::Artifact { target: _, path, kind: _, digest, size } => {
                self.written.push(Written { path: path.clone(), size: *size, digest: digest.clone() })
            }
            Event::Warning { .. } => {}
            Event::RunFinished { success, built, hits, failed, skipped, duration } => {
                self.running.clear();
                self.waiting.clear();
                self.ended = Some(Ended {
                    success: *success,
                    built: *built,
                    hits: *hits,
                    failed: *failed,
                    skipped: *skipped,
                    duration: *duration,
                });
            }
        }
        None
    }

    /// How many actions are cached: those that the plan found, or as many as have turned out to be since.
    pub fn cached(&self) -> usize {
        self.hits.max(self.planned_hits)
    }

    /// How many actions need nothing more.
    pub fn done(&self) -> usize {
        (self.cached() + self.others).min(self.actions)
    }

    /// How much longer it will take, as far as past runs tell. Nothing once that time is over.
    pub fn left(&self, now: Duration) -> Option<Duration> {
        self.expected_end?.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// The actions that have run for long, each time that another [`REMIND_EVERY`] of theirs is over.
    pub fn remind(&mut self, now: Duration) -> Vec<&Running> {
        let mut due = Vec::new();
        for action in &mut self.running {
            if now.saturating_sub(action.reminded) >= REMIND_EVERY {
                action.reminded = now;
                due.push(&*action);
            }
        }
        due
    }

    pub fn action(&mut self, id: ActionId) -> Option<&mut Running> {
        self.running.iter_mut().find(|action| action.id == id)
    }
}
