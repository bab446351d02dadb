//! Logging in: the agent's keys, private keys with their certificates, the password, the server's questions. In this order, as
//! Packer does; what the server says that it does not take is not tried.

use std::path::Path;
use std::sync::Arc;

use imgbuild_model::Secret;
use russh::MethodKind;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};

use crate::client::{Client, hashes, reason_of};
use crate::keys::Loaded;
use crate::settings::{Login, fingerprint};
use crate::wire::WireState;
use crate::{Ask, Error};

/// A server that asks more often than this is not answered any more.
const ROUNDS: usize = 16;

/// Logs in.
pub(crate) async fn log_in(
    handle: &mut Handle<Client>,
    login: &Login,
    keys: &[Loaded],
    address: &str,
    state: &WireState,
) -> Result<(), Error> {
    let mut attempt = Attempt {
        handle,
        user: &login.username,
        state,
        address,
        tried: Vec::new(),
        offered: None,
        best: None,
    };
    if login.agent.is_none() && keys.is_empty() && login.password.is_none() && login.ask.is_none() {
        // A server may ask for nothing at all.
        let answer = attempt.handle.authenticate_none(&login.username).await;
        return match attempt.settle(answer, "")? {
            true => Ok(()),
            false => Err(Error::NoCredentials(address.to_owned())),
        };
    }
    if attempt.all(login, keys).await? {
        return Ok(());
    }
    Err(attempt.denied(false))
}

struct Attempt<'a> {
    handle: &'a mut Handle<Client>,
    user: &'a str,
    state: &'a WireState,
    address: &'a str,
    tried: Vec<String>,
    /// What the server takes, as far as it said.
    offered: Option<Vec<MethodKind>>,
    best: Option<Option<Option<HashAlg>>>,
}

