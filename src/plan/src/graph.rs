//! The action graph: what the wanted artifacts need, each action once, prerequisites first.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgbuild_model::{
    Action, ActionRef, Analysis, Artifact, Attributes, ChainState, Diagnostic, Diagnostics, Effect,
    KindClass, KindId, KindSchema, Label, LayerRef, Platform, SourceFile, Value, WorkspacePath,
};

use rustc_hash::FxHashMap;

use crate::{Analyzed, DebianRequest, Entry, ImageRequest, PackageState, PinRequest};

/// An action of the graph.
#[derive(Debug)]
pub struct ActionNode {
    /// The declared action that it is; the resolve action of an `apt_install` has that one's.
    pub reference: Arc<ActionRef>,
    /// What it does.
    pub action: Arc<Action>,
    /// Its kind.
    pub schema: &'static KindSchema,
    /// The layer that it stands on or works in.
    pub parent: Option<usize>,
    /// All that must be there before it: the parent, inputs made by other actions, joined exports. Sorted, unique.
    pub prerequisites: Vec<usize>,
    /// The action that finds the closure of this `apt_install`, where the lock file cannot.
    pub resolve: Option<usize>,
    /// The state that it sees.
    pub state: Arc<ChainState>,
    /// What is known of the packages below it.
    pub packages: PackageState,
    /// The chain whose epoch enters its key, named by the target of its first action that uses the network. Set for each
    /// action that uses the network: one that sees equal bytes below it is to look at the network again all the same.
    pub epoch: Option<String>,
    /// The action at the start of its chain.
    pub chain_source: Option<usize>,
    /// The builder that makes its chain's layers, without its version.
    pub builder: &'static str,
    /// Whether its chain is carried out on a machine that is there already.
    pub live: bool,
    /// Whether the next step, which there is, needs what it leaves running.
    fused: bool,
    /// The name of its chain's epoch, if an action of the chain, up to this one, uses the network.
    chain_epoch: Option<String>,
}

/// The graph.
#[derive(Debug, Default)]
pub struct ActionGraph {
    /// The actions; prerequisites come before what needs them.
    pub nodes: Vec<ActionNode>,
    by_reference: FxHashMap<Arc<ActionRef>, usize>,
}

/// What is next on the way through the declared actions.
enum Visit {
    /// An action, before what it needs.
    Before(Arc<ActionRef>),
    /// An action with what it needs, all of which is there.
    After(Arc<ActionRef>, Arc<Action>, Vec<Arc<ActionRef>>),
}

