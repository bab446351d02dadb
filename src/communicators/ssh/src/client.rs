//! What the server may ask of this side: to take its host key, to open channels of remote tunnels, and to reach the agent.
//! All else is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure, Preferred};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixStream};

use crate::Error;
use crate::known_hosts::{KnownHosts, Verdict};
use crate::settings::{HostKeys, Tunnel, address, fingerprint};
use crate::wire::{Ending, WireState};

/// Where the ports that the server listens on lead.
pub(crate) type RemoteTunnels = Arc<Mutex<BTreeMap<u32, Tunnel>>>;

/// Which host keys are taken, read and ready.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) keys: HostKeys,
    known: Option<(String, KnownHosts)>,
    /// The key that the host has shown last, and that was taken.
    shown: Arc<Mutex<Option<PublicKey>>>,
}

impl Trust {
    pub(crate) fn load(host: &str, port: u16, keys: &HostKeys) -> Result<Self, Error> {
        let known = match keys {
            HostKeys::AcceptNew(file, _) if file.as_ref().is_none_or(|file| !file.exists()) => {
                Some((String::new(), KnownHosts::parse("")))
            }
            HostKeys::KnownHosts(file) | HostKeys::AcceptNew(Some(file), _) => {
                Some((file.display().to_string(), KnownHosts::read(file)?))
            }
            HostKeys::AcceptNew(None, _) | HostKeys::Pinned(_) | HostKeys::AcceptAny => None,
        };
        Ok(Self { host: host.to_owned(), port, keys: keys.clone(), known, shown: Arc::default() })
    }

    /// Asks first for keys of the kinds that are known: a server shows one only.
    pub(crate) fn prefer(&self, preferred: &mut Preferred) {
        let known = match (&self.keys, &self.known) {
            (HostKeys::Pinned(keys), _) => keys.iter().map(|key| key.0.algorithm()).collect(),
            (_, Some((_, known))) => known.algorithms(&self.host, self.port),
            _ => Vec::new(),
        };
        let is_known = |one: &Algorithm| {
            known.iter().any(|known| match (known, one) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (known, one) => known == one,
            })
        };
        let mut order = preferred.key.to_vec();
        order.sort_by_key(|one| !is_known(one));
        if self.known.as_ref().is_some_and(|(_, known)| known.has_authority(&self.host, self.port)) {
            preferred.host_key_certificates = order.clone().into();
        }
        preferred.key = order.into();
    }

    /// The host has let us in.
    pub(crate) fn was_let_in(&self) {
        if let HostKeys::AcceptNew(_, believed) = &self.keys {
            believed.was_let_in(&address(&self.host, self.port));
        }
    }

    /// The key that the host has shown and that was taken.
    pub(crate) fn shown(&self) -> Option<PublicKey> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self, shown: &PublicKeyOrCertificate) -> Result<(), Error> {
        let key = shown.public_key();
        let (address, offered) = (address(&self.host, self.port), fingerprint(&key));
        let (file, verdict) = match (&self.keys, &self.known) {
            (HostKeys::Pinned(pinned), _) => {
                let verdict = if pinned.iter().any(|one| one.0.key_data() == key.key_data()) {
                    Verdict::Known
                } else {
                    Verdict::Differs(pinned.iter().map(|one| fingerprint(&one.0)).collect())
                };
                (String::new(), verdict)
            }
            (_, Some((file, known))) => {
                let verdict = match shown.certificate() {
                    Some(certificate) => {
                        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                        known.check_certificate(&self.host, self.port, certificate, now)
                    }
                    None => known.check(&self.host, self.port, &key),
                };
                (file.clone(), verdict)
            }
            _ => return Ok(()),
        };
        match (verdict, &self.keys) {
            (Verdict::Unknown, HostKeys::AcceptNew(_, believed)) => match believed.hold(&address, &offered) {
                held if held == offered => Ok(()),
                held => Err(Error::HostKeyDiffers { address, offered, expected: vec![held] }),
            },
            (Verdict::Known, _) => Ok(()),
            (Verdict::Unknown, _) => Err(Error::HostKeyUnknown { address, offered, file }),
            (Verdict::Differs(expected), _) => Err(Error::HostKeyDiffers { address, offered, expected }),
            (Verdict::Revoked, _) => Err(Error::HostKeyRevoked { address, offered, file }),
        }
    }
}

