//! Targets as declared, and the providers that analysis gives.

use std::sync::Arc;

use crate::{Label, Location, PackagePath, Pattern, Value};

/// A rule, by the file that defines it and the name it has there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// `//lib/x.star` or `@prelude//image.star`.
    pub module: Arc<str>,
    /// The name under which the rule was exported.
    pub name: Arc<str>,
}

/// A provider's type, by the file that defines it and the name it has there.
pub type ProviderId = RuleId;

/// An instance of a provider: plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its type.
    pub id: ProviderId,
    /// Its fields, in the order of the declaration.
    pub fields: Vec<(Arc<str>, Value)>,
}

/// An attribute's value as declared, choices not made yet.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A value.
    Concrete(Value),
    /// `select({…})`, or several with values between them joined by `+`: lists are chained, dicts united, texts
    /// joined, in this order.
    Sum(Vec<AttributeValue>),
    /// One `select({…})`.
    Select(Vec<SelectBranch>),
}

/// One branch of a `select()`.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectBranch {
    /// The label of a `config_setting`; `None` for `//conditions:default`.
    pub condition: Option<Label>,
    /// What the attribute is if the condition holds.
    pub value: Value,
}

/// Who may depend on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everyone.
    Public,
    /// Its own package.
    Private,
    /// Its own package and these.
    Packages(Vec<Pattern>),
}

/// A target as its `BUILD.star` declares it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its label.
    pub label: Label,
    /// The rule that declares it.
    pub rule: RuleId,
    /// Its attributes; what was not given has the rule's default.
    pub attributes: Vec<(Arc<str>, AttributeValue)>,
    /// Who may depend on it.
    pub visibility: Visibility,
    /// The call that declares it.
    pub location: Location,
}

impl Target {
    /// The attribute of that name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        self.attributes.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }
}

impl Provider {
    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }
}

impl Visibility {
    /// Whether a target in `user` may depend on a target in `owner` that has this visibility.
    #[must_use]
    pub fn allows(&self, owner: &PackagePath, user: &PackagePath) -> bool {
        if owner == user {
            return true;
        }
        match self {
            Self::Public => true,
            Self::Private => false,
            Self::Packages(patterns) => patterns.iter().any(|pattern| match pattern {
                Pattern::Package(package) => package == user,
                Pattern::Recursive(package) => user.is_within(package),
                Pattern::Single(label) => label.package == *user,
            }),
        }
    }
}
