//! JSON in which every value knows where it stands, so that each error can point at its cause.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_gotemplate::Span;
use imgbuild_model::{Diagnostic, Diagnostics, Location};

/// How deep values may nest.
const DEPTH: usize = 200;

/// How many errors of one kind are told.
pub(crate) const MOST_ERRORS: usize = 100;

/// A file that has been read.
#[derive(Clone, Debug)]
pub struct Document {
    /// The value.
    pub root: Node,
    source: Source,
}

/// The text of a file, for places in it.
#[derive(Clone, Debug)]
pub struct Source {
    file: Arc<str>,
    text: Arc<str>,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its bytes in the file.
    pub span: Span,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// Members in order.
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// Its value.
    pub value: Node,
}

impl Source {
    /// The place of these bytes.
    #[must_use]
    pub fn location(&self, span: Span) -> Location {
        let (line, column) = self.position(span.start);
        let (end_line, end_column) = self.position(span.end.max(span.start));
        Location { file: self.file.clone(), line, column, end_line, end_column }
    }

    /// These bytes as they are written.
    #[must_use]
    pub fn text_of(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    fn position(&self, offset: usize) -> (u32, u32) {
        let before = &self.text[..self.text.floor_char_boundary(offset.min(self.text.len()))];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// The place of these bytes of the *value* of a string, whatever escapes it is written with.
    #[must_use]
    pub fn inside_string(&self, string: Span, inner: Span) -> Location {
        let start = self.raw_offset(string, inner.start);
        let end = self.raw_offset(string, inner.end);
        self.location(Span { start, end: end.max(start) })
    }

    fn raw_offset(&self, string: Span, value_offset: usize) -> usize {
        let raw = &self.text[string.start..string.end];
        let (mut at, mut value) = (1, 0);
        while value < value_offset && at + 1 < raw.len() {
            let Some((unit, length)) = next_unit(&raw[at..]) else { break };
            at += length;
            value += unit.len_utf8();
        }
        string.start + at
    }
}

/// The character that stands here in a string, and the bytes that it is written with.
fn next_unit(raw: &str) -> Option<(char, usize)> {
    let c = raw.chars().next()?;
    if c != '\\' {
        return Some((c, c.len_utf8()));
    }
    let escape = raw.chars().nth(1)?;
    let plain = match escape {
        '"' | '\\' | '/' => escape,
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode_escape(raw),
        _ => return None,
    };
    Some((plain, 2))
}

/// Half of a pair alone stands for the replacement character, as in Go.
fn unicode_escape(raw: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = raw.get(at..at + 6)?.strip_prefix("\\u")?;
        let good = digits.chars().all(|c| c.is_ascii_hexdigit());
        good.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    };
    let first = unit(0)?;
    if let (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) = (first, unit(6)) {
        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return char::from_u32(code).map(|c| (c, 12));
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6))
}

impl Document {
    /// Reads a file's text. Beside the document there are the errors that do not stop reading: names given twice.
    ///
    /// # Errors
    /// The place where it stops being JSON.
    pub fn parse(file: &str, text: &str) -> Result<(Self, Vec<Diagnostic>), Diagnostics> {
        let source = Source { file: file.into(), text: text.into() };
        let mut reader = Reader { source: &source, position: 0, diagnostics: Vec::new() };
        let root = reader.document().map_err(|error| Diagnostics::from(*error))?;
        let diagnostics = reader.diagnostics;
        Ok((Self { root, source }, diagnostics))
    }

    /// The text, for places.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }
}

impl Node {
    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// The same without places; numbers as Go's JSON has them. Of members of one name the last counts.
    #[must_use]
    pub fn plain(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(text) => text.parse::<f64>().map_or(serde_json::Value::Null, Into::into),
            Value::String(text) => text.as_str().into(),
            Value::Array(elements) => elements.iter().map(Node::plain).collect(),
            Value::Object(members) => {
                members.iter().map(|member| (member.name.clone(), member.value.plain())).collect()
            }
        }
    }
}

struct Reader<'a> {
    source: &'a Source,
    position: usize,
    diagnostics: Vec<Diagnostic>,
}

