//! `dynamic` blocks: one block for each element of a collection.
//!
//! The body that comes out is a plain one: in the content of each block the iterator is replaced by its value, so the
//! rest need not know that there was a `dynamic` block.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use imgbuild_model::{Diagnostic, Diagnostics};

use super::Scope;
use crate::syntax::ast::{ExprRef, NodeKind};
use crate::syntax::{Attribute, Bindings, Block, Body, File, Label};
use crate::value::{Marks, Type, Value, convert};

impl Body {
    /// The body with each `dynamic` block, here or in the blocks of the body, replaced by the blocks that it stands for.
    /// If what it goes over is not known, it stands for one block all of whose attributes are unknown.
    ///
    /// Blocks of the JSON syntax must be told first ([`Body::content`], with one label for `dynamic`); those inside of
    /// them are expanded when their own content is told.
    #[must_use]
    pub fn expand(&self, scope: &Scope<'_>) -> File {
        self.expand_to(true, scope, &Expanded::default())
    }

    /// As [`Self::expand`], but what is in the blocks of the body stays as it is, to be expanded where more is known. All
    /// that is expanded with the same `expanded` has one measure.
    #[must_use]
    pub fn expand_here(&self, scope: &Scope<'_>, expanded: &Expanded) -> File {
        self.expand_to(false, scope, expanded)
    }

    fn expand_to(&self, deep: bool, scope: &Scope<'_>, expanded: &Expanded) -> File {
        let mut expansion = Expansion { scope, deep, expanded, errors: Vec::new() };
        let body = expansion.body(self);
        File { body, errors: expansion.errors }
    }
}

/// How many blocks `dynamic` blocks have made, over several bodies.
#[derive(Debug, Default)]
pub struct Expanded(Cell<usize>);

struct Expansion<'s> {
    scope: &'s Scope<'s>,
    /// Whether blocks inside of blocks are expanded too.
    deep: bool,
    expanded: &'s Expanded,
    errors: Vec<Diagnostic>,
}

/// How many blocks `dynamic` blocks stand for at most.
const MAX_BLOCKS: usize = 1 << 14;

/// What a `dynamic` block says.
struct Dynamic<'b> {
    kind: &'b Label,
    iterator: Arc<str>,
    labels: Option<&'b Attribute>,
    content: Block,
    whole: &'b Block,
}

