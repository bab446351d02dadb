//! Compressed layers that were made before, kept in the store by what they hold.

use std::path::Path;

use imgbuild_cache::Cache;
use imgbuild_digest::{Digest, HashFunction};
use imgbuild_formats::oci::{BlobKey, BlobReuse, LayerBlob, ReusableBlob};

const MEMO: &str = "oci-layer";

/// The store as a source of compressed layers. A failure of the store only means that a layer is compressed again.
pub(crate) struct CachedBlobs<'a> {
    pub(crate) cache: &'a Cache,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Record {
    digest: Digest,
    diff_id: Digest,
}

impl BlobReuse for CachedBlobs<'_> {
    fn find(&self, key: &BlobKey) -> Option<ReusableBlob> {
        let bytes = self.cache.memo_get(MEMO, &key.0).ok()??;
        let Record { digest, diff_id } = serde_json::from_slice(&bytes).ok()?;
        debug_assert_eq!(digest.function, HashFunction::Sha256);
        let stored = self.cache.find_sha256(&digest.bytes, digest.size).ok()??;
        Some(ReusableBlob { blob: LayerBlob { digest, diff_id }, path: self.cache.path(&stored).ok()? })
    }

    fn offer(&self, key: &BlobKey, blob: &LayerBlob, path: &Path) {
        let record = Record { digest: blob.digest, diff_id: blob.diff_id };
        let kept = self.cache.put_file(path).is_ok()
            && serde_json::to_vec(&record)
                .is_ok_and(|bytes| self.cache.memo_put(MEMO, &key.0, &bytes).is_ok());
        if !kept {
            tracing::debug!(path = %path.display(), "a compressed layer was not kept for reuse");
        }
    }
}
