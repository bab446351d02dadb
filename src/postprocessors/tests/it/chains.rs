use std::path::PathBuf;

use async_trait::async_trait;
use imgbuild_model::Diagnostic;
use imgbuild_postprocessors::{
    Artifact, Artifice, ArtificeSettings, Chain, Checksum, ChecksumSettings, Compress, CompressSettings,
    Destroy, Link, Manifest, ManifestSettings, PostContext, PostProcessor, Processed, Voice, run_chains,
};

use crate::support::{World, built};

/// Copies its input's first file to `to` and keeps as it is told.
struct Copy {
    to: &'static str,
    keep: bool,
    force: bool,
}

#[async_trait]
impl PostProcessor for Copy {
    fn kind(&self) -> &'static str {
        "copy"
    }

    async fn process(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic> {
        let from = context.resolve(&input.files[0]);
        fs_err::copy(from, context.resolve(self.to)).map_err(|error| Diagnostic::error(error.to_string()))?;
        let files = vec![PathBuf::from(self.to)];
        Ok(Processed {
            artifact: Some(Artifact::of_files("copy", self.to.to_owned(), files.clone())),
            keep_input: self.keep,
            force_keep: self.force,
            written: files,
        })
    }
}

/// Ends its chain.
struct Nothing;

#[async_trait]
impl PostProcessor for Nothing {
    fn kind(&self) -> &'static str {
        "nothing"
    }

    async fn process(&self, _: &PostContext, _: &Artifact) -> Result<Processed, Diagnostic> {
        Ok(Processed { artifact: None, keep_input: true, force_keep: true, written: Vec::new() })
    }
}

fn copy(to: &'static str, keep: bool) -> Link {
    link(Copy { to, keep, force: false })
}

fn link(processor: impl PostProcessor + 'static) -> Link {
    Link { name: processor.kind().to_owned(), processor: Box::new(processor), keep_input: None }
}

fn user(keep: bool, link: Link) -> Link {
    Link { keep_input: Some(keep), ..link }
}

fn artifice(file: &str) -> Link {
    link(Artifice::new(ArtificeSettings { files: vec![file.to_owned()] }).unwrap())
}

fn checksum() -> Link {
    link(Checksum::new(ChecksumSettings { output: "SUMS".to_owned(), ..Default::default() }).unwrap())
}

fn compress() -> Link {
    link(Compress::new(CompressSettings { output: "out.tar.gz".to_owned(), ..Default::default() }).unwrap())
}

fn manifest() -> Link {
    link(Manifest::new(ManifestSettings::default()).unwrap())
}

/// Runs chains on `a.img`; the descriptions of what is there in the end, the names in the folder, the errors.
async fn run(world: &World, chains: Vec<Chain>) -> (Vec<String>, Vec<String>, Vec<String>) {
    world.write("a.img", "image");
    let outcome = run_chains(&world.context, &chains, built(&["a.img"])).await;
    let artifacts = outcome.artifacts.into_iter().map(|artifact| artifact.description).collect();
    let errors = outcome.errors.0.into_iter().map(|error| error.message).collect();
    (artifacts, world.names(), errors)
}

#[tokio::test]
async fn without_chains_the_artifact_stays() {
    let (artifacts, names, errors) = run(&World::new(), vec![]).await;
    assert_eq!(
        (artifacts, names, errors),
        (vec!["Stored file: a.img".to_owned()], vec!["a.img".to_owned()], vec![])
    );
}

