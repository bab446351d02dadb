//! Files over HTTP, or from a folder of this machine, with patience: retries with backoff, resumption of cut-off bodies, a limit on silence instead of one on the whole.
//!
//! Not here: what is fetched and how it is verified.

use std::io::{self, Read};
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Client, NoProxy, Proxy, StatusCode, Url};

/// How long to try. All durations are per attempt, none limits a whole transfer that makes progress.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Attempts in a row without progress before giving up; at least 1.
    pub attempts: u32,
    /// The pause before the second attempt; doubled each time.
    pub first_delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a server may be silent, before its answer or in the middle of it.
    pub stall_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

/// The HTTP proxies that servers are reached through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The address of the proxy for `http://` addresses.
    pub http: Option<String>,
    /// The address of the proxy for `https://` addresses.
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached without one, separated by commas; `*` is all of them.
    pub no_proxy: Option<String>,
}

/// Why a file could not be fetched from one address.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server says that the file does not exist (404 or 410).
    #[error("`{url}` does not exist")]
    NotFound {
        /// The address.
        url: String,
    },
    /// The server refused for another reason that a retry does not cure.
    #[error("`{url}` answered {status}")]
    Refused {
        /// The address.
        url: String,
        /// The status, for example `403 Forbidden`.
        status: StatusCode,
    },
    /// A file of this machine cannot be read.
    #[error("`{url}` cannot be read: {source}")]
    Unreadable {
        /// The address.
        url: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Every attempt failed; the last one for this reason.
    #[error("`{url}` could not be fetched in {attempts} attempts: {last}")]
    GaveUp {
        /// The address.
        url: String,
        /// How many attempts were made without progress.
        attempts: u32,
        /// What the last attempt met.
        last: String,
    },
    /// The body is larger than the caller allows.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// What was received could not be stored.
    #[error("cannot store `{url}`: {source}")]
    Store {
        /// The address.
        url: String,
        /// The writer's error.
        source: io::Error,
    },
    /// The HTTP client could not be made.
    #[error("cannot set up HTTP: {0}")]
    Setup(String),
}

impl FetchError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => None,
            Self::Refused { .. } => Some("name another mirror with `IMGBUILD_DEBIAN_MIRROR`"),
            Self::GaveUp { .. } | Self::Setup(_) => {
                Some("check the network, or name another mirror with `IMGBUILD_DEBIAN_MIRROR`")
            }
            Self::Unreadable { .. } => Some("check the permissions of the folder, or name another mirror"),
            Self::TooLarge { .. } => Some("the mirror is faulty; name another with `IMGBUILD_DEBIAN_MIRROR`"),
            Self::Store { source, .. } => Some(storing_hint(source)),
        }
    }
}

/// What the user can do when a store fails.
pub(crate) fn storing_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, for example with `imgbuild cache gc`"
        }
        _ => "check the permissions and the disk of the cache",
    }
}

/// Where a body goes. A server that cannot resume sends it from the start again, hence [`Receiver::restart`].
pub trait Receiver: Send {
    /// Takes the next bytes.
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Forgets everything received.
    fn restart(&mut self) -> io::Result<()>;
}

impl Receiver for Vec<u8> {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// An HTTP client with a retry policy. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    policy: RetryPolicy,
}

/// How one attempt failed.
enum Failure {
    Final(FetchError),
    Passing(String),
}

