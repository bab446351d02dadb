//! A full disk leaves no half of anything.

use std::path::{Path, PathBuf};

use imgbuild_cache::Cache;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::support::{files_under, key, result, verify};

/// A file system of a few megabytes, for as long as this lives.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn small_disk(at: &Path) -> Option<SmallDisk> {
    match mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(c"size=4m,mode=0700")) {
        Ok(()) => Some(SmallDisk(at.to_owned())),
        Err(error) => {
            eprintln!("SKIPPED full_disk: a small file system cannot be mounted here: {error}");
            None
        }
    }
}

#[test]
fn nothing_half_written_is_to_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = small_disk(folder.path()) else { return };
    let cache = Cache::open(folder.path().join("cache")).unwrap();
    cache.put_bytes(b"before").unwrap();

    let error = cache.put_bytes(&vec![7; 8 << 20]).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(files_under(&cache.root().join("blobs")).len(), 1);
    assert_eq!(files_under(&cache.root().join("tmp")), [""; 0]);

    // Fill what is left with results, until the index cannot grow.
    let filler = vec![1; 64 << 10];
    let full = (0..200u32).find_map(|number| {
        let result = imgbuild_cache::ActionResult { metadata: filler.clone(), ..result("filler") };
        cache.put(&key(&number.to_string()), &result).err()
    });
    assert!(full.expect("4 MB hold less than 12 MB").is_disk_full());
    let report = verify(&cache);
    assert_eq!((report.damage, report.orphans, report.blobs), (vec![], vec![], 1));
    assert_eq!(cache.read(&imgbuild_digest::Digest::of(b"before")).unwrap(), b"before");
    let other = Cache::open(cache.root()).unwrap();
    assert_eq!(other.get(&key("0")).unwrap().unwrap().metadata, filler);
}
