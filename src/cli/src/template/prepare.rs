//! From recipes to plans: each build is lowered, its inputs are hashed, mutable names are resolved, keys are looked up.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use imgbuild_cache::Cache;
use imgbuild_digest::Hash;
use imgbuild_engine::secrets::Fillings;
use imgbuild_kinds::component;
use imgbuild_model::{
    Action, ActionRef, Class, Configuration, Diagnostic, Diagnostics, EntryKind, KindClass, Label, Node,
    NodeData, PackagePath, Platform, TargetName,
};
use imgbuild_packer::load::Loaded;
use imgbuild_packer::lower::{Holes, Lowered, Lowering, Purpose, RealPacker, Surroundings, delegate, lower};
use imgbuild_packer::recipe::Recipe;
use imgbuild_packer::template::Files;
use imgbuild_packer_cli::args::{Lock, Reuse};
use imgbuild_plan::{
    ActionGraph, DiskFiles, InputDigests, KeyContext, KeyInputs, LOCK_FILE, LockFile, PinRequest, Plan,
    PlanOptions, plan,
};

use super::chains::chains;
use super::load::{LocalFiles, Place};
use super::real_packer;
use crate::continuity::MachineSteps;
use crate::session::{Session, cache_error, lock_error, plan_whole};

/// How old what was fetched from networks may be before it is fetched again, unless the user says otherwise.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Where it is kept when what was fetched from networks was first fetched.
const EPOCH_MEMO: &str = "epoch";

/// A build, planned.
pub(super) struct Planned {
    pub(super) lowered: Lowered,
    pub(super) keys: KeyInputs,
    pub(super) plan: Plan,
}

/// What a real `packer` is given beside a template.
#[derive(Default)]
pub(super) struct Arguments {
    /// Arguments.
    pub(super) words: Vec<String>,
    /// Values of variables, as a JSON object; empty if there are none.
    pub(super) variables: String,
}

/// What builds are planned with.
pub(super) struct Planner<'a> {
    pub(super) place: &'a Place,
    pub(super) template: PathBuf,
    pub(super) reuse: Reuse,
    pub(super) holes: &'a Holes,
    /// The epochs that this run has begun, by the keys that they are kept under.
    pub(super) epochs: Mutex<HashMap<Hash, String>>,
    /// Whether they are kept: a plan begins none.
    pub(super) keeps_epochs: bool,
    /// What of machines runs again.
    pub(super) machines: MachineSteps,
    /// What a real `packer` is given beside the template.
    pub(super) args: Arguments,
    pub(super) real: OnceLock<Result<Option<RealPacker>, String>>,
}

/// The files of templates: all of this machine's.
pub(super) fn files() -> DiskFiles {
    DiskFiles::new("/")
}

/// The folder of a template, absolute.
pub(super) fn folder_of(template: &Path, place: &Place) -> PathBuf {
    let whole = place.cwd.join(template);
    if template == Path::new("-") {
        return place.cwd.clone();
    }
    if whole.is_dir() { whole } else { whole.parent().map_or_else(|| place.cwd.clone(), Path::to_path_buf) }
}

/// What a build is called in plans and in the history: by its template's folder and its own name.
fn label(template: &Path, place: &Place, name: &str) -> Label {
    let clean = |text: &str| -> String {
        text.chars()
            .map(|c| if matches!(c, ':' | '\\' | '"' | '*' | '[' | ']') || c.is_control() { '_' } else { c })
            .collect()
    };
    let folder = fs_err::canonicalize(folder_of(template, place)).unwrap_or_else(|_| place.cwd.clone());
    let package = PackagePath::new(clean(folder.to_string_lossy().trim_start_matches('/')).as_str());
    let name = clean(name).replace('/', "_");
    let name = TargetName::new(&name).or_else(|_| TargetName::new("build"));
    match (package, name) {
        (Ok(package), Ok(name)) => Label::new(package, name),
        (package, _) => {
            let package = package.unwrap_or_else(|_| PackagePath::root());
            Label::new(package, TargetName::new("build").unwrap_or_else(|_| unreachable!("it is a name")))
        }
    }
}

