//! The lines about a run: those that stay, those of the region, and the summary. Pure: from a state to text.

use std::time::Duration;

use imgbuild_model::{ActionId, Event, Outcome, tried_line};

use super::paint::Paint;
use super::shell::{Size, Verbosity};
use super::state::{Ended, Running, State, Written};
use super::text;

/// What a run is for, as the summary says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    /// What is done to the targets.
    pub aim: Aim,
    /// The targets that were asked for, each with its platform: `//a:b (linux/amd64)`.
    pub targets: Vec<String>,
}

/// What is done to the targets that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aim {
    /// They are built.
    #[default]
    Build,
    /// They are tested.
    Test,
}

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style<'a> {
    pub paint: Paint,
    pub verbosity: Verbosity,
    /// Whether there is a region, which shows what starts and what runs.
    pub region: bool,
    /// The platform of all targets, ` (linux/amd64)`, which then need not be said each time.
    pub common: Option<&'a str>,
}

impl Goal {
    /// The end of each target, from ` (`, if it is the same for all.
    pub(super) fn common_platform(&self) -> Option<&str> {
        let suffix = |target: &'_ str| target.find(" (").map(|place| target.split_at(place).1.len());
        let first = self.targets.first()?;
        let common = &first[first.len() - suffix(first)?..];
        self.targets
            .iter()
            .all(|target| suffix(target) == Some(common.len()) && target.ends_with(common))
            .then_some(common)
    }

    fn subject(&self) -> String {
        match self.targets.as_slice() {
            [] => "everything".to_owned(),
            [one] => one.clone(),
            many => text::count(many.len(), "target"),
        }
    }
}

impl Style<'_> {
    fn short<'a>(&self, target: &'a str) -> &'a str {
        self.common.and_then(|common| target.strip_suffix(common)).unwrap_or(target)
    }
}

/// A line of an action's output.
fn of_action(state: &mut State, style: &Style<'_>, id: ActionId, line: &str) -> String {
    let line = text::harmless(line);
    let before = match state.action(id) {
        Some(action) => format!("{} {} |", style.short(&action.target), action.kind),
        None => "|".to_owned(),
    };
    format!("{} {line}", style.paint.faint(before)).trim_end().to_owned()
}

/// The lines that an event leaves for good. `ended` is the action that the event ends, `state` is that after the event.
pub(super) fn lasting(
    event: &Event,
    ended: Option<&Running>,
    state: &mut State,
    style: &Style<'_>,
) -> Vec<String> {
    let paint = style.paint;
    let counter = format!("[{}/{}]", state.done(), state.actions);
    match event {
        Event::RunStarted { actions, hits, estimate_seconds, .. } if !style.region && actions > hits => {
            let estimate = estimate_seconds
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .map(|estimate| format!(", about {}", text::rough(estimate)))
                .unwrap_or_default();
            vec![format!(
                "{}: {hits} cached, {} to run{estimate}",
                text::count(*actions, "action"),
                actions - hits
            )]
        }
        Event::ActionStarted { target, description, .. } if !style.region => {
            vec![format!("{counter} start {}: {}", style.short(target), text::harmless(description))]
        }
        Event::Waiting { target, message, .. } if !style.region => {
            vec![format!("{counter} wait {}: {message}", style.short(target))]
        }
        Event::Output { id, line, .. } if style.verbosity >= Verbosity::Verbose => {
            vec![of_action(state, style, *id, line)]
        }
        Event::Tried { id, error, left } if style.verbosity >= Verbosity::Verbose => {
            vec![of_action(state, style, *id, &tried_line(error, *left))]
        }
        Event::ActionFinished { target, description, outcome, duration, .. } => {
            let shown = match outcome {
                Outcome::Hit | Outcome::Skipped => style.verbosity >= Verbosity::Verbose,
                Outcome::Built | Outcome::Unchanged | Outcome::Failed { .. } => true,
            };
            let mut lines = Vec::new();
            if shown {
                lines.push(finished(&counter, style, target, description, outcome, *duration));
            }
            if let Outcome::Failed { .. } = outcome {
                lines.extend(last_words(ended, style));
            }
            lines
        }
        Event::Warning { message } => {
            vec![format!("{}{} {message}", paint.warn("warning"), paint.strong(":"))]
        }
        // Those that are written before the end wait for the summary.
        Event::Artifact { .. } if state.ended.is_some() => {
            artifacts(&std::mem::take(&mut state.written), paint)
        }
        _ => Vec::new(),
    }
}

