//! Reading a configuration that was checked, under Packer's conversions.

use imgbuild_kinds::Dialect;
use imgbuild_model::{Location, Node, NodeData, Value};

use super::Holes;

/// The configuration of a component.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    node: &'a Node,
    holes: &'a Holes,
    dialect: Dialect,
}

impl<'a> Config<'a> {
    pub(super) fn new(node: &'a Node, holes: &'a Holes, dialect: Dialect) -> Self {
        Self { node, holes, dialect }
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

    /// A text that is not empty, as it is: for names, paths and words that are no part of what a step writes or says.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(plain).filter(|text| !text.is_empty())
    }

    /// A text that is not empty, with a mark in its place if it is sensitive.
    pub(super) fn hidden(&self, name: &str) -> Option<String> {
        let node = self.get(name)?;
        plain(node).filter(|text| !text.is_empty()).map(|text| self.holes.hide(&text, node.secret))
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

    /// A list of texts as they are; one text counts as a list of it, in templates in JSON as several with commas between.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.items(name).into_iter().map(|(text, _)| text).collect()
    }

    /// The same, with marks in place of what is sensitive.
    pub(super) fn hidden_texts(&self, name: &str) -> Vec<String> {
        self.items(name).into_iter().map(|(text, secret)| self.holes.hide(&text, secret)).collect()
    }

    /// The texts of a list, each with whether it is sensitive.
    fn items(&self, name: &str) -> Vec<(String, bool)> {
        match self.get(name) {
            Some(Node { data: NodeData::List(items), secret, .. }) => {
                items.iter().filter_map(|item| Some((plain(item)?, *secret || item.secret))).collect()
            }
            Some(node) => {
                let text = plain(node).unwrap_or_default();
                let parts: Vec<&str> = match self.dialect {
                    Dialect::Legacy => text.split(',').collect(),
                    Dialect::Hcl => vec![&text],
                };
                let parts = parts.into_iter().filter(|part| !part.is_empty());
                parts.map(|part| (part.to_owned(), node.secret)).collect()
            }
            None => Vec::new(),
        }
    }

    /// A list of lists of texts, with marks in place of what is sensitive.
    pub(super) fn rows(&self, name: &str) -> Option<Vec<Value>> {
        let NodeData::List(rows) = &self.get(name)?.data else { return None };
        let row = |row: &Node| {
            let NodeData::List(items) = &row.data else { return Value::list([]) };
            let secret = |item: &Node| row.secret || item.secret;
            let texts = items.iter().filter_map(|item| Some(self.holes.hide(&plain(item)?, secret(item))));
            Value::list(texts.map(|text| Value::string(&text)))
        };
        Some(rows.iter().map(row).collect())
    }

    /// A list of `KEY=value`, of which only the value may be a mark; `Err` is one that has no `=`.
    pub(super) fn assignments(&self, name: &str) -> Vec<Result<(String, String), String>> {
        let pair = |(text, secret): (String, bool)| match text.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), self.holes.hide(value, secret))),
            None => Err(if secret { "<sensitive>".to_owned() } else { text }),
        };
        self.items(name).into_iter().map(pair).collect()
    }

    pub(super) fn numbers(&self, name: &str) -> Vec<i64> {
        self.texts(name).iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// A map of texts as they are, in the order written.
    pub(super) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        self.entries(name).into_iter().map(|(name, text, _)| (name, text)).collect()
    }

    /// The same, with marks in place of what is sensitive.
    pub(super) fn hidden_pairs(&self, name: &str) -> Vec<(String, String)> {
        let entries = self.entries(name).into_iter();
        entries.map(|(name, text, secret)| (name, self.holes.hide(&text, secret))).collect()
    }

    fn entries(&self, name: &str) -> Vec<(String, String, bool)> {
        let Some(Node { data: NodeData::Object(fields), secret, .. }) = self.get(name) else {
            return Vec::new();
        };
        fields
            .iter()
            .filter_map(|field| {
                Some((field.name.to_string(), plain(&field.value)?, *secret || field.value.secret))
            })
            .collect()
    }

    /// Whether an attribute holds something sensitive.
    pub(super) fn is_secret(&self, name: &str) -> bool {
        self.get(name).is_some_and(|node| is_secret(node, self.holes))
    }

    /// A nested block, or an attribute that holds its object.
    pub(super) fn block(&self, name: &str) -> Option<Self> {
        let node = self.get(name)?;
        let node = match &node.data {
            NodeData::List(items) => items.first()?,
            _ => node,
        };
        Some(Self { node, ..*self })
    }
}

fn plain(node: &Node) -> Option<String> {
    match &node.data {
        NodeData::String(text) => Some(text.to_string()),
        NodeData::Number(number) => Some(number.to_string()),
        NodeData::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn is_secret(node: &Node, holes: &Holes) -> bool {
    node.secret
        || match &node.data {
            NodeData::String(text) => holes.is_sensitive(text),
            NodeData::List(items) => items.iter().any(|item| is_secret(item, holes)),
            NodeData::Object(fields) => fields.iter().any(|field| is_secret(&field.value, holes)),
            _ => false,
        }
}

fn unknown(node: &Node, found: &mut Vec<Location>) {
    match &node.data {
        NodeData::Unknown => found.push(node.location.clone()),
        NodeData::List(items) => items.iter().for_each(|item| unknown(item, found)),
        NodeData::Object(fields) => fields.iter().for_each(|field| unknown(&field.value, found)),
        _ => {}
    }
}
