//! What is said of a disk, as chunks: cut, put together, and cut again where all of it has moved, against `zstd` on the same bytes.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use imgbuild_cache::{Cache, Error, Extent, Part, Run};
use imgbuild_tree::{CaptureOptions, DeltaId, EmptyView, XattrNamespace, capture};

use crate::Setup;

/// How many bytes are cut; a third of them can be made smaller.
const SIZE: usize = 300 << 20;
/// By how many bytes all of it moves. Chunks are cut by contents, so that nearly all are the same.
const MOVED: usize = 70_000;
const NAME: &str = "disk";

pub(crate) fn chunks(setup: &Setup) -> Result<(), String> {
    let cache = Cache::open(setup.folder.path().join("chunks")).map_err(said)?;
    let run = Run::begin(&cache).map_err(said)?;
    let contents = contents();
    let began = Instant::now();
    let delta = keep(&cache, &run, &contents)?;
    let ours = began.elapsed().as_secs_f64();
    println!("  {} MiB written, cut and kept   {ours:.2} s", SIZE >> 20);
    match zstd(&contents)? {
        Some(theirs) => {
            println!("  against `zstd -1 -T0` without keeping it   {theirs:.2} s = {:.2}", ours / theirs)
        }
        None => println!("  zstd is not installed"),
    }
    let before = cache.stats().map_err(said)?;
    let began = Instant::now();
    keep(&cache, &run, &[&[1; MOVED], &contents[..]].concat())?;
    let again = began.elapsed().as_secs_f64();
    let after = cache.stats().map_err(said)?;
    println!(
        "  the same, {} KiB further   {again:.2} s; {} of {} chunks are new",
        MOVED / 1024,
        after.chunks - before.chunks,
        before.chunks
    );
    fs_err::remove_dir_all(cache.layer_tree(&delta).with_file_name("whole")).map_err(said)?;
    let began = Instant::now();
    let put_together = run.whole_file(&delta, NAME, |chunked, file| {
        chunked.read(|offset, part| match part {
            Part::Data(bytes) => file.write_all_at(bytes, offset).map_err(Error::Io),
            Part::Zero(_) => Ok(()),
        })
    });
    put_together.map_err(said)?;
    println!("  put together again   {:.2} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// A layer with one file of these bytes, which is kept as chunks.
fn keep(cache: &Cache, run: &Run, contents: &[u8]) -> Result<DeltaId, String> {
    let mut staged = cache.stage(run).map_err(said)?;
    fs_err::write(staged.upper().join(NAME), contents).map_err(said)?;
    let size = contents.len() as u64;
    let extents = [Extent { offset: 0, length: size, zero: false }];
    let mut read = |buffer: &mut [u8], offset: u64| {
        let at = usize::try_from(offset).map_err(std::io::Error::other)?;
        buffer.copy_from_slice(&contents[at..at + buffer.len()]);
        Ok(())
    };
    cache.keep_as_chunks(&mut staged, NAME, size, &extents, &mut read).map_err(said)?;
    let options = CaptureOptions::new(0, XattrNamespace::of_process());
    let manifest = capture(staged.upper(), &EmptyView, &options).map_err(said)?;
    cache.commit_layer(staged, &manifest).map_err(said)
}

/// Two thirds of noise (xorshift), and lines between.
fn contents() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut contents = Vec::with_capacity(SIZE + 32);
    while contents.len() < SIZE {
        for _ in 0..2 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            contents.extend(state.to_le_bytes());
        }
        contents.extend(b"a line.\n");
    }
    contents.truncate(SIZE);
    contents
}

/// How long `zstd` takes for them, in seconds.
fn zstd(contents: &[u8]) -> Result<Option<f64>, String> {
    let began = Instant::now();
    let child = Command::new("zstd")
        .args(["-q", "-1", "-T0", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return Ok(None) };
    child.stdin.take().ok_or("`zstd` reads nothing")?.write_all(contents).map_err(said)?;
    let status = child.wait().map_err(said)?;
    status
        .success()
        .then(|| Some(began.elapsed().as_secs_f64()))
        .ok_or_else(|| format!("`zstd` ended with {status}"))
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
