//! Software bills of materials from a tree's package database: SPDX 2.3 and CycloneDX 1.5, as JSON.
//!
//! Both are functions of the subject: identifiers are derived from the image's digest and the time is given. Licences
//! are not known from dpkg's database and are said to be unknown.

pub mod cyclonedx;
pub mod spdx;

use imgbuild_digest::Digest;

use crate::packages::{Inventory, Package};

/// What a bill of materials speaks of.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The image's name, `web` or a whole reference.
    pub name: &'a str,
    /// The image's digest: an OCI manifest's or a file's SHA-256.
    pub digest: Digest,
    /// When it says it was made, in seconds since 1970.
    pub created: i64,
    /// What it has installed.
    pub inventory: &'a Inventory,
}

/// The package URL of an installed package: `pkg:deb/debian/name@version?arch=…&distro=…`.
///
/// Source: the `deb` type of the package URL specification.
#[must_use]
pub fn package_url(package: &Package, inventory: &Inventory) -> String {
    let os = &inventory.os;
    let vendor = if os.id.is_empty() { "debian" } else { &os.id };
    let mut url = debian_package_url(vendor, &package.name, &package.version, &package.architecture);
    if !os.id.is_empty() && !os.version_id.is_empty() {
        url.push_str(&format!("&distro={}-{}", escape(&os.id), escape(&os.version_id)));
    }
    url
}

/// The package URL of a Debian package of a distribution.
#[must_use]
pub fn debian_package_url(vendor: &str, name: &str, version: &str, architecture: &str) -> String {
    format!(
        "pkg:deb/{}/{}@{}?arch={}",
        escape(&vendor.to_lowercase()),
        escape(name),
        escape(version),
        escape(architecture)
    )
}

/// Percent-encodes what a package URL's parts do not hold as it is.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// A maintainer's name and address out of `Name <address>`.
fn maintainer(text: &str) -> (&str, Option<&str>) {
    match text.split_once('<') {
        Some((name, address)) => {
            (name.trim(), Some(address.trim().trim_end_matches('>')).filter(|it| !it.is_empty()))
        }
        None => (text.trim(), None),
    }
}

/// A UUID that is a function of the digest and of `purpose`: 122 bits of a hash, marked as version 8 (RFC 9562).
fn derived_uuid(digest: &Digest, purpose: &str) -> String {
    let mut hasher = imgbuild_digest::ContentHasher::new("imgbuild/sbom-uuid/1");
    hasher.write_bytes(purpose.as_bytes());
    hasher.write_fixed(&digest.bytes);
    let mut bytes = hasher.finish().0;
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(&bytes[..16]);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}
