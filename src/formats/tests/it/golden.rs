//! The bytes of what is written, and that nothing but the arguments changes them.

use std::io::Write as _;
use std::num::NonZeroUsize;

use imgbuild_formats::oci::{OciOptions, write_layout};
use imgbuild_formats::{Compression, Compressor, tar_size, write_docker_archive, write_tar};

use crate::fixture::{is_root, stack};

fn layout_digest(compression: Compression, workers: usize) -> String {
    let stack = stack();
    let destination = stack.folder.path().join("layout");
    let workers = NonZeroUsize::new(workers).unwrap();
    let options = OciOptions { compression, workers, ref_name: Some("latest"), ..OciOptions::default() };
    write_layout(&destination, &[stack.image()], &options).unwrap().digest.hex()
}

/// A digest that moves without intent makes every image of every user another one. Where it moves with intent (the
/// format, or a release of a compressor), the change belongs in the changelog.
#[test]
fn the_digest_of_a_layout_is_known() {
    if !is_root("the_digest_of_a_layout_is_known") {
        return;
    }
    let found = [
        layout_digest(Compression::None, 1),
        layout_digest(Compression::Gzip, 1),
        layout_digest(Compression::Zstd, 2),
    ];
    let expected = [
        "1cc7e2c2980842beec97e3a09efad2da668220144486b210f3dd95c365179b25",
        "2753355f84f677ffe6dc5f305ec4d8a9903f207fe34288985f95ffc6ba4de30d",
        "dacf7f20cb1506aca234e11b9280a8dbd8da9a6110691a5b3e7d63d5ddb3bdcc",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_size_of_a_tar_stream_is_known_before_it_is_written() {
    if !is_root("the_size_of_a_tar_stream_is_known_before_it_is_written") {
        return;
    }
    let stack = stack();
    let view = stack.squashed();
    let mut stream = Vec::new();
    let written = write_tar(&view, &mut stream).unwrap();
    assert_eq!(written, stream.len() as u64);
    assert_eq!(written, tar_size(&view).unwrap());
}

/// A stream that neither compresses to nothing nor not at all.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut words = Vec::with_capacity(length + 8);
    while words.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        words.extend_from_slice(
            ["lorem ", "ipsum ", "dolor ", "sit ", "amet, "][(state >> 24) as usize % 5].as_bytes(),
        );
        words.push((state >> 16) as u8);
    }
    words.truncate(length);
    words
}

fn compress(data: &[u8], compression: Compression, workers: usize, piece: usize) -> Vec<u8> {
    let workers = NonZeroUsize::new(workers).unwrap();
    let mut compressor = Compressor::new(Vec::new(), compression, workers).unwrap();
    for piece in data.chunks(piece) {
        compressor.write_all(piece).unwrap();
    }
    compressor.finish().unwrap()
}

#[test]
fn neither_threads_nor_the_size_of_writes_change_compressed_bytes() {
    // More than two of zstd's jobs or five of our blocks, and an end that is no multiple of anything.
    for (compression, size) in [(Compression::Gzip, 5 << 20), (Compression::Zstd, 18 << 20)] {
        let data = sample(size + 4321);
        let one = compress(&data, compression, 1, 1 << 16);
        for (workers, piece) in [(1, 977), (2, 1 << 20), (3, 5 << 20), (8, usize::MAX)] {
            assert!(one == compress(&data, compression, workers, piece), "{compression:?} {workers} {piece}");
        }
    }
}

#[test]
fn compressed_bytes_are_what_other_readers_read() {
    for length in [0, 1, 511, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20] {
        let data = sample(length);
        let gzip = compress(&data, Compression::Gzip, 2, 4096);
        let mut read = Vec::new();
        // One member, since the single-member reader reads it all.
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*gzip), &mut read).unwrap();
        assert!(read == data, "gzip {length}");
        let zstd = compress(&data, Compression::Zstd, 2, 4096);
        assert!(zstd::decode_all(&*zstd).unwrap() == data, "zstd {length}");
    }
}

#[test]
fn what_does_not_compress_is_written_too() {
    let mut state = 7_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take((2 << 20) + 5)
    .collect();
    let gzip = compress(&noise, Compression::Gzip, 2, 1 << 16);
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*gzip), &mut read).unwrap();
    assert!(read == noise);
}

#[test]
fn a_docker_archive_is_the_same_twice() {
    if !is_root("a_docker_archive_is_the_same_twice") {
        return;
    }
    let write = || {
        let stack = stack();
        let destination = stack.folder.path().join("image.tar");
        let tags = ["example:1".to_owned()];
        let written =
            write_docker_archive(&destination, &stack.image(), &tags, Default::default(), None).unwrap();
        assert_eq!(written.digest.size, std::fs::metadata(&destination).unwrap().len());
        written.digest
    };
    assert_eq!(write(), write());
}
