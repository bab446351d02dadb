//! One `.deb` file, read as a stream: control data first, then every entry of the data archive.
//!
//! Not here: where entries are written (`unpack`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use crate::control::{self, Paragraph};
use crate::index::MultiArch;

/// Why a package file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// Reading failed, in the file or in a compressed stream.
    #[error("`{package}` cannot be read: {source}")]
    Io {
        /// The file.
        package: String,
        /// What happened.
        source: io::Error,
    },
    /// It is not what a package must be.
    #[error("`{package}` is not a Debian package: {problem}")]
    Malformed {
        /// The file.
        package: String,
        /// What is wrong.
        problem: String,
    },
}

/// A file of the control archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// Content.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
}

/// A line of `conffiles`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conffile {
    /// Absolute path.
    pub path: String,
    /// The package only wants it removed on upgrade and does not ship it.
    pub remove_on_upgrade: bool,
}

/// A line of the `triggers` control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerDirective {
    /// The package processes this trigger; `wait` says whether activating packages wait for it.
    Interest {
        /// A name, or an absolute path.
        trigger: String,
        /// Whether those who activate it wait.
        wait: bool,
    },
    /// Unpacking the package activates this trigger.
    Activate {
        /// A name, or an absolute path.
        trigger: String,
        /// Whether the package waits.
        wait: bool,
    },
}

/// The control archive of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The `control` file.
    pub fields: Paragraph,
    /// Every other file by name.
    pub files: BTreeMap<String, ControlFile>,
}

impl Control {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_default()
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.field("Package")
    }

    /// Version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.field("Version")
    }

    /// Architecture, `all` included.
    #[must_use]
    pub fn architecture(&self) -> &str {
        self.field("Architecture")
    }

    /// `Multi-Arch`.
    #[must_use]
    pub fn multi_arch(&self) -> MultiArch {
        MultiArch::parse(self.field("Multi-Arch"))
    }

    /// dpkg's name for it in `info/`.
    #[must_use]
    pub fn id(&self) -> String {
        crate::lock::dpkg_id(self.name(), self.architecture(), self.multi_arch())
    }

    fn lines(&self, file: &str) -> impl Iterator<Item = String> {
        let text =
            self.files.get(file).map(|f| String::from_utf8_lossy(&f.bytes).into_owned()).unwrap_or_default();
        text.lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The configuration files that it declares.
    #[must_use]
    pub fn conffiles(&self) -> Vec<Conffile> {
        self.lines("conffiles")
            .map(|line| match line.strip_prefix("remove-on-upgrade") {
                Some(path) => Conffile { path: path.trim().to_owned(), remove_on_upgrade: true },
                None => Conffile { path: line, remove_on_upgrade: false },
            })
            .collect()
    }

    /// What it declares about triggers.
    #[must_use]
    pub fn triggers(&self) -> Vec<TriggerDirective> {
        self.lines("triggers")
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (word, trigger) = line.split_once(char::is_whitespace)?;
                let trigger = trigger.trim().to_owned();
                Some(match word {
                    "interest" | "interest-await" => TriggerDirective::Interest { trigger, wait: true },
                    "interest-noawait" => TriggerDirective::Interest { trigger, wait: false },
                    "activate" | "activate-await" => TriggerDirective::Activate { trigger, wait: true },
                    "activate-noawait" => TriggerDirective::Activate { trigger, wait: false },
                    _ => return None,
                })
            })
            .collect()
    }
}

/// What an entry of the data archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with content.
    Regular,
    /// A folder.
    Directory,
    /// A symbolic link with its target as written.
    Symlink(PathBuf),
    /// A hard link to an earlier entry, by that entry's path.
    HardLink(PathBuf),
    /// A character device with major and minor number.
    CharDevice(u32, u32),
    /// A block device with major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// An entry of the data archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataEntry {
    /// Path relative to the root, without `.` and `..`; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, set-id and sticky bits included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
    /// Size of the content in bytes.
    pub size: u64,
}

/// Takes what [`read`] finds.
pub trait DebVisitor {
    /// What the visitor fails with.
    type Error: From<DebError>;
    /// The control archive, before any entry. `false` ends the reading.
    fn control(&mut self, control: Control) -> Result<bool, Self::Error>;
    /// An entry; `content` is empty except for regular files.
    fn entry(&mut self, entry: DataEntry, content: &mut dyn Read) -> Result<(), Self::Error>;
}

/// The largest control archive member that is kept, in bytes.
const CONTROL_LIMIT: u64 = 64 << 20;

