//! Trees in memory and in tar files, and tools of the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use imgbuild_disk::table::Architecture;
use imgbuild_disk::{DiskOptions, Entry, Identity, Node, Tree};
use imgbuild_tree::Metadata;

pub const EPOCH: i64 = 1_700_000_000;

pub fn options() -> DiskOptions {
    DiskOptions::new(Identity::new([42; 32]), Architecture::X86_64, EPOCH)
}

pub fn owned(mode: u32, uid: u32, gid: u32) -> Metadata {
    Metadata { mode, uid, gid, mtime: EPOCH - 1000, ..Metadata::default() }
}

/// A tree that the test makes up.
#[derive(Default)]
pub struct MemoryTree {
    entries: BTreeMap<Vec<u8>, (Metadata, Made)>,
}

pub enum Made {
    Directory,
    Bytes(Vec<u8>),
    /// Zeros, with some bytes at some places.
    Sparse {
        size: u64,
        marks: Vec<(u64, u8)>,
    },
    HardLink(Vec<u8>),
    SymbolicLink(Vec<u8>),
    Fifo,
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
}

impl MemoryTree {
    pub fn put(&mut self, path: impl AsRef<[u8]>, metadata: Metadata, made: Made) -> &mut Self {
        self.entries.insert(path.as_ref().to_vec(), (metadata, made));
        self
    }

    pub fn file(&mut self, path: impl AsRef<[u8]>, contents: impl AsRef<[u8]>) -> &mut Self {
        self.put(path, owned(0o644, 0, 0), Made::Bytes(contents.as_ref().to_vec()))
    }

    pub fn directory(&mut self, path: impl AsRef<[u8]>) -> &mut Self {
        self.put(path, owned(0o755, 0, 0), Made::Directory)
    }

    pub fn remove(&mut self, path: &str) -> &mut Self {
        self.entries.remove(path.as_bytes());
        self
    }
}

impl Tree for MemoryTree {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        Box::new(self.entries.iter().map(|(path, (metadata, made))| Entry {
            path,
            metadata,
            node: match made {
                Made::Directory => Node::Directory,
                Made::Bytes(bytes) => Node::File { size: bytes.len() as u64 },
                Made::Sparse { size, .. } => Node::File { size: *size },
                Made::HardLink(target) => Node::HardLink { target },
                Made::SymbolicLink(target) => Node::SymbolicLink { target },
                Made::Fifo => Node::Fifo,
                Made::Device { block, major, minor } => {
                    Node::Device { block: *block, major: *major, minor: *minor }
                }
            },
        }))
    }

    fn open<'s>(&'s self, path: &[u8]) -> io::Result<Box<dyn Read + 's>> {
        match self.entries.get(path) {
            Some((_, Made::Bytes(bytes))) => Ok(Box::new(bytes.as_slice())),
            Some((_, Made::Sparse { size, marks })) => {
                Ok(Box::new(SparseReader { size: *size, marks, offset: 0 }))
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

struct SparseReader<'m> {
    size: u64,
    marks: &'m [(u64, u8)],
    offset: u64,
}

impl Read for SparseReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.size - self.offset).min(buffer.len() as u64);
        buffer[..length as usize].fill(0);
        for (at, byte) in self.marks {
            if (self.offset..self.offset + length).contains(at) {
                buffer[(at - self.offset) as usize] = *byte;
            }
        }
        self.offset += length;
        Ok(length as usize)
    }
}

/// A tree in a tar file.
pub struct TarTree {
    tar: File,
    entries: BTreeMap<Vec<u8>, (Metadata, InTar)>,
}

enum InTar {
    Plain(Made),
    File { start: u64, size: u64 },
}

