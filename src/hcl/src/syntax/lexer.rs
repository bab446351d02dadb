//! Text into tokens, whitespace left out. Every byte of the text is in a token or is a space, a tab or a mark of byte
//! order at the start; the formatter depends on it.

use super::Span;

/// The kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A name.
    Ident,
    /// A number.
    Number,
    /// `"` that opens a quoted template.
    OpenQuote,
    /// `"` that closes it.
    CloseQuote,
    /// Literal text in a quoted template, with its escapes.
    QuotedText,
    /// Literal text in a heredoc or a bare template, a line at most.
    HeredocText,
    /// `<<EOT` and the end of its line.
    OpenHeredoc,
    /// The marker that ends a heredoc, with the whitespace before it.
    CloseHeredoc,
    /// `${` or `${~`
    OpenInterpolation,
    /// `%{` or `%{~`
    OpenDirective,
    /// `}` or `~}` that ends one of both.
    CloseSequence,
    /// `{`
    OpenBrace,
    /// `}`
    CloseBrace,
    /// `[`
    OpenBracket,
    /// `]`
    CloseBracket,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// `...`
    Ellipsis,
    /// `*`
    Star,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `/`
    Slash,
    /// `%`
    Percent,
    /// `=`
    Equal,
    /// `==`
    EqualEqual,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `!`
    Bang,
    /// `?`
    Question,
    /// `:`
    Colon,
    /// `::`
    DoubleColon,
    /// `=>`
    FatArrow,
    /// The end of a line.
    Newline,
    /// A comment; one of `#` or `//` includes the end of its line.
    Comment,
    /// The end of a line within a quoted template, where none may be.
    QuotedNewline,
    /// Something that the language has no use for.
    Invalid,
    /// The end.
    Eof,
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is.
    pub span: Span,
}

enum Mode {
    /// Expressions and bodies. `braces` counts the open ones; a further `}` ends the sequence that is read.
    Main {
        braces: usize,
        sequence: bool,
    },
    Quoted,
    Heredoc {
        marker: (usize, usize),
    },
    Template,
}

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As a body or expression.
    Main,
    /// As a template without quotes.
    Template,
}

/// The tokens of a whole text; the last is [`TokenKind::Eof`].
#[must_use]
pub fn tokens(text: &str, start: Start) -> Vec<Token> {
    let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let first = match start {
        Start::Main => Mode::Main { braces: 0, sequence: false },
        Start::Template => Mode::Template,
    };
    let mut lexer = Lexer { text, at, tokens: Vec::with_capacity(text.len() / 4), modes: vec![first] };
    while lexer.at < text.len() {
        match lexer.modes.last() {
            Some(Mode::Quoted) => lexer.quoted(),
            Some(Mode::Heredoc { marker }) => {
                let marker = *marker;
                lexer.heredoc(&text[marker.0..marker.1]);
            }
            Some(Mode::Template) => lexer.literal(TokenKind::HeredocText),
            _ => lexer.main(),
        }
    }
    lexer.push(TokenKind::Eof, 0);
    lexer.tokens
}

/// Whether a text is one name.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    !text.is_empty() && identifier_length(text) == text.len()
}

fn identifier_length(text: &str) -> usize {
    let mut chars = text.char_indices();
    match chars.next() {
        Some((_, c)) if c == '_' || unicode_ident::is_xid_start(c) => {}
        _ => return 0,
    }
    chars.find(|(_, c)| *c != '-' && !unicode_ident::is_xid_continue(*c)).map_or(text.len(), |(at, _)| at)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    modes: Vec<Mode>,
}

