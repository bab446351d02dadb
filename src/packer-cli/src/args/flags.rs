//! Words into flags and arguments, by the rules of Go's `flag` package, with the flags of the table. What the flags mean
//! is not known here.

use std::ffi::OsString;
use std::time::Duration;

use imgbuild_model::{Diagnostic, did_you_mean};

use super::Program;
use super::table::{Flag, Kind, Passthrough, Verb};
use super::value;

/// The words behind a command, read.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The flags in their order.
    flags: Vec<(&'static str, Value)>,
    /// What is no flag.
    pub arguments: Vec<OsString>,
    /// What is the program's.
    pub passed: Vec<OsString>,
}

#[derive(Debug)]
enum Value {
    Switch(bool),
    Number(i64),
    Text(String),
    Age(Duration),
}

impl Words {
    /// Whether a switch is on.
    pub fn switch(&self, name: &str, default: bool) -> bool {
        let values = self.flags.iter().rev().filter(|(known, _)| *known == name);
        let mut switches =
            values.filter_map(|(_, value)| if let Value::Switch(on) = value { Some(*on) } else { None });
        switches.next().unwrap_or(default)
    }

    /// The last number given.
    pub fn number(&self, name: &str) -> Option<i64> {
        let values = self.flags.iter().rev().filter(|(known, _)| *known == name);
        values
            .filter_map(|(_, value)| if let Value::Number(number) = value { Some(*number) } else { None })
            .next()
    }

    /// The last span of time given.
    pub fn age(&self, name: &str) -> Option<Duration> {
        let values = self.flags.iter().rev().filter(|(known, _)| *known == name);
        values.filter_map(|(_, value)| if let Value::Age(age) = value { Some(*age) } else { None }).next()
    }

    /// Each text given.
    pub fn texts(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        let values = self.flags.iter().filter(move |(known, _)| *known == name);
        values.filter_map(|(_, value)| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
    }

    /// The last text given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).next_back()
    }
}

/// Reads the words behind a command. In `packer` the first argument ends the flags, in `imgbuild` only `--` does.
pub(super) fn read(
    program: Program,
    verb: Verb,
    words: &[OsString],
    passthrough: &[Passthrough<'_>],
) -> Result<Words, Box<Diagnostic>> {
    let mut read = Words::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            break;
        }
        if !is_flag(word) {
            read.arguments.push(word.clone());
            if program == Program::Packer {
                break;
            }
            continue;
        }
        let typed = word.to_str().ok_or_else(|| not_text(word))?;
        let (name, value) = split(typed)?;
        if let Some(flag) = verb.flags(program).find(|flag| flag.name == name) {
            let value = match (flag.kind, value) {
                (Kind::Switch, value) => value.unwrap_or("true").to_owned(),
                (_, Some(value)) => value.to_owned(),
                (_, None) => {
                    let next = rest.next().ok_or_else(|| needs_value(flag))?;
                    next.to_str().ok_or_else(|| not_text(next))?.to_owned()
                }
            };
            read.flags.push((flag.name, typed_value(program, flag, value)?));
        } else if let Some(flag) = passthrough.iter().find(|flag| flag.name == name) {
            read.passed.push(word.clone());
            if flag.takes_value && value.is_none() {
                read.passed.extend(rest.next().cloned());
            }
        } else {
            return Err(unknown(program, verb, typed, name));
        }
    }
    read.arguments.extend(rest.cloned());
    Ok(read)
}

/// How many words at the beginning are flags of the program itself, with their values.
pub(super) fn skip(words: &[OsString], passthrough: &[Passthrough<'_>]) -> usize {
    let mut index = 0;
    while let Some(word) = words.get(index)
        && is_flag(word)
        && let Some((name, value)) = word.to_str().and_then(|typed| split(typed).ok())
        && let Some(flag) = passthrough.iter().find(|flag| flag.name == name)
    {
        index += if flag.takes_value && value.is_none() { 2 } else { 1 };
    }
    index
}

/// Whether a word is a flag: it begins with a dash and is more than that.
pub(super) fn is_flag(word: &OsString) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes.len() > 1 && bytes[0] == b'-'
}