impl ActionNode {
    /// The target that declares it.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.reference.label
    }

    /// What it is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.reference.configuration.platform
    }

    /// Whether its result is a layer.
    #[must_use]
    pub fn makes_layer(&self) -> bool {
        matches!(self.schema.class, KindClass::Source | KindClass::Step)
    }

    /// Whether the machine is behind it as it was before: what stands on it is what would stand on the layer below.
    #[must_use]
    pub fn leaves_machine(&self) -> bool {
        self.schema.class == KindClass::Step && self.schema.effect != Effect::Guest
    }

    /// Whether it runs commands on the host between two steps: what it does there is in no result.
    #[must_use]
    pub fn changes_host(&self) -> bool {
        self.schema.id == "shell_local"
    }

    /// Whether its chain is carried out on machines that are logged in to, and not in a tree that lies open.
    #[must_use]
    pub fn logs_in(&self) -> bool {
        self.builder != "rootfs"
    }

    /// Whether it is carried out in a machine of ours, which may be kept behind it.
    #[must_use]
    pub fn has_machine(&self) -> bool {
        self.logs_in() && !self.live && self.makes_layer() && !self.leaves_machine()
    }

    /// Whether the next step, which there is, needs what it leaves running: its machine is not kept, but goes on.
    #[must_use]
    pub fn is_fused(&self) -> bool {
        self.fused
    }

    /// Whether it asks for that.
    pub(crate) fn asks_to_be_fused(&self) -> bool {
        self.has_machine() && self.action.attributes.is_true("fuse")
    }

    /// Whether it is the end of a machine, which is switched off behind it.
    #[must_use]
    pub fn ends_machine(&self) -> bool {
        self.has_machine() && matches!(self.schema.id, "seal" | "power_off")
    }

    /// Whether it is a step that goes on in the machine of the one below it.
    #[must_use]
    pub fn goes_on_in_machine(&self) -> bool {
        self.has_machine() && self.schema.class == KindClass::Step
    }

    /// Whether it begins anew from the layer below it when it fails, or what stands on it does.
    #[must_use]
    pub fn begins_again(&self) -> bool {
        let attributes = &self.action.attributes;
        let retries = attributes.get("max_retries").and_then(Value::as_int);
        retries.is_some_and(|retries| retries > 0) || attributes.is_true("continue_on_error")
    }

    /// Whether it is a step that brings files out of the machine: they are wanted whatever is built above it.
    #[must_use]
    pub fn brings_files(&self) -> bool {
        self.schema.class == KindClass::Step && self.schema.effect == Effect::Output
    }

    /// The program of this host that carries it out, as the step writes it.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        tool_of(self.schema, self.attributes())
    }

    /// Its attributes: those of the source, for a source's action.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        self.action.source.as_ref().map_or(&self.action.attributes, |source| &source.attributes)
    }

    /// The programs of the host that it runs, itself or for the checks that it is given.
    #[must_use]
    pub fn tools(&self) -> BTreeSet<&str> {
        let mut found: BTreeSet<&str> = self.schema.tools.iter().copied().chain(self.tool()).collect();
        visit(self.attributes(), &mut |value| {
            if let Value::Step(step) = value
                && let Some(schema) = imgbuild_kinds::find(step.kind.as_str())
            {
                found.extend(schema.tools.iter().copied().chain(tool_of(schema, &step.attributes)));
            }
        });
        found
    }

    /// Why its result may never be kept, if that is so.
    #[must_use]
    pub fn impure(&self) -> Option<&'static str> {
        if self.action.attributes.is_true("host") {
            return Some("it runs on the host");
        }
        if self.live {
            return Some("its machine is there already, and what is done to it is not kept");
        }
        if self.action.attributes.is_true("always") {
            return Some("it says `always = True`");
        }
        let cache = self.action.attributes.get("cache").and_then(Value::as_bool);
        (cache == Some(false)).then_some("it says `cache = False`")
    }

    /// What its key looks up in the lock file.
    #[must_use]
    pub fn pins(&self) -> Vec<PinRequest> {
        let packages = match (self.schema.id, &self.packages) {
            ("apt_install", PackageState::Known(below)) => {
                Some(PinRequest::Debian(self.install_request(below)))
            }
            ("apt_resolve", PackageState::Unknown(index)) => Some(PinRequest::Index(index.clone())),
            _ => None,
        };
        // What is never kept has no key, and so nothing that dates it.
        let epoch = self.epoch.as_ref().filter(|_| self.impure().is_none());
        let epoch = epoch.map(|chain| PinRequest::Epoch(chain.clone()));
        self.source_pin().into_iter().chain(packages).chain(epoch).collect()
    }

    /// What the packages of an `apt_install` are asked for by, on packages that are known.
    pub(crate) fn install_request(&self, below: &DebianRequest) -> DebianRequest {
        below.with_install(self.action.attributes.strings("packages").map(str::to_owned))
    }

    /// What a source of a mutable name is pinned by.
    pub(crate) fn source_pin(&self) -> Option<PinRequest> {
        let source = self.action.source.as_ref()?;
        match source.kind.as_str() {
            "debian" | "ubuntu" => {
                Some(PinRequest::Debian(DebianRequest::of_source(source, self.platform())))
            }
            "oci_base" => source.attributes.str("image").map(|image| {
                PinRequest::Image(ImageRequest { image: image.to_owned(), platform: self.platform() })
            }),
            _ => None,
        }
    }

    /// The workspace's files that it reads.
    #[must_use]
    pub fn inputs(&self) -> BTreeSet<WorkspacePath> {
        let mut inputs = BTreeSet::new();
        visit(self.attributes(), &mut |value| {
            if let Value::Artifact(Artifact::Source(SourceFile { path, .. })) = value {
                inputs.insert(path.clone());
            }
        });
        inputs
    }

    /// What it does, in a few words: its kind and what tells it from others of the kind.
    #[must_use]
    pub fn describe(&self) -> String {
        describe(&self.action)
    }
}

