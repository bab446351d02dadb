//! What the programs of this host that carry actions out say of their versions. A program that is a script in Python takes a second
//! to say it, so that an answer is remembered, as long as nothing is another of the files that it depends on.
//!
//! Only of scripts in Python are answers remembered: machine code answers at once, and a script of another kind may be a shim, which
//! starts one program today and another tomorrow.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use imgbuild_cache::Cache;
use imgbuild_digest::{ContentHasher, Hash};
use imgbuild_plan::{ActionGraph, Tools, program_path};

const MEMO: &str = "tool";
/// How long a file must have been as it is, for its status to be believed: clocks of file systems are coarse.
const SETTLED: Duration = Duration::from_secs(2);
/// What makes a Python look for packages at other places.
const ELSEWHERE: [&str; 3] = ["PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE"];

/// The versions of those that a graph needs, by the names that steps of this workspace give them. Nothing of one that says nothing: the
/// action itself will complain of it.
pub(crate) fn tools(graph: &ActionGraph, workspace: &Path, cache: &Cache) -> Tools {
    Tools::of(graph, |name| {
        let Some(program) = find(name, workspace) else { return "not there".to_owned() };
        let key = status(&program).map(|status| key(name, &status));
        let known = key.and_then(|key| cache.memo_get(MEMO, &key).ok()?);
        if let Some(known) = known.and_then(|known| String::from_utf8(known).ok()) {
            return known;
        }
        let Some(said) = ask(name, &program) else { return "not there".to_owned() };
        if let Some(key) = key.filter(|_| !said.is_empty()) {
            // It is asked again.
            let _ = cache.memo_put(MEMO, &key, said.as_bytes());
        }
        said
    })
}

fn find(name: &str, workspace: &Path) -> Option<PathBuf> {
    let path = program_path(name, workspace);
    if path.is_absolute() {
        return Some(path);
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|status| status.is_file() && status.mode() & 0o111 != 0)
}

/// What a program says of its version: on standard output, or on the other, as old ones do. Nothing where it is not there.
fn ask(name: &str, program: &Path) -> Option<String> {
    let base = Path::new(name).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let words: &[&str] = match base {
        "lynis" => &["show", "version"],
        // Asked twice, it tells its plugins.
        _ if is_pytest(base) => &["--version", "--version"],
        _ => &["--version"],
    };
    let mut command = Command::new(program);
    // Neither settings of the folder nor those of the user's own tests are in force when it runs.
    command.args(words).current_dir("/").env_remove("PYTEST_ADDOPTS").env_remove("PYTEST_PLUGINS");
    let asked = command.stdin(Stdio::null()).output().ok()?;
    let said = if asked.stdout.trim_ascii().is_empty() { asked.stderr } else { asked.stdout };
    let said = String::from_utf8_lossy(&said).into_owned();
    if is_pytest(base) {
        return Some(without_paths(&said));
    }
    // The lines below tell this machine's paths.
    Some(said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned())
}

fn is_pytest(name: &str) -> bool {
    name.starts_with("pytest") || name == "py.test"
}

/// What pytest says of itself and its plugins, without where they are.
fn without_paths(said: &str) -> String {
    let line = |line: &str| {
        let line = line.split(" at /").next().unwrap_or_default();
        line.split(", imported from").next().unwrap_or_default().trim().to_owned()
    };
    said.lines().map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn key(name: &str, status: &[u8]) -> Hash {
    let mut hasher = ContentHasher::new("imgbuild tool");
    hasher.write_bytes(name.as_bytes());
    hasher.write_bytes(status);
    hasher.finish()
}

/// The status of all that a program's answer depends on; nothing if that cannot be told.
fn status(program: &Path) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    add(&mut all, program)?;
    let start = start_of(program)?;
    let interpreter = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let interpreter = Path::new(OsStr::from_bytes(interpreter));
    let is_python = interpreter.file_name()?.as_bytes().starts_with(b"python");
    let elsewhere = ELSEWHERE.iter().any(|name| std::env::var_os(name).is_some());
    if !is_python || !interpreter.is_absolute() || elsewhere {
        return None;
    }
    add(&mut all, interpreter)?;
    // What is installed or removed there moves the folder.
    let prefix = interpreter.parent()?.parent()?;
    // A Python of a virtual environment may look into that which it was made of, too.
    let whole = fs_err::canonicalize(interpreter).ok()?;
    let folders =
        [Some(prefix), whole.parent().and_then(Path::parent)].into_iter().flatten().flat_map(packages);
    for folder in folders {
        add(&mut all, &folder)?;
    }
    Some(all)
}

