//! `imgbuild.lock`: what mutable names meant when they were last looked at.
//!
//! The file is JSON with a fixed order and one package a line, so that a change reads well in a review and two changes
//! merge. Only identities are in it: no mirror, no path, no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use imgbuild_digest::{ContentHash, ContentHasher, Hash};
use imgbuild_model::{Platform, Source, Value};
use serde::{Deserialize, Serialize};

mod closure;

pub use closure::{PinLineError, PinnedClosure, PinnedPackage};

/// The lock file's name, in the workspace's root.
pub const LOCK_FILE: &str = "imgbuild.lock";

/// The format that this program writes.
const VERSION: u32 = 1;

/// `SOURCE_DATE_EPOCH` of chains whose source has no date of its own: 1980-01-01, the earliest that zip can say.
#[must_use]
pub fn default_source_date() -> i64 {
    315_532_800
}

/// What a set of Debian packages is asked for: a source, and the `apt_install` lists on top of it, in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DebianRequest {
    /// `debian` or `ubuntu`, or the identity of another source whose packages are known.
    pub distribution: String,
    /// Suite or codename, as written.
    pub suite: String,
    /// Components of the archive.
    pub components: Vec<String>,
    /// `essential`, `minbase`, `standard`; empty on another source.
    pub variant: String,
    /// The source's own packages.
    pub packages: Vec<String>,
    /// Whether security and updates archives are looked in.
    pub security: bool,
    /// The target platform.
    pub platform: Platform,
    /// The lists on top, first to last; empty for the source itself.
    pub installs: Vec<Vec<String>>,
}

/// The `distribution` of packages on an image that others have made: the `suite` is then the image's reference, and which
/// archive its packages are of is in the pin.
pub const OF_IMAGE: &str = "oci_base";

/// Where packages are found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackageArchive {
    /// `debian` or `ubuntu`.
    pub distribution: String,
    /// Suite or codename.
    pub suite: String,
    /// Components of the archive.
    pub components: Vec<String>,
    /// Whether security and updates archives are looked in.
    pub security: bool,
}

/// The answer to a [`DebianRequest`]: the packages that its last list adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianPin {
    /// What was asked for.
    #[serde(flatten)]
    pub request: DebianRequest,
    /// The release's codename.
    pub codename: String,
    /// The date of the release file that was read, in seconds since 1970: `SOURCE_DATE_EPOCH` of the chain.
    pub date: i64,
    /// Where its packages are found, on an image that others have made; else the request says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<PackageArchive>,
    /// The packages, one a line, in the order in which they are unpacked; see [`PinnedClosure`].
    #[serde(deserialize_with = "closure::deserialize_lines")]
    pub add: Vec<String>,
}

/// A container image by its mutable name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageRequest {
    /// The reference as written.
    pub image: String,
    /// The target platform.
    pub platform: Platform,
}

/// The answer to an [`ImageRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePin {
    /// What was asked for.
    #[serde(flatten)]
    pub request: ImageRequest,
    /// The digest of the platform's manifest, `sha256:…`.
    pub digest: String,
    /// When the image says that it was made, in seconds since 1970.
    pub created: i64,
}

/// The package indexes of an archive, for packages that are resolved while building.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IndexRequest {
    /// `debian` or `ubuntu`.
    pub distribution: String,
    /// Suite or codename, as written.
    pub suite: String,
    /// Components of the archive.
    pub components: Vec<String>,
    /// Whether security and updates archives are looked in.
    pub security: bool,
    /// The target platform.
    pub platform: Platform,
}

/// The answer to an [`IndexRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPin {
    /// What was asked for.
    #[serde(flatten)]
    pub request: IndexRequest,
    /// The release's codename.
    pub codename: String,
    /// The date of the release file, in seconds since 1970.
    pub date: i64,
    /// Where its packages are found, on an image that others have made; else the request says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<PackageArchive>,
    /// `suite path sha256 size [archive=…]` of each index; the path is under `dists/<suite>/`, the archive is given where
    /// it is not the distribution's main one.
    pub files: Vec<String>,
}

/// Something whose meaning is not in the lock file yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PinRequest {
    /// A set of Debian packages.
    Debian(DebianRequest),
    /// A container image.
    Image(ImageRequest),
    /// Package indexes.
    Index(IndexRequest),
    /// The epoch of the chain of a target for a platform.
    Epoch(String),
}

