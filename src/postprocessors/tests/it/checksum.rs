use imgbuild_postprocessors::{Checksum, ChecksumSettings};

use crate::support::{World, built, installed, output};

const TYPES: [&str; 6] = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];

fn checksum(types: &[&str], output: &str) -> Checksum {
    let checksum_types = types.iter().map(ToString::to_string).collect();
    Checksum::new(ChecksumSettings { checksum_types, output: output.to_owned() }).unwrap()
}

#[tokio::test]
async fn every_type_agrees_with_coreutils() {
    let world = World::new();
    world.write("out/a.img", "hello\n");
    world.write("out/big.img", vec![7; 3 << 20]);
    let processor = checksum(&TYPES, "sums/{{.BuildName}}_{{.BuilderType}}.{{.ChecksumType}}");
    let input = built(&["out/a.img", "out/big.img"]);
    let processed = world.process(&processor, &input).await.unwrap();
    assert!(processed.keep_input && processed.force_keep);
    let artifact = processed.artifact.unwrap();
    assert_eq!(artifact.builder_id, "packer.post-processor.checksum");
    assert_eq!(artifact.files.len(), 8);
    assert!(
        artifact
            .description
            .starts_with("Created artifact from files: out/a.img, out/big.img, sums/web_file.md5")
    );
    for name in TYPES {
        let program = format!("{name}sum");
        let sums = world.text(&format!("sums/web_file.{name}"));
        assert_eq!(sums.lines().count(), 2);
        if installed(&program) {
            let expected = output(&program, &["a.img", "big.img"], &world.folder.path().join("out"));
            assert_eq!(sums, String::from_utf8(expected).unwrap().replace("  ", "\t"));
        }
    }
}

#[tokio::test]
async fn a_build_that_runs_again_replaces_its_lines_and_no_others() {
    let world = World::new();
    world.write("a.img", "one");
    world.write(
        "SUMS",
        "0123\tother.img\nno line of ours\nffffffffffffffffffffffffffffffff\ta.img\nlast without end",
    );
    let processor = checksum(&["md5", "sha1"], "SUMS");
    let expected = "0123\tother.img\nno line of ours\nf97c5d29941bfb1b2fdab0874906ab82\ta.img\nlast without end\n\
                    fe05bcdcdc4928012781a5f1a2a77cbb5398e106\ta.img\n";
    for _ in 0..2 {
        let processed = world.process(&processor, &built(&["a.img"])).await.unwrap();
        assert_eq!(world.text("SUMS"), expected);
        // A file that is about others too is not this artifact's.
        assert_eq!(processed.artifact.unwrap().files, [std::path::Path::new("a.img")]);
    }
    world.write("a.img", "two");
    world.process(&processor, &built(&["a.img"])).await.unwrap();
    let changed = world.text("SUMS");
    assert_eq!(changed.lines().count(), 5);
    assert!(changed.contains("b8a9f715dbb64fd5c56e7783c6820a61\ta.img\n"), "{changed}");
    assert_eq!(world.names(), ["SUMS", "a.img"]);
}

#[tokio::test]
async fn the_file_of_an_earlier_run_belongs_to_the_artifact_again() {
    let world = World::new();
    world.write("a.img", "one");
    let processor = Checksum::new(ChecksumSettings::default()).unwrap();
    for _ in 0..2 {
        let processed = world.process(&processor, &built(&["a.img"])).await.unwrap();
        assert_eq!(processed.artifact.unwrap().files.len(), 2);
        assert_eq!(processed.written, [std::path::Path::new("packer_web_file_md5.checksum")]);
        assert_eq!(world.text("packer_web_file_md5.checksum"), "f97c5d29941bfb1b2fdab0874906ab82\ta.img\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_that_share_a_file_lose_no_line() {
    let world = World::new();
    let names: Vec<String> = (0..16).map(|number| format!("{number}.img")).collect();
    let runs = names.iter().map(|name| {
        world.write(name, name);
        let (context, input) = (world.context.clone(), built(&[name]));
        tokio::spawn(async move {
            use imgbuild_postprocessors::PostProcessor as _;
            checksum(&["sha256"], "d/SUMS").process(&context, &input).await.unwrap();
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
    let sums = world.text("d/SUMS");
    let mut found: Vec<&str> = sums.lines().map(|line| line.split_once('\t').unwrap().1).collect();
    found.sort_unstable();
    let mut expected: Vec<&str> = names.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_list_among_the_files_is_not_about_itself_and_no_other_file_is_written_over() {
    let world = World::new();
    world.write("out/a.img", "one");
    for input in [built(&["out/a.img"]), built(&["out/SUMS", "out/a.img"])] {
        let processed = world.process(&checksum(&["md5"], "out/../out/SUMS"), &input).await.unwrap();
        assert_eq!(processed.artifact.unwrap().files.len(), 2);
        assert_eq!(world.text("out/SUMS"), "f97c5d29941bfb1b2fdab0874906ab82\ta.img\n");
    }
    let input = built(&["out/a.img", "out/SUMS"]);
    let error = world.process(&checksum(&["md5"], "out/a.img"), &input).await.unwrap_err();
    assert_eq!(error.message, "`output` is `out/a.img`, one of the files to be summed");
    assert_eq!(world.text("out/a.img"), "one");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let world = World::new();
    let error = world.process(&checksum(&["md5"], "SUMS"), &built(&["gone.img"])).await.unwrap_err();
    assert!(error.message.starts_with("cannot read `gone.img`: "), "{error}");
    assert!(!world.exists("SUMS"));
    let error = world.process(&checksum(&["md5"], ""), &built(&[])).await.unwrap_err();
    assert_eq!(error.message, "`output` is empty once `` is rendered");
}

#[test]
fn unknown_types_are_refused() {
    let settings =
        |name: &str| ChecksumSettings { checksum_types: vec![name.to_owned()], ..Default::default() };
    let error = Checksum::new(settings("sha265")).unwrap_err();
    assert_eq!(error.message, "`sha265` is no type of checksum");
    assert_eq!(error.hint.as_deref(), Some("did you mean `sha256`?"));
    let error = Checksum::new(settings("crc")).unwrap_err();
    assert!(error.hint.unwrap().starts_with("there are `md5`, `sha1`"));
}
