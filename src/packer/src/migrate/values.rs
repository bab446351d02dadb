//! Values of attributes as Starlark, and what must not or cannot be written as one.

use std::sync::Arc;

use imgbuild_model::{Artifact, AttributeType, Diagnostic, Location, Value};

use super::document::{Call, Expr, Item};
use super::origin::Origin;
use crate::lower::{Holes, Mark};

/// What values are written with.
pub(super) struct Values<'a> {
    /// The workspace's root, absolute.
    pub(super) workspace: &'a str,
    /// The folder of the package, absolute.
    pub(super) folder: String,
    /// The target.
    pub(super) target: &'a str,
    /// What could not be carried over.
    pub(super) left: &'a mut Vec<Diagnostic>,
}

/// An attribute that is written.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) type_: Option<AttributeType>,
    pub(super) value: &'a Value,
    pub(super) origin: Origin<'a>,
}

impl Values<'_> {
    pub(super) fn warn(&mut self, message: String, place: &Location, hint: &str) {
        self.left.push(Diagnostic::warning(message).at(place.clone()).hint(hint));
    }

    /// A text, or a hole that fails with what is to be filled in.
    pub(super) fn text(&mut self, text: &str, what: &str, place: &Location) -> Item {
        let (reason, comment) = match Holes::mark_in(text) {
            None => return Expr::text(text).into(),
            Some(Mark::Sensitive) => ("sensitive", "# Sensitive in the template, so it is not written here."),
            Some(Mark::Volatile) => ("another in each run", "# Another in each run of the template."),
        };
        let message = format!("`{what}` of `{}` is {reason}: it is not carried over", self.target);
        self.warn(message, place, "fill in what stands as `fail(…)` in its place");
        let mut call = Call::new("fail");
        call.given(Expr::text(format!(
            "fill in `{what}` of `{}`: in the template it is {reason}",
            self.target
        )));
        Item { comments: vec![comment.to_owned()], value: Expr::Call(call) }
    }

    /// A value with the comments of its elements.
    pub(super) fn value(&mut self, attribute: Attribute<'_>) -> Item {
        let Attribute { name, type_, value, origin } = attribute;
        match (value, type_) {
            (Value::Int(seconds), Some(AttributeType::Duration)) => Expr::text(duration(*seconds)).into(),
            (Value::Int(milliseconds), Some(AttributeType::GoDuration)) if milliseconds % 1000 == 0 => {
                Expr::text(duration(milliseconds / 1000)).into()
            }
            (Value::Bool(value), _) => Expr::Word(if *value { "True" } else { "False" }.to_owned()).into(),
            (Value::Int(number), _) => Expr::Word(number.to_string()).into(),
            (Value::String(text), _) => self.text(text, name, &origin.place(name)),
            (Value::List(items), Some(AttributeType::Files)) => match &**items {
                [Value::Artifact(artifact)] => self.file(artifact, &origin.place(name)),
                items => self.list(items, name, origin),
            },
            (Value::List(items), _) => self.list(items, name, origin),
            (Value::Dict(entries), _) => {
                let entries = self.entries(entries, name, origin);
                Expr::Dict(entries).into()
            }
            (Value::Artifact(artifact), _) => self.file(artifact, &origin.place(name)),
            // Nothing else comes out of a template.
            _ => Expr::Word("None".to_owned()).into(),
        }
    }

    fn list(&mut self, items: &[Value], name: &str, origin: Origin<'_>) -> Item {
        let mut written = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = origin.element(name, items.len() - index);
            let comments = place.as_ref().map(|place| origin.pending.at(place)).unwrap_or_default();
            let place = place.unwrap_or_else(|| origin.place(name));
            let item = match item {
                Value::String(text) => self.text(text, name, &place),
                Value::Artifact(artifact) => self.file(artifact, &place),
                Value::Int(number) => Expr::Word(number.to_string()).into(),
                _ => continue,
            };
            written.push(Item { comments: [comments, item.comments].concat(), value: item.value });
        }
        Expr::List(written).into()
    }

    /// The entries of a map.
    pub(super) fn entries(
        &mut self,
        entries: &[(Arc<str>, Value)],
        name: &str,
        origin: Origin<'_>,
    ) -> Vec<(String, Item)> {
        let mut written = Vec::new();
        for (key, value) in entries {
            let place = origin.entry(name, key);
            let comments = place.as_ref().map(|place| origin.pending.at(place)).unwrap_or_default();
            let place = place.unwrap_or_else(|| origin.place(name));
            let item = self.text(value.as_str().unwrap_or_default(), key, &place);
            written.push((
                key.to_string(),
                Item { comments: [comments, item.comments].concat(), value: item.value },
            ));
        }
        written
    }

    /// A file as a label.
    fn file(&mut self, artifact: &Artifact, place: &Location) -> Item {
        let path = match artifact {
            Artifact::Source(file) => format!("/{}", file.path.as_str()),
            Artifact::Output { name, .. } => name.to_string(),
        };
        if let Some(below) = below(&self.folder, &path).filter(|below| !below.is_empty()) {
            return Expr::text(below).into();
        }
        let name = artifact.base_name();
        let message = format!("`{path}` is outside of the package's folder");
        self.warn(message, place, &format!("copy it there, as `{name}`: its key is the same"));
        Item { comments: vec![format!("# Copy {path} here.")], value: Expr::text(name) }
    }

    /// A path of the host where those below the workspace's root are relative; whether it is.
    pub(super) fn below_root(&self, path: &str) -> Option<String> {
        let relative = below(self.workspace, path)?;
        Some(if path.ends_with('/') && !relative.is_empty() { format!("{relative}/") } else { relative })
    }
}

/// The path below a folder; both are absolute and clean.
fn below(folder: &str, path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    match folder.trim_end_matches('/') {
        folder if folder == path => Some(String::new()),
        folder => path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned),
    }
}

/// A duration as people write it.
fn duration(seconds: i64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: String = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [(0, "0s"), (5, "5s"), (90, "1m30s"), (3600, "1h"), (7265, "2h1m5s")] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn paths_below_a_folder() {
        for (folder, path, expected) in [
            ("/w", "/w/a/b", Some("a/b")),
            ("/w/", "/w", Some("")),
            ("/w", "/wa/b", None),
            ("/", "/a", Some("a")),
            ("/w", "/v/a", None),
        ] {
            assert_eq!(below(folder, path).as_deref(), expected, "{path} below {folder}");
        }
    }
}
