//! What is shown, word for word, with a clock and a terminal of the test's own.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use imgbuild_digest::Hash;
use imgbuild_model::{ActionId, Outcome, Stream};

use super::*;

/// A screen that understands what the region uses: the start of the line, cursor up, erasing to the end of the line and of
/// the screen. Long lines wrap.
#[derive(Default)]
struct Screen {
    lines: Vec<String>,
    row: usize,
    column: usize,
}

impl Screen {
    fn take(&mut self, bytes: &str, columns: usize) {
        let mut rest = bytes;
        while let Some(c) = rest.chars().next() {
            if let Some(sequence) = rest.strip_prefix("\u{1b}[") {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match (&sequence[..end], &sequence[end..=end]) {
                    (count, "A") => self.row = self.row.saturating_sub(count.parse().unwrap()),
                    ("", "K") => self.current().clear_from(),
                    ("", "J") => {
                        self.current().clear_from();
                        self.lines.truncate(self.row + 1);
                    }
                    ("?2026", "h" | "l") | (_, "m") => {}
                    other => panic!("{other:?}"),
                }
                rest = &sequence[end + 1..];
                continue;
            }
            match c {
                '\n' => {
                    self.row += 1;
                    self.column = 0;
                }
                '\r' => self.column = 0,
                c => {
                    if self.column == columns {
                        self.row += 1;
                        self.column = 0;
                    }
                    self.put(c);
                }
            }
            rest = &rest[c.len_utf8()..];
        }
    }

    fn put(&mut self, c: char) {
        let column = self.column;
        let line = self.line();
        let mut characters: Vec<char> = line.chars().collect();
        characters.resize(characters.len().max(column + 1), ' ');
        characters[column] = c;
        *line = characters.into_iter().collect();
        self.column += 1;
    }

    fn line(&mut self) -> &mut String {
        if self.lines.len() <= self.row {
            self.lines.resize(self.row + 1, String::new());
        }
        &mut self.lines[self.row]
    }

    fn current(&mut self) -> Cursor<'_> {
        let column = self.column;
        Cursor { line: self.line(), column }
    }
}

struct Cursor<'a> {
    line: &'a mut String,
    column: usize,
}

impl Cursor<'_> {
    fn clear_from(self) {
        *self.line = self.line.chars().take(self.column).collect();
    }
}

