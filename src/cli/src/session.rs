//! What every verb needs: the workspace, the configuration, the cache, the way from patterns to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use imgbuild::args::{Environment, Global, Variant};
use imgbuild::config::{Config, Flags};
use imgbuild::ui::{Shell, Ui};
use imgbuild_cache::Cache;
use imgbuild_engine::secrets::Fillings;
use imgbuild_model::{
    Artifact, Class, Diagnostic, Diagnostics, Label, LayerRef, Location, PackagePath, PatternSet, Platform,
    Value,
};
use imgbuild_plan::{
    ActionGraph, Analyzed, DiskFiles, InputDigests, KeyInputs, LOCK_FILE, LockError, LockFile, PinRequest,
    Plan, PlanOptions, Selection, Walk, plan,
};

use crate::continuity::MachineSteps;
use crate::languages::Languages;
use crate::registry;
use crate::template::artifact;

/// One call of the program.
pub(crate) struct Session {
    pub(crate) shell: Arc<Shell>,
    pub(crate) ui: Arc<Ui>,
    pub(crate) config: Config,
    environment: Environment,
    workspace: Option<DiskFiles>,
    package: PackagePath,
    cache: Option<Cache>,
}

/// Targets, analyzed, and the graph of what they need.
pub(crate) struct Prepared {
    pub(crate) analyzed: Analyzed,
    pub(crate) keys: KeyInputs,
    pub(crate) wanted: Vec<usize>,
    pub(crate) plan: Plan,
    /// What the marks in actions of templates stand for.
    pub(crate) fillings: Arc<Fillings>,
}

/// Which actions of the selected targets are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// What makes their artifacts.
    Artifacts,
    /// What tests them.
    Tests,
    /// What makes their layers, before they are sealed.
    Layers,
    /// What makes their layers, as exports have them.
    Sealed,
}

/// How to plan.
#[derive(Clone, Debug)]
pub(crate) struct Planning {
    pub(crate) want: Want,
    /// Fail rather than add a pin.
    pub(crate) locked: bool,
    /// Write pins that were added.
    pub(crate) write_lock: bool,
    /// Run the actions of the targets named again.
    pub(crate) force: bool,
    /// Look every action up, also below those that are there.
    pub(crate) explain_all: bool,
    /// What of machines runs again.
    pub(crate) machines: MachineSteps,
}

impl Default for Planning {
    fn default() -> Self {
        Self {
            want: Want::Artifacts,
            locked: false,
            write_lock: true,
            force: false,
            explain_all: false,
            machines: MachineSteps::default(),
        }
    }
}

impl Session {
    pub(crate) fn new(
        global: &Global,
        environment: Environment,
        shell: Arc<Shell>,
    ) -> Result<Self, Diagnostics> {
        let current = match &global.workspace {
            Some(folder) => fs_err::canonicalize(folder),
            None => std::env::current_dir(),
        }
        .map_err(|error| Diagnostic::error(format!("cannot enter the folder: {error}")))?;
        let root = DiskFiles::find_root(&current);
        let below =
            root.as_ref().and_then(|root| current.strip_prefix(root).ok()?.to_str().map(str::to_owned));
        let package = below.and_then(|path| PackagePath::new(&path).ok()).unwrap_or_else(PackagePath::root);
        let flags =
            Flags { cache_dir: global.cache_dir.clone(), config: global.config.clone(), ..Flags::default() };
        let config = Config::load(&flags, &environment, root.as_deref())?;
        let ui = Arc::new(Ui::new(shell.clone(), global.progress));
        let workspace = root.map(DiskFiles::new);
        Ok(Self { shell, ui, config, environment, workspace, package, cache: None })
    }

    pub(crate) fn root(&self) -> Option<&Path> {
        self.workspace.as_ref().map(DiskFiles::root)
    }

    pub(crate) fn files(&self) -> Result<&DiskFiles, Diagnostics> {
        self.workspace.as_ref().ok_or_else(|| {
            Diagnostic::error("this folder is in no workspace")
                .hint("a workspace's root holds a file `imgbuild.toml`, which may be empty; `-C DIR` names another folder")
                .into()
        })
    }

