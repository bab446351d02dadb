//! The verbs and their flags. The first line of each doc comment is what `-h` shows, the rest is shown by `--help`;
//! examples are in `examples`.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use imgbuild_model::Platform;

use super::values::{Age, ByteSize, Definition};
use super::words::pattern;

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Build targets and write their artifacts
    ///
    /// Layers whose inputs have not changed come from the cache. The artifacts of the targets named are written below
    /// `imgbuild-out` in the workspace, each with its digest, size and provenance beside it.
    Build(Build),

    /// Show which actions would run, and why; build nothing
    ///
    /// For each action the plan says whether its result is in the cache, and if not, which of its inputs moved. For steps in
    /// virtual machines it shows what is kept behind them, `memory` or `disk`, and marks with `<-` where the build would go
    /// on. With `--json` the whole plan is written, with each key.
    Plan(Plan),

    /// Explain why a target was built again, or would be
    ///
    /// Compares the inputs of each layer with those of the last build: which one moved, from what to what.
    Why(Why),

    /// Run a command in an image, in a throw-away copy
    ///
    /// The image is built first where that is needed. Without a command, the image's own (its entrypoint and cmd) is
    /// run. The exit code is the command's. Nothing of what it writes is kept.
    Run(Run),

    /// Open a shell in an image, or in the state where a step failed
    ///
    /// With `--failed`, the shell stands where the last build of the target failed: on the layer below the failed step,
    /// with that step's environment, user and working directory. Nothing of what it writes is kept.
    Shell(Shell),

    /// Build targets and run their tests
    ///
    /// A test runs again only if the image, or the test itself, has changed.
    Test(Test),

    /// Compare two images: files, packages, accounts, units, sizes
    ///
    /// Each may be a target, which is built where that is needed; an OCI layout, as a folder or a tar (`PATH:TAG` for one
    /// of several images); a root file system's tarball; a disk (raw, qcow2, vmdk, vhd, vhdx) with an ext4 root; a
    /// folder. Nothing is mounted and nothing in them is run. Files are compared by kind, mode, owner, contents, link and
    /// attributes. `image_diff` does the same as a test.
    Diff(Diff),

    /// Ask about the graph of targets
    ///
    /// An expression is a pattern or one of `deps(x)`, `deps(x, depth)`, `rdeps(universe, x)`, `somepath(x, y)`,
    /// `kind(glob, x)`, `attr(name, text, x)`, combined with `+`, `-` and `^` (or `union`, `except`, `intersect`)
    /// and parentheses.
    Query(Query),

    /// Move the pins in `imgbuild.lock` to what is current
    ///
    /// A build never moves a pin. This verb asks the archives and registries again and writes what they answer into the
    /// lock file; the next build uses it. Without a pattern, every pin of the workspace is moved.
    Update(Update),

    /// Show what the steps of a target said when they last ran
    Log(Log),

    /// Look at the cache, check it, make room in it
    Cache(Cache),

    /// Remove the artifacts in `imgbuild-out`
    ///
    /// The cache stays as it is, so that the next build brings them back without running anything. `imgbuild cache gc`
    /// makes room in the cache.
    Clean(Clean),

    /// Undo what runs have left that ended without tidying up
    ///
    /// Only runs that are no longer alive are touched; it can be used while others build.
    Cleanup(Cleanup),

    /// Write the completion script of a shell to standard output
    Completions(Completions),

    /// Write the manual pages into a folder
    Man(Man),

    /// Show the version, and what this program was built for
    Version(Version),
}

/// What targets are analyzed for.
#[derive(Clone, Debug, Default, Args)]
pub struct Variant {
    /// Build for this platform; several times or with commas for more [default: this machine's]
    ///
    /// `linux/amd64`, `linux/arm64`, `linux/arm`, `linux/386`, `linux/ppc64le`, `linux/riscv64` or `linux/s390x`;
    /// `linux/` may be left out.
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub platforms: Vec<Platform>,

    /// Set a flag that `config_setting` reads
    #[arg(short = 'D', long = "define", value_name = "KEY=VALUE")]
    pub definitions: Vec<Definition>,
}

/// Which targets, for what.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Targets: `//a:b`, `//a`, `:b`, `//a:all`, `//a/...`; `-//a:b` leaves one out [default: `...`, all below this folder]
    #[arg(value_name = "PATTERN", value_parser = pattern)]
    patterns: Vec<String>,

    /// For which platform and flags.
    #[command(flatten)]
    pub variant: Variant,
}

