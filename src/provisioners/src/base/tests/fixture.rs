//! A cache with a run, contexts for single sources, layouts made by hand, and a real registry.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use imgbuild_cache::{Cache, Run};
use imgbuild_engine::{
    ActionContext, ActionError, Builder, Cancel, LayerMetadata, Machine, MachineSpec, Outcome, Snapshot,
};
use imgbuild_model::{
    Action, ActionId, ActionRef, Analysis, AnalysisRequest, Artifact, Attributes, Configuration, Dependency,
    Diagnostics, Event, Files, FrontEnd, KindId, Label, LoadedPackage, Location, Package, PackagePath,
    PatternSet, Platform, RuleId, Source, SourceFile, Target, TargetName, Value, Visibility, WorkspacePath,
};
use imgbuild_plan::{ActionGraph, DiskFiles, ImagePin, ImageRequest, LockFile, Selection, Walk};
use imgbuild_tree::{DeltaManifest, MergedView, Node, ParentView as _, TreePath};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::resolve::ArchiveConfig;

/// Whether the test runs as root, which owners and whiteouts need. Says so if not.
pub(super) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: `{test}` needs root for owners and devices");
    }
    root
}

/// Whether programs are installed. Says so if not.
pub(super) fn has(programs: &[&str], test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = programs
        .iter()
        .find(|program| !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if let Some(program) = missing {
        eprintln!("SKIPPED: `{test}` needs the program `{program}`");
    }
    missing.is_none()
}

/// Runs a program to its end and gives its output.
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A cache, a run and a workspace.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    pub(super) cache: Cache,
    pub(super) run: Arc<Run>,
    pub(super) events: Arc<Mutex<Vec<Event>>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("workspace")).unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let run = Arc::new(Run::begin(&cache).unwrap());
        Self { folder, cache, run, events: Arc::default() }
    }

    /// A path in the workspace.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("workspace").join(name)
    }

    pub(super) fn config(&self) -> Arc<ArchiveConfig> {
        let events = self.events.clone();
        let sink = Arc::new(move |event| events.lock().unwrap().push(event));
        let mut config = ArchiveConfig::new(self.cache.clone(), 1_800_000_000, sink);
        config.retry.first_delay = Duration::from_millis(5);
        config.retry.attempts = 3;
        Arc::new(config)
    }

    /// The context of an action that is a source and nothing else.
    pub(super) fn context(
        &self,
        kind: &'static str,
        attributes: Attributes,
        lock: LockFile,
    ) -> ActionContext {
        let events = self.events.clone();
        let temporary = self.run.temporary().join(format!("action-{}", self.events.lock().unwrap().len()));
        let _ = fs_err::remove_dir_all(&temporary);
        fs_err::create_dir_all(&temporary).unwrap();
        ActionContext {
            id: ActionId(0),
            graph: Arc::new(graph(kind, attributes)),
            place: 0,
            cache: self.cache.clone(),
            results: Vec::new(),
            lock: Arc::new(lock),
            workspace: self.folder.path().join("workspace"),
            run: self.run.clone(),
            temporary,
            builder: Arc::new(NoBuilder),
            results_of_run: imgbuild_engine::Results::Kept,
            secrets: Arc::new(imgbuild_engine::secrets::NoSecrets),
            fillings: Arc::default(),
            prompt: Arc::new(imgbuild_engine::Nobody),
            cancel: Cancel::new(),
            events: Arc::new(move |event| events.lock().unwrap().push(event)),
            log: Arc::default(),
            failed_state: Mutex::default(),
            continuity: Default::default(),
        }
    }

    /// Carries out a source.
    pub(super) async fn execute(
        &self,
        kind: &'static str,
        attributes: Attributes,
        lock: LockFile,
    ) -> Result<Outcome, ActionError> {
        let executor = super::super::base_executors(self.config()).remove(kind).unwrap();
        executor.execute(&self.context(kind, attributes, lock)).await
    }

    pub(super) async fn tarball(&self, name: &str) -> Result<Outcome, ActionError> {
        self.execute("rootfs_tar", attributes([("src", file(name))]), LockFile::default()).await
    }

    pub(super) async fn layout(&self, name: &str, tag: Option<&str>) -> Result<Outcome, ActionError> {
        let tag = tag.map(|tag| ("ref", Value::string(tag)));
        let attributes = attributes([("layout", file(name))].into_iter().chain(tag));
        self.execute("oci_base", attributes, LockFile::default()).await
    }

    pub(super) async fn image(&self, image: &str, digest: &str) -> Result<Outcome, ActionError> {
        let mut lock = LockFile::default();
        let request = ImageRequest { image: image.to_owned(), platform: platform() };
        lock.set_image(ImagePin { request, digest: digest.to_owned(), created: 0 });
        self.execute("oci_base", attributes([("image", Value::string(image))]), lock).await
    }

    pub(super) fn manifests(&self, outcome: &Outcome) -> Vec<Arc<DeltaManifest>> {
        outcome.layers.iter().map(|delta| self.cache.layer_manifest(delta).unwrap()).collect()
    }

    /// What stands at a path of the outcome.
    pub(super) fn look(&self, outcome: &Outcome, path: &str) -> Option<Node> {
        MergedView::new(&self.manifests(outcome)).lookup(&TreePath::new(path.as_bytes()).unwrap())
    }
}

