//! Waits until a machine answers, and makes an authenticated link to it: directly, through a bastion, or through a proxy.
//! What is done over a link is not here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::{AlgorithmKind, SshId};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_socks::tcp::Socks5Stream;

use crate::Error;
use crate::auth::log_in;
use crate::client::{Client, RemoteTunnels, Trust, reason_of};
use crate::error::io_reason;
use crate::keys::Loaded;
use crate::settings::{Login, Proxy, Route, Settings, address};
use crate::wire::{CutOnDrop, Duplex, Wire, WireState};

/// How long a server may give no sign of life before it counts as lost, if `keep_alive` is set. It is long, since a machine that
/// is paused for a snapshot says nothing either.
pub const LOST_AFTER: Duration = Duration::from_secs(5 * 60);

/// How much the server may send ahead of what was read. Larger than what any network holds at once.
const WINDOW: u32 = 32 << 20;

/// Settings with all files read.
pub(crate) struct Prepared {
    pub(crate) settings: Settings,
    pub(crate) keys: Vec<Loaded>,
    pub(crate) trust: Trust,
    pub(crate) bastion: Option<(Vec<Loaded>, Trust)>,
}

impl Prepared {
    pub(crate) fn load(settings: Settings) -> Result<Self, Error> {
        let keys = settings.login.load()?;
        let trust = Trust::load(&settings.host, settings.port, &settings.host_keys)?;
        let bastion = match &settings.route {
            Route::Bastion(bastion) => {
                let trust = Trust::load(&bastion.host, bastion.port, &bastion.host_keys)?;
                let keys = bastion.login.load().map_err(|error| Error::Bastion(Box::new(error)))?;
                Some((keys, trust))
            }
            Route::Direct | Route::Proxy(_) => None,
        };
        Ok(Self { settings, keys, trust, bastion })
    }
}

impl Settings {
    /// Reads all files that the settings name, so that what is wrong with them is known before a machine is started.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::KeyEncrypted`], [`Error::Certificate`], [`Error::KnownHosts`].
    pub fn check(&self) -> Result<(), Error> {
        Prepared::load(self.clone()).map(drop)
    }
}

/// An authenticated connection to one server.
pub(crate) struct Link {
    pub(crate) handle: Handle<Client>,
    pub(crate) state: Arc<WireState>,
    pub(crate) tunnels: RemoteTunnels,
    _cut: CutOnDrop,
    _bastion: Option<Box<Link>>,
}

impl Link {
    pub(crate) fn is_lost(&self) -> bool {
        self.state.ended() || self.handle.is_closed()
    }
}

/// Tries until there is a link, patience ends, or waiting cannot help. Dropping the future leaves nothing behind.
pub(crate) async fn wait_for_link(prepared: &Prepared) -> Result<Link, Error> {
    let settings = &prepared.settings;
    let (patience, waits) = (settings.patience, settings.waits);
    let deadline = patience.timeout.map(|limit| Instant::now() + limit);
    let mut last =
        Error::Unreachable { address: settings.address(), reason: "it does not answer".to_owned() };
    let mut greeting = waits.greeting;
    let mut retry = waits.retry;
    let mut denials = 0;
    loop {
        let attempt = link(prepared, greeting);
        let tried = match deadline {
            Some(deadline) => timeout_at(deadline, attempt).await.ok(),
            None => Some(attempt.await),
        };
        let pause = match tried {
            Some(Ok(link)) => return Ok(link),
            None => return Err(timed_out(patience.timeout, last)),
            Some(Err(error)) if !error.passes_by_waiting() => return Err(error),
            Some(Err(error)) if error.is_denial() => {
                denials += 1;
                if patience.attempts.is_some_and(|limit| denials >= limit) {
                    return Err(error);
                }
                last = error;
                waits.after_denial
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "not up yet");
                last = error;
                greeting = (greeting * 3 / 2).min(waits.greeting * 10);
                retry = (retry * 3 / 2).min(waits.retry * 8);
                retry
            }
        };
        match deadline {
            Some(deadline) if Instant::now() + pause >= deadline => {
                return Err(timed_out(patience.timeout, last));
            }
            _ => sleep(pause).await,
        }
    }
}

fn timed_out(after: Option<Duration>, last: Error) -> Error {
    Error::TimedOut { after: after.unwrap_or_default(), last: Box::new(last) }
}

/// One try.
async fn link(prepared: &Prepared, greeting: Duration) -> Result<Link, Error> {
    let settings = &prepared.settings;
    let own = Server { host: &settings.host, port: settings.port, login: &settings.login };
    let (stream, bastion): (Box<dyn Duplex>, _) = match (&settings.route, &prepared.bastion) {
        (Route::Bastion(bastion), Some((keys, trust))) => {
            let server = Server { host: &bastion.host, port: bastion.port, login: &bastion.login };
            let within = |error| Error::Bastion(Box::new(error));
            let stream = tcp(&bastion.host, bastion.port, settings.waits.tcp).await.map_err(within)?;
            let bastion = greet(settings, &server, Box::new(stream), greeting, keys, trust, None)
                .await
                .map_err(within)?;
            let opened = bastion
                .handle
                .channel_open_direct_tcpip(&settings.host, u32::from(settings.port), "127.0.0.1", 0)
                .await;
            let channel = opened.map_err(|error| {
                within(Error::ChannelRefused {
                    address: server.address(),
                    what: format!("a connection to `{}`", settings.address()),
                    reason: reason_of(&error),
                })
            })?;
            (Box::new(channel.into_stream()), Some(Box::new(bastion)))
        }
        (Route::Proxy(proxy), _) => (Box::new(through(proxy, settings).await?), None),
        _ => (Box::new(tcp(&settings.host, settings.port, settings.waits.tcp).await?), None),
    };
    greet(settings, &own, stream, greeting, &prepared.keys, &prepared.trust, bastion).await
}

