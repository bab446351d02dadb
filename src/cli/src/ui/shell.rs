//! The one place that writes to the terminal: standard output, standard error, and the region at the bottom that is
//! drawn again and again. It knows no events: what to write comes from the rest of `ui` and from the verbs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::paint::Paint;
use crate::args::{Color, Environment, Global};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors, and what was asked for.
    Quiet,
    /// What happens, in short.
    #[default]
    Normal,
    /// Each cached action and the output of steps.
    Verbose,
    /// What the program does as well.
    Debug,
}

/// The size of the terminal, in columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// Where a [`Shell`] writes and how, apart from the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much is said.
    pub verbosity: Verbosity,
    /// Whether standard output gets colours.
    pub stdout_color: bool,
    /// Whether standard error gets colours.
    pub stderr_color: bool,
    /// Whether standard error is a terminal on which lines can be drawn again.
    pub terminal: bool,
    /// Whether signs beyond ASCII may be used.
    pub unicode: bool,
    /// Whether standard output is for a program: diagnostics are written there as JSON too.
    pub json: bool,
}

/// Writes everything that the program says. Failures to write are not errors of the run: nobody listens any more.
pub struct Shell {
    settings: Settings,
    size: Box<dyn Fn() -> Size + Send + Sync>,
    streams: Mutex<Streams>,
    /// Set by a panic: its message must not be drawn over.
    panicked: AtomicBool,
}

struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    out_closed: bool,
    /// The lines of the region as they stand on the terminal now.
    region: Vec<String>,
    /// Lines that wait to be written above the region when it is drawn next.
    waiting: String,
}

/// Past this many bytes, waiting lines are written at once.
const WAITING_LIMIT: usize = 64 << 10;

impl Settings {
    /// What the flags and the environment ask for; the flags decide where both do.
    #[must_use]
    pub fn new(global: &Global, environment: &Environment, stdout: bool, stderr: bool) -> Self {
        let color = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if environment.no_color => false,
            Color::Auto => environment.force_color || (terminal && !environment.dumb_terminal),
        };
        Self {
            verbosity: match (global.quiet, global.verbose) {
                (true, _) => Verbosity::Quiet,
                (false, 0) => Verbosity::Normal,
                (false, 1) => Verbosity::Verbose,
                (false, _) => Verbosity::Debug,
            },
            stdout_color: color(stdout),
            stderr_color: color(stderr),
            terminal: stderr && !environment.dumb_terminal,
            unicode: environment.unicode,
            json: global.json,
        }
    }
}

impl Shell {
    /// The shell of this process.
    #[must_use]
    pub fn of_process(global: &Global, environment: &Environment) -> Arc<Self> {
        let settings =
            Settings::new(global, environment, io::stdout().is_terminal(), io::stderr().is_terminal());
        let terminal = console::Term::stderr();
        let size = move || {
            let (rows, columns) = terminal.size_checked().unwrap_or((24, 80));
            // A terminal that does not know its size says 0.
            Size { columns: if columns == 0 { 80 } else { columns.into() }, rows: rows.max(2).into() }
        };
        Self::new(settings, Box::new(io::stdout()), Box::new(io::stderr()), Box::new(size))
    }

    /// A shell on other streams.
    #[must_use]
    pub fn new(
        settings: Settings,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        size: Box<dyn Fn() -> Size + Send + Sync>,
    ) -> Arc<Self> {
        let streams = Streams { out, err, out_closed: false, region: Vec::new(), waiting: String::new() };
        Arc::new(Self { settings, size, streams: Mutex::new(streams), panicked: AtomicBool::new(false) })
    }

    /// How it writes.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How much is said.
    #[must_use]
    pub fn verbosity(&self) -> Verbosity {
        self.settings.verbosity
    }

    /// The size of the terminal now.
    #[must_use]
    pub fn size(&self) -> Size {
        (self.size)()
    }

    /// Colours and signs for standard error.
    #[must_use]
    pub fn paint(&self) -> Paint {
        Paint { color: self.settings.stderr_color, unicode: self.settings.unicode }
    }

    /// Colours and signs for standard output.
    #[must_use]
    pub fn stdout_paint(&self) -> Paint {
        Paint { color: self.settings.stdout_color, unicode: self.settings.unicode }
    }

    /// Whether nobody reads standard output any more, so that work for it alone can end.
    #[must_use]
    pub fn stdout_closed(&self) -> bool {
        self.lock().out_closed
    }

    /// Writes what was asked for to standard output, as it is. Styles are taken out where there are no colours.
    pub fn print(&self, text: &str) {
        let text = without_styles(text, self.settings.stdout_color);
        let mut streams = self.lock();
        if streams.out_closed || text.is_empty() {
            return;
        }
        let region = streams.take_region(self.size());
        let written = streams.out.write_all(text.as_bytes()).and_then(|()| streams.out.flush());
        // A reader that has seen enough, such as `head`, is no failure; and about any other there is nobody to tell.
        streams.out_closed = written.is_err();
        streams.draw(region, self.size());
    }