    pub(crate) fn cache(&mut self) -> Result<Cache, Diagnostics> {
        if let Some(cache) = &self.cache {
            return Ok(cache.clone());
        }
        let cache = Cache::open(&self.config.cache_dir).map_err(|error| cache_error(&error))?;
        self.cache = Some(cache.clone());
        Ok(cache)
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(crate) fn package(&self) -> &PackagePath {
        &self.package
    }

    /// Seconds since 1970.
    pub(crate) fn now() -> i64 {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
    }

    pub(crate) fn lock_path(&self) -> Result<PathBuf, Diagnostics> {
        Ok(self.files()?.root().join(LOCK_FILE))
    }

    pub(crate) fn read_lock(&self) -> Result<LockFile, Diagnostics> {
        LockFile::read(&self.lock_path()?).map_err(|error| lock_error(&error))
    }

    pub(crate) fn label(&self, text: &str) -> Result<Label, Diagnostics> {
        let pattern = imgbuild_model::Pattern::parse(text, &self.package)
            .map_err(|error| Diagnostic::error(error.to_string()))?;
        match pattern {
            imgbuild_model::Pattern::Single(label) => Ok(label),
            _ => Err(Diagnostic::error(format!("`{text}` names several targets; one is wanted here")).into()),
        }
    }

    pub(crate) fn selection<'a>(
        &self,
        patterns: impl IntoIterator<Item = &'a str>,
        variant: &Variant,
    ) -> Result<Selection, Diagnostics> {
        let patterns = PatternSet::parse(patterns, &self.package).map_err(|error| {
            Diagnostic::error(error.to_string()).hint("a target is written `//package:name`")
        })?;
        let flags: BTreeMap<String, String> = variant
            .definitions
            .iter()
            .map(|definition| (definition.key.clone(), definition.value.clone()))
            .collect();
        Ok(Selection {
            patterns,
            platforms: variant.platforms.clone(),
            flags: Arc::new(flags),
            default_platform: self.config.default_platform.unwrap_or_else(Platform::host),
        })
    }

    /// Loads and analyzes what is selected.
    pub(crate) fn analyze(&self, selection: &Selection) -> Result<Analyzed, Diagnostics> {
        self.analyze_with(&Languages::new(self.files()?), selection)
    }

    fn analyze_with(&self, languages: &Languages, selection: &Selection) -> Result<Analyzed, Diagnostics> {
        self.ui.phase("loading packages");
        let analyzed = Walk::new(languages, self.files()?).run(selection)?;
        for warning in analyzed.warnings.0.iter().chain(&languages.warnings()) {
            self.shell.warning(&warning.to_string());
        }
        Ok(analyzed)
    }

    /// From a selection to a plan, with what the lock file lacks resolved on the way.
    ///
    /// It is never dropped: the program ends when it has been used, and to take a large one apart takes a tenth of the
    /// time that it took to make.
    pub(crate) fn prepare(
        &mut self,
        selection: &Selection,
        planning: &Planning,
    ) -> Result<ManuallyDrop<Prepared>, Diagnostics> {
        let languages = Languages::new(self.files()?);
        let cache = self.cache()?;
        let analyzed = self.analyze_with(&languages, selection)?;
        let (graph, wanted) = self.wanted(&analyzed, planning.want)?;
        let digests = InputDigests::read(&graph.inputs(), self.files()?, &cache)?;
        let before = self.read_lock()?;
        let tools = crate::tools::tools(&graph, self.files()?.root(), &cache);
        let mut keys = KeyInputs {
            builders: crate::registry::builders(),
            tools: Arc::new(tools),
            graph: Arc::new(graph),
            lock: Arc::new(before.clone()),
            digests: Arc::new(digests),
            salt: self.config.salt.as_deref().unwrap_or_default().into(),
        };
        let force: BTreeSet<Label> = match planning.force {
            true => analyzed.roots.iter().map(|root| root.label.clone()).collect(),
            false => BTreeSet::new(),
        };
        let options = PlanOptions { force, explain_all: planning.explain_all, ..PlanOptions::default() };
        let options = (options, planning.machines);
        let root = self.files()?.root().to_path_buf();
        let planned = plan_whole(&mut keys, &wanted, (&cache, &root), options, &mut |needs, keys| {
            if planning.locked {
                return Err(not_locked(needs));
            }
            self.ui.phase("resolving");
            self.resolve(needs, &keys.lock)
        })?;
        if *keys.lock != before && planning.write_lock {
            keys.lock.write(&self.lock_path()?).map_err(|error| lock_error(&error))?;
            self.shell.note(&format!("added {} to `{LOCK_FILE}`", added(&before, &keys.lock)));
        }
        Ok(ManuallyDrop::new(Prepared {
            analyzed,
            keys,
            wanted,
            plan: planned,
            fillings: Arc::new(languages.fillings()),
        }))
    }

