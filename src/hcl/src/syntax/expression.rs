//! Tokens into expressions.

use std::sync::Arc;

use super::Span;
use super::ast::{Call, Conditional, For, Node, NodeKind, ObjectItem, Operand, Operator, Step, StepKind};
use super::lexer::{Token, TokenKind as T};
use super::parser::{Parsed, Parser, Reported};
use crate::value::{Number, NumberError, Value, normalize};

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Node> {
        self.deeper(Self::conditional)
    }

    fn conditional(&mut self) -> Parsed<Node> {
        let condition = self.binary(0)?;
        if self.eat(T::Question).is_none() {
            return Ok(condition);
        }
        let then = self.expression()?;
        if self.eat(T::Colon).is_none() {
            let token = self.peek();
            let found = self.describe(token);
            return self.fail(
                token.span,
                format!("a conditional needs `:` and what it is otherwise, found {found}"),
                "write `condition ? then : otherwise`",
            );
        }
        let otherwise = self.expression()?;
        let span = condition.span.to(otherwise.span);
        Ok(Node { kind: NodeKind::Conditional(Box::new(Conditional { condition, then, otherwise })), span })
    }

    /// Operators that bind at least as tightly as this level.
    fn binary(&mut self, level: usize) -> Parsed<Node> {
        let mut node = self.unary()?;
        while let Some((_, own)) = operator(self.peek().kind).filter(|(_, own)| *own >= level) {
            let mut rest = Vec::new();
            while let Some((operator, _)) = operator(self.peek().kind).filter(|(_, next)| *next == own) {
                self.next();
                rest.push(Operand { operator, node: self.binary(own + 1)? });
            }
            let span = rest.last().map_or(node.span, |last| node.span.to(last.node.span));
            node = Node { kind: NodeKind::Binary(Box::new(node), rest), span };
        }
        Ok(node)
    }

    fn unary(&mut self) -> Parsed<Node> {
        let token = self.peek();
        let wrap: fn(Box<Node>) -> NodeKind = match token.kind {
            T::Bang => NodeKind::Not,
            T::Minus => NodeKind::Negate,
            _ => return self.traversed(),
        };
        self.next();
        let operand = self.deeper(Self::unary)?;
        let span = self.place(token.span).to(operand.span);
        Ok(Node { kind: wrap(Box::new(operand)), span })
    }

    fn traversed(&mut self) -> Parsed<Node> {
        let root = self.term()?;
        let steps = self.steps(false)?;
        let Some(last) = steps.last() else { return Ok(root) };
        let span = root.span.to(last.span);
        Ok(Node { kind: NodeKind::Traversal(Box::new(root), steps), span })
    }

    /// All steps that follow. Within an attribute splat only attributes and legacy indexes count.
    fn steps(&mut self, splat: bool) -> Parsed<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            match self.peek().kind {
                T::Dot => {
                    let dot = self.next();
                    self.dot_step(dot, splat, &mut steps)?;
                }
                T::OpenBracket if !splat => {
                    let step = self.deeper(Self::bracket_step)?;
                    steps.push(step);
                }
                _ => return Ok(steps),
            }
        }
    }

    fn dot_step(&mut self, dot: Token, splat: bool, steps: &mut Vec<Step>) -> Parsed<()> {
        let token = self.peek();
        let span = self.place(dot.span.to(token.span));
        match token.kind {
            T::Ident => {
                self.next();
                steps.push(Step { kind: StepKind::Attribute(normalize(self.slice(token.span))), span });
            }
            T::Number => {
                self.next();
                self.legacy_index(token, span, splat, steps)?;
            }
            T::Star if splat => {
                return self.fail(
                    token.span,
                    "`.*` cannot stand inside another `.*`",
                    "use `[*]`, which can be nested",
                );
            }
            T::Star => {
                self.next();
                let inner = self.deeper(|parser| parser.steps(true))?;
                let span = inner.last().map_or(span, |last| span.to(last.span));
                steps.push(Step { kind: StepKind::AttributeSplat(inner), span });
            }
            _ => {
                let found = self.describe(token);
                return self.fail(
                    token.span,
                    format!("expected the name of an attribute after `.`, found {found}"),
                    "",
                );
            }
        }
        Ok(())
    }

    fn legacy_index(&mut self, token: Token, span: Span, splat: bool, steps: &mut Vec<Step>) -> Parsed<()> {
        let text = self.slice(token.span);
        let parts: Vec<Option<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
        match parts.as_slice() {
            [Some(index)] => steps.push(Step { kind: StepKind::LegacyIndex(*index), span }),
            [Some(first), Some(second)] if splat => {
                for index in [first, second] {
                    steps.push(Step { kind: StepKind::LegacyIndex(*index), span });
                }
            }
            [Some(first), Some(second)] => {
                return self.fail(
                    token.span,
                    "two indexes cannot follow each other after dots",
                    &format!("write `[{first}][{second}]`"),
                );
            }
            _ => return self.fail(token.span, format!("`{text}` is no index"), "write it in brackets"),
        }
        Ok(())
    }

    fn bracket_step(&mut self) -> Parsed<Step> {
        let open = self.next();
        self.newlines.push(false);
        if self.peek().kind == T::Star {
            let star = self.at;
            self.next();
            if let Some(close) = self.eat(T::CloseBracket) {
                self.newlines.pop();
                let inner = self.steps(false)?;
                let span = self.place(open.span.to(close.span));
                let span = inner.last().map_or(span, |last| span.to(last.span));
                return Ok(Step { kind: StepKind::Splat(inner), span });
            }
            self.at = star;
        }
        let index = self.expression()?;
        let Some(close) = self.eat(T::CloseBracket) else {
            let token = self.peek();
            let found = self.describe(token);
            return self.fail(token.span, format!("expected `]` after an index, found {found}"), "");
        };
        self.newlines.pop();
        Ok(Step { kind: StepKind::Index(index), span: self.place(open.span.to(close.span)) })
    }

    fn term(&mut self) -> Parsed<Node> {
        let token = self.peek();
        match token.kind {
            T::OpenParen => self.paren(),
            T::Number => self.number(),
            T::Ident => self.name(token),
            T::OpenQuote => {
                self.next();
                self.lines_ignored(false, |parser| parser.quoted(token))
            }
            T::OpenHeredoc => {
                self.next();
                self.heredoc(token)
            }
            T::OpenBracket => {
                self.next();
                self.lines_ignored(true, |parser| parser.tuple(token))
            }
            T::OpenBrace => {
                self.next();
                self.object(token)
            }
            T::Less if self.text[token.span.start as usize..].starts_with("<<") => self.fail(
                token.span,
                "a heredoc starts with `<<`, a name and the end of the line",
                "remove what follows the name, quotes and spaces too",
            ),
            _ => self.unexpected("an expression"),
        }
    }

    fn paren(&mut self) -> Parsed<Node> {
        let open = self.next();
        self.newlines.push(false);
        let inner = self.expression()?;
        let Some(close) = self.eat(T::CloseParen) else { return self.in_brackets(open, "`)`") };
        self.newlines.pop();
        let span = self.place(open.span.to(close.span));
        Ok(Node { kind: NodeKind::Paren(Box::new(inner)), span })
    }

    fn number(&mut self) -> Parsed<Node> {
        let token = self.next();
        let text = self.slice(token.span);
        match Number::parse(text) {
            Ok(number) => {
                let kind = NodeKind::Literal(Value::number(number));
                Ok(Node { kind, span: self.place(token.span) })
            }
            Err(error) => {
                let reason = if error == NumberError::Range { "out of bounds" } else { "not a number" };
                self.fail(token.span, format!("`{text}` is {reason}"), "")
            }
        }
    }

    fn name(&mut self, token: Token) -> Parsed<Node> {
        self.next();
        let span = self.place(token.span);
        let name = self.slice(token.span);
        let next = self.peek().kind;
        if next == T::OpenParen || next == T::DoubleColon {
            return self.call(token);
        }
        let kind = match name {
            "true" => NodeKind::Literal(Value::bool(true)),
            "false" => NodeKind::Literal(Value::bool(false)),
            "null" => NodeKind::Literal(Value::null(crate::value::Type::Dynamic)),
            _ => NodeKind::Variable(normalize(name)),
        };
        Ok(Node { kind, span })
    }

    fn call(&mut self, first: Token) -> Parsed<Node> {
        let mut name = self.slice(first.span).to_owned();
        let mut name_span = first.span;
        while self.eat(T::DoubleColon).is_some() {
            let Some(part) = self.eat(T::Ident) else {
                return self.unexpected("the name of a function after `::`");
            };
            name.push_str("::");
            name.push_str(self.slice(part.span));
            name_span = name_span.to(part.span);
        }
        let Some(open) = self.eat(T::OpenParen) else {
            return self.unexpected("`(` after the name of a function");
        };
        let mut arguments = Vec::new();
        let mut expand = false;
        let close = self.lines_ignored(true, |parser| {
            loop {
                if let Some(close) = parser.eat(T::CloseParen) {
                    return Ok(close);
                }
                if parser.at_other_end() {
                    return parser.in_brackets(open, "an argument");
                }
                arguments.push(parser.expression()?);
                if let Some(dots) = parser.eat(T::Ellipsis) {
                    expand = true;
                    return match parser.eat(T::CloseParen) {
                        Some(close) => Ok(close),
                        None => parser.fail(dots.span, "`...` can only follow the last argument", ""),
                    };
                }
                if parser.eat(T::Comma).is_none() && parser.peek().kind != T::CloseParen {
                    return parser.in_brackets(open, "`,` or `)` after an argument");
                }
            }
        })?;
        let name_span = self.place(name_span);
        let close = self.place(close.span);
        let call = Call { name: name.into(), name_span, arguments, expand, close };
        Ok(Node { kind: NodeKind::Call(Box::new(call)), span: name_span.to(close) })
    }

    fn tuple(&mut self, open: Token) -> Parsed<Node> {
        if self.peek_word("for") {
            return self.for_expression(open, false);
        }
        let mut elements = Vec::new();
        loop {
            if let Some(close) = self.eat(T::CloseBracket) {
                let span = self.place(open.span.to(close.span));
                return Ok(Node { kind: NodeKind::Tuple(elements), span });
            }
            if self.at_other_end() {
                return self.in_brackets(open, "an element");
            }
            elements.push(self.expression()?);
            if self.eat(T::Comma).is_none() && self.peek().kind != T::CloseBracket {
                return self.in_brackets(open, "`,` or `]` after an element");
            }
        }
    }

    /// Whether something ends here that began before the innermost brackets, or the text.
    fn at_other_end(&self) -> bool {
        let ends = [T::CloseParen, T::CloseBracket, T::CloseBrace, T::CloseSequence, T::Eof];
        ends.contains(&self.peek().kind)
    }

    fn object(&mut self, open: Token) -> Parsed<Node> {
        self.newlines.push(false);
        if self.peek_word("for") {
            let result = self.for_expression(open, true);
            self.newlines.pop();
            return result;
        }
        self.newlines.pop();
        self.lines_ignored(false, |parser| parser.object_items(open))
    }

    fn object_items(&mut self, open: Token) -> Parsed<Node> {
        let mut items = Vec::new();
        loop {
            while self.eat(T::Newline).is_some() {}
            if let Some(close) = self.eat(T::CloseBrace) {
                let span = self.place(open.span.to(close.span));
                return Ok(Node { kind: NodeKind::Object(items), span });
            }
            let key = self.object_key(open)?;
            if self.eat(T::Equal).is_none() && self.eat(T::Colon).is_none() {
                if self.peek().kind == T::Eof {
                    return self.fail(open.span, "this `{` is never closed", "");
                }
                return self.unexpected("`=` or `:` after the key of an object");
            }
            let value = self.expression()?;
            items.push(ObjectItem { key, value });
            match self.peek().kind {
                T::Comma | T::Newline => {
                    self.next();
                }
                T::CloseBrace => {}
                T::Eof => return self.fail(open.span, "this `{` is never closed", ""),
                _ => return self.unexpected("a comma or the end of the line after an element of an object"),
            }
        }
    }

    fn object_key(&mut self, open: Token) -> Parsed<Node> {
        let token = self.peek();
        match token.kind {
            T::Eof => return self.fail(open.span, "this `{` is never closed", ""),
            T::Comma => return self.unexpected("the key of an element"),
            _ => {}
        }
        let key = self.expression()?;
        let keyword = token.kind == T::Ident && self.place(token.span) == key.span;
        if keyword {
            let name = normalize(self.slice(token.span));
            return Ok(Node { kind: NodeKind::Variable(name), span: key.span });
        }
        if let NodeKind::Traversal(root, _) = &key.kind
            && matches!(root.kind, NodeKind::Variable(_))
        {
            self.errors.push(
                self.source
                    .error(key.span, "a key with dots or brackets can be read in two ways")
                    .hint("put it in parentheses if it is a reference, in quotes if it is a name"),
            );
            return Err(Reported);
        }
        Ok(key)
    }

    fn for_expression(&mut self, open: Token, object: bool) -> Parsed<Node> {
        self.next();
        let (key_name, value_name) = self.for_names()?;
        let collection = self.expression()?;
        if self.eat(T::Colon).is_none() {
            return self.unexpected("`:` after what `for` walks over");
        }
        let mut value = self.expression()?;
        let mut key = None;
        if let Some(arrow) = self.eat(T::FatArrow) {
            if !object {
                return self.fail(arrow.span, "a list has no keys", "use braces to make an object");
            }
            key = Some(std::mem::replace(&mut value, self.expression()?));
        } else if object {
            let span = self.peek().span;
            return self.fail(span, "an object needs a key for each element", "write `key => value`");
        }
        let mut group = false;
        if let Some(dots) = self.eat(T::Ellipsis) {
            if !object {
                return self.fail(dots.span, "only elements of an object can be grouped", "");
            }
            group = true;
        }
        let mut condition = None;
        if self.peek_word("if") {
            self.next();
            condition = Some(self.expression()?);
        }
        let end = if object { T::CloseBrace } else { T::CloseBracket };
        let Some(close) = self.eat(end) else {
            return self.unexpected(if object {
                "`}` at the end of `for`"
            } else {
                "`]` at the end of `for`"
            });
        };
        let span = self.place(open.span.to(close.span));
        let parts = For { key_name, value_name, collection, key, value, condition, group };
        Ok(Node { kind: NodeKind::For(Box::new(parts)), span })
    }

    /// `v in` or `k, v in`
    pub(super) fn for_names(&mut self) -> Parsed<(Option<Arc<str>>, Arc<str>)> {
        let Some(first) = self.eat(T::Ident) else {
            return self.unexpected("the name of a variable after `for`");
        };
        let first = normalize(self.slice(first.span));
        let names = if self.eat(T::Comma).is_some() {
            let Some(second) = self.eat(T::Ident) else {
                return self.unexpected("the name of a second variable after the comma");
            };
            (Some(first), normalize(self.slice(second.span)))
        } else {
            (None, first)
        };
        if !self.peek_word("in") {
            return self.unexpected("`in` after the names of `for`");
        }
        self.next();
        Ok(names)
    }
}

/// An operator and how tightly it binds.
fn operator(kind: T) -> Option<(Operator, usize)> {
    Some(match kind {
        T::Or => (Operator::Or, 0),
        T::And => (Operator::And, 1),
        T::EqualEqual => (Operator::Equal, 2),
        T::NotEqual => (Operator::NotEqual, 2),
        T::Greater => (Operator::Greater, 3),
        T::GreaterEqual => (Operator::GreaterEqual, 3),
        T::Less => (Operator::Less, 3),
        T::LessEqual => (Operator::LessEqual, 3),
        T::Plus => (Operator::Add, 4),
        T::Minus => (Operator::Subtract, 4),
        T::Star => (Operator::Multiply, 5),
        T::Slash => (Operator::Divide, 5),
        T::Percent => (Operator::Modulo, 5),
        _ => return None,
    })
}
