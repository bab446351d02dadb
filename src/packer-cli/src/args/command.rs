//! The commands as types: what is left to do once the words are read.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use super::table::Verb;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run the builds of a template.
    Build(Build),
    /// Say what is wrong with a template.
    Validate(Validate),
    /// Say what satisfies the plugins that a template requires.
    Init(Init),
    /// Bring files into the canonical form.
    Fmt(Fmt),
    /// Say what is in a template.
    Inspect(Inspect),
    /// Evaluate expressions.
    Console(Console),
    /// Bring a legacy JSON template up to date.
    Fix(Fix),
    /// Write a legacy JSON template as HCL2.
    Hcl2Upgrade(Hcl2Upgrade),
    /// Say which version this is.
    Version,
    /// Handle plugins.
    Plugins(Plugins),
    /// Write the `BUILD.star` of a template: ours.
    Migrate(Migrate),
    /// Show the help of a command, or of the program.
    Help(Option<Verb>),
}

/// The flags that nearly every command takes, also where they mean nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Common {
    /// `-only`: which builds; names in JSON templates, globs in HCL2. Split at commas, nothing is trimmed.
    pub only: Vec<String>,
    /// `-except`: which builds and post-processors not.
    pub except: Vec<String>,
    /// `-var`: by name; of one that is given twice the last counts.
    pub vars: BTreeMap<String, String>,
    /// `-var-file`: in the order given.
    pub var_files: Vec<PathBuf>,
    /// `-config-type`: of what language a file is whose name does not say so.
    pub config_type: ConfigType,
}

/// Of what language a template is whose name does not say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfigType {
    /// Legacy JSON.
    #[default]
    Json,
    /// HCL2. It does not make a file load whose name is that of no HCL2 template.
    Hcl2,
}

/// How templates are evaluated, and with which plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// `-use-sequential-evaluation`: all data sources, then locals, as old versions did.
    pub sequential: bool,
    /// `-ignore-prerelease-plugins`: only released plugins.
    pub ignore_prerelease_plugins: bool,
}

/// `build`.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// The template: a file, a folder, or `-` for JSON on standard input.
    pub template: PathBuf,
    /// The flags of all commands.
    pub common: Common,
    /// How it is evaluated.
    pub evaluation: Evaluation,
    /// `-color`: a colour for each build. On unless switched off.
    pub color: bool,
    /// `-debug`: one build after the other, with questions in between.
    pub debug: bool,
    /// `-force`: artifacts that exist are replaced.
    pub force: bool,
    /// `-on-error`.
    pub on_error: OnError,
    /// `-parallel-builds`: how many builds run at once; `None` is no limit, which any number below 1 asks for.
    pub parallel_builds: Option<NonZeroU64>,
    /// `-timestamp-ui`: the time before each message.
    pub timestamp_ui: bool,
    /// `-warn-on-undeclared-var`: warn of variables in files that the template does not declare.
    pub warn_on_undeclared_var: bool,
    /// `-skip-enforcement`: without the provisioners that an HCP registry enforces.
    pub skip_enforcement: bool,
    /// What may be taken from the cache: ours.
    pub reuse: Reuse,
    /// Whether to build at all: ours.
    pub purpose: Purpose,
    /// `-resume`: how machines go on: ours.
    pub resume: Resume,
}

/// How a virtual machine goes on from a step that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// From its memory, where this host has kept it.
    #[default]
    Warm,
    /// From its disks.
    Cold,
    /// Not at all: its steps run again from the first.
    Never,
}

/// What to do when a step of a build fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Clean up.
    #[default]
    Cleanup,
    /// Leave all as it is.
    Abort,
    /// Ask.
    Ask,
    /// Run the `error-cleanup-provisioner`, then clean up.
    RunCleanupProvisioner,
}

/// What may be taken from the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// `-refresh`: what was fetched from networks counts as too old.
    pub refresh: bool,
    /// `-max-age`: what was fetched from networks is too old at that age; the caller's default if it is not given.
    pub max_age: Option<Duration>,
    /// `-lock`, `-locked`.
    pub lock: Lock,
}

/// What the lock file is to this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// It is used if there is one; else sources float, as in Packer.
    #[default]
    AsFound,
    /// `-lock`: what is resolved is written down.
    Write,
    /// `-locked`: what it lacks is an error.
    Required,
}

