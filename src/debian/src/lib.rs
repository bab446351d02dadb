//! Debian archives, from the signed release file to an unpacked root.
//!
//! The way of the data: [`sources`] and [`mirror`] say where packages come from, [`release`] verifies `InRelease`,
//! [`index`] reads `Packages`, [`solve`] chooses what apt would choose, [`lock`] records it, [`download`] fetches it,
//! [`deb`] reads one package, [`unpack`] does what `dpkg --unpack` does, [`clean`] removes what makes an image impure.
//!
//! Nothing here is Debian's alone: another distribution brings its own mirrors and its own keyring. Not here: namespaces,
//! running of maintainer scripts, caches, printing, the environment. The caller runs what [`unpack::UnpackPlan`] says.

pub mod clean;
pub mod control;
pub mod deb;
pub mod download;
pub mod fetch;
pub mod index;
pub mod keyring;
pub mod lock;
pub mod mirror;
pub mod relation;
pub mod release;
pub mod sha256;
pub mod solve;
pub mod sources;
pub mod status;
#[cfg(feature = "test-support")]
pub mod test_archive;
pub mod unpack;
pub mod version;

mod error;

pub use error::{Error, Result};
pub use sha256::Sha256;
pub use version::Version;
