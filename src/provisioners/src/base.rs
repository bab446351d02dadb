//! `oci_base`, `rootfs_tar`, `scratch`: chains that start from what others have made, or from nothing.
//!
//! An archive is unpacked and captured as if a step had written it, so that nothing above can tell the difference; a
//! container image keeps its layers apart. What is not here: which manifest an image's name means (`resolve`), the formats
//! themselves (their crate), and systems made from packages (`debian`).

mod layers;
pub(crate) mod packages;
mod pull;
mod transfer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use imgbuild_engine::{
    ActionContext, ActionError, Executor, InputFile, LayerMetadata, Outcome, SharedExecutor,
};
use imgbuild_formats::oci_read::{Layout, ReadError, Selector, StoredImage};
use imgbuild_formats::unpack::{UnpackError, unpack_rootfs_tar};
use imgbuild_formats::{Notice, Platform};
use imgbuild_model::{Architecture, Artifact, ChainState, Class, Diagnostic, Stream, Value, with_causes};
use imgbuild_plan::{ImageRequest, default_source_date};
use sha2::{Digest as _, Sha256};

use crate::resolve::ArchiveConfig;
use layers::Stack;
use pull::Pull;
use transfer::Repository;

/// The code behind the kinds that start from files or from an image.
#[must_use]
pub fn base_executors(config: Arc<ArchiveConfig>) -> HashMap<&'static str, SharedExecutor> {
    HashMap::from([
        ("oci_base", Arc::new(OciBase { config }) as SharedExecutor),
        ("rootfs_tar", Arc::new(RootfsTar)),
        ("scratch", Arc::new(Scratch)),
    ])
}

/// `scratch`.
struct Scratch;

#[async_trait]
impl Executor for Scratch {
    async fn execute(&self, _: &ActionContext) -> Result<Outcome, ActionError> {
        Ok(outcome(
            Vec::new(),
            LayerMetadata { source_date: default_source_date(), ..LayerMetadata::default() },
        ))
    }
}

/// `rootfs_tar`.
struct RootfsTar;

#[async_trait]
impl Executor for RootfsTar {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let input = input(context, "src")?.ok_or_else(|| ActionError::input("`rootfs_tar` needs `src`"))?;
        let name = input_name(context, "src");
        if input.is_directory {
            return Err(ActionError::input(format!("`{name}` is a folder, not a tarball"))
                .hint("start from `scratch()`, and copy the folder in a step"));
        }
        context.progress("unpacking", 0, 0);
        let (stack, digest) = tokio::task::block_in_place(|| unpack_tar(context, &input.path, &name))?;
        let metadata = LayerMetadata {
            // No file is younger, so that nothing is changed by what comes later.
            source_date: stack
                .newest()
                .map_or(default_source_date(), |newest| newest.max(default_source_date())),
            materials: vec![(name, digest)],
            ..LayerMetadata::default()
        };
        Ok(outcome(stack.into_layers(), metadata))
    }
}

fn unpack_tar(context: &ActionContext, path: &Path, name: &str) -> Result<(Stack, String), ActionError> {
    let file = fs_err::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(ActionError::input(format!("`{name}` is empty")));
    }
    let mut archive = Hashed { inner: file, hasher: Sha256::new() };
    let mut stack = Stack::new(&context.cache, &context.run);
    let notices = stack.add(|place| {
        unpack_rootfs_tar(&mut archive, place.folder).map_err(|error| unpack_error(name, &error))
    })?;
    tell(context, name, &notices);
    io::copy(&mut archive, &mut io::sink())?;
    let digest = archive.hasher.finalize();
    Ok((stack, format!("sha256:{}", imgbuild_digest::Hash(digest.into()))))
}

/// Hashes what is read.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

/// `oci_base`.
struct OciBase {
    config: Arc<ArchiveConfig>,
}

#[async_trait]
impl Executor for OciBase {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        match (context.text("image"), input(context, "layout")?) {
            (Some(image), None) => self.registry_image(context, &image).await,
            (None, Some(folder)) => layout_image(context, &folder),
            (Some(_), Some(_)) => Err(ActionError::input("`oci_base` takes `image` or `layout`, not both")),
            (None, None) => Err(ActionError::input("`oci_base` needs `image` or `layout`")),
        }
    }
}

