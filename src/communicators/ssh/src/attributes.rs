//! The `ssh_*` attributes of a source as settings of a connection. Durations are whole milliseconds in them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use imgbuild_engine::ActionError;
use imgbuild_model::{Attributes, Secret, Value};

use crate::{
    Algorithms, Bastion, HostKeys, Key, KeySource, Login, Patience, Proxy, Route, Settings, TransferMethod,
    Tunnel,
};

/// What of the user's surroundings matters to connections.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The home folder: what `~` in paths of keys means, and where `.ssh/known_hosts` is.
    pub home: Option<PathBuf>,
    /// The socket of the user's agent (`SSH_AUTH_SOCK`).
    pub agent: Option<PathBuf>,
}

/// How the machine is reached that these attributes are of; `host_keys` are those of the machine and of what leads there.
///
/// # Errors
/// What of it cannot be used.
pub fn settings_of(
    source: &Attributes,
    around: &Surroundings,
    host_keys: HostKeys,
) -> Result<Settings, ActionError> {
    let reader = Reader { source, around };
    let login = reader.login("ssh")?;
    let host = reader.text("ssh_host").unwrap_or_default();
    let mut settings = Settings::new(host, reader.port("ssh_port", 22), login, host_keys.clone());
    settings.route = reader.route(host_keys)?;
    settings.pty = source.is_true("ssh_pty");
    settings.algorithms =
        Algorithms::named(&reader.texts("ssh_ciphers"), &reader.texts("ssh_key_exchange_algorithms"))?;
    let timeout = milliseconds(source, "ssh_wait_timeout").or_else(|| milliseconds(source, "ssh_timeout"));
    let attempts = reader.number("ssh_handshake_attempts").and_then(|number| u32::try_from(number).ok());
    settings.patience = Patience::of(timeout, attempts);
    if let Some(interval) = milliseconds(source, "ssh_keep_alive_interval") {
        settings.keep_alive = Some(interval).filter(|interval| !interval.is_zero());
    }
    settings.read_write_timeout =
        milliseconds(source, "ssh_read_write_timeout").filter(|timeout| !timeout.is_zero());
    settings.local_tunnels = reader.tunnels("ssh_local_tunnels")?;
    settings.remote_tunnels = reader.tunnels("ssh_remote_tunnels")?;
    if source.str("ssh_file_transfer_method") == Some("sftp") {
        settings.transfer = TransferMethod::Sftp;
    }
    Ok(settings)
}

/// A duration of a source.
#[must_use]
pub fn milliseconds(source: &Attributes, name: &str) -> Option<Duration> {
    let number = source.get(name).and_then(Value::as_int)?;
    Some(Duration::from_millis(u64::try_from(number).unwrap_or_default()))
}

