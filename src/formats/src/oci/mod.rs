//! Writes OCI image layouts: `oci-layout`, `index.json`, `blobs/sha256/…`.
//!
//! A layer is tarred, hashed (its diff id), compressed and hashed again (its blob's digest) in one pass. Pushing to a
//! registry is not done here.

mod describe;
mod layers;

use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use imgbuild_digest::{ContentHash, ContentHasher, Digest, Hash};

pub use describe::is_layout;
pub use describe::rfc3339;
pub(crate) use describe::{canonical_json, configuration};
pub(crate) use layers::{PlannedImage, plan_image};

use crate::ExportError;
use crate::compress::{Compression, Compressor};
use crate::hashing::{Sha256Reader, Sha256Writer, sha256_of};
use crate::image::{Image, LayerPolicy, Platform};
use crate::staging::{StagedDirectory, StagedFile, write_file};
use crate::tar_stream::write_tar;
use crate::view::{LeaveOut, TreeView, ViewNode};

/// How a layout is written.
pub struct OciOptions<'o> {
    /// Which layers the image has.
    pub layers: LayerPolicy,
    /// How they are compressed.
    pub compression: Compression,
    /// Threads that compress; the bytes do not depend on it.
    pub workers: NonZeroUsize,
    /// Paths that are left out.
    pub leave_out: Option<&'o LeaveOut<'o>>,
    /// The tag: `org.opencontainers.image.ref.name`.
    pub ref_name: Option<&'o str>,
    /// Layers that were compressed before.
    pub reuse: Option<&'o dyn BlobReuse>,
}

impl Default for OciOptions<'_> {
    fn default() -> Self {
        Self {
            layers: LayerPolicy::default(),
            compression: Compression::default(),
            workers: NonZeroUsize::MIN,
            leave_out: None,
            ref_name: None,
            reuse: None,
        }
    }
}

/// What names a compressed layer before it is made: the hash of everything its bytes are a function of, which is the
/// list of its entries with their digests, and the compression. Two images whose layers hold the same share the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(pub Hash);

/// A store of compressed layers.
pub trait BlobReuse {
    /// The blob of that key, if there is one. It is verified while it is copied; one that is damaged is made again.
    fn find(&self, key: &BlobKey) -> Option<ReusableBlob>;

    /// Offers a blob that was just made. `path` is the layout's own copy, valid during the call.
    fn offer(&self, key: &BlobKey, blob: &LayerBlob, path: &Path);
}

/// A compressed layer in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReusableBlob {
    /// Its digests and sizes.
    pub blob: LayerBlob,
    /// The file.
    pub path: PathBuf,
}

/// A compressed layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// SHA-256 and size of the blob.
    pub digest: Digest,
    /// SHA-256 and size of the tar stream in it.
    pub diff_id: Digest,
}

/// An image in a layout.
#[derive(Clone, Debug)]
pub struct WrittenImage {
    /// What it runs on.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Digest,
    /// Its configuration, which container engines call the image's id.
    pub config: Digest,
    /// Its layers, the lowest first.
    pub layers: Vec<WrittenLayer>,
}

/// A layer in a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenLayer {
    /// Its digests and sizes.
    pub blob: LayerBlob,
    /// Whether a store had it already.
    pub reused: bool,
}

/// A finished layout.
#[derive(Clone, Debug)]
pub struct WrittenLayout {
    /// Where it is.
    pub path: PathBuf,
    /// What its tag points to: the manifest of the one image, or the index over platforms.
    pub digest: Digest,
    /// Its images.
    pub images: Vec<WrittenImage>,
}