#[tokio::test]
async fn the_first_link_decides_about_the_builders_artifact_and_later_ones_about_their_predecessors() {
    for (chain, artifacts, names) in [
        (vec![copy("b", false)], vec!["b"], vec!["b"]),
        (vec![copy("b", true)], vec!["Stored file: a.img", "b"], vec!["a.img", "b"]),
        (vec![copy("b", false), copy("c", true)], vec!["b", "c"], vec!["b", "c"]),
        (vec![copy("b", true), copy("c", false)], vec!["Stored file: a.img", "c"], vec!["a.img", "c"]),
        (vec![copy("b", false), copy("c", false)], vec!["c"], vec!["c"]),
        // The user's word.
        (vec![user(true, copy("b", false))], vec!["Stored file: a.img", "b"], vec!["a.img", "b"]),
        (vec![user(false, copy("b", true))], vec!["b"], vec!["b"]),
        (vec![copy("b", false), user(false, copy("c", true))], vec!["c"], vec!["c"]),
        // What a link must have stays, unless it does not ask to keep it.
        (
            vec![user(false, link(Copy { to: "b", keep: true, force: true }))],
            vec!["Stored file: a.img", "b"],
            vec!["a.img", "b"],
        ),
        (vec![user(false, link(Copy { to: "b", keep: false, force: true }))], vec!["b"], vec!["b"]),
        // A chain without an end artifact decides nothing.
        (vec![link(Nothing), copy("b", true)], vec![], vec![]),
    ] {
        let found = run(&World::new(), vec![chain]).await;
        assert_eq!(found.0, artifacts);
        assert_eq!(found.1, names);
        assert_eq!(found.2, [""; 0]);
    }
}

#[tokio::test]
async fn one_chain_that_keeps_is_enough() {
    let chains = vec![vec![copy("b", false)], vec![copy("c", true)], vec![copy("d", false)]];
    let (artifacts, names, _) = run(&World::new(), chains).await;
    assert_eq!(artifacts, ["Stored file: a.img", "b", "c", "d"]);
    assert_eq!(names, ["a.img", "b", "c", "d"]);
}

#[tokio::test]
async fn an_error_ends_its_chain_and_no_other_and_all_are_told() {
    let world = World::new();
    let chains =
        vec![vec![copy("no/b", true), copy("never", true)], vec![copy("c", false)], vec![copy("no/d", true)]];
    let (artifacts, names, errors) = run(&world, chains).await;
    assert_eq!((artifacts, names), (vec!["c".to_owned()], vec!["c".to_owned()]));
    assert_eq!(errors.len(), 2);

    world.write("a.img", "image");
    let outcome = run_chains(&world.context, &[vec![copy("no/b", true)]], built(&["a.img"])).await;
    assert_eq!(outcome.errors.0[0].notes[0].text, "in the post-processor `copy` of `web`");
    // Nothing kept it.
    assert_eq!(outcome.removed, [PathBuf::from("a.img")]);
}

