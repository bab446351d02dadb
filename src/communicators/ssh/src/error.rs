//! Why something over SSH did not work, and what to do about it. How errors are shown is not decided here.

use std::time::Duration;

use imgbuild_model::{Class, Diagnostic};

/// Why something over SSH did not work. None of them says a password or a private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name of an algorithm that is not implemented.
    #[error("no {what} is called `{name}`")]
    UnknownAlgorithm {
        /// `cipher` or `key exchange`.
        what: &'static str,
        /// What was written.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// No tunnel: not of the form `port:host:port`.
    #[error("`{0}` is not a tunnel")]
    Tunnel(String),
    /// A private key that cannot be read.
    #[error("{key} cannot be read: {reason}")]
    Key {
        /// The file in backticks, or what else the key is known as.
        key: String,
        /// Why.
        reason: String,
    },
    /// A private key that a passphrase protects.
    #[error("{0} is encrypted with a passphrase")]
    KeyEncrypted(String),
    /// A certificate that cannot be read, or is of another key.
    #[error("the certificate `{file}` cannot be used: {reason}")]
    Certificate {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The agent does not answer.
    #[error("the ssh agent at `{socket}` cannot be used: {reason}")]
    Agent {
        /// Its socket.
        socket: String,
        /// Why.
        reason: String,
    },
    /// A file of known hosts that cannot be read.
    #[error("the known hosts in `{file}` cannot be read: {reason}")]
    KnownHosts {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// No text of a host's public key.
    #[error("`{0}` is not a public key")]
    HostKeyText(String),
    /// Nobody listens there.
    #[error("`{0}` refuses connections")]
    Refused(String),
    /// The network does not lead there.
    #[error("`{address}` cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        reason: String,
    },
    /// The connection was made, and nothing was said.
    #[error("`{address}` takes connections but says nothing within {}", seconds(*.waited))]
    Silent {
        /// Host and port.
        address: String,
        /// How long was waited for the greeting.
        waited: Duration,
    },
    /// The connection was made and closed before a greeting.
    #[error("`{0}` closes connections without a word")]
    ClosedEarly(String),
    /// Something else than SSH.
    #[error("what answers at `{address}` is not ssh: it says `{said}`")]
    NotSsh {
        /// Host and port.
        address: String,
        /// The first line, without control characters.
        said: String,
    },
    /// Agreeing on keys or logging in took too long.
    #[error("`{address}` did not finish the handshake within {}", seconds(*.waited))]
    HandshakeSlow {
        /// Host and port.
        address: String,
        /// The limit.
        waited: Duration,
    },
    /// Agreeing on keys failed.
    #[error("the handshake with `{address}` failed: {reason}")]
    Handshake {
        /// Host and port.
        address: String,
        /// Why.
        reason: String,
    },
    /// Client and server have no algorithm in common.
    #[error("no {what} in common with `{address}`, which offers {}", list(.theirs))]
    NoCommonAlgorithm {
        /// Host and port.
        address: String,
        /// Which kind of algorithm.
        what: &'static str,
        /// What the server offers.
        theirs: Vec<String>,
    },
    /// The server's key is none of those that were expected.
    #[error("the host key of `{address}` is {offered}, which is not {}", expected.join(" or "))]
    HostKeyDiffers {
        /// Host and port.
        address: String,
        /// Algorithm and SHA-256 fingerprint of what the server showed.
        offered: String,
        /// The same of what was expected.
        expected: Vec<String>,
    },
    /// The file of known hosts does not name the server.
    #[error("the host key of `{address}`, {offered}, is not in `{file}`")]
    HostKeyUnknown {
        /// Host and port.
        address: String,
        /// Algorithm and SHA-256 fingerprint.
        offered: String,
        /// The file.
        file: String,
    },
    /// The file of known hosts says that the key is no longer to be trusted.
    #[error("the host key of `{address}`, {offered}, is revoked in `{file}`")]
    HostKeyRevoked {
        /// Host and port.
        address: String,
        /// Algorithm and SHA-256 fingerprint.
        offered: String,
        /// The file.
        file: String,
    },
    /// Every way to log in was refused.
    #[error("`{user}` cannot log in to `{address}`: the server refused {}", refused(.tried))]
    Denied {
        /// The user's name.
        user: String,
        /// Host and port.
        address: String,
        /// What was tried, in order.
        tried: Vec<String>,
        /// What the server would take, as SSH names it; empty if it did not say.
        offered: Vec<String>,
        /// Whether the server closed the connection before all was tried.
        hung_up: bool,
    },
    /// Nothing to log in with.
    #[error("there is nothing to log in to `{0}` with")]
    NoCredentials(String),
    /// The machine did not come up in time.
    #[error("ssh did not come up within {}: {last}", seconds(*.after))]
    TimedOut {
        /// The limit.
        after: Duration,
        /// What failed last.
        last: Box<Error>,
    },
    /// The machine did not start anew in time.
    #[error("the machine did not reboot within {}", seconds(*.0))]
    NoReboot(Duration),
    /// The host to go through.
    #[error("by way of the bastion: {0}")]
    Bastion(Box<Error>),
    /// The proxy to go through.
    #[error("the socks proxy `{proxy}` does not lead to `{address}`: {reason}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port of the machine.
        address: String,
        /// Why.
        reason: String,
    },
    /// The connection ended while something was under way.
    #[error("the connection to `{address}` was lost: {reason}")]
    Lost {
        /// Host and port.
        address: String,
        /// Why, as far as it is known.
        reason: String,
    },
    /// The server does not open another channel, or not of this kind.
    #[error("`{address}` refused {what}: {reason}")]
    ChannelRefused {
        /// Host and port.
        address: String,
        /// What was asked for.
        what: String,
        /// Why.
        reason: String,
    },
    /// A command ended, and the server did not say how.
    #[error("`{0}` did not say how the command ended")]
    NoExit(String),
    /// What a command is fed with cannot be read.
    #[error("the input of a command cannot be read: {0}")]
    Stdin(String),
    /// A tunnel that cannot be opened.
    #[error("the tunnel `{tunnel}` cannot be opened: {reason}")]
    TunnelFailed {
        /// The tunnel.
        tunnel: String,
        /// Why.
        reason: String,
    },
    /// A file of this host.
    #[error("`{path}`: {reason}")]
    Local {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file of the machine.
    #[error("`{path}` of the machine: {reason}")]
    Remote {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The machine has neither of the means to move files.
    #[error("`{address}` cannot take or give files: {reason}")]
    NoTransfer {
        /// Host and port.
        address: String,
        /// What it lacks.
        reason: String,
    },
    /// The server gave a name that would lead out of the folder.
    #[error("the machine sent the file name `{0}`, which is not one")]
    HostileName(String),
}

impl Error {
    /// What to do about it, if that can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownAlgorithm { known, .. } => format!("it is one of {}", list(known)),
            Self::Tunnel(_) => "write `port:host:port`, for example `8080:localhost:80`".to_owned(),
            Self::Key { .. } => {
                "give a private key in the format of OpenSSH, PKCS#8, PKCS#1 or PuTTY, not the public one".to_owned()
            }
            Self::KeyEncrypted(_) => {
                "add the key to an agent with `ssh-add` and set `ssh_agent_auth`, or take the passphrase off with `ssh-keygen -p`"
                    .to_owned()
            }
            Self::Certificate { .. } => {
                "give the `-cert.pub` file that `ssh-keygen -s` made of this very key".to_owned()
            }
            Self::Agent { .. } => "start one with `eval \"$(ssh-agent)\"` and add keys with `ssh-add`".to_owned(),
            Self::HostKeyText(_) => "write it as in a `.pub` file: `ssh-ed25519 AAAA…`".to_owned(),
            Self::Refused(_) => {
                "is the ssh server running, and is this its port (`ssh_port`)? A firewall may refuse it as well".to_owned()
            }
            Self::Unreachable { .. } => {
                "check `ssh_host`, and that this host may reach it; for a machine of a private network set `ssh_bastion_host`"
                    .to_owned()
            }
            Self::Silent { .. } | Self::ClosedEarly(_) => {
                "the port is forwarded, but the machine's ssh server may not be up yet; look at its console".to_owned()
            }
            Self::NotSsh { .. } => "check `ssh_host` and `ssh_port`".to_owned(),
            Self::HandshakeSlow { .. } => "the machine may be overloaded, or a firewall drops large packets (MTU)".to_owned(),
            Self::NoCommonAlgorithm { what: "cipher", .. } => "name one of them in `ssh_ciphers`".to_owned(),
            Self::NoCommonAlgorithm { what: "key exchange", .. } => {
                "name one of them in `ssh_key_exchange_algorithms`".to_owned()
            }
            Self::HostKeyDiffers { .. } => {
                "another machine answers there, or someone stands in between; if the key was changed on purpose, pin the new one"
                    .to_owned()
            }
            Self::HostKeyUnknown { file, .. } => {
                format!("compare the fingerprint with what the machine says of itself, then add the key to `{file}`")
            }
            Self::HostKeyRevoked { .. } => "the machine needs another host key".to_owned(),
            Self::Denied { offered, tried, hung_up, .. } => denied_hint(offered, tried, *hung_up),
            Self::NoCredentials(_) => {
                "set `ssh_private_key_file`, `ssh_agent_auth` or `ssh_password`".to_owned()
            }
            Self::TimedOut { last, .. } => {
                return Some(match last.hint() {
                    Some(hint) => format!("{hint}; a slow machine needs a longer `ssh_timeout`"),
                    None => "a slow machine needs a longer `ssh_timeout`".to_owned(),
                });
            }
            Self::NoReboot(_) => "does the command reboot the machine at all?".to_owned(),
            Self::Bastion(inner) => return inner.hint().map(|hint| hint.replace("`ssh_", "`ssh_bastion_").replace("ssh_bastion_bastion", "ssh_bastion")),
            Self::Proxy { .. } => {
                "check `ssh_proxy_host`, `ssh_proxy_port`, and what the proxy may reach".to_owned()
            }
            Self::Lost { .. } => {
                "the machine may have rebooted, stopped or run out of memory; look at its console".to_owned()
            }
            Self::NoTransfer { .. } => {
                "install `openssh-sftp-server` or `scp` in the machine".to_owned()
            }
            Self::TunnelFailed { .. } => {
                "the port may be in use, or the server forbids tunnels (`AllowTcpForwarding`)".to_owned()
            }
            _ => return None,
        })
    }

    /// Who must act: the author of the settings, this host, or the machine.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::UnknownAlgorithm { .. }
            | Self::Tunnel(_)
            | Self::Key { .. }
            | Self::KeyEncrypted(_)
            | Self::Certificate { .. }
            | Self::KnownHosts { .. }
            | Self::HostKeyText(_)
            | Self::NoCredentials(_) => Class::Input,
            Self::Agent { .. } | Self::Local { .. } | Self::Stdin(_) => Class::Environment,
            Self::Bastion(inner) => inner.class(),
            _ => Class::Remote,
        }
    }

    /// The same, with its hint, for whoever shows errors.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic { class: self.class(), hint: self.hint(), ..Diagnostic::error(self.to_string()) }
    }

    /// Whether waiting can help: what a machine that is only just starting shows.
    pub(crate) fn passes_by_waiting(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::ClosedEarly(_)
            | Self::HandshakeSlow { .. }
            | Self::Handshake { .. }
            | Self::Denied { .. }
            | Self::ChannelRefused { .. }
            | Self::Proxy { .. }
            | Self::Lost { .. } => true,
            Self::Bastion(inner) => inner.passes_by_waiting(),
            _ => false,
        }
    }

    /// Whether someone was refused to log in.
    pub(crate) fn is_denial(&self) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::Bastion(inner) => inner.is_denial(),
            _ => false,
        }
    }
}

