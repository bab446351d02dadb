//! Two trees gone through side by side: what stands only in one, what differs, how large each folder is.

use std::collections::{BTreeMap, HashMap};
use std::io;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use imgbuild_digest::Hash;
use rayon::prelude::*;

use crate::compare::Options;
use crate::report::{
    Aspect, Capabilities, Changed, FileChange, FileFacts, FolderGrowth, Kind, Privilege, Sizes, shown_path,
};
use crate::tree::{Entry, Node, Tree, parent_of};

/// Folders are measured down to so many components.
const DEPTH: usize = 4;

/// So many pairs of files are read at a time.
const BATCH: usize = 1024;

/// Globs of absolute paths. One that names a folder takes in what is below it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globs {
    set: GlobSet,
}

impl Globs {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, globset::Error> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            let pattern = pattern.trim_start_matches('/').trim_end_matches('/');
            let folder = pattern.strip_suffix("/**").unwrap_or(pattern);
            for own in
                [folder.to_owned(), if folder.is_empty() { "**".to_owned() } else { format!("{folder}/**") }]
            {
                builder.add(GlobBuilder::new(&own).literal_separator(true).backslash_escape(true).build()?);
            }
        }
        Ok(Self { set: builder.build()? })
    }

    /// Whether one of them names this path, which has no leading slash.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        self.set.is_match(std::ffi::OsStr::from_bytes(path))
    }
}

/// What a walk through two trees found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) files: Vec<FileChange>,
    pub(crate) privileges: [BTreeMap<String, Privilege>; 2],
    pub(crate) sizes: Sizes,
}

/// Files of equal sizes that are to be read.
struct Unsure<'t> {
    before: Entry<'t>,
    after: Entry<'t>,
    aspects: Vec<Aspect>,
}

struct Walk<'t> {
    trees: [&'t dyn Tree; 2],
    options: &'t Options,
    found: Walked,
    unsure: Vec<Unsure<'t>>,
    /// Bytes in each folder of each tree.
    folders: HashMap<&'t [u8], [u64; 2]>,
}

/// Goes through both trees.
pub(crate) fn walk<'t>(
    before: &'t dyn Tree,
    after: &'t dyn Tree,
    options: &'t Options,
) -> io::Result<Walked> {
    let mut walk = Walk {
        trees: [before, after],
        options,
        found: Walked::default(),
        unsure: Vec::new(),
        folders: HashMap::new(),
    };
    let taken = |entry: &Entry<'_>| !entry.path.is_empty() && options.takes(entry.path);
    let mut one = before.entries().filter(taken).peekable();
    let mut other = after.entries().filter(taken).peekable();
    loop {
        let order = match (one.peek(), other.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => one.path.cmp(other.path),
        };
        let before = if order.is_le() { one.next() } else { None };
        let after = if order.is_ge() { other.next() } else { None };
        walk.take(before, after)?;
    }
    walk.finish()
}

impl<'t> Walk<'t> {
    fn take(&mut self, before: Option<Entry<'t>>, after: Option<Entry<'t>>) -> io::Result<()> {
        for (side, entry) in [&before, &after].into_iter().enumerate() {
            let Some(entry) = entry else { continue };
            self.measure(side, entry);
            if let Some(privilege) = privilege(entry) {
                self.found.privileges[side].insert(shown_path(entry.path), privilege);
            }
        }
        match (before, after) {
            (Some(before), Some(after)) => return self.compare(before, after),
            (Some(before), None) => self.found.files.push(only(Changed::Removed, &before)),
            (None, Some(after)) => self.found.files.push(only(Changed::Added, &after)),
            (None, None) => {}
        }
        Ok(())
    }

    fn measure(&mut self, side: usize, entry: &Entry<'t>) {
        let Node::File { size, first_name: None, .. } = entry.node else { return };
        let mut folder = parent_of(entry.path);
        let mut depth = folder.iter().filter(|byte| **byte == b'/').count() + usize::from(!folder.is_empty());
        loop {
            if depth <= DEPTH {
                self.folders.entry(folder).or_default()[side] += size;
            }
            if folder.is_empty() {
                return;
            }
            folder = parent_of(folder);
            depth -= 1;
        }
    }