/// The program of the host that carries out an action or a check, as it is written.
pub(crate) fn tool_of<'a>(schema: &'static KindSchema, attributes: &'a Attributes) -> Option<&'a str> {
    let schema = schema.attribute(schema.tool)?;
    match (attributes.str(schema.name), schema.default) {
        (Some(name), _) => Some(name),
        (None, imgbuild_model::Default::String(name)) => Some(name),
        (None, _) => None,
    }
}

/// An action in a few words.
pub(crate) fn describe(action: &Action) -> String {
    let (kind, attributes) = (&action.kind, &action.attributes);
    let attributes = action.source.as_ref().map_or(attributes, |source| &source.attributes);
    let first = |names: &[&str]| {
        names.iter().find_map(|name| match attributes.get(name)? {
            Value::String(text) => text.lines().next().map(str::to_owned),
            Value::List(items) if !items.is_empty() => {
                let texts: Vec<_> = items
                    .iter()
                    .filter_map(|item| match item {
                        Value::String(text) => text.lines().next().map(str::to_owned),
                        Value::Artifact(artifact) => Some(artifact.base_name().to_owned()),
                        _ => None,
                    })
                    .collect();
                (!texts.is_empty()).then(|| texts.join(if *name == "inline" { "; " } else { " " }))
            }
            Value::Artifact(artifact) => Some(artifact.base_name().to_owned()),
            _ => None,
        })
    };
    let detail = first(&[
        "inline",
        "script",
        "packages",
        "dest",
        "path",
        "paths",
        "name",
        "cmd",
        "suite",
        "image",
        "src",
        "playbook_file",
        "playbook_files",
        "manifest_file",
        "local_state_tree",
    ]);
    let mut text = match detail {
        Some(detail) => format!("{kind} {detail}"),
        None => kind.to_string(),
    };
    if text.chars().count() > 72 {
        text = text.chars().take(71).chain(['…']).collect();
    }
    text
}

impl ActionGraph {
    /// The actions that the artifacts need, with all their prerequisites.
    ///
    /// # Errors
    /// If a kind is unknown or does not fit where it stands.
    pub fn build(analyzed: &Analyzed, wanted: &[Artifact]) -> Result<Self, Diagnostics> {
        let mut actions = 0;
        let mut index: FxHashMap<(&Label, Platform), &Analysis> = FxHashMap::default();
        for (_, entry) in analyzed.iter() {
            actions += entry.analysis.actions.len();
            index.insert((&entry.label, entry.configuration.platform), &entry.analysis);
        }
        let combined: FxHashMap<&Label, &Arc<Analysis>> =
            analyzed.roots.iter().filter_map(|root| Some((&root.label, root.combined.as_ref()?))).collect();
        let find = |reference: &ActionRef| -> Option<Arc<Action>> {
            if reference.index >= ActionRef::COMBINED {
                let analysis = combined.get(&reference.label)?;
                return analysis.actions.get((reference.index - ActionRef::COMBINED) as usize).cloned();
            }
            let analysis = index.get(&(&reference.label, reference.configuration.platform))?;
            analysis.actions.get(reference.index as usize).cloned()
        };
        let mut graph = Self::default();
        graph.nodes.reserve(actions);
        graph.by_reference.reserve(actions);
        graph.add_all(wanted.iter().filter_map(Entry::owner), &find)?;
        graph.fuse();
        graph.check_machines()?;
        Ok(graph)
    }

