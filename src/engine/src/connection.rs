//! How a machine is reached, as facts: for programs of the host that connect to it themselves, such as Ansible.
//!
//! Nothing here connects. What is secret stays a [`Secret`]: it goes into files that nobody else reads, never on a command
//! line.

use std::path::PathBuf;

use imgbuild_model::Secret;

/// How a machine is reached over SSH, as its session reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Its name or address.
    pub host: String,
    /// The port of its server.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// The password, if one was given.
    pub password: Option<Secret>,
    /// The private keys that are tried, in order.
    pub keys: Vec<PrivateKeyFacts>,
    /// The socket of an agent whose keys are tried.
    pub agent: Option<PathBuf>,
    /// The host keys that the session believes, as in a `.pub` file: those that are pinned, or the one that the machine has
    /// shown.
    pub host_keys: Vec<String>,
    /// What stands in between.
    pub via: Option<Via>,
}

/// A private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateKeyFacts {
    /// The text of its file, in the format of OpenSSH and without a passphrase.
    pub text: Secret,
    /// A certificate for it, as in a `-cert.pub` file.
    pub certificate: Option<String>,
}

/// What stands between this host and a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Another SSH server, which opens the connection.
    Bastion(Box<ConnectionFacts>),
    /// A SOCKS5 proxy.
    Socks {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
}
