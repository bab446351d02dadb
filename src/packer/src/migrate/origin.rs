//! From attributes of steps back to what was written in the template.

use imgbuild_model::{Field, Location, Node, NodeData};

use super::comments::Pending;

/// What an attribute comes from: its names in the template, if they are not its own.
fn names(attribute: &str) -> &'static [&'static str] {
    match attribute {
        "inline" => &["inline", "inline_shebang", "command"],
        "script" => &["script", "scripts"],
        "env" => &["environment_vars", "env"],
        "execute_command" => &["execute_command", "use_env_var_file"],
        "unix_line_ends" => &["binary"],
        "src" => &["source", "sources", "base_tarball"],
        "generated" => &["source", "sources", "generated"],
        "dest" => &["destination"],
        "image" => &["base_image"],
        "layout" => &["base_layout"],
        "ref" => &["image_name"],
        _ => &[],
    }
}

/// A body of the template.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) node: &'a Node,
    pub(super) pending: &'a Pending<'a>,
}

impl<'a> Origin<'a> {
    /// The entry of that name.
    pub(super) fn field(self, name: &str) -> Option<&'a Field> {
        let NodeData::Object(fields) = &self.node.data else { return None };
        fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name) && field.value.data != NodeData::Null)
    }

    /// The entries that an attribute comes from.
    fn fields(self, attribute: &str) -> Vec<&'a Field> {
        let others = names(attribute);
        let own = if others.is_empty() { self.field(attribute) } else { None };
        own.into_iter().chain(others.iter().filter_map(|name| self.field(name))).collect()
    }

    /// Where an attribute was written, or else the body.
    pub(super) fn place(self, attribute: &str) -> Location {
        self.fields(attribute)
            .first()
            .map_or_else(|| self.node.location.clone(), |field| field.location.clone())
    }

    /// Where an element of it was written: by its place from the end, as the front may have grown.
    pub(super) fn element(self, attribute: &str, from_end: usize) -> Option<Location> {
        let elements = self.elements(attribute);
        let place = elements.len().checked_sub(from_end)?;
        elements.get(place).map(|node| node.location.clone())
    }

    /// Its elements, or itself.
    pub(super) fn elements(self, attribute: &str) -> Vec<&'a Node> {
        let of = |field: &'a Field| match &field.value.data {
            NodeData::List(items) => items.iter().collect(),
            NodeData::String(_) => vec![&field.value],
            _ => Vec::new(),
        };
        self.fields(attribute).into_iter().flat_map(of).collect()
    }

    /// Where an entry of a map was written, also in a list of `KEY=value`.
    pub(super) fn entry(self, attribute: &str, key: &str) -> Option<Location> {
        self.fields(attribute).into_iter().find_map(|field| match &field.value.data {
            NodeData::Object(fields) => {
                fields.iter().find(|entry| &*entry.name == key).map(|entry| entry.location.clone())
            }
            NodeData::List(items) => {
                let is = |node: &&Node| match &node.data {
                    NodeData::String(text) => {
                        text.strip_prefix(key).is_some_and(|rest| rest.starts_with('='))
                    }
                    _ => false,
                };
                items.iter().find(is).map(|node| node.location.clone())
            }
            _ => None,
        })
    }

    /// The comments at an attribute.
    pub(super) fn comments(self, attribute: &str) -> Vec<String> {
        self.fields(attribute).iter().flat_map(|field| self.pending.at(&field.location)).collect()
    }

    /// The body of a nested block, or of an attribute that holds its object.
    pub(super) fn block(self, name: &str) -> Option<Self> {
        let field = self.field(name)?;
        let node = match &field.value.data {
            NodeData::List(items) => items.first()?,
            _ => &field.value,
        };
        Some(Self { node, ..self })
    }
}
