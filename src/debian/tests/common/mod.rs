//! What the tests against the real archive share: the host's own mirror, a verified release and its main index.
//!
//! Downloads are kept under the build folder, so that only the first run needs them.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use imgbuild_debian::fetch::{Fetcher, RetryPolicy};
use imgbuild_debian::index::Index;
use imgbuild_debian::keyring::Keyring;
use imgbuild_debian::mirror::Mirrors;
use imgbuild_debian::release::{self, Release, Validity};
use imgbuild_debian::sources::AptSources;

pub const SUITE: &str = "bookworm";
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub struct Archive {
    pub mirrors: Mirrors,
    pub release: Release,
    pub in_release: Vec<u8>,
    pub packages_text: String,
    pub index: Index,
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

pub fn fetcher() -> Fetcher {
    Fetcher::new(RetryPolicy::default(), None).unwrap()
}

pub fn cache() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("archive");
    fs_err::create_dir_all(&folder).unwrap();
    folder
}

pub fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("add Debian's name for {other}"),
    }
}

/// The main component of the stable suite from the host's mirror; `None`, with the reason printed, where the host is not a
/// Debian with a mirror.
pub fn archive() -> Option<&'static Archive> {
    static ARCHIVE: OnceLock<Option<Archive>> = OnceLock::new();
    ARCHIVE.get_or_init(load).as_ref()
}

fn load() -> Option<Archive> {
    let sources = AptSources::read(Path::new("/etc/apt")).unwrap();
    let mut primary = sources.mirrors(SUITE);
    if primary.is_empty() {
        primary = sources.mirrors_of_archive("debian");
    }
    if primary.is_empty() || !Path::new(KEYRING).exists() {
        eprintln!("skipped: this host has no Debian mirror configured, or no Debian keyring");
        return None;
    }
    let mirrors = Mirrors::new(primary);
    let keyring = Keyring::parse(&fs_err::read(KEYRING).unwrap()).unwrap();
    runtime().block_on(async {
        let fetcher = fetcher();
        let url = mirrors.primary[0].join(&format!("dists/{SUITE}/InRelease")).unwrap();
        let in_release = fetcher.get(&url, 1 << 24).await.unwrap();
        let release =
            release::fetch(&fetcher, &mirrors.primary, SUITE, &keyring, Validity::WhenSigned).await.unwrap();
        let path = format!("main/binary-{}/Packages.xz", native());
        let listed = release.files[&path];
        let kept = cache().join(format!("{}.xz", listed.sha256));
        if !kept.exists() {
            let url = mirrors.primary[0].join(&format!("dists/{SUITE}/{path}")).unwrap();
            let bytes = fetcher.get(&url, listed.size).await.unwrap();
            let temporary = kept.with_extension(std::process::id().to_string());
            fs_err::write(&temporary, bytes).unwrap();
            fs_err::rename(&temporary, &kept).unwrap();
        }
        let mut packages_text = String::new();
        liblzma::read::XzDecoder::new_multi_decoder(&fs_err::read(&kept).unwrap()[..])
            .read_to_string(&mut packages_text)
            .unwrap();
        let index = Index::parse(&packages_text, None).with_suite(SUITE);
        Some(Archive { mirrors, release, in_release, packages_text, index })
    })
}

/// The full stanza of a package in the index.
pub fn stanza<'a>(archive: &'a Archive, name: &str) -> &'a str {
    let head = format!("Package: {name}\n");
    let text = &archive.packages_text;
    let start = if text.starts_with(&head) {
        0
    } else {
        text.find(&format!("\n\n{head}")).expect("package exists") + 2
    };
    let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end);
    text[start..end].trim_end()
}
