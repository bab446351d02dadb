//! The JSON syntax: a body whose members are attributes or blocks, as whoever reads it knows.
//!
//! A file of it is read with [`parse_json`]. Every member of its body is an attribute, repeated ones too, until
//! [`Body::content`] is told which of them are blocks. Strings are templates; one that cannot be read says so when it is
//! evaluated, so that what is never evaluated may hold anything.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use imgbuild_model::{Diagnostic, Diagnostics};

use super::ast::{Expression, Node, NodeKind, ObjectItem};
use super::body::{Attribute, Block, Body, Label};
use super::substitute::Bindings;
use super::{File, Source, Span, parse_embedded, parse_embedded_expression};
use crate::json::{self, Kind, Text};
use crate::value::{Number, Type, Value, from_json, normalize};

/// What a body of the JSON syntax is made of.
#[derive(Clone, Debug)]
pub(crate) struct JsonBody {
    members: Arc<[(Text, json::Node)]>,
    pub(super) bindings: Bindings,
}

/// Reads a file of the JSON syntax: an object, or an array of objects whose members are put together.
#[must_use]
pub fn parse_json(name: &str, text: &str) -> File {
    let source = Source::json(name, text);
    let whole = Span { start: 0, end: text.len() as u32 };
    // Offsets count from the start of the file, so a mark of byte order is blanked, not cut.
    let blanked = text.strip_prefix('\u{feff}').map(|rest| format!("   {rest}"));
    match json::parse(blanked.as_deref().unwrap_or(text)) {
        Ok(node) => {
            let mut reader = Reader { source: &source, errors: Vec::new(), bindings: Bindings::default() };
            let mut members = Vec::new();
            if matches!(node.kind, Kind::Null) {
                reader.no_object(&node, "a file");
            }
            reader.objects(&node, "a file", &mut |_, own| members.extend(own.iter().cloned()));
            let body = reader.unshaped(members, span(&node.span));
            File { body, errors: reader.errors }
        }
        Err(error) => {
            let error = source.error(span(&error.span), error.message);
            File { body: Body::empty(&source, whole), errors: vec![error] }
        }
    }
}

fn span(range: &Range<usize>) -> Span {
    Span { start: range.start as u32, end: range.end as u32 }
}

impl Body {
    /// The same body with the members that are blocks as such: their names and how many labels they have. Nothing
    /// changes in a body of the native syntax, which says itself what is a block.
    #[must_use]
    pub fn content(&self, blocks: &[(&str, usize)]) -> File {
        let Some(json) = &self.json else { return File { body: self.clone(), errors: Vec::new() } };
        let mut reader = Reader { source: &self.source, errors: Vec::new(), bindings: json.bindings.clone() };
        let mut body = Self::empty(&self.source, self.span);
        body.json = Some(json.clone());
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for (name, node) in json.members.iter() {
            if name.text == "//" {
                continue;
            }
            if let Some((_, labels)) = blocks.iter().find(|(kind, _)| *kind == name.text) {
                reader.blocks(name, node, *labels, &mut Vec::new(), &mut body.blocks);
                continue;
            }
            let attribute = reader.attribute(name, node);
            match seen.insert(&name.text, attribute.name_span) {
                Some(first) => {
                    seen.insert(&name.text, first);
                    reader.errors.push(super::body::set_twice(&self.source, &attribute, first));
                }
                None => body.attributes.push(attribute),
            }
        }
        File { body, errors: reader.errors }
    }
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    errors: Vec<Diagnostic>,
    bindings: Bindings,
}

type Members = [(Text, json::Node)];