impl TarTree {
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(path)?);
        let clean = |name: &[u8]| {
            let name = name.strip_prefix(b"./").unwrap_or(name);
            name.strip_suffix(b"/").unwrap_or(name).to_vec()
        };
        let mut links = Vec::new();
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            let mut path = clean(&entry.path_bytes());
            if path == b"." {
                path.clear();
            }
            let mut metadata = Metadata::default();
            for record in entry.pax_extensions()?.into_iter().flatten() {
                let record = record?;
                if let Some(name) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") {
                    metadata.xattrs.insert(name.into(), record.value_bytes().into());
                }
            }
            let header = entry.header();
            metadata.mode = header.mode()? & 0o7777;
            metadata.uid = header.uid()? as u32;
            metadata.gid = header.gid()? as u32;
            metadata.mtime = header.mtime()? as i64;
            let numbers =
                || io::Result::Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)));
            let link = || entry.link_name_bytes().map(|name| name.to_vec()).unwrap_or_default();
            let kind = header.entry_type();
            let found = if kind.is_dir() {
                InTar::Plain(Made::Directory)
            } else if kind.is_symlink() {
                InTar::Plain(Made::SymbolicLink(link()))
            } else if kind.is_hard_link() {
                links.push((path, clean(&link())));
                continue;
            } else if kind.is_fifo() {
                InTar::Plain(Made::Fifo)
            } else if kind.is_block_special() || kind.is_character_special() {
                let (major, minor) = numbers()?;
                InTar::Plain(Made::Device { block: kind.is_block_special(), major, minor })
            } else {
                InTar::File { start: entry.raw_file_position(), size: entry.size() }
            };
            entries.insert(path, (metadata, found));
        }
        // A tar file's first name need not be the first in order.
        for (path, target) in links {
            let (first, second) = if path < target { (path, target) } else { (target, path) };
            let (metadata, file) = entries.remove(&first).or_else(|| entries.remove(&second)).unwrap();
            entries.insert(second, (metadata.clone(), InTar::Plain(Made::HardLink(first.clone()))));
            entries.insert(first, (metadata, file));
        }
        Ok(Self { tar: File::open(path)?, entries })
    }
}

impl Tree for TarTree {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        Box::new(self.entries.iter().map(|(path, (metadata, found))| Entry {
            path,
            metadata,
            node: match found {
                InTar::File { size, .. } => Node::File { size: *size },
                InTar::Plain(Made::Directory) => Node::Directory,
                InTar::Plain(Made::HardLink(target)) => Node::HardLink { target },
                InTar::Plain(Made::SymbolicLink(target)) => Node::SymbolicLink { target },
                InTar::Plain(Made::Device { block, major, minor }) => {
                    Node::Device { block: *block, major: *major, minor: *minor }
                }
                InTar::Plain(_) => Node::Fifo,
            },
        }))
    }

    fn open<'s>(&'s self, path: &[u8]) -> io::Result<Box<dyn Read + 's>> {
        match self.entries.get(path) {
            Some((_, InTar::File { start, size })) => {
                let mut tar = self.tar.try_clone()?;
                tar.seek(SeekFrom::Start(*start))?;
                Ok(Box::new(tar.take(*size)))
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A tree with what a disk needs to boot, of no real contents.
pub fn bootable() -> MemoryTree {
    let mut tree = MemoryTree::default();
    tree.put("", owned(0o755, 0, 0), Made::Directory);
    for folder in [
        "boot",
        "etc",
        "usr",
        "usr/lib",
        "usr/lib/systemd",
        "usr/lib/systemd/boot",
        "usr/lib/systemd/boot/efi",
    ] {
        tree.directory(folder);
    }
    tree.file("usr/lib/os-release", "PRETTY_NAME=\"Test System 1\"\nID=testos\nVERSION_ID=\"1\"\n");
    tree.file("etc/hostname", "old\n");
    tree.file("boot/vmlinuz-6.1.0-9-cloud-amd64", b"older kernel");
    tree.file("boot/initrd.img-6.1.0-9-cloud-amd64", b"older ram disk");
    tree.file("boot/vmlinuz-6.1.0-35-cloud-amd64", vec![b'k'; 3_000_000]);
    tree.file("boot/initrd.img-6.1.0-35-cloud-amd64", noise(5_000_000));
    tree.file("usr/lib/systemd/boot/efi/systemd-bootx64.efi", vec![b's'; 100_000]);
    tree
}

/// Bytes that do not compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// Runs a tool of the host. `None` if it is not there, which is said.
pub fn run(name: &str, arguments: &[&str]) -> Option<Output> {
    let places = [name.to_owned(), format!("/usr/sbin/{name}"), format!("/sbin/{name}")];
    for place in places {
        match Command::new(place).args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return Some(other.unwrap()),
        }
    }
    eprintln!("SKIPPED: `{name}` is not installed");
    None
}

/// Runs a tool that must be content; its output, or nothing if it is not there.
pub fn content(name: &str, arguments: &[&str]) -> Option<String> {
    let output = run(name, arguments)?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {text}");
    Some(text)
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The BLAKE3 hash of a file.
pub fn hash(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path).unwrap(), &mut hasher).unwrap();
    hasher.finalize()
}
