//! Cancellation in two levels, shared by everything that runs.
//!
//! For: telling tasks that they are asked to stop (graceful: nothing new starts, what runs is asked to end
//! and gets a grace time) or must stop (immediate: kill and undo what can be undone in a moment), and turning
//! signals into these levels. Not for: ending tasks (the scheduler does that), undoing their effects (the
//! journal), or choosing exit codes (the command line, which finds the reason here).

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How urgently a run is asked to end. Ordered: `Immediate` is more than `Graceful`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CancelLevel {
    /// Start nothing new; end what runs in good order.
    Graceful,
    /// End now: kill child processes, keep nothing unfinished.
    Immediate,
}

/// Why a run was cancelled: the first cause stays, later ones only raise the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelReason {
    /// A signal from outside.
    Signal(StopSignal),
    /// The program itself asked, for instance because a task failed or a time limit was reached.
    Program,
}

/// The signals that end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopSignal {
    /// `SIGHUP`: the terminal went away.
    HangUp,
    /// `SIGINT`: Ctrl-C.
    Interrupt,
    /// `SIGTERM`: a service manager or a user's `kill`.
    Terminate,
}

impl StopSignal {
    /// Every signal that [`Cancel::listen_for_signals`] listens for.
    pub const ALL: [Self; 3] = [Self::HangUp, Self::Interrupt, Self::Terminate];

    /// The number of the signal on Linux (`signal(7)`). A shell expects the exit code `128 + number`.
    pub fn number(self) -> i32 {
        match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }

    fn kind(self) -> SignalKind {
        match self {
            Self::HangUp => SignalKind::hangup(),
            Self::Interrupt => SignalKind::interrupt(),
            Self::Terminate => SignalKind::terminate(),
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HangUp => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// A handle to one cancellation. Clones share it; [`Cancel::child`] makes one that follows its parent but can
/// be cancelled alone.
///
/// ```
/// # use imgbuild_engine::cancel::{Cancel, CancelLevel};
/// let run = Cancel::new();
/// let step = run.child();
/// step.cancel();
/// assert!(!run.is_cancelled());
/// run.cancel_now();
/// assert_eq!(step.level(), Some(CancelLevel::Immediate));
/// ```
#[derive(Clone)]
pub struct Cancel {
    graceful: CancellationToken,
    immediate: CancellationToken,
    reason: Arc<Reason>,
}

/// The reason of one handle, and where to look when the handle itself was not the one that was cancelled.
#[derive(Default)]
struct Reason {
    own: OnceLock<CancelReason>,
    parent: Option<Arc<Reason>>,
}

impl Reason {
    fn get(&self) -> Option<CancelReason> {
        self.own.get().copied().or_else(|| self.parent.as_ref()?.get())
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("level", &self.level()).field("reason", &self.reason()).finish()
    }
}

impl Cancel {
    /// A handle that nothing has cancelled.
    pub fn new() -> Self {
        Self {
            graceful: CancellationToken::new(),
            immediate: CancellationToken::new(),
            reason: Arc::new(Reason::default()),
        }
    }

    /// A handle that is cancelled whenever `self` is, and that can be cancelled without touching `self`.
    pub fn child(&self) -> Self {
        Self {
            graceful: self.graceful.child_token(),
            immediate: self.immediate.child_token(),
            reason: Arc::new(Reason { own: OnceLock::new(), parent: Some(self.reason.clone()) }),
        }
    }

    /// Asks for a graceful end. Nothing happens if that was asked before.
    pub fn cancel(&self) {
        self.raise(CancelLevel::Graceful, CancelReason::Program);
    }

    /// Asks for an immediate end; implies the graceful level.
    pub fn cancel_now(&self) {
        self.raise(CancelLevel::Immediate, CancelReason::Program);
    }

    /// Raises the level to at least `level`; it never falls. `reason` is kept if it is the first.
    pub fn raise(&self, level: CancelLevel, reason: CancelReason) {
        // The reason is set before the tokens, so that whoever wakes up finds it; a child that already has
        // its parent's keeps that.
        if self.reason.get().is_none() {
            let _first_wins = self.reason.own.set(reason);
        }
        self.graceful.cancel();
        if level == CancelLevel::Immediate {
            self.immediate.cancel();
        }
    }

    /// The level asked for so far.
    pub fn level(&self) -> Option<CancelLevel> {
        if self.immediate.is_cancelled() {
            Some(CancelLevel::Immediate)
        } else if self.graceful.is_cancelled() {
            Some(CancelLevel::Graceful)
        } else {
            None
        }
    }

    /// Why, if [`Cancel::level`] is set.
    pub fn reason(&self) -> Option<CancelReason> {
        self.reason.get()
    }

    /// Whether any level was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.graceful.is_cancelled()
    }

    /// Whether the immediate level was asked for.
    pub fn is_cancelled_now(&self) -> bool {
        self.immediate.is_cancelled()
    }

    /// Returns once any level has been asked for; at once if it was before. Safe to drop at any time.
    pub async fn cancelled(&self) {
        self.graceful.cancelled().await;
    }

    /// Returns once the immediate level has been asked for; at once if it was before. Safe to drop at any
    /// time.
    pub async fn cancelled_now(&self) {
        self.immediate.cancelled().await;
    }

    /// Runs `work` until it ends or any level is asked for; `None` if it was cut short. `work` is dropped
    /// then, so it must be safe to drop.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.graceful.run_until_cancelled(work).await
    }

    /// Installs handlers for `SIGINT`, `SIGTERM` and `SIGHUP`: the first signal asks for a graceful end, the
    /// second for an immediate one.
    ///
    /// The operating system's default (to end the process) stays replaced for the rest of the process's life,
    /// also after the returned listener is dropped. Must be called inside a tokio runtime with I/O enabled.
    pub fn listen_for_signals(&self) -> io::Result<SignalListener> {
        let [mut hang_up, mut interrupt, mut terminate] = {
            let [a, b, c] = StopSignal::ALL.map(|s| signal(s.kind()));
            [a?, b?, c?]
        };
        let cancel = self.clone();
        let task = tokio::spawn(async move {
            loop {
                let received = tokio::select! {
                    Some(()) = hang_up.recv() => StopSignal::HangUp,
                    Some(()) = interrupt.recv() => StopSignal::Interrupt,
                    Some(()) = terminate.recv() => StopSignal::Terminate,
                    else => return,
                };
                let level = match cancel.level() {
                    None => CancelLevel::Graceful,
                    Some(_) => CancelLevel::Immediate,
                };
                tracing::debug!(signal = %received, ?level, "asked to stop");
                cancel.raise(level, CancelReason::Signal(received));
            }
        });
        Ok(SignalListener { task })
    }
}

/// Signals are turned into cancellation for as long as this lives.
#[must_use = "signals are ignored once the listener is dropped"]
#[derive(Debug)]
pub struct SignalListener {
    task: JoinHandle<()>,
}

impl Drop for SignalListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn levels_rise_and_never_fall() {
        let cancel = Cancel::new();
        assert_eq!(cancel.level(), None);
        assert_eq!(cancel.reason(), None);
        cancel.cancel();
        assert_eq!(cancel.level(), Some(CancelLevel::Graceful));
        cancel.cancel_now();
        cancel.cancel();
        assert_eq!(cancel.level(), Some(CancelLevel::Immediate));
        assert!(CancelLevel::Immediate > CancelLevel::Graceful);
    }

