//! Goes through tar streams without unpacking them: a root file system's, or the layers of an image in a layout.
//!
//! Nothing is made on the host, so that no privilege is needed. What stands at a path in the end is for the caller, who
//! sees the entries in the archive's order.

use std::fs::File;
use std::io::{self, BufReader, Read};

use imgbuild_tree::{Metadata, TreePath};
use tar::EntryType;

use crate::hashing::Sha256Reader;
use crate::oci_read::{Layout, ReadError, StoredLayer};
use crate::tar_read::{Head, TarReader};
use crate::tar_stream::{OPAQUE_MARKER, WHITEOUT_PREFIX};
use crate::unpack::{Packing, UnpackError, metadata, tree_path};

/// An entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Where; for a whiteout, what it removes.
    pub path: TreePath,
    /// What stands there.
    pub kind: ScannedKind,
    /// Owner, mode, time, extended attributes; those of the mark itself for whiteouts, of the link for hard links.
    pub metadata: Metadata,
}

/// What an entry of an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannedKind {
    /// Removed from the layers below. Only in layers.
    Whiteout,
    /// A folder of which nothing is left that the layers below have. Only in layers.
    Opaque,
    /// A folder.
    Directory,
    /// A regular file, whose contents the visitor may read.
    File {
        /// In bytes.
        size: u64,
    },
    /// A further name of a file that comes earlier in the archive.
    HardLink {
        /// That file's path.
        target: TreePath,
    },
    /// A symbolic link.
    SymbolicLink {
        /// Its text.
        target: Vec<u8>,
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

/// Is told of each entry, with its contents; what it does not read of them is passed over.
pub type Visit<'v> = dyn FnMut(Scanned, &mut dyn Read) -> io::Result<()> + 'v;

/// Goes through a root file system's tar, compressed or not.
///
/// # Errors
///
/// A damaged archive, an entry that has no place in a tree, the visitor's.
pub fn scan_rootfs_tar(archive: impl Read + Send, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
    let tar = unpacked(archive).map_err(UnpackError::Archive)?;
    scan(tar, false, visit)
}

/// Goes through a layer of an image in a layout; it is verified on the way.
///
/// # Errors
///
/// A blob that is not there or damaged, the visitor's.
pub fn scan_layer(layout: &Layout, layer: &StoredLayer, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let path = layout.blob_path(&layer.blob);
    let failed = |source| ReadError::Io { path: path.clone(), source };
    let file = File::open(&path).map_err(failed)?;
    let mut blob = Sha256Reader::new(file.take(layer.blob.size.saturating_add(1)));
    let scanned = {
        let mut stream = Sha256Reader::new(unpacked(&mut blob).map_err(failed)?);
        scan(&mut stream, true, visit).map(|()| stream.finish().1)
    };
    // A damaged blob mostly fails while it is read, so its digest is asked first, whatever came of that.
    io::copy(&mut blob, &mut io::sink()).map_err(failed)?;
    let (_, found) = blob.finish();
    if found != layer.blob {
        return Err(ReadError::Damaged { expected: layer.blob, found });
    }
    let stream = scanned.map_err(|source| ReadError::Unpack { blob: layer.blob, source })?;
    let found = format!("sha256:{}", stream.hex());
    if found != layer.diff_id {
        return Err(ReadError::DiffId { blob: layer.blob, expected: layer.diff_id.clone(), found });
    }
    Ok(())
}

fn unpacked<'r>(mut archive: impl Read + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
    let mut start = Vec::new();
    (&mut archive).take(6).read_to_end(&mut start)?;
    let packing = Packing::detect(&start);
    packing.reader(BufReader::with_capacity(256 << 10, io::Cursor::new(start).chain(archive)))
}

fn scan(tar: impl Read, is_layer: bool, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
    let mut archive = TarReader::new(BufReader::with_capacity(256 << 10, tar));
    while let Some(head) = archive.next()? {
        if let Some(scanned) = scanned(&head, archive.left(), is_layer)? {
            visit(scanned, &mut archive).map_err(UnpackError::Archive)?;
        }
    }
    archive.drain()
}