impl Planner<'_> {
    /// Lowers a build; one that is not built in is handed to a real `packer`. `made` are files that other builds will make.
    ///
    /// # Errors
    /// What is wrong with the build. Within, why it cannot be carried out here: it is not built in, and there is no `packer`.
    pub(super) fn lower(
        &self,
        recipe: &Recipe,
        made: &[PathBuf],
    ) -> Result<Result<Lowered, Diagnostic>, Diagnostics> {
        let files = WithMade { files: LocalFiles { cwd: self.place.cwd.clone() }, made: made.to_vec() };
        let cwd = self.place.cwd.display().to_string();
        let around = surroundings(recipe, &self.template, self.place, &cwd, &files, self.holes);
        let why = match lower(recipe, &around)? {
            Lowering::Native(lowered) => return Ok(Ok(*lowered)),
            Lowering::Foreign(why) => why,
        };
        // Asked for once, and only where it is needed: it takes a second.
        match self.real.get_or_init(real_packer::ask) {
            Ok(Some(real)) => {
                let template = self.template.display().to_string();
                let Arguments { words, variables } = &self.args;
                let real = RealPacker {
                    template,
                    args: words.clone(),
                    variables: variables.clone(),
                    ..real.clone()
                };
                delegate(recipe, &around, &real).map(Ok)
            }
            Ok(None) => Ok(Err(why.hint(
                "`null` with `communicator = \"none\"`, `file` and `rootfs` are built in; others run through a real `packer` on the path",
            ))),
            Err(problem) => Ok(Err(why.hint(problem.clone()))),
        }
    }

    /// Plans a build; asks archives and registries for what its sources mean.
    pub(super) fn plan(&self, lowered: Lowered, session: &mut Session) -> Result<Planned, Diagnostics> {
        let cache = session.cache()?;
        let graph = graph_of(&lowered)?;
        let lock_path = folder_of(&self.template, self.place).join(LOCK_FILE);
        let mut lock = LockFile::read(&lock_path).map_err(|error| lock_error(&error))?;
        // Labels here hold the whole path of the template's folder; in the file, which others get too, names start there.
        let (here, there) = (format!("{}:", lowered.label.package), "//:");
        let moved = |chain: &str, from: &str, to: &str| {
            chain.strip_prefix(from).map_or_else(|| chain.to_owned(), |rest| format!("{to}{rest}"))
        };
        lock.rename_epochs(|chain| moved(chain, there, &here));
        let salt = session.config.salt.as_deref().unwrap_or_default();
        let mut keys = key_inputs(graph, lock, &cache, salt)?;
        let places = ends(&keys.graph);
        let options = (PlanOptions { explain_all: true, ..PlanOptions::default() }, self.machines);
        let around = (&cache, &*self.place.cwd);
        let plan = plan_whole(&mut keys, &places, around, options, &mut |needs, keys| {
            if self.reuse.lock == Lock::Required {
                let name = |need: &PinRequest| format!("`{}`", need.to_string().replace(&here, there));
                let names: Vec<_> = needs.iter().map(name).collect();
                return Err(Diagnostic::error(format!(
                    "`{LOCK_FILE}` does not say what {} is",
                    names.join(", ")
                ))
                .hint("build once with `-lock`")
                .into());
            }
            let (epochs, pins): (Vec<_>, Vec<_>) =
                needs.iter().cloned().partition(|need| matches!(need, PinRequest::Epoch(_)));
            match pins.is_empty() {
                true => self.epochs(&epochs, keys.context(), &cache),
                false => session.resolve(&pins, &keys.lock),
            }
        })?;
        if self.reuse.lock == Lock::Write {
            let mut written = (*keys.lock).clone();
            written.rename_epochs(|chain| moved(chain, &here, there));
            written.write(&lock_path).map_err(|error| lock_error(&error))?;
        }
        Ok(Planned { lowered, keys, plan })
    }

    /// Plans actions that run once, and whose results are of no use to anybody else.
    pub(super) fn plan_apart(&self, lowered: Lowered, cache: &Cache) -> Result<Planned, Diagnostics> {
        // Nobody else has keys like these.
        let salt = uuid::Uuid::new_v4().to_string();
        let mut keys = key_inputs(graph_of(&lowered)?, LockFile::default(), cache, &salt)?;
        let places: Vec<usize> = (0..keys.graph.nodes.len()).collect();
        let around = (cache, &*self.place.cwd);
        let options = (PlanOptions::default(), MachineSteps::AsFound);
        let plan = plan_whole(&mut keys, &places, around, options, &mut |needs, keys| {
            let mut lock = (*keys.lock).clone();
            for need in needs {
                match need {
                    PinRequest::Epoch(name) => lock.set_epoch(name, &salt),
                    other => {
                        let bug = Diagnostic::error(format!("`{other}` is not known")).class(Class::Bug);
                        return Err(bug.into());
                    }
                }
            }
            Ok(lock)
        })?;
        Ok(Planned { lowered, keys, plan })
    }

    /// Gives each chain that uses the network its epoch: that of the last time, unless it is too old.
    ///
    /// The record is kept under the key that the chain's first networked layer has without its epoch, so that whatever
    /// moves that layer begins a new one.
    fn epochs(
        &self,
        needs: &[PinRequest],
        context: KeyContext<'_>,
        cache: &Cache,
    ) -> Result<LockFile, Diagnostics> {
        let names: Vec<&str> = needs
            .iter()
            .filter_map(|need| match need {
                PinRequest::Epoch(name) => Some(&**name),
                _ => None,
            })
            .collect();
        let mut lock = context.lock.clone();
        let mut without = lock.clone();
        names.iter().for_each(|name| without.set_epoch(name, "none"));
        let without = KeyContext { lock: &without, ..context };
        let keyed =
            plan(without, &[], cache, &PlanOptions::default()).map_err(|error| cache_error(&error))?;
        for name in names {
            let first = context.graph.nodes.iter().position(|node| node.epoch.as_deref() == Some(name));
            let key = first.and_then(|place| keyed.actions.get(place)?.key);
            let id = match key {
                Some(key) => self.epoch(cache, &key.0)?,
                None => uuid::Uuid::new_v4().to_string(),
            };
            lock.set_epoch(name, &id);
        }
        Ok(lock)
    }

    fn epoch(&self, cache: &Cache, key: &Hash) -> Result<String, Diagnostics> {
        let max_age = self.reuse.max_age.unwrap_or(MAX_AGE);
        let record = cache.memo_get(EPOCH_MEMO, key).map_err(|error| cache_error(&error))?;
        let record = record.and_then(|bytes| serde_json::from_slice::<Epoch>(&bytes).ok());
        let now = Session::now();
        if let Some(Epoch { id, created }) = record {
            let age = Duration::from_secs(u64::try_from(now - created).unwrap_or_default());
            if !self.reuse.refresh && age <= max_age {
                return Ok(id);
            }
        }
        let mut made = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = made.get(key) {
            return Ok(id.clone());
        }
        let epoch = Epoch { id: uuid::Uuid::new_v4().to_string(), created: now };
        made.insert(*key, epoch.id.clone());
        if !self.keeps_epochs {
            return Ok(epoch.id);
        }
        let bytes = serde_json::to_vec(&epoch).unwrap_or_default();
        cache.memo_put(EPOCH_MEMO, key, &bytes).map_err(|error| cache_error(&error))?;
        Ok(epoch.id)
    }
}

