//! The memory of machines that lies beside layers.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use imgbuild_cache::{Cache, Damage, GcPolicy, Lease, Run, VerifyOptions};
use imgbuild_digest::Digest;
use imgbuild_tree::DeltaId;

use crate::support::{everything, key, layer, open, result, verify};

/// Keeps memory, last used so many days ago; gives its folder.
fn keep(cache: &Cache, layers: &[DeltaId], days: u64) -> PathBuf {
    let run = Run::begin(cache).unwrap();
    let mut staged = cache.stage_warm(&run).unwrap();
    fs_err::write(staged.file("memory"), "memory").unwrap();
    staged.add("memory", Digest::of(b"memory"));
    let disk = run.temporary().join("disk");
    fs_err::write(&disk, "disk").unwrap();
    staged.copy("disk0.qcow2", &disk).unwrap();
    staged.commit(layers, &"of its maker").unwrap();
    let folder = cache.warm_snapshot(layers).unwrap().file("");
    let used = SystemTime::now() - Duration::from_secs(days * 86_400);
    std::fs::File::options().write(true).open(folder.join("facts.json")).unwrap().set_modified(used).unwrap();
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
fn it_is_found_by_its_layers_until_it_is_replaced_or_removed() {
    let (_folder, cache) = open();
    let layers = ["lower", "upper"].map(|name| rooted(&cache, name));
    keep(&cache, &layers, 0);
    assert!(cache.warm_snapshot(&layers[..1]).is_none(), "it is of two layers");
    let found = cache.warm_snapshot(&layers).unwrap();
    assert_eq!(found.about::<String>().unwrap(), "of its maker");
    assert!(found.about::<u32>().is_none());
    assert_eq!(fs_err::read(found.file("memory")).unwrap(), b"memory");
    assert!(found.is_whole("memory").unwrap() && found.is_whole("disk0.qcow2").unwrap());
    assert!(found.is_whole("another").is_err());

    let run = Run::begin(&cache).unwrap();
    cache.stage_warm(&run).unwrap().commit(&layers, &2).unwrap();
    let replaced = cache.warm_snapshot(&layers).unwrap();
    assert_eq!((replaced.about(), replaced.files().len()), (Some(2), 0));
    assert!(found.is_whole("memory").is_err(), "it is gone");
    cache.remove_warm_snapshot(replaced);
    assert!(cache.warm_snapshot(&layers).is_none());

    drop(cache.stage_warm(&run).unwrap());
    let left = fs_err::read_dir(run.temporary()).unwrap().count();
    assert_eq!(left, 0, "what is not committed is removed");
}

#[test]
fn it_is_counted_and_goes_by_age_and_size() {
    let (_folder, cache) = open();
    let layers = ["one", "other"].map(|name| rooted(&cache, name));
    let (fresh, old) = (keep(&cache, &layers[..1], 1), keep(&cache, &layers[1..], 9));
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
    assert_eq!((report.warm, report.layers), (1, 0), "the layers have roots");
    assert!(!fresh.exists());
    assert_eq!(cache.stats().unwrap().warm_bytes, 0);
}

#[test]
fn what_a_living_run_goes_on_from_stays_and_what_has_no_layers_goes() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let delta = layer(&cache, &run, b"in use");
    run.lease(&[Lease::Layer(delta)]).unwrap();
    let [lost, lost_now] = [b"lost 1", b"lost 2"].map(|name| layer(&cache, &run, name));
    let (used, broken) = (keep(&cache, &[delta], 9), keep(&cache, &[delta, delta], 9));
    let (gone, young) = (keep(&cache, &[lost], 9), keep(&cache, &[lost_now], 0));
    fs_err::write(broken.join("facts.json"), "no JSON").unwrap();
    cache.remove_unused_layers(&[lost, lost_now]).unwrap();
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
fn one_without_its_layers_goes_when_another_is_kept() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let lost = layer(&cache, &run, b"lost");
    let folder = keep(&cache, &[lost], 0);
    cache.remove_unused_layers(&[lost]).unwrap();
    assert!(folder.exists());
    keep(&cache, &[rooted(&cache, "there")], 0);
    assert!(!folder.exists());
}

#[test]
fn damage_is_found_and_taken_out() {
    let (_folder, cache) = open();
    let layers = ["one", "other", "third"].map(|name| rooted(&cache, name));
    let whole = keep(&cache, &layers[..1], 0);
    let damaged = [("memory", "memorz", &layers[1..2]), ("disk0.qcow2", "disc", &layers[2..])].map(
        |(file, bytes, layers)| {
            let folder = keep(&cache, layers, 0);
            fs_err::write(folder.join(file), bytes).unwrap();
            folder
        },
    );
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
