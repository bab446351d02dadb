//! What the tests share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use imgbuild_cache::{
    ActionKey, ActionResult, Cache, Error, Extent, GcPolicy, Part, Run, VerifyOptions, VerifyReport,
};
use imgbuild_digest::Hash;
use imgbuild_tree::{CaptureOptions, DeltaId, EmptyView, XattrNamespace, capture};

pub fn open() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().join("cache")).unwrap();
    (folder, cache)
}

pub fn key(name: &str) -> ActionKey {
    ActionKey(Hash::of(name.as_bytes()))
}

pub fn result(output: &str) -> ActionResult {
    ActionResult {
        output: Hash::of(output.as_bytes()),
        layers: Vec::new(),
        files: Vec::new(),
        metadata: output.into(),
        fingerprint: b"fingerprint".to_vec(),
        log: None,
        duration: Duration::from_millis(1500),
        created: 1_700_000_000,
        builder: "rootfs".to_owned(),
    }
}

/// Stores a layer that holds one file with these bytes, as a step would.
pub fn layer(cache: &Cache, run: &Run, contents: &[u8]) -> DeltaId {
    let staged = cache.stage(run).unwrap();
    fs_err::write(staged.upper().join("file"), contents).unwrap();
    let options = CaptureOptions::new(1_600_000_000, XattrNamespace::User);
    let manifest = capture(staged.upper(), &EmptyView, &options).unwrap();
    cache.commit_layer(staged, &manifest).unwrap()
}

/// A run of bytes that says something.
pub fn data(offset: u64, length: u64) -> Extent {
    Extent { offset, length, zero: false }
}

/// Stores a layer whose `file` is kept as chunks: where `extents` say that it says something, or everywhere if there are none. As it
/// was written it is these bytes.
pub fn chunked(cache: &Cache, run: &Run, contents: &[u8], extents: &[Extent]) -> DeltaId {
    let size = contents.len() as u64;
    let whole = [data(0, size)];
    let extents = if extents.is_empty() { &whole } else { extents };
    let mut staged = cache.stage(run).unwrap();
    fs_err::write(staged.upper().join("file"), contents).unwrap();
    let mut read = |buffer: &mut [u8], at: u64| {
        buffer.copy_from_slice(&contents[at as usize..][..buffer.len()]);
        Ok(())
    };
    cache.keep_as_chunks(&mut staged, "file", size, extents, &mut read).unwrap();
    let options = CaptureOptions::new(1_600_000_000, XattrNamespace::User);
    let manifest = capture(staged.upper(), &EmptyView, &options).unwrap();
    cache.commit_layer(staged, &manifest).unwrap()
}

/// The file of such a layer, put together where it is not there: zeros where it says nothing.
pub fn whole(run: &Run, layer: &DeltaId) -> Result<PathBuf, Error> {
    use std::os::unix::fs::FileExt as _;
    run.whole_file(layer, "file", |file, target| {
        target.set_len(file.list().size())?;
        file.read(|at, part| match part {
            Part::Data(bytes) => Ok(target.write_all_at(bytes, at)?),
            Part::Zero(_) => Ok(()),
        })
    })
}

/// Bytes that no compression makes smaller, and that are the same each time (xorshift).
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

pub fn verify(cache: &Cache) -> VerifyReport {
    cache.verify(VerifyOptions::default(), &|_| {}).unwrap()
}

/// A policy under which everything may go that nothing protects.
pub fn everything() -> GcPolicy {
    GcPolicy { max_size: Some(0), max_age: None, grace: Duration::ZERO, dry_run: false }
}

/// All files under a folder.
pub fn files_under(folder: &Path) -> Vec<String> {
    let mut files: Vec<String> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| entry.path().display().to_string())
        .collect();
    files.sort();
    files
}

/// This test program again, in a process of its own, running only `test` with `variable` set.
pub fn again(test: &str, variable: &str, value: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(variable, value);
    command.stdout(std::process::Stdio::null());
    command
}