#[tokio::test]
async fn a_real_chain_leaves_what_packer_leaves_and_says_what_it_wrote() {
    let world = World::new();
    world.write("a.img", "image");
    let chains = [vec![checksum(), manifest(), compress()], vec![checksum()]];
    let outcome = run_chains(&world.context, &chains, built(&["a.img"])).await;
    assert_eq!(outcome.errors.0, []);
    let written: Vec<_> = outcome.written.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(written, ["SUMS", "packer-manifest.json", "out.tar.gz", "SUMS"]);
    // The second chain found `a.img` still there; in the end it goes, as `compress` wants.
    assert_eq!(outcome.removed, [PathBuf::from("SUMS"), PathBuf::from("a.img")]);
    let said = world.said.all();
    let cores = format!("Using pgzip compression with {} cores for out.tar.gz", rayon::current_num_threads());
    let expected = [
        ("", "Running post-processor: checksum"),
        ("", "Running post-processor: manifest"),
        ("", "Running post-processor: compress"),
        ("compress", &cores),
        ("compress", "Tarring out.tar.gz with pgzip"),
        ("compress", "Archive out.tar.gz completed"),
        ("", "Running post-processor: checksum"),
    ];
    let said: Vec<_> = said.iter().map(|(who, _, text)| (who.as_str(), text.as_str())).collect();
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_file_that_the_next_artifact_consists_of_is_not_removed() {
    let world = World::new();
    let (artifacts, names, errors) = run(&world, vec![vec![user(false, artifice("a.*"))]]).await;
    assert_eq!(artifacts, ["Created artifact from files: a.img"]);
    assert_eq!((names, errors), (vec!["a.img".to_owned()], vec![]));
    let (artifacts, names, _) = run(&world, vec![vec![user(false, artifice("a.*")), compress()]]).await;
    assert_eq!(artifacts, ["compressed artifacts in: out.tar.gz"]);
    assert_eq!(names, ["out.tar.gz"]);
}

#[tokio::test]
async fn a_folder_goes_as_a_whole() {
    let world = World::new();
    world.write("out/a.img", "image");
    world.write("out/log", "log");
    let artifact = Artifact {
        destroy: Destroy::Folder("out".into()),
        files: vec!["out/a.img".into()],
        ..Artifact::default()
    };
    let outcome = run_chains(&world.context, &[vec![compress()]], artifact).await;
    assert_eq!(outcome.removed, [PathBuf::from("out")]);
    assert_eq!(world.names(), ["out.tar.gz"]);
}

#[tokio::test]
async fn what_is_in_the_builders_folder_is_there_for_every_chain() {
    let world = World::new();
    world.write("out/a.img", "image");
    let artifact = Artifact {
        destroy: Destroy::Folder("out".into()),
        files: vec!["out/a.img".into()],
        ..Artifact::default()
    };
    let chains = [vec![checksum(), compress()], vec![copy("b", false)]];
    let outcome = run_chains(&world.context, &chains, artifact).await;
    assert_eq!(outcome.errors.0, []);
    assert_eq!(outcome.removed, [PathBuf::from("SUMS"), PathBuf::from("out/a.img")]);
    assert_eq!(world.names(), ["b", "out", "out.tar.gz"]);
}

#[tokio::test]
async fn names_of_post_processors_are_shown_as_in_packer() {
    let world = World::new();
    let links = ["manifest", "", "mine"].map(|name| Link { name: name.to_owned(), ..manifest() });
    run(&world, vec![links.into()]).await;
    assert_eq!(
        world.said.take(),
        [
            "Running post-processor: manifest",
            "Running post-processor:  (type manifest)",
            "Running post-processor: mine (type manifest)"
        ]
    );
}

#[tokio::test]
async fn artifice_takes_what_matches() {
    let world = World::new();
    for name in ["a.img", "out/1.qcow2", "out/2.qcow2"] {
        world.write(name, name);
    }
    let settings = ArtificeSettings { files: vec!["out/*".to_owned(), "none*".to_owned()] };
    let processed = world.process(&Artifice::new(settings).unwrap(), &built(&["a.img"])).await.unwrap();
    assert!(processed.keep_input && !processed.force_keep);
    let artifact = processed.artifact.unwrap();
    assert_eq!(artifact.files, [PathBuf::from("out/1.qcow2"), PathBuf::from("out/2.qcow2")]);
    assert_eq!(artifact.builder_id, "packer.post-processor.artifice");
    assert!(world.said.has(Voice::Error, "Warning: `none*` matches no file"));
    assert!(world.said.has(Voice::Say, "Discarding files from artifact: a.img"));
    assert!(world.said.has(Voice::Say, "Using these artifact files: out/1.qcow2, out/2.qcow2"));

    let error = Artifice::new(ArtificeSettings::default()).unwrap_err();
    assert_eq!(error.message, "`artifice` needs `files`");
    let error = Artifice::new(ArtificeSettings { files: vec!["out/[".to_owned()] }).unwrap_err();
    assert_eq!(error.message, "`[` is not a pattern of file names");
}

#[tokio::test]
async fn a_cancelled_run_removes_nothing() {
    let world = World::new();
    world.context.cancel.cancel();
    let (artifacts, names, errors) = run(&world, vec![vec![compress()], vec![manifest()]]).await;
    assert_eq!(artifacts, ["Stored file: a.img"]);
    assert_eq!(names, ["a.img"]);
    assert_eq!(errors, ["cancelled"]);
}
