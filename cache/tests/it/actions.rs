use imgbuild_cache::{ActionResult, Cache, Error, Lease, OutputFile, Run};
use imgbuild_digest::Digest;
use imgbuild_tree::DeltaId;

use crate::support::{everything, key, layer, open, result};

/// A result with one of everything.
fn full(cache: &Cache, run: &Run) -> ActionResult {
    let log = cache.put_bytes(b"the log").unwrap().digest;
    let report = cache.put_bytes(b"the report").unwrap().digest;
    ActionResult {
        layers: vec![layer(cache, run, b"one"), layer(cache, run, b"two")],
        files: vec![OutputFile { path: "report.xml".to_owned(), digest: report, executable: true }],
        log: Some(log),
        ..result("full")
    }
}

#[test]
fn a_result_comes_back_whole() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    assert_eq!(cache.get(&key("a")).unwrap(), None);
    let full = full(&cache, &run);
    assert_eq!(cache.put(&key("a"), &full).unwrap(), full);
    assert_eq!(cache.get(&key("a")).unwrap().as_ref(), Some(&full));
    assert_eq!(cache.is_complete(&full), Ok(()));
    assert_eq!(Cache::open(cache.root()).unwrap().get(&key("a")).unwrap(), Some(full));
}

#[test]
fn the_first_result_stays() {
    let (_folder, cache) = open();
    cache.put(&key("a"), &result("first")).unwrap();
    assert_eq!(cache.put(&key("a"), &result("second")).unwrap(), result("first"));
    assert_eq!(cache.get(&key("a")).unwrap(), Some(result("first")));
}

#[test]
fn a_result_that_lost_something_is_replaced() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let full = full(&cache, &run);
    cache.put(&key("a"), &full).unwrap();
    fs_err::remove_dir_all(cache.layer_tree(&full.layers[1]).parent().unwrap()).unwrap();
    fs_err::remove_file(cache.path(&full.log.unwrap()).unwrap()).unwrap();
    let missing = cache.is_complete(&full).unwrap_err();
    assert_eq!((missing.layers, missing.blobs), (vec![full.layers[1]], vec![full.log.unwrap()]));
    assert_eq!(cache.put(&key("a"), &result("again")).unwrap(), result("again"));
}

#[test]
fn two_keys_name_one_result() {
    let (_folder, cache) = open();
    let error = cache.alias(&key("content"), &key("static")).unwrap_err();
    assert!(matches!(error, Error::NoSuchResult(missing) if missing == key("static")));
    cache.put(&key("static"), &result("one")).unwrap();
    cache.alias(&key("content"), &key("static")).unwrap();
    assert_eq!(cache.get(&key("content")).unwrap(), Some(result("one")));
    assert_eq!(cache.stats().unwrap().results, 1);
    cache.put(&key("other"), &result("two")).unwrap();
    cache.alias(&key("other"), &key("static")).unwrap();
    assert_eq!(cache.get(&key("other")).unwrap(), Some(result("two")), "what a key has stays");
    assert!(cache.invalidate(&key("content")).unwrap());
    assert_eq!(cache.get(&key("static")).unwrap(), None, "both names are gone");
    assert!(!cache.invalidate(&key("content")).unwrap());
}

#[test]
fn many_keys_are_answered_in_order() {
    let (_folder, cache) = open();
    for number in (0..100).step_by(2) {
        cache.put(&key(&number.to_string()), &result(&number.to_string())).unwrap();
    }
    let keys: Vec<_> = (0..100).map(|number| key(&number.to_string())).collect();
    let found = cache.get_many(&keys).unwrap();
    for (number, found) in found.iter().enumerate() {
        let expected = (number % 2 == 0).then(|| result(&number.to_string()));
        assert_eq!(*found, expected);
    }
}

#[test]
fn many_results_are_stored_and_checked_together() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    cache.put(&key("a"), &result("first")).unwrap();
    let whole = full(&cache, &run);
    let lost = DeltaId(imgbuild_digest::Hash::of(b"lost"));
    let partial = ActionResult { layers: vec![whole.layers[0], lost], ..result("partial") };
    let results = [("a", result("second")), ("b", whole.clone()), ("c", partial.clone())];
    cache.put_many(&results.map(|(name, result)| (key(name), result))).unwrap();
    let stored = cache.get_many(&["a", "b", "c"].map(key)).unwrap();
    assert_eq!(
        stored,
        [Some(result("first")), Some(whole.clone()), Some(partial.clone())],
        "the first one stays"
    );

    let checked = cache.are_complete([&whole, &partial, &whole]);
    assert_eq!((&checked[0], &checked[2]), (&Ok(()), &Ok(())));
    assert_eq!(checked[1].as_ref().unwrap_err().layers, [lost]);
}

#[test]
fn what_never_was_stored_is_missing() {
    let (_folder, cache) = open();
    let pretended = ActionResult {
        layers: vec![DeltaId(imgbuild_digest::Hash::of(b"no layer"))],
        log: Some(Digest::of(b"no log")),
        ..result("pretended")
    };
    let missing = cache.is_complete(&pretended).unwrap_err();
    assert_eq!(missing.to_string(), "the stored result lacks 1 of its layers and 1 of its blobs");
}

#[test]
fn a_leased_result_survives_a_collection_in_between() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let full = full(&cache, &run);
    cache.put(&key("a"), &full).unwrap();
    run.lease(&[Lease::Key(key("a"))]).unwrap();
    cache.gc(&everything()).unwrap();
    assert_eq!(cache.is_complete(&cache.get(&key("a")).unwrap().unwrap()), Ok(()));
    drop(run);
    let report = cache.gc(&everything()).unwrap();
    assert_eq!((report.results, report.layers, report.blobs), (1, 2, 2));
    assert_eq!(cache.get(&key("a")).unwrap(), None);
    assert!(cache.is_complete(&full).is_err());
}
