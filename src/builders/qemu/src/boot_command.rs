//! The language of keys that are typed at a guest's screen: texts, and names such as `<enter>`, `<wait5s>`, `<leftCtrlOn>`
//! (Packer: `boot_command`).
//!
//! For: from text to steps. Not for: templates in it, which are filled in before, and sending keys.

mod keys;

use std::time::Duration;

pub use keys::KeySymbol;

/// The wait of `<wait>` alone.
const WAIT: Duration = Duration::from_secs(1);

/// One step of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is typed for a while.
    Wait(Duration),
    /// A key goes down and comes up.
    Press {
        /// The key.
        key: KeySymbol,
        /// Whether the shift key is held meanwhile.
        shift: bool,
    },
    /// A key goes down and stays so.
    Hold(KeySymbol),
    /// A key comes up.
    Release(KeySymbol),
    /// The end of a run of characters, or of a named key.
    GroupEnd,
}

/// What is typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootCommand {
    steps: Vec<Step>,
    warnings: Vec<BootCommandWarning>,
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "column {column} of the boot command: `{text}` is no wait; write `<wait>`, `<wait5>` for 5 seconds or `<wait1m30s>`"
)]
pub struct BootCommandError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What stands there.
    pub text: String,
}

/// Something in a command that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootCommandWarning {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What stands there.
    pub text: String,
    /// What is odd about it.
    pub kind: OddKey,
}

/// What is odd about a part of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OddKey {
    /// A name in angle brackets that is none of a key; it is typed as it is, as Packer does.
    UnknownName {
        /// The name that it resembles.
        similar: Option<&'static str>,
    },
    /// A character without a key, such as a line's end; nothing is typed.
    NoKey,
    /// A key that goes down and never comes up; it comes up at the end.
    LeftDown,
}

impl std::fmt::Display for BootCommandWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, text, kind } = self;
        write!(f, "column {column} of the boot command: ")?;
        match kind {
            OddKey::UnknownName { similar: Some(similar) } => {
                write!(f, "`{text}` is no key and is typed as it is; did you mean `<{similar}>`?")
            }
            OddKey::UnknownName { similar: None } => write!(f, "`{text}` is no key and is typed as it is"),
            OddKey::NoKey => {
                write!(
                    f,
                    "the character U+{:04X} has no key and is not typed; for a line's end write `<enter>`",
                    text.chars().next().map_or(0, u32::from)
                )
            }
            OddKey::LeftDown => write!(f, "`{text}` is never let up; end with the same name and `Off`"),
        }
    }
}

impl BootCommand {
    /// A command's text, the lines of a template joined.
    ///
    /// What is in angle brackets is a key's name in any case, with `On` or `Off` behind it to hold it or let it up; one character
    /// in them can be held as well. What is no name is typed as it is.
    ///
    /// # Errors
    /// If a wait has no time that can be read.
    pub fn parse(text: &str) -> Result<Self, BootCommandError> {
        let mut command = Self::default();
        let mut held: Vec<(KeySymbol, usize, String)> = Vec::new();
        let (mut rest, mut column) = (text, 1);
        while let Some(character) = rest.chars().next() {
            let token = rest.strip_prefix('<').and_then(token);
            let taken = match token {
                Some(Token { name, length }) => {
                    let taken = &rest[..length];
                    match meaning(name) {
                        Some(Meaning::Wait(Some(time))) => command.after_group(Step::Wait(time)),
                        Some(Meaning::Wait(None)) => {
                            return Err(BootCommandError { column, text: taken.to_owned() });
                        }
                        Some(Meaning::Press(key)) => command.named(Step::Press { key, shift: false }),
                        Some(Meaning::Hold(key)) => {
                            held.push((key, column, taken.to_owned()));
                            command.named(Step::Hold(key));
                        }
                        Some(Meaning::Release(key)) => {
                            held.retain(|(one, ..)| *one != key);
                            command.named(Step::Release(key));
                        }
                        None => {
                            let kind = OddKey::UnknownName { similar: keys::similar(name) };
                            command.warnings.push(BootCommandWarning {
                                column,
                                text: taken.to_owned(),
                                kind,
                            });
                            taken.chars().for_each(|character| command.character(character, column));
                        }
                    }
                    taken
                }
                None => {
                    command.character(character, column);
                    &rest[..character.len_utf8()]
                }
            };
            column += taken.chars().count();
            rest = &rest[taken.len()..];
        }
        command.end_group();
        for (_, column, text) in held {
            command.warnings.push(BootCommandWarning { column, text, kind: OddKey::LeftDown });
        }
        Ok(command)
    }

