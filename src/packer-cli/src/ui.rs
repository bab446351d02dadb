//! What a run looks like: events go in, text for standard output comes out. Packer writes errors there too.
//!
//! As in Packer: each line of a build begins with `==> name:`, builds have colours in turn, the time stands before a
//! message and not before each of its lines, and the summary has neither. Other than in Packer: the summary is in the order
//! of the template, a line says what was taken from the cache, and sensitive values are masked in all forms and fields.

mod event;
mod machine;
mod mask;
mod time;

use std::time::Duration;

use jiff::Zoned;

use crate::args::{self, Program, Refusal, exit};
use crate::diagnostics::{self, SourceText, Style};
use imgbuild_model::{Diagnostics, Severity};

pub use event::{Artifact, BuildId, Event, Signal, Stream};
pub use mask::{MASK, Masker};

/// How a run is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appearance {
    /// A colour for each build.
    pub color: bool,
    /// The time before each message of a build.
    pub timestamps: bool,
    /// Lines for programs.
    pub machine_readable: bool,
}

impl Appearance {
    /// That of a `build`. `no_color` is whether `PACKER_NO_COLOR` is set and not empty.
    #[must_use]
    pub fn of(build: &args::Build, machine_readable: bool, no_color: bool) -> Self {
        let color = build.color && !machine_readable && !no_color;
        Self { color, timestamps: build.timestamp_ui, machine_readable }
    }
}

/// What `version` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// The version without its `v`.
    pub number: &'a str,
    /// The name of what comes before a release, or empty.
    pub prerelease: &'a str,
    /// The commit, or empty.
    pub commit: &'a str,
}

/// Green, cyan, magenta, yellow, blue.
const COLORS: [u8; 5] = [32, 36, 35, 33, 34];
const RED: u8 = 31;

/// How many steps of a row from the cache are named.
const NAMED: usize = 5;

#[derive(Clone, Copy)]
enum Level {
    Say,
    Error,
}

struct Build {
    name: String,
    /// Steps from the cache that no line has told yet, and the age of the oldest.
    cached: Vec<String>,
    oldest: Option<Duration>,
    result: Option<Result<Vec<Option<Artifact>>, String>>,
}

/// Turns what happens into text. Each function takes the time it is, and gives whole lines with their ends, or nothing.
pub struct Ui {
    appearance: Appearance,
    masker: Masker,
    builds: Vec<Build>,
    failed: bool,
}

impl Ui {
    /// For the builds of these names, in the template's order; for none, where a command has no builds.
    #[must_use]
    pub fn new(appearance: Appearance, masker: Masker, builds: impl IntoIterator<Item = String>) -> Self {
        let build = |name| Build { name, cached: Vec::new(), oldest: None, result: None };
        Self { appearance, masker, builds: builds.into_iter().map(build).collect(), failed: false }
    }

    /// Masks these from here on, in place of those before.
    pub fn set_masker(&mut self, masker: Masker) {
        self.masker = masker;
    }

    /// The builds, in the order given.
    pub fn builds(&self) -> impl Iterator<Item = BuildId> + use<> {
        (0..self.builds.len()).map(BuildId)
    }

