//! How servers are spoken to: proxies, certificates, timeouts, a second try.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{
    Certificate, Client, ClientBuilder, Identity, NoProxy, Proxy, RequestBuilder, StatusCode, Url,
};

use crate::StoreError;
use crate::environment::{Environment, file_of};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a question may take with its answer.
const TOTAL: Duration = Duration::from_secs(30);

/// How long is waited before the second and the third try.
const DELAYS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// The largest answer, in bytes.
const LIMIT: usize = 16 << 20;

/// What no proxy is asked for: this machine, and what a cloud tells its machines.
const DIRECT: &str = "localhost,127.0.0.0/8,::1,169.254.169.254,169.254.170.2,169.254.170.23";

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Where requests go to; for a socket, a name that stands for it.
    pub(crate) url: Url,
    /// A socket of this machine.
    socket: Option<PathBuf>,
}

/// By which variables a server's certificate is checked, and which is shown to it.
pub(crate) struct Tls<'e> {
    /// A file of authorities.
    pub(crate) authority: Option<(&'static str, &'e str)>,
    /// A folder of such files.
    pub(crate) authorities: Option<(&'static str, &'e str)>,
    /// The client's certificate.
    pub(crate) certificate: Option<(&'static str, &'e str)>,
    /// Its key.
    pub(crate) key: Option<(&'static str, &'e str)>,
    /// Whether the certificate is checked.
    pub(crate) verify: bool,
}

/// What a server said.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Address {
    /// `unix:///path`, or an address with a scheme.
    pub(crate) fn parse(variable: &str, text: &str) -> Result<Self, StoreError> {
        // The text may hold a password, so that it is not shown.
        let bad = |why: &str| {
            StoreError::new(format!("`{variable}` is no address of a server: {why}"))
                .hint("write `https://host:port`, `http://host:port` or `unix:///path`")
        };
        if let Some(path) = text.strip_prefix("unix://") {
            let url = Url::parse("http://localhost").map_err(|error| bad(&error.to_string()))?;
            return Ok(Self { url, socket: Some(PathBuf::from(path)) });
        }
        let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(Self { url, socket: None }),
            _ => Err(bad("it has another scheme")),
        }
    }

    /// The address of something below, each part of a path encoded.
    pub(crate) fn below(&self, folder: &[&str], path: &str) -> Result<Url, StoreError> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if path.trim_matches('/').is_empty() || parts.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(StoreError::new(format!("`{path}` is no path in a store")));
        }
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(folder).extend(parts);
        }
        Ok(url)
    }

    /// As messages show it: without what may be secret in it.
    pub(crate) fn shown(&self) -> String {
        match &self.socket {
            Some(path) => format!("unix://{}", path.display()),
            None => self.url.origin().ascii_serialization(),
        }
    }

    /// A client for this server.
    pub(crate) fn client(&self, environment: &Environment, tls: &Tls<'_>) -> Result<Client, StoreError> {
        let mut builder = tls.apply(builder(environment)?)?.timeout(TOTAL).redirect(keep_encryption());
        if let Some(socket) = &self.socket {
            builder = builder.no_proxy().unix_socket(socket.clone());
        }
        builder.build().map_err(|error| setup(&error))
    }
}

impl Tls<'_> {
    fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, StoreError> {
        let mut authorities = Vec::new();
        if let Some((variable, path)) = self.authority {
            authorities.extend(certificates(variable, Path::new(path))?);
        } else if let Some((variable, folder)) = self.authorities {
            let unreadable = |error: std::io::Error| {
                StoreError::new(format!("cannot read the folder that `{variable}` names: {error}"))
            };
            for entry in fs_err::read_dir(folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                if path.is_file() {
                    authorities.extend(certificates(variable, &path)?);
                }
            }
        }
        if !authorities.is_empty() {
            builder = builder.tls_certs_only(authorities);
        }
        match (self.certificate, self.key) {
            (None, None) => {}
            (Some((variable, certificate)), Some((key_variable, key))) => {
                let mut both = file_of(key_variable, Path::new(key))?;
                both.push(b'\n');
                both.extend(file_of(variable, Path::new(certificate))?);
                let identity = Identity::from_pem(&both).map_err(|_| {
                    StoreError::new(format!(
                        "`{variable}` and `{key_variable}` are no certificate and its key"
                    ))
                    .hint("both are files in PEM")
                })?;
                builder = builder.identity(identity);
            }
            (Some((variable, _)), None) | (None, Some((variable, _))) => {
                return Err(StoreError::new(format!("`{variable}` is set alone"))
                    .hint("a certificate and its key are set together"));
            }
        }
        Ok(builder.tls_danger_accept_invalid_certs(!self.verify))
    }
}

