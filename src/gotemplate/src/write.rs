//! A tree back into template text.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::ast::{Branch, Command, Expr, ExprKind, Node, Number, Pipeline};
use crate::literal::quote;
use crate::value::Value;

/// What is known already, and put in as a literal. `data`: whether the dot and `$` are the data here.
pub(crate) trait Known {
    fn expr(&self, expr: &Expr, data: bool) -> Option<Value>;
    /// The value of the longest run of commands at the front that is known, and how many they are.
    fn front(&self, commands: &[Command], data: bool) -> Option<(usize, Value)>;
}

/// Writes nodes of one context.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub known: &'a dyn Known,
    pub data: bool,
}

impl Writer<'_> {
    pub fn nodes(self, out: &mut String, nodes: &[Node]) {
        for node in nodes {
            self.node(out, node);
        }
    }

    pub fn node(self, out: &mut String, node: &Node) {
        match node {
            Node::Text { text, .. } => literal_text(out, text),
            Node::Action { pipeline, .. } => self.action(out, "", Some(pipeline)),
            Node::If(branch) => self.branch(out, "if ", branch, false),
            Node::With(branch) => self.branch(out, "with ", branch, true),
            Node::Range(branch) => self.branch(out, "range ", branch, true),
            Node::Break { .. } => self.action(out, "break", None),
            Node::Continue { .. } => self.action(out, "continue", None),
            Node::Call { name, argument, .. } => {
                let words = format!("template {} ", quote(name));
                self.action(out, &words, argument.as_ref());
            }
        }
    }

    pub fn define(self, out: &mut String, name: &str, body: &[Node]) {
        self.action(out, &format!("define {}", quote(name)), None);
        Self { data: false, ..self }.nodes(out, body);
        out.push_str("{{end}}");
    }

    fn action(self, out: &mut String, words: &str, pipeline: Option<&Pipeline>) {
        open(out);
        out.push_str(words);
        if let Some(pipeline) = pipeline {
            self.pipeline(out, pipeline);
        }
        out.push_str("}}");
    }

    fn branch(self, out: &mut String, keyword: &str, branch: &Branch, rebinds: bool) {
        self.action(out, keyword, Some(&branch.pipeline));
        Self { data: self.data && !rebinds, ..self }.nodes(out, &branch.body);
        if let Some(otherwise) = &branch.otherwise {
            self.action(out, "else", None);
            self.nodes(out, otherwise);
        }
        self.action(out, "end", None);
    }

    fn pipeline(self, out: &mut String, pipeline: &Pipeline) {
        for (position, name) in pipeline.variables.iter().enumerate() {
            let _ = write!(out, "{}${name}", if position > 0 { ", " } else { "" });
        }
        if !pipeline.variables.is_empty() {
            out.push_str(if pipeline.assigns { " = " } else { " := " });
        }
        let front = self.known.front(&pipeline.commands, self.data);
        let front = front.and_then(|(count, value)| literal(&value).map(|text| (count, text)));
        let (skipped, mut separator) = match front {
            Some((count, text)) => {
                out.push_str(&text);
                (count, " | ")
            }
            None => (0, ""),
        };
        for command in &pipeline.commands[skipped..] {
            out.push_str(separator);
            separator = " | ";
            self.command(out, command);
        }
    }

    fn command(self, out: &mut String, command: &Command) {
        for (position, word) in command.words.iter().enumerate() {
            if position > 0 {
                out.push(' ');
            }
            self.expr(out, word, position > 0);
        }
    }

    fn expr(self, out: &mut String, expr: &Expr, may_be_literal: bool) {
        let known = if may_be_literal { self.known.expr(expr, self.data) } else { None };
        if let Some(text) = known.as_ref().and_then(literal) {
            out.push_str(&text);
            return;
        }
        let _ = match &expr.kind {
            ExprKind::Dot => write!(out, "."),
            ExprKind::Nil => write!(out, "nil"),
            ExprKind::Bool(value) => write!(out, "{value}"),
            ExprKind::Number(Number::Int(value)) => write!(out, "{value}"),
            ExprKind::Number(Number::Unsigned(value)) => write!(out, "{value}"),
            ExprKind::Number(Number::Float(value, _)) => write!(out, "{value:e}"),
            ExprKind::String(text) => write!(out, "{}", quote(text)),
            ExprKind::Field(names) => fields(out, names),
            ExprKind::Variable(name, names) => {
                let _ = write!(out, "${name}");
                fields(out, names)
            }
            ExprKind::Function(name) => write!(out, "{name}"),
            ExprKind::Chain(inner, names) => {
                self.expr(out, inner, false);
                fields(out, names)
            }
            ExprKind::Pipeline(inner) => {
                out.push('(');
                self.pipeline(out, inner);
                write!(out, ")")
            }
        };
    }
}

/// Text that stands for itself when the result is parsed: no brace of it becomes part of an action.
pub(crate) fn literal_text(out: &mut String, text: &str) {
    for c in text.chars() {
        if c == '{' && out.ends_with('{') {
            out.pop();
            out.push_str("{{\"{{\"}}");
        } else {
            out.push(c);
        }
    }
}

fn open(out: &mut String) {
    if out.ends_with('{') {
        out.pop();
        out.push_str("{{\"{\"}}");
    }
    out.push_str("{{");
}

fn fields(out: &mut String, names: &[Arc<str>]) -> std::fmt::Result {
    names.iter().try_for_each(|name| write!(out, ".{name}"))
}

/// A value as a word, where there is a word for it.
fn literal(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) if value.is_finite() => Some(format!("{value:e}")),
        Value::String(text) => Some(quote(text)),
        _ => None,
    }
}
