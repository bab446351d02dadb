//! The commands and their flags as a table, from which words are read and helps are written.

use std::ffi::OsString;
use std::fmt;

use super::Program;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `build`
    Build,
    /// `console`
    Console,
    /// `fix`
    Fix,
    /// `fmt`
    Fmt,
    /// `hcl2_upgrade`
    Hcl2Upgrade,
    /// `init`
    Init,
    /// `inspect`
    Inspect,
    /// `migrate`: ours, as it writes a `BUILD.star`
    Migrate,
    /// `plugins` without a command of its own
    Plugins,
    /// `plugins install`
    PluginsInstall,
    /// `plugins installed`
    PluginsInstalled,
    /// `plugins remove`
    PluginsRemove,
    /// `plugins required`
    PluginsRequired,
    /// `validate`
    Validate,
    /// `version`
    Version,
}

/// A flag that the program itself reads, also behind a command of templates. Names are without dashes, and one dash is
/// as good as two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passthrough<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether the next word is its value if there is no `=`.
    pub takes_value: bool,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// A whole number.
    Number,
    /// Any text; the last counts.
    Text,
    /// Texts with commas between; repeated, they add up.
    List,
    /// `name=value`, repeated.
    Pair,
    /// Any text, repeated.
    Each,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A span of time.
    Age,
}

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What stands for its value in the help; for a switch that is on by default `=false`.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Whether Packer has no such flag.
    pub ours: bool,
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Switch, value: "", help, ours: false }
}

const fn on(name: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Switch, value: "=false", help, ours: false }
}

const fn valued(name: &'static str, kind: Kind, value: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, value, help, ours: false }
}

const fn ours(flag: Flag) -> Flag {
    Flag { ours: true, ..flag }
}

pub(super) const ON_ERROR: &[&str] = &["cleanup", "abort", "ask", "run-cleanup-provisioner"];
pub(super) const RESUME: &[&str] = &["warm", "cold", "never"];
pub(super) const CONFIG_TYPES: &[&str] = &["json", "hcl2"];

const MACHINE_READABLE: Flag =
    switch("machine-readable", "Write lines of `time,target,type,data` for programs, without colours");
const SEQUENTIAL: Flag =
    switch("use-sequential-evaluation", "Evaluate all data sources first and locals after them");
const RELEASES_ONLY: Flag =
    switch("ignore-prerelease-plugins", "Use no plugin that is not a released version");

const COMMON: &[Flag] = &[
    valued("var", Kind::Pair, "NAME=VALUE", "Set a variable; may be repeated, and wins over any file"),
    valued("var-file", Kind::Each, "FILE", "Read variables from a file (HCL2 or JSON); may be repeated"),
    valued("only", Kind::List, "A,B", "Take only these builds: names in JSON templates, globs in HCL2"),
    valued("except", Kind::List, "A,B", "Leave out these builds and post-processors"),
    valued(
        "config-type",
        Kind::Choice(CONFIG_TYPES),
        "json|hcl2",
        "The language of a template whose name does not say it [default: json]",
    ),
];

const BUILD: &[Flag] = &[
    on("color", "Do without a colour for each build"),
    switch("debug", "Run one build after the other, and ask before each provisioner"),
    switch("force", "Replace artifacts that exist"),
    MACHINE_READABLE,
    valued(
        "on-error",
        Kind::Choice(ON_ERROR),
        "HOW",
        "When a step fails: cleanup (default), abort, ask, or run-cleanup-provisioner",
    ),
    valued("parallel-builds", Kind::Number, "N", "Run at most so many builds at once [default: 0, no limit]"),
    switch("timestamp-ui", "Write the time before each message"),
    switch("warn-on-undeclared-var", "Warn of variables in files that the template does not declare"),
    RELEASES_ONLY,
    SEQUENTIAL,
    switch("skip-enforcement", "Do without the provisioners that an HCP registry enforces"),
    ours(switch("refresh", "Fetch again what came from networks, whatever its age")),
    ours(valued(
        "max-age",
        Kind::Age,
        "DURATION",
        "Fetch again what came from networks if it is older, as `12h` or `7d`",
    )),
    ours(switch("lock", "Write down in the lock file what sources resolve to")),
    ours(switch("locked", "Fail if the lock file lacks a source, and change nothing in it")),
    ours(switch("plan", "Build nothing: say which steps would run, and which are cached")),
    ours(switch("explain", "Build nothing: say for each step that would run which input moved")),
    ours(valued(
        "resume",
        Kind::Choice(RESUME),
        "HOW",
        "How a machine goes on from a kept step: warm (default), cold, or never: all run again",
    )),
    ours(switch(
        "check-resume",
        "Make no artifact: run each step of a machine on one started anew, too, and compare",
    )),
];

const VALIDATE: &[Flag] = &[
    switch("syntax-only", "Only read the template; evaluate nothing"),
    switch("no-warn-undeclared-var", "Do not warn of variables in files that the template does not declare"),
    switch("evaluate-datasources", "Ask data sources too, which may cost something (HCL2)"),
    MACHINE_READABLE,
    RELEASES_ONLY,
    SEQUENTIAL,
];

const INIT: &[Flag] = &[
    switch("upgrade", "Take the newest version that is allowed, also where one is installed"),
    switch("force", "Install again what is installed"),
];

const FMT: &[Flag] = &[
    switch("check", "Change nothing; exit with 3 if something would change"),
    switch("diff", "Show what changes"),
    on("write", "Do not change the files"),
    switch("recursive", "Go into folders below"),
];

