//! The words of `visibility`.

use imgbuild_model::{PackagePath, Pattern, Visibility};

use crate::error::Problem;

const HINT: &str =
    "write `//visibility:public`, `//visibility:private`, `//a:__pkg__`, `//a:__subpackages__` or `//a/...`";

/// Reads the list that `visibility` and `package(default_visibility = …)` take.
///
/// # Errors
/// If an item is none of the forms.
pub(crate) fn parse(items: &[&str], package: &PackagePath) -> Result<Visibility, Problem> {
    if let [single] = items {
        match *single {
            "//visibility:public" => return Ok(Visibility::Public),
            "//visibility:private" => return Ok(Visibility::Private),
            _ => {}
        }
    }
    if items.is_empty() {
        return Ok(Visibility::Private);
    }
    items.iter().map(|item| pattern(item, package)).collect::<Result<_, _>>().map(Visibility::Packages)
}

fn pattern(text: &str, package: &PackagePath) -> Result<Pattern, Problem> {
    let unknown = || Problem::new(format!("`{text}` is no visibility")).hint(HINT);
    if matches!(text, "//visibility:public" | "//visibility:private") {
        return Err(
            Problem::new(format!("`{text}` stands alone or not at all")).hint("remove the other items")
        );
    }
    if text.starts_with("//visibility:") {
        return Err(unknown());
    }
    let folder = |path: &str| match path {
        "" if text.starts_with(':') => Ok(package.clone()),
        _ => {
            let path = path.strip_prefix("//").ok_or_else(unknown)?;
            PackagePath::new(path).map_err(|_| unknown())
        }
    };
    let recursive = text.strip_suffix(":__subpackages__").unwrap_or(text);
    if let Some(path) = recursive.strip_suffix("...") {
        let path = if path == "//" { path } else { path.strip_suffix('/').ok_or_else(unknown)? };
        return folder(path).map(Pattern::Recursive);
    }
    if let Some(path) = text.strip_suffix(":__subpackages__") {
        return folder(path).map(Pattern::Recursive);
    }
    if let Some(path) = text.strip_suffix(":__pkg__") {
        return folder(path).map(Pattern::Package);
    }
    Err(unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(items: &[&str]) -> Result<Visibility, String> {
        parse(items, &PackagePath::new("here").unwrap()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn each_form_is_read() {
        let package = |path: &str| Pattern::Package(PackagePath::new(path).unwrap());
        let below = |path: &str| Pattern::Recursive(PackagePath::new(path).unwrap());
        assert_eq!(read(&["//visibility:public"]), Ok(Visibility::Public));
        assert_eq!(read(&["//visibility:private"]), Ok(Visibility::Private));
        assert_eq!(read(&[]), Ok(Visibility::Private));
        for (text, pattern) in [
            ("//a:__pkg__", package("a")),
            ("//:__pkg__", package("")),
            (":__pkg__", package("here")),
            ("//a/b:__subpackages__", below("a/b")),
            (":__subpackages__", below("here")),
            ("//a/...:__subpackages__", below("a")),
            ("//a/...", below("a")),
            ("//...", below("")),
        ] {
            assert_eq!(read(&[text]), Ok(Visibility::Packages(vec![pattern])), "{text}");
        }
    }

    #[test]
    fn what_is_no_visibility_is_refused() {
        for text in ["//a", "a", "//a:b", "public", "//visibility:friends", "//a...", "//a//b/..."] {
            assert_eq!(read(&[text]), Err(format!("`{text}` is no visibility")), "{text}");
        }
        assert_eq!(
            read(&["//a:__pkg__", "//visibility:public"]),
            Err("`//visibility:public` stands alone or not at all".to_owned())
        );
    }
}
