//! The prelude: Starlark files that are part of the program.

use std::sync::LazyLock;

use imgbuild_digest::{ContentHash, ContentHasher, Hash};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../prelude/", $name)))),*]
    };
}

/// Names and texts, sorted by name.
static FILES: &[(&str, &str)] = files![
    "commands.star",
    "config.star",
    "exports.star",
    "groups.star",
    "image.star",
    "prelude.star",
    "providers.star",
    "sources.star",
    "steps.star",
    "templates.star",
    "tests.star",
];

/// The file whose public names every other file sees.
pub(crate) const MAIN: &str = "prelude.star";

/// The text of a file of the prelude.
pub(crate) fn text(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of the prelude's files, sorted.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// The hash of the whole prelude: what has been loaded with another one has to be loaded again.
#[must_use]
pub fn prelude_digest() -> Hash {
    static DIGEST: LazyLock<Hash> = LazyLock::new(|| {
        let mut hasher = ContentHasher::new("prelude");
        for (name, text) in FILES {
            name.content_hash(&mut hasher);
            text.content_hash(&mut hasher);
        }
        hasher.finish()
    });
    *DIGEST
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn each_file_of_the_folder_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../prelude");
        let there = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".star"))
            .collect::<BTreeSet<_>>();
        assert_eq!(super::names().map(str::to_owned).collect::<BTreeSet<_>>(), there);
    }
}
