use std::path::{Path, PathBuf};
use std::time::Duration;

use imgbuild_cache::{
    ActionResult, Cache, Damage, Error, Extent, GcPolicy, Lease, Piece, Run, VerifyOptions,
};
use imgbuild_tree::DeltaId;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::support::{
    chunked, data, everything, files_under, key, layer, noise, open, result, verify, whole,
};

const MIB: usize = 1 << 20;

fn pieces(cache: &Cache, layer: &DeltaId) -> Vec<Piece> {
    cache.chunked_file(layer, "file").unwrap().unwrap().list().pieces().to_vec()
}

fn chunk_files(cache: &Cache) -> Vec<PathBuf> {
    files_under(&cache.root().join("chunks")).into_iter().map(PathBuf::from).collect()
}

/// Where the whole form of the file lies.
fn place(cache: &Cache, layer: &DeltaId) -> PathBuf {
    cache.layer_tree(layer).with_file_name("whole").join("file")
}

fn keep(cache: &Cache, name: &str, layers: &[DeltaId]) -> ActionResult {
    cache.put(&key(name), &ActionResult { layers: layers.to_vec(), ..result(name) }).unwrap()
}

#[test]
fn what_is_said_is_kept_and_read_again() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let mut contents = noise(1, 12 * MIB + 1000);
    contents[5 * MIB..6 * MIB].fill(0);
    let extents = [
        data(0, MIB as u64),
        Extent { offset: 2 << 20, length: 1 << 20, zero: true },
        data(3 << 20, 9 << 20),
        data(12 << 20, 1000),
    ];
    let delta = chunked(&cache, &run, &contents, &extents);
    let found = pieces(&cache, &delta);
    let zeros: Vec<(u64, u64)> = found
        .iter()
        .filter(|piece| matches!(piece, Piece::Zero { .. }))
        .map(|piece| (piece.offset() >> 20, piece.length() >> 20))
        .collect();
    assert_eq!(zeros, [(2, 1), (5, 1)], "said to be zero, and found to be");
    let said: u64 = found.iter().map(Piece::length).sum();
    assert_eq!(said, (11 << 20) + 1000);

    // The file is there as it was written, and put together again if it is not.
    let path = whole(&run, &delta).unwrap();
    assert_eq!(path, place(&cache, &delta));
    assert_eq!(fs_err::read(&path).unwrap(), contents);
    fs_err::remove_dir_all(path.parent().unwrap()).unwrap();
    assert_eq!(cache.stats().unwrap().whole, 0);
    assert_eq!(whole(&run, &delta).unwrap(), path);
    contents[MIB..3 * MIB].fill(0);
    assert_eq!(fs_err::read(&path).unwrap(), contents);
    assert_eq!(verify(&cache).damage, []);
    assert_eq!(std::fs::read_dir(run.temporary()).unwrap().count(), 0);
}

