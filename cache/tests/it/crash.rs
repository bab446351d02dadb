//! A process that is killed at any moment leaves nothing wrong behind.

use std::path::Path;
use std::time::Duration;

use imgbuild_cache::{ActionResult, Cache, Run};

use crate::support::{again, chunked, everything, files_under, key, layer, noise, result, verify};

const VARIABLE: &str = "IMGBUILD_CACHE_CRASH";
const KILLS: u64 = 15;

#[test]
fn nothing_is_wrong_after_a_kill() {
    if let Some(root) = std::env::var_os(VARIABLE) {
        return write_until_killed(Path::new(&root));
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    for round in 0..KILLS {
        let mut child = again("crash::nothing_is_wrong_after_a_kill", VARIABLE, &root).spawn().unwrap();
        let begun = root.join("logs").join(child.id().to_string());
        while !begun.exists() {
            assert_eq!(child.try_wait().unwrap(), None, "the writer has failed");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Spread over a few commits; no two rounds alike.
        std::thread::sleep(Duration::from_millis(round * 17 % 100));
        assert_eq!(child.try_wait().unwrap(), None, "the writer has failed");
        child.kill().unwrap();
        child.wait().unwrap();
        let cache = Cache::open(&root).unwrap();
        let report = verify(&cache);
        assert_eq!(report.damage, [], "after kill {round}");
    }
    let cache = Cache::open(&root).unwrap();
    let report = cache.gc(&everything()).unwrap();
    assert!(report.dead_runs > 0);
    assert_eq!(files_under(&root.join("blobs")), [""; 0]);
    assert_eq!(files_under(&root.join("layers")), [""; 0]);
    assert_eq!(files_under(&root.join("chunks")), [""; 0]);
    // Runs of the killed are gone; this process has at most its own, and none if it had nothing to put aside.
    assert!(files_under(&root.join("runs")).len() <= 1);
}

fn write_until_killed(root: &Path) {
    let cache = Cache::open(root).unwrap();
    let run = Run::begin(&cache).unwrap();
    let seed = std::process::id();
    for number in 0u64.. {
        let name = format!("{seed} {number}");
        let log = cache.put_bytes(name.as_bytes()).unwrap().digest;
        let text = [&*noise(seed.into(), 100_000), &vec![1; 200_000], name.as_bytes()].concat();
        let layers = vec![layer(&cache, &run, name.as_bytes()), chunked(&cache, &run, &text, &[])];
        cache.put(&key(&name), &ActionResult { layers, log: Some(log), ..result(&name) }).unwrap();
        fs_err::write(cache.logs().join(seed.to_string()), b"committed").unwrap();
        if number % 8 == 7 {
            cache.gc(&everything()).unwrap();
        }
    }
}
