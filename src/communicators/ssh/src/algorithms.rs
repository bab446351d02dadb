//! Which algorithms are offered to a server, by the names that OpenSSH and Go's library know them by. What they do is the
//! library's matter.

use std::borrow::Cow;

use russh::{Preferred, cipher, kex, mac};

use crate::Error;

/// The ciphers that can be named, best first. Those after `aes128-ctr` are offered only if they are named.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
    cipher::AES_256_CBC,
    cipher::AES_192_CBC,
    cipher::AES_128_CBC,
];
const DEFAULT_CIPHERS: usize = 6;

/// The key exchanges that can be named, best first. Those with SHA-1 at the end are offered only if they are named.
const EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G18_SHA512,
    kex::DH_G17_SHA512,
    kex::DH_G15_SHA512,
    kex::DH_G14_SHA256,
    kex::DH_G14_SHA1,
    kex::DH_GEX_SHA1,
    kex::DH_G1_SHA1,
];
const DEFAULT_EXCHANGES: usize = 12;

/// What is negotiated beside the exchange itself: extensions, and the strict order that Terrapin made necessary.
const EXTENSIONS: &[kex::Name] =
    &[kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

/// SHA-1 stands at the end for servers as old as OpenSSH 5.3 (CentOS 6), which know nothing better.
const MACS: &[mac::Name] =
    &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512, mac::HMAC_SHA1];

/// The ciphers and key exchanges that are offered, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    ciphers: Vec<cipher::Name>,
    exchanges: Vec<kex::Name>,
}

impl Default for Algorithms {
    fn default() -> Self {
        Self {
            ciphers: CIPHERS[..DEFAULT_CIPHERS].to_vec(),
            exchanges: EXCHANGES[..DEFAULT_EXCHANGES].to_vec(),
        }
    }
}

impl Algorithms {
    /// Those of `ssh_ciphers` and `ssh_key_exchange_algorithms`, in their order; an empty list stands for the default.
    ///
    /// # Errors
    /// [`Error::UnknownAlgorithm`], which lists what there is.
    pub fn named(ciphers: &[String], exchanges: &[String]) -> Result<Self, Error> {
        let mut algorithms = Self::default();
        if !ciphers.is_empty() {
            algorithms.ciphers = pick("cipher", ciphers, CIPHERS)?;
        }
        if !exchanges.is_empty() {
            algorithms.exchanges = pick("key exchange", exchanges, EXCHANGES)?;
        }
        Ok(algorithms)
    }

    /// What the library is given.
    pub(crate) fn preferred(&self) -> Preferred {
        let exchanges = self.exchanges.iter().chain(EXTENSIONS).copied().collect();
        Preferred {
            kex: Cow::Owned(exchanges),
            cipher: Cow::Owned(self.ciphers.clone()),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            ..Preferred::DEFAULT
        }
    }
}

fn pick<N: AsRef<str> + Copy>(
    what: &'static str,
    names: &[String],
    known: &'static [N],
) -> Result<Vec<N>, Error> {
    let one = |name: &String| {
        known.iter().find(|one| one.as_ref() == name).copied().ok_or_else(|| Error::UnknownAlgorithm {
            what,
            name: name.clone(),
            known: known.iter().map(AsRef::as_ref).collect(),
        })
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn names_are_those_of_openssh_and_go() {
        let named = Algorithms::named(
            &names(&["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-cbc"]),
            &names(&["curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "diffie-hellman-group1-sha1"]),
        )
        .unwrap();
        assert_eq!(named.ciphers, [cipher::AES_128_GCM, cipher::CHACHA20_POLY1305, cipher::AES_128_CBC]);
        assert_eq!(named.exchanges, [kex::CURVE25519_PRE_RFC_8731, kex::ECDH_SHA2_NISTP256, kex::DH_G1_SHA1]);
        assert_eq!(Algorithms::named(&[], &[]).unwrap(), Algorithms::default());
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Algorithms::named(&names(&["arcfour128"]), &[]).unwrap_err();
        assert_eq!(error.to_string(), "no cipher is called `arcfour128`");
        assert!(
            error
                .hint()
                .unwrap()
                .starts_with("it is one of `aes256-gcm@openssh.com`, `aes128-gcm@openssh.com`")
        );
        let error = Algorithms::named(&[], &names(&["rot13"])).unwrap_err();
        assert_eq!(error.to_string(), "no key exchange is called `rot13`");
    }

    #[test]
    fn what_is_weak_must_be_named() {
        let default = Algorithms::default();
        assert!(!default.ciphers.contains(&cipher::AES_128_CBC));
        assert!(!default.exchanges.contains(&kex::DH_G14_SHA1));
    }
}
