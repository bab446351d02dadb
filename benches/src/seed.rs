//! Fills a cache as if a workspace had been built: what the planner says must run is given a result of the same shape
//! as a real one of its kind, with layers and blobs that are really there.
//!
//! Only for workspaces of [`workspaces::images`](crate::workspaces::images), and only after one image with a base and one
//! without were really built: their results are the patterns. Building a hundred thousand layers would take an hour.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use imgbuild_cache::{ActionKey, ActionResult, Cache, OutputFile, Run, Staged, SyncBatch};
use imgbuild_engine::{LayerMetadata, files_output, layer_output};
use imgbuild_model::{Artifact, PackagePath, PatternSet, Platform};
use imgbuild_plan::{
    ActionGraph, ActionNode, Builders, DiskFiles, Fingerprint, InputDigests, KeyContext, LockFile,
    PlanOptions, Reference, Selection, Status, Tools, Walk, fingerprint, plan, slot,
};
use imgbuild_starlark::{Limits, Starlark};
use imgbuild_tree::{CaptureOptions, DeltaManifest, EmptyView, XattrNamespace, capture};

/// How many results are stored with one sync.
const CHUNK: usize = 5000;

/// What is written together.
struct Batch {
    layers: Vec<(Staged, DeltaManifest)>,
    blobs: SyncBatch,
    results: Vec<(ActionKey, ActionResult)>,
    slots: Vec<(String, ActionKey, Vec<u8>)>,
}

impl Batch {
    fn new(cache: &Cache) -> Self {
        Self { layers: Vec::new(), blobs: cache.sync_batch(), results: Vec::new(), slots: Vec::new() }
    }

    /// Layers and blobs first: a row never points to what is not there.
    fn write(self, cache: &Cache) -> Result<(), String> {
        cache.commit_layers(self.layers).map_err(text)?;
        self.blobs.commit().map_err(text)?;
        cache.put_many(&self.results).map_err(text)?;
        for (slot, key, fingerprint) in &self.slots {
            cache.record_slot(slot, key, fingerprint, 0).map_err(text)?;
        }
        Ok(())
    }
}

/// Gives every action of the workspace a result. Returns how many actions there are, and how many were given one.
pub fn seed(workspace: &Path, cache: &Path) -> Result<(usize, usize), String> {
    let cache = Cache::open(cache).map_err(text)?;
    let run = Run::begin(&cache).map_err(text)?;
    let files = DiskFiles::new(workspace);
    let front_end = Starlark::new(Limits::default());
    let selection = Selection {
        patterns: PatternSet::parse(["//..."], &PackagePath::root()).map_err(text)?,
        platforms: Vec::new(),
        flags: Arc::default(),
        default_platform: Platform::host(),
    };
    let analyzed = Walk::new(&front_end, &files).run(&selection).map_err(text)?;
    let artifacts: Vec<Artifact> = analyzed.roots.iter().flat_map(|root| root.artifacts(&analyzed)).collect();
    let graph = ActionGraph::build(&analyzed, &artifacts).map_err(text)?;
    let wanted: Vec<usize> = (0..graph.nodes.len()).collect();
    let digests = InputDigests::read(&graph.inputs(), &files, &cache).map_err(text)?;
    let lock = LockFile::default();
    let builders = Builders::new([imgbuild_rootfs::KEY]);
    let tools = Tools::default();
    let context = KeyContext {
        graph: &graph,
        lock: &lock,
        digests: &digests,
        builders: &builders,
        tools: &tools,
        salt: "",
    };
    let options = PlanOptions { explain_all: true, ..PlanOptions::default() };
    let plan = plan(context, &wanted, &cache, &options).map_err(text)?;

    let mut patterns: BTreeMap<&str, ActionResult> = BTreeMap::new();
    for (node, action) in graph.nodes.iter().zip(&plan.actions) {
        if let Some(result) = &action.result {
            patterns.entry(node.schema.id).or_insert_with(|| (**result).clone());
        }
    }
    let mut known: HashMap<usize, (ActionResult, LayerMetadata)> = HashMap::new();
    let mut batch = Batch::new(&cache);
    let mut made = 0;
    for (place, (node, action)) in graph.nodes.iter().zip(&plan.actions).enumerate() {
        let key = action.key.ok_or_else(|| format!("`{}` has no key", node.label()))?;
        if let (Status::Hit { .. }, Some(result)) = (&action.status, &action.result) {
            let metadata = serde_json::from_slice(&result.metadata).map_err(text)?;
            known.insert(place, ((**result).clone(), metadata));
            continue;
        }
        let pattern = patterns
            .get(node.schema.id)
            .ok_or_else(|| format!("no `{}` was really built", node.schema.id))?;
        let parent = node.parent.map(|parent| &known[&parent]);
        let (mut result, metadata) = if node.makes_layer() {
            layer((&run, workspace), node, pattern, parent, &mut batch)?
        } else {
            export(node, pattern, parent, &mut batch)?
        };
        let fingerprint: Fingerprint = fingerprint(context, place, &|needed| {
            plan.actions[needed].key.map_or(Reference::Output(key.0), |key| Reference::Static(key.0))
        });
        result.fingerprint = serde_json::to_vec(&fingerprint).map_err(text)?;
        batch.slots.push((slot(&graph, place), key, result.fingerprint.clone()));
        batch.results.push((key, result.clone()));
        known.insert(place, (result, metadata));
        made += 1;
        if batch.results.len() >= CHUNK {
            std::mem::replace(&mut batch, Batch::new(&cache)).write(&cache)?;
        }
    }
    batch.write(&cache)?;
    cache.settle().map_err(text)?;
    Ok((graph.nodes.len(), made))
}