/// This side of a connection.
pub(crate) struct Client {
    pub(crate) trust: Trust,
    pub(crate) rejected: Arc<OnceLock<Error>>,
    pub(crate) state: Arc<WireState>,
    pub(crate) tunnels: RemoteTunnels,
    pub(crate) agent: Option<PathBuf>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Self::Error> {
        tracing::debug!(host = self.trust.host, banner, "the server greets");
        Ok(())
    }

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        match self.trust.check(shown) {
            Ok(()) => {
                let mut taken = self.trust.shown.lock().unwrap_or_else(PoisonError::into_inner);
                *taken = Some(shown.public_key().clone());
                Ok(true)
            }
            Err(error) => {
                self.rejected.get_or_init(|| error);
                Ok(false)
            }
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        connected_port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let state = self.state.clone();
        let tunnel =
            self.tunnels.lock().unwrap_or_else(PoisonError::into_inner).get(&connected_port).cloned();
        tokio::spawn(async move {
            let Some(tunnel) = tunnel else {
                return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            };
            match TcpStream::connect((&*tunnel.host, tunnel.port)).await {
                Ok(mut stream) => {
                    reply.accept().await;
                    // How either side ends is their own matter.
                    let _ = copy_bidirectional(&mut Ending::new(channel.into_stream(), &state), &mut stream)
                        .await;
                }
                Err(error) => {
                    tracing::debug!(%tunnel, %error, "a remote tunnel leads nowhere");
                    reply.reject(ChannelOpenFailure::ConnectFailed).await;
                }
            }
        });
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let (agent, state) = (self.agent.clone(), self.state.clone());
        tokio::spawn(async move {
            let Some(agent) = agent else {
                return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            };
            match UnixStream::connect(agent).await {
                Ok(mut stream) => {
                    reply.accept().await;
                    let _ = copy_bidirectional(&mut Ending::new(channel.into_stream(), &state), &mut stream)
                        .await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply)
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply)
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply)
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply)
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        refuse(reply)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.state.end(|| format!("the server says `{}`", info.message.trim()));
                Ok(())
            }
            DisconnectReason::Error(error) => {
                self.state.end(|| reason_of(&error));
                Err(error)
            }
        }
    }
}

/// Dropping the answer refuses the channel.
fn refuse(reply: ChannelOpenHandle) -> Result<(), russh::Error> {
    drop(reply);
    Ok(())
}

/// An error of the library in a few words.
pub(crate) fn reason_of(error: &russh::Error) -> String {
    match error {
        russh::Error::KeepaliveTimeout => "it gave no sign of life".to_owned(),
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError | russh::Error::RecvError => {
            "the other side closed it".to_owned()
        }
        russh::Error::IO(error) => crate::error::io_reason(error),
        russh::Error::ChannelOpenFailure(reason) => match reason {
            ChannelOpenFailure::AdministrativelyProhibited => "the server forbids it".to_owned(),
            ChannelOpenFailure::ConnectFailed => "the connection failed".to_owned(),
            ChannelOpenFailure::UnknownChannelType => "the server does not know it".to_owned(),
            ChannelOpenFailure::ResourceShortage => "the server has too many already".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        },
        russh::Error::RequestDenied => "the server refused".to_owned(),
        error => {
            let text = error.to_string();
            let mut chars = text.chars();
            chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
        }
    }
}

/// The hash that keys of RSA are to be used with; others have none of their own.
pub(crate) fn hashes(algorithm: &Algorithm, best: Option<Option<HashAlg>>) -> Vec<Option<HashAlg>> {
    match (algorithm.clone().is_rsa(), best) {
        (false, _) => vec![None],
        (true, Some(best)) => vec![best],
        // A server that does not say is an old one: SHA-1 may be all it knows.
        (true, None) => vec![Some(HashAlg::Sha256), None],
    }
}
