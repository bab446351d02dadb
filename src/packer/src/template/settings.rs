//! The body of a component, evaluated: what it is configured with, each value with its place, ready to be checked
//! against the schema of its kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Attribute, Block, Body, Expression, Label};
use imgbuild_hcl::value::Value;
use imgbuild_model::{Diagnostic, Location};

use super::evaluate::Evaluator;

/// What a component is configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Attributes, in their order.
    pub attributes: Vec<Setting>,
    /// Blocks, in their order; `dynamic` ones are expanded.
    pub blocks: Vec<SettingsBlock>,
    /// Where the body is.
    pub location: Location,
}

/// An attribute.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name.
    pub name: Arc<str>,
    /// Where the name is.
    pub name_location: Location,
    /// Its value; what is not known yet is unknown.
    pub value: Value,
    expression: Expression,
}

/// A label and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: Arc<str>,
    /// Where it is.
    pub location: Location,
}

/// A block.
#[derive(Clone, Debug)]
pub struct SettingsBlock {
    /// Its kind.
    pub kind: Arc<str>,
    /// Where the kind is.
    pub kind_location: Location,
    /// Its labels.
    pub labels: Vec<Text>,
    /// What is in it.
    pub settings: Settings,
}

impl Setting {
    /// Where the value is.
    #[must_use]
    pub fn location(&self) -> Location {
        self.expression.location()
    }

    /// The expression as it is written.
    pub(super) fn expression(&self) -> &Expression {
        &self.expression
    }
}

impl Settings {
    /// The attribute of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.attributes.iter().find(|setting| setting.name.as_ref() == name)
    }

    /// The blocks of a kind.
    pub fn blocks_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a SettingsBlock> {
        self.blocks.iter().filter(move |block| block.kind.as_ref() == kind)
    }

    /// All of it as one object; blocks of a kind are a tuple of objects.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut blocks: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for block in &self.blocks {
            blocks.entry(&block.kind).or_default().push(block.settings.to_value());
        }
        let blocks = blocks.into_iter().map(|(kind, all)| (kind, Value::tuple(all)));
        let attributes = self.attributes.iter().map(|setting| (setting.name.as_ref(), setting.value.clone()));
        Value::object_of(blocks.chain(attributes))
    }

    /// Whether nothing in it is unknown.
    #[must_use]
    pub fn is_wholly_known(&self) -> bool {
        self.attributes.iter().all(|setting| setting.value.is_wholly_known())
            && self.blocks.iter().all(|block| block.settings.is_wholly_known())
    }

    /// Evaluates a body. Attributes named in `skip` are left out.
    pub(super) fn evaluate(body: &Body, skip: &[&str], scope: &Scope<'_>, evaluator: Evaluator<'_>) -> Self {
        let body = evaluator.expanded(body, &[], scope);
        let location = |span| body.source.location(span);
        let attributes = body.attributes.iter().filter(|attribute| !skip.contains(&attribute.name.as_ref()));
        let setting = |attribute: &Attribute| Setting {
            name: Arc::clone(&attribute.name),
            name_location: location(attribute.name_span),
            value: evaluator.value(&attribute.expr, scope),
            expression: attribute.expr.clone(),
        };
        let label = |label: &Label| Text { text: Arc::clone(&label.text), location: location(label.span) };
        let block = |block: &Block| SettingsBlock {
            kind: Arc::clone(&block.kind),
            kind_location: location(block.kind_span),
            labels: block.labels.iter().map(label).collect(),
            settings: Self::evaluate(&block.body, &[], scope, evaluator),
        };
        Self {
            attributes: attributes.map(setting).collect(),
            blocks: body.blocks.iter().map(block).collect(),
            location: location(body.span),
        }
    }

    /// Adds what a second body says of the same component; it cannot say anything anew.
    pub(super) fn add(&mut self, other: Self, evaluator: Evaluator<'_>) {
        for setting in other.attributes {
            match self.get(&setting.name) {
                None => self.attributes.push(setting),
                Some(first) => evaluator.report.push(
                    Diagnostic::error(format!("`{}` is set twice for this source", setting.name))
                        .at(setting.name_location)
                        .note("it was first set here", Some(first.name_location.clone()))
                        .hint(
                            "a `source` block in a build adds settings and replaces none; remove one of them",
                        ),
                ),
            }
        }
        self.blocks.extend(other.blocks);
    }

    /// Lets the entries of an `override` win. Maps are merged, all else is replaced.
    pub(super) fn replace(&mut self, entries: &Value, place: &Expression) {
        let items = place.items().unwrap_or_default();
        for (name, value) in entries.entries().into_iter().flatten() {
            let own = |(key, _): &&(Expression, Expression)| key.as_text().as_deref() == Some(name.as_ref());
            let (key, expression) =
                items.iter().find(own).map_or((place, place), |(key, value)| (key, value));
            let old = self.get(name).map(|setting| &setting.value);
            let value = old.map_or_else(|| value.clone(), |old| overridden(old, value));
            self.attributes.retain(|setting| setting.name != *name);
            self.blocks.retain(|block| block.kind != *name);
            self.attributes.push(Setting {
                name: Arc::clone(name),
                name_location: key.location(),
                value: value.with_marks_of([entries]),
                expression: expression.clone(),
            });
        }
    }
}

/// The value that counts where `new` stands for a source and `old` for all of them.
fn overridden(old: &Value, new: &Value) -> Value {
    match (old.entries(), new.entries()) {
        (Some(before), Some(entries)) => {
            let mut merged = before.clone();
            merged.extend(entries.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
            Value::object(merged).with_marks_of([old, new])
        }
        _ => new.clone(),
    }
}
