//! Who is interested in which trigger, and who has something to do after an unpacking.

use std::collections::BTreeMap;
use std::path::Path;

use super::root::{Metadata, Root};
use super::{RootContext, UnpackError};
use crate::deb::TriggerDirective;

const FOLDER: &str = "var/lib/dpkg/triggers";
const FILE_TRIGGERS: &str = "File";
/// dpkg's own files beside those that are named after triggers.
const RESERVED: [&str; 3] = [FILE_TRIGGERS, "Unincorp", "Lock"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Interest {
    package: String,
    wait: bool,
}

impl Interest {
    fn parse(word: &str) -> Self {
        match word.strip_suffix("/noawait") {
            Some(package) => Self { package: package.to_owned(), wait: false },
            None => Self { package: word.to_owned(), wait: true },
        }
    }

    fn text(&self) -> String {
        if self.wait { self.package.clone() } else { format!("{}/noawait", self.package) }
    }
}

/// The interests of all packages.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Triggers {
    /// Absolute paths, in dpkg's order.
    paths: Vec<(String, Interest)>,
    names: BTreeMap<String, Vec<Interest>>,
}

impl Triggers {
    pub fn read(root: &Root) -> Result<Self, UnpackError> {
        let mut triggers = Self::default();
        let file = Path::new(FOLDER).join(FILE_TRIGGERS);
        for line in root.read_text(&file).at("read", &file)?.lines() {
            if let Some((path, package)) = line.rsplit_once(' ') {
                triggers.paths.push((path.to_owned(), Interest::parse(package)));
            }
        }
        for name in root.list(Path::new(FOLDER)).at("list", FOLDER)? {
            let Some(name) =
                name.to_str().filter(|name| !RESERVED.contains(name) && !name.ends_with(".dpkg-new"))
            else {
                continue;
            };
            let path = Path::new(FOLDER).join(name);
            let interests = root.read_text(&path).at("read", &path)?.lines().map(Interest::parse).collect();
            triggers.names.insert(name.to_owned(), interests);
        }
        Ok(triggers)
    }

    /// Replaces the interests of a package by those that its control file declares.
    pub fn set(&mut self, package: &str, directives: &[TriggerDirective]) {
        self.paths.retain(|(_, interest)| interest.package != package);
        for interests in self.names.values_mut() {
            interests.retain(|interest| interest.package != package);
        }
        for directive in directives {
            let TriggerDirective::Interest { trigger, wait } = directive else { continue };
            let interest = Interest { package: package.to_owned(), wait: *wait };
            if trigger.starts_with('/') {
                self.paths.push((trigger.clone(), interest));
            } else {
                self.names.entry(trigger.clone()).or_default().push(interest);
            }
        }
    }

    /// The packages that a trigger concerns, with the trigger's name.
    pub fn activated<'a>(&'a self, trigger: &'a str) -> Vec<(&'a str, &'a str)> {
        if !trigger.starts_with('/') {
            let interests = self.names.get(trigger).into_iter().flatten();
            return interests.map(|interest| (interest.package.as_str(), trigger)).collect();
        }
        self.paths
            .iter()
            .filter(|(path, _)| {
                trigger
                    .strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .map(|(path, interest)| (interest.package.as_str(), path.as_str()))
            .collect()
    }

    pub fn write(&self, root: &Root) -> Result<(), UnpackError> {
        const PLAIN: Metadata = Metadata { mode: 0o644, uid: 0, gid: 0, mtime: 0 };
        root.make_folders(Path::new(FOLDER)).at("create", FOLDER)?;
        let file = Path::new(FOLDER).join(FILE_TRIGGERS);
        let text: String =
            self.paths.iter().map(|(path, interest)| format!("{path} {}\n", interest.text())).collect();
        if !text.is_empty() || root.exists(&file).at("look at", &file)? {
            root.write(&file, text.as_bytes(), PLAIN).at("write", &file)?;
        }
        for (name, interests) in &self.names {
            let path = Path::new(FOLDER).join(name);
            if interests.is_empty() {
                root.remove_file(&path).at("remove", &path)?;
            } else {
                let text: String =
                    interests.iter().map(|interest| format!("{}\n", interest.text())).collect();
                root.write(&path, text.as_bytes(), PLAIN).at("write", &path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_concern_what_is_below_them() {
        let interest = |trigger: &str, wait| TriggerDirective::Interest { trigger: trigger.into(), wait };
        let mut triggers = Triggers::default();
        triggers.set("man-db", &[interest("/usr/share/man", false)]);
        triggers.set("libc-bin", &[interest("ldconfig", true)]);
        assert_eq!(triggers.activated("/usr/share/man/man1/a.1.gz"), [("man-db", "/usr/share/man")]);
        assert!(triggers.activated("/usr/share/manual").is_empty());
        assert_eq!(triggers.activated("ldconfig"), [("libc-bin", "ldconfig")]);
        triggers.set("libc-bin", &[]);
        assert!(triggers.activated("ldconfig").is_empty());
    }
}
