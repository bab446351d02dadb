use std::fs::FileTimes;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use imgbuild_cache::{Cache, Error};
use imgbuild_digest::Digest;

use crate::support::open;

/// The change time of a file cannot be set: to be believed it must really be this old.
const SETTLED: Duration = Duration::from_millis(2100);

fn remembered(cache: &Cache) -> u64 {
    cache.stats().unwrap().memo_files
}

/// Gives a file other bytes of the same length and the modification time that it had.
fn change_unnoticed(path: &Path, bytes: &[u8]) {
    let time = std::fs::metadata(path).unwrap().modified().unwrap();
    fs_err::write(path, bytes).unwrap();
    std::fs::File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn a_settled_file_is_read_once_and_a_changed_one_again() {
    let (folder, cache) = open();
    let path = folder.path().join("file");
    let memo = cache.file_memo(false);
    fs_err::write(&path, b"one").unwrap();
    assert_eq!(memo.digest(&path).unwrap().digest, Digest::of(b"one"));
    assert_eq!(remembered(&cache), 0, "too young to be believed");
    std::thread::sleep(SETTLED);
    assert_eq!(memo.digest(&path).unwrap().digest, Digest::of(b"one"));
    assert_eq!(remembered(&cache), 1);

    // That it is not read again can be seen by a wrong memory.
    let index = rusqlite::Connection::open(cache.root().join("index.db")).unwrap();
    index.execute("UPDATE file_memo SET hash = ?1", [Digest::of(b"lie").bytes]).unwrap();
    assert_eq!(memo.digest(&path).unwrap().digest.bytes, Digest::of(b"lie").bytes);
    assert_eq!(cache.file_memo(true).digest(&path).unwrap().digest, Digest::of(b"one"), "bypassed");
    assert_eq!(memo.digest(&path).unwrap().digest, Digest::of(b"one"), "the bypass has corrected it");

    change_unnoticed(&path, b"two");
    assert_eq!(memo.digest(&path).unwrap().digest, Digest::of(b"two"), "the change time tells");
    let other = folder.path().join("other");
    fs_err::write(&other, b"six").unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(memo.digest(&path).unwrap().digest, Digest::of(b"six"), "the inode tells");
}

#[test]
fn the_executable_bit_is_never_remembered() {
    let (folder, cache) = open();
    let path = folder.path().join("file");
    fs_err::write(&path, b"#!").unwrap();
    let memo = cache.file_memo(false);
    assert!(!memo.digest(&path).unwrap().executable);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    assert!(memo.digest(&path).unwrap().executable);
}

#[test]
fn many_files_each_have_their_own_answer() {
    let (folder, cache) = open();
    let at = |name: &str| folder.path().join(name);
    fs_err::write(at("a"), b"a").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    symlink("a", at("link")).unwrap();
    let paths = [at("a"), at("folder"), at("link"), at("nothing")];
    let found = cache.file_memo(false).digest_many(&paths).unwrap();
    assert_eq!(found[0].as_ref().unwrap().digest, Digest::of(b"a"));
    assert!(matches!(&found[1], Err(Error::NotAFile(path)) if *path == paths[1]));
    assert!(matches!(&found[2], Err(Error::NotAFile(_))));
    assert!(found[3].as_ref().unwrap_err().to_string().contains("nothing"));
}
