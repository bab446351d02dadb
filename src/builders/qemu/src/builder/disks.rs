//! Layers as disks: each holds what a step wrote, as qcow2 images over those of the layers below.
//!
//! The images name no backing file, so that no path of one host is in them; what is below is said when they are opened. A layer
//! without an image of a disk changed nothing of it. Firmware variables lie beside, whole.

use std::path::{Path, PathBuf};

use imgbuild_cache::{Cache, Staged};
use imgbuild_engine::ActionError;
use imgbuild_model::{Class, Diagnostic, with_causes};
use imgbuild_plan::default_source_date;
use imgbuild_tree::{CaptureOptions, DeltaId, MergedView, XattrNamespace, capture};

use crate::image::{Conversion, ImageError};
use crate::probe::ImageTool;
use crate::spec::DiskFormat;

/// The file of firmware variables in a layer.
pub(crate) const VARIABLES: &str = "efivars.fd";

/// The file of what a TPM keeps in a layer.
pub(crate) const TPM_STATE: &str = "tpm";

/// The file of a disk in a layer.
pub(crate) fn file_name(disk: usize) -> String {
    format!("disk{disk}.qcow2")
}

/// A chain of layers that lie in the cache.
pub(crate) struct Chain<'a> {
    cache: &'a Cache,
    layers: &'a [DeltaId],
}

impl<'a> Chain<'a> {
    /// Of these layers, the lowest first.
    pub(crate) fn new(cache: &'a Cache, layers: &'a [DeltaId]) -> Self {
        Self { cache, layers }
    }

    /// The files of that name, that of the highest layer first.
    fn files(&self, name: &str) -> Vec<PathBuf> {
        let paths = self.layers.iter().rev().map(|delta| self.cache.layer_tree(delta).join(name));
        paths.filter(|path| path.exists()).collect()
    }

    /// The images of a disk, the highest first.
    pub(crate) fn disk(&self, disk: usize) -> Vec<PathBuf> {
        self.files(&file_name(disk))
    }

    /// How many disks there are.
    pub(crate) fn disks(&self) -> usize {
        (0..).take_while(|&disk| !self.disk(disk).is_empty()).count()
    }

    /// What the TPM has kept.
    pub(crate) fn tpm_state(&self) -> Option<PathBuf> {
        self.files(TPM_STATE).into_iter().next()
    }

    /// The firmware variables.
    pub(crate) fn variables(&self) -> Option<PathBuf> {
        self.files(VARIABLES).into_iter().next()
    }
}

/// A folder whose files become a layer over `below`.
pub(crate) fn commit(cache: &Cache, below: &[DeltaId], staged: Staged) -> Result<Vec<DeltaId>, ActionError> {
    let parents = below.iter().map(|delta| cache.layer_manifest(delta)).collect::<Result<Vec<_>, _>>()?;
    let options = CaptureOptions::new(default_source_date(), XattrNamespace::of_process());
    let manifest = capture(staged.upper(), &MergedView::new(&parents), &options).map_err(failed)?;
    let mut layers = below.to_vec();
    if !manifest.entries.is_empty() {
        layers.push(cache.commit_layer(staged, &manifest)?);
    }
    Ok(layers)
}

/// What a disk image from elsewhere is, and whether it can be one.
async fn look_at(images: &ImageTool, medium: &Path) -> Result<DiskFormat, ActionError> {
    let info = images.info(medium, None).await?;
    if let [other, ..] = info.other_files()[..] {
        let what = format!("the disk `{}` stands on another file, `{}`", medium.display(), other.display());
        return Err(ActionError::input(what).hint("join them: `qemu-img convert -O qcow2 …`"));
    }
    if info.encrypted {
        return Err(ActionError::input(format!("the disk `{}` is encrypted", medium.display())));
    }
    match info.format.as_str() {
        "qcow2" => Ok(DiskFormat::Qcow2),
        "raw" => Ok(DiskFormat::Raw),
        other => Err(ActionError::input(format!("the disk `{}` is of the format {other}", medium.display()))
            .hint("make it one of qcow2 or raw: `qemu-img convert -O qcow2 …`")),
    }
}

/// Writes a disk that a machine can start from: `medium`, or an empty one.
///
/// # Errors
/// If it cannot be read, or `size` is less than it has.
pub(crate) async fn lay(
    images: &ImageTool,
    medium: Option<&Path>,
    target: &Path,
    size: Option<u64>,
) -> Result<(), ActionError> {
    let Some(medium) = medium else {
        return create(images, target, size.unwrap_or(40 << 30)).await;
    };
    let from = look_at(images, medium).await?;
    let conversion =
        Conversion { from, to: "qcow2".to_owned(), compress: false, backing: None, arguments: Vec::new() };
    images.convert(medium, target, &conversion).await?;
    let has = virtual_size(images, target).await?;
    match size {
        Some(size) if size < has => {
            let what = format!("`disk_size` is {size} bytes, and the disk has {has}");
            Err(ActionError::input(what).hint("give a larger one, or none: a disk is not made smaller"))
        }
        Some(size) if size > has => Ok(images.resize(target, DiskFormat::Qcow2, size, false, &[]).await?),
        _ => Ok(()),
    }
}

/// An image that is to lie over others of that size.
pub(crate) async fn create(images: &ImageTool, path: &Path, size: u64) -> Result<(), ActionError> {
    Ok(images.create(path, DiskFormat::Qcow2, Some(size), None, &[]).await?)
}

/// The size that a guest sees, in bytes.
pub(crate) async fn virtual_size(images: &ImageTool, path: &Path) -> Result<u64, ActionError> {
    Ok(images.info(path, Some(DiskFormat::Qcow2)).await?.virtual_size)
}

/// Writes the first disk of layers as it is: raw, in a file of its own.
///
/// # Errors
/// If `qemu-img` is not in `folders`, a layer has no disk, or the file cannot be written.
pub async fn raw_disk(
    cache: &Cache,
    folders: &[PathBuf],
    layers: &[DeltaId],
    target: &Path,
) -> Result<(), ActionError> {
    let images = Chain::new(cache, layers).disk(0);
    if images.is_empty() {
        return Err(ActionError::environment("the layers have no disk"));
    }
    let conversion = Conversion {
        from: DiskFormat::Qcow2,
        to: "raw".to_owned(),
        compress: false,
        backing: None,
        arguments: Vec::new(),
    };
    Ok(ImageTool::find("qemu-img", folders).await?.flatten(&images, target, &conversion).await?)
}

/// An error of this host.
pub(crate) fn failed(error: impl std::error::Error + 'static) -> ActionError {
    ActionError::caused_by(&error)
}

/// An error of an image that the user named is the user's.
impl From<ImageError> for ActionError {
    fn from(error: ImageError) -> Self {
        let class = match error {
            ImageError::Refused { .. } | ImageError::NotText(_) => Class::Input,
            _ => Class::Environment,
        };
        Diagnostic::error(with_causes(&error)).class(class).into()
    }
}
