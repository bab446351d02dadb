//! Identifiers that follow from what an image is made of: UUIDs, the MBR's signature, FAT's volume number.
//!
//! Random ones would make two builds of the same image differ, fixed ones would make two images collide on one machine.

use uuid::{Builder, Uuid};

/// What all identifiers of one disk are derived from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    seed: [u8; 32],
}

impl Identity {
    /// Identifiers derived from `seed`, which the caller takes from the contents: the layers' digest, say.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed }
    }

    /// The UUID for the purpose `name`: version 8 of RFC 9562 (made by the application's own rule), which here is
    /// BLAKE3 keyed with the seed.
    #[must_use]
    pub fn uuid(&self, name: &str) -> Uuid {
        Builder::from_custom_bytes(self.bytes(name)).into_uuid()
    }

    /// A number other than zero for the purpose `name`.
    #[must_use]
    pub fn number(&self, name: &str) -> u32 {
        let bytes = self.bytes(name);
        u32::from_le_bytes(bytes).max(1)
    }

    fn bytes<const N: usize>(&self, name: &str) -> [u8; N] {
        let mut bytes = [0; N];
        blake3::Hasher::new_keyed(&self.seed)
            .update(b"imgbuild disk ")
            .update(name.as_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_seeds_tell_identifiers_apart() {
        let identity = Identity::new([7; 32]);
        assert_eq!(identity.uuid("root"), Identity::new([7; 32]).uuid("root"));
        assert_ne!(identity.uuid("root"), identity.uuid("esp"));
        assert_ne!(identity.uuid("root"), Identity::new([8; 32]).uuid("root"));
        assert_eq!(identity.uuid("root").get_version_num(), 8);
        assert_ne!(identity.number("mbr"), 0);
    }
}