/// The lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFile {
    debian: BTreeMap<DebianRequest, DebianPin>,
    images: BTreeMap<ImageRequest, ImagePin>,
    indexes: BTreeMap<IndexRequest, IndexPin>,
    epochs: BTreeMap<String, String>,
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read or written.
    #[error("cannot access the lock file")]
    Io(#[from] io::Error),
    /// It is damaged.
    #[error("line {line}, column {column}: {message}")]
    Parse {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// It was written by a newer program.
    #[error("its format is {found}, and this program knows {VERSION} and older")]
    Newer {
        /// Its version.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    epochs: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    images: Vec<ImagePin>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<IndexPin>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    debian: Vec<DebianPin>,
}

impl DebianRequest {
    /// The request of a `debian` or `ubuntu` source.
    #[must_use]
    pub fn of_source(source: &Source, platform: Platform) -> Self {
        let attributes = &source.attributes;
        let texts = |name: &str| attributes.strings(name).map(str::to_owned).collect::<Vec<_>>();
        let mut components = texts("components");
        if components.is_empty() {
            components.push("main".to_owned());
        }
        Self {
            distribution: source.kind.as_str().to_owned(),
            suite: attributes.str("suite").unwrap_or("stable").to_owned(),
            components,
            variant: attributes.str("variant").unwrap_or("minbase").to_owned(),
            packages: sorted(texts("packages")),
            security: attributes.get("security").and_then(Value::as_bool).unwrap_or(false),
            platform,
            installs: Vec::new(),
        }
    }

    /// The request of packages on an image of a registry; nothing is asked for yet.
    #[must_use]
    pub fn of_image(image: &str, platform: Platform) -> Self {
        Self {
            distribution: OF_IMAGE.to_owned(),
            suite: image.to_owned(),
            components: Vec::new(),
            variant: String::new(),
            packages: Vec::new(),
            security: false,
            platform,
            installs: Vec::new(),
        }
    }

    /// The image that the packages are installed on, if it is one that others have made.
    #[must_use]
    pub fn image(&self) -> Option<ImageRequest> {
        image_of(&self.distribution, &self.suite, self.platform)
    }

    /// The request for one more list on top.
    #[must_use]
    pub fn with_install(&self, packages: impl Iterator<Item = String>) -> Self {
        let mut request = self.clone();
        request.installs.push(sorted(packages.collect()));
        request
    }

    /// The requests that this one stands on, from the source itself up to this one. What an image that others have made
    /// brings is no request: its digest says it.
    pub fn prefixes(&self) -> impl Iterator<Item = Self> + '_ {
        (usize::from(self.distribution == OF_IMAGE)..=self.installs.len())
            .map(|count| Self { installs: self.installs[..count].to_vec(), ..self.clone() })
    }

    /// The request for the indexes that this one is resolved in.
    #[must_use]
    pub fn index(&self) -> IndexRequest {
        IndexRequest {
            distribution: self.distribution.clone(),
            suite: self.suite.clone(),
            components: self.components.clone(),
            security: self.security,
            platform: self.platform,
        }
    }
}

impl IndexPin {
    /// Where its packages are found.
    #[must_use]
    pub fn archive(&self) -> PackageArchive {
        self.archive.clone().unwrap_or_else(|| self.request.archive())
    }
}

impl IndexRequest {
    /// The archive as the request says it.
    #[must_use]
    pub fn archive(&self) -> PackageArchive {
        PackageArchive {
            distribution: self.distribution.clone(),
            suite: self.suite.clone(),
            components: self.components.clone(),
            security: self.security,
        }
    }

    /// The image whose packages' archive is meant, if it is one that others have made.
    #[must_use]
    pub fn image(&self) -> Option<ImageRequest> {
        image_of(&self.distribution, &self.suite, self.platform)
    }
}

fn image_of(distribution: &str, suite: &str, platform: Platform) -> Option<ImageRequest> {
    (distribution == OF_IMAGE).then(|| ImageRequest { image: suite.to_owned(), platform })
}

fn sorted(texts: Vec<String>) -> Vec<String> {
    texts.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

impl LockFile {
    /// Reads a lock file; one that is not there is empty.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is of a newer format.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        match fs_err::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the text of a lock file.
    ///
    /// # Errors
    /// If it is damaged or of a newer format.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let fail = |error: serde_json::Error| LockError::Parse {
            line: error.line(),
            column: error.column(),
            message: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        };
        let document: Document = match serde_json::from_str(text) {
            Ok(document) => document,
            Err(error) => {
                let newer =
                    serde_json::from_str::<Version>(text).ok().filter(|found| found.version > VERSION);
                return Err(
                    newer.map_or_else(|| fail(error), |found| LockError::Newer { found: found.version })
                );
            }
        };
        if document.version > VERSION {
            return Err(LockError::Newer { found: document.version });
        }
        Ok(Self {
            debian: document.debian.into_iter().map(|pin| (pin.request.clone(), pin)).collect(),
            images: document.images.into_iter().map(|pin| (pin.request.clone(), pin)).collect(),
            indexes: document.indexes.into_iter().map(|pin| (pin.request.clone(), pin)).collect(),
            epochs: document.epochs,
        })
    }

    /// The text of this lock file: the same for the same pins.
    #[must_use]
    pub fn to_text(&self) -> String {
        let document = Document {
            version: VERSION,
            epochs: self.epochs.clone(),
            images: self.images.values().cloned().collect(),
            indexes: self.indexes.values().cloned().collect(),
            debian: self.debian.values().cloned().collect(),
        };
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Writes it in place of the old one, whole or not at all; leaves a file that says the same alone.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let text = self.to_text();
        if fs_err::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let temporary = path.with_extension(format!("lock.{}", std::process::id()));
        fs_err::write(&temporary, text)?;
        fs_err::rename(&temporary, path).inspect_err(|_| {
            let _ = fs_err::remove_file(&temporary);
        })?;
        Ok(())
    }

    /// Whether nothing is pinned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// The packages that a request's last list adds.
    #[must_use]
    pub fn debian(&self, request: &DebianRequest) -> Option<&DebianPin> {
        self.debian.get(request)
    }

    /// All sets of packages, sorted by what was asked for.
    pub fn debian_pins(&self) -> impl Iterator<Item = &DebianPin> {
        self.debian.values()
    }

    /// All package indexes, sorted by what was asked for.
    pub fn index_pins(&self) -> impl Iterator<Item = &IndexPin> {
        self.indexes.values()
    }

    /// All images, sorted by what was asked for.
    pub fn image_pins(&self) -> impl Iterator<Item = &ImagePin> {
        self.images.values()
    }

    /// An image's digest.
    #[must_use]
    pub fn image(&self, request: &ImageRequest) -> Option<&ImagePin> {
        self.images.get(request)
    }

    /// Package indexes.
    #[must_use]
    pub fn index(&self, request: &IndexRequest) -> Option<&IndexPin> {
        self.indexes.get(request)
    }

    /// The epoch of a chain, named by its target and platform.
    #[must_use]
    pub fn epoch(&self, chain: &str) -> Option<&str> {
        self.epochs.get(chain).map(String::as_str)
    }

    /// Adds or moves a pin.
    pub fn set_debian(&mut self, pin: DebianPin) {
        self.debian.insert(pin.request.clone(), pin);
    }

    /// Adds or moves a pin.
    pub fn set_image(&mut self, pin: ImagePin) {
        self.images.insert(pin.request.clone(), pin);
    }

    /// Adds or moves a pin.
    pub fn set_index(&mut self, pin: IndexPin) {
        self.indexes.insert(pin.request.clone(), pin);
    }

    /// Adds or moves an epoch.
    pub fn set_epoch(&mut self, chain: &str, id: &str) {
        self.epochs.insert(chain.to_owned(), id.to_owned());
    }

    /// Names each epoch's chain anew: what a file says about a folder must hold wherever the folder is.
    pub fn rename_epochs(&mut self, name: impl Fn(&str) -> String) {
        self.epochs =
            std::mem::take(&mut self.epochs).into_iter().map(|(chain, id)| (name(&chain), id)).collect();
    }

    /// Takes over what another lock file says of `requests`, where this one says nothing. Gives those of which the two say
    /// different things: what this one says stays.
    pub fn take_over(&mut self, other: &Self, requests: &BTreeSet<PinRequest>) -> Vec<PinRequest> {
        let mut differ = Vec::new();
        for request in requests.iter().filter(|request| other.has(request)) {
            match self.has(request) {
                true if self.identity(request) == other.identity(request) => {}
                true => differ.push(request.clone()),
                false => match request {
                    PinRequest::Debian(request) => {
                        other.debian(request).cloned().into_iter().for_each(|pin| self.set_debian(pin));
                    }
                    PinRequest::Image(request) => {
                        other.image(request).cloned().into_iter().for_each(|pin| self.set_image(pin));
                    }
                    PinRequest::Index(request) => {
                        other.index(request).cloned().into_iter().for_each(|pin| self.set_index(pin));
                    }
                    PinRequest::Epoch(chain) => {
                        other.epoch(chain).into_iter().for_each(|id| self.set_epoch(chain, id));
                    }
                },
            }
        }
        differ
    }

    /// What keys hold of the answer to a request.
    fn identity(&self, request: &PinRequest) -> Option<Hash> {
        match request {
            PinRequest::Debian(request) => self.debian(request).map(DebianPin::identity),
            PinRequest::Image(request) => {
                self.image(request).map(|pin| pin.digest.hash_as("imgbuild image pin"))
            }
            PinRequest::Index(request) => {
                self.index(request).map(|pin| pin.files.hash_as("imgbuild index pin"))
            }
            PinRequest::Epoch(chain) => self.epoch(chain).map(|id| id.hash_as("imgbuild epoch")),
        }
    }

    /// Whether it says what a request means.
    #[must_use]
    pub fn has(&self, request: &PinRequest) -> bool {
        match request {
            PinRequest::Debian(request) => self.debian.contains_key(request),
            PinRequest::Image(request) => self.images.contains_key(request),
            PinRequest::Index(request) => self.indexes.contains_key(request),
            PinRequest::Epoch(chain) => self.epochs.contains_key(chain),
        }
    }

    /// What is pinned.
    #[must_use]
    pub fn requests(&self) -> BTreeSet<PinRequest> {
        let debian = self.debian.keys().cloned().map(PinRequest::Debian);
        let images = self.images.keys().cloned().map(PinRequest::Image);
        let indexes = self.indexes.keys().cloned().map(PinRequest::Index);
        let epochs = self.epochs.keys().cloned().map(PinRequest::Epoch);
        debian.chain(images).chain(indexes).chain(epochs).collect()
    }

    /// Drops what `keep` does not name.
    pub fn retain(&mut self, keep: &BTreeSet<PinRequest>) {
        self.debian.retain(|request, _| keep.contains(&PinRequest::Debian(request.clone())));
        self.images.retain(|request, _| keep.contains(&PinRequest::Image(request.clone())));
        self.indexes.retain(|request, _| keep.contains(&PinRequest::Index(request.clone())));
        self.epochs.retain(|chain, _| keep.contains(&PinRequest::Epoch(chain.clone())));
    }

    /// Each pin, as a short name and the hash of what it says: for telling two lock files apart.
    pub fn pins(&self) -> impl Iterator<Item = (String, Hash)> + '_ {
        self.requests()
            .into_iter()
            .filter_map(|request| Some((request.to_string(), self.identity(&request)?)))
    }
}