fn finished(
    counter: &str,
    style: &Style<'_>,
    target: &str,
    description: &str,
    outcome: &Outcome,
    duration: Duration,
) -> String {
    let paint = style.paint;
    let (sign, word, timed) = match outcome {
        Outcome::Built => (paint.sign_built(), paint.good("built"), true),
        Outcome::Hit => (paint.sign_same(), paint.faint("cached"), false),
        Outcome::Unchanged => (paint.sign_same(), paint.faint("same"), true),
        Outcome::Failed { .. } => (paint.sign_failed(), paint.bad("failed"), true),
        Outcome::Skipped => (paint.sign_skipped(), paint.faint("skipped"), false),
    };
    let target = style.short(target);
    let description = text::harmless(description);
    let why = match outcome {
        Outcome::Failed { message } => {
            format!(": {}", text::harmless(message.lines().next().unwrap_or_default()))
        }
        _ => String::new(),
    };
    if style.region {
        let note = match outcome {
            Outcome::Hit => " (cached)",
            Outcome::Unchanged => " (gave the same result)",
            Outcome::Skipped => " (skipped)",
            Outcome::Built | Outcome::Failed { .. } => "",
        };
        let time = if timed { format!("  {}", text::duration(duration)) } else { String::new() };
        return format!(
            "{sign} {}  {description}{}{why}",
            paint.strong(target),
            paint.faint(format!("{note}{time}"))
        );
    }
    let time = if timed { format!(" in {}", text::duration(duration)) } else { String::new() };
    format!("{counter} {word} {target}: {description}{time}{why}")
}

/// The end of what a failed action has said. What went wrong, where, and what to do is a diagnostic at the end of the
/// run; this is the part of it that may be gone by then.
fn last_words(ended: Option<&Running>, style: &Style<'_>) -> Vec<String> {
    let paint = style.paint;
    // With more verbosity the output has been shown already.
    let Some(action) =
        ended.filter(|action| !action.output.is_empty() && style.verbosity < Verbosity::Verbose)
    else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if action.dropped > 0 {
        let total = action.dropped + action.output.len();
        let title = format!("  the last {} of {}:", action.output.len(), text::count(total, "line"));
        lines.push(paint.faint(title));
    }
    let bar = paint.faint(if paint.unicode { "│" } else { "|" });
    lines.extend(action.output.iter().map(|line| format!("  {bar} {line}").trim_end().to_owned()));
    lines
}

/// The lines of the region.
pub(super) fn region(state: &State, now: Duration, size: Size, style: &Style<'_>) -> Vec<String> {
    if state.actions == 0 || state.ended.is_some() {
        return Vec::new();
    }
    let paint = style.paint;
    let mut status = vec![format!("{} running", state.running.len())];
    if !state.waiting.is_empty() {
        status.push(format!("{} waiting for another process", state.waiting.len()));
    }
    status.push(format!("{} cached", state.cached()));
    if let Some(left) = state.left(now) {
        status.push(format!("~{} left", text::rough(left)));
    }
    let counter = paint.strong(format!("[{}/{}]", state.done(), state.actions));
    let mut lines = vec![format!("{counter} {}", status.join(", "))];

    // At most half of the terminal: what has scrolled by should stay in sight.
    let room = (size.rows / 2).saturating_sub(1).max(1);
    let shown = if state.running.len() > room { room - 1 } else { state.running.len() };
    lines.extend(state.running.iter().take(shown).map(|action| running(action, now, style)));
    if shown < state.running.len() {
        let hidden = state.running.len() - shown;
        lines.push(paint.faint(format!("        and {hidden} more")));
    }
    // The last column stays free: some terminals wrap when it is written.
    let width = size.columns.saturating_sub(1);
    lines.iter().map(|line| text::cut(line, width, paint.ellipsis()).into_owned()).collect()
}

