//! The canonical bytes of a manifest, and the delta's name made from them.
//!
//! ```text
//! manifest  = "imgdelta" version:u8 count entry*
//! entry     = shared suffix:bytes tag:u8 body          shared: how many bytes of the previous path are kept
//! body      = 0 whiteout | 1 directory | 2 opaque directory -> metadata
//!           | 3 file -> blake3:32 size sha256:32 metadata | 4 hard link -> bytes
//!           | 5 symbolic link -> bytes metadata | 6 fifo -> metadata
//!           | 7 character device | 8 block device -> major minor metadata
//! metadata  = mode uid gid mtime:zigzag count (name:bytes value:bytes)*
//! bytes     = length byte*
//! ```
//!
//! A number is LEB128 in its shortest form. There is exactly one encoding of a manifest: a decoder refuses every
//! other (an overlong number, a prefix that could be longer, a wrong order), so that two stores never disagree on a
//! delta's name. What is not here: any meaning of the entries beyond the rules of one manifest.

use std::collections::BTreeMap;

use imgbuild_digest::{ContentHasher, Digest, Hash, HashFunction};

use crate::{DeltaId, DeltaManifest, Entry, Metadata, Node, TreePath};

const MAGIC: &[u8; 8] = b"imgdelta";
const VERSION: u8 = 1;
const DOMAIN: &str = "imgbuild.delta.v1";

/// Why bytes are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first bytes are not those of a manifest.
    #[error("not a delta manifest")]
    NotAManifest,
    /// A version that this program does not know.
    #[error("delta manifest of version {0}, but this program reads version {VERSION}; use a newer imgbuild")]
    UnknownVersion(u8),
    /// The bytes end too early, go on too long, or are not the canonical form.
    #[error("damaged delta manifest: {0}")]
    Damaged(&'static str),
    /// The entries contradict each other.
    #[error(transparent)]
    Invalid(#[from] InvalidManifest),
}

/// Why entries are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidManifest {
    /// Not in strictly rising order of path.
    #[error("`{0}` is out of order or twice in the manifest")]
    Order(TreePath),
    /// A hard link whose target is no file of this manifest that sorts before it.
    #[error("the hard link `{0}` does not point to a file that sorts before it in the same manifest")]
    Link(TreePath),
    /// An entry below something that is not a folder.
    #[error("`{0}` lies below an entry that is not a folder")]
    Parent(TreePath),
    /// The tree's root is something other than a folder.
    #[error("the root of the tree is not a folder")]
    Root,
    /// A mode, a digest or a time outside what a manifest can say.
    #[error("`{0}` has a mode or digest that a manifest cannot hold")]
    Field(TreePath),
}

