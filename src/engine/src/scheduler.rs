//! Runs a graph of tasks: as many at a time as the pool allows, the longest way to the end first.
//!
//! For: order, parallelism, failure, early cutoff and cancellation of any graph. Not for: what a task does,
//! whether it is in a cache, or how it is shown; a task is a node with an expected duration and a demand, and
//! an [`Executor`] carries it out.
//!
//! What holds for every run:
//! - a task starts once, after all its prerequisites have ended well, and never when one has not;
//! - of the tasks that could start, the one on the longest expected way to a sink comes first (ties: the
//!   lower index), and a task that
//!   does not fit into the pool is overtaken by smaller ones a bounded number of times only;
//! - every task has an [`Outcome`] when the run ends, also after panics, failures and cancellation;
//! - when the future of the run is dropped, so are the tasks.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use imgbuild_model::Class;
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::cancel::{Cancel, CancelLevel};
use crate::resources::{Demand, Permit, Pool};

#[cfg(test)]
mod tests;

/// Tasks and their order: an edge leads from a prerequisite to what depends on it. Parallel edges mean the
/// same as one.
pub type TaskGraph = DiGraph<Task, ()>;

/// What the scheduler knows of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// How long it is expected to run, from history; zero if unknown. Only the order depends on it.
    pub expected: Duration,
    /// What it takes from the pool while it runs.
    pub demand: Demand,
}

/// What a task says when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskResult<E> {
    /// Done: dependents may start.
    Done,
    /// Failed: dependents are skipped.
    Failed(E),
    /// It ended early because it was asked to: dependents are skipped.
    Cancelled,
}

/// Carries out tasks. Every closure from a node to a boxed future is one.
pub trait Executor: Send + Sync + 'static {
    /// Why a task can fail.
    type Error: Send + 'static;

    /// Starts the task at `node`; called once for each node that runs, inside the tokio task that then drives
    /// the future. It should listen to the [`Cancel`] that was given to [`run`]; the future may be dropped
    /// when it does not.
    fn execute(&self, node: NodeIndex) -> BoxFuture<'static, TaskResult<Self::Error>>;

    /// Whether the task at `node` must run at all, asked when it could start: the place for early cutoff,
    /// since what earlier tasks found out is known by then. `false` is final and counts as done. Must be
    /// quick (it is called between other tasks' starts) and may be called several times while the task waits
    /// for room in the pool.
    fn needed(&self, node: NodeIndex) -> bool {
        let _ = node;
        true
    }

    /// Told of each task's outcome as soon as it is known, in the order in which they become known: the place
    /// for progress. Must be quick.
    fn settled(&self, node: NodeIndex, outcome: &Outcome<Self::Error>) {
        let _ = (node, outcome);
    }
}

impl<F, E> Executor for F
where
    F: Fn(NodeIndex) -> BoxFuture<'static, TaskResult<E>> + Send + Sync + 'static,
    E: Send + 'static,
{
    type Error = E;

    fn execute(&self, node: NodeIndex) -> BoxFuture<'static, TaskResult<E>> {
        self(node)
    }
}

/// How a run behaves when things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// After a failure, go on with what does not depend on it (`--keep-going`).
    pub keep_going: bool,
    /// After a graceful cancellation, how long running tasks may take before the cancellation is raised to
    /// immediate.
    pub grace: Duration,
    /// After an immediate cancellation, how long running tasks may take to kill and clean up before they are
    /// dropped.
    pub settle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { keep_going: false, grace: Duration::from_secs(30), settle: Duration::from_secs(5) }
    }
}

/// How one task ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<E> {
    /// It ran and is done.
    Done,
    /// [`Executor::needed`] said that it need not run; its dependents may.
    NotNeeded,
    /// It ran and failed.
    Failed(Failure<E>),
    /// It ran and ended early because it was asked to.
    Cancelled,
    /// It ran, did not end when it was told to, and was dropped.
    Aborted,
    /// It did not run because `root`, a direct or indirect prerequisite, failed or was cancelled or aborted.
    Skipped {
        /// The task at the root of it.
        root: NodeIndex,
    },
    /// It did not run because the run stopped before its turn.
    NotStarted(Stop),
}