    fn compare(&mut self, before: Entry<'t>, after: Entry<'t>) -> io::Result<()> {
        let mut aspects = Vec::new();
        let (one, other) = (&*before.metadata, &*after.metadata);
        let same_kind = kind(&before.node) == kind(&after.node);
        if !same_kind {
            aspects.push(Aspect::Kind);
        }
        if one.mode != other.mode && same_kind && !matches!(before.node, Node::SymbolicLink { .. }) {
            aspects.push(Aspect::Mode);
        }
        if self.options.owners && (one.uid, one.gid) != (other.uid, other.gid) {
            aspects.push(Aspect::Owner);
        }
        if one.xattrs != other.xattrs {
            aspects.push(Aspect::Attributes);
        }
        if self.options.times && one.mtime != other.mtime {
            aspects.push(Aspect::Time);
        }
        match (before.node, after.node) {
            (
                Node::File { size, digest, first_name },
                Node::File { size: other_size, digest: other_digest, first_name: other_first },
            ) => {
                if first_name != other_first {
                    aspects.push(Aspect::Names);
                }
                match (digest, other_digest) {
                    _ if size != other_size => aspects.push(Aspect::Content),
                    (Some(one), Some(other)) if one != other => aspects.push(Aspect::Content),
                    (Some(_), Some(_)) => {}
                    _ if size == 0 => {}
                    _ => {
                        self.unsure.push(Unsure { before, after, aspects });
                        return if self.unsure.len() < BATCH { Ok(()) } else { self.read() };
                    }
                }
            }
            (Node::SymbolicLink { target }, Node::SymbolicLink { target: other }) if target != other => {
                aspects.push(Aspect::Target);
            }
            (one @ Node::Device { .. }, other @ Node::Device { .. }) if same_kind && one != other => {
                aspects.push(Aspect::Device);
            }
            _ => {}
        }
        if !aspects.is_empty() {
            self.found.files.push(both(&before, &after, aspects, [None, None]));
        }
        Ok(())
    }

    /// Reads what only its contents can tell apart.
    fn read(&mut self) -> io::Result<()> {
        let [one, other] = self.trees;
        let known = |tree: &dyn Tree, entry: &Entry<'_>| match entry.node {
            Node::File { digest: Some(digest), .. } => Ok(digest),
            _ => tree.digest(entry.path),
        };
        let unsure = std::mem::take(&mut self.unsure);
        let read: Vec<Option<FileChange>> = unsure
            .into_par_iter()
            .map(|Unsure { before, after, mut aspects }| {
                let digests = [known(one, &before)?, known(other, &after)?];
                if digests[0] != digests[1] {
                    aspects.push(Aspect::Content);
                }
                let differs = !aspects.is_empty();
                Ok(differs.then(|| both(&before, &after, aspects, digests.map(Some))))
            })
            .collect::<io::Result<_>>()?;
        self.found.files.extend(read.into_iter().flatten());
        Ok(())
    }

    fn finish(mut self) -> io::Result<Walked> {
        self.read()?;
        // What had to be read came later than what stands behind it.
        self.found.files.sort_by(|one, other| one.bytes.cmp(&other.bytes));
        let [before, after] = self.folders.get(&b""[..]).copied().unwrap_or_default();
        let mut folders: Vec<FolderGrowth> = self
            .folders
            .iter()
            .filter(|(_, [before, after])| before != after)
            .map(|(path, [before, after])| FolderGrowth {
                path: shown_path(path),
                before: *before,
                after: *after,
            })
            .collect();
        let growth = |folder: &FolderGrowth| i128::from(folder.after) - i128::from(folder.before);
        folders.sort_by(|one, other| (growth(other), &one.path).cmp(&(growth(one), &other.path)));
        self.found.sizes = Sizes { before, after, folders };
        Ok(self.found)
    }
}

fn kind(node: &Node<'_>) -> Kind {
    match node {
        Node::Directory => Kind::Directory,
        Node::File { .. } => Kind::File,
        Node::SymbolicLink { .. } => Kind::Symlink,
        Node::Fifo => Kind::Fifo,
        Node::Device { block: false, .. } => Kind::CharacterDevice,
        Node::Device { block: true, .. } => Kind::BlockDevice,
    }
}

fn only(change: Changed, entry: &Entry<'_>) -> FileChange {
    let facts = Some(facts(entry, None));
    let (before, after) = if change == Changed::Removed { (facts, None) } else { (None, facts) };
    FileChange {
        path: shown_path(entry.path),
        change,
        aspects: Vec::new(),
        before,
        after,
        package: None,
        text: None,
        bytes: entry.path.to_vec(),
    }
}

