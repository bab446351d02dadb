//! Packer's verbs on Packer's templates.
//!
//! Words are read and output is shaped by `imgbuild-packer-cli`, templates are read by `imgbuild-packer`; here both meet the
//! cache, the planner and the engine. Exit codes are Packer's.

pub(crate) mod artifact;
mod asked;
mod build;
mod chains;
mod check_resume;
mod events;
mod failure;
mod format;
mod load;
mod migrate;
mod pins;
mod prepare;
pub(crate) mod real_packer;
mod show;
mod stores;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use imgbuild::args::{Environment, Global};
use imgbuild_hcl::syntax::Source;
use imgbuild_model::{Diagnostic, Diagnostics};
use imgbuild_packer_cli::args::{self, Command, Invocation, Passthrough, Plugins, Program, Refusal, exit};
use imgbuild_packer_cli::diagnostics::Style;
use imgbuild_packer_cli::ui::{Appearance, Masker, Ui, Version};
use jiff::Zoned;

use load::Place;

/// What is typed for a template.
pub(crate) struct Typed {
    program: Program,
    invocation: Result<Invocation, Refusal>,
}

/// The flags of the program itself that Packer's verbs take too.
const PASSTHROUGH: &[Passthrough<'static>] = &[
    Passthrough { name: "cache-dir", takes_value: true },
    Passthrough { name: "config", takes_value: true },
];

/// Looks whether words, without the program's name, are for templates. `program` is the name that it was called by.
pub(crate) fn typed(program: &Path, words: &[OsString]) -> Option<Typed> {
    if program.file_name().is_some_and(|name| name == "packer") {
        return Some(Typed { program: Program::Packer, invocation: args::parse_packer(words) });
    }
    let words = as_build(words);
    if !args::concerns_template(&words, PASSTHROUGH, &is_folder_of_templates) {
        return None;
    }
    Some(Typed { program: Program::Imgbuild, invocation: args::parse_imgbuild(&words, PASSTHROUGH) })
}

/// `plan TEMPLATE` and `why TEMPLATE` as the builds that they ask about.
fn as_build(words: &[OsString]) -> Vec<OsString> {
    let flag = match words.first().and_then(|word| word.to_str()) {
        Some("plan") => "-plan",
        Some("why") => "-explain",
        _ => return words.to_vec(),
    };
    ["build", flag].map(OsString::from).into_iter().chain(words[1..].iter().cloned()).collect()
}

/// Whether a folder holds templates. One that is a package is built as such.
fn is_folder_of_templates(word: &str) -> bool {
    let folder = Path::new(word);
    let is_template = |name: &str| name.ends_with(".pkr.hcl") || name.ends_with(".pkr.json");
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    !folder.join("BUILD.star").exists()
        && entries.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_template))
}

/// Whether a command may come to make layers, for which mounts are needed.
pub(crate) fn makes_layers(typed: &Typed) -> bool {
    matches!(&typed.invocation, Ok(Invocation { command: Command::Build(_), .. }))
}

/// Prints what the user interface says, on standard output as Packer does.
pub(crate) struct Printer {
    ui: Mutex<Ui>,
    style: Style,
    cwd: PathBuf,
    /// The texts that diagnostics point into beside files: values of variables, by their names.
    sources: Mutex<Vec<Arc<Source>>>,
}

impl Printer {
    fn new(appearance: Appearance, sensitive: &[String], builds: Vec<String>, cwd: &Path) -> Self {
        let color = appearance.color && std::io::stdout().is_terminal();
        let width = std::io::stdout().is_terminal().then_some(80);
        Self {
            ui: Mutex::new(Ui::new(appearance, Masker::new(sensitive), builds)),
            style: Style { color, width },
            cwd: cwd.to_path_buf(),
            sources: Mutex::default(),
        }
    }

    fn with(&self, make: impl FnOnce(&mut Ui, &Zoned) -> String) {
        let mut ui = self.ui.lock().unwrap_or_else(PoisonError::into_inner);
        let text = make(&mut ui, &Zoned::now());
        // Whoever reads the output may stop reading.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A text as it is.
    fn print(&self, text: &str) {
        self.with(|_, _| text.to_owned());
    }

    fn say(&self, text: &str) {
        self.with(|ui, now| ui.say(now, text));
    }

    /// Masks these texts from here on.
    fn hide(&self, sensitive: &[String]) {
        self.ui.lock().unwrap_or_else(PoisonError::into_inner).set_masker(Masker::new(sensitive));
    }

    /// Texts that diagnostics may point into from here on.
    fn know(&self, sources: &[Arc<Source>]) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(sources);
    }

