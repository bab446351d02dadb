//! The JSON documents of a layout.

use std::collections::HashMap;
use std::path::Path;

use imgbuild_digest::Digest;
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_REF_NAME, Arch, ConfigBuilder, Descriptor, History, HistoryBuilder,
    ImageConfiguration, ImageConfigurationBuilder, ImageIndex, ImageIndexBuilder, ImageManifest,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
};
use serde::Serialize;

use super::{WrittenImage, WrittenLayer};
use crate::ExportError;
use crate::compress::Compression;
use crate::image::{Image, Platform};

/// A time as RFC 3339 writes it, in UTC with whole seconds.
///
/// # Errors
///
/// A time beyond the year 9999.
pub fn rfc3339(seconds: i64) -> Result<String, ExportError> {
    let time = jiff::Timestamp::from_second(seconds).map_err(|_| ExportError::Time { seconds })?;
    Ok(time.to_string())
}

/// JSON with sorted keys: the types of `oci-spec` hold hash maps, whose order changes from run to run.
pub(crate) fn canonical_json(value: &impl Serialize) -> Result<Vec<u8>, ExportError> {
    let mut value = serde_json::to_value(value).map_err(description)?;
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(description)
}

/// Whether a directory is an OCI layout.
#[must_use]
pub fn is_layout(directory: &Path) -> bool {
    directory.join("oci-layout").is_file()
}

/// An image's configuration.
pub(crate) fn configuration(
    image: &Image<'_>,
    diff_ids: &[Digest],
    history: Vec<bool>,
) -> Result<ImageConfiguration, ExportError> {
    let created = rfc3339(image.created)?;
    let entries: Vec<History> = image
        .steps
        .iter()
        .zip(history)
        .map(|(step, has_layer)| {
            let builder =
                HistoryBuilder::default().created(created.as_str()).created_by(step.created_by.as_str());
            if has_layer { builder } else { builder.empty_layer(true) }.build().map_err(description)
        })
        .collect::<Result<_, _>>()?;
    let diff_ids: Vec<String> = diff_ids.iter().map(oci_name).collect();
    let root = RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build().map_err(description)?;
    let mut builder = ImageConfigurationBuilder::default()
        .created(created)
        .architecture(Arch::from(image.platform.architecture.as_str()))
        .os(Os::from(image.platform.os.as_str()))
        .config(run_configuration(image)?)
        .rootfs(root)
        .history(entries);
    if let Some(variant) = &image.platform.variant {
        builder = builder.variant(variant.as_str());
    }
    builder.build().map_err(description)
}

fn run_configuration(image: &Image<'_>) -> Result<oci_spec::image::Config, ExportError> {
    let config = &image.config;
    let mut builder = ConfigBuilder::default();
    if !config.env.is_empty() {
        builder =
            builder.env(config.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>());
    }
    if !config.entrypoint.is_empty() {
        builder = builder.entrypoint(config.entrypoint.clone());
    }
    if !config.cmd.is_empty() {
        builder = builder.cmd(config.cmd.clone());
    }
    if !config.user.is_empty() {
        builder = builder.user(config.user.as_str());
    }
    if !config.working_dir.is_empty() {
        builder = builder.working_dir(config.working_dir.as_str());
    }
    if !config.labels.is_empty() {
        builder = builder.labels(config.labels.clone().into_iter().collect::<HashMap<_, _>>());
    }
    if !config.exposed_ports.is_empty() {
        builder = builder.exposed_ports(config.exposed_ports.iter().cloned().collect::<Vec<_>>());
    }
    if !config.volumes.is_empty() {
        builder = builder.volumes(config.volumes.iter().cloned().collect::<Vec<_>>());
    }
    if let Some(signal) = &config.stop_signal {
        builder = builder.stop_signal(signal.as_str());
    }
    builder.build().map_err(description)
}

/// An image's manifest.
pub(super) fn manifest(
    image: &Image<'_>,
    config: Digest,
    layers: &[WrittenLayer],
    compression: Compression,
) -> Result<ImageManifest, ExportError> {
    let media_type = match compression {
        Compression::None => MediaType::ImageLayer,
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
    };
    let layers: Vec<Descriptor> = layers
        .iter()
        .map(|layer| descriptor(media_type.clone(), &layer.blob.digest))
        .collect::<Result<_, _>>()?;
    ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, &config)?)
        .layers(layers)
        .annotations(HashMap::from([(ANNOTATION_CREATED.to_owned(), rfc3339(image.created)?)]))
        .build()
        .map_err(description)
}

/// What points to an image's manifest.
pub(super) fn image_descriptor(image: &WrittenImage) -> Result<(Descriptor, Digest), ExportError> {
    let mut pointer = descriptor(MediaType::ImageManifest, &image.manifest)?;
    pointer.set_platform(Some(platform(&image.platform)?));
    Ok((pointer, image.manifest))
}

/// What points to an index over platforms.
pub(super) fn index_descriptor(index: Digest) -> Result<(Descriptor, Digest), ExportError> {
    Ok((descriptor(MediaType::ImageIndex, &index)?, index))
}

/// The index over the platforms of one image.
pub(super) fn platform_index(images: &[WrittenImage], created: i64) -> Result<ImageIndex, ExportError> {
    let manifests: Vec<Descriptor> =
        images.iter().map(|image| Ok(image_descriptor(image)?.0)).collect::<Result<_, ExportError>>()?;
    index(manifests)
        .annotations(HashMap::from([(ANNOTATION_CREATED.to_owned(), rfc3339(created)?)]))
        .build()
        .map_err(description)
}

/// `index.json`: one entry, with the tag.
pub(super) fn layout_index(
    mut entry: Descriptor,
    ref_name: Option<&str>,
    created: i64,
) -> Result<ImageIndex, ExportError> {
    let mut annotations = HashMap::from([(ANNOTATION_CREATED.to_owned(), rfc3339(created)?)]);
    if let Some(name) = ref_name {
        annotations.insert(ANNOTATION_REF_NAME.to_owned(), name.to_owned());
    }
    entry.set_annotations(Some(annotations));
    index(vec![entry]).build().map_err(description)
}

fn index(manifests: Vec<Descriptor>) -> ImageIndexBuilder {
    ImageIndexBuilder::default().schema_version(2_u32).media_type(MediaType::ImageIndex).manifests(manifests)
}

fn platform(platform: &Platform) -> Result<oci_spec::image::Platform, ExportError> {
    let builder = PlatformBuilder::default()
        .architecture(Arch::from(platform.architecture.as_str()))
        .os(Os::from(platform.os.as_str()));
    match &platform.variant {
        Some(variant) => builder.variant(variant.as_str()),
        None => builder,
    }
    .build()
    .map_err(description)
}

fn descriptor(media_type: MediaType, digest: &Digest) -> Result<Descriptor, ExportError> {
    let name: Sha256Digest = digest.hex().parse().map_err(description)?;
    Ok(Descriptor::new(media_type, digest.size, name))
}

/// `sha256:…`, without the size.
pub(crate) fn oci_name(digest: &Digest) -> String {
    format!("{}:{}", digest.function.name(), digest.hex())
}

fn description(error: impl std::fmt::Display) -> ExportError {
    ExportError::Description(error.to_string())
}
