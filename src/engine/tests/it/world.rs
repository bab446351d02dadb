//! A workspace, a cache, and executors whose bytes follow from what a step may see and from nothing else.
//!
//! What a step sees is said here a second time, without the key: so a key that forgets something shows as a difference
//! between a build that reuses and one that starts from nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use imgbuild_cache::{ActionResult, Cache, OutputFile, VerifyOptions};
use imgbuild_digest::Hash;
use imgbuild_engine::{
    ActionContext, ActionError, Builder, Cancel, Executor, LayerMetadata, Machine, MachineId, MachineSpec,
    Outcome, Registry, RunOptions, RunReport, RunRequest, Session, SharedExecutor, Snapshot, execute,
};
use imgbuild_model::{ChainState, Event, KindClass, Label, Value};
use imgbuild_plan::testing::{context, locked};
use imgbuild_plan::{ActionGraph, Builders, DiskFiles, InputDigests, KeyInputs, Plan, PlanOptions, plan};
use imgbuild_tree::{CaptureOptions, DeltaId, EmptyView, XattrNamespace, capture};

/// The key of the builder that is not one.
pub const BUILDER: &str = "rootfs/1";
/// The key of the builder whose machines are texts.
pub const MACHINES: &str = "qemu/1";

/// What the outside world says to steps that ask it.
pub type Outside = Arc<AtomicU64>;

/// One cache and one workspace.
pub struct World {
    _folder: Option<tempfile::TempDir>,
    pub cache: Cache,
    pub files: DiskFiles,
    pub outside: Outside,
    /// What ran, by the description of the action.
    pub ran: Arc<Mutex<Vec<String>>>,
    pub running: Arc<AtomicUsize>,
    pub machines: Machines,
}

/// How one build is to go.
#[derive(Clone, Default)]
pub struct How {
    pub options: RunOptions,
    /// Targets whose own actions run.
    pub force: BTreeSet<Label>,
    pub cancel: Cancel,
}

/// A plan and how it went.
pub struct Built {
    pub plan: Plan,
    pub report: RunReport,
    pub wanted: Vec<usize>,
    pub events: Vec<Event>,
}

/// A folder that lives in memory where there is one: each layer that is kept waits for the disk.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

impl World {
    pub fn new() -> Self {
        let folder = folder();
        let mut world = Self::at(folder.path());
        world._folder = Some(folder);
        world
    }

    /// One in a folder that another process may use too.
    pub fn at(folder: &Path) -> Self {
        fs_err::create_dir_all(folder.join("workspace")).unwrap();
        Self {
            cache: Cache::open(folder.join("cache")).unwrap(),
            files: DiskFiles::new(folder.join("workspace")),
            outside: Outside::default(),
            ran: Arc::default(),
            running: Arc::default(),
            machines: Machines::default(),
            _folder: None,
        }
    }

    /// A world that sees the same files and the same outside, with a cache of its own.
    pub fn with_empty_cache(&self) -> Self {
        let mut clean = Self::new();
        clean.files = self.files.clone();
        clean.outside = self.outside.clone();
        clean
    }

