//! What an expression says without being evaluated: a keyword, a traversal, a list of expressions, a call.

use std::sync::Arc;

use super::Span;
use super::ast::{Call, ExprRef, Expression, Node, NodeKind, ObjectItem, Step, StepKind};
use crate::value::{Number, Value};

/// A name and constant steps from it: `a.b[0]["c"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traversal {
    /// Where it starts.
    pub root: Root,
    /// The steps.
    pub steps: Vec<TraversalStep>,
    /// Where it is.
    pub span: Span,
}

/// The name at the start of a traversal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    /// The name.
    pub name: Arc<str>,
    /// Where it is.
    pub span: Span,
}

/// A constant step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraversalStep {
    /// `.name` or `["name"]`
    Name(Arc<str>),
    /// `[0]`
    Index(Number),
}

impl Traversal {
    /// The names from the root, as far as there are only names.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let steps = self.steps.iter().map_while(|step| match step {
            TraversalStep::Name(name) => Some(name.as_ref()),
            TraversalStep::Index(_) => None,
        });
        std::iter::once(self.root.name.as_ref()).chain(steps).collect()
    }
}

impl Node {
    /// Without the parentheses around it.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        match &self.kind {
            NodeKind::Paren(inner) => inner.unwrapped(),
            _ => self,
        }
    }

    /// The text of a string without sequences.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        let literal = |node: &Self| match &node.kind {
            NodeKind::Literal(value) => value.as_str().map(str::to_owned),
            _ => None,
        };
        match &self.kind {
            NodeKind::Template(parts) => parts.iter().map(literal).collect(),
            _ => literal(self),
        }
    }

    /// A bare name, `true`, `false` or `null`.
    #[must_use]
    pub fn as_keyword(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Variable(name) => Some(name),
            NodeKind::Literal(value) if value.is_null() => Some("null"),
            NodeKind::Literal(value) => value.as_bool().map(|flag| if flag { "true" } else { "false" }),
            _ => None,
        }
    }

    /// A call.
    #[must_use]
    pub fn as_call(&self) -> Option<&Call> {
        match &self.kind {
            NodeKind::Call(call) => Some(call),
            _ => None,
        }
    }

    /// The elements of a `[…]`.
    #[must_use]
    pub fn as_elements(&self) -> Option<&[Self]> {
        match &self.kind {
            NodeKind::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The items of a `{…}`.
    #[must_use]
    pub fn as_items(&self) -> Option<&[ObjectItem]> {
        match &self.kind {
            NodeKind::Object(items) => Some(items),
            _ => None,
        }
    }

    /// A name with constant steps, all of them.
    #[must_use]
    pub fn as_traversal(&self) -> Option<Traversal> {
        let root = |name: &Arc<str>, span| Root { name: Arc::clone(name), span };
        match &self.kind {
            NodeKind::Variable(name) => {
                Some(Traversal { root: root(name, self.span), steps: Vec::new(), span: self.span })
            }
            NodeKind::Traversal(start, steps) => match &start.kind {
                NodeKind::Variable(name) => {
                    let root = root(name, start.span);
                    let steps = steps.iter().map(constant).collect::<Option<_>>()?;
                    Some(Traversal { root, steps, span: self.span })
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// A step as a constant, if it is one.
pub(crate) fn constant(step: &Step) -> Option<TraversalStep> {
    match &step.kind {
        StepKind::Attribute(name) => Some(TraversalStep::Name(Arc::clone(name))),
        StepKind::LegacyIndex(index) => Some(TraversalStep::Index(Number::from(*index))),
        StepKind::Index(node) => match &node.kind {
            NodeKind::Literal(value) => value.as_number().cloned().map(TraversalStep::Index),
            _ => node.as_text().map(|text| TraversalStep::Name(crate::value::normalize(&text))),
        },
        StepKind::AttributeSplat(_) | StepKind::Splat(_) => None,
    }
}

impl Expression {
    /// A name with constant steps.
    #[must_use]
    pub fn as_traversal(&self) -> Option<Traversal> {
        self.node.as_traversal()
    }

    /// A bare name or keyword.
    #[must_use]
    pub fn as_keyword(&self) -> Option<&str> {
        self.node.as_keyword()
    }

    /// The text of a string without sequences.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        self.node.as_text()
    }

    /// The elements of a `[…]`.
    #[must_use]
    pub fn elements(&self) -> Option<Vec<Self>> {
        let part = |node| self.borrow().at(node).to_expression();
        self.node.as_elements().map(|nodes| nodes.iter().map(part).collect())
    }

    /// The keys and values of a `{…}`. A bare key is a string.
    #[must_use]
    pub fn items(&self) -> Option<Vec<(Self, Self)>> {
        let whole = self.borrow();
        Some(
            self.node
                .as_items()?
                .iter()
                .map(|item| (whole.key(item).to_owned_key(item), whole.at(&item.value).to_expression()))
                .collect(),
        )
    }
}

impl<'a> ExprRef<'a> {
    fn key(self, item: &'a ObjectItem) -> Self {
        self.at(&item.key)
    }

    fn to_owned_key(self, item: &ObjectItem) -> Expression {
        match item.bare_key() {
            Some(name) => Expression::literal(self.source, item.key.span, Value::string(name)),
            None => self.to_expression(),
        }
    }
}