impl<E> Outcome<E> {
    /// Whether dependents could build on it.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done | Self::NotNeeded)
    }
}

/// Why a task failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure<E> {
    /// The task's own error.
    #[error(transparent)]
    Task(E),
    /// The task panicked: a bug of the program.
    #[error("a task panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
}

impl<E> Failure<E> {
    /// Who must act: a panic is a bug, of the task's own error `of_error` knows.
    pub fn class(&self, of_error: impl FnOnce(&E) -> Class) -> Class {
        match self {
            Self::Task(error) => of_error(error),
            Self::Panicked { .. } => Class::Bug,
        }
    }
}

/// Why a run stopped before all was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// This task failed first, and `keep_going` is off.
    Failure(NodeIndex),
    /// The run was cancelled.
    Cancelled,
}

/// When a task ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the start of the run to the start of the task.
    pub started_after: Duration,
    /// From the start of the task to its end.
    pub took: Duration,
}

/// What became of each task.
#[derive(Debug)]
pub struct Report<E> {
    /// By [`NodeIndex::index`].
    pub outcomes: Vec<Outcome<E>>,
    /// By [`NodeIndex::index`]; `None` for tasks that did not run to an end of their own.
    pub timings: Vec<Option<Timing>>,
    /// Why it stopped early, if it did. With `keep_going` a failure does not stop a run.
    pub stop: Option<Stop>,
}

impl<E> Report<E> {
    /// Whether every task is done or not needed.
    pub fn is_success(&self) -> bool {
        self.outcomes.iter().all(Outcome::is_success)
    }

    /// The tasks that failed, by index.
    pub fn failures(&self) -> impl Iterator<Item = (NodeIndex, &Failure<E>)> {
        self.outcomes.iter().enumerate().filter_map(|(index, outcome)| match outcome {
            Outcome::Failed(failure) => Some((NodeIndex::new(index), failure)),
            _ => None,
        })
    }
}

/// The tasks wait for each other in a circle, so that none can be first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tasks depend on each other in a circle: {}", path.iter().map(|n| n.index().to_string()).collect::<Vec<_>>().join(" -> "))]
pub struct CycleError {
    /// From a task along its dependents back to itself; the first is the last.
    pub path: Vec<NodeIndex>,
}

/// Runs `graph` to its end on the current tokio runtime.
///
/// `pool` may be shared with other users; permits are held by the tasks and given back as they end. `cancel`
/// at the graceful level: no new task starts, running ones are expected to listen to the same `cancel` and to
/// end; when [`Options::grace`] is over, `cancel` is raised to the immediate level, and when
/// [`Options::settle`] is over after that, the remaining futures are dropped.
///
/// # Panics
///
/// If [`Executor::needed`] or [`Executor::settled`] does.
pub async fn run<X: Executor>(
    graph: &TaskGraph,
    pool: &Pool,
    options: &Options,
    cancel: &Cancel,
    executor: Arc<X>,
) -> Result<Report<X::Error>, CycleError> {
    let order = execution_order(graph)?;
    let mut run = Run::new(graph, pool, options.keep_going, executor, remaining_time(graph, &order));
    let mut ending = Ending::NotYet;
    loop {
        // Asked for before the pool is, so that no release in between is missed.
        let released = pin!(pool.released());
        if run.stop.is_none() && cancel.is_cancelled() {
            run.stop = Some(Stop::Cancelled);
        }
        let others_used_it = run.others_use_the_pool();
        if run.stop.is_none() {
            run.start_what_can();
        }
        if run.running.is_empty() && (run.stop.is_some() || run.ready.is_empty()) {
            break;
        }
        // A task's own end is learnt of by joining it; to be woken by its permit too would double the cost of
        // a small task.
        let wait_for_others = run.stop.is_none()
            && !run.ready.is_empty()
            && (others_used_it || run.others_use_the_pool() || run.running.is_empty());
        tokio::select! {
            biased;
            Some(ended) = run.running.join_next_with_id() => run.collect(ended),
            () = released, if wait_for_others => {}
            next = ending.next(cancel, options) => {
                ending = next;
                match ending {
                    Ending::NotYet => {}
                    Ending::Graceful { .. } => run.stop = run.stop.or(Some(Stop::Cancelled)),
                    Ending::Immediate { .. } => {
                        run.stop = run.stop.or(Some(Stop::Cancelled));
                        cancel.cancel_now();
                    }
                    Ending::Aborting { .. } => run.running.abort_all(),
                    // A task that blocks its thread cannot be dropped; it is left to the runtime rather than
                    // waited for.
                    Ending::Over => break,
                }
            }
        }
    }
    Ok(run.into_report())
}