    pub fn write(&self, path: &str, contents: &str) {
        let path = self.files.root().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, contents).unwrap();
    }

    pub fn plan(&self, graph: &ActionGraph, wanted: &[usize], options: &PlanOptions) -> Plan {
        let digests = InputDigests::read(&graph.inputs(), &self.files, &self.cache).unwrap();
        let lock = locked(graph);
        plan(context(graph, &lock, &digests), wanted, &self.cache, options).unwrap()
    }

    pub fn build(&self, (graph, wanted): (ActionGraph, Vec<usize>)) -> Built {
        self.build_with((graph, wanted), &How::default())
    }

    pub fn build_with(&self, graph: (ActionGraph, Vec<usize>), how: &How) -> Built {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let built = runtime.block_on(self.start(graph, how));
        runtime.shutdown_timeout(Duration::from_millis(100));
        built.unwrap()
    }

    pub async fn start(
        &self,
        (graph, wanted): (ActionGraph, Vec<usize>),
        how: &How,
    ) -> Result<Built, ActionError> {
        let digests = InputDigests::read(&graph.inputs(), &self.files, &self.cache).unwrap();
        let lock = locked(&graph);
        let options = PlanOptions { force: how.force.clone(), ..PlanOptions::default() };
        let plan = plan(context(&graph, &lock, &digests), &wanted, &self.cache, &options).unwrap();
        assert_eq!(plan.needs, []);
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let sink = events.clone();
        let request = RunRequest {
            keys: KeyInputs {
                graph: Arc::new(graph),
                lock: Arc::new(lock),
                digests: Arc::new(digests),
                builders: Arc::new(Builders::new([BUILDER, MACHINES])),
                tools: Arc::default(),
                salt: "".into(),
            },
            plan: plan.clone(),
            files: self.files.clone(),
            cache: self.cache.clone(),
            registry: self.registry(),
            secrets: Arc::new(imgbuild_engine::secrets::NoSecrets),
            fillings: Arc::default(),
            prompt: Arc::new(imgbuild_engine::Nobody),
            options: how.options.clone(),
            now: 1_700_000_000,
            cancel: how.cancel.clone(),
            events: Arc::new(move |event| sink.lock().unwrap().push(event)),
        };
        let report = execute(request).await?;
        let events = std::mem::take(&mut *events.lock().unwrap());
        Ok(Built { plan, report, wanted, events })
    }

    fn registry(&self) -> Registry {
        let fake: SharedExecutor = Arc::new(Fake {
            outside: self.outside.clone(),
            ran: self.ran.clone(),
            running: self.running.clone(),
            machines: self.machines.clone(),
        });
        let executors = imgbuild_kinds::all().iter().map(|schema| (schema.id, fake.clone())).collect();
        let machines = TextMachines { cache: self.cache.clone(), machines: self.machines.clone() };
        Registry::new([Arc::new(NoBuilder) as Arc<dyn Builder>, Arc::new(machines)], executors)
    }

    /// What ran since this was last asked, in the order in which it ended.
    pub fn take_ran(&self) -> Vec<String> {
        std::mem::take(&mut *self.ran.lock().unwrap())
    }

    /// Fails unless all that the cache holds is whole and no run has left anything.
    pub fn verify(&self) {
        let report = self.cache.verify(VerifyOptions::default(), &|_| {}).unwrap();
        assert_eq!(report.damage, []);
    }

    /// How many files and staged layers lie in the temporary folders of runs.
    pub fn left_behind(&self) -> usize {
        let entries = |folder: &Path| {
            fs_err::read_dir(folder).map_or(Vec::new(), |found| found.map(Result::unwrap).collect())
        };
        entries(&self.cache.root().join("tmp")).iter().map(|run| entries(&run.path()).len()).sum()
    }
}

impl Built {
    /// What each wanted action made, with all that is known of it: what two builds are compared by.
    pub fn results(&self) -> Vec<(Hash, Vec<DeltaId>, Vec<OutputFile>, String)> {
        assert!(self.report.failures.is_empty(), "{:?}", self.report.failures);
        self.wanted.iter().map(|place| essence(&self.report.results[place])).collect()
    }

    pub fn failed(&self) -> Vec<(usize, String)> {
        self.report.failures.iter().map(|failure| (failure.place, failure.error.to_string())).collect()
    }
}

fn essence(result: &ActionResult) -> (Hash, Vec<DeltaId>, Vec<OutputFile>, String) {
    let metadata = String::from_utf8(result.metadata.clone()).unwrap();
    (result.output, result.layers.clone(), result.files.clone(), metadata)
}

/// No machine is started here.
struct NoBuilder;

#[async_trait]
impl Builder for NoBuilder {
    fn key(&self) -> &str {
        BUILDER
    }

    async fn start(&self, _: &Snapshot, _: &MachineSpec) -> Result<Box<dyn Machine>, ActionError> {
        Err(ActionError::environment("there are no machines in a test"))
    }
}

/// Carries out every kind. A command of a `shell` or `genrule` is a word and its arguments:
///
/// - `emit X` writes X; `mix` writes what the parent holds; `ask` writes what the outside world says;
///   `read` writes the inputs; `variables` writes the environment; a `#` and what follows is nothing;
/// - `fail`, `panic`, `sleep MS`, `stuck`, `touch PATH` (in the workspace) and `kill` do just that.
struct Fake {
    outside: Outside,
    ran: Arc<Mutex<Vec<String>>>,
    running: Arc<AtomicUsize>,
    machines: Machines,
}

#[async_trait]
impl Executor for Fake {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let outcome = self.carry_out(context).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.ran.lock().unwrap().push(context.node().describe());
        outcome
    }
}

