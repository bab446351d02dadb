//! What was written in a body, after evaluation, with places: neutral between the languages, for checks against a
//! kind's schema.

use std::sync::Arc;

use crate::Location;

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub data: NodeData,
    /// Where it is.
    pub location: Location,
    /// Whether the value may not be shown.
    pub secret: bool,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeData {
    /// Not known yet: it may become anything.
    Unknown,
    /// Nothing: as if it were not written.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number. What a double cannot hold is rounded: a check needs no more.
    Number(f64),
    /// A text.
    String(Arc<str>),
    /// A list, a tuple or a set.
    List(Vec<Node>),
    /// A map, an object or the body of a block. A name may stand there several times, as blocks do.
    Object(Vec<Field>),
}

/// One entry of an object, or one attribute or block of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: Arc<str>,
    /// Where the name is.
    pub location: Location,
    /// How it was written.
    pub form: Form,
    /// Its value; for a block, its body.
    pub value: Node,
}

/// How an entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `name = value`
    Attribute,
    /// `name { … }`
    Block,
    /// In JSON, where both are written alike: a block is an object, or a list of objects.
    Json,
}

impl Node {
    /// A value that may be shown, at a place.
    #[must_use]
    pub fn new(data: NodeData, location: Location) -> Self {
        Self { data, location, secret: false }
    }

    /// A text that may be shown, at a place.
    #[must_use]
    pub fn string(text: &str, location: Location) -> Self {
        Self::new(NodeData::String(text.into()), location)
    }

    /// The same, as a secret.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The first entry of that name, if it is an object that has one.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        match &self.data {
            NodeData::Object(fields) => fields.iter().find(|field| &*field.name == name),
            _ => None,
        }
    }

    /// The word for this value's type in messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self.data {
            NodeData::Unknown => "unknown",
            NodeData::Null => "null",
            NodeData::Bool(_) => "bool",
            NodeData::Number(_) => "number",
            NodeData::String(_) => "string",
            NodeData::List(_) => "list",
            NodeData::Object(_) => "object",
        }
    }

    /// Whether it is as good as absent to Packer: null, empty, zero or false.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match &self.data {
            NodeData::Unknown => false,
            NodeData::Null => true,
            NodeData::Bool(value) => !value,
            NodeData::Number(number) => *number == 0.0,
            NodeData::String(text) => text.is_empty(),
            NodeData::List(items) => items.is_empty(),
            NodeData::Object(fields) => fields.is_empty(),
        }
    }
}