#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pipe {
    fn drain(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

struct Stage {
    ui: Ui,
    out: Pipe,
    err: Pipe,
    clock: Hand,
    columns: Arc<AtomicUsize>,
    screen: Screen,
}

const PLAIN: Settings = Settings {
    verbosity: Verbosity::Normal,
    stdout_color: false,
    stderr_color: false,
    terminal: true,
    unicode: true,
    json: false,
};

impl Stage {
    fn new(mode: Mode, settings: Settings) -> Self {
        let (out, err, clock) = (Pipe::default(), Pipe::default(), Hand::default());
        let columns = Arc::new(AtomicUsize::new(80));
        let seen = Arc::clone(&columns);
        let shell = Shell::new(
            settings,
            Box::new(out.clone()),
            Box::new(err.clone()),
            Box::new(move || Size { columns: seen.load(Ordering::SeqCst), rows: 12 }),
        );
        let ui = Ui::with(shell, mode, Box::new(clock.clone()));
        ui.goal(Goal { aim: Aim::Build, targets: vec!["//examples/debian:web (linux/amd64)".to_owned()] });
        Self { ui, out, err, clock, columns, screen: Screen::default() }
    }

    fn at(&mut self, millis: u64) -> &mut Self {
        self.clock.0.store(millis, Ordering::SeqCst);
        self
    }

    fn started(&self, actions: usize, hits: usize, estimate_seconds: Option<f64>) {
        self.ui.emit(Event::RunStarted { actions, hits, estimate_seconds });
    }

    fn start(&self, id: u32, target: &str, description: &str) {
        self.ui.emit(Event::ActionStarted {
            id: ActionId(id),
            target: target.to_owned(),
            kind: "shell".to_owned(),
            description: description.to_owned(),
        });
    }

    fn output(&self, id: u32, line: &str) {
        self.ui.emit(Event::Output { id: ActionId(id), stream: Stream::Stdout, line: line.to_owned() });
    }

    fn end(&self, id: u32, target: &str, description: &str, outcome: Outcome, millis: u64) {
        self.ui.emit(Event::ActionFinished {
            id: ActionId(id),
            target: target.to_owned(),
            kind: "shell".to_owned(),
            description: description.to_owned(),
            key: Some(Hash::of(b"")),
            outcome,
            duration: Duration::from_millis(millis),
        });
    }

    fn finish(&self, success: bool, counts: [usize; 4], millis: u64) {
        let [built, hits, failed, skipped] = counts;
        let duration = Duration::from_millis(millis);
        self.ui.emit(Event::RunFinished { success, built, hits, failed, skipped, duration });
    }

    fn artifact(&self, path: &str, size: u64) {
        self.ui.emit(Event::Artifact {
            target: WEB.to_owned(),
            path: path.to_owned(),
            kind: "oci".to_owned(),
            digest: "sha256:00112233445566778899aabbccddeeff".to_owned(),
            size,
        });
    }

    /// What the terminal shows after a tick.
    fn screen(&mut self) -> String {
        self.ui.tick();
        self.now()
    }

    fn now(&mut self) -> String {
        self.screen.take(&self.err.drain(), self.columns.load(Ordering::SeqCst));
        let mut text = self.screen.lines.join("\n");
        text.truncate(text.trim_end().len());
        text
    }
}

const BASE: &str = "//examples/debian:base (linux/amd64)";
const WEB: &str = "//examples/debian:web (linux/amd64)";

#[test]
fn a_build_on_a_terminal() {
    let mut stage = Stage::new(Mode::Fancy, PLAIN);
    stage.at(0).started(40, 20, Some(75.0));
    stage.start(1, BASE, "apt_install nginx, curl");
    stage.at(1_200).start(2, WEB, "shell make install");
    stage.output(1, "Unpacking nginx (1.22.1-9) ...\r");
    stage.output(2, "\u{1b}[32mcc\u{1b}[0m -c main.c");
    assert_eq!(
        stage.at(5_000).screen(),
        "[20/40] 2 running, 20 cached, ~1m10s left\n\
         \u{20}  5.0s //examples/debian:base  apt_install nginx, curl  Unpacking nginx (1.22…\n\
         \u{20}  3.8s //examples/debian:web  shell make install  cc -c main.c"
    );
    // Lasting lines come with the next drawing, above the region.
    stage.end(1, BASE, "apt_install nginx, curl", Outcome::Built, 5_210);
    stage.end(3, WEB, "user www", Outcome::Hit, 0);
    stage.at(81_000).output(2, "cc -c util.c");
    assert_eq!(
        stage.screen(),
        "✓ //examples/debian:base  apt_install nginx, curl  5.2s\n\
         [21/40] 1 running, 20 cached\n\
         \u{20} 1m20s //examples/debian:web  shell make install  cc -c util.c"
    );
    stage.end(2, WEB, "shell make install", Outcome::Unchanged, 80_000);
    stage.artifact("imgbuild-out/examples/debian/web.oci", 47_395_635);
    stage.artifact("imgbuild-out/examples/debian/web.tar", 900);
    stage.finish(true, [2, 38, 0, 0], 81_000);
    assert_eq!(
        stage.screen(),
        "✓ //examples/debian:base  apt_install nginx, curl  5.2s\n\
         = //examples/debian:web  shell make install (gave the same result)  1m20s\n\
         Built //examples/debian:web (linux/amd64) in 1m21s: 2 built, 38 cached\n\
         \u{20} imgbuild-out/examples/debian/web.oci  45.2 MiB  sha256:001122334455\n\
         \u{20} imgbuild-out/examples/debian/web.tar     900 B  sha256:001122334455"
    );
    assert_eq!(stage.out.drain(), "");
}

#[test]
fn all_cached_takes_one_line_and_never_a_region() {
    let mut stage = Stage::new(Mode::Fancy, PLAIN);
    stage.started(13, 13, None);
    for id in 0..13 {
        stage.end(id, WEB, "user www", Outcome::Hit, 0);
    }
    stage.finish(true, [0, 13, 0, 0], 14);
    let written = stage.err.drain();
    assert_eq!(written, "//examples/debian:web (linux/amd64) is up to date (13 cached) in 14ms\n");
    stage.ui.goal(Goal { aim: Aim::Build, targets: vec![BASE.to_owned(), WEB.to_owned()] });
    stage.finish(true, [0, 13, 0, 0], 14);
    assert_eq!(stage.now(), "2 targets are up to date (13 cached) in 14ms");
}

#[test]
fn a_failure_shows_the_end_of_its_output() {
    let mut stage = Stage::new(Mode::Fancy, PLAIN);
    stage.started(3, 1, None);
    stage.start(1, WEB, "shell make install");
    for line in 0..32 {
        stage.output(1, &format!("line {line}"));
    }
    stage.screen();
    let message = "make ended with exit code 2\nand more".to_owned();
    stage.end(1, WEB, "shell make install", Outcome::Failed { message }, 1_234);
    stage.end(2, WEB, "seal", Outcome::Skipped, 0);
    stage.finish(false, [0, 1, 1, 1], 1_300);
    let shown = stage.now();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "✗ //examples/debian:web  shell make install  1.2s: make ended with exit code 2",
            "  the last 30 of 32 lines:",
            "  │ line 2",
            "  │ line 3",
        ]
    );
    assert_eq!(
        lines[31..],
        [
            "  │ line 31",
            "Failed to build //examples/debian:web (linux/amd64) in 1.3s: 1 failed, 1 cached,",
            " 1 skipped",
        ]
    );
}

