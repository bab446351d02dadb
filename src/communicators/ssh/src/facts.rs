//! A connection as facts, for other programs that reach the same machine. Writing them into files is not done here.

use imgbuild_engine::{ConnectionFacts, PrivateKeyFacts, Via};
use imgbuild_model::Secret;
use russh::keys::ssh_key::LineEnding;

use crate::Connection;
use crate::client::Trust;
use crate::keys::Loaded;
use crate::settings::{HostKeys, Login, Route};

impl Connection {
    /// How another program reaches the machine as this connection does: with the keys that were read for it, whatever their
    /// format, and held to the host keys that it believes.
    #[must_use]
    pub fn facts(&self) -> ConnectionFacts {
        let prepared = &self.core.prepared;
        let settings = &prepared.settings;
        let via = match (&settings.route, &prepared.bastion) {
            (Route::Bastion(bastion), Some((keys, trust))) => {
                Some(Via::Bastion(Box::new(facts(&bastion.login, keys, trust, None))))
            }
            (Route::Proxy(proxy), _) => Some(Via::Socks { host: proxy.host.clone(), port: proxy.port }),
            _ => None,
        };
        facts(&settings.login, &prepared.keys, &prepared.trust, via)
    }
}

fn facts(login: &Login, keys: &[Loaded], trust: &Trust, via: Option<Via>) -> ConnectionFacts {
    ConnectionFacts {
        host: trust.host.clone(),
        port: trust.port,
        user: login.username.clone(),
        password: login.password.clone(),
        keys: keys.iter().filter_map(key).collect(),
        agent: login.agent.clone(),
        host_keys: host_keys(trust),
        via,
    }
}

fn key(key: &Loaded) -> Option<PrivateKeyFacts> {
    Some(PrivateKeyFacts {
        text: Secret::new(key.private.to_openssh(LineEnding::LF).ok()?.as_bytes()),
        certificate: key.certificate.as_ref().and_then(|certificate| certificate.to_openssh().ok()),
    })
}

fn host_keys(trust: &Trust) -> Vec<String> {
    let keys = match &trust.keys {
        HostKeys::Pinned(pinned) => pinned.iter().map(|key| key.0.clone()).collect(),
        _ => Vec::from_iter(trust.shown()),
    };
    keys.iter().filter_map(|key| key.to_openssh().ok()).collect()
}
