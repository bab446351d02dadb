//! Digests, and the canonical encoding that keys are hashed from.
//!
//! What is here: [`Digest`] (what names a blob), [`Hash`] (a bare BLAKE3 value, what names a key) and
//! [`ContentHash`] (how a value becomes bytes to hash). What is not: files, stores, any idea of an image.

mod content_hash;
mod digest;

pub use content_hash::{ContentHash, ContentHasher};
pub use digest::{Digest, Hash, HashFunction, ParseDigestError};
