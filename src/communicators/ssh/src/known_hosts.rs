//! Reads OpenSSH's `known_hosts`, as `sshd(8)` describes the format: names plain, hashed, with wildcards and negated, ports,
//! `@cert-authority` and `@revoked`. Nothing is ever written to such a file here.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use sha1::Sha1;

use crate::Error;
use crate::error::io_reason;
use crate::settings::fingerprint;

/// What a file of known hosts says.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    hosts: Hosts,
    marker: Marker,
    key: PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    Plain,
    Authority,
    Revoked,
}

#[derive(Clone, Debug)]
enum Hosts {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

/// What is known of a host's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the host's.
    Known,
    /// Nothing is known of the host.
    Unknown,
    /// The host has other keys: algorithms and fingerprints.
    Differs(Vec<String>),
    /// The key is not to be trusted, whoever shows it.
    Revoked,
}

impl KnownHosts {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::KnownHosts`], if it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        match fs_err::read(path) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) => {
                Err(Error::KnownHosts { file: path.display().to_string(), reason: io_reason(&error) })
            }
        }
    }

    /// Reads lines. One that is none, or whose key is of a kind that is not implemented, is passed over, as OpenSSH does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { entries: text.lines().filter_map(Entry::parse).collect() }
    }

    /// What is known of a host's key.
    ///
    /// A host on another port than 22 is `[host]:port`; a key that is known of the host without a port is taken too, as
    /// `ssh` does.
    #[must_use]
    pub fn check(&self, host: &str, port: u16, key: &PublicKey) -> Verdict {
        let same = |entry: &&Entry| entry.key.key_data() == key.key_data();
        if self
            .entries
            .iter()
            .any(|entry| entry.marker == Marker::Revoked && same(&entry) && entry.names(host, port))
        {
            return Verdict::Revoked;
        }
        let of_host: Vec<&Entry> = self.of(Marker::Plain, host, port).collect();
        if of_host.iter().any(same) {
            return Verdict::Known;
        }
        if of_host.is_empty() {
            let bare = port != 22 && self.of(Marker::Plain, host, 22).any(|entry| same(&entry));
            return if bare { Verdict::Known } else { Verdict::Unknown };
        }
        Verdict::Differs(of_host.iter().map(|entry| fingerprint(&entry.key)).collect())
    }

    /// What is known of a certificate that a host shows, at a time in seconds of the Unix epoch. It is taken if an authority of
    /// the host signed it for a host of this name, and it is neither too old nor revoked.
    #[must_use]
    pub fn check_certificate(&self, host: &str, port: u16, certificate: &Certificate, now: u64) -> Verdict {
        let key = PublicKey::new(certificate.public_key().clone(), "");
        let revoked = self.entries.iter().any(|entry| {
            entry.marker == Marker::Revoked
                && entry.names(host, port)
                && (entry.key.key_data() == certificate.signature_key()
                    || entry.key.key_data() == key.key_data())
        });
        if revoked {
            return Verdict::Revoked;
        }
        let authorities: Vec<&Entry> = self.of(Marker::Authority, host, port).collect();
        let prints: Vec<_> = authorities.iter().map(|entry| entry.key.fingerprint(HashAlg::Sha256)).collect();
        let is_for_host = certificate.cert_type() == CertType::Host
            && certificate.critical_options().is_empty()
            && certificate
                .valid_principals()
                .iter()
                .any(|name| matches(&name.to_lowercase(), &host.to_lowercase()));
        if is_for_host && certificate.validate_at(now, prints.iter()).is_ok() {
            return Verdict::Known;
        }
        match self.check(host, port, &key) {
            Verdict::Unknown if !authorities.is_empty() => {
                let of = |entry: &&Entry| {
                    format!("a certificate of {} for `{host}` that is in date", fingerprint(&entry.key))
                };
                Verdict::Differs(authorities.iter().map(of).collect())
            }
            verdict => verdict,
        }
    }

    /// The algorithms of the keys that are known of a host, which a client asks for first.
    pub(crate) fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let known: Vec<_> = self.of(Marker::Plain, host, port).map(|entry| entry.key.algorithm()).collect();
        if known.is_empty() {
            self.of(Marker::Plain, host, 22).map(|entry| entry.key.algorithm()).collect()
        } else {
            known
        }
    }

    /// Whether an authority can vouch for a host.
    pub(crate) fn has_authority(&self, host: &str, port: u16) -> bool {
        self.of(Marker::Authority, host, port).next().is_some()
    }

    fn of<'a>(&'a self, marker: Marker, host: &'a str, port: u16) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.marker == marker && entry.names(host, port))
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (marker, line) = match line.strip_prefix('@') {
            None => (Marker::Plain, line),
            Some(line) => match line.split_once(char::is_whitespace)? {
                ("cert-authority", rest) => (Marker::Authority, rest.trim_start()),
                ("revoked", rest) => (Marker::Revoked, rest.trim_start()),
                _ => return None,
            },
        };
        let (hosts, rest) = line.split_once(char::is_whitespace)?;
        let mut words = rest.split_whitespace();
        let key = PublicKey::from_openssh(&format!("{} {}", words.next()?, words.next()?)).ok()?;
        let hosts = match hosts.strip_prefix("|1|") {
            Some(hashed) => {
                let (salt, hash) = hashed.split_once('|')?;
                Hosts::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? }
            }
            None => Hosts::Patterns(hosts.to_lowercase().split(',').map(str::to_owned).collect()),
        };
        Some(Self { hosts, marker, key })
    }

    fn names(&self, host: &str, port: u16) -> bool {
        let host = host.to_lowercase();
        let name = if port == 22 { host } else { format!("[{host}]:{port}") };
        match &self.hosts {
            Hosts::Patterns(patterns) => {
                let refuses =
                    |pattern: &String| pattern.strip_prefix('!').is_some_and(|not| matches(not, &name));
                let takes = |pattern: &String| !pattern.starts_with('!') && matches(pattern, &name);
                !patterns.iter().any(refuses) && patterns.iter().any(takes)
            }
            Hosts::Hashed { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
                .is_ok_and(|mac| mac.chain_update(name.as_bytes()).verify_slice(hash).is_ok()),
        }
    }
}

/// Whether a pattern with `*` and `?` is of a name, in time linear in both for each `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|&one| one == b'?' || one == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            p = after;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&rest| rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2pr+Bfus1hvPof4Wb/plZCzSbqadHH0u+/f4ODtKnE";