/// How to build.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Build options")]
pub struct BuildOptions {
    /// Run at most this many actions at once [default: one for each processor]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZero<usize>>,

    /// Go on with what does not depend on a failed action
    #[arg(short, long)]
    pub keep_going: bool,

    /// Fail rather than add a pin to `imgbuild.lock`
    #[arg(long)]
    pub locked: bool,

    /// Run the actions of the targets named again, though their results are in the cache
    #[arg(long)]
    pub force: bool,

    /// Build twice and list what differs
    #[arg(long)]
    pub check: bool,

    /// How a virtual machine goes on from a step that is kept
    #[arg(long, value_name = "HOW", default_value = "warm")]
    pub resume: Resume,

    /// Write artifacts below this folder [default: `imgbuild-out` in the workspace]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output_dir: Option<PathBuf>,

    /// Build, but write no artifacts
    #[arg(long, conflicts_with = "output_dir")]
    pub no_write: bool,
}

/// `imgbuild build`.
#[derive(Clone, Debug, Default, Args)]
pub struct Build {
    /// Which targets.
    #[command(flatten)]
    pub selection: Selection,

    /// Run the steps of virtual machines again, each also in a machine that is started anew, and say what differs
    ///
    /// No artifacts are written. Other layers are trees, and each of their steps starts from the tree below it.
    #[arg(long, conflicts_with = "check")]
    pub check_resume: bool,

    /// How.
    #[command(flatten)]
    pub options: BuildOptions,
}

/// `imgbuild plan`.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// Which targets.
    #[command(flatten)]
    pub selection: Selection,

    /// Fail rather than add a pin to `imgbuild.lock`
    #[arg(long)]
    pub locked: bool,
}

/// `imgbuild why`.
#[derive(Clone, Debug, Args)]
pub struct Why {
    /// Which targets.
    #[command(flatten)]
    pub selection: Selection,
}

/// `imgbuild run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The image
    #[arg(value_name = "LABEL")]
    pub label: String,

    /// The command and its arguments, after `--`
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<std::ffi::OsString>,

    /// For which platform and flags.
    #[command(flatten)]
    pub variant: Variant,
}

/// `imgbuild shell`.
#[derive(Clone, Debug, Args)]
pub struct Shell {
    /// The image
    #[arg(value_name = "LABEL")]
    pub label: String,

    /// Stand where the last build of the image failed
    #[arg(long)]
    pub failed: bool,

    /// For which platform and flags.
    #[command(flatten)]
    pub variant: Variant,
}

/// `imgbuild test`.
#[derive(Clone, Debug, Args)]
pub struct Test {
    /// Which targets.
    #[command(flatten)]
    pub selection: Selection,

    /// Run tests again though their results are in the cache
    #[arg(long)]
    pub rerun: bool,

    /// Of which tests to show the output
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub test_output: TestOutput,

    /// How.
    #[command(flatten)]
    pub options: BuildOptions,
}

/// How a virtual machine goes on from a step that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Resume {
    /// From its memory, where this host has kept it
    #[default]
    Warm,
    /// From its disks, by a boot
    Cold,
    /// Not at all: where one of its steps has to run, all above its source do
    Never,
}

impl From<imgbuild_packer_cli::args::Resume> for Resume {
    fn from(asked: imgbuild_packer_cli::args::Resume) -> Self {
        match asked {
            imgbuild_packer_cli::args::Resume::Warm => Self::Warm,
            imgbuild_packer_cli::args::Resume::Cold => Self::Cold,
            imgbuild_packer_cli::args::Resume::Never => Self::Never,
        }
    }
}

/// Of which tests to show the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TestOutput {
    /// Of those that fail
    #[default]
    Errors,
    /// Of each
    All,
    /// Of none
    None,
}

/// `imgbuild diff`.
#[derive(Clone, Debug, Args)]
pub struct Diff {
    /// What it was: a target, a file or a folder
    #[arg(value_name = "BEFORE", value_hint = ValueHint::AnyPath)]
    pub before: String,