struct Reader<'a> {
    source: &'a Attributes,
    around: &'a Surroundings,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.source.str(name).filter(|text| !text.is_empty())
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.source.strings(name).map(str::to_owned).collect()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.source.get(name).and_then(Value::as_int)
    }

    fn port(&self, name: &str, usual: u16) -> u16 {
        self.number(name).and_then(|port| u16::try_from(port).ok()).unwrap_or(usual)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let text = self.text(name)?;
        let home = self.around.home.as_deref();
        Some(match (text.strip_prefix("~/"), home) {
            (Some(below), Some(home)) => home.join(below),
            _ => Path::new(text).to_path_buf(),
        })
    }

    fn tunnels(&self, name: &str) -> Result<Vec<Tunnel>, ActionError> {
        self.source.strings(name).map(|text| text.parse().map_err(ActionError::from)).collect()
    }

    /// Who logs in, by the attributes that begin with `prefix`.
    fn login(&self, prefix: &str) -> Result<Login, ActionError> {
        let name = |rest: &str| format!("{prefix}_{rest}");
        let key = self.path(&name("private_key_file"));
        let agent = match self.source.is_true(&name("agent_auth")) {
            false => None,
            true => Some(self.around.agent.clone().ok_or_else(|| {
                ActionError::environment(format!("`{}` is set, and there is no agent", name("agent_auth")))
                    .hint("start one, and set `SSH_AUTH_SOCK` to its socket")
            })?),
        };
        Ok(Login {
            username: self.text(&name("username")).unwrap_or_default().to_owned(),
            password: self.text(&name("password")).map(Secret::new),
            keys: key
                .map(|file| Key {
                    private: KeySource::File(file),
                    certificate: self.path(&name("certificate_file")),
                })
                .into_iter()
                .collect(),
            agent,
            ask: None,
        })
    }

    /// What leads there.
    fn route(&self, host_keys: HostKeys) -> Result<Route, ActionError> {
        if let Some(host) = self.text("ssh_bastion_host") {
            let mut login = self.login("ssh_bastion")?;
            if self.source.is_true("ssh_bastion_interactive") {
                return Err(ActionError::input("`ssh_bastion_interactive` is not built in yet")
                    .hint("use a key or an agent for the bastion"));
            }
            if login.keys.is_empty() && login.password.is_none() && login.agent.is_none() {
                login.keys = self.login("ssh")?.keys;
            }
            return Ok(Route::Bastion(Box::new(Bastion {
                host: host.to_owned(),
                port: self.port("ssh_bastion_port", 22),
                login,
                host_keys,
            })));
        }
        Ok(match self.text("ssh_proxy_host") {
            None => Route::Direct,
            Some(host) => Route::Proxy(Proxy {
                host: host.to_owned(),
                port: self.port("ssh_proxy_port", 1080),
                login: self.text("ssh_proxy_username").map(|name| {
                    (name.to_owned(), Secret::new(self.text("ssh_proxy_password").unwrap_or_default()))
                }),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> HostKeys {
        HostKeys::KnownHosts("/known".into())
    }

    fn attributes(pairs: &[(&str, Value)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).into(), value.clone())).collect()
    }

    #[test]
    fn attributes_become_settings() {
        let around = Surroundings { home: Some("/home/me".into()), agent: Some("/run/agent".into()) };
        let source = attributes(&[
            ("ssh_host", Value::string("web")),
            ("ssh_port", Value::Int(2222)),
            ("ssh_username", Value::string("admin")),
            ("ssh_password", Value::string("hunter2hunter2")),
            ("ssh_private_key_file", Value::string("~/.ssh/id")),
            ("ssh_agent_auth", Value::Bool(true)),
            ("ssh_timeout", Value::Int(60_000)),
            ("ssh_keep_alive_interval", Value::Int(0)),
            ("ssh_bastion_host", Value::string("door")),
            ("ssh_bastion_username", Value::string("guest")),
            ("ssh_local_tunnels", Value::list([Value::string("8080:localhost:80")])),
        ]);
        let settings = settings_of(&source, &around, known()).unwrap();
        assert_eq!(settings.address(), "web:2222");
        assert_eq!(settings.login.agent.as_deref(), Some(Path::new("/run/agent")));
        assert!(
            matches!(&settings.login.keys[0].private, KeySource::File(path) if path == Path::new("/home/me/.ssh/id"))
        );
        assert_eq!(settings.patience, Patience { timeout: Some(Duration::from_secs(60)), attempts: None });
        assert_eq!(settings.keep_alive, None);
        assert_eq!(settings.local_tunnels.len(), 1);
        let Route::Bastion(bastion) = &settings.route else { panic!("{:?}", settings.route) };
        assert_eq!((&*bastion.host, bastion.port, bastion.login.keys.len()), ("door", 22, 1));
        assert!(
            matches!(&bastion.host_keys, HostKeys::KnownHosts(path) if path.ends_with("known")),
            "what leads there is held to the same keys"
        );
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let around = Surroundings::default();
        for (name, value, expected) in [
            ("ssh_agent_auth", Value::Bool(true), "`ssh_agent_auth` is set, and there is no agent"),
            ("ssh_ciphers", Value::list([Value::string("rot13")]), "rot13"),
            ("ssh_remote_tunnels", Value::list([Value::string("80")]), "`80` is not a tunnel"),
        ] {
            let error = settings_of(&attributes(&[(name, value)]), &around, known()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