impl Fake {
    async fn carry_out(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let node = context.node();
        let parent = context.parent();
        let mut said = String::new();
        match node.schema.id {
            "shell" => {
                for command in context.texts("inline") {
                    self.command(context, &command, &mut said).await?;
                }
            }
            "genrule" => self.command(context, &context.text("cmd").unwrap_or_default(), &mut said).await?,
            "copy_from" => said = format!("{:?} {:?}", context.layer("image")?.layers, context.text("src")),
            "file" => {
                said =
                    format!("{:?} {}", inputs(context, "src")?, context.text("content").unwrap_or_default())
            }
            "scratch" | "mkdir" | "seal" | "qemu" => said = format!("{:?}", context.text("path")),
            "shell_local" => {}
            "index" => {
                for join in &node.action.joins {
                    let place = context.graph.find(join).unwrap();
                    said.push_str(&format!("{:?}", context.result(place).unwrap().files));
                }
            }
            // An export holds the layers, divided as the steps did, the configuration, and what the steps say.
            _ => {
                let mut history = Vec::new();
                let mut place = node.parent;
                while let Some(at) = place {
                    history.push(context.graph.nodes[at].describe());
                    place = context.graph.nodes[at].parent;
                }
                if node.schema.id == "tarball" {
                    history.clear();
                }
                let metadata = context.parent_metadata();
                said = match node.schema.id {
                    "tarball" => format!("{:?}", parent.layers),
                    _ => format!("{:?} {metadata:?} {:?} {history:?}", parent.layers, node.state),
                };
            }
        }
        context.line(imgbuild_model::Stream::Stdout, &format!("it said {said}"));
        if node.has_machine() && node.schema.class == KindClass::Step {
            let machine = context.machine(&context.parent()).await?;
            self.machines.inside.lock().unwrap().push_str(&said);
            return context.finish(machine).await;
        }
        if node.makes_layer() {
            return layer(context, parent, &said);
        }
        let mut files = Vec::new();
        for name in &node.action.outputs {
            let digest = context.cache.put_bytes(format!("{name}: {said}").as_bytes())?.digest;
            files.push(OutputFile { path: name.to_string(), digest, executable: false });
        }
        let layers = if node.schema.class == KindClass::Export { parent.layers } else { Vec::new() };
        Ok(Outcome { layers, files, ..Outcome::default() })
    }

