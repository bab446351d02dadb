//! The crate against OpenSSH's own server, client, agent and tools. What is missing on a host is said on standard error.

mod commands;
mod facts;
mod files;
mod logins;
mod reaching;
mod server;
mod stand_in;
