//! AWS Secrets Manager.
//!
//! Region, credentials and addresses are those of AWS's own tools: variables, profiles, single sign-on, a process, the
//! machine's role. Requests go through the same HTTP as everything else here.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata as _, SdkError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use imgbuild_model::Secret;
use reqwest::redirect::Policy;
use serde_json::{Map, Number, Value};

use crate::environment::Environment;
use crate::http::{builder, cause, setup};
use crate::{StoreError, type_name};

/// How long a question may take, with all its tries.
const TOTAL: Duration = Duration::from_secs(60);

/// The text of a secret.
pub(crate) async fn read(environment: &Environment, name: &str) -> Result<Secret, StoreError> {
    // Made once here, so that what is wrong with proxies is said and not met later.
    let usual = client(environment, None, None)?;
    let own = environment.clone();
    let http = http_client_fn(move |settings, _| {
        let client = client(&own, settings.connect_timeout(), settings.read_timeout());
        SharedHttpConnector::new(Connector(client.unwrap_or_else(|_| usual.clone())))
    });
    let config = aws_config::defaults(BehaviorVersion::latest())
        .env(environment.variables().into())
        .http_client(http)
        .retry_config(RetryConfig::standard())
        .timeout_config(TimeoutConfig::builder().operation_timeout(TOTAL).build())
        .load()
        .await;
    let Some(region) = config.region() else {
        return Err(StoreError::new("there is no region")
            .hint("set `AWS_REGION`, or `region` in the profile that `AWS_PROFILE` names"));
    };
    if let Some(credentials) = config.credentials_provider()
        && let Err(error) = credentials.provide_credentials().await
    {
        return Err(StoreError::new(format!("there are no credentials: {}", cause(&error))).hint(
            "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or name a profile by `AWS_PROFILE`",
        ));
    }
    let asked = Client::new(&config).get_secret_value().secret_id(name).version_stage("AWSCURRENT");
    let answer = asked.send().await.map_err(|error| match &error {
        SdkError::ServiceError(refused) if refused.err().is_resource_not_found_exception() => {
            StoreError::new(format!("there is no secret `{name}` in `{region}`"))
                .hint("`AWS_REGION` and `AWS_PROFILE` decide where it is looked for")
        }
        SdkError::ServiceError(refused) => {
            let code = refused.err().code().unwrap_or("an error without a code");
            let message = refused.err().message().unwrap_or_default();
            let said = if message.is_empty() { String::new() } else { format!(": {message}") };
            StoreError::new(format!("`{name}` is refused with {code}{said}"))
                .hint("the credentials must be valid, and allow `secretsmanager:GetSecretValue` on it")
        }
        _ => StoreError::new(format!("it cannot be asked in `{region}`: {}", cause(&error)))
            .hint("check `AWS_REGION`, `AWS_ENDPOINT_URL` and the network"),
    })?;
    match answer.secret_string {
        Some(text) => Ok(Secret::new(text)),
        None => Err(StoreError::new(format!("the secret `{name}` is no text"))),
    }
}

/// A field of a secret that is a JSON object. Any other is given as it is, as Packer does with texts that are no JSON.
pub(crate) fn field(text: Secret, name: &str, field: Option<&str>) -> Result<Secret, StoreError> {
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(text.expose()) else { return Ok(text) };
    let names = || fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let (field, value) = match field {
        Some(field) => match fields.get(field) {
            Some(value) => (field, value),
            None => {
                return Err(StoreError::new(format!("the secret `{name}` has no `{field}`")).hint(format!(
                    "it has {}",
                    if fields.is_empty() { "no field".to_owned() } else { names() }
                )));
            }
        },
        None => match fields.iter().next() {
            Some((field, value)) if fields.len() == 1 => (field.as_str(), value),
            Some(_) => {
                return Err(StoreError::new(format!("the secret `{name}` has {} fields", fields.len()))
                    .hint(format!("name one of {} as the second argument", names())));
            }
            None => return Err(StoreError::new(format!("the secret `{name}` has no field"))),
        },
    };
    match value {
        Value::String(value) => Ok(Secret::new(value.as_str())),
        Value::Number(number) => Ok(Secret::new(written(number))),
        other => Err(StoreError::new(format!(
            "`{field}` of the secret `{name}` is {}, neither a text nor a number",
            type_name(other)
        ))),
    }
}

/// A number without an exponent.
fn written(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float.to_string(),
        _ => number.to_string(),
    }
}

fn client(
    environment: &Environment,
    connect: Option<Duration>,
    read: Option<Duration>,
) -> Result<reqwest::Client, StoreError> {
    let mut builder = builder(environment)?.redirect(Policy::none());
    if let Some(connect) = connect {
        builder = builder.connect_timeout(connect);
    }
    if let Some(read) = read {
        builder = builder.read_timeout(read);
    }
    builder.build().map_err(|error| setup(&error))
}

/// Carries the requests of AWS's client.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move { call(&client, request).await })
    }
}

async fn call(client: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let failed = |error: reqwest::Error| match (error.is_timeout(), error.is_connect()) {
        (true, _) => ConnectorError::timeout(error.into()),
        (_, true) => ConnectorError::io(error.into()).never_connected(),
        _ => ConnectorError::io(error.into()),
    };
    let (parts, body) =
        request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?.into_parts();
    let url = reqwest::Url::parse(&parts.uri.to_string());
    let mut asked =
        reqwest::Request::new(parts.method, url.map_err(|error| ConnectorError::user(error.into()))?);
    *asked.headers_mut() = parts.headers;
    let body = body.bytes().ok_or_else(|| ConnectorError::user("a body that is not in memory".into()))?;
    *asked.body_mut() = Some(body.to_vec().into());
    let answer = client.execute(asked).await.map_err(failed)?;
    let status = StatusCode::try_from(answer.status().as_u16())
        .map_err(|error| ConnectorError::other(error.into(), None))?;
    let headers = answer.headers().clone();
    let body = answer.bytes().await.map_err(failed)?;
    let mut response = HttpResponse::new(status, SdkBody::from(body.to_vec()));
    for (name, value) in &headers {
        if let Ok(value) = value.to_str() {
            // Nothing that is a header here is none there.
            let _ = response.headers_mut().try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, name: Option<&str>) -> String {
        match field(Secret::new(text), "db", name) {
            Ok(value) => String::from_utf8_lossy(value.expose()).into_owned(),
            Err(error) => match error.hint {
                Some(hint) => format!("{}; {hint}", error.reason),
                None => error.reason,
            },
        }
    }

    #[test]
    fn fields_are_those_of_packer() {
        for (text, name, expected) in [
            ("plain", None, "plain"),
            ("plain", Some("x"), "plain"),
            ("12", None, "12"),
            (r#"{"a": "1"}"#, None, "1"),
            (r#"{"a": 15}"#, None, "15"),
            (r#"{"a": 1e3}"#, None, "1000"),
            (r#"{"a": "1", "b": "2"}"#, Some("b"), "2"),
            (
                r#"{"a": "1", "b": "2"}"#,
                None,
                "the secret `db` has 2 fields; name one of `a`, `b` as the second argument",
            ),
            (r#"{"a": "1", "b": "2"}"#, Some("c"), "the secret `db` has no `c`; it has `a`, `b`"),
            (r#"{"a": true}"#, None, "`a` of the secret `db` is a bool, neither a text nor a number"),
            ("{}", None, "the secret `db` has no field"),
        ] {
            assert_eq!(of(text, name), expected, "{text} {name:?}");
        }
    }
}