impl Attempt<'_> {
    async fn all(&mut self, login: &Login, keys: &[Loaded]) -> Result<bool, Error> {
        if let Some(socket) = &login.agent
            && self.agent(socket).await?
        {
            return Ok(true);
        }
        for key in keys {
            if self.key(key).await? {
                return Ok(true);
            }
        }
        if let Some(password) = &login.password
            && self.takes(MethodKind::Password)
        {
            let text = String::from_utf8_lossy(password.expose()).into_owned();
            let answer = self.handle.authenticate_password(self.user, text).await;
            if self.settle(answer, "the password")? {
                return Ok(true);
            }
        }
        if (login.password.is_some() || login.ask.is_some()) && self.takes(MethodKind::KeyboardInteractive) {
            return self.questions(login.password.as_ref(), login.ask.as_deref()).await;
        }
        Ok(false)
    }

    fn takes(&self, method: MethodKind) -> bool {
        self.offered.as_ref().is_none_or(|offered| offered.is_empty() || offered.contains(&method))
    }

    fn denied(&self, hung_up: bool) -> Error {
        let offered = self.offered.iter().flatten().map(|method| <&str>::from(method).to_owned()).collect();
        Error::Denied {
            user: self.user.to_owned(),
            address: self.address.to_owned(),
            tried: self.tried.clone(),
            offered,
            hung_up,
        }
    }

    /// Whether an attempt went well. `what` was tried, unless it is empty.
    fn settle(&mut self, answer: Result<AuthResult, russh::Error>, what: &str) -> Result<bool, Error> {
        if !what.is_empty() && !matches!(answer, Ok(AuthResult::Success)) {
            self.tried.push(what.to_owned());
        }
        match answer {
            Ok(AuthResult::Success) => return Ok(true),
            Ok(AuthResult::Failure { remaining_methods, .. }) if !self.handle.is_closed() => {
                if !remaining_methods.is_empty() {
                    self.offered = Some(remaining_methods.to_vec());
                }
                return Ok(false);
            }
            _ => {}
        }
        // The server hung up: after too many attempts, or for a reason of its own.
        if self.tried.is_empty() {
            return Err(Error::Handshake { address: self.address.to_owned(), reason: self.state.reason() });
        }
        Err(self.denied(true))
    }

    /// The hashes that a key of RSA is tried with. Asking the server may take a second, so it is done once and if needed.
    async fn hashes(&mut self, algorithm: &russh::keys::Algorithm) -> Vec<Option<HashAlg>> {
        if algorithm.clone().is_rsa() && self.best.is_none() {
            self.best = Some(self.handle.best_supported_rsa_hash().await.unwrap_or_default());
        }
        hashes(algorithm, self.best.flatten())
    }

    async fn key(&mut self, key: &Loaded) -> Result<bool, Error> {
        if !self.takes(MethodKind::PublicKey) {
            return Ok(false);
        }
        let hashes = self.hashes(&key.private.algorithm()).await;
        if let Some(certificate) = &key.certificate {
            let mut signer = OwnKey(key.private.clone());
            let hash = hashes.first().copied().flatten();
            let answer = self
                .handle
                .authenticate_certificate_with(self.user, certificate.clone(), hash, &mut signer)
                .await;
            let answer = answer.map_err(|NotSigned| russh::Error::Disconnect);
            if self.settle(answer, &format!("the certificate `{}` of {}", certificate.key_id(), key.name))? {
                return Ok(true);
            }
        }
        for (index, hash) in hashes.iter().enumerate() {
            let private = PrivateKeyWithHashAlg::new(key.private.clone(), *hash);
            let answer = self.handle.authenticate_publickey(self.user, private).await;
            let what = if index == 0 { key.name.as_str() } else { "" };
            if self.settle(answer, what)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn agent(&mut self, socket: &Path) -> Result<bool, Error> {
        let unusable = |reason: String| Error::Agent { socket: socket.display().to_string(), reason };
        let mut agent = AgentClient::connect_uds(socket).await.map_err(|error| match error {
            russh::keys::Error::IO(error) => unusable(crate::error::io_reason(&error)),
            error => unusable(error.to_string().to_lowercase()),
        })?;
        let identities =
            agent.request_identities().await.map_err(|error| unusable(error.to_string().to_lowercase()))?;
        if identities.is_empty() {
            self.tried.push("the agent, which has no keys".to_owned());
        }
        for identity in identities {
            if !self.takes(MethodKind::PublicKey) {
                break;
            }
            let key = identity.public_key().into_owned();
            let what = format!("the agent's key {}", fingerprint(&key));
            for hash in self.hashes(&key.algorithm()).await {
                let answer = match &identity {
                    AgentIdentity::PublicKey { key, .. } => {
                        self.handle
                            .authenticate_publickey_with(self.user, key.clone(), hash, &mut agent)
                            .await
                    }
                    AgentIdentity::Certificate { certificate, .. } => {
                        self.handle
                            .authenticate_certificate_with(self.user, certificate.clone(), hash, &mut agent)
                            .await
                    }
                };
                match answer {
                    Ok(answer) => {
                        if self.settle(Ok(answer), &what)? {
                            return Ok(true);
                        }
                    }
                    // The agent would not sign, which says nothing of the next key.
                    Err(_) if !self.handle.is_closed() => {
                        self.tried.push(format!("{what}, which it did not sign with"))
                    }
                    Err(_) => return self.settle(Err(russh::Error::Disconnect), &what),
                }
            }
        }
        Ok(false)
    }

    async fn questions(&mut self, password: Option<&Secret>, ask: Option<&dyn Ask>) -> Result<bool, Error> {
        const WHAT: &str = "keyboard-interactive";
        let mut answer = self.handle.authenticate_keyboard_interactive_start(self.user, None::<String>).await;
        for _ in 0..ROUNDS {
            let prompts = match answer {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(true),
                Ok(KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success }) => {
                    return self.settle(Ok(AuthResult::Failure { remaining_methods, partial_success }), WHAT);
                }
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => prompts,
                Err(error) => {
                    tracing::debug!(reason = reason_of(&error), "no answer to answers");
                    return self.settle(Err(error), WHAT);
                }
            };
            let mut answers = Vec::new();
            for prompt in prompts {
                let asked = match ask {
                    Some(ask) => ask.ask(&prompt.prompt, prompt.echo).await,
                    None => password.cloned(),
                };
                let Some(secret) = asked else {
                    self.tried.push(format!("{WHAT}, which nobody answered"));
                    return Ok(false);
                };
                answers.push(String::from_utf8_lossy(secret.expose()).into_owned());
            }
            answer = self.handle.authenticate_keyboard_interactive_respond(answers).await;
        }
        self.tried.push(format!("{WHAT}, which asks without end"));
        Ok(false)
    }
}

/// Signs for a certificate. The library's own way signs with SHA-1 for keys of RSA, which servers refuse.
struct OwnKey(Arc<PrivateKey>);

/// Why there is no signature does not matter: the connection cannot be used for another.
struct NotSigned;

impl From<russh::SendError> for NotSigned {
    fn from(_: russh::SendError) -> Self {
        Self
    }
}

impl russh::Signer for OwnKey {
    type Error = NotSigned;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, NotSigned> {
        let signature: Result<Signature, _> = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&data),
            _ => self.0.as_ref().try_sign(&data),
        };
        signature.map_err(|_| NotSigned)?.encode_prefixed(&mut data).map_err(|_| NotSigned)?;
        Ok(data)
    }
}
