//! Layers as disks: each holds what a step wrote, as qcow2 images over those of the layers below.
//!
//! The images name no backing file, so that no path of one host is in them; what is below is said when they are opened. The lowest one is
//! kept as it is. Those over it are kept as chunks of what they say of the disk, so that it makes no difference in which order QEMU
//! wrote to them; where there is no image any more that says so, one is put together. A layer without an image of a disk changed
//! nothing of it. Firmware variables lie beside, whole.

use std::fs::File;
use std::path::{Path, PathBuf};

use imgbuild_cache::{Cache, ChunkedFile, Extent, Lease, Part, Run, Staged};
use imgbuild_disk::{DiskError, OverlayWriter, Qcow2Overlay};
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
    run: &'a Run,
    layers: &'a [DeltaId],
}

impl<'a> Chain<'a> {
    /// Of these layers, the lowest first, for a run that uses them.
    pub(crate) fn new(run: &'a Run, layers: &'a [DeltaId]) -> Self {
        Self { run, layers }
    }

    /// The files of that name, that of the highest layer first.
    fn files(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let paths = self.layers.iter().rev().map(move |delta| self.run.cache().layer_tree(delta).join(name));
        paths.filter(|path| path.exists())
    }

    /// The images of a disk, the highest first. They stay while the run lives.
    ///
    /// # Errors
    /// If a layer is gone, or an image cannot be put together.
    pub(crate) fn disk(&self, disk: usize) -> Result<Vec<PathBuf>, ActionError> {
        let name = file_name(disk);
        let cache = self.run.cache();
        // All at once: what is put together may take the place of what is needed next.
        self.run.lease(&self.layers.iter().map(|delta| Lease::Layer(*delta)).collect::<Vec<_>>())?;
        let mut images = Vec::new();
        for delta in self.layers.iter().rev() {
            // One that is gone is not one that says nothing.
            if !cache.has_layer(delta) {
                return Err(imgbuild_cache::Error::NoSuchLayer(*delta).into());
            }
            let path = cache.layer_tree(delta).join(&name);
            if path.exists() {
                images.push(path);
            } else if cache.has_chunked_file(delta, &name) {
                let found = || self.run.whole_file(delta, &name, put_together).map_err(|problem| problem.0);
                images.push(tokio::task::block_in_place(found)?);
            }
        }
        Ok(images)
    }

    /// How many disks there are: each has an image that is whole, below all others.
    pub(crate) fn disks(&self) -> usize {
        (0..).take_while(|&disk| self.files(&file_name(disk)).next().is_some()).count()
    }

    /// What the TPM has kept.
    pub(crate) fn tpm_state(&self) -> Option<PathBuf> {
        self.files(TPM_STATE).next()
    }

    /// The firmware variables.
    pub(crate) fn variables(&self) -> Option<PathBuf> {
        self.files(VARIABLES).next()
    }
}

/// What went wrong as an image was put together.
struct Problem(ActionError);

impl From<imgbuild_cache::Error> for Problem {
    fn from(error: imgbuild_cache::Error) -> Self {
        Self(error.into())
    }
}

impl From<DiskError> for Problem {
    fn from(error: DiskError) -> Self {
        Self(failed(error))
    }
}

/// Writes the image that says what a layer says of a disk.
fn put_together(said: &ChunkedFile, image: &File) -> Result<(), Problem> {
    let mut writer = OverlayWriter::new(image, said.list().size())?;
    said.read::<Problem>(|offset, part| {
        match part {
            Part::Data(bytes) => writer.data(offset, bytes)?,
            Part::Zero(length) => writer.zeros(offset, length)?,
        }
        Ok(())
    })?;
    Ok(writer.finish()?)
}

/// Keeps the images of a folder as chunks of what they say; of one that says nothing, nothing stays.
fn cut(cache: &Cache, staged: &mut Staged) -> Result<(), ActionError> {
    for name in (0..).map(file_name) {
        let path = staged.upper().join(&name);
        if !path.exists() {
            break;
        }
        let image = Qcow2Overlay::open(&path).map_err(failed)?;
        let extents: Vec<Extent> = image
            .said()
            .map(|said| Extent { offset: said.offset, length: said.length, zero: said.zero })
            .collect();
        let mut read = |buffer: &mut [u8], offset| image.read_at(buffer, offset);
        cache.keep_as_chunks(staged, &name, image.size(), &extents, &mut read)?;
    }
    Ok(())
}

