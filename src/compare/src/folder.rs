//! Folders of the host as trees. Symbolic links are not followed, and what is mounted below is passed over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File as HostFile;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use imgbuild_digest::Hash;
use imgbuild_tree::Metadata;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::index::{Body, File, Index};
use crate::tree::{Contents, Entry, Tree, belongs_to_image};
use crate::view::hash;

/// A folder that is a tree.
pub(crate) struct FolderTree {
    root: PathBuf,
    index: Index,
}

impl FolderTree {
    /// Reads the metadata of all that is below `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let device = fs_err::metadata(root)?.dev();
        let mut walk = Walk { device, entries: Vec::new(), files: Vec::new(), linked: HashMap::new() };
        walk.add(root, Vec::new())?;
        Ok(Self { root: root.to_owned(), index: Index::of(walk.entries, walk.files) })
    }

    /// Opens a file without following any link out of the folder.
    fn open(&self, path: &[u8]) -> io::Result<HostFile> {
        let folder =
            rustix::fs::open(&self.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve);
        let named = |error: rustix::io::Errno| {
            let path = self.root.join(std::ffi::OsStr::from_bytes(path));
            io::Error::new(
                io::Error::from(error).kind(),
                format!("cannot open `{}`: {error}", path.display()),
            )
        };
        Ok(HostFile::from(opened.map_err(named)?))
    }
}

impl Tree for FolderTree {
    fn entries<'s>(&'s self) -> Box<dyn Iterator<Item = Entry<'s>> + 's> {
        Box::new(self.index.entries())
    }

    fn digest(&self, path: &[u8]) -> io::Result<Hash> {
        hash(self.open(path)?)
    }

    fn read(&self, paths: &BTreeSet<Vec<u8>>, limit: u64) -> io::Result<Contents> {
        let mut contents = Contents::new();
        for path in paths {
            if self.index.file(path).is_none_or(|file| self.index.size(file) > limit) {
                continue;
            }
            let mut bytes = Vec::new();
            self.open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
            contents.insert(path.clone(), bytes);
        }
        Ok(contents)
    }
}

struct Walk {
    device: u64,
    entries: Vec<(Box<[u8]>, Metadata, Body)>,
    files: Vec<File>,
    /// Files with several names, by their number on the host.
    linked: HashMap<u64, usize>,
}

impl Walk {
    fn add(&mut self, place: &Path, path: Vec<u8>) -> io::Result<()> {
        let stat = fs_err::symlink_metadata(place)?;
        let kind = stat.file_type();
        let body = if kind.is_dir() {
            Body::Directory
        } else if kind.is_file() {
            let known = (stat.nlink() > 1).then(|| self.linked.get(&stat.ino()).copied()).flatten();
            let number = known.unwrap_or_else(|| {
                self.files.push(File { size: stat.len(), digest: None });
                self.files.len() - 1
            });
            if stat.nlink() > 1 {
                self.linked.insert(stat.ino(), number);
            }
            Body::File(number)
        } else if kind.is_symlink() {
            Body::SymbolicLink(fs_err::read_link(place)?.into_os_string().into_vec().into())
        } else if kind.is_fifo() {
            Body::Fifo
        } else if kind.is_block_device() || kind.is_char_device() {
            let (major, minor) = (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
            Body::Device { block: kind.is_block_device(), major, minor }
        } else {
            // A socket belongs to what listens there.
            return Ok(());
        };
        let is_symlink = kind.is_symlink();
        let metadata = Metadata {
            mode: if is_symlink { 0o777 } else { stat.mode() & 0o7777 },
            uid: stat.uid(),
            gid: stat.gid(),
            mtime: stat.mtime(),
            xattrs: if is_symlink { BTreeMap::new() } else { attributes(place)? },
        };
        let descends = kind.is_dir() && stat.dev() == self.device;
        self.entries.push((path.clone().into(), metadata, body));
        if descends {
            for entry in fs_err::read_dir(place)? {
                let name = entry?.file_name();
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(name.as_bytes());
                self.add(&place.join(&name), below)?;
            }
        }
        Ok(())
    }
}

/// Values by name.
type Attributes = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The extended attributes that belong to an image.
fn attributes(place: &Path) -> io::Result<Attributes> {
    let mut found = BTreeMap::new();
    let mut names = [0u8; 4096];
    let length = match rustix::fs::llistxattr(place, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => {
            return Err(io::Error::other(format!(
                "cannot read attributes of `{}`: {error}",
                place.display()
            )));
        }
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| belongs_to_image(name)) {
        let mut value = vec![0u8; 64 << 10];
        match rustix::fs::lgetxattr(place, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                found.insert(name.into(), value.into());
            }
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => {
                return Err(io::Error::other(format!(
                    "cannot read an attribute of `{}`: {error}",
                    place.display()
                )));
            }
        }
    }
    Ok(found)
}
