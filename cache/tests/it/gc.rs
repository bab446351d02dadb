use std::time::{Duration, SystemTime};

use imgbuild_cache::{ActionResult, Cache, Error, GcPolicy, Lease, Run};
use rusqlite::Connection;

use crate::support::{everything, files_under, key, layer, open, result, verify};

/// Makes everything in the cache look as if it had last been used that long ago.
fn age(cache: &Cache, table: &str, condition: &str, seconds: i64) {
    let index = Connection::open(cache.root().join("index.db")).unwrap();
    let changed = index
        .execute(&format!("UPDATE {table} SET last_used = last_used - ?1 WHERE {condition}"), [seconds])
        .unwrap();
    assert!(changed > 0, "nothing to age in {table}");
}

fn with_layer(cache: &Cache, run: &Run, name: &str) -> ActionResult {
    let delta = layer(cache, run, name.as_bytes());
    let result = ActionResult { layers: vec![delta], ..result(name) };
    cache.put(&key(name), &result).unwrap()
}

#[test]
fn without_limits_only_what_is_unreachable_and_old_goes() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    with_layer(&cache, &run, "kept");
    let stray = layer(&cache, &run, b"stray");
    cache.put_bytes(b"a download").unwrap();
    assert_eq!(cache.gc(&GcPolicy::default()).unwrap().layers, 0, "young");
    age(&cache, "layers", "1", 7200);
    age(&cache, "blobs", "1", 7200);
    let dry = cache.gc(&GcPolicy { dry_run: true, ..GcPolicy::default() }).unwrap();
    assert!(cache.has_layer(&stray), "a dry run removes nothing");
    let report = cache.gc(&GcPolicy::default()).unwrap();
    assert_eq!(dry, report);
    assert_eq!((report.results, report.layers, report.blobs), (0, 1, 0));
    assert!(!cache.has_layer(&stray));
    assert_eq!(cache.stats().unwrap().blobs, 1, "a blob is found by its digest");
}

#[test]
fn the_least_recently_used_results_go_first() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    for (name, ago) in [("oldest", 30_000), ("middle", 20_000), ("newest", 10_000)] {
        with_layer(&cache, &run, name);
        age(&cache, "results", &format!("metadata = CAST('{name}' AS BLOB)"), ago);
    }
    let total = cache.stats().unwrap().layer_bytes;
    let policy = GcPolicy { max_size: Some(total - 1), ..everything() };
    let report = cache.gc(&policy).unwrap();
    assert_eq!((report.results, report.layers, report.bytes_before), (1, 1, total));
    let left: Vec<bool> =
        ["oldest", "middle", "newest"].map(|name| cache.get(&key(name)).unwrap().is_some()).to_vec();
    assert_eq!(left, [false, true, true]);
    // The lookup has renewed the two: they are as young as anything.
    let policy = GcPolicy { max_age: Some(Duration::from_secs(3600)), max_size: None, ..everything() };
    assert_eq!(cache.gc(&policy).unwrap().results, 0);
    age(&cache, "results", "metadata = CAST('newest' AS BLOB)", 4000);
    assert_eq!(cache.gc(&policy).unwrap().results, 1);
    assert_eq!(verify(&cache).damage, []);
}

#[test]
fn a_layer_stays_while_any_result_has_it() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let shared = with_layer(&cache, &run, "shared");
    let both =
        ActionResult { layers: vec![shared.layers[0], layer(&cache, &run, b"more")], ..result("both") };
    cache.put(&key("both"), &both).unwrap();
    cache.add_root("release", &key("both")).unwrap();
    let report = cache.gc(&everything()).unwrap();
    assert_eq!((report.results, report.layers), (1, 0), "the root's layers stay");
    assert_eq!(cache.is_complete(&both), Ok(()));
    assert!(cache.remove_root("release").unwrap());
    assert_eq!(cache.gc(&everything()).unwrap().layers, 2);
}

#[test]
fn what_a_living_run_has_leased_stays() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let delta = layer(&cache, &run, b"in use");
    let blob = cache.put_bytes(b"in use").unwrap().digest;
    run.lease(&[Lease::Layer(delta), Lease::Blob(blob)]).unwrap();
    cache.gc(&everything()).unwrap();
    assert!(cache.has_layer(&delta) && cache.contains(&blob).unwrap());
    drop(run);
    cache.gc(&everything()).unwrap();
    assert!(!cache.has_layer(&delta) && !cache.contains(&blob).unwrap());
    assert_eq!(files_under(&cache.root().join("blobs")), [""; 0]);
    assert_eq!(files_under(&cache.root().join("layers")), [""; 0]);
}

