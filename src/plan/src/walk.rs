//! The walk: from patterns to analyzed targets.
//!
//! Packages are loaded and targets configured in waves, each wave in parallel: the labels that one wave's attributes
//! name are the next wave. When no new target comes, the graph is checked for cycles and analyzed bottom up. Pure but
//! for the files that the front end reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_model::{
    ActionRef, Analysis, AnalysisRequest, Artifact, Attributes, Class, Configuration, Dependency, Diagnostic,
    Diagnostics, EntryKind, Files as _, FrontEnd, Label, LoadedPackage, Location, PackagePath, Pattern,
    PatternSet, Platform, Provider, SourceFile, Target, TargetName, Value, did_you_mean,
};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::DiskFiles;

mod choices;

use choices::{is_config_setting, visit_conditions};

/// A configured target or source file, by its place in [`Analyzed::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(u32);

/// A target for a platform.
#[derive(Debug)]
pub struct ConfiguredTarget {
    /// As declared.
    pub target: Arc<Target>,
    /// Its attributes, choices made.
    pub attributes: Attributes,
}

/// What a label stands for.
#[derive(Debug)]
pub enum Node {
    /// A target.
    Target(ConfiguredTarget),
    /// A file or folder of the workspace.
    Source(SourceFile),
}

/// A configured node with what it depends on and offers.
#[derive(Debug)]
pub struct Entry {
    /// Its label.
    pub label: Label,
    /// What for.
    pub configuration: Configuration,
    /// What it is.
    pub node: Node,
    /// What it depends on, by label.
    pub dependencies: Vec<(Label, TargetId)>,
    /// What analysis gave; empty for source files.
    pub analysis: Arc<Analysis>,
    /// What it offers to what depends on it.
    pub offer: Dependency,
}

/// A target that was asked for: for each of its platforms, and joined over them.
#[derive(Debug)]
pub struct Root {
    /// Its label.
    pub label: Label,
    /// The platforms, with the target configured for each.
    pub platforms: Vec<(Platform, TargetId)>,
    /// What joining the platforms gave, if there is more than one and the rule joins them.
    pub combined: Option<Arc<Analysis>>,
}

/// All that a request needs, analyzed.
#[derive(Debug)]
pub struct Analyzed {
    nodes: Vec<Entry>,
    /// What was asked for, in order.
    pub roots: Vec<Root>,
    /// Warnings of loading.
    pub warnings: Diagnostics,
}

/// What to walk to.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The targets.
    pub patterns: PatternSet,
    /// `--platform`, if given: overrides what targets say.
    pub platforms: Vec<Platform>,
    /// `-D`.
    pub flags: Arc<BTreeMap<String, String>>,
    /// The platform of targets that say nothing.
    pub default_platform: Platform,
}

/// A walk over one workspace with one front end.
pub struct Walk<'a> {
    front_end: &'a dyn FrontEnd,
    files: &'a DiskFiles,
    packages: FxHashMap<PackagePath, LoadedPackage>,
}

type Key = (Label, Platform);

impl Analyzed {
    /// A node.
    #[must_use]
    pub fn get(&self, id: TargetId) -> &Entry {
        &self.nodes[id.0 as usize]
    }

    /// Each node, with its id.
    pub fn iter(&self) -> impl Iterator<Item = (TargetId, &Entry)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, entry)| (TargetId(u32::try_from(index).unwrap_or(u32::MAX)), entry))
    }
}

impl Root {
    /// Its artifacts: the joined ones, or those of each platform.
    #[must_use]
    pub fn artifacts(&self, analyzed: &Analyzed) -> Vec<Artifact> {
        match &self.combined {
            Some(analysis) => files_of(&analysis.providers),
            None => self.platforms.iter().flat_map(|(_, id)| analyzed.get(*id).files()).collect(),
        }
    }
}

