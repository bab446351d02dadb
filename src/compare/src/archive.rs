//! Tarballs and OCI layouts as trees, without unpacking them.
//!
//! An archive is gone through once: files are hashed on the way, and the few that facts are read from are kept. What else
//! is to be read takes another way through.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use imgbuild_digest::Hash;
use imgbuild_formats::oci_read::{Layout, ReadError, StoredImage};
use imgbuild_formats::scan::{Scanned, ScannedKind, scan_layer, scan_rootfs_tar};
use imgbuild_formats::unpack::UnpackError;
use imgbuild_tree::Metadata;

use crate::facts;
use crate::index::{Body, Builder, Index};
use crate::tree::{Contents, Entry, Tree};
use crate::view::hash;

/// An archive that is a tree.
pub(crate) struct ArchiveTree {
    source: Source,
    index: Index,
    /// The contents of files that facts are read from, by the file's number.
    kept: BTreeMap<usize, Vec<u8>>,
    /// Where each file's contents are: the layer, and the path in it that brought them.
    places: Vec<(usize, Box<[u8]>)>,
}

enum Source {
    Tar(PathBuf),
    Image {
        layout: Layout,
        image: Box<StoredImage>,
        /// Holds the layout's files, where they were in an archive.
        _folder: Option<tempfile::TempDir>,
    },
}

impl Source {
    fn layers(&self) -> usize {
        match self {
            Self::Tar(_) => 1,
            Self::Image { image, .. } => image.layers.len(),
        }
    }

