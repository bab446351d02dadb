//! Reads private keys and certificates. Which of them is tried when is decided in `auth`.

use std::path::Path;
use std::sync::Arc;

use russh::keys::{Certificate, PrivateKey, PublicKey, decode_secret_key};

use crate::Error;
use crate::error::io_reason;
use crate::settings::{Key, KeySource, Login, fingerprint};

/// A private key that was read, and its certificate.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) private: Arc<PrivateKey>,
    pub(crate) certificate: Option<Certificate>,
    /// How the key is called in messages.
    pub(crate) name: String,
}

impl Login {
    /// Reads the private keys and certificates, so that what is wrong with them is known before a machine is started.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::KeyEncrypted`], [`Error::Certificate`].
    pub fn check(&self) -> Result<(), Error> {
        self.load().map(drop)
    }

    pub(crate) fn load(&self) -> Result<Vec<Loaded>, Error> {
        self.keys.iter().map(load).collect()
    }
}

/// The public half of the key in a file, private or public, as a line of `authorized_keys` without a comment.
///
/// # Errors
/// [`Error::Key`], [`Error::KeyEncrypted`].
pub fn public_key(path: &Path) -> Result<String, Error> {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    let is_private = text.contains("PRIVATE KEY") || text.starts_with("PuTTY-");
    let public = match PublicKey::from_openssh(text.trim()) {
        Ok(public) => public,
        Err(error) if !is_private && !text.trim().is_empty() => {
            return Err(Error::Key {
                key: format!("the public key `{}`", path.display()),
                reason: error.to_string().to_lowercase(),
            });
        }
        // The public half is in clear, also beside a private one that is encrypted.
        Err(_) => match PrivateKey::from_openssh(text.trim()) {
            Ok(private) => private.public_key().clone(),
            Err(_) => {
                let key = Key { private: KeySource::File(path.to_owned()), certificate: None };
                load(&key)?.private.public_key().clone()
            }
        },
    };
    let bare = PublicKey::new(public.key_data().clone(), "");
    bare.to_openssh().map_err(|error| Error::Key {
        key: format!("the key `{}`", path.display()),
        reason: error.to_string().to_lowercase(),
    })
}

fn load(key: &Key) -> Result<Loaded, Error> {
    let (name, bytes) = match &key.private {
        KeySource::File(path) => {
            let name = format!("the private key `{}`", path.display());
            let bytes = fs_err::read(path)
                .map_err(|error| Error::Key { key: name.clone(), reason: io_reason(&error) })?;
            (name, bytes)
        }
        KeySource::Text(secret) => ("the private key".to_owned(), secret.expose().to_vec()),
    };
    let unreadable = |reason: &str| Error::Key { key: name.clone(), reason: reason.to_owned() };
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not a text"))?;
    if text.trim().is_empty() {
        return Err(unreadable("it is empty"));
    }
    let private = match decode_secret_key(&text, None) {
        Ok(private) if private.is_encrypted() => return Err(Error::KeyEncrypted(name)),
        Ok(private) => Arc::new(private),
        Err(russh::keys::Error::KeyIsEncrypted) => return Err(Error::KeyEncrypted(name)),
        Err(_) if is_encrypted(&text) => return Err(Error::KeyEncrypted(name)),
        Err(_) if !text.contains("PRIVATE KEY") && !text.starts_with("PuTTY-") => {
            return Err(unreadable("it is not a private key"));
        }
        Err(error) => return Err(unreadable(&error.to_string().to_lowercase())),
    };
    let certificate = key.certificate.as_deref().map(|path| certificate(path, &private)).transpose()?;
    let name = match &key.private {
        KeySource::File(path) => {
            format!("the key `{}` ({})", path.display(), fingerprint(private.public_key()))
        }
        KeySource::Text(_) => format!("the key {}", fingerprint(private.public_key())),
    };
    Ok(Loaded { private, certificate, name })
}

fn certificate(path: &Path, private: &PrivateKey) -> Result<Certificate, Error> {
    let unusable = |reason: String| Error::Certificate { file: path.display().to_string(), reason };
    let text = fs_err::read_to_string(path).map_err(|error| unusable(io_reason(&error)))?;
    let certificate = Certificate::from_openssh(text.trim())
        .map_err(|_| unusable("it is not a certificate of openssh".to_owned()))?;
    if certificate.public_key() != private.public_key().key_data() {
        return Err(unusable("it is of another key".to_owned()));
    }
    Ok(certificate)
}

/// Whether a text says that a passphrase is needed.
fn is_encrypted(text: &str) -> bool {
    text.contains("BEGIN ENCRYPTED PRIVATE KEY")
        || text.contains("Proc-Type: 4,ENCRYPTED")
        || (text.starts_with("PuTTY-")
            && text.lines().any(|line| line.starts_with("Encryption: ") && line != "Encryption: none"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_public_half_is_read_from_either_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut expected = Vec::new();
        for (name, passphrase) in [("plain", ""), ("locked", "a passphrase")] {
            let made = Command::new("/usr/bin/ssh-keygen")
                .args(["-q", "-t", "ed25519", "-C", "somebody", "-N", passphrase, "-f"])
                .arg(path(name))
                .status();
            if !made.is_ok_and(|status| status.success()) {
                eprintln!("SKIPPED: there is no /usr/bin/ssh-keygen");
                return;
            }
            let public = fs_err::read_to_string(path(&format!("{name}.pub"))).unwrap();
            expected.push(public.trim().trim_end_matches(" somebody").to_owned());
        }
        for (name, expected) in [("plain", 0), ("plain.pub", 0), ("locked", 1), ("locked.pub", 1)]
            .map(|(name, place)| (name, &expected[place]))
        {
            assert_eq!(&public_key(&path(name)).unwrap(), expected, "{name}");
        }
        fs_err::write(path("wrong"), "from=\"host\" ssh-ed25519 AAAA").unwrap();
        let error = public_key(&path("wrong")).unwrap_err().to_string();
        assert!(error.contains("the public key `") && error.contains("wrong`"), "{error}");
        assert!(public_key(&path("none")).unwrap_err().to_string().contains("the private key `"));
    }
}