pub(super) fn platform() -> Platform {
    "linux/amd64".parse().unwrap()
}

pub(super) fn attributes(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Attributes {
    pairs.into_iter().map(|(name, value)| (Arc::from(name), value)).collect()
}

pub(super) fn file(name: &str) -> Value {
    let label = format!("//:{name}").parse().unwrap();
    Value::Artifact(Artifact::Source(SourceFile { label, path: WorkspacePath::new(name).unwrap() }))
}

pub(super) fn metadata(outcome: &Outcome) -> &LayerMetadata {
    outcome.layer.as_ref().unwrap()
}

/// The error as the user sees it, with its hint, and whose it is.
pub(super) fn problem(result: Result<Outcome, ActionError>) -> (String, imgbuild_model::Class) {
    match result.unwrap_err() {
        ActionError::Other(problem) => {
            (format!("{} | {}", problem.message, problem.hint.unwrap_or_default()), problem.class)
        }
        other => panic!("{other}"),
    }
}

struct NoBuilder;

#[async_trait]
impl Builder for NoBuilder {
    fn key(&self) -> &str {
        "none/1"
    }

    async fn start(&self, _: &Snapshot, _: &MachineSpec) -> Result<Box<dyn Machine>, ActionError> {
        panic!("a source that is made of files needs no machine")
    }
}

/// A language whose one target declares one source.
struct OneSource(Arc<Action>);

fn graph(kind: &'static str, attributes: Attributes) -> ActionGraph {
    let location = Location::file("BUILD.star");
    let source = Source { kind: KindId::new(kind), attributes, location: location.clone() };
    let front_end = OneSource(Arc::new(Action {
        kind: KindId::new(kind),
        source: Some(Arc::new(source)),
        parent: None,
        attributes: Attributes::default(),
        outputs: Vec::new(),
        joins: Vec::new(),
        location,
    }));
    let workspace = tempfile::tempdir().unwrap();
    fs_err::write(workspace.path().join("BUILD.star"), "").unwrap();
    let files = DiskFiles::new(workspace.path());
    let label: Label = "//:image".parse().unwrap();
    let selection = Selection {
        patterns: PatternSet {
            include: vec![imgbuild_model::Pattern::Single(label.clone())],
            exclude: Vec::new(),
        },
        platforms: vec![platform()],
        flags: Arc::default(),
        default_platform: platform(),
    };
    let analyzed = Walk::new(&front_end, &files).run(&selection).unwrap();
    let configuration = Configuration { platform: platform(), flags: Arc::default() };
    let action = Arc::new(ActionRef { label, configuration, index: 0 });
    ActionGraph::build(&analyzed, &[Artifact::Output { action, name: "layer".into() }]).unwrap()
}

impl FrontEnd for OneSource {
    fn load(&self, package: &PackagePath, _: &dyn Files) -> Result<LoadedPackage, Diagnostics> {
        let name = TargetName::new("image").unwrap();
        let target = Target {
            label: Label::new(package.clone(), name.clone()),
            rule: RuleId { module: "@prelude//image.star".into(), name: "image".into() },
            attributes: Vec::new(),
            visibility: Visibility::Public,
            location: Location::file("BUILD.star"),
        };
        let targets = BTreeMap::from([(name, Arc::new(target))]);
        let package = Arc::new(Package { path: package.clone(), targets });
        Ok(LoadedPackage { package, reads: Arc::from([]), warnings: Diagnostics::default() })
    }

    fn source_file(&self, label: &Label) -> Dependency {
        Dependency { label: label.clone(), providers: Arc::from([]) }
    }

    fn platforms(&self, _: &Target, _: &Attributes) -> Option<Vec<Platform>> {
        None
    }

    fn analyze(&self, _: &AnalysisRequest<'_>) -> Result<Analysis, Diagnostics> {
        Ok(Analysis { actions: vec![self.0.clone()], ..Analysis::default() })
    }
}

/// A tar stream: paths with a trailing `/` are folders, `->` says where a symbolic link points.
pub(super) fn tar(entries: &[(&str, &str, u64)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content, time) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(*time);
        header.set_uid(0);
        header.set_gid(0);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            builder.append_data(&mut header, path, std::io::empty()).unwrap();
        } else if let Some(target) = content.strip_prefix("-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        } else {
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// A layout made by hand.
pub(super) struct HandMade {
    path: PathBuf,
    entries: Vec<serde_json::Value>,
}

impl HandMade {
    pub(super) fn new(path: &Path) -> Self {
        fs_err::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs_err::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let layout = Self { path: path.to_owned(), entries: Vec::new() };
        layout.write_index();
        layout
    }

    fn write_index(&self) {
        let index = json!({"schemaVersion": 2, "manifests": self.entries});
        fs_err::write(self.path.join("index.json"), index.to_string()).unwrap();
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let hex = imgbuild_digest::Hash(Sha256::digest(bytes).into()).to_string();
        fs_err::write(self.path.join("blobs/sha256").join(&hex), bytes).unwrap();
        format!("sha256:{hex}")
    }

    /// An image of these tar streams; returns its descriptor.
    pub(super) fn image(
        &self,
        architecture: &str,
        layers: &[Vec<u8>],
        created: &str,
        config: &serde_json::Value,
    ) -> serde_json::Value {
        let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
        for layer in layers {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(layer).unwrap();
            let packed = packed.finish().unwrap();
            diff_ids.push(format!("sha256:{}", imgbuild_digest::Hash(Sha256::digest(layer).into())));
            descriptors.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": self.blob(&packed), "size": packed.len()}));
        }
        let config =
            json!({"architecture": architecture, "os": "linux", "created": created, "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}})
            .to_string();
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.blob(config.as_bytes()), "size": config.len()},
            "layers": descriptors})
        .to_string();
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.blob(manifest.as_bytes()),
            "size": manifest.len(), "platform": {"os": "linux", "architecture": architecture}})
    }

    /// An index over images; returns its descriptor.
    pub(super) fn index(&self, images: &[serde_json::Value]) -> serde_json::Value {
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": images}).to_string();
        json!({"mediaType": media_type, "digest": self.blob(index.as_bytes()), "size": index.len()})
    }

    /// Gives a descriptor a tag; returns its digest.
    pub(super) fn tag(&mut self, mut descriptor: serde_json::Value, tag: &str) -> String {
        let digest = descriptor["digest"].as_str().unwrap().to_owned();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.entries.push(descriptor);
        self.write_index();
        digest
    }
}

/// A registry on this machine, as Debian's package `docker-registry` has it.
pub(super) struct Registry {
    child: Child,
    pub(super) folder: tempfile::TempDir,
    pub(super) address: String,
}

impl Registry {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            folder.path().join("storage").display()
        );
        fs_err::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "the registry did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, folder, address }
    }

    /// Pushes an image, with all its platforms, under a name; returns the whole reference.
    pub(super) fn push(&self, layout: &Path, tag: &str, name: &str) -> String {
        let reference = format!("{}/{name}", self.address);
        let (from, to) = (format!("oci:{}:{tag}", layout.display()), format!("docker://{reference}"));
        run(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                "--all",
                "--preserve-digests",
                "--dest-tls-verify=false",
                &from,
                &to,
            ],
        );
        reference
    }

    /// The file in which the registry keeps a blob.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.folder.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