impl Fetcher {
    /// A client that goes through the proxies or, without them, straight to the server; the environment is not consulted.
    ///
    /// # Errors
    /// [`FetchError::Setup`] if the address of a proxy is none, or if the client cannot be made.
    pub fn new(policy: RetryPolicy, proxies: &Proxies) -> Result<Self, FetchError> {
        let setup = |error: reqwest::Error| FetchError::Setup(describe(&error));
        let mut builder = Client::builder()
            .user_agent(concat!("imgbuild/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(policy.connect_timeout)
            .no_proxy();
        let without = || proxies.no_proxy.as_deref().and_then(NoProxy::from_string);
        if let Some(proxy) = &proxies.http {
            builder = builder.proxy(Proxy::http(proxy).map_err(setup)?.no_proxy(without()));
        }
        if let Some(proxy) = &proxies.https {
            builder = builder.proxy(Proxy::https(proxy).map_err(setup)?.no_proxy(without()));
        }
        Ok(Self { client: builder.build().map_err(setup)?, policy })
    }

    /// Fetches a whole file of at most `limit` bytes into memory.
    pub async fn get(&self, url: &Url, limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        self.get_into(url, limit, &mut body).await?;
        Ok(body)
    }

    /// Fetches a file of at most `limit` bytes into `receiver`; the number of bytes is returned.
    ///
    /// An attempt that brought bytes resets the count of attempts: a slow but living transfer is never given up.
    pub async fn get_into(
        &self,
        url: &Url,
        limit: u64,
        receiver: &mut dyn Receiver,
    ) -> Result<u64, FetchError> {
        if url.scheme() == "file" {
            return read_file(url, limit, receiver);
        }
        let mut received = 0;
        let mut failures = 0;
        loop {
            let before = received;
            match self.attempt(url, limit, &mut received, receiver).await {
                Ok(()) => return Ok(received),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(reason)) => {
                    failures = if received > before { 1 } else { failures + 1 };
                    tracing::debug!(%url, failures, reason, "attempt failed");
                    if failures >= self.policy.attempts {
                        return Err(FetchError::GaveUp {
                            url: url.to_string(),
                            attempts: failures,
                            last: reason,
                        });
                    }
                    let delay = self.policy.first_delay.saturating_mul(1 << (failures - 1).min(16));
                    tokio::time::sleep(delay.min(self.policy.max_delay)).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        url: &Url,
        limit: u64,
        received: &mut u64,
        receiver: &mut dyn Receiver,
    ) -> Result<(), Failure> {
        let store = |source| Failure::Final(FetchError::Store { url: url.to_string(), source });
        let mut request = self.client.get(url.clone());
        if *received > 0 {
            request = request.header(RANGE, format!("bytes={received}-"));
        }
        let response = self.in_time(request.send()).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if resumes_at(response.headers(), *received) => {}
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                if *received > 0 {
                    receiver.restart().map_err(store)?;
                    *received = 0;
                }
                if response.status() != StatusCode::OK {
                    return Err(Failure::Passing("the server cannot resume".to_owned()));
                }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(Failure::Final(FetchError::NotFound { url: url.to_string() }));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::Passing(format!("the server answered {status}")));
            }
            status => return Err(Failure::Final(FetchError::Refused { url: url.to_string(), status })),
        }
        let mut body = response.bytes_stream();
        while let Some(chunk) = self.silence_limited(body.next()).await? {
            let chunk = chunk.map_err(|error| Failure::Passing(describe(&error)))?;
            *received += chunk.len() as u64;
            if *received > limit {
                return Err(Failure::Final(FetchError::TooLarge { url: url.to_string(), limit }));
            }
            receiver.receive(&chunk).map_err(store)?;
        }
        Ok(())
    }

    async fn in_time<T>(&self, work: impl Future<Output = reqwest::Result<T>>) -> Result<T, Failure> {
        self.silence_limited(work).await?.map_err(|error| Failure::Passing(describe(&error)))
    }

    async fn silence_limited<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::time::timeout(self.policy.stall_timeout, work).await.map_err(|_| {
            Failure::Passing(format!(
                "the server was silent for {} s",
                self.policy.stall_timeout.as_secs_f64()
            ))
        })
    }
}

/// The same for a file of this machine. What is read is written at once, so that a reactor's other tasks wait no longer than
/// for any other disk.
fn read_file(url: &Url, limit: u64, receiver: &mut dyn Receiver) -> Result<u64, FetchError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => FetchError::NotFound { url: url.to_string() },
        _ => FetchError::Unreadable { url: url.to_string(), source },
    };
    let path = url.to_file_path().map_err(|()| unreadable(io::ErrorKind::InvalidInput.into()))?;
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut buffer = vec![0; 1 << 17];
    let mut received = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(received),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        received += count as u64;
        if received > limit {
            return Err(FetchError::TooLarge { url: url.to_string(), limit });
        }
        receiver
            .receive(&buffer[..count])
            .map_err(|source| FetchError::Store { url: url.to_string(), source })?;
    }
}

fn resumes_at(headers: &HeaderMap, offset: u64) -> bool {
    headers
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("bytes "))
        .and_then(|value| value.split('-').next())
        .is_some_and(|start| start.parse() == Ok(offset))
}

/// The innermost cause says what happened; the outer ones only repeat the address.
fn describe(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