/// Writes a layout with one image, or with an index over the platforms of several.
///
/// `destination` is replaced if it is a layout or empty.
///
/// # Errors
///
/// Damaged layers, too many of them, two images for one platform, a destination that holds something else, the system's.
pub fn write_layout(
    destination: &Path,
    images: &[Image<'_>],
    options: &OciOptions<'_>,
) -> Result<WrittenLayout, ExportError> {
    let mut writer = LayoutWriter::create(destination)?;
    let written =
        images.iter().map(|image| writer.add_image(image, options)).collect::<Result<Vec<_>, _>>()?;
    let created = images.iter().map(|image| image.created).max().unwrap_or_default();
    writer.finish(written, options.ref_name, created)
}

/// A layout that is being written.
pub struct LayoutWriter {
    staged: StagedDirectory,
    destination: PathBuf,
    platforms: Vec<Platform>,
}

impl LayoutWriter {
    /// Starts a layout that will replace `destination`, if that is missing, empty or a layout.
    ///
    /// # Errors
    ///
    /// Something else stands there, or the folder cannot be written to.
    pub fn create(destination: &Path) -> Result<Self, ExportError> {
        let staged = StagedDirectory::create(destination, "an OCI layout", is_layout)?;
        let blobs = staged.path().join("blobs/sha256");
        fs_err::create_dir_all(&blobs).map_err(ExportError::io("create", &blobs))?;
        Ok(Self { staged, destination: destination.to_owned(), platforms: Vec::new() })
    }

    /// Writes one image's layers, configuration and manifest.
    ///
    /// # Errors
    ///
    /// Damaged layers, too many of them, a platform that was added before, the system's.
    pub fn add_image(
        &mut self,
        image: &Image<'_>,
        options: &OciOptions<'_>,
    ) -> Result<WrittenImage, ExportError> {
        if self.platforms.contains(&image.platform) {
            return Err(ExportError::DuplicatePlatform(image.platform.to_string()));
        }
        self.platforms.push(image.platform.clone());
        let PlannedImage { views, history } = plan_image(image, options.layers, options.leave_out)?;
        let mut layers = Vec::with_capacity(views.len());
        for view in &views {
            layers.push(self.add_layer(view, options)?);
        }
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.blob.diff_id).collect();
        let config = self.put(&canonical_json(&configuration(image, &diff_ids, history)?)?)?;
        let manifest = describe::manifest(image, config, &layers, options.compression)?;
        let manifest = self.put(&canonical_json(&manifest)?)?;
        Ok(WrittenImage { platform: image.platform.clone(), manifest, config, layers })
    }

    /// Writes the index and puts the layout in its place. Several images get an index of their own, to which
    /// `ref_name` then points.
    ///
    /// # Errors
    ///
    /// No image, or the system's.
    pub fn finish(
        self,
        images: Vec<WrittenImage>,
        ref_name: Option<&str>,
        created: i64,
    ) -> Result<WrittenLayout, ExportError> {
        let descriptor = match images.as_slice() {
            [] => return Err(ExportError::NoImages),
            [image] => describe::image_descriptor(image)?,
            several => {
                let index = describe::platform_index(several, created)?;
                describe::index_descriptor(self.put(&canonical_json(&index)?)?)?
            }
        };
        let (descriptor, digest) = descriptor;
        let index = describe::layout_index(descriptor, ref_name, created)?;
        write_file(&self.staged.path().join("index.json"), &canonical_json(&index)?)?;
        write_file(&self.staged.path().join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.staged.commit()?;
        Ok(WrittenLayout { path: self.destination, digest, images })
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.staged.path().join("blobs/sha256").join(digest.hex())
    }

    fn put(&self, bytes: &[u8]) -> Result<Digest, ExportError> {
        let digest = sha256_of(bytes);
        write_file(&self.blob_path(&digest), bytes)?;
        Ok(digest)
    }

    fn add_layer(&self, view: &TreeView<'_>, options: &OciOptions<'_>) -> Result<WrittenLayer, ExportError> {
        let key = blob_key(view, options.compression);
        if let Some(reuse) = options.reuse
            && let Some(found) = reuse.find(&key)
            && self.copy_blob(&found)?
        {
            return Ok(WrittenLayer { blob: found.blob, reused: true });
        }
        let blobs = self.staged.path().join("blobs/sha256");
        let mut staged = StagedFile::create(&blobs.join("layer"))?;
        let place = staged.path().to_owned();
        let failed = || ExportError::io("write", &place);
        let compressed = Sha256Writer::new(BufWriter::with_capacity(256 << 10, staged.sink()));
        let compressor =
            Compressor::new(compressed, options.compression, options.workers).map_err(failed())?;
        let mut stream = Sha256Writer::new(compressor);
        write_tar(view, &mut stream)?;
        let (compressor, diff_id) = stream.finish();
        let (file, digest) = compressor.finish().map_err(failed())?.finish();
        file.into_inner().map_err(std::io::IntoInnerError::into_error).map_err(failed())?;
        let path = self.blob_path(&digest);
        staged.commit_at(path.clone())?;
        let blob = LayerBlob { digest, diff_id };
        if let Some(reuse) = options.reuse {
            reuse.offer(&key, &blob, &path);
        }
        Ok(WrittenLayer { blob, reused: false })
    }

    /// Copies a stored blob and says whether it is what it should be.
    fn copy_blob(&self, found: &ReusableBlob) -> Result<bool, ExportError> {
        let Ok(source) = std::fs::File::open(&found.path) else {
            tracing::warn!(path = %found.path.display(), "a stored layer blob cannot be opened; making it again");
            return Ok(false);
        };
        let path = self.blob_path(&found.blob.digest);
        let mut staged = StagedFile::create(&path)?;
        let mut source = Sha256Reader::new(source);
        std::io::copy(&mut source, staged.sink()).map_err(ExportError::io("copy", &found.path))?;
        if source.finish().1 != found.blob.digest {
            tracing::warn!(path = %found.path.display(), "a stored layer blob is damaged; making it again");
            return Ok(false);
        }
        staged.commit()?;
        Ok(true)
    }
}

/// The key of a view's blob.
fn blob_key(view: &TreeView<'_>, compression: Compression) -> BlobKey {
    let mut hasher = ContentHasher::new("imgbuild/oci-layer/1");
    compression.content_hash(&mut hasher);
    hasher.write_u64(view.entries().len() as u64);
    for entry in view.entries() {
        hasher.write_bytes(entry.path.as_bytes());
        let metadata = match entry.node {
            ViewNode::Whiteout => {
                hasher.write_tag(0);
                continue;
            }
            ViewNode::Directory { opaque, metadata } => {
                hasher.write_tag(if opaque { 2 } else { 1 });
                metadata
            }
            ViewNode::File(file) => {
                hasher.write_tag(3);
                file.digest.content_hash(&mut hasher);
                file.metadata
            }
            ViewNode::HardLink { target, metadata } => {
                hasher.write_tag(4);
                hasher.write_bytes(target.as_bytes());
                metadata
            }
            ViewNode::SymbolicLink { target, metadata } => {
                hasher.write_tag(5);
                hasher.write_bytes(target);
                metadata
            }
            ViewNode::Fifo { metadata } => {
                hasher.write_tag(6);
                metadata
            }
            ViewNode::Device { block, major, minor, metadata } => {
                hasher.write_tag(if block { 8 } else { 7 });
                hasher.write_u64(u64::from(major));
                hasher.write_u64(u64::from(minor));
                metadata
            }
        };
        let imgbuild_tree::Metadata { mode, uid, gid, mtime, xattrs } = metadata;
        hasher.write_u64(u64::from(*mode));
        hasher.write_u64(u64::from(*uid));
        hasher.write_u64(u64::from(*gid));
        hasher.write_u64(mtime.cast_unsigned());
        hasher.write_u64(xattrs.len() as u64);
        for (name, value) in xattrs {
            hasher.write_bytes(name);
            hasher.write_bytes(value);
        }
    }
    BlobKey(hasher.finish())
}
