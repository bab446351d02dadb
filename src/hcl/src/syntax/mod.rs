//! Text into trees: bodies and expressions, in the native syntax ([`parse`]) or the JSON syntax ([`parse_json`]).
//!
//! The reader is our own: that of `hcl-edit` stops at the first error, nests to 64 levels and does not keep what `~`,
//! `<<-`, escapes and numbers depend on. Nothing here evaluates anything.

pub mod ast;
mod body;
mod expression;
mod json_body;
mod lexer;
mod parser;
mod source;
mod statics;
mod substitute;
mod template;
mod types;

use std::sync::Arc;

use imgbuild_model::{Diagnostic, Diagnostics};

pub use ast::{ExprRef, Expression};
pub use body::{Attribute, Block, Body, Label};
pub use json_body::parse_json;
pub use lexer::{Start, Token, TokenKind, is_identifier, tokens};
pub use parser::MAX_DEPTH;
pub use source::{Source, Span};
pub(crate) use statics::constant as statics_constant;
pub use statics::{Root, Traversal, TraversalStep};
pub(crate) use substitute::Bindings;
pub use types::{TypeConstraint, parse_type};

use parser::Parser;

/// What was read, as far as it could be, and what is wrong.
#[derive(Clone, Debug)]
pub struct File {
    /// The attributes and blocks that could be read.
    pub body: Body,
    /// All errors.
    pub errors: Vec<Diagnostic>,
}

impl File {
    /// The file if there was no error.
    pub fn into_result(self) -> Result<Self, Diagnostics> {
        if self.errors.is_empty() { Ok(self) } else { Err(Diagnostics(self.errors)) }
    }
}

/// Reads a file of the native syntax.
#[must_use]
pub fn parse(name: &str, text: &str) -> File {
    parse_source(&Source::new(name, text))
}

/// Reads a source of the native syntax.
#[must_use]
pub fn parse_source(source: &Arc<Source>) -> File {
    let mut parser = Parser::new(source, source.text(), tokens(source.text(), Start::Main));
    let body = parser.body(TokenKind::Eof);
    File { body, errors: parser.errors }
}

/// Reads one expression; line breaks mean nothing in it.
pub fn parse_expression(source: &Arc<Source>) -> Result<Expression, Diagnostics> {
    let parser = Parser::new(source, source.text(), tokens(source.text(), Start::Main));
    whole_expression(parser).map(|node| Expression::new(source, node))
}

fn whole_expression(mut parser: Parser<'_>) -> Result<ast::Node, Diagnostics> {
    parser.newlines = vec![false];
    let node = parser.expression();
    if node.is_ok() && parser.peek().kind != TokenKind::Eof {
        let _ = parser.unexpected::<()>("the end of the expression");
    }
    finish(node.ok(), parser.errors)
}

/// Reads a whole text as a template, as `templatefile` does.
pub fn parse_template(source: &Arc<Source>) -> Result<Expression, Diagnostics> {
    let mut parser = Parser::new(source, source.text(), tokens(source.text(), Start::Template));
    let node = parser.bare_template();
    finish(node.ok(), parser.errors).map(|node| Expression::new(source, node))
}

/// Reads decoded text as a template; `origin` says where its bytes are in the source.
pub(crate) fn parse_embedded(
    source: &Arc<Source>,
    text: &str,
    origin: &dyn Fn(usize) -> usize,
) -> Result<ast::Node, Diagnostics> {
    let mut parser = Parser::new(source, text, tokens(text, Start::Template));
    parser.origin = Some(origin);
    let node = parser.bare_template();
    finish(node.ok(), parser.errors)
}

/// Reads decoded text as an expression; `origin` says where its bytes are in the source.
pub(crate) fn parse_embedded_expression(
    source: &Arc<Source>,
    text: &str,
    origin: &dyn Fn(usize) -> usize,
) -> Result<ast::Node, Diagnostics> {
    let mut parser = Parser::new(source, text, tokens(text, Start::Main));
    parser.origin = Some(origin);
    whole_expression(parser)
}

fn finish(node: Option<ast::Node>, errors: Vec<Diagnostic>) -> Result<ast::Node, Diagnostics> {
    match node {
        Some(node) if errors.is_empty() => Ok(node),
        _ => Err(Diagnostics(errors)),
    }
}
