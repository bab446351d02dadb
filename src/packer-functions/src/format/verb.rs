//! The pattern of `format` into texts and verbs.

use imgbuild_hcl::eval::CallError;

use crate::wrong;

/// The largest width and precision.
const MOST: usize = 100_000;

/// A piece of a pattern.
pub(super) enum Part<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// Where a value goes, and how.
    Verb(Verb<'a>),
}

/// Where a value goes, and how: `%`, flags, width, `.` and precision, `[` number of the value `]`, letter.
pub(super) struct Verb<'a> {
    pub(super) text: &'a str,
    /// Where it is in the pattern, in bytes.
    pub(super) offset: usize,
    /// Which value it takes, counted from 1.
    pub(super) argument: usize,
    pub(super) mode: char,
    pub(super) zero: bool,
    pub(super) sharp: bool,
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) space: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

pub(super) fn parts(pattern: &str) -> Result<Vec<Part<'_>>, CallError> {
    let mut parts = Vec::new();
    let mut next = 1;
    let mut at = 0;
    while let Some(found) = pattern[at..].find('%') {
        let start = at + found;
        if pattern[start + 1..].starts_with('%') {
            parts.push(Part::Text(&pattern[at..=start]));
            at = start + 2;
            continue;
        }
        parts.push(Part::Text(&pattern[at..start]));
        let verb = verb(pattern, start, next)?;
        next = verb.argument + 1;
        at = start + verb.text.len();
        parts.push(Part::Verb(verb));
    }
    parts.push(Part::Text(&pattern[at..]));
    Ok(parts)
}

fn verb(pattern: &str, offset: usize, next: usize) -> Result<Verb<'_>, CallError> {
    let mut cursor = Cursor { pattern, at: offset + 1 };
    let flags = cursor.take(|c| matches!(c, '0' | '#' | '-' | '+' | ' '));
    let width = if cursor.peek() == Some('0') { None } else { cursor.number()? };
    let precision = if cursor.skip('.') { Some(cursor.number()?.unwrap_or(0)) } else { None };
    let argument = if cursor.skip('[') {
        let number = if cursor.peek() == Some('0') { None } else { cursor.number()? };
        let number = number.ok_or_else(|| cursor.unexpected())?;
        if !cursor.skip(']') {
            return Err(cursor.unexpected());
        }
        number
    } else {
        next
    };
    let Some(mode) = cursor.peek().filter(char::is_ascii_alphabetic) else { return Err(cursor.unexpected()) };
    let text = &pattern[offset..=cursor.at];
    if !"vtbdoxXeEfgGsq".contains(mode) {
        return Err(wrong(0, format!("there is no verb `{mode}` (`{text}` at {offset})"))
            .hint("the verbs are `%v`, `%s`, `%q`, `%d`, `%f`, `%e`, `%g`, `%t`, `%b`, `%o` and `%x`"));
    }
    let has = |flag| flags.contains(flag);
    Ok(Verb {
        text,
        offset,
        argument,
        mode,
        zero: has('0'),
        sharp: has('#'),
        plus: has('+'),
        minus: has('-'),
        space: has(' '),
        width,
        precision,
    })
}

struct Cursor<'a> {
    pattern: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<char> {
        self.pattern[self.at..].chars().next()
    }

    fn skip(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn take(&mut self, belongs: fn(char) -> bool) -> &'a str {
        let rest = &self.pattern[self.at..];
        let taken = &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn number(&mut self) -> Result<Option<usize>, CallError> {
        let digits = self.take(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits.parse().ok().filter(|number| *number <= MOST);
        number.map(Some).ok_or_else(|| wrong(0, format!("`{digits}` in the pattern is more than {MOST}")))
    }

    fn unexpected(&self) -> CallError {
        match self.peek() {
            Some(c) => wrong(0, format!("`{c}` at {} of the pattern is not part of a verb", self.at))
                .hint("a percent sign that stands for itself is `%%`"),
            None => wrong(0, "the pattern ends within a verb")
                .hint("a percent sign that stands for itself is `%%`"),
        }
    }
}
