//! Names in an expression replaced by values, as a `dynamic` block does it for each of its blocks.

use std::borrow::Cow;
use std::sync::Arc;

use super::ast::{Call, Conditional, Expression, For, Node, NodeKind, ObjectItem, Operand, Step, StepKind};
use super::body::{Attribute, Block, Body};
use crate::value::Value;

/// What names stand for; the last of a name counts. `unknown` says that nothing of it is known yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    names: Vec<(Arc<str>, Value)>,
    unknown: bool,
}

impl Bindings {
    /// One name, and whether all that is bound with it is unknown.
    pub(crate) fn one(name: &Arc<str>, value: Value, unknown: bool) -> Self {
        Self { names: vec![(Arc::clone(name), value)], unknown }
    }

    fn and(&self, inner: &Self) -> Self {
        let names = self.names.iter().chain(&inner.names).cloned().collect();
        Self { names, unknown: self.unknown || inner.unknown }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.names.iter().rev().find(|(own, _)| own.as_ref() == name).map(|(_, value)| value)
    }

    fn without(&self, hidden: &[&Arc<str>]) -> Self {
        let names = self.names.iter().filter(|(name, _)| !hidden.contains(&name)).cloned().collect();
        Self { names, unknown: self.unknown }
    }

    /// The body with the names replaced in all that it holds.
    pub(crate) fn body(&self, body: &Body) -> Body {
        let mut result = body.clone();
        result.attributes = body.attributes.iter().map(|attribute| self.attribute(attribute)).collect();
        result.blocks = body.blocks.iter().map(|block| self.block(block)).collect();
        if let Some(json) = &mut result.json {
            json.bindings = json.bindings.and(self);
        }
        result
    }

    fn block(&self, block: &Block) -> Block {
        let body =
            if block.kind.as_ref() == "dynamic" { self.dynamic(block) } else { self.body(&block.body) };
        Block { body, ..block.clone() }
    }

    /// A `dynamic` block inside: what decides how many blocks there are is still evaluated, and its iterator may hide a
    /// name.
    fn dynamic(&self, block: &Block) -> Body {
        let named = block.body.attribute("iterator").and_then(|attribute| attribute.expr.as_keyword());
        let iterator: Option<Arc<str>> =
            named.map(Arc::from).or_else(|| block.labels.first().map(|label| Arc::clone(&label.text)));
        let inner = self.without(&iterator.iter().collect::<Vec<_>>());
        let outer = Self { names: self.names.clone(), unknown: false };
        let labels = Self { names: inner.names.clone(), unknown: false };
        let mut result = block.body.clone();
        for attribute in &mut result.attributes {
            *attribute = match attribute.name.as_ref() {
                "iterator" => continue,
                "labels" => labels.attribute(attribute),
                _ => outer.attribute(attribute),
            };
        }
        result.blocks = block.body.blocks.iter().map(|block| inner.block(block)).collect();
        if let Some(json) = &mut result.json {
            json.bindings = json.bindings.and(self);
        }
        result
    }

    fn attribute(&self, attribute: &Attribute) -> Attribute {
        let node = self.apply(Cow::Borrowed(&attribute.expr.node)).into_owned();
        Attribute { expr: Expression::new(&attribute.expr.source, node), ..attribute.clone() }
    }

    /// The expression with the names replaced.
    pub(crate) fn apply<'n>(&self, node: Cow<'n, Node>) -> Cow<'n, Node> {
        if self.unknown {
            return Cow::Owned(Node { kind: NodeKind::Literal(Value::dynamic()), span: node.span });
        }
        if self.names.is_empty() {
            return node;
        }
        Cow::Owned(self.node(&node))
    }

    fn nodes(&self, nodes: &[Node]) -> Vec<Node> {
        nodes.iter().map(|node| self.node(node)).collect()
    }

    fn boxed(&self, node: &Node) -> Box<Node> {
        Box::new(self.node(node))
    }

    fn node(&self, node: &Node) -> Node {
        let kind = match &node.kind {
            NodeKind::Literal(_) | NodeKind::Unreadable(_) => node.kind.clone(),
            NodeKind::Variable(name) => match self.get(name) {
                Some(value) => NodeKind::Literal(value.clone()),
                None => node.kind.clone(),
            },
            NodeKind::Template(parts) => NodeKind::Template(self.nodes(parts)),
            NodeKind::Tuple(elements) => NodeKind::Tuple(self.nodes(elements)),
            NodeKind::Wrap(inner) => NodeKind::Wrap(self.boxed(inner)),
            NodeKind::Join(inner) => NodeKind::Join(self.boxed(inner)),
            NodeKind::Not(inner) => NodeKind::Not(self.boxed(inner)),
            NodeKind::Negate(inner) => NodeKind::Negate(self.boxed(inner)),
            NodeKind::Paren(inner) => NodeKind::Paren(self.boxed(inner)),
            NodeKind::Traversal(root, steps) => NodeKind::Traversal(self.boxed(root), self.steps(steps)),
            NodeKind::Call(call) => NodeKind::Call(Box::new(Call {
                arguments: self.nodes(&call.arguments),
                ..call.as_ref().clone()
            })),
            NodeKind::Object(items) => NodeKind::Object(items.iter().map(|item| self.item(item)).collect()),
            NodeKind::For(parts) => NodeKind::For(Box::new(self.for_expression(parts))),
            NodeKind::Conditional(parts) => NodeKind::Conditional(Box::new(Conditional {
                condition: self.node(&parts.condition),
                then: self.node(&parts.then),
                otherwise: self.node(&parts.otherwise),
            })),
            NodeKind::Binary(first, rest) => {
                let operand =
                    |operand: &Operand| Operand { node: self.node(&operand.node), ..operand.clone() };
                NodeKind::Binary(self.boxed(first), rest.iter().map(operand).collect())
            }
        };
        Node { kind, span: node.span }
    }

    fn item(&self, item: &ObjectItem) -> ObjectItem {
        let key = if item.bare_key().is_some() { item.key.clone() } else { self.node(&item.key) };
        ObjectItem { key, value: self.node(&item.value) }
    }

    fn for_expression(&self, parts: &For) -> For {
        let hidden: Vec<&Arc<str>> = parts.key_name.iter().chain([&parts.value_name]).collect();
        let inner = self.without(&hidden);
        For {
            collection: self.node(&parts.collection),
            key: parts.key.as_ref().map(|node| inner.node(node)),
            value: inner.node(&parts.value),
            condition: parts.condition.as_ref().map(|node| inner.node(node)),
            ..parts.clone()
        }
    }

    fn steps(&self, steps: &[Step]) -> Vec<Step> {
        let step = |step: &Step| {
            let kind = match &step.kind {
                StepKind::Index(node) => StepKind::Index(self.node(node)),
                StepKind::AttributeSplat(inner) => StepKind::AttributeSplat(self.steps(inner)),
                StepKind::Splat(inner) => StepKind::Splat(self.steps(inner)),
                StepKind::Attribute(_) | StepKind::LegacyIndex(_) => step.kind.clone(),
            };
            Step { kind, span: step.span }
        };
        steps.iter().map(step).collect()
    }
}
