//! Bodies: attributes and blocks of the native syntax. Several errors of one file are found at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Expression, Node, NodeKind};
use super::json_body::JsonBody;
use super::lexer::{Token, TokenKind as T};
use super::parser::{Parsed, Parser, Reported};
use super::{Source, Span};
use crate::value::normalize;
use imgbuild_model::Diagnostic;

/// Attributes and blocks.
#[derive(Clone, Debug)]
pub struct Body {
    /// The source.
    pub source: Arc<Source>,
    /// The attributes in their order.
    pub attributes: Vec<Attribute>,
    /// The blocks in their order.
    pub blocks: Vec<Block>,
    /// All of it, without the braces of a block.
    pub span: Span,
    /// What it is made of, if it is of the JSON syntax.
    pub(crate) json: Option<JsonBody>,
}

/// `name = expression`
#[derive(Clone, Debug)]
pub struct Attribute {
    /// The name.
    pub name: Arc<str>,
    /// Where the name is.
    pub name_span: Span,
    /// The value.
    pub expr: Expression,
    /// All of it.
    pub span: Span,
}

/// `kind "label" { … }`
#[derive(Clone, Debug)]
pub struct Block {
    /// The kind.
    pub kind: Arc<str>,
    /// Where the kind is.
    pub kind_span: Span,
    /// The labels.
    pub labels: Vec<Label>,
    /// What is in it.
    pub body: Body,
    /// The kind and the labels.
    pub header: Span,
    /// All of it.
    pub span: Span,
}

/// A label of a block.
#[derive(Clone, Debug)]
pub struct Label {
    /// The text.
    pub text: Arc<str>,
    /// Where it is, with quotes if there are any.
    pub span: Span,
}

impl Body {
    /// The attribute of a name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name.as_ref() == name)
    }

    /// The blocks of a kind.
    pub fn blocks_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| block.kind.as_ref() == kind)
    }

    /// A body without anything in it.
    #[must_use]
    pub fn empty(source: &Arc<Source>, span: Span) -> Self {
        Self { source: Arc::clone(source), attributes: Vec::new(), blocks: Vec::new(), span, json: None }
    }
}

/// What is said of the second of two attributes of one name.
pub(super) fn set_twice(source: &Source, attribute: &Attribute, first: Span) -> Diagnostic {
    source
        .error(attribute.name_span, format!("attribute `{}` is set twice", attribute.name))
        .note("it was first set here", Some(source.location(first)))
        .hint("keep one of them")
}

/// After how many errors a file is not read further.
const MAX_ERRORS: usize = 100;

enum Item {
    Attribute(Attribute),
    Block(Block),
}

