//! The value of a text in YAML: one document, keys that are texts or can become some, anchors used after they are done.

use std::collections::BTreeMap;

use imgbuild_hcl::value::{Entries, Type, Value, convert};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::scalar::resolved;
use crate::described;

/// How deep a document may be nested.
const DEEPEST: usize = 200;
/// How many values the aliases of a document may stand for.
const MOST_ALIASED: usize = 1 << 20;

pub(super) fn decoded(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = if text.is_empty() { "\n" } else { text };
    let mut decoder = Decoder {
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        depth: 0,
        aliased: 0,
        text,
        length: text.chars().count(),
    };
    decoder.next()?;
    let (start, at) = decoder.next()?;
    if start == Event::StreamEnd {
        return Err(placed("there is no value", at.start));
    }
    let value = decoder.node()?;
    decoder.next()?;
    match decoder.next()? {
        (Event::StreamEnd, _) => Ok(value),
        (_, at) => Err(placed("there is more than one document", at.start)),
    }
}

fn placed(reason: impl std::fmt::Display, at: Marker) -> String {
    format!("line {}, column {} of the YAML: {reason}", at.line(), at.col() + 1)
}

struct Decoder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, (Value, usize)>,
    depth: usize,
    aliased: usize,
    text: &'a str,
    /// The number of characters of the text.
    length: usize,
}

/// The name of a tag of YAML's own.
fn own_tag(tag: &Tag) -> Result<&str, String> {
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("tag:yaml.org,2002:" | "!!", suffix) => Ok(suffix),
        (handle, suffix) => suffix
            .strip_prefix("tag:yaml.org,2002:")
            .ok_or_else(|| format!("the tag `{handle}{suffix}` is not supported")),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
    // `!` alone says that the value is what it looks like, a text.
    match tag {
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(Value::string(text)),
        Some(tag) => resolved(Some(own_tag(tag)?), text, quoted),
        None => resolved(None, text, quoted),
    }
}

fn weight(value: &Value) -> usize {
    let elements = value.elements().into_iter().flatten().map(weight).sum::<usize>();
    let entries = value.entries().into_iter().flat_map(Entries::values).map(weight).sum::<usize>();
    1 + elements + entries
}

impl<'a> Decoder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(placed(error.info(), *error.marker())),
            None => Err("the YAML ends too soon".to_owned()),
        }
    }

    fn node(&mut self) -> Result<Value, String> {
        let (event, at) = self.next()?;
        self.value(event, at)
    }

    fn value(&mut self, event: Event<'a>, span: Span) -> Result<Value, String> {
        let at = span.start;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(placed(format!("it is nested more than {DEEPEST} deep"), at));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text = self.as_it_is(&text, style, span);
                (scalar(text, style, tag.as_deref()).map_err(|reason| placed(reason, at))?, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                container_tag(tag.as_deref(), "seq").map_err(|reason| placed(reason, at))?;
                (self.sequence()?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                container_tag(tag.as_deref(), "map").map_err(|reason| placed(reason, at))?;
                (self.mapping()?, anchor)
            }
            Event::Alias(anchor) => (self.alias(anchor, at)?, 0),
            _ => return Err(placed("a value is missing", at)),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), weight(&value)));
        }
        self.depth -= 1;
        Ok(value)
    }

    /// A block of text that ends with the document, without a line break, has none at its end; and one without any
    /// lines is empty.
    fn as_it_is<'t>(&self, text: &'t str, style: ScalarStyle, span: Span) -> &'t str {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let at_end = span.end.index() >= self.length;
        let kept = || self.text.chars().skip(span.start.index()).take_while(|c| *c != '\n').any(|c| c == '+');
        let added = block && at_end && (!self.text.ends_with('\n') || text == "\n" && !kept());
        if added { text.strip_suffix('\n').unwrap_or(text) } else { text }
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<Value, String> {
        let Some((value, weight)) = self.anchors.get(&anchor) else {
            return Err(placed("an anchor is used within what it names", at));
        };
        self.aliased += weight;
        if self.aliased > MOST_ALIASED {
            return Err(placed(format!("the aliases stand for more than {MOST_ALIASED} values"), at));
        }
        Ok(value.clone())
    }

    fn sequence(&mut self) -> Result<Value, String> {
        let mut elements = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::tuple(elements));
            }
            elements.push(self.value(event, at)?);
        }
    }

    fn mapping(&mut self) -> Result<Value, String> {
        let mut entries = Entries::new();
        loop {
            let (event, at) = self.next()?;
            let at = at.start;
            match event {
                Event::MappingEnd => return Ok(Value::object(entries)),
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => {
                    let merged = self.node()?;
                    let more = merged.entries().ok_or_else(|| {
                        placed(format!("{} cannot be merged into a mapping", described(merged.ty())), at)
                    })?;
                    entries.extend(more.clone());
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let key = scalar(&text, style, tag.as_deref()).map_err(|reason| placed(reason, at))?;
                    if anchor != 0 {
                        self.anchors.insert(anchor, (key.clone(), 1));
                    }
                    let key = convert(&key, &Type::String)
                        .ok()
                        .and_then(|key| key.as_shared_str())
                        .ok_or_else(|| placed("the key of a mapping is null", at))?;
                    let value = self.node()?;
                    entries.insert(key, value);
                }
                _ => return Err(placed("the key of a mapping must be a text", at)),
            }
        }
    }
}

fn container_tag(tag: Option<&Tag>, wanted: &str) -> Result<(), String> {
    match tag.map(own_tag).transpose()? {
        Some(other) if other != wanted => Err(format!("a `!!{wanted}` cannot be a `!!{other}`")),
        _ => Ok(()),
    }
}
