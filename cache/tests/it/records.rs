use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use imgbuild_cache::{Cache, Epoch, Error};
use imgbuild_digest::Hash;

use crate::support::{key, open};

#[test]
fn a_slot_remembers_its_last_results() {
    let (_folder, cache) = open();
    for number in 0..20 {
        cache.record_slot("//a:b", &key(&number.to_string()), b"old", number).unwrap();
    }
    cache.record_slot("//a:b", &key("19"), b"new", 50).unwrap();
    cache.record_slot("//a:c", &key("other"), b"", 1).unwrap();
    let history = cache.slot_history("//a:b", 3).unwrap();
    let seen: Vec<_> = history.iter().map(|record| (record.key, record.created)).collect();
    assert_eq!(seen, [(key("19"), 19), (key("18"), 18), (key("17"), 17)]);
    assert_eq!(history[0].fingerprint, b"new");
    assert_eq!(cache.slot_history("//a:b", 100).unwrap().len(), 16);
    assert_eq!(cache.slot_history("//nowhere", 3).unwrap(), []);
    cache.record_slot("//a:bc", &key("longer"), b"", 1).unwrap();
    let under =
        |prefix| cache.slots_under(prefix).unwrap().into_iter().map(|(slot, record)| (slot, record.key));
    assert_eq!(under("//a:c").collect::<Vec<_>>(), [("//a:c".to_owned(), key("other"))]);
    assert_eq!(under("//a:b").count(), 17);
    assert_eq!(under("//a:b").next().unwrap().1, key("19"), "the newest first");
}

#[test]
fn an_estimate_is_the_median_of_the_last_times() {
    let (_folder, cache) = open();
    let [known, unknown] = [Hash::of(b"known"), Hash::of(b"unknown")];
    for milliseconds in [90_000, 90_000, 10, 1000, 30, 20_000, 40] {
        cache.record_duration(&known, Duration::from_millis(milliseconds)).unwrap();
    }
    assert_eq!(cache.estimates(&[known, unknown]).unwrap(), [Some(Duration::from_millis(40)), None]);
}

#[test]
fn an_epoch_stays_until_it_is_replaced() {
    let (_folder, cache) = open();
    let epoch = |id: &str, created| Epoch { id: id.to_owned(), created };
    assert_eq!(cache.epoch(&key("chain")).unwrap(), None);
    assert_eq!(cache.put_epoch(&key("chain"), &epoch("1", 1), false).unwrap(), epoch("1", 1));
    assert_eq!(cache.put_epoch(&key("chain"), &epoch("2", 2), false).unwrap(), epoch("1", 1));
    assert_eq!(cache.put_epoch(&key("chain"), &epoch("3", 3), true).unwrap(), epoch("3", 3));
    assert_eq!(cache.epoch(&key("chain")).unwrap(), Some(epoch("3", 3)));
}

#[test]
fn memos_and_roots_are_kept_by_name() {
    let (_folder, cache) = open();
    let name = Hash::of(b"memo");
    cache.memo_put("packages", &name, b"one").unwrap();
    cache.memo_put("packages", &name, b"two").unwrap();
    assert_eq!(cache.memo_get("packages", &name).unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(cache.memo_get("other", &name).unwrap(), None);
    cache.add_root("b", &key("1")).unwrap();
    cache.add_root("a", &key("2")).unwrap();
    cache.add_root("b", &key("3")).unwrap();
    let roots: Vec<_> = cache.roots().unwrap().into_iter().map(|root| (root.name, root.key)).collect();
    assert_eq!(roots, [("a".to_owned(), key("2")), ("b".to_owned(), key("3"))]);
    assert!(!cache.remove_root("c").unwrap());
}

#[test]
fn a_newer_cache_is_left_alone() {
    let (_folder, cache) = open();
    let root = cache.root().to_owned();
    drop(cache);
    let index = rusqlite::Connection::open(root.join("index.db")).unwrap();
    index.pragma_update(None, "user_version", 99).unwrap();
    let error = Cache::open(&root).unwrap_err();
    assert!(matches!(error, Error::NewerVersion { found: 99, .. }));
    let text = error.to_string();
    assert!(
        text.contains("version 99") && text.contains("use a newer imgbuild, or another cache folder"),
        "{text}"
    );
}

#[test]
fn the_folder_is_this_users_alone() {
    let (folder, cache) = open();
    let mode = std::fs::metadata(cache.root()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    let shared = folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o755)).unwrap();
    drop(Cache::open(&shared).unwrap());
    let mode = std::fs::metadata(&shared).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "an empty folder is taken and closed");
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o755)).unwrap();
    let error = Cache::open(&shared).unwrap_err();
    assert!(error.to_string().contains("run `chmod 700` on it"), "{error}");
}

#[test]
fn a_file_in_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs_err::write(&file, b"").unwrap();
    let error = Cache::open(file.join("cache")).unwrap_err();
    assert!(error.to_string().contains("file/cache"), "{error}");
}

#[test]
fn one_handle_serves_all_threads() {
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let (_folder, cache) = open();
    is_shared(&cache);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let cache = cache.clone();
            scope.spawn(move || {
                for number in 0..20 {
                    let bytes = format!("{}", (thread + number) % 20);
                    let digest = cache.put_bytes(bytes.as_bytes()).unwrap().digest;
                    assert_eq!(cache.read(&digest).unwrap(), bytes.as_bytes());
                }
            });
        }
    });
    assert_eq!(cache.stats().unwrap().blobs, 20);
}

#[test]
fn a_long_log_is_emptied_and_nothing_is_lost() {
    let (_folder, cache) = open();
    let log = cache.root().join("index.db-wal");
    cache.record_duration(&Hash::of(b"short"), Duration::from_secs(1)).unwrap();
    let short = std::fs::metadata(&log).unwrap().len();
    cache.settle().unwrap();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), short, "a short log is left alone");
    let value = vec![7; 3 << 20];
    cache.memo_put("test", &Hash::of(b"long"), &value).unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() > 3 << 20);
    cache.settle().unwrap();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    let again = imgbuild_cache::Cache::open(cache.root()).unwrap();
    assert_eq!(again.memo_get("test", &Hash::of(b"long")).unwrap(), Some(value));
    assert_eq!(again.estimates(&[Hash::of(b"short")]).unwrap(), [Some(Duration::from_secs(1))]);
}