/// How far the end by cancellation has come; a deadline is the moment of the next stage.
#[derive(Clone, Copy)]
enum Ending {
    NotYet,
    Graceful { until: Instant },
    Immediate { until: Instant },
    Aborting { until: Instant },
    Over,
}

impl Ending {
    /// Waits for the next stage. Safe to drop and to call again: all that it remembers are deadlines.
    async fn next(self, cancel: &Cancel, options: &Options) -> Self {
        let immediate = || Self::Immediate { until: Instant::now() + options.settle };
        match self {
            Self::NotYet => {
                cancel.cancelled().await;
                match cancel.level() {
                    Some(CancelLevel::Immediate) => immediate(),
                    _ => Self::Graceful { until: Instant::now() + options.grace },
                }
            }
            Self::Graceful { until } => {
                tokio::select! {
                    () = cancel.cancelled_now() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
                immediate()
            }
            Self::Immediate { until } => {
                tokio::time::sleep_until(until).await;
                Self::Aborting { until: Instant::now() + options.settle }
            }
            Self::Aborting { until } => {
                tokio::time::sleep_until(until).await;
                Self::Over
            }
            Self::Over => std::future::pending().await,
        }
    }
}

/// How many tasks behind the first one that does not fit are looked at, in the hope that one of them does.
const LOOK_AHEAD: usize = 8;
/// How many tasks may overtake the first one that does not fit before the pool is left to drain for it.
const OVERTAKINGS: usize = 16;

struct Run<'a, X: Executor> {
    graph: &'a TaskGraph,
    pool: &'a Pool,
    keep_going: bool,
    executor: Arc<X>,
    started: Instant,
    /// By node: expected time from its start to the end of the longest way, in nanoseconds.
    priority: Vec<u64>,
    /// By node: prerequisites that have not ended well yet.
    missing: Vec<u32>,
    /// Longest way first, then lowest index.
    ready: BinaryHeap<(u64, Reverse<usize>)>,
    /// The first task that did not fit, and how many have overtaken it.
    held_back: Option<(usize, usize)>,
    running: JoinSet<Ended<X::Error>>,
    nodes: HashMap<Id, NodeIndex>,
    outcomes: Vec<Option<Outcome<X::Error>>>,
    timings: Vec<Option<Timing>>,
    stop: Option<Stop>,
}

struct Ended<E> {
    result: TaskResult<E>,
    started: Instant,
    took: Duration,
}

impl<'a, X: Executor> Run<'a, X> {
    fn new(
        graph: &'a TaskGraph,
        pool: &'a Pool,
        keep_going: bool,
        executor: Arc<X>,
        priority: Vec<u64>,
    ) -> Self {
        let missing = prerequisites(graph);
        let ready = (0..graph.node_count())
            .filter(|&node| missing[node] == 0)
            .map(|node| (priority[node], Reverse(node)))
            .collect();
        Self {
            graph,
            pool,
            keep_going,
            executor,
            started: Instant::now(),
            priority,
            missing,
            ready,
            held_back: None,
            running: JoinSet::new(),
            nodes: HashMap::new(),
            outcomes: std::iter::repeat_with(|| None).take(graph.node_count()).collect(),
            timings: vec![None; graph.node_count()],
            stop: None,
        }
    }

