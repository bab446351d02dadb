//! What templates compute with.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A value. Copies are cheap: whatever is large is shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing at all: the key that a map lacks, a template called without an argument. Prints as `<no value>`.
    #[default]
    Absent,
    /// Go's `nil` as an element of a map or a list.
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// A text.
    String(Arc<str>),
    /// A list (`[]any`).
    List(Arc<Vec<Value>>),
    /// A map (`map[string]any`), whose missing keys are governed by [`crate::MissingKey`].
    Map(Arc<BTreeMap<String, Value>>),
    /// A struct: fields in order; a field that it lacks is an error.
    Record(Arc<Vec<(String, Value)>>),
    /// Something that will be known later. Rendering fails at it; partial rendering leaves it in the template.
    Late,
}

impl Value {
    /// A record of these fields.
    pub fn record<K: Into<String>, V: Into<Value>>(fields: impl IntoIterator<Item = (K, V)>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self::Record(Arc::new(fields.collect()))
    }

    /// A map of these entries.
    pub fn map<K: Into<String>, V: Into<Value>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let entries = entries.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self::Map(Arc::new(entries.collect()))
    }

    /// A list of these elements.
    pub fn list<V: Into<Value>>(elements: impl IntoIterator<Item = V>) -> Self {
        Self::List(Arc::new(elements.into_iter().map(Into::into).collect()))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Go's name of its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Absent | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Record(_) => "struct",
            Self::Late => "late",
        }
    }

    /// Whether `if` takes it for true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Absent | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::List(elements) => !elements.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Record(_) | Self::Late => true,
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Absent | Self::Nil)
    }

    /// The named field or entry, if there is one.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Map(entries) => entries.get(name),
            Self::Record(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Whether something late is in it. Data is finite and made by the caller, so its depth is too.
    pub(crate) fn has_late(&self) -> bool {
        match self {
            Self::Late => true,
            Self::List(elements) => elements.iter().any(Value::has_late),
            Self::Map(entries) => entries.values().any(Value::has_late),
            Self::Record(fields) => fields.iter().any(|(_, value)| value.has_late()),
            _ => false,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(value: Arc<str>) -> Self {
        Self::String(value)
    }
}