/// A folder whose files become a layer over `below`, which the run leases: a machine goes on over its images.
pub(crate) fn commit(run: &Run, below: &[DeltaId], mut staged: Staged) -> Result<Vec<DeltaId>, ActionError> {
    let cache = run.cache();
    if !below.is_empty() {
        cut(cache, &mut staged)?;
    }
    let parents = below.iter().map(|delta| cache.layer_manifest(delta)).collect::<Result<Vec<_>, _>>()?;
    let options = CaptureOptions::new(default_source_date(), XattrNamespace::of_process());
    let manifest = capture(staged.upper(), &MergedView::new(&parents), &options).map_err(failed)?;
    let mut layers = below.to_vec();
    if !manifest.entries.is_empty() {
        run.lease(&[Lease::Layer(manifest.id())])?;
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

/// Writes the first disk of layers as it is: raw, in a file of its own. The run leases them.
///
/// # Errors
/// If `qemu-img` is not in `folders`, a layer has no disk, or the file cannot be written.
pub async fn raw_disk(
    run: &Run,
    folders: &[PathBuf],
    layers: &[DeltaId],
    target: &Path,
) -> Result<(), ActionError> {
    let images = Chain::new(run, layers).disk(0)?;
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

#[cfg(test)]
mod tests {
    use imgbuild_tree::EmptyView;

    use super::*;

    /// A layer over `below` whose disk `commands` of `qemu-io` have written to; kept as before there were chunks if so said.
    async fn written(
        run: &Run,
        images: &ImageTool,
        below: &[DeltaId],
        commands: &[&str],
        is_old: bool,
    ) -> Vec<DeltaId> {
        let staged = run.cache().stage(run).unwrap();
        let path = staged.upper().join(file_name(0));
        create(images, &path, 4 << 20).await.unwrap();
        let mut options = format!("driver=qcow2,file.driver=file,file.filename={}", path.display());
        let mut place = "backing.".to_owned();
        for image in Chain::new(run, below).disk(0).unwrap() {
            options += &format!(
                ",{place}driver=qcow2,{place}file.driver=file,{place}file.filename={}",
                image.display()
            );
            place += "backing.";
        }
        let mut io = std::process::Command::new("qemu-io");
        io.args(["--image-opts", &options]);
        for command in commands {
            io.args(["-c", command]);
        }
        let said = io.output().unwrap();
        assert!(said.status.success(), "{said:?}");
        if !is_old {
            return commit(run, below, staged).unwrap();
        }
        let options = CaptureOptions::new(default_source_date(), XattrNamespace::of_process());
        let manifest = capture(staged.upper(), &EmptyView, &options).unwrap();
        let layer = run.cache().commit_layer(staged, &manifest).unwrap();
        below.iter().copied().chain([layer]).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn disks_of_layers_are_the_same_whatever_they_are_kept_as() {
        let folders: [PathBuf; 2] = ["/usr/bin".into(), "/usr/local/bin".into()];
        let images = match ImageTool::find("qemu-img", &folders).await {
            Ok(images) => images,
            Err(error) => return eprintln!("SKIPPED: {error}"),
        };
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let run = Run::begin(&cache).unwrap();
        let base = written(&run, &images, &[], &["write -P 1 0 4M"], false).await;
        let old = written(&run, &images, &base, &["write -P 2 1M 1000"], true).await;
        let one = ["write -P 3 2M 200k", "write -z 3M 128k", "write -P 4 0 1k"];
        let new = written(&run, &images, &old, &one, false).await;
        assert_eq!(cache.stats().unwrap().whole, 1, "the lowest and the old one are kept as they are");
        assert_eq!(written(&run, &images, &new, &["read 0 4M"], false).await, new, "nothing was said");
        // The same, written in another order.
        let other = ["write -P 4 0 1k", "write -z 3M 128k", "write -P 9 2M 200k", "write -P 3 2M 200k"];
        assert_eq!(written(&run, &images, &old, &other, false).await, new);

        let shown = async |name: &str| {
            let path = folder.path().join(name);
            raw_disk(&run, &folders, &new, &path).await.unwrap();
            fs_err::read(path).unwrap()
        };
        let mut wanted = vec![1; 4 << 20];
        wanted[1 << 20..][..1000].fill(2);
        wanted[2 << 20..][..200 << 10].fill(3);
        wanted[3 << 20..][..128 << 10].fill(0);
        wanted[..1 << 10].fill(4);
        assert!(shown("as it was written").await == wanted);
        let whole = cache.layer_tree(new.last().unwrap()).with_file_name("whole");
        fs_err::remove_dir_all(&whole).unwrap();
        assert!(shown("put together").await == wanted);
        let gone =
            new.iter().copied().chain([DeltaId(imgbuild_digest::Hash::of(b"gone"))]).collect::<Vec<_>>();
        let error = Chain::new(&run, &gone).disk(0).unwrap_err().to_string();
        assert!(error.contains("the cache does not hold the layer `"), "{error}");
        let checked = images.check(&whole.join(file_name(0)), DiskFormat::Qcow2).await.unwrap();
        assert_eq!(checked, crate::image::CheckReport::default());
    }
}
