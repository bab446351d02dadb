//! Makes trees of what lies on the host: folders, OCI layouts, tarballs, disk images. What something is, is found by
//! looking at it, not by its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use imgbuild_disk::extract::DiskImage;
use imgbuild_disk::{DiskError, Found, unpack_disk};
use imgbuild_formats::Platform;
use imgbuild_formats::oci::is_layout;
use imgbuild_formats::oci_read::{Layout, ReadError, Selector};
use imgbuild_formats::scan::{ScannedKind, scan_rootfs_tar};
use imgbuild_formats::unpack::Packing;

use crate::archive::{ArchiveError, ArchiveTree};
use crate::compare::configuration;
use crate::folder::FolderTree;
use crate::tree::Tree;
use crate::view::DiskImageTree;

/// An image that was opened.
pub struct Opened {
    /// What it is, in a few words.
    pub what: &'static str,
    /// Its files.
    pub tree: Box<dyn Tree>,
    /// How its containers run, if it says so.
    pub configuration: Option<BTreeMap<String, String>>,
}

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there, or it cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An OCI layout or a tarball.
    #[error("cannot read `{}`", path.display())]
    Archive {
        /// What.
        path: PathBuf,
        /// Why not.
        source: ArchiveError,
    },
    /// A disk image.
    #[error("cannot read `{}` as a disk image with an ext4 root file system", path.display())]
    Disk {
        /// What.
        path: PathBuf,
        /// Why not.
        source: DiskError,
    },
    /// What `docker save` wrote before it wrote layouts.
    #[error("`{}` is an archive of Docker's own format", .0.display())]
    DockerArchive(PathBuf),
}

impl OpenError {
    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Archive { source: ArchiveError::Layout(error), path } => match error {
                ReadError::NoSuchPlatform { .. } => Some("name another with `--platform`".to_owned()),
                ReadError::Ambiguous { .. } => Some(format!("name one as `{}:TAG`", path.display())),
                _ => None,
            },
            Self::DockerArchive(path) => Some(format!(
                "`skopeo copy docker-archive:{} oci:FOLDER` makes an OCI layout of it",
                path.display()
            )),
            Self::Disk { .. } => Some(
                "an image is a folder, an OCI layout, a tarball, or a disk (raw, qcow2, vmdk, vhd, vhdx)"
                    .to_owned(),
            ),
            Self::Io { .. } | Self::Archive { .. } => None,
        }
    }

    /// Whether this machine is to blame, and not what was given.
    #[must_use]
    pub fn is_of_machine(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() != io::ErrorKind::NotFound)
    }
}

/// Whether something is there that [`open`] would look at: the path itself, or one with `:TAG` behind it.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    path.exists() || tagged(path).is_some()
}

/// Opens what lies at `path`; `path:TAG` is the image of that tag in a layout. Of an image for several platforms, that for
/// the first of `platforms` that there is. `temporary` is a folder for what must be unpacked first.
///
/// # Errors
///
/// Nothing there, damage, what is no image.
pub fn open(path: &Path, platforms: &[Platform], temporary: &Path) -> Result<Opened, OpenError> {
    let (path, tag) = match tagged(path) {
        Some((path, tag)) if !path.as_os_str().is_empty() => (path, Some(tag)),
        _ => (path.to_owned(), None),
    };
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let metadata = fs_err::metadata(&path).map_err(failed)?;
    let tag = tag.as_deref();
    if metadata.is_dir() {
        if is_layout(&path) {
            return layout(&path, &path, tag, platforms, None);
        }
        let tree = Box::new(FolderTree::read(&path).map_err(failed)?);
        return Ok(Opened { what: "folder", tree, configuration: None });
    }
    let file = File::open(&path).map_err(failed)?;
    let archive = |source| OpenError::Archive { path: path.clone(), source };
    match looks_like(&file, metadata.len()).map_err(failed)? {
        Looks::Tar => {
            let tree = Box::new(ArchiveTree::of_tar(&path).map_err(archive)?);
            Ok(Opened { what: "tarball", tree, configuration: None })
        }
        Looks::ImageArchive => {
            let folder = unpack_layout(&path, temporary).map_err(archive)?;
            if !is_layout(folder.path()) {
                return Err(OpenError::DockerArchive(path));
            }
            let place = folder.path().to_owned();
            layout(&place, &path, tag, platforms, Some(folder))
        }
        Looks::Disk(found) => {
            let disk = |source| OpenError::Disk { path: path.clone(), source };
            let tree = open_disk(&path, found, temporary).map_err(disk)?;
            Ok(Opened { what: "disk image", tree: Box::new(tree), configuration: None })
        }
    }
}

