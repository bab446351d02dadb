//! Templates in JSON.
//!
//! [`Template::parse`] reads one into plain structs whose every part knows its place, [`Template::validate`] checks
//! what needs the whole, [`Template::resolve`] gives the variables their values, and [`Template::builds`] says which
//! builds there are and what each consists of. [`render`] then renders the configuration of one component. [`inspect`]
//! and [`Console`] are the verbs of those names. What the attributes of a component mean is not known here.

mod builds;
mod console;
mod inspect;
mod parse;
mod render;
mod validate;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use imgbuild_gotemplate::Span;
use imgbuild_model::{Diagnostic, Location};

pub use builds::{Build, Selected};
pub use console::Console;
pub use inspect::{Line, inspect};
pub use render::{Config, render};

use crate::interpolate::Reads;
use crate::json::{Member, Source};

/// What is shown in place of a value that must not be.
const MASKED: &str = "<sensitive>";

/// A template, as it is written: nothing in it has been rendered.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its text, for places.
    pub source: Source,
    /// The oldest version of Packer that can build it.
    pub min_packer_version: Option<Text>,
    /// What it is for.
    pub description: Option<Text>,
    /// Comments: members at the top whose names begin with `_`.
    pub comments: Vec<(Text, Text)>,
    /// User variables.
    pub variables: Vec<Variable>,
    /// Names of the variables whose values are never shown.
    pub sensitive: Vec<Text>,
    /// Builders.
    pub builders: Vec<Builder>,
    /// Provisioners, in order.
    pub provisioners: Vec<Provisioner>,
    /// What runs if a build fails.
    pub error_cleanup: Option<Provisioner>,
    /// Sequences of post-processors; each sequence begins with the builder's artifact.
    pub post_processors: Vec<Vec<PostProcessor>>,
}

/// A string of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its value.
    pub text: Arc<str>,
    /// Where it is written.
    pub span: Span,
}

/// A user variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: Text,
    /// A template; `None` if a value must be given.
    pub default: Option<Text>,
}

/// A builder.
#[derive(Clone, Debug)]
pub struct Builder {
    /// Its name, a template; its type if none is written. `only`, `except` and `override` speak of it unrendered.
    pub name: Text,
    /// Its type.
    pub kind: Text,
    /// Everything else.
    pub config: Vec<Member>,
    /// Where it is written.
    pub span: Span,
}

/// A provisioner.
#[derive(Clone, Debug)]
pub struct Provisioner {
    /// Its type.
    pub kind: Text,
    /// For which builders it runs.
    pub selection: Selection,
    /// Attributes for single builders, which go before those in `config`.
    pub overrides: Vec<Override>,
    /// How long to wait before it. If it is more than nothing, Packer forgets `timeout`.
    pub pause_before: Duration,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How many further attempts there are: a template that gives a number.
    pub max_retries: Option<Text>,
    /// Everything else.
    pub config: Vec<Member>,
    /// Where it is written.
    pub span: Span,
}

/// What a provisioner does otherwise for one builder.
#[derive(Clone, Debug)]
pub struct Override {
    /// The builder's name.
    pub builder: Text,
    /// Attributes.
    pub config: Vec<Member>,
}

/// A post-processor.
#[derive(Clone, Debug)]
pub struct PostProcessor {
    /// Its name; its type if none is written.
    pub name: Text,
    /// Its type.
    pub kind: Text,
    /// For which builders it runs.
    pub selection: Selection,
    /// Whether to keep what it is given; `None`: as the post-processor has it.
    pub keep_input_artifact: Option<bool>,
    /// Everything else.
    pub config: Vec<Member>,
    /// Where it is written.
    pub span: Span,
}

/// Which builders a component is for, by their names as they are written. At most one of the two is not empty in a
/// template that is valid.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// These only, if there are any.
    pub only: Vec<Text>,
    /// Not these.
    pub except: Vec<Text>,
}

/// A value that was given for a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The variable.
    pub name: String,
    /// A template.
    pub value: String,
    /// Where it is written, if in a file.
    pub location: Option<Location>,
}

/// The variables' values. What must not be shown is not shown by `Debug` either.
#[derive(Clone, Default)]
pub struct Values {
    /// By name.
    pub values: BTreeMap<String, String>,
    /// Variables that must not be shown: those that the template says, those made of them, and those from stores of
    /// secrets.
    pub sensitive: BTreeSet<String>,
    /// What each asked for.
    pub reads: BTreeMap<String, Reads>,
    /// What the user should know.
    pub warnings: Vec<Diagnostic>,
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value)| (name, if self.sensitive.contains(name) { MASKED } else { value });
        f.debug_map().entries(self.values.iter().map(|(name, value)| shown((name, value.as_str())))).finish()
    }
}

impl Selection {
    /// Whether the component is for the builder of this name.
    #[must_use]
    pub fn selects(&self, builder: &str) -> bool {
        let has = |names: &[Text]| names.iter().any(|name| &*name.text == builder);
        if self.only.is_empty() { !has(&self.except) } else { has(&self.only) }
    }
}

impl Text {
    /// Where it is written.
    #[must_use]
    pub fn location(&self, source: &Source) -> Location {
        source.location(self.span)
    }
}
