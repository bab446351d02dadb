//! Machines reached over SSH: connecting while they start, commands, files, tunnels.
//!
//! [`connect`] makes a [`Connection`] from [`Settings`], which hold what Packer's `ssh_*` attributes say; [`settings_of`] reads
//! those. What is not here: reading the environment. [`SshSession`] is a connection as steps use it.

mod algorithms;
mod attributes;
mod auth;
mod client;
mod connect;
mod connection;
mod error;
mod exec;
mod facts;
mod files;
mod keys;
mod known_hosts;
mod quote;
mod scp;
mod session;
mod settings;
mod sftp;
mod terminal;
mod transfer;
mod tree;
mod tunnel;
mod wire;

pub use algorithms::Algorithms;
pub use attributes::{Surroundings, milliseconds, settings_of};
pub use connect::LOST_AFTER;
pub use connection::{Connection, Output, connect, connect_after};
pub use error::Error;
pub use exec::{Exit, OnLine, Signal, Stdin};
pub use keys::public_key;
pub use known_hosts::{KnownHosts, Verdict};
pub use quote::quote;
pub use russh::keys::{Certificate, PublicKey};
pub use session::SshSession;
pub use settings::{
    Ask, Bastion, Believed, HostKey, HostKeys, Key, KeySource, Login, Patience, Proxy, Route, Settings,
    TransferMethod, Tunnel, Waits,
};
pub use transfer::{Downloaded, Uploaded};
