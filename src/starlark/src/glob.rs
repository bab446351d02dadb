//! `glob()`: files of a package by pattern.
//!
//! A glob sees the files of its own package: it goes into no folder that has a `BUILD.star`. Patterns are matched
//! component by component, so that only folders that can hold a match are read.

use std::collections::BTreeSet;

use globset::{Glob, GlobBuilder, GlobMatcher};
use imgbuild_model::{EntryKind, WorkspacePath};

use crate::context::PackageContext;
use crate::error::Problem;

/// Folders in folders deeper than this are taken for a symbolic link that leads back to where it stands.
const DEEPEST: usize = 64;

/// One component of a pattern.
enum Component {
    /// `**`: any number of folders.
    AnyDepth,
    /// A name without wildcards.
    Literal(String),
    /// A name with wildcards, and whether it begins with a dot.
    Wildcard(GlobMatcher, bool),
}

/// A pattern, read.
pub(crate) struct Pattern(Vec<Component>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is absolute, leaves the package, or is no pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let fail = |reason: String| Problem::new(format!("`{text}` is no pattern: {reason}"));
        if text.starts_with('/') {
            return Err(
                fail("it begins with `/`".to_owned()).hint("patterns are relative to the package's folder")
            );
        }
        text.split('/')
            .map(|component| match component {
                "" => Err(fail("it has an empty component".to_owned())),
                "." | ".." => Err(fail("`.` and `..` are not allowed in it".to_owned())
                    .hint("a glob sees the files of its own package")),
                "**" => Ok(Component::AnyDepth),
                name if name.contains("**") => {
                    Err(fail("`**` must stand between slashes".to_owned()).hint("write `**/*.txt`"))
                }
                name if !name.contains(['*', '?', '[', '{', '\\']) => Ok(Component::Literal(name.to_owned())),
                name => Ok(Component::Wildcard(matcher(name).map_err(fail)?, name.starts_with('.'))),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a path matches as a whole, hidden names too.
    fn matches(&self, path: &str) -> bool {
        fn rest(pattern: &[Component], names: &[&str]) -> bool {
            match (pattern.split_first(), names.split_first()) {
                (None, None) => true,
                (Some((Component::AnyDepth, tail)), _) => {
                    (0..=names.len()).any(|skipped| rest(tail, &names[skipped..]))
                }
                (Some((component, tail)), Some((name, names))) => {
                    component.matches(name, true) && rest(tail, names)
                }
                _ => false,
            }
        }
        rest(&self.0, &path.split('/').collect::<Vec<_>>())
    }
}

impl Component {
    fn matches(&self, name: &str, hidden: bool) -> bool {
        match self {
            Self::AnyDepth => true,
            Self::Literal(literal) => literal == name,
            Self::Wildcard(matcher, names_dot) => {
                (hidden || *names_dot || !name.starts_with('.')) && matcher.is_match(name)
            }
        }
    }
}

fn matcher(name: &str) -> Result<GlobMatcher, String> {
    GlobBuilder::new(name)
        .literal_separator(true)
        .build()
        .map(|glob: Glob| glob.compile_matcher())
        .map_err(|error| error.kind().to_string())
}

/// The files of the package that match one of `include` and none of `exclude`, sorted, relative to the package.
///
/// # Errors
/// If a pattern is none, a folder cannot be read, or folders nest without end.
pub(crate) fn glob(
    package: &PackageContext<'_>,
    include: &[&str],
    exclude: &[&str],
) -> Result<Vec<String>, Problem> {
    let mut found = BTreeSet::new();
    for text in include {
        let pattern = Pattern::parse(text)?;
        walk(package, "", &pattern.0, 0, &mut found)?;
    }
    let exclude = exclude.iter().map(|text| Pattern::parse(text)).collect::<Result<Vec<_>, _>>()?;
    found.retain(|path| !exclude.iter().any(|pattern| pattern.matches(path)));
    Ok(found.into_iter().collect())
}

fn walk(
    package: &PackageContext<'_>,
    folder: &str,
    pattern: &[Component],
    depth: usize,
    found: &mut BTreeSet<String>,
) -> Result<(), Problem> {
    let Some((component, rest)) = pattern.split_first() else { return Ok(()) };
    if depth > DEEPEST {
        return Err(Problem::new(format!(
            "folders below `{}` nest deeper than {DEEPEST} levels",
            package.package
        ))
        .hint("does a symbolic link lead back to a folder above it?"));
    }
    let path = folder_path(package, folder)?;
    let names = package.list(&path)?;
    // Another package begins here.
    if depth > 0 && names.iter().any(|(name, kind)| name == "BUILD.star" && *kind == EntryKind::File) {
        return Ok(());
    }
    let inside = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    if matches!(component, Component::AnyDepth) {
        // No folder at all, then each folder once.
        walk(package, folder, rest, depth, found)?;
        for (name, kind) in names.iter() {
            let visible = !name.starts_with('.');
            match kind {
                EntryKind::Directory if visible => walk(package, &inside(name), pattern, depth + 1, found)?,
                EntryKind::File if visible && rest.is_empty() => {
                    found.insert(inside(name));
                }
                EntryKind::Directory | EntryKind::File | EntryKind::Other => {}
            }
        }
        return Ok(());
    }
    for (name, kind) in names.iter().filter(|(name, _)| component.matches(name, false)) {
        match kind {
            EntryKind::Directory if !rest.is_empty() => walk(package, &inside(name), rest, depth + 1, found)?,
            // `x/**` matches what is below `x`, not a file `x`.
            EntryKind::File if rest.is_empty() => {
                found.insert(inside(name));
            }
            EntryKind::Directory | EntryKind::File | EntryKind::Other => {}
        }
    }
    Ok(())
}

fn folder_path(package: &PackageContext<'_>, folder: &str) -> Result<WorkspacePath, Problem> {
    if folder.is_empty() {
        return Ok(WorkspacePath::new(package.package.as_str())?);
    }
    // A name that no label can have cannot be a source either.
    WorkspacePath::new(package.package.file(folder).as_str()).map_err(|error| {
        Problem::new(error.to_string()).hint("rename the folder, or leave it out of the glob")
    })
}
