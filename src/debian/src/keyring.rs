//! OpenPGP keyrings and the check of clear-signed messages against them.
//!
//! Trust is only this: a good signature by a usable key of the keyring. There is no web of trust and no default keyring.

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::Signature;
use pgp::types::{KeyDetails, VerifyingKey};

/// A set of certificates that are trusted alike.
#[derive(Clone, Debug)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// Why a keyring could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyringError {
    /// The bytes are no OpenPGP certificates.
    #[error("the keyring cannot be read: {0}")]
    Malformed(String),
    /// There is no certificate in it.
    #[error("the keyring holds no key")]
    Empty,
}

/// Why no signature of a message counts.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// It is not a clear-signed message.
    #[error("not a clear-signed message: {0}")]
    Malformed(String),
    /// It carries no signature.
    #[error("the message carries no signature")]
    Unsigned,
    /// All signatures are by keys that the keyring does not hold.
    #[error("signed by keys that the keyring does not hold: {}", keys.join(", "))]
    UnknownKey {
        /// Key ids or fingerprints, in upper-case hexadecimal.
        keys: Vec<String>,
    },
    /// A key of the keyring was named, but its signature does not count.
    #[error("no good signature: {}", reasons.join("; "))]
    Bad {
        /// One reason for each signature.
        reasons: Vec<String>,
    },
}

const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

impl Keyring {
    /// Reads certificates, binary or armored, any number of them (or of armored blocks) one after the other.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyringError> {
        let malformed = |error: pgp::errors::Error| KeyringError::Malformed(error.to_string());
        let mut certificates = Vec::new();
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(ARMOR) => {
                for block in text.split(ARMOR).skip(1) {
                    let armored = format!("{ARMOR}{block}");
                    let (keys, _) =
                        SignedPublicKey::from_armor_many(armored.as_bytes()).map_err(malformed)?;
                    for key in keys {
                        certificates.push(key.map_err(malformed)?);
                    }
                }
            }
            _ => {
                for key in SignedPublicKey::from_bytes_many(bytes).map_err(malformed)? {
                    certificates.push(key.map_err(malformed)?);
                }
            }
        }
        if certificates.is_empty() { Err(KeyringError::Empty) } else { Ok(Self { certificates }) }
    }

    /// How many certificates there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Whether there is none; a parsed keyring is never empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Checks a clear-signed message and returns the text that was signed, with `\n` line ends. One good signature is
    /// enough; only what it covers is returned.
    ///
    /// `now` in seconds since 1970 decides which keys and signatures have expired; `None` takes the signature's own time.
    pub fn verify_cleartext(&self, message: &[u8], now: Option<u64>) -> Result<VerifiedText, SignatureError> {
        let text =
            std::str::from_utf8(message).map_err(|error| SignatureError::Malformed(error.to_string()))?;
        let (message, _) = CleartextSignedMessage::from_string(text)
            .map_err(|error| SignatureError::Malformed(error.to_string()))?;
        if message.signatures().is_empty() {
            return Err(SignatureError::Unsigned);
        }
        let signed = message.signed_text();
        let mut unknown = Vec::new();
        let mut reasons = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, signed.as_bytes(), now) {
                Ok(fingerprint) => {
                    return Ok(VerifiedText { text: signed.replace("\r\n", "\n"), signer: fingerprint });
                }
                Err(Rejection::UnknownKey(key)) => unknown.push(key),
                Err(Rejection::Bad(reason)) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            Err(SignatureError::UnknownKey { keys: unknown })
        } else {
            Err(SignatureError::Bad { reasons })
        }
    }

    fn check(&self, signature: &Signature, text: &[u8], now: Option<u64>) -> Result<String, Rejection> {
        match signature.hash_alg() {
            Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512) => {}
            Some(HashAlgorithm::Sha3_256 | HashAlgorithm::Sha3_512) => {}
            other => return Err(Rejection::Bad(format!("the hash {other:?} is too weak"))),
        }
        let created = signature
            .created()
            .map(|t| u64::from(t.as_secs()))
            .ok_or_else(|| Rejection::Bad("the signature has no date".to_owned()))?;
        let now = now.unwrap_or(created);
        if expired(created, signature.signature_expiration_time().map(|d| u64::from(d.as_secs())), now) {
            return Err(Rejection::Bad("the signature has expired".to_owned()));
        }
        let mut reason = None;
        for certificate in &self.certificates {
            let primary = &certificate.primary_key;
            let mut candidates = Vec::new();
            if issued_by(signature, primary) {
                candidates.push(try_key(signature, primary, text, primary_problem(certificate, now)));
            }
            for subkey in certificate.public_subkeys.iter().filter(|subkey| issued_by(signature, &subkey.key))
            {
                let problem =
                    primary_problem(certificate, now).or_else(|| subkey_problem(certificate, subkey, now));
                candidates.push(try_key(signature, &subkey.key, text, problem));
            }
            for candidate in candidates {
                match candidate {
                    Ok(()) => return Ok(hex::encode_upper(primary.fingerprint().as_bytes())),
                    Err(problem) => reason = Some(problem),
                }
            }
        }
        Err(match reason {
            Some(reason) => Rejection::Bad(reason),
            None => Rejection::UnknownKey(issuer(signature)),
        })
    }
}

