//! The variables that clients of stores are set up by.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Variables and a home. Values may be secret.
#[derive(Clone)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

impl Environment {
    pub(crate) fn new(variables: BTreeMap<String, String>, home: Option<PathBuf>) -> Self {
        Self { variables, home }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The first of these that is set and not empty, with its name.
    pub(crate) fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str)> {
        names.iter().find_map(|name| self.get(name).map(|value| (*name, value)))
    }

    /// A variable that says yes or no, in the words that Go takes for that.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, StoreError> {
        match self.get(name) {
            None => Ok(None),
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(Some(false)),
            Some(_) => Err(StoreError::new(format!("`{name}` is neither true nor false"))
                .hint("write `true` or `false`")),
        }
    }

    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// All variables.
    pub(crate) fn variables(&self) -> HashMap<String, String> {
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("home", &self.home).finish_non_exhaustive()
    }
}

/// The content of a file that a variable names.
pub(crate) fn file_of(variable: &str, path: &Path) -> Result<Vec<u8>, StoreError> {
    fs_err::read(path).map_err(|error| {
        StoreError::new(format!("cannot read the file that `{variable}` names: {error}"))
            .hint(format!("let `{variable}` name a file that can be read"))
    })
}