impl<'a> Walk<'a> {
    /// A walk that has loaded nothing yet.
    #[must_use]
    pub fn new(front_end: &'a dyn FrontEnd, files: &'a DiskFiles) -> Self {
        Self { front_end, files, packages: FxHashMap::default() }
    }

    /// The targets that patterns select, sorted within each pattern.
    ///
    /// # Errors
    /// If a package or target does not exist, a pattern selects nothing, or a package does not load.
    pub fn select(&mut self, patterns: &PatternSet) -> Result<Vec<Label>, Diagnostics> {
        let mut labels = Vec::new();
        let mut seen = FxHashSet::default();
        for pattern in &patterns.include {
            let packages = match pattern {
                Pattern::Single(label) => vec![label.package.clone()],
                Pattern::Package(package) => vec![package.clone()],
                Pattern::Recursive(package) => self.files.packages_below(package).map_err(|error| {
                    Diagnostic::error(format!("cannot search `{pattern}`: {error}")).class(Class::Environment)
                })?,
            };
            self.load(packages.iter().cloned())?;
            let before = labels.len();
            if let Pattern::Single(label) = pattern {
                if !self.packages[&label.package].package.targets.contains_key(&label.name) {
                    return Err(self.no_such_target(label, None).into());
                }
                if seen.insert(label.clone()) {
                    labels.push(label.clone());
                }
                continue;
            }
            for package in &packages {
                for target in self.packages[package].package.targets.values() {
                    if !is_config_setting(target) && seen.insert(target.label.clone()) {
                        labels.push(target.label.clone());
                    }
                }
            }
            if labels.len() == before
                && packages.iter().all(|path| self.packages[path].package.targets.is_empty())
            {
                return Err(Diagnostic::error(format!("no targets match `{pattern}`"))
                    .hint("a package is a folder with a `BUILD.star`")
                    .into());
            }
        }
        labels.retain(|label| !patterns.exclude.iter().any(|pattern| pattern.matches(label)));
        Ok(labels)
    }

    /// Loads, configures and analyzes all that is selected.
    ///
    /// # Errors
    /// All diagnostics of the first stage that fails.
    pub fn run(mut self, selection: &Selection) -> Result<Analyzed, Diagnostics> {
        let labels = self.select(&selection.patterns)?;
        let configure = |platform| Configuration { platform, flags: selection.flags.clone() };
        let default = selection.platforms.first().copied().unwrap_or(selection.default_platform);
        let wanted = match selection.platforms.as_slice() {
            [] => self.platforms(labels, &configure(default))?,
            given => labels.into_iter().map(|label| (label, given.to_vec())).collect(),
        };
        let wanted: Vec<(Label, Vec<Platform>)> = wanted
            .into_iter()
            .map(|(label, platforms)| {
                let mut seen = FxHashSet::default();
                (label, platforms.into_iter().filter(|platform| seen.insert(*platform)).collect())
            })
            .collect();
        let start = wanted
            .iter()
            .flat_map(|(label, platforms)| platforms.iter().map(move |platform| (label.clone(), *platform)))
            .collect();
        let (mut entries, index) = self.configure(start, &selection.flags)?;
        self.analyze(&mut entries, &index)?;
        let roots = wanted
            .into_iter()
            .map(|(label, platforms)| self.join(label, &platforms, &entries, &index))
            .collect::<Result<_, _>>()?;
        let mut warnings: Vec<_> =
            self.packages.values().flat_map(|package| package.warnings.0.iter().cloned()).collect();
        warnings.sort_by(|one, other| one.location.cmp(&other.location));
        Ok(Analyzed { nodes: entries, roots, warnings: Diagnostics(warnings) })
    }

