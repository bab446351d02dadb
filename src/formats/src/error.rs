//! What can go wrong when a tree is written out.

use std::path::{Path, PathBuf};

use imgbuild_digest::Digest;
use imgbuild_tree::TreePath;

/// Why an export failed. Nothing half-written is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file or folder of the host could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The sink that a stream is written to refused it.
    #[error("cannot write the stream")]
    Sink(#[source] std::io::Error),
    /// A file's contents are not what its manifest says.
    #[error(
        "the contents of `{path}` do not match the layer's manifest: expected `{expected}`, found `{found}`; \
         `imgbuild cache verify` finds and removes damaged layers"
    )]
    Corrupt {
        /// The file, as the image sees it.
        path: TreePath,
        /// What the manifest says.
        expected: Digest,
        /// What the file holds.
        found: Digest,
    },
    /// What stands in the layer's tree is not the regular file of its manifest.
    #[error(
        "`{path}` is not a regular file in the layer's tree; `imgbuild cache verify` finds and removes damaged layers"
    )]
    NotAFile {
        /// The file, as the image sees it.
        path: TreePath,
    },
    /// A hard link's target is not a file of the same manifest.
    #[error("the hard link `{path}` points to `{target}`, which is no file of its layer")]
    DanglingHardLink {
        /// The link.
        path: TreePath,
        /// Where it points.
        target: TreePath,
    },
    /// The name is one that OCI gives a meaning of its own.
    #[error(
        "`{path}` cannot be put in an OCI layer, because names that begin with `.wh.` mark removed files there; rename it"
    )]
    ReservedName {
        /// The file, as the image sees it.
        path: TreePath,
    },
    /// An extended attribute has a name that PAX records cannot carry.
    #[error(
        "the extended attribute `{name}` of `{path}` cannot be put in a tar archive, because its name has `=` in it"
    )]
    AttributeName {
        /// The file, as the image sees it.
        path: TreePath,
        /// The attribute.
        name: String,
    },
    /// A device number beyond what tar headers hold.
    #[error("the device number {major}:{minor} of `{path}` does not fit in a tar header")]
    DeviceNumber {
        /// The device, as the image sees it.
        path: TreePath,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// More layers than container engines mount.
    #[error(
        "the image would have {count} layers, and container engines take at most {limit}; \
         set `layers = \"squash\"`, or a number of layers to keep"
    )]
    TooManyLayers {
        /// How many it would be.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Something else stands where the output should go.
    #[error("`{}` exists and is not {expected}; remove it or choose another place", path.display())]
    DestinationTaken {
        /// Where.
        path: PathBuf,
        /// What would be replaced.
        expected: &'static str,
    },
    /// A time that the calendar does not hold.
    #[error("{seconds} seconds since 1970 is not a time that can be written")]
    Time {
        /// The time that was given.
        seconds: i64,
    },
    /// A value that the format's own types refuse.
    #[error("cannot describe the image: {0}")]
    Description(String),
    /// There is no image to write.
    #[error("an OCI layout needs at least one image")]
    NoImages,
    /// A platform twice in one index.
    #[error("two images for the platform `{0}`; an index holds one for each")]
    DuplicatePlatform(String),
}

impl ExportError {
    /// For `map_err`: names what was tried on which path.
    pub(crate) fn io<E: Into<std::io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source: source.into() }
    }
}