impl Expansion<'_> {
    fn body(&mut self, body: &Body) -> Body {
        let mut result = body.clone();
        result.blocks.clear();
        for block in &body.blocks {
            if block.kind.as_ref() == "dynamic" {
                self.dynamic(block, &mut result.blocks);
            } else {
                result.blocks.push(Block { body: self.inner(&block.body), ..block.clone() });
            }
        }
        result
    }

    fn inner(&mut self, body: &Body) -> Body {
        if self.deep { self.body(body) } else { body.clone() }
    }

    fn fail(&mut self, error: Diagnostic) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn dynamic(&mut self, block: &Block, found: &mut Vec<Block>) {
        let File { body, errors } = block.body.content(&[("content", 0)]);
        self.errors.extend(errors);
        let Some((dynamic, for_each)) = self.declaration(block, &body) else { return };
        let value = match for_each.expr.evaluate(self.scope) {
            Ok(value) => value,
            Err(Diagnostics(errors)) => {
                errors.into_iter().for_each(|error| self.fail(error));
                return;
            }
        };
        let (value, marks) = value.unmark();
        match elements(&value) {
            Ok(None) => {
                let unknown = (Value::dynamic(), Value::dynamic());
                self.one(&dynamic, unknown, &marks, true, found);
            }
            Ok(Some(pairs)) => {
                for pair in pairs {
                    if !self.one(&dynamic, pair, &marks, false, found) {
                        break;
                    }
                }
            }
            Err(message) => {
                let error = for_each.expr.error(message);
                self.fail(error.hint("`for_each` goes over a list, set, tuple, map or object"));
            }
        }
    }

    fn declaration<'b>(&mut self, block: &'b Block, body: &'b Body) -> Option<(Dynamic<'b>, &'b Attribute)> {
        let source = &block.body.source;
        let [kind] = block.labels.as_slice() else {
            let error = source.error(block.header, "`dynamic` has one label: the kind of its blocks");
            self.fail(error.hint("write `dynamic \"kind\" { … }`"));
            return None;
        };
        self.strangers(body);
        let for_each = body.attribute("for_each");
        let mut contents = body.blocks_of("content");
        let first = contents.next();
        for (name, there) in [("for_each", for_each.is_some()), ("content", first.is_some())] {
            if !there {
                let error =
                    source.error(block.header, format!("`{name}` is missing in this `dynamic` block"));
                self.fail(error.hint("write `for_each = list` and `content { … }`"));
            }
        }
        let (for_each, content) = (for_each?, first?);
        if let Some(label) = content.labels.first() {
            let error = source.error(label.span, "`content` has no label");
            self.fail(error.hint("labels of the blocks stand in `labels = […]`"));
        }
        if let Some(second) = contents.next() {
            let error = source.error(second.header, "a `dynamic` block has one `content`");
            self.fail(error.note("the other one is here", Some(source.location(content.header))));
        }
        let iterator = self.iterator(kind, body)?;
        let labels = body.attribute("labels");
        Some((Dynamic { kind, iterator, labels, content: content.clone(), whole: block }, for_each))
    }

    /// Reports what has no place in a `dynamic` block.
    fn strangers(&mut self, body: &Body) {
        for attribute in &body.attributes {
            if !["for_each", "iterator", "labels"].contains(&attribute.name.as_ref()) {
                let message = format!("a `dynamic` block has no attribute `{}`", attribute.name);
                let error = body.source.error(attribute.name_span, message);
                self.fail(error.hint("attributes of the blocks stand in `content { … }`"));
            }
        }
        for block in body.blocks.iter().filter(|block| block.kind.as_ref() != "content") {
            let message = format!("a `dynamic` block has no block `{}`", block.kind);
            let error = body.source.error(block.kind_span, message);
            self.fail(error.hint("blocks of the blocks stand in `content { … }`"));
        }
    }

    fn iterator(&mut self, kind: &Label, body: &Body) -> Option<Arc<str>> {
        let Some(attribute) = body.attribute("iterator") else { return Some(Arc::clone(&kind.text)) };
        let named = attribute.expr.unquoted().ok();
        match named.as_ref().and_then(|expr| expr.as_keyword()) {
            Some(name) => Some(name.into()),
            None => {
                let error = attribute.expr.error("`iterator` is a bare name");
                self.fail(error.hint(format!("for example `iterator = {}`", kind.text)));
                None
            }
        }
    }

    /// One block; whether there may be more.
    fn one(
        &mut self,
        dynamic: &Dynamic<'_>,
        (key, value): (Value, Value),
        marks: &Marks,
        unknown: bool,
        found: &mut Vec<Block>,
    ) -> bool {
        if self.expanded.0.get() == MAX_BLOCKS {
            let error = dynamic.whole.body.source.error(
                dynamic.whole.header,
                format!("`dynamic` blocks stand for more than {MAX_BLOCKS} blocks"),
            );
            self.fail(error);
            return false;
        }
        self.expanded.0.set(self.expanded.0.get() + 1);
        let each = [("key", key.with_marks(marks)), ("value", value.with_marks(marks))];
        let bindings = Bindings::one(&dynamic.iterator, Value::object_of(each.clone()), unknown);
        let named = Bindings::one(&dynamic.iterator, Value::object_of(each), false);
        let Some(labels) = self.labels(dynamic, &named) else { return true };
        let body = bindings.body(&dynamic.content.body);
        found.push(Block {
            kind: Arc::clone(&dynamic.kind.text),
            kind_span: dynamic.kind.span,
            labels,
            body: self.inner(&body),
            header: dynamic.whole.header,
            span: dynamic.whole.span,
        });
        true
    }

    fn labels(&mut self, dynamic: &Dynamic<'_>, bindings: &Bindings) -> Option<Vec<Label>> {
        let Some(attribute) = dynamic.labels else { return Some(Vec::new()) };
        let expr = attribute.expr.borrow();
        let NodeKind::Tuple(nodes) = &expr.node.kind else {
            let error = expr.error("`labels` is a list of texts, written with brackets");
            self.fail(error.hint(format!("for example `labels = [{}.key]`", dynamic.iterator)));
            return None;
        };
        let labels: Vec<Option<Label>> = nodes
            .iter()
            .map(|node| {
                let node = bindings.apply(Cow::Borrowed(node));
                self.label(expr.at(&node))
            })
            .collect();
        labels.into_iter().collect()
    }

    fn label(&mut self, expr: ExprRef<'_>) -> Option<Label> {
        let value = match expr.evaluate(self.scope) {
            Ok(value) => value,
            Err(Diagnostics(errors)) => {
                errors.into_iter().for_each(|error| self.fail(error));
                return None;
            }
        };
        let message = match convert(&value, &Type::String) {
            _ if value.is_null() => "a label is null".to_owned(),
            _ if value.is_sensitive() => "a label must not be sensitive".to_owned(),
            Ok(value) => match value.as_shared_str() {
                Some(text) => return Some(Label { text, span: expr.node.span }),
                None => "a label is not known yet".to_owned(),
            },
            Err(_) => format!("a label is a text, but this is {}", value.ty().article_name()),
        };
        self.fail(expr.error(message));
        None
    }
}

/// The keys and values to go over; `None` if they are not known yet.
fn elements(value: &Value) -> Result<Option<Vec<(Value, Value)>>, String> {
    if value.is_null() {
        return Err("`for_each` is null".to_owned());
    }
    if value.ty().is_primitive() {
        return Err(format!("`for_each` cannot go over {}", value.ty().article_name()));
    }
    Ok(super::collections::pairs(value))
}