fn certificates(variable: &str, path: &Path) -> Result<Vec<Certificate>, StoreError> {
    let found = Certificate::from_pem_bundle(&file_of(variable, path)?).unwrap_or_default();
    if found.is_empty() {
        return Err(StoreError::new(format!("there is no certificate in `{}`", path.display()))
            .hint(format!("let `{variable}` name certificates in PEM")));
    }
    Ok(found)
}

/// A client that goes through the environment's proxies. This process's own environment is not consulted.
pub(crate) fn builder(environment: &Environment) -> Result<ClientBuilder, StoreError> {
    let mut builder = Client::builder()
        .user_agent(concat!("imgbuild/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .no_proxy();
    let direct = match environment.first(&["no_proxy", "NO_PROXY"]) {
        Some((_, given)) => format!("{given},{DIRECT}"),
        None => DIRECT.to_owned(),
    };
    let proxy = |names: [&'static str; 4], make: fn(&str) -> reqwest::Result<Proxy>| {
        let made = environment.first(&names).map(|(name, url)| make(url).map_err(|_| no_proxy_address(name)));
        made.transpose()
    };
    let plain = proxy(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"], |url| Proxy::http(url))?;
    let encrypted = proxy(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"], |url| Proxy::https(url))?;
    for proxy in [plain, encrypted].into_iter().flatten() {
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&direct)));
    }
    Ok(builder)
}

/// What stands in the variable may hold a password, so that it is not shown.
fn no_proxy_address(variable: &str) -> StoreError {
    StoreError::new(format!("`{variable}` is no address of a proxy")).hint("write `http://host:port`")
}

/// Redirects are followed as by the stores' own clients: not from encrypted to plain, since a token goes with them.
fn keep_encryption() -> Policy {
    Policy::custom(|attempt| match refusal(attempt.previous(), attempt.url()) {
        Some(why) => attempt.error(why),
        None => attempt.follow(),
    })
}

/// Why a redirect is not followed.
fn refusal(previous: &[Url], next: &Url) -> Option<&'static str> {
    if previous.len() > 3 {
        Some("it redirects again and again")
    } else if next.scheme() != "https" && previous.iter().any(|url| url.scheme() == "https") {
        Some("it redirects to an address without encryption")
    } else {
        None
    }
}

/// Sends a request that changes nothing, again if there is no connection or the server is not ready.
pub(crate) async fn send(request: RequestBuilder) -> Result<Answer, String> {
    let mut delays = DELAYS.iter();
    loop {
        let Some(attempt) = request.try_clone() else { return Err("it cannot be asked".to_owned()) };
        let answer = read(attempt).await;
        let passes = match &answer {
            Ok(answer) => answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS,
            Err(Failure::Passing(_)) => true,
            Err(Failure::Final(_)) => false,
        };
        match delays.next() {
            Some(delay) if passes => tokio::time::sleep(*delay).await,
            _ => {
                return answer.map_err(|failure| match failure {
                    Failure::Passing(why) | Failure::Final(why) => why,
                });
            }
        }
    }
}

enum Failure {
    Passing(String),
    Final(String),
}

async fn read(request: RequestBuilder) -> Result<Answer, Failure> {
    let failed = |error: reqwest::Error| match error.is_timeout() || error.is_redirect() || error.is_builder()
    {
        true => Failure::Final(cause(&error)),
        false => Failure::Passing(cause(&error)),
    };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > LIMIT {
            return Err(Failure::Final(format!("it sends more than {LIMIT} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

/// The value of a header that is not shown anywhere.
pub(crate) fn hidden(variable: &str, text: &str) -> Result<HeaderValue, StoreError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| StoreError::new(format!("`{variable}` holds characters that it cannot have")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The innermost cause says what happened; the outer ones only repeat the address.
pub(crate) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

pub(crate) fn setup(error: &reqwest::Error) -> StoreError {
    StoreError::new(format!("cannot set up HTTP: {}", cause(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_keep_encryption() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (plain, encrypted) = (url("http://a/"), url("https://a/"));
        let after = |previous: &Url, next: &Url| refusal(std::slice::from_ref(previous), next);
        assert_eq!(after(&plain, &encrypted), None);
        assert_eq!(after(&plain, &plain), None);
        assert_eq!(after(&encrypted, &url("https://b/")), None);
        let why = refusal(&[encrypted.clone(), encrypted], &plain);
        assert_eq!(why, Some("it redirects to an address without encryption"));
        assert!(refusal(&vec![plain.clone(); 4], &plain).is_some());
    }
}
