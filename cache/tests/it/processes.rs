//! Several processes on one cache at once.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use imgbuild_cache::{Cache, Error};

use crate::support::{again, key, open, result, verify};

const VARIABLE: &str = "IMGBUILD_CACHE_PROCESSES";
const KEYS: usize = 60;

#[test]
fn each_key_is_built_by_one_of_several_processes() {
    if let Some(root) = std::env::var_os(VARIABLE) {
        return build_all(Path::new(&root));
    }
    let (_folder, cache) = open();
    let children: Vec<_> = (0..3)
        .map(|_| {
            again("processes::each_key_is_built_by_one_of_several_processes", VARIABLE, cache.root())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let mut built: Vec<String> =
        fs_err::read_to_string(cache.logs().join("built")).unwrap().lines().map(str::to_owned).collect();
    built.sort();
    let mut expected: Vec<String> = (0..KEYS).map(|number| number.to_string()).collect();
    expected.sort();
    assert_eq!(built, expected);
    let report = verify(&cache);
    assert_eq!((report.damage, report.orphans, report.results), (vec![], vec![], KEYS));
    let left = std::fs::read_dir(cache.root().join("locks")).unwrap().count();
    assert_eq!(left, 1, "only the collector's lock is left");
}

fn build_all(root: &Path) {
    let cache = Cache::open(root).unwrap();
    for number in 0..KEYS {
        let name = number.to_string();
        let _lock = cache.lock_key(&key(&name)).unwrap();
        if cache.get(&key(&name)).unwrap().is_some() {
            continue;
        }
        let log = cache.put_bytes(name.as_bytes()).unwrap().digest;
        let mut built =
            std::fs::OpenOptions::new().append(true).create(true).open(cache.logs().join("built")).unwrap();
        built.write_all(format!("{name}\n").as_bytes()).unwrap();
        cache.put(&key(&name), &imgbuild_cache::ActionResult { log: Some(log), ..result(&name) }).unwrap();
    }
}

#[test]
fn a_waiting_caller_is_told_for_whom_and_can_stop() {
    let (_folder, cache) = open();
    let held = cache.lock_key(&key("a")).unwrap();
    assert!(cache.try_lock_key(&key("a")).unwrap().is_none());
    assert!(cache.try_lock_key(&key("b")).unwrap().is_some(), "another key is free");
    let mut told = Vec::new();
    let error = cache
        .lock_key_with(&key("a"), |waiting| {
            told.push(waiting);
            if told.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap_err();
    assert!(matches!(error, Error::WaitCancelled(_)));
    assert!(told.iter().all(|waiting| waiting.process == Some(std::process::id())));
    assert!(told[2].waited > Duration::ZERO);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| cache.lock_key(&key("a")).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiter.is_finished());
        drop(held);
        waiter.join().unwrap().unwrap();
    });
}
