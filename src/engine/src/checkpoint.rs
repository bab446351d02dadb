//! The checkpoint policy: behind which steps a machine is kept, so that a later build can go on from there, and where it goes on
//! with the next step at once.
//!
//! To be kept takes a machine time and disk space. Both are measured each time, and added up as a price in seconds; a step is worth it
//! if doing it again, with all since the last one that was kept, takes longer. So whoever comes back to a step that was
//! not kept loses less than its price. What was measured once is believed less each time that it is not measured again, so that one
//! slow day does not decide for ever. A machine is kept in any case where its price is not known yet, where something else stands on
//! the step, where the next step may begin again from there, behind commands on the host, and where the step was asked for.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use imgbuild_cache::ActionKey;
use imgbuild_digest::Hash;
use imgbuild_plan::{ActionGraph, ActionNode, FUSED, Reason, Status};

use crate::contract::PassedOn;
use crate::lock;
use crate::run::{Checkpoints, Results, RunRequest};

/// How many bytes of disk cost as much as a second.
const BYTES_A_SECOND: u64 = 100 << 20;

/// What disk space costs: a second for each 100 MiB.
#[must_use]
pub fn price_of_space(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / BYTES_A_SECOND)
}

/// What remains of a price each time that it is not measured, as it is not paid.
const BELIEF: f64 = 0.9;

/// A price that was not paid, as it is remembered.
#[must_use]
pub fn believed(price: Duration) -> Duration {
    price.mul_f64(BELIEF)
}

/// Under what the price of a chain's checkpoints is kept.
pub(crate) fn price_key(node: &ActionNode) -> Hash {
    Hash::of(format!("checkpoint {} {}", node.label(), node.platform()).as_bytes())
}

/// What may be done with the machine behind a step, other than to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It goes on: the next step needs what runs in it.
    Fused,
    /// It goes on: the user wants it so.
    Never,
    /// It goes on where that is cheaper.
    Auto {
        /// What it takes to keep it.
        price: Duration,
    },
}

impl Choice {
    /// Why a machine goes on instead of being kept, if it does: doing everything again since it was kept last takes `again`.
    pub(crate) fn goes_on(self, again: Duration) -> Option<String> {
        match self {
            Self::Fused => Some(FUSED.to_owned()),
            Self::Never => Some("it says `checkpoint = \"never\"`".to_owned()),
            Self::Auto { price } => (again < price).then(|| {
                format!(
                    "doing it again takes {:.1} s, keeping it {:.1} s",
                    again.as_secs_f32(),
                    price.as_secs_f32()
                )
            }),
        }
    }
}

/// Where a step's machine comes from, and what may become of it.
#[derive(Debug, Default)]
pub struct Continuity {
    /// What the step below passed on.
    pub(crate) below: Option<PassedOn>,
    /// What may be done with the machine other than to keep it.
    pub(crate) choice: Option<Choice>,
    /// Since when the step works in it.
    pub(crate) working_since: Mutex<Option<Instant>>,
}

impl Continuity {
    pub(crate) fn new(below: Option<PassedOn>, choice: Option<Choice>) -> Self {
        Self { below, choice, working_since: Mutex::default() }
    }

    /// Whether a machine was passed on and the step has not gone on in it.
    pub(crate) fn is_ignored(&self) -> bool {
        self.below.is_some() && lock(&self.working_since).is_none()
    }
}

/// The steps of a run whose machines need not be kept, by place.
///
/// # Errors
/// If the cache's index cannot be read.
pub(crate) fn choices(request: &RunRequest) -> Result<HashMap<usize, Choice>, imgbuild_cache::Error> {
    let graph = &request.keys.graph;
    let steps: Vec<usize> =
        request.plan.running().filter(|place| graph.nodes[*place].goes_on_in_machine()).collect();
    if steps.is_empty() {
        return Ok(HashMap::new());
    }
    let dependents = graph.dependents();
    let shared = shared_keys(request);
    let prices: Vec<Hash> = steps.iter().map(|place| price_key(&graph.nodes[*place])).collect();
    let prices = request.cache.estimates(&prices)?;
    let choice = |(place, price): (usize, Option<Duration>)| {
        let node = &graph.nodes[place];
        let planned = &request.plan.actions[place];
        let next = next_in_machine(graph, place, &dependents[place])?;
        let next_runs = matches!(request.plan.actions[next].status, Status::Run(_));
        if request.plan.wanted.contains(&place) || !next_runs {
            return None;
        }
        if node.is_fused() {
            return Some((place, Choice::Fused));
        }
        let is_wanted = request.options.checkpoints == Checkpoints::Everywhere
            || request.options.results == Results::ThrownAway
            || planned.status == Status::Run(Reason::Forced)
            || planned.key.is_none_or(|key| shared.contains(&key))
            || follows_host(request, place)
            || graph.nodes[next].begins_again();
        if is_wanted {
            return None;
        }
        match node.attributes().str("checkpoint") {
            Some("always") => None,
            Some("never") => Some((place, Choice::Never)),
            _ => planned.estimate.and(price).map(|price| (place, Choice::Auto { price })),
        }
    };
    Ok(std::iter::zip(steps, prices).filter_map(choice).collect())
}

/// The step that goes on in the machine of another, if nothing else stands on that.
fn next_in_machine(graph: &ActionGraph, place: usize, dependents: &[usize]) -> Option<usize> {
    let [next] = *dependents else { return None };
    let node = &graph.nodes[next];
    (node.parent == Some(place) && node.goes_on_in_machine()).then_some(next)
}

/// Whether a command on the host runs before a step of its chain: what stands on it is then found by content alone, which what is not kept
/// has not.
fn follows_host(request: &RunRequest, place: usize) -> bool {
    let graph = &request.keys.graph;
    let parent = |place: &usize| graph.nodes[*place].parent;
    std::iter::successors(parent(&place), parent).any(|below| {
        graph.nodes[below].changes_host() && matches!(request.plan.actions[below].status, Status::Run(_))
    })
}

/// The keys that several of the actions which run have.
fn shared_keys(request: &RunRequest) -> HashSet<ActionKey> {
    let mut seen = HashSet::new();
    let keys = request.plan.running().filter_map(|place| request.plan.actions[place].key);
    keys.filter(|key| !seen.insert(*key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_goes_on_where_that_costs_less_than_to_keep_it() {
        let seconds = Duration::from_secs;
        let auto = Choice::Auto { price: seconds(3) };
        assert_eq!(auto.goes_on(seconds(1)).as_deref(), Some("doing it again takes 1.0 s, keeping it 3.0 s"));
        assert_eq!(auto.goes_on(seconds(3)), None);
        assert!(Choice::Fused.goes_on(seconds(100)).is_some());
        assert!(Choice::Never.goes_on(seconds(100)).is_some());
        assert_eq!(price_of_space(250 << 20), Duration::from_millis(2500));
        assert_eq!(price_of_space(u64::MAX), Duration::from_millis(u64::MAX / BYTES_A_SECOND));
    }
}
