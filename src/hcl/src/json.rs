//! JSON text as a tree that knows where everything stands, with numbers as they are written. Used for the JSON syntax of
//! templates and for JSON values; it is stricter than some parsers and reports one error.

use std::ops::Range;

/// How deep arrays and objects may be nested.
pub const MAX_DEPTH: usize = 256;

/// A JSON value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its bytes in the text.
    pub span: Range<usize>,
}

/// The kinds of JSON values.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// A string.
    String(Text),
    /// An array.
    Array(Vec<Node>),
    /// An object; keys in their order, repeated ones kept.
    Object(Vec<(Text, Node)>),
}

/// A decoded string and its place.
#[derive(Clone, Debug)]
pub struct Text {
    /// The text without escapes.
    pub text: String,
    /// Its bytes in the file, quotes included.
    pub span: Range<usize>,
    /// For each byte of `text`, and for its end, where it comes from; empty if there was no escape.
    pub origin: Vec<u32>,
}

/// What is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The message, without place.
    pub message: String,
    /// The bytes that are to blame.
    pub span: Range<usize>,
}

impl Text {
    /// Where a byte of the decoded text stands in the file.
    #[must_use]
    pub fn position(&self, offset: usize) -> usize {
        self.origin.get(offset).map_or(self.span.start + 1 + offset, |at| *at as usize)
    }
}

/// Reads a whole text.
pub fn parse(text: &str) -> Result<Node, Error> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let node = parser.value()?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.error("there is something after the end of the value", parser.at..text.len()));
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>, span: Range<usize>) -> Error {
        Error { message: message.into(), span }
    }

    fn here(&self, message: impl Into<String>) -> Error {
        let next = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        self.error(message, self.at..self.at + next)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Node, Error> {
        self.space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Kind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z' | b'A'..=b'Z') => self.keyword()?,
            None => return Err(self.here("a JSON value is missing")),
            Some(b'\'') => return Err(self.here("JSON strings stand in double quotes")),
            Some(_) => return Err(self.here("this does not start a JSON value")),
        };
        Ok(Node { kind, span: start..self.at })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Kind, Error>) -> Result<Kind, Error> {
        if self.depth == MAX_DEPTH {
            return Err(self.here(format!("values are nested more than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn keyword(&mut self) -> Result<Kind, Error> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            self.at += 1;
        }
        match &self.text[start..self.at] {
            "true" => Ok(Kind::Bool(true)),
            "false" => Ok(Kind::Bool(false)),
            "null" => Ok(Kind::Null),
            other => Err(self.error(format!("`{other}` is not a JSON keyword"), start..self.at)),
        }
    }

    fn number(&mut self) -> Result<Kind, Error> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        if is_number(text) {
            Ok(Kind::Number(text.to_owned()))
        } else {
            Err(self.error(format!("`{text}` is not a JSON number"), start..self.at))
        }
    }

    fn array(&mut self) -> Result<Kind, Error> {
        self.at += 1;
        let mut elements = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Kind::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            self.space();
            if self.eat(b']') {
                return Ok(Kind::Array(elements));
            }
            if !self.eat(b',') {
                return Err(self.here("`,` or `]` is missing after an element of an array"));
            }
            self.space();
            if self.peek() == Some(b']') {
                return Err(self.here("JSON allows no comma after the last element"));
            }
        }
    }

    fn object(&mut self) -> Result<Kind, Error> {
        self.at += 1;
        let mut entries = Vec::new();
        self.space();
        if self.eat(b'}') {
            return Ok(Kind::Object(entries));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.here(if self.peek() == Some(b'}') {
                    "JSON allows no comma after the last attribute"
                } else {
                    "a name in double quotes is missing"
                }));
            }
            let key = self.string()?;
            self.space();
            if !self.eat(b':') {
                return Err(self.here("`:` is missing after the name of an attribute"));
            }
            let value = self.value()?;
            entries.push((key, value));
            self.space();
            if self.eat(b'}') {
                return Ok(Kind::Object(entries));
            }
            if !self.eat(b',') {
                return Err(self.here("`,` or `}` is missing after an attribute"));
            }
        }
    }

    fn string(&mut self) -> Result<Text, Error> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        let mut origin = Vec::new();
        let mut escaped = false;
        loop {
            let at = self.at;
            let Some(c) = self.text[at..].chars().next() else {
                return Err(self.error("a string has no end", start..at));
            };
            self.at += c.len_utf8();
            let decoded = match c {
                '"' => break,
                '\\' => {
                    escaped = true;
                    self.escape(at)?
                }
                c if u32::from(c) < 0x20 => {
                    return Err(self.error(
                        "a string of JSON cannot hold a line break or control character; use an escape",
                        at..self.at,
                    ));
                }
                c => c,
            };
            text.push(decoded);
            origin.extend((0..decoded.len_utf8()).map(|part| (at + if c == '\\' { 0 } else { part }) as u32));
        }
        if escaped {
            origin.push((self.at - 1) as u32);
        } else {
            origin.clear();
        }
        Ok(Text { text, span: start..self.at, origin })
    }

    fn escape(&mut self, start: usize) -> Result<char, Error> {
        let letter = self.text[self.at..].chars().next();
        self.at += letter.map_or(0, char::len_utf8);
        Ok(match letter {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.hex(start)?;
                let low = &self.text[self.at..];
                if (0xd800..0xdc00).contains(&first) && low.starts_with("\\u") {
                    let before = self.at;
                    self.at += 2;
                    let second = self.hex(before)?;
                    if (0xdc00..0xe000).contains(&second) {
                        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
                    }
                    self.at = before;
                }
                char::from_u32(first).unwrap_or('\u{fffd}')
            }
            _ => return Err(self.error("this is not an escape of JSON", start..self.at)),
        })
    }

    fn hex(&mut self, start: usize) -> Result<u32, Error> {
        let digits =
            self.text.get(self.at..self.at + 4).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(digits) = digits else {
            return Err(self.error("four hexadecimal digits are needed after `\\u`", start..self.at));
        };
        self.at += 4;
        Ok(u32::from_str_radix(digits, 16).unwrap_or(0))
    }
}

fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}