    /// The actions `wanted` with all their prerequisites, where `find` gives what a declared action is.
    ///
    /// # Errors
    /// If an action is not declared, or if a kind is unknown or does not fit where it stands.
    pub fn of<'a>(
        wanted: impl IntoIterator<Item = &'a Arc<ActionRef>>,
        find: &dyn Fn(&ActionRef) -> Option<Arc<Action>>,
    ) -> Result<Self, Diagnostics> {
        let mut graph = Self::default();
        graph.add_all(wanted, find)?;
        graph.fuse();
        Ok(graph)
    }

    /// The node of a declared action.
    #[must_use]
    pub fn find(&self, reference: &ActionRef) -> Option<usize> {
        self.by_reference.get(reference).copied()
    }

    /// The actions that made the layer which one of them stands on, the last first.
    pub fn chain_below<'a>(&'a self, node: &'a ActionNode) -> impl Iterator<Item = &'a ActionNode> {
        let parent = |node: &ActionNode| node.parent.map(|parent| &self.nodes[parent]);
        std::iter::successors(parent(node), move |node| parent(node)).filter(|node| !node.leaves_machine())
    }

    /// Joins steps that ask for it to those that go on in their machines.
    fn fuse(&mut self) {
        if !self.nodes.iter().any(ActionNode::asks_to_be_fused) {
            return;
        }
        let dependents = self.dependents();
        for (place, dependents) in dependents.iter().enumerate() {
            let goes_on = matches!(dependents[..], [next] if self.nodes[next].goes_on_in_machine());
            self.nodes[place].fused = goes_on && self.nodes[place].asks_to_be_fused();
        }
    }

    /// What needs each action, by place.
    #[must_use]
    pub fn dependents(&self) -> Vec<Vec<usize>> {
        let mut dependents = vec![Vec::new(); self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate() {
            node.prerequisites.iter().for_each(|needed| dependents[*needed].push(place));
        }
        dependents
    }

    /// The workspace's files that the actions read.
    #[must_use]
    pub fn inputs(&self) -> BTreeSet<WorkspacePath> {
        self.nodes.iter().flat_map(ActionNode::inputs).collect()
    }

    /// Adds actions, each after all that it needs. Depth first with a stack of its own: chains may be long.
    fn add_all<'a>(
        &mut self,
        wanted: impl IntoIterator<Item = &'a Arc<ActionRef>>,
        find: &dyn Fn(&ActionRef) -> Option<Arc<Action>>,
    ) -> Result<(), Diagnostics> {
        let mut stack = Vec::new();
        for reference in wanted {
            stack.push(Visit::Before(reference.clone()));
            while let Some(visit) = stack.pop() {
                match visit {
                    Visit::Before(reference) if self.by_reference.contains_key(&reference) => {}
                    Visit::Before(reference) => {
                        let action = find(&reference).ok_or_else(|| {
                            let label = &reference.label;
                            Diagnostic::error(format!("`{label}` refers to an action that was not declared"))
                                .class(imgbuild_model::Class::Bug)
                        })?;
                        let needs = references(&action);
                        let first: Vec<_> = needs.iter().cloned().map(Visit::Before).collect();
                        stack.push(Visit::After(reference, action, needs));
                        stack.extend(first);
                    }
                    Visit::After(reference, action, needs) => self.insert(&reference, action, &needs)?,
                }
            }
        }
        Ok(())
    }

    /// Adds an action, all of whose `needs` are there.
    fn insert(
        &mut self,
        reference: &Arc<ActionRef>,
        action: Arc<Action>,
        needs: &[Arc<ActionRef>],
    ) -> Result<(), Diagnostics> {
        if self.by_reference.contains_key(reference) {
            return Ok(());
        }
        let schema = imgbuild_kinds::find(action.kind.as_str()).ok_or_else(|| {
            Diagnostic::error(format!("there is no kind `{}`", action.kind)).at(action.location.clone())
        })?;
        let action = with_default_reference(action, schema, reference);
        let platform = reference.configuration.platform;
        let parent = action.parent.as_ref().map(|layer| self.by_reference[&layer.action]);
        let below = parent.map(|parent| &self.nodes[parent]);
        let packages =
            below.map_or(PackageState::None, |node| node.packages.after(&node.action, node.schema, platform));
        // A check asks by attributes of its own.
        let mut uses_network = action.attributes.is_true("network");
        if schema.class == KindClass::Test {
            visit(&action.attributes, &mut |value| {
                uses_network |= matches!(value, Value::Step(step) if step.attributes.is_true("network"));
            });
        }
        let epoch_below = below.and_then(|node| node.chain_epoch.clone());
        let epoch = uses_network
            .then(|| epoch_below.clone().unwrap_or_else(|| format!("{} {platform}", reference.label)));
        let source_below = below.and_then(|node| node.chain_source);
        let (builder, live) = below.map_or((schema.builder, schema.live), |node| (node.builder, node.live));
        let state = action.parent.as_ref().map(|layer| layer.state.clone()).unwrap_or_default();
        let chain_epoch = epoch.clone().or_else(|| epoch_below.clone());
        let mut prerequisites: Vec<usize> = needs.iter().map(|need| self.by_reference[need]).collect();
        let mut resolve = None;
        if action.kind.as_str() == "apt_install" {
            match &packages {
                PackageState::Known(_) => {}
                PackageState::Unknown(_) => {
                    resolve = Some(self.nodes.len());
                    let attributes: Attributes = action
                        .attributes
                        .iter()
                        .filter(|(name, _)| *name == "packages")
                        .map(|(name, value)| (Arc::from(name), value.clone()))
                        .collect();
                    let resolver = Action {
                        kind: KindId::new("apt_resolve"),
                        source: None,
                        parent: action.parent.clone(),
                        attributes,
                        outputs: vec!["closure.json".into()],
                        joins: Vec::new(),
                        location: action.location.clone(),
                    };
                    self.nodes.push(ActionNode {
                        reference: reference.clone(),
                        action: Arc::new(resolver),
                        schema: imgbuild_kinds::find("apt_resolve").unwrap_or(schema),
                        parent,
                        prerequisites: parent.into_iter().collect(),
                        resolve: None,
                        state: state.clone(),
                        packages: packages.clone(),
                        epoch: None,
                        chain_source: source_below,
                        builder,
                        live,
                        fused: false,
                        chain_epoch: epoch_below,
                    });
                    prerequisites.push(self.nodes.len() - 1);
                }
                PackageState::None => {
                    return Err(Diagnostic::error("`apt_install` needs an image that has Debian's packages")
                        .at(action.location.clone())
                        .hint("start the chain from `debian(…)`, `ubuntu(…)` or `oci_base(image = …)`")
                        .into());
                }
            }
        }
        prerequisites.sort_unstable();
        prerequisites.dedup();
        let chain_source = if action.source.is_some() { Some(self.nodes.len()) } else { source_below };
        self.by_reference.insert(reference.clone(), self.nodes.len());
        self.nodes.push(ActionNode {
            reference: reference.clone(),
            action,
            schema,
            parent,
            prerequisites,
            resolve,
            state,
            packages,
            epoch,
            chain_source,
            builder,
            live,
            fused: false,
            chain_epoch,
        });
        Ok(())
    }
}

