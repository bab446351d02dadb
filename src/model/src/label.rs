//! Labels, packages and target patterns, with Bazel's syntax.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use imgbuild_digest::{ContentHash, ContentHasher};

/// A package: a folder with a `BUILD.star`, by its path from the workspace's root; the root package is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackagePath(Arc<str>);

/// The name of a target inside its package, or the path of a source file inside it. `name[part]` is one of the targets
/// that a target stands for: a build of a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetName(Arc<str>);

/// `//package:name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The package.
    pub package: PackagePath,
    /// The target or source file in it.
    pub name: TargetName,
}

/// A file or folder by its path from the workspace's root, with `/` between components.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspacePath(Arc<str>);

/// One target pattern of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `//a:b`, `//a` (short for `//a:a`), `:b`.
    Single(Label),
    /// `//a:all` or `//a:*`: each target of one package.
    Package(PackagePath),
    /// `//a/...`: each target of the package and of all packages below it.
    Recursive(PackagePath),
}

/// What a command line asks for: patterns in order, those with a leading `-` taken away again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternSet {
    /// The patterns to add, in the order given.
    pub include: Vec<Pattern>,
    /// The patterns to subtract.
    pub exclude: Vec<Pattern>,
}

/// Why a text is not a label or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {reason}")]
pub struct LabelError {
    /// The text.
    pub text: String,
    /// `label`, `package path`, `target name` or `target pattern`.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

fn check_path(text: &str, what: &'static str) -> Result<(), LabelError> {
    let fail = |reason| Err(LabelError { text: text.to_owned(), what, reason });
    if text.is_empty() {
        return Ok(());
    }
    for component in text.split('/') {
        match component {
            "" => return fail("it has an empty path component"),
            "." | ".." => return fail("`.` and `..` are not allowed in it"),
            _ => {}
        }
    }
    if let Some(bad) =
        text.chars().find(|c| c.is_control() || matches!(c, ':' | '\\' | '"' | '*' | '[' | ']'))
    {
        return fail(match bad {
            ':' => "it has more than one `:`",
            '\\' => "use `/` between components",
            _ => "it has a character that is not allowed",
        });
    }
    Ok(())
}

impl PackagePath {
    /// The package in the workspace's root.
    #[must_use]
    pub fn root() -> Self {
        Self("".into())
    }

    /// A package by its path, without leading or trailing slash.
    ///
    /// # Errors
    /// If a component is empty, `.` or `..`, or has a character that labels do not allow.
    pub fn new(path: &str) -> Result<Self, LabelError> {
        check_path(path, "package path")?;
        Ok(Self(path.into()))
    }

    /// The path, empty for the root package.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of a file of this package.
    #[must_use]
    pub fn file(&self, name: &str) -> WorkspacePath {
        if self.0.is_empty() {
            WorkspacePath(name.into())
        } else {
            WorkspacePath(format!("{}/{name}", self.0).into())
        }
    }

    /// Whether this package is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        other.0.is_empty()
            || self.0 == other.0
            || self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl TargetName {
    /// A target's name.
    ///
    /// # Errors
    /// If it is empty or has a character that labels do not allow.
    pub fn new(name: &str) -> Result<Self, LabelError> {
        if name.is_empty() {
            return Err(LabelError { text: name.to_owned(), what: "target name", reason: "it is empty" });
        }
        let (own, part) = split_part(name);
        check_path(own, "target name")?;
        if let Some(part) = part
            && !is_part(part)
        {
            let reason = "what is in brackets is the name of a build, without `/`, `:`, quotes and brackets";
            return Err(LabelError { text: name.to_owned(), what: "target name", reason });
        }
        Ok(Self(name.into()))
    }

    /// The name of a part of this target. What a name may not have becomes `_`.
    #[must_use]
    pub fn part(&self, part: &str) -> Self {
        let clean: String = part.chars().map(|c| if is_of_part(c) { c } else { '_' }).collect();
        let clean = if clean.is_empty() { "_" } else { &clean };
        Self(format!("{}[{clean}]", self.0).into())
    }

    /// The name of the target that this is a part of; its own name if it is none.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self(split_part(&self.0).0.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name without the part in brackets at its end, and that part.
fn split_part(name: &str) -> (&str, Option<&str>) {
    let found = name.strip_suffix(']').and_then(|name| name.split_once('['));
    found.map_or((name, None), |(own, part)| (own, Some(part)))
}

fn is_of_part(c: char) -> bool {
    !(c.is_control() || matches!(c, '/' | ':' | '\\' | '"' | '*' | '[' | ']'))
}

fn is_part(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_of_part)
}

impl WorkspacePath {
    /// A path from the workspace's root.
    ///
    /// # Errors
    /// If a component is empty, `.` or `..`.
    pub fn new(path: &str) -> Result<Self, LabelError> {
        check_path(path, "workspace path")?;
        Ok(Self(path.into()))
    }

