//! The canonical manifest of a delta.

use std::collections::BTreeMap;
use std::fmt;

use imgbuild_digest::{ContentHash, ContentHasher, Digest, Hash};

/// A path inside a tree: raw bytes, relative, without `.`, `..`, empty components or a slash at either end. The
/// tree's root is the empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Box<[u8]>);

/// What names a delta: the hash of its manifest. `Display` writes 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct DeltaId(pub Hash);

/// All that a layer changes over the layers below it, sorted by path in byte order, each path once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DeltaManifest {
    /// The entries, in strictly rising order of path.
    pub entries: Vec<Entry>,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: TreePath,
    /// What stands there now.
    pub node: Node,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Nothing any more: the path existed below and was removed.
    Whiteout,
    /// A folder. `opaque` hides whatever lower layers have in it.
    Directory {
        /// Whether lower layers' contents are hidden.
        opaque: bool,
        /// Owner, mode, time, extended attributes.
        metadata: Metadata,
    },
    /// A regular file.
    File {
        /// The BLAKE3 digest of the contents.
        digest: Digest,
        /// Their SHA-256, from the same pass (OCI and SBOMs want it).
        sha256: [u8; 32],
        /// Owner, mode, time, extended attributes.
        metadata: Metadata,
    },
    /// A further name of a file in the same delta: the name that sorts first carries the [`Node::File`].
    HardLink {
        /// The name that sorts first.
        target: TreePath,
    },
    /// A symbolic link; its mode is not recorded (it has none).
    SymbolicLink {
        /// The link's text, as it is.
        target: Box<[u8]>,
        /// Owner and time, extended attributes; mode is 0o777.
        metadata: Metadata,
    },
    /// A named pipe.
    Fifo {
        /// Owner, mode, time, extended attributes.
        metadata: Metadata,
    },
    /// A character or block device. Steps cannot make one; base images may bring some.
    Device {
        /// Whether it is a block device.
        block: bool,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
        /// Owner, mode, time, extended attributes.
        metadata: Metadata,
    },
}

/// What a file carries besides its contents.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The twelve permission bits (0o7777), without the type.
    pub mode: u32,
    /// The owner's number as the image sees it.
    pub uid: u32,
    /// The group's number as the image sees it.
    pub gid: u32,
    /// Modification time in whole seconds since 1970.
    pub mtime: i64,
    /// Extended attributes by full name: `security.capability` (version 2), POSIX ACLs with the image's ids, and
    /// `user.*` other than overlayfs' own.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl TreePath {
    /// The root of a tree.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// A path from bytes; leading, trailing and doubled slashes and `.` components are dropped.
    ///
    /// Returns `None` if a component is `..` or if there is a NUL byte.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut clean = Vec::with_capacity(bytes.len());
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return None,
                _ if component.contains(&0) => return None,
                _ => {}
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(component);
        }
        Some(Self(clean.into()))
    }

    /// The bytes, without a leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the tree's root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder that holds this path; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// This path with one more component.
    #[must_use]
    pub fn join(&self, component: &[u8]) -> Self {
        debug_assert!(!component.is_empty() && !component.contains(&b'/'));
        let mut bytes = self.0.to_vec();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(component);
        Self(bytes.into())
    }

    /// This path as one of the host's, relative.
    #[must_use]
    pub fn as_path(&self) -> &std::path::Path {
        use std::os::unix::ffi::OsStrExt as _;
        std::path::Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DeltaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for DeltaId {
    type Err = imgbuild_digest::ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl ContentHash for DeltaId {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        self.0.content_hash(hasher);
    }
}

impl Node {
    /// The metadata, where the node has any of its own.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        match self {
            Self::Whiteout | Self::HardLink { .. } => None,
            Self::Directory { metadata, .. }
            | Self::File { metadata, .. }
            | Self::SymbolicLink { metadata, .. }
            | Self::Fifo { metadata }
            | Self::Device { metadata, .. } => Some(metadata),
        }
    }
}
