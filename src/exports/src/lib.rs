//! The code behind exports: artifacts out of layers.
//!
//! Each export reads the layers of the image it stands on and writes into the store; what is written for the user
//! comes from there. The formats themselves are another crate's.

mod disk;
mod image;
mod keep;
mod reuse;
mod sealed;

use std::collections::HashMap;
use std::num::{NonZero, NonZeroUsize};
use std::sync::Arc;

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome, SharedExecutor};
use imgbuild_formats::oci::{LayoutWriter, OciOptions};
use imgbuild_formats::{
    Compression, ExportError, LayerPolicy, TreeView, packages, sbom, write_docker_archive, write_tarball,
};

pub use imgbuild_disk::GuestJob;

pub use crate::disk::Guests;
pub use crate::image::image_config;

use crate::disk::DiskOfTree;
use crate::image::Layers;
use crate::keep::{keep_file, keep_folder};
use crate::reuse::CachedBlobs;

/// The code behind each kind of export. Machines, where one is needed, are run by `guests`.
#[must_use]
pub fn executors(guests: Arc<dyn Guests>) -> HashMap<&'static str, SharedExecutor> {
    let export = |format| Arc::new(Export { format }) as SharedExecutor;
    HashMap::from([
        ("oci", export(Format::Oci)),
        ("index", export(Format::Index)),
        ("docker_archive", export(Format::DockerArchive)),
        ("tarball", export(Format::Tarball)),
        ("directory", export(Format::Directory)),
        ("disk", Arc::new(DiskOfTree { guests })),
        ("sbom", export(Format::Sbom)),
    ])
}

#[derive(Clone, Copy)]
enum Format {
    Oci,
    Index,
    DockerArchive,
    Tarball,
    Directory,
    Sbom,
}

struct Export {
    format: Format,
}

#[async_trait]
impl Executor for Export {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        // Compression keeps a processor busy: not on the threads that wait for many things at once.
        tokio::task::block_in_place(|| match self.format {
            Format::Oci => oci(context),
            Format::Index => index(context),
            Format::DockerArchive => docker_archive(context),
            Format::Tarball => tarball(context),
            Format::Directory => directory(context),
            Format::Sbom => bill_of_materials(context),
        })
    }
}

fn output(context: &ActionContext) -> Result<String, ActionError> {
    context
        .node()
        .action
        .outputs
        .first()
        .map(ToString::to_string)
        .ok_or_else(|| ActionError::input(format!("`{}` declares no output", context.node().schema.id)))
}

fn failed(error: impl std::error::Error + 'static) -> ActionError {
    ActionError::caused_by(&error)
}

/// As [`failed`], for what may refuse the layers that were asked for.
fn refused(error: ExportError) -> ActionError {
    match error {
        ExportError::TooManyLayers { .. } => ActionError::input(error.to_string()),
        other => failed(other),
    }
}

fn policy(context: &ActionContext) -> Result<LayerPolicy, ActionError> {
    match context.text("layers").as_deref() {
        None | Some("steps") => Ok(LayerPolicy::Steps),
        Some("squash") => Ok(LayerPolicy::Squash),
        Some(number) => number.parse::<NonZeroUsize>().map(LayerPolicy::AtMost).map_err(|_| {
            ActionError::input(format!("`layers` is `{number}`; it is `steps`, `squash` or a number from 1"))
        }),
    }
}

fn compression(context: &ActionContext) -> Compression {
    match context.text("compression").as_deref() {
        Some("gzip") => Compression::Gzip,
        Some("none") => Compression::None,
        _ => Compression::Zstd,
    }
}

fn workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

fn oci(context: &ActionContext) -> Result<Outcome, ActionError> {
    let name = output(context)?;
    let layers = Layers::of_parent(context)?;
    let reference = context.text("ref");
    let folder = context.temporary.join("export");
    write_layout(context, &folder, &[&layers], reference.as_deref(), compression(context), policy(context)?)?;
    let files = keep_folder(&context.cache, &folder, &name)?;
    Ok(Outcome { layers: layers.ids.clone(), files, ..Outcome::default() })
}