#[test]
fn a_run_that_was_stopped_says_so() {
    let mut stage = Stage::new(Mode::Plain, PLAIN);
    stage.finish(false, [2, 0, 0, 3], 900);
    assert_eq!(
        stage.now(),
        "Stopped building //examples/debian:web (linux/amd64) after 900ms: 2 built, 3 ski\npped"
    );
}

#[test]
fn without_a_terminal_there_are_lines() {
    let mut stage = Stage::new(Mode::Plain, Settings { terminal: false, unicode: false, ..PLAIN });
    stage.columns.store(200, Ordering::SeqCst);
    stage.at(0).started(3, 1, Some(42.0));
    stage.start(1, BASE, "apt_install nginx");
    stage.ui.emit(Event::Waiting {
        id: ActionId(1),
        target: BASE.to_owned(),
        message: "another process builds it".to_owned(),
    });
    stage.output(1, "not shown");
    stage.at(29_000).ui.tick();
    stage.at(30_000).ui.tick();
    stage.at(31_000).ui.tick();
    stage.at(60_000).ui.tick();
    stage.end(0, BASE, "debian bookworm", Outcome::Hit, 0);
    stage.end(1, BASE, "apt_install nginx", Outcome::Built, 61_000);
    stage.ui.emit(Event::Warning { message: "the mirror is slow".to_owned() });
    stage.finish(true, [1, 1, 0, 0], 61_000);
    assert_eq!(
        stage.now(),
        "3 actions: 1 cached, 2 to run, about 42s\n\
         [1/3] start //examples/debian:base: apt_install nginx\n\
         [1/3] wait //examples/debian:base: another process builds it\n\
         [1/3] still running after 30s //examples/debian:base: apt_install nginx\n\
         [1/3] still running after 1m00s //examples/debian:base: apt_install nginx\n\
         [2/3] built //examples/debian:base: apt_install nginx in 1m01s\n\
         warning: the mirror is slow\n\
         Built //examples/debian:web (linux/amd64) in 1m01s: 1 built, 1 cached"
    );
}

#[test]
fn more_verbosity_shows_hits_and_output_and_failures_do_not_repeat_it() {
    let mut stage = Stage::new(Mode::Plain, Settings { verbosity: Verbosity::Verbose, ..PLAIN });
    stage.columns.store(200, Ordering::SeqCst);
    stage.ui.goal(Goal { aim: Aim::Build, targets: vec![WEB.to_owned(), "//a:b (linux/arm64)".to_owned()] });
    stage.started(2, 1, None);
    stage.end(0, WEB, "user www", Outcome::Hit, 0);
    stage.start(1, WEB, "shell make");
    stage.output(1, "cc -c main.c");
    stage.end(1, WEB, "shell make", Outcome::Failed { message: "exit code 1".to_owned() }, 100);
    assert_eq!(
        stage.now(),
        "2 actions: 1 cached, 1 to run\n\
         [1/2] cached //examples/debian:web (linux/amd64): user www\n\
         [1/2] start //examples/debian:web (linux/amd64): shell make\n\
         //examples/debian:web (linux/amd64) shell | cc -c main.c\n\
         [2/2] failed //examples/debian:web (linux/amd64): shell make in 100ms: exit code 1"
    );
}

#[test]
fn quiet_leaves_failures_only() {
    let mut stage = Stage::new(Mode::None, Settings { verbosity: Verbosity::Quiet, ..PLAIN });
    stage.columns.store(200, Ordering::SeqCst);
    stage.started(2, 1, None);
    stage.ui.emit(Event::Warning { message: "unseen".to_owned() });
    stage.start(1, WEB, "shell make");
    stage.end(0, WEB, "user www", Outcome::Built, 0);
    stage.artifact("out", 1);
    stage.output(1, "what it said");
    assert_eq!(stage.now(), "");
    stage.end(1, WEB, "shell make", Outcome::Failed { message: "exit code 1".to_owned() }, 100);
    stage.finish(false, [1, 0, 1, 0], 100);
    assert_eq!(
        stage.now(),
        "[2/2] failed //examples/debian:web: shell make in 100ms: exit code 1\n  │ what it said"
    );
}

