//! What comes of an action: the result that is kept, the record by which it is found again, its log, and the state that a failure left.

use std::time::Duration;

use imgbuild_cache::{ActionKey, ActionResult, Lease};
use imgbuild_digest::{ContentHash as _, ContentHasher, Hash};
use imgbuild_model::KindClass;
use imgbuild_plan::{Reference, fingerprint, slot};

use super::Shared;
use crate::lock;
use crate::run::{FAILED_MEMO, FailedState, LOG_MEMO, failed_memo_key};
use crate::{ActionContext, ActionError, Outcome, Snapshot, files_output, layer_output};

impl Shared {
    /// Keeps what a result points to until this run is over.
    pub(super) fn lease_result(&self, result: &ActionResult) -> Result<(), ActionError> {
        let layers = result.layers.iter().map(|delta| Lease::Layer(*delta));
        let blobs = result.blobs().map(|digest| Lease::Blob(*digest));
        Ok(self.run.lease(&layers.chain(blobs).collect::<Vec<_>>())?)
    }

    /// The whole result of `candidate`, if the cache has one; from then on it is that of `key` too.
    pub(super) fn stored(
        &self,
        place: usize,
        candidate: &ActionKey,
        key: &ActionKey,
    ) -> Result<Option<ActionResult>, ActionError> {
        let cache = &self.request.cache;
        let Some(result) = cache.get(candidate)?.filter(|result| cache.is_complete(result).is_ok()) else {
            return Ok(None);
        };
        if key != candidate {
            match cache.alias(key, candidate) {
                // Collected between the two looks: it is made again.
                Err(imgbuild_cache::Error::NoSuchResult(_)) => return Ok(None),
                other => other?,
            }
        }
        self.record_slot(place, *key)?;
        Ok(Some(result))
    }

    pub(super) fn make_result(
        &self,
        place: usize,
        context: &ActionContext,
        outcome: Outcome,
        key: Option<ActionKey>,
        (duration, log): (Duration, Option<imgbuild_digest::Digest>),
    ) -> Result<ActionResult, ActionError> {
        let node = self.node(place);
        let metadata = match node.schema.class {
            KindClass::Source | KindClass::Step => {
                let mut metadata = outcome.layer.unwrap_or_else(|| context.parent_metadata());
                if !node.leaves_machine() {
                    let below: usize = metadata.steps.iter().map(Vec::len).sum();
                    metadata.steps.push(outcome.layers.get(below..).unwrap_or_default().to_vec());
                }
                metadata
            }
            _ => context.parent_metadata(),
        };
        let output = if outcome.passed_on.is_some() {
            self.output_of_machine(place, key)
        } else if node.leaves_machine() {
            self.output_on_host(place)
        } else if node.makes_layer() {
            layer_output(&outcome.layers, &metadata)
        } else {
            files_output(&outcome.files)
        };
        let fingerprint = self.fingerprint(place);
        Ok(ActionResult {
            output,
            layers: outcome.layers,
            files: outcome.files,
            metadata: serde_json::to_vec(&metadata).unwrap_or_default(),
            fingerprint,
            log,
            duration,
            created: self.request.now,
            builder: self.request.keys.builders.key(node.builder).to_owned(),
        })
    }

    /// What an action that leaves the machine alone is to those above it: what is below it, unless it ran commands on the
    /// host. Those may have made what comes next, so what comes next runs.
    fn output_on_host(&self, place: usize) -> Hash {
        let node = self.node(place);
        let below =
            node.parent.and_then(|parent| lock(&self.results).get(&parent).map(|result| result.output));
        let below = below.unwrap_or(Hash([0; 32]));
        if !node.changes_host() || node.impure().is_some() {
            return below;
        }
        let mut hasher = ContentHasher::new("imgbuild ran on the host");
        below.content_hash(&mut hasher);
        self.run.id().to_string().content_hash(&mut hasher);
        hasher.write_u64(place as u64);
        hasher.finish()
    }

    /// What a step whose machine was not kept is to those above it: no content of layers tells it from another.
    fn output_of_machine(&self, place: usize, key: Option<ActionKey>) -> Hash {
        let mut hasher = ContentHasher::new("imgbuild passed on a machine");
        match key {
            Some(key) => key.0.content_hash(&mut hasher),
            None => {
                self.run.id().to_string().content_hash(&mut hasher);
                hasher.write_u64(place as u64);
            }
        }
        hasher.finish()
    }

    pub(super) fn fingerprint(&self, place: usize) -> Vec<u8> {
        let outputs = self.outputs(place);
        let fingerprint =
            fingerprint(self.key_context(&self.digests()), place, &|needed| match self.request.plan.actions
                [needed]
                .key
            {
                Some(key) => Reference::Static(key.0),
                None => Reference::Output(outputs.get(&needed).copied().unwrap_or(Hash([0; 32]))),
            });
        serde_json::to_vec(&fingerprint).unwrap_or_default()
    }

    pub(super) fn record_slot(&self, place: usize, key: ActionKey) -> Result<(), ActionError> {
        let name = slot(&self.request.keys.graph, place);
        self.request.cache.record_slot(&name, &key, &self.fingerprint(place), self.began)?;
        Ok(())
    }

    pub(super) fn keep_log(
        &self,
        place: usize,
        context: &ActionContext,
    ) -> Result<Option<imgbuild_digest::Digest>, ActionError> {
        let log = std::mem::take(&mut *lock(&context.log));
        if log.is_empty() {
            return Ok(None);
        }
        let digest = self.request.cache.put_bytes(&log)?.digest;
        let key = Hash::of(slot(&self.request.keys.graph, place).as_bytes());
        self.request.cache.memo_put(LOG_MEMO, &key, digest.to_string().as_bytes())?;
        Ok(Some(digest))
    }

    pub(super) fn keep_failed_state(&self, place: usize, context: &ActionContext) -> Result<(), ActionError> {
        let Some(Snapshot { layers, .. }) = lock(&context.failed_state).take() else { return Ok(()) };
        let node = self.node(place);
        let state = FailedState {
            layers,
            description: node.describe(),
            state: (*node.state).clone(),
            platform: node.platform(),
        };
        let text = serde_json::to_vec(&state).unwrap_or_default();
        self.request.cache.memo_put(FAILED_MEMO, &failed_memo_key(node.label()), &text)?;
        Ok(())
    }
}
