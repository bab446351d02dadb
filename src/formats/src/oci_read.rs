//! Reads an OCI image layout on disk: finds an image by tag or digest and platform, verifies it, unpacks its layers.
//!
//! Docker's media types are read too, since layouts copied from registries hold them. Nothing is fetched: a blob that is
//! not in the layout is an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use imgbuild_digest::Digest;
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use crate::hashing::{Sha256Reader, sha256_of};
use crate::image::{ImageConfig, Platform};
use crate::oci::is_layout;
use crate::place::Notice;
use crate::unpack::{Packing, UnpackError, unpack_layer};

/// No manifest or configuration is larger; registries refuse more than 4 MiB.
const MAX_DOCUMENT: u64 = 16 << 20;

/// Indexes within indexes are followed so far.
const MAX_DEPTH: usize = 4;

/// containerd writes the whole reference here, and only the tag into OCI's annotation.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No layout.
    #[error("`{}` is not an OCI layout: it has no file `oci-layout`", .0.display())]
    NotALayout(PathBuf),
    /// A file of the layout cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A document of the layout does not parse.
    #[error("`{what}` is not valid: {reason}")]
    Document {
        /// Which document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document beyond all measure.
    #[error("`{what}` has {size} bytes, more than the {MAX_DOCUMENT} that a manifest may have")]
    TooLarge {
        /// Which document.
        what: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A digest of a function that is not supported.
    #[error("`{0}` is not a SHA-256 digest; no other kind is supported in OCI layouts")]
    DigestFunction(String),
    /// A blob is not what its name says.
    #[error("the blob `{expected}` is damaged: its contents are `{found}`; copy the image again")]
    Damaged {
        /// What its descriptor says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A layer's contents are not what the configuration says.
    #[error("the layer `{blob}` holds `{found}`, but the image's configuration says `{expected}`")]
    DiffId {
        /// The layer's blob.
        blob: Digest,
        /// What the configuration says.
        expected: String,
        /// What it is.
        found: String,
    },
    /// No image of that name.
    #[error("there is no image `{wanted}` in the layout; it has {}", list(available))]
    NoSuchImage {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// Several images, and none was named.
    #[error("the layout has several images; name one of {}", list(available))]
    Ambiguous {
        /// What there is.
        available: Vec<String>,
    },
    /// The image does not exist for the platform.
    #[error("the image does not exist for `{wanted}`; it has {}", list(available))]
    NoSuchPlatform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// Indexes that go on for ever.
    #[error("the layout nests indexes more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Something else than an image.
    #[error("`{0}` is not the media type of an image or of one of its layers")]
    MediaType(String),
    /// The manifest and the configuration disagree.
    #[error("the manifest has {layers} layers and the configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A layer could not be unpacked.
    #[error("cannot unpack the layer `{blob}`")]
    Unpack {
        /// The layer's blob.
        blob: Digest,
        /// Why not.
        source: UnpackError,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Which image of a layout is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector<'a> {
    /// The one image that there is.
    Only,
    /// The image with that tag: `org.opencontainers.image.ref.name`.
    Tag(&'a str),
    /// The manifest or index with that digest, `sha256:…`; it need not be in `index.json`.
    Digest(&'a str),
}

/// A layout on disk.
#[derive(Clone, Debug)]
pub struct Layout {
    path: PathBuf,
}

/// An image of a layout; its manifest and configuration are verified, its layers are when they are unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Its manifest.
    pub manifest: Digest,
    /// Its configuration.
    pub config_digest: Digest,
    /// What it runs on.
    pub platform: Platform,
    /// How its containers run.
    pub config: ImageConfig,
    /// When it says it was made, as it is written there.
    pub created: Option<String>,
    /// What its history says of each step, the lowest first.
    pub history: Vec<HistoryEntry>,
    /// Its layers, the lowest first.
    pub layers: Vec<StoredLayer>,
}

/// One entry of an image's history.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
pub struct HistoryEntry {
    /// What the step was.
    #[serde(default)]
    pub created_by: Option<String>,
    /// Whether no layer came out of it.
    #[serde(default)]
    pub empty_layer: bool,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLayer {
    /// Its blob.
    pub blob: Digest,
    /// What the configuration says its tar stream is: `sha256:…`.
    pub diff_id: String,
}

/// Go writes `null` for what is empty, so every list and map may be that.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct ConfigDocument {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    config: RunDocument,
    #[serde(default, deserialize_with = "null_is_empty")]
    history: Vec<HistoryEntry>,
    rootfs: RootDocument,
}

#[derive(Deserialize)]
struct RootDocument {
    #[serde(default, deserialize_with = "null_is_empty")]
    diff_ids: Vec<String>,
}

type Names = std::collections::BTreeMap<String, serde::de::IgnoredAny>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RunDocument {
    #[serde(deserialize_with = "null_is_empty")]
    env: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    user: String,
    #[serde(deserialize_with = "null_is_empty")]
    working_dir: String,
    #[serde(deserialize_with = "null_is_empty")]
    labels: std::collections::BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_empty")]
    exposed_ports: Names,
    #[serde(deserialize_with = "null_is_empty")]
    volumes: Names,
    stop_signal: Option<String>,
}

impl Layout {
    /// Opens the layout in the directory `path`.
    ///
    /// # Errors
    ///
    /// It is no layout.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        if is_layout(path) {
            Ok(Self { path: path.to_owned() })
        } else {
            Err(ReadError::NotALayout(path.to_owned()))
        }
    }

    /// Finds an image and reads its manifest and configuration.
    ///
    /// # Errors
    ///
    /// No such image, several, damaged documents, an image that is none.
    pub fn find(&self, selector: Selector<'_>, platform: &Platform) -> Result<StoredImage, ReadError> {
        let candidates = self.candidates(selector)?;
        let mut available = Vec::new();
        for candidate in &candidates {
            if let Some(image) = self.for_platform(candidate, platform, 0, &mut available)? {
                return Ok(image);
            }
        }
        Err(ReadError::NoSuchPlatform { wanted: platform.clone(), available })
    }

    /// Unpacks a layer into the directory `destination`, which exists, and verifies it on the way.
    ///
    /// `lower` are the directories of the layers below, the highest first; `opaque_attribute` is
    /// `trusted.overlay.opaque` for root and `user.overlay.opaque` in a user namespace. After an error the directory's
    /// contents are worth nothing.
    ///
    /// # Errors
    ///
    /// A damaged blob, a hostile archive, owners that this process may not give, the system's.
    pub fn unpack(
        &self,
        layer: &StoredLayer,
        destination: &Path,
        lower: &[&Path],
        opaque_attribute: &str,
    ) -> Result<Vec<Notice>, ReadError> {
        let path = self.blob_path(&layer.blob);
        let failed = |source| ReadError::Io { path: path.clone(), source };
        let mut file = File::open(&path).map_err(failed)?;
        let mut start = [0; 6];
        let length = read_start(&mut file, &mut start).map_err(failed)?;
        // One byte more than promised is enough to be found out.
        let whole =
            io::Cursor::new(start[..length].to_vec()).chain(file).take(layer.blob.size.saturating_add(1));
        let mut blob = Sha256Reader::new(whole);
        let unpacked = {
            let tar = Packing::detect(&start[..length]).reader(&mut blob).map_err(failed)?;
            let mut stream = Sha256Reader::new(tar);
            let notices = unpack_layer(&mut stream, destination, lower, opaque_attribute);
            notices.map(|notices| (notices, stream.finish().1))
        };
        // A damaged blob mostly fails while it is unpacked, so its digest is asked first, whatever came of that.
        io::copy(&mut blob, &mut io::sink()).map_err(failed)?;
        let (_, found) = blob.finish();
        if found != layer.blob {
            return Err(ReadError::Damaged { expected: layer.blob, found });
        }
        let (notices, stream) = unpacked.map_err(|source| ReadError::Unpack { blob: layer.blob, source })?;
        let found = format!("sha256:{}", stream.hex());
        if found != layer.diff_id {
            return Err(ReadError::DiffId { blob: layer.blob, expected: layer.diff_id.clone(), found });
        }
        Ok(notices)
    }

    /// The file of a blob.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.function.name()).join(digest.hex())
    }

    fn candidates(&self, selector: Selector<'_>) -> Result<Vec<Descriptor>, ReadError> {
        let path = self.path.join("index.json");
        let bytes = fs_err::read(&path).map_err(|source| ReadError::Io { path, source })?;
        let index: ImageIndex = parse("index.json", &bytes)?;
        let entries = index.manifests();
        let available = || -> Vec<String> {
            entries
                .iter()
                .map(|entry| tag(entry).map_or_else(|| entry.digest().to_string(), str::to_owned))
                .collect()
        };
        let missing =
            |wanted: &str| ReadError::NoSuchImage { wanted: wanted.to_owned(), available: available() };
        match selector {
            Selector::Only => match entries.as_slice() {
                [] => Err(missing("")),
                // One tag for each platform, or one image under several tags, is still one image.
                [first, rest @ ..]
                    if rest.iter().all(|entry| {
                        entry.digest() == first.digest() || (tag(entry).is_some() && tag(entry) == tag(first))
                    }) =>
                {
                    Ok(entries.clone())
                }
                _ => Err(ReadError::Ambiguous { available: available() }),
            },
            Selector::Tag(wanted) => {
                let named = |entry: &&Descriptor| {
                    let annotation = |key| entry.annotations().as_ref().and_then(|all| all.get(key));
                    tag(entry) == Some(wanted)
                        || annotation(CONTAINERD_NAME).is_some_and(|name| name == wanted)
                };
                let found: Vec<Descriptor> = entries.iter().filter(named).cloned().collect();
                if found.is_empty() { Err(missing(wanted)) } else { Ok(found) }
            }
            Selector::Digest(wanted) => {
                if let Some(entry) = entries.iter().find(|entry| entry.digest().as_ref() == wanted) {
                    return Ok(vec![entry.clone()]);
                }
                let digest = sha256_digest(wanted, 0)?;
                let size = std::fs::metadata(self.blob_path(&digest)).map_err(|_| missing(wanted))?.len();
                let bytes = self.document(&Digest { size, ..digest })?;
                let kind: MediaTypeOnly = parse(wanted, &bytes)?;
                let media_type = kind.media_type.as_str().into();
                let name: oci_spec::image::Sha256Digest =
                    digest.hex().parse().map_err(|_| ReadError::DigestFunction(wanted.to_owned()))?;
                Ok(vec![Descriptor::new(media_type, size, name)])
            }
        }
    }

    /// Follows a descriptor to the image for the platform; adds what it saw instead to `available`.
    fn for_platform(
        &self,
        descriptor: &Descriptor,
        platform: &Platform,
        depth: usize,
        available: &mut Vec<String>,
    ) -> Result<Option<StoredImage>, ReadError> {
        if depth > MAX_DEPTH {
            return Err(ReadError::TooDeep);
        }
        match descriptor.media_type().as_ref() {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                let digest = digest_of(descriptor)?;
                let index: ImageIndex = parse(&digest.to_string(), &self.document(&digest)?)?;
                for entry in index.manifests() {
                    if let Some(stated) = entry.platform() {
                        let stated = Platform {
                            os: stated.os().to_string(),
                            architecture: stated.architecture().to_string(),
                            variant: stated.variant().clone(),
                        };
                        if !stated.satisfies(platform) {
                            // Attestations beside images say so.
                            if stated.os != "unknown" {
                                available.push(stated.to_string());
                            }
                            continue;
                        }
                    }
                    if let Some(image) = self.for_platform(entry, platform, depth + 1, available)? {
                        return Ok(Some(image));
                    }
                }
                Ok(None)
            }
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => {
                let image = self.image(&digest_of(descriptor)?)?;
                if image.platform.satisfies(platform) {
                    return Ok(Some(image));
                }
                available.push(image.platform.to_string());
                Ok(None)
            }
            other => Err(ReadError::MediaType(other.to_owned())),
        }
    }

    fn image(&self, digest: &Digest) -> Result<StoredImage, ReadError> {
        let manifest: ImageManifest = parse(&digest.to_string(), &self.document(digest)?)?;
        let config_type = manifest.config().media_type().to_string();
        if !matches!(
            config_type.as_str(),
            "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json"
        ) {
            return Err(ReadError::MediaType(config_type));
        }
        let config_digest = digest_of(manifest.config())?;
        let config: ConfigDocument = parse(&config_digest.to_string(), &self.document(&config_digest)?)?;
        let (layers, diff_ids) = (manifest.layers(), config.rootfs.diff_ids);
        if layers.len() != diff_ids.len() {
            return Err(ReadError::LayerCount { layers: layers.len(), diff_ids: diff_ids.len() });
        }
        let layers = layers
            .iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| {
                if !is_layer(layer.media_type().as_ref()) {
                    return Err(ReadError::MediaType(layer.media_type().to_string()));
                }
                Ok(StoredLayer { blob: digest_of(layer)?, diff_id })
            })
            .collect::<Result<_, _>>()?;
        Ok(StoredImage {
            manifest: *digest,
            config_digest,
            platform: Platform {
                os: config.os,
                architecture: config.architecture,
                variant: config.variant.filter(|variant| !variant.is_empty()),
            },
            config: run_config(config.config),
            created: config.created,
            history: config.history,
            layers,
        })
    }

    /// Reads a JSON blob and verifies it.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ReadError> {
        if digest.size > MAX_DOCUMENT {
            return Err(ReadError::TooLarge { what: digest.to_string(), size: digest.size });
        }
        let path = self.blob_path(digest);
        let failed = |source| ReadError::Io { path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path).map_err(failed)?.take(digest.size + 1).read_to_end(&mut bytes).map_err(failed)?;
        let found = sha256_of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(ReadError::Damaged { expected: *digest, found }) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MediaTypeOnly {
    #[serde(default = "manifest_type")]
    media_type: String,
}

/// What OCI's manifests are when they do not say.
fn manifest_type() -> String {
    "application/vnd.oci.image.manifest.v1+json".to_owned()
}

fn is_layer(media_type: &str) -> bool {
    let base = media_type.split('+').next().unwrap_or_default();
    matches!(
        base,
        "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
    )
}

fn run_config(run: RunDocument) -> ImageConfig {
    let pair = |entry: String| match entry.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (entry, String::new()),
    };
    ImageConfig {
        env: run.env.into_iter().map(pair).collect(),
        entrypoint: run.entrypoint,
        cmd: run.cmd,
        user: run.user,
        working_dir: run.working_dir,
        labels: run.labels,
        exposed_ports: run.exposed_ports.into_keys().collect(),
        volumes: run.volumes.into_keys().collect(),
        stop_signal: run.stop_signal.filter(|signal| !signal.is_empty()),
    }
}

fn tag(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(ANNOTATION_REF_NAME).map(String::as_str)
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, ReadError> {
    sha256_digest(descriptor.digest().as_ref(), descriptor.size())
}

fn sha256_digest(text: &str, size: u64) -> Result<Digest, ReadError> {
    let mut bytes = [0; 32];
    text.strip_prefix("sha256:")
        .and_then(|hex| hex::decode_to_slice(hex, &mut bytes).ok())
        .map(|()| Digest::sha256(bytes, size))
        .ok_or_else(|| ReadError::DigestFunction(text.to_owned()))
}

fn parse<T: for<'de> Deserialize<'de>>(what: &str, bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ReadError::Document { what: what.to_owned(), reason: error.to_string() })
}

fn read_start(file: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < start.len() {
        match file.read(&mut start[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}
