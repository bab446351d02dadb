//! Packages of dpkg and apk, and which files are theirs. The databases of rpm are not read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use imgbuild_formats::packages::parse_status;

use super::{FactsError, LARGEST};
use crate::report::Package;
use crate::tree::{Contents, Node, Tree};

const DPKG: &[u8] = b"var/lib/dpkg/status";
const DPKG_FOLDER: &[u8] = b"var/lib/dpkg/status.d/";
const APK: [&[u8]; 2] = [b"lib/apk/db/installed", b"usr/lib/apk/db/installed"];

pub(super) fn is_read(path: &[u8]) -> bool {
    path == DPKG || APK.contains(&path) || (path.starts_with(DPKG_FOLDER) && !path.ends_with(b".md5sums"))
}

pub(super) fn is_of_rpm(path: &[u8]) -> bool {
    ["var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"].iter().any(|folder| {
        path.strip_prefix(folder.as_bytes())
            .is_some_and(|name| matches!(name, b"rpmdb.sqlite" | b"Packages" | b"Packages.db"))
    })
}

/// Whether a file changes whenever any package does.
pub(crate) fn is_of_package_database(path: &[u8]) -> bool {
    APK.contains(&path)
        || path.starts_with(b"var/lib/dpkg/")
        || path == b"var/lib/dpkg"
        || path.starts_with(b"lib/apk/db/")
        || path.starts_with(b"usr/lib/apk/db/")
}

pub(super) fn read(contents: &Contents) -> Result<BTreeMap<(String, String), Package>, FactsError> {
    let mut packages = BTreeMap::new();
    for (path, bytes) in contents.iter().filter(|(path, _)| is_read(path)) {
        if APK.contains(&&**path) {
            for package in apk(&String::from_utf8_lossy(bytes)) {
                let own =
                    Package { manager: "apk", version: package.version, architecture: package.architecture };
                packages.insert((package.name, own.architecture.clone()), own);
            }
            continue;
        }
        for package in parse_status(&String::from_utf8_lossy(path), bytes)? {
            let own = Package {
                manager: "dpkg",
                version: package.version,
                architecture: package.architecture.clone(),
            };
            packages.insert((package.name, package.architecture), own);
        }
    }
    Ok(packages)
}

struct ApkPackage {
    name: String,
    version: String,
    architecture: String,
    files: Vec<String>,
}

/// Paragraphs of lines of a letter, a colon and a value; `F:` is a folder, `R:` a file in the last folder.
fn apk(text: &str) -> Vec<ApkPackage> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |letter: &str| {
            let line = paragraph.lines().find_map(|line| line.strip_prefix(letter));
            line.map(str::to_owned)
        };
        let (Some(name), Some(version)) = (field("P:"), field("V:")) else { continue };
        let mut folder = "";
        let mut files = Vec::new();
        for line in paragraph.lines() {
            if let Some(path) = line.strip_prefix("F:") {
                folder = path;
                files.push(path.to_owned());
            } else if let Some(file) = line.strip_prefix("R:") {
                files.push(if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") });
            }
        }
        packages.push(ApkPackage {
            name,
            version,
            architecture: field("A:").unwrap_or_else(|| "noarch".to_owned()),
            files,
        });
    }
    packages
}

/// Which of some packages each of their files belongs to.
#[derive(Debug, Default)]
pub(crate) struct Owners(HashMap<Vec<u8>, String>);

impl Owners {
    /// Reads what `tree` has of the packages of these names and architectures.
    pub(crate) fn read(tree: &dyn Tree, packages: &BTreeSet<(String, String)>) -> io::Result<Self> {
        let mut owners = Self::default();
        if packages.is_empty() {
            return Ok(owners);
        }
        let mut lists: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
        let mut moved = Vec::new();
        let mut present = BTreeSet::new();
        for (name, architecture) in packages {
            for own in [name.clone(), format!("{name}:{architecture}")] {
                lists.insert(format!("var/lib/dpkg/info/{own}.list").into_bytes(), name);
            }
        }
        for entry in tree.entries() {
            match entry.node {
                // Packages still say `/lib` where that has become a link to `/usr/lib`.
                Node::SymbolicLink { target } if !entry.path.contains(&b'/') => {
                    let target = target.strip_prefix(b"/").unwrap_or(target);
                    moved.push((entry.path.to_vec(), target.to_vec()));
                }
                Node::File { .. } if lists.contains_key(entry.path) || APK.contains(&entry.path) => {
                    present.insert(entry.path.to_vec());
                }
                _ => {}
            }
        }
        let mut own = |path: &[u8], name: &str| {
            let (first, rest) = match path.iter().position(|byte| *byte == b'/') {
                Some(slash) => path.split_at(slash),
                None => (path, &path[path.len()..]),
            };
            let to = moved.iter().find(|(from, _)| from == first);
            let path = to.map_or_else(|| path.to_vec(), |(_, to)| [to, rest].concat());
            owners.0.entry(path).or_insert_with(|| name.to_owned());
        };
        for (path, bytes) in tree.read(&present, LARGEST)? {
            match lists.get(&path) {
                Some(name) => {
                    for line in bytes.split(|byte| *byte == b'\n') {
                        if let Some(path) =
                            line.strip_prefix(b"/").filter(|path| !path.is_empty() && *path != b".")
                        {
                            own(path, name);
                        }
                    }
                }
                None => {
                    for package in apk(&String::from_utf8_lossy(&bytes)) {
                        if packages.contains(&(package.name.clone(), package.architecture)) {
                            package.files.iter().for_each(|path| own(path.as_bytes(), &package.name));
                        }
                    }
                }
            }
        }
        Ok(owners)
    }

    /// The package that a file belongs to; what dpkg keeps of a package is the package's too.
    pub(crate) fn of(&self, path: &[u8]) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_both_tools_are_read() {
        let contents = Contents::from([
            (
                DPKG.to_vec(),
                b"Package: a\nStatus: install ok installed\nVersion: 1:2-3\nArchitecture: amd64\n\n\
                  Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n"
                    .to_vec(),
            ),
            (b"var/lib/dpkg/status.d/b".to_vec(), b"Package: b\nVersion: 4\nArchitecture: all\n".to_vec()),
            (
                b"lib/apk/db/installed".to_vec(),
                b"C:Q1\nP:musl\nV:1.2-r3\nA:x86_64\nF:lib\nR:libc.so\n\nP:none\n".to_vec(),
            ),
        ]);
        let found: Vec<String> = read(&contents)
            .unwrap()
            .iter()
            .map(|((name, architecture), package)| {
                format!("{name} {architecture} {} {}", package.manager, package.version)
            })
            .collect();
        assert_eq!(found, ["a amd64 dpkg 1:2-3", "b all dpkg 4", "musl x86_64 apk 1.2-r3"]);
    }

    #[test]
    fn files_of_apk_are_in_the_last_folder() {
        let packages = apk("P:musl\nV:1\nF:\nF:lib\nR:libc.so\nF:usr/bin\nR:ldd\n");
        assert_eq!(packages[0].files, ["", "lib", "lib/libc.so", "usr/bin", "usr/bin/ldd"]);
    }
}
