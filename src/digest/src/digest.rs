//! The names of blobs and keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 32-byte BLAKE3 value without a size: the identity of a key, a manifest, a configuration.
///
/// `Display` and serde write 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The BLAKE3 hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first 12 hexadecimal digits: enough to tell two keys apart in output for people.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.short())
    }
}

impl FromStr for Hash {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseDigestError(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

/// Which function made a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashFunction {
    /// BLAKE3 with 32 bytes of output: what the store is addressed by.
    Blake3,
    /// SHA-256: what OCI, Debian's archives and most remote caches know.
    Sha256,
}

impl HashFunction {
    /// The name in the wire form: `blake3` or `sha256`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
        }
    }
}

/// What names a blob: a hash function, its 32 bytes, and the blob's size in bytes.
///
/// The wire form is `function:hex/size`, for example `blake3:af13…/1024`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// The function that was used.
    pub function: HashFunction,
    /// Its output.
    pub bytes: [u8; 32],
    /// The blob's size in bytes.
    pub size: u64,
}

impl Digest {
    /// The BLAKE3 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::blake3(Hash::of(bytes), bytes.len() as u64)
    }

    /// A BLAKE3 digest from its parts.
    #[must_use]
    pub fn blake3(hash: Hash, size: u64) -> Self {
        Self { function: HashFunction::Blake3, bytes: hash.0, size }
    }

    /// A SHA-256 digest from its parts.
    #[must_use]
    pub fn sha256(bytes: [u8; 32], size: u64) -> Self {
        Self { function: HashFunction::Sha256, bytes, size }
    }

    /// The hash in lower-case hexadecimal, without function and size.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.function.name(), hex::encode(self.bytes), self.size)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}:{}/{})", self.function.name(), hex::encode(&self.bytes[..6]), self.size)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (function, rest) = text.split_once(':')?;
            let function = match function {
                "blake3" => HashFunction::Blake3,
                "sha256" => HashFunction::Sha256,
                _ => return None,
            };
            let (hash, size) = rest.split_once('/')?;
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash, &mut bytes).ok()?;
            Some(Self { function, bytes, size: size.parse().ok()? })
        };
        parse().ok_or_else(|| ParseDigestError(text.to_owned()))
    }
}

/// A text that is not a digest or a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest")]
pub struct ParseDigestError(pub String);

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(Hash);
serde_as_text!(Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_survives_a_round_trip() {
        let digest = Digest::of(b"hello");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!(
            digest.to_string().starts_with("blake3:ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c562")
        );
        assert!(digest.to_string().ends_with("/5"));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for text in ["", "blake3", "blake3:00/1", "md5:00/1", "blake3:zz/1"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
