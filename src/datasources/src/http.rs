//! `http`: what a server answers.
//!
//! As in Packer, the output `request_headers` holds the headers of the *response*, and another type than text is a warning.
//! Beyond Packer, a server that is silent or sends without end is an error.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use imgbuild_model::{Class, Diagnostic, did_you_mean};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use reqwest::{Client, Method, Response, Url};

use crate::{DataSource, Fields, Output, OutputKind, OutputSchema, OutputType, fields, settings};

const METHODS: [&str; 7] = ["HEAD", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

/// How long and how much a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// How long it may be silent, before its answer or in the middle of it.
    pub silence: Duration,
    /// How long the whole may take.
    pub total: Duration,
    /// The largest body, in bytes.
    pub size: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { silence: Duration::from_secs(30), total: Duration::from_secs(300), size: 64 << 20 }
    }
}

/// The data source `http`.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    limits: HttpLimits,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: String,
    method: Option<String>,
    #[serde(default)]
    request_headers: BTreeMap<String, String>,
    #[serde(default)]
    request_body: String,
}

impl Http {
    /// Asks through `client`, whose proxies, certificates and rule for redirects hold.
    #[must_use]
    pub fn new(client: Client, limits: HttpLimits) -> Self {
        Self { client, limits }
    }

    async fn ask(&self, url: &Url, settings: Settings) -> Result<Output, Diagnostic> {
        let request = self
            .client
            .request(method(settings.method.as_deref())?, url.clone())
            .headers(headers(&settings.request_headers)?)
            .body(settings.request_body);
        let response = self.in_time(url, request.send()).await?.map_err(|error| failed(url, &error))?;
        let status = response.status();
        if !status.is_success() {
            let error = Diagnostic::error(format!("`{}` answered {status}", shown(url))).class(Class::Remote);
            return Err(match status.as_u16() {
                401 | 403 => error.hint("give what the server asks for with `request_headers`"),
                _ => error,
            });
        }
        let mut warnings = Vec::new();
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned()).unwrap_or_default();
        if !is_text(&kind) {
            warnings.push(not_text(url, &kind));
        }
        let headers = answered(response.headers());
        let body = self.body(url, response).await?;
        let body =
            String::from_utf8(body).unwrap_or_else(|error| {
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                warnings.push(Diagnostic::warning(format!("what `{}` sent is not UTF-8", shown(url))).hint(
                    "every byte that is not has become `\u{fffd}`; download such files in a provisioner",
                ));
                text
            });
        let values =
            [("url", settings.url.into()), ("body", body.into()), ("request_headers", headers.into())];
        Ok(Output { values: fields(values), warnings })
    }

    async fn body(&self, url: &Url, response: Response) -> Result<Vec<u8>, Diagnostic> {
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = self.in_time(url, chunks.next()).await? {
            let chunk = chunk.map_err(|error| failed(url, &error))?;
            if body.len() + chunk.len() > self.limits.size {
                let message = format!("`{}` sends more than {} bytes", shown(url), self.limits.size);
                return Err(Diagnostic::error(message)
                    .class(Class::Remote)
                    .hint("a data source is for small texts; download large files in a provisioner"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn in_time<T>(&self, url: &Url, work: impl Future<Output = T>) -> Result<T, Diagnostic> {
        tokio::time::timeout(self.limits.silence, work).await.map_err(|_| {
            let message = format!("`{}` was silent for {} s", shown(url), self.limits.silence.as_secs_f64());
            Diagnostic::error(message).class(Class::Remote).hint("check the address and the network")
        })
    }
}

#[async_trait]
impl DataSource for Http {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn outputs(&self) -> &'static [OutputSchema] {
        &[
            OutputSchema {
                name: "url",
                of: OutputType::String,
                kind: OutputKind::Follow,
                doc: "the address that was asked",
            },
            OutputSchema {
                name: "body",
                of: OutputType::String,
                kind: OutputKind::Follow,
                doc: "what the server sent",
            },
            OutputSchema {
                name: "request_headers",
                of: OutputType::StringMap,
                kind: OutputKind::Follow,
                doc: "the headers of the response, several of one name joined by `, `",
            },
        ]
    }

    async fn read(&self, input: &Fields) -> Result<Output, Diagnostic> {
        let settings: Settings = settings(self.kind(), input)?;
        let url = parse_url(&settings.url)?;
        let asked = self.ask(&url, settings);
        tokio::time::timeout(self.limits.total, asked).await.unwrap_or_else(|_| {
            let message = format!("`{}` took longer than {} s", shown(&url), self.limits.total.as_secs_f64());
            Err(Diagnostic::error(message)
                .class(Class::Remote)
                .hint("a data source is for small texts; download large files in a provisioner"))
        })
    }
}

fn parse_url(text: &str) -> Result<Url, Diagnostic> {
    let hint = "write `https://host/path`";
    let url = Url::parse(text).map_err(|error| {
        // The text may hold a password, so that it is not shown.
        Diagnostic::error(format!("`url` is no address: {error}")).hint(hint)
    })?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(Diagnostic::error(format!("`url` has the scheme `{scheme}`")).hint(hint)),
    }
}

fn method(name: Option<&str>) -> Result<Method, Diagnostic> {
    let name = name.filter(|name| !name.is_empty()).unwrap_or("GET");
    match METHODS.contains(&name).then(|| name.parse()) {
        Some(Ok(method)) => Ok(method),
        _ => Err(Diagnostic::error(format!("`method` is `{name}`, which is none")).hint(match did_you_mean(
            &name.to_uppercase(),
            METHODS,
        ) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", METHODS.map(|method| format!("`{method}`")).join(", ")),
        })),
    }
}

fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, Diagnostic> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let bad = |what: &str| {
            // Values are mostly secrets.
            Diagnostic::error(format!("`request_headers` has {what} for `{name}`"))
                .hint("a name is made of letters, digits and `-`; a value is one line")
        };
        let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("no name of a header"))?;
        headers.insert(known, HeaderValue::from_str(value).map_err(|_| bad("no value of a header"))?);
    }
    Ok(headers)
}