fn index(context: &ActionContext) -> Result<Outcome, ActionError> {
    let name = output(context)?;
    let mut platforms = Vec::new();
    let mut first = None;
    for join in &context.node().action.joins {
        let place = context
            .graph
            .find(join)
            .ok_or_else(|| ActionError::input(format!("`{}` has no export to join", join.label)))?;
        first.get_or_insert(place);
        platforms.push(Layers::of_export(context, place)?);
    }
    let Some(first) = first else { return Err(ActionError::input("there is no export to join")) };
    // All are exports of one target and so are written in one way: that of the first.
    let attributes = &context.graph.nodes[first].action.attributes;
    let compression = match attributes.str("compression") {
        Some("zstd") => Compression::Zstd,
        _ => Compression::Gzip,
    };
    let policy = match attributes.str("layers") {
        None | Some("steps") => LayerPolicy::Steps,
        Some("squash") => LayerPolicy::Squash,
        Some(number) => number.parse::<NonZeroUsize>().map_or(LayerPolicy::Steps, LayerPolicy::AtMost),
    };
    let folder = context.temporary.join("export");
    let layers: Vec<&Layers> = platforms.iter().collect();
    write_layout(context, &folder, &layers, context.text("ref").as_deref(), compression, policy)?;
    Ok(Outcome { files: keep_folder(&context.cache, &folder, &name)?, ..Outcome::default() })
}

fn write_layout(
    context: &ActionContext,
    folder: &std::path::Path,
    platforms: &[&Layers],
    reference: Option<&str>,
    compression: Compression,
    layers: LayerPolicy,
) -> Result<(), ActionError> {
    let reuse = CachedBlobs { cache: &context.cache };
    let mut writer = LayoutWriter::create(folder).map_err(failed)?;
    let mut written = Vec::new();
    let mut created = 0;
    for platform in platforms {
        let image = platform.image();
        created = created.max(image.created);
        let options = OciOptions {
            layers,
            compression,
            workers: workers(),
            leave_out: None,
            ref_name: reference,
            reuse: Some(&reuse),
        };
        written.push(writer.add_image(&image, &options).map_err(refused)?);
    }
    writer.finish(written, reference, created).map_err(failed)?;
    Ok(())
}

fn docker_archive(context: &ActionContext) -> Result<Outcome, ActionError> {
    let name = output(context)?;
    let layers = Layers::of_parent(context)?;
    let path = context.temporary.join("export.tar");
    let tags: Vec<String> = context.text("ref").into_iter().collect();
    write_docker_archive(&path, &layers.image(), &tags, policy(context)?, None).map_err(refused)?;
    Ok(Outcome { files: vec![keep_file(&context.cache, &path, &name)?], ..Outcome::default() })
}

fn tarball(context: &ActionContext) -> Result<Outcome, ActionError> {
    let name = output(context)?;
    let layers = Layers::of_parent(context)?;
    let view = squashed(&layers)?;
    let path = context.temporary.join("export.tar");
    write_tarball(&path, &view, compression(context), workers()).map_err(failed)?;
    Ok(Outcome { files: vec![keep_file(&context.cache, &path, &name)?], ..Outcome::default() })
}

fn squashed(layers: &Layers) -> Result<TreeView<'_>, ActionError> {
    TreeView::squash(&layers.sources(), None).map_err(failed)
}

/// A folder is kept as a tar stream of it, since the store keeps contents alone, no owners and no links; it is unpacked
/// where it is written for the user.
fn directory(context: &ActionContext) -> Result<Outcome, ActionError> {
    let name = output(context)?;
    let layers = Layers::of_parent(context)?;
    let path = context.temporary.join("export.tar");
    write_tarball(&path, &squashed(&layers)?, Compression::None, workers()).map_err(failed)?;
    Ok(Outcome { files: vec![keep_file(&context.cache, &path, &name)?], ..Outcome::default() })
}

fn bill_of_materials(context: &ActionContext) -> Result<Outcome, ActionError> {
    let name = output(context)?;
    let layers = Layers::of_parent(context)?;
    let inventory = packages::Inventory::of_view(&squashed(&layers)?).map_err(failed)?;
    let label = context.node().label();
    let subject = sbom::Subject {
        name: label.name.as_str(),
        digest: layers.digest(),
        created: layers.metadata.source_date,
        inventory: &inventory,
    };
    let text = match context.text("format").as_deref() {
        Some("cyclonedx") => sbom::cyclonedx::cyclonedx(&subject),
        _ => sbom::spdx::spdx(&subject),
    }
    .map_err(failed)?;
    let blob = context.cache.put_bytes(&text)?;
    let file = imgbuild_cache::OutputFile { path: name, digest: blob.digest, executable: false };
    Ok(Outcome { files: vec![file], ..Outcome::default() })
}
