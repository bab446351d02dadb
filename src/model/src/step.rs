//! Steps and sources: a kind with its attributes, as written.

use std::sync::Arc;

use crate::{KindId, Label, Location, Value};

/// Attributes by name, in the order of the kind's schema. What was not written is not here: defaults are written out
/// where they matter, in the key and at execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(Arc<str>, Value)>);

/// One provisioning action, export, command or check as the user wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its kind.
    pub kind: KindId,
    /// Its attributes, valid under the kind's schema.
    pub attributes: Attributes,
    /// Where it was written.
    pub location: Location,
}

/// Where a chain starts, as the user wrote it: not yet pinned.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its kind.
    pub kind: KindId,
    /// Its attributes, valid under the kind's schema.
    pub attributes: Attributes,
    /// Where it was written.
    pub location: Location,
}

impl Attributes {
    /// The value of an attribute, if it was given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }

    /// The text of an attribute, if it was given and is one.
    #[must_use]
    pub fn str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Whether an attribute was given as `True`.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// The texts of an attribute that is a list of texts; empty if it was not given.
    pub fn strings(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).into_iter().flat_map(Value::strings)
    }

    /// Adds or replaces an attribute.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(key, _)| &**key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// Each attribute with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// The same attributes with each value replaced.
    ///
    /// # Errors
    /// The first error that `map` gives.
    pub fn try_map<E>(&self, mut map: impl FnMut(&str, &Value) -> Result<Value, E>) -> Result<Self, E> {
        self.0
            .iter()
            .map(|(key, value)| Ok((key.clone(), map(key, value)?)))
            .collect::<Result<_, E>>()
            .map(Self)
    }

    /// Calls `visit` for each label in the values.
    pub fn visit_labels(&self, visit: &mut dyn FnMut(&Label)) {
        self.0.iter().for_each(|(_, value)| value.visit_labels(visit));
    }
}

impl FromIterator<(Arc<str>, Value)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Value)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}
