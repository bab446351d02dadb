//! A view as a tar stream: POSIX headers, PAX records where they do not suffice, whiteouts as OCI writes them.
//!
//! The stream is a function of the view and its files' contents. Names of users and groups are never written, times
//! are whole seconds, and a file whose contents are not those of its manifest ends the stream with an error.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use imgbuild_tree::{Metadata, TreePath};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tar::{EntryType, Header};

use crate::hashing::ContentHashing;
use crate::view::{TreeView, ViewEntry, ViewFile, ViewNode};
use crate::{ExportError, place};

const BLOCK: usize = 512;

/// The largest values of a header's octal fields; beyond them a PAX record is needed.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;
const MAX_TIME: i64 = 0o77_777_777_777;

/// What prefixes the name of a removed file in an OCI layer.
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// The name that marks its folder as opaque in an OCI layer.
pub(crate) const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// Owner, mode and time of a whiteout, which no reader looks at.
static NO_METADATA: Metadata =
    Metadata { mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: std::collections::BTreeMap::new() };

/// Writes a view as a tar stream and returns its length in bytes.
///
/// # Errors
///
/// A file whose contents do not match its manifest, one that cannot be read, a name that OCI reserves, the sink's.
pub fn write_tar(view: &TreeView<'_>, sink: &mut dyn Write) -> Result<u64, ExportError> {
    let mut writer = TarWriter { sink, trees: HashMap::new(), buffer: vec![0; 256 << 10], written: 0 };
    for entry in view.entries() {
        for head in heads(entry)? {
            writer.write(&head)?;
        }
        if let ViewNode::File(file) = entry.node {
            writer.copy(&entry.path, file)?;
        }
    }
    writer.write(&[0; 2 * BLOCK])?;
    Ok(writer.written)
}

/// How many bytes [`write_tar`] will write. Reads no file.
///
/// # Errors
///
/// A name that OCI reserves and the like, as in [`write_tar`].
pub fn tar_size(view: &TreeView<'_>) -> Result<u64, ExportError> {
    let mut size = 2 * BLOCK as u64;
    for entry in view.entries() {
        size += heads(entry)?.iter().map(|head| head.len() as u64).sum::<u64>();
        if let ViewNode::File(file) = entry.node {
            size += file.digest.size.next_multiple_of(BLOCK as u64);
        }
    }
    Ok(size)
}

struct TarWriter<'w, 'a> {
    sink: &'w mut dyn Write,
    trees: HashMap<&'a Path, OwnedFd>,
    buffer: Vec<u8>,
    written: u64,
}

impl<'a> TarWriter<'_, 'a> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.sink.write_all(bytes).map_err(ExportError::Sink)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn copy(&mut self, path: &TreePath, file: ViewFile<'a>) -> Result<(), ExportError> {
        let tree = match self.trees.entry(file.tree) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(open_tree(file.tree)?),
        };
        let mut source = open_file(tree, &file, path)?;
        let mut hashing = ContentHashing::default();
        // The header promised this many bytes, so no more are written even if there are more.
        let mut left = file.digest.size;
        loop {
            let read = source
                .read(&mut self.buffer)
                .map_err(ExportError::io("read", &file.tree.join(file.source.as_path())))?;
            if read == 0 {
                break;
            }
            hashing.update(&self.buffer[..read]);
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            self.sink.write_all(&self.buffer[..wanted]).map_err(ExportError::Sink)?;
            left -= wanted as u64;
            self.written += wanted as u64;
            if wanted < read {
                break;
            }
        }
        let found = hashing.finish();
        if found != file.digest {
            return Err(ExportError::Corrupt { path: path.clone(), expected: file.digest, found });
        }
        let padding = (file.digest.size.next_multiple_of(BLOCK as u64) - file.digest.size) as usize;
        self.write(&[0; BLOCK][..padding])
    }
}

/// Opens a layer's directory.
pub(crate) fn open_tree(tree: &Path) -> Result<OwnedFd, ExportError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(tree, flags, Mode::empty()).map_err(ExportError::io("open", tree))
}

/// Opens a regular file of a layer without following any symbolic link.
pub(crate) fn open_file(tree: &OwnedFd, file: &ViewFile<'_>, path: &TreePath) -> Result<File, ExportError> {
    // NONBLOCK: a pipe that stands where a file should must not make the export wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = match rustix::fs::openat2(tree, file.source.as_path(), flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::LOOP) => return Err(ExportError::NotAFile { path: path.clone() }),
        other => other.map_err(ExportError::io("open", &file.tree.join(file.source.as_path())))?,
    };
    let opened = File::from(opened);
    let is_file = opened
        .metadata()
        .map_err(ExportError::io("look at", &file.tree.join(file.source.as_path())))?
        .is_file();
    if is_file { Ok(opened) } else { Err(ExportError::NotAFile { path: path.clone() }) }
}

