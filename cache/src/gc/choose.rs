//! What a collection decides: which results go, and what goes with them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use imgbuild_tree::DeltaId;
use rusqlite::Transaction;

use super::GcPolicy;
use crate::database::hash_column;
use crate::runs::{KIND_BLOB, KIND_KEY, KIND_LAYER};
use crate::warm::WarmFolder;
use crate::whole::Whole;
use crate::{Error, Result};

/// What has a row and a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Object {
    Layer([u8; 32]),
    Blob([u8; 32]),
    Chunk([u8; 32]),
}

#[derive(Default)]
pub(super) struct Held {
    size: u64,
    last_used: i64,
    references: usize,
    pub(super) leased: bool,
}

struct Candidate {
    last_used: i64,
    what: What,
}

enum What {
    Result {
        id: i64,
        objects: Vec<Object>,
    },
    Blob(Object),
    /// By its place among all.
    Warm(usize),
    /// By its place among all.
    Whole(usize),
}

/// What the collector has decided.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) results: Vec<i64>,
    pub(super) objects: Vec<Object>,
    pub(super) freed: u64,
    pub(super) before: u64,
    pub(super) known: HashSet<Object>,
    /// The memory that goes, by its place among all.
    pub(super) warm: BTreeSet<usize>,
    /// The whole files that go, likewise.
    pub(super) whole: BTreeSet<usize>,
}

/// What there is besides rows of layers and blobs.
pub(super) struct Beside {
    pub(super) warm: Vec<WarmFolder>,
    pub(super) whole: Vec<Whole>,
}

/// What is to be kept, and the time it is.
pub(super) struct Rules<'a> {
    pub(super) policy: &'a GcPolicy,
    pub(super) live: &'a HashSet<String>,
    pub(super) now: i64,
}

/// Decides what goes.
pub(super) fn choose(
    transaction: &Transaction<'_>,
    &Rules { policy, live, now }: &Rules<'_>,
    beside: &Beside,
) -> Result<Plan> {
    let mut held = held_objects(transaction)?;
    let protected = protected_results(transaction, live, &mut held)?;
    let mut candidates = Vec::new();
    crate::actions::each_result(transaction, |stored| {
        let layers = stored.result.layers.iter().map(|delta| Object::Layer(delta.0.0));
        let objects: HashSet<Object> =
            layers.chain(stored.result.blobs().map(|digest| Object::Blob(digest.bytes))).collect();
        for object in &objects {
            held.entry(*object).or_default().references += 1;
        }
        if !protected.contains(&stored.id) {
            let what = What::Result { id: stored.id, objects: objects.into_iter().collect() };
            candidates.push(Candidate { last_used: stored.last_used, what });
        }
        Ok(())
    })?;
    let below = Below::read(transaction, &mut held, beside)?;

    let mut plan = Plan {
        before: held.values().map(|held| held.size).sum::<u64>()
            + beside.warm.iter().map(|one| one.size).sum::<u64>()
            + beside.whole.iter().map(|one| one.size).sum::<u64>(),
        known: held.keys().copied().collect(),
        ..Plan::default()
    };
    let young = now - seconds(policy.grace);
    let is_free = |held: &Held| held.references == 0 && !held.leased && held.last_used <= young;
    let mut unreferenced: Vec<Object> =
        held.iter().filter(|(_, held)| is_free(held)).map(|(object, _)| *object).collect();
    unreferenced.sort_unstable();
    for object in unreferenced {
        match object {
            // Nothing leads to it any more.
            Object::Layer(_) | Object::Chunk(_) => plan.drop_object(object, &mut held, &below, beside),
            // Its digest does: a download may be wanted again.
            Object::Blob(_) => {
                candidates.push(Candidate { last_used: held[&object].last_used, what: What::Blob(object) })
            }
        }
    }
    let is_leased = |delta: &DeltaId| held.get(&Object::Layer(delta.0.0)).is_some_and(|held| held.leased);
    for (place, one) in beside.warm.iter().enumerate().filter(|(_, one)| one.last_used <= young) {
        if !one.stands_on(|delta| held.contains_key(&Object::Layer(delta.0.0))) {
            plan.drop_warm(place, one);
        } else if !one.uppermost().is_some_and(is_leased) {
            candidates.push(Candidate { last_used: one.last_used, what: What::Warm(place) });
        }
    }
    for (place, one) in beside.whole.iter().enumerate().filter(|(_, one)| !is_leased(&one.delta)) {
        candidates.push(Candidate { last_used: one.last_used, what: What::Whole(place) });
    }
    candidates.sort_by_key(|candidate| candidate.last_used);
    let oldest = policy.max_age.map(|age| now - seconds(age));
    for Candidate { last_used, what } in candidates {
        let too_old = oldest.is_some_and(|oldest| last_used <= oldest);
        let too_much = policy.max_size.is_some_and(|size| plan.before - plan.freed > size);
        if last_used > young || !(too_old || too_much) {
            continue;
        }
        match what {
            What::Blob(object) => plan.drop_object(object, &mut held, &below, beside),
            What::Warm(place) => plan.drop_warm(place, &beside.warm[place]),
            What::Whole(place) => plan.drop_whole(place, &beside.whole[place]),
            What::Result { id, mut objects } => {
                plan.results.push(id);
                objects.sort_unstable();
                for object in objects {
                    let Some(entry) = held.get_mut(&object) else { continue };
                    entry.references -= 1;
                    if is_free(entry) {
                        plan.drop_object(object, &mut held, &below, beside);
                    }
                }
            }
        }
    }
    let gone: HashSet<Object> = plan.objects.iter().copied().collect();
    for (place, one) in beside.warm.iter().enumerate() {
        if !one.stands_on(|delta| !gone.contains(&Object::Layer(delta.0.0))) && one.layers().is_some() {
            plan.drop_warm(place, one);
        }
    }
    Ok(plan)
}

