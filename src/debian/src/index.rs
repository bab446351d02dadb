//! Package indexes: `Packages.xz` of one component and architecture, reduced to the fields that matter here.
//!
//! An index is one text and a table of ranges into it: 63,000 packages are read without 63,000 × 20 allocations. Not here:
//! which package is chosen (`solve`).

use std::io::Read;
use std::path::{Path, PathBuf};

use imgbuild_digest::Hash;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::fetch::{FetchError, Fetcher};
use crate::release::Release;
use crate::{Sha256, Version};

/// The fields that are kept, in the order of [`Entry::spans`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Field {
    Package,
    Version,
    Architecture,
    MultiArch,
    Essential,
    Protected,
    Important,
    Priority,
    Section,
    Depends,
    PreDepends,
    Conflicts,
    Breaks,
    Replaces,
    Provides,
    Recommends,
    Filename,
    Size,
    Sha256,
    InstalledSize,
    Source,
}

const FIELDS: usize = 21;

const NAMES: [(&[u8], Field); FIELDS] = [
    (b"Package", Field::Package),
    (b"Version", Field::Version),
    (b"Architecture", Field::Architecture),
    (b"Multi-Arch", Field::MultiArch),
    (b"Essential", Field::Essential),
    (b"Protected", Field::Protected),
    (b"Important", Field::Important),
    (b"Priority", Field::Priority),
    (b"Section", Field::Section),
    (b"Depends", Field::Depends),
    (b"Pre-Depends", Field::PreDepends),
    (b"Conflicts", Field::Conflicts),
    (b"Breaks", Field::Breaks),
    (b"Replaces", Field::Replaces),
    (b"Provides", Field::Provides),
    (b"Recommends", Field::Recommends),
    (b"Filename", Field::Filename),
    (b"Size", Field::Size),
    (b"SHA256", Field::Sha256),
    (b"Installed-Size", Field::InstalledSize),
    (b"Source", Field::Source),
];

fn field_of(name: &[u8]) -> Option<Field> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, field)| *field)
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    spans: [Span; FIELDS],
}

/// How far a package may stand beside another architecture's build of itself, and for whom it satisfies dependencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MultiArch {
    /// Satisfies dependencies of its own architecture only.
    #[default]
    No,
    /// Several architectures may be installed at once, all at one version.
    Same,
    /// Satisfies dependencies of every architecture.
    Foreign,
    /// Satisfies `name:any` of every architecture.
    Allowed,
}

impl MultiArch {
    pub(crate) fn parse(value: &str) -> Self {
        match value {
            "same" => Self::Same,
            "foreign" => Self::Foreign,
            "allowed" => Self::Allowed,
            _ => Self::No,
        }
    }
}

/// One package of an index, as the caller sees it after a resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageRecord {
    /// Name.
    pub name: String,
    /// Version.
    pub version: Version,
    /// Architecture; `all` for packages without machine code.
    pub architecture: String,
    /// `Multi-Arch`.
    pub multi_arch: MultiArch,
    /// `Essential: yes`.
    pub essential: bool,
    /// `Priority`, for example `required`.
    pub priority: String,
    /// `Section`, for example `admin`.
    pub section: String,
    /// `Pre-Depends`, as written; empty when absent.
    pub pre_depends: String,
    /// `Depends`, as written; empty when absent.
    pub depends: String,
    /// The archive it is in, where that is not the main one; see [`crate::mirror::Mirrors::others`].
    pub archive: Option<String>,
    /// Path under the mirror's base.
    pub filename: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// Size when unpacked, in KiB, as the package says.
    pub installed_size: Option<u64>,
    /// The source package's name and version, where they differ from the binary's.
    pub source: Option<String>,
}

impl PackageRecord {
    /// `name`, or `name:arch` for packages that may be installed for several architectures.
    #[must_use]
    pub fn id(&self) -> String {
        if self.multi_arch == MultiArch::Same {
            format!("{}:{}", self.name, self.architecture)
        } else {
            self.name.clone()
        }
    }
}

/// The packages of one `Packages` file.
#[derive(Clone, Debug)]
pub struct Index {
    text: String,
    entries: Vec<Entry>,
    archive: Option<String>,
    suite: Option<String>,
}

