//! Files that come out, written for the user.
//!
//! What is there already and the same is left alone. Every file is written under another name first and renamed, so that
//! nobody sees half of one.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use imgbuild_cache::{ActionResult, Cache, OutputFile};
use imgbuild_plan::ActionNode;

use crate::ActionError;

/// Writes the files of a step that brings some out of the image, from its result. Does nothing for other actions.
///
/// # Errors
/// As [`write_outputs`].
pub fn restore(
    cache: &Cache,
    node: &ActionNode,
    result: &ActionResult,
    workspace: &Path,
) -> Result<Vec<PathBuf>, ActionError> {
    let (Some(output), Some(destination)) = (node.action.outputs.first(), node.attributes().str("dest"))
    else {
        return Ok(Vec::new());
    };
    if !node.brings_files() {
        return Ok(Vec::new());
    }
    write_to(cache, output, &result.files, &workspace.join(destination))
}

/// Writes files to these paths.
///
/// # Errors
/// If one cannot be read from the store, or written; its path is in the message.
pub fn write_outputs(cache: &Cache, files: &[(&OutputFile, PathBuf)]) -> Result<(), ActionError> {
    let existing: Vec<&PathBuf> = files.iter().map(|(_, path)| path).filter(|path| path.is_file()).collect();
    let digests = cache.file_memo(false).digest_many(&existing)?;
    let present: HashMap<&PathBuf, _> =
        existing.into_iter().zip(digests).filter_map(|(path, digest)| Some((path, digest.ok()?))).collect();
    for (file, path) in files {
        let same = present
            .get(path)
            .is_some_and(|found| found.digest == file.digest && found.executable == file.executable);
        if !same {
            write_one(cache, file, path).map_err(|error| write_error(path, &error))?;
        }
    }
    Ok(())
}

/// Writes what is below `output` among an action's files to a place that the user named, as `cp -r` does: to the path
/// itself, or below it if it ends with `/` or if there are several.
///
/// # Errors
/// As [`write_outputs`].
pub fn write_to(
    cache: &Cache,
    output: &str,
    files: &[OutputFile],
    destination: &Path,
) -> Result<Vec<PathBuf>, ActionError> {
    let named: Vec<(&OutputFile, &str)> = files
        .iter()
        .filter_map(|file| Some((file, file.path.strip_prefix(output)?.strip_prefix('/')?)))
        .collect();
    let first_of = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let tops: HashSet<String> = named.iter().map(|(_, name)| first_of(name)).collect();
    let is_folder = destination.as_os_str().as_encoded_bytes().ends_with(b"/") || tops.len() > 1;
    let place = |name: &str| match (is_folder, name.split_once('/')) {
        (true, _) => destination.join(name),
        (false, Some((_, below))) => destination.join(below),
        (false, None) => destination.to_path_buf(),
    };
    let placed: Vec<(&OutputFile, PathBuf)> =
        named.into_iter().map(|(file, name)| (file, place(name))).collect();
    write_outputs(cache, &placed)?;
    Ok(placed.into_iter().map(|(_, path)| path).collect())
}

fn write_one(cache: &Cache, file: &OutputFile, path: &Path) -> io::Result<()> {
    let mut from = cache.open_verified(&file.digest).map_err(io::Error::other)?;
    write_whole(path, file.executable, &mut from)
}

/// Writes a file under another name and renames it. Folders above it are made.
///
/// # Errors
/// As the file system gives them; nothing is left behind.
pub fn write_whole(path: &Path, executable: bool, from: &mut dyn Read) -> io::Result<()> {
    write_with_mode(path, if executable { 0o755 } else { 0o644 }, from)
}

/// As [`write_whole`], with these permission bits. A link is followed; into what is no regular file, such as a device or a
/// pipe, it is written as it is.
///
/// # Errors
/// As the file system gives them; nothing is left behind.
pub fn write_with_mode(path: &Path, mode: u32, from: &mut dyn Read) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let there = fs_err::metadata(path);
    if there.as_ref().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let mut to = fs_err::OpenOptions::new().write(true).open(path)?;
        return io::copy(from, &mut to).map(drop);
    }
    let path = if there.is_ok() { fs_err::canonicalize(path)? } else { path.to_path_buf() };
    let folder = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".imgbuild-").permissions(std::fs::Permissions::from_mode(mode));
    let mut file = builder.tempfile_in(folder)?;
    io::copy(from, &mut file)?;
    // The process' mask took bits away.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.persist(&path).map(drop).map_err(|error| error.error)
}

/// What could not be written, for the user.
#[must_use]
pub fn write_error(path: &Path, error: &io::Error) -> ActionError {
    ActionError::environment(format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(cache: &Cache, names: &[&str]) -> Vec<OutputFile> {
        let file = |name: &&str| OutputFile {
            path: (*name).to_owned(),
            digest: cache.put_bytes(name.as_bytes()).unwrap().digest,
            executable: name.ends_with(".sh"),
        };
        names.iter().map(file).collect()
    }

    #[test]
    fn one_goes_to_the_path_and_several_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let out = |name: &str| folder.path().join(name);
        for (files, destination, expected) in [
            (vec!["files/a"], "x", vec!["x"]),
            (vec!["files/a"], "y/", vec!["y/a"]),
            (vec!["files/d/a", "files/d/b.sh"], "z", vec!["z/a", "z/b.sh"]),
            (vec!["files/d/a"], "w/", vec!["w/d/a"]),
            (vec!["files/a", "files/b"], "v", vec!["v/a", "v/b"]),
        ] {
            let files = kept(&cache, &files);
            let written = write_to(&cache, "files", &files, &out(destination)).unwrap();
            assert_eq!(written, expected.iter().map(|name| out(name)).collect::<Vec<_>>());
            for (file, path) in files.iter().zip(&written) {
                assert_eq!(fs_err::read_to_string(path).unwrap(), file.path);
            }
        }
    }

    #[test]
    fn links_are_followed_and_what_is_no_file_is_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs_err::write(place("real"), "old").unwrap();
        std::os::unix::fs::symlink("real", place("link")).unwrap();
        write_with_mode(&place("link"), 0o600, &mut "new".as_bytes()).unwrap();
        assert!(fs_err::symlink_metadata(place("link")).unwrap().is_symlink());
        assert_eq!(fs_err::read_to_string(place("real")).unwrap(), "new");
        std::os::unix::fs::symlink("/dev/null", place("device")).unwrap();
        write_with_mode(&place("device"), 0o600, &mut "gone".as_bytes()).unwrap();
        assert!(!fs_err::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_is_there_and_the_same_is_left_alone() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let files = kept(&cache, &["files/a"]);
        let path = folder.path().join("a");
        let inode = || fs_err::metadata(&path).unwrap().ino();
        write_to(&cache, "files", &files, &path).unwrap();
        let before = inode();
        write_to(&cache, "files", &files, &path).unwrap();
        assert_eq!(inode(), before);
        fs_err::write(&path, "changed").unwrap();
        write_to(&cache, "files", &files, &path).unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "files/a");
    }
}
