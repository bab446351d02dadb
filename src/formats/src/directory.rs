//! Writes a merged tree as a plain directory.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use imgbuild_tree::{Metadata, TreePath};
use rustix::fs::FileType;

use crate::ExportError;
use crate::hashing::ContentHashing;
use crate::place::{Notice, Ownership, Place, Spot, describe_root};
use crate::staging::StagedDirectory;
use crate::tar_stream::{open_file, open_tree};
use crate::view::{TreeView, ViewFile, ViewNode};

/// How a directory is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// Whether files get the image's owners, which takes privilege (root, or root of a user namespace that maps all
    /// of the image's ids). Otherwise they are the caller's, and devices and privileged attributes are left out with a
    /// notice.
    pub ownership: bool,
}

/// Writes `view`, which should be a squashed one, to the directory `destination`, which must be missing or empty.
///
/// # Errors
///
/// Damaged layers, a destination that is not empty, the system's.
pub fn write_directory(
    destination: &Path,
    view: &TreeView<'_>,
    options: DirectoryOptions,
) -> Result<Vec<Notice>, ExportError> {
    let staged = StagedDirectory::create(destination, "empty", |_| false)?;
    let place = Place::open(staged.path()).map_err(ExportError::io("open", staged.path()))?;
    let ownership = if options.ownership { Ownership::Recorded } else { Ownership::Process };
    let mut writer = DirectoryWriter { place, ownership, notices: Vec::new(), buffer: vec![0; 256 << 10] };
    let mut folders: Vec<(&TreePath, &Metadata)> = Vec::new();
    for entry in view.entries() {
        if let ViewNode::Directory { metadata, .. } = entry.node {
            folders.push((&entry.path, metadata));
        }
        if !entry.path.is_root() {
            writer.make(&entry.path, entry.node)?;
        }
    }
    // A folder's time and mode hold only once nothing more is put into it.
    for (path, metadata) in folders.into_iter().rev() {
        writer.finish_folder(path, metadata)?;
    }
    let notices = writer.notices;
    staged.commit()?;
    Ok(notices)
}

struct DirectoryWriter {
    place: Place,
    ownership: Ownership,
    notices: Vec<Notice>,
    buffer: Vec<u8>,
}

impl DirectoryWriter {
    fn make(&mut self, path: &TreePath, node: ViewNode<'_>) -> Result<(), ExportError> {
        let host_path = self.place.host_path(path);
        let failed = || ExportError::io("create", &host_path);
        let spot = self.place.spot(path).map_err(failed())?;
        let (kind, metadata) = match node {
            ViewNode::Whiteout => return Ok(()),
            ViewNode::Directory { .. } => return spot.make_folder().map_err(failed()),
            ViewNode::File(file) => {
                self.copy(path, &spot, &file)?;
                (FileType::RegularFile, file.metadata)
            }
            ViewNode::HardLink { target, .. } => {
                let target = self.place.spot(target).map_err(failed())?;
                return spot.make_link(&target).map_err(failed());
            }
            ViewNode::SymbolicLink { target, metadata } => {
                spot.make_symlink(target).map_err(failed())?;
                (FileType::Symlink, metadata)
            }
            ViewNode::Fifo { metadata } => {
                spot.make_node(FileType::Fifo, 0, 0).map_err(failed())?;
                (FileType::Fifo, metadata)
            }
            ViewNode::Device { block, major, minor, metadata } => {
                let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                match spot.make_node(kind, major, minor) {
                    Err(rustix::io::Errno::PERM) => {
                        self.notices.push(Notice::DeviceSkipped { path: path.clone(), block, major, minor });
                        return Ok(());
                    }
                    made => made.map_err(failed())?,
                }
                (kind, metadata)
            }
        };
        spot.describe(path, metadata, kind, self.ownership, &mut self.notices)
            .map_err(ExportError::io("set owner, mode and attributes of", &host_path))
    }

    fn copy(&mut self, path: &TreePath, spot: &Spot, file: &ViewFile<'_>) -> Result<(), ExportError> {
        let host_path = self.place.host_path(path);
        let tree = open_tree(file.tree)?;
        let mut source = open_file(&tree, file, path)?;
        let mut output: File = spot.make_file().map_err(ExportError::io("create", &host_path))?;
        let mut hashing = ContentHashing::default();
        loop {
            let read = source.read(&mut self.buffer).map_err(ExportError::io("read", file.tree))?;
            if read == 0 {
                break;
            }
            hashing.update(&self.buffer[..read]);
            output.write_all(&self.buffer[..read]).map_err(ExportError::io("write", &host_path))?;
        }
        let found = hashing.finish();
        if found == file.digest {
            Ok(())
        } else {
            Err(ExportError::Corrupt { path: path.clone(), expected: file.digest, found })
        }
    }

    fn finish_folder(&mut self, path: &TreePath, metadata: &Metadata) -> Result<(), ExportError> {
        let host_path = self.place.host_path(path);
        let done = if path.is_root() {
            self.place
                .folder(path)
                .and_then(|root| describe_root(&root, metadata, self.ownership, &mut self.notices))
        } else {
            self.place.spot(path).and_then(|spot| {
                spot.describe(path, metadata, FileType::Directory, self.ownership, &mut self.notices)
            })
        };
        done.map_err(ExportError::io("set owner, mode and attributes of", &host_path))
    }
}
