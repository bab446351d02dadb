//! The command line as types: what may be typed, its help, its defaults. Nothing is looked up here: paths are as typed,
//! and what the configuration adds comes later (`config`).

mod environment;
pub(crate) mod examples;
mod values;
mod verbs;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Effects, Styles};
use clap::{ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use imgbuild_model::{Class, Diagnostics};

pub use environment::{Environment, VARIABLES, Variable};
pub use examples::{EXAMPLES, Example};
pub use values::{Age, ByteSize, Definition, ValueError};
pub use verbs::{
    Build, BuildOptions, Cache, CacheVerb, Clean, Cleanup, Completions, Diff, DiffFormat, Gc, Log, Man, Plan,
    Query, QueryOutput, Resume, Run, Selection, Shell, Test, TestOutput, Update, Variant, Verb, Verify,
    Version, Why,
};

const HELP_STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default().effects(Effects::BOLD))
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().effects(Effects::BOLD))
    .valid(AnsiColor::Cyan.on_default().effects(Effects::BOLD))
    .invalid(AnsiColor::Yellow.on_default().effects(Effects::BOLD));

/// Each exit code and what it means.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "What was asked for is there."),
    (1, "Your input is at fault: the command line, a `BUILD.star`, a step that fails, a test that fails."),
    (2, "The machine is at fault: a full disk, a missing program, a kernel setting."),
    (3, "A remote system is at fault: a mirror, a registry, a shared cache."),
    (101, "imgbuild is at fault; please report it."),
    (130, "You stopped it, with Ctrl-C."),
];

/// Build, cache and share machine images
///
/// Images are described in `BUILD.star` files as a source and a list of steps. Each step makes a layer; a layer whose
/// inputs have not changed is taken from the cache. A label alone builds: `imgbuild //a:b` is `imgbuild build //a:b`.
/// Packer's templates are built by `build`, too: `imgbuild build web.pkr.hcl`. `validate`, `inspect`, `console`, `fmt`,
/// `fix`, `hcl2_upgrade`, `init` and `plugins` are for them alone and have Packer's flags; each shows them with `-help`.
/// Under the name `packer`, this program answers as Packer does.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "imgbuild",
    bin_name = "imgbuild",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    styles = HELP_STYLES,
    max_term_width = 100,
    disable_help_subcommand = false,
    subcommand_value_name = "COMMAND"
)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The flags that every verb takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Say more: each cached action and the output of steps; twice: what the program does as well
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Say nothing but errors and what was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Whether to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_default_value = true, global = true)]
    pub color: Color,

    /// How to show what is going on
    #[arg(long, value_name = "HOW", value_enum, default_value_t, hide_default_value = true, global = true)]
    pub progress: Progress,

    /// Write JSON to standard output: a plan or a reason as one document, a run as one event a line
    #[arg(long, global = true)]
    pub json: bool,

    /// Work as if started in this folder [default: the current folder]
    #[arg(short = 'C', long, value_name = "DIR", global = true)]
    pub workspace: Option<PathBuf>,

    /// The folder of the cache [env: IMGBUILD_CACHE_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    pub cache_dir: Option<PathBuf>,

    /// Your configuration file [env: IMGBUILD_CONFIG] [default: ~/.config/imgbuild/config.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless the environment says otherwise (default)
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How to show what is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Fancy on a terminal, else plain (default)
    #[default]
    Auto,
    /// A line when an action starts, when it ends, and every 30 seconds between
    Plain,
    /// The actions that run, redrawn at the bottom of the terminal
    Fancy,
    /// Nothing but failures and the summary
    None,
}

/// Why parsing ends without a command to carry out.
#[derive(Debug)]
pub enum Stop {
    /// There is something to say, and the exit code is given: help, a version, an error with its usage.
    Said {
        /// What, with its styles as ANSI codes.
        text: String,
        /// Whether it was asked for, so belongs on standard output.
        asked_for: bool,
        /// The exit code.
        exit_code: u8,
    },
    /// The first word is neither a verb nor a pattern.
    Unknown(Diagnostics),
}

