//! The text of a template into tokens. A token that cannot be made ends the list, since what follows would be guessed.

use crate::error::{ErrorKind, Span};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    /// Plain text, after trimming.
    Text,
    Open,
    Close,
    Space,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    Char(char),
    /// `"…"`, with its quotes.
    Quoted,
    /// In back quotes.
    Raw,
    Character,
    Number,
    /// `.name`
    Field,
    /// `$` or `$name`
    Variable,
    /// A name that is not a keyword.
    Identifier,
    Keyword(Keyword),
    Bool(bool),
    Nil,
    Dot,
    End,
    Error(ErrorKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

impl Keyword {
    pub fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Break => "break",
            Self::Continue => "continue",
            Self::Define => "define",
            Self::Else => "else",
            Self::End => "end",
            Self::If => "if",
            Self::Range => "range",
            Self::Template => "template",
            Self::With => "with",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [
            Self::Block,
            Self::Break,
            Self::Continue,
            Self::Define,
            Self::Else,
            Self::End,
            Self::If,
            Self::Range,
            Self::Template,
            Self::With,
        ]
        .into_iter()
        .find(|keyword| keyword.word() == word)
    }
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    tokens: Vec<Token>,
}

type Lexed = Result<(), (ErrorKind, Span)>;

/// All tokens; the last one is `End` or `Error`.
pub(crate) fn lex(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { source, position: 0, tokens: Vec::new() };
    let last = match lexer.run() {
        Ok(()) => Token { kind: TokenKind::End, span: Span { start: source.len(), end: source.len() } },
        Err((kind, span)) => Token { kind: TokenKind::Error(kind), span },
    };
    lexer.tokens.push(last);
    lexer.tokens
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn span_from(&self, start: usize) -> Span {
        Span { start, end: self.position }
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        self.tokens.push(Token { kind, span: self.span_from(start) });
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = self.rest();
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.position += length;
    }

    fn run(&mut self) -> Lexed {
        let mut trim_start = false;
        loop {
            let Some(offset) = self.rest().find(OPEN) else {
                self.text(self.source.len(), trim_start, false);
                return Ok(());
            };
            let open = self.position + offset;
            let after = open + OPEN.len();
            let trim_before = self.trim_marker_at(after);
            self.text(open, trim_start, trim_before);
            self.position = after + if trim_before { 1 } else { 0 };
            trim_start = self.action_or_comment(open)?;
        }
    }

    /// `-` and a space right after the opening braces.
    fn trim_marker_at(&self, position: usize) -> bool {
        let mut chars = self.source[position..].chars();
        chars.next() == Some('-') && chars.next().is_some_and(is_space)
    }

    fn text(&mut self, end: usize, trim_start: bool, trim_end: bool) {
        let mut start = self.position;
        let text = &self.source[start..end];
        let text = if trim_start { text.trim_start_matches(is_space) } else { text };
        start = end - text.len();
        let text = if trim_end { text.trim_end_matches(is_space) } else { text };
        let end = start + text.len();
        if start < end {
            self.tokens.push(Token { kind: TokenKind::Text, span: Span { start, end } });
        }
    }

    /// Whether text after it is to be trimmed.
    fn action_or_comment(&mut self, open: usize) -> Result<bool, (ErrorKind, Span)> {
        let trimmed = self.source[open..self.position].ends_with('-');
        let comment_at = self.position + usize::from(trimmed);
        if self.source[comment_at..].starts_with("/*") {
            return self.comment(open, comment_at);
        }
        self.push(TokenKind::Open, open);
        self.action(open)
    }

    fn comment(&mut self, open: usize, start: usize) -> Result<bool, (ErrorKind, Span)> {
        let Some(length) = self.source[start..].find("*/") else {
            return Err((ErrorKind::UnclosedComment, Span { start: open, end: self.source.len() }));
        };
        self.position = start + length + 2;
        match self.close() {
            Some((length, trim)) => {
                self.position += length;
                Ok(trim)
            }
            None => Err((ErrorKind::CommentNotAlone, self.span_from(open))),
        }
    }

    /// The length of the closing braces here, with their trim marker, and whether they have one.
    fn close(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with(CLOSE) {
            return Some((CLOSE.len(), false));
        }
        let mut chars = rest.chars();
        let trims = chars.next().is_some_and(is_space)
            && chars.next() == Some('-')
            && chars.as_str().starts_with(CLOSE);
        trims.then_some((2 + CLOSE.len(), true))
    }

    fn action(&mut self, open: usize) -> Result<bool, (ErrorKind, Span)> {
        let mut parens: Vec<usize> = Vec::new();
        loop {
            let start = self.position;
            if let Some((length, trim)) = self.close() {
                if let Some(&paren) = parens.last() {
                    return Err((ErrorKind::UnclosedParenthesis, Span { start: paren, end: paren + 1 }));
                }
                self.position += length;
                self.push(TokenKind::Close, start);
                return Ok(trim);
            }
            let Some(c) = self.peek() else {
                return Err((ErrorKind::UnclosedAction, Span { start: open, end: self.position }));
            };
            match c {
                '(' => parens.push(start),
                ')' if parens.pop().is_none() => {
                    return Err((ErrorKind::StrayParenthesis, Span { start, end: start + 1 }));
                }
                _ => {}
            }
            self.token(c)?;
        }
    }

    fn token(&mut self, c: char) -> Lexed {
        let start = self.position;
        let digit_follows = self.rest()[c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        match c {
            _ if is_space(c) => self.spaces(),
            '"' => self.quoted()?,
            '`' => self.raw()?,
            '\'' => self.character()?,
            '$' => self.variable()?,
            '.' if !digit_follows => self.field()?,
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            _ if is_word(c) => self.word()?,
            _ => {
                self.position += c.len_utf8();
                let kind = self.symbol(c, start)?;
                self.push(kind, start);
            }
        }
        Ok(())
    }

    fn symbol(&mut self, c: char, start: usize) -> Result<TokenKind, (ErrorKind, Span)> {
        Ok(match c {
            '=' => TokenKind::Assign,
            ':' if self.rest().starts_with('=') => {
                self.position += 1;
                TokenKind::Declare
            }
            ':' => return Err((ErrorKind::LoneColon, self.span_from(start))),
            '|' => TokenKind::Pipe,
            '(' => TokenKind::LeftParen,
            ')' => TokenKind::RightParen,
            ',' => TokenKind::Comma,
            '!'..='~' => TokenKind::Char(c),
            _ => return Err((ErrorKind::UnknownCharacter(c), self.span_from(start))),
        })
    }

    /// Spaces, but for the one that belongs to a closing trim marker.
    fn spaces(&mut self) {
        let start = self.position;
        while self.close().is_none() && self.peek().is_some_and(is_space) {
            self.position += 1;
        }
        self.push(TokenKind::Space, start);
    }

    fn quoted(&mut self) -> Lexed {
        let start = self.position;
        self.until_quote('"', ErrorKind::UnclosedString)?;
        self.push(TokenKind::Quoted, start);
        Ok(())
    }

    fn character(&mut self) -> Lexed {
        let start = self.position;
        self.until_quote('\'', ErrorKind::UnclosedCharacter)?;
        self.push(TokenKind::Character, start);
        Ok(())
    }

    fn until_quote(&mut self, quote: char, unclosed: ErrorKind) -> Lexed {
        let start = self.position;
        let mut escaped = false;
        for (offset, c) in self.source[start + 1..].char_indices() {
            if c == '\n' {
                break;
            }
            if !escaped && c == quote {
                self.position = start + 1 + offset + 1;
                return Ok(());
            }
            escaped = !escaped && c == '\\';
        }
        let line = self.rest().lines().next().unwrap_or_default().len();
        Err((unclosed, Span { start, end: start + line }))
    }

    fn raw(&mut self) -> Lexed {
        let start = self.position;
        match self.rest()[1..].find('`') {
            Some(length) => {
                self.position += length + 2;
                self.push(TokenKind::Raw, start);
                Ok(())
            }
            None => Err((ErrorKind::UnclosedRawString, Span { start, end: self.source.len() })),
        }
    }

    fn variable(&mut self) -> Lexed {
        let start = self.position;
        self.position += 1;
        if !self.at_terminator() {
            self.skip_while(is_word);
            self.need_terminator()?;
        }
        self.push(TokenKind::Variable, start);
        Ok(())
    }

    fn field(&mut self) -> Lexed {
        let start = self.position;
        self.position += 1;
        if self.at_terminator() {
            self.push(TokenKind::Dot, start);
            return Ok(());
        }
        self.skip_while(is_word);
        self.need_terminator()?;
        self.push(TokenKind::Field, start);
        Ok(())
    }

    fn word(&mut self) -> Lexed {
        let start = self.position;
        self.skip_while(is_word);
        self.need_terminator()?;
        let word = &self.source[start..self.position];
        let kind = match word {
            "true" => TokenKind::Bool(true),
            "false" => TokenKind::Bool(false),
            "nil" => TokenKind::Nil,
            _ => Keyword::of(word).map_or(TokenKind::Identifier, TokenKind::Keyword),
        };
        self.push(kind, start);
        Ok(())
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => is_space(c) || self.rest().starts_with(CLOSE),
        }
    }

    fn need_terminator(&mut self) -> Lexed {
        if self.at_terminator() {
            return Ok(());
        }
        let start = self.position;
        let c = self.peek().unwrap_or_default();
        Err((ErrorKind::BadCharacter(c), Span { start, end: start + c.len_utf8() }))
    }

    /// The shape of a number only; [`crate::literal`] says whether it is one.
    fn number(&mut self) -> Lexed {
        let start = self.position;
        self.real_number();
        if self.rest().starts_with(['+', '-']) {
            self.real_number();
        }
        if self.peek().is_some_and(is_word) {
            self.skip_while(is_word);
            let text = self.source[start..self.position].to_owned();
            return Err((ErrorKind::BadNumber(text), self.span_from(start)));
        }
        self.push(TokenKind::Number, start);
        Ok(())
    }

    fn real_number(&mut self) {
        self.accept("+-");
        let (mut digits, mut exponent) = ("0123456789_", "eE");
        if self.accept("0") {
            if self.accept("xX") {
                (digits, exponent) = ("0123456789abcdefABCDEF_", "pP");
            } else if self.accept("oO") {
                (digits, exponent) = ("01234567_", "");
            } else if self.accept("bB") {
                (digits, exponent) = ("01_", "");
            }
        }
        self.skip_while(|c| digits.contains(c));
        if self.accept(".") {
            self.skip_while(|c| digits.contains(c));
        }
        if self.accept(exponent) {
            self.accept("+-");
            self.skip_while(|c| c.is_ascii_digit() || c == '_');
        }
        self.accept("i");
    }

    fn accept(&mut self, one_of: &str) -> bool {
        let found = self.peek().is_some_and(|c| one_of.contains(c));
        self.position += usize::from(found);
        found
    }
}