/// Why an index could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The release file does not list it.
    #[error("suite `{suite}` has no component `{component}` for architecture `{architecture}`")]
    NotListed {
        /// The suite or codename.
        suite: String,
        /// The component asked for.
        component: String,
        /// The architecture asked for.
        architecture: String,
        /// What the release file has.
        known: Vec<String>,
    },
    /// It could not be fetched; the error of the last mirror.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What a mirror sent is not what the release file lists.
    #[error("`{url}` has SHA-256 {found}, the release file says {expected}")]
    Digest {
        /// Where it came from.
        url: String,
        /// Signed digest.
        expected: Sha256,
        /// Digest of what was sent.
        found: Sha256,
    },
    /// It cannot be decompressed or is not text.
    #[error("`{path}` cannot be read: {problem}")]
    Malformed {
        /// Which index.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The cache folder cannot be used.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl IndexError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotListed { known, .. } => Some(format!("it has {}", known.join(", "))),
            Self::Fetch(error) => error.hint().map(str::to_owned),
            Self::Digest { .. } => {
                Some("the mirror is being updated or faulty; try again, or name another".to_owned())
            }
            Self::Malformed { .. } => Some("the mirror is faulty; name another one".to_owned()),
            Self::Io(_) => Some("check the permissions and the free space of the cache".to_owned()),
        }
    }
}

/// The largest compressed index that is fetched, in bytes.
const LIMIT: u64 = 512 << 20;
/// The largest decompressed index that is read, in bytes.
const TEXT_LIMIT: u64 = 2 << 30;
/// First line of a cached index; the number is raised when its form changes.
const CACHE_MAGIC: &str = "imgbuild-packages 2";

/// Which index is wanted.
#[derive(Clone, Copy, Debug)]
pub struct IndexRequest<'a> {
    /// The suite as it stands in addresses: the folder under `dists/`.
    pub suite: &'a str,
    /// For example `main`.
    pub component: &'a str,
    /// For example `amd64`.
    pub architecture: &'a str,
    /// What [`PackageRecord::archive`] will say; `None` for the main archive.
    pub archive: Option<&'a str>,
    /// A folder for reduced indexes, named by the digest of the compressed original.
    pub cache: Option<&'a Path>,
}

/// Fetches and reads an index, as listed by a verified release file.
pub async fn fetch(
    fetcher: &Fetcher,
    mirrors: &[Url],
    release: &Release,
    request: IndexRequest<'_>,
) -> Result<Index, IndexError> {
    let IndexRequest { suite, component, architecture, archive, cache } = request;
    let folder = format!("{component}/binary-{architecture}");
    let variants = ["Packages.xz", "Packages.gz", "Packages"].map(|name| format!("{folder}/{name}"));
    let Some((path, listed)) = variants.iter().find_map(|path| Some((path, *release.files.get(path)?)))
    else {
        return Err(IndexError::NotListed {
            suite: suite.to_owned(),
            component: component.to_owned(),
            architecture: architecture.to_owned(),
            known: vec![
                format!("components {}", release.components.join(" ")),
                format!("architectures {}", release.architectures.join(" ")),
            ],
        });
    };
    let archive = archive.map(str::to_owned);
    let cached = cache.map(|folder| folder.join(format!("{}.packages", listed.sha256)));
    if let Some(file) = cached.clone()
        && let Some(text) = on_pool(move || read_cached(&file)).await?
    {
        return Ok(Index::from_reduced(text, archive).with_suite(suite));
    }
    let by_hash = format!("dists/{suite}/{folder}/by-hash/SHA256/{}", listed.sha256);
    let plain = format!("dists/{suite}/{path}");
    let addresses = if release.acquire_by_hash { vec![by_hash, plain] } else { vec![plain] };
    let mut last = None;
    for mirror in mirrors {
        for address in &addresses {
            let Ok(url) = mirror.join(address) else { continue };
            match fetcher.get(&url, LIMIT.min(listed.size.max(1))).await {
                Ok(bytes) => {
                    let found = Sha256::of(&bytes);
                    if found == listed.sha256 {
                        let path = path.clone();
                        let suite = suite.to_owned();
                        return on_pool(move || {
                            let index = Index::decode(&bytes, &path, archive)?;
                            if let Some(file) = cached {
                                write_cached(&file, &index.text)?;
                            }
                            Ok(index.with_suite(suite))
                        })
                        .await?;
                    }
                    last = Some(IndexError::Digest { url: url.to_string(), expected: listed.sha256, found });
                }
                Err(error) => last = Some(error.into()),
            }
        }
    }
    Err(last.unwrap_or_else(|| IndexError::Malformed {
        path: path.clone(),
        problem: "no mirror is known for it".to_owned(),
    }))
}

