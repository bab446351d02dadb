//! Texts that must not be in keys, plans and logs, and those that are another in each run: actions hold a mark in their
//! place, and get the text when they run.
//!
//! The mark of a sensitive text is a keyed hash of it, so that another text moves the key of a step, and nobody without
//! the hash's key can try texts against the mark. The mark of a volatile text is its name: it moves nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use imgbuild_model::Secret;

/// How marks begin and end. No text of a template looks so by accident.
const OPEN: &str = "\u{27e8}";
const CLOSE: &str = "\u{27e9}";

/// Fewer bytes than these are not looked for in texts: they are in too many by accident.
const SHORTEST: usize = imgbuild_model::SHORTEST_SECRET;

/// A text in place of which there is a mark.
#[derive(Clone)]
pub struct Hole {
    /// The mark.
    pub mark: String,
    /// The text.
    pub text: Secret,
}

/// A text that is another in each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatile {
    /// The run's id.
    RunUuid,
}

impl Volatile {
    /// Its mark.
    #[must_use]
    pub fn mark(self) -> String {
        let name = match self {
            Self::RunUuid => "run",
        };
        format!("{OPEN}volatile:{name}{CLOSE}")
    }
}

/// What a mark in a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A sensitive text.
    Sensitive,
    /// A text that is another in each run.
    Volatile,
}

/// The holes of a run.
pub struct Holes {
    key: [u8; 32],
    sensitive: Option<AhoCorasick>,
    made: Mutex<BTreeMap<String, Secret>>,
}

impl Holes {
    /// Holes for texts that hold one of `sensitive`, hashed under a key that is kept on this machine, or by a team.
    #[must_use]
    pub fn new<'s>(key: [u8; 32], sensitive: impl IntoIterator<Item = &'s str>) -> Self {
        let texts: Vec<&str> = sensitive.into_iter().filter(|text| text.len() >= SHORTEST).collect();
        let sensitive = if texts.is_empty() { None } else { AhoCorasick::new(texts).ok() };
        Self { key, sensitive, made: Mutex::default() }
    }

    /// Gives a volatile text its value in this run.
    pub fn define(&self, volatile: Volatile, text: &str) {
        self.made().insert(volatile.mark(), Secret::new(text.as_bytes().to_vec()));
    }

    /// Whether a text holds a sensitive one.
    #[must_use]
    pub fn is_sensitive(&self, text: &str) -> bool {
        self.sensitive.as_ref().is_some_and(|finder| finder.is_match(text))
    }

    /// A text as an action may hold it: itself, or a mark if it is a secret or holds one.
    #[must_use]
    pub fn hide(&self, text: &str, secret: bool) -> String {
        if text.is_empty() || !(secret || self.is_sensitive(text)) {
            return text.to_owned();
        }
        let hash = blake3::keyed_hash(&self.key, text.as_bytes()).to_hex();
        let mark = format!("{OPEN}secret:{}{CLOSE}", &hash[..32]);
        self.made().insert(mark.clone(), Secret::new(text.as_bytes().to_vec()));
        mark
    }

    /// What an action's text stands for, if it is not only itself.
    #[must_use]
    pub fn mark_in(text: &str) -> Option<Mark> {
        let after = &text[text.find(OPEN)? + OPEN.len()..];
        let (name, _) = after.split_once(CLOSE)?;
        match name.split_once(':')? {
            ("secret", _) => Some(Mark::Sensitive),
            ("volatile", _) => Some(Mark::Volatile),
            _ => None,
        }
    }

    /// All that were made.
    #[must_use]
    pub fn all(&self) -> Vec<Hole> {
        let made = self.made();
        made.iter().map(|(mark, text)| Hole { mark: mark.clone(), text: text.clone() }).collect()
    }

    fn made(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Secret>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_secret_is_hidden_and_nothing_else() {
        let holes = Holes::new([1; 32], ["hunter2", "x"]);
        assert_eq!(holes.hide("echo x", false), "echo x");
        let mark = holes.hide("login -p hunter2", false);
        assert!(mark.starts_with("⟨secret:") && !mark.contains("hunter2"), "{mark}");
        assert_eq!(holes.hide("login -p hunter2", false), mark);
        assert_eq!(Holes::mark_in(&mark), Some(Mark::Sensitive));
        assert_eq!(Holes::mark_in(&format!("id {}", Volatile::RunUuid.mark())), Some(Mark::Volatile));
        assert_eq!(Holes::mark_in("⟨secret⟩ ⟨"), None);
        assert_ne!(holes.hide("login -p hunter2 -v", false), mark);
        assert_ne!(holes.hide("anything", true), "anything");
        assert_eq!(holes.hide("", true), "");
        assert_eq!(holes.all().len(), 3);
    }

    #[test]
    fn a_mark_depends_on_the_key() {
        let mark = |key| Holes::new([key; 32], []).hide("text", true);
        assert_ne!(mark(1), mark(2));
    }
}
