//! Data sources: what a template reads from elsewhere before it is evaluated.
//!
//! A [`DataSource`] gets its evaluated attributes as a JSON object and gives its outputs as one. What is not here: when it
//! is asked (load and resolve alternate, the caller's matter), what is remembered of the answer, and the schema of the
//! attributes, which has been checked before.

mod external;
mod http;
mod null;

use async_trait::async_trait;
use imgbuild_model::{Class, Diagnostic};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use external::{External, ExternalRaw};
pub use http::{Http, HttpLimits};
pub use null::Null;

/// Attributes or outputs by name.
pub type Fields = Map<String, Value>;

/// What an output is to keys and lock files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// An identity that a mutable name was resolved to: it may stand in a lock file.
    Pin,
    /// A value that is asked for in every run, and that is hashed wherever it is used.
    Follow,
    /// A value that stands in no lock, plan, key or log.
    Secret,
}

/// One output of a data source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputSchema {
    /// Its name in `data.<type>.<name>.<output>`.
    pub name: &'static str,
    /// Its type.
    pub of: OutputType,
    /// What it is to keys and lock files.
    pub kind: OutputKind,
    /// What it says.
    pub doc: &'static str,
}

/// The types that outputs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputType {
    /// A text.
    String,
    /// Texts by name.
    StringMap,
}

/// What a data source gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Every output of the schema.
    pub values: Fields,
    /// What the user should know.
    pub warnings: Vec<Diagnostic>,
}

/// One type of data source.
#[async_trait]
pub trait DataSource: Send + Sync {
    /// The type that templates name, for example `http`.
    fn kind(&self) -> &'static str;

    /// Its outputs.
    fn outputs(&self) -> &'static [OutputSchema];

    /// Reads it. Dropped before its end, nothing of it goes on.
    ///
    /// # Errors
    ///
    /// What the user must know, without the values of attributes that may be secret.
    async fn read(&self, input: &Fields) -> Result<Output, Diagnostic>;
}

/// The attributes as a type. An attribute that is null is one that is not given.
fn settings<T: DeserializeOwned>(kind: &str, input: &Fields) -> Result<T, Diagnostic> {
    let given = input.iter().filter(|(_, value)| !value.is_null());
    let given = Value::Object(given.map(|(name, value)| (name.clone(), value.clone())).collect());
    // The schema has been checked before, so this is not the user's doing.
    serde_json::from_value(given).map_err(|error| {
        Diagnostic::error(format!("the attributes of the data source `{kind}` do not fit: {error}"))
            .class(Class::Bug)
    })
}

/// Values of the outputs by name.
fn fields<const N: usize>(values: [(&str, Value); N]) -> Fields {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
