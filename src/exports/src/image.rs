//! An image's layers with all that an export says of them.

use std::ops::Range;

use imgbuild_digest::{ContentHash as _, Digest};
use imgbuild_engine::{ActionContext, ActionError, LayerMetadata};
use imgbuild_formats::{Image, ImageConfig, LayerSource, Platform, Step};
use imgbuild_model::ChainState;
use imgbuild_tree::DeltaId;

use crate::sealed::{self, Delta};

/// The layers of an image, its configuration and its history.
pub(crate) struct Layers {
    /// The deltas, the lowest first.
    pub(crate) ids: Vec<DeltaId>,
    /// What is known of them besides.
    pub(crate) metadata: LayerMetadata,
    deltas: Vec<Delta>,
    /// One for each action of the chain.
    history: Vec<String>,
    config: ImageConfig,
    platform: Platform,
}

impl Layers {
    /// Those of the layer that an export stands on.
    pub(crate) fn of_parent(context: &ActionContext) -> Result<Self, ActionError> {
        let snapshot = context.parent();
        Self::read(context, context.place, snapshot.layers, context.parent_metadata())
    }

    /// Those that another export of the graph was made from.
    pub(crate) fn of_export(context: &ActionContext, place: usize) -> Result<Self, ActionError> {
        let result =
            context.result(place).ok_or_else(|| ActionError::input("an export to join was not made"))?;
        let metadata = serde_json::from_slice(&result.metadata).unwrap_or_default();
        Self::read(context, place, result.layers.clone(), metadata)
    }

    fn read(
        context: &ActionContext,
        export: usize,
        ids: Vec<DeltaId>,
        metadata: LayerMetadata,
    ) -> Result<Self, ActionError> {
        let mut deltas = Vec::with_capacity(ids.len());
        for delta in &ids {
            deltas.push((context.cache.layer_manifest(delta)?, context.cache.layer_tree(delta)));
        }
        let node = &context.graph.nodes[export];
        let (mut history, mut is_seal): (Vec<_>, Vec<_>) =
            context.graph.chain_below(node).map(|step| (step.describe(), step.schema.id == "seal")).unzip();
        history.reverse();
        is_seal.reverse();
        sealed::carry_out(&mut deltas, &seals(&metadata, &is_seal));
        let config = image_config(&metadata, &node.state);
        let platform = Platform::linux(node.platform().architecture.oci_name());
        Ok(Self { ids, metadata, deltas, history, config, platform })
    }

    /// The layers' manifests and folders, the lowest first.
    pub(crate) fn sources(&self) -> Vec<LayerSource<'_>> {
        self.deltas.iter().map(|(manifest, tree)| LayerSource { manifest, tree }).collect()
    }

    /// The image as the writers take it.
    pub(crate) fn image(&self) -> Image<'_> {
        let sources = self.sources();
        let mut steps = Vec::new();
        let mut next = 0;
        for (index, description) in self.history.iter().enumerate() {
            let count = self.metadata.steps.get(index).map_or(0, Vec::len);
            let brought = sources.get(next..next + count).unwrap_or_default();
            next += count;
            if brought.is_empty() {
                steps.push(Step { layer: None, created_by: description.clone() });
            }
            for layer in brought {
                steps.push(Step { layer: Some(*layer), created_by: description.clone() });
            }
        }
        Image {
            platform: self.platform.clone(),
            config: self.config.clone(),
            steps,
            created: self.metadata.source_date,
        }
    }

    /// What names the whole tree.
    pub(crate) fn digest(&self) -> Digest {
        Digest::blake3(self.ids.hash_as("imgbuild image tree"), 0)
    }
}

/// The layers of each seal of a chain.
fn seals(metadata: &LayerMetadata, is_seal: &[bool]) -> Vec<Range<usize>> {
    let mut next = 0;
    let mut seals = Vec::new();
    for (brought, is_seal) in metadata.steps.iter().zip(is_seal) {
        let own = next..next + brought.len();
        next = own.end;
        if *is_seal {
            seals.push(own);
        }
    }
    seals
}

/// The configuration that the source brought, with what the chain set over it: that of an image's exports.
#[must_use]
pub fn image_config(metadata: &LayerMetadata, state: &ChainState) -> ImageConfig {
    let base = &metadata.base;
    let mut env = base.env.clone();
    env.extend(state.env.clone());
    env.entry("PATH".to_owned())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    let mut labels = base.labels.clone();
    labels.extend(state.labels.clone());
    // A new entry point means that the source's arguments for its own do not fit any more, as in a Dockerfile.
    let base_cmd = if state.entrypoint.is_some() { None } else { base.cmd.clone() };
    ImageConfig {
        env: env.into_iter().collect(),
        entrypoint: state.entrypoint.clone().or_else(|| base.entrypoint.clone()).unwrap_or_default(),
        cmd: state.cmd.clone().or(base_cmd).unwrap_or_default(),
        user: state.user.clone().or_else(|| base.user.clone()).unwrap_or_default(),
        working_dir: state.workdir.clone().or_else(|| base.workdir.clone()).unwrap_or_default(),
        labels,
        exposed_ports: base.exposed_ports.iter().cloned().chain(state.exposed_ports.clone()).collect(),
        volumes: base.volumes.iter().cloned().chain(state.volumes.clone()).collect(),
        stop_signal: state.stop_signal.clone().or_else(|| base.stop_signal.clone()),
    }
}