    #[test]
    fn children_follow_their_parent_and_not_the_other_way_round() {
        let parent = Cancel::new();
        let (one, two) = (parent.child(), parent.child());
        one.cancel_now();
        assert!(one.is_cancelled_now());
        assert!(!parent.is_cancelled() && !two.is_cancelled());
        parent.raise(CancelLevel::Graceful, CancelReason::Signal(StopSignal::Terminate));
        assert!(two.is_cancelled() && !two.is_cancelled_now());
        assert_eq!(two.reason(), Some(CancelReason::Signal(StopSignal::Terminate)));
        assert_eq!(one.reason(), Some(CancelReason::Program), "its own cause came first");
    }

    #[test]
    fn the_first_reason_stays() {
        let cancel = Cancel::new();
        cancel.raise(CancelLevel::Graceful, CancelReason::Signal(StopSignal::Interrupt));
        cancel.cancel_now();
        assert_eq!(cancel.reason(), Some(CancelReason::Signal(StopSignal::Interrupt)));
        assert!(cancel.is_cancelled_now());
    }

    #[tokio::test]
    async fn waiting_ends_with_the_level_waited_for() {
        let cancel = Cancel::new();
        let waiter = tokio::spawn({
            let cancel = cancel.clone();
            async move {
                cancel.cancelled().await;
                let at_first = cancel.level();
                cancel.cancelled_now().await;
                (at_first, cancel.level())
            }
        });
        tokio::task::yield_now().await;
        cancel.cancel();
        tokio::task::yield_now().await;
        cancel.cancel_now();
        let seen = waiter.await.unwrap();
        assert_eq!(seen, (Some(CancelLevel::Graceful), Some(CancelLevel::Immediate)));
    }

    #[tokio::test(start_paused = true)]
    async fn unless_cancelled_gives_the_result_or_cuts_short() {
        let cancel = Cancel::new();
        assert_eq!(cancel.unless_cancelled(async { 7 }).await, Some(7));
        let slow = tokio::time::sleep(Duration::from_secs(3600));
        let later = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            later.cancel();
        });
        assert_eq!(cancel.unless_cancelled(slow).await, None);
    }

    /// Signals go to the whole process, so this test runs in a child: this very test binary, asked for this
    /// one test.
    #[test]
    fn the_first_signal_is_graceful_and_the_second_immediate() {
        const CHILD: &str = "IMGBUILD_TEST_SIGNAL_CHILD";
        if std::env::var_os(CHILD).is_none() {
            let name = concat!(module_path!(), "::the_first_signal_is_graceful_and_the_second_immediate");
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name.split_once("::").unwrap().1, "--nocapture"])
                .env(CHILD, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cancel = Cancel::new();
            let _listener = cancel.listen_for_signals().unwrap();
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::HUP).unwrap();
            cancel.cancelled().await;
            assert_eq!(cancel.level(), Some(CancelLevel::Graceful));
            assert_eq!(cancel.reason(), Some(CancelReason::Signal(StopSignal::HangUp)));
            rustix::process::kill_process(me, rustix::process::Signal::INT).unwrap();
            cancel.cancelled_now().await;
            assert_eq!(cancel.reason(), Some(CancelReason::Signal(StopSignal::HangUp)));
        });
    }
}
