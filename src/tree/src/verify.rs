//! Does a stored tree still hold what its manifest says?
//!
//! Every file is read again. What is not here: mending; the cache throws a damaged layer away.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use rayon::prelude::*;

use crate::attributes::XattrNamespace;
use crate::scan::{Kind, Scanned, hash_file, on_disk, scan};
use crate::{DeltaManifest, Node, Result, TreePath};

/// One difference between a tree and its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where.
    pub path: TreePath,
    /// What differs.
    pub kind: MismatchKind,
}

/// How a path differs from its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MismatchKind {
    /// In the manifest, not on disk.
    Missing,
    /// On disk, not in the manifest.
    Unexpected,
    /// Another kind of file.
    Kind,
    /// Other contents, or another link target.
    Contents,
    /// Another mode, owner or time.
    Metadata,
    /// Other extended attributes, or another opaque mark.
    Attributes,
    /// Two names of one file have become two files.
    Link,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            MismatchKind::Missing => "is missing",
            MismatchKind::Unexpected => "is not in the manifest",
            MismatchKind::Kind => "is of another kind",
            MismatchKind::Contents => "has other contents",
            MismatchKind::Metadata => "has another mode, owner or time",
            MismatchKind::Attributes => "has other extended attributes",
            MismatchKind::Link => "is no longer a hard link",
        };
        write!(f, "`{}` {what}", self.path)
    }
}

/// Compares the tree at `tree` with its manifest, reading every file; the differences are in order of path. Ids are
/// compared as this process sees them, so a tree made in a user namespace is checked in one with the same mapping.
///
/// # Errors
///
/// If the tree cannot be read.
pub fn verify(tree: &Path, manifest: &DeltaManifest) -> Result<Vec<Mismatch>> {
    let scan = scan(tree, &[XattrNamespace::Trusted, XattrNamespace::User], &|_| false)?;
    let implied: HashSet<TreePath> = manifest
        .entries
        .iter()
        .flat_map(|entry| std::iter::successors(entry.path.parent(), TreePath::parent))
        .chain([TreePath::root()])
        .collect();
    let on_disk = |path: &TreePath| {
        scan.entries.binary_search_by(|entry| entry.path.cmp(path)).ok().map(|index| &scan.entries[index])
    };
    let unexpected = scan
        .entries
        .par_iter()
        .filter(|found| manifest.get(&found.path).is_none())
        .filter(|found| found.kind != Kind::Directory || !implied.contains(&found.path))
        .map(|found| Ok(Some(Mismatch { path: found.path.clone(), kind: MismatchKind::Unexpected })));
    let differing = manifest.entries.par_iter().with_max_len(16).map(|entry| {
        let kind = match on_disk(&entry.path) {
            None => Some(MismatchKind::Missing),
            Some(found) => compare(tree, found, &entry.node, &on_disk)?,
        };
        Ok(kind.map(|kind| Mismatch { path: entry.path.clone(), kind }))
    });
    let found: Vec<Option<Mismatch>> = unexpected.chain(differing).collect::<Result<_>>()?;
    let mut found: Vec<Mismatch> = found.into_iter().flatten().collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn compare<'a>(
    tree: &Path,
    found: &Scanned,
    node: &Node,
    find: &dyn Fn(&TreePath) -> Option<&'a Scanned>,
) -> Result<Option<MismatchKind>> {
    let same_kind = match (node, &found.kind) {
        (Node::Whiteout, Kind::Whiteout { .. }) => return Ok(None),
        (Node::HardLink { target }, Kind::File) => {
            let one_file = find(target).is_some_and(|other| other.device_and_inode == found.device_and_inode);
            return Ok((!one_file).then_some(MismatchKind::Link));
        }
        (Node::Directory { opaque, .. }, Kind::Directory) => {
            if *opaque != found.attributes.opaque {
                return Ok(Some(MismatchKind::Attributes));
            }
            true
        }
        (Node::File { digest, sha256, .. }, Kind::File) => {
            if digest.size != found.size {
                return Ok(Some(MismatchKind::Contents));
            }
            let (actual, actual_sha256) = hash_file(&on_disk(tree, &found.path), found.size)?;
            if (actual, actual_sha256) != (*digest, *sha256) {
                return Ok(Some(MismatchKind::Contents));
            }
            true
        }
        (Node::SymbolicLink { target, .. }, Kind::SymbolicLink(actual)) => {
            if target != actual {
                return Ok(Some(MismatchKind::Contents));
            }
            true
        }
        (Node::Fifo { .. }, Kind::Fifo) => true,
        (
            Node::Device { block, major, minor, .. },
            Kind::Device { block: found_block, major: found_major, minor: found_minor },
        ) => (block, major, minor) == (found_block, found_major, found_minor),
        _ => false,
    };
    if !same_kind {
        return Ok(Some(MismatchKind::Kind));
    }
    let Some(metadata) = node.metadata() else { return Ok(None) };
    if metadata.xattrs != found.metadata.xattrs {
        return Ok(Some(MismatchKind::Attributes));
    }
    let actual = &found.metadata;
    let same = (metadata.mode, metadata.uid, metadata.gid, metadata.mtime)
        == (actual.mode, actual.uid, actual.gid, actual.mtime)
        && found.nanoseconds == 0;
    Ok((!same).then_some(MismatchKind::Metadata))
}