impl DeltaManifest {
    /// The canonical bytes: the same for the same tree, on every machine.
    ///
    /// The manifest should be valid ([`DeltaManifest::validate`]); the bytes of one that is not do not decode.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.entries.len() * 96);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        number(&mut out, self.entries.len() as u64);
        let mut previous: &[u8] = &[];
        for Entry { path, node } in &self.entries {
            let path = path.as_bytes();
            let shared = common_prefix(previous, path);
            number(&mut out, shared as u64);
            bytes(&mut out, &path[shared..]);
            encode_node(&mut out, node);
            previous = path;
        }
        out
    }

    /// Reads what [`DeltaManifest::encode`] wrote.
    ///
    /// # Errors
    ///
    /// If the bytes are not the canonical form of a valid manifest of a known version.
    pub fn decode(encoded: &[u8]) -> Result<Self, DecodeError> {
        let rest = encoded.strip_prefix(MAGIC).ok_or(DecodeError::NotAManifest)?;
        let (version, rest) = rest.split_first().ok_or(DecodeError::NotAManifest)?;
        if *version != VERSION {
            return Err(DecodeError::UnknownVersion(*version));
        }
        let mut reader = Reader(rest);
        let count = reader.length()?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count.min(rest.len() / 3));
        let mut path = Vec::new();
        for index in 0..count {
            let shared = reader.length()?;
            let suffix = reader.bytes()?;
            if shared > path.len() {
                return Err(DecodeError::Damaged("a path shares more than there is"));
            }
            if path.get(shared).is_some_and(|next| suffix.first() == Some(next)) {
                return Err(DecodeError::Damaged("a path shares less than it could"));
            }
            if suffix.is_empty() && index > 0 {
                return Err(DecodeError::Damaged("a path comes twice"));
            }
            path.truncate(shared);
            path.extend_from_slice(suffix);
            let path = canonical_path(&path)?;
            let node = decode_node(&mut reader)?;
            entries.push(Entry { path, node });
        }
        if !reader.0.is_empty() {
            return Err(DecodeError::Damaged("bytes follow the last entry"));
        }
        let manifest = Self { entries };
        manifest.validate()?;
        Ok(manifest)
    }

    /// What names this delta: the hash of its canonical bytes.
    #[must_use]
    pub fn id(&self) -> DeltaId {
        Self::id_of_encoded(&self.encode())
    }

    /// The name of the delta whose canonical bytes are `encoded`.
    #[must_use]
    pub fn id_of_encoded(encoded: &[u8]) -> DeltaId {
        let mut hasher = ContentHasher::new(DOMAIN);
        hasher.write_bytes(encoded);
        DeltaId(hasher.finish())
    }

    /// What the delta puts at `path`, by binary search; a hard link is returned as it is.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.position(path).map(|index| &self.entries[index].node)
    }

    pub(crate) fn position(&self, path: &TreePath) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.path.cmp(path)).ok()
    }

    /// Checks the rules that every consumer relies on: strictly rising order, links that point to a file that
    /// sorts before them, nothing below what is not a folder, a folder at the root, BLAKE3 digests, modes of twelve
    /// bits.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, with the path.
    pub fn validate(&self) -> Result<(), InvalidManifest> {
        for pair in self.entries.windows(2) {
            if pair[0].path >= pair[1].path {
                return Err(InvalidManifest::Order(pair[1].path.clone()));
            }
        }
        // Byte order puts `a-b` between `a` and `a/b`, so no stack of open folders will do: the nearest entry above
        // is looked up, once for each run of entries with one parent. What is above that was checked at its own
        // turn.
        let mut checked_parent = TreePath::root();
        for Entry { path, node } in &self.entries {
            if path.is_root() && !matches!(node, Node::Directory { .. }) {
                return Err(InvalidManifest::Root);
            }
            if let Node::HardLink { target } = node
                && (target >= path || !matches!(self.get(target), Some(Node::File { .. })))
            {
                return Err(InvalidManifest::Link(path.clone()));
            }
            if let Node::File { digest, .. } = node
                && digest.function != HashFunction::Blake3
            {
                return Err(InvalidManifest::Field(path.clone()));
            }
            if let Some(metadata) = node.metadata() {
                let expected_link_mode = !matches!(node, Node::SymbolicLink { .. }) || metadata.mode == 0o777;
                if metadata.mode > 0o7777 || !expected_link_mode {
                    return Err(InvalidManifest::Field(path.clone()));
                }
            }
            let Some(parent) = path.parent() else { continue };
            if parent != checked_parent {
                let mut above = std::iter::successors(Some(parent.clone()), TreePath::parent);
                let nearest = above.find_map(|folder| self.get(&folder));
                if nearest.is_some_and(|node| !matches!(node, Node::Directory { .. })) {
                    return Err(InvalidManifest::Parent(path.clone()));
                }
                checked_parent = parent;
            }
        }
        Ok(())
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

fn canonical_path(bytes: &[u8]) -> Result<TreePath, DecodeError> {
    TreePath::new(bytes)
        .filter(|path| path.as_bytes() == bytes)
        .ok_or(DecodeError::Damaged("a path is not in canonical form"))
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    number(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn encode_node(out: &mut Vec<u8>, node: &Node) {
    match node {
        Node::Whiteout => out.push(0),
        Node::Directory { opaque, metadata } => {
            out.push(if *opaque { 2 } else { 1 });
            encode_metadata(out, metadata);
        }
        Node::File { digest, sha256, metadata } => {
            let Digest { function: _, bytes, size } = digest;
            out.push(3);
            out.extend_from_slice(bytes);
            number(out, *size);
            out.extend_from_slice(sha256);
            encode_metadata(out, metadata);
        }
        Node::HardLink { target } => {
            out.push(4);
            bytes(out, target.as_bytes());
        }
        Node::SymbolicLink { target, metadata } => {
            out.push(5);
            bytes(out, target);
            encode_metadata(out, metadata);
        }
        Node::Fifo { metadata } => {
            out.push(6);
            encode_metadata(out, metadata);
        }
        Node::Device { block, major, minor, metadata } => {
            out.push(if *block { 8 } else { 7 });
            number(out, u64::from(*major));
            number(out, u64::from(*minor));
            encode_metadata(out, metadata);
        }
    }
}

fn encode_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
    number(out, u64::from(*mode));
    number(out, u64::from(*uid));
    number(out, u64::from(*gid));
    number(out, ((mtime << 1) ^ (mtime >> 63)) as u64);
    number(out, xattrs.len() as u64);
    for (name, value) in xattrs {
        bytes(out, name);
        bytes(out, value);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(DecodeError::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::Damaged("a number is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(DecodeError::Damaged("a number is too large"))
    }

    fn small(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.number()?).map_err(|_| DecodeError::Damaged("a number is too large"))
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.number()?).map_err(|_| DecodeError::Damaged("a length is too large"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        if length > self.0.len() {
            return Err(DecodeError::Damaged("it ends too early"));
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    fn hash(&mut self) -> Result<[u8; 32], DecodeError> {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.take(32)?);
        Ok(hash)
    }
}

fn decode_node(reader: &mut Reader<'_>) -> Result<Node, DecodeError> {
    Ok(match reader.byte()? {
        0 => Node::Whiteout,
        tag @ (1 | 2) => Node::Directory { opaque: tag == 2, metadata: decode_metadata(reader)? },
        3 => {
            let hash = Hash(reader.hash()?);
            let digest = Digest::blake3(hash, reader.number()?);
            let sha256 = reader.hash()?;
            Node::File { digest, sha256, metadata: decode_metadata(reader)? }
        }
        4 => Node::HardLink { target: canonical_path(reader.bytes()?)? },
        5 => {
            let target = reader.bytes()?.into();
            Node::SymbolicLink { target, metadata: decode_metadata(reader)? }
        }
        6 => Node::Fifo { metadata: decode_metadata(reader)? },
        tag @ (7 | 8) => Node::Device {
            block: tag == 8,
            major: reader.small()?,
            minor: reader.small()?,
            metadata: decode_metadata(reader)?,
        },
        _ => return Err(DecodeError::Damaged("an entry of an unknown kind")),
    })
}

fn decode_metadata(reader: &mut Reader<'_>) -> Result<Metadata, DecodeError> {
    let mode = reader.small()?;
    let uid = reader.small()?;
    let gid = reader.small()?;
    let zigzag = reader.number()?;
    let mtime = ((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64);
    let count = reader.length()?;
    let mut xattrs: BTreeMap<Box<[u8]>, Box<[u8]>> = BTreeMap::new();
    for _ in 0..count {
        let name = reader.bytes()?;
        if xattrs.last_key_value().is_some_and(|(last, _)| **last >= *name) {
            return Err(DecodeError::Damaged("extended attributes are out of order"));
        }
        xattrs.insert(name.into(), reader.bytes()?.into());
    }
    Ok(Metadata { mode, uid, gid, mtime, xattrs })
}