impl OciBase {
    async fn registry_image(&self, context: &ActionContext, image: &str) -> Result<Outcome, ActionError> {
        let request = ImageRequest { image: image.to_owned(), platform: context.platform() };
        let Some(pin) = context.lock.image(&request) else {
            return Err(ActionError::input(format!("the lock file does not say which image `{image}` is"))
                .hint("`imgbuild update` adds it"));
        };
        let work = async {
            let repository =
                Repository::new(&self.config, image, context.platform(), &context.cache, &context.run)?;
            let pull = Pull::new(&repository, &context.cache, &context.temporary.join("layout"))?;
            context.progress("looking up", 0, 0);
            pull.documents(&pin.digest, context.platform()).await?;
            let layout =
                Layout::open(&context.temporary.join("layout")).map_err(|error| pulled(image, &error))?;
            let found = find(&layout, Selector::Digest(&pin.digest), context.platform());
            let stored = found.map_err(|error| pulled(image, &error))?;
            let (stack, known) = resume(context, &stored)?;
            let on_progress = |done, total| context.progress("downloading", done, total);
            pull.layers(&stored.layers[known..], &on_progress).await?;
            Ok::<_, ActionError>((layout, stored, stack, known))
        };
        let (layout, stored, stack, known) =
            context.cancel.unless_cancelled(work).await.unwrap_or(Err(ActionError::Cancelled))?;
        let material = (image.to_owned(), pin.digest.clone());
        let unpack = || {
            unpack_image(context, &layout, &stored, (stack, known), material, &|error| pulled(image, error))
        };
        tokio::task::block_in_place(unpack)
    }
}

fn layout_image(context: &ActionContext, folder: &InputFile) -> Result<Outcome, ActionError> {
    let name = input_name(context, "layout");
    if !folder.is_directory {
        return Err(ActionError::input(format!("`{name}` is a file, not the folder of an OCI layout"))
            .hint("unpack the archive first"));
    }
    let wanted = context.text("ref");
    let selector = match wanted.as_deref() {
        None => Selector::Only,
        // Images without a name have nothing else to be called by.
        Some(digest) if digest.starts_with("sha256:") => Selector::Digest(digest),
        Some(tag) => Selector::Tag(tag),
    };
    let report = |error: &ReadError| read_error(&name, error, Class::Input);
    tokio::task::block_in_place(|| {
        let layout = Layout::open(&folder.path).map_err(|error| report(&error))?;
        let stored = find(&layout, selector, context.platform()).map_err(|error| match error {
            ReadError::Ambiguous { .. } => report(&error).hint("name it with `ref`"),
            error => report(&error),
        })?;
        let known = resume(context, &stored)?;
        let material = (name.clone(), format!("sha256:{}", stored.manifest.hex()));
        unpack_image(context, &layout, &stored, known, material, &report)
    })
}

/// An image's variants in the order in which they will do: of several for 32-bit ARM, the one that distributions mean.
fn wanted_platforms(platform: imgbuild_model::Platform) -> Vec<Platform> {
    let any = Platform::linux(platform.architecture.oci_name());
    match platform.architecture {
        Architecture::Arm => vec![Platform { variant: Some("v7".to_owned()), ..any.clone() }, any],
        _ => vec![any],
    }
}

fn find(
    layout: &Layout,
    selector: Selector<'_>,
    platform: imgbuild_model::Platform,
) -> Result<StoredImage, ReadError> {
    let mut result = Err(ReadError::TooDeep);
    for wanted in wanted_platforms(platform) {
        result = layout.find(selector, &wanted);
        if !matches!(result, Err(ReadError::NoSuchPlatform { .. })) {
            break;
        }
    }
    result
}

fn diff_ids(image: &StoredImage) -> Vec<&str> {
    image.layers.iter().map(|layer| layer.diff_id.as_str()).collect()
}

fn resume(context: &ActionContext, image: &StoredImage) -> Result<(Stack, usize), ActionError> {
    Stack::resume(&context.cache, &context.run, &diff_ids(image))
}

/// Unpacks an image's layers onto a stack that has the first ones already.
fn unpack_image(
    context: &ActionContext,
    layout: &Layout,
    image: &StoredImage,
    (mut stack, known): (Stack, usize),
    material: (String, String),
    report: &dyn Fn(&ReadError) -> ActionError,
) -> Result<Outcome, ActionError> {
    let (ids, total) = (diff_ids(image), image.layers.len());
    for (index, layer) in image.layers.iter().enumerate().skip(known) {
        if context.cancel.is_cancelled() {
            return Err(ActionError::Cancelled);
        }
        context.progress("unpacking layers", index as u64, total as u64);
        let notices = stack.add(|place| {
            layout
                .unpack(layer, place.folder, place.lower, place.opaque_attribute)
                .map_err(|error| report(&error))
        })?;
        tell(context, &format!("sha256:{}", layer.blob.hex()), &notices);
        stack.remember(&ids[..=index])?;
    }
    context.progress("unpacking layers", total as u64, total as u64);
    let metadata = LayerMetadata {
        source_date: source_date(image.created.as_deref(), stack.newest()),
        base: base_config(layout, image)?,
        materials: vec![material],
        steps: Vec::new(),
    };
    Ok(outcome(stack.into_layers(), metadata))
}

