//! What a template refers to, found without rendering it.

use std::sync::Arc;

use crate::ast::{Branch, Command, Expr, ExprKind, Node, Number, Pipeline, Template};
use crate::error::Span;
use crate::value::Value;

/// A field of the data, such as `.Vars` or `$.a.b`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldUse {
    /// The names in order.
    pub path: Vec<Arc<str>>,
    /// Where.
    pub span: Span,
    /// It is a field of what `with`, `range` or `template` made the dot, not of the data itself.
    pub inner: bool,
}

/// A function that is called.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionUse {
    /// Its name.
    pub name: Arc<str>,
    /// Its arguments, the piped one last; `None` for one that is not constant.
    pub arguments: Vec<Option<Value>>,
    /// Where its name stands.
    pub span: Span,
}

/// What a template refers to, in the order of the text, the templates that it defines last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uses {
    /// Fields.
    pub fields: Vec<FieldUse>,
    /// Functions.
    pub functions: Vec<FunctionUse>,
    /// `.` or `$` itself, as a whole.
    pub whole_data: Vec<Span>,
}

impl Template {
    /// What it refers to, taken branch or not.
    #[must_use]
    pub fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        uses.nodes(&self.body, false, false);
        for body in self.defines.values() {
            uses.nodes(body, true, true);
        }
        uses
    }

    /// Whether it is nothing but text and actions that print: no branches, loops, variables or templates in it.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        let is_plain = |node: &Node| match node {
            Node::Text { .. } => true,
            Node::Action { pipeline, .. } => pipeline.variables.is_empty(),
            _ => false,
        };
        self.defines.is_empty() && self.body.iter().all(is_plain)
    }

    /// The text, if the template is nothing but text.
    #[must_use]
    pub fn constant(&self) -> Option<String> {
        self.body
            .iter()
            .map(|node| match node {
                Node::Text { text, .. } => Some(&**text),
                _ => None,
            })
            .collect()
    }
}

/// The value of a word that is a literal.
pub(crate) fn constant(expr: &Expr) -> Option<Value> {
    match &expr.kind {
        ExprKind::Nil => Some(Value::Nil),
        ExprKind::Bool(value) => Some(Value::Bool(*value)),
        ExprKind::Number(Number::Int(value)) => Some(Value::Int(*value)),
        ExprKind::Number(Number::Float(value, _)) => Some(Value::Float(*value)),
        ExprKind::String(text) => Some(Value::String(text.clone())),
        ExprKind::Pipeline(pipeline) => match pipeline.commands.as_slice() {
            [Command { words }] if words.len() == 1 && pipeline.variables.is_empty() => constant(&words[0]),
            _ => None,
        },
        _ => None,
    }
}

impl Uses {
    /// `inner`: the dot is not the data; `inner_root`: neither is `$`.
    fn nodes(&mut self, nodes: &[Node], inner: bool, inner_root: bool) {
        for node in nodes {
            match node {
                Node::Action { pipeline, .. } | Node::Call { argument: Some(pipeline), .. } => {
                    self.pipeline(pipeline, inner, inner_root);
                }
                Node::If(branch) => self.branch(branch, inner, inner, inner_root),
                Node::With(branch) | Node::Range(branch) => self.branch(branch, inner, true, inner_root),
                Node::Text { .. } | Node::Break { .. } | Node::Continue { .. } | Node::Call { .. } => {}
            }
        }
    }

    fn branch(&mut self, branch: &Branch, inner: bool, inner_body: bool, inner_root: bool) {
        self.pipeline(&branch.pipeline, inner, inner_root);
        self.nodes(&branch.body, inner_body, inner_root);
        self.nodes(branch.otherwise.as_deref().unwrap_or_default(), inner, inner_root);
    }

    pub(crate) fn pipeline(&mut self, pipeline: &Pipeline, inner: bool, inner_root: bool) {
        let mut piped: Option<Option<Value>> = None;
        for command in &pipeline.commands {
            let value = match command.words.as_slice() {
                [word] => constant(word),
                _ => None,
            };
            self.command(command, piped.take(), inner, inner_root);
            piped = Some(value);
        }
    }

    fn command(&mut self, command: &Command, piped: Option<Option<Value>>, inner: bool, inner_root: bool) {
        let Some((first, rest)) = command.words.split_first() else {
            return;
        };
        if let ExprKind::Function(name) = &first.kind {
            let arguments = rest.iter().map(constant).chain(piped).collect();
            self.functions.push(FunctionUse { name: name.clone(), arguments, span: first.span });
        } else {
            self.word(first, inner, inner_root);
        }
        for word in rest {
            self.word(word, inner, inner_root);
        }
    }

    fn word(&mut self, word: &Expr, inner: bool, inner_root: bool) {
        match &word.kind {
            ExprKind::Dot if !inner => self.whole_data.push(word.span),
            ExprKind::Field(path) => {
                self.fields.push(FieldUse { path: path.clone(), span: word.span, inner });
            }
            ExprKind::Variable(name, path) if name.is_empty() => {
                if !path.is_empty() {
                    self.fields.push(FieldUse { path: path.clone(), span: word.span, inner: inner_root });
                } else if !inner_root {
                    self.whole_data.push(word.span);
                }
            }
            ExprKind::Function(name) => {
                self.functions.push(FunctionUse {
                    name: name.clone(),
                    arguments: Vec::new(),
                    span: word.span,
                });
            }
            ExprKind::Chain(inside, _) => self.word(inside, inner, inner_root),
            ExprKind::Pipeline(pipeline) => self.pipeline(pipeline, inner, inner_root),
            _ => {}
        }
    }
}