    /// What each target says that it is for; the configuration's platform where it says nothing.
    fn platforms(
        &mut self,
        labels: Vec<Label>,
        configuration: &Configuration,
    ) -> Result<Vec<(Label, Vec<Platform>)>, Diagnostics> {
        for label in &labels {
            let target = self.packages[&label.package].package.targets[&label.name].clone();
            self.load_conditions(&target)?;
        }
        let this = &*self;
        labels
            .into_par_iter()
            .map(|label| {
                let target = &this.packages[&label.package].package.targets[&label.name];
                let attributes = this.resolve(target, configuration)?;
                let said = this.front_end.platforms(target, &attributes);
                Ok((label, said.filter(|list| !list.is_empty()).unwrap_or(vec![configuration.platform])))
            })
            // The first problem in the order of the labels is told, whichever thread is the fastest.
            .collect::<Vec<_>>()
            .into_iter()
            .collect()
    }

    fn load(&mut self, packages: impl IntoIterator<Item = PackagePath>) -> Result<(), Diagnostics> {
        let packages: Vec<PackagePath> = packages.into_iter().collect();
        let missing = self.missing(&packages);
        let (front_end, files) = (self.front_end, self.files);
        let loaded: Vec<_> =
            missing.into_par_iter().map(|path| (front_end.load(&path, files), path)).collect();
        let mut problems = Vec::new();
        for (result, path) in loaded {
            match result {
                Ok(package) => {
                    self.packages.insert(path, package);
                }
                Err(diagnostics) => problems.extend(diagnostics.0),
            }
        }
        fail_sorted(problems)
    }

