//! What the code behind a kind is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use imgbuild_cache::{ActionResult, Cache, Run};
use imgbuild_model::{
    ActionId, Artifact, AttributeType, Attributes, Default, Event, EventSink, LayerRef, Platform, Secret,
    SecretReference, SecretReferenceError, Stream, Value, tried_line,
};
use imgbuild_plan::{ActionGraph, ActionNode, LockFile};
use imgbuild_tree::DeltaId;

use crate::checkpoint::{Choice, Continuity, believed, price_key, price_of_space};
use crate::lock;
use crate::secrets::{Fillings, NamedSecret, SHORTEST, SecretStore};
use crate::{
    ActionError, Builder, Cancel, LayerMetadata, Machine, MachineSpec, Outcome, PassedOn, Prompt, Results,
    Snapshot, Told,
};

/// A file or folder that an action reads, on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is.
    pub path: PathBuf,
    /// The name that the action knows it by.
    pub name: String,
    /// Whether it is a folder.
    pub is_directory: bool,
    /// Whether it may be executed.
    pub executable: bool,
}

impl InputFile {
    /// What stands at a path of this host, links followed.
    ///
    /// # Errors
    /// If nothing does.
    pub fn at(path: PathBuf) -> Result<Self, ActionError> {
        let metadata = fs_err::metadata(&path)?;
        Ok(Self {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            is_directory: metadata.is_dir(),
            executable: is_executable(&metadata),
            path,
        })
    }
}

/// All that an action is given.
pub struct ActionContext {
    /// Which action of the run it is.
    pub id: ActionId,
    /// The graph that it is in.
    pub graph: Arc<ActionGraph>,
    /// Its place there.
    pub place: usize,
    /// The cache.
    pub cache: Cache,
    /// The results of its prerequisites, by their places.
    pub results: Vec<(usize, Arc<ActionResult>)>,
    /// The lock file.
    pub lock: Arc<LockFile>,
    /// The workspace's root.
    pub workspace: PathBuf,
    /// The run.
    pub run: Arc<Run>,
    /// A folder of its own for temporary files, on the cache's file system.
    pub temporary: PathBuf,
    /// The builder of its chain.
    pub builder: Arc<dyn Builder>,
    /// What becomes of the run's results.
    pub results_of_run: Results,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretStore>,
    /// What its attributes hold marks in place of.
    pub fillings: Arc<Fillings>,
    /// Who is asked.
    pub prompt: Arc<dyn Prompt>,
    /// Ends when the run is cancelled.
    pub cancel: Cancel,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Its log so far.
    pub log: Arc<Mutex<Vec<u8>>>,
    /// The state that it left when it failed, for `shell --failed`.
    pub failed_state: Mutex<Option<Snapshot>>,
    /// What comes before and after its machine is its own.
    pub continuity: Continuity,
}

impl ActionContext {
    /// The node of the graph.
    #[must_use]
    pub fn node(&self) -> &ActionNode {
        &self.graph.nodes[self.place]
    }

