//! YAML with the place of every value: one document, by the core schema as Go's `yaml.v3` reads it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use imgbuild_model::{Diagnostic, Location};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::datum::Datum;

/// How deep a document may be nested.
const DEEPEST: usize = 100;
/// How many values the aliases of a document may stand for.
const MOST_ALIASED: usize = 1 << 16;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its first character.
    pub location: Location,
    /// What it is.
    pub data: Data,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Data {
    /// One that holds no others.
    Scalar(Datum),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub name: String,
    /// Its first character.
    pub location: Location,
}

impl Node {
    /// The value without places.
    #[must_use]
    pub fn datum(&self) -> Datum {
        match &self.data {
            Data::Scalar(datum) => datum.clone(),
            Data::List(items) => Datum::List(items.iter().map(Self::datum).collect()),
            Data::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.name.clone(), value.datum()));
                Datum::Map(entries.collect())
            }
        }
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.data, Data::Scalar(Datum::Null))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(Datum::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn described(&self) -> &'static str {
        match &self.data {
            Data::Scalar(Datum::Null) => "nothing",
            Data::Scalar(Datum::Bool(_)) => "a truth value",
            Data::Scalar(Datum::Int(_) | Datum::Float(_)) => "a number",
            Data::Scalar(_) => "a text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }
}

/// The document of a text; `None` if it is empty.
///
/// # Errors
/// What of it is no YAML, with its place.
pub fn read(text: &str, file: &str) -> Result<Option<Node>, Box<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        file: file.into(),
        anchors: HashMap::new(),
        depth: 0,
        aliased: 0,
    };
    reader.next()?;
    if reader.next()?.0 == Event::StreamEnd {
        return Ok(None);
    }
    let node = reader.node()?;
    reader.next()?;
    match reader.next()? {
        (Event::StreamEnd, _) => Ok(Some(node)),
        (_, at) => Err(reader.error("there is more than one document", at.start)),
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    file: Arc<str>,
    anchors: HashMap<usize, (Node, usize)>,
    depth: usize,
    aliased: usize,
}

fn weight(node: &Node) -> usize {
    1 + match &node.data {
        Data::Scalar(_) => 0,
        Data::List(items) => items.iter().map(weight).sum(),
        Data::Map(entries) => entries.iter().map(|(_, value)| weight(value)).sum(),
    }
}

impl<'a> Reader<'a> {
    fn place(&self, at: Marker) -> Location {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let (line, column) = (number(at.line()), number(at.col()).saturating_add(1));
        Location { file: self.file.clone(), line, column, end_line: line, end_column: column }
    }

    fn error(&self, message: impl Into<String>, at: Marker) -> Box<Diagnostic> {
        Box::new(Diagnostic::error(message.into()).at(self.place(at)))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Box<Diagnostic>> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                Err(self.error(format!("this is no YAML: {}", error.info()), *error.marker()))
            }
            None => Err(Box::new(Diagnostic::error("the YAML ends too soon"))),
        }
    }

    fn node(&mut self) -> Result<Node, Box<Diagnostic>> {
        let (event, at) = self.next()?;
        self.value(event, at)
    }

    fn value(&mut self, event: Event<'a>, span: Span) -> Result<Node, Box<Diagnostic>> {
        let at = span.start;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error(format!("it is nested more than {DEEPEST} deep"), at));
        }
        let (data, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let datum = scalar(&text, style, tag.as_deref()).map_err(|reason| self.error(reason, at))?;
                (Data::Scalar(datum), anchor)
            }
            Event::SequenceStart(anchor, _) => (Data::List(self.list()?), anchor),
            Event::MappingStart(anchor, _) => (Data::Map(self.map()?), anchor),
            Event::Alias(anchor) => {
                let Some((node, weight)) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.error("an anchor is used within what it names", at));
                };
                self.aliased += weight;
                if self.aliased > MOST_ALIASED {
                    return Err(self.error(format!("aliases stand for more than {MOST_ALIASED} values"), at));
                }
                (node.data, 0)
            }
            _ => return Err(self.error("a value is missing", at)),
        };
        self.depth -= 1;
        let node = Node { location: self.place(at), data };
        if anchor != 0 {
            let weight = weight(&node);
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Vec<Node>, Box<Diagnostic>> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.value(event, at)?);
        }
    }

    fn map(&mut self) -> Result<Vec<(Key, Node)>, Box<Diagnostic>> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged = Vec::new();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        loop {
            let (event, at) = self.next()?;
            let start = at.start;
            match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => {
                    let node = self.node()?;
                    match node.data {
                        Data::Map(more) => merged.extend(more),
                        Data::List(nodes) => {
                            for node in nodes {
                                let Data::Map(more) = node.data else {
                                    return Err(self.error("only mappings can be merged", start));
                                };
                                merged.extend(more);
                            }
                        }
                        Data::Scalar(_) => return Err(self.error("only mappings can be merged", start)),
                    }
                }
                Event::Scalar(text, ..) => {
                    let key = Key { name: text.into_owned(), location: self.place(start) };
                    if let Some(line) = seen.insert(key.name.clone(), key.location.line) {
                        let message = format!("`{}` is there already, in line {line}", key.name);
                        return Err(Box::new(
                            (*self.error(message, start))
                                .hint("write all of it below one key: YAML keeps one of two equal ones"),
                        ));
                    }
                    let value = self.node()?;
                    entries.push((key, value));
                }
                _ => return Err(self.error("the key of a mapping must be a text", start)),
            }
        }
        for (key, value) in merged {
            if !seen.contains_key(&key.name) {
                seen.insert(key.name.clone(), key.location.line);
                entries.push((key, value));
            }
        }
        Ok(entries)
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Datum, String> {
    if let Some(tag) = tag {
        let name = tag.suffix.strip_prefix("tag:yaml.org,2002:").unwrap_or(&tag.suffix);
        return match name {
            "str" | "!" => Ok(Datum::text(text)),
            "int" | "float" | "bool" | "null" => Ok(plain(text)),
            other => Err(format!("the tag `!!{other}` is not supported")),
        };
    }
    Ok(if style == ScalarStyle::Plain { plain(text) } else { Datum::text(text) })
}

