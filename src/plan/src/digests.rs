//! The digests of the workspace's files that actions read.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use imgbuild_cache::Cache;
use imgbuild_digest::{ContentHash, ContentHasher, Digest, Hash};
use imgbuild_model::{Class, Diagnostic, Diagnostics, WorkspacePath};

use crate::DiskFiles;

/// What an input holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputDigest {
    /// A file.
    File {
        /// Of its contents.
        digest: Digest,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A folder, by the names, contents, execute bits and links below it.
    Tree(Hash),
}

/// Digests by path.
#[derive(Clone, Debug, Default)]
pub struct InputDigests(HashMap<WorkspacePath, InputDigest>);

impl ContentHash for InputDigest {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        match self {
            Self::File { digest, executable } => {
                hasher.write_tag(1);
                digest.content_hash(hasher);
                executable.content_hash(hasher);
            }
            Self::Tree(hash) => {
                hasher.write_tag(2);
                hash.content_hash(hasher);
            }
        }
    }
}

enum Found {
    File(PathBuf),
    /// The files and links below a folder: relative name, then the file's place among all, or the link's bytes.
    Tree(Vec<(String, TreeEntry)>),
}

enum TreeEntry {
    File(usize),
    Link(Vec<u8>),
    Folder,
}

impl InputDigests {
    /// Reads all of `paths`, through the cache's memo of files that have not changed.
    ///
    /// Symbolic links to files and folders are followed for `paths` themselves; below a folder they are links.
    ///
    /// # Errors
    /// A diagnostic for each path that cannot be read.
    pub fn read(
        paths: &BTreeSet<WorkspacePath>,
        files: &DiskFiles,
        cache: &Cache,
    ) -> Result<Self, Diagnostics> {
        let mut hosts: Vec<PathBuf> = Vec::new();
        let mut found = Vec::new();
        let mut problems = Vec::new();
        for path in paths {
            let host = files.host_path(path);
            let result = fs_err::metadata(&host).and_then(|metadata| {
                if metadata.is_dir() {
                    let mut entries = Vec::new();
                    list(&host, "", &mut hosts, &mut entries)?;
                    Ok(Found::Tree(entries))
                } else {
                    hosts.push(host.clone());
                    Ok(Found::File(host))
                }
            });
            match result {
                Ok(input) => found.push((path, input)),
                Err(error) => problems.push(Diagnostic::error(format!("cannot read `{path}`: {error}"))),
            }
        }
        if !problems.is_empty() {
            return Err(Diagnostics(problems));
        }
        let digests = cache.file_memo(false).digest_many(&hosts).map_err(|error| {
            Diagnostic::error(format!("cannot read the memo of the inputs: {error}"))
                .class(Class::Environment)
        })?;
        let (digests, failed): (Vec<_>, Vec<_>) = digests.into_iter().partition(Result::is_ok);
        if !failed.is_empty() {
            let problems = failed.into_iter().filter_map(Result::err);
            return Err(Diagnostics(
                problems.map(|error| Diagnostic::error(format!("cannot read an input: {error}"))).collect(),
            ));
        }
        let digests: Vec<_> = digests.into_iter().filter_map(Result::ok).collect();
        let by_path: HashMap<&PathBuf, usize> =
            hosts.iter().enumerate().map(|(place, path)| (path, place)).collect();
        let mut result = HashMap::with_capacity(found.len());
        for (path, input) in found {
            let digest = match input {
                Found::File(host) => {
                    let file = &digests[by_path[&host]];
                    InputDigest::File { digest: file.digest, executable: file.executable }
                }
                Found::Tree(entries) => {
                    let mut hasher = ContentHasher::new("imgbuild input tree");
                    hasher.write_u64(entries.len() as u64);
                    for (name, entry) in entries {
                        name.content_hash(&mut hasher);
                        match entry {
                            TreeEntry::File(place) => {
                                let file = &digests[place];
                                hasher.write_tag(1);
                                file.digest.content_hash(&mut hasher);
                                file.executable.content_hash(&mut hasher);
                            }
                            TreeEntry::Link(target) => {
                                hasher.write_tag(2);
                                hasher.write_bytes(&target);
                            }
                            TreeEntry::Folder => hasher.write_tag(3),
                        }
                    }
                    InputDigest::Tree(hasher.finish())
                }
            };
            result.insert(path.clone(), digest);
        }
        Ok(Self(result))
    }

    /// The digest of a path that was read.
    #[must_use]
    pub fn get(&self, path: &WorkspacePath) -> Option<&InputDigest> {
        self.0.get(path)
    }
}

impl FromIterator<(WorkspacePath, InputDigest)> for InputDigests {
    fn from_iter<I: IntoIterator<Item = (WorkspacePath, InputDigest)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

fn list(
    folder: &std::path::Path,
    prefix: &str,
    hosts: &mut Vec<PathBuf>,
    entries: &mut Vec<(String, TreeEntry)>,
) -> std::io::Result<()> {
    let mut names = fs_err::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    names.sort_by_key(fs_err::DirEntry::file_name);
    for entry in names {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("the name `{}` is not UTF-8", name.to_string_lossy()),
            ));
        };
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            entries.push((path.clone(), TreeEntry::Folder));
            list(&entry.path(), &path, hosts, entries)?;
        } else if kind.is_symlink() {
            let target = fs_err::read_link(entry.path())?;
            entries.push((path, TreeEntry::Link(target.into_os_string().into_encoded_bytes())));
        } else if !kind.is_file() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("`{path}` in it is neither a file, a folder nor a link"),
            ));
        } else {
            hosts.push(entry.path());
            entries.push((path, TreeEntry::File(hosts.len() - 1)));
        }
    }
    Ok(())
}