#[test]
fn equal_contents_have_one_list_and_one_chunk() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let contents = [vec![0; MIB], noise(2, 3 * MIB), vec![0; MIB]].concat();
    let one = chunked(&cache, &run, &contents, &[]);
    let there = chunk_files(&cache);
    // In other extents, with zeros that are known to be such.
    let mib = |number: u64| number << 20;
    let extents = [
        Extent { offset: 0, length: mib(1), zero: true },
        data(mib(1), mib(1) + 300),
        data(mib(2) + 300, mib(2) - 300),
        Extent { offset: mib(4), length: 65536, zero: true },
        Extent { offset: mib(4) + 65536, length: mib(1) - 65536, zero: true },
    ];
    assert_eq!(chunked(&cache, &run, &contents, &extents), one, "the layer is the same");
    // Elsewhere in a file that says less.
    let moved = [vec![7; 300], contents].concat();
    let other = chunked(&cache, &run, &moved, &[data(mib(1) + 300, mib(3))]);
    assert_ne!(other, one);
    let chunks = |delta| {
        let data = pieces(&cache, delta).into_iter();
        data.filter_map(|piece| if let Piece::Data { chunk, .. } = piece { Some(chunk) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(chunks(&other), chunks(&one));
    assert_eq!(chunk_files(&cache), there);
    assert_eq!(cache.stats().unwrap().chunks, there.len() as u64);
    let taken: u64 = there.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(cache.stats().unwrap().chunk_bytes, taken);
    assert_eq!(verify(&cache).damage, []);
}

/// Where a file is cut is part of the format: other places would be another version.
#[test]
fn cuts_are_those_of_before() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let delta = chunked(&cache, &run, &noise(3, 2 * MIB), &[]);
    let lengths: Vec<u64> = pieces(&cache, &delta).iter().map(Piece::length).collect();
    assert_eq!(lengths, [330_672, 252_973, 292_139, 350_661, 351_609, 161_488, 78_791, 278_819]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_small_change_costs_few_chunks(seed: u64, at in 0..20 * MIB, insert in 0..5000_usize) {
        let (_folder, cache) = open();
        let run = Run::begin(&cache).unwrap();
        let contents = noise(seed, 20 * MIB);
        chunked(&cache, &run, &contents, &[]);
        let before = chunk_files(&cache).len();
        prop_assert!(before >= 20);
        let mut changed = contents.clone();
        changed[at] ^= 1;
        let delta = chunked(&cache, &run, &changed, &[]);
        prop_assert!(chunk_files(&cache).len() - before <= 3);
        let read = cache.chunked_file(&delta, "file").unwrap().unwrap();
        let mut bytes = Vec::new();
        read.read(|at, part| {
            assert_eq!(at, bytes.len() as u64);
            let imgbuild_cache::Part::Data(part) = part else { panic!("there are no zeros") };
            bytes.extend_from_slice(part);
            Ok::<(), Error>(())
        }).unwrap();
        prop_assert!(bytes == changed);
        let before = chunk_files(&cache).len();
        let longer = [&contents[..at], &vec![9; insert], &contents[at..]].concat();
        chunked(&cache, &run, &longer, &[]);
        prop_assert!(chunk_files(&cache).len() - before <= 4);
    }
}

#[test]
fn chunks_go_with_the_last_layer_that_holds_them() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let (shared, own) = (noise(4, 3 * MIB), noise(5, 2 * MIB));
    let mut both = [&shared[..], &vec![0; MIB], &own].concat();
    let first = chunked(&cache, &run, &shared, &[]);
    let held = cache.stats().unwrap().chunks;
    let second = chunked(&cache, &run, &both, &[]);
    keep(&cache, "first", &[first]);
    keep(&cache, "second", &[second]);
    cache.add_root("release", &key("first")).unwrap();
    let stats = cache.stats().unwrap();
    assert!(stats.chunks > held);

    let whole_bytes = |delta| {
        place(&cache, delta)
            .metadata()
            .map_or(0, |status| std::os::unix::fs::MetadataExt::blocks(&status) * 512)
    };
    let whole_of_second = whole_bytes(&second);
    assert_eq!((stats.whole, stats.whole_bytes), (2, whole_bytes(&first) + whole_of_second));
    let policy = GcPolicy { max_size: None, max_age: Some(Duration::ZERO), ..everything() };
    let dry = cache.gc(&GcPolicy { dry_run: true, ..policy.clone() }).unwrap();
    assert_eq!(cache.stats().unwrap(), stats, "a dry run removes nothing");
    let report = cache.gc(&policy).unwrap();
    assert_eq!(dry, report);
    let after = cache.stats().unwrap();
    assert_eq!((report.results, report.layers, report.whole), (1, 1, 2));
    assert_eq!((after.chunks, report.chunks as u64), (held, stats.chunks - held));
    let all = |stats: &imgbuild_cache::CacheStats| {
        stats.layer_bytes + stats.blob_bytes + stats.chunk_bytes + stats.whole_bytes
    };
    assert_eq!((report.bytes_before, report.bytes_freed), (all(&stats), all(&stats) - all(&after)));
    assert_eq!(chunk_files(&cache).len() as u64, held);
    let report = verify(&cache);
    assert_eq!((report.damage, report.orphans), (vec![], vec![]));

    // What went is made again, with what is left.
    both[0] ^= 1;
    let third = chunked(&cache, &run, &both, &[]);
    assert_eq!(fs_err::read(whole(&run, &third).unwrap()).unwrap(), both);
    cache.remove_unused_layers(&[third]).unwrap();
    assert!(cache.has_layer(&third), "it is leased");
    drop(run);
    cache.remove_unused_layers(&[third]).unwrap();
    assert_eq!(cache.stats().unwrap().chunks, held);
    cache.remove_root("release").unwrap();
    cache.gc(&everything()).unwrap();
    assert_eq!(chunk_files(&cache), [""; 0].map(PathBuf::from));
    assert_eq!(cache.stats().unwrap().chunks, 0);
}

#[test]
fn a_chunk_that_is_about_to_be_used_again_may_go_meanwhile() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let contents = noise(6, 2 * MIB);
    let first = chunked(&cache, &run, &contents, &[]);
    // Another file with the same chunks is cut, and all that there is goes before its layer is committed.
    let mut staged = cache.stage(&run).unwrap();
    fs_err::write(staged.upper().join("file"), &contents).unwrap();
    fs_err::write(staged.upper().join("other"), b"").unwrap();
    let mut read = |buffer: &mut [u8], at: u64| {
        buffer.copy_from_slice(&contents[at as usize..][..buffer.len()]);
        Ok(())
    };
    let extents = [data(0, contents.len() as u64)];
    cache.keep_as_chunks(&mut staged, "file", contents.len() as u64, &extents, &mut read).unwrap();
    cache.gc(&everything()).unwrap();
    assert!(!cache.has_layer(&first) && chunk_files(&cache).is_empty());
    let options = imgbuild_tree::CaptureOptions::new(1_600_000_000, imgbuild_tree::XattrNamespace::User);
    let manifest = imgbuild_tree::capture(staged.upper(), &imgbuild_tree::EmptyView, &options).unwrap();
    let second = cache.commit_layer(staged, &manifest).unwrap();
    fs_err::remove_file(place(&cache, &second)).unwrap();
    assert_eq!(fs_err::read(whole(&run, &second).unwrap()).unwrap(), contents);
    assert_eq!(verify(&cache).damage, []);
}

