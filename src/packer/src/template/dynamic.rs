//! `dynamic` blocks: the blocks of a body, with those that a `dynamic` block makes in its place.
//!
//! A block that was made so carries the values of its iterators: its body is evaluated later, where more is known.

use std::sync::Arc;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Block, Body, Expression, is_identifier};
use imgbuild_hcl::value::{Type, Value, convert};
use imgbuild_model::{Diagnostic, Location};

use super::body::Shape;
use super::evaluate::Evaluator;

/// The values of the iterators around a block, the innermost last.
pub(super) type Bindings = Vec<(Arc<str>, Value)>;

/// A block as it is written, or as a `dynamic` block made it.
#[derive(Clone, Debug)]
pub(super) struct Expanded<'b> {
    pub kind: Arc<str>,
    /// The kind, or the label of the `dynamic` block.
    pub kind_location: Location,
    pub labels: Vec<Text>,
    /// The kind and the labels.
    pub header: Location,
    pub body: &'b Body,
    pub bindings: Bindings,
}

/// A label and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: Arc<str>,
    /// Where it is.
    pub location: Location,
}

const DYNAMIC: Shape = Shape {
    what: "a `dynamic` block",
    attributes: &["for_each", "iterator", "labels"],
    blocks: &["content"],
};

/// A scope inside another with the values of iterators.
pub(super) fn bound<'s>(scope: &'s Scope<'s>, bindings: &Bindings) -> Scope<'s> {
    let mut inner = scope.child();
    for (name, value) in bindings {
        inner.set(name, value.clone());
    }
    inner
}

/// The blocks of a body. `scope` does not hold the iterators yet.
pub(super) fn expand<'b>(
    body: &'b Body,
    bindings: &Bindings,
    scope: &Scope<'_>,
    evaluator: Evaluator<'_>,
) -> Vec<Expanded<'b>> {
    let mut all = Vec::new();
    for block in &body.blocks {
        if block.kind.as_ref() == "dynamic" {
            let expansion = Expansion { scope, evaluator, bindings };
            expansion.run(block, &mut all);
        } else {
            let location = |span| block.body.source.location(span);
            let labels = block.labels.iter();
            all.push(Expanded {
                kind: Arc::clone(&block.kind),
                kind_location: location(block.kind_span),
                labels: labels
                    .map(|label| Text { text: Arc::clone(&label.text), location: location(label.span) })
                    .collect(),
                header: location(block.header),
                body: &block.body,
                bindings: bindings.clone(),
            });
        }
    }
    all
}

struct Expansion<'a> {
    scope: &'a Scope<'a>,
    evaluator: Evaluator<'a>,
    bindings: &'a Bindings,
}

impl Expansion<'_> {
    fn fail(&self, error: Diagnostic) {
        self.evaluator.report.push(error);
    }

    fn run<'b>(&self, block: &'b Block, all: &mut Vec<Expanded<'b>>) {
        let report = self.evaluator.report;
        let Some([label]) = super::body::labels(block, ["kind of block"], report) else { return };
        if !DYNAMIC.check(&block.body, report) {
            return;
        }
        let example = "for_each = [\"a\", \"b\"]";
        let for_each = super::body::required(block, "for_each", example, report);
        let contents: Vec<&Block> = block.body.blocks_of("content").collect();
        let content = match contents.as_slice() {
            [content] => Some(*content),
            [] => {
                let error = block.body.source.error(block.header, "`content` is missing in this `dynamic` block");
                self.fail(error.hint("write `content { … }` with what each block holds"));
                None
            }
            [_, second, ..] => {
                let error = second.body.source.error(second.header, "a `dynamic` block has one `content`");
                self.fail(error.hint("remove this one"));
                None
            }
        };
        let Some(iterator) = self.iterator(block, &label.text) else { return };
        let (Some(for_each), Some(content)) = (for_each, content) else { return };
        let scope = bound(self.scope, self.bindings);
        let collection = self.evaluator.value(&for_each.expr, &scope);
        let Some(elements) = self.elements(&for_each.expr, &collection) else { return };
        for (key, value) in elements {
            let mut bindings = self.bindings.clone();
            bindings.push((Arc::clone(&iterator), Value::object_of([("key", key), ("value", value)])));
            let Some(labels) = self.labels(block, &bindings) else { return };
            all.push(Expanded {
                kind: Arc::clone(&label.text),
                kind_location: block.body.source.location(label.span),
                labels,
                header: block.body.source.location(block.header),
                body: &content.body,
                bindings,
            });
        }
    }

    fn iterator(&self, block: &Block, kind: &Arc<str>) -> Option<Arc<str>> {
        let Some(attribute) = block.body.attribute("iterator") else { return Some(Arc::clone(kind)) };
        let word = attribute.expr.as_keyword().map(str::to_owned).or_else(|| attribute.expr.as_text());
        let name = word.filter(|word| is_identifier(word));
        if name.is_none() {
            self.fail(attribute.expr.error("`iterator` must be a name").hint("for example `iterator = item`"));
        }
        name.map(Into::into)
    }

    /// Keys and values; one of unknown ones if the collection is not known.
    fn elements(&self, place: &Expression, collection: &Value) -> Option<Vec<(Value, Value)>> {
        let (value, marks) = collection.clone().unmark();
        if value.is_null() {
            self.fail(place.error("`for_each` is null").hint("use an empty list, `[]`, for no blocks"));
            return None;
        }
        let marked = |value: &Value| value.clone().with_marks(&marks);
        if let Some(entries) = value.entries() {
            return Some(entries.iter().map(|(k, v)| (marked(&Value::string(k)), marked(v))).collect());
        }
        if let Some(elements) = value.elements() {
            let is_set = matches!(value.ty(), Type::Set(_));
            let pair = |(index, element): (usize, &Value)| {
                let key = if is_set { element.clone() } else { Value::int(index as i64) };
                (marked(&key), marked(element))
            };
            return Some(elements.iter().enumerate().map(pair).collect());
        }
        if value.is_known() || value.ty().is_primitive() {
            let message = format!("`for_each` goes over a list, set, map, tuple or object, not a {}", value.ty().name());
            self.fail(place.error(message).hint("put it in brackets, `[…]`, for one block"));
            return None;
        }
        Some(vec![(marked(&Value::dynamic()), marked(&Value::dynamic()))])
    }

    fn labels(&self, block: &Block, bindings: &Bindings) -> Option<Vec<Text>> {
        let Some(attribute) = block.body.attribute("labels") else { return Some(Vec::new()) };
        let scope = bound(self.scope, bindings);
        let value = self.evaluator.value(&attribute.expr, &scope);
        let value = match convert(&value, &Type::list(Type::String)) {
            Ok(value) => value,
            Err(error) => {
                self.fail(attribute.expr.error(format!("unsuitable value for `labels`: {error}")));
                return None;
            }
        };
        let texts: Option<Vec<Text>> = value.elements().and_then(|all| {
            let text = |label: &Value| Some(Text { text: label.as_shared_str()?, location: attribute.expr.location() });
            all.iter().map(text).collect()
        });
        if texts.is_none() {
            let message = if value.is_wholly_known() { "a label is null" } else { "labels are not known yet" };
            self.fail(attribute.expr.error(message).hint("labels are made of variables, locals and the iterator"));
        }
        texts
    }
}