    fn others_use_the_pool(&self) -> bool {
        self.pool.usage().jobs > self.running.len()
    }

    /// Starts tasks in order of priority until the pool is full.
    fn start_what_can(&mut self) {
        let mut set_aside = Vec::new();
        while self.pool.has_free_slot()
            && let Some((priority, Reverse(index))) = self.ready.pop()
        {
            let node = NodeIndex::new(index);
            if !self.executor.needed(node) {
                self.settle(node, Outcome::NotNeeded);
                continue;
            }
            if let Some(permit) = self.pool.try_acquire(self.graph[node].demand) {
                if let Some((_, overtaken)) = &mut self.held_back
                    && !set_aside.is_empty()
                {
                    *overtaken += 1;
                }
                self.start(node, permit);
            } else {
                if set_aside.is_empty() && self.held_back.is_none_or(|(first, _)| first != index) {
                    self.held_back = Some((index, 0));
                }
                set_aside.push((priority, Reverse(index)));
            }
            let patience_is_over = self.held_back.is_some_and(|(_, overtaken)| overtaken >= OVERTAKINGS);
            if set_aside.len() >= LOOK_AHEAD || (patience_is_over && !set_aside.is_empty()) {
                break;
            }
        }
        self.ready.extend(set_aside);
    }

    fn start(&mut self, node: NodeIndex, permit: Permit) {
        let executor = self.executor.clone();
        let handle = self.running.spawn(async move {
            let started = Instant::now();
            // Inside the task, so that a panic before the first await is the task's too.
            let result = executor.execute(node).await;
            drop(permit);
            Ended { result, started, took: started.elapsed() }
        });
        self.nodes.insert(handle.id(), node);
    }

    /// Takes in one ended task and all others that have ended meanwhile.
    fn collect(&mut self, first: Result<(Id, Ended<X::Error>), JoinError>) {
        self.take_in(first);
        while let Some(next) = self.running.try_join_next_with_id() {
            self.take_in(next);
        }
    }

    fn take_in(&mut self, ended: Result<(Id, Ended<X::Error>), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let node = self.nodes.remove(&id).expect("every task was entered under its id when it was started");
        let outcome = match ended {
            Ok((_, Ended { result, started, took })) => {
                self.timings[node.index()] = Some(Timing { started_after: started - self.started, took });
                match result {
                    TaskResult::Done => Outcome::Done,
                    TaskResult::Failed(error) => Outcome::Failed(Failure::Task(error)),
                    TaskResult::Cancelled => Outcome::Cancelled,
                }
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => {
                    Outcome::Failed(Failure::Panicked { message: crate::panic_message(&*panic).to_owned() })
                }
                Err(_) => Outcome::Aborted,
            },
        };
        self.settle(node, outcome);
    }

    /// Records an outcome and what follows from it for the dependents.
    fn settle(&mut self, node: NodeIndex, outcome: Outcome<X::Error>) {
        self.executor.settled(node, &outcome);
        if outcome.is_success() {
            for dependent in self.graph.neighbors(node) {
                let missing = &mut self.missing[dependent.index()];
                *missing -= 1;
                if *missing == 0 {
                    self.ready.push((self.priority[dependent.index()], Reverse(dependent.index())));
                }
            }
            self.outcomes[node.index()] = Some(outcome);
            return;
        }
        if matches!(outcome, Outcome::Failed(_)) && !self.keep_going && self.stop.is_none() {
            self.stop = Some(Stop::Failure(node));
        }
        self.outcomes[node.index()] = Some(outcome);
        self.skip_dependents(node);
    }