/// The command line for clap, with the examples and tables that its help ends with.
#[must_use]
pub fn command() -> Command {
    examples::add_to(Cli::command())
}

/// Reads a command line; the first word is the program's name. `is_package` says whether a folder of that name, relative
/// to the current one, is a package; it is only asked when the first word is unknown.
///
/// # Errors
/// If there is nothing to carry out: help was asked for, or the command line is wrong.
pub fn parse(words: Vec<OsString>, is_package: &dyn Fn(&str) -> bool) -> Result<Cli, Stop> {
    let mut command = command();
    let words = words::prepare(&command, words, is_package).map_err(Stop::Unknown)?;
    command
        .try_get_matches_from_mut(words)
        .and_then(|matches| Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command)))
        .map_err(|error| {
            let asked_for = !error.use_stderr();
            let exit_code = if asked_for { 0 } else { Class::Input.exit_code() };
            Stop::Said { text: words::unmarked(&error.render().ansi().to_string()), asked_for, exit_code }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, Stop> {
        let words = std::iter::once("imgbuild").chain(line.split_whitespace()).map(OsString::from).collect();
        parse(words, &|_| false)
    }

    fn refusal(line: &str) -> String {
        match parsed(line).unwrap_err() {
            Stop::Said { text, exit_code: 1, .. } => console::strip_ansi_codes(&text).into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_bare_label_with_flags_of_build() {
        let cli = parsed("-v --platform arm64,amd64 //a:b -//c:d -D mode=x=y -k --jobs 3").unwrap();
        assert_eq!(cli.global.verbose, 1);
        let Verb::Build(build) = cli.verb else { panic!() };
        assert_eq!(build.selection.patterns(), ["//a:b", "-//c:d"]);
        assert_eq!(
            build.selection.variant.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["linux/arm64", "linux/amd64"]
        );
        assert_eq!(build.selection.variant.definitions[0].value, "x=y");
        assert!(build.options.keep_going);
        assert_eq!(build.options.jobs.map(std::num::NonZero::get), Some(3));
    }

    #[test]
    fn without_a_pattern_everything_below_is_meant() {
        let Verb::Plan(plan) = parsed("plan").unwrap().verb else { panic!() };
        assert_eq!(plan.selection.patterns(), ["..."]);
    }

    #[test]
    fn what_follows_two_dashes_is_the_command() {
        let Verb::Run(run) = parsed("run //a:b -- cat -n /etc/os-release").unwrap().verb else { panic!() };
        assert_eq!(run.command, ["cat", "-n", "/etc/os-release"]);
        assert!(refusal("run //a:b cat").contains("unexpected argument 'cat'"));
    }

    #[test]
    fn wrong_values_say_what_is_right() {
        for (line, part) in [
            ("build --platform vax", "`vax` is not a platform; known are `linux/amd64`"),
            ("build -D x", "`x` is not a definition: it has no `=`; write `key=value`"),
            ("build --jobs 0", "invalid value '0' for '--jobs <N>'"),
            ("cache gc --max-age 30", "`30` has no unit"),
            ("cache gc --max-size 10Q", "there is no unit `Q`"),
            ("-v -q //a", "cannot be used with"),
            ("build --platfrom x", "a similar argument exists: '--platform'"),
            ("build --output-dir", "a value is required"),
            ("query", "required arguments were not provided"),
        ] {
            assert!(refusal(line).contains(part), "{line}: {}", refusal(line));
        }
    }

    #[test]
    fn marks_of_exclusions_never_reach_a_message() {
        assert!(!refusal("query deps(//a) -//b").contains('\0'));
    }

    #[test]
    fn help_and_version_are_asked_for() {
        for line in ["--help", "-h", "--version", "help build", "build --help", "cache gc -h"] {
            assert!(matches!(parsed(line), Err(Stop::Said { asked_for: true, exit_code: 0, .. })), "{line}");
        }
        assert!(matches!(parsed(""), Err(Stop::Said { asked_for: false, exit_code: 1, .. })));
    }
}
