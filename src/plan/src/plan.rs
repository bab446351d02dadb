//! The plan: for each action, whether its result is there, or why it must run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use imgbuild_cache::{ActionKey, ActionResult, Cache, Error as CacheError, Missing};
use imgbuild_digest::Hash;
use imgbuild_model::Label;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::key::{Common, static_key};
use crate::{
    ActionGraph, ActionNode, Ancestry, Generation, KeyContext, Moved, PinRequest, Reason, content_key,
    duration_key, slot,
};

/// Where is kept, by the key of an action, why its machine was not.
pub const NOT_KEPT_MEMO: &str = "not-kept";

/// Why the machine of a step that has `fuse` is not.
pub const FUSED: &str = "the next step needs what it leaves running";

/// What to plan for.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Targets whose own actions run even if their results are there.
    pub force: BTreeSet<Label>,
    /// Actions that do so, by their places in the graph.
    pub force_places: BTreeSet<usize>,
    /// Look every action up, those too that nothing needs because what stands on them is there.
    pub explain_all: bool,
}

/// What is to be done about an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Its result is there.
    Hit {
        /// Found by what its inputs made, not by their keys.
        by_content: bool,
    },
    /// It runs.
    Run(Reason),
    /// Nothing that runs needs it.
    NotNeeded,
}

/// An action with what is to be done about it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its static key; none if it is unstable.
    pub key: Option<ActionKey>,
    /// What to do.
    pub status: Status,
    /// Its result, if it is there.
    pub result: Option<Arc<ActionResult>>,
    /// How long it took the last times.
    pub estimate: Option<Duration>,
}

/// The plan: one entry for each node of the graph, in its order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The entries.
    pub actions: Vec<Planned>,
    /// What was asked for, by place: it must have a result.
    pub wanted: Vec<usize>,
    /// What the lock file lacks, each once, sorted. While it is not empty, nothing can run.
    pub needs: Vec<PinRequest>,
}

struct Planner<'a> {
    context: KeyContext<'a>,
    cache: &'a Cache,
    options: &'a PlanOptions,
    keys: Vec<Option<ActionKey>>,
    found: FxHashMap<ActionKey, Arc<ActionResult>>,
    /// What was found and looked at already: whether all that it points to is there.
    checked: FxHashMap<ActionKey, Result<(), Missing>>,
    actions: Vec<Option<Planned>>,
    looked_up_all: bool,
    ancestry: Ancestry<'a>,
}

/// Plans for the actions `wanted`, by their places in the graph.
///
/// # Errors
/// If the cache's index cannot be read.
pub fn plan(
    context: KeyContext<'_>,
    wanted: &[usize],
    cache: &Cache,
    options: &PlanOptions,
) -> Result<Plan, CacheError> {
    let nodes = &context.graph.nodes;
    // All at once, those too of actions that have no key yet: each round of answers costs a look at the archives.
    let needs: BTreeSet<PinRequest> =
        nodes.iter().flat_map(ActionNode::pins).filter(|request| !context.lock.has(request)).collect();
    if !needs.is_empty() {
        return Ok(Plan { needs: needs.into_iter().collect(), ..Plan::default() });
    }
    let keys = static_keys(context);
    let mut planner = Planner {
        context,
        cache,
        options,
        keys,
        found: FxHashMap::default(),
        checked: FxHashMap::default(),
        actions: vec![None; nodes.len()],
        looked_up_all: false,
        ancestry: Ancestry::new(context, cache, Generation::Latest),
    };
    // What is wanted is looked up first; most runs end there.
    if options.explain_all {
        planner.look_up_all()?;
    } else {
        planner.look_up(wanted.iter().copied())?;
    }
    planner.check(wanted);
    for place in wanted {
        planner.decide(*place)?;
    }
    Ok(Plan { wanted: wanted.to_vec(), ..planner.finish()? })
}

/// How many actions are worth more than one thread.
const FEW: usize = 2000;

/// How many results one thread looks up at a time.
const MANY: usize = 512;

/// The static key of each action. Those that need nothing of each other are made at the same time.
fn static_keys(context: KeyContext<'_>) -> Vec<Option<ActionKey>> {
    let nodes = &context.graph.nodes;
    let common = Common::of(context);
    let mut keys: Vec<Option<ActionKey>> = vec![None; nodes.len()];
    if nodes.len() < FEW {
        for place in 0..nodes.len() {
            keys[place] = static_key(context, &common, place, &keys);
        }
        return keys;
    }
    let mut depths = vec![0_usize; nodes.len()];
    let mut levels: Vec<Vec<usize>> = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        let depth = node.prerequisites.iter().map(|needed| depths[*needed] + 1).max().unwrap_or(0);
        depths[place] = depth;
        if levels.len() == depth {
            levels.push(Vec::new());
        }
        levels[depth].push(place);
    }
    for level in levels {
        let made: Vec<Option<ActionKey>> = level
            .par_iter()
            .with_min_len(256)
            .map(|place| static_key(context, &common, *place, &keys))
            .collect();
        for (place, key) in level.into_iter().zip(made) {
            keys[place] = key;
        }
    }
    keys
}