struct Server<'a> {
    host: &'a str,
    port: u16,
    login: &'a Login,
}

impl Server<'_> {
    fn address(&self) -> String {
        address(self.host, self.port)
    }
}

async fn tcp(host: &str, port: u16, wait: Duration) -> Result<TcpStream, Error> {
    let unreachable = |reason: String| Error::Unreachable { address: address(host, port), reason };
    match timeout(wait, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => {
            // Without it small requests wait for each other; a system that cannot is only slower.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(Error::Refused(address(host, port)))
        }
        Ok(Err(error)) => Err(unreachable(io_reason(&error))),
        Err(_) => Err(unreachable("it does not answer".to_owned())),
    }
}

async fn through(proxy: &Proxy, settings: &Settings) -> Result<TcpStream, Error> {
    let failed = |reason: String| Error::Proxy {
        proxy: address(&proxy.host, proxy.port),
        address: settings.address(),
        reason,
    };
    let stream = tcp(&proxy.host, proxy.port, settings.waits.tcp).await.map_err(|error| match error {
        Error::Refused(_) => failed("it refuses connections".to_owned()),
        Error::Unreachable { reason, .. } => failed(reason),
        error => error,
    })?;
    let target = (settings.host.as_str(), settings.port);
    let opened = async {
        match &proxy.login {
            Some((user, password)) => {
                let password = String::from_utf8_lossy(password.expose());
                Socks5Stream::connect_with_password_and_socket(stream, target, user, &password).await
            }
            None => Socks5Stream::connect_with_socket(stream, target).await,
        }
    };
    match timeout(settings.waits.tcp, opened).await {
        Ok(Ok(stream)) => Ok(stream.into_inner()),
        Ok(Err(error)) => Err(failed(error.to_string().to_lowercase())),
        Err(_) => Err(failed("it does not answer".to_owned())),
    }
}

/// From the greeting to being logged in.
async fn greet(
    settings: &Settings,
    server: &Server<'_>,
    stream: Box<dyn Duplex>,
    greeting: Duration,
    keys: &[Loaded],
    trust: &Trust,
    bastion: Option<Box<Link>>,
) -> Result<Link, Error> {
    let address = server.address();
    let wire = Wire::greeted(stream, &address, greeting, settings.read_write_timeout).await?;
    let state = wire.state();
    let cut = CutOnDrop(state.clone());
    let rejected = Arc::new(OnceLock::new());
    let tunnels = RemoteTunnels::default();
    let client = Client {
        trust: trust.clone(),
        rejected: rejected.clone(),
        state: state.clone(),
        tunnels: tunnels.clone(),
        agent: settings.forward_agent.clone(),
    };
    let config = Arc::new(config(settings, trust));
    let slow = |_| Error::HandshakeSlow { address: address.clone(), waited: settings.waits.handshake };
    let shaken = timeout(settings.waits.handshake, client::connect_stream(config, wire, client))
        .await
        .map_err(slow)?;
    let mut handle = shaken.map_err(|error| match rejected.get() {
        Some(rejected) => rejected.clone(),
        None => handshake_error(&address, &state, &error),
    })?;
    let logging_in = log_in(&mut handle, server.login, keys, &address, &state);
    if server.login.ask.is_some() {
        // A person takes the time that a person takes.
        logging_in.await?;
    } else {
        timeout(settings.waits.handshake, logging_in).await.map_err(slow)??;
    }
    trust.was_let_in();
    Ok(Link { handle, state, tunnels, _cut: cut, _bastion: bastion })
}

fn config(settings: &Settings, trust: &Trust) -> client::Config {
    let mut preferred = settings.algorithms.preferred();
    trust.prefer(&mut preferred);
    let tries = settings.keep_alive.map(|every| LOST_AFTER.as_secs_f64() / every.as_secs_f64().max(0.001));
    client::Config {
        client_id: SshId::Standard(concat!("SSH-2.0-imgbuild_", env!("CARGO_PKG_VERSION")).into()),
        window_size: WINDOW,
        nodelay: true,
        preferred,
        keepalive_interval: settings.keep_alive.filter(|every| !every.is_zero()),
        keepalive_max: tries.map_or(0, |tries| tries.ceil().max(3.0) as usize),
        ..client::Config::default()
    }
}

fn handshake_error(address: &str, state: &WireState, error: &russh::Error) -> Error {
    let address = address.to_owned();
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => Error::NoCommonAlgorithm {
            address,
            what: match kind {
                AlgorithmKind::Kex => "key exchange",
                AlgorithmKind::Key => "kind of host key",
                AlgorithmKind::Cipher => "cipher",
                AlgorithmKind::Compression => "compression",
                AlgorithmKind::Mac => "message authentication",
            },
            theirs: theirs.clone(),
        },
        error => {
            let reason = if state.ended() { state.reason() } else { reason_of(error) };
            Error::Handshake { address, reason }
        }
    }
}
