use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use imgbuild_postprocessors::{Compress, CompressSettings, Voice};

use crate::support::{World, built, installed, output};

fn compress(output: &str, level: Option<i64>) -> Compress {
    let settings =
        CompressSettings { output: output.to_owned(), compression_level: level, ..Default::default() };
    Compress::new(settings).unwrap()
}

/// Bytes with some order, several blocks of each format long.
fn sample() -> Vec<u8> {
    let mut state = 1_u32;
    let mut bytes = Vec::new();
    while bytes.len() < 1_200_001 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (state >> 24) as usize % 40 + 1;
        bytes.extend(std::iter::repeat_n((state >> 16) as u8, length));
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn decompressed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(["-d", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

#[tokio::test]
async fn single_files_are_read_back_by_the_real_programs() {
    let sample = sample();
    for (extension, program) in
        [("gz", "gzip"), ("bgzf", "gzip"), ("xz", "xz"), ("bzip2", "bzip2"), ("lz4", "lz4")]
    {
        for contents in [&sample[..], b"", b"x"] {
            let world = World::new();
            world.write("a.img", contents);
            let name = format!("out.{extension}");
            let processed = world.process(&compress(&name, None), &built(&["a.img"])).await.unwrap();
            assert_eq!(processed.written, [PathBuf::from(&name)]);
            let bytes = world.read(&name);
            assert!(contents.len() < 10 || bytes.len() < contents.len() * 9 / 10);
            if installed(program) {
                assert!(decompressed(program, &bytes) == contents, "{extension} of {} bytes", contents.len());
            }
        }
    }
}

#[tokio::test]
async fn levels_count() {
    let world = World::new();
    world.write("a.img", sample());
    for extension in ["gz", "bgzf", "xz", "bzip2", "lz4", "zip"] {
        let mut sizes = Vec::new();
        for level in [1, 9] {
            let name = format!("{level}.{extension}");
            world.process(&compress(&name, Some(level)), &built(&["a.img"])).await.unwrap();
            sizes.push(world.read(&name).len());
        }
        assert!(sizes[1] < sizes[0], "{extension}: {sizes:?}");
    }
}

#[tokio::test]
async fn bgzf_is_blocks_with_their_lengths_and_an_end() {
    let world = World::new();
    world.write("a.img", sample());
    world.process(&compress("out.bgzf", None), &built(&["a.img"])).await.unwrap();
    let bytes = world.read("out.bgzf");
    let mut blocks = 0;
    let mut at = 0;
    while at < bytes.len() {
        assert_eq!(&bytes[at..at + 4], [0x1f, 0x8b, 8, 4]);
        assert_eq!(&bytes[at + 10..at + 16], [6, 0, b'B', b'C', 2, 0]);
        at += usize::from(u16::from_le_bytes([bytes[at + 16], bytes[at + 17]])) + 1;
        blocks += 1;
    }
    assert_eq!(at, bytes.len());
    assert_eq!(blocks, sample().len().div_ceil(0xff00) + 1);
    // The end of file marker of the SAM specification.
    let end = "1f8b08040000000000ff0600424302001b0003000000000000000000";
    assert!(hex(&bytes).ends_with(end));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn archives_of_tar_are_read_back() {
    for output_name in
        ["out.tar", "out.tar.gz", "out.tar.xz", "out.tar.bzip2", "out.tar.lz4", "out.tar.bgzf", "out"]
    {
        let world = World::new();
        world.write("d/b.img", sample());
        world.write("a.sh", "#!/bin/sh\n");
        let script = world.folder.path().join("a.sh");
        fs_err::set_permissions(script, Permissions::from_mode(0o700)).unwrap();
        let processed =
            world.process(&compress(output_name, None), &built(&["d/b.img", "a.sh"])).await.unwrap();
        let artifact = processed.artifact.unwrap();
        assert!(!processed.keep_input && !processed.force_keep);
        assert_eq!(artifact.builder_id, "packer.post-processor.compress");
        assert_eq!(artifact.description, format!("compressed artifacts in: {output_name}"));
        if !installed("tar") || output_name.ends_with("lz4") && !installed("lz4") {
            continue;
        }
        let mut bytes = world.read(output_name);
        match output_name.rsplit_once('.').map(|(_, last)| last) {
            Some("tar") => {}
            Some("xz") => bytes = decompressed("xz", &bytes),
            Some("bzip2") => bytes = decompressed("bzip2", &bytes),
            Some("lz4") => bytes = decompressed("lz4", &bytes),
            _ => bytes = decompressed("gzip", &bytes),
        }
        world.write("plain.tar", bytes);
        let listed = output("tar", &["--utc", "-tvf", "plain.tar"], world.folder.path());
        let listed = String::from_utf8(listed).unwrap();
        let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["-rwxr-xr-x", "0/0", "10", "1980-01-01", "00:00", "a.sh"]);
        let size = sample().len().to_string();
        assert_eq!(lines[1], ["-rw-r--r--", "0/0", &size, "1980-01-01", "00:00", "b.img"]);
        world.write("x/.keep", "");
        output("tar", &["-xf", "plain.tar", "-C", "x"], world.folder.path());
        assert!(world.read("x/b.img") == sample());
    }
}

#[tokio::test]
async fn archives_of_zip_are_read_back_with_their_folders() {
    let world = World::new();
    world.write("d/b.img", sample());
    world.write("a.txt", "hello\n");
    let absolute = world.folder.path().join("a.txt");
    let input = built(&["./d/b.img", absolute.to_str().unwrap()]);
    world.process(&compress("z/out.zip", None), &input).await.unwrap();
    if !installed("unzip") {
        return;
    }
    output("unzip", &["-q", "z/out.zip", "-d", "x"], world.folder.path());
    let listed = String::from_utf8(output("unzip", &["-l", "z/out.zip"], world.folder.path())).unwrap();
    assert_eq!(listed.matches("1980-01-01 00:00").count(), 2, "{listed}");
    assert!(world.read("x/d/b.img") == sample());
    let inner = absolute.strip_prefix("/").unwrap().to_str().unwrap();
    assert_eq!(world.text(&format!("x/{inner}")), "hello\n");
}

#[tokio::test]
async fn what_was_compressed_once_is_written_again() {
    for name in ["out.tar.gz", "out.zip", "out.tar.xz"] {
        let world = World::new();
        world.write("a.img", sample());
        let processor = compress(name, None);
        world.process(&processor, &built(&["a.img"])).await.unwrap();
        assert!(world.said.has(Voice::Say, &format!("Archive {name} completed")));
        let first = world.read(name);
        world.said.take();
        fs_err::write(world.folder.path().join(name), "changed").unwrap();
        world.process(&processor, &built(&["a.img"])).await.unwrap();
        assert_eq!(world.said.take(), [format!("Nothing changed: the kept result is {name}")]);
        assert!(world.read(name) == first);

        // In another cache it is made anew, with the same bytes.
        let other = World::new();
        other.write("a.img", sample());
        other.process(&processor, &built(&["a.img"])).await.unwrap();
        assert!(other.read(name) == first, "{name}");
        assert_eq!(world.names(), ["a.img", name]);
    }
}

#[tokio::test]
async fn a_hit_depends_on_what_enters_the_output_and_on_nothing_else() {
    let world = World::new();
    for name in ["a.img", "b.img", "d/a.img"] {
        world.write(name, "same");
    }
    world.write("c.img", "other");
    let hits = async |output: &str, level: Option<i64>, files: &[&str]| {
        world.said.take();
        world.process(&compress(output, level), &built(files)).await.unwrap();
        world.said.take().iter().any(|line| line.starts_with("Nothing changed"))
    };
    assert!(!hits("1.tar.gz", None, &["a.img", "c.img"]).await);
    // Another place, order or folder, and the default level by name.
    assert!(hits("2.tar.gz", Some(0), &["c.img", "d/a.img"]).await);
    assert!(!hits("1.tar.gz", None, &["b.img", "c.img"]).await, "another name");
    assert!(!hits("1.tar.gz", None, &["a.img"]).await, "fewer files");
    assert!(!hits("1.tar.gz", Some(9), &["a.img", "c.img"]).await, "another level");
    assert!(!hits("1.tar.xz", None, &["a.img", "c.img"]).await, "another compression");
    assert!(!hits("1.tar", None, &["a.img", "c.img"]).await, "no compression");
    assert!(!hits("1.zip", None, &["a.img", "c.img"]).await, "another archive");
    assert!(!hits("2.zip", None, &["d/a.img", "c.img"]).await, "another folder in zip");
    assert!(!hits("1.gz", None, &["a.img"]).await, "no archive");
    assert!(hits("2.gz", None, &["b.img"]).await, "a name that is not in the output");
    let script = world.folder.path().join("a.img");
    fs_err::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    assert!(!hits("1.tar.gz", None, &["a.img", "c.img"]).await, "executable");
    assert!(hits("1.gz", None, &["a.img"]).await, "executable, but not in the output");
    world.write("c.img", "changed");
    assert!(!hits("1.tar.gz", None, &["a.img", "c.img"]).await, "other contents");
}

#[tokio::test]
async fn a_kept_result_that_is_damaged_is_made_again() {
    let world = World::new();
    world.write("a.img", "hello");
    world.process(&compress("out.gz", None), &built(&["a.img"])).await.unwrap();
    let first = world.read("out.gz");
    let digest = imgbuild_digest::Digest::of(&first);
    let blob = world.context.cache.path(&digest).unwrap();
    fs_err::set_permissions(&blob, Permissions::from_mode(0o644)).unwrap();
    fs_err::write(&blob, vec![0; first.len()]).unwrap();
    world.said.take();
    world.process(&compress("out.gz", None), &built(&["a.img"])).await.unwrap();
    assert!(world.said.has(Voice::Say, "Archive out.gz completed"));
    assert_eq!(world.read("out.gz"), first);
    assert_eq!(world.names(), ["a.img", "out.gz"]);
}

#[tokio::test]
async fn inputs_that_cannot_be_compressed_are_told() {
    let world = World::new();
    world.write("a.img", "a");
    world.write("d/a.img", "b");
    let error = async |output: &str, files: &[&str]| {
        let error = world.process(&compress(output, None), &built(files)).await.unwrap_err();
        assert!(error.message.contains("read") != error.hint.is_some());
        error.message
    };
    assert_eq!(
        error("x.gz", &["a.img", "d/a.img"]).await,
        "`x.gz` takes one file, but there are 2: a.img, d/a.img"
    );
    assert_eq!(error("x.gz", &[]).await, "`x.gz` takes one file, but there is none");
    assert_eq!(error("x.tar", &["d"]).await, "`d` is no file");
    world.write("a.gz", "a");
    assert_eq!(error("a.gz", &["a.gz"]).await, "`output` is `a.gz`, which is to be compressed");
    assert_eq!(error("x.zip", &["../.."]).await, "`../..` is no file");
    assert_eq!(error("x.zip", &["a.img", "./a.img"]).await, "two files would both be `a.img` in the archive");
    assert_eq!(error("x.tar", &["gone"]).await, "cannot read `gone`: No such file or directory (os error 2)");
    assert_eq!(world.names(), ["a.gz", "a.img", "d"]);
    let bad = CompressSettings { compression_level: Some(-3), ..Default::default() };
    assert_eq!(Compress::new(bad).unwrap_err().message, "`compression_level` is -3");
}

#[tokio::test]
async fn files_of_one_name_keep_their_folders_and_the_output_is_left_out() {
    let world = World::new();
    world.write("a.img", "a");
    world.write("d/a.img", "b");
    let input = built(&["a.img", "d/a.img", "a.img", "out.tar"]);
    for _ in 0..2 {
        world.process(&compress("out.tar", None), &input).await.unwrap();
        if installed("tar") {
            let listed = output("tar", &["-tf", "out.tar"], world.folder.path());
            assert_eq!(String::from_utf8(listed).unwrap(), "a.img\nd/a.img\n");
        }
        assert!(
            world
                .said
                .has(Voice::Error, "Warning: there are several files `a.img`; this one becomes `d/a.img`")
        );
        assert!(world.said.has(Voice::Error, "Warning: out.tar is the output itself and left out"));
    }
}

#[tokio::test]
async fn a_cancelled_run_writes_nothing() {
    let world = World::new();
    world.write("a.img", "a");
    world.context.cancel.cancel();
    let error = world.process(&compress("out.gz", None), &built(&["a.img"])).await.unwrap_err();
    assert_eq!(error.message, "cancelled");
    let checksum = imgbuild_postprocessors::Checksum::new(Default::default()).unwrap();
    let error = world.process(&checksum, &built(&["a.img"])).await.unwrap_err();
    assert_eq!(error.message, "cancelled");
    assert_eq!(world.names(), ["a.img"]);
}

#[tokio::test]
async fn what_a_link_leads_to_is_written() {
    let world = World::new();
    world.write("a.img", "hello");
    world.write("real/out.gz", "old");
    let link = world.folder.path().join("out.gz");
    fs_err::os::unix::fs::symlink("real/out.gz", &link).unwrap();
    world.process(&compress("out.gz", None), &built(&["a.img"])).await.unwrap();
    assert!(link.is_symlink());
    assert_ne!(world.read("real/out.gz"), b"old");
}

#[tokio::test]
async fn the_bytes_of_tar_have_not_drifted() {
    let world = World::new();
    world.write("d/b.img", "image");
    world.write_script("a.sh", "#!/bin/sh\n");
    world.process(&compress("out.tar", None), &built(&["d/b.img", "a.sh"])).await.unwrap();
    assert_eq!(
        imgbuild_digest::Digest::of(&world.read("out.tar")).to_string(),
        "blake3:3d411948b8acc69143d6b6a1261df1eb8601e5c2fed89e386fc0453957c394b0/3072"
    );
}