/// A layer with one file; none where the real step left none, as the seal does here.
fn layer(
    (run, workspace): (&Run, &Path),
    node: &ActionNode,
    pattern: &ActionResult,
    parent: Option<&(ActionResult, LayerMetadata)>,
    batch: &mut Batch,
) -> Result<(ActionResult, LayerMetadata), String> {
    let pattern_metadata: LayerMetadata = serde_json::from_slice(&pattern.metadata).map_err(text)?;
    let mut metadata = parent
        .map_or(LayerMetadata { steps: Vec::new(), ..pattern_metadata.clone() }, |(_, metadata)| {
            metadata.clone()
        });
    let mut result = pattern.clone();
    result.layers = parent.map(|(result, _)| result.layers.clone()).unwrap_or_default();
    let mut own = Vec::new();
    if pattern_metadata.steps.last().is_some_and(|deltas| !deltas.is_empty()) {
        let staged = run.cache().stage(run).map_err(text)?;
        write_file(workspace, node, staged.upper())?;
        let options = CaptureOptions::new(metadata.source_date, XattrNamespace::of_process());
        let manifest = capture(staged.upper(), &EmptyView, &options).map_err(text)?;
        own.push(manifest.id());
        batch.layers.push((staged, manifest));
    }
    result.layers.extend(&own);
    metadata.steps.push(own);
    result.metadata = serde_json::to_vec(&metadata).map_err(text)?;
    result.output = layer_output(&result.layers, &metadata);
    Ok((result, metadata))
}

/// What a `file` step with one file writes.
fn write_file(workspace: &Path, node: &ActionNode, root: &Path) -> Result<(), String> {
    let attributes = node.attributes();
    let dest = attributes.str("dest").ok_or_else(|| format!("`{}` is no `file`", node.describe()))?;
    let content = match (attributes.str("content"), node.inputs().first()) {
        (Some(content), _) => content.as_bytes().to_vec(),
        (None, Some(input)) => fs_err::read(workspace.join(input.as_str())).map_err(text)?,
        (None, None) => return Err(format!("`{}` has nothing to write", node.describe())),
    };
    let path = root.join(dest.trim_start_matches('/'));
    path.parent().map_or(Ok(()), fs_err::create_dir_all).map_err(text)?;
    fs_err::write(path, content).map_err(text)
}

/// An artifact of as many bytes as the real one, no two of them equal.
fn export(
    node: &ActionNode,
    pattern: &ActionResult,
    parent: Option<&(ActionResult, LayerMetadata)>,
    batch: &mut Batch,
) -> Result<(ActionResult, LayerMetadata), String> {
    let (parent, metadata) = parent.ok_or("an export stands on a layer")?;
    let mut result = pattern.clone();
    if !pattern.layers.is_empty() {
        result.layers = parent.layers.clone();
    }
    for (file, name) in result.files.iter_mut().zip(&node.action.outputs) {
        let size = usize::try_from(file.digest.size).map_err(text)?;
        let mut bytes = node.label().to_string().into_bytes();
        bytes.resize(size, 0);
        let digest = batch.blobs.put_bytes(&bytes).map_err(text)?.digest;
        *file = OutputFile { path: name.to_string(), digest, executable: file.executable };
    }
    result.metadata = serde_json::to_vec(metadata).map_err(text)?;
    result.output = files_output(&result.files);
    Ok((result, metadata.clone()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
