//! Packer's command line as types, by the rules of Go's `flag` package: `-x` and `--x` are the same, a value follows after
//! `=` or as the next word, a switch takes its value only after `=`, and the first word that is no flag ends the flags.
//!
//! Two programs are served. Called `packer`, the rules hold strictly ([`parse_packer`]). As `imgbuild build x.pkr.hcl`,
//! flags may also follow the template and there are flags of our own ([`parse_imgbuild`]). Nothing is looked up here:
//! paths are as typed, and the environment is the caller's.

mod command;
mod flags;
mod help;
mod read;
mod table;
mod template;
mod value;

use std::ffi::OsString;
use std::fmt;

use imgbuild_model::{Diagnostic, did_you_mean};

pub use command::{
    Build, Command, Common, ConfigType, Console, Evaluation, Fix, Fmt, Hcl2Upgrade, Init, Inspect, Lock,
    Migrate, OnError, Plugins, PluginsInstall, Purpose, Resume, Reuse, Validate,
};
pub use help::help;
pub use table::{Passthrough, Verb};
pub use template::{concerns_template, is_template};

/// The exit codes of Packer.
pub mod exit {
    /// What was asked for is done; warnings do not change that.
    pub const SUCCESS: u8 = 0;
    /// Anything else: a wrong command line, a template that is refused, a build that failed or was cancelled.
    pub const FAILURE: u8 = 1;
    /// `fmt -check` found something to change.
    pub const UNFORMATTED: u8 = 3;
    /// There is no such command, or none was given.
    pub const UNKNOWN_COMMAND: u8 = 127;
}

/// Under which name the program was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `packer`: Packer's rules to the letter.
    Packer,
    /// `imgbuild`: flags may follow the template, and there are flags of our own.
    Imgbuild,
}

/// A command line that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// Whether `-machine-readable` was anywhere among the words: output in lines for programs, never in colour.
    pub machine_readable: bool,
    /// The words that belong to the program itself ([`Passthrough`]), in their order; empty when called `packer`.
    pub passed: Vec<OsString>,
}

/// A command line that was not understood. Packer shows the help first, then what is wrong, both on standard output.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// What is wrong; nothing if the help alone says it, as when no command was given.
    pub diagnostic: Option<Box<Diagnostic>>,
    /// Of what to show the help: a command, or the program (`None`).
    pub topic: Option<Verb>,
    /// The exit code.
    pub exit_code: u8,
    /// Whether `-machine-readable` was among the words.
    pub machine_readable: bool,
}