/// What keys of a template's actions are made from.
fn key_inputs(
    graph: ActionGraph,
    lock: LockFile,
    cache: &Cache,
    salt: &str,
) -> Result<KeyInputs, Diagnostics> {
    let digests = InputDigests::read(&graph.inputs(), &files(), cache)?;
    Ok(KeyInputs {
        builders: crate::registry::builders(),
        tools: Arc::new(crate::tools::tools(&graph, Path::new("/"), cache)),
        graph: Arc::new(graph),
        lock: Arc::new(lock),
        digests: Arc::new(digests),
        salt: salt.into(),
    })
}

/// What a build is for: what nothing else needs, and files that are brought out of its machine.
fn ends(graph: &ActionGraph) -> Vec<usize> {
    let dependents = graph.dependents();
    let places = 0..graph.nodes.len();
    places.filter(|place| dependents[*place].is_empty() || graph.nodes[*place].brings_files()).collect()
}

/// The actions of a build as a graph.
fn graph_of(lowered: &Lowered) -> Result<ActionGraph, Diagnostics> {
    let reference = |index: usize| {
        Arc::new(ActionRef {
            label: lowered.label.clone(),
            configuration: lowered.configuration.clone(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
        })
    };
    let wanted: Vec<Arc<ActionRef>> = (0..lowered.actions.len()).map(reference).collect();
    let find = |reference: &ActionRef| -> Option<Arc<Action>> {
        lowered.actions.get(reference.index as usize).cloned()
    };
    ActionGraph::of(&wanted, &find)
}

/// When a chain's networked steps were first carried out.
#[derive(serde::Serialize, serde::Deserialize)]
struct Epoch {
    id: String,
    created: i64,
}

fn surroundings<'a>(
    recipe: &Recipe,
    template: &Path,
    place: &Place,
    cwd: &'a str,
    files: &'a dyn Files,
    holes: &'a Holes,
) -> Surroundings<'a> {
    Surroundings {
        label: label(template, place, &recipe.name),
        configuration: Configuration { platform: Platform::host(), flags: Arc::default() },
        cwd,
        files,
        holes,
        purpose: Purpose::Build,
    }
}