impl Planner<'_> {
    fn look_up(&mut self, places: impl Iterator<Item = usize>) -> Result<(), CacheError> {
        let keys: Vec<ActionKey> = places
            .filter_map(|place| self.keys[place])
            .filter(|key| !self.found.contains_key(key))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let cache = self.cache;
        let results: Vec<Vec<Option<ActionResult>>> =
            keys.par_chunks(MANY).map(|keys| cache.get_many(keys)).collect::<Result<_, _>>()?;
        for (key, result) in keys.iter().zip(results.into_iter().flatten()) {
            if let Some(result) = result {
                self.found.insert(*key, Arc::new(result));
            }
        }
        Ok(())
    }

    /// Looks at what the results that were found point to, for many at once.
    fn check(&mut self, places: &[usize]) {
        let results: FxHashMap<ActionKey, &ActionResult> = places
            .iter()
            .filter_map(|place| Some((self.keys[*place]?, self.hit(*place)?.as_ref())))
            .collect();
        let results: Vec<(ActionKey, &ActionResult)> = results.into_iter().collect();
        let cache = self.cache;
        let checked: Vec<(ActionKey, Result<(), Missing>)> = results
            .par_chunks(MANY)
            .flat_map_iter(|chunk| {
                let complete = cache.are_complete(chunk.iter().map(|(_, result)| *result));
                chunk.iter().map(|(key, _)| *key).zip(complete)
            })
            .collect();
        self.checked.extend(checked);
    }

    fn look_up_all(&mut self) -> Result<(), CacheError> {
        if !std::mem::replace(&mut self.looked_up_all, true) {
            self.look_up(0..self.context.graph.nodes.len())?;
        }
        Ok(())
    }

    fn hit(&self, place: usize) -> Option<&Arc<ActionResult>> {
        self.found.get(&self.keys[place]?)
    }

    fn is_forced(&self, place: usize) -> bool {
        self.options.force_places.contains(&place)
            || self.options.force.contains(self.context.graph.nodes[place].label())
    }

    /// Decides about an action, after all that it needs if it must run. With a stack of its own: chains may be long.
    fn decide(&mut self, place: usize) -> Result<(), CacheError> {
        let mut stack = vec![(place, false)];
        while let Some((place, prerequisites_done)) = stack.pop() {
            if self.actions[place].is_some() {
                continue;
            }
            let forced = self.is_forced(place);
            let mut incomplete = None;
            let is_last = match self.keys[place] {
                Some(key) => self.is_last_on_host(place, key)?,
                None => false,
            };
            // One that is joined to the next is looked at only where that runs.
            let is_fused = self.context.graph.nodes[place].is_fused();
            if !(forced || is_fused)
                && is_last
                && let Some(result) = self.hit(place).cloned()
            {
                let checked = self.keys[place].and_then(|key| self.checked.remove(&key));
                match checked.unwrap_or_else(|| self.cache.is_complete(&result)) {
                    Ok(()) => {
                        self.set(place, Status::Hit { by_content: false }, Some(result));
                        continue;
                    }
                    Err(missing) => incomplete = Some(missing.to_string()),
                }
            }
            if !prerequisites_done {
                self.look_up_all()?;
                stack.push((place, true));
                stack.extend(
                    self.context.graph.nodes[place].prerequisites.iter().map(|needed| (*needed, false)),
                );
                continue;
            }
            self.decide_missing(place, forced, incomplete)?;
        }
        Ok(())
    }

    fn decide_missing(
        &mut self,
        place: usize,
        forced: bool,
        incomplete: Option<String>,
    ) -> Result<(), CacheError> {
        let graph = self.context.graph;
        let node = &graph.nodes[place];
        if forced {
            self.set(place, Status::Run(Reason::Forced), None);
            return Ok(());
        }
        if let Some(why) = node.impure() {
            self.set(place, Status::Run(Reason::Impure { why: why.to_owned() }), None);
            return Ok(());
        }
        let running = node
            .prerequisites
            .iter()
            .find(|needed| matches!(self.actions[**needed], Some(Planned { status: Status::Run(_), .. })));
        if let Some(running) = running {
            let reason = match (incomplete, self.key(place)) {
                (Some(missing), _) => Reason::Incomplete { missing },
                (None, Some(_)) => match self.moved(place)? {
                    Moved::Own(changes) => Reason::Changed { changes },
                    Moved::New => Reason::New,
                    moved => {
                        let why = if moved == Moved::Nothing { self.not_kept(place)? } else { None };
                        why.unwrap_or_else(|| Reason::Below { action: graph.nodes[*running].describe() })
                    }
                },
                (None, None) => Reason::Below { action: graph.nodes[*running].describe() },
            };
            self.set(place, Status::Run(reason), None);
            return Ok(());
        }
        if !node.is_fused()
            && let Some(result) = self.by_content(place)?
        {
            self.set(place, Status::Hit { by_content: true }, Some(Arc::new(result)));
            return Ok(());
        }
        let reason = match incomplete {
            Some(missing) => Reason::Incomplete { missing },
            None => match self.moved(place)? {
                Moved::NeverBuilt => Reason::NeverBuilt,
                Moved::New => Reason::New,
                Moved::Nothing => self.not_kept(place)?.unwrap_or(Reason::Dropped),
                Moved::Own(changes) | Moved::Below(changes) => Reason::Changed { changes },
            },
        };
        self.set(place, Status::Run(reason), None);
        Ok(())
    }

    /// Whether a command on the host ran last with this key: if another ran since, the host is as that one left it.
    fn is_last_on_host(&self, place: usize, key: ActionKey) -> Result<bool, CacheError> {
        if !self.context.graph.nodes[place].changes_host() {
            return Ok(true);
        }
        let last = self.cache.slot_history(&slot(self.context.graph, place), 1)?;
        Ok(last.first().is_some_and(|record| record.key == key))
    }

    /// The other way to a result: all that the action needs is there, so what they made is known.
    fn by_content(&self, place: usize) -> Result<Option<ActionResult>, CacheError> {
        let mut outputs = FxHashMap::default();
        for needed in &self.context.graph.nodes[place].prerequisites {
            let Some(result) = self.actions[*needed].as_ref().and_then(|planned| planned.result.as_ref())
            else {
                return Ok(None);
            };
            outputs.insert(*needed, result.output);
        }
        let Some(key) = content_key(self.context, place, &|needed| outputs[&needed]) else { return Ok(None) };
        if !self.is_last_on_host(place, key)? {
            return Ok(None);
        }
        Ok(self.cache.get(&key)?.filter(|result| self.cache.is_complete(result).is_ok()))
    }

    /// What of an action's inputs is another than when it was last built.
    fn moved(&mut self, place: usize) -> Result<Moved, CacheError> {
        let keys = &self.keys;
        self.ancestry.moved(place, &|needed| keys[needed])
    }

    /// Why an action that was carried out has no result, if its machine went on.
    fn not_kept(&self, place: usize) -> Result<Option<Reason>, CacheError> {
        if self.context.graph.nodes[place].is_fused() {
            return Ok(Some(Reason::NotKept { why: FUSED.to_owned() }));
        }
        let Some(key) = self.keys[place] else { return Ok(None) };
        let why = self.cache.memo_get(NOT_KEPT_MEMO, &key.0)?;
        Ok(why.map(|why| Reason::NotKept { why: String::from_utf8_lossy(&why).into_owned() }))
    }

    fn key(&self, place: usize) -> Option<ActionKey> {
        self.keys[place]
    }

    fn set(&mut self, place: usize, status: Status, result: Option<Arc<ActionResult>>) {
        let key = self.key(place);
        self.actions[place] = Some(Planned { key, status, result, estimate: None });
    }

    fn finish(self) -> Result<Plan, CacheError> {
        let Self { context, cache, keys, found, actions, .. } = self;
        let mut planned: Vec<Planned> = actions
            .into_iter()
            .zip(&keys)
            .map(|(action, key)| {
                action.unwrap_or_else(|| Planned {
                    key: *key,
                    status: Status::NotNeeded,
                    // Two places may have one key, so what was found stays where it is.
                    result: key.and_then(|key| found.get(&key).cloned()),
                    estimate: None,
                })
            })
            .collect();
        let running: Vec<usize> =
            (0..planned.len()).filter(|place| matches!(planned[*place].status, Status::Run(_))).collect();
        let slots: Vec<Hash> =
            running.iter().map(|place| duration_key(&slot(context.graph, *place))).collect();
        for (place, estimate) in running.into_iter().zip(cache.estimates(&slots)?) {
            planned[place].estimate = estimate;
        }
        Ok(Plan { actions: planned, ..Plan::default() })
    }
}

