use std::os::unix::fs::PermissionsExt;

use imgbuild_cache::{Damage, Error, Run, VerifyOptions};
use imgbuild_tree::{CaptureOptions, DeltaId, EmptyView, XattrNamespace, capture};

use crate::support::{everything, key, layer, open, result, verify};

#[test]
fn a_layer_is_committed_with_its_manifest() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let delta = layer(&cache, &run, b"hello");
    assert!(cache.has_layer(&delta));
    assert_eq!(fs_err::read(cache.layer_tree(&delta).join("file")).unwrap(), b"hello");
    let manifest = cache.layer_manifest(&delta).unwrap();
    assert_eq!(manifest.id(), delta);
    assert!(std::sync::Arc::ptr_eq(&manifest, &cache.layer_manifest(&delta).unwrap()));
    assert_eq!(std::fs::read_dir(run.temporary()).unwrap().count(), 0, "the work folder is gone");
    assert_eq!(layer(&cache, &run, b"hello"), delta, "an equal layer is the same one");
    assert_eq!(std::fs::read_dir(run.temporary()).unwrap().count(), 0);
    assert_eq!(verify(&cache).damage, []);
}

#[test]
fn many_layers_are_committed_together() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let there = layer(&cache, &run, b"one");
    let options = CaptureOptions::new(1_600_000_000, XattrNamespace::User);
    let staged = ["one", "two", "two", "three"].map(|contents| {
        let staged = cache.stage(&run).unwrap();
        fs_err::write(staged.upper().join("file"), contents).unwrap();
        let manifest = capture(staged.upper(), &EmptyView, &options).unwrap();
        (staged, manifest)
    });
    let deltas = cache.commit_layers(Vec::from(staged)).unwrap();
    assert_eq!(deltas[0], there, "an equal layer is the same one, there before");
    assert_eq!(deltas[1], deltas[2], "or in the same batch");
    for (delta, contents) in deltas.iter().zip(["one", "two", "two", "three"]) {
        assert_eq!(fs_err::read_to_string(cache.layer_tree(delta).join("file")).unwrap(), contents);
    }
    assert_eq!(cache.stats().unwrap().layers, 3);
    assert_eq!(std::fs::read_dir(run.temporary()).unwrap().count(), 0);
    assert_eq!(verify(&cache).damage, []);
}

#[test]
fn what_is_not_committed_is_removed_whatever_its_modes() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let staged = cache.stage(&run).unwrap();
    let closed = staged.upper().join("closed/inner");
    fs_err::create_dir_all(&closed).unwrap();
    fs_err::write(closed.join("file"), b"").unwrap();
    std::fs::create_dir(staged.work().join("work")).unwrap();
    for folder in [&closed, closed.parent().unwrap(), &staged.work().join("work")] {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o0)).unwrap();
    }
    drop(staged);
    assert_eq!(std::fs::read_dir(run.temporary()).unwrap().count(), 0);
    let temporary = run.temporary().to_owned();
    drop(run);
    assert!(!temporary.exists());
}

#[test]
fn a_missing_or_damaged_layer_is_an_error_that_says_so() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let nowhere = DeltaId(imgbuild_digest::Hash::of(b"nowhere"));
    assert!(!cache.has_layer(&nowhere));
    assert!(matches!(cache.layer_manifest(&nowhere), Err(Error::NoSuchLayer(_))));
    let delta = layer(&cache, &run, b"hello");
    let manifest = cache.layer_tree(&delta).with_file_name("manifest");
    let mut bytes = fs_err::read(&manifest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs_err::write(&manifest, bytes).unwrap();
    let error = cache.layer_manifest(&delta).unwrap_err();
    assert!(error.to_string().contains("run `imgbuild cache verify --repair`"), "{error}");
}

#[test]
fn verify_reads_trees_and_repair_drops_what_stands_on_damage() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let [good, bad] = [b"good", b"evil"].map(|contents| layer(&cache, &run, contents));
    for (name, layers) in [("good", vec![good]), ("bad", vec![good, bad])] {
        cache.put(&key(name), &imgbuild_cache::ActionResult { layers, ..result(name) }).unwrap();
    }
    fs_err::write(cache.layer_tree(&bad).join("file"), b"EVIL").unwrap();
    let report = cache.verify(VerifyOptions { repair: true }, &|_| {}).unwrap();
    assert!(
        matches!(&report.damage[..], [
        Damage::LayerChanged { layer, .. },
        Damage::ResultIncomplete { missing, .. },
    ] if *layer == bad && missing.layers == [bad]),
        "{:?}",
        report.damage
    );
    assert!(!cache.has_layer(&bad) && cache.has_layer(&good));
    assert_eq!(cache.get(&key("bad")).unwrap(), None);
    assert_eq!(cache.get(&key("good")).unwrap().unwrap().layers, [good]);
    let after = verify(&cache);
    assert_eq!((after.damage, after.orphans), (vec![], vec![]));
}

#[test]
fn a_collected_layer_is_gone_with_its_files() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let staged = cache.stage(&run).unwrap();
    std::fs::create_dir(staged.upper().join("closed")).unwrap();
    fs_err::write(staged.upper().join("closed/file"), b"x").unwrap();
    std::fs::set_permissions(staged.upper().join("closed"), PermissionsExt::from_mode(0o555)).unwrap();
    let options = CaptureOptions::new(0, XattrNamespace::User);
    let manifest = capture(staged.upper(), &EmptyView, &options).unwrap();
    let delta = cache.commit_layer(staged, &manifest).unwrap();
    drop(run);
    let report = cache.gc(&everything()).unwrap();
    assert_eq!((report.layers, report.orphans), (1, 0));
    assert!(!cache.layer_tree(&delta).exists());
    assert_eq!(cache.stats().unwrap().layers, 0);
}