const INSPECT: &[Flag] = &[MACHINE_READABLE, SEQUENTIAL];
const CONSOLE: &[Flag] = &[SEQUENTIAL];
const FIX: &[Flag] = &[on("validate", "Do not check the template that comes out")];

const HCL2_UPGRADE: &[Flag] = &[
    valued("output-file", Kind::Text, "FILE", "Where to write [default: TEMPLATE.pkr.hcl]"),
    switch("with-annotations", "Write comments that explain each section"),
];

const PLUGINS_INSTALL: &[Flag] = &[
    valued("path", Kind::Text, "FILE", "Install this file in place of a release"),
    switch("force", "Install again what is installed"),
];

const MIGRATE: &[Flag] = &[
    valued(
        "output-file",
        Kind::Text,
        "FILE",
        "Where to write, `-` for standard output [default: BUILD.star beside it]",
    ),
    switch("force", "Replace a file that is there"),
];

const ALL: [Verb; 15] = [
    Verb::Build,
    Verb::Console,
    Verb::Fix,
    Verb::Fmt,
    Verb::Hcl2Upgrade,
    Verb::Init,
    Verb::Inspect,
    Verb::Migrate,
    Verb::Plugins,
    Verb::PluginsInstall,
    Verb::PluginsInstalled,
    Verb::PluginsRemove,
    Verb::PluginsRequired,
    Verb::Validate,
    Verb::Version,
];

impl Verb {
    /// Each command, those of `plugins` behind it.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The first words that `imgbuild` takes as commands of templates. `build` is among them, and is one of targets too:
    /// [`super::concerns_template`] tells which is meant. `version` is not: that is the program's own.
    pub fn of_templates() -> impl Iterator<Item = &'static str> {
        shown(Program::Imgbuild).map(Self::name)
    }

    /// As it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Console => "console",
            Self::Fix => "fix",
            Self::Fmt => "fmt",
            Self::Hcl2Upgrade => "hcl2_upgrade",
            Self::Init => "init",
            Self::Inspect => "inspect",
            Self::Migrate => "migrate",
            Self::Plugins => "plugins",
            Self::PluginsInstall => "plugins install",
            Self::PluginsInstalled => "plugins installed",
            Self::PluginsRemove => "plugins remove",
            Self::PluginsRequired => "plugins required",
            Self::Validate => "validate",
            Self::Version => "version",
        }
    }

    /// Whether it is a command of `plugins`.
    pub(super) fn is_of_plugins(self) -> bool {
        matches!(
            self,
            Self::PluginsInstall | Self::PluginsInstalled | Self::PluginsRemove | Self::PluginsRequired
        )
    }

    /// The arguments, as a help writes them.
    pub(super) fn arguments(self) -> &'static str {
        match self {
            Self::Build | Self::Validate | Self::Init | Self::PluginsRequired | Self::Migrate => "TEMPLATE",
            Self::Console | Self::Inspect => "[TEMPLATE]",
            Self::Fix | Self::Hcl2Upgrade => "TEMPLATE.json",
            Self::Fmt => "PATH...",
            Self::PluginsInstall => "SOURCE [VERSION]",
            Self::PluginsRemove => "SOURCE [VERSION] | FILE",
            Self::Plugins => "COMMAND",
            Self::PluginsInstalled | Self::Version => "",
        }
    }

    fn has_common_flags(self) -> bool {
        !matches!(self, Self::Plugins | Self::PluginsInstalled | Self::PluginsRemove | Self::Version)
    }

    fn own_flags(self) -> &'static [Flag] {
        match self {
            Self::Build => BUILD,
            Self::Console => CONSOLE,
            Self::Fix => FIX,
            Self::Fmt => FMT,
            Self::Hcl2Upgrade => HCL2_UPGRADE,
            Self::Init => INIT,
            Self::Inspect => INSPECT,
            Self::Migrate => MIGRATE,
            Self::PluginsInstall => PLUGINS_INSTALL,
            Self::Validate => VALIDATE,
            Self::Plugins
            | Self::PluginsInstalled
            | Self::PluginsRemove
            | Self::PluginsRequired
            | Self::Version => &[],
        }
    }

    /// The flags that it has in a program.
    pub(super) fn flags(self, program: Program) -> impl Iterator<Item = &'static Flag> {
        let common: &[Flag] = if self.has_common_flags() { COMMON } else { &[] };
        let with_ours = program == Program::Imgbuild;
        self.own_flags().iter().chain(common).filter(move |flag| with_ours || !flag.ours)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The commands that a program's help lists: without those of `plugins`.
pub(super) fn shown(program: Program) -> impl Iterator<Item = Verb> {
    let hidden = match program {
        Program::Packer => Verb::Migrate,
        Program::Imgbuild => Verb::Version,
    };
    ALL.into_iter().filter(move |verb| !verb.is_of_plugins() && *verb != hidden)
}

/// The command that words begin with, and how many of them name it.
pub(super) fn find(program: Program, words: &[OsString]) -> Option<(Verb, usize)> {
    let first = words.first()?.to_str()?;
    let first = if first == "plugin" { "plugins" } else { first };
    let verb = shown(program).find(|verb| verb.name() == first)?;
    if verb == Verb::Plugins
        && let Some(second) = words.get(1).and_then(|word| word.to_str())
        && let Some(of_plugins) = of_plugins().find(|verb| verb.name().ends_with(&format!(" {second}")))
    {
        return Some((of_plugins, 2));
    }
    Some((verb, 1))
}

/// The commands of `plugins`.
pub(super) fn of_plugins() -> impl Iterator<Item = Verb> {
    ALL.into_iter().filter(|verb| verb.is_of_plugins())
}
