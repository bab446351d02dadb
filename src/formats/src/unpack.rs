//! Unpacks tar streams: a layer of an OCI image into a directory as overlayfs reads it, or a whole root file system.
//!
//! Archives come from others, so that nothing in them is trusted: paths are resolved by the kernel inside the
//! destination and no symbolic link is followed on the way; `..` and NUL are refused. What is not here: finding the
//! archive ([`crate::oci_read`]) and naming what came out (the capture of a tree).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use imgbuild_tree::{Metadata, TreePath};
use rustix::fs::FileType;
use rustix::io::Errno;
use tar::EntryType;

use crate::place::{Notice, Ownership, PAX_XATTR_PREFIX, Place, Spot, describe_root};
use crate::tar_read::{Head, TarReader};
use crate::tar_stream::{OPAQUE_MARKER, WHITEOUT_PREFIX};

/// How much memory an xz stream may ask for: `xz -9` takes 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be read: cut off, or not what it is said to be.
    #[error("cannot read the archive")]
    Archive(#[source] io::Error),
    /// A path that leads out of the archive, or holds a NUL byte.
    #[error("the archive has the path `{0}`, which leads out of it; it is damaged or was made to do harm")]
    Path(String),
    /// A path below something that is not a folder.
    #[error(
        "`{path}` lies below a symbolic link or a file of the same archive; it is damaged or was made to do harm"
    )]
    Folder {
        /// The path.
        path: TreePath,
    },
    /// A hard link to what is not there.
    #[error("the hard link `{path}` points to `{target}`, which is no file of this archive")]
    HardLink {
        /// The link.
        path: TreePath,
        /// Where it points.
        target: String,
    },
    /// A type of entry that has no place in a file tree.
    #[error("`{path}` is an entry of type `{kind}`, which is not supported in images")]
    Kind {
        /// The entry.
        path: TreePath,
        /// Its type as the archive writes it.
        kind: char,
    },
    /// A number in a header that does not parse or is out of range.
    #[error("`{path}` has no valid {field} in its header")]
    Number {
        /// The entry.
        path: TreePath,
        /// Which number.
        field: &'static str,
    },
    /// An owner that this process may not give.
    #[error(
        "cannot give `{}` the owner {uid}:{gid}; unpack as root, or in a user namespace that maps these ids",
        path.display()
    )]
    Owner {
        /// The file on the host.
        path: PathBuf,
        /// The user's number.
        uid: u32,
        /// The group's number.
        gid: u32,
    },
    /// The system refused.
    #[error("cannot unpack `{}`", path.display())]
    Io {
        /// The file on the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What names that begin with `.wh.` mean.
#[derive(Clone, Copy)]
enum Whiteouts<'a> {
    /// As overlayfs has them: a character device 0:0 for a removed file, an extended attribute of value `y` for an opaque
    /// folder. The name is `trusted.overlay.opaque` for root and `user.overlay.opaque` in a user namespace.
    Overlay {
        /// The attribute's name.
        opaque_attribute: &'a str,
    },
    /// Names that begin with `.wh.` are names like any other: the archive is no layer.
    None,
}

/// A compression that archives come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not compressed.
    None,
    /// Gzip, of one member or several.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
}

impl Packing {
    /// Recognises a compression by the first bytes of a file.
    #[must_use]
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // Frames that readers skip, which some writers of seekable zstd begin with.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// A reader of what is inside `packed`.
    ///
    /// # Errors
    ///
    /// The decoder cannot be set up.
    pub fn reader<'r>(self, packed: impl Read + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
        Ok(match self {
            Self::None => Box::new(packed),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            // The decoder takes windows of up to 128 MiB.
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(packed)?),
            Self::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::read::XzDecoder::new_stream(packed, stream))
            }
        })
    }
}

/// Unpacks one layer's tar stream into the directory `destination`, which exists.
///
/// `lower` are the directories of the layers below, the highest first: a folder that the archive needs and does not hold
/// gets its metadata from there, since overlayfs shows the highest layer's.
///
/// # Errors
///
/// A damaged or hostile archive, owners that this process may not give, the system's.
pub fn unpack_layer(
    archive: impl Read,
    destination: &Path,
    lower: &[&Path],
    opaque_attribute: &str,
) -> Result<Vec<Notice>, UnpackError> {
    unpack(archive, destination, lower, Whiteouts::Overlay { opaque_attribute })
}

