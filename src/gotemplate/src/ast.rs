//! The tree of a template. Every node knows the bytes it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Span;

/// A template that has been parsed.
#[derive(Clone, Debug)]
pub struct Template {
    pub(crate) source: Arc<str>,
    pub(crate) body: Vec<Node>,
    pub(crate) defines: BTreeMap<Arc<str>, Vec<Node>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Text { text: Arc<str>, span: Span },
    Action { pipeline: Pipeline, span: Span },
    If(Branch),
    With(Branch),
    Range(Branch),
    Break { span: Span },
    Continue { span: Span },
    Call { name: Arc<str>, argument: Option<Pipeline>, span: Span },
}

/// `if`, `with` or `range`. The span covers the opening action only.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub pipeline: Pipeline,
    pub body: Vec<Node>,
    pub otherwise: Option<Vec<Node>>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub variables: Vec<Arc<str>>,
    /// `=`, not `:=`.
    pub assigns: bool,
    pub commands: Vec<Command>,
    pub span: Span,
}

/// A function, a value, or a function with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub words: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    String(Arc<str>),
    /// `.a.b`
    Field(Vec<Arc<str>>),
    /// `$`, `$x`, `$x.a.b`; the name is without `$`.
    Variable(Arc<str>, Vec<Arc<str>>),
    Function(Arc<str>),
    /// `(…).a.b`
    Chain(Box<Expr>, Vec<Arc<str>>),
    Pipeline(Box<Pipeline>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    /// Also what it is as an integer, where it is one: `1e3` may be passed where an integer is wanted.
    Float(f64, Option<i64>),
    /// More than an `i64` holds but no more than an `u64` does: Go refuses it when it is used.
    Unsigned(u64),
}

impl Node {
    pub fn span(&self) -> Span {
        match self {
            Self::Text { span, .. }
            | Self::Action { span, .. }
            | Self::Break { span }
            | Self::Continue { span }
            | Self::Call { span, .. } => *span,
            Self::If(branch) | Self::With(branch) | Self::Range(branch) => branch.span,
        }
    }
}

impl Pipeline {
    /// All words, those of inner pipelines too.
    pub fn for_each(&self, visit: &mut impl FnMut(&Expr)) {
        for word in self.commands.iter().flat_map(|command| &command.words) {
            word.for_each(visit);
        }
    }
}

impl Expr {
    pub fn for_each(&self, visit: &mut impl FnMut(&Expr)) {
        visit(self);
        match &self.kind {
            ExprKind::Chain(inner, _) => inner.for_each(visit),
            ExprKind::Pipeline(pipeline) => pipeline.for_each(visit),
            _ => {}
        }
    }
}