    fn skip_dependents(&mut self, root: NodeIndex) {
        let mut to_visit = vec![root];
        while let Some(node) = to_visit.pop() {
            for dependent in self.graph.neighbors(node) {
                // Nothing below `root` has started, so whatever has an outcome was skipped for an earlier
                // root.
                if self.outcomes[dependent.index()].is_none() {
                    let outcome = Outcome::Skipped { root };
                    self.executor.settled(dependent, &outcome);
                    self.outcomes[dependent.index()] = Some(outcome);
                    to_visit.push(dependent);
                }
            }
        }
    }

    fn into_report(mut self) -> Report<X::Error> {
        let mut left_behind: Vec<NodeIndex> = std::mem::take(&mut self.nodes).into_values().collect();
        left_behind.sort_unstable();
        for node in left_behind {
            self.settle(node, Outcome::Aborted);
        }
        let stop = self.stop;
        let outcomes = self.outcomes.into_iter().enumerate().map(|(index, outcome)| {
            outcome.unwrap_or_else(|| {
                let stop = stop.expect("a run that was not stopped leaves no task without an outcome");
                let outcome = Outcome::NotStarted(stop);
                self.executor.settled(NodeIndex::new(index), &outcome);
                outcome
            })
        });
        Report { outcomes: outcomes.collect(), timings: self.timings, stop }
    }
}

fn prerequisites(graph: &TaskGraph) -> Vec<u32> {
    let mut counts = vec![0; graph.node_count()];
    for edge in graph.raw_edges() {
        counts[edge.target().index()] += 1;
    }
    counts
}

/// Every node after its prerequisites.
fn execution_order(graph: &TaskGraph) -> Result<Vec<NodeIndex>, CycleError> {
    let mut missing = prerequisites(graph);
    let mut order: Vec<NodeIndex> = graph.node_indices().filter(|n| missing[n.index()] == 0).collect();
    let mut next = 0;
    while let Some(&node) = order.get(next) {
        next += 1;
        for dependent in graph.neighbors(node) {
            missing[dependent.index()] -= 1;
            if missing[dependent.index()] == 0 {
                order.push(dependent);
            }
        }
    }
    if order.len() == graph.node_count() { Ok(order) } else { Err(find_cycle(graph, &missing)) }
}

/// A circle among the nodes that no order could reach: each of them has a prerequisite among them, so that
/// walking backwards ends in one.
fn find_cycle(graph: &TaskGraph, missing: &[u32]) -> CycleError {
    let mut seen_at = vec![None; graph.node_count()];
    let mut walk = Vec::new();
    let mut node = graph.node_indices().find(|n| missing[n.index()] > 0);
    while let Some(current) = node {
        if let Some(start) = seen_at[current.index()] {
            walk.drain(..start);
            break;
        }
        seen_at[current.index()] = Some(walk.len());
        walk.push(current);
        node = graph
            .neighbors_directed(current, Direction::Incoming)
            .filter(|n| missing[n.index()] > 0)
            .min_by_key(|n| n.index());
    }
    // Backwards until here; the same circle is always told from its lowest node.
    walk.reverse();
    let lowest = (0..walk.len()).min_by_key(|&at| walk[at]).unwrap_or(0);
    walk.rotate_left(lowest);
    walk.extend(walk.first().copied());
    CycleError { path: walk }
}

/// By node: the expected time of the longest way from its start to the end of a sink, in nanoseconds.
fn remaining_time(graph: &TaskGraph, order: &[NodeIndex]) -> Vec<u64> {
    let mut remaining = vec![0_u64; graph.node_count()];
    for &node in order.iter().rev() {
        let after = graph.neighbors(node).map(|d| remaining[d.index()]).max().unwrap_or(0);
        let own = u64::try_from(graph[node].expected.as_nanos()).unwrap_or(u64::MAX);
        remaining[node.index()] = own.saturating_add(after);
    }
    remaining
}