/// Lowers a build with the files that are there, to be written down: whatever is sensitive is a mark.
pub(super) fn lower_in(
    recipe: &Recipe,
    template: &Path,
    place: &Place,
    holes: &Holes,
) -> Result<Lowering, Diagnostics> {
    let files = LocalFiles { cwd: place.cwd.clone() };
    let cwd = place.cwd.display().to_string();
    let around = surroundings(recipe, template, place, &cwd, &files, holes);
    lower(recipe, &Surroundings { purpose: Purpose::WriteDown, ..around })
}

/// What is wrong with a template beyond its components' settings: files that are not there, steps that need a machine.
pub(super) fn check(loaded: &Loaded, place: &Place) -> Result<Diagnostics, Diagnostics> {
    let holes = Holes::new([0; 32], []);
    let recipes = &loaded.recipes.recipes;
    edges(recipes, place)?;
    let made = makers(recipes, place).into_iter().map(|(path, _)| path).collect();
    let files = WithMade { files: LocalFiles { cwd: place.cwd.clone() }, made };
    let cwd = place.cwd.display().to_string();
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for recipe in &loaded.recipes.recipes {
        let around = surroundings(recipe, Path::new("."), place, &cwd, &files, &holes);
        match lower(recipe, &Surroundings { purpose: Purpose::Check, ..around }) {
            Ok(Lowering::Native(lowered)) => {
                warnings.extend(lowered.warnings.0);
                if let Err(problems) = chains(recipe, &Fillings::default()) {
                    errors.extend(problems.0);
                }
            }
            Ok(Lowering::Foreign(_)) => {}
            Err(problems) => {
                errors.extend(
                    problems
                        .0
                        .into_iter()
                        .filter(|problem| problem.severity == imgbuild_model::Severity::Error),
                );
            }
        }
    }
    let once = |problems: Vec<Diagnostic>| -> Vec<Diagnostic> {
        problems.into_iter().fold(Vec::new(), |mut seen, problem| {
            if !seen.contains(&problem) {
                seen.push(problem);
            }
            seen
        })
    };
    if errors.is_empty() { Ok(Diagnostics(once(warnings))) } else { Err(Diagnostics(once(errors))) }
}

/// Whether a build is carried out by this program.
#[cfg(test)]
pub(super) fn is_native(recipe: &Recipe, place: &Place) -> bool {
    let holes = Holes::new([0; 32], []);
    matches!(lower_in(recipe, Path::new("."), place, &holes), Ok(Lowering::Native(_)))
}

/// For each build, the builds whose artifacts it reads.
pub(super) fn edges(recipes: &[Recipe], place: &Place) -> Result<Vec<Vec<usize>>, Diagnostics> {
    let makers = makers(recipes, place);
    let mut edges = vec![BTreeSet::new(); recipes.len()];
    for (index, recipe) in recipes.iter().enumerate() {
        let mut read = Vec::new();
        texts(&recipe.settings, &mut read);
        recipe.provisioners.iter().for_each(|step| texts(&step.settings, &mut read));
        for path in read.into_iter().map(|text| absolute(&place.cwd, text)) {
            // A folder is read with what will be in it, and a file of a folder that is made comes with it. The folder that
            // everything is in says nothing.
            let touches = |made: &PathBuf| {
                path.starts_with(made) || (made.starts_with(&path) && !place.cwd.starts_with(&path))
            };
            let makers = makers.iter().filter(|(made, maker)| *maker != index && touches(made));
            edges[index].extend(makers.map(|(_, maker)| *maker));
        }
    }
    let edges: Vec<Vec<usize>> = edges.into_iter().map(|set| set.into_iter().collect()).collect();
    match cycle(&edges) {
        None => Ok(edges),
        Some(cycle) => {
            let names: Vec<_> = cycle.iter().map(|index| format!("`{}`", recipes[*index].name)).collect();
            Err(Diagnostic::error(format!("builds wait for each other's artifacts: {}", names.join(", ")))
                .at(recipes[cycle[0]].location.clone())
                .into())
        }
    }
}