/// A path that is there, and what stands behind its last colon; nothing if the whole is there.
fn tagged(path: &Path) -> Option<(PathBuf, String)> {
    if path.exists() {
        return None;
    }
    let (file, tag) = path.to_str()?.rsplit_once(':')?;
    Path::new(file).exists().then(|| (PathBuf::from(file), tag.to_owned()))
}

fn layout(
    place: &Path,
    shown: &Path,
    tag: Option<&str>,
    platforms: &[Platform],
    folder: Option<tempfile::TempDir>,
) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Archive { path: shown.to_owned(), source };
    let layout = Layout::open(place).map_err(|error| failed(error.into()))?;
    let selector = tag.map_or(Selector::Only, Selector::Tag);
    let mut found = Err(ReadError::TooDeep);
    for platform in platforms {
        found = layout.find(selector, platform);
        if !matches!(found, Err(ReadError::NoSuchPlatform { .. })) {
            break;
        }
    }
    let image = found.map_err(|error| failed(error.into()))?;
    let platform = format!("{}/{}", image.platform.os, image.platform.architecture);
    let configuration = Some(configuration(&image.config, &platform));
    let tree = Box::new(ArchiveTree::of_image(layout, image, folder).map_err(failed)?);
    Ok(Opened { what: "OCI image", tree, configuration })
}

enum Looks {
    Tar,
    /// A tar of an OCI layout, or of Docker's own format.
    ImageArchive,
    Disk(Found),
}

fn looks_like(file: &File, size: u64) -> io::Result<Looks> {
    let mut start = [0; 512];
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(start.len());
    file.read_exact_at(&mut start[..length], 0)?;
    if Packing::detect(&start) == Packing::None && !is_tar_header(&start) {
        return Ok(Looks::Disk(Found::detect(file)?));
    }
    // What stands first tells a layout from a root file system: neither has folders of the other's names.
    let mut first = None;
    let stop = || io::Error::other("seen");
    let _ = scan_rootfs_tar(BufReader::new(file), &mut |scanned, _| match scanned.kind {
        ScannedKind::Directory => Ok(()),
        _ => {
            first = Some(scanned.path);
            Err(stop())
        }
    });
    let first = first.unwrap_or_default();
    let name = first.as_bytes();
    let is_hash = |text: &[u8]| text.len() >= 64 && text[..64].iter().all(u8::is_ascii_hexdigit);
    let is_image = [&b"oci-layout"[..], b"index.json", b"manifest.json", b"repositories"].contains(&name)
        || name.starts_with(b"blobs/")
        || (name.starts_with(b"layer-") && name.ends_with(b".tar"))
        || is_hash(name);
    Ok(if is_image { Looks::ImageArchive } else { Looks::Tar })
}

/// Whether the checksum of a tar header holds.
fn is_tar_header(block: &[u8; 512]) -> bool {
    let text = std::str::from_utf8(&block[148..156]).unwrap_or_default();
    let stated = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8);
    let sum = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    block.iter().any(|byte| *byte != 0) && stated == Ok(sum)
}

/// Unpacks the files that a layout consists of.
fn unpack_layout(path: &Path, temporary: &Path) -> Result<tempfile::TempDir, ArchiveError> {
    let folder = tempfile::Builder::new().prefix("layout-").tempdir_in(temporary)?;
    let root = folder.path().to_owned();
    scan_rootfs_tar(fs_err::File::open(path)?, &mut |scanned, contents: &mut dyn Read| {
        let name = scanned.path.as_bytes();
        let wanted = matches!(name, b"oci-layout" | b"index.json") || name.starts_with(b"blobs/");
        if !wanted || !matches!(scanned.kind, ScannedKind::File { .. }) {
            return Ok(());
        }
        // The path is clean, and nothing but folders and files is made here.
        let place = root.join(scanned.path.as_path());
        if let Some(above) = place.parent() {
            fs_err::create_dir_all(above)?;
        }
        let mut file = fs_err::File::create(place)?;
        io::copy(contents, &mut file)?;
        file.flush()
    })?;
    Ok(folder)
}

fn open_disk(path: &Path, found: Found, temporary: &Path) -> Result<DiskImageTree, DiskError> {
    if found == Found::Raw {
        return Ok(DiskImageTree::new(DiskImage::open(path)?.root_tree()?));
    }
    let failed = |source| DiskError::Io { action: "create a file in", path: temporary.to_owned(), source };
    let folder = tempfile::Builder::new().prefix("disk-").tempdir_in(temporary).map_err(failed)?;
    let raw = folder.path().join("raw");
    unpack_disk(path, &raw)?;
    // The file stays open, and goes when it is closed.
    Ok(DiskImageTree::new(DiskImage::open(&raw)?.root_tree()?))
}
