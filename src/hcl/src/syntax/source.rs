//! A text with its name, and the places in it.

use std::fmt;
use std::sync::Arc;

use imgbuild_model::{Diagnostic, Location};

/// A part of a source: bytes from `start` up to `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    /// From the start of one to the end of another.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A text that was read, and its name.
pub struct Source {
    name: Arc<str>,
    text: String,
    lines: Vec<u32>,
    json: bool,
}

impl Source {
    /// A text under a name that the user knows.
    #[must_use]
    pub fn new(name: &str, text: impl Into<String>) -> Arc<Self> {
        Self::of(name, text.into(), false)
    }

    /// A text of the JSON syntax.
    pub(super) fn json(name: &str, text: &str) -> Arc<Self> {
        Self::of(name, text.to_owned(), true)
    }

    fn of(name: &str, text: String, json: bool) -> Arc<Self> {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at as u32 + 1)).collect();
        Arc::new(Self { name: name.into(), text, lines, json })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is of the JSON syntax.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The text of a part.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    fn position(&self, offset: u32) -> (u32, u32) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1] as usize;
        let before = self.text.get(start..offset as usize).unwrap_or_default();
        let before = if line == 1 { before.trim_start_matches('\u{feff}') } else { before };
        (line as u32, before.chars().count() as u32 + 1)
    }

    /// Where a part is, for people.
    #[must_use]
    pub fn location(&self, span: Span) -> Location {
        let (line, column) = self.position(span.start);
        let (end_line, end_column) = self.position(span.end.max(span.start));
        Location { file: Arc::clone(&self.name), line, column, end_line, end_column }
    }

    /// An error at a part.
    #[must_use]
    pub fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(self.location(span))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {} bytes)", self.name, self.text.len())
    }
}
