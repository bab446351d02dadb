//! What is compared: a tree as entries in order, with contents that are read where they are asked for.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use imgbuild_digest::Hash;
use imgbuild_tree::Metadata;

/// Contents by path.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A tree of files.
///
/// Paths are bytes without a leading slash, cleaned as [`imgbuild_tree::TreePath`] cleans them; the root's is empty.
pub trait Tree: Sync {
    /// The entries in rising order of path, each once. The root may be among them or not.
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's>;

    /// The BLAKE3 hash of the regular file at `path`, read now. Not asked for where its entry has one.
    ///
    /// # Errors
    ///
    /// No such file, a file that cannot be read.
    fn digest(&self, path: &[u8]) -> io::Result<Hash>;

    /// The contents of those of the regular files at `paths` that have at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    fn read(&self, paths: &BTreeSet<Vec<u8>>, limit: u64) -> io::Result<Contents>;
}

/// One path of a tree.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Where, without a leading slash.
    pub path: &'a [u8],
    /// Owner, mode, time, extended attributes.
    pub metadata: Cow<'a, Metadata>,
    /// What stands there.
    pub node: Node<'a>,
}

/// What stands at a path of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// A folder.
    Directory,
    /// A regular file, or a further name of one.
    File {
        /// In bytes.
        size: u64,
        /// The BLAKE3 hash of its contents, where the tree knows it without reading.
        digest: Option<Hash>,
        /// Of a file with several names, the one that sorts first, if this is another.
        first_name: Option<&'a [u8]>,
    },
    /// A symbolic link.
    SymbolicLink {
        /// Its text.
        target: &'a [u8],
    },
    /// A named pipe.
    Fifo,
    /// A device.
    Device {
        /// Whether it is a block device.
        block: bool,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// The folder that holds `path`; empty for what stands in the root.
pub(crate) fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |end| &path[..end])
}

/// The last component of `path`.
pub(crate) fn name_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |end| &path[end + 1..])
}

/// Whether an extended attribute belongs to an image, and not to the machine that it lies on.
pub(crate) fn belongs_to_image(name: &[u8]) -> bool {
    name == b"security.capability"
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// The metadata with the attributes that belong to the image alone, capabilities as version 2 writes them.
pub(crate) fn cleaned(mut metadata: Metadata) -> Metadata {
    metadata.xattrs.retain(|name, _| belongs_to_image(name));
    if let Some(value) = metadata.xattrs.get_mut(&b"security.capability"[..])
        && value.len() == 24
        && value[3] == 3
    {
        // Version 3 adds the root of a user namespace, which says nothing about the image.
        let mut second = value[..20].to_vec();
        second[3] = 2;
        *value = second.into();
    }
    metadata
}