#[test]
fn a_file_that_says_nothing_is_not_kept() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let mut staged = cache.stage(&run).unwrap();
    fs_err::write(staged.upper().join("file"), b"a header").unwrap();
    cache.keep_as_chunks(&mut staged, "file", 1 << 30, &[], &mut |_, _| panic!("nothing is read")).unwrap();
    assert_eq!(std::fs::read_dir(staged.upper()).unwrap().count(), 0);
    let unordered = [data(65536, 10), data(0, 10)];
    fs_err::write(staged.upper().join("file"), b"a header").unwrap();
    let mut read = |buffer: &mut [u8], _: u64| {
        buffer.fill(1);
        Ok(())
    };
    let error = cache.keep_as_chunks(&mut staged, "file", 1 << 30, &unordered, &mut read).unwrap_err();
    assert!(matches!(error, Error::Chunks(_)), "{error}");
}

/// Changes a byte of a chunk.
fn damage(path: &Path) {
    let mut bytes = fs_err::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::remove_file(path).unwrap();
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn a_chunk_that_is_damaged_or_gone_is_made_again_with_its_layers() {
    for is_gone in [false, true] {
        let (_folder, cache) = open();
        let run = Run::begin(&cache).unwrap();
        let contents = noise(7, 2 * MIB);
        let bad = chunked(&cache, &run, &contents, &[]);
        let good = layer(&cache, &run, b"good");
        let results = [keep(&cache, "bad", &[good, bad]), keep(&cache, "good", &[good])];
        let path = chunk_files(&cache).pop().unwrap();
        if is_gone {
            fs_err::remove_file(&path).unwrap()
        } else {
            damage(&path)
        }
        // While the file is there, nobody asks.
        assert!(whole(&run, &bad).is_ok());
        fs_err::remove_file(place(&cache, &bad)).unwrap();
        let error = whole(&run, &bad).unwrap_err();
        assert!(matches!(error, Error::BadChunk { layer, .. } if layer == bad), "{error}");
        assert!(error.to_string().ends_with("build again"), "{error}");
        assert!(cache.is_complete(&results[0]).is_err() && cache.is_complete(&results[1]).is_ok());
        let aside = files_under(&cache.root().join("quarantine"));
        assert_eq!((aside.len(), path.exists()), (usize::from(!is_gone), false));

        assert_eq!(chunked(&cache, &run, &contents, &[]), bad, "it is built again");
        assert_eq!(fs_err::read(whole(&run, &bad).unwrap()).unwrap(), contents);
        assert!(cache.is_complete(&keep(&cache, "bad", &[good, bad])).is_ok());
        assert_eq!(verify(&cache).damage, []);
    }
}

#[test]
fn verify_reads_chunks_and_whole_files_and_repair_removes_what_is_damaged() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let (one, other) = (noise(8, MIB), noise(9, MIB));
    let (changed, lacking, fine) = (
        chunked(&cache, &run, &one, &[]),
        chunked(&cache, &run, &other, &[]),
        chunked(&cache, &run, &noise(10, MIB), &[]),
    );
    for (name, delta) in [("changed", changed), ("lacking", lacking), ("fine", fine)] {
        keep(&cache, name, &[delta]);
    }
    let chunk_of = |delta| {
        let Piece::Data { chunk, .. } = pieces(&cache, delta)[0] else { panic!("it has data") };
        let name = chunk.to_string();
        (chunk, cache.root().join("chunks").join(&name[..2]).join(name))
    };
    let ((first, first_path), (second, second_path)) = (chunk_of(&changed), chunk_of(&lacking));
    damage(&first_path);
    fs_err::remove_file(second_path).unwrap();
    damage(&place(&cache, &fine));
    let report = cache.verify(VerifyOptions { repair: true }, &|_| {}).unwrap();
    for damage in [
        Damage::ChunkChanged(first),
        Damage::ChunkMissing(second),
        Damage::LayerUnusable { layer: changed, reason: Damage::ChunkChanged(first).to_string() },
        Damage::LayerUnusable { layer: lacking, reason: Damage::ChunkMissing(second).to_string() },
        Damage::WholeUnusable {
            path: place(&cache, &fine),
            reason: "it has other bytes than its digest says".to_owned(),
        },
    ] {
        assert!(report.damage.contains(&damage), "{damage} is not in {:#?}", report.damage);
    }
    assert_eq!(report.damage.len(), 7, "and two results: {:#?}", report.damage);
    assert!(!cache.has_layer(&changed) && !cache.has_layer(&lacking) && cache.has_layer(&fine));
    assert!(!place(&cache, &fine).exists());
    assert!(cache.get(&key("changed")).unwrap().is_none() && cache.get(&key("fine")).unwrap().is_some());
    let after = verify(&cache);
    assert_eq!((after.damage, after.orphans), (vec![], vec![]));
    assert!(whole(&run, &fine).unwrap().exists());
}

