//! Tokens into a tree. Names of functions and variables are checked here, as in Go.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Branch, Command, Expr, ExprKind, Node, Number, Pipeline, Template};
use crate::error::{Error, ErrorKind, Span};
use crate::function::Functions;
use crate::lex::{Keyword, Token, TokenKind, lex};
use crate::{builtin, literal};

/// How deep blocks and parentheses may nest. Trees are walked recursively, so this bounds the stack.
const DEPTH: usize = 100;

type Parsed<T> = Result<T, (ErrorKind, Span)>;

impl Template {
    /// Parses a template that may call Go's own functions and these.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(source: &str, functions: &Functions) -> Result<Self, Error> {
        Self::parse_with(source, &|name| builtin::exists(name) || functions.get(name).is_some())
    }

    /// Parses a template that may call functions of any name: for analysis.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse_any(source: &str) -> Result<Self, Error> {
        Self::parse_with(source, &|_| true)
    }

    fn parse_with(source: &str, is_function: &dyn Fn(&str) -> bool) -> Result<Self, Error> {
        let mut parser = Parser {
            source,
            tokens: lex(source),
            position: 0,
            is_function,
            variables: vec!["".into()],
            defines: BTreeMap::new(),
            loops: 0,
            depth: 0,
        };
        let body = parser.top().map_err(|(kind, span)| Error::new(kind, span, source))?;
        Ok(Self { source: source.into(), body, defines: parser.defines })
    }

    /// The text that it was parsed from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    position: usize,
    is_function: &'a dyn Fn(&str) -> bool,
    /// Names without `$` that are in scope; the first is `$` itself.
    variables: Vec<Arc<str>>,
    defines: BTreeMap<Arc<str>, Vec<Node>>,
    loops: usize,
    depth: usize,
}

