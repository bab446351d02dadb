//! Configurations as neutral nodes, and the rendering of their strings.

use imgbuild_gotemplate::{Error, Rendered, Value};
use imgbuild_kinds::component;
use imgbuild_model::{Diagnostic, Field, Form, KindClass, Location, Node, NodeData};

use crate::interpolate::{Cleaner, Context, Output, Reads, Renderer};
use crate::json;

/// The members of an object of JSON, without those named in `skip`, as one node.
pub(super) fn node_of_json(source: &json::Source, members: &[json::Member], location: Location) -> Node {
    Node::new(NodeData::Object(fields_of_json(source, members)), location)
}

/// A value of JSON.
fn value_of_json(source: &json::Source, node: &json::Node) -> Node {
    let data = match &node.value {
        json::Value::Null => NodeData::Null,
        json::Value::Bool(value) => NodeData::Bool(*value),
        json::Value::Number(text) => NodeData::Number(text.parse().unwrap_or(f64::NAN)),
        json::Value::String(text) => NodeData::String(text.as_str().into()),
        json::Value::Array(elements) => {
            NodeData::List(elements.iter().map(|element| value_of_json(source, element)).collect())
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
        value: value_of_json(source, &member.value),
    };
    members.iter().map(field).collect()
}

/// The attributes of a component that it renders itself.
pub(super) fn late_attributes(class: KindClass, kind: &str) -> Vec<&'static str> {
    let Some(schema) = component(class, kind) else { return Vec::new() };
    let table = schema.table();
    let is_late =
        |name: &&'static str| table.attribute(name).is_some_and(|attribute| attribute.late_template);
    table.names().filter(is_late).collect()
}

/// The same place, for strings whose fields a component fills in itself.
pub(super) fn late_fields(context: &Context) -> Context {
    Context { data: Value::Late, ..context.clone() }
}

/// What `clean_resource_name` does in the configuration of a component, if it has it: builders for clouds do.
pub(super) fn cleaner(class: KindClass, kind: &str) -> Option<Cleaner> {
    (class == KindClass::Builder).then(|| Cleaner::of_component(kind)).flatten()
}

/// Renders all strings of a body, keys of maps too, but for the attributes in `late`, which are only checked.
pub(super) struct Rendering<'a> {
    pub(super) renderer: &'a mut Renderer,
    /// For what a component renders itself: every field is still to come.
    pub(super) late_renderer: &'a mut Renderer,
    /// Whether all else is rendered already.
    pub(super) only_late: bool,
    pub(super) late: &'a [&'a str],
    pub(super) problems: &'a mut Vec<Diagnostic>,
    pub(super) reads: &'a mut Reads,
}

impl Rendering<'_> {
    pub(super) fn body(&mut self, body: Node) -> Node {
        let NodeData::Object(fields) = body.data else { return body };
        let fields = fields.into_iter().map(|field| {
            match self.late.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                true => Field { value: self.late(field.value), ..field },
                false if self.only_late => field,
                false => Field { value: self.node(field.value), ..field },
            }
        });
        Node { data: NodeData::Object(fields.collect()), ..body }
    }

    /// What a component renders itself: all but its own fields is known now.
    fn late(&mut self, node: Node) -> Node {
        std::mem::swap(self.renderer, self.late_renderer);
        let node = self.node(node);
        std::mem::swap(self.renderer, self.late_renderer);
        node
    }

    fn node(&mut self, node: Node) -> Node {
        let data = match node.data {
            NodeData::String(ref text) if text.contains("{{") => {
                NodeData::String(self.text(text, &node).into())
            }
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