fn denied_hint(offered: &[String], tried: &[String], hung_up: bool) -> String {
    let takes = |method: &str| offered.iter().any(|one| one == method);
    if hung_up && tried.len() > 1 {
        return "the server hangs up after a few attempts (`MaxAuthTries`); give one key instead of an agent with many"
            .to_owned();
    }
    if !offered.is_empty() && !takes("publickey") {
        return "the server takes no keys; set `ssh_password`".to_owned();
    }
    if tried.iter().all(|one| one == "the password" || one.starts_with("keyboard")) && !takes("password") {
        return "the server takes no passwords; set `ssh_private_key_file` or `ssh_agent_auth`".to_owned();
    }
    "check `ssh_username` (often `ubuntu`, `debian`, `ec2-user` or `root`), and that the public key is in its `~/.ssh/authorized_keys`"
        .to_owned()
}

fn refused(tried: &[String]) -> String {
    if tried.is_empty() { "to let it try".to_owned() } else { tried.join(", ") }
}

fn list(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if duration.subsec_millis() == 0 && seconds >= 60.0 && duration.as_secs().is_multiple_of(60) {
        format!("{} min", duration.as_secs() / 60)
    } else if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{seconds:.1} s")
    }
}

/// The reason of an error of input or output, without its number, and without the path that `fs_err` says.
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once("`: ").map_or(text.as_str(), |(_, reason)| reason);
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut chars = text.chars();
    match (chars.next(), text.chars().nth(1)) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
