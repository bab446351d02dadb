//! Measures what lies on the path of every hit: `cargo run --release -p imgbuild-cache --example hot_path`.
//!
//! Prints the fastest and the median of several rounds, on a cache in the system's temporary folder.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imgbuild_cache::{ActionKey, ActionResult, Cache, Lease, Run};
use imgbuild_digest::{Digest, Hash};
use imgbuild_tree::{
    CaptureOptions, DeltaId, DeltaManifest, EmptyView, Entry, MergedView, Metadata, Node, ParentView as _,
    TreePath, XattrNamespace, capture, merge,
};

const KEYS: usize = 10_000;
const FILES: usize = 5_000;
const LAYERS: usize = 200;
const PATHS: usize = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("cache");
    let mut out = std::io::stdout().lock();
    let mut measure = |name: &str, rounds: usize, work: &mut dyn FnMut(usize)| -> std::io::Result<()> {
        let mut times: Vec<Duration> = (0..rounds)
            .map(|round| {
                let begun = Instant::now();
                work(round);
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        writeln!(out, "{name:<58} {:>10.1?} {:>10.1?}", times[0], times[rounds / 2])
    };

    let cache = Cache::open(&root)?;
    let key = |number: usize| ActionKey(Hash::of(&number.to_le_bytes()));
    let layers: Vec<DeltaId> = (0..30usize).map(|number| DeltaId(Hash::of(&number.to_be_bytes()))).collect();
    let keys: Vec<ActionKey> = (0..KEYS).map(key).collect();
    for key in &keys {
        let result = ActionResult {
            output: key.0,
            layers: layers.clone(),
            files: Vec::new(),
            metadata: vec![b'm'; 400],
            fingerprint: vec![b'f'; 2000],
            log: None,
            duration: Duration::from_secs(1),
            created: 0,
            builder: "rootfs".to_owned(),
        };
        cache.put(key, &result)?;
    }

    measure("open an existing cache", 50, &mut |_| drop(Cache::open(&root).expect("it exists")))?;
    measure("open it and get one key", 50, &mut |round| {
        let cache = Cache::open(&root).expect("it exists");
        assert!(cache.get(&keys[round]).expect("readable").is_some());
    })?;
    measure("get_many of 10,000 keys (30 layers, 2 KB fingerprint each)", 10, &mut |_| {
        assert!(cache.get_many(&keys).expect("readable").iter().all(Option::is_some));
    })?;
    let absent: Vec<ActionKey> = (KEYS..2 * KEYS).map(key).collect();
    measure("get_many of 10,000 keys that miss", 10, &mut |_| {
        assert!(cache.get_many(&absent).expect("readable").iter().all(Option::is_none));
    })?;
    let run = Run::begin(&cache)?;
    let leases: Vec<Lease> = keys.iter().map(|key| Lease::Key(*key)).collect();
    measure("lease 10,000 keys", 5, &mut |_| run.lease(&leases).expect("writable"))?;
    measure("begin and end a run", 20, &mut |_| drop(Run::begin(&cache).expect("writable")))?;
    measure("put_bytes of 1 KB, new", 50, &mut |round| {
        cache.put_bytes(&[round as u8; 1024]).expect("writable");
    })?;
    measure("put_bytes of 1 KB, known", 50, &mut |round| {
        cache.put_bytes(&[round as u8; 1024]).expect("writable");
    })?;
    measure("100 new blobs of 1 KB in one batch", 10, &mut |round| {
        let batch = cache.sync_batch();
        for number in 0..100usize {
            let bytes = [(round * 100 + number).to_le_bytes(); 128].concat();
            batch.put_bytes(&bytes).expect("writable");
        }
        batch.commit().expect("writable");
    })?;
    measure("lock and unlock a key", 50, &mut |round| drop(cache.lock_key(&keys[round]).expect("free")))?;

    let sources = folder.path().join("sources");
    std::fs::create_dir(&sources)?;
    let paths: Vec<_> = (0..FILES).map(|number| sources.join(number.to_string())).collect();
    for path in &paths {
        fs_err::write(path, vec![b's'; 4000])?;
    }
    std::thread::sleep(Duration::from_millis(2100));
    let memo = cache.file_memo(false);
    measure("file memo of 5,000 files of 4 KB, cold", 1, &mut |_| {
        assert!(memo.digest_many(&paths).expect("readable").iter().all(Result::is_ok));
    })?;
    measure("file memo of 5,000 files, warm", 10, &mut |_| {
        assert!(memo.digest_many(&paths).expect("readable").iter().all(Result::is_ok));
    })?;

    let stack = stack();
    let encoded = stack[0].encode();
    measure("encode and name a manifest of 500 paths", 20, &mut |_| {
        assert!(!stack[0].encode().is_empty());
        let _ = stack[0].id();
    })?;
    measure("decode it", 20, &mut |_| drop(DeltaManifest::decode(&encoded).expect("valid")))?;
    measure("first lookup in 200 layers of 100,000 paths", 5, &mut |_| {
        assert!(MergedView::new(&stack).lookup(&stack[199].entries[7].path).is_some());
    })?;
    let view = MergedView::new(&stack);
    measure("100,000 lookups there", 5, &mut |_| {
        for entry in stack.iter().flat_map(|layer| &layer.entries) {
            assert!(view.lookup(&entry.path).is_some());
        }
    })?;
    measure("merge them", 5, &mut |_| assert!(merge(&stack).len() >= PATHS))?;
    measure("capture 5,000 files of 4 KB, first layer", 3, &mut |_| {
        capture(&sources, &EmptyView, &CaptureOptions::new(i64::MAX, XattrNamespace::User))
            .expect("readable");
    })?;
    Ok(())
}

/// Many layers over each other, each with its own files in common folders.
fn stack() -> Vec<Arc<DeltaManifest>> {
    let path = |text: String| TreePath::new(text.as_bytes()).expect("a path");
    (0..LAYERS)
        .map(|layer| {
            let per_layer = PATHS / LAYERS;
            let mut entries: Vec<Entry> = (0..per_layer)
                .map(|number| Entry {
                    path: path(format!("usr/share/folder-{}/package-{layer}/file-{number}", number % 40)),
                    node: Node::File {
                        digest: Digest::of(&number.to_le_bytes()),
                        sha256: [0; 32],
                        metadata: Metadata::of_root(0o644, 0),
                    },
                })
                .collect();
            if layer == 0 {
                let folder = || Node::Directory { opaque: false, metadata: Metadata::of_root(0o755, 0) };
                entries
                    .extend(["usr", "usr/share"].map(|at| Entry { path: path(at.into()), node: folder() }));
            }
            entries.sort_by(|one, other| one.path.cmp(&other.path));
            Arc::new(DeltaManifest { entries })
        })
        .collect()
}