    /// Asks archives and registries for what the lock file lacks.
    pub(crate) fn resolve(&mut self, needs: &[PinRequest], lock: &LockFile) -> Result<LockFile, Diagnostics> {
        let cache = self.cache()?;
        let archives =
            registry::archives(&self.config, &self.environment, cache, Self::now(), self.ui.clone());
        let resolver = imgbuild_provisioners::Resolver::new(archives);
        runtime()?.block_on(resolver.resolve(needs, lock))
    }

    fn wanted(&self, analyzed: &Analyzed, want: Want) -> Result<(ActionGraph, Vec<usize>), Diagnostics> {
        let mut artifacts = Vec::new();
        match want {
            Want::Artifacts => {
                for root in &analyzed.roots {
                    artifacts.extend(root.artifacts(analyzed));
                    for (_, id) in &root.platforms {
                        let layers = without_files(analyzed, *id);
                        artifacts.extend(
                            layers
                                .into_iter()
                                .map(|layer| Artifact::Output { action: layer.action, name: "".into() }),
                        );
                    }
                }
            }
            Want::Tests => {
                for root in &analyzed.roots {
                    for (_, id) in &root.platforms {
                        let info = analyzed.get(*id).provider("TestInfo");
                        if let Some(Value::Artifact(result)) = info.and_then(|info| info.field("result")) {
                            artifacts.push(result.clone());
                        }
                    }
                }
            }
            Want::Layers | Want::Sealed => {
                let layer = if want == Want::Layers { image_layer } else { sealed_layer };
                for root in &analyzed.roots {
                    for (_, id) in &root.platforms {
                        let layer = layer(analyzed, *id).ok_or_else(|| {
                            Diagnostics::from(Diagnostic::error(format!("`{}` is no image", root.label)))
                        })?;
                        artifacts.push(Artifact::Output { action: layer.action, name: "".into() });
                    }
                }
            }
        }
        let graph = ActionGraph::build(analyzed, &artifacts)?;
        let mut wanted: Vec<usize> = artifacts
            .iter()
            .filter_map(|artifact| match artifact {
                Artifact::Output { action, .. } => graph.find(action),
                Artifact::Source(_) => None,
            })
            .collect();
        wanted.extend((0..graph.nodes.len()).filter(|place| graph.nodes[*place].brings_files()));
        wanted.sort_unstable();
        wanted.dedup();
        Ok((graph, wanted))
    }
}

/// Finds what a lock file lacks, with what else keys are made from; gives the lock file that has it.
pub(crate) type Find<'a> = &'a mut dyn FnMut(&[PinRequest], &KeyInputs) -> Result<LockFile, Diagnostics>;

/// Plans until nothing is missing in the lock file. A delegated build whose files are gone from below `root` runs again, and
/// so do steps of machines.
pub(crate) fn plan_whole(
    keys: &mut KeyInputs,
    wanted: &[usize],
    (cache, root): (&Cache, &Path),
    (options, machines): (PlanOptions, MachineSteps),
    find: Find<'_>,
) -> Result<Plan, Diagnostics> {
    let plan_with = |keys: &KeyInputs, options: &PlanOptions| {
        plan(keys.context(), wanted, cache, options).map_err(|error| cache_error(&error))
    };
    let mut rounds = 0;
    let planned = loop {
        let planned = plan_with(keys, &options)?;
        if planned.needs.is_empty() {
            break planned;
        }
        rounds += 1;
        if rounds > 64 {
            return Err(Diagnostic::error(format!("`{}` cannot be resolved", planned.needs[0])).into());
        }
        keys.lock = Arc::new(find(&planned.needs, keys)?);
    };
    let gone = artifact::gone(&keys.graph, &planned, cache, root)?;
    let force_places = machines.again(&keys.graph, &planned);
    if gone.is_empty() && force_places.is_empty() {
        return Ok(planned);
    }
    let force = gone.into_iter().chain(options.force.iter().cloned()).collect();
    plan_with(keys, &PlanOptions { force, force_places, ..options })
}

