//! Reads which packages a tree has installed, from dpkg's database: `var/lib/dpkg/status`, or the files of
//! `var/lib/dpkg/status.d` in images that keep one for each package.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use deb822_fast::Paragraph;
use imgbuild_tree::TreePath;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::ExportError;
use crate::tar_stream::{open_file, open_tree};
use crate::view::{TreeView, ViewNode};

const STATUS: &[u8] = b"var/lib/dpkg/status";
const STATUS_FOLDER: &[u8] = b"var/lib/dpkg/status.d/";
const OS_RELEASE: [&[u8]; 2] = [b"usr/lib/os-release", b"etc/os-release"];

/// A database larger than this is damaged: Debian's whole archive takes 60 MB.
const MAX_DATABASE: u64 = 256 << 20;

/// Why the package database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The tree's file cannot be read.
    #[error(transparent)]
    Tree(#[from] ExportError),
    /// The database does not parse.
    #[error("`/{file}` is not a valid package database: {reason}")]
    Database {
        /// The file in the tree.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of a directory cannot be read.
    #[error("cannot read `/{file}` of the tree")]
    Io {
        /// The file in the tree.
        file: String,
        /// Why not.
        source: io::Error,
    },
}

/// A package that is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, with epoch and revision.
    pub version: String,
    /// `amd64`, `all`, ...
    pub architecture: String,
    /// The source package, where its name is another.
    pub source: Option<String>,
    /// The source package's version, where it is another.
    pub source_version: Option<String>,
    /// Who maintains it: `Name <address>`.
    pub maintainer: Option<String>,
    /// Its page.
    pub homepage: Option<String>,
    /// The first line of its description.
    pub summary: Option<String>,
}

/// What `os-release` says of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OsRelease {
    /// `debian`, `ubuntu`; empty if the tree does not say.
    pub id: String,
    /// `12`; empty for rolling releases.
    pub version_id: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub pretty_name: String,
}

/// What a tree has installed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The distribution.
    pub os: OsRelease,
    /// The packages, sorted by name, architecture, version.
    pub packages: Vec<Package>,
}

impl Inventory {
    /// Reads the inventory of a squashed view. A tree without a database has no packages.
    ///
    /// # Errors
    ///
    /// A damaged layer or database.
    pub fn of_view(view: &TreeView<'_>) -> Result<Self, PackagesError> {
        let mut inventory = Self::default();
        for candidate in OS_RELEASE {
            if let Some(bytes) = read_from_view(view, candidate)? {
                inventory.os = parse_os_release(&String::from_utf8_lossy(&bytes));
                break;
            }
        }
        if let Some(bytes) = read_from_view(view, STATUS)? {
            inventory.packages.extend(parse_status("var/lib/dpkg/status", &bytes)?);
        }
        let first = view.entries().partition_point(|entry| entry.path.as_bytes() < STATUS_FOLDER);
        let files = view.entries()[first..]
            .iter()
            .take_while(|entry| entry.path.as_bytes().starts_with(STATUS_FOLDER));
        for entry in files {
            let path = entry.path.as_bytes();
            if is_status_file(path)
                && let Some(bytes) = read_from_view(view, path)?
            {
                inventory.packages.extend(parse_status(&String::from_utf8_lossy(path), &bytes)?);
            }
        }
        inventory.packages.sort();
        Ok(inventory)
    }

    /// Reads the inventory of a directory. Symbolic links are not followed outside of it.
    ///
    /// # Errors
    ///
    /// Files that cannot be read, a damaged database.
    pub fn of_directory(root: &Path) -> Result<Self, PackagesError> {
        let mut inventory = Self::default();
        for candidate in OS_RELEASE {
            if let Some(bytes) = read_from_directory(root, candidate)? {
                inventory.os = parse_os_release(&String::from_utf8_lossy(&bytes));
                break;
            }
        }
        if let Some(bytes) = read_from_directory(root, STATUS)? {
            inventory.packages.extend(parse_status("var/lib/dpkg/status", &bytes)?);
        }
        let folder = root.join("var/lib/dpkg/status.d");
        if folder.is_dir() {
            let failed = |source| PackagesError::Io { file: "var/lib/dpkg/status.d".to_owned(), source };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                let path = [STATUS_FOLDER, name.as_encoded_bytes()].concat();
                if is_status_file(&path)
                    && let Some(bytes) = read_from_directory(root, &path)?
                {
                    inventory.packages.extend(parse_status(&String::from_utf8_lossy(&path), &bytes)?);
                }
            }
        }
        inventory.packages.sort();
        Ok(inventory)
    }
}