/// The headers of one entry, each with its PAX records: two of them for an opaque folder.
fn heads(entry: &ViewEntry<'_>) -> Result<Vec<Vec<u8>>, ExportError> {
    let path = &entry.path;
    if path.file_name().starts_with(WHITEOUT_PREFIX) {
        return Err(ExportError::ReservedName { path: path.clone().into_owned() });
    }
    let head = |record: Record<'_>| record.head(path);
    let name = || path.as_bytes().to_vec();
    Ok(match entry.node {
        ViewNode::Whiteout => {
            let marker = [WHITEOUT_PREFIX, path.file_name()].concat();
            let name = beside(path, &marker);
            vec![head(Record::new(EntryType::Regular, name, &NO_METADATA))?]
        }
        ViewNode::Directory { opaque, metadata } => {
            let mut folder = path.as_bytes().to_vec();
            if folder.is_empty() {
                folder.push(b'.');
            }
            folder.push(b'/');
            let mut heads = vec![head(Record::new(EntryType::Directory, folder, metadata))?];
            if opaque {
                let marker = path.join(OPAQUE_MARKER).as_bytes().to_vec();
                heads.push(head(Record::new(EntryType::Regular, marker, &NO_METADATA))?);
            }
            heads
        }
        ViewNode::File(file) => {
            let record = Record::new(EntryType::Regular, name(), file.metadata);
            vec![head(Record { size: file.digest.size, ..record })?]
        }
        // Engines apply owner, mode and attributes of a link's header to the file, so they are said again.
        ViewNode::HardLink { target, metadata } => {
            let record = Record::new(EntryType::Link, name(), metadata);
            vec![head(Record { link: Some(target.as_bytes()), ..record })?]
        }
        ViewNode::SymbolicLink { target, metadata } => {
            let record = Record::new(EntryType::Symlink, name(), metadata);
            vec![head(Record { link: Some(target), ..record })?]
        }
        ViewNode::Fifo { metadata } => vec![head(Record::new(EntryType::Fifo, name(), metadata))?],
        ViewNode::Device { block, major, minor, metadata } => {
            if major > MAX_ID || minor > MAX_ID {
                return Err(ExportError::DeviceNumber { path: path.clone().into_owned(), major, minor });
            }
            let kind = if block { EntryType::Block } else { EntryType::Char };
            vec![head(Record { device: Some((major, minor)), ..Record::new(kind, name(), metadata) })?]
        }
    })
}

/// `path` with another last component.
fn beside(path: &TreePath, name: &[u8]) -> Vec<u8> {
    path.parent().unwrap_or_default().join(name).as_bytes().to_vec()
}

/// What one header says.
struct Record<'a> {
    kind: EntryType,
    name: Vec<u8>,
    link: Option<&'a [u8]>,
    size: u64,
    device: Option<(u32, u32)>,
    metadata: &'a Metadata,
}

impl<'a> Record<'a> {
    fn new(kind: EntryType, name: Vec<u8>, metadata: &'a Metadata) -> Self {
        Self { kind, name, link: None, size: 0, device: None, metadata }
    }

    /// The PAX header, if one is needed, and the header.
    fn head(&self, path: &TreePath) -> Result<Vec<u8>, ExportError> {
        let pax = self.pax(path)?;
        let mut head = Vec::with_capacity(BLOCK);
        if !pax.is_empty() {
            let name = [b"PaxHeaders/".as_slice(), path.file_name()].concat();
            let length = pax.len() as u64;
            head.extend_from_slice(
                Self { size: length, ..Record::new(EntryType::XHeader, name, &NO_METADATA) }
                    .header()
                    .as_bytes(),
            );
            head.extend_from_slice(&pax);
            head.resize(head.len().next_multiple_of(BLOCK), 0);
        }
        head.extend_from_slice(self.header().as_bytes());
        Ok(head)
    }

    /// The POSIX header. What does not fit is cut here and said whole in a PAX record.
    fn header(&self) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(self.kind);
        header.set_mode(self.metadata.mode);
        header.set_uid(u64::from(self.metadata.uid.min(MAX_ID)));
        header.set_gid(u64::from(self.metadata.gid.min(MAX_ID)));
        header.set_size(self.size.min(MAX_SIZE));
        header.set_mtime(self.metadata.mtime.clamp(0, MAX_TIME) as u64);
        let (major, minor) = self.device.unwrap_or_default();
        let fields = header.as_ustar_mut();
        if let Some(fields) = fields {
            copy_cut(&mut fields.name, &self.name);
            copy_cut(&mut fields.linkname, self.link.unwrap_or_default());
            fields.set_device_major(major);
            fields.set_device_minor(minor);
        }
        header.set_cksum();
        header
    }

    /// The PAX records for what the header cannot say, in a fixed order.
    fn pax(&self, path: &TreePath) -> Result<Vec<u8>, ExportError> {
        let mut records = Vec::new();
        let Metadata { mode: _, uid, gid, mtime, xattrs } = self.metadata;
        if self.name.len() > 100 {
            push_record(&mut records, b"path", &self.name);
        }
        if let Some(link) = self.link.filter(|link| link.len() > 100) {
            push_record(&mut records, b"linkpath", link);
        }
        if *uid > MAX_ID {
            push_record(&mut records, b"uid", uid.to_string().as_bytes());
        }
        if *gid > MAX_ID {
            push_record(&mut records, b"gid", gid.to_string().as_bytes());
        }
        if self.size > MAX_SIZE {
            push_record(&mut records, b"size", self.size.to_string().as_bytes());
        }
        if !(0..=MAX_TIME).contains(mtime) {
            push_record(&mut records, b"mtime", mtime.to_string().as_bytes());
        }
        for (name, value) in xattrs {
            if name.contains(&b'=') {
                let name = name.escape_ascii().to_string();
                return Err(ExportError::AttributeName { path: path.clone(), name });
            }
            push_record(&mut records, &[place::PAX_XATTR_PREFIX, name].concat(), value);
        }
        Ok(records)
    }
}

/// Copies as much of `text` as `field` takes; the rest stays zero.
fn copy_cut(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Appends `length key=value\n`, where the length counts itself.
fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}
