//! Views of layers as trees for disks, with contents checked against the layers' manifests.
//!
//! Opens files; merges nothing (that is `imgbuild-formats`).

use std::fs::File;
use std::io::{self, Read};

use imgbuild_digest::{Digest, Hash};
use imgbuild_formats::{ExportError, TreeView, ViewEntry, ViewFile, ViewNode};
use imgbuild_tree::TreePath;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::tree::{Entry, Node, Tree};

/// A squashed view: whiteouts are passed over, since there is nothing below them on a disk.
impl Tree for TreeView<'_> {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        Box::new(TreeView::entries(self).iter().filter_map(entry))
    }

    fn open<'s>(&'s self, path: &[u8]) -> io::Result<Box<dyn Read + 's>> {
        match self.get(path) {
            Some(ViewNode::File(file)) => Ok(Box::new(CheckedFile::open(path, &file)?)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn entry<'s>(entry: &'s ViewEntry<'_>) -> Option<Entry<'s>> {
    let (metadata, node) = match entry.node {
        ViewNode::Whiteout => return None,
        ViewNode::Directory { metadata, .. } => (metadata, Node::Directory),
        ViewNode::File(file) => (file.metadata, Node::File { size: file.digest.size }),
        ViewNode::HardLink { target, metadata } => (metadata, Node::HardLink { target: target.as_bytes() }),
        ViewNode::SymbolicLink { target, metadata } => (metadata, Node::SymbolicLink { target }),
        ViewNode::Fifo { metadata } => (metadata, Node::Fifo),
        ViewNode::Device { block, major, minor, metadata } => {
            (metadata, Node::Device { block, major, minor })
        }
    };
    Some(Entry { path: entry.path.as_bytes(), metadata, node })
}

/// A file of a layer that fails at its end if it is not what the manifest says.
struct CheckedFile {
    file: File,
    path: TreePath,
    expected: Digest,
    hasher: blake3::Hasher,
    size: u64,
}

impl CheckedFile {
    /// Opens the file without following any symbolic link.
    fn open(path: &[u8], file: &ViewFile<'_>) -> io::Result<Self> {
        let path = TreePath::new(path).ok_or(io::ErrorKind::InvalidInput)?;
        let folder = rustix::fs::openat(
            CWD,
            file.tree,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // NONBLOCK: a pipe that stands where a file should must not make the export wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(folder, file.source.as_path(), flags, Mode::empty(), resolve);
        let not_a_file = || io::Error::other(ExportError::NotAFile { path: path.clone() });
        let opened = match opened {
            Err(rustix::io::Errno::LOOP) => return Err(not_a_file()),
            other => File::from(other?),
        };
        if !opened.metadata()?.is_file() {
            return Err(not_a_file());
        }
        Ok(Self { file: opened, path, expected: file.digest, hasher: blake3::Hasher::new(), size: 0 })
    }
}

impl Read for CheckedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.size += read as u64;
        if read == 0 && !buffer.is_empty() {
            let found = Digest::blake3(Hash(*self.hasher.finalize().as_bytes()), self.size);
            if found != self.expected {
                let path = self.path.clone();
                return Err(io::Error::other(ExportError::Corrupt { path, expected: self.expected, found }));
            }
        }
        Ok(read)
    }
}
