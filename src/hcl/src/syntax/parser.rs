//! What all of the reader shares: the tokens that mean something, errors, and how deep it is.

use std::sync::Arc;

use imgbuild_model::Diagnostic;

use super::lexer::{Token, TokenKind as T};
use super::{Source, Span};

/// How deep expressions and blocks may be nested.
pub const MAX_DEPTH: usize = 128;

/// An error was reported; what was read is of no use.
pub(super) struct Reported;

pub(super) type Parsed<T> = Result<T, Reported>;

pub(super) struct Parser<'a> {
    pub(super) source: &'a Arc<Source>,
    /// The text of the tokens; not that of the source if escapes were decoded before.
    pub(super) text: &'a str,
    /// Where the bytes of `text` are in the source, if it is another text.
    pub(super) origin: Option<&'a dyn Fn(usize) -> usize>,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    /// Whether ends of lines mean something here.
    pub(super) newlines: Vec<bool>,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(source: &'a Arc<Source>, text: &'a str, tokens: Vec<Token>) -> Self {
        Self { source, text, origin: None, tokens, at: 0, newlines: vec![true], errors: Vec::new(), depth: 0 }
    }

    // Tokens.

    pub(super) fn place(&self, span: Span) -> Span {
        let map = |at: u32| self.origin.map_or(at, |origin| origin(at as usize) as u32);
        Span { start: map(span.start), end: map(span.end) }
    }

    fn newlines_count(&self) -> bool {
        self.newlines.last().copied().unwrap_or(true)
    }

    pub(super) fn slice(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    /// The next token that means something, and its index.
    fn find(&self) -> (usize, Token) {
        let mut at = self.at;
        loop {
            let token = self.tokens[at.min(self.tokens.len() - 1)];
            match token.kind {
                T::Newline if !self.newlines_count() => at += 1,
                T::Comment => {
                    if self.newlines_count() && self.slice(token.span).ends_with('\n') {
                        return (at, Token { kind: T::Newline, ..token });
                    }
                    at += 1;
                }
                _ => return (at, token),
            }
        }
    }

    pub(super) fn peek(&self) -> Token {
        self.find().1
    }

    pub(super) fn next(&mut self) -> Token {
        let (at, token) = self.find();
        self.at = if token.kind == T::Eof { at } else { at + 1 };
        token
    }

    pub(super) fn eat(&mut self, kind: T) -> Option<Token> {
        (self.peek().kind == kind).then(|| self.next())
    }

    pub(super) fn peek_word(&self, word: &str) -> bool {
        let token = self.peek();
        token.kind == T::Ident && self.slice(token.span) == word
    }

    fn previous_end(&self) -> u32 {
        self.tokens[..self.at]
            .iter()
            .rev()
            .find(|t| t.kind != T::Comment && t.kind != T::Newline)
            .map_or(0, |t| t.span.end)
    }

    fn since(&self, start: Span) -> Span {
        let end = self.tokens[..self.at].last().map_or(start.end, |_| self.previous_end());
        Span { start: start.start, end: self.place(Span { start: end, end }).end.max(start.end) }
    }

    // Errors.

    pub(super) fn fail<X>(&mut self, span: Span, message: impl Into<String>, hint: &str) -> Parsed<X> {
        let error = self.source.error(self.place(span), message);
        self.errors.push(if hint.is_empty() { error } else { error.hint(hint) });
        Err(Reported)
    }

    /// What a token is called in a message.
    pub(super) fn describe(&self, token: Token) -> String {
        match token.kind {
            T::Eof => "the end of the file".to_owned(),
            T::Newline => "the end of the line".to_owned(),
            T::QuotedNewline => "a line break in a string".to_owned(),
            T::OpenQuote | T::CloseQuote => "a quote".to_owned(),
            T::OpenHeredoc | T::CloseHeredoc => "a heredoc".to_owned(),
            _ => format!("`{}`", shown(self.slice(token.span).trim())),
        }
    }

    pub(super) fn unexpected<X>(&mut self, wanted: &str) -> Parsed<X> {
        let token = self.peek();
        let text = self.slice(token.span).to_owned();
        if token.kind == T::Invalid || token.kind == T::Ident && text.is_empty() {
            return self.invalid(token);
        }
        let found = self.describe(token);
        self.fail(token.span, format!("expected {wanted}, found {found}"), "")
    }

    /// What is wrong in brackets: that they never end, or what was found instead of their end or a comma.
    pub(super) fn in_brackets<X>(&mut self, open: Token, wanted: &str) -> Parsed<X> {
        let found = self.peek();
        let name = self.slice(open.span);
        let closes = match open.kind {
            T::OpenParen => T::CloseParen,
            T::OpenBracket => T::CloseBracket,
            _ => T::CloseBrace,
        };
        let others = [T::CloseParen, T::CloseBracket, T::CloseBrace, T::CloseSequence, T::Eof];
        if found.kind != closes && others.contains(&found.kind) {
            return self.fail(open.span, format!("this `{name}` is never closed"), "");
        }
        let result = self.unexpected(wanted);
        let opened = self.source.location(self.place(open.span));
        if let Some(error) = self.errors.pop() {
            let elsewhere = error.location.as_ref().is_some_and(|place| place.line != opened.line);
            let note = format!("the `{name}` is here");
            self.errors.push(if elsewhere { error.note(note, Some(opened)) } else { error });
        }
        result
    }

    fn invalid<X>(&mut self, token: Token) -> Parsed<X> {
        let text = self.slice(token.span);
        let hint = match text.chars().next() {
            Some('\'') => "strings stand in double quotes",
            Some('`') => "a text of several lines is written as a heredoc, `<<EOT`",
            Some(';') => "lines separate attributes and blocks, commas separate elements",
            Some('“' | '”') => "use straight double quotes; an editor may have changed them",
            Some('&') => "there are no operators on bits; did you mean `&&`?",
            Some('|') => "there are no operators on bits; did you mean `||`?",
            Some('~') => "there are no operators on bits; did you mean `!`?",
            Some('^') => "there are no operators on bits",
            Some('/') => return self.fail(token.span, "a comment has no end", "it ends with `*/`"),
            _ => "",
        };
        let first: String = text.chars().take(1).collect();
        self.fail(token.span, format!("the character `{}` means nothing here", shown(&first)), hint)
    }

    pub(super) fn deeper<X>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<X>) -> Parsed<X> {
        if self.depth == MAX_DEPTH {
            let span = self.peek().span;
            return self.fail(span, format!("this is nested more than {MAX_DEPTH} deep"), "");
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    pub(super) fn lines_ignored<X>(
        &mut self,
        ignored: bool,
        read: impl FnOnce(&mut Self) -> Parsed<X>,
    ) -> Parsed<X> {
        self.newlines.push(!ignored);
        let result = read(self);
        self.newlines.pop();
        result
    }

    pub(super) fn span_since(&self, start: Token) -> Span {
        self.since(self.place(start.span))
    }
}

/// A text with its control characters as escapes.
fn shown(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}
