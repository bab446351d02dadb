//! One attribute of a kind: its type, default, role, and what else is asked of its value.

use std::fmt;

use crate::Value;

/// One attribute of a kind.
#[derive(Clone, Copy, Debug)]
pub struct AttributeSchema {
    /// Its name.
    pub name: &'static str,
    /// What values it takes.
    pub type_: AttributeType,
    /// What it is when not given.
    pub default: Default,
    /// One sentence for the reference.
    pub doc: &'static str,
    /// Whether it enters the key.
    pub role: Role,
    /// Whether strings in it are templates that are rendered late (Packer's `{{ .Vars }}`).
    pub late_template: bool,
    /// Whether its value is a secret.
    pub secret: bool,
    /// Bounds of a number, of the length of a text in characters, or of the count of a list. What counts as not given
    /// (zero, empty) is not held to them.
    pub bounds: Option<Bounds>,
    /// Whether each text of it is an assignment: `NAME=value`.
    pub assignments: bool,
    /// Whether it should no longer be used.
    pub deprecated: Option<Deprecation>,
}

/// What values an attribute takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeType {
    /// Text.
    String,
    /// Whole number.
    Int,
    /// Number.
    Number,
    /// Truth value.
    Bool,
    /// Truth value for which absent is a third state.
    Trilean,
    /// A list of texts.
    StringList,
    /// A map from text to text.
    StringDict,
    /// A list.
    List(&'static AttributeType),
    /// A map from text.
    Dict(&'static AttributeType),
    /// Bytes: a list of numbers from 0 to 255.
    Bytes,
    /// A map from the name of a secret to where it is found: `provider:path` or `provider:path#field`.
    Secrets,
    /// Permission bits: a text in octal (`"0644"`) or a number.
    Mode,
    /// A duration: a text such as `"90s"`, `"10m"`, `"1h30m"`, or a number of seconds.
    Duration,
    /// A duration as Go writes it: a text such as `"90s"`, `"1h30m"`, `"-1ms"`.
    GoDuration,
    /// One of these texts.
    Enum(&'static [&'static str]),
    /// One of these texts, in upper or lower case.
    EnumAnyCase(&'static [&'static str]),
    /// The label of one file, folder or single-output target.
    File,
    /// Labels of files, folders and targets.
    Files,
    /// The label of an image: its layer.
    Image,
    /// Steps or checks: a list of values with kinds.
    Steps,
    /// Any data.
    Any,
}

/// What an attribute is when not given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// It must be given.
    Required,
    /// Absent; a kind may tell absent from empty.
    None,
    /// A truth value.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text.
    String(&'static str),
    /// A list of texts.
    Strings(&'static [&'static str]),
    /// An empty list.
    EmptyList,
    /// An empty map.
    EmptyDict,
}

/// Whether an attribute can change the bytes, and so enters the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Changes the bytes: hashed, default written out.
    Content,
    /// Changes the machine and through it the bytes: hashed in the first layer of a chain.
    Machine,
    /// Where it is built: not hashed.
    Placement,
    /// What things are called: not hashed.
    Naming,
    /// Where files are put: not hashed.
    Output,
    /// How the machine is reached: not hashed.
    Transport,
    /// How often, how long, whether: not hashed.
    Policy,
}

/// Limits, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The least, if there is one.
    pub min: Option<i64>,
    /// The most, if there is one.
    pub max: Option<i64>,
}

/// Why and in favour of what something should no longer be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// Why, or what comes of it: words to stand after "`x` is deprecated: ".
    pub message: &'static str,
    /// The name of what to use in its place, if one thing does the same.
    pub replacement: Option<&'static str>,
}

impl Default {
    /// Whether a value says nothing that is not said if it is not given.
    #[must_use]
    pub fn is_said_by(self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::None) => true,
            (Self::Bool(one), Value::Bool(other)) => one == *other,
            (Self::Int(one), Value::Int(other)) => one == *other,
            (Self::String(one), Value::String(other)) => *one == **other,
            (Self::Strings(words), Value::List(items)) => {
                items.len() == words.len()
                    && items.iter().zip(words).all(|(item, word)| item.as_str() == Some(*word))
            }
            (Self::EmptyList, Value::List(items)) => items.is_empty(),
            (Self::EmptyDict, Value::Dict(entries)) => entries.is_empty(),
            _ => false,
        }
    }
}

