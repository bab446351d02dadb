//! Configurations as neutral nodes, and the rendering of their strings.

use std::sync::Arc;

use imgbuild_gotemplate::{Error, Rendered};
use imgbuild_hcl::value::{PathStep, Value};
use imgbuild_kinds::component;
use imgbuild_model::{Diagnostic, Field, Form, KindClass, Location, Node, NodeData};

use crate::interpolate::{Output, Reads, Renderer};
use crate::json;
use crate::template::{Setting, Settings};

/// A body as one object: attributes, then blocks, with their places. Sensitive values are secret nodes.
#[must_use]
pub fn node_of_settings(settings: &Settings) -> Node {
    let attributes = settings.attributes.iter().map(|setting| Field {
        name: setting.name.clone(),
        location: setting.name_location.clone(),
        form: Form::Attribute,
        value: node_of_value(setting, &mut Vec::new(), &setting.value, false),
    });
    let blocks = settings.blocks.iter().map(|block| Field {
        name: block.kind.clone(),
        location: block.kind_location.clone(),
        form: Form::Block,
        value: node_of_settings(&block.settings),
    });
    Node::new(NodeData::Object(attributes.chain(blocks).collect()), settings.location.clone())
}

fn node_of_value(setting: &Setting, path: &mut Vec<PathStep>, value: &Value, secret: bool) -> Node {
    let secret = secret || value.is_sensitive();
    let location = setting.locate(path);
    let data = if !value.is_known() {
        NodeData::Unknown
    } else if value.is_null() {
        NodeData::Null
    } else if let Some(truth) = value.as_bool() {
        NodeData::Bool(truth)
    } else if let Some(number) = value.as_number() {
        NodeData::Number(number.to_f64())
    } else if let Some(text) = value.as_shared_str() {
        NodeData::String(text)
    } else if let Some(elements) = value.elements() {
        let mut below = |(index, element): (usize, &Value)| {
            path.push(PathStep::Index(index));
            let node = node_of_value(setting, path, element, secret);
            path.pop();
            node
        };
        NodeData::List(elements.iter().enumerate().map(&mut below).collect())
    } else {
        let mut below = |(name, element): (&Arc<str>, &Value)| {
            path.push(PathStep::Key(name.clone()));
            let value = node_of_value(setting, path, element, secret);
            path.pop();
            Field { name: name.clone(), location: value.location.clone(), form: Form::Attribute, value }
        };
        NodeData::Object(value.entries().into_iter().flatten().map(&mut below).collect())
    };
    Node { data, location, secret }
}

/// The members of an object of JSON, without those named in `skip`, as one node.
#[must_use]
pub fn node_of_json(source: &json::Source, members: &[json::Member], location: Location) -> Node {
    Node::new(NodeData::Object(fields_of_json(source, members)), location)
}

/// A value of JSON.
#[must_use]
pub fn array_of_json(source: &json::Source, node: &json::Node) -> Node {
    let data = match &node.value {
        json::Value::Null => NodeData::Null,
        json::Value::Bool(value) => NodeData::Bool(*value),
        json::Value::Number(text) => NodeData::Number(text.parse().unwrap_or(f64::NAN)),
        json::Value::String(text) => NodeData::String(text.as_str().into()),
        json::Value::Array(elements) => {
            NodeData::List(elements.iter().map(|element| array_of_json(source, element)).collect())
        }
        json::Value::Object(members) => NodeData::Object(fields_of_json(source, members)),
    };
    Node::new(data, source.location(node.span))
}

fn fields_of_json(source: &json::Source, members: &[json::Member]) -> Vec<Field> {
    let field = |member: &json::Member| Field {
        name: member.name.as_str().into(),
        location: source.location(member.name_span),
        form: Form::Json,
        value: array_of_json(source, &member.value),
    };
    members.iter().map(field).collect()
}

/// The attributes of a component that it renders itself.
pub(super) fn late_attributes(class: KindClass, kind: &str) -> Vec<&'static str> {
    let Some(schema) = component(class, kind) else { return Vec::new() };
    let table = schema.table();
    let is_late = |name: &&'static str| table.attribute(name).is_some_and(|attribute| attribute.late_template);
    table.names().filter(is_late).collect()
}

/// Renders all strings of a body, keys of maps too, but for the attributes in `late`, which are only checked.
pub(super) struct Rendering<'a> {
    pub(super) renderer: &'a mut Renderer,
    pub(super) late: &'a [&'a str],
    pub(super) problems: &'a mut Vec<Diagnostic>,
    pub(super) reads: &'a mut Reads,
}

impl Rendering<'_> {
    pub(super) fn body(&mut self, body: Node) -> Node {
        let NodeData::Object(fields) = body.data else { return body };
        let fields = fields.into_iter().map(|field| match self.late.contains(&&*field.name) {
            true => {
                self.check(&field.value);
                field
            }
            false => Field { value: self.node(field.value), ..field },
        });
        Node { data: NodeData::Object(fields.collect()), ..body }
    }

    fn check(&mut self, node: &Node) {
        match &node.data {
            NodeData::String(text) => {
                if let Err(error) = self.renderer.check(text) {
                    self.fail(node, &error);
                }
            }
            NodeData::List(items) => items.iter().for_each(|item| self.check(item)),
            NodeData::Object(fields) => fields.iter().for_each(|field| self.check(&field.value)),
            _ => {}
        }
    }

    fn node(&mut self, node: Node) -> Node {
        let data = match node.data {
            NodeData::String(ref text) if text.contains("{{") => NodeData::String(self.text(text, &node).into()),
            NodeData::List(items) => NodeData::List(items.into_iter().map(|item| self.node(item)).collect()),
            NodeData::Object(fields) => {
                let field = |field: Field| {
                    let name = match field.name.contains("{{") {
                        true => self.text(&field.name, &field.value).into(),
                        false => field.name.clone(),
                    };
                    Field { name, value: self.node(field.value), ..field }
                };
                NodeData::Object(fields.into_iter().map(field).collect())
            }
            other => other,
        };
        Node { data, location: node.location, secret: node.secret }
    }

    fn text(&mut self, text: &str, node: &Node) -> String {
        let Output { text: rendered, reads, unknown_fields } = match self.renderer.render(text) {
            Ok(output) => output,
            Err(error) => {
                self.fail(node, &error);
                return text.to_owned();
            }
        };
        self.reads.merge(reads);
        for (field, _) in unknown_fields {
            let warning = Diagnostic::warning(format!("nothing gives `{field}` here, so it is `<no value>`"));
            self.problems.push(warning.at(node.location.clone()));
        }
        match rendered {
            Rendered::Text(text) | Rendered::Template(text) => text,
        }
    }

    fn fail(&mut self, node: &Node, error: &Error) {
        let hint = self.renderer.hint(error);
        self.problems
            .push(Diagnostic::error(error.kind.to_string()).at(node.location.clone()).maybe_hint(hint));
    }
}
