//! `fileset`: the files in a folder whose paths match a pattern with `*`, `**`, `?`, `[…]` and `{…,…}`.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use imgbuild_hcl::eval::CallError;
use imgbuild_hcl::value::{Type, Value};

use super::{paths, reason, resolved};
use crate::host::{FileKind, Host};
use crate::{Returned, wrong};

pub(super) fn files(host: &dyn Host, folder: &str, pattern: &str) -> Returned {
    let folder = resolved(host, folder, 0)?.to_string_lossy().into_owned();
    let (fixed, open) = split(pattern);
    let base = paths::clean(&format!("{folder}/{fixed}"));
    let mut found = Vec::new();
    if open.is_empty() {
        let kind = host.kind(Path::new(&base));
        let kind =
            kind.map_err(|error| wrong(1, format!("`{base}` cannot be looked at: {}", reason(&error))))?;
        if kind == Some(FileKind::File) {
            found.push(base);
        }
    } else {
        let search = Search { host, matcher: matcher(&open)?, deepest: depth(&open) };
        search.folder(&base, "", &mut Vec::new(), &mut found)?;
    }
    let found = found.iter().map(|path| Value::string(paths::relative(&folder, path))).collect();
    Ok(Value::set(Type::String, found))
}

/// The parts of a pattern up to the first that is more than a name, and the rest.
fn split(pattern: &str) -> (String, String) {
    let special = |part: &&str| part.contains(['*', '?', '[', ']', '{', '}', '\\']);
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let first = parts.iter().position(special).unwrap_or(parts.len());
    (parts[..first].join("/"), parts[first..].join("/"))
}

fn matcher(pattern: &str) -> Result<GlobMatcher, CallError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| wrong(1, format!("the pattern is not valid: {}", error.kind())))
}

/// How many folders deep a path that matches can be; none if there is no end.
fn depth(pattern: &str) -> Option<usize> {
    (!pattern.contains("**")).then(|| pattern.matches('/').count() + 1)
}

struct Search<'a> {
    host: &'a dyn Host,
    matcher: GlobMatcher,
    deepest: Option<usize>,
}

impl Search<'_> {
    /// Looks through a folder. `around` holds the folders on the way: a link back to one of them is not followed.
    fn folder(
        &self,
        base: &str,
        inside: &str,
        around: &mut Vec<PathBuf>,
        found: &mut Vec<String>,
    ) -> Result<(), CallError> {
        let folder = paths::clean(&format!("{base}/{inside}"));
        let failed = |error| wrong(0, format!("`{folder}` cannot be listed: {}", reason(&error)));
        let entries = match self.host.list(Path::new(&folder)) {
            Ok(entries) => entries,
            Err(error) if absent(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let real = self.host.real(Path::new(&folder)).map_err(failed)?;
        if around.contains(&real) {
            return Ok(());
        }
        around.push(real);
        for (name, kind) in entries {
            let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
            match kind {
                FileKind::File if self.matcher.is_match(&path) => {
                    found.push(paths::clean(&format!("{base}/{path}")));
                }
                FileKind::Folder | FileKind::LinkedFolder
                    if self.deepest.is_none_or(|deepest| around.len() < deepest) =>
                {
                    self.folder(base, &path, around, found)?;
                }
                _ => {}
            }
        }
        around.pop();
        Ok(())
    }
}

fn absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