/// What a header says; `None` for notes of AUFS that no engine keeps.
fn scanned(head: &Head, size: u64, is_layer: bool) -> Result<Option<Scanned>, UnpackError> {
    let path = tree_path(&head.path)?;
    let metadata = metadata(head, &path)?;
    if is_layer && path.file_name() == OPAQUE_MARKER {
        let path = path.parent().unwrap_or_default();
        return Ok(Some(Scanned { path, kind: ScannedKind::Opaque, metadata }));
    }
    if is_layer && let Some(name) = path.file_name().strip_prefix(WHITEOUT_PREFIX) {
        if name.starts_with(WHITEOUT_PREFIX) || name.is_empty() {
            return Ok(None);
        }
        let removed = tree_path(path.parent().unwrap_or_default().join(name).as_bytes())?;
        return Ok(Some(Scanned { path: removed, kind: ScannedKind::Whiteout, metadata }));
    }
    let kind = match head.header.entry_type() {
        EntryType::Directory => ScannedKind::Directory,
        EntryType::Regular | EntryType::Continuous => ScannedKind::File { size },
        EntryType::Link => ScannedKind::HardLink { target: tree_path(&head.link)? },
        EntryType::Symlink => ScannedKind::SymbolicLink { target: head.link.clone() },
        EntryType::Fifo => ScannedKind::Fifo,
        kind @ (EntryType::Char | EntryType::Block) => {
            let number = |number: io::Result<Option<u32>>| {
                let error = || UnpackError::Number { path: path.clone(), field: "device number" };
                number.ok().flatten().ok_or_else(error)
            };
            ScannedKind::Device {
                block: kind == EntryType::Block,
                major: number(head.header.device_major())?,
                minor: number(head.header.device_minor())?,
            }
        }
        other => return Err(UnpackError::Kind { path, kind: char::from(other.as_byte()) }),
    };
    Ok(Some(Scanned { path, kind, metadata }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(7);
            header.set_mtime(9);
            let contents = if *kind == EntryType::Regular { text.as_bytes() } else { &[] };
            header.set_size(contents.len() as u64);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name(text).unwrap();
            }
            builder.append_data(&mut header, path, contents).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn names(archive: &[u8], is_layer: bool) -> Vec<String> {
        let mut names = Vec::new();
        scan(archive, is_layer, &mut |scanned, contents| {
            let mut text = String::new();
            contents.read_to_string(&mut text)?;
            assert_eq!((scanned.metadata.gid, scanned.metadata.mtime), (7, 9));
            names.push(format!("{} {:?} {text}", scanned.path, scanned.kind));
            Ok(())
        })
        .unwrap();
        names
    }

    #[test]
    fn entries_come_with_their_contents_and_marks_only_in_layers() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let archive = tar(&[
            ("etc", Directory, ""),
            ("etc/a", Regular, "one"),
            ("b", Link, "etc/a"),
            ("c", Symlink, "b"),
            ("etc/.wh.gone", Regular, ""),
            ("etc/.wh..wh..opq", Regular, ""),
            (".wh..wh.plnk", Regular, ""),
        ]);
        let before = [
            "/etc Directory ",
            "/etc/a File { size: 3 } one",
            "/b HardLink { target: /etc/a } ",
            "/c SymbolicLink { target: [98] } ",
        ];
        assert_eq!(names(&archive, true), [&before[..], &["/etc/gone Whiteout ", "/etc Opaque "]].concat());
        let plain = names(&archive, false);
        assert_eq!(&plain[..4], before);
        assert_eq!(plain[4], "/etc/.wh.gone File { size: 0 } ");
        assert_eq!(plain.len(), 7);
    }

    #[test]
    fn what_is_not_read_is_passed_over_and_errors_of_the_visitor_stop() {
        let archive = tar(&[("a", EntryType::Regular, "one"), ("b", EntryType::Regular, "two")]);
        let mut seen = 0;
        scan_rootfs_tar(&*archive, &mut |_, _| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 2);
        let stopped = scan_rootfs_tar(&*archive, &mut |_, _| Err(io::Error::other("enough")));
        assert!(matches!(stopped, Err(UnpackError::Archive(error)) if error.to_string() == "enough"));
        assert!(scan_rootfs_tar(&archive[..700], &mut |_, _| Ok(())).is_err(), "it is cut off");
    }
}