/// The layer of an image before it is sealed.
pub(crate) fn image_layer(analyzed: &Analyzed, id: imgbuild_plan::TargetId) -> Option<LayerRef> {
    image_field(analyzed, id, "unsealed").or_else(|| image_field(analyzed, id, "layer"))
}

/// The layer of an image as its exports have it.
pub(crate) fn sealed_layer(analyzed: &Analyzed, id: imgbuild_plan::TargetId) -> Option<LayerRef> {
    image_field(analyzed, id, "layer")
}

/// The last layers of what a target stands for and makes no files: such an image or build is carried out all the same.
fn without_files(analyzed: &Analyzed, id: imgbuild_plan::TargetId) -> Vec<LayerRef> {
    let entry = analyzed.get(id);
    let of_template = |entry: &imgbuild_plan::Entry| match entry.provider("TemplateBuildInfo")?.field("layer")
    {
        Some(Value::Layer(layer)) => Some(layer.clone()),
        _ => None,
    };
    let members = [("TemplateInfo", "builds"), ("ImageSetInfo", "images")]
        .into_iter()
        .filter_map(|(provider, field)| entry.provider(provider)?.field(field)?.as_list());
    let members = members.flatten().filter_map(|member| match member {
        Value::Label(label) => entry.dependencies.iter().find(|(own, _)| own == label),
        _ => None,
    });
    let of_members = members.flat_map(|(_, id)| without_files(analyzed, *id));
    let own = || image_field(analyzed, id, "layer").or_else(|| of_template(entry));
    let own = if entry.files().is_empty() { own() } else { None };
    of_members.chain(own).collect()
}

fn image_field(analyzed: &Analyzed, id: imgbuild_plan::TargetId, name: &str) -> Option<LayerRef> {
    match analyzed.get(id).provider("ImageInfo")?.field(name) {
        Some(Value::Layer(layer)) => Some(layer.clone()),
        _ => None,
    }
}

/// A runtime for what waits: started only where something must run or be asked.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Diagnostics> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Diagnostic::error(format!("cannot start threads: {error}")).class(Class::Environment).into()
    })
}

pub(crate) fn cache_error(error: &imgbuild_cache::Error) -> Diagnostics {
    let diagnostic = Diagnostic::error(format!("the cache failed: {error}")).class(Class::Environment);
    let full = error.is_disk_full().then(|| imgbuild_engine::FREE_SPACE.to_owned());
    diagnostic.maybe_hint(full).into()
}

pub(crate) fn lock_error(error: &LockError) -> Diagnostics {
    let diagnostic = Diagnostic::error(format!("`{LOCK_FILE}` cannot be used: {error}"));
    match error {
        LockError::Io(_) => diagnostic.class(Class::Environment),
        LockError::Parse { line, column, message } => {
            let place = |number: &usize| u32::try_from(*number).unwrap_or_default();
            Diagnostic::error(format!("`{LOCK_FILE}` is damaged: {message}"))
                .at(Location {
                    file: LOCK_FILE.into(),
                    line: place(line),
                    column: place(column),
                    end_line: place(line),
                    end_column: place(column) + 1,
                })
                .hint("resolve a merge by hand, or restore the file from version control")
        }
        LockError::Newer { .. } => {
            diagnostic.hint("use the version of imgbuild that wrote it, or a newer one")
        }
    }
    .into()
}

fn not_locked(needs: &[PinRequest]) -> Diagnostics {
    let names: Vec<_> = needs.iter().map(|need| format!("`{need}`")).collect();
    Diagnostic::error(format!("`{LOCK_FILE}` does not say what {} is", names.join(", ")))
        .hint("run without `--locked`, or `imgbuild update`, and commit the lock file")
        .into()
}

/// What a lock file has that it had not, in a few words.
pub(crate) fn added(before: &LockFile, after: &LockFile) -> String {
    let known: BTreeSet<String> = before.pins().map(|(name, _)| name).collect();
    let new: Vec<String> = after.pins().map(|(name, _)| name).filter(|name| !known.contains(name)).collect();
    match new.as_slice() {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [one, rest @ ..] => format!("`{one}` and {} more", rest.len()),
    }
}