    /// The packages that are not loaded yet, each once.
    fn missing<'p>(&self, packages: impl IntoIterator<Item = &'p PackagePath>) -> Vec<PackagePath> {
        let new = packages.into_iter().filter(|path| !self.packages.contains_key(*path));
        new.collect::<FxHashSet<_>>().into_iter().cloned().collect()
    }

    fn load_conditions(&mut self, target: &Target) -> Result<(), Diagnostics> {
        let mut packages = Vec::new();
        for (_, value) in &target.attributes {
            visit_conditions(value, &mut |label| packages.push(label.package.clone()));
        }
        self.load(packages)
    }

    fn configure(
        &mut self,
        mut wave: Vec<Key>,
        flags: &Arc<BTreeMap<String, String>>,
    ) -> Result<(Vec<Entry>, FxHashMap<Key, TargetId>), Diagnostics> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut index: FxHashMap<Key, TargetId> = FxHashMap::default();
        let mut pending: Vec<(usize, Vec<Label>)> = Vec::new();
        let mut users: FxHashMap<Key, usize> = FxHashMap::default();
        while !wave.is_empty() {
            self.load(
                self.missing(wave.iter().map(|(label, _)| &label.package))
                    .into_iter()
                    .filter(|path| self.files.has_package(path)),
            )?;
            let conditions: Vec<Arc<Target>> =
                wave.iter().filter_map(|(label, _)| self.target(label).cloned()).collect();
            let mut condition_packages = Vec::new();
            for target in &conditions {
                for (_, value) in &target.attributes {
                    visit_conditions(value, &mut |label| condition_packages.push(label.package.clone()));
                }
            }
            self.load(condition_packages)?;
            let this = &*self;
            let nodes: Vec<Result<Entry, Diagnostics>> = wave
                .par_iter()
                .map(|key| {
                    let user = users.get(key).map(|user| &entries[*user]);
                    this.entry(key, flags, user)
                })
                .collect();
            let mut next = Vec::new();
            let mut problems = Vec::new();
            for (key, node) in wave.into_iter().zip(nodes) {
                let entry = match node {
                    Ok(entry) => entry,
                    Err(diagnostics) => {
                        problems.extend(diagnostics.0);
                        continue;
                    }
                };
                let place = entries.len();
                let mut labels = Vec::new();
                if let Node::Target(target) = &entry.node {
                    target.attributes.visit_labels(&mut |label| {
                        if !labels.contains(label) {
                            labels.push(label.clone());
                        }
                    });
                }
                for label in &labels {
                    let needed = (label.clone(), key.1);
                    if !index.contains_key(&needed) && !users.contains_key(&needed) {
                        users.insert(needed.clone(), place);
                        next.push(needed);
                    }
                }
                index.insert(key, TargetId(u32::try_from(place).unwrap_or(u32::MAX)));
                pending.push((place, labels));
                entries.push(entry);
            }
            fail_sorted(problems)?;
            next.retain(|key| !index.contains_key(key));
            wave = next;
        }
        let mut problems = Vec::new();
        for (place, labels) in pending {
            let platform = entries[place].configuration.platform;
            let dependencies: Vec<_> = labels
                .into_iter()
                .map(|label| {
                    let id = index[&(label.clone(), platform)];
                    (label, id)
                })
                .collect();
            for (_, id) in &dependencies {
                problems.extend(invisible(&entries[place], &entries[id.0 as usize]));
            }
            entries[place].dependencies = dependencies;
        }
        fail_sorted(problems)?;
        Ok((entries, index))
    }

    fn entry(
        &self,
        (label, platform): &Key,
        flags: &Arc<BTreeMap<String, String>>,
        user: Option<&Entry>,
    ) -> Result<Entry, Diagnostics> {
        let configuration = Configuration { platform: *platform, flags: flags.clone() };
        let node = match self.target(label) {
            Some(target) => Node::Target(ConfiguredTarget {
                target: target.clone(),
                attributes: self.resolve(target, &configuration)?,
            }),
            None => Node::Source(self.source_file(label, user)?),
        };
        let offer = match node {
            Node::Target(_) => Dependency { label: label.clone(), providers: Arc::from([]) },
            Node::Source(_) => self.front_end.source_file(label),
        };
        Ok(Entry {
            label: label.clone(),
            configuration,
            node,
            dependencies: Vec::new(),
            analysis: Arc::default(),
            offer,
        })
    }

    fn target(&self, label: &Label) -> Option<&Arc<Target>> {
        self.packages.get(&label.package)?.package.targets.get(&label.name)
    }

    fn source_file(&self, label: &Label, user: Option<&Entry>) -> Result<SourceFile, Diagnostics> {
        let location = user.and_then(|entry| match &entry.node {
            Node::Target(target) => Some(target.target.location.clone()),
            Node::Source(_) => None,
        });
        if !self.packages.contains_key(&label.package) {
            let mut diagnostic = Diagnostic::error(format!("there is no package `{}`", label.package))
                .hint("a package is a folder with a `BUILD.star`");
            diagnostic.location = location;
            return Err(diagnostic.note(format!("needed as `{label}`"), None).into());
        }
        let path = label.path();
        let folders = label.name.as_str().match_indices('/').map(|(at, _)| &label.name.as_str()[..at]);
        for folder in folders {
            let inner = PackagePath::new(label.package.file(folder).as_str());
            if let Ok(inner) = inner
                && self.files.has_package(&inner)
            {
                let name = &label.name.as_str()[folder.len() + 1..];
                let mut diagnostic =
                    Diagnostic::error(format!("`{label}` reaches into the package `{inner}`"))
                        .hint(format!("name it `{inner}:{name}`"));
                diagnostic.location = location;
                return Err(diagnostic.into());
            }
        }
        match self.files.kind(&path) {
            Some(EntryKind::File | EntryKind::Directory) => Ok(SourceFile { label: label.clone(), path }),
            Some(EntryKind::Other) => {
                let mut diagnostic = Diagnostic::error(format!("`{label}` is neither a file nor a folder"));
                diagnostic.location = location;
                Err(diagnostic.into())
            }
            None => Err(self.no_such_target(label, location).into()),
        }
    }

    fn no_such_target(&self, label: &Label, location: Option<Location>) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(format!("there is no target or file `{label}`"));
        diagnostic.location = location;
        let Some(package) = self.packages.get(&label.package) else { return diagnostic };
        let folder = PackagePath::new(label.package.as_str()).ok().map(|path| path.file(""));
        let files: Vec<String> = folder
            .and_then(|_| {
                let path = imgbuild_model::WorkspacePath::new(label.package.as_str()).ok()?;
                self.files.list(&path).ok()
            })
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let names =
            package.package.targets.keys().map(TargetName::as_str).chain(files.iter().map(String::as_str));
        diagnostic.hint = match did_you_mean(label.name.as_str(), names) {
            Some(name) => Some(format!("did you mean `{}:{name}`?", label.package)),
            None if package.package.targets.is_empty() => {
                Some(format!("`{}` declares no targets", label.package))
            }
            None => Some(format!("`imgbuild query {}:all` lists the targets of the package", label.package)),
        };
        diagnostic
    }

    fn analyze(&self, entries: &mut [Entry], index: &FxHashMap<Key, TargetId>) -> Result<(), Diagnostics> {
        let levels = levels(entries)?;
        for level in levels {
            let snapshot = &*entries;
            let results: Vec<(usize, Result<Analysis, Diagnostics>)> = level
                .into_par_iter()
                .map(|place| {
                    let entry = &snapshot[place];
                    let Node::Target(target) = &entry.node else { return (place, Ok(Analysis::default())) };
                    let dependencies: BTreeMap<Label, Dependency> = entry
                        .dependencies
                        .iter()
                        .map(|(label, id)| (label.clone(), snapshot[id.0 as usize].offer.clone()))
                        .collect();
                    let request = AnalysisRequest {
                        target: &target.target,
                        configuration: &entry.configuration,
                        attributes: target.attributes.clone(),
                        dependencies: &dependencies,
                        combine: None,
                    };
                    (place, self.front_end.analyze(&request))
                })
                .collect();
            let mut problems = Vec::new();
            for (place, result) in results {
                match result {
                    Ok(analysis) => {
                        let entry = &mut entries[place];
                        if let Node::Target(_) = entry.node {
                            entry.offer.providers = analysis.providers.clone();
                            entry.analysis = Arc::new(analysis);
                        }
                    }
                    Err(diagnostics) => problems.extend(diagnostics.0),
                }
            }
            fail_sorted(problems)?;
        }
        debug_assert_eq!(index.len(), entries.len());
        Ok(())
    }

    fn join(
        &self,
        label: Label,
        platforms: &[Platform],
        entries: &[Entry],
        index: &FxHashMap<Key, TargetId>,
    ) -> Result<Root, Diagnostics> {
        let platforms: Vec<_> =
            platforms.iter().map(|platform| (*platform, index[&(label.clone(), *platform)])).collect();
        let combined = if platforms.len() > 1 {
            let results: Vec<(Platform, Arc<Analysis>)> = platforms
                .iter()
                .map(|(platform, id)| (*platform, entries[id.0 as usize].analysis.clone()))
                .collect();
            let entry = &entries[platforms[0].1.0 as usize];
            let Node::Target(target) = &entry.node else {
                return Ok(Root { label, platforms, combined: None });
            };
            let request = AnalysisRequest {
                target: &target.target,
                configuration: &entry.configuration,
                attributes: target.attributes.clone(),
                dependencies: &BTreeMap::new(),
                combine: Some(&results),
            };
            let analysis = self.front_end.analyze(&request)?;
            (!analysis.providers.is_empty()).then(|| Arc::new(analysis))
        } else {
            None
        };
        Ok(Root { label, platforms, combined })
    }
}

