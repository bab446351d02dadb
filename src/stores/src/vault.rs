//! Vault's secrets that are read by a path.

use std::borrow::Cow;

use imgbuild_model::Secret;
use reqwest::StatusCode;
use serde_json::{Map, Value};

use crate::environment::{Environment, file_of};
use crate::http::{Address, Answer, Tls, hidden, send};
use crate::{StoreError, type_name};

const DEFAULT: &str = "https://127.0.0.1:8200";

/// The fields of a secret, as a JSON object.
pub(crate) async fn read(environment: &Environment, path: &str) -> Result<Secret, StoreError> {
    let (variable, token) = token(environment)?;
    let address = Address::parse("VAULT_ADDR", environment.get("VAULT_ADDR").unwrap_or(DEFAULT))?;
    let tls = Tls {
        authority: environment.first(&["VAULT_CACERT"]),
        authorities: environment.first(&["VAULT_CAPATH"]),
        certificate: environment.first(&["VAULT_CLIENT_CERT"]),
        key: environment.first(&["VAULT_CLIENT_KEY"]),
        verify: !environment.flag("VAULT_SKIP_VERIFY")?.unwrap_or(false),
    };
    let mut request = address
        .client(environment, &tls)?
        .get(address.below(&["v1"], path)?)
        .header("X-Vault-Request", "true")
        .header("X-Vault-Token", hidden(variable, &token)?);
    if let Some(namespace) = environment.get("VAULT_NAMESPACE") {
        request = request.header("X-Vault-Namespace", hidden("VAULT_NAMESPACE", namespace)?);
    }
    let answer = send(request).await.map_err(|why| {
        let failed = StoreError::new(format!("`{}` cannot be asked: {why}", address.shown()));
        match environment.get("VAULT_ADDR") {
            _ if why.contains("certificate") => {
                failed.hint("set `VAULT_CACERT` to a file with the certificate of its authority")
            }
            Some(_) => failed.hint("check `VAULT_ADDR` and the network"),
            None => failed.hint("set `VAULT_ADDR` to the address of the server"),
        }
    })?;
    let said = reasons(&answer, &token);
    let data = data(answer.body);
    match (answer.status, data) {
        (StatusCode::OK, Some(data)) => Ok(Secret::new(Value::Object(data).to_string())),
        (StatusCode::OK, None) => {
            Err(StoreError::new(format!("what `{}` says of `{path}` is no secret", address.shown()))
                .hint("check `VAULT_ADDR` and the path"))
        }
        (StatusCode::NOT_FOUND, Some(data)) if data.contains_key("metadata") => {
            Err(StoreError::new(format!("the newest version of `{path}` was deleted")))
        }
        (StatusCode::NOT_FOUND, _) => Err(StoreError::new(format!("there is no secret at `{path}`"))
            .hint("with version 2 of the key-value store, `data/` stands behind the mount: `secret/data/…`")),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            Err(StoreError::new(format!("`{}` refuses to read `{path}`{said}", address.shown()))
                .hint(format!("the token in `{variable}` must be valid, and its policies must allow that")))
        }
        (status, _) => Err(StoreError::new(format!("`{}` answered {status}{said}", address.shown()))
            .hint("check `VAULT_ADDR`, and with `vault status` whether it is sealed")),
    }
}

/// A field of a secret.
pub(crate) fn field(fields: &Secret, path: &str, field: &str) -> Result<Secret, StoreError> {
    let fields: Map<String, Value> = serde_json::from_slice(fields.expose())
        .map_err(|_| StoreError::new(format!("what is at `{path}` is no secret")))?;
    match fields.get(field) {
        Some(Value::String(text)) => Ok(Secret::new(text.as_str())),
        Some(other) => {
            Err(StoreError::new(format!("`{field}` of `{path}` is {}, not a text", type_name(other))))
        }
        None => {
            // Names of fields are no secrets to who may read their values.
            let names: Vec<String> = fields.keys().map(|name| format!("`{name}`")).collect();
            let missing = StoreError::new(format!("the secret at `{path}` has no `{field}`"));
            Err(if names.is_empty() { missing } else { missing.hint(format!("it has {}", names.join(", "))) })
        }
    }
}

/// The token and where it is from: the variable, or what `vault login` wrote.
fn token(environment: &Environment) -> Result<(&'static str, Cow<'_, str>), StoreError> {
    if let Some((variable, token)) = environment.first(&["VAULT_TOKEN"]) {
        return Ok((variable, token.into()));
    }
    let file = environment.home().map(|home| home.join(".vault-token")).filter(|file| file.is_file());
    let token = match file {
        Some(file) => String::from_utf8_lossy(&file_of("HOME", &file)?).trim().to_owned(),
        None => String::new(),
    };
    if token.is_empty() {
        return Err(StoreError::new("there is no token")
            .hint("set `VAULT_TOKEN`, or log in by `vault login`, which writes `~/.vault-token`"));
    }
    Ok(("~/.vault-token", token.into()))
}

/// The fields in an answer: those of version 2 of the key-value store have versions around them.
fn data(body: Vec<u8>) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut answer)) = serde_json::from_slice(&body) else { return None };
    let Some(Value::Object(mut data)) = answer.remove("data") else { return None };
    match data.remove("data") {
        Some(Value::Object(fields)) => Some(fields),
        Some(other) => {
            data.insert("data".to_owned(), other);
            Some(data)
        }
        None => Some(data),
    }
}

/// What a server says of why it refuses.
fn reasons(answer: &Answer, token: &str) -> String {
    if answer.status.is_success() {
        return String::new();
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let reasons = body["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<&str> = reasons.flat_map(str::split_whitespace).collect();
    match words.as_slice() {
        [] => String::new(),
        words => format!(": {}", words.join(" ").replace(token, "<token>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_both_versions() {
        for (body, fields) in [
            (r#"{"data": {"data": {"a": "1"}, "metadata": {}}}"#, Some(r#"{"a":"1"}"#)),
            (r#"{"data": {"a": "1"}}"#, Some(r#"{"a":"1"}"#)),
            (r#"{"data": {"data": "text"}}"#, Some(r#"{"data":"text"}"#)),
            (r#"{"data": null}"#, None),
            ("{}", None),
            ("<html>", None),
        ] {
            let found = data(body.as_bytes().to_vec()).map(|fields| Value::Object(fields).to_string());
            assert_eq!(found.as_deref(), fields, "{body}");
        }
    }
}
