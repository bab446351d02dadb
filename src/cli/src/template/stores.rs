//! The stores that functions of templates ask, in HCL and in JSON: one set of answers for a run.
//!
//! What Vault and AWS Secrets Manager tell is sensitive, wherever a template uses it. What Consul tells are settings. Secrets
//! that data sources tell are noted here too.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use imgbuild_model::Secret;
use imgbuild_packer_functions::{SecretError, SecretRequest, Stores as Asked};
use imgbuild_stores::{StoreError, Stores};

use imgbuild_packer::load::spellings;

/// Asks the stores that an environment names, each question once.
#[derive(Debug)]
pub(crate) struct RunStores {
    stores: Stores,
    /// What is sensitive of what they told.
    told: Mutex<Vec<Secret>>,
}

impl RunStores {
    /// Those that these variables name.
    pub(crate) fn new(environment: BTreeMap<String, String>, home: Option<PathBuf>) -> Self {
        Self { stores: Stores::new(environment, home), told: Mutex::default() }
    }

    /// Notes a secret that another told.
    pub(crate) fn note(&self, secret: Secret) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(secret);
    }

    /// The sensitive texts that they told so far.
    pub(crate) fn sensitive(&self) -> Vec<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = told.iter().flat_map(|secret| parts(&String::from_utf8_lossy(secret.expose())));
        let mut texts: Vec<String> = texts.flat_map(|text| spellings(&text)).collect();
        texts.sort();
        texts.dedup();
        texts
    }
}

impl Asked for RunStores {
    fn secret(&self, request: &SecretRequest) -> Result<String, SecretError> {
        let stores = &self.stores;
        let secret = wait(async move {
            match request {
                SecretRequest::Consul { key } => stores.consul_key(key).await,
                SecretRequest::Vault { path, key } => stores.vault(path, key).await,
                SecretRequest::Aws { name, key } => stores.aws_secret(name, key.as_deref()).await,
                SecretRequest::AwsRaw { name } => stores.aws_secret_text(name).await,
            }
        })?;
        let text =
            String::from_utf8(secret.expose().to_vec()).map_err(|_| failed("the value is not UTF-8"))?;
        if !matches!(request, SecretRequest::Consul { .. }) {
            self.note(secret);
        }
        Ok(text)
    }
}

/// Waits for an answer on a thread of its own, since a function may be called by what a runtime runs.
fn wait(asked: impl Future<Output = Result<Secret, StoreError>> + Send) -> Result<Secret, SecretError> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&format!("cannot start threads: {error}")))?;
        let StoreError { reason, hint } = match runtime.block_on(asked) {
            Ok(secret) => return Ok(secret),
            Err(error) => error,
        };
        Err(SecretError::Failed { reason, hint })
    };
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn failed(reason: &str) -> SecretError {
    SecretError::Failed { reason: reason.to_owned(), hint: None }
}

/// A text, and the texts in it if it is JSON: templates take those out.
fn parts(text: &str) -> Vec<String> {
    fn collect(value: serde_json::Value, texts: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) => texts.push(text),
            serde_json::Value::Array(values) => values.into_iter().for_each(|value| collect(value, texts)),
            serde_json::Value::Object(fields) => {
                fields.into_iter().for_each(|(_, value)| collect(value, texts));
            }
            _ => {}
        }
    }
    let mut texts = vec![text.to_owned()];
    if let Ok(value) = serde_json::from_str(text) {
        collect(value, &mut texts);
    }
    texts.retain(|text| !text.is_empty());
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_json_are_sensitive_too() {
        assert_eq!(parts("plain"), ["plain"]);
        let text = r#"{"user": "ada", "port": 5432, "keys": ["k1", ""]}"#;
        assert_eq!(parts(text), [text, "ada", "k1"]);
    }

    #[test]
    fn a_runtime_can_be_there_already() {
        let stores = RunStores::new(BTreeMap::new(), None);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let request = SecretRequest::Vault { path: "a".to_owned(), key: "b".to_owned() };
        let asked = runtime.block_on(async { stores.secret(&request) });
        assert_eq!(asked.unwrap_err().to_string(), "there is no token");
        assert_eq!(stores.sensitive(), Vec::<String>::new());
    }
}