impl Entry {
    /// The provider of that name, wherever it was defined.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.offer.providers.iter().find(|provider| &*provider.id.name == name).map(|provider| &**provider)
    }

    /// The files of its `DefaultInfo`.
    #[must_use]
    pub fn files(&self) -> Vec<Artifact> {
        files_of(&self.offer.providers)
    }

    /// The action that makes an artifact, if one does.
    #[must_use]
    pub fn owner(artifact: &Artifact) -> Option<&Arc<ActionRef>> {
        match artifact {
            Artifact::Output { action, .. } => Some(action),
            Artifact::Source(_) => None,
        }
    }
}

/// The files of the `DefaultInfo` among providers.
fn files_of(providers: &[Arc<Provider>]) -> Vec<Artifact> {
    let info = providers.iter().find(|provider| &*provider.id.name == "DefaultInfo");
    info.and_then(|info| info.field("files"))
        .and_then(Value::as_list)
        .unwrap_or_default()
        .iter()
        .filter_map(|value| match value {
            Value::Artifact(artifact) => Some(artifact.clone()),
            _ => None,
        })
        .collect()
}

fn invisible(user: &Entry, owner: &Entry) -> Option<Diagnostic> {
    let (Node::Target(used), Node::Target(using)) = (&owner.node, &user.node) else { return None };
    if used.target.visibility.allows(&owner.label.package, &user.label.package) {
        return None;
    }
    Some(
        Diagnostic::error(format!(
            "`{}` may not depend on `{}`: it is not visible there",
            user.label, owner.label
        ))
        .at(using.target.location.clone())
        .note("declared here", Some(used.target.location.clone()))
        .hint(format!("add `\"{}:__pkg__\"` to the `visibility` of `{}`", user.label.package, owner.label)),
    )
}