/// The folders where a Python below `prefix` looks for packages.
fn packages(prefix: &Path) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local"));
    let libraries = [Some(prefix.to_owned()), Some("/usr/local".into()), home].into_iter().flatten();
    let versions = libraries.flat_map(|prefix| {
        let entries = fs_err::read_dir(prefix.join("lib")).ok().into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"python")))
    });
    let folders = versions.flat_map(|version| [version.join("site-packages"), version.join("dist-packages")]);
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    folders.sort();
    folders.dedup();
    folders
}

fn add(all: &mut Vec<u8>, path: &Path) -> Option<()> {
    let status = fs_err::metadata(path).ok()?;
    let moved = status.modified().ok()?;
    if SystemTime::now().duration_since(moved).ok()? < SETTLED {
        return None;
    }
    all.extend_from_slice(path.as_os_str().as_bytes());
    let numbers = [
        status.dev(),
        status.ino(),
        status.size(),
        status.ctime().cast_unsigned(),
        status.ctime_nsec().cast_unsigned(),
    ];
    all.push(0);
    all.extend(
        numbers
            .into_iter()
            .chain([status.mtime().cast_unsigned(), status.mtime_nsec().cast_unsigned()])
            .flat_map(u64::to_le_bytes),
    );
    Some(())
}

fn start_of(program: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut start = Vec::new();
    fs_err::File::open(program).ok()?.take(256).read_to_end(&mut start).ok()?;
    Some(start)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A file that has been there for a while.
    fn settled(path: &Path, text: &str) {
        fs_err::write(path, text).unwrap();
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let then = SystemTime::now() - Duration::from_secs(60);
        fs_err::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn an_answer_is_believed_until_something_moves() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::create_dir_all(at("bin")).unwrap();
        fs_err::create_dir_all(at("lib/python3.11/site-packages")).unwrap();
        let packages = fs_err::File::open(at("lib/python3.11/site-packages")).unwrap();
        let then = SystemTime::now() - Duration::from_secs(60);
        packages.into_file().set_modified(then).unwrap();
        settled(&at("bin/python3"), "\x7fELF");
        settled(&at("bin/tool"), &format!("#!{}\n", at("bin/python3").display()));
        let before = status(&at("bin/tool")).unwrap();
        assert_eq!(status(&at("bin/tool")).unwrap(), before);

        // Another version of what it is made of.
        fs_err::create_dir(at("lib/python3.11/site-packages/tool-2.dist-info")).unwrap();
        assert_eq!(status(&at("bin/tool")), None, "it has moved just now");
        let packages = fs_err::File::open(at("lib/python3.11/site-packages")).unwrap();
        packages.into_file().set_modified(then + Duration::from_secs(1)).unwrap();
        let after = status(&at("bin/tool")).unwrap();
        assert_ne!(after, before);

        settled(&at("bin/tool"), &format!("#!{}\n#\n", at("bin/python3").display()));
        assert_ne!(status(&at("bin/tool")).unwrap(), after);
    }

    #[test]
    fn the_plugins_of_pytest_are_told_without_their_places() {
        let said = "This is pytest version 9.2.0, imported from /opt/pytest/__init__.py\n\
                    registered third-party plugins:\n  pytest-testinfra-10.2.2 at /opt/testinfra/plugin.py\n";
        let version =
            "This is pytest version 9.2.0; registered third-party plugins:; pytest-testinfra-10.2.2";
        assert_eq!(without_paths(said), version);
    }

    #[test]
    fn a_shim_is_always_asked() {
        let folder = tempfile::tempdir().unwrap();
        let shim = folder.path().join("tool");
        settled(&shim, "#!/bin/sh\necho 1\n");
        assert_eq!(status(&shim), None);
        assert_eq!(ask("tool", &shim).unwrap(), "1");
        assert_eq!(find("no such program", folder.path()), None);
    }

    #[test]
    fn a_path_is_one_of_the_workspace_as_it_is_for_the_step_that_runs_it() {
        let workspace = Path::new("/the/workspace");
        for (name, place) in [
            ("tools/ansible-playbook", "/the/workspace/tools/ansible-playbook"),
            ("./ansible-playbook", "/the/workspace/./ansible-playbook"),
            ("/opt/ansible-playbook", "/opt/ansible-playbook"),
        ] {
            assert_eq!(find(name, workspace), Some(PathBuf::from(place)));
            assert_eq!(program_path(name, workspace), Path::new(place));
        }
        assert_eq!(program_path("sh", workspace), Path::new("sh"));
        assert!(find("sh", workspace).is_some_and(|path| path.is_absolute() && path.ends_with("sh")));
    }
}