/// Reads a package from a stream; `package` is its name for messages.
pub fn read<V: DebVisitor>(reader: impl Read, package: &str, visitor: &mut V) -> Result<(), V::Error> {
    let io = |source| DebError::Io { package: package.to_owned(), source };
    let malformed = |problem: String| DebError::Malformed { package: package.to_owned(), problem };
    let mut archive = ar::Archive::new(BufReader::with_capacity(1 << 17, reader));
    let mut control_seen = false;
    let mut first = true;
    while let Some(member) = archive.next_entry() {
        let member = member.map_err(io)?;
        let name = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_owned();
        if first && name != "debian-binary" {
            return Err(malformed(format!("its first member is `{name}`")).into());
        }
        first = false;
        if let Some(compression) = name.strip_prefix("control.tar") {
            let control = read_control(decompress(member, compression).map_err(malformed)?).map_err(
                |error| match error.kind() {
                    io::ErrorKind::InvalidData => malformed(error.to_string()),
                    _ => io(error),
                },
            )?;
            control_seen = true;
            if !visitor.control(control)? {
                return Ok(());
            }
        } else if let Some(compression) = name.strip_prefix("data.tar") {
            if !control_seen {
                return Err(malformed("its data comes before its control archive".to_owned()).into());
            }
            return read_data(decompress(member, compression).map_err(malformed)?, package, visitor);
        }
    }
    Err(malformed("it ends without a data archive".to_owned()).into())
}

/// Reads only the control archive of a package file.
pub fn read_control_of(path: &Path) -> Result<Control, DebError> {
    struct Only(Option<Control>);
    impl DebVisitor for Only {
        type Error = DebError;
        fn control(&mut self, control: Control) -> Result<bool, DebError> {
            self.0 = Some(control);
            Ok(false)
        }
        fn entry(&mut self, _: DataEntry, _: &mut dyn Read) -> Result<(), DebError> {
            Ok(())
        }
    }
    let package = path.display().to_string();
    let file =
        fs_err::File::open(path).map_err(|source| DebError::Io { package: package.clone(), source })?;
    let mut visitor = Only(None);
    read(file, &package, &mut visitor)?;
    visitor.0.ok_or(DebError::Malformed { package, problem: "it has no control archive".to_owned() })
}

fn decompress<'r>(reader: impl Read + 'r, compression: &str) -> Result<Box<dyn Read + 'r>, String> {
    Ok(match compression {
        "" => Box::new(reader),
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        ".xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(reader)),
        ".zst" => Box::new(zstd::Decoder::new(reader).map_err(|error| error.to_string())?),
        other => return Err(format!("compression `{other}` is not supported")),
    })
}

fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

fn read_control(reader: impl Read) -> io::Result<Control> {
    let mut fields = None;
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(reader).entries()? {
        let entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?;
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            return Err(invalid("a control file has no name"));
        };
        // A name becomes part of a file name in dpkg's database.
        if path.components().filter(|c| !matches!(c, Component::CurDir)).count() != 1 {
            return Err(invalid(format!("control file `{}` is not at the top", path.display())));
        }
        let (mode, mtime) = (entry.header().mode()? & 0o7777, entry.header().mtime()?);
        let mut bytes = Vec::new();
        entry.take(CONTROL_LIMIT).read_to_end(&mut bytes)?;
        if name == "control" {
            let text = String::from_utf8(bytes).map_err(|_| invalid("its control file is not UTF-8"))?;
            let paragraphs = control::parse(&text).map_err(|error| invalid(error.to_string()))?;
            fields = paragraphs.into_iter().next();
        } else {
            files.insert(name, ControlFile { bytes, mode, mtime });
        }
    }
    let fields = fields.ok_or_else(|| invalid("it has no control file"))?;
    for field in ["Package", "Version", "Architecture"] {
        let value = fields.get(field).unwrap_or_default();
        // These become file names too.
        if value.is_empty() || value.contains(['/', '\n', ' ']) {
            return Err(invalid(format!("its control field `{field}` is `{value}`")));
        }
    }
    Ok(Control { fields, files })
}

fn read_data<V: DebVisitor>(reader: impl Read, package: &str, visitor: &mut V) -> Result<(), V::Error> {
    let io = |source| DebError::Io { package: package.to_owned(), source };
    let malformed = |problem: String| DebError::Malformed { package: package.to_owned(), problem };
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(io)? {
        let mut entry = entry.map_err(io)?;
        let Some(described) = describe(&entry).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => malformed(error.to_string()),
            _ => io(error),
        })?
        else {
            continue;
        };
        visitor.entry(described, &mut entry)?;
    }
    Ok(())
}