    async fn command(
        &self,
        context: &ActionContext,
        command: &str,
        said: &mut String,
    ) -> Result<(), ActionError> {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match word {
            "emit" => said.push_str(rest),
            "mix" => {
                said.push_str(&format!("{:?} {:?}", context.parent().layers, context.parent_metadata().base))
            }
            "ask" => said.push_str(&format!("outside {}", self.outside.load(Ordering::SeqCst))),
            "read" => said.push_str(&format!("{:?}", inputs(context, "srcs")?)),
            "variables" => {
                let state = &context.node().state;
                let mut env: BTreeMap<String, String> = context.parent_metadata().base.env;
                env.extend(state.env.clone());
                env.extend(context.pairs("env"));
                said.push_str(&format!("{env:?} {:?} {:?} {:?}", state.user, state.workdir, state.shell));
            }
            "sleep" => tokio::time::sleep(Duration::from_millis(rest.parse().unwrap())).await,
            "stuck" => {
                context.cancel.cancelled().await;
                return Err(ActionError::Signal { what: "`stuck`".to_owned(), signal: 2 });
            }
            "touch" => fs_err::write(context.workspace.join(rest), "touched")?,
            "remove" => fs_err::remove_file(context.workspace.join(rest))?,
            "fail" => return Err(ActionError::ExitCode { what: format!("`{command}`"), code: 1 }),
            "panic" => panic!("the test asked for it"),
            "kill" => {
                // What a step leaves half done when its process is killed: a staged layer, and a row for nobody.
                let staged = context.cache.stage(&context.run)?;
                fs_err::write(staged.upper().join("half"), "half")?;
                context.cache.put_bytes(b"left behind by the one that was killed")?;
                std::mem::forget(staged);
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                    .unwrap();
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the files of an attribute are called and hold.
fn inputs(context: &ActionContext, attribute: &str) -> Result<Vec<(String, String, bool)>, ActionError> {
    let mut found = Vec::new();
    for input in context.files(attribute)? {
        found.push((input.name.clone(), fs_err::read_to_string(&input.path)?, input.executable));
    }
    Ok(found)
}

/// A layer on the parent with one file of this text; none where the text is empty.
fn layer(context: &ActionContext, parent: Snapshot, text: &str) -> Result<Outcome, ActionError> {
    let node = context.node();
    let mut layers = parent.layers;
    if !text.is_empty() {
        let staged = context.cache.stage(&context.run)?;
        fs_err::write(staged.upper().join("file"), text)?;
        let options = CaptureOptions::new(1_600_000_000, XattrNamespace::User);
        let manifest = capture(staged.upper(), &EmptyView, &options)
            .map_err(|error| ActionError::input(error.to_string()))?;
        layers.push(context.cache.commit_layer(staged, &manifest)?);
    }
    let metadata = node.action.source.as_ref().map(|source| LayerMetadata {
        // A base image that brings a configuration besides its files.
        base: ChainState {
            env: source
                .attributes
                .str("ref")
                .map(|text| ("BASE".to_owned(), text.to_owned()))
                .into_iter()
                .collect(),
            ..ChainState::default()
        },
        source_date: 1_600_000_000,
        ..LayerMetadata::default()
    });
    Ok(Outcome { layers, layer: metadata, ..Outcome::default() })
}

/// What is known of machines that are texts, of which one runs at a time: what their steps have said since they were started from
/// layers.
#[derive(Clone, Default)]
pub struct Machines {
    inside: Arc<Mutex<String>>,
    waiting: Arc<Mutex<HashMap<MachineId, String>>>,
    /// How many were started from layers.
    pub started: Arc<AtomicUsize>,
}

/// Makes them. What one holds becomes a layer when it is kept.
struct TextMachines {
    cache: Cache,
    machines: Machines,
}

struct TextMachine {
    cache: Cache,
    machines: Machines,
    spec: MachineSpec,
    layers: Vec<DeltaId>,
}

#[async_trait]
impl Builder for TextMachines {
    fn key(&self) -> &str {
        MACHINES
    }

    async fn start(&self, from: &Snapshot, spec: &MachineSpec) -> Result<Box<dyn Machine>, ActionError> {
        let Self { cache, machines } = self;
        let inside = match from.machine {
            Some(machine) => machines.waiting.lock().unwrap().remove(&machine).unwrap(),
            None => {
                machines.started.fetch_add(1, Ordering::SeqCst);
                String::new()
            }
        };
        *machines.inside.lock().unwrap() = inside;
        let layers = from.layers.clone();
        Ok(Box::new(TextMachine {
            cache: cache.clone(),
            machines: machines.clone(),
            spec: spec.clone(),
            layers,
        }))
    }
}

#[async_trait]
impl Machine for TextMachine {
    fn session(&mut self) -> &mut dyn Session {
        unreachable!("steps of tests say what they have to say without one")
    }

    async fn finish(self: Box<Self>) -> Result<Snapshot, ActionError> {
        let Self { cache, machines, spec, mut layers } = *self;
        let inside = std::mem::take(&mut *machines.inside.lock().unwrap());
        let staged = cache.stage(&spec.run)?;
        fs_err::write(staged.upper().join("file"), inside)?;
        let options = CaptureOptions::new(1_600_000_000, XattrNamespace::User);
        let manifest = capture(staged.upper(), &EmptyView, &options)
            .map_err(|error| ActionError::input(error.to_string()))?;
        layers.push(cache.commit_layer(staged, &manifest)?);
        Ok(Snapshot::of(layers))
    }

    async fn pass_on(self: Box<Self>) -> Result<Snapshot, ActionError> {
        let Self { machines, layers, .. } = *self;
        let inside = std::mem::take(&mut *machines.inside.lock().unwrap());
        let mut waiting = machines.waiting.lock().unwrap();
        let machine = MachineId(waiting.len() as u64);
        waiting.insert(machine, inside);
        Ok(Snapshot { layers, machine: Some(machine) })
    }

    async fn discard(self: Box<Self>) -> Result<(), ActionError> {
        Ok(())
    }
}

/// The texts of a `shell` step.
pub fn commands(texts: &[&str]) -> (&'static str, Value) {
    ("inline", imgbuild_plan::testing::texts(texts))
}

/// How often each description ran.
pub fn counted(ran: &[String]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for text in ran {
        *counts.entry(text.as_str()).or_default() += 1;
    }
    counts
}