/// What the words are to lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// The artifacts.
    #[default]
    Build,
    /// `-plan`: what would run and what is cached.
    Plan,
    /// `-explain`: the same, with the inputs that moved. It includes `-plan`.
    Explain,
    /// `-check-resume`: whether machines can go on from each step. No artifacts are made.
    CheckResume,
}

/// `validate`.
#[derive(Clone, Debug, PartialEq)]
pub struct Validate {
    /// The template.
    pub template: PathBuf,
    /// The flags of all commands.
    pub common: Common,
    /// How it is evaluated.
    pub evaluation: Evaluation,
    /// `-syntax-only`: without evaluating anything.
    pub syntax_only: bool,
    /// Whether to warn of variables in files that the template does not declare; `-no-warn-undeclared-var` turns it
    /// off. Other than for `build` it is on.
    pub warn_on_undeclared_var: bool,
    /// `-evaluate-datasources`: ask data sources, which may cost something.
    pub evaluate_data_sources: bool,
}

/// `init`.
#[derive(Clone, Debug, PartialEq)]
pub struct Init {
    /// The template.
    pub template: PathBuf,
    /// The flags of all commands.
    pub common: Common,
    /// `-upgrade`: the newest that is allowed, also if one is installed.
    pub upgrade: bool,
    /// `-force`: install again.
    pub force: bool,
}

/// `fmt`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fmt {
    /// Files, folders, or `-` for standard input; at least one.
    pub paths: Vec<PathBuf>,
    /// The flags of all commands.
    pub common: Common,
    /// `-check`: only say whether something would change ([`super::exit::UNFORMATTED`]).
    pub check: bool,
    /// `-diff`: show what changes.
    pub diff: bool,
    /// `-write`: change the files. On unless switched off, and off with `-check`.
    pub write: bool,
    /// `-recursive`: go into folders.
    pub recursive: bool,
}

/// `inspect`.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspect {
    /// The template; none is a template without anything.
    pub template: Option<PathBuf>,
    /// The flags of all commands.
    pub common: Common,
    /// How it is evaluated.
    pub evaluation: Evaluation,
}

/// `console`.
#[derive(Clone, Debug, PartialEq)]
pub struct Console {
    /// The template whose names are known; none is a template without anything.
    pub template: Option<PathBuf>,
    /// The flags of all commands.
    pub common: Common,
    /// How it is evaluated.
    pub evaluation: Evaluation,
}

/// `fix`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fix {
    /// The legacy JSON template.
    pub template: PathBuf,
    /// The flags of all commands.
    pub common: Common,
    /// `-validate`: check what comes out. On unless switched off.
    pub validate: bool,
}

/// `hcl2_upgrade`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hcl2Upgrade {
    /// The legacy JSON template.
    pub template: PathBuf,
    /// The flags of all commands.
    pub common: Common,
    /// `-output-file`; if it is not given, the template's name with `.pkr.hcl` appended.
    pub output_file: PathBuf,
    /// `-with-annotations`: comments that say what each section is.
    pub with_annotations: bool,
}

/// `plugins` and the alias `plugin`.
#[derive(Clone, Debug, PartialEq)]
pub enum Plugins {
    /// `install`.
    Install(PluginsInstall),
    /// `installed`: the files of all that are there.
    Installed,
    /// `remove`.
    Remove {
        /// A source as `github.com/hashicorp/docker`, or the path of a file in the plugins' folder.
        source: String,
        /// Which versions; all if there is none.
        constraint: Option<String>,
    },
    /// `required`: what a template requires.
    Required {
        /// The template.
        template: PathBuf,
        /// The flags of all commands.
        common: Common,
    },
}

/// `plugins install`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginsInstall {
    /// A source as `github.com/hashicorp/docker`.
    pub source: String,
    /// Which versions; the newest if there is none.
    pub constraint: Option<String>,
    /// `-path`: a file on this machine in place of a release.
    pub path: Option<PathBuf>,
    /// `-force`: install again.
    pub force: bool,
    /// The flags of all commands.
    pub common: Common,
}

/// `migrate`.
#[derive(Clone, Debug, PartialEq)]
pub struct Migrate {
    /// The template.
    pub template: PathBuf,
    /// The flags of all commands.
    pub common: Common,
    /// `-output-file`; if it is not given, `BUILD.star` beside the template. `-` is standard output.
    pub output_file: Option<PathBuf>,
    /// `-force`: a file that is there is replaced.
    pub force: bool,
}
