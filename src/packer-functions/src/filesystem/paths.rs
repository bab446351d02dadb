//! Paths as texts, as Go's `path/filepath` takes them apart.

/// The shortest equal path: no `.`, no `..` but at the start, no empty parts.
pub(super) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (_, true) => ".".to_owned(),
        _ => joined,
    }
}

/// A path that starts at a folder, unless it is absolute, as far as names tell: without `.` and `..`.
#[must_use]
pub fn joined(folder: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("{folder}/{path}")) }
}

/// The last part; `.` of nothing.
pub(super) fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let path = path.trim_end_matches('/');
    match path.rsplit('/').next() {
        None | Some("") => "/".to_owned(),
        Some(last) => last.to_owned(),
    }
}

/// All but the last part; `.` if there is only one.
pub(super) fn folder(path: &str) -> String {
    clean(path.rsplit_once('/').map_or("", |(folder, _)| if folder.is_empty() { "/" } else { folder }))
}

/// The way from one clean absolute path to another.
pub(super) fn relative(from: &str, to: &str) -> String {
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (from, to) = (parts(from), parts(to));
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - common);
    up.chain(to[common..].iter().cloned()).collect::<Vec<_>>().join("/")
}
