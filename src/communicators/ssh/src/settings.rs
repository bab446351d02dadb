//! How a machine is reached: what the `ssh_*` attributes say, in types. Reading templates, `~` and the environment is not
//! done here, and neither is connecting.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use imgbuild_model::Secret;
use russh::keys::{HashAlg, PublicKey};

use crate::{Algorithms, Error};

/// How a machine is reached over SSH.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `ssh_host`: a name or an address.
    pub host: String,
    /// `ssh_port`.
    pub port: u16,
    /// `ssh_username`, `ssh_password`, `ssh_private_key_file`, `ssh_certificate_file`, `ssh_agent_auth`.
    pub login: Login,
    /// Which machine it must be.
    pub host_keys: HostKeys,
    /// `ssh_bastion_*` or `ssh_proxy_*`: what leads there.
    pub route: Route,
    /// `ssh_pty`: whether commands get a terminal, which is what some `sudo` and `su` want.
    pub pty: bool,
    /// `ssh_ciphers` and `ssh_key_exchange_algorithms`.
    pub algorithms: Algorithms,
    /// `ssh_timeout` and `ssh_handshake_attempts`.
    pub patience: Patience,
    /// How long each part of connecting may take.
    pub waits: Waits,
    /// `ssh_keep_alive_interval`: how long the server may say nothing before it is asked for a sign of life; never if
    /// absent. A server that gives none for [`crate::LOST_AFTER`] is lost.
    pub keep_alive: Option<Duration>,
    /// `ssh_read_write_timeout`: how long one read or write may take; any time if absent. Reading goes on all the time, so a
    /// limit below that of `keep_alive` ends connections that have nothing to say.
    pub read_write_timeout: Option<Duration>,
    /// `ssh_local_tunnels`: ports of this host that lead into the machine.
    pub local_tunnels: Vec<Tunnel>,
    /// `ssh_remote_tunnels`: ports of the machine that lead here.
    pub remote_tunnels: Vec<Tunnel>,
    /// `ssh_file_transfer_method`: what is tried first; a machine that lacks it gets the other.
    pub transfer: TransferMethod,
    /// Socket of an agent that the machine may use (`ssh_disable_agent_forwarding` in reverse); none unless it is asked for,
    /// since whoever is root there can use it too.
    pub forward_agent: Option<PathBuf>,
}

impl Settings {
    /// A machine by its address, with everything else as Packer has it where nothing is said, but for agent forwarding, which
    /// is off. A limit of time or attempts is [`Patience::default`].
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, login: Login, host_keys: HostKeys) -> Self {
        Self {
            host: host.into(),
            port,
            login,
            host_keys,
            route: Route::Direct,
            pty: false,
            algorithms: Algorithms::default(),
            patience: Patience::default(),
            waits: Waits::default(),
            keep_alive: Some(Duration::from_secs(5)),
            read_write_timeout: None,
            local_tunnels: Vec::new(),
            remote_tunnels: Vec::new(),
            transfer: TransferMethod::Scp,
            forward_agent: None,
        }
    }

    /// Host and port as they are shown.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

/// Who logs in, and how. What is given is tried in this order, as Packer does: the agent's keys, the private keys, the
/// password, and the password as the answer to each question.
#[derive(Clone, Default)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password; also the answer to whatever the server asks (`keyboard-interactive`).
    pub password: Option<Secret>,
    /// Private keys, in order.
    pub keys: Vec<Key>,
    /// The socket of an agent; `SSH_AUTH_SOCK` is read elsewhere.
    pub agent: Option<PathBuf>,
    /// Who answers the server's questions if not the password (`ssh_bastion_interactive`).
    pub ask: Option<Arc<dyn Ask>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .field("password", &self.password)
            .field("keys", &self.keys)
            .field("agent", &self.agent)
            .field("ask", &self.ask.is_some())
            .finish()
    }
}

/// Someone who can be asked what a server wants to know.
pub trait Ask: Send + Sync {
    /// The answer to a question; `echo` says whether it may be seen while it is typed. `None` if there is none.
    fn ask<'a>(&'a self, question: &'a str, echo: bool) -> BoxFuture<'a, Option<Secret>>;
}

