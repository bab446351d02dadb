//! The memory of machines that lies beside layers.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use imgbuild_cache::{Cache, Damage, GcPolicy, Lease, Run, VerifyOptions};
use imgbuild_digest::Hash;
use imgbuild_tree::DeltaId;

use crate::support::{everything, key, layer, open, result, verify};

/// Keeps memory as the builder of machines does, last used so many days ago.
fn keep(cache: &Cache, name: &str, layers: &[DeltaId], days: u64) -> PathBuf {
    let folder = cache.warm().join(name);
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join("memory"), name).unwrap();
    fs_err::write(folder.join("disk0.qcow2"), "disk").unwrap();
    let facts = serde_json::json!({
        "layers": layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "files": {"disk0.qcow2": Hash::of(b"disk")},
        "length": name.len(),
        "digest": Hash::of(name.as_bytes()).0,
        "of its maker": 1,
    });
    let path = folder.join("facts.json");
    fs_err::write(&path, serde_json::to_vec(&facts).unwrap()).unwrap();
    let used = SystemTime::now() - Duration::from_secs(days * 86_400);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
    folder
}

/// A layer that a result points to, which has a root.
fn rooted(cache: &Cache, name: &str) -> DeltaId {
    let run = Run::begin(cache).unwrap();
    let delta = layer(cache, &run, name.as_bytes());
    let mut made = result(name);
    made.layers = vec![delta];
    cache.put(&key(name), &made).unwrap();
    cache.add_root(name, &key(name)).unwrap();
    delta
}

#[test]
fn it_is_counted_and_goes_by_age_and_size() {
    let (_folder, cache) = open();
    let delta = rooted(&cache, "layer");
    let (fresh, old) = (keep(&cache, "fresh", &[delta], 1), keep(&cache, "old", &[delta], 9));
    let stats = cache.stats().unwrap();
    assert_eq!(stats.warm, 2);
    assert!(stats.warm_bytes > 0);
    assert_eq!(cache.gc(&GcPolicy::default()).unwrap().warm, 0, "without limits all stays");

    let week = GcPolicy { max_age: Some(Duration::from_secs(7 * 86_400)), ..GcPolicy::default() };
    let dry = cache.gc(&GcPolicy { dry_run: true, ..week.clone() }).unwrap();
    assert!(old.exists(), "a dry run removes nothing");
    let report = cache.gc(&week).unwrap();
    assert_eq!((report.warm, report.bytes_freed), (1, dry.bytes_freed));
    assert!(!old.exists() && fresh.exists());
    assert!(report.bytes_before > report.bytes_freed && report.bytes_freed > 0);

    let report = cache.gc(&everything()).unwrap();
    assert_eq!((report.warm, report.layers), (1, 0), "the layer has a root");
    assert!(!fresh.exists());
    assert_eq!(cache.stats().unwrap().warm_bytes, 0);
}

#[test]
fn what_a_living_run_goes_on_from_stays_and_what_has_no_layers_goes() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let delta = layer(&cache, &run, b"in use");
    run.lease(&[Lease::Layer(delta)]).unwrap();
    let used = keep(&cache, "used", &[delta], 9);
    let gone = keep(&cache, "gone", &[DeltaId(Hash([7; 32]))], 9);
    let young = keep(&cache, "young", &[DeltaId(Hash([7; 32]))], 0);
    let broken = keep(&cache, "broken", &[delta], 9);
    fs_err::write(broken.join("facts.json"), "no JSON").unwrap();
    let report = verify(&cache);
    assert_eq!(report.warm, 4);
    assert!(report.orphans.contains(&gone) && !report.orphans.contains(&used));

    assert_eq!(cache.gc(&GcPolicy::default()).unwrap().warm, 1);
    assert!(!gone.exists() && young.exists() && broken.exists(), "what is written now may be in the making");
    let report = cache.gc(&everything()).unwrap();
    assert_eq!(report.warm, 2);
    assert!(used.exists() && !young.exists() && !broken.exists());

    drop(run);
    let report = cache.gc(&everything()).unwrap();
    assert_eq!((report.layers, report.warm), (1, 1), "it goes with the layer that it stands on");
    assert!(!used.exists());
}

#[test]
fn damage_is_found_and_taken_out() {
    let (_folder, cache) = open();
    let delta = rooted(&cache, "layer");
    let whole = keep(&cache, "whole", &[delta], 0);
    let damaged = [("memory", "memorz"), ("disk0.qcow2", "dizk")].map(|(file, bytes)| {
        let folder = keep(&cache, &format!("with another {file}"), &[delta], 0);
        fs_err::write(folder.join(file), bytes).unwrap();
        folder
    });
    let report = verify(&cache);
    let found: Vec<&PathBuf> = report
        .damage
        .iter()
        .map(|damage| match damage {
            Damage::MemoryUnusable { folder, .. } => folder,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(found.len(), 2);
    assert!(damaged.iter().all(|folder| found.contains(&folder)));
    let repaired = cache.verify(VerifyOptions { repair: true }, &|_| {}).unwrap();
    assert_eq!(repaired.repaired, 2);
    assert!(whole.exists() && damaged.iter().all(|folder| !folder.exists()));
    assert!(verify(&cache).damage.is_empty());
}

#[test]
fn layers_that_nobody_uses_are_removed_at_once() {
    let (_folder, cache) = open();
    let used = rooted(&cache, "used");
    let run = Run::begin(&cache).unwrap();
    let (leased, unused) = (layer(&cache, &run, b"leased"), layer(&cache, &run, b"unused"));
    run.lease(&[Lease::Layer(leased)]).unwrap();
    cache.remove_unused_layers(&[used, leased, unused]).unwrap();
    assert!(cache.has_layer(&used) && cache.has_layer(&leased) && !cache.has_layer(&unused));
    assert!(verify(&cache).damage.is_empty());
}