    /// The path, with `/` between components.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Label {
    /// The label of `name` in `package`.
    #[must_use]
    pub fn new(package: PackagePath, name: TargetName) -> Self {
        Self { package, name }
    }

    /// Reads a label as it may be written in a file of `package`: `//a:b`, `//a`, `:b`, or `b` (a target or a file
    /// of the same package).
    ///
    /// # Errors
    /// If the text has not that form.
    pub fn parse(text: &str, package: &PackagePath) -> Result<Self, LabelError> {
        let fail = |reason| LabelError { text: text.to_owned(), what: "label", reason };
        let relabel =
            |error: LabelError| LabelError { text: text.to_owned(), what: "label", reason: error.reason };
        if text.starts_with('@') {
            return Err(fail("other repositories than this workspace cannot be named here"));
        }
        if let Some(rest) = text.strip_prefix("//") {
            let (package, name) = match rest.split_once(':') {
                Some((package, name)) => (package, name),
                None => (split_part(rest).0, rest.rsplit('/').next().unwrap_or(rest)),
            };
            if name.is_empty() {
                return Err(fail("it names no target; write `//package:name`"));
            }
            return Ok(Self {
                package: PackagePath::new(package).map_err(relabel)?,
                name: TargetName::new(name).map_err(relabel)?,
            });
        }
        if text.starts_with('/') {
            return Err(fail("an absolute path is no label; files of the workspace are `//package:file`"));
        }
        let name = text.strip_prefix(':').unwrap_or(text);
        if name.is_empty() {
            return Err(fail("it is empty"));
        }
        Ok(Self { package: package.clone(), name: TargetName::new(name).map_err(relabel)? })
    }

    /// The path that a source file with this label has.
    #[must_use]
    pub fn path(&self) -> WorkspacePath {
        self.package.file(self.name.as_str())
    }
}

impl Pattern {
    /// Reads a pattern as typed in the folder of `package`.
    ///
    /// # Errors
    /// If the text is none of `//a:b`, `//a`, `:b`, `//a:all`, `//a:*`, `//a/...`, `//...`, `...`.
    pub fn parse(text: &str, package: &PackagePath) -> Result<Self, LabelError> {
        let recursive = |path: &str| {
            PackagePath::new(path).map(Self::Recursive).map_err(|error| LabelError {
                text: text.to_owned(),
                what: "target pattern",
                reason: error.reason,
            })
        };
        if text == "..." {
            return Ok(Self::Recursive(package.clone()));
        }
        if text == "//..." {
            return Ok(Self::Recursive(PackagePath::root()));
        }
        if let Some(path) = text.strip_suffix("/...") {
            return match path.strip_prefix("//") {
                Some(path) => recursive(path),
                None => recursive(package.file(path).as_str()),
            };
        }
        for all in [":all", ":*"] {
            if let Some(path) = text.strip_suffix(all) {
                return match path.strip_prefix("//") {
                    Some(path) => Ok(Self::Package(PackagePath::new(path)?)),
                    None if path.is_empty() => Ok(Self::Package(package.clone())),
                    None => Err(LabelError {
                        text: text.to_owned(),
                        what: "target pattern",
                        reason: "a package begins with `//`",
                    }),
                };
            }
        }
        // On a command line `images:base` and `images/base` are short for labels below the current folder.
        if !text.starts_with("//") && !text.starts_with(':') {
            let (path, name) = match text.split_once(':') {
                Some((path, name)) if !name.is_empty() => (path, name),
                _ => (text.trim_end_matches(':'), ""),
            };
            let path = package.file(path.trim_end_matches('/'));
            let name = match name {
                "" => path.as_str().rsplit('/').next().unwrap_or_default(),
                name => name,
            };
            let label = format!("//{}:{name}", split_part(path.as_str()).0);
            return Label::parse(&label, package).map(Self::Single).map_err(|error| LabelError {
                text: text.to_owned(),
                what: "target pattern",
                reason: error.reason,
            });
        }
        Label::parse(text, package).map(Self::Single)
    }

