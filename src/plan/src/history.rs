//! What an action descends from: the records of its target's earlier builds, matched with the actions of today.
//!
//! The cache keeps records by place (target, platform, number, kind), and a step that is put in or taken out moves all
//! that follow it to other places. So an action is matched first with a record whose own inputs are equal, the nearest
//! one, and what is left over then with a record of its own place.

use std::collections::{HashMap, HashSet};

use imgbuild_cache::{ActionKey, Cache, Error as CacheError, SlotRecord};
use imgbuild_digest::Hash;

use crate::key::HISTORY;
use crate::{ActionGraph, Change, Component, Fingerprint, KeyContext, Reference, changes, fingerprint};

/// The named place of an action, by which its earlier results are found when its key has changed.
#[must_use]
pub fn slot(graph: &ActionGraph, place: usize) -> String {
    let node = &graph.nodes[place];
    format!("{}{} {}", target(graph, place), node.reference.index, node.schema.id)
}

/// What the names of all places of an action's target start with.
fn target(graph: &ActionGraph, place: usize) -> String {
    let node = &graph.nodes[place];
    format!("{} {} ", node.label(), node.platform())
}

/// What durations of a place are kept under.
#[must_use]
pub fn duration_key(slot: &str) -> Hash {
    Hash::of(slot.as_bytes())
}

/// Which records to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The newest: for what is about to run.
    Latest,
    /// Those from before the target last changed: for what has run.
    BeforeLastChange,
}

/// What of an action's inputs is another than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// No record of its target.
    NeverBuilt,
    /// Records of its target, but none that it descends from.
    New,
    /// Nothing is.
    Nothing,
    /// These inputs of its own.
    Own(Vec<Change>),
    /// Only what other actions give it.
    Below(Vec<Change>),
}

/// What the actions of some targets descend from. Targets are read when they are first asked for.
pub struct Ancestry<'a> {
    context: KeyContext<'a>,
    cache: &'a Cache,
    generation: Generation,
    /// The places of each target in the graph, by what the names of its slots start with.
    places: HashMap<String, Vec<usize>>,
    /// By the same name. No entry in a target that has records: nothing like that action was built.
    targets: HashMap<String, Option<HashMap<usize, Fingerprint>>>,
}

/// A record, with where it was.
struct Ancestor {
    number: u32,
    kind: String,
    fingerprint: Fingerprint,
    taken: bool,
}

impl<'a> Ancestry<'a> {
    /// Over the records of `cache`.
    #[must_use]
    pub fn new(context: KeyContext<'a>, cache: &'a Cache, generation: Generation) -> Self {
        Self { context, cache, generation, places: HashMap::new(), targets: HashMap::new() }
    }

    /// What of an action's inputs is another than in what it descends from. `key` gives the keys of other actions, as
    /// far as they have one.
    ///
    /// # Errors
    ///
    /// If the cache's index cannot be read.
    pub fn moved(
        &mut self,
        place: usize,
        key: &dyn Fn(usize) -> Option<ActionKey>,
    ) -> Result<Moved, CacheError> {
        let context = self.context;
        let Some(target) = self.read(place)? else { return Ok(Moved::NeverBuilt) };
        let Some(old) = target.get(&place) else { return Ok(Moved::New) };
        let new = fingerprint(context, place, &|needed| match key(needed) {
            Some(key) => Reference::Static(key.0),
            None => Reference::Output(Hash([0; 32])),
        });
        let given = given(context, place);
        let (below, own): (Vec<_>, Vec<_>) =
            changes(old, &new).into_iter().partition(|change| given.contains(&change.component));
        Ok(match (own.is_empty(), below.is_empty()) {
            (false, _) => Moved::Own(own),
            (true, false) => Moved::Below(below),
            (true, true) => Moved::Nothing,
        })
    }

    /// The ancestors of an action's target; none if it has no records.
    fn read(&mut self, place: usize) -> Result<Option<&HashMap<usize, Fingerprint>>, CacheError> {
        let name = target(self.context.graph, place);
        if self.places.is_empty() {
            for place in 0..self.context.graph.nodes.len() {
                self.places.entry(target(self.context.graph, place)).or_default().push(place);
            }
        }
        if !self.targets.contains_key(&name) {
            let ancestors = ancestors(self.cache.slots_under(&name)?, &name, self.generation);
            let matched =
                (!ancestors.is_empty()).then(|| matched(self.context, &self.places[&name], ancestors));
            self.targets.insert(name.clone(), matched);
        }
        Ok(self.targets[&name].as_ref())
    }
}