/// The paths that builds and their post-processors write artifacts to, each with the build. Several may write to one.
pub(super) fn makers(recipes: &[Recipe], place: &Place) -> Vec<(PathBuf, usize)> {
    let mut makers = Vec::new();
    for (index, recipe) in recipes.iter().enumerate() {
        let posts = recipe.post_processors.iter().flatten();
        let posts = posts.map(|post| (KindClass::PostProcessor, &post.kind, &post.settings));
        for (class, kind, settings) in posts.chain([(KindClass::Builder, &recipe.kind, &recipe.settings)]) {
            for name in outputs(class, kind) {
                match settings.field(name).map(|field| &field.value.data) {
                    // What is rendered only when it is used names no path yet.
                    Some(NodeData::String(path)) if !path.contains("{{") => {
                        makers.push((absolute(&place.cwd, path), index));
                    }
                    _ => {}
                }
            }
        }
    }
    makers
}

/// The files of this machine, and those that builds will make.
struct WithMade {
    files: LocalFiles,
    made: Vec<PathBuf>,
}

impl Files for WithMade {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let path_made = absolute(&self.files.cwd, path);
        let made = || self.made.contains(&path_made);
        self.files.kind(path).or_else(|| made().then_some(EntryKind::File))
    }

    fn list(&self, path: &str) -> std::io::Result<Vec<(String, EntryKind)>> {
        self.files.list(path)
    }

    fn read(&self, path: &str) -> std::io::Result<Arc<str>> {
        self.files.read(path)
    }
}

/// A path by its names alone, absolute and without `.` and `..`.
fn absolute(cwd: &Path, path: &str) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in cwd.join(path).components() {
        match part {
            std::path::Component::ParentDir => drop(whole.pop()),
            std::path::Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole
}

/// The attributes of a component that say where its artifact is written.
fn outputs(class: KindClass, kind: &str) -> Vec<&'static str> {
    let Some(schema) = component(class, kind) else { return Vec::new() };
    let table = schema.table();
    let is_output = |name: &&'static str| {
        table.attribute(name).is_some_and(|attribute| attribute.role == imgbuild_model::Role::Output)
    };
    table.names().filter(is_output).collect()
}

fn texts<'n>(node: &'n Node, found: &mut Vec<&'n str>) {
    match &node.data {
        NodeData::String(text) => found.push(text),
        NodeData::List(items) => items.iter().for_each(|item| texts(item, found)),
        NodeData::Object(fields) => fields.iter().for_each(|field| texts(&field.value, found)),
        _ => {}
    }
}

fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut graph = petgraph::graph::DiGraph::<(), ()>::new();
    let nodes: Vec<_> = edges.iter().map(|_| graph.add_node(())).collect();
    for (index, needed) in edges.iter().enumerate() {
        for needed in needed {
            graph.add_edge(nodes[index], nodes[*needed], ());
        }
    }
    petgraph::algo::tarjan_scc(&graph)
        .into_iter()
        .find(|group| group.len() > 1)
        .map(|group| group.into_iter().map(petgraph::graph::NodeIndex::index).collect())
}

/// The key that marks of sensitive texts are hashed under, made at its first use and readable by this user alone.
pub(super) fn secret_key(cache: &Cache) -> Result<[u8; 32], Diagnostics> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = cache.root().join("secret.key");
    let failed = |error: &dyn std::fmt::Display| {
        Diagnostics::from(
            Diagnostic::error(format!("the key of this cache cannot be used: {error}"))
                .class(Class::Environment),
        )
    };
    loop {
        match fs_err::read(&path) {
            Ok(bytes) => {
                return <[u8; 32]>::try_from(bytes.as_slice())
                    .map_err(|_| failed(&format!("`{}` is damaged; remove it", path.display())));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&error)),
        }
        let mut key = Vec::with_capacity(32);
        key.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
        key.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
        let temporary = path.with_file_name(format!("secret.key.{}", std::process::id()));
        let written = (|| {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&key)?;
            file.sync_all()?;
            // Whoever is first has made the key of all.
            match fs_err::hard_link(&temporary, &path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
                _ => fs_err::remove_file(&temporary),
            }
        })();
        written.map_err(|error: std::io::Error| failed(&error))?;
    }
}
