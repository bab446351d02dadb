//! What a step costs besides itself: mount, helper, namespaces, exec, teardown of `true`.
//!
//! `cargo bench -p imgbuild-rootfs --bench step`; needs `busybox-static`.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use imgbuild_rootfs::overlay::{OverlayOptions, mount};
use imgbuild_rootfs::sandbox::{HELPER_ARGUMENT, Network, Sandbox, SandboxSpec, helper_main};
use imgbuild_rootfs::userns;

const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some(HELPER_ARGUMENT) {
        helper_main();
    }
    let entered = userns::enter(std::env::args_os())?;
    let folder = tempfile::tempdir()?;
    let lower = folder.path().join("lower");
    fs_err::create_dir_all(lower.join("bin"))?;
    fs_err::copy("/bin/busybox", lower.join("bin/true"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for network in [Network::None, Network::Host { metadata: false }] {
        let mut spec = SandboxSpec::new(["/bin/true"]);
        spec.network = network;
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let path = |name: &str| folder.path().join(format!("{name}-{network:?}-{round}"));
            let (upper, work) = (path("upper"), path("work"));
            let begun = Instant::now();
            fs_err::create_dir(&upper)?;
            fs_err::create_dir(&work)?;
            let root = mount(&[&lower], Some((&upper, &work)), OverlayOptions::default())?;
            let outcome =
                runtime.block_on(async { Sandbox::new().spawn(&spec, root.as_fd())?.wait().await })?;
            drop(root);
            times.push(begun.elapsed());
            assert!(outcome.exit.success(), "{outcome:?}");
        }
        times.sort();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "{entered:?} {network:?}: median {:.2} ms, 90% {:.2} ms, best {:.2} ms",
            milliseconds(times[ROUNDS / 2]),
            milliseconds(times[ROUNDS * 9 / 10]),
            milliseconds(times[0]),
        );
    }
    Ok(())
}