/// The nodes in levels: each depends only on nodes of earlier levels.
fn levels(entries: &[Entry]) -> Result<Vec<Vec<usize>>, Diagnostics> {
    let mut waiting: Vec<usize> = entries.iter().map(|entry| entry.dependencies.len()).collect();
    let mut users: Vec<Vec<u32>> = vec![Vec::new(); entries.len()];
    for (place, entry) in entries.iter().enumerate() {
        for (_, id) in &entry.dependencies {
            users[id.0 as usize].push(u32::try_from(place).unwrap_or(u32::MAX));
        }
    }
    let mut level: Vec<usize> = (0..entries.len()).filter(|place| waiting[*place] == 0).collect();
    let mut levels = Vec::new();
    let mut done = 0;
    while !level.is_empty() {
        done += level.len();
        let mut next = Vec::new();
        for place in &level {
            for user in &users[*place] {
                waiting[*user as usize] -= 1;
                if waiting[*user as usize] == 0 {
                    next.push(*user as usize);
                }
            }
        }
        levels.push(std::mem::replace(&mut level, next));
    }
    if done == entries.len() { Ok(levels) } else { Err(cycle(entries, &waiting).into()) }
}

/// Names the cycle among the nodes that still wait.
fn cycle(entries: &[Entry], waiting: &[usize]) -> Diagnostic {
    let start = (0..entries.len())
        .filter(|place| waiting[*place] > 0)
        .min_by(|one, other| entries[*one].label.cmp(&entries[*other].label))
        .unwrap_or_default();
    let mut path = vec![start];
    let mut place = start;
    while let Some((_, id)) = entries[place].dependencies.iter().find(|(_, id)| waiting[id.0 as usize] > 0) {
        place = id.0 as usize;
        if let Some(first) = path.iter().position(|seen| *seen == place) {
            path.drain(..first);
            break;
        }
        path.push(place);
    }
    let location = |place: usize| match &entries[place].node {
        Node::Target(target) => Some(target.target.location.clone()),
        Node::Source(_) => None,
    };
    let names: Vec<String> =
        path.iter().chain(path.first()).map(|place| format!("`{}`", entries[*place].label)).collect();
    let mut diagnostic =
        Diagnostic::error(format!("targets depend on each other in a circle: {}", names.join(" -> ")));
    diagnostic.location = location(path[0]);
    for place in &path[1..] {
        diagnostic =
            diagnostic.note(format!("`{}` is declared here", entries[*place].label), location(*place));
    }
    diagnostic
}

fn fail_sorted(mut problems: Vec<Diagnostic>) -> Result<(), Diagnostics> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort_by(|one, other| (&one.location, &one.message).cmp(&(&other.location, &other.message)));
    problems.dedup();
    Err(Diagnostics(problems))
}