#[test]
fn without_progress_the_summary_stays() {
    let mut stage = Stage::new(Mode::None, PLAIN);
    stage.columns.store(200, Ordering::SeqCst);
    stage.started(2, 1, None);
    stage.start(1, WEB, "shell make");
    stage.end(1, WEB, "shell make", Outcome::Built, 100);
    stage.artifact("out/early", 1);
    stage.finish(true, [1, 1, 0, 0], 100);
    stage.artifact("out/late", 1_024);
    assert_eq!(
        stage.now(),
        "Built //examples/debian:web (linux/amd64) in 100ms: 1 built, 1 cached\n\
         \u{20} out/early  1 B  sha256:001122334455\n\
         \u{20} out/late  1.0 KiB  sha256:001122334455"
    );
}

#[test]
fn the_region_fits_a_narrow_terminal_and_one_that_shrinks() {
    let mut stage = Stage::new(Mode::Fancy, PLAIN);
    stage.started(30, 2, None);
    for id in 0..9 {
        stage.start(id, &format!("//images/number{id}:日本 (linux/amd64)"), "shell make install");
    }
    stage.columns.store(30, Ordering::SeqCst);
    assert_eq!(
        stage.at(1_000).screen(),
        "[2/30] 9 running, 2 cached\n\
         \u{20}  1.0s //images/number0:日…\n\
         \u{20}  1.0s //images/number1:日…\n\
         \u{20}  1.0s //images/number2:日…\n\
         \u{20}  1.0s //images/number3:日…\n\
         \u{20}       and 5 more"
    );
    assert!(stage.screen.lines.iter().all(|line| console::measure_text_width(line) < 30));
    // Made narrower, the terminal wraps what stands there; the next drawing takes all of it away.
    stage.columns.store(20, Ordering::SeqCst);
    let wrapped: Vec<String> = stage
        .screen
        .lines
        .iter()
        .flat_map(|line| {
            let characters: Vec<char> = line.chars().collect();
            // Each wide character of the test fills two columns.
            let limit = if console::measure_text_width(line) > 20 { 19 } else { 20 };
            characters.chunks(limit).map(|chunk| chunk.iter().collect()).collect::<Vec<String>>()
        })
        .collect();
    stage.screen.row = wrapped.len();
    stage.screen.lines = wrapped;
    let shown = stage.at(2_000).screen();
    assert_eq!(shown.lines().count(), 6, "{shown}");
    assert!(shown.lines().all(|line| console::measure_text_width(line) < 20), "{shown}");
}

#[test]
fn other_output_goes_above_the_region() {
    let mut stage = Stage::new(Mode::Fancy, PLAIN);
    stage.started(3, 1, None);
    stage.start(1, WEB, "shell make");
    stage.screen();
    stage.ui.shell().warning("look here");
    assert_eq!(
        stage.now(),
        "warning: look here\n[1/3] 1 running, 1 cached\n   0.0s //examples/debian:web  shell make"
    );
    stage.ui.shell().line("an answer");
    assert_eq!(stage.out.drain(), "an answer\n");
    stage.ui.close();
    assert_eq!(stage.now(), "warning: look here");
    // After the end, nothing is drawn any more.
    assert_eq!(stage.screen(), "warning: look here");
}

#[test]
fn waiting_for_another_process_is_counted() {
    let mut stage = Stage::new(Mode::Fancy, PLAIN);
    stage.started(3, 1, None);
    stage.ui.emit(Event::Waiting {
        id: ActionId(1),
        target: BASE.to_owned(),
        message: "another process builds it".to_owned(),
    });
    assert_eq!(stage.screen(), "[1/3] 0 running, 1 waiting for another process, 1 cached");
    stage.end(1, WEB, "shell make", Outcome::Hit, 0);
    assert_eq!(stage.screen(), "[1/3] 0 running, 1 cached");
}

#[test]
fn a_phase_that_lasts_is_said_once_where_there_is_no_region() {
    let mut stage = Stage::new(Mode::Plain, PLAIN);
    stage.at(0).ui.phase("loading packages");
    assert_eq!(stage.at(1_000).screen(), "");
    stage.at(2_500).screen();
    assert_eq!(stage.at(9_000).screen(), "loading packages…");
}