/// Decompression and parsing take long enough to starve a reactor.
async fn on_pool<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, IndexError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| IndexError::Io(std::io::Error::other(error)))
}

/// The index, if the folder holds it whole. Its modification time says from then on that it was used now.
fn read_cached(path: &Path) -> Option<String> {
    let mut file = fs_err::File::open(path).ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).ok()?;
    // In a cache that may only be read there is nobody who collects either.
    let _ = file.file().set_modified(std::time::SystemTime::now());
    let (head, body) = text.split_once('\n')?;
    let (magic, hash) = head.rsplit_once(' ')?;
    let intact = magic == CACHE_MAGIC && hash == Hash::of(body.as_bytes()).to_string();
    // A torn or foreign file is a miss: it is fetched and written anew.
    intact.then(|| body.to_owned())
}

fn write_cached(file: &PathBuf, body: &str) -> Result<(), IndexError> {
    if let Some(folder) = file.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    fs_err::write(&temporary, format!("{CACHE_MAGIC} {}\n{body}", Hash::of(body.as_bytes())))?;
    fs_err::rename(&temporary, file)?;
    Ok(())
}

impl Index {
    /// Decompresses and reads a `Packages` file; `path` tells the compression by its ending. `archive` is what
    /// [`PackageRecord::archive`] will say.
    pub fn decode(bytes: &[u8], path: &str, archive: Option<String>) -> Result<Self, IndexError> {
        let malformed = |problem: String| IndexError::Malformed { path: path.to_owned(), problem };
        let mut text = Vec::with_capacity(bytes.len().saturating_mul(6).min(1 << 28));
        let reader: Box<dyn Read> = match path.rsplit('.').next() {
            Some("xz") => Box::new(liblzma::read::XzDecoder::new_multi_decoder(bytes)),
            Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            _ => Box::new(bytes),
        };
        reader.take(TEXT_LIMIT).read_to_end(&mut text).map_err(|error| malformed(error.to_string()))?;
        if text.len() as u64 == TEXT_LIMIT {
            return Err(malformed("it is larger than 2 GiB".to_owned()));
        }
        let text = String::from_utf8(text).map_err(|error| malformed(error.to_string()))?;
        Ok(Self::from_reduced(reduce(&text), archive))
    }

    /// Reads an uncompressed `Packages` text.
    #[must_use]
    pub fn parse(text: &str, archive: Option<String>) -> Self {
        Self::from_reduced(reduce(text), archive)
    }

    fn from_reduced(text: String, archive: Option<String>) -> Self {
        let entries = entries_of(&text);
        Self { text, entries, archive, suite: None }
    }

    /// The same index, known to be of this suite, so that `name/suite` can choose from it.
    #[must_use]
    pub fn with_suite(self, suite: impl Into<String>) -> Self {
        Self { suite: Some(suite.into()), ..self }
    }

    pub(crate) fn suite(&self) -> Option<&str> {
        self.suite.as_deref()
    }

    /// How many packages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, entry: u32, field: Field) -> &str {
        let span = self.entries[entry as usize].spans[field as usize];
        &self.text[span.start as usize..(span.start + span.length) as usize]
    }

    /// One package in owned form; `None` where the entry names no file, digest or size.
    #[must_use]
    pub fn record(&self, entry: u32) -> Option<PackageRecord> {
        let get = |field| self.get(entry, field);
        let owned = |field| get(field).to_owned();
        Some(PackageRecord {
            name: owned(Field::Package),
            version: Version::new(get(Field::Version)),
            architecture: owned(Field::Architecture),
            multi_arch: MultiArch::parse(get(Field::MultiArch)),
            essential: get(Field::Essential) == "yes",
            priority: owned(Field::Priority),
            section: owned(Field::Section),
            pre_depends: owned(Field::PreDepends),
            depends: owned(Field::Depends),
            archive: self.archive.clone(),
            filename: owned(Field::Filename),
            size: get(Field::Size).parse().ok()?,
            sha256: get(Field::Sha256).parse().ok()?,
            installed_size: get(Field::InstalledSize).parse().ok(),
            source: Some(owned(Field::Source)).filter(|source| !source.is_empty()),
        })
        .filter(|record| !record.filename.is_empty())
    }

    /// All packages in the order of the file.
    pub fn records(&self) -> impl Iterator<Item = PackageRecord> {
        (0..self.entries.len()).filter_map(|entry| self.record(u32::try_from(entry).ok()?))
    }
}