/// An image's name in an artifact is the target's unless one is given; it is written out, as it is part of the bytes.
fn with_default_reference(action: Arc<Action>, schema: &KindSchema, reference: &ActionRef) -> Arc<Action> {
    if schema.class != KindClass::Export
        || schema.attribute("ref").is_none()
        || action.attributes.get("ref").is_some_and(|value| *value != Value::None)
    {
        return action;
    }
    let mut action = (*action).clone();
    action.attributes.set("ref", Value::string(&format!("{}:latest", reference.label.name)));
    Arc::new(action)
}

/// The actions that an action refers to.
fn references(action: &Action) -> Vec<Arc<ActionRef>> {
    let mut found = Vec::new();
    found.extend(action.parent.as_ref().map(|layer| layer.action.clone()));
    for attributes in [Some(&action.attributes), action.source.as_ref().map(|source| &source.attributes)]
        .into_iter()
        .flatten()
    {
        visit(attributes, &mut |value| match value {
            Value::Artifact(Artifact::Output { action, .. }) => found.push(action.clone()),
            Value::Layer(LayerRef { action, .. }) => found.push(action.clone()),
            _ => {}
        });
    }
    found.extend(action.joins.iter().cloned());
    found
}

pub(crate) fn visit<'a>(attributes: &'a Attributes, on_value: &mut dyn FnMut(&'a Value)) {
    fn descend<'a>(value: &'a Value, on_value: &mut dyn FnMut(&'a Value)) {
        on_value(value);
        match value {
            Value::List(items) => items.iter().for_each(|item| descend(item, on_value)),
            Value::Dict(entries) | Value::Struct(entries) => {
                entries.iter().for_each(|(_, value)| descend(value, on_value));
            }
            Value::Step(step) => visit(&step.attributes, on_value),
            Value::Source(source) => visit(&source.attributes, on_value),
            _ => {}
        }
    }
    attributes.iter().for_each(|(_, value)| descend(value, on_value));
}