impl Parser<'_> {
    /// Items up to `end`, which is left to be read.
    pub(super) fn body(&mut self, end: T) -> Body {
        let start = self.peek().span;
        let mut body = Body::empty(self.source, start);
        let mut seen: HashMap<Arc<str>, Span> = HashMap::new();
        let errors = self.errors.len();
        loop {
            let token = self.peek();
            match token.kind {
                T::Newline => {
                    self.next();
                    continue;
                }
                T::Eof => break,
                kind if kind == end => break,
                // After an error, it is more likely that the brace is missing.
                _ if end != T::Eof && self.errors.len() > errors && self.at_margin(self.at) => break,
                _ => {}
            }
            let before = (self.at, self.newlines.len(), self.depth);
            match self.item(false) {
                Ok(Item::Attribute(attribute)) => {
                    if let Some(first) = seen.get(&attribute.name) {
                        self.errors.push(set_twice(self.source, &attribute, *first));
                    } else {
                        seen.insert(Arc::clone(&attribute.name), attribute.name_span);
                        body.attributes.push(attribute);
                    }
                }
                Ok(Item::Block(block)) => body.blocks.push(block),
                Err(Reported) => {
                    self.newlines.truncate(before.1);
                    self.depth = before.2;
                    self.recover(before.0, end);
                }
            }
        }
        body.span = Span { start: start.start, end: self.peek().span.start.max(start.start) };
        body
    }

    /// Goes to the end of the line that ends the item which starts at `start`, or before the brace that ends its body. An
    /// item at the margin ends brackets that were left open before.
    fn recover(&mut self, start: usize, end: T) {
        if self.errors.len() >= MAX_ERRORS {
            self.at = self.tokens.len() - 1;
            return;
        }
        let mut open = Vec::new();
        for index in start..self.tokens.len() {
            let token = self.tokens[index];
            let ends_line = token.kind == T::Newline
                || token.kind == T::Comment && self.slice(token.span).ends_with('\n');
            match token.kind {
                T::OpenBrace | T::OpenBracket | T::OpenParen | T::OpenQuote | T::OpenHeredoc => {
                    open.push(token.kind);
                }
                T::OpenInterpolation | T::OpenDirective => open.push(token.kind),
                T::CloseBrace => {
                    while matches!(open.last(), Some(T::OpenBracket | T::OpenParen)) {
                        open.pop();
                    }
                    if open.pop().is_none() {
                        // The brace that ends the body stays; one that ends nothing is skipped.
                        let stray = index == start || end == T::Eof && index >= self.at;
                        self.at = if stray { index + 1 } else { index };
                        return;
                    }
                }
                T::CloseBracket | T::CloseParen | T::CloseQuote | T::CloseHeredoc | T::CloseSequence => {
                    open.pop();
                }
                _ if ends_line && index >= self.at => {
                    let bracket = matches!(open.last(), Some(T::OpenBracket | T::OpenParen));
                    if open.is_empty() || bracket && self.at_margin(index + 1) {
                        self.at = index;
                        return;
                    }
                }
                _ => {}
            }
        }
        self.at = self.tokens.len() - 1;
    }

    /// Whether an attribute or block seems to start at this token, in the first column.
    fn at_margin(&self, index: usize) -> bool {
        let Some([name, next]) = self.tokens.get(index..index + 2) else { return false };
        let line_start = self.text[..name.span.start as usize].ends_with('\n');
        let heads = matches!(next.kind, T::Equal | T::OpenBrace | T::OpenQuote | T::Ident);
        line_start && name.kind == T::Ident && heads
    }

    /// An attribute or a block; `inline` in a body of one line, where a brace may follow an attribute.
    fn item(&mut self, inline: bool) -> Parsed<Item> {
        let token = self.peek();
        match token.kind {
            T::Ident => {}
            T::OpenQuote => {
                return self.fail(token.span, "a name is written without quotes", "remove the quotes");
            }
            T::CloseBrace => return self.fail(token.span, "this `}` closes nothing", ""),
            _ => return self.unexpected("the name of an attribute or the kind of a block"),
        }
        self.next();
        let next = self.peek();
        match next.kind {
            T::Equal => self.attribute(token, inline).map(Item::Attribute),
            T::OpenBrace | T::OpenQuote | T::Ident => {
                self.deeper(|parser| parser.block(token)).map(Item::Block)
            }
            T::Newline if self.brace_in_next_line() => {
                self.deeper(|parser| parser.block(token)).map(Item::Block)
            }
            T::Colon => self.fail(next.span, "an attribute is set with `=`, not `:`", "write `=`"),
            T::Dot => self.fail(next.span, "the name of an attribute has no dots", ""),
            _ => {
                let name = self.slice(token.span);
                let hint = format!("write `{name} = value` for an attribute or `{name} {{` for a block");
                let found = self.describe(next);
                self.fail(
                    next.span,
                    format!("expected `=`, a label or `{{` after `{name}`, found {found}"),
                    &hint,
                )
            }
        }
    }

    fn attribute(&mut self, name: Token, inline: bool) -> Parsed<Attribute> {
        self.next();
        let node = self.expression()?;
        let span = name.span.to(node.span);
        let next = self.peek();
        let ended = matches!(next.kind, T::Newline | T::Eof);
        if !ended && (!inline || next.kind != T::CloseBrace) {
            let found = self.describe(next);
            let name = self.slice(name.span);
            return self.fail(
                next.span,
                format!("expected the end of the line after the value of `{name}`, found {found}"),
                "",
            );
        }
        let expr = Expression::new(self.source, node);
        Ok(Attribute { name: normalize(self.slice(name.span)), name_span: name.span, expr, span })
    }

    fn block(&mut self, kind: Token) -> Parsed<Block> {
        let mut labels = Vec::new();
        let mut header = kind.span;
        let open = loop {
            let token = self.peek();
            match token.kind {
                T::OpenBrace => break self.next(),
                T::Ident => {
                    self.next();
                    labels.push(Label { text: normalize(self.slice(token.span)), span: token.span });
                }
                T::OpenQuote => labels.push(self.label()?),
                T::Equal => {
                    return self.fail(
                        token.span,
                        "a block has no `=`",
                        "an attribute has one name before `=`",
                    );
                }
                T::Newline => {
                    let misplaced = self.brace_in_next_line();
                    let failed = self.fail(
                        token.span,
                        "the `{` of a block stands on the line of its kind",
                        "move it there",
                    );
                    if !misplaced {
                        return failed;
                    }
                    while self.eat(T::Newline).is_some() {}
                    continue;
                }
                _ => return self.unexpected("a label or `{`"),
            }
            header = header.to(labels.last().map_or(kind.span, |label: &Label| label.span));
        };
        let body = self.block_body(open, header)?;
        let close = self.next();
        let next = self.peek();
        if !matches!(next.kind, T::Newline | T::Eof) {
            let found = self.describe(next);
            return self.fail(
                next.span,
                format!("expected the end of the line after a block, found {found}"),
                "",
            );
        }
        Ok(Block {
            kind: normalize(self.slice(kind.span)),
            kind_span: kind.span,
            labels,
            body,
            header,
            span: kind.span.to(close.span),
        })
    }

    /// Whether the first thing after the end of this line is a brace.
    fn brace_in_next_line(&self) -> bool {
        let rest = self.tokens[self.at..].iter().map(|token| token.kind);
        rest.into_iter().find(|kind| !matches!(kind, T::Newline | T::Comment)) == Some(T::OpenBrace)
    }

    /// What is between the braces; the closing one is left to be read.
    fn block_body(&mut self, open: Token, header: Span) -> Parsed<Body> {
        let first = self.peek();
        let inline = !matches!(first.kind, T::Newline | T::CloseBrace | T::Eof);
        if inline {
            return self.inline_body(first);
        }
        let errors = self.errors.len();
        let body = self.body(T::CloseBrace);
        if self.peek().kind != T::CloseBrace {
            // An error inside may have taken the brace with it; the first error is then the one to mend.
            if self.errors.len() == errors {
                return self.fail(
                    header.to(open.span),
                    "this block is never closed",
                    "a `}` is missing, here or in it",
                );
            }
            return Err(Reported);
        }
        Ok(body)
    }

    fn inline_body(&mut self, first: Token) -> Parsed<Body> {
        let second = self.tokens.get(self.at + 1).map_or(T::Eof, |token| token.kind);
        if first.kind == T::Ident && matches!(second, T::OpenBrace | T::OpenQuote | T::Ident) {
            return self.fail(
                first.span,
                "a block on one line holds one attribute, no blocks",
                "start a new line after `{`",
            );
        }
        let mut body = Body::empty(self.source, first.span);
        if let Item::Attribute(attribute) = self.item(true)? {
            body.span = attribute.span;
            body.attributes.push(attribute);
        }
        if self.peek().kind != T::CloseBrace {
            let span = self.peek().span;
            return self.fail(
                span,
                "a block on one line ends on that line",
                "start a new line after `{`, or close it with `}`",
            );
        }
        Ok(body)
    }

    fn label(&mut self) -> Parsed<Label> {
        let open = self.next();
        let node = self.quoted(open)?;
        match node.kind {
            NodeKind::Template(parts) => {
                let mut text = String::new();
                for part in &parts {
                    let Node { kind: NodeKind::Literal(value), span } = part else {
                        return self.computed_label(part.span);
                    };
                    let Some(piece) = value.as_str() else { return self.computed_label(*span) };
                    text.push_str(piece);
                }
                Ok(Label { text: normalize(&text), span: node.span })
            }
            _ => self.computed_label(node.span),
        }
    }

    fn computed_label<X>(&mut self, span: Span) -> Parsed<X> {
        self.fail(span, "a label is plain text", "write `$${` for a literal `${`")
    }
}