/// Copies the wanted fields: descriptions, tags and further digests are two thirds of a file. Continuation lines of wanted
/// fields are joined.
fn reduce(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() / 2);
    let mut at = 0;
    let mut keeping = false;
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |offset| at + offset);
        let line = &bytes[at..end];
        match line.first() {
            None => {
                if !out.ends_with(b"\n\n") && !out.is_empty() {
                    out.push(b'\n');
                }
                keeping = false;
            }
            Some(b' ' | b'\t') => {
                if keeping {
                    out.pop();
                    out.push(b' ');
                    out.extend_from_slice(line.trim_ascii());
                    out.push(b'\n');
                }
            }
            Some(_) => {
                let colon = memchr::memchr(b':', line);
                let field = colon.and_then(|colon| Some((colon, field_of(&line[..colon])?)));
                keeping = field.is_some();
                if let Some((colon, field)) = field {
                    out.extend_from_slice(NAMES[field as usize].0);
                    out.push(b':');
                    out.extend_from_slice(line[colon + 1..].trim_ascii());
                    out.push(b'\n');
                }
            }
        }
        at = end + 1;
    }
    // Only whole lines and ASCII separators were moved, so what was text still is.
    String::from_utf8(out).unwrap_or_default()
}

fn entries_of(text: &str) -> Vec<Entry> {
    let bytes = text.as_bytes();
    let mut entries = Vec::with_capacity(bytes.len() / 400);
    let mut entry = Entry { spans: [Span::default(); FIELDS] };
    let mut at = 0;
    loop {
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |offset| at + offset);
        let line = &bytes[at..end];
        if line.is_empty() {
            let complete = [Field::Package, Field::Version, Field::Architecture]
                .iter()
                .all(|field| entry.spans[*field as usize].length > 0);
            if complete {
                entries.push(std::mem::replace(&mut entry, Entry { spans: [Span::default(); FIELDS] }));
            }
        } else if let Some(colon) = memchr::memchr(b':', line)
            && let Some(field) = field_of(&line[..colon])
            && let (Ok(start), Ok(length)) =
                (u32::try_from(at + colon + 1), u32::try_from(line.len() - colon - 1))
        {
            entry.spans[field as usize] = Span { start, length };
        }
        if end == bytes.len() {
            if !line.is_empty() && entry.spans[Field::Version as usize].length > 0 {
                entries.push(entry);
            }
            return entries;
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: a\nVersion: 1:2-3\nArchitecture: amd64\nMulti-Arch: same\nDescription: x\n more\nDepends: b (>= 1),\n c\n\
        Filename: pool/a.deb\nSize: 12\nSHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\n\n\
        Package: b\nVersion: 2\nArchitecture: all\nEssential: yes\n";

    #[test]
    fn reads_packages() {
        let index = Index::parse(TEXT, None);
        assert_eq!(index.len(), 2);
        let a = index.record(0).unwrap();
        assert_eq!((a.id().as_str(), a.depends.as_str(), a.size), ("a:amd64", "b (>= 1), c", 12));
        assert_eq!(index.get(1, Field::Essential), "yes");
        assert_eq!(index.record(1), None, "no file is named");
        assert!(!index.text.contains("Description"));
    }

    #[test]
    fn a_cached_index_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.packages");
        let index = Index::parse(TEXT, None);
        write_cached(&file, &index.text).unwrap();
        assert_eq!(read_cached(&file).unwrap(), index.text);
        let torn = fs_err::read(&file).unwrap();
        fs_err::write(&file, &torn[..torn.len() - 5]).unwrap();
        assert_eq!(read_cached(&file), None);
    }

    #[test]
    fn decodes_every_compression() {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(TEXT.as_bytes()).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(TEXT.as_bytes()).unwrap();
        for (bytes, path) in [
            (gz.finish().unwrap(), "Packages.gz"),
            (xz.finish().unwrap(), "Packages.xz"),
            (TEXT.into(), "Packages"),
        ] {
            assert_eq!(Index::decode(&bytes, path, None).unwrap().len(), 2, "{path}");
        }
        assert!(matches!(Index::decode(b"junk", "Packages.xz", None), Err(IndexError::Malformed { .. })));
    }
}