impl AttributeSchema {
    /// An attribute of which nothing more is asked.
    #[must_use]
    pub const fn new(
        name: &'static str,
        type_: AttributeType,
        default: Default,
        role: Role,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            type_,
            default,
            doc,
            role,
            late_template: false,
            secret: false,
            bounds: None,
            assignments: false,
            deprecated: None,
        }
    }

    /// The same with another default.
    #[must_use]
    pub const fn default(mut self, default: Default) -> Self {
        self.default = default;
        self
    }

    /// The same, and it must be given.
    #[must_use]
    pub const fn required(self) -> Self {
        self.default(Default::Required)
    }

    /// The same, and this text when it is not given.
    #[must_use]
    pub const fn or_text(self, text: &'static str) -> Self {
        self.default(Default::String(text))
    }

    /// The same, and these texts when it is not given.
    #[must_use]
    pub const fn or_texts(self, texts: &'static [&'static str]) -> Self {
        self.default(Default::Strings(texts))
    }

    /// The same, and this number when it is not given.
    #[must_use]
    pub const fn or_int(self, number: i64) -> Self {
        self.default(Default::Int(number))
    }

    /// The same, and true when it is not given.
    #[must_use]
    pub const fn or_true(self) -> Self {
        self.default(Default::Bool(true))
    }

    /// The same, rendered late.
    #[must_use]
    pub const fn late(mut self) -> Self {
        self.late_template = true;
        self
    }

    /// The same, with a value that nobody may see.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The same, with both bounds.
    #[must_use]
    pub const fn between(mut self, min: i64, max: i64) -> Self {
        self.bounds = Some(Bounds { min: Some(min), max: Some(max) });
        self
    }

    /// The same, with a lower bound.
    #[must_use]
    pub const fn at_least(mut self, min: i64) -> Self {
        self.bounds = Some(Bounds { min: Some(min), max: None });
        self
    }

    /// The same, with an upper bound.
    #[must_use]
    pub const fn at_most(mut self, max: i64) -> Self {
        self.bounds = Some(Bounds { min: None, max: Some(max) });
        self
    }

    /// The same, and each text of it is `NAME=value`.
    #[must_use]
    pub const fn assignments(mut self) -> Self {
        self.assignments = true;
        self
    }

    /// The same, deprecated, with nothing that takes its place alone.
    #[must_use]
    pub const fn deprecated(mut self, message: &'static str) -> Self {
        self.deprecated = Some(Deprecation { message, replacement: None });
        self
    }

    /// The same, as the old name of `replacement`.
    #[must_use]
    pub const fn old_name_of(mut self, replacement: &'static str) -> Self {
        self.deprecated = Some(Deprecation { message: "it is an old name", replacement: Some(replacement) });
        self
    }
}

impl Role {
    /// Whether attributes of this role enter the key of a layer that is first in its chain or not.
    #[must_use]
    pub fn is_keyed(self, first_of_chain: bool) -> bool {
        match self {
            Self::Content => true,
            Self::Machine => first_of_chain,
            Self::Placement | Self::Naming | Self::Output | Self::Transport | Self::Policy => false,
        }
    }
}

impl Bounds {
    /// Whether a number is within.
    #[must_use]
    pub fn hold(self, number: f64) -> bool {
        self.min.is_none_or(|min| number >= min as f64) && self.max.is_none_or(|max| number <= max as f64)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => write!(f, "{min}"),
            (Some(min), Some(max)) => write!(f, "from {min} to {max}"),
            (Some(min), None) => write!(f, "at least {min}"),
            (None, Some(max)) => write!(f, "at most {max}"),
            (None, None) => f.write_str("any"),
        }
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("string"),
            Self::Int => f.write_str("int"),
            Self::Number => f.write_str("number"),
            Self::Bool | Self::Trilean => f.write_str("bool"),
            Self::StringList => f.write_str("list of strings"),
            Self::StringDict => f.write_str("dict of strings"),
            Self::List(element) => write!(f, "list of {}", Plural(**element)),
            Self::Dict(element) => write!(f, "dict of {}", Plural(**element)),
            Self::Bytes => f.write_str("list of bytes"),
            Self::Secrets => f.write_str("dict of secrets (\"provider:path\")"),
            Self::Mode => f.write_str("mode (\"0644\")"),
            Self::Duration | Self::GoDuration => f.write_str("duration (\"90s\")"),
            Self::Enum(words) | Self::EnumAnyCase(words) => {
                for (index, word) in words.iter().enumerate() {
                    write!(f, "{}\"{word}\"", if index == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
            Self::File => f.write_str("label of a file"),
            Self::Files => f.write_str("labels of files"),
            Self::Image => f.write_str("label of an image"),
            Self::Steps => f.write_str("list of steps"),
            Self::Any => f.write_str("any value"),
        }
    }
}

/// A type as the elements of a collection are called.
struct Plural(AttributeType);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            AttributeType::StringList => f.write_str("lists of strings"),
            AttributeType::StringDict => f.write_str("dicts of strings"),
            AttributeType::List(element) => write!(f, "lists of {}", Self(*element)),
            AttributeType::Dict(element) => write!(f, "dicts of {}", Self(*element)),
            AttributeType::Enum(_) | AttributeType::EnumAnyCase(_) | AttributeType::Any => self.0.fmt(f),
            AttributeType::GoDuration => f.write_str("durations (\"90s\")"),
            other => write!(f, "{other}s"),
        }
    }
}
