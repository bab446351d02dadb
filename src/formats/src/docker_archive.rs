//! Writes what `docker save` writes and `docker load`, `podman load` and skopeo's `docker-archive:` read: a tar with the
//! layers as plain tars, the image's configuration and a `manifest.json`.
//!
//! The sizes of the layers are known from the manifests, so that each is written once, straight into the archive.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use imgbuild_digest::Digest;
use serde::Serialize;
use tar::{EntryType, Header};

use crate::ExportError;
use crate::hashing::{Sha256Writer, sha256_of};
use crate::image::{Image, LayerPolicy};
use crate::oci::{PlannedImage, canonical_json, configuration, plan_image};
use crate::staging::StagedFile;
use crate::tar_stream::{tar_size, write_tar};
use crate::view::LeaveOut;

/// A finished archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenDockerArchive {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 and size of the file.
    pub digest: Digest,
    /// The image's configuration: its id in Docker's words.
    pub config: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes one image to the file `destination`. `repo_tags` are whole references, `name:tag`.
///
/// # Errors
///
/// Damaged layers, too many of them, a destination that cannot be written.
pub fn write_docker_archive(
    destination: &Path,
    image: &Image<'_>,
    repo_tags: &[String],
    policy: LayerPolicy,
    leave_out: Option<&LeaveOut<'_>>,
) -> Result<WrittenDockerArchive, ExportError> {
    let PlannedImage { views, history } = plan_image(image, policy, leave_out)?;
    let mut staged = StagedFile::create(destination)?;
    let mut file = Sha256Writer::new(BufWriter::with_capacity(256 << 10, staged.sink()));
    let mut diff_ids = Vec::with_capacity(views.len());
    let mut layers = Vec::with_capacity(views.len());
    for (index, view) in views.iter().enumerate() {
        // The diff id, which others name the file by, is only known once the file is written.
        let name = format!("layer-{:03}.tar", index + 1);
        let size = tar_size(view)?;
        head(&mut file, &name, size)?;
        let mut layer = Sha256Writer::new(&mut file);
        let written = write_tar(view, &mut layer)?;
        debug_assert_eq!(written, size);
        diff_ids.push(layer.finish().1);
        layers.push(name);
    }
    let config = canonical_json(&configuration(image, &diff_ids, history)?)?;
    let config_digest = sha256_of(&config);
    let config_name = format!("{}.json", config_digest.hex());
    member(&mut file, &config_name, &config)?;
    let saved = SavedImage { config: config_name, repo_tags: repo_tags.to_vec(), layers };
    member(&mut file, "manifest.json", &canonical_json(&[saved])?)?;
    file.write_all(&[0; 1024]).map_err(ExportError::Sink)?;
    let (file, digest) = file.finish();
    file.into_inner().map_err(|error| ExportError::Sink(error.into_error()))?;
    staged.commit()?;
    Ok(WrittenDockerArchive { path: destination.to_owned(), digest, config: config_digest })
}

fn head(sink: &mut impl Write, name: &str, size: u64) -> Result<(), ExportError> {
    let mut header = Header::new_gnu();
    header.set_path(name).map_err(ExportError::Sink)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    // GNU's headers say sizes beyond 8 GiB in base 256, which all readers of such archives know.
    header.set_size(size);
    header.set_cksum();
    sink.write_all(header.as_bytes()).map_err(ExportError::Sink)
}

fn member(sink: &mut impl Write, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
    head(sink, name, bytes.len() as u64)?;
    sink.write_all(bytes).map_err(ExportError::Sink)?;
    let padding = bytes.len().next_multiple_of(512) - bytes.len();
    sink.write_all(&[0; 512][..padding]).map_err(ExportError::Sink)
}
