//! What a comparison found, as data. Its form as JSON is for programs: [`SCHEMA_VERSION`] is raised when something in it
//! comes to mean something else; fields may be added without.

use std::collections::BTreeSet;
use std::fmt;

use imgbuild_digest::Hash;
use serde::Serialize;

/// The version of the report's form.
pub const SCHEMA_VERSION: u32 = 1;

/// What two images differ in.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub version: u32,
    /// Whether nothing was found.
    pub equal: bool,
    /// What the first image is called.
    pub before: String,
    /// What the second image is called.
    pub after: String,
    /// How much of each sort.
    pub summary: Summary,
    /// Packages, by name and then architecture.
    pub packages: Vec<Change<Package>>,
    /// Users, by name.
    pub users: Vec<Change<Account>>,
    /// Groups, by name.
    pub groups: Vec<Change<Group>>,
    /// Units of systemd, by name.
    pub units: Vec<Change<Unit>>,
    /// Files that give rights: set-uid, set-gid, capabilities; by path.
    pub privileges: Vec<Change<Privilege>>,
    /// The distribution, kernels, boot loaders.
    pub system: Vec<Change<String>>,
    /// How containers of the image run: `env.PATH`, `entrypoint`, `label.version`, …; empty where one of the images has
    /// no configuration.
    pub configuration: Vec<Change<String>>,
    /// Sizes.
    pub sizes: Sizes,
    /// Files, by path.
    pub files: Vec<FileChange>,
    /// What could not be compared, and why.
    pub notes: Vec<String>,
    /// Those of them that say which packages were not read: a rule about packages cannot pass over them.
    #[serde(skip)]
    pub unread: Vec<String>,
}

/// How much was found, by sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Of [`Report::files`].
    pub files: Counts,
    /// Of [`Report::packages`].
    pub packages: Counts,
    /// Of [`Report::users`].
    pub users: Counts,
    /// Of [`Report::groups`].
    pub groups: Counts,
    /// Of [`Report::units`].
    pub units: Counts,
    /// Of [`Report::privileges`].
    pub privileges: Counts,
    /// Of [`Report::system`].
    pub system: Counts,
    /// Of [`Report::configuration`].
    pub configuration: Counts,
}

/// How many changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Only in the second image.
    pub added: usize,
    /// Only in the first.
    pub removed: usize,
    /// In both, and not the same.
    pub changed: usize,
}

impl Counts {
    pub(crate) fn of(changes: impl Iterator<Item = Changed>) -> Self {
        let mut counts = Self::default();
        for changed in changes {
            *match changed {
                Changed::Added => &mut counts.added,
                Changed::Removed => &mut counts.removed,
                Changed::Changed => &mut counts.changed,
            } += 1;
        }
        counts
    }

    /// All of them.
    #[must_use]
    pub fn total(self) -> usize {
        self.added + self.removed + self.changed
    }
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Changed {
    /// It is only in the second image.
    Added,
    /// It is only in the first.
    Removed,
    /// It is in both, and not the same.
    Changed,
}

/// Something with a name that is not the same in both images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: Changed,
    /// What it was.
    pub before: Option<T>,
    /// What it is.
    pub after: Option<T>,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Whose database it is in: `dpkg` or `apk`.
    pub manager: &'static str,
    /// Its version.
    pub version: String,
    /// What it runs on.
    pub architecture: String,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The user's number.
    pub uid: u32,
    /// The number of the group that comes first.
    pub gid: u32,
    /// The home folder.
    pub home: String,
    /// What a log-in starts.
    pub shell: String,
    /// Further groups, by name.
    pub groups: Vec<String>,
    /// Whether there is a password.
    pub password: Password,
    /// What tells one password from another; told to nobody.
    #[serde(skip)]
    pub(crate) secret: Option<Hash>,
}

/// Whether a user has a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Password {
    /// There is one.
    Set,
    /// None will do.
    Locked,
    /// None is needed.
    Empty,
    /// The image does not say.
    Unknown,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// The users in it that have another first group.
    pub members: Vec<String>,
}

/// A unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Whether it starts.
    pub state: UnitState,
    /// The units that were made to start it, in `/etc`.
    pub wanted_by: Vec<String>,
}

/// Whether a unit starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    /// It was enabled.
    Enabled,
    /// It can be enabled.
    Disabled,
    /// It cannot be enabled; others start it.
    Static,
    /// It can be enabled by way of another.
    Indirect,
    /// It was made unable to start.
    Masked,
    /// It is another name of one.
    Alias,
    /// Its file is outside of systemd's folders.
    Linked,
}

/// The rights that running a file gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Privilege {
    /// The user it runs as, by number, if it is set-uid.
    pub setuid: Option<u32>,
    /// The group it runs as, by number, if it is set-gid.
    pub setgid: Option<u32>,
    /// Its capabilities.
    pub capabilities: Option<Capabilities>,
}

/// A file's capabilities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Whether they hold from the start.
    pub effective: bool,
    /// Those that it may use, by name.
    pub permitted: Vec<String>,
    /// Those that it keeps of what its caller hands on, by name.
    pub inheritable: Vec<String>,
}