/// When an image was made, else the time of its newest file. Times before the default mean that it does not say.
fn source_date(created: Option<&str>, newest: Option<i64>) -> i64 {
    let created =
        created.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_second);
    [created, newest]
        .into_iter()
        .flatten()
        .find(|date| *date >= default_source_date())
        .unwrap_or(default_source_date())
}

/// What a chain inherits of an image's configuration.
fn base_config(layout: &Layout, image: &StoredImage) -> Result<ChainState, ActionError> {
    /// Docker's addition to OCI's configuration.
    #[derive(serde::Deserialize, Default)]
    #[serde(rename_all = "PascalCase", default)]
    struct Run {
        shell: Option<Vec<String>>,
    }
    #[derive(serde::Deserialize, Default)]
    struct Document {
        config: Option<Run>,
    }
    let bytes = fs_err::read(layout.blob_path(&image.config_digest))?;
    let document: Document = serde_json::from_slice(&bytes).unwrap_or_default();
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let config = &image.config;
    Ok(ChainState {
        env: config.env.iter().cloned().collect(),
        user: text(&config.user),
        workdir: text(&config.working_dir),
        shell: document.config.unwrap_or_default().shell.filter(|words| !words.is_empty()),
        entrypoint: some(&config.entrypoint),
        cmd: some(&config.cmd),
        labels: config.labels.clone(),
        exposed_ports: config.exposed_ports.iter().cloned().collect(),
        volumes: config.volumes.iter().cloned().collect(),
        stop_signal: config.stop_signal.clone(),
    })
}

fn outcome(layers: Vec<imgbuild_tree::DeltaId>, metadata: LayerMetadata) -> Outcome {
    Outcome { layers, layer: Some(metadata), ..Outcome::default() }
}

fn input(context: &ActionContext, attribute: &str) -> Result<Option<InputFile>, ActionError> {
    Ok(context.files(attribute)?.into_iter().next())
}

/// What an input is called in the workspace, not where it is on this machine.
fn input_name(context: &ActionContext, attribute: &str) -> String {
    match context.attributes().get(attribute) {
        Some(Value::Artifact(Artifact::Source(file))) => file.path.as_str().to_owned(),
        Some(Value::Artifact(Artifact::Output { name, .. })) => name.to_string(),
        _ => attribute.to_owned(),
    }
}

/// Says what could not be unpacked as it is. Folders that an archive leaves out are usual.
fn tell(context: &ActionContext, name: &str, notices: &[Notice]) {
    for notice in notices {
        let text = match notice {
            Notice::DeviceSkipped { path, .. } => {
                format!("{name}: the device `{path}` is left out: there are none in a user namespace")
            }
            Notice::AttributeSkipped { path, name: attribute } => {
                format!(
                    "{name}: `{path}` goes without the attribute `{attribute}`, which this file system does not have"
                )
            }
            Notice::FolderImplied { .. } => continue,
        };
        context.line(Stream::Stderr, &text);
    }
}

/// An error of an image out of a registry. Its blobs are verified, so that what is wrong with them is wrong there.
fn pulled(image: &str, error: &ReadError) -> ActionError {
    read_error(image, error, Class::Remote)
}

fn read_error(name: &str, error: &ReadError, whose: Class) -> ActionError {
    let class = match error {
        ReadError::Io { .. } => Class::Environment,
        ReadError::Unpack { source, .. } => unpack_class(source, whose),
        // What the user asked for is not what there is.
        ReadError::NoSuchPlatform { .. } | ReadError::NoSuchImage { .. } | ReadError::Ambiguous { .. } => {
            Class::Input
        }
        _ => whose,
    };
    let problem = Diagnostic::error(format!("`{name}`: {}", with_causes(error))).class(class);
    match error {
        ReadError::NoSuchPlatform { .. } => problem.hint("name another image, or another platform").into(),
        _ => problem.into(),
    }
}

fn unpack_error(name: &str, error: &UnpackError) -> ActionError {
    let problem = Diagnostic::error(format!("`{name}`: {}", with_causes(error)));
    problem.class(unpack_class(error, Class::Input)).into()
}

fn unpack_class(error: &UnpackError, whose: Class) -> Class {
    match error {
        UnpackError::Io { .. } | UnpackError::Owner { .. } => Class::Environment,
        _ => whose,
    }
}
