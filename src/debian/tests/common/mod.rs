//! What the tests against the real archive share: the host's own mirror, with downloads kept under the build folder.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use imgbuild_debian::test_archive::host::{HostArchive as Archive, KEYRING, SUITE, fetcher, native};

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Where downloads are kept.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("archive")
}

/// The main component of the suite; `None`, with the reason printed, where the host is not a Debian with a mirror.
pub fn archive() -> Option<&'static Archive> {
    static ARCHIVE: OnceLock<Option<Archive>> = OnceLock::new();
    ARCHIVE.get_or_init(|| Archive::load(&cache())).as_ref()
}

/// The full stanza of a package in the index.
pub fn stanza<'a>(archive: &'a Archive, name: &str) -> &'a str {
    archive.stanza(name)
}