    /// What is done, one after the other.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What is probably not meant.
    pub fn warnings(&self) -> &[BootCommandWarning] {
        &self.warnings
    }

    fn character(&mut self, character: char, column: usize) {
        match KeySymbol::of_character(character) {
            Some((key, shift)) => self.steps.push(Step::Press { key, shift }),
            None => {
                let text = character.to_string();
                self.warnings.push(BootCommandWarning { column, text, kind: OddKey::NoKey });
            }
        }
    }

    fn named(&mut self, step: Step) {
        self.end_group();
        self.steps.push(step);
        self.end_group();
    }

    fn after_group(&mut self, step: Step) {
        self.end_group();
        self.steps.push(step);
    }

    fn end_group(&mut self) {
        if self.steps.last().is_some_and(|step| !matches!(step, Step::GroupEnd | Step::Wait(_))) {
            self.steps.push(Step::GroupEnd);
        }
    }
}

/// A name in angle brackets, and how many bytes it takes with them.
struct Token<'t> {
    name: &'t str,
    length: usize,
}

/// What stands between an angle bracket that is open and the next that closes, if it looks like a name: one character, or
/// one with `On` or `Off`, or letters, digits and what times have.
fn token(after: &str) -> Option<Token<'_>> {
    let first = after.chars().next()?;
    // `<>On>` holds the key of `>`.
    let end = after[first.len_utf8()..].find('>')? + first.len_utf8();
    let name = &after[..end];
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | 'µ' | 'μ'))
    };
    let switched = strip_end(name, "on").or_else(|| strip_end(name, "off"));
    let one = switched.is_some_and(|name| name.chars().count() == 1);
    (word(name) || one).then_some(Token { name, length: end + 2 })
}

fn strip_end<'t>(name: &'t str, end: &str) -> Option<&'t str> {
    let at = name.len().checked_sub(end.len())?;
    let (start, found) = (name.get(..at)?, name.get(at..)?);
    (found.eq_ignore_ascii_case(end) && !start.is_empty()).then_some(start)
}

enum Meaning {
    /// `None` if the time cannot be read.
    Wait(Option<Duration>),
    Press(KeySymbol),
    Hold(KeySymbol),
    Release(KeySymbol),
}

fn meaning(name: &str) -> Option<Meaning> {
    if let Some(time) = name.get(..4).filter(|word| word.eq_ignore_ascii_case("wait")).map(|_| &name[4..]) {
        return Some(Meaning::Wait(if time.is_empty() { Some(WAIT) } else { duration(time) }));
    }
    if let Some(key) = KeySymbol::of_name(name) {
        return Some(Meaning::Press(key));
    }
    let key = |name: &str| {
        let mut characters = name.chars();
        match (characters.next(), characters.next()) {
            (Some(one), None) => KeySymbol::of_character(one).map(|(key, _)| key),
            _ => KeySymbol::of_name(name),
        }
    };
    if let Some(key) = strip_end(name, "off").and_then(key) {
        return Some(Meaning::Release(key));
    }
    strip_end(name, "on").and_then(key).map(Meaning::Hold)
}

/// A number of seconds, or numbers with units as Go has them: `1m30s`, `500ms`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |next| end + next);
        let seconds = match &rest[end..unit] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

#[cfg(test)]
#[path = "boot_command/tests.rs"]
mod tests;
