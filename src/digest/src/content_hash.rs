//! The canonical encoding: tagged, length-prefixed, without ambiguity.
//!
//! Two different values never have the same bytes: every variable-length item is preceded by its length as a
//! little-endian `u64`, every variant and every option by a tag, every field by its place. A struct implements
//! [`ContentHash`] by destructuring itself without `..`, so that a new field does not compile until it is hashed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Digest, Hash, HashFunction};

/// The sink that [`ContentHash`] writes to.
#[derive(Clone, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// A hasher whose first bytes are `domain`, so that values of two kinds never collide.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self::default();
        domain.content_hash(&mut hasher);
        hasher
    }

    /// Writes bytes as they are. Only for data of fixed length.
    pub fn write_fixed(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Writes bytes preceded by their length.
    pub fn write_bytes(&mut self, bytes: &[u8]) {
        self.write_u64(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Writes a number as eight little-endian bytes.
    pub fn write_u64(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// Writes the tag of a variant.
    pub fn write_tag(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }

    /// The hash of all that was written.
    #[must_use]
    pub fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}

/// A value with one canonical encoding.
pub trait ContentHash {
    /// Writes this value's encoding.
    fn content_hash(&self, hasher: &mut ContentHasher);

    /// The hash of this value alone, under a domain that names its kind.
    fn hash_as(&self, domain: &str) -> Hash {
        let mut hasher = ContentHasher::new(domain);
        self.content_hash(&mut hasher);
        hasher.finish()
    }
}

impl ContentHash for str {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_bytes(self.as_bytes());
    }
}

impl ContentHash for String {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        self.as_str().content_hash(hasher);
    }
}

impl ContentHash for PathBuf {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_bytes(self.as_os_str().as_encoded_bytes());
    }
}

impl ContentHash for bool {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_tag(u8::from(*self));
    }
}

impl ContentHash for u32 {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_u64(u64::from(*self));
    }
}

impl ContentHash for u64 {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_u64(*self);
    }
}

impl ContentHash for i64 {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_fixed(&self.to_le_bytes());
    }
}

impl ContentHash for Hash {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_fixed(&self.0);
    }
}

impl ContentHash for Digest {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self { function, bytes, size } = self;
        hasher.write_tag(match function {
            HashFunction::Blake3 => 1,
            HashFunction::Sha256 => 2,
        });
        hasher.write_fixed(bytes);
        size.content_hash(hasher);
    }
}

impl<T: ContentHash> ContentHash for Option<T> {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        match self {
            None => hasher.write_tag(0),
            Some(value) => {
                hasher.write_tag(1);
                value.content_hash(hasher);
            }
        }
    }
}

impl<T: ContentHash> ContentHash for [T] {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_u64(self.len() as u64);
        for item in self {
            item.content_hash(hasher);
        }
    }
}

impl<T: ContentHash> ContentHash for Vec<T> {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        self.as_slice().content_hash(hasher);
    }
}

impl<T: ContentHash> ContentHash for BTreeSet<T> {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_u64(self.len() as u64);
        for item in self {
            item.content_hash(hasher);
        }
    }
}

impl<K: ContentHash, V: ContentHash> ContentHash for BTreeMap<K, V> {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        hasher.write_u64(self.len() as u64);
        for (key, value) in self {
            key.content_hash(hasher);
            value.content_hash(hasher);
        }
    }
}

impl<A: ContentHash, B: ContentHash> ContentHash for (A, B) {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        self.0.content_hash(hasher);
        self.1.content_hash(hasher);
    }
}

impl<T: ContentHash + ?Sized> ContentHash for &T {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        (**self).content_hash(hasher);
    }
}

impl<T: ContentHash + ?Sized> ContentHash for Arc<T> {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        (**self).content_hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_boundary_changes_the_hash() {
        let one = ["ab".to_owned(), "c".to_owned()];
        let other = ["a".to_owned(), "bc".to_owned()];
        assert_ne!(one.hash_as("t"), other.hash_as("t"));
        assert_ne!("ab".hash_as("c"), "b".hash_as("ca"));
    }

    #[test]
    fn absent_differs_from_empty() {
        assert_ne!(None::<String>.hash_as("t"), Some(String::new()).hash_as("t"));
    }

    #[test]
    fn the_encoding_has_not_drifted() {
        let value: BTreeMap<String, Vec<u64>> =
            [("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![])].into();
        assert_eq!(
            value.hash_as("golden").to_string(),
            "a984e49b055bf4c83caa8ec19555001d44044db6e81ff65136275537489cf212"
        );
    }
}
