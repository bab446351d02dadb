//! For tests only: a small signed archive, made in memory and served over local HTTP with faults on demand.
//!
//! ```no_run
//! use imgbuild_debian::test_archive::{Fault, TestArchive, TestPackage};
//!
//! let mut archive = TestArchive::ubuntu();
//! archive.add(TestPackage::new("hello", "1.0").depends("libc6").file("usr/bin/hello", b"#!/bin/sh\n", 0o755));
//! let server = archive.serve();
//! server.fail("InRelease", Fault::Status(503), 2);
//! // The base address is `server.url("ubuntu")`, the keyring `archive.keyring()`.
//! ```

pub mod host;
mod package;
mod server;

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use pgp::composed::{
    CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
};
use pgp::ser::Serialize;
use pgp::types::Password;

use crate::Sha256;

pub use package::TestPackage;
pub use server::{Fault, TestServer};

/// The files of an archive, by path under the server.
pub type Files = BTreeMap<String, Vec<u8>>;

/// An archive of one suite with one component, `main`.
pub struct TestArchive {
    /// First part of every path, for example `debian`.
    pub folder: String,
    /// `Origin` of the release file.
    pub origin: String,
    /// `Suite`.
    pub suite: String,
    /// `Codename`, which is also the folder under `dists/`.
    pub codename: String,
    /// Architectures with an index.
    pub architectures: Vec<String>,
    /// `Date`.
    pub date: Timestamp,
    /// `Valid-Until`.
    pub valid_until: Option<Timestamp>,
    packages: Vec<TestPackage>,
    lent: Vec<Lent>,
    key: SignedSecretKey,
}

/// A package of another archive.
struct Lent {
    stanza: String,
    path: String,
    deb: Vec<u8>,
}

impl TestArchive {
    /// An empty archive with a new key.
    #[must_use]
    pub fn new(folder: &str, origin: &str, suite: &str, codename: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            origin: origin.to_owned(),
            suite: suite.to_owned(),
            codename: codename.to_owned(),
            architectures: vec!["amd64".to_owned()],
            date: "2026-07-11T10:16:37Z".parse().expect("a date"),
            valid_until: None,
            packages: Vec::new(),
            lent: Vec::new(),
            key: generate_key(&format!("{origin} test archive")),
        }
    }

    /// An archive that looks like Debian's.
    #[must_use]
    pub fn debian() -> Self {
        Self::new("debian", "Debian", "stable", "bookworm")
    }

    /// An archive that looks like Ubuntu's.
    #[must_use]
    pub fn ubuntu() -> Self {
        Self::new("ubuntu", "Ubuntu", "noble", "noble")
    }

    /// Adds a package; another with the same name, version and architecture is replaced.
    pub fn add(&mut self, package: TestPackage) -> &mut Self {
        self.packages.retain(|p| p.file_name() != package.file_name());
        self.packages.push(package);
        self
    }

    /// Adds a package of another archive as it is: its paragraph in that archive's index, its path there, its file.
    pub fn lend(&mut self, stanza: &str, path: &str, deb: Vec<u8>) -> &mut Self {
        self.lent.push(Lent { stanza: stanza.trim_end().to_owned(), path: path.to_owned(), deb });
        self
    }

    /// Removes all versions of a package.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.packages.retain(|package| package.name != name);
        self
    }

    /// The public key, binary, as `/usr/share/keyrings` has them.
    #[must_use]
    pub fn keyring(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        SignedPublicKey::from(self.key.clone()).to_writer(&mut bytes).expect("memory takes every byte");
        bytes
    }

    /// Signs a text as `InRelease` files are signed.
    #[must_use]
    pub fn sign(&self, text: &str) -> Vec<u8> {
        let message =
            CleartextSignedMessage::sign(rand::thread_rng(), text, &self.key.primary_key, &Password::empty())
                .expect("a new key signs");
        message.to_armored_string(Default::default()).expect("memory takes every byte").into_bytes()
    }

    /// All files of the archive as it is now.
    #[must_use]
    pub fn files(&self) -> Files {
        let mut files = Files::new();
        let built: Vec<(&TestPackage, Vec<u8>)> = self.packages.iter().map(|p| (p, p.build())).collect();
        let dist = format!("{}/dists/{}", self.folder, self.codename);
        let mut sums = String::new();
        for architecture in &self.architectures {
            let mut text = String::new();
            for (package, deb) in &built {
                if package.architecture == *architecture || package.architecture == "all" {
                    text.push_str(&package.stanza(deb));
                    text.push('\n');
                }
            }
            for Lent { stanza, .. } in &self.lent {
                text.push_str(&format!("{stanza}\n\n"));
            }
            let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
            xz.write_all(text.as_bytes()).expect("memory takes every byte");
            let xz = xz.finish().expect("memory takes every byte");
            let folder = format!("main/binary-{architecture}");
            for (name, bytes) in [("Packages", text.into_bytes()), ("Packages.xz", xz)] {
                let digest = Sha256::of(&bytes);
                sums.push_str(&format!(" {digest} {} {folder}/{name}\n", bytes.len()));
                files.insert(format!("{dist}/{folder}/by-hash/SHA256/{digest}"), bytes.clone());
                files.insert(format!("{dist}/{folder}/{name}"), bytes);
            }
        }
        for (package, deb) in built {
            files.insert(format!("{}/{}", self.folder, package.pool_path()), deb);
        }
        for Lent { path, deb, .. } in &self.lent {
            files.insert(format!("{}/{path}", self.folder), deb.clone());
        }
        let date = |time: Timestamp| time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
        let valid_until =
            self.valid_until.map(|time| format!("Valid-Until: {}\n", date(time))).unwrap_or_default();
        let release = format!(
            "Origin: {}\nLabel: {0}\nSuite: {}\nCodename: {}\nVersion: 1.0\nDate: {}\n{valid_until}Acquire-By-Hash: yes\n\
             Architectures: {}\nComponents: main\nDescription: made for a test\nSHA256:\n{sums}",
            self.origin,
            self.suite,
            self.codename,
            date(self.date),
            self.architectures.join(" "),
        );
        files.insert(format!("{dist}/InRelease"), self.sign(&release));
        files
    }

    /// Serves the archive as it is now on a free local port until the server is dropped.
    #[must_use]
    pub fn serve(&self) -> TestServer {
        TestServer::start(self.files())
    }
}

fn generate_key(user: &str) -> SignedSecretKey {
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id(format!("{user} <archive@example.invalid>"))
        .build()
        .expect("the parameters are complete")
        .generate(rand::thread_rng())
        .expect("a key can be made")
}