impl Program {
    /// The word that is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Packer => "packer",
            Self::Imgbuild => "imgbuild",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Refusal {
    fn new(topic: Option<Verb>, exit_code: u8, diagnostic: Option<Diagnostic>) -> Self {
        Self { diagnostic: diagnostic.map(Box::new), topic, exit_code, machine_readable: false }
    }
}

/// Reads the words behind the program's name `packer`.
///
/// `-machine-readable` is taken out wherever it stands, `-v`, `-version` and `--version` make any line the command
/// `version`, and `-h`, `-help` and `--help` any command its help.
///
/// # Errors
/// If there is no such command (exit code 127), or its flags or arguments are wrong (exit code 1).
pub fn parse_packer(words: &[OsString]) -> Result<Invocation, Refusal> {
    let (words, machine_readable) = without_machine_readable(words);
    let marked = |refusal: Refusal| Refusal { machine_readable, ..refusal };
    let before_escape = || words.iter().take_while(|word| *word != "--");
    if before_escape().any(|word| ["-v", "-version", "--version"].iter().any(|flag| word == flag)) {
        return Ok(Invocation { command: Command::Version, machine_readable, passed: Vec::new() });
    }
    if let Some(word) = before_escape().find(|word| is_completion_flag(word)) {
        return Err(marked(no_completions(&word.to_string_lossy())));
    }
    let asks_for_help = before_escape().any(is_help);
    let first = words.iter().position(|word| word == "--" || !begins_with_dash(word));
    let Some(first) = first.filter(|index| words[*index] != "--" && !words[*index].is_empty()) else {
        return match asks_for_help {
            true => Ok(Invocation { command: Command::Help(None), machine_readable, passed: Vec::new() }),
            false => Err(marked(Refusal::new(None, exit::UNKNOWN_COMMAND, None))),
        };
    };
    let (verb, used) = table::find(Program::Packer, &words[first..])
        .ok_or_else(|| marked(unknown(Program::Packer, &words[first].to_string_lossy())))?;
    if asks_for_help {
        return Ok(Invocation { command: Command::Help(Some(verb)), machine_readable, passed: Vec::new() });
    }
    if let Some(flag) = words[..first].first() {
        let diagnostic = before_command(Program::Packer, flag, verb.name());
        return Err(marked(Refusal::new(Some(verb), exit::FAILURE, Some(diagnostic))));
    }
    let read = read::command(Program::Packer, verb, &words[first + used..], &[]).map_err(marked)?;
    Ok(Invocation { machine_readable: machine_readable || read.machine_readable, ..read })
}

/// Reads the words behind the program's name `imgbuild`, of which [`concerns_template`] says that they are for here. Flags
/// may stand before and behind the arguments, up to `--`. `passthrough` names the flags that the program reads itself, which
/// may also stand before the command; they come back in [`Invocation::passed`].
///
/// # Errors
/// As [`parse_packer`].
pub fn parse_imgbuild(words: &[OsString], passthrough: &[Passthrough<'_>]) -> Result<Invocation, Refusal> {
    let (words, machine_readable) = without_machine_readable(words);
    let marked = |refusal: Refusal| Refusal { machine_readable, ..refusal };
    let first = flags::skip(&words, passthrough);
    let Some(word) = words.get(first) else {
        return Err(marked(Refusal::new(None, exit::UNKNOWN_COMMAND, None)));
    };
    if flags::is_flag(word) {
        let diagnostic = before_command(Program::Imgbuild, word, "<command>");
        return Err(marked(Refusal::new(None, exit::FAILURE, Some(diagnostic))));
    }
    let (verb, used) = table::find(Program::Imgbuild, &words[first..])
        .ok_or_else(|| marked(unknown(Program::Imgbuild, &word.to_string_lossy())))?;
    if words.iter().take_while(|word| *word != "--").any(is_help) {
        return Ok(Invocation { command: Command::Help(Some(verb)), machine_readable, passed: Vec::new() });
    }
    let mut read =
        read::command(Program::Imgbuild, verb, &words[first + used..], passthrough).map_err(marked)?;
    read.passed.splice(..0, words[..first].iter().cloned());
    Ok(Invocation { machine_readable: machine_readable || read.machine_readable, ..read })
}

fn without_machine_readable(words: &[OsString]) -> (Vec<OsString>, bool) {
    let kept: Vec<OsString> = words.iter().filter(|word| *word != "-machine-readable").cloned().collect();
    let found = kept.len() < words.len();
    (kept, found)
}

fn begins_with_dash(word: &OsString) -> bool {
    word.as_encoded_bytes().first() == Some(&b'-')
}

fn is_help(word: &OsString) -> bool {
    ["-h", "-help", "--help"].iter().any(|flag| word == flag)
}

fn is_completion_flag(word: &OsString) -> bool {
    let bytes = word.as_encoded_bytes();
    let name = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"));
    matches!(name, Some(b"autocomplete-install" | b"autocomplete-uninstall"))
}

fn no_completions(flag: &str) -> Refusal {
    let diagnostic = Diagnostic::error(format!("`{flag}` is not supported: no shell's files are changed"))
        .hint("`imgbuild completions bash` writes completions for a shell of your choice");
    Refusal::new(None, exit::FAILURE, Some(diagnostic))
}

fn before_command(program: Program, flag: &OsString, command: &str) -> Diagnostic {
    let name = flag.to_string_lossy();
    Diagnostic::error(format!("the flag `{name}` stands before the command"))
        .hint(format!("flags follow their command: `{program} {command} [flags]`"))
}

fn unknown(program: Program, word: &str) -> Refusal {
    let diagnostic = match word {
        "execute" | "sbom-generate" => Diagnostic::error(format!("`{word}` is internal to Packer"))
            .hint("it is how Packer runs its own components; there is nothing to call here"),
        "verify-attestation" => Diagnostic::error("`verify-attestation` is not supported")
            .hint("a `packer` of version 1.16 or newer, or `cosign verify-attestation`, checks attestations"),
        word => {
            let near = did_you_mean(word, table::shown(program).map(Verb::name));
            let hint = near.map(|verb| format!("did you mean `{program} {verb}`?"));
            Diagnostic::error(format!("`{word}` is not a command of `{program}`")).maybe_hint(hint)
        }
    };
    Refusal::new(None, exit::UNKNOWN_COMMAND, Some(diagnostic))
}

#[cfg(test)]
mod tests;
