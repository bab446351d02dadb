//! Values of attributes and providers: plain data, shared cheaply, the same for both languages.

use std::sync::Arc;

use crate::{Artifact, Label, LayerRef, Provider, Source, Step};

/// A value. Strings and collections are shared, so that a clone costs a counter.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// Absent.
    #[default]
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    String(Arc<str>),
    /// A list.
    List(Arc<[Value]>),
    /// A map from text, in the order written.
    Dict(Arc<[(Arc<str>, Value)]>),
    /// A label, before analysis.
    Label(Label),
    /// A file, in analysis.
    Artifact(Artifact),
    /// A layer, in analysis.
    Layer(LayerRef),
    /// A step, an export, a check: something with a kind.
    Step(Arc<Step>),
    /// Where a chain starts.
    Source(Arc<Source>),
    /// `struct(…)`: fields in the order written.
    Struct(Arc<[(Arc<str>, Value)]>),
    /// An instance of a provider.
    Provider(Arc<Provider>),
}

impl Value {
    /// A text.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self::String(text.into())
    }

    /// A list.
    #[must_use]
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// The word for this value's type in messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
            Self::Label(_) => "label",
            Self::Artifact(_) => "artifact",
            Self::Layer(_) => "layer",
            Self::Step(_) => "step",
            Self::Source(_) => "source",
            Self::Struct(_) => "struct",
            Self::Provider(_) => "provider",
        }
    }

    /// The text, if this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The items, if this is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if this is a dict.
    #[must_use]
    pub fn as_dict(&self) -> Option<&[(Arc<str>, Self)]> {
        match self {
            Self::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The texts of a list of texts; what is not a text is left out.
    pub fn strings(&self) -> impl Iterator<Item = &str> {
        self.as_list().unwrap_or_default().iter().filter_map(Self::as_str)
    }

    /// Calls `visit` for each label in this value, those in steps and sources included.
    pub fn visit_labels(&self, visit: &mut dyn FnMut(&Label)) {
        match self {
            Self::Label(label) => visit(label),
            Self::List(items) => items.iter().for_each(|item| item.visit_labels(visit)),
            Self::Dict(entries) | Self::Struct(entries) => {
                entries.iter().for_each(|(_, value)| value.visit_labels(visit));
            }
            Self::Step(step) => step.attributes.visit_labels(visit),
            Self::Source(source) => source.attributes.visit_labels(visit),
            Self::None
            | Self::Bool(_)
            | Self::Int(_)
            | Self::String(_)
            | Self::Artifact(_)
            | Self::Layer(_)
            | Self::Provider(_) => {}
        }
    }
}