#[test]
fn whole_files_of_leased_layers_stay() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let [used, old] = [11, 12].map(|seed| chunked(&cache, &run, &noise(seed, MIB), &[]));
    keep(&cache, "used", &[used]);
    keep(&cache, "old", &[old]);
    for name in ["used", "old"] {
        cache.add_root(name, &key(name)).unwrap();
    }
    let other = Run::begin(&cache).unwrap();
    other.lease(&[Lease::Layer(used)]).unwrap();
    let report = cache.gc(&everything()).unwrap();
    assert_eq!((report.whole, report.layers), (1, 0));
    assert!(place(&cache, &used).exists() && !place(&cache, &old).exists());
    drop(other);
    cache.gc(&everything()).unwrap();
    assert!(!place(&cache, &used).exists());
    assert!(whole(&run, &used).is_ok() && whole(&run, &old).is_ok());
}

#[test]
fn a_whole_file_is_that_of_a_row_or_goes() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let bytes = noise(14, MIB);
    let delta = chunked(&cache, &run, &bytes, &[]);
    keep(&cache, "kept", &[delta]);
    cache.add_root("kept", &key("kept")).unwrap();
    let size = cache.size_of_layers(&[delta]).unwrap();
    assert!(size > 2 * MIB as u64, "{size}: the chunks, and the file beside them");

    // What a kill leaves between the rename and the row.
    let index = Connection::open(cache.root().join("index.db")).unwrap();
    index.execute("DELETE FROM whole", []).unwrap();
    let alone = cache.size_of_layers(&[delta]).unwrap();
    assert!((MIB as u64..size).contains(&alone), "{alone}");
    assert_eq!(cache.gc(&GcPolicy { dry_run: true, ..everything() }).unwrap().orphans, 1);
    assert!(place(&cache, &delta).exists());
    assert_eq!(cache.gc(&everything()).unwrap().orphans, 1);
    assert!(!place(&cache, &delta).exists());

    // The same layer made again brings it back, and an equal one shares all of its chunks.
    assert_eq!(chunked(&cache, &run, &bytes, &[]), delta);
    assert_eq!(cache.gc(&everything()).unwrap().orphans, 0);
    assert_eq!(verify(&cache).damage, []);
}

#[test]
fn a_cache_of_before_is_brought_to_this_version() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let old = layer(&cache, &run, b"old");
    let index = Connection::open(cache.root().join("index.db")).unwrap();
    for table in ["chunks", "layer_chunks", "whole"] {
        index.execute(&format!("DROP TABLE {table}"), []).unwrap();
    }
    index.pragma_update(None, "user_version", 1).unwrap();
    std::fs::remove_dir(cache.root().join("chunks")).unwrap();
    let cache = Cache::open(cache.root()).unwrap();
    assert!(cache.has_layer(&old));
    let new = chunked(&cache, &run, &noise(13, MIB), &[]);
    assert!(whole(&run, &new).is_ok());
    cache.gc(&GcPolicy::default()).unwrap();
    assert_eq!(verify(&cache).damage, []);
}

#[test]
fn a_list_that_is_damaged_is_an_error() {
    let (_folder, cache) = open();
    let run = Run::begin(&cache).unwrap();
    let delta = chunked(&cache, &run, &noise(14, MIB), &[]);
    assert!(cache.chunked_file(&delta, "another").unwrap().is_none());
    let error = run.whole_file(&delta, "another", |_, _| Ok::<(), Error>(())).unwrap_err();
    assert!(matches!(error, Error::NoSuchFile { .. }), "{error}");
    fs_err::remove_file(place(&cache, &delta)).unwrap();
    fs_err::write(cache.layer_tree(&delta).join("file.chunks"), "size 7\n").unwrap();
    let error = whole(&run, &delta).unwrap_err().to_string();
    assert!(error.contains("not a list of chunks; run `imgbuild cache verify --repair`"), "{error}");
}