#[test]
fn a_phase_is_shown_until_the_run_starts() {
    let mut stage = Stage::new(Mode::Fancy, PLAIN);
    stage.ui.phase("loading packages");
    assert_eq!(stage.screen(), "loading packages…");
    stage.started(3, 1, None);
    assert_eq!(stage.screen(), "[1/3] 0 running, 1 cached");
}

#[test]
fn progress_is_counted_in_percent() {
    let mut stage = Stage::new(Mode::Fancy, PLAIN);
    stage.started(3, 1, None);
    stage.start(1, WEB, "debian bookworm");
    let progress =
        |done, total| Event::Progress { id: ActionId(1), message: "downloading".into(), done, total };
    stage.ui.emit(progress(u64::MAX / 2, u64::MAX));
    assert!(stage.screen().ends_with("debian bookworm  downloading 49%"));
    stage.ui.emit(progress(3, 0));
    assert!(stage.screen().ends_with("debian bookworm  downloading"));
}

#[test]
fn json_goes_to_standard_output_and_nothing_else_does() {
    let stage = Stage::new(Mode::Json, Settings { json: true, ..PLAIN });
    stage.started(2, 1, None);
    stage.end(1, WEB, "user www", Outcome::Hit, 0);
    stage.ui.tick();
    assert_eq!(stage.out.drain().lines().next(), Some(r#"{"event":"run_started","actions":2,"hits":1}"#));
    assert_eq!(stage.err.drain(), "");
}

#[test]
fn a_closed_standard_output_is_no_failure() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let size = || Size { columns: 80, rows: 24 };
    let shell = Shell::new(PLAIN, Box::new(Closed), Box::new(Pipe::default()), Box::new(size));
    assert!(!shell.stdout_closed());
    shell.line("x");
    shell.line("y");
    assert!(shell.stdout_closed());
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let colored = Stage::new(Mode::Plain, Settings { stderr_color: true, ..PLAIN });
    colored.ui.emit(Event::Warning { message: "m".to_owned() });
    assert_eq!(colored.err.drain(), "\u{1b}[33m\u{1b}[1mwarning\u{1b}[0m\u{1b}[1m:\u{1b}[0m m\n");
    let plain = Stage::new(Mode::Plain, PLAIN);
    plain.ui.shell().line("\u{1b}[1mx\u{1b}[0m");
    assert_eq!(plain.out.drain(), "x\n");
}

#[test]
fn flags_decide_over_the_environment_and_that_over_the_streams() {
    use crate::args::{Color, Environment, Global};
    let color = |color, no_color, force_color, dumb_terminal, terminal| {
        let global = Global { color, ..Global::default() };
        let environment = Environment { no_color, force_color, dumb_terminal, ..Environment::default() };
        Settings::new(&global, &environment, false, terminal).stderr_color
    };
    assert!(color(Color::Auto, false, false, false, true));
    assert!(!color(Color::Auto, false, false, false, false));
    assert!(!color(Color::Auto, true, true, false, true));
    assert!(color(Color::Auto, false, true, false, false));
    assert!(!color(Color::Auto, false, false, true, true));
    assert!(color(Color::Always, true, false, true, false));
    assert!(!color(Color::Never, false, true, false, true));
    let mode = |progress, settings| Mode::new(progress, &settings);
    assert_eq!(mode(Progress::Auto, PLAIN), Mode::Fancy);
    assert_eq!(mode(Progress::Auto, Settings { terminal: false, ..PLAIN }), Mode::Plain);
    assert_eq!(mode(Progress::Auto, Settings { verbosity: Verbosity::Quiet, ..PLAIN }), Mode::None);
    assert_eq!(mode(Progress::Plain, PLAIN), Mode::Plain);
    assert_eq!(mode(Progress::Fancy, Settings { json: true, ..PLAIN }), Mode::Json);
}

#[test]
fn the_drawing_thread_ends_with_the_sink() {
    let err = Pipe::default();
    let size = || Size { columns: 80, rows: 24 };
    let shell = Shell::new(PLAIN, Box::new(io::sink()), Box::new(err.clone()), Box::new(size));
    let ui = Ui::new(shell, Progress::Fancy);
    ui.emit(Event::RunStarted { actions: 2, hits: 0, estimate_seconds: None });
    let deadline = Instant::now() + Duration::from_secs(10);
    while err.0.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "nothing was drawn");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(ui);
    let mut screen = Screen::default();
    screen.take(&err.drain(), 80);
    assert_eq!(screen.lines.concat(), "");
}
