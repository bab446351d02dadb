//! Stores of secrets and settings that a template reads texts from: Consul, Vault, AWS Secrets Manager.
//!
//! [`Stores`] asks them as their own clients do: by the variables of an environment that the caller gives. Equal
//! questions are asked once. What is not here: which function of which language asks, and who may see the answer.

mod aws;
mod consul;
mod environment;
mod http;
#[cfg(feature = "test-support")]
pub mod test_support;
mod vault;

use std::collections::BTreeMap;
use std::path::PathBuf;

use imgbuild_model::Secret;
use serde_json::Value;
use tokio::sync::Mutex;

use environment::Environment;

/// Why a store gave no value. Neither says a token, a password or a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StoreError {
    /// Why, in one sentence.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl StoreError {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// What is asked of a server: all that it has under one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    /// The value of a key.
    Consul(String),
    /// The fields of a secret, as a JSON object.
    Vault(String),
    /// The text of a secret.
    Aws(String),
}

/// The stores that an environment names. Each question is asked once, and its answer kept, also that there is none: two
/// fields of one secret are of the same version of it.
#[derive(Debug)]
pub struct Stores {
    environment: Environment,
    answers: Mutex<BTreeMap<Question, Result<Secret, StoreError>>>,
}

impl Stores {
    /// The stores that these variables name; the tokens and certificates that are files may be in a home.
    #[must_use]
    pub fn new(environment: BTreeMap<String, String>, home: Option<PathBuf>) -> Self {
        Self { environment: Environment::new(environment, home), answers: Mutex::default() }
    }

    /// The value of a key of Consul, which is no empty text.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn consul_key(&self, key: &str) -> Result<Secret, StoreError> {
        self.ask(Question::Consul(key.to_owned())).await
    }

    /// A field of a secret of Vault's key-value store, of version 2 or else 1, or of any other secret that is read by a
    /// path.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn vault(&self, path: &str, field: &str) -> Result<Secret, StoreError> {
        let fields = self.ask(Question::Vault(path.to_owned())).await?;
        vault::field(&fields, path, field)
    }

    /// A field of a secret of AWS Secrets Manager that is a JSON object, the only one if none is named, or the text of one
    /// that is none.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn aws_secret(&self, name: &str, field: Option<&str>) -> Result<Secret, StoreError> {
        let text = self.ask(Question::Aws(name.to_owned())).await?;
        aws::field(text, name, field)
    }

    /// The text of a secret of AWS Secrets Manager.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn aws_secret_text(&self, name: &str) -> Result<Secret, StoreError> {
        self.ask(Question::Aws(name.to_owned())).await
    }

    async fn ask(&self, question: Question) -> Result<Secret, StoreError> {
        let mut answers = self.answers.lock().await;
        if let Some(answer) = answers.get(&question) {
            return answer.clone();
        }
        let answer = match &question {
            Question::Consul(key) => consul::read(&self.environment, key).await,
            Question::Vault(path) => vault::read(&self.environment, path).await,
            Question::Aws(name) => aws::read(&self.environment, name).await,
        };
        answers.insert(question, answer.clone());
        answer
    }
}

/// What a JSON value is, as a person calls it. It may be secret and is not shown.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
