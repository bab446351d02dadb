//! Peak memory does not depend on the size of a layer.

use std::fs::File;
use std::num::NonZeroUsize;
use std::process::Command;

use imgbuild_formats::oci::{OciOptions, write_layout};
use imgbuild_formats::{Compression, Image, LayerSource, Platform, Step};
use imgbuild_tree::{DeltaManifest, Entry, Metadata, Node};

use crate::fixture::path;

const FOLDER: &str = "IMGBUILD_TEST_FOLDER";
const SIZE: u64 = 1 << 30;
const LIMIT_KIB: u64 = 160 << 10;

#[test]
fn a_file_of_a_gibibyte_takes_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("big")).unwrap().set_len(SIZE).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::write_the_file", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let peak = text.split("peak_kib=").nth(1).and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
    let peak = peak.unwrap_or_else(|| panic!("no figure in {text}"));
    assert!(peak < LIMIT_KIB, "peak of {peak} KiB");
}

/// Runs in a process of its own: the peak of a process cannot be set back.
#[test]
#[ignore = "run by `a_file_of_a_gibibyte_takes_little_memory`"]
fn write_the_file() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else {
        eprintln!("SKIPPED: `write_the_file` is run by `a_file_of_a_gibibyte_takes_little_memory`");
        return;
    };
    let mut hasher = blake3::Hasher::new();
    let zeros = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        hasher.update(&zeros);
    }
    let digest = imgbuild_digest::Digest::blake3(imgbuild_digest::Hash(*hasher.finalize().as_bytes()), SIZE);
    let node =
        Node::File { digest, sha256: [0; 32], metadata: Metadata { mode: 0o644, ..Metadata::default() } };
    let manifest = DeltaManifest { entries: vec![Entry { path: path("big"), node }] };
    let layer = LayerSource { manifest: &manifest, tree: &folder };
    let image = Image {
        platform: Platform::linux("amd64"),
        config: Default::default(),
        steps: vec![Step { layer: Some(layer), created_by: "big".to_owned() }],
        created: 0,
    };
    let workers = NonZeroUsize::new(2).unwrap();
    let options = OciOptions { compression: Compression::Zstd, workers, ..OciOptions::default() };
    write_layout(&folder.join("layout"), &[image], &options).unwrap();
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak_kib={}", peak.trim().trim_end_matches(" kB"));
}
