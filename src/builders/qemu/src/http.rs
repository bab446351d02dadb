//! A small HTTP server for what a guest fetches while it boots: files of a folder, or texts.
//!
//! It listens on the host's loopback unless told otherwise; a guest on QEMU's own network reaches that as [`GUEST_ADDRESS`], but
//! not on one that is restricted. Not for: anything large in number, TLS, or other methods than reading.

mod answer;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// As what a guest on QEMU's own network sees the host's loopback (QEMU: `net/slirp.c`).
pub const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// How many questions are remembered.
const REMEMBERED: usize = 200;

/// How long a connection may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is served.
#[derive(Clone, PartialEq, Eq)]
pub enum Served {
    /// The files below a folder, as they are when they are asked for. Links are followed: the folder is the user's own.
    Folder(PathBuf),
    /// Texts by path, which begins with `/`.
    Texts(BTreeMap<String, String>),
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "Folder({})", folder.display()),
            // Texts may hold passwords.
            Self::Texts(texts) => f.debug_set().entries(texts.keys()).finish(),
        }
    }
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// All ports are taken.
    #[error(
        "each port from {first} to {last} of `{address}` is taken; widen `http_port_min` to `http_port_max`"
    )]
    PortsTaken {
        /// Of which address.
        address: IpAddr,
        /// The first port.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The address is none of this host.
    #[error("cannot listen on `{address}`: {source}; is `http_bind_address` one of this host?")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no folder.
    #[error("`http_directory` is no folder that can be read: {0}")]
    Folder(io::Error),
    /// A path that nobody can ask for.
    #[error("the path `{0}` of `http_content` does not begin with `/`")]
    Path(String),
}

/// A question and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The path, as it was asked for.
    pub path: String,
    /// The answer: 200, 206, 404.
    pub status: u16,
}

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    asked: Arc<Mutex<VecDeque<Asked>>>,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Serves on the first port from `first` to `last` of `address` that is free. 0 to 0 lets the kernel choose.
    ///
    /// # Errors
    /// If there is no port, address or folder of that kind.
    pub async fn start(served: Served, address: IpAddr, first: u16, last: u16) -> Result<Self, HttpError> {
        match &served {
            Served::Folder(folder) => {
                fs_err::read_dir(folder).map_err(HttpError::Folder)?;
            }
            Served::Texts(texts) => {
                if let Some(path) = texts.keys().find(|path| !path.starts_with('/')) {
                    return Err(HttpError::Path(path.clone()));
                }
            }
        }
        let listener = listen(address, first, last).await?;
        let address = listener
            .local_addr()
            .map_err(|source| HttpError::Bind { address: SocketAddr::new(address, first), source })?;
        let asked = Arc::new(Mutex::new(VecDeque::new()));
        let task = tokio::spawn(accept(listener, Arc::new(served), Arc::clone(&asked)));
        Ok(Self { address, asked, task })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked for last, some hundreds of times: a guest whose installation stands still has often asked for something that
    /// is not there, or for nothing.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(address: IpAddr, first: u16, last: u16) -> Result<TcpListener, HttpError> {
    for port in first..=last {
        let address = SocketAddr::new(address, port);
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(HttpError::Bind { address, source }),
        }
    }
    Err(HttpError::PortsTaken { address, first, last })
}

async fn accept(listener: TcpListener, served: Arc<Served>, asked: Arc<Mutex<VecDeque<Asked>>>) {
    // Connections end with the server.
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Too many open files, or a client that went away; neither ends the server.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        connections.spawn(serve(stream, Arc::clone(&served), Arc::clone(&asked)));
    }
}

async fn serve(stream: TcpStream, served: Arc<Served>, asked: Arc<Mutex<VecDeque<Asked>>>) {
    let service = service_fn(|request| {
        let (served, asked) = (Arc::clone(&served), Arc::clone(&asked));
        async move {
            let path = request.uri().path().to_owned();
            let response = answer::answer(&served, &request).await;
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.len() == REMEMBERED {
                asked.pop_front();
            }
            asked.push_back(Asked { path, status: response.status().as_u16() });
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // A guest that goes away is its own affair.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
