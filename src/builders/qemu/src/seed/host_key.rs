//! A key by which a guest proves who it is, made before the guest is (OpenSSH: `PROTOCOL.key`; RFC 8709).

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use imgbuild_model::Secret;

/// The kind of key.
const KIND: &str = "ssh-ed25519";

/// There is no randomness.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a key for a guest: {0}")]
pub struct HostKeyError(#[from] std::io::Error);

/// An Ed25519 key of a host. Who connects knows the public half beforehand, so that a guest is known at the first contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    seed: Secret,
    private: Secret,
    public: String,
}

impl HostKey {
    /// A key that nobody has.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn generate() -> Result<Self, HostKeyError> {
        let mut seed = [0; 32];
        fs_err::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(Self::from_seed(seed))
    }

    /// The key that these 32 secret bytes are.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let mut blob = Vec::new();
        put(&mut blob, KIND.as_bytes());
        put(&mut blob, &public);

        // Two equal numbers show that a key was deciphered well; this one is in clear.
        let mut inner = [public[..4].to_vec(), public[..4].to_vec()].concat();
        put(&mut inner, KIND.as_bytes());
        put(&mut inner, &public);
        put(&mut inner, &[seed, public].concat());
        put(&mut inner, b"");
        inner.extend((1..=8).take(inner.len().next_multiple_of(8) - inner.len()));

        let mut outer = b"openssh-key-v1\0".to_vec();
        for text in ["none", "none", ""] {
            put(&mut outer, text.as_bytes());
        }
        outer.extend(1_u32.to_be_bytes());
        put(&mut outer, &blob);
        put(&mut outer, &inner);

        let encoded = STANDARD.encode(outer);
        let mut private = "-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned();
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(70));
            private += line;
            private.push('\n');
            rest = after;
        }
        private += "-----END OPENSSH PRIVATE KEY-----\n";
        Self {
            seed: Secret::new(seed.to_vec()),
            private: Secret::new(private),
            public: format!("{KIND} {}", STANDARD.encode(blob)),
        }
    }

    /// The secret bytes that it is made of ([`HostKey::from_seed`]).
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed.copy_from_slice(self.seed.expose());
        seed
    }

    /// The private half, as OpenSSH keeps it in a file.
    pub fn private(&self) -> &Secret {
        &self.private
    }

    /// The public half, as OpenSSH writes it: `ssh-ed25519 AAAA…`.
    pub fn public(&self) -> &str {
        &self.public
    }
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn openssh_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let key = HostKey::generate().unwrap();
        assert_ne!(key, HostKey::generate().unwrap());
        assert!(!format!("{key:?}").contains("OPENSSH"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs_err::write(&path, key.private().expose()).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(imgbuild_ssh::public_key(&path).unwrap(), key.public());
        fs_err::write(path.with_extension("pub"), format!("{} whose@it.is\n", key.public())).unwrap();
        assert_eq!(imgbuild_ssh::public_key(&path.with_extension("pub")).unwrap(), key.public());
        let none = imgbuild_ssh::public_key(&path.with_extension("none")).unwrap_err().to_string();
        assert!(none.contains("key.none"), "{none}");
        let Ok(output) = Command::new("ssh-keygen").args(["-y", "-f"]).arg(&path).output() else {
            eprintln!("SKIPPED: there is no `ssh-keygen`");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), key.public(), "{output:?}");
    }
}
