//! Reading a configuration that was checked, under Packer's conversions.

use imgbuild_model::{Location, Node, NodeData};

use super::Holes;

/// The configuration of a component.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    node: &'a Node,
    holes: &'a Holes,
}

impl<'a> Config<'a> {
    pub(super) fn new(node: &'a Node, holes: &'a Holes) -> Self {
        Self { node, holes }
    }

    /// An attribute that was given: null and absent are the same.
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        let NodeData::Object(fields) = &self.node.data else { return None };
        let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        (!matches!(found.value.data, NodeData::Null)).then_some(&found.value)
    }

    /// Where an attribute is, or else the whole.
    pub(super) fn location(&self, name: &str) -> Location {
        self.get(name).map_or_else(|| self.node.location.clone(), |node| node.location.clone())
    }

    /// The attributes and blocks whose values only a running build can tell.
    pub(super) fn unknown(&self) -> Vec<Location> {
        let mut found = Vec::new();
        unknown(self.node, &mut found);
        found
    }

    /// A text that is not empty, with marks in place of what is sensitive.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|node| text(node, self.holes)).filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match &self.get(name)?.data {
            NodeData::Bool(value) => Some(*value),
            NodeData::Number(number) => Some(*number != 0.0),
            NodeData::String(text) => match &**text {
                "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
                "" => None,
                _ => Some(false),
            },
            _ => None,
        }
    }

    /// A list of texts; one text counts as a list of it, in templates in JSON as several with commas between them.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Node { data: NodeData::List(items), .. }) => {
                items.iter().filter_map(|item| text(item, self.holes)).collect()
            }
            Some(node) => text(node, self.holes).filter(|text| !text.is_empty()).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The texts of a list, or one text, as they are; without those that are sensitive.
    pub(super) fn plain_texts(&self, name: &str) -> Vec<&'a str> {
        let items = match self.get(name) {
            Some(Node { data: NodeData::List(items), .. }) => items.iter().collect(),
            node => node.into_iter().collect::<Vec<_>>(),
        };
        let plain = |item: &'a Node| match &item.data {
            NodeData::String(text) if !item.secret && !text.is_empty() => Some(&**text),
            _ => None,
        };
        items.into_iter().filter_map(plain).collect()
    }

    pub(super) fn numbers(&self, name: &str) -> Vec<i64> {
        self.texts(name).iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// A map of texts, in the order written.
    pub(super) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let Some(Node { data: NodeData::Object(fields), .. }) = self.get(name) else { return Vec::new() };
        fields
            .iter()
            .filter_map(|field| Some((field.name.to_string(), text(&field.value, self.holes)?)))
            .collect()
    }

    /// A nested block, or an attribute that holds its object.
    pub(super) fn block(&self, name: &str) -> Option<Self> {
        let node = self.get(name)?;
        let node = match &node.data {
            NodeData::List(items) => items.first()?,
            _ => node,
        };
        Some(Self { node, holes: self.holes })
    }
}

fn text(node: &Node, holes: &Holes) -> Option<String> {
    let text = match &node.data {
        NodeData::String(text) => text.to_string(),
        NodeData::Number(number) => number.to_string(),
        NodeData::Bool(value) => value.to_string(),
        _ => return None,
    };
    Some(holes.hide(&text, node.secret))
}

fn unknown(node: &Node, found: &mut Vec<Location>) {
    match &node.data {
        NodeData::Unknown => found.push(node.location.clone()),
        NodeData::List(items) => items.iter().for_each(|item| unknown(item, found)),
        NodeData::Object(fields) => fields.iter().for_each(|field| unknown(&field.value, found)),
        _ => {}
    }
}