/// The headers of a response, under the names that Go gives them.
fn answered(headers: &HeaderMap) -> Fields {
    let mut answered = Fields::new();
    for name in headers.keys().filter(|name| **name != TRANSFER_ENCODING) {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        answered.insert(canonical(name.as_str()), values.collect::<Vec<_>>().join(", ").into());
    }
    answered.sort_keys();
    answered
}

/// `content-type` as `Content-Type`.
fn canonical(name: &str) -> String {
    let mut starts = true;
    name.chars()
        .map(|character| {
            let written = if starts { character.to_ascii_uppercase() } else { character };
            starts = character == '-';
            written
        })
        .collect()
}

/// Packer's rule: `text/…`, JSON and SAML, in UTF-8 or ASCII. Here, types that end in `+json` are JSON too.
fn is_text(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    let is_text = kind.starts_with("text/")
        || matches!(&*kind, "application/json" | "application/samlmetadata+xml")
        || (kind.starts_with("application/") && kind.ends_with("+json"));
    is_text && charset.is_none_or(|charset| matches!(&*charset, "utf-8" | "us-ascii"))
}

fn not_text(url: &Url, kind: &str) -> Diagnostic {
    let kind = if kind.is_empty() { "no type".to_owned() } else { format!("the type `{kind}`") };
    Diagnostic::warning(format!("`{}` sent {kind}, which is not known to be text", shown(url)))
        .hint("bytes that are no text do not survive in a template")
}

/// The address without what may be secret in it: user, password, query.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both can be set for every address that has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn failed(url: &Url, error: &reqwest::Error) -> Diagnostic {
    // The innermost cause says what happened; the outer ones only repeat the address.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Diagnostic::error(format!("cannot read `{}`: {cause}", shown(url)))
        .class(Class::Remote)
        .hint("check the address and the network")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_text_are_known() {
        for (kind, text) in [
            ("text/plain", true),
            ("text/html; charset=UTF-8", true),
            ("application/json", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/vnd.github+json", true),
            ("application/samlmetadata+xml", true),
            ("text/plain; charset=latin1", false),
            ("application/octet-stream", false),
            ("", false),
        ] {
            assert_eq!(is_text(kind), text, "{kind}");
        }
    }

    #[test]
    fn names_of_headers_are_those_of_go() {
        for (name, written) in [("content-type", "Content-Type"), ("etag", "Etag"), ("x-a-b1", "X-A-B1")] {
            assert_eq!(canonical(name), written);
        }
    }
}
