//! What can be wrong with a body, as data, and how it is told.

use std::fmt;
use std::sync::Arc;

use imgbuild_model::{Bounds, Deprecation, Diagnostic, KindClass, Location, Rule, Severity};

/// Something wrong with a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Whether it can go on.
    pub severity: Severity,
    /// The way from the body to what is wrong.
    pub path: Vec<PathStep>,
    /// Where it is written; for what is missing, the body.
    pub location: Location,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// One step of a way into a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// To an attribute, a block, or an entry of a map.
    Name(Arc<str>),
    /// To an item of a list, from 0.
    Index(usize),
}

/// What a body belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A kind, by class and name.
    Kind(KindClass, &'static str),
    /// A nested block, by name.
    Block(&'static str),
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum ProblemKind {
    /// Something that is no object where a body should be.
    NotABody { subject: Subject, found: &'static str },
    /// A name that means nothing there.
    UnknownName {
        subject: Subject,
        name: Arc<str>,
        /// A name that may have been meant.
        nearest: Option<&'static str>,
        /// A block in which the name means something.
        inside: Option<&'static str>,
    },
    /// An attribute that was written as a block.
    NotABlock { name: &'static str },
    /// A block that was written as an attribute.
    NotAnAttribute { name: &'static str },
    /// Something required that is not there.
    Missing { subject: Subject, name: &'static str, block: bool },
    /// Something required that is empty.
    Blank { name: &'static str },
    /// More blocks than there may be.
    TooManyBlocks { name: &'static str, max: u32 },
    /// A value that cannot be converted.
    WrongType {
        /// The type, as it is called.
        expected: String,
        /// The value, or its type if it is long or secret.
        found: String,
        /// What might have been meant.
        hint: Option<String>,
    },
    /// A number that loses its fraction.
    Fraction {
        /// The number, unless it is secret.
        found: Option<f64>,
    },
    /// A number, length or count that is too small or too large.
    OutOfBounds {
        what: &'static str,
        bounds: Bounds,
        /// What it is, unless it is secret.
        found: Option<f64>,
    },
    /// A text that is not `NAME=value`.
    NotAnAssignment {
        name: &'static str,
        /// The text, unless it is secret or was none.
        found: Option<Arc<str>>,
    },
    /// Attributes and blocks that do not go together.
    Rule {
        rule: Rule,
        /// Those of its names that are given.
        given: Vec<&'static str>,
    },
    /// An attribute that should no longer be used.
    Deprecated { name: &'static str, deprecation: Deprecation },
    /// A kind that should no longer be used.
    DeprecatedKind { class: KindClass, id: &'static str, deprecation: Deprecation },
}

impl PathStep {
    pub(super) fn name(name: &str) -> Self {
        Self::Name(name.into())
    }
}

impl Problem {
    /// The way, as it would be written: `tags.Name`, `disks[1].size`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut shown = String::new();
        for step in &self.path {
            match step {
                PathStep::Name(name) if shown.is_empty() => shown.push_str(name),
                PathStep::Name(name) => shown.extend([".", name]),
                PathStep::Index(index) => shown.push_str(&format!("[{index}]")),
            }
        }
        shown
    }

    /// What to say.
    #[must_use]
    pub fn message(&self) -> String {
        let path = self.path();
        match &self.kind {
            ProblemKind::NotABody { subject: Subject::Block(name), found } => {
                format!("`{name}` is a block: expected an object, got {found}")
            }
            ProblemKind::NotABody { subject, found } => format!("{subject}: expected an object, got {found}"),
            ProblemKind::UnknownName { subject, name, .. } => {
                format!("{subject} has no attribute or block `{name}`")
            }
            ProblemKind::NotABlock { name } => format!("`{name}` is an attribute, not a block"),
            ProblemKind::NotAnAttribute { name } => format!("`{name}` is a block, not an attribute"),
            ProblemKind::Missing { subject, name, block: false } => {
                format!("{subject} needs the attribute `{name}`")
            }
            ProblemKind::Missing { subject, name, block: true } => {
                format!("{subject} needs a block `{name}`")
            }
            ProblemKind::Blank { name } => format!("`{name}` is required and must not be empty"),
            ProblemKind::TooManyBlocks { name, max: 1 } => {
                format!("block `{name}` may stand there only once")
            }
            ProblemKind::TooManyBlocks { name, max } => {
                format!("block `{name}` may stand there at most {max} times")
            }
            ProblemKind::WrongType { expected, found, .. } => {
                format!("`{path}`: expected {expected}, got {found}")
            }
            ProblemKind::Fraction { found: Some(found) } => {
                format!("`{path}`: {found} is cut to {}", found.trunc())
            }
            ProblemKind::Fraction { found: None } => format!("`{path}`: the number is cut to a whole one"),
            ProblemKind::OutOfBounds { what, bounds, found } => {
                let not = found.map(|found| format!(", not {found}")).unwrap_or_default();
                format!("`{path}`: {what} must be {bounds}{not}")
            }
            ProblemKind::NotAnAssignment { name, found: Some(found) } => match &**found {
                "" => format!("an empty text in `{name}` is no `NAME=value`"),
                found if found.contains('`') => format!("a text in `{name}` is no `NAME=value`"),
                found => format!("`{found}` in `{name}` is no `NAME=value`"),
            },
            ProblemKind::NotAnAssignment { found: None, .. } => format!("`{path}` is no `NAME=value`"),
            ProblemKind::Rule { rule, given } => rule_message(rule, given),
            ProblemKind::Deprecated { name, deprecation } => {
                format!("`{name}` is deprecated: {}", deprecation.message)
            }
            ProblemKind::DeprecatedKind { class, id, deprecation } => {
                format!("{} `{id}` is deprecated: {}", class.word(), deprecation.message)
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match &self.kind {
            ProblemKind::UnknownName { nearest: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            ProblemKind::UnknownName { name, inside: Some(block), .. } => {
                Some(format!("`{name}` stands in a block `{block}`"))
            }
            ProblemKind::NotABlock { name } => Some(format!("write `{name} = …`")),
            ProblemKind::NotAnAttribute { name } => {
                Some(format!("write `{name} {{ … }}`, without `=`, once for each"))
            }
            ProblemKind::WrongType { hint, .. } => hint.clone(),
            ProblemKind::Deprecated { deprecation, .. } | ProblemKind::DeprecatedKind { deprecation, .. } => {
                deprecation.replacement.map(|name| format!("use `{name}`"))
            }
            _ => None,
        }
    }

    /// As something to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let message = self.message();
        let diagnostic = match self.severity {
            Severity::Error => Diagnostic::error(message),
            Severity::Warning => Diagnostic::warning(message),
        };
        Diagnostic { hint: self.hint(), ..diagnostic.at(self.location.clone()) }
    }
}

fn rule_message(rule: &Rule, given: &[&str]) -> String {
    match *rule {
        Rule::ExactlyOne(names) | Rule::AtLeastOne(names) if given.is_empty() => {
            format!("one of {} must be given", list(names, "or"))
        }
        Rule::ExactlyOne(_) | Rule::AtLeastOne(_) | Rule::AtMostOne(_) => {
            format!("only one of {} may be given", list(given, "and"))
        }
        Rule::Together(names) => {
            let missing: Vec<_> = names.iter().copied().filter(|name| !given.contains(name)).collect();
            let (verb, them) = if given.len() == 1 { ("needs", "it") } else { ("need", "them") };
            format!("{} {verb} {} beside {them}", list(given, "and"), list(&missing, "and"))
        }
        Rule::Needs(first, others) => {
            let missing: Vec<_> = others.iter().copied().filter(|name| !given.contains(name)).collect();
            format!("`{first}` needs {} beside it", list(&missing, "and"))
        }
        Rule::Excludes(first, _) => {
            let others: Vec<_> = given.iter().copied().filter(|name| *name != first).collect();
            format!("`{first}` cannot stand beside {}", list(&others, "and"))
        }
        Rule::All(names) => {
            let missing: Vec<_> = names.iter().copied().filter(|name| !given.contains(name)).collect();
            format!("{} must be given", list(&missing, "and"))
        }
        Rule::When { attribute, values, then } => {
            let values = values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(" or ");
            format!("{} where `{attribute}` is {values}", rule_message(then, given))
        }
    }
}

/// Names as a person lists them: `a`, `b` and `c`.
fn list(names: &[&str], last: &str) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((end, [])) => end.clone(),
        Some((end, start)) => format!("{} {last} {end}", start.join(", ")),
        None => String::new(),
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(class, id) => write!(f, "{} `{id}`", class.word()),
            Self::Block(name) => write!(f, "block `{name}`"),
        }
    }
}
