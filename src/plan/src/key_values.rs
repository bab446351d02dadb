//! Single values in keys: how one is hashed, and how it is shown in a few words.
//!
//! What is not here: files, layers and steps in values, which are components of their own ([`crate::key`]).

use std::sync::Arc;

use imgbuild_digest::{ContentHash as _, ContentHasher};
use imgbuild_model::{Default, Value};

/// Writes what [`hash_plain`] writes for the same value: written out or not, a default is one thing.
pub(crate) fn hash_default(default: Default, hasher: &mut ContentHasher) {
    match default {
        Default::Required | Default::None => hash_plain(&Value::None, hasher),
        Default::Bool(value) => hash_plain(&Value::Bool(value), hasher),
        Default::Int(number) => hash_plain(&Value::Int(number), hasher),
        Default::String(text) => hash_text(text, hasher),
        Default::Strings(words) => {
            hash_plain(&Value::list(words.iter().map(|word| Value::string(word))), hasher)
        }
        Default::EmptyList => hash_length(4, 0, hasher),
        Default::EmptyDict => hash_length(5, 0, hasher),
    }
}

pub(crate) fn shown_default(default: Default) -> Option<String> {
    match default {
        Default::Required | Default::None => None,
        Default::Bool(value) => shown(&Value::Bool(value)),
        Default::Int(number) => shown(&Value::Int(number)),
        Default::String(text) => shown(&Value::string(text)),
        Default::Strings(words) => shown(&Value::list(words.iter().map(|word| Value::string(word)))),
        Default::EmptyList => Some("[]".to_owned()),
        Default::EmptyDict => Some("{}".to_owned()),
    }
}

fn hash_text(text: &str, hasher: &mut ContentHasher) {
    hasher.write_tag(3);
    text.content_hash(hasher);
}

fn hash_length(tag: u8, length: usize, hasher: &mut ContentHasher) {
    hasher.write_tag(tag);
    hasher.write_u64(length as u64);
}

/// The entries of a map by key: in which order they were written means nothing.
pub(crate) fn by_key(entries: &[(Arc<str>, Value)]) -> Vec<&(Arc<str>, Value)> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    sorted
}

/// Writes a value that holds no file, layer or step.
pub(crate) fn hash_plain(value: &Value, hasher: &mut ContentHasher) {
    match value {
        Value::None => hasher.write_tag(0),
        Value::Bool(value) => {
            hasher.write_tag(1);
            value.content_hash(hasher);
        }
        Value::Int(number) => {
            hasher.write_tag(2);
            number.content_hash(hasher);
        }
        Value::String(text) => hash_text(text, hasher),
        Value::List(items) => {
            hash_length(4, items.len(), hasher);
            items.iter().for_each(|item| hash_plain(item, hasher));
        }
        Value::Dict(entries) | Value::Struct(entries) => {
            hash_length(5, entries.len(), hasher);
            for (key, value) in by_key(entries) {
                key.content_hash(hasher);
                hash_plain(value, hasher);
            }
        }
        // The rest is written as components of its own, by `encode_inputs`; here only its place counts.
        Value::Label(_)
        | Value::Artifact(_)
        | Value::Layer(_)
        | Value::Step(_)
        | Value::Source(_)
        | Value::Provider(_) => hasher.write_tag(6),
    }
}

/// A value in a few words.
pub(crate) fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::Bool(value) => (if *value { "True" } else { "False" }).to_owned(),
        Value::Int(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::List(items) => {
            let items: Option<Vec<_>> = items.iter().map(shown).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Dict(entries) => {
            let entries: Option<Vec<_>> =
                entries.iter().map(|(key, value)| Some(format!("{key:?}: {}", shown(value)?))).collect();
            format!("{{{}}}", entries?.join(", "))
        }
        _ => return None,
    };
    Some(if text.chars().count() > 200 { text.chars().take(199).chain(['…']).collect() } else { text })
}