impl Reader<'_> {
    /// The members of an object or of all objects of an array; null stands for none, in an array for an empty one.
    fn objects(&mut self, node: &json::Node, what: &str, each: &mut dyn FnMut(&json::Node, &Members)) {
        match &node.kind {
            Kind::Object(members) => each(node, members),
            Kind::Array(elements) => {
                for element in elements {
                    match &element.kind {
                        Kind::Object(members) => each(element, members),
                        Kind::Null => each(element, &[]),
                        _ => self.no_object(element, what),
                    }
                }
            }
            Kind::Null => {}
            _ => self.no_object(node, what),
        }
    }

    fn no_object(&mut self, node: &json::Node, what: &str) {
        let error =
            self.source.error(span(&node.span), format!("{what} is a JSON object, or an array of some"));
        self.errors.push(error.hint("write `{ … }`"));
    }

    /// A body all of whose members are attributes.
    fn unshaped(&mut self, members: Vec<(Text, json::Node)>, span: Span) -> Body {
        let mut body = Body::empty(self.source, span);
        body.attributes = members
            .iter()
            .filter(|(name, _)| name.text != "//")
            .map(|(name, node)| self.attribute(name, node))
            .collect();
        body.json = Some(JsonBody { members: members.into(), bindings: self.bindings.clone() });
        body
    }

    fn attribute(&self, name: &Text, node: &json::Node) -> Attribute {
        let name_span = span(&name.span);
        let node = self.bindings.apply(Cow::Owned(self.node(node))).into_owned();
        let span = name_span.to(node.span);
        Attribute { name: normalize(&name.text), name_span, expr: Expression::new(self.source, node), span }
    }

    fn blocks(
        &mut self,
        kind: &Text,
        node: &json::Node,
        missing: usize,
        labels: &mut Vec<Label>,
        found: &mut Vec<Block>,
    ) {
        let what = if missing == 0 {
            format!("the body of a `{}` block", kind.text)
        } else {
            format!("what holds the labels of a `{}` block", kind.text)
        };
        let mut objects = Vec::new();
        if missing > 0 && matches!(node.kind, Kind::Null) {
            objects.push((span(&node.span), Vec::new()));
        }
        self.objects(node, &what, &mut |node, members| objects.push((span(&node.span), members.to_vec())));
        for (place, members) in objects {
            if missing > 0 {
                if members.is_empty() {
                    let error =
                        self.source.error(place, format!("a label of the `{}` block is missing", kind.text));
                    self.errors.push(error.hint("write it as the name of a member: `{\"label\": { … }}`"));
                }
                for (name, node) in &members {
                    labels.push(Label { text: normalize(&name.text), span: span(&name.span) });
                    self.blocks(kind, node, missing - 1, labels, found);
                    labels.pop();
                }
                continue;
            }
            let kind_span = span(&kind.span);
            let body = self.unshaped(members, place);
            found.push(Block {
                kind: normalize(&kind.text),
                kind_span,
                labels: labels.clone(),
                body,
                header: labels.last().map_or(kind_span, |label| label.span),
                span: place,
            });
        }
    }

    fn node(&self, node: &json::Node) -> Node {
        let place = span(&node.span);
        let kind = match &node.kind {
            Kind::Null => NodeKind::Literal(Value::null(Type::Dynamic)),
            Kind::Bool(flag) => NodeKind::Literal(Value::bool(*flag)),
            Kind::Number(text) => match Number::parse(text) {
                Ok(number) => NodeKind::Literal(Value::number(number)),
                Err(error) => {
                    NodeKind::Unreadable(Arc::new(self.source.error(place, error.to_string()).into()))
                }
            },
            Kind::String(text) => return self.template(text),
            Kind::Array(elements) => NodeKind::Tuple(elements.iter().map(|node| self.node(node)).collect()),
            Kind::Object(members) => self.object(members),
        };
        Node { kind, span: place }
    }

    fn object(&self, members: &Members) -> NodeKind {
        let mut seen = HashMap::new();
        let mut items = Vec::with_capacity(members.len());
        for (name, node) in members {
            if let Some(first) = seen.insert(name.text.as_str(), span(&name.span)) {
                let error = self.source.error(span(&name.span), format!("`{}` is set twice", name.text));
                let error = error.note("it was first set here", Some(self.source.location(first)));
                return NodeKind::Unreadable(Arc::new(error.hint("keep one of them").into()));
            }
            items.push(ObjectItem { key: self.template(name), value: self.node(node) });
        }
        NodeKind::Object(items)
    }

    /// A string as the template that it is.
    fn template(&self, text: &Text) -> Node {
        let place = span(&text.span);
        if !text.text.contains("${") && !text.text.contains("%{") {
            let literal = Node { kind: NodeKind::Literal(Value::string(&text.text)), span: place };
            return Node { kind: NodeKind::Template(vec![literal]), span: place };
        }
        match parse_embedded(self.source, &text.text, &|at| text.position(at)) {
            Ok(node) => Node { span: place, ..node },
            Err(errors) => Node { kind: NodeKind::Unreadable(Arc::new(errors)), span: place },
        }
    }
}

impl Expression {
    /// Whether it stands in a file of the JSON syntax.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.source.is_json()
    }

    /// The JSON value that it is, its strings taken as they are and not as templates; `None` in the native syntax.
    #[must_use]
    pub fn json_value(&self) -> Option<Value> {
        if !self.is_json() {
            return None;
        }
        from_json(self.source.slice(self.node.span)).ok()
    }

    /// In the JSON syntax, the expression that a string holds; in the native syntax the expression itself. For what is
    /// not evaluated but read as it is written: types, references.
    pub fn unquoted(&self) -> Result<Cow<'_, Self>, Diagnostics> {
        let text = self.is_json().then(|| json::parse(self.source.slice(self.node.span)).ok()).flatten();
        let Some(json::Node { kind: Kind::String(text), .. }) = text else { return Ok(Cow::Borrowed(self)) };
        let start = self.node.span.start as usize;
        let node = parse_embedded_expression(&self.source, &text.text, &|at| start + text.position(at))?;
        Ok(Cow::Owned(Self::new(&self.source, node)))
    }
}