    /// Whether the pattern selects this label.
    #[must_use]
    pub fn matches(&self, label: &Label) -> bool {
        match self {
            Self::Single(single) => single == label,
            Self::Package(package) => label.package == *package,
            Self::Recursive(package) => label.package.is_within(package),
        }
    }
}

impl PatternSet {
    /// Reads the patterns of a command line; those that begin with `-` are taken away from the rest.
    ///
    /// # Errors
    /// If one of them is not a pattern.
    pub fn parse<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
        package: &PackagePath,
    ) -> Result<Self, LabelError> {
        let mut set = Self::default();
        for text in patterns {
            match text.strip_prefix('-') {
                Some(text) => set.exclude.push(Pattern::parse(text, package)?),
                None => set.include.push(Pattern::parse(text, package)?),
            }
        }
        Ok(set)
    }
}

impl fmt::Display for PackagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "//{}", self.0)
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "//{}:{}", self.package.0, self.name.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(label) => fmt::Display::fmt(label, f),
            Self::Package(package) => write!(f, "{package}:all"),
            Self::Recursive(package) if package.0.is_empty() => f.write_str("//..."),
            Self::Recursive(package) => write!(f, "{package}/..."),
        }
    }
}

impl FromStr for Label {
    type Err = LabelError;

    /// Reads an absolute label.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with("//") {
            return Err(LabelError {
                text: text.to_owned(),
                what: "label",
                reason: "it does not begin with `//`",
            });
        }
        Self::parse(text, &PackagePath::root())
    }
}

impl ContentHash for Label {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self { package, name } = self;
        package.0.content_hash(hasher);
        name.0.content_hash(hasher);
    }
}

impl serde::Serialize for Label {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Label {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for WorkspacePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(path: &str) -> PackagePath {
        PackagePath::new(path).unwrap()
    }

    #[test]
    fn labels_are_read_in_each_form() {
        let here = package("images");
        for (text, label) in [
            ("//a/b:c", "//a/b:c"),
            ("//a/b", "//a/b:b"),
            (":c", "//images:c"),
            ("c", "//images:c"),
            ("sub/c.txt", "//images:sub/c.txt"),
            ("//:root", "//:root"),
            ("//a/b:c[docker.web]", "//a/b:c[docker.web]"),
            ("//a/b[docker.web]", "//a/b:b[docker.web]"),
            (":c[x y]", "//images:c[x y]"),
        ] {
            assert_eq!(Label::parse(text, &here).unwrap().to_string(), label);
        }
    }

    #[test]
    fn what_is_no_label_is_refused_with_a_reason() {
        for text in [
            "",
            ":",
            "//",
            "/abs",
            "//a:",
            "//a//b:c",
            "//../a:b",
            "a:b:c",
            "@other//a:b",
            "//a:b\\c",
            "//a:b[]",
            "//a:b[c",
            "//a:b[c/d]",
            "//a[b]:c",
            "//a:b[c][d]",
        ] {
            assert!(Label::parse(text, &PackagePath::root()).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_select_what_they_say() {
        let here = package("a");
        let label = Label::parse("//a/b:c", &here).unwrap();
        for (text, selects) in [
            ("//...", true),
            ("//a/...", true),
            ("...", true),
            ("b/...", true),
            ("//ab/...", false),
            ("//a/b:all", true),
            ("//a:all", false),
            ("//a/b:c", true),
            ("b:c", true),
            ("//a/b", false),
        ] {
            assert_eq!(Pattern::parse(text, &here).unwrap().matches(&label), selects, "{text}");
        }
    }
}