impl Plan {
    /// The actions that run, by their places.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        self.actions
            .iter()
            .enumerate()
            .filter(|(_, action)| matches!(action.status, Status::Run(_)))
            .map(|(place, _)| place)
    }

    /// The actions from whose results machines are started, by their places.
    #[must_use]
    pub fn resumes(&self, graph: &ActionGraph) -> BTreeSet<usize> {
        let is_there = |place: &usize| {
            let Planned { status, result, .. } = &self.actions[*place];
            !matches!(status, Status::Run(_)) && result.is_some()
        };
        // Steps that leave the machine alone stand on what they stand on.
        let parent = |place: &usize| graph.nodes[*place].parent;
        let below = |place: usize| {
            let starts = graph.nodes[place].goes_on_in_machine();
            let mut below = std::iter::successors(parent(&place), parent);
            below.find(|below| graph.nodes[*below].has_machine()).filter(|_| starts)
        };
        self.running().filter_map(below).filter(is_there).collect()
    }

    /// What the rest will take if one action runs after the other, in seconds, as far as durations are known.
    #[must_use]
    pub fn estimate_seconds(&self) -> Option<f64> {
        let known: Vec<f64> =
            self.running().filter_map(|place| Some(self.actions[place].estimate?.as_secs_f64())).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }

    /// How many actions need not run: their results are there, or nothing that runs needs them.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.actions.len() - self.running().count()
    }
}
