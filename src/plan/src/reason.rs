//! Why an action runs, as data.

use std::fmt;

use serde::Serialize;

use crate::{Component, Fingerprint};

/// Why an action runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// Nothing like it was ever built here.
    NeverBuilt,
    /// Its target was built without it, or without anything like it.
    New,
    /// These of its inputs are others than the last time.
    Changed {
        /// Which, from what, to what.
        changes: Vec<Change>,
    },
    /// What it stands on, or an input of it, runs; it may still turn out that it need not.
    Below {
        /// The action that runs, in a few words.
        action: String,
    },
    /// Its result is never kept.
    Impure {
        /// Why.
        why: String,
    },
    /// It was built, but something of its result is gone.
    Incomplete {
        /// What.
        missing: String,
    },
    /// It was asked for.
    Forced,
    /// It was built, and its machine went on with the next step instead of being kept.
    NotKept {
        /// Why.
        why: String,
    },
    /// Its key was built before, for a place that it had then, and the result was dropped from the cache.
    Dropped,
}

/// One component that is another than it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which, as the table of keys names it.
    pub component: String,
    /// What it was; absent if it was not there or may not be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is; absent if it is not there any more or may not be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether it is new, gone, or another.
    pub kind: ChangeKind,
}

/// What happened to a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// Its value is another.
    Changed,
}

/// The components in which two fingerprints differ, in the order of the newer one, removed ones last.
#[must_use]
pub fn changes(old: &Fingerprint, new: &Fingerprint) -> Vec<Change> {
    let find = |fingerprint: &Fingerprint, component: &Component, nth: usize| {
        fingerprint.0.iter().filter(|other| other.name == component.name).nth(nth).cloned()
    };
    let mut found = Vec::new();
    for (place, component) in new.0.iter().enumerate() {
        let nth = new.0[..place].iter().filter(|other| other.name == component.name).count();
        match find(old, component, nth) {
            None => found.push(Change {
                component: component.name.clone(),
                from: None,
                to: component.shown.clone(),
                kind: ChangeKind::Added,
            }),
            Some(before) if before.hash != component.hash => found.push(Change {
                component: component.name.clone(),
                from: before.shown,
                to: component.shown.clone(),
                kind: ChangeKind::Changed,
            }),
            Some(_) => {}
        }
    }
    for (place, component) in old.0.iter().enumerate() {
        let nth = old.0[..place].iter().filter(|other| other.name == component.name).count();
        if find(new, component, nth).is_none() {
            found.push(Change {
                component: component.name.clone(),
                from: component.shown.clone(),
                to: None,
                kind: ChangeKind::Removed,
            });
        }
    }
    found
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let component = &self.component;
        match (self.kind, &self.from, &self.to) {
            (ChangeKind::Added, _, Some(to)) => write!(f, "{component} is new: {to}"),
            (ChangeKind::Added, _, None) => write!(f, "{component} is new"),
            (ChangeKind::Removed, Some(from), _) => write!(f, "{component} is gone: {from}"),
            (ChangeKind::Removed, None, _) => write!(f, "{component} is gone"),
            (ChangeKind::Changed, Some(from), Some(to)) => {
                write!(f, "{component} changed from {from} to {to}")
            }
            (ChangeKind::Changed, _, _) => write!(f, "{component} changed"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverBuilt => f.write_str("it was never built"),
            Self::New => f.write_str("it is new in its target"),
            Self::Changed { changes } => match changes.as_slice() {
                [] => f.write_str("its inputs changed"),
                [change] => write!(f, "{change}"),
                [change, rest @ ..] => write!(f, "{change}, and {} more", rest.len()),
            },
            Self::Below { action } => write!(f, "`{action}` runs before it"),
            Self::Impure { why } => write!(f, "{why}"),
            Self::Incomplete { missing } => write!(f, "its result is incomplete: {missing}"),
            Self::Forced => f.write_str("it was asked for"),
            Self::NotKept { why } => write!(f, "its machine was not kept: {why}"),
            Self::Dropped => f.write_str("its result was dropped from the cache"),
        }
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_digest::Hash;

    use super::*;

    fn component(name: &str, value: &str) -> Component {
        Component { name: name.to_owned(), hash: Hash::of(value.as_bytes()), shown: Some(value.to_owned()) }
    }

    #[test]
    fn what_moved_is_named_with_both_values() {
        let old =
            Fingerprint(vec![component("kind", "shell/1"), component("env A", "1"), component("user", "x")]);
        let new =
            Fingerprint(vec![component("kind", "shell/1"), component("env A", "2"), component("env B", "3")]);
        let texts: Vec<String> = changes(&old, &new).iter().map(Change::to_string).collect();
        assert_eq!(texts, ["env A changed from 1 to 2", "env B is new: 3", "user is gone: x"]);
    }

    #[test]
    fn equal_fingerprints_differ_in_nothing() {
        let one = Fingerprint(vec![component("input srcs a", "1"), component("input srcs a", "2")]);
        assert!(changes(&one, &one.clone()).is_empty());
    }
}