    /// Writes a line of what was asked for to standard output.
    pub fn line(&self, line: &str) {
        self.print(&format!("{line}\n"));
    }

    /// Writes a line about what happens to standard error, unless told to be quiet.
    pub fn note(&self, line: &str) {
        if self.settings.verbosity > Verbosity::Quiet {
            self.say(line);
        }
    }

    /// Writes a warning, unless told to be quiet.
    pub fn warning(&self, message: &str) {
        self.note(&format!("{}{} {message}", self.paint().warn("warning"), self.paint().strong(":")));
    }

    /// Writes an error that has no place in a file. Those that do are diagnostics.
    pub fn error(&self, message: &str) {
        self.say(&format!("{}{} {message}", self.paint().bad("error"), self.paint().strong(":")));
    }

    /// Writes a line to standard error, even if told to be quiet.
    pub fn say(&self, line: &str) {
        let line = without_styles(line, self.settings.stderr_color);
        let mut streams = self.lock();
        let _ = writeln!(streams.waiting, "{line}");
        streams.flush_waiting(self.size());
    }

    /// Writes lines to standard error, even if told to be quiet; where there is a region, together with its next drawing.
    pub(super) fn say_soon(&self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let mut streams = self.lock();
        for line in lines {
            let _ = writeln!(streams.waiting, "{line}");
        }
        if streams.region.is_empty() || streams.waiting.len() > WAITING_LIMIT {
            streams.flush_waiting(self.size());
        }
    }

    /// Draws the region, and what waits to be written above it, in place of what stood there. The caller cuts the lines.
    pub(super) fn draw_region(&self, lines: Vec<String>) {
        let mut streams = self.lock();
        let lines = if self.panicked.load(Ordering::Relaxed) { Vec::new() } else { lines };
        if streams.waiting.is_empty() && streams.region == lines {
            return;
        }
        streams.draw(lines, self.size());
    }

    /// Takes the region away and writes what waits: the terminal is as if there had never been a region. Needed before
    /// another program gets the terminal.
    pub fn clear_region(&self) {
        self.lock().draw(Vec::new(), self.size());
    }

    /// Where a `tracing` subscriber may write, so that its lines do not run into the region.
    #[must_use]
    pub fn log_writer(self: &Arc<Self>) -> LogWriter {
        LogWriter { shell: Arc::clone(self), buffer: Vec::new() }
    }

    /// Makes a panic leave the terminal in order and say what to do. The process's exit code is then 101.
    pub fn report_panics(self: &Arc<Self>) {
        let shell: Weak<Self> = Arc::downgrade(self);
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(shell) = shell.upgrade() {
                shell.panicked.store(true, Ordering::Relaxed);
                // The panic may have come from within, with the lock held.
                if let Ok(mut streams) = shell.streams.try_lock() {
                    streams.draw(Vec::new(), shell.size());
                }
            }
            default(panic);
            if let Some(shell) = shell.upgrade()
                && shell.streams.try_lock().is_ok()
            {
                shell.error(
                    "this is a bug in imgbuild; please report it with the lines above and `imgbuild version`",
                );
            }
        }));
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        // What is kept is text: a panic of another thread cannot have made it wrong.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    /// Takes the region from the terminal and gives its lines.
    fn take_region(&mut self, size: Size) -> Vec<String> {
        let region = self.region.clone();
        self.draw(Vec::new(), size);
        region
    }

    fn flush_waiting(&mut self, size: Size) {
        let region = self.region.clone();
        self.draw(region, size);
    }

    /// Writes what waits and then the region, over the region that stands there: one write, between the marks that tell
    /// a terminal to show it at once.
    fn draw(&mut self, lines: Vec<String>, size: Size) {
        if self.region.is_empty() && lines.is_empty() {
            let _ = self.err.write_all(self.waiting.as_bytes()).and_then(|()| self.err.flush());
            self.waiting.clear();
            return;
        }
        let mut frame = String::from("\u{1b}[?2026h\r");
        // A terminal made narrower since has wrapped the lines that stand there.
        let rows: usize = self
            .region
            .iter()
            .map(|line| console::measure_text_width(line).div_ceil(size.columns.max(1)).max(1))
            .sum();
        if rows > 0 {
            let _ = write!(frame, "\u{1b}[{rows}A");
        }
        for line in self.waiting.lines().chain(lines.iter().map(String::as_str)) {
            let _ = writeln!(frame, "{line}\u{1b}[K");
        }
        frame.push_str("\u{1b}[J\u{1b}[?2026l");
        let _ = self.err.write_all(frame.as_bytes()).and_then(|()| self.err.flush());
        self.waiting.clear();
        self.region = lines;
    }
}

fn without_styles(text: &str, color: bool) -> std::borrow::Cow<'_, str> {
    if color { text.into() } else { console::strip_ansi_codes(text) }
}

/// Writes whole log lines to standard error through a [`Shell`].
#[derive(Clone)]
pub struct LogWriter {
    shell: Arc<Shell>,
    buffer: Vec<u8>,
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.shell.say(String::from_utf8_lossy(&self.buffer).trim_end());
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}