/// A text whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedText {
    /// Exactly what the signature covers, with `\n` line ends.
    pub text: String,
    /// The fingerprint of the certificate, in upper-case hexadecimal.
    pub signer: String,
}

enum Rejection {
    UnknownKey(String),
    Bad(String),
}

fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        signature.issuer_key_id().contains(&&key.legacy_key_id())
    } else {
        fingerprints.contains(&&key.fingerprint())
    }
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|f| hex::encode_upper(f.as_bytes()));
    let key_id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(key_id).unwrap_or_else(|| "an unnamed key".to_owned())
}

fn try_key(
    signature: &Signature,
    key: &impl VerifyingKey,
    text: &[u8],
    problem: Option<&'static str>,
) -> Result<(), String> {
    let name = key.legacy_key_id().to_string().to_uppercase();
    if let Some(problem) = problem {
        return Err(format!("key {name} {problem}"));
    }
    signature.verify(key, text).map_err(|_| format!("the signature by key {name} does not match the text"))
}

fn expired(start: u64, duration: Option<u64>, now: u64) -> bool {
    duration.is_some_and(|seconds| seconds > 0 && start.saturating_add(seconds) < now)
}

/// Why a primary key may not be used at `now`: it needs one valid self-signature that has not expired.
fn primary_problem(certificate: &SignedPublicKey, now: u64) -> Option<&'static str> {
    let primary = &certificate.primary_key;
    if certificate.details.revocation_signatures.iter().any(|r| r.verify_key(primary).is_ok()) {
        return Some("is revoked");
    }
    let self_signatures = certificate
        .details
        .users
        .iter()
        .flat_map(|user| {
            user.signatures.iter().filter(|s| {
                issued_by(s, primary)
                    && s.verify_certification(primary, pgp::types::Tag::UserId, &user.id).is_ok()
            })
        })
        .chain(certificate.details.direct_signatures.iter().filter(|s| s.verify_key(primary).is_ok()));
    let latest = self_signatures.max_by_key(|s| s.created().map(pgp::types::Timestamp::as_secs));
    match latest {
        None => Some("has no valid self-signature"),
        Some(signature) => {
            let created = u64::from(primary.created_at().as_secs());
            let lifetime = signature.key_expiration_time().map(|d| u64::from(d.as_secs()));
            expired(created, lifetime, now).then_some("has expired")
        }
    }
}

/// Why a subkey may not be used at `now`: it needs a valid binding as a signing key, and its own consent to it.
fn subkey_problem(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: u64,
) -> Option<&'static str> {
    use pgp::packet::SignatureType;
    let primary = &certificate.primary_key;
    let revoked = |s: &Signature| {
        s.typ() == Some(SignatureType::SubkeyRevocation)
            && s.verify_subkey_binding(primary, &subkey.key).is_ok()
    };
    if subkey.signatures.iter().any(revoked) {
        return Some("is revoked");
    }
    let binds = |s: &&Signature| {
        s.typ() == Some(SignatureType::SubkeyBinding)
            && s.key_flags().sign()
            && s.verify_subkey_binding(primary, &subkey.key).is_ok()
            && s.embedded_signature()
                .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok())
    };
    let latest = subkey
        .signatures
        .iter()
        .filter(binds)
        .max_by_key(|s| s.created().map(pgp::types::Timestamp::as_secs));
    match latest {
        None => Some("is not bound to its certificate as a signing key"),
        Some(binding) => {
            let created = u64::from(subkey.key.created_at().as_secs());
            let lifetime = binding.key_expiration_time().map(|d| u64::from(d.as_secs()));
            expired(created, lifetime, now).then_some("has expired")
        }
    }
}
