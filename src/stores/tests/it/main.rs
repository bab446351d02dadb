//! Stores against real servers where there are any, and against one that answers as it is told.

mod aws;
mod consul;
mod http;
mod vault;

use std::path::Path;

use imgbuild_model::Secret;
use imgbuild_stores::{StoreError, Stores};

/// Stores in an environment of these variables.
fn stores(variables: &[(&str, &str)]) -> Stores {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Stores::new(variables.collect(), None)
}

/// Stores with a home.
fn stores_at(home: &Path, variables: &[(&str, &str)]) -> Stores {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Stores::new(variables.collect(), Some(home.to_owned()))
}

/// A value as it is, an error with its hint.
fn shown(answer: Result<Secret, StoreError>) -> String {
    match answer {
        Ok(value) => String::from_utf8(value.expose().to_vec()).unwrap(),
        Err(StoreError { reason, hint: None }) => format!("error: {reason}"),
        Err(StoreError { reason, hint: Some(hint) }) => format!("error: {reason}; hint: {hint}"),
    }
}