#[test]
fn files_without_a_row_are_swept_after_the_grace_period() {
    let (_folder, cache) = open();
    let digest = cache.put_bytes(b"left behind").unwrap().digest;
    let index = Connection::open(cache.root().join("index.db")).unwrap();
    index.execute("DELETE FROM blobs", []).unwrap();
    assert_eq!(cache.gc(&GcPolicy::default()).unwrap().orphans, 0);
    assert!(cache.contains(&digest).unwrap());
    assert_eq!(cache.gc(&everything()).unwrap().orphans, 1);
    assert!(!cache.contains(&digest).unwrap());
}

#[test]
fn package_indexes_go_when_they_were_not_used_for_long() {
    let (_folder, cache) = open();
    let write = |name: &str, days: u64| {
        let path = cache.indexes().join(name);
        fs_err::write(&path, name).unwrap();
        let used = SystemTime::now() - Duration::from_secs(days * 86_400);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
        path
    };
    assert_eq!(cache.stats().unwrap().package_indexes, 0, "there is no folder yet");
    std::fs::create_dir(cache.indexes()).unwrap();
    let (used, week, old) = (write("used", 0), write("week", 7), write("old", 40));
    let stats = cache.stats().unwrap();
    assert_eq!((stats.package_indexes, stats.package_index_bytes), (3, 11));

    let dry = cache.gc(&GcPolicy { dry_run: true, ..GcPolicy::default() }).unwrap();
    assert!(old.exists(), "a dry run removes nothing");
    let report = cache.gc(&GcPolicy::default()).unwrap();
    assert_eq!(dry, report);
    assert_eq!((report.indexes, report.index_bytes_freed), (1, 3));
    assert!(!old.exists() && week.exists());

    let policy = GcPolicy { max_age: Some(Duration::from_secs(86_400)), ..GcPolicy::default() };
    assert_eq!(cache.gc(&policy).unwrap().indexes, 1);
    assert!(!week.exists() && used.exists());
}

#[test]
fn one_collects_at_a_time() {
    let (_folder, cache) = open();
    cache.put_bytes(b"x").unwrap();
    let inner = std::sync::Mutex::new(None);
    cache.verify(Default::default(), &|_| *inner.lock().unwrap() = Some(cache.gc(&everything()))).unwrap();
    assert!(matches!(inner.into_inner().unwrap(), Some(Err(Error::Busy))));
}

#[test]
fn a_collector_and_builders_do_not_harm_each_other() {
    let (_folder, cache) = open();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                cache.gc(&everything()).unwrap();
            }
        });
        let builders: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let run = Run::begin(&cache).unwrap();
                    for round in 0..40 {
                        let name = format!("round {}", round % 7);
                        run.lease(&[Lease::Key(key(&name))]).unwrap();
                        let hit = cache.get(&key(&name)).unwrap();
                        if hit.is_some_and(|result| cache.is_complete(&result).is_ok()) {
                            continue;
                        }
                        let bytes = name.as_bytes();
                        run.lease(&[Lease::Blob(imgbuild_digest::Digest::of(bytes))]).unwrap();
                        let log = cache.put_bytes(bytes).unwrap().digest;
                        let made = ActionResult { log: Some(log), ..result(&name) };
                        let stored = cache.put(&key(&name), &made).unwrap();
                        assert_eq!(cache.is_complete(&stored), Ok(()), "{name}");
                        assert_eq!(cache.read(&log).unwrap(), bytes);
                    }
                })
            })
            .collect();
        for builder in builders {
            builder.join().unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(verify(&cache).damage, []);
}

#[test]
fn what_was_measured_outlives_a_collection() {
    let (_folder, cache) = open();
    let key = imgbuild_digest::Hash::of(b"a step");
    cache.record_duration(&key, Duration::from_secs(7)).unwrap();
    cache.gc(&everything()).unwrap();
    assert_eq!(cache.estimates(&[key]).unwrap(), [Some(Duration::from_secs(7))]);
}