/// The components of an action that other actions give it: those that differ as soon as they are referred to otherwise.
fn given(context: KeyContext<'_>, place: usize) -> HashSet<String> {
    let [one, other] =
        [0, 1].map(|fill| fingerprint(context, place, &|_| Reference::Output(Hash([fill; 32]))).0);
    one.into_iter()
        .zip(other)
        .filter(|(one, other)| one.hash != other.hash || one.name == HISTORY)
        .map(|(one, _)| one.name)
        .collect()
}

/// One record for each place of a target.
fn ancestors(records: Vec<(String, SlotRecord)>, target: &str, generation: Generation) -> Vec<Ancestor> {
    let changed = match generation {
        Generation::Latest => i64::MAX,
        Generation::BeforeLastChange => records.iter().map(|(_, record)| record.created).max().unwrap_or(0),
    };
    let mut seen: Option<String> = None;
    let mut ancestors = Vec::new();
    for (name, record) in records {
        if record.created >= changed || seen.as_ref() == Some(&name) {
            continue;
        }
        let place = name[target.len()..].split_once(' ');
        if let Some((number, kind)) = place
            && let Ok(number) = number.parse()
            && let Ok(fingerprint) = serde_json::from_slice(&record.fingerprint)
        {
            ancestors.push(Ancestor { number, kind: kind.to_owned(), fingerprint, taken: false });
        }
        seen = Some(name);
    }
    ancestors
}

/// The actions of a target with what each descends from; no record is the ancestor of two. What has no equal among the
/// records descends from one that stands between the ancestors of its neighbours.
fn matched(
    context: KeyContext<'_>,
    places: &[usize],
    mut ancestors: Vec<Ancestor>,
) -> HashMap<usize, Fingerprint> {
    let nodes = &context.graph.nodes;
    let mut places = places.to_vec();
    places.sort_by_key(|place| nodes[*place].reference.index);
    let mut take = |place: usize, between: (u32, u32), fits: &dyn Fn(&Fingerprint) -> bool| {
        let node = &nodes[place];
        let nearest = ancestors
            .iter_mut()
            .filter(|old| {
                !old.taken && old.kind == node.schema.id && (between.0..between.1).contains(&old.number)
            })
            .filter(|old| fits(&old.fingerprint))
            .min_by_key(|old| old.number.abs_diff(node.reference.index))?;
        nearest.taken = true;
        Some((nearest.number, nearest.fingerprint.clone()))
    };
    let mut found: Vec<Option<(u32, Fingerprint)>> = places
        .iter()
        .map(|place| {
            let given = given(context, *place);
            let own = own(fingerprint(context, *place, &|_| Reference::Output(Hash([0; 32]))).0, &given);
            let equal = |old: &Fingerprint| own.len() == old.0.len() - count(old, &given) && has(old, &own);
            take(*place, (0, u32::MAX), &equal)
        })
        .collect();
    for at in 0..places.len() {
        if found[at].is_none() {
            let number = |(number, _): &(u32, Fingerprint)| *number;
            let after = found[..at].iter().rev().flatten().map(number).next().map_or(0, |number| number + 1);
            let before = found[at..].iter().flatten().map(number).next().unwrap_or(u32::MAX);
            found[at] = take(places[at], (after, before), &|_| true);
        }
    }
    places
        .into_iter()
        .zip(found)
        .filter_map(|(place, found)| found.map(|(_, fingerprint)| (place, fingerprint)))
        .collect()
}

/// How many components have one of these names.
fn count(fingerprint: &Fingerprint, names: &HashSet<String>) -> usize {
    fingerprint.0.iter().filter(|component| names.contains(&component.name)).count()
}

/// The components that are the action's own.
fn own(mut components: Vec<Component>, given: &HashSet<String>) -> Vec<Component> {
    components.retain(|component| !given.contains(&component.name));
    components
}

/// Whether all of these are in an old fingerprint, in their order and with their values.
fn has(old: &Fingerprint, own: &[Component]) -> bool {
    let mut rest = old.0.iter();
    own.iter()
        .all(|component| rest.any(|before| before.name == component.name && before.hash == component.hash))
}