    /// Its attributes: those of the source, for a source's action.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        self.node().attributes()
    }

    /// The target platform.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.node().platform()
    }

    /// The result of a prerequisite.
    #[must_use]
    pub fn result(&self, place: usize) -> Option<&ActionResult> {
        self.results.iter().find(|(other, _)| *other == place).map(|(_, result)| &**result)
    }

    /// The layer that it stands on; the empty one for the start of a chain.
    #[must_use]
    pub fn parent(&self) -> Snapshot {
        let result = self.node().parent.and_then(|parent| self.result(parent));
        Snapshot {
            layers: result.map(|result| result.layers.clone()).unwrap_or_default(),
            machine: self.continuity.below.as_ref().map(|below| below.machine),
        }
    }

    /// What is known of the layer that it stands on.
    #[must_use]
    pub fn parent_metadata(&self) -> LayerMetadata {
        self.node()
            .parent
            .and_then(|parent| self.result(parent))
            .and_then(|result| serde_json::from_slice(&result.metadata).ok())
            .unwrap_or_default()
    }

    /// Starts a machine from a layer.
    ///
    /// # Errors
    /// As the builder's `start`.
    pub async fn machine(&self, from: &Snapshot) -> Result<Box<dyn Machine>, ActionError> {
        let started = self.cancel.unless_cancelled(self.builder.start(from, &self.machine_spec())).await;
        let machine = started.unwrap_or(Err(ActionError::Cancelled))?;
        *lock(&self.continuity.working_since) = Some(Instant::now());
        Ok(machine)
    }

    /// Ends a step's work in its machine, which is kept, or goes on with the next step as it is.
    ///
    /// # Errors
    /// As the machine's `finish`.
    pub async fn finish(&self, machine: Box<dyn Machine>) -> Result<Outcome, ActionError> {
        let worked = lock(&self.continuity.working_since).map(|since| since.elapsed()).unwrap_or_default();
        let worth = worked + self.continuity.below.as_ref().map(|below| below.worth).unwrap_or_default();
        let Some(why) = self.continuity.choice.and_then(|choice| choice.goes_on(worth)) else {
            let began = Instant::now();
            let layers = machine.finish().await?.layers;
            self.record_price(began.elapsed(), &layers)?;
            return Ok(Outcome { layers, ..Outcome::default() });
        };
        if let Some(Choice::Auto { price }) = self.continuity.choice {
            self.cache.record_duration(&price_key(self.node()), believed(price))?;
        }
        let Snapshot { layers, machine } = machine.pass_on().await?;
        let passed_on = machine.map(|machine| PassedOn { machine, why, worth });
        Ok(Outcome { layers, passed_on, ..Outcome::default() })
    }

    /// Remembers what it took to keep a machine behind a step.
    fn record_price(&self, took: Duration, layers: &[DeltaId]) -> Result<(), ActionError> {
        let node = self.node();
        if !node.has_machine() || node.ends_machine() || self.results_of_run == Results::ThrownAway {
            return Ok(());
        }
        let new = layers.get(self.parent().layers.len()..).unwrap_or_default();
        let memory = self.cache.warm_snapshot(layers).map(|warm| warm.size()).unwrap_or_default();
        let price = took + price_of_space(self.cache.size_of_layers(new)? + memory);
        Ok(self.cache.record_duration(&price_key(node), price)?)
    }

    /// What a machine of its chain is to be.
    #[must_use]
    pub fn machine_spec(&self) -> MachineSpec {
        MachineSpec {
            platform: self.platform(),
            source_date: self.parent_metadata().source_date,
            run: self.run.clone(),
            chain: format!("{} {}", self.node().label(), self.platform()),
            source: self.source_attributes(),
            files: self.source_files(),
            sensitive: self.is_sensitive(),
            results: self.results_of_run,
            told: self.told(),
        }
    }

    /// Whether its attributes, or those of its chain's source, hold something sensitive.
    fn is_sensitive(&self) -> bool {
        let source = self.node().chain_source.map(|place| &self.graph.nodes[place]);
        let nodes = std::iter::once(self.node()).chain(source);
        nodes.flat_map(|node| node.attributes().iter()).any(|(_, value)| self.fillings.changes(value))
    }

    /// Takes lines as [`Self::line`] does, also apart from the context.
    #[must_use]
    pub fn told(&self) -> Told {
        let (id, log) = (self.id, self.log.clone());
        let (events, fillings) = (self.events.clone(), self.fillings.clone());
        Told::new(move |line| take(&fillings, &log, &*events, id, Stream::Stdout, line))
    }

    /// The files of the host that its chain's source names. One that is not there is none of them: what needs it says so.
    fn source_files(&self) -> BTreeMap<Arc<str>, Vec<PathBuf>> {
        let Some(source) = self.node().chain_source.map(|place| &self.graph.nodes[place]) else {
            return BTreeMap::new();
        };
        let paths = |(name, value): (&str, &Value)| {
            let files = self.files_of(value).unwrap_or_default();
            (Arc::from(name), files.into_iter().map(|file| file.path).collect::<Vec<_>>())
        };
        source.attributes().iter().map(paths).filter(|(_, paths)| !paths.is_empty()).collect()
    }

    /// The attributes of its chain's source, with what is sensitive in them.
    fn source_attributes(&self) -> Attributes {
        let Some(source) = self.node().chain_source.map(|place| &self.graph.nodes[place]) else {
            return Attributes::default();
        };
        let filled = |(name, value): (&str, &Value)| (Arc::from(name), self.fillings.fill_value(value));
        source.attributes().iter().map(filled).collect()
    }

    /// The layer of another image that an attribute names.
    ///
    /// # Errors
    /// If the attribute names none.
    pub fn layer(&self, attribute: &str) -> Result<Snapshot, ActionError> {
        let Some(Value::Layer(LayerRef { action, .. })) = self.attributes().get(attribute) else {
            return Err(ActionError::input(format!("`{attribute}` names no image")));
        };
        let result = self.graph.find(action).and_then(|place| self.result(place));
        result
            .map(|result| Snapshot::of(result.layers.clone()))
            .ok_or_else(|| ActionError::input(format!("the image of `{attribute}` was not built")))
    }

    /// The files that an attribute names.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn files(&self, attribute: &str) -> Result<Vec<InputFile>, ActionError> {
        match self.attributes().get(attribute) {
            None | Some(Value::None) => Ok(Vec::new()),
            Some(value) => self.files_of(value),
        }
    }

    /// The files that a value names.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn files_of(&self, value: &Value) -> Result<Vec<InputFile>, ActionError> {
        match value {
            Value::List(items) => {
                let lists: Result<Vec<_>, _> = items.iter().map(|item| self.files_of(item)).collect();
                Ok(lists?.concat())
            }
            Value::Artifact(Artifact::Source(file)) => {
                Ok(vec![InputFile::at(self.workspace.join(file.path.as_str()))?])
            }
            Value::Artifact(Artifact::Output { action, name }) => {
                let result = self.graph.find(action).and_then(|place| self.result(place));
                let result = result.ok_or_else(|| ActionError::input(format!("`{name}` was not made")))?;
                self.output_files(result, name)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// A declared output of another action: a blob, or a folder that is put together from blobs.
    fn output_files(&self, result: &ActionResult, name: &str) -> Result<Vec<InputFile>, ActionError> {
        if let Some(file) = result.files.iter().find(|file| file.path == name) {
            return Ok(vec![InputFile {
                path: self.cache.path(&file.digest)?,
                name: base_name(name).to_owned(),
                is_directory: false,
                executable: file.executable,
            }]);
        }
        let prefix = format!("{name}/");
        let folder = self.temporary.join("inputs").join(name);
        fs_err::create_dir_all(&folder)?;
        for file in result.files.iter().filter(|file| file.path.starts_with(&prefix)) {
            let path = folder.join(&file.path[prefix.len()..]);
            if let Some(above) = path.parent() {
                fs_err::create_dir_all(above)?;
            }
            fs_err::copy(self.cache.path(&file.digest)?, &path)?;
            set_mode(&path, if file.executable { 0o755 } else { 0o644 })?;
        }
        Ok(vec![InputFile {
            path: folder,
            name: base_name(name).to_owned(),
            is_directory: true,
            executable: false,
        }])
    }

    /// Texts of a list attribute.
    #[must_use]
    pub fn texts(&self, attribute: &str) -> Vec<String> {
        self.attributes().strings(attribute).map(|text| self.fillings.fill(text)).collect()
    }

    /// A text attribute, or its schema's default.
    #[must_use]
    pub fn text(&self, attribute: &str) -> Option<String> {
        match self.attributes().get(attribute) {
            Some(Value::String(text)) => Some(self.fillings.fill(text)),
            _ => match self.node().schema.attribute(attribute)?.default {
                Default::String(text) => Some(text.to_owned()),
                _ => None,
            },
        }
    }

    /// A truth attribute, or its schema's default.
    #[must_use]
    pub fn flag(&self, attribute: &str) -> bool {
        match self.attributes().get(attribute) {
            Some(Value::Bool(value)) => *value,
            _ => matches!(
                self.node().schema.attribute(attribute).map(|schema| schema.default),
                Some(Default::Bool(true))
            ),
        }
    }

    /// A number attribute.
    #[must_use]
    pub fn number(&self, attribute: &str) -> Option<i64> {
        match self.attributes().get(attribute) {
            Some(Value::Int(number)) => Some(*number),
            _ => match self.node().schema.attribute(attribute)?.default {
                Default::Int(number) => Some(number),
                _ => None,
            },
        }
    }

    /// The numbers of a list attribute.
    #[must_use]
    pub fn numbers(&self, attribute: &str) -> Vec<i64> {
        let items = self.attributes().get(attribute).and_then(Value::as_list).unwrap_or_default();
        items.iter().filter_map(Value::as_int).collect()
    }

    /// Waits for as long as a duration attribute says; not at all if it is absent.
    ///
    /// # Errors
    /// [`ActionError::Cancelled`] if the run is cancelled meanwhile.
    pub async fn pause(&self, attribute: &str) -> Result<(), ActionError> {
        let Some(seconds) = self.number(attribute).and_then(|seconds| u64::try_from(seconds).ok()) else {
            return Ok(());
        };
        let pause = tokio::time::sleep(Duration::from_secs(seconds));
        self.cancel.unless_cancelled(pause).await.ok_or(ActionError::Cancelled)
    }

    /// Permission bits of a mode attribute, or its schema's default.
    #[must_use]
    pub fn mode(&self, attribute: &str) -> Option<u32> {
        debug_assert!(
            self.node().schema.attribute(attribute).is_none_or(|schema| schema.type_ == AttributeType::Mode)
        );
        u32::from_str_radix(&self.text(attribute)?, 8).ok()
    }

    /// The key-value pairs of a dict attribute.
    #[must_use]
    pub fn pairs(&self, attribute: &str) -> Vec<(String, String)> {
        let entries = self.attributes().get(attribute).and_then(Value::as_dict).unwrap_or_default();
        entries
            .iter()
            .filter_map(|(key, value)| Some((key.to_string(), self.fillings.fill(value.as_str()?))))
            .collect()
    }

    /// The secrets that `secrets` asks for, resolved now.
    ///
    /// # Errors
    /// If one cannot be had, or is too short to be told from other text.
    pub async fn secrets(&self) -> Result<Vec<NamedSecret>, ActionError> {
        let mut secrets = Vec::new();
        for (name, reference) in self.pairs("secrets") {
            let parsed: SecretReference = reference.parse().map_err(|error: SecretReferenceError| {
                ActionError::input(error.to_string()).hint(error.hint())
            })?;
            let value = self.secrets.resolve(&parsed).await.map_err(ActionError::Other)?;
            let length = value.expose().trim_ascii().len();
            if length < SHORTEST {
                return Err(ActionError::input(format!(
                    "the secret `{name}` of `{reference}` has {length} bytes: too few to keep it out of logs and layers"
                ))
                .hint(format!("a secret has at least {SHORTEST} bytes")));
            }
            secrets.push(NamedSecret { name, value });
        }
        Ok(secrets)
    }

    /// The variables that `secret_env` asks for.
    ///
    /// # Errors
    /// If one names no secret of the action, or one that no variable can hold.
    pub fn secret_env(&self, secrets: &[NamedSecret]) -> Result<Vec<(String, Secret)>, ActionError> {
        self.pairs("secret_env")
            .into_iter()
            .map(|(variable, name)| {
                let Some(secret) = secrets.iter().find(|secret| secret.name == name) else {
                    return Err(ActionError::input(format!(
                        "`secret_env` names `{name}`, which `secrets` lacks"
                    ))
                    .hint("write the name that the secret has in `secrets`, not where it is found"));
                };
                if secret.value.expose().contains(&0) || std::str::from_utf8(secret.value.expose()).is_err() {
                    return Err(ActionError::input(format!(
                        "the secret `{name}` is no text, and an environment variable cannot hold it"
                    ))
                    .hint(format!("read it from `/run/secrets/{name}`")));
                }
                Ok((variable, secret.value.clone()))
            })
            .collect()
    }

    /// Whether the disk of the cache takes no more. A command that finds no space says so in words of its own, and what it
    /// wrote fills the disk only until it is cleared up.
    #[must_use]
    pub fn disk_is_full(&self) -> bool {
        /// Less than this is as good as nothing, in bytes: file systems keep some for themselves, and refuse a large
        /// write whole.
        const NOTHING: u64 = 4 << 20;
        rustix::fs::statvfs(self.cache.root()).is_ok_and(|disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize) < NOTHING || (disk.f_files > 0 && disk.f_favail == 0)
        })
    }

    /// Takes a line of output: into the log and to whoever watches.
    pub fn line(&self, stream: Stream, line: &str) {
        take(&self.fillings, &self.log, &*self.events, self.id, stream, line);
    }

    /// Takes note of an attempt that failed, after which there are some left, or the chain goes on.
    pub fn tried(&self, error: &ActionError, left: Option<u64>) {
        let error = self.fillings.mask(&error.to_string()).into_owned();
        self.keep(&tried_line(&error, left));
        self.events.emit(Event::Tried { id: self.id, error, left });
    }

    fn keep(&self, line: &str) {
        keep(&self.log, line);
    }

    /// Says how far it is.
    pub fn progress(&self, message: &str, done: u64, total: u64) {
        self.events.emit(Event::Progress { id: self.id, message: message.into(), done, total });
    }
}

/// Takes a line of output: into the log and to whoever watches.
fn take(
    fillings: &Fillings,
    log: &Mutex<Vec<u8>>,
    events: &dyn EventSink,
    id: ActionId,
    stream: Stream,
    line: &str,
) {
    let line = &*fillings.mask(line);
    keep(log, line);
    events.emit(Event::Output { id, stream, line: line.to_owned() });
}

fn keep(log: &Mutex<Vec<u8>>, line: &str) {
    if let Ok(mut log) = log.lock() {
        log.extend_from_slice(line.as_bytes());
        log.push(b'\n');
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.is_file() && metadata.permissions().mode() & 0o100 != 0
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