/// Unpacks a root file system's tar, compressed or not, into the directory `destination`, which exists.
///
/// # Errors
///
/// A damaged or hostile archive, owners that this process may not give, the system's.
pub fn unpack_rootfs_tar(archive: impl Read + Send, destination: &Path) -> Result<Vec<Notice>, UnpackError> {
    let mut archive = BufReader::with_capacity(256 << 10, archive);
    let mut start = [0; 6];
    let mut length = 0;
    while length < start.len() {
        match archive.read(&mut start[length..]).map_err(UnpackError::Archive)? {
            0 => break,
            read => length += read,
        }
    }
    let whole = io::Cursor::new(start[..length].to_vec()).chain(archive);
    let tar = Packing::detect(&start[..length]).reader(whole).map_err(UnpackError::Archive)?;
    unpack(tar, destination, &[], Whiteouts::None)
}

fn unpack(
    archive: impl Read,
    destination: &Path,
    lower: &[&Path],
    whiteouts: Whiteouts<'_>,
) -> Result<Vec<Notice>, UnpackError> {
    let open =
        |path: &Path| Place::open(path).map_err(|source| UnpackError::Io { path: path.to_owned(), source });
    let mut unpacker = Unpacker {
        place: open(destination)?,
        lower: lower.iter().map(|path| open(path)).collect::<Result<_, _>>()?,
        whiteouts,
        folders: BTreeMap::new(),
        removed: BTreeSet::new(),
        notices: Vec::new(),
    };
    let mut archive = TarReader::new(BufReader::with_capacity(256 << 10, archive));
    while let Some(head) = archive.next()? {
        unpacker.unpack(&head, &mut archive)?;
    }
    archive.drain()?;
    unpacker.finish()
}

struct Unpacker<'a> {
    place: Place,
    lower: Vec<Place>,
    whiteouts: Whiteouts<'a>,
    /// The folders that were made or described: their metadata are set when all is in them.
    folders: BTreeMap<TreePath, Metadata>,
    /// Whiteouts that were made: a later entry of the same archive takes their place.
    removed: BTreeSet<TreePath>,
    notices: Vec<Notice>,
}