    /// What the program exits with, by what has been told so far.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let failed = self.failed || self.builds.iter().any(|build| matches!(build.result, Some(Err(_))));
        if failed { exit::FAILURE } else { exit::SUCCESS }
    }

    /// Something to say that belongs to no build, as `The configuration is valid.`
    #[must_use]
    pub fn say(&self, now: &Zoned, text: &str) -> String {
        self.plain(now, Level::Say, text)
    }

    /// Something that went wrong and belongs to no build. The exit code is a failure from here on.
    #[must_use]
    pub fn error(&mut self, now: &Zoned, text: &str) -> String {
        self.failed = true;
        self.plain(now, Level::Error, text)
    }

    /// What is wrong with a template. The exit code is a failure from here on if there is an error among it. Programs get
    /// the same text as one event, as from Packer, and before it an event `diagnostic` for each: severity, file, line,
    /// column, message, hint.
    #[must_use]
    pub fn diagnostics(
        &mut self,
        now: &Zoned,
        diagnostics: &Diagnostics,
        source: &SourceText<'_>,
        style: Style,
    ) -> String {
        if diagnostics.0.is_empty() {
            return String::new();
        }
        let failed = diagnostics.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        self.failed |= failed;
        let level = if failed { Level::Error } else { Level::Say };
        if !self.appearance.machine_readable {
            return self.plain(now, level, &diagnostics::render(diagnostics, source, style));
        }
        let mut lines: String = diagnostics
            .0
            .iter()
            .map(|diagnostic| {
                let fields = diagnostics::fields(diagnostic);
                self.machine(now, "", "diagnostic", &fields.each_ref().map(String::as_str))
            })
            .collect();
        lines.push_str(&self.plain(now, level, &diagnostics::render(diagnostics, source, Style::default())));
        lines
    }

    /// A command line that was not understood: the help, then what is wrong.
    #[must_use]
    pub fn refusal(&mut self, now: &Zoned, program: Program, refusal: &Refusal, style: Style) -> String {
        self.failed = true;
        let help = args::help(program, refusal.topic);
        let said = refusal.diagnostic.as_deref().cloned().map(Diagnostics::from);
        // Where there is no command there is no form of its output either.
        if refusal.exit_code == exit::UNKNOWN_COMMAND {
            let said = said.map(|said| diagnostics::render(&said, &|_| None, style));
            return format!(
                "{help}{}",
                said.map(|said| format!("\n{}\n", said.trim_end())).unwrap_or_default()
            );
        }
        let mut text = self.plain(now, Level::Say, &help);
        if let Some(said) = said {
            text.push_str(&self.diagnostics(now, &said, &|_| None, style));
        }
        text
    }

    /// What `version` answers.
    #[must_use]
    pub fn version(&self, now: &Zoned, version: &Version<'_>) -> String {
        let mut lines = String::new();
        if self.appearance.machine_readable {
            // The second type is spelled as in Packer.
            for (kind, value) in [
                ("version", version.number),
                ("version-prelease", version.prerelease),
                ("version-commit", version.commit),
            ] {
                lines.push_str(&self.machine(now, "", kind, &[value]));
            }
        }
        let dash = if version.prerelease.is_empty() { "" } else { "-" };
        lines.push_str(&self.say(now, &format!("Packer v{}{dash}{}", version.number, version.prerelease)));
        lines
    }

    /// Something that belongs to no build and is for programs alone; nothing for people.
    #[must_use]
    pub fn for_programs(&self, now: &Zoned, kind: &str, values: &[String]) -> String {
        self.machine(now, "", kind, &values.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A question of a build, to be followed by the answer on the same line. `None` where programs read the output: there
    /// nobody can be asked.
    #[must_use]
    pub fn ask(&self, build: BuildId, question: &str) -> Option<String> {
        if self.appearance.machine_readable {
            return None;
        }
        let text = prefixed(&self.builds[build.0].name, &self.masker.mask(question));
        Some(format!("{} ", self.colored(COLORS[build.0 % COLORS.len()], text)))
    }

    /// What an event looks like.
    ///
    /// # Panics
    /// If the event's build is one of another `Ui` that has more of them.
    #[must_use]
    pub fn event(&mut self, now: &Zoned, event: &Event) -> String {
        let mut text = match (event.build(), event) {
            (_, Event::Cached { build, step, age }) => {
                let build = &mut self.builds[build.0];
                build.cached.push(step.clone());
                build.oldest = build.oldest.max(*age);
                return String::new();
            }
            (Some(build), _) => self.told_cached(now, build),
            (None, Event::Finished { .. }) => {
                self.builds().map(|build| self.told_cached(now, build)).collect()
            }
            (None, _) => String::new(),
        };
        text.push_str(&self.rendered(now, event));
        text
    }

    fn rendered(&mut self, now: &Zoned, event: &Event) -> String {
        let say = |build: &BuildId, text: &str| self.of_build(now, *build, "", Level::Say, text);
        let error = |build: &BuildId, text: &str| self.of_build(now, *build, "", Level::Error, text);
        match event {
            Event::Started { debug } => self.started(now, *debug),
            Event::Say { build, text } | Event::Remote { build, stream: Stream::Output, text } => {
                say(build, text)
            }
            Event::Error { build, text } | Event::Remote { build, stream: Stream::Error, text } => {
                error(build, text)
            }
            Event::Pausing { build, duration } => {
                say(build, &format!("Pausing {} before the next provisioner...", time::go(*duration)))
            }
            Event::Timeout { build, duration } => {
                say(build, &format!("Setting a {} timeout for the next provisioner...", time::go(*duration)))
            }
            Event::Retrying { build, error, left } => say(
                build,
                &format!(
                    "Provisioner failed with {}, retrying with {left} trie(s) left",
                    quoted(&self.masker.mask(error))
                ),
            ),
            Event::RetriesUsedUp { build } => say(build, "retry limit reached."),
            Event::Continuing { build, error } => say(
                build,
                &format!(
                    "Warning: Provisioner failed with {}, but continue_on_error is set; continuing the build.",
                    quoted(&self.masker.mask(error))
                ),
            ),
            Event::CleanupProvisioner { build } => {
                say(build, "Provisioning step had errors: Running the cleanup provisioner, if present...")
            }
            Event::Cached { .. } => String::new(),
            Event::PostProcessor { build, kind, stream, text } => {
                let level = match stream {
                    Stream::Output => Level::Say,
                    Stream::Error => Level::Error,
                };
                self.of_build(now, *build, &format!(" ({kind})"), level, text)
            }
            Event::BuildFinished { build, duration, result } => {
                self.build_finished(now, *build, *duration, result)
            }
            Event::Interrupted { signal } => {
                let signal = match signal {
                    Signal::Interrupt => "interrupt",
                    Signal::Terminate => "terminated",
                };
                self.plain(now, Level::Error, &format!("Cancelling build after receiving {signal}"))
            }
            Event::Finished { duration, cancelled } => self.finished(now, *duration, *cancelled),
        }
    }

    fn started(&self, now: &Zoned, debug: bool) -> String {
        let mut text = String::new();
        if debug {
            text.push_str(&self.say(now, "Debug mode enabled. Builds will not be parallelized."));
        }
        if self.appearance.color && !self.builds.is_empty() {
            for (index, build) in self.builds.iter().enumerate() {
                let banner = format!("{}: output will be in this color.", build.name);
                text.push_str(&self.colored(COLORS[index % COLORS.len()], banner));
                text.push('\n');
            }
            text.push('\n');
        }
        text
    }

    /// The line for the steps that came from the cache since the build last said something.
    fn told_cached(&mut self, now: &Zoned, id: BuildId) -> String {
        let build = &mut self.builds[id.0];
        let steps = std::mem::take(&mut build.cached);
        let oldest = build.oldest.take();
        if steps.is_empty() {
            return String::new();
        }
        let mut names = steps[..steps.len().min(NAMED)].join(", ");
        if steps.len() > NAMED {
            names.push_str(&format!(" and {} more", steps.len() - NAMED));
        }
        let (count, which) = match steps.len() {
            1 => ("1 step".to_owned(), "from"),
            many => (format!("{many} steps"), "the oldest from"),
        };
        let age = oldest.map(|age| format!(", {which} {} ago", time::spelled(age, 1))).unwrap_or_default();
        let text = format!("{names}: not run again, nothing changed ({count} cached{age})");
        self.of_build(now, id, "", Level::Say, &text)
    }

    fn build_finished(
        &mut self,
        now: &Zoned,
        id: BuildId,
        duration: Duration,
        result: &Result<Vec<Option<Artifact>>, String>,
    ) -> String {
        let (name, after) = (&self.builds[id.0].name, time::spelled(duration, 2));
        let text = match result {
            Ok(_) => self.stamped(now, id, Level::Say, format!("Build '{name}' finished after {after}.")),
            Err(error) => {
                let text = format!("Build '{name}' errored after {after}: {}", self.masker.mask(error));
                self.stamped(now, id, Level::Error, text)
            }
        };
        self.builds[id.0].result = Some(result.clone());
        text
    }

    fn finished(&mut self, now: &Zoned, duration: Duration, cancelled: bool) -> String {
        let mut text = self.say(now, &format!("\n==> Wait completed after {}", time::spelled(duration, 2)));
        if cancelled {
            self.failed = true;
            text.push_str(&self.say(now, "Cleanly cancelled builds after being interrupted."));
            return text;
        }
        self.errors(now, &mut text);
        self.artifacts(now, &mut text);
        text
    }

    fn errors(&self, now: &Zoned, text: &mut String) {
        let failed: Vec<(&str, &str)> = self
            .builds
            .iter()
            .filter_map(|build| match &build.result {
                Some(Err(error)) => Some((&*build.name, &**error)),
                _ => None,
            })
            .collect();
        if failed.is_empty() {
            return;
        }
        text.push_str(&self.machine(now, "", "error-count", &[&failed.len().to_string()]));
        text.push_str(&self.plain(
            now,
            Level::Error,
            "\n==> Some builds didn't complete successfully and had errors:",
        ));
        for (name, error) in failed {
            text.push_str(&self.machine(now, name, "error", &[error]));
            text.push_str(&self.named(now, Level::Error, name, error));
        }
    }

    fn artifacts(&self, now: &Zoned, text: &mut String) {
        let made: Vec<(&str, &[Option<Artifact>])> = self
            .builds
            .iter()
            .filter_map(|build| match &build.result {
                Some(Ok(artifacts)) if !artifacts.is_empty() => Some((&*build.name, &**artifacts)),
                _ => None,
            })
            .collect();
        if made.is_empty() {
            text.push_str(&self.say(now, "\n==> Builds finished but no artifacts were created."));
            return;
        }
        text.push_str(&self.say(now, "\n==> Builds finished. The artifacts of successful builds are:"));
        for (name, artifacts) in made {
            text.push_str(&self.machine(now, name, "artifact-count", &[&artifacts.len().to_string()]));
            for (index, artifact) in artifacts.iter().enumerate() {
                text.push_str(&self.artifact(now, name, index, artifact.as_ref()));
                let shown = artifact.as_ref().map_or("<nothing>", |artifact| &artifact.text);
                text.push_str(&self.named(now, Level::Say, name, shown));
            }
        }
    }

    /// What programs are told of an artifact.
    fn artifact(&self, now: &Zoned, build: &str, index: usize, artifact: Option<&Artifact>) -> String {
        let index = index.to_string();
        let line = |data: &[&str]| {
            let data: Vec<&str> = std::iter::once(&*index).chain(data.iter().copied()).collect();
            self.machine(now, build, "artifact", &data)
        };
        let Some(artifact) = artifact else { return line(&["nil"]) + &line(&["end"]) };
        let mut text = line(&["builder-id", &artifact.builder_id]);
        text.push_str(&line(&["id", &artifact.id]));
        text.push_str(&line(&["string", &artifact.text]));
        text.push_str(&line(&["files-count", &artifact.files.len().to_string()]));
        for (number, file) in artifact.files.iter().enumerate() {
            text.push_str(&line(&["file", &number.to_string(), file]));
        }
        text + &line(&["end"])
    }

    /// A line of the summary.
    fn named(&self, now: &Zoned, level: Level, name: &str, text: &str) -> String {
        self.masked(now, level, &format!("--> {name}: {}", self.masker.mask(text)))
    }

    /// A message of a build, or of one of its post-processors: `suffix` follows the name.
    fn of_build(&self, now: &Zoned, build: BuildId, suffix: &str, level: Level, text: &str) -> String {
        let name = format!("{}{suffix}", self.builds[build.0].name);
        let text = prefixed(&name, &self.masker.mask(text));
        self.stamped(now, build, level, text)
    }

    /// A masked message in the colour of its build, with the time before it where that is wanted.
    fn stamped(&self, now: &Zoned, build: BuildId, level: Level, text: String) -> String {
        let text = if self.appearance.timestamps { format!("{}: {text}", rfc3339(now)) } else { text };
        let color = match level {
            Level::Say => COLORS[build.0 % COLORS.len()],
            Level::Error => RED,
        };
        self.masked(now, level, &self.colored(color, text))
    }

    fn plain(&self, now: &Zoned, level: Level, text: &str) -> String {
        self.masked(now, level, &self.masker.mask(text))
    }

    /// A message that holds no secrets any more.
    fn masked(&self, now: &Zoned, level: Level, text: &str) -> String {
        if !self.appearance.machine_readable {
            return format!("{text}\n");
        }
        let level = match level {
            Level::Say => "say",
            Level::Error => "error",
        };
        machine::line(now.timestamp().as_second(), "", "ui", &[level, text])
    }

    /// An event for programs; nothing for people.
    fn machine(&self, now: &Zoned, target: &str, kind: &str, data: &[&str]) -> String {
        if !self.appearance.machine_readable {
            return String::new();
        }
        let masked: Vec<String> = data.iter().map(|field| self.masker.mask(field)).collect();
        let fields: Vec<&str> = masked.iter().map(String::as_str).collect();
        machine::line(now.timestamp().as_second(), target, kind, &fields)
    }

    fn colored(&self, color: u8, text: String) -> String {
        if self.appearance.color { format!("\x1b[1;{color}m{text}\x1b[0m") } else { text }
    }
}

/// Each line with the name before it, and no white space at the end of the whole.
fn prefixed(name: &str, text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| format!("==> {name}: {line}")).collect();
    lines.join("\n").trim_end().to_owned()
}

/// In quotes and on one line, as Go writes an error within a message.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// As Go's `time.RFC3339`: whole seconds, and `Z` without an offset.
fn rfc3339(now: &Zoned) -> String {
    let zone = if now.offset().seconds() == 0 { "Z".to_owned() } else { now.strftime("%:z").to_string() };
    format!("{}{zone}", now.strftime("%Y-%m-%dT%H:%M:%S"))
}

#[cfg(test)]
mod tests;