/// A private key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it is.
    pub private: KeySource,
    /// A certificate for it, as a file.
    pub certificate: Option<PathBuf>,
}

/// Where a private key is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// Here, as the text of such a file.
    Text(Secret),
}

/// Which host keys are taken.
#[derive(Clone, Debug)]
pub enum HostKeys {
    /// One of these and no other.
    Pinned(Vec<HostKey>),
    /// What a file in the format of OpenSSH's `known_hosts` says.
    KnownHosts(PathBuf),
    /// The same for hosts that are in such a file, if there is one; others are believed, and held to the key that they have
    /// shown first by all connections that share the list.
    AcceptNew(Option<PathBuf>, Believed),
    /// Any: whoever answers is believed. This is what Packer does.
    AcceptAny,
}

/// The hosts that were believed, with algorithm and fingerprint of their keys. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Believed(Arc<Mutex<BTreeMap<String, Shown>>>);

/// The key that a host has shown.
#[derive(Clone, Debug)]
struct Shown {
    key: String,
    /// Whether the host has let us in since. One that has not may be another, such as the installer that comes before the system
    /// that it installs.
    let_in: bool,
}

impl Believed {
    /// Hosts as `host:port`, each with its key.
    #[must_use]
    pub fn hosts(&self) -> BTreeMap<String, String> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().map(|(address, shown)| (address.clone(), shown.key.clone())).collect()
    }

    /// The key that a host is held to: the one that it shows now, if it has not let us in with another before.
    pub(crate) fn hold(&self, address: &str, shown: &str) -> String {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(address) {
            Some(Shown { key, let_in: true }) => key.clone(),
            _ => {
                let shown = Shown { key: shown.to_owned(), let_in: false };
                hosts.entry(address.to_owned()).insert_entry(shown).get().key.clone()
            }
        }
    }

    /// The host has let us in: it is held to its key from now on.
    pub(crate) fn was_let_in(&self, address: &str) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = hosts.get_mut(address) {
            shown.let_in = true;
        }
    }
}

/// The public key of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey(pub(crate) PublicKey);

impl HostKey {
    /// Algorithm and SHA-256 fingerprint, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.0)
    }
}

impl FromStr for HostKey {
    type Err = Error;

    /// Reads a line of a `.pub` file.
    fn from_str(text: &str) -> Result<Self, Error> {
        PublicKey::from_openssh(text.trim()).map(Self).map_err(|_| Error::HostKeyText(text.trim().to_owned()))
    }
}

/// What leads to a machine.
#[derive(Clone, Debug, Default)]
pub enum Route {
    /// Nothing stands in between.
    #[default]
    Direct,
    /// Another SSH server, which opens the connection.
    Bastion(Box<Bastion>),
    /// A SOCKS5 proxy.
    Proxy(Proxy),
}

/// A host to go through. Its algorithms, waits and keep-alive are those of the machine.
#[derive(Clone, Debug)]
pub struct Bastion {
    /// `ssh_bastion_host`.
    pub host: String,
    /// `ssh_bastion_port`.
    pub port: u16,
    /// `ssh_bastion_username` and so on.
    pub login: Login,
    /// Which host it must be.
    pub host_keys: HostKeys,
}

/// A SOCKS5 proxy. The machine's name is resolved by the proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// `ssh_proxy_host`.
    pub host: String,
    /// `ssh_proxy_port`, 1080 by custom.
    pub port: u16,
    /// `ssh_proxy_username` and `ssh_proxy_password`.
    pub login: Option<(String, Secret)>,
}

/// How long and how often connecting is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long it may take in all; any time if absent.
    pub timeout: Option<Duration>,
    /// How many times the log-in may be refused; any number if absent. A server that is not up yet does not count.
    pub attempts: Option<u32>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { timeout: Some(Duration::from_secs(5 * 60)), attempts: Some(10) }
    }
}

impl Patience {
    /// What `ssh_timeout` and `ssh_handshake_attempts` mean together, as in Packer's `communicator/config.go`: five minutes and
    /// ten attempts if both are absent or 0; if one is given, the other has no limit.
    #[must_use]
    pub fn of(timeout: Option<Duration>, attempts: Option<u32>) -> Self {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let attempts = attempts.filter(|&attempts| attempts != 0);
        if timeout.is_none() && attempts.is_none() { Self::default() } else { Self { timeout, attempts } }
    }
}

