use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;

use imgbuild_cache::{Cache, Damage, Error, VerifyOptions};
use imgbuild_digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::support::{files_under, open, verify};

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[test]
fn a_blob_comes_back_by_either_digest() {
    let (folder, cache) = open();
    let stored = cache.put_bytes(b"hello").unwrap();
    assert_eq!(stored.digest, Digest::of(b"hello"));
    assert_eq!(stored.sha256, sha256(b"hello"));
    assert!(cache.contains(&stored.digest).unwrap());
    assert_eq!(cache.read(&stored.digest).unwrap(), b"hello");
    assert_eq!(cache.find_sha256(&stored.sha256, 5).unwrap(), Some(stored.digest));
    assert_eq!(cache.find_sha256(&stored.sha256, 6).unwrap(), None);
    let path = cache.path(&stored.digest).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o444);
    assert_eq!(cache.put_bytes(b"hello").unwrap(), stored);

    let file = folder.path().join("file");
    fs_err::write(&file, vec![b'x'; 1_000_000]).unwrap();
    let copied = cache.put_file(&file).unwrap();
    assert_eq!(copied.digest, Digest::of(&vec![b'x'; 1_000_000]));
    // Another process sees the same.
    let other = Cache::open(cache.root()).unwrap();
    assert_eq!(other.read(&stored.digest).unwrap(), b"hello");
    assert_eq!(verify(&other).damage, []);
}

#[test]
fn what_is_not_there_is_said_so() {
    let (_folder, cache) = open();
    let digest = Digest::of(b"nothing");
    assert!(!cache.contains(&digest).unwrap());
    assert!(matches!(cache.path(&digest), Err(Error::NoSuchBlob(found)) if found == digest));
    assert!(matches!(cache.read(&digest), Err(Error::NoSuchBlob(_))));
    let error = cache.contains(&Digest::sha256([0; 32], 1)).unwrap_err();
    assert!(error.to_string().ends_with("is no BLAKE3 digest; look it up with its SHA-256 first"), "{error}");
}

#[test]
fn a_writer_keeps_only_what_was_expected() {
    let (_folder, cache) = open();
    let wanted = Digest::sha256(sha256(b"right"), 5);
    let mut writer = cache.writer(Some(wanted)).unwrap();
    writer.write_all(b"wrong").unwrap();
    assert!(matches!(writer.commit(), Err(Error::DigestMismatch { expected, .. }) if expected == wanted));
    let mut writer = cache.writer(Some(wanted)).unwrap();
    assert!(writer.write_all(b"right and more").unwrap_err().to_string().contains("more bytes"));
    drop(writer);
    let mut writer = cache.writer(Some(wanted)).unwrap();
    writer.write_all(b"rig").unwrap();
    drop(writer);
    assert_eq!(files_under(&cache.root().join("blobs")), [""; 0]);
    assert_eq!(files_under(&cache.root().join("tmp")), [""; 0]);
    let mut writer = cache.writer(Some(wanted)).unwrap();
    writer.write_all(b"right").unwrap();
    assert_eq!(writer.commit().unwrap().digest, Digest::of(b"right"));
}

#[test]
fn a_batch_becomes_visible_as_a_whole() {
    let (_folder, cache) = open();
    let batch = cache.sync_batch();
    let blobs: Vec<_> =
        (0..100u32).map(|number| batch.put_bytes(&number.to_le_bytes()).unwrap().digest).collect();
    assert_eq!(batch.len(), 100);
    assert!(blobs.iter().all(|digest| !cache.contains(digest).unwrap()));
    let stored = batch.commit().unwrap();
    assert_eq!(stored.iter().map(|blob| blob.digest).collect::<Vec<_>>(), blobs);
    assert!(blobs.iter().all(|digest| cache.contains(digest).unwrap()));
    drop(cache.sync_batch());
    assert!(cache.sync_batch().commit().unwrap().is_empty());
}

#[test]
fn a_damaged_blob_is_found_while_reading_and_moved_away() {
    let (_folder, cache) = open();
    let digest = cache.put_bytes(b"hello").unwrap().digest;
    let path = cache.path(&digest).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    fs_err::write(&path, b"jello").unwrap();
    let mut bytes = Vec::new();
    let error = cache.open_verified(&digest).unwrap().read_to_end(&mut bytes).unwrap_err();
    assert!(error.to_string().contains("was damaged on disk"), "{error}");
    assert!(!cache.contains(&digest).unwrap());
    assert_eq!(cache.find_sha256(&sha256(b"hello"), 5).unwrap(), None);
    assert_eq!(fs_err::read(cache.root().join("quarantine").join(digest.hex())).unwrap(), b"jello");
    cache.put_bytes(b"hello").unwrap();
    assert_eq!(cache.read(&digest).unwrap(), b"hello");
}

#[test]
fn verify_finds_damage_and_repair_removes_it() {
    let (_folder, cache) = open();
    let [changed, gone, fine] =
        [&b"changed"[..], b"missing", b"fine"].map(|bytes| cache.put_bytes(bytes).unwrap().digest);
    let path = cache.path(&changed).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    fs_err::write(&path, b"CHANGED").unwrap();
    fs_err::remove_file(cache.path(&gone).unwrap()).unwrap();
    let stray = cache.root().join("blobs/00").join("0".repeat(64));
    fs_err::create_dir_all(stray.parent().unwrap()).unwrap();
    fs_err::write(&stray, b"no row").unwrap();

    let steps = std::sync::atomic::AtomicU64::new(0);
    let report = cache
        .verify(VerifyOptions { repair: true }, &|progress| {
            assert_eq!(progress.total, 3);
            steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
        .unwrap();
    assert_eq!((report.blobs, report.repaired, steps.into_inner()), (3, 2, 3));
    assert_eq!(report.damage.len(), 2);
    assert!(report.damage.contains(&Damage::BlobChanged(changed)));
    assert!(report.damage.contains(&Damage::BlobMissing(gone)));
    assert_eq!(report.orphans, [stray]);
    assert_eq!(verify(&cache).damage, []);
    assert!(cache.contains(&fine).unwrap());
}
