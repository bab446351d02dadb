//! How long a plan takes when everything is there: `cargo run --release -p imgbuild-plan --example plan_bench [IMAGES]`.
//!
//! Images of twelve actions each, on one base; the results of the wanted exports are in the cache. What is timed: all
//! keys and the whole plan, once with every wanted result there and once with one image's lowest step changed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use imgbuild_cache::{ActionResult, Cache, OutputFile};
use imgbuild_digest::Hash;
use imgbuild_model::{ActionRef, Value};
use imgbuild_plan::testing::{Declared, context, dict, locked, texts};
use imgbuild_plan::{InputDigests, Plan, PlanOptions, plan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let images: usize = std::env::args().nth(1).map_or(Ok(10_000), |text| text.parse())?;
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let cache = Cache::open(folder.path())?;

    let mut declared = Declared::default();
    let base = declared.at("//base:base").source("debian", &[("suite", Value::string("stable"))]);
    let mut first = None;
    let mut exports: Vec<Arc<ActionRef>> = Vec::new();
    for image in 0..images {
        declared.at(&format!("//images/i{image}:image"));
        let name = format!("step {image}");
        let mut layer = declared.step(&base, "apt_install", &[("packages", texts(&["curl", "nginx"]))]);
        layer =
            declared.step(&layer, "env", &[("variables", dict(&[("LANG", "C.UTF-8"), ("IMAGE", &name)]))]);
        first.get_or_insert_with(|| layer.action.clone());
        for step in 0..4 {
            let inline = [format!("echo {step} >> /etc/{image}"), "true".to_owned()];
            let inline: Vec<&str> = inline.iter().map(String::as_str).collect();
            layer = declared.step(&layer, "shell", &[("inline", texts(&inline))]);
            let given = [("content", Value::string(&name)), ("dest", Value::string("/etc/motd"))];
            layer = declared.step(&layer, "file", &given);
        }
        layer = declared.step(&layer, "user", &[("name", Value::string("app"))]);
        layer = declared.step(&layer, "seal", &[]);
        exports.push(declared.output(Some(&layer), "oci", &[], &["image"]));
    }
    let started = Clock::start();
    let (graph, wanted) = declared.graph(&exports.iter().collect::<Vec<_>>());
    report("graph", started);
    let (lock, digests) = (locked(&graph), InputDigests::default());
    let context = context(&graph, &lock, &digests);
    println!("{} actions", graph.nodes.len());

    let blob = cache.put_bytes(b"artifact")?;
    let unknown = plan(context, &[], &cache, &PlanOptions::default())?;
    for place in &wanted {
        let Some(key) = unknown.actions[*place].key else { continue };
        cache.put(&key, &result(&blob.digest))?;
    }
    for round in 0..3 {
        let started = Clock::start();
        let keys = plan(context, &[], &cache, &PlanOptions::default())?;
        report(&format!("keys alone, round {round}"), started);
        assert!(keys.needs.is_empty());
        let started = Clock::start();
        let all = plan(context, &wanted, &cache, &PlanOptions::default())?;
        report(&format!("plan with everything there, round {round}"), started);
        assert_eq!(all.running().count(), 0);
    }
    if let Some(first) = first {
        declared.change(&first, |action| action.attributes.set("packages", texts(&["wget"])));
    }
    let (graph, wanted) = declared.graph(&exports.iter().collect::<Vec<_>>());
    let lock = locked(&graph);
    let started = Clock::start();
    let changed: Plan = plan(
        imgbuild_plan::testing::context(&graph, &lock, &digests),
        &wanted,
        &cache,
        &PlanOptions::default(),
    )?;
    report(&format!("plan with one image changed, {} to run", changed.running().count()), started);
    Ok(())
}

fn report(what: &str, started: Clock) {
    let (wall, processor) = started.read();
    println!("{what}: {:.0} ms, {:.0} ms of processor", wall * 1000.0, processor * 1000.0);
}

/// Time on the wall, and of this process on all processors: on a busy machine only the second says much.
struct Clock {
    wall: Instant,
    processor: f64,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), processor: processor_seconds() }
    }

    /// Both since the start, in seconds.
    fn read(&self) -> (f64, f64) {
        (self.wall.elapsed().as_secs_f64(), processor_seconds() - self.processor)
    }
}

fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn result(blob: &imgbuild_digest::Digest) -> ActionResult {
    ActionResult {
        output: Hash::of(b"output"),
        layers: Vec::new(),
        files: vec![OutputFile { path: "image".to_owned(), digest: *blob, executable: false }],
        metadata: vec![b' '; 400],
        fingerprint: vec![b' '; 1500],
        log: None,
        duration: Duration::from_secs(1),
        created: 0,
        builder: "rootfs/1".to_owned(),
    }
}
