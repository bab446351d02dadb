//! The schema of a kind: what both front ends, the planner, the reference and the editor know about it.

use std::fmt;
use std::sync::Arc;

/// The name of a kind, for example `shell`. Kinds of all classes share one name space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(Arc<str>);

/// A kind as data (DESIGN section 4).
#[derive(Debug)]
pub struct KindSchema {
    /// Its name.
    pub id: &'static str,
    /// What it is.
    pub class: KindClass,
    /// Raised by hand when the same attributes come to mean other bytes.
    pub key_version: u32,
    /// What it changes.
    pub effect: Effect,
    /// One sentence for the reference.
    pub doc: &'static str,
    /// Its attributes.
    pub attributes: &'static [AttributeSchema],
    /// Whether it leaves the image's package database as the planner knows it, so that a later `apt_install` can be
    /// locked without running anything.
    pub keeps_packages: bool,
    /// What it sees of the state that earlier steps left, and so what of it enters its key.
    pub state: StateUse,
}

/// What a kind sees of a chain's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateUse {
    /// Nothing.
    None,
    /// Environment, user, working folder and shell: it runs commands.
    Commands,
    /// All of it: it writes the image's configuration.
    Image,
}

/// What a kind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindClass {
    /// Where a chain starts.
    Source,
    /// A provisioning action.
    Step,
    /// Makes artifacts from a layer.
    Export,
    /// Makes files in the tree of a layer, or on the host.
    Command,
    /// Checks a layer.
    Test,
}

/// What a kind changes, and so what a hit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Only the machine: skipped on a hit.
    Guest,
    /// Files come out: kept with the result and written again on a hit.
    Output,
    /// The host: runs when the run gets there; on a hit one line says that it was skipped.
    Host,
    /// Nothing but what later steps and the image's configuration start from: makes no layer.
    State,
}

/// One attribute of a kind.
#[derive(Debug)]
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
}

/// What values an attribute takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeType {
    /// Text.
    String,
    /// Whole number.
    Int,
    /// Truth value.
    Bool,
    /// A list of texts.
    StringList,
    /// A list of whole numbers.
    IntList,
    /// A map from text to text.
    StringDict,
    /// A map from the name of a secret to where it is found: `provider:path` or `provider:path#field`.
    Secrets,
    /// Permission bits: a text in octal (`"0644"`) or a number.
    Mode,
    /// A duration: a text such as `"90s"`, `"10m"`, `"1h30m"`, or a number of seconds.
    Duration,
    /// One of these texts.
    Enum(&'static [&'static str]),
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
    /// An empty list.
    EmptyList,
    /// An empty map.
    EmptyDict,
}

/// Whether an attribute can change the bytes, and so enters the key (DESIGN section 4).
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

impl KindSchema {
    /// The attribute of that name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeSchema> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

impl KindId {
    /// A kind by name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("string"),
            Self::Int => f.write_str("int"),
            Self::Bool => f.write_str("bool"),
            Self::StringList => f.write_str("list of strings"),
            Self::IntList => f.write_str("list of ints"),
            Self::StringDict => f.write_str("dict of strings"),
            Self::Secrets => f.write_str("dict of secrets (\"provider:path\")"),
            Self::Mode => f.write_str("mode (\"0644\")"),
            Self::Duration => f.write_str("duration (\"90s\")"),
            Self::Enum(words) => {
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