/// What a text without quotes stands for.
fn plain(text: &str) -> Datum {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Datum::Null,
        "true" | "True" | "TRUE" => return Datum::Bool(true),
        "false" | "False" | "FALSE" => return Datum::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Datum::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Datum::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Datum::Float(f64::NAN),
        _ => {}
    }
    whole(text).map(Datum::Int).or_else(|| float(text).map(Datum::Float)).unwrap_or_else(|| Datum::text(text))
}

fn whole(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    let (sign, bare) = match text.strip_prefix('-') {
        Some(bare) => ("-", bare),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    if !bare.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (digits, radix) = match bare.get(..2) {
        Some("0x" | "0X") => (&bare[2..], 16),
        Some("0o" | "0O") => (&bare[2..], 8),
        Some("0b" | "0B") => (&bare[2..], 2),
        Some(_) if bare.starts_with('0') => (&bare[1..], 8),
        _ => (bare, 10),
    };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

fn float(text: &str) -> Option<f64> {
    let first = text.trim_start_matches(['-', '+']);
    let looks = first.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && first.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+' | '_'));
    if looks { text.replace('_', "").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_what_go_takes_them_for() {
        for (text, expected) in [
            ("0644", Datum::Int(0o644)),
            ("0o17", Datum::Int(15)),
            ("0x1F", Datum::Int(31)),
            ("-12", Datum::Int(-12)),
            ("1_000", Datum::Int(1000)),
            ("1.5", Datum::Float(1.5)),
            ("1e3", Datum::Float(1000.0)),
            ("1.2.3", Datum::text("1.2.3")),
            ("yes", Datum::text("yes")),
            ("true", Datum::Bool(true)),
            ("~", Datum::Null),
            ("'5'", Datum::text("5")),
            ("!!str 5", Datum::text("5")),
            ("5.2.15-2+b8", Datum::text("5.2.15-2+b8")),
            ("08", Datum::Float(8.0)),
        ] {
            assert_eq!(read(text, "x").unwrap().unwrap().datum(), expected, "{text}");
        }
    }

    #[test]
    fn errors_have_a_place() {
        for (text, line, column, expected) in [
            ("a: 1\nb: 2\na: 3\n", 3, 1, "`a` is there already, in line 1"),
            ("a: [1\nb: 2", 2, 2, "this is no YAML"),
            ("a: 1\n---\nb: 2\n", 2, 1, "more than one document"),
            ("? [a]\n: b\n", 1, 3, "must be a text"),
        ] {
            let error = read(text, "goss.yaml").unwrap_err();
            assert!(error.message.contains(expected), "{error}");
            let at = error.location.clone().unwrap();
            assert_eq!((at.line, at.column), (line, column), "{error}");
        }
    }

    #[test]
    fn merged_mappings_do_not_replace() {
        let node = read("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n", "f").unwrap().unwrap();
        assert_eq!(node.datum().to_string(), r#"{"x":{"a":1,"b":2},"y":{"a":1,"b":3}}"#);
    }
}
