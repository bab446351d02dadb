//! The archive that the host's own apt is configured with: real packages, for tests and for archives that tests make.
//!
//! What is fetched is kept in a folder of the caller's, so that only the first run needs the network.

use std::io::Read;
use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use super::TestArchive;
use crate::control;
use crate::download::{DownloadOptions, FolderSink, fetch_packages};
use crate::fetch::{Fetcher, Proxies, RetryPolicy};
use crate::index::Index;
use crate::keyring::Keyring;
use crate::lock::{LockedClosure, LockedPackage};
use crate::mirror::Mirrors;
use crate::release::{self, Release, Validity};
use crate::solve::{Request, Universe, solve};
use crate::sources::AptSources;
use crate::status::State;

/// The suite that is looked in.
pub const SUITE: &str = "bookworm";
/// The keyring that a Debian host has.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The main component of a suite, verified and read.
pub struct HostArchive {
    /// Where it is.
    pub mirrors: Mirrors,
    /// Its release file.
    pub release: Release,
    /// The same, as it was fetched.
    pub in_release: Vec<u8>,
    /// The text of its index for this machine's architecture.
    pub packages_text: String,
    /// The same, read.
    pub index: Index,
    folder: PathBuf,
}

/// Debian's name of this machine's architecture.
#[must_use]
pub fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("add Debian's name for {other}"),
    }
}

/// A client that goes straight to the mirror.
#[must_use]
pub fn fetcher() -> Fetcher {
    Fetcher::new(RetryPolicy::default(), &Proxies::default()).expect("the client has no settings that fail")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started")
}

impl HostArchive {
    /// Looks it up, and keeps what is fetched in `folder`; `None`, with the reason printed, where the host is not a Debian
    /// with a mirror.
    #[must_use]
    pub fn load(folder: &Path) -> Option<Self> {
        let sources = AptSources::read(Path::new("/etc/apt")).expect("apt can read its configuration");
        let mut primary = sources.mirrors(SUITE);
        if primary.is_empty() {
            primary = sources.mirrors_of_archive("debian");
        }
        if primary.is_empty() || !Path::new(KEYRING).exists() {
            eprintln!("SKIPPED: this host has no Debian mirror configured, or no Debian keyring");
            return None;
        }
        let keyring = fs_err::read(KEYRING).expect("it is there");
        let keyring = Keyring::parse(&keyring).expect("Debian's keyring can be read");
        fs_err::create_dir_all(folder).expect("the folder can be made");
        Some(runtime().block_on(Self::fetch(folder, Mirrors::new(primary), &keyring)))
    }

    async fn fetch(folder: &Path, mirrors: Mirrors, keyring: &Keyring) -> Self {
        let fetcher = fetcher();
        let under = |path: &str| mirrors.primary[0].join(&format!("dists/{SUITE}/{path}")).expect("a path");
        let in_release = fetcher.get(&under("InRelease"), 1 << 24).await.expect("the mirror answers");
        let release = release::fetch(&fetcher, &mirrors.primary, SUITE, keyring, Validity::WhenSigned)
            .await
            .expect("the mirror's release file is signed");
        let path = format!("main/binary-{}/Packages.xz", native());
        let listed = release.files[&path];
        let kept = folder.join(format!("{}.xz", listed.sha256));
        if !kept.exists() {
            let bytes = fetcher.get(&under(&path), listed.size).await.expect("the mirror has its index");
            let temporary = kept.with_extension(std::process::id().to_string());
            fs_err::write(&temporary, bytes).expect("the folder takes files");
            fs_err::rename(&temporary, &kept).expect("the folder takes files");
        }
        let mut packages_text = String::new();
        liblzma::read::XzDecoder::new_multi_decoder(&fs_err::read(&kept).expect("it was written")[..])
            .read_to_string(&mut packages_text)
            .expect("an index is a compressed text");
        let index = Index::parse(&packages_text, None).with_suite(SUITE);
        Self { mirrors, release, in_release, packages_text, index, folder: folder.to_owned() }
    }

    /// The full paragraph of a package in the index.
    #[must_use]
    pub fn stanza(&self, name: &str) -> &str {
        let head = format!("Package: {name}\n");
        let text = &self.packages_text;
        let start = match text.starts_with(&head) {
            true => 0,
            false => text.find(&format!("\n\n{head}")).expect("the package exists") + 2,
        };
        let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end);
        text[start..end].trim_end()
    }

    /// What an image with the state has to get for a request.
    #[must_use]
    pub fn closure(&self, state: &State, request: &Request) -> LockedClosure {
        let universe = Universe::new(std::slice::from_ref(&self.index), native(), &[]);
        let solution = solve(&universe, state, request).expect("the suite can be installed from");
        LockedClosure::new(&solution, Some(self.release.date))
    }

    /// The files of packages, in order.
    #[must_use]
    pub fn files(&self, packages: &[LockedPackage]) -> Vec<PathBuf> {
        let sink = FolderSink::new(&self.folder).expect("the folder was made");
        let options = DownloadOptions::default();
        let fetcher = fetcher();
        let work = fetch_packages(&fetcher, packages, &self.mirrors, options, &sink, &|_| ());
        runtime().block_on(work).expect("the mirror has what its index lists")
    }

    /// Adds what a request needs to an archive that a test makes: the same files, under the test's own signature.
    pub fn lend(&self, archive: &mut TestArchive, request: &Request) {
        let packages: Vec<_> = self.closure(&State::empty(), request).packages().cloned().collect();
        for (package, file) in packages.iter().zip(self.files(&packages)) {
            let stanza = self.stanza(&package.name);
            let fields = control::parse(stanza).expect("an index has paragraphs");
            assert_eq!(fields[0].get("Version"), Some(package.version.as_str()), "{}", package.name);
            archive.lend(stanza, &package.filename, fs_err::read(file).expect("it was fetched"));
        }
    }
}