fn running(action: &Running, now: Duration, style: &Style<'_>) -> String {
    let paint = style.paint;
    let elapsed = text::elapsed(now.saturating_sub(action.since));
    let mut line =
        format!("{elapsed:>7} {}  {}", paint.strong(style.short(&action.target)), action.description);
    let detail = match (&action.progress, action.output.back()) {
        (Some(progress), _) => {
            let percent = progress.percent.map(|percent| format!(" {percent}%")).unwrap_or_default();
            format!("{}{percent}", text::harmless(&progress.message))
        }
        (None, Some(output)) => output.trim().to_owned(),
        (None, None) => String::new(),
    };
    if !detail.is_empty() {
        line.push_str("  ");
        line.push_str(&paint.faint(detail));
    }
    line
}

/// The lines that say that actions still run, where there is no region.
pub(super) fn reminders(state: &mut State, now: Duration, style: &Style<'_>) -> Vec<String> {
    let counter = format!("[{}/{}]", state.done(), state.actions);
    state
        .remind(now)
        .into_iter()
        .map(|action| {
            let elapsed = text::rough(now.saturating_sub(action.since));
            let target = style.short(&action.target);
            format!("{counter} still running after {elapsed} {target}: {}", action.description)
        })
        .collect()
}

/// The lines at the end of a run.
pub(super) fn summary(goal: &Goal, ended: &Ended, written: &[Written], paint: Paint) -> Vec<String> {
    let Ended { success, built, hits, failed, skipped, duration } = *ended;
    let subject = goal.subject();
    let took = text::duration(duration);
    let (done, to_do, doing) = match goal.aim {
        Aim::Build => ("Built", "build", "building"),
        Aim::Test => ("Tested", "test", "testing"),
    };
    let counts = |parts: &[(usize, &str)]| {
        let parts: Vec<String> = parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{number} {what}"))
            .collect();
        if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
    };
    let first = match (success, failed, built) {
        (true, _, 0) => {
            let is = if goal.targets.len() > 1 { "are" } else { "is" };
            format!("{subject} {is} up to date ({hits} cached) in {took}")
        }
        (true, ..) => {
            let counts = counts(&[(built, "built"), (hits, "cached")]);
            format!("{} {subject} in {took}{counts}", paint.good(done))
        }
        (false, 0, _) => {
            let counts = counts(&[(built, "built"), (hits, "cached"), (skipped, "skipped")]);
            format!("{} {doing} {subject} after {took}{counts}", paint.bad("Stopped"))
        }
        (false, ..) => {
            let counts =
                counts(&[(failed, "failed"), (built, "built"), (hits, "cached"), (skipped, "skipped")]);
            format!("{} to {to_do} {subject} in {took}{counts}", paint.bad("Failed"))
        }
    };
    std::iter::once(first).chain(artifacts(written, paint)).collect()
}

/// One line for each artifact, in columns.
fn artifacts(written: &[Written], paint: Paint) -> Vec<String> {
    let sizes: Vec<String> = written.iter().map(|artifact| text::size(artifact.size)).collect();
    let widest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let path_width = widest(&mut written.iter().map(|artifact| console::measure_text_width(&artifact.path)));
    let size_width = widest(&mut sizes.iter().map(String::len));
    written
        .iter()
        .zip(&sizes)
        .map(|(artifact, size)| {
            let path = console::pad_str(&artifact.path, path_width, console::Alignment::Left, None);
            let digest = paint.faint(text::short_digest(&artifact.digest));
            format!("  {path}  {size:>size_width$}  {digest}")
        })
        .collect()
}