/// How much there is in files; a file with several names counts once, under the name that sorts first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// In the first image, in bytes.
    pub before: u64,
    /// In the second.
    pub after: u64,
    /// Folders that grew or shrank, with all that is below them; the largest growth first, the largest shrinking last.
    pub folders: Vec<FolderGrowth>,
}

impl Sizes {
    /// By how many bytes the second image is larger.
    #[must_use]
    pub fn growth(&self) -> i128 {
        i128::from(self.after) - i128::from(self.before)
    }
}

/// How much is in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderGrowth {
    /// The folder.
    pub path: String,
    /// In the first image, in bytes.
    pub before: u64,
    /// In the second.
    pub after: u64,
}

/// A file, folder, link or device that is not the same in both images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Where, with a leading slash; bytes that are no text are escaped.
    pub path: String,
    /// What became of it.
    pub change: Changed,
    /// In what the two differ, where it is in both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aspects: Vec<Aspect>,
    /// What it was.
    pub before: Option<FileFacts>,
    /// What it is.
    pub after: Option<FileFacts>,
    /// The package that changed and that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The difference of its text, where that was asked for, as unified lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The path as it is.
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
}

/// In what two files differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// One is a folder and the other a link, and the like.
    Kind,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// What is in it.
    Content,
    /// What a link says.
    Target,
    /// The numbers of a device.
    Device,
    /// Extended attributes, capabilities and access lists among them.
    Attributes,
    /// Which other names it has.
    Names,
    /// When it was changed.
    Time,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A folder.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

/// What stands at a path of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, in octal.
    pub mode: String,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// When it was changed, in seconds since 1970.
    pub mtime: i64,
    /// The size of a file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The BLAKE3 hash of a file, where it was needed or known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What a symbolic link says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The first name of a file that has several, if this is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// The numbers of a device, as `major:minor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The names of extended attributes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
}

/// A path as people and programs are told it: with a leading slash, bytes that are no text escaped.
#[must_use]
pub fn shown_path(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => format!("/{text}"),
        _ => format!("/{}", path.escape_ascii()),
    }
}

/// The changes between two maps, in order of their keys.
pub(crate) fn changes<K: Ord, V: Clone + PartialEq>(
    before: &std::collections::BTreeMap<K, V>,
    after: &std::collections::BTreeMap<K, V>,
    name: impl Fn(&K) -> String,
) -> Vec<Change<V>> {
    let keys: std::collections::BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    let changed = keys.into_iter().filter_map(|key| {
        let (one, other) = (before.get(key), after.get(key));
        let change = match (one, other) {
            (Some(one), Some(other)) if one == other => return None,
            (Some(_), Some(_)) => Changed::Changed,
            (None, _) => Changed::Added,
            (_, None) => Changed::Removed,
        };
        Some(Change { name: name(key), change, before: one.cloned(), after: other.cloned() })
    });
    changed.collect()
}

impl UnitState {
    /// The word that `systemctl is-enabled` has for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Static => "static",
            Self::Indirect => "indirect",
            Self::Masked => "masked",
            Self::Alias => "alias",
            Self::Linked => "linked",
        }
    }
}

impl fmt::Display for Capabilities {
    /// As `getcap` writes them: `cap_net_raw=ep`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = |name: &String| {
            let held = [
                (self.effective, 'e'),
                (self.inheritable.contains(name), 'i'),
                (self.permitted.contains(name), 'p'),
            ];
            held.into_iter().filter(|(held, _)| *held).map(|(_, letter)| letter).collect::<String>()
        };
        let names: BTreeSet<&String> = self.permitted.iter().chain(&self.inheritable).collect();
        let all: Vec<String> = names.into_iter().map(|name| format!("{name}={}", letters(name))).collect();
        f.write_str(&all.join(" "))
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = |number: u32| if number == 0 { "root".to_owned() } else { number.to_string() };
        let parts = [
            self.setuid.map(|uid| format!("set-uid {}", user(uid))),
            self.setgid.map(|gid| format!("set-gid {}", user(gid))),
            self.capabilities.as_ref().map(Capabilities::to_string),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl FileChange {
    /// In what the two differ, in a few words: `mode 0644 → 0755, content`.
    #[must_use]
    pub fn what(&self) -> String {
        let (Some(before), Some(after)) = (&self.before, &self.after) else { return String::new() };
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let parts = self.aspects.iter().map(|aspect| match aspect {
            Aspect::Kind => format!("{} → {}", before.kind.word(), after.kind.word()),
            Aspect::Mode => format!("mode {} → {}", before.mode, after.mode),
            Aspect::Owner => format!("owner {}:{} → {}:{}", before.uid, before.gid, after.uid, after.gid),
            Aspect::Content => match (before.size, after.size) {
                (Some(one), Some(other)) if one != other => format!("content, {one} → {other} bytes"),
                _ => "content".to_owned(),
            },
            Aspect::Target => format!("target {} → {}", text(&before.target), text(&after.target)),
            Aspect::Device => format!("device {} → {}", text(&before.device), text(&after.device)),
            Aspect::Attributes => "attributes".to_owned(),
            Aspect::Names => {
                format!("hard link to {} → {}", text(&before.first_name), text(&after.first_name))
            }
            Aspect::Time => format!("time {} → {}", before.mtime, after.mtime),
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Directory => "folder",
            Self::File => "file",
            Self::Symlink => "link",
            Self::Fifo => "pipe",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
        }
    }
}