impl Unpacker<'_> {
    /// Makes one entry; `contents` is at the start of its contents.
    fn unpack(&mut self, head: &Head, contents: &mut impl Read) -> Result<(), UnpackError> {
        let kind = head.header.entry_type();
        let path = tree_path(&head.path)?;
        let metadata = metadata(head, &path)?;
        if path.is_root() {
            if kind == EntryType::Directory {
                self.folders.insert(path, metadata);
            }
            return Ok(());
        }
        if let Whiteouts::Overlay { opaque_attribute } = self.whiteouts {
            if path.file_name() == OPAQUE_MARKER {
                return self.make_opaque(&path.parent().unwrap_or_default(), opaque_attribute);
            }
            if let Some(name) = path.file_name().strip_prefix(WHITEOUT_PREFIX) {
                // Other names of that form are notes of AUFS that no engine keeps.
                if name.starts_with(WHITEOUT_PREFIX) || name.is_empty() {
                    return Ok(());
                }
                let removed = path.parent().unwrap_or_default().join(name);
                let removed = tree_path(removed.as_bytes())?;
                return self.white_out(removed, opaque_attribute);
            }
        }
        let spot = self.spot(&path)?;
        let failed = |error: Errno| self.io(&path, error);
        let standing = spot.stat().map_err(failed)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
        let over_whiteout = self.removed.remove(&path);
        if kind == EntryType::Directory {
            if standing != Some(FileType::Directory) {
                self.clear(&path, &spot, standing)?;
                spot.make_folder().map_err(|error| self.io(&path, error))?;
                if let (true, Whiteouts::Overlay { opaque_attribute }) = (over_whiteout, self.whiteouts) {
                    self.mark_opaque(&path, &spot, opaque_attribute)?;
                }
            }
            self.folders.insert(path, metadata);
            return Ok(());
        }
        if let EntryType::Link = kind {
            return self.link(&head.link, &path, &spot, standing);
        }
        self.clear(&path, &spot, standing)?;
        let made = match kind {
            // Old archives say `Continuous` for what is stored in one piece.
            EntryType::Regular | EntryType::Continuous => {
                let mut file = spot.make_file().map_err(|error| self.io(&path, error))?;
                io::copy(contents, &mut file).map_err(|source| match source.kind() {
                    io::ErrorKind::UnexpectedEof => UnpackError::Archive(source),
                    _ => UnpackError::Io { path: self.place.host_path(&path), source },
                })?;
                Ok(FileType::RegularFile)
            }
            EntryType::Symlink => spot.make_symlink(&head.link).map(|()| FileType::Symlink),
            EntryType::Fifo => spot.make_node(FileType::Fifo, 0, 0).map(|()| FileType::Fifo),
            EntryType::Char | EntryType::Block => {
                let block = kind == EntryType::Block;
                let number = |number: io::Result<Option<u32>>| {
                    let error = || UnpackError::Number { path: path.clone(), field: "device number" };
                    number.ok().flatten().ok_or_else(error)
                };
                let major = number(head.header.device_major())?;
                let minor = number(head.header.device_minor())?;
                let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                match spot.make_node(kind, major, minor) {
                    Err(Errno::PERM) => {
                        self.notices.push(Notice::DeviceSkipped { path, block, major, minor });
                        return Ok(());
                    }
                    made => made.map(|()| kind),
                }
            }
            other => {
                return Err(UnpackError::Kind { path, kind: char::from(other.as_byte()) });
            }
        };
        let kind = made.map_err(|error| self.io(&path, error))?;
        self.describe(&path, &spot, &metadata, kind)
    }

    fn link(
        &self,
        name: &[u8],
        path: &TreePath,
        spot: &Spot,
        standing: Option<FileType>,
    ) -> Result<(), UnpackError> {
        let target = tree_path(name)?;
        if target == *path {
            return Ok(());
        }
        let dangling =
            || UnpackError::HardLink { path: path.clone(), target: name.escape_ascii().to_string() };
        if target.is_root() {
            return Err(dangling());
        }
        let target = self.place.spot(&target).map_err(|_| dangling())?;
        self.clear(path, spot, standing)?;
        match spot.make_link(&target) {
            Err(Errno::NOENT | Errno::PERM) => Err(dangling()),
            made => made.map_err(|error| self.io(path, error)),
        }
    }

    /// Removes what an earlier entry of this archive put there.
    fn clear(&self, path: &TreePath, spot: &Spot, standing: Option<FileType>) -> Result<(), UnpackError> {
        if standing.is_some() {
            spot.remove().map_err(|error| self.io(path, error))?;
        }
        Ok(())
    }

    /// Opens the folder of `path`, making it if the archive did not.
    fn spot(&mut self, path: &TreePath) -> Result<Spot, UnpackError> {
        match self.place.spot(path) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(|error| self.io(path, error)),
        }
        self.imply(&path.parent().unwrap_or_default())?;
        self.place.spot(path).map_err(|error| self.io(path, error))
    }

    fn imply(&mut self, folder: &TreePath) -> Result<(), UnpackError> {
        match self.place.folder(folder) {
            Ok(_) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(self.io(folder, error)),
        }
        self.imply(&folder.parent().unwrap_or_default())?;
        let spot = self.place.spot(folder).map_err(|error| self.io(folder, error))?;
        spot.make_folder().map_err(|error| self.io(folder, error))?;
        let metadata = self.metadata_below(folder).map_err(|error| self.io(folder, error))?;
        self.folders.insert(folder.clone(), metadata);
        self.notices.push(Notice::FolderImplied { path: folder.clone() });
        Ok(())
    }

    /// What the highest layer below that has a folder there says of it.
    fn metadata_below(&self, folder: &TreePath) -> Result<Metadata, Errno> {
        for lower in &self.lower {
            let spot = match lower.spot(folder) {
                Ok(spot) => spot,
                // Nothing there in this layer: further down there may be.
                Err(Errno::NOENT) => continue,
                // Something else hides what is further down.
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(error) => return Err(error),
            };
            let Some(stat) = spot.stat()? else { continue };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                break;
            }
            let mut metadata = spot.metadata(&stat)?;
            // Overlayfs' own marks say something about that layer, not about this one.
            metadata.xattrs.retain(|name, _| {
                !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
            });
            return Ok(metadata);
        }
        Ok(Metadata { mode: 0o755, ..Metadata::default() })
    }

    fn make_opaque(&mut self, folder: &TreePath, attribute: &str) -> Result<(), UnpackError> {
        if folder.is_root() {
            // A layer that hides everything below: overlayfs knows no opaque root, so each lower name is removed.
            return self.hide_everything_below(attribute);
        }
        self.imply(folder)?;
        let spot = self.place.spot(folder).map_err(|error| self.io(folder, error))?;
        self.mark_opaque(folder, &spot, attribute)
    }

    fn hide_everything_below(&mut self, attribute: &str) -> Result<(), UnpackError> {
        let mut names = BTreeSet::new();
        for lower in &self.lower {
            let list = || -> Result<Vec<Vec<u8>>, Errno> {
                let root = lower.folder(&TreePath::root())?;
                let entries = rustix::fs::Dir::read_from(&root)?;
                entries.map(|entry| Ok(entry?.file_name().to_bytes().to_vec())).collect()
            };
            names.extend(list().map_err(|error| self.io(&TreePath::root(), error))?);
        }
        for name in names.into_iter().filter(|name| name != b"." && name != b"..") {
            self.white_out(tree_path(&name)?, attribute)?;
        }
        Ok(())
    }

    fn mark_opaque(&self, path: &TreePath, spot: &Spot, attribute: &str) -> Result<(), UnpackError> {
        spot.set_attribute(attribute.as_bytes(), b"y").map_err(|error| self.io(path, error))
    }

    fn white_out(&mut self, path: TreePath, attribute: &str) -> Result<(), UnpackError> {
        let spot = self.spot(&path)?;
        let standing = spot.stat().map_err(|error| self.io(&path, error))?;
        match standing.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            // A whiteout speaks of the layers below, never of its own: what this layer has there stays.
            Some(FileType::Directory) => self.mark_opaque(&path, &spot, attribute),
            Some(_) => Ok(()),
            None => {
                spot.make_node(FileType::CharacterDevice, 0, 0).map_err(|error| self.io(&path, error))?;
                self.removed.insert(path);
                Ok(())
            }
        }
    }

    fn describe(
        &mut self,
        path: &TreePath,
        spot: &Spot,
        metadata: &Metadata,
        kind: FileType,
    ) -> Result<(), UnpackError> {
        let described = spot.describe(path, metadata, kind, Ownership::Recorded, &mut self.notices);
        described.map_err(|error| self.describe_error(path, metadata, error))
    }

    fn describe_error(&self, path: &TreePath, metadata: &Metadata, error: Errno) -> UnpackError {
        match error {
            Errno::PERM | Errno::INVAL => {
                UnpackError::Owner { path: self.place.host_path(path), uid: metadata.uid, gid: metadata.gid }
            }
            error => self.io(path, error),
        }
    }

    fn finish(mut self) -> Result<Vec<Notice>, UnpackError> {
        // From the end, so that a folder is still open to its owner while those in it are described.
        for (path, metadata) in std::mem::take(&mut self.folders).into_iter().rev() {
            if path.is_root() {
                let root = self.place.folder(&path).map_err(|error| self.io(&path, error))?;
                describe_root(&root, &metadata, Ownership::Recorded, &mut self.notices)
                    .map_err(|error| self.describe_error(&path, &metadata, error))?;
                continue;
            }
            match self.place.spot(&path) {
                Ok(spot) => {
                    let standing = spot.stat().map_err(|error| self.io(&path, error))?;
                    // A later entry may have put something else there.
                    let is_folder = standing
                        .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
                    if is_folder {
                        self.describe(&path, &spot, &metadata, FileType::Directory)?;
                    }
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(self.io(&path, error)),
            }
        }
        Ok(self.notices)
    }

    fn io(&self, path: &TreePath, error: Errno) -> UnpackError {
        match error {
            Errno::LOOP | Errno::NOTDIR | Errno::XDEV => UnpackError::Folder { path: path.clone() },
            error => UnpackError::Io { path: self.place.host_path(path), source: error.into() },
        }
    }
}

