//! The verbs that read templates, in Packer's manner: its flags, its exit codes, its output. They are carried out for
//! `imgbuild validate` and so on, and for every word where the program is called `packer`.
//!
//! What a template means is in `imgbuild-packer`; here is what it takes to reach it from a command line.

mod disk;
mod flags;
mod format;
mod output;
mod template;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use imgbuild::args::{Environment, Global};
use imgbuild::ui::Shell;

use flags::{Flag, Parsed, Stop};
use output::Output;

/// The exit code of a word that is no verb, as Packer's.
const UNKNOWN_VERB: u8 = 127;

/// A verb: its name, the flags that it takes beside those of all, its help, and what it does.
struct Verb {
    name: &'static str,
    flags: &'static [Flag],
    usage: &'static str,
    run: fn(&Parsed, &Output) -> ExitCode,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "console",
        flags: template::CONSOLE_FLAGS,
        usage: template::CONSOLE_USAGE,
        run: template::console,
    },
    Verb { name: "fmt", flags: format::FLAGS, usage: format::USAGE, run: format::run },
    Verb {
        name: "inspect",
        flags: template::INSPECT_FLAGS,
        usage: template::INSPECT_USAGE,
        run: template::inspect,
    },
    Verb {
        name: "validate",
        flags: template::VALIDATE_FLAGS,
        usage: template::VALIDATE_USAGE,
        run: template::validate,
    },
];

/// What a command line asks for, if it is one of these verbs or the program is called `packer`.
pub(crate) struct Call {
    words: Vec<String>,
    environment: Environment,
}

impl Call {
    /// The first word is the program's name.
    pub(crate) fn of(words: &[OsString], environment: &Environment) -> Option<Self> {
        let name = words.first().and_then(|word| Path::new(word).file_stem()?.to_str());
        let first = words.get(1).and_then(|word| word.to_str());
        let is_verb = first.is_some_and(|first| VERBS.iter().any(|verb| verb.name == first));
        (name == Some("packer") || is_verb).then(|| Self {
            words: words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
            environment: environment.clone(),
        })
    }

    /// Carries it out.
    pub(crate) fn run(mut self) -> ExitCode {
        let is_machine = |word: &String| word == "-machine-readable" || word == "--machine-readable";
        let machine = self.words.iter().any(is_machine);
        self.words.retain(|word| !is_machine(word));
        if self.environment.packer_no_color || machine {
            self.environment.no_color = true;
        }
        let shell: Arc<Shell> = Shell::of_process(&Global::default(), &self.environment);
        shell.report_panics();
        let output = Output::new(shell, machine);
        let Some(verb) = self.words.first().and_then(|word| VERBS.iter().find(|verb| verb.name == word))
        else {
            output.error(&unknown(self.words.first().map(String::as_str)));
            return UNKNOWN_VERB.into();
        };
        match flags::parse(verb.flags, &self.words[1..]) {
            Ok(parsed) => (verb.run)(&parsed, &output),
            Err(Stop::Help) => {
                output.say(&help(verb));
                ExitCode::SUCCESS
            }
            Err(Stop::Wrong(message)) => {
                output.error(&format!("error: {message}\n\n{}", help(verb)));
                ExitCode::FAILURE
            }
        }
    }
}

fn help(verb: &Verb) -> String {
    let flags = verb.flags.iter().map(|flag| {
        let value = if flag.takes_value { "=…" } else { "" };
        format!("  {:<34}{}\n", format!("-{}{value}", flag.name), flag.doc)
    });
    format!("Usage: {} {}\n\nOptions:\n\n{}", verb.name, verb.usage, flags.collect::<String>())
}

fn unknown(word: Option<&str>) -> String {
    let names: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
    let word = word.map_or_else(
        || "a command is missing".to_owned(),
        |word| format!("there is no command `{word}` for templates"),
    );
    format!("error: {word}; there are {}", names.join(", "))
}
