//! What a person sees of a run: a sink of events with three ways to show them. `shell` writes, `state` knows, `lines`
//! words, `events` speaks JSON. Not here: diagnostics of files (`crate::diagnostics`) and what verbs print as an answer.

mod events;
mod lines;
mod paint;
mod shell;
mod state;
pub mod text;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use imgbuild_model::{Event, EventSink};

pub use events::{EVENTS, EventSchema, Field, json_diagnostic, json_line};
pub use lines::{Aim, Goal};
pub use paint::Paint;
pub use shell::{LogWriter, Settings, Shell, Size, Verbosity};

use crate::args::Progress;

/// How often the region is drawn at most.
const FRAME: Duration = Duration::from_millis(100);
/// How often it is looked for actions that run long, where there is no region.
const LOOK: Duration = Duration::from_secs(1);

/// How long something must take before the run, where there is no region, so that it is said.
const LONG_PHASE: Duration = Duration::from_secs(2);

/// Tells the time since some moment.
pub trait Clock: Send + Sync {
    /// That time.
    fn now(&self) -> Duration;
}

impl Clock for Instant {
    fn now(&self) -> Duration {
        self.elapsed()
    }
}

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Lasting lines, and a region at the bottom of the terminal with what runs.
    Fancy,
    /// Lines only.
    Plain,
    /// Events as JSON on standard output.
    Json,
    /// Failures, warnings and the summary only.
    None,
}

/// Shows the events of runs.
pub struct Ui {
    core: Arc<Core>,
    ticker: Option<JoinHandle<()>>,
}

struct Core {
    shell: Arc<Shell>,
    mode: Mode,
    clock: Box<dyn Clock>,
    shown: Mutex<Shown>,
    /// Wakes the ticker when it is to end.
    wake: Condvar,
}

#[derive(Default)]
struct Shown {
    goal: Goal,
    phase: Option<Phase>,
    state: state::State,
    closed: bool,
}

/// What happens while there is no run.
struct Phase {
    text: String,
    since: Duration,
    said: bool,
}

impl Mode {
    /// The mode that the flags ask for, on the streams that there are.
    #[must_use]
    pub fn new(progress: Progress, settings: &Settings) -> Self {
        match progress {
            _ if settings.json => Self::Json,
            Progress::None => Self::None,
            Progress::Auto if settings.verbosity == Verbosity::Quiet => Self::None,
            Progress::Auto if settings.terminal => Self::Fancy,
            Progress::Fancy => Self::Fancy,
            Progress::Auto | Progress::Plain => Self::Plain,
        }
    }
}

impl Ui {
    /// A sink that shows events through `shell`. A thread of its own draws, so that no action waits for the terminal.
    #[must_use]
    pub fn new(shell: Arc<Shell>, progress: Progress) -> Self {
        let mode = Mode::new(progress, shell.settings());
        let mut ui = Self::with(shell, mode, Box::new(Instant::now()));
        let pause = match mode {
            Mode::Fancy => FRAME,
            Mode::Plain => LOOK,
            Mode::Json | Mode::None => return ui,
        };
        let core = Arc::clone(&ui.core);
        // Without a thread the lasting lines still come; only what is drawn again and again does not.
        ui.ticker = std::thread::Builder::new().name("ui".to_owned()).spawn(move || core.run(pause)).ok();
        ui
    }

    /// A sink that draws only when told to, with a clock of the caller's.
    #[must_use]
    pub fn with(shell: Arc<Shell>, mode: Mode, clock: Box<dyn Clock>) -> Self {
        let core = Core { shell, mode, clock, shown: Mutex::default(), wake: Condvar::new() };
        Self { core: Arc::new(core), ticker: None }
    }

    /// Where it writes.
    #[must_use]
    pub fn shell(&self) -> &Arc<Shell> {
        &self.core.shell
    }