/// The name of a flag, and its value if there is a `=`.
pub(super) fn split(typed: &str) -> Result<(&str, Option<&str>), Box<Diagnostic>> {
    let without = typed.strip_prefix("--").or_else(|| typed.strip_prefix('-')).unwrap_or(typed);
    if without.is_empty() || without.starts_with(['-', '=']) {
        let error = Diagnostic::error(format!("`{typed}` is not how a flag is written"));
        return Err(error
            .hint("a flag is one or two dashes and its name, as `-force` or `-on-error=ask`")
            .into());
    }
    Ok(match without.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (without, None),
    })
}

fn typed_value(program: Program, flag: &Flag, text: String) -> Result<Value, Box<Diagnostic>> {
    let refused = |reason: &str, hint: String| {
        let message = format!("`{text}` is not a value of `-{}`: {reason}", flag.name);
        Box::new(Diagnostic::error(message).hint(hint))
    };
    match flag.kind {
        Kind::Switch => {
            if let Some(on) = value::switch(&text) {
                return Ok(Value::Switch(on));
            }
            // `imgbuild --color=never` is what its other commands take.
            match (program, flag.name, &*text) {
                (Program::Imgbuild, "color", "never") => Ok(Value::Switch(false)),
                (Program::Imgbuild, "color", "auto" | "always") => Ok(Value::Switch(true)),
                _ => {
                    let name = flag.name;
                    Err(refused(
                        "it is a switch",
                        format!("write `-{name}`, `-{name}=true` or `-{name}=false`"),
                    ))
                }
            }
        }
        Kind::Number => match value::number(&text) {
            Ok(number) => Ok(Value::Number(number)),
            Err(reason) => Err(refused(reason, format!("write a whole number, as `-{}=2`", flag.name))),
        },
        Kind::Age => match value::age(&text) {
            Ok(age) => Ok(Value::Age(age)),
            Err(reason) => {
                Err(refused(reason, "write numbers with units, as `7d`, `12h` or `1h30m`".to_owned()))
            }
        },
        Kind::Choice(choices) if !choices.contains(&&*text) => {
            let known: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
            let hint = match did_you_mean(&text, choices.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it is one of {}", known.join(", ")),
            };
            Err(refused("there is no such choice", hint))
        }
        Kind::Pair if !text.contains('=') => Err(refused(
            "it has no `=`",
            "write `-var NAME=VALUE`; a value with spaces needs quotes, as `-var 'name=a b'`".to_owned(),
        )),
        Kind::Choice(_) | Kind::Pair | Kind::Text | Kind::List | Kind::Each => Ok(Value::Text(text)),
    }
}

fn needs_value(flag: &Flag) -> Box<Diagnostic> {
    let hint = format!("write `-{}={}`", flag.name, flag.value);
    Diagnostic::error(format!("the flag `-{}` has no value", flag.name)).hint(hint).into()
}

fn not_text(word: &OsString) -> Box<Diagnostic> {
    Diagnostic::error(format!("the flag `{}` is not UTF-8", word.to_string_lossy())).into()
}

fn unknown(program: Program, verb: Verb, typed: &str, name: &str) -> Box<Diagnostic> {
    let hint = if program == Program::Packer && verb.flags(Program::Imgbuild).any(|flag| flag.name == name) {
        Some(format!("`-{name}` is a flag of `imgbuild {verb}`, which takes all others as well"))
    } else if verb == Verb::Build && name == "parallel" {
        Some("it is called `-parallel-builds=N` now; 1 is one build after the other".to_owned())
    } else if let Some(near) = did_you_mean(name, verb.flags(program).map(|flag| flag.name)) {
        Some(format!("did you mean `-{near}`?"))
    } else {
        let other = Verb::all().iter().find(|other| other.flags(program).any(|flag| flag.name == name));
        Some(match other {
            Some(other) => format!(
                "it is a flag of `{program} {other}`; `{program} {verb} -help` lists those of `{verb}`"
            ),
            None => format!("`{program} {verb} -help` lists its flags"),
        })
    };
    let typed = typed.split('=').next().unwrap_or(typed);
    Diagnostic::error(format!("`{typed}` is not a flag of `{program} {verb}`")).maybe_hint(hint).into()
}