fn both(
    before: &Entry<'_>,
    after: &Entry<'_>,
    aspects: Vec<Aspect>,
    digests: [Option<Hash>; 2],
) -> FileChange {
    FileChange {
        path: shown_path(before.path),
        change: Changed::Changed,
        aspects,
        before: Some(facts(before, digests[0])),
        after: Some(facts(after, digests[1])),
        package: None,
        text: None,
        bytes: before.path.to_vec(),
    }
}

fn facts(entry: &Entry<'_>, read: Option<Hash>) -> FileFacts {
    let metadata = &entry.metadata;
    let shown = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    };
    let mut facts = FileFacts {
        kind: kind(&entry.node),
        mode: format!("{:04o}", metadata.mode),
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        size: None,
        digest: None,
        target: None,
        first_name: None,
        device: None,
        attributes: metadata.xattrs.keys().map(|name| shown(name)).collect(),
    };
    match entry.node {
        Node::File { size, digest, first_name } => {
            facts.size = Some(size);
            facts.digest = digest.or(read).map(|digest| format!("blake3:{digest}"));
            facts.first_name = first_name.map(shown_path);
        }
        Node::SymbolicLink { target } => facts.target = Some(shown(target)),
        Node::Device { major, minor, .. } => facts.device = Some(format!("{major}:{minor}")),
        Node::Directory | Node::Fifo => {}
    }
    facts
}

/// The rights that running a file gives, if it gives any.
fn privilege(entry: &Entry<'_>) -> Option<Privilege> {
    let Node::File { .. } = entry.node else { return None };
    let metadata = &entry.metadata;
    let privilege = Privilege {
        setuid: (metadata.mode & 0o4000 != 0).then_some(metadata.uid),
        setgid: (metadata.mode & 0o2000 != 0).then_some(metadata.gid),
        capabilities: metadata.xattrs.get(&b"security.capability"[..]).and_then(|value| capabilities(value)),
    };
    let gives = privilege.setuid.is_some() || privilege.setgid.is_some() || privilege.capabilities.is_some();
    gives.then_some(privilege)
}

/// The kernel's names, in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Reads the kernel's `vfs_cap_data`.
fn capabilities(value: &[u8]) -> Option<Capabilities> {
    let words: Vec<u32> = value.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let names = |first: usize| {
        let pairs = words[1..].chunks_exact(2).map(|pair| pair[first]);
        let set =
            pairs.take(2).enumerate().fold(0u64, |set, (half, word)| set | u64::from(word) << (32 * half));
        let own = |bit: usize| match CAPABILITIES.get(bit) {
            Some(name) => format!("cap_{name}"),
            None => format!("cap_{bit}"),
        };
        (0..64).filter(|bit| set & (1 << bit) != 0).map(own).collect()
    };
    (words.len() >= 3).then(|| Capabilities {
        effective: words[0] & 1 != 0,
        permitted: names(0),
        inheritable: names(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_take_in_what_is_below() {
        let globs = Globs::new(&["/var/log/**".into(), "/etc/*.conf".into(), "/srv/".into()]).unwrap();
        for (path, expected) in [
            ("var/log", true),
            ("var/log/apt/x", true),
            ("var/logs", false),
            ("etc/a.conf", true),
            ("etc/a/b.conf", false),
            ("etc/a.conf/below", true),
            ("srv", true),
            ("srv/a/b", true),
        ] {
            assert_eq!(globs.matches(path.as_bytes()), expected, "{path}");
        }
        assert!(Globs::new(&["/".into()]).unwrap().matches(b"any/thing"));
        assert!(Globs::new(&["/a[".into()]).is_err());
    }

    #[test]
    fn capabilities_are_named() {
        let mut value = 0x0200_0001u32.to_le_bytes().to_vec();
        for word in [1u32 << 13 | 1 << 10, 0, 1 << 8, 1 << 31] {
            value.extend(word.to_le_bytes());
        }
        let found = capabilities(&value).unwrap();
        assert!(found.effective);
        assert_eq!(found.permitted, ["cap_net_bind_service", "cap_net_raw", "cap_checkpoint_restore"]);
        assert_eq!(found.inheritable, ["cap_63"]);
        assert_eq!(capabilities(&value[..8]), None);
    }
}
