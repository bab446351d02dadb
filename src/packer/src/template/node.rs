//! Settings as the neutral tree that schemas are checked against, each part with its own place where it has one.

use std::sync::Arc;

use imgbuild_hcl::syntax::Expression;
use imgbuild_hcl::value::{Mark, Value};
use imgbuild_model::{Field, Form, Location, Node, NodeData};

use super::settings::{Setting, Settings};

impl Settings {
    /// The tree. `location` stands for what is missing.
    #[must_use]
    pub fn to_node(&self, location: Location) -> Node {
        let attributes = self.attributes.iter().map(Setting::to_field);
        let blocks = self.blocks.iter().map(|block| Field {
            name: Arc::clone(&block.kind),
            location: block.kind_location.clone(),
            form: Form::Block,
            value: block.settings.to_node(block.kind_location.clone()),
        });
        Node::new(NodeData::Object(attributes.chain(blocks).collect()), location)
    }
}

impl Setting {
    fn to_field(&self) -> Field {
        let expression = self.expression();
        Field {
            name: Arc::clone(&self.name),
            location: self.name_location.clone(),
            form: if expression.is_json() { Form::Json } else { Form::Attribute },
            value: node(&self.value, expression),
        }
    }
}

fn node(value: &Value, place: &Expression) -> Node {
    let data = if !value.is_known() {
        NodeData::Unknown
    } else if let Some(text) = value.as_shared_str() {
        NodeData::String(text)
    } else if let Some(flag) = value.as_bool() {
        NodeData::Bool(flag)
    } else if let Some(number) = value.as_number() {
        NodeData::Number(number.to_f64())
    } else if let Some(elements) = value.elements() {
        NodeData::List(list(elements, place))
    } else if let Some(entries) = value.entries() {
        let items = place.items().unwrap_or_default();
        let written = |name: &str| items.iter().find(|(key, _)| key.as_text().as_deref() == Some(name));
        let field = |(name, value): (&Arc<str>, &Value)| {
            let (key, own) = written(name).map_or((place, place), |(key, value)| (key, value));
            let form = if place.is_json() { Form::Json } else { Form::Attribute };
            Field { name: Arc::clone(name), location: key.location(), form, value: node(value, own) }
        };
        NodeData::Object(entries.iter().map(field).collect())
    } else {
        NodeData::Null
    };
    Node { data, location: place.location(), secret: value.marks().contains(&Mark::SENSITIVE) }
}

/// The elements of a list are at the places of those that are written, if there are as many; a set has another order.
fn list(elements: &[Value], place: &Expression) -> Vec<Node> {
    let written = place.elements().filter(|written| written.len() == elements.len());
    let own = |index: usize| written.as_ref().map_or(place, |written| &written[index]);
    elements.iter().enumerate().map(|(index, element)| node(element, own(index))).collect()
}