    /// What it is: a target, a file or a folder
    #[arg(
        value_name = "AFTER",
        value_hint = ValueHint::AnyPath,
        required_unless_present = "last",
        conflicts_with = "last"
    )]
    pub after: Option<String>,

    /// Compare the last other result of the target with what it is now
    #[arg(long)]
    pub last: bool,

    /// Leave out files whose paths match this glob, as `/var/log/**`; a folder's name takes in what is below
    #[arg(long, value_name = "GLOB")]
    pub ignore: Vec<String>,

    /// Compare nothing but files whose paths match this glob
    #[arg(long = "path", value_name = "GLOB")]
    pub paths: Vec<String>,

    /// Show the lines that small text files differ in
    #[arg(long)]
    pub text: bool,

    /// Compare the times of files, too
    #[arg(long)]
    pub times: bool,

    /// Do not compare the owners of files
    #[arg(long)]
    pub no_owners: bool,

    /// List everything, also long lists and the files of packages that changed
    #[arg(long)]
    pub all: bool,

    /// How to write what was found
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: DiffFormat,

    /// End with exit code 1 if something differs
    #[arg(long)]
    pub exit_code: bool,

    /// For which platform and flags.
    #[command(flatten)]
    pub variant: Variant,
}

/// How to write what a comparison found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people
    #[default]
    Text,
    /// A JSON document with everything; docs/diff.md describes it
    Json,
}

/// `imgbuild query`.
#[derive(Clone, Debug, Args)]
pub struct Query {
    /// The expression
    #[arg(value_name = "EXPRESSION")]
    pub expression: String,

    /// How to write the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: QueryOutput,

    /// For which platform and flags.
    #[command(flatten)]
    pub variant: Variant,
}

/// How to write the answer to a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum QueryOutput {
    /// One label a line
    #[default]
    Label,
    /// A JSON document: each target with its rule, attributes and dependencies
    Json,
    /// A graph for Graphviz
    Dot,
}

/// `imgbuild update`.
#[derive(Clone, Debug, Args)]
pub struct Update {
    /// Targets whose pins to move [default: each of the workspace]
    #[arg(value_name = "PATTERN", value_parser = pattern)]
    patterns: Vec<String>,

    /// Show what would move, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// For which platform and flags.
    #[command(flatten)]
    pub variant: Variant,
}

/// `imgbuild log`.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// The target
    #[arg(value_name = "LABEL")]
    pub label: String,

    /// Only this step, counted from 1
    #[arg(long, value_name = "N")]
    pub step: Option<NonZero<usize>>,

    /// For which platform and flags.
    #[command(flatten)]
    pub variant: Variant,
}

/// `imgbuild cache`.
#[derive(Clone, Debug, Args)]
pub struct Cache {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: CacheVerb,
}

/// What to do with the cache.
#[derive(Clone, Debug, Subcommand)]
pub enum CacheVerb {
    /// Show how much is in it, and of what
    Stats,

    /// Read all of it and compare it with its digests
    Verify(Verify),

    /// Remove what was not used for longest
    ///
    /// What running builds use is never removed. Without flags, the limits of the configuration hold.
    Gc(Gc),

    /// Show the folder where it lies
    Path,
}

/// `imgbuild cache verify`.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// Remove what is damaged, so that it is built again
    #[arg(long)]
    pub repair: bool,
}

/// `imgbuild cache gc`.
#[derive(Clone, Debug, Args)]
pub struct Gc {
    /// Remove until no more than this is left, as `10GiB`
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<ByteSize>,

    /// Remove what was not used for so long, as `30d`
    #[arg(long, value_name = "AGE")]
    pub max_age: Option<Age>,

    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `imgbuild clean`.
#[derive(Clone, Debug, Args)]
pub struct Clean {}

/// `imgbuild cleanup`.
#[derive(Clone, Debug, Args)]
pub struct Cleanup {}

/// `imgbuild completions`.
#[derive(Clone, Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: clap_complete::Shell,
}

/// `imgbuild man`.
#[derive(Clone, Debug, Args)]
pub struct Man {
    /// The folder, which is made if it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

/// `imgbuild version`.
#[derive(Clone, Debug, Args)]
pub struct Version {}

impl Selection {
    /// The patterns as typed, those to leave out with `-` before them; `...` where none is typed.
    #[must_use]
    pub fn patterns(&self) -> Vec<&str> {
        if self.patterns.is_empty() {
            return vec!["..."];
        }
        self.patterns.iter().map(String::as_str).collect()
    }
}

impl Update {
    /// The patterns as typed; `//...` where none is typed.
    #[must_use]
    pub fn patterns(&self) -> Vec<&str> {
        if self.patterns.is_empty() {
            return vec!["//..."];
        }
        self.patterns.iter().map(String::as_str).collect()
    }
}