type Read<T> = Result<T, Box<Diagnostic>>;

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.source.text[self.position..]
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn fail<T>(&self, message: impl Into<String>, hint: Option<&str>) -> Read<T> {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        let span = Span { start: self.position, end: self.position + length };
        let diagnostic = Diagnostic::error(message).at(self.source.location(span));
        Err(Box::new(diagnostic.maybe_hint(hint.map(str::to_owned))))
    }

    fn unexpected<T>(&self, wanted: &str) -> Read<T> {
        let hint = match self.rest().chars().next() {
            Some('/' | '#') => {
                Some("JSON has no comments; at the top of a template a name that begins with `_` is one")
            }
            Some('\'') => Some("strings stand in double quotes"),
            Some('}' | ']') if self.source.text[..self.position].trim_end().ends_with(',') => {
                Some("remove the comma before it")
            }
            _ => None,
        };
        match self.rest().chars().next() {
            Some(c @ ('"' | '\'')) => self.fail(format!("expected {wanted}, found `{c}`"), hint),
            Some(c) => self.fail(format!("expected {wanted}, found `{}`", c.escape_debug()), hint),
            None => self.fail(format!("expected {wanted}, found the end of the file"), None),
        }
    }

    fn document(&mut self) -> Read<Node> {
        let root = self.value(0)?;
        self.skip_spaces();
        if self.rest().is_empty() { Ok(root) } else { self.unexpected("the end of the file") }
    }

    fn value(&mut self, depth: usize) -> Read<Node> {
        if depth > DEPTH {
            return self.fail(format!("values are nested more than {DEPTH} deep"), None);
        }
        self.skip_spaces();
        let start = self.position;
        let value = match self.rest().chars().next() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"') => Value::String(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { value, span: Span { start, end: self.position } })
    }

    fn word(&mut self) -> Read<Value> {
        for (word, value) in
            [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
        {
            if self.rest().starts_with(word) {
                self.position += word.len();
                return Ok(value);
            }
        }
        self.unexpected("a value")
    }

    fn digits(&mut self) -> Read<()> {
        let rest = self.rest();
        let length = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        self.position += length;
        if length == 0 { self.unexpected("a digit") } else { Ok(()) }
    }

    fn accept(&mut self, one_of: &[char]) -> bool {
        let found = self.rest().starts_with(one_of);
        self.position += usize::from(found);
        found
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.position;
        self.accept(&['-']);
        if !self.accept(&['0']) {
            self.digits()?;
        }
        if self.accept(&['.']) {
            self.digits()?;
        }
        if self.accept(&['e', 'E']) {
            self.accept(&['+', '-']);
            self.digits()?;
        }
        let text = self.source.text[start..self.position].to_owned();
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Ok(Value::Number(text));
        }
        self.position = start;
        self.fail(format!("the number `{text}` is too large"), None)
    }

    fn string(&mut self) -> Read<String> {
        let start = self.position;
        self.position += 1;
        let mut text = String::new();
        loop {
            match self.rest().chars().next() {
                Some('"') => {
                    self.position += 1;
                    return Ok(text);
                }
                None => {
                    self.position = start;
                    return self.fail("the string is not closed: `\"` is missing", None);
                }
                Some(c) if c < ' ' => {
                    let hint = Some("write a line break as `\\n` and a tab as `\\t`, or use a list of lines");
                    return self.fail(format!("`{}` cannot stand in a string", c.escape_debug()), hint);
                }
                Some(_) => match next_unit(self.rest()) {
                    Some((c, length)) => {
                        text.push(c);
                        self.position += length;
                    }
                    None => {
                        let hint = Some("write a backslash as `\\\\`");
                        return self.fail("there is no such escape sequence", hint);
                    }
                },
            }
        }
    }

    fn array(&mut self, depth: usize) -> Read<Value> {
        self.position += 1;
        let mut elements = Vec::new();
        self.skip_spaces();
        if self.accept(&[']']) {
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.skip_spaces();
            if self.accept(&[']']) {
                return Ok(Value::Array(elements));
            }
            if !self.accept(&[',']) {
                return self.unexpected("`,` or `]`");
            }
        }
    }

    fn object(&mut self, depth: usize) -> Read<Value> {
        self.position += 1;
        let mut members: Vec<Member> = Vec::new();
        let mut first_places: BTreeMap<String, Span> = BTreeMap::new();
        self.skip_spaces();
        if self.accept(&['}']) {
            return Ok(Value::Object(members));
        }
        loop {
            let member = self.member(depth)?;
            match first_places.get(&member.name) {
                Some(_) if self.diagnostics.len() >= MOST_ERRORS => {}
                Some(&first) => self.diagnostics.push(
                    Diagnostic::error(format!("`{}` is given twice", member.name))
                        .at(self.source.location(member.name_span))
                        .note("the first is here", Some(self.source.location(first)))
                        .hint("remove one of the two"),
                ),
                None => {
                    first_places.insert(member.name.clone(), member.name_span);
                }
            }
            members.push(member);
            self.skip_spaces();
            if self.accept(&['}']) {
                return Ok(Value::Object(members));
            }
            if !self.accept(&[',']) {
                return self.unexpected("`,` or `}`");
            }
        }
    }

    fn member(&mut self, depth: usize) -> Read<Member> {
        self.skip_spaces();
        let start = self.position;
        if !self.rest().starts_with('"') {
            return self.unexpected("a name in double quotes");
        }
        let name = self.string()?;
        let name_span = Span { start, end: self.position };
        self.skip_spaces();
        if !self.accept(&[':']) {
            return self.unexpected("`:`");
        }
        Ok(Member { name, name_span, value: self.value(depth + 1)? })
    }
}