impl DebianPin {
    /// Where its packages are found.
    #[must_use]
    pub fn archive(&self) -> PackageArchive {
        self.archive.clone().unwrap_or_else(|| self.request.index().archive())
    }

    /// The packages, taken apart.
    ///
    /// # Errors
    /// If a line means nothing; in a lock file that was read there is no such line.
    pub fn closure(&self) -> Result<PinnedClosure, PinLineError> {
        PinnedClosure::parse(&self.add)
    }

    /// What enters keys: the packages with their contents' hashes, in order, and the date; not the suite's name, nor
    /// where the packages were found.
    #[must_use]
    pub fn identity(&self) -> Hash {
        let mut hasher = ContentHasher::new("imgbuild debian pin");
        closure::hash_lines(&self.add, &mut hasher);
        self.date.content_hash(&mut hasher);
        hasher.finish()
    }
}

impl std::fmt::Display for PinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Debian(request) => {
                if request.distribution != OF_IMAGE {
                    write!(f, "{} ", request.distribution)?;
                }
                write!(f, "{} ({})", request.suite, request.platform)?;
                if !request.packages.is_empty() {
                    write!(f, " with {}", request.packages.join(" "))?;
                }
                for list in &request.installs {
                    write!(f, " + {}", list.join(" "))?;
                }
                Ok(())
            }
            Self::Image(request) => write!(f, "{} ({})", request.image, request.platform),
            Self::Index(request) => {
                write!(
                    f,
                    "package indexes of {} {} ({})",
                    request.distribution, request.suite, request.platform
                )
            }
            Self::Epoch(chain) => write!(f, "epoch of {chain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(add: &[&str]) -> DebianPin {
        DebianPin {
            request: DebianRequest {
                distribution: "debian".to_owned(),
                suite: "stable".to_owned(),
                components: vec!["main".to_owned()],
                variant: "minbase".to_owned(),
                packages: vec![],
                security: false,
                platform: "linux/amd64".parse().unwrap(),
                installs: vec![],
            },
            codename: "trixie".to_owned(),
            date: 1,
            archive: None,
            add: add.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    #[test]
    fn a_lock_file_survives_a_round_trip_and_keeps_its_text() {
        let mut lock = LockFile::default();
        lock.set_debian(pin(&["bash 5.2 amd64 00 1 pool/b.deb"]));
        lock.set_epoch("//a:b linux/amd64", "2026-01-01");
        let text = lock.to_text();
        let read = LockFile::parse(&text).unwrap();
        assert_eq!(read, lock);
        assert_eq!(read.to_text(), text);
    }

    #[test]
    fn epochs_get_other_names() {
        let mut lock = LockFile::default();
        lock.set_epoch("//:b linux/amd64", "1");
        lock.set_epoch("//else:b linux/amd64", "2");
        lock.rename_epochs(|chain| chain.replace("//:", "//a:"));
        assert_eq!(lock.epoch("//a:b linux/amd64"), Some("1"));
        assert_eq!((lock.epoch("//:b linux/amd64"), lock.epoch("//else:b linux/amd64")), (None, Some("2")));
    }

    #[test]
    fn what_is_taken_over_replaces_nothing() {
        let image = |name: &str, digest: &str| ImagePin {
            request: ImageRequest { image: name.to_owned(), platform: "linux/amd64".parse().unwrap() },
            digest: digest.to_owned(),
            created: 1,
        };
        let mut lock = LockFile::default();
        lock.set_debian(pin(&["a 1 all 00 1 pool/x.deb"]));
        lock.set_image(image("own", "sha256:1"));
        let mut other = LockFile::default();
        other.set_debian(pin(&["a 1 all 00 1 pool/y.deb"]));
        other.set_image(image("own", "sha256:2"));
        other.set_image(image("new", "sha256:3"));
        other.set_image(image("not asked for", "sha256:4"));
        other.set_epoch("//:b linux/amd64", "1");
        let mut requests = other.requests();
        let unasked = PinRequest::Image(image("not asked for", "").request);
        assert!(requests.remove(&unasked));
        requests.insert(PinRequest::Epoch("nobody says".to_owned()));

        let before = lock.clone();
        let differ = lock.take_over(&other, &requests);
        assert_eq!(differ, [PinRequest::Image(image("own", "").request)]);
        assert!(
            before.debian_pins().eq(lock.debian_pins()),
            "another place of the same packages is no difference"
        );
        let images: Vec<_> = lock.image_pins().map(|pin| pin.digest.as_str()).collect();
        assert_eq!(images, ["sha256:3", "sha256:1"]);
        assert_eq!(lock.epoch("//:b linux/amd64"), Some("1"));
    }

    #[test]
    fn where_a_package_was_found_does_not_matter() {
        assert_eq!(
            pin(&["a 1 all 00 1 pool/x.deb"]).identity(),
            pin(&["a 1 all 00 1 pool/y.deb"]).identity()
        );
        assert_eq!(
            pin(&["a 1 all 00 1 pool/x.deb"]).identity(),
            pin(&["a 1 all 00 1 pool/x.deb archive=other source=b"]).identity()
        );
        assert_ne!(
            pin(&["a 1 all 00 1 pool/x.deb"]).identity(),
            pin(&["a 1 all 01 1 pool/x.deb"]).identity()
        );
        assert_ne!(
            pin(&["a 1 all 00 1 pool/x.deb", "b 1 all 00 1 pool/b.deb"]).identity(),
            pin(&["a 1 all 00 1 pool/x.deb configure", "b 1 all 00 1 pool/b.deb"]).identity(),
            "what is configured when may change what it does"
        );
    }

    #[test]
    fn a_newer_format_and_damage_are_told_apart() {
        assert!(matches!(
            LockFile::parse("{\"version\": 9, \"new\": 1}"),
            Err(LockError::Newer { found: 9 })
        ));
        let Err(LockError::Parse { line, .. }) = LockFile::parse("{\n\"version\": 1,\n<<<<<<<\n}") else {
            panic!()
        };
        assert_eq!(line, 3);
    }

    #[test]
    fn a_damaged_package_line_is_found_while_reading() {
        let mut lock = LockFile::default();
        lock.set_debian(pin(&["bash 5.2 amd64 00 1 pool/b.deb"]));
        let text = lock.to_text().replace("amd64 00 1", "amd64 00 one");
        let Err(LockError::Parse { line, message, .. }) = LockFile::parse(&text) else {
            panic!("it was accepted")
        };
        assert!(line > 1);
        assert!(message.contains("`bash 5.2 amd64 00 one pool/b.deb` is not a locked package"), "{message}");
    }
}