fn describe<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<Option<DataEntry>> {
    use tar::EntryType;
    let header = entry.header();
    let path = relative(&entry.path_bytes())?;
    let link = || -> io::Result<Vec<u8>> {
        entry
            .link_name_bytes()
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| invalid("a link has no target"))
    };
    let device = || -> io::Result<(u32, u32)> {
        Ok((header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default()))
    };
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => EntryKind::Regular,
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink(PathBuf::from(OsString::from_vec(link()?))),
        EntryType::Link => EntryKind::HardLink(relative(&link()?)?),
        EntryType::Char => device().map(|(major, minor)| EntryKind::CharDevice(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| EntryKind::BlockDevice(major, minor))?,
        EntryType::Fifo => EntryKind::Fifo,
        EntryType::XGlobalHeader => return Ok(None),
        other => return Err(invalid(format!("entry `{}` has type {other:?}", path.display()))),
    };
    let id = |value: u64| u32::try_from(value).map_err(|_| invalid("an owner is out of range"));
    Ok(Some(DataEntry {
        path,
        kind,
        mode: header.mode()? & 0o7777,
        uid: id(header.uid()?)?,
        gid: id(header.gid()?)?,
        mtime: header.mtime()?,
        size: entry.size(),
    }))
}

/// The path under the root that an archive path means; `..` is refused.
fn relative(path: &[u8]) -> io::Result<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => out.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(invalid(format!("entry `{}` leaves the root", path.display())));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Collect {
        control: Option<Control>,
        entries: Vec<(DataEntry, Vec<u8>)>,
    }

    impl DebVisitor for Collect {
        type Error = DebError;
        fn control(&mut self, control: Control) -> Result<bool, DebError> {
            self.control = Some(control);
            Ok(true)
        }
        fn entry(&mut self, entry: DataEntry, content: &mut dyn Read) -> Result<(), DebError> {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).unwrap();
            self.entries.push((entry, bytes));
            Ok(())
        }
    }

    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            // Written by hand: the builder refuses the names that the reader must refuse.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn deb(control: &[(&str, &[u8])], data: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = ar::Builder::new(Vec::new());
        let data = zstd::encode_all(&tar_of(data)[..], 1).unwrap();
        let control = tar_of(control);
        let members: [(&str, &[u8]); 3] =
            [("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.zst", &data)];
        for (name, bytes) in members {
            builder.append(&ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64), bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const CONTROL: &[u8] = b"Package: a\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\n";

    #[test]
    fn reads_control_and_data() {
        let bytes = deb(
            &[
                ("./control", CONTROL),
                ("./conffiles", b"/etc/a\nremove-on-upgrade /etc/old\n"),
                ("./triggers", b"# x\ninterest-noawait /usr/lib\nactivate ldconfig\n"),
            ],
            &[("./etc/a", b"content")],
        );
        let mut collect = Collect::default();
        read(&bytes[..], "a.deb", &mut collect).unwrap();
        let control = collect.control.unwrap();
        assert_eq!(control.id(), "a:amd64");
        assert_eq!(control.conffiles().len(), 2);
        assert!(control.conffiles()[1].remove_on_upgrade);
        assert_eq!(
            control.triggers(),
            [
                TriggerDirective::Interest { trigger: "/usr/lib".into(), wait: false },
                TriggerDirective::Activate { trigger: "ldconfig".into(), wait: true }
            ]
        );
        assert_eq!(collect.entries[0].0.path, Path::new("etc/a"));
        assert_eq!(collect.entries[0].1, b"content");
    }

    #[test]
    fn refuses_what_would_escape() {
        let read_it = |control: &[(&str, &[u8])], data: &[(&str, &[u8])]| {
            read(&deb(control, data)[..], "a.deb", &mut Collect::default()).unwrap_err().to_string()
        };
        assert_eq!(
            read_it(&[("./control", CONTROL)], &[("../etc/passwd", b"")]),
            "`a.deb` is not a Debian package: entry `../etc/passwd` leaves the root"
        );
        let name: &[u8] = b"Package: ../x\nVersion: 1\nArchitecture: all\n";
        assert!(read_it(&[("./control", name)], &[]).contains("`Package` is `../x`"));
        assert!(read_it(&[("./sub/control", CONTROL)], &[]).contains("is not at the top"));
        let junk = read(&b"junk"[..], "a.deb", &mut Collect::default()).unwrap_err();
        assert!(junk.to_string().contains("`a.deb`"));
    }
}