/// How long each part of connecting may take before it is begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Until TCP answers.
    pub tcp: Duration,
    /// Until the first greeting; it grows by half with each try up to ten times as much. It is short since an emulator's port
    /// takes connections before the machine does, and never hands them on.
    pub greeting: Duration,
    /// From the greeting to being logged in; Packer's is a minute.
    pub handshake: Duration,
    /// Between tries while nobody answers.
    pub retry: Duration,
    /// After a refused log-in; Packer's is 2 s.
    pub after_denial: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(15),
            greeting: Duration::from_secs(3),
            handshake: Duration::from_secs(60),
            retry: Duration::from_millis(250),
            after_denial: Duration::from_secs(2),
        }
    }
}

/// How files are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferMethod {
    /// By the machine's `scp`.
    Scp,
    /// By its SFTP server.
    Sftp,
}

/// A port that leads elsewhere: `port:host:port`. It listens on the loopback address only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Where it listens; any free port if 0.
    pub listen: u16,
    /// Where it leads, as seen from the other side.
    pub host: String,
    /// The port there.
    pub port: u16,
}

impl FromStr for Tunnel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let (listen, rest) = text.split_once(':')?;
            let (host, port) = rest.rsplit_once(':')?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let port = port.parse().ok().filter(|&port| port != 0)?;
            (!host.is_empty()).then_some(Self { listen: listen.parse().ok()?, host: host.to_owned(), port })
        };
        read().ok_or_else(|| Error::Tunnel(text.to_owned()))
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.listen, address(&self.host, self.port))
    }
}

/// Host and port, an address of IPv6 in brackets.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Algorithm and SHA-256 fingerprint of a key.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm().as_str(), key.fingerprint(HashAlg::Sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_packer() {
        let minute = Duration::from_secs(60);
        let both = |timeout, attempts| Patience { timeout, attempts };
        assert_eq!(Patience::of(None, None), both(Some(5 * minute), Some(10)));
        assert_eq!(Patience::of(Some(Duration::ZERO), Some(0)), both(Some(5 * minute), Some(10)));
        assert_eq!(Patience::of(Some(minute), None), both(Some(minute), None));
        assert_eq!(Patience::of(None, Some(3)), both(None, Some(3)));
        assert_eq!(Patience::of(Some(minute), Some(3)), both(Some(minute), Some(3)));
    }

    #[test]
    fn a_host_is_held_to_the_key_with_which_it_let_us_in() {
        let believed = Believed::default();
        assert_eq!(believed.hold("host:22", "the installer's"), "the installer's");
        assert_eq!(believed.hold("host:22", "its own"), "its own");
        believed.was_let_in("host:22");
        assert_eq!(believed.hold("host:22", "another's"), "its own");
        assert_eq!(believed.hosts(), BTreeMap::from([("host:22".to_owned(), "its own".to_owned())]));
    }

    #[test]
    fn tunnels_are_read() {
        let tunnel: Tunnel = "8080:localhost:80".parse().unwrap();
        assert_eq!(tunnel, Tunnel { listen: 8080, host: "localhost".to_owned(), port: 80 });
        assert_eq!("1:[::1]:2".parse::<Tunnel>().unwrap().to_string(), "1:[::1]:2");
        for wrong in ["", "80", "80:80", "80::80", "x:host:80", "80:host:0", "80:host:70000"] {
            let error = wrong.parse::<Tunnel>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{wrong}` is not a tunnel"));
            assert!(error.hint().unwrap().contains("port:host:port"));
        }
    }

    #[test]
    fn passwords_and_keys_are_not_shown() {
        let login = Login {
            password: Some(Secret::new("hunter2")),
            keys: vec![Key { private: KeySource::Text(Secret::new("-----BEGIN")), certificate: None }],
            ..Login::default()
        };
        let shown = format!("{:?}", Settings::new("host", 22, login, HostKeys::AcceptAny));
        assert!(!shown.contains("hunter2") && !shown.contains("BEGIN"), "{shown}");
    }
}
