//! Which file a `load()` names.

use std::fmt;
use std::sync::Arc;

use imgbuild_model::{PackagePath, WorkspacePath};

/// A file that can be loaded, by its canonical name: `//lib/x.star` or `@prelude//image.star`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ModuleId(Arc<str>);

/// How a canonical name of a file of the prelude begins.
pub(crate) const PRELUDE: &str = "@prelude//";

impl ModuleId {
    /// Reads what stands in a `load()` of a file in `folder`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub(crate) fn parse(text: &str, folder: Folder<'_>) -> Result<Self, (String, String)> {
        let fail = |reason: &str| {
            Err((
                format!("`{text}` names no file to load: {reason}"),
                "write `//folder/file.star`, `:file.star` or `@prelude//file.star`".to_owned(),
            ))
        };
        let (root, path) = if let Some(path) = text.strip_prefix(PRELUDE) {
            (PRELUDE, path.trim_start_matches(':').to_owned())
        } else if text.starts_with('@') {
            return fail("the only other repository is `@prelude`");
        } else if let Some(path) = text.strip_prefix("//") {
            ("//", path.replacen(':', "/", 1).trim_start_matches('/').to_owned())
        } else if let Some(name) = text.strip_prefix(':') {
            match folder {
                Folder::Prelude => (PRELUDE, name.to_owned()),
                Folder::Workspace(package) => ("//", package.file(name).as_str().to_owned()),
            }
        } else {
            return fail("it begins with none of `//`, `:` and `@prelude//`");
        };
        if !path.ends_with(".star") {
            return fail("only files whose names end in `.star` can be loaded");
        }
        if path == "BUILD.star" || path.ends_with("/BUILD.star") {
            return fail("a `BUILD.star` declares targets and cannot be loaded");
        }
        if WorkspacePath::new(&path).is_err() {
            return fail("it is not a path inside the workspace");
        }
        Ok(Self(format!("{root}{path}").into()))
    }

    /// The file whose public names every other file sees.
    pub(crate) fn prelude_main() -> Self {
        Self(format!("{PRELUDE}{}", crate::prelude::MAIN).into())
    }

    /// Takes a name that is canonical already.
    pub(crate) fn canonical(name: &Arc<str>) -> Self {
        Self(name.clone())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// The name of the file in the prelude, if it is one.
    pub(crate) fn in_prelude(&self) -> Option<&str> {
        self.0.strip_prefix(PRELUDE)
    }

    /// The path in the workspace, if it is there.
    pub(crate) fn path(&self) -> Option<WorkspacePath> {
        self.0.strip_prefix("//").and_then(|path| WorkspacePath::new(path).ok())
    }

    /// The name of the file in messages.
    pub(crate) fn file_name(&self) -> &str {
        self.0.strip_prefix("//").unwrap_or(&self.0)
    }

    /// The folder that the file lies in, if it lies in the workspace.
    pub(crate) fn package(&self) -> Option<PackagePath> {
        let path = self.0.strip_prefix("//")?;
        PackagePath::new(path.rsplit_once('/').map_or("", |(folder, _)| folder)).ok()
    }
}

/// Where the file stands that has the `load()`.
#[derive(Clone, Copy)]
pub(crate) enum Folder<'a> {
    Prelude,
    Workspace(&'a PackagePath),
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_one_canonical_name() {
        let package = PackagePath::new("a/b").unwrap();
        for (text, id) in [
            ("//lib/x.star", "//lib/x.star"),
            ("//lib:x.star", "//lib/x.star"),
            ("//:x.star", "//x.star"),
            (":x.star", "//a/b/x.star"),
            ("@prelude//image.star", "@prelude//image.star"),
            ("@prelude//:image.star", "@prelude//image.star"),
        ] {
            assert_eq!(ModuleId::parse(text, Folder::Workspace(&package)).unwrap().as_str(), id, "{text}");
        }
        assert_eq!(ModuleId::parse(":x.star", Folder::Prelude).unwrap().as_str(), "@prelude//x.star");
    }

    #[test]
    fn what_names_no_file_is_refused_with_a_reason() {
        let package = PackagePath::root();
        for (text, reason) in [
            ("x.star", "it begins with none of"),
            ("@other//x.star", "the only other repository is `@prelude`"),
            ("//lib/x.bzl", "only files whose names end in `.star`"),
            ("//a/BUILD.star", "cannot be loaded"),
            ("//../x.star", "not a path inside the workspace"),
        ] {
            let (message, hint) = ModuleId::parse(text, Folder::Workspace(&package)).unwrap_err();
            assert!(message.contains(reason), "{message}");
            assert!(hint.contains("//folder/file.star"));
        }
    }
}