    fn check(line: &str, host: &str, port: u16) -> Verdict {
        KnownHosts::parse(line).check(host, port, &PublicKey::from_openssh(ONE).unwrap())
    }

    fn differs() -> Verdict {
        Verdict::Differs(vec![fingerprint(&PublicKey::from_openssh(TWO).unwrap())])
    }

    #[test]
    fn names_ports_and_wildcards() {
        for (hosts, host, port, known) in [
            ("web", "web", 22, true),
            ("WEB", "Web", 22, true),
            ("web", "web2", 22, false),
            ("db,web,10.0.0.1", "10.0.0.1", 22, true),
            ("*.example.com", "a.b.example.com", 22, true),
            ("*.example.com", "example.com", 22, false),
            ("10.0.?.1", "10.0.7.1", 22, true),
            ("10.0.?.1", "10.0.77.1", 22, false),
            ("*.example.com,!bad.example.com", "good.example.com", 22, true),
            ("*.example.com,!bad.example.com", "bad.example.com", 22, false),
            ("!bad", "good", 22, false),
            ("[web]:2222", "web", 2222, true),
            ("[web]:2222", "web", 22, false),
            ("[*.example.com]:2222", "a.example.com", 2222, true),
            ("web", "web", 2222, true),
            ("::1", "::1", 22, true),
            ("*", "anything", 22, true),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", 22, false),
        ] {
            let expected = if known { Verdict::Known } else { Verdict::Unknown };
            assert_eq!(
                check(&format!("{hosts} {ONE} comment here"), host, port),
                expected,
                "{hosts} {host} {port}"
            );
        }
    }

    #[test]
    fn another_key_is_named() {
        assert_eq!(check(&format!("web {TWO}"), "web", 22), differs());
        assert_eq!(check(&format!("web {TWO}\nweb {ONE}"), "web", 22), Verdict::Known);
        assert_eq!(check(&format!("[web]:2222 {TWO}\nweb {ONE}"), "web", 2222), differs());
        // Of the host without a port only the same key counts.
        assert_eq!(check(&format!("web {TWO}"), "web", 2222), Verdict::Unknown);
    }

    #[test]
    fn hashed_names() {
        // `ssh-keygen -H` of `web` and of `[web]:2222`, with the salt `0123456789abcdefghij`.
        let hash = |name: &str| {
            let mac = Hmac::<Sha1>::new_from_slice(b"0123456789abcdefghij").unwrap().chain_update(name);
            STANDARD.encode(mac.finalize().into_bytes())
        };
        let salt = STANDARD.encode("0123456789abcdefghij");
        assert_eq!(check(&format!("|1|{salt}|{} {ONE}", hash("web")), "WEB", 22), Verdict::Known);
        assert_eq!(check(&format!("|1|{salt}|{} {ONE}", hash("[web]:2222")), "web", 2222), Verdict::Known);
        assert_eq!(check(&format!("|1|{salt}|{} {ONE}", hash("db")), "web", 22), Verdict::Unknown);
        assert_eq!(check(&format!("|1|{salt} {ONE}"), "web", 22), Verdict::Unknown);
    }

    #[test]
    fn markers() {
        assert_eq!(check(&format!("web {ONE}\n@revoked * {ONE}"), "web", 22), Verdict::Revoked);
        assert_eq!(check(&format!("@revoked other {ONE}\nweb {ONE}"), "web", 22), Verdict::Known);
        assert_eq!(check(&format!("@cert-authority web {ONE}"), "web", 22), Verdict::Unknown);
        assert_eq!(check(&format!("@strange web {ONE}"), "web", 22), Verdict::Unknown);
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let lines = format!("\n# web {ONE}\nweb\nweb ssh-ed25519\nweb ssh-ed25519 !!!\nweb ssh-new AAAA\n");
        assert_eq!(check(&lines, "web", 22), Verdict::Unknown);
    }
}