impl Lexer<'_> {
    fn push(&mut self, kind: TokenKind, length: usize) {
        let span = Span { start: self.at as u32, end: (self.at + length) as u32 };
        self.tokens.push(Token { kind, span });
        self.at += length;
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn main(&mut self) {
        use TokenKind as T;
        let (kind, length) = match (self.byte(0), self.byte(1), self.byte(2)) {
            (b' ' | b'\t', ..) => {
                self.at += 1;
                return;
            }
            (b'\n', ..) => (T::Newline, 1),
            (b'\r', b'\n', _) => (T::Newline, 2),
            (b'#', ..) | (b'/', b'/', _) => (T::Comment, self.line_length()),
            (b'/', b'*', _) => match self.rest()[2..].find("*/") {
                Some(end) => (T::Comment, end + 4),
                None => (T::Invalid, self.rest().len()),
            },
            (b'"', ..) => {
                self.push(T::OpenQuote, 1);
                self.modes.push(Mode::Quoted);
                return;
            }
            (b'<', b'<', _) if self.open_heredoc() => return,
            (b'{', ..) => {
                if let Some(Mode::Main { braces, .. }) = self.modes.last_mut() {
                    *braces += 1;
                }
                (T::OpenBrace, 1)
            }
            (b'}', ..) => return self.close_brace(1),
            (b'~', b'}', _) if self.ends_sequence() => return self.close_brace(2),
            (b'0'..=b'9', ..) => (T::Number, self.number_length()),
            (b'.', b'.', b'.') => (T::Ellipsis, 3),
            (b'=', b'=', _) => (T::EqualEqual, 2),
            (b'=', b'>', _) => (T::FatArrow, 2),
            (b'!', b'=', _) => (T::NotEqual, 2),
            (b'<', b'=', _) => (T::LessEqual, 2),
            (b'>', b'=', _) => (T::GreaterEqual, 2),
            (b'&', b'&', _) => (T::And, 2),
            (b'|', b'|', _) => (T::Or, 2),
            (b':', b':', _) => (T::DoubleColon, 2),
            (b'[', ..) => (T::OpenBracket, 1),
            (b']', ..) => (T::CloseBracket, 1),
            (b'(', ..) => (T::OpenParen, 1),
            (b')', ..) => (T::CloseParen, 1),
            (b',', ..) => (T::Comma, 1),
            (b'.', ..) => (T::Dot, 1),
            (b'*', ..) => (T::Star, 1),
            (b'+', ..) => (T::Plus, 1),
            (b'-', ..) => (T::Minus, 1),
            (b'/', ..) => (T::Slash, 1),
            (b'%', ..) => (T::Percent, 1),
            (b'=', ..) => (T::Equal, 1),
            (b'<', ..) => (T::Less, 1),
            (b'>', ..) => (T::Greater, 1),
            (b'!', ..) => (T::Bang, 1),
            (b'?', ..) => (T::Question, 1),
            (b':', ..) => (T::Colon, 1),
            _ => match identifier_length(self.rest()) {
                0 => (T::Invalid, self.rest().chars().next().map_or(1, char::len_utf8)),
                length => (T::Ident, length),
            },
        };
        self.push(kind, length);
    }

    fn line_length(&self) -> usize {
        self.rest().find('\n').map_or(self.rest().len(), |end| end + 1)
    }

    fn ends_sequence(&self) -> bool {
        matches!(self.modes.last(), Some(Mode::Main { braces: 0, sequence: true }))
    }

    fn close_brace(&mut self, length: usize) {
        if self.ends_sequence() {
            self.push(TokenKind::CloseSequence, length);
            self.modes.pop();
            return;
        }
        if let Some(Mode::Main { braces, .. }) = self.modes.last_mut() {
            *braces = braces.saturating_sub(1);
        }
        self.push(TokenKind::CloseBrace, 1);
    }

    fn number_length(&self) -> usize {
        let bytes = self.rest().as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut at = 1;
        loop {
            at += match bytes.get(at) {
                Some(b'0'..=b'9') => 1,
                Some(b'.') if digit(at + 1) => 2,
                Some(b'e' | b'E') if digit(at + 1) => 2,
                Some(b'e' | b'E') if matches!(bytes.get(at + 1), Some(b'+' | b'-')) && digit(at + 2) => 3,
                _ => return at,
            };
        }
    }

    fn open_heredoc(&mut self) -> bool {
        let rest = self.rest();
        let dash = if rest[2..].starts_with('-') { 3 } else { 2 };
        let name = identifier_length(&rest[dash..]);
        let end = dash + name;
        let line = match (rest.as_bytes().get(end), rest.as_bytes().get(end + 1)) {
            (Some(b'\n'), _) => end + 1,
            (Some(b'\r'), Some(b'\n')) => end + 2,
            _ => return false,
        };
        if name == 0 {
            return false;
        }
        let marker = (self.at + dash, self.at + end);
        self.push(TokenKind::OpenHeredoc, line);
        self.modes.push(Mode::Heredoc { marker });
        true
    }

    fn heredoc(&mut self, marker: &str) {
        let starts_line = self.at == 0 || self.text.as_bytes()[self.at - 1] == b'\n';
        if starts_line {
            // The last line of a file ends no heredoc without its own end.
            let line = self.rest().split_once('\n').map_or("", |(line, _)| line.trim_end_matches('\r'));
            if line.trim() == marker {
                self.push(TokenKind::CloseHeredoc, line.len());
                self.modes.pop();
                return;
            }
        }
        self.literal(TokenKind::HeredocText);
    }

    fn quoted(&mut self) {
        match (self.byte(0), self.byte(1)) {
            (b'"', _) => {
                self.push(TokenKind::CloseQuote, 1);
                self.modes.pop();
            }
            (b'\n', _) => self.push(TokenKind::QuotedNewline, 1),
            (b'\r', b'\n') => self.push(TokenKind::QuotedNewline, 2),
            (b'\r', _) => self.push(TokenKind::QuotedNewline, 1),
            _ => self.literal(TokenKind::QuotedText),
        }
    }

    /// Literal text up to what ends it, or the start of a sequence.
    fn literal(&mut self, kind: TokenKind) {
        match (self.byte(0), self.byte(1), self.byte(2)) {
            (a @ (b'$' | b'%'), b'{', third) => {
                let opened = if a == b'$' { TokenKind::OpenInterpolation } else { TokenKind::OpenDirective };
                self.push(opened, if third == b'~' { 3 } else { 2 });
                self.modes.push(Mode::Main { braces: 0, sequence: true });
                return;
            }
            (b'$', b'$', b'{') | (b'%', b'%', b'{') => return self.push(kind, 3),
            (b'$' | b'%', ..) => return self.push(kind, 1),
            _ => {}
        }
        let quoted = kind == TokenKind::QuotedText;
        let rest = self.rest().as_bytes();
        let mut length = 0;
        while let Some(byte) = rest.get(length) {
            match byte {
                b'$' | b'%' => break,
                b'"' if quoted => break,
                b'\n' | b'\r' if quoted => break,
                b'\n' => {
                    length += 1;
                    break;
                }
                b'\\' if quoted && !matches!(rest.get(length + 1), None | Some(b'\n' | b'\r')) => {
                    length += 1 + char_length(rest[length + 1]);
                }
                other => length += char_length(*other),
            }
        }
        self.push(kind, length.min(rest.len()));
    }
}

/// The bytes of the character that starts with this byte.
fn char_length(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}