    /// Lets another printer know what this one knows.
    fn tell_sources(&self, other: &Self) {
        other.know(&self.sources.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A line for programs.
    fn machine(&self, kind: &str, values: &[String]) {
        self.with(|ui, now| ui.for_programs(now, kind, values));
    }

    /// What is wrong, or what the user should know.
    fn diagnostics(&self, diagnostics: &Diagnostics) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let source = |file: &str| {
            let known = sources.iter().find(|source| source.name() == file);
            known
                .map(|source| source.text().to_owned())
                .or_else(|| fs_err::read_to_string(self.cwd.join(file)).ok())
        };
        self.with(|ui, now| ui.diagnostics(now, diagnostics, &source, self.style));
    }

    fn exit_code(&self) -> u8 {
        self.ui.lock().unwrap_or_else(PoisonError::into_inner).exit_code()
    }
}

/// The program's own flags, as it reads them everywhere.
fn global(passed: &[OsString]) -> Result<Global, Diagnostics> {
    let words = std::iter::once("imgbuild".into()).chain(passed.iter().cloned()).chain(["version".into()]);
    match imgbuild::args::parse(words.collect::<Vec<_>>(), &|_| false) {
        Ok(cli) => Ok(cli.global),
        Err(imgbuild::args::Stop::Unknown(diagnostics)) => Err(diagnostics),
        Err(imgbuild::args::Stop::Said { text, .. }) => Err(Diagnostic::error(text.trim().to_owned()).into()),
    }
}

/// What a command gives: an exit code, or what is wrong.
type Done = Result<u8, Diagnostics>;

/// Carries out what was typed.
pub(crate) fn run(typed: Typed, environment: Environment) -> ExitCode {
    let Typed { program, invocation } = typed;
    let place = match Place::of_process() {
        Ok(place) => place,
        Err(diagnostics) => {
            Printer::new(Appearance::default(), &[], Vec::new(), Path::new("/")).diagnostics(&diagnostics);
            return exit::FAILURE.into();
        }
    };
    let no_color = environment.packer_no_color;
    let invocation = match invocation {
        Ok(invocation) => invocation,
        Err(refusal) => {
            let machine_readable = refusal.machine_readable;
            let printer = Printer::new(
                Appearance { machine_readable, ..Appearance::default() },
                &[],
                Vec::new(),
                &place.cwd,
            );
            printer.with(|ui, now| ui.refusal(now, program, &refusal, printer.style));
            return refusal.exit_code.into();
        }
    };
    let machine_readable = invocation.machine_readable;
    // Called by its own name, the program has colours on terminals alone; as `packer`, wherever Packer has them.
    let no_color = no_color
        || (program == Program::Imgbuild && (!std::io::stdout().is_terminal() || environment.no_color));
    let appearance = match &invocation.command {
        Command::Build(build) => Appearance::of(build, machine_readable, no_color),
        _ => Appearance { color: !no_color && !machine_readable, machine_readable, ..Appearance::default() },
    };
    let printer = Arc::new(Printer::new(appearance, &[], Vec::new(), &place.cwd));
    let done = match invocation.command {
        Command::Build(command) => global(&invocation.passed)
            .and_then(|global| build::build(&command, appearance, &printer, &place, &global, environment)),
        Command::Validate(command) => show::validate(&command, &printer, &place),
        Command::Inspect(command) => show::inspect(&command, &printer, &place),
        Command::Console(command) => show::console(&command, &printer, &place),
        Command::Fix(command) => show::fix(&command, &printer, &place),
        Command::Hcl2Upgrade(command) => show::upgrade(&command, &printer, &place),
        Command::Init(command) => show::init(&command, &printer, &place),
        Command::Plugins(Plugins::Required { template, common }) => {
            show::required(&template, &common, &printer, &place)
        }
        Command::Plugins(other) => show::plugins(&other, &printer),
        Command::Fmt(command) => format::fmt(&command, &printer, &place),
        Command::Migrate(command) => global(&invocation.passed)
            .and_then(|global| migrate::migrate(&command, &printer, &place, &global, environment)),
        Command::Version => {
            let version = Version { number: imgbuild_packer::template::VERSION, prerelease: "", commit: "" };
            printer.with(|ui, now| ui.version(now, &version));
            Ok(exit::SUCCESS)
        }
        Command::Help(topic) => {
            printer.with(|ui, now| ui.say(now, args::help(program, topic).trim_end()));
            Ok(exit::SUCCESS)
        }
    };
    match done {
        Ok(code) => code.into(),
        Err(diagnostics) => {
            printer.diagnostics(&diagnostics);
            exit::FAILURE.into()
        }
    }
}