/// What ended a list of nodes.
#[derive(PartialEq)]
enum Stop {
    End,
    Else,
    Eof,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.position.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.position += 1;
        token
    }

    fn skip_spaces(&mut self) {
        while self.peek().kind == TokenKind::Space {
            self.position += 1;
        }
    }

    fn next_solid(&mut self) -> Token {
        self.skip_spaces();
        self.next()
    }

    fn peek_solid(&mut self) -> &Token {
        self.skip_spaces();
        self.peek()
    }

    fn text(&self, span: Span) -> &str {
        &self.source[span.start..span.end]
    }

    fn unexpected<T>(&self, token: Token, context: &str) -> Parsed<T> {
        let found = match token.kind {
            TokenKind::Error(kind) => return Err((kind, token.span)),
            TokenKind::End => "end of the template".to_owned(),
            TokenKind::Close => "end of the action".to_owned(),
            _ => format!("`{}`", self.text(token.span)),
        };
        Err((ErrorKind::Unexpected { found, context: context.to_owned() }, token.span))
    }

    fn enter(&mut self, span: Span) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH { Err((ErrorKind::TooDeep(DEPTH), span)) } else { Ok(()) }
    }

    fn top(&mut self) -> Parsed<Vec<Node>> {
        let (nodes, stop, span) = self.nodes(true)?;
        match stop {
            Stop::Eof => Ok(nodes),
            Stop::End => Err((ErrorKind::StrayKeyword("end".to_owned()), span)),
            Stop::Else => Err((ErrorKind::StrayKeyword("else".to_owned()), span)),
        }
    }

    /// Nodes up to `{{end}}`, to `{{else` (what follows it is not read) or to the end.
    fn nodes(&mut self, top: bool) -> Parsed<(Vec<Node>, Stop, Span)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::Text => {
                    let text = self.text(token.span).into();
                    nodes.push(Node::Text { text, span: token.span });
                }
                TokenKind::Open => match self.keyword() {
                    Some(Keyword::End) => {
                        let span = self.close(token.span, "`end`")?;
                        return Ok((nodes, Stop::End, span));
                    }
                    Some(Keyword::Else) => return Ok((nodes, Stop::Else, token.span)),
                    Some(Keyword::Define) if top => self.define(token.span)?,
                    Some(Keyword::Define) => return Err((ErrorKind::NestedDefine, token.span)),
                    keyword => nodes.push(self.action(keyword, token.span)?),
                },
                TokenKind::End => return Ok((nodes, Stop::Eof, token.span)),
                _ => return self.unexpected(token, "the text"),
            }
        }
    }

    /// The keyword that stands next, if one does.
    fn keyword(&mut self) -> Option<Keyword> {
        match self.peek_solid().kind {
            TokenKind::Keyword(keyword) => {
                self.position += 1;
                Some(keyword)
            }
            _ => None,
        }
    }

    fn close(&mut self, open: Span, context: &str) -> Parsed<Span> {
        let token = self.next_solid();
        match token.kind {
            TokenKind::Close => Ok(open.to(token.span)),
            _ => self.unexpected(token, context),
        }
    }

    fn action(&mut self, keyword: Option<Keyword>, open: Span) -> Parsed<Node> {
        match keyword {
            Some(Keyword::If | Keyword::With | Keyword::Range) => self.branch(keyword, open),
            Some(Keyword::Break) => Ok(Node::Break { span: self.leave_loop(Keyword::Break, open)? }),
            Some(Keyword::Continue) => Ok(Node::Continue { span: self.leave_loop(Keyword::Continue, open)? }),
            Some(Keyword::Template) => self.template(open),
            Some(Keyword::Block) => self.block(open),
            _ => {
                let pipeline = self.pipeline("a command", TokenKind::Close, false)?;
                Ok(Node::Action { span: open.to(pipeline.span), pipeline })
            }
        }
    }

    fn leave_loop(&mut self, keyword: Keyword, open: Span) -> Parsed<Span> {
        let span = self.close(open, &format!("`{}`", keyword.word()))?;
        if self.loops == 0 {
            return Err((ErrorKind::OutsideRange(keyword.word().to_owned()), span));
        }
        Ok(span)
    }

    fn branch(&mut self, keyword: Option<Keyword>, open: Span) -> Parsed<Node> {
        let keyword = keyword.unwrap_or(Keyword::If);
        self.enter(open)?;
        let scope = self.variables.len();
        let range = keyword == Keyword::Range;
        let pipeline = self.pipeline(&format!("`{}`", keyword.word()), TokenKind::Close, range)?;
        let span = open.to(pipeline.span);
        self.loops += usize::from(range);
        let (body, stop, end) = self.nodes(false)?;
        self.loops -= usize::from(range);
        let otherwise = match stop {
            Stop::End => None,
            Stop::Else => Some(self.otherwise(keyword, end, open)?),
            Stop::Eof => return Err((ErrorKind::MissingEnd(keyword.word().to_owned()), open)),
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        let branch = Branch { pipeline, body, otherwise, span };
        Ok(match keyword {
            Keyword::With => Node::With(branch),
            Keyword::Range => Node::Range(branch),
            _ => Node::If(branch),
        })
    }

    /// What follows `{{else`: a chained `if` or `with`, whose end is the end of the whole, or nodes.
    fn otherwise(&mut self, of: Keyword, else_open: Span, open: Span) -> Parsed<Vec<Node>> {
        if let TokenKind::Keyword(keyword @ (Keyword::If | Keyword::With)) = self.peek_solid().kind
            && keyword == of
        {
            self.position += 1;
            return Ok(vec![self.branch(Some(keyword), else_open)?]);
        }
        self.close(else_open, "`else`")?;
        let (nodes, stop, span) = self.nodes(false)?;
        match stop {
            Stop::End => Ok(nodes),
            Stop::Else => Err((ErrorKind::AfterElse("else".to_owned()), span)),
            Stop::Eof => Err((ErrorKind::MissingEnd(of.word().to_owned()), open)),
        }
    }

    fn name(&mut self, context: &str) -> Parsed<Arc<str>> {
        let token = self.next_solid();
        match token.kind {
            TokenKind::Quoted | TokenKind::Raw => Ok(self.string(&token)?.into()),
            _ => self.unexpected(token, context),
        }
    }

    fn string(&self, token: &Token) -> Parsed<String> {
        let text = self.text(token.span);
        match token.kind {
            TokenKind::Quoted => literal::unquote(text).map_err(|kind| (kind, token.span)),
            _ => Ok(text[1..text.len() - 1].to_owned()),
        }
    }

    fn define(&mut self, open: Span) -> Parsed<()> {
        let name = self.name("`define`")?;
        let span = self.close(open, "`define`")?;
        let body = self.defined_body("define", span)?;
        self.add_define(name, body, span)
    }

    fn block(&mut self, open: Span) -> Parsed<Node> {
        let name = self.name("`block`")?;
        let pipeline = self.pipeline("`block`", TokenKind::Close, false)?;
        let span = open.to(pipeline.span);
        let body = self.defined_body("block", span)?;
        self.add_define(name.clone(), body, span)?;
        Ok(Node::Call { name, argument: Some(pipeline), span })
    }

    /// A body of its own: nothing of the place where it is defined is in its scope.
    fn defined_body(&mut self, keyword: &str, open: Span) -> Parsed<Vec<Node>> {
        self.enter(open)?;
        let variables = std::mem::replace(&mut self.variables, vec!["".into()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, stop, span) = self.nodes(false)?;
        self.variables = variables;
        self.loops = loops;
        self.depth -= 1;
        match stop {
            Stop::End => Ok(body),
            Stop::Else => Err((ErrorKind::StrayKeyword("else".to_owned()), span)),
            Stop::Eof => Err((ErrorKind::MissingEnd(keyword.to_owned()), open)),
        }
    }

    /// A body of nothing but spaces neither replaces another nor stands in the way of one.
    fn add_define(&mut self, name: Arc<str>, body: Vec<Node>, span: Span) -> Parsed<()> {
        match self.defines.get(&name) {
            Some(before) if !is_empty(before) && !is_empty(&body) => {
                Err((ErrorKind::DuplicateTemplate(name.to_string()), span))
            }
            Some(before) if !is_empty(before) => Ok(()),
            _ => {
                self.defines.insert(name, body);
                Ok(())
            }
        }
    }

    fn template(&mut self, open: Span) -> Parsed<Node> {
        let name = self.name("`template`")?;
        if self.peek_solid().kind == TokenKind::Close {
            let span = self.close(open, "`template`")?;
            return Ok(Node::Call { name, argument: None, span });
        }
        let pipeline = self.pipeline("`template`", TokenKind::Close, false)?;
        Ok(Node::Call { name, span: open.to(pipeline.span), argument: Some(pipeline) })
    }

    /// A pipeline with its declarations, up to and with what ends it.
    fn pipeline(&mut self, context: &str, end: TokenKind, range: bool) -> Parsed<Pipeline> {
        let start = self.peek_solid().span;
        let (variables, assigns) = self.declarations(context, range)?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            let token = self.peek_solid().clone();
            if token.kind == end {
                self.position += 1;
                return self.finish_pipeline(context, variables, assigns, commands, start.to(token.span));
            }
            if !starts_operand(&token.kind) {
                self.position += 1;
                return self.unexpected(token, context);
            }
            commands.push(self.command()?);
        }
    }

    fn finish_pipeline(
        &mut self,
        context: &str,
        variables: Vec<Arc<str>>,
        assigns: bool,
        commands: Vec<Command>,
        span: Span,
    ) -> Parsed<Pipeline> {
        if commands.is_empty() {
            return Err((ErrorKind::MissingValue(context.to_owned()), span));
        }
        for (position, command) in commands.iter().enumerate().skip(1) {
            if let Some(first) = command.words.first()
                && matches!(
                    first.kind,
                    ExprKind::Bool(_)
                        | ExprKind::Dot
                        | ExprKind::Nil
                        | ExprKind::Number(_)
                        | ExprKind::String(_)
                )
            {
                return Err((ErrorKind::NotExecutable(position + 1), first.span));
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, assigns, commands, span })
    }

    /// `$x :=`, `$x =`, and for `range` `$i, $x :=`.
    fn declarations(&mut self, context: &str, range: bool) -> Parsed<(Vec<Arc<str>>, bool)> {
        let mut names: Vec<Arc<str>> = Vec::new();
        loop {
            let before = self.position;
            let token = self.peek_solid().clone();
            if token.kind != TokenKind::Variable {
                return if names.is_empty() {
                    Ok((names, false))
                } else {
                    Err((ErrorKind::RangeVariable, token.span))
                };
            }
            self.position += 1;
            let name: Arc<str> = self.text(token.span)[1..].into();
            let sign = self.peek_solid().clone();
            match sign.kind {
                TokenKind::Assign | TokenKind::Declare => {
                    self.position += 1;
                    names.push(name);
                    let assigns = sign.kind == TokenKind::Assign;
                    if assigns && let Some(unknown) = names.iter().find(|name| !self.in_scope(name)) {
                        return Err((ErrorKind::UndefinedVariable(format!("${unknown}")), token.span));
                    }
                    return Ok((names, assigns));
                }
                TokenKind::Comma if range && names.is_empty() => {
                    self.position += 1;
                    names.push(name);
                }
                TokenKind::Comma => {
                    return Err((ErrorKind::TooManyVariables(context.to_owned()), token.span));
                }
                _ if names.is_empty() => {
                    self.position = before;
                    return Ok((names, false));
                }
                _ => return Err((ErrorKind::RangeVariable, sign.span)),
            }
        }
    }

    fn in_scope(&self, name: &str) -> bool {
        self.variables.iter().any(|known| &**known == name)
    }

    /// Operands up to `|`, which is eaten, or to the end of the pipeline, which is not.
    fn command(&mut self) -> Parsed<Command> {
        let mut words = Vec::new();
        loop {
            if let Some(word) = self.operand()? {
                words.push(word);
            }
            let token = self.next();
            match token.kind {
                TokenKind::Space => {}
                TokenKind::Close | TokenKind::RightParen => {
                    self.position -= 1;
                    return Ok(Command { words });
                }
                TokenKind::Pipe => return Ok(Command { words }),
                _ => return self.unexpected(token, "an operand"),
            }
        }
    }

    fn operand(&mut self) -> Parsed<Option<Expr>> {
        let Some(mut term) = self.term()? else {
            return Ok(None);
        };
        let mut fields: Vec<Arc<str>> = Vec::new();
        let mut span = term.span;
        while self.peek().kind == TokenKind::Field {
            let token = self.next();
            fields.push(self.text(token.span)[1..].into());
            span = span.to(token.span);
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        match &mut term.kind {
            ExprKind::Field(names) | ExprKind::Variable(_, names) => names.extend(fields),
            ExprKind::Bool(_) | ExprKind::String(_) | ExprKind::Number(_) | ExprKind::Nil | ExprKind::Dot => {
                return Err((ErrorKind::NoFieldsAfter(self.text(term.span).to_owned()), term.span));
            }
            _ => return Ok(Some(Expr { kind: ExprKind::Chain(Box::new(term), fields), span })),
        }
        Ok(Some(Expr { kind: term.kind, span }))
    }

    fn term(&mut self) -> Parsed<Option<Expr>> {
        let token = self.peek_solid().clone();
        if !starts_operand(&token.kind) {
            return Ok(None);
        }
        self.position += 1;
        let span = token.span;
        let kind = match token.kind {
            TokenKind::Dot => ExprKind::Dot,
            TokenKind::Nil => ExprKind::Nil,
            TokenKind::Bool(value) => ExprKind::Bool(value),
            TokenKind::Number => ExprKind::Number(self.number(span)?),
            TokenKind::Character => {
                let code = literal::character(self.text(span)).map_err(|kind| (kind, span))?;
                ExprKind::Number(Number::Int(code))
            }
            TokenKind::Quoted | TokenKind::Raw => ExprKind::String(self.string(&token)?.into()),
            TokenKind::Field => ExprKind::Field(vec![self.text(span)[1..].into()]),
            TokenKind::Variable => self.use_variable(span)?,
            TokenKind::Identifier => self.use_function(span)?,
            TokenKind::LeftParen => return self.parenthesised(span).map(Some),
            _ => return self.unexpected(token, "an operand"),
        };
        Ok(Some(Expr { kind, span }))
    }

    fn number(&self, span: Span) -> Parsed<Number> {
        literal::number(self.text(span)).map_err(|kind| (kind, span))
    }

    fn use_variable(&self, span: Span) -> Parsed<ExprKind> {
        let name = &self.text(span)[1..];
        if !self.in_scope(name) {
            return Err((ErrorKind::UndefinedVariable(format!("${name}")), span));
        }
        Ok(ExprKind::Variable(name.into(), Vec::new()))
    }

    fn use_function(&self, span: Span) -> Parsed<ExprKind> {
        let name = self.text(span);
        if !(self.is_function)(name) {
            return Err((ErrorKind::UnknownFunction { name: name.to_owned() }, span));
        }
        Ok(ExprKind::Function(name.into()))
    }

    fn parenthesised(&mut self, open: Span) -> Parsed<Expr> {
        self.enter(open)?;
        let pipeline = self.pipeline("parentheses", TokenKind::RightParen, false)?;
        self.depth -= 1;
        let span = open.to(pipeline.span);
        Ok(Expr { kind: ExprKind::Pipeline(Box::new(pipeline)), span })
    }
}

fn starts_operand(kind: &TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Dot
            | TokenKind::Nil
            | TokenKind::Bool(_)
            | TokenKind::Number
            | TokenKind::Character
            | TokenKind::Quoted
            | TokenKind::Raw
            | TokenKind::Field
            | TokenKind::Variable
            | TokenKind::Identifier
            | TokenKind::LeftParen
    )
}

fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text { text, .. } if text.trim().is_empty()))
}