    fn scan(&self, layer: usize, visit: &mut imgbuild_formats::scan::Visit<'_>) -> Result<(), ArchiveError> {
        match self {
            Self::Tar(path) => {
                let file = fs_err::File::open(path)?;
                Ok(scan_rootfs_tar(file, visit)?)
            }
            Self::Image { layout, image, .. } => Ok(scan_layer(layout, &image.layers[layer], visit)?),
        }
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The tar.
    #[error(transparent)]
    Tar(#[from] UnpackError),
    /// The layout.
    #[error(transparent)]
    Layout(#[from] ReadError),
    /// The host.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A hard link to what is not there.
    #[error("the hard link `{path}` points to `{target}`, which is no file of this archive")]
    HardLink {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
}

impl ArchiveTree {
    /// A root file system's tar, compressed or not.
    pub(crate) fn of_tar(path: &Path) -> Result<Self, ArchiveError> {
        Self::read(Source::Tar(path.to_owned()))
    }

    /// An image of a layout. `folder` holds the layout for as long as this lives.
    pub(crate) fn of_image(
        layout: Layout,
        image: StoredImage,
        folder: Option<tempfile::TempDir>,
    ) -> Result<Self, ArchiveError> {
        Self::read(Source::Image { layout, image: Box::new(image), _folder: folder })
    }

    fn read(source: Source) -> Result<Self, ArchiveError> {
        let mut builder = Builder::default();
        let mut kept = BTreeMap::new();
        let mut places = Vec::new();
        for layer in 0..source.layers() {
            let mut upper = Upper::default();
            let mut failure = None;
            let scanned = source.scan(layer, &mut |scanned, contents| {
                upper.take(scanned, contents, &mut builder, &mut kept, &mut failure)
            });
            if let Some(failure) = failure {
                return Err(failure);
            }
            scanned?;
            for path in &upper.opaque {
                builder.remove_below(path);
            }
            for path in &upper.gone {
                builder.remove(path);
            }
            places.extend(upper.places.into_iter().map(|path| (layer, path)));
            builder.cover(upper.entries);
        }
        Ok(Self { source, index: builder.finish(), kept, places })
    }
}

/// One layer on its way.
#[derive(Default)]
struct Upper {
    entries: BTreeMap<Box<[u8]>, (Metadata, Body)>,
    /// The paths of its files, in the order of their numbers.
    places: Vec<Box<[u8]>>,
    gone: Vec<Vec<u8>>,
    opaque: Vec<Vec<u8>>,
}

impl Upper {
    fn take(
        &mut self,
        scanned: Scanned,
        contents: &mut dyn Read,
        builder: &mut Builder,
        kept: &mut BTreeMap<usize, Vec<u8>>,
        failure: &mut Option<ArchiveError>,
    ) -> io::Result<()> {
        let path = scanned.path.as_bytes();
        let body = match scanned.kind {
            ScannedKind::Whiteout => {
                self.gone.push(path.to_vec());
                return Ok(());
            }
            ScannedKind::Opaque => {
                self.opaque.push(path.to_vec());
                return Ok(());
            }
            ScannedKind::Directory => Body::Directory,
            ScannedKind::File { size } => {
                let digest;
                let mut bytes = None;
                if facts::is_read(path) && size <= facts::LARGEST {
                    let mut own = Vec::new();
                    contents.read_to_end(&mut own)?;
                    digest = Hash::of(&own);
                    bytes = Some(own);
                } else {
                    digest = hash(contents)?;
                }
                let number = builder.file(size, Some(digest));
                kept.extend(bytes.map(|bytes| (number, bytes)));
                self.places.push(path.into());
                Body::File(number)
            }
            ScannedKind::HardLink { target } => {
                // Some writers link to files of the layers below.
                let own = self.entries.get(target.as_bytes()).or_else(|| builder.get(target.as_bytes()));
                match own {
                    Some((metadata, body @ Body::File(_))) => {
                        let found = (metadata.clone(), body.clone());
                        self.put(path, found.0, found.1);
                        return Ok(());
                    }
                    _ => {
                        let link = ArchiveError::HardLink {
                            path: scanned.path.to_string(),
                            target: target.to_string(),
                        };
                        *failure = Some(link);
                        return Err(io::Error::other("a hard link to nothing"));
                    }
                }
            }
            ScannedKind::SymbolicLink { target } => Body::SymbolicLink(target.into()),
            ScannedKind::Fifo => Body::Fifo,
            ScannedKind::Device { block, major, minor } => Body::Device { block, major, minor },
        };
        let mut metadata = scanned.metadata;
        if matches!(body, Body::SymbolicLink(_)) {
            metadata.mode = 0o777;
        }
        self.put(path, metadata, body);
        Ok(())
    }

    /// A later entry takes the place of an earlier one, with all that is below.
    fn put(&mut self, path: &[u8], metadata: Metadata, body: Body) {
        let replaced = self.entries.get(path).map(|(_, body)| matches!(body, Body::Directory));
        if replaced == Some(true) && !matches!(body, Body::Directory) {
            let prefix = [path, b"/"].concat();
            self.entries.retain(|path, _| !path.starts_with(&prefix));
        }
        self.entries.insert(path.into(), (metadata, body));
    }
}

impl Tree for ArchiveTree {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        Box::new(self.index.entries())
    }

    fn digest(&self, path: &[u8]) -> io::Result<Hash> {
        let contents = self.read(&BTreeSet::from([path.to_vec()]), u64::MAX)?;
        contents.get(path).map(|bytes| Hash::of(bytes)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read(&self, paths: &BTreeSet<Vec<u8>>, limit: u64) -> io::Result<Contents> {
        let mut contents = Contents::new();
        // By number, since several names may have one file.
        let mut missing: BTreeMap<usize, Vec<&Vec<u8>>> = BTreeMap::new();
        for path in paths {
            let Some(file) = self.index.file(path) else { continue };
            match self.kept.get(&file) {
                _ if self.index.size(file) > limit => {}
                Some(bytes) => drop(contents.insert(path.clone(), bytes.clone())),
                None => missing.entry(file).or_default().push(path),
            }
        }
        let layers: HashSet<usize> = missing.keys().map(|file| self.places[*file].0).collect();
        for layer in layers {
            let wanted: BTreeMap<&[u8], usize> = missing
                .keys()
                .filter(|file| self.places[**file].0 == layer)
                .map(|file| (&*self.places[*file].1, *file))
                .collect();
            let scanned = self.source.scan(layer, &mut |scanned, reader| {
                let Some(file) = wanted.get(scanned.path.as_bytes()) else { return Ok(()) };
                if matches!(scanned.kind, ScannedKind::File { .. }) {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes)?;
                    for path in &missing[file] {
                        contents.insert((*path).clone(), bytes.clone());
                    }
                }
                Ok(())
            });
            scanned.map_err(io::Error::other)?;
        }
        Ok(contents)
    }
}