    /// How it shows runs.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.core.mode
    }

    /// Says what the next run is for. To be called before its first event.
    pub fn goal(&self, goal: Goal) {
        self.core.lock().goal = goal;
    }

    /// Says what happens while there is no run yet, such as `loading packages`. Shown only if it lasts.
    pub fn phase(&self, phase: &str) {
        let phase = Phase { text: phase.to_owned(), since: self.core.clock.now(), said: false };
        self.core.lock().phase = Some(phase);
    }

    /// Draws what is due now. The thread of [`Ui::new`] calls it.
    pub fn tick(&self) {
        self.core.tick();
    }

    /// Ends the drawing and leaves the terminal in order. Events that come later still leave their lasting lines.
    pub fn close(&self) {
        self.core.lock().closed = true;
        self.core.wake.notify_all();
        self.core.shell.clear_region();
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        self.close();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}

impl EventSink for Ui {
    fn emit(&self, event: Event) {
        self.core.emit(&event);
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        // A panic elsewhere must not keep the failure from being shown.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, pause: Duration) {
        let mut shown = self.lock();
        while !shown.closed {
            (shown, _) = self.wake.wait_timeout(shown, pause).unwrap_or_else(PoisonError::into_inner);
            if !shown.closed {
                self.draw(&mut shown);
            }
        }
    }

    fn tick(&self) {
        let mut shown = self.lock();
        if !shown.closed {
            self.draw(&mut shown);
        }
    }

    fn style<'a>(&self, goal: &'a Goal) -> lines::Style<'a> {
        lines::Style {
            paint: self.shell.paint(),
            verbosity: self.shell.verbosity(),
            region: self.mode == Mode::Fancy,
            common: goal.common_platform(),
        }
    }

    fn draw(&self, shown: &mut Shown) {
        let Shown { goal, phase, state, .. } = shown;
        let style = self.style(goal);
        let now = self.clock.now();
        match self.mode {
            Mode::Fancy => {
                let size = self.shell.size();
                let region = match phase {
                    Some(phase) => {
                        let line = style.paint.faint(format!("{}{}", phase.text, style.paint.ellipsis()));
                        vec![text::cut(&line, size.columns - 1, style.paint.ellipsis()).into_owned()]
                    }
                    None => lines::region(state, now, size, &style),
                };
                self.shell.draw_region(region);
            }
            Mode::Plain if style.verbosity > Verbosity::Quiet => {
                if let Some(phase) = phase
                    && !phase.said
                    && now.saturating_sub(phase.since) >= LONG_PHASE
                {
                    phase.said = true;
                    self.shell.say_soon(&[format!("{}{}", phase.text, style.paint.ellipsis())]);
                }
                self.shell.say_soon(&lines::reminders(state, now, &style));
            }
            Mode::Plain | Mode::Json | Mode::None => {}
        }
    }

    fn emit(&self, event: &Event) {
        if self.mode == Mode::Json {
            self.shell.line(&json_line(event));
            return;
        }
        let mut shown = self.lock();
        let Shown { goal, phase, state, .. } = &mut *shown;
        let ended = state.apply(event, self.clock.now());
        let style = self.style(goal);
        let quiet = style.verbosity == Verbosity::Quiet;
        let failed =
            matches!(event, Event::ActionFinished { outcome: imgbuild_model::Outcome::Failed { .. }, .. });
        // With neither progress nor silence, warnings and files are said, but not what starts and ends.
        let wanted = match self.mode {
            _ if quiet => failed,
            Mode::None => failed || matches!(event, Event::Warning { .. } | Event::Artifact { .. }),
            Mode::Fancy | Mode::Plain | Mode::Json => true,
        };
        let mut lasting = Vec::new();
        if wanted {
            lasting = lines::lasting(event, ended.as_ref(), state, &style);
        }
        match event {
            Event::RunStarted { .. } => *phase = None,
            Event::RunFinished { .. } => {
                if let Some(end) = state.ended.filter(|_| !quiet) {
                    let written = std::mem::take(&mut state.written);
                    lasting.extend(lines::summary(goal, &end, &written, style.paint));
                }
                self.shell.draw_region(Vec::new());
            }
            _ => {}
        }
        self.shell.say_soon(&lasting);
    }
}

#[cfg(test)]
#[path = "ui/tests.rs"]
mod tests;