/// A path of an archive; absolute ones are taken from the root of the tree, as tar does.
pub(crate) fn tree_path(bytes: &[u8]) -> Result<TreePath, UnpackError> {
    TreePath::new(bytes).ok_or_else(|| UnpackError::Path(bytes.escape_ascii().to_string()))
}

/// Owner, mode, time and attributes from the header and the PAX records, which come first.
pub(crate) fn metadata(head: &Head, path: &TreePath) -> Result<Metadata, UnpackError> {
    let wrong = |field| UnpackError::Number { path: path.clone(), field };
    let header = &head.header;
    let mut uid = header.uid().ok();
    let mut gid = header.gid().ok();
    let mode = header.mode().map_err(|_| wrong("mode"))? & 0o7777;
    let mut mtime = header.mtime().ok().map(u64::cast_signed);
    let mut xattrs = BTreeMap::new();
    for (key, value) in &head.records {
        let text = || std::str::from_utf8(value).ok();
        match key.as_slice() {
            b"uid" => uid = text().and_then(|text| text.parse().ok()),
            b"gid" => gid = text().and_then(|text| text.parse().ok()),
            // The fraction is dropped downwards: whole seconds are what a manifest holds.
            b"mtime" => mtime = text().and_then(whole_seconds),
            b"GNU.sparse.major" => return Err(UnpackError::Kind { path: path.clone(), kind: 'S' }),
            key => {
                if let Some(name) = key.strip_prefix(PAX_XATTR_PREFIX) {
                    xattrs.insert(name.into(), value.as_slice().into());
                }
            }
        }
    }
    let id = |number: Option<u64>, field| {
        number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| wrong(field))
    };
    Ok(Metadata {
        mode,
        uid: id(uid, "user id")?,
        gid: id(gid, "group id")?,
        mtime: mtime.ok_or_else(|| wrong("time"))?,
        xattrs,
    })
}

fn whole_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let below_zero = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    Some(if below_zero { seconds - 1 } else { seconds })
}