/// What goes with a layer.
#[derive(Default)]
struct Below {
    chunks: HashMap<[u8; 32], Vec<[u8; 32]>>,
    /// By their places among all.
    whole: HashMap<[u8; 32], Vec<usize>>,
}

impl Below {
    /// Counts layers as what holds chunks.
    fn read(
        transaction: &Transaction<'_>,
        held: &mut HashMap<Object, Held>,
        beside: &Beside,
    ) -> Result<Self> {
        let mut below = Self::default();
        let mut statement = transaction
            .prepare("SELECT delta, hash FROM layer_chunks WHERE delta IN (SELECT delta FROM layers)")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (delta, hash) = (hash_column(row, 0)?, hash_column(row, 1)?);
            held.entry(Object::Chunk(hash)).or_default().references += 1;
            below.chunks.entry(delta).or_default().push(hash);
        }
        for (place, one) in beside.whole.iter().enumerate() {
            below.whole.entry(one.delta.0.0).or_default().push(place);
        }
        Ok(below)
    }
}

impl Plan {
    /// With a layer go its whole files, and the chunks that no other holds.
    fn drop_object(
        &mut self,
        object: Object,
        held: &mut HashMap<Object, Held>,
        below: &Below,
        beside: &Beside,
    ) {
        self.freed += held.get(&object).map_or(0, |held| held.size);
        self.objects.push(object);
        let Object::Layer(delta) = object else { return };
        for place in below.whole.get(&delta).into_iter().flatten() {
            self.drop_whole(*place, &beside.whole[*place]);
        }
        for hash in below.chunks.get(&delta).into_iter().flatten() {
            let Some(chunk) = held.get_mut(&Object::Chunk(*hash)) else { continue };
            chunk.references -= 1;
            if chunk.references == 0 {
                self.freed += chunk.size;
                self.objects.push(Object::Chunk(*hash));
            }
        }
    }

    fn drop_warm(&mut self, place: usize, one: &WarmFolder) {
        if self.warm.insert(place) {
            self.freed += one.size;
        }
    }

    fn drop_whole(&mut self, place: usize, one: &Whole) {
        if self.whole.insert(place) {
            self.freed += one.size;
        }
    }
}

pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}

pub(super) fn held_objects(transaction: &Transaction<'_>) -> Result<HashMap<Object, Held>> {
    let mut held = HashMap::new();
    let mut add = |sql: &str, object: fn([u8; 32]) -> Object| -> Result<()> {
        let mut statement = transaction.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let entry = Held {
                size: row.get::<_, i64>(1)?.unsigned_abs(),
                last_used: row.get(2)?,
                ..Held::default()
            };
            held.insert(object(hash_column(row, 0)?), entry);
        }
        Ok(())
    };
    add("SELECT delta, size, last_used FROM layers", Object::Layer)?;
    add("SELECT hash, size, last_used FROM blobs", Object::Blob)?;
    // It is as old as the layers that hold it.
    add("SELECT hash, stored, 0 FROM chunks", Object::Chunk)?;
    Ok(held)
}

/// The ids of results that roots and living runs protect; marks the leased objects.
pub(super) fn protected_results(
    transaction: &Transaction<'_>,
    live: &HashSet<String>,
    held: &mut HashMap<Object, Held>,
) -> Result<HashSet<i64>> {
    let mut protected = HashSet::new();
    let mut statement =
        transaction.prepare("SELECT k.result FROM roots r JOIN result_keys k ON k.key = r.key")?;
    for id in statement.query_map([], |row| row.get(0))? {
        protected.insert(id?);
    }
    let mut result = transaction.prepare("SELECT result FROM result_keys WHERE key = ?1")?;
    let mut statement = transaction.prepare("SELECT run, kind, id FROM leases")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !live.contains(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?) {
            continue;
        }
        let id = hash_column(row, 2)?;
        match row.get::<_, i64>(1)? {
            KIND_KEY => {
                for found in result.query_map([id], |row| row.get(0))? {
                    protected.insert(found?);
                }
            }
            kind @ (KIND_BLOB | KIND_LAYER) => {
                let object = if kind == KIND_BLOB { Object::Blob(id) } else { Object::Layer(id) };
                held.entry(object).or_default().leased = true;
            }
            _ => return Err(Error::DamagedRow("lease")),
        }
    }
    Ok(protected)
}
