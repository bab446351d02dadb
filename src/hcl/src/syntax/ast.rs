//! The tree of expressions.

use std::sync::Arc;

use super::{Source, Span};
use crate::value::Value;

/// An expression and the source that it is a part of. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Expression {
    /// The source.
    pub source: Arc<Source>,
    /// The expression.
    pub node: Arc<Node>,
}

/// A part of an expression, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct ExprRef<'a> {
    /// The source.
    pub source: &'a Arc<Source>,
    /// The part.
    pub node: &'a Node,
}

/// A part of an expression and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it is.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A number, `true`, `false`, `null`, or literal text of a template.
    Literal(Value),
    /// Text with sequences; its parts become strings.
    Template(Vec<Node>),
    /// A template of nothing but one interpolation: its value as it is.
    Wrap(Box<Node>),
    /// The texts of a `%{for}`, one after the other; the node is a [`NodeKind::For`].
    Join(Box<Node>),
    /// A name.
    Variable(Arc<str>),
    /// Steps into a value.
    Traversal(Box<Node>, Vec<Step>),
    /// A function call.
    Call(Box<Call>),
    /// `[a, b]`
    Tuple(Vec<Node>),
    /// `{a = b}`
    Object(Vec<ObjectItem>),
    /// `[for …]`, `{for …}`
    For(Box<For>),
    /// `a ? b : c`
    Conditional(Box<Conditional>),
    /// `a + b - c`: operators of one level, from the left.
    Binary(Box<Node>, Vec<Operand>),
    /// `!a`
    Not(Box<Node>),
    /// `-a`
    Negate(Box<Node>),
    /// `(a)`
    Paren(Box<Node>),
    /// What cannot be read, of the JSON syntax; its evaluation says why.
    Unreadable(Arc<imgbuild_model::Diagnostics>),
}

/// A step into a value and its place, without what is before it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is.
    pub kind: StepKind,
    /// Where it is.
    pub span: Span,
}

/// The kinds of steps.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// `.name`
    Attribute(Arc<str>),
    /// `.0`: an index or, for maps and objects, a key.
    LegacyIndex(u64),
    /// `[expression]`
    Index(Node),
    /// `.*` with the attribute steps that apply to each element.
    AttributeSplat(Vec<Step>),
    /// `[*]` with all steps that follow; they apply to each element.
    Splat(Vec<Step>),
}

/// A function call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name, with its namespace.
    pub name: Arc<str>,
    /// Where the name is.
    pub name_span: Span,
    /// The arguments.
    pub arguments: Vec<Node>,
    /// Whether the last argument is a sequence of arguments (`...`).
    pub expand: bool,
    /// The closing parenthesis.
    pub close: Span,
}

/// An item of an object.
#[derive(Clone, Debug)]
pub struct ObjectItem {
    /// The key. A bare name stands for itself.
    pub key: Node,
    /// The value.
    pub value: Node,
}

impl ObjectItem {
    /// The key if it is a bare name, a keyword among them.
    #[must_use]
    pub fn bare_key(&self) -> Option<&str> {
        match &self.key.kind {
            NodeKind::Variable(name) => Some(name),
            _ => None,
        }
    }
}

/// A `for` expression.
#[derive(Clone, Debug)]
pub struct For {
    /// The name of the key or index.
    pub key_name: Option<Arc<str>>,
    /// The name of the element.
    pub value_name: Arc<str>,
    /// What is walked over.
    pub collection: Node,
    /// The key of an object's element.
    pub key: Option<Node>,
    /// The element.
    pub value: Node,
    /// Which elements stay.
    pub condition: Option<Node>,
    /// Whether elements of one key are put together (`...`).
    pub group: bool,
}

/// `a ? b : c`, or `%{if}`.
#[derive(Clone, Debug)]
pub struct Conditional {
    /// What decides.
    pub condition: Node,
    /// If it is true.
    pub then: Node,
    /// If it is not.
    pub otherwise: Node,
}

/// An operator and what stands at its right.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The operator.
    pub operator: Operator,
    /// The right side.
    pub node: Node,
}

/// Operators between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

impl Expression {
    /// A part of a source.
    #[must_use]
    pub fn new(source: &Arc<Source>, node: Node) -> Self {
        Self { source: Arc::clone(source), node: Arc::new(node) }
    }

    /// An expression that is nothing but a value, at a place.
    #[must_use]
    pub fn literal(source: &Arc<Source>, span: Span, value: Value) -> Self {
        Self::new(source, Node { kind: NodeKind::Literal(value), span })
    }

    /// Borrowed.
    #[must_use]
    pub fn borrow(&self) -> ExprRef<'_> {
        ExprRef { source: &self.source, node: &self.node }
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> imgbuild_model::Location {
        self.source.location(self.node.span)
    }

    /// An error at its place.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> imgbuild_model::Diagnostic {
        self.source.error(self.node.span, message)
    }
}

impl<'a> ExprRef<'a> {
    /// Another part of the same source.
    #[must_use]
    pub fn at(self, node: &'a Node) -> Self {
        Self { source: self.source, node }
    }

    /// A copy of its own.
    #[must_use]
    pub fn to_expression(self) -> Expression {
        Expression::new(self.source, self.node.clone())
    }

    /// An error at its place.
    #[must_use]
    pub fn error(self, message: impl Into<String>) -> imgbuild_model::Diagnostic {
        self.source.error(self.node.span, message)
    }
}