/// Checksum lists lie beside the files of `status.d`.
fn is_status_file(path: &[u8]) -> bool {
    !path.ends_with(b".md5sums")
}

fn read_from_view(view: &TreeView<'_>, path: &[u8]) -> Result<Option<Vec<u8>>, PackagesError> {
    let Some(ViewNode::File(file)) = view.get(path) else { return Ok(None) };
    let tree = open_tree(file.tree)?;
    let mut bytes = Vec::new();
    let path = TreePath::new(path).unwrap_or_default();
    open_file(&tree, &file, &path)?
        .take(MAX_DATABASE)
        .read_to_end(&mut bytes)
        .map_err(ExportError::io("read", &file.tree.join(file.source.as_path())))?;
    Ok(Some(bytes))
}

fn read_from_directory(root: &Path, path: &[u8]) -> Result<Option<Vec<u8>>, PackagesError> {
    let failed = |source| PackagesError::Io { file: String::from_utf8_lossy(path).into_owned(), source };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(root, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(&folder, path, flags, Mode::empty(), resolve) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    let mut bytes = Vec::new();
    file.take(MAX_DATABASE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Parses dpkg's status file. `file` names it in errors. Packages that are not installed are left out.
///
/// # Errors
///
/// Text that is no such file, or a package without name or version.
pub fn parse_status(file: &str, bytes: &[u8]) -> Result<Vec<Package>, PackagesError> {
    let wrong = |reason: String| PackagesError::Database { file: file.to_owned(), reason };
    // Maintainers' names of the last century are not always UTF-8.
    let text = String::from_utf8_lossy(bytes);
    deb822_fast::Deb822::from_reader(text.as_bytes())
        .map_err(|error| wrong(error.to_string()))?
        .iter()
        .filter(|paragraph| is_installed(paragraph))
        .map(|paragraph| package(paragraph).map_err(&wrong))
        .collect()
}

/// The files of `status.d` have no status.
fn is_installed(paragraph: &Paragraph) -> bool {
    paragraph.get("Status").is_none_or(|status| status.split_whitespace().last() == Some("installed"))
}

fn package(paragraph: &Paragraph) -> Result<Package, String> {
    let field = |name: &str| paragraph.get(name).map(str::trim).filter(|text| !text.is_empty());
    let text = |name: &str| field(name).map(str::to_owned);
    let name = text("Package").ok_or("an entry has no field `Package`")?;
    let version = text("Version").ok_or_else(|| format!("`{name}` has no field `Version`"))?;
    let (source, source_version) = match field("Source") {
        None => (None, None),
        Some(source) => match source.split_once(" (") {
            Some((source, version)) => (Some(source), version.strip_suffix(')')),
            None => (Some(source), None),
        },
    };
    Ok(Package {
        architecture: text("Architecture").unwrap_or_else(|| "all".to_owned()),
        source: source.filter(|source| *source != name).map(str::to_owned),
        source_version: source_version.filter(|other| *other != version).map(str::to_owned),
        maintainer: text("Maintainer"),
        homepage: text("Homepage"),
        summary: field("Description").and_then(|text| text.lines().next()).map(str::to_owned),
        name,
        version,
    })
}

/// Parses `os-release`: shell assignments, of which only quotes and backslashes matter.
#[must_use]
pub fn parse_os_release(text: &str) -> OsRelease {
    let mut os = OsRelease::default();
    for (key, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let inner = quote.and_then(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value);
        let mut escaped = false;
        let keep = |letter: &char| {
            let keep = escaped || *letter != '\\';
            escaped = !keep;
            keep
        };
        let value: String = inner.chars().filter(keep).collect();
        match key {
            "ID" => os.id = value,
            "VERSION_ID" => os.version_id = value,
            "PRETTY_NAME" => os.pretty_name = value,
            _ => {}
        }
    }
    os
}
