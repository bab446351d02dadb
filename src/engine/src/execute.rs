//! Carries out a plan.
//!
//! Each action that runs goes the same way: wait for the key's lock, look once more whether another process has made
//! the result, look by content where that is now known, carry it out, check that no input changed meanwhile, keep the
//! result. Only then may what depends on it start.

mod results;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use imgbuild_cache::{ActionKey, ActionResult, Lease, Run};
use imgbuild_digest::Hash;
use imgbuild_model::{ActionId, Class, Diagnostic, Event, Outcome as EventOutcome};
use imgbuild_plan::{
    ActionNode, InputDigests, KeyContext, NOT_KEPT_MEMO, Reason, Status, content_key, duration_key, slot,
};
use petgraph::graph::NodeIndex;

use crate::checkpoint::{self, Choice, Continuity};
use crate::resources::{Demand, Limits, Pool};
use crate::run::{Failure, Results, RunReport, RunRequest};
use crate::scheduler::{self, Task, TaskGraph, TaskResult};
use crate::{ActionContext, ActionError, Builder, Outcome, PassedOn};
use crate::{lock, outputs};

struct Shared {
    request: RunRequest,
    run: Arc<Run>,
    /// When the run began, in milliseconds since 1970.
    began: i64,
    results: Mutex<HashMap<usize, Arc<ActionResult>>>,
    failures: Mutex<Vec<Failure>>,
    built: Mutex<BTreeSet<usize>>,
    /// What the inputs hold, as far as it is known.
    digests: Mutex<Arc<InputDigests>>,
    /// What failed and was let pass: such a result is kept for this run alone.
    tolerated: Mutex<BTreeSet<usize>>,
    /// The machines that were passed on to the next step, by the place of the step that left them.
    passed_on: Mutex<HashMap<usize, PassedOn>>,
    /// The steps whose machines need not be kept.
    choices: HashMap<usize, Choice>,
    /// What this run has put: asked for by force, it is built once all the same.
    put: Mutex<HashSet<ActionKey>>,
}

/// Runs all that the plan says must run.
///
/// # Errors
/// If the run cannot begin; what fails in it is in the report.
pub async fn execute(request: RunRequest) -> Result<RunReport, ActionError> {
    let run = Arc::new(Run::begin(&request.cache)?);
    let running: Vec<usize> = request.plan.running().collect();
    let hits = request.plan.hits();
    lease(&request, &run)?;
    check_hits(&request, &running)?;
    let (graph, places) = task_graph(&request, &running);
    let pool = Pool::new(match request.options.jobs {
        Some(jobs) => Limits::detect().with_jobs(jobs),
        None => Limits::detect(),
    });
    let options =
        scheduler::Options { keep_going: request.options.keep_going, ..scheduler::Options::default() };
    let cancel = request.cancel.clone();
    let choices = checkpoint::choices(&request)?;
    let results = request
        .plan
        .actions
        .iter()
        .enumerate()
        .filter_map(|(place, action)| Some((place, action.result.clone()?)))
        .collect();
    let digests = Mutex::new(request.keys.digests.clone());
    let shared = Arc::new(Shared {
        request,
        run,
        began: milliseconds_since_1970(),
        results: Mutex::new(results),
        failures: Mutex::default(),
        built: Mutex::default(),
        digests,
        tolerated: Mutex::default(),
        passed_on: Mutex::default(),
        choices,
        put: Mutex::default(),
    });
    let tasks = Tasks { shared: shared.clone(), places: places.clone() };
    let report = scheduler::run(&graph, &pool, &options, &cancel, Arc::new(tasks)).await;
    for builder in shared.request.registry.builders() {
        builder.run_ended(shared.run.id().as_str()).await;
    }
    let report = report.map_err(|cycle| {
        ActionError::from(
            Diagnostic::error(format!("the actions wait for each other: {cycle}")).class(Class::Bug),
        )
    })?;
    let mut summary = RunReport {
        hits,
        run: shared.run.id().as_str().to_owned(),
        cancelled: cancel.is_cancelled(),
        ..RunReport::default()
    };
    let built = lock(&shared.built).clone();
    for (index, outcome) in report.outcomes.iter().enumerate() {
        let place = places[index];
        match outcome {
            scheduler::Outcome::Done | scheduler::Outcome::NotNeeded if built.contains(&place) => {
                summary.built += 1
            }
            scheduler::Outcome::Done | scheduler::Outcome::NotNeeded => summary.hits += 1,
            scheduler::Outcome::Failed(scheduler::Failure::Panicked { message }) => {
                lock(&shared.failures).push(Failure { place, error: panicked(message) });
            }
            scheduler::Outcome::Failed(_) => {}
            scheduler::Outcome::Cancelled
            | scheduler::Outcome::Aborted
            | scheduler::Outcome::Skipped { .. }
            | scheduler::Outcome::NotStarted(_) => summary.skipped += 1,
        }
    }
    summary.failures = std::mem::take(&mut *lock(&shared.failures));
    summary.results = std::mem::take(&mut *lock(&shared.results));
    // Their layers lack what the machines had, which are gone.
    summary.results.retain(|place, _| !lock(&shared.passed_on).contains_key(place));
    summary.failures.sort_by_key(|failure| failure.place);
    if let Err(error) = shared.request.cache.settle() {
        tracing::debug!(%error, "the cache was left as it is");
    }
    Ok(summary)
}

/// Holds what the plan found until the run ends, so that the garbage collector leaves it alone.
fn lease(request: &RunRequest, run: &Run) -> Result<(), ActionError> {
    let mut leases = Vec::new();
    for action in &request.plan.actions {
        if matches!(action.status, Status::NotNeeded) {
            continue;
        }
        leases.extend(action.key.map(Lease::Key));
        if let Some(result) = &action.result {
            leases.extend(result.layers.iter().map(|delta| Lease::Layer(*delta)));
            leases.extend(result.blobs().map(|digest| Lease::Blob(*digest)));
        }
    }
    run.lease(&leases)?;
    Ok(())
}

/// What the run stands on must still be there now that it is leased: it was looked at before.
fn check_hits(request: &RunRequest, running: &[usize]) -> Result<(), ActionError> {
    let needed: BTreeSet<usize> =
        running.iter().flat_map(|place| &request.keys.graph.nodes[*place].prerequisites).copied().collect();
    for place in needed {
        if let Some(result) = &request.plan.actions[place].result
            && let Err(missing) = request.cache.is_complete(result)
        {
            let node = &request.keys.graph.nodes[place];
            return Err(ActionError::environment(format!(
                "the result of `{}` went away: {missing}",
                node.describe()
            ))
            .hint("the cache was collected meanwhile; build again"));
        }
    }
    Ok(())
}

fn panicked(message: &str) -> ActionError {
    Diagnostic::error(format!("this is a bug in imgbuild: {message}")).class(Class::Bug).into()
}

fn task_graph(request: &RunRequest, running: &[usize]) -> (TaskGraph, Vec<usize>) {
    let mut graph = TaskGraph::new();
    let mut nodes: HashMap<usize, NodeIndex> = HashMap::new();
    for place in running {
        let expected = request.plan.actions[*place].estimate.unwrap_or_default();
        nodes.insert(*place, graph.add_node(Task { expected, demand: Demand::ONE_CPU }));
    }
    let mut same: HashMap<ActionKey, NodeIndex> = HashMap::new();
    for place in running {
        let node = nodes[place];
        for needed in &request.keys.graph.nodes[*place].prerequisites {
            if let Some(from) = nodes.get(needed) {
                graph.add_edge(*from, node, ());
            }
        }
        // Of actions with one key the later ones take what the first makes, rather than wait for its lock on a job.
        if let Some(key) = request.plan.actions[*place].key
            && let Some(first) = same.insert(key, node)
        {
            graph.add_edge(first, node, ());
        }
    }
    (graph, running.to_vec())
}

fn milliseconds_since_1970() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

struct Tasks {
    shared: Arc<Shared>,
    places: Vec<usize>,
}

impl scheduler::Executor for Tasks {
    type Error = ();

    fn execute(&self, node: NodeIndex) -> BoxFuture<'static, TaskResult<()>> {
        let shared = self.shared.clone();
        let place = self.places[node.index()];
        async move { shared.task(place).await }.boxed()
    }
}

impl Shared {
    fn key_context<'a>(&'a self, digests: &'a InputDigests) -> KeyContext<'a> {
        KeyContext { digests, ..self.request.keys.context() }
    }

    fn digests(&self) -> Arc<InputDigests> {
        lock(&self.digests).clone()
    }

    fn node(&self, place: usize) -> &ActionNode {
        &self.request.keys.graph.nodes[place]
    }

    fn builder(&self, place: usize) -> Result<Arc<dyn Builder>, ActionError> {
        let key = self.request.keys.builders.key(self.node(place).builder);
        self.request
            .registry
            .builder(key)
            .cloned()
            .ok_or_else(|| Diagnostic::error(format!("there is no builder `{key}`")).class(Class::Bug).into())
    }

    fn target(&self, place: usize) -> String {
        let node = self.node(place);
        format!("{} ({})", node.label(), node.platform())
    }

    async fn task(self: Arc<Self>, place: usize) -> TaskResult<()> {
        let started = Instant::now();
        let id = ActionId(u32::try_from(place).unwrap_or(u32::MAX));
        let finish = |outcome: EventOutcome| {
            self.request.events.emit(Event::ActionFinished {
                id,
                target: self.target(place),
                kind: self.node(place).schema.id.to_owned(),
                description: self.node(place).describe(),
                key: self.request.plan.actions[place].key.map(|key| key.0),
                outcome,
                duration: started.elapsed(),
            });
        };
        let resolved = AssertUnwindSafe(self.clone().resolve(place, id)).catch_unwind().await;
        let resolved = resolved.unwrap_or_else(|panic| Err(panicked(crate::panic_message(&*panic))));
        let resolved = resolved.and_then(|(result, outcome)| {
            let request = &self.request;
            if request.options.results == Results::Kept {
                outputs::restore(&request.cache, self.node(place), &result, request.files.root())?;
            }
            Ok((result, outcome))
        });
        match resolved {
            Ok((result, outcome)) => {
                if outcome != EventOutcome::Built {
                    self.let_go_below(place).await;
                }
                if outcome == EventOutcome::Built {
                    lock(&self.built).insert(place);
                    if self.node(place).changes_host() {
                        self.read_inputs_again().await;
                    }
                }
                lock(&self.results).insert(place, Arc::new(result));
                finish(outcome);
                TaskResult::Done
            }
            // A signal from the terminal reaches the commands too: how they then end is no failure of theirs.
            Err(error)
                if matches!(error, ActionError::Cancelled)
                    || (self.request.cancel.is_cancelled() && error.left_a_state()) =>
            {
                finish(EventOutcome::Skipped);
                TaskResult::Cancelled
            }
            Err(error) => {
                finish(EventOutcome::Failed { message: error.to_string() });
                lock(&self.failures).push(Failure { place, error });
                TaskResult::Failed(())
            }
        }
    }

    /// Ends the machine that the step below has passed on to one that need not be carried out.
    async fn let_go_below(&self, place: usize) {
        let below = self.node(place).parent;
        let machine = below.and_then(|below| Some(lock(&self.passed_on).get(&below)?.machine));
        if let (Some(machine), Ok(builder)) = (machine, self.builder(place)) {
            builder.let_go(self.run.id().as_str(), machine).await;
        }
    }

    /// Finds or makes the result of an action.
    async fn resolve(
        self: Arc<Self>,
        place: usize,
        id: ActionId,
    ) -> Result<(ActionResult, EventOutcome), ActionError> {
        // A key of the plan says what inputs were before a command on the host ran.
        let known = self.request.plan.actions[place].key.filter(|_| !self.follows_host(place));
        let content = if self.node(place).impure().is_some() { None } else { self.content_key(place) };
        let Some(key) = known.or(content).filter(|_| self.keeps_results()) else {
            // It is kept for nobody, but must stay until this run is over.
            let result = self.clone().carry_out(place, id, content).await?;
            self.lease_result(&result)?;
            return Ok((result, EventOutcome::Built));
        };
        // The static key's lock comes first everywhere, so nobody who has the other's waits for this one.
        let keys: Vec<ActionKey> =
            [Some(key), content.filter(|content| *content != key)].into_iter().flatten().collect();
        self.run.lease(&keys.iter().map(|key| Lease::Key(*key)).collect::<Vec<_>>())?;
        // The plan has looked; what a command did to the host since is in no result.
        let asked_for = self.request.plan.actions[place].status == Status::Run(Reason::Forced);
        let forced = asked_for || self.node(place).changes_host() || self.node(place).is_fused();
        let mut guards = Vec::with_capacity(keys.len());
        for candidate in &keys {
            guards.push(self.clone().lock_key(*candidate, place, id).await?);
            let again = forced && !lock(&self.put).contains(candidate);
            if !again && let Some(result) = self.stored(place, candidate, &key)? {
                let outcome =
                    if known == Some(*candidate) { EventOutcome::Hit } else { EventOutcome::Unchanged };
                return Ok((result, outcome));
            }
        }
        let result = self.clone().carry_out(place, id, Some(key)).await?;
        let passed_on = lock(&self.passed_on).get(&place).map(|passed_on| passed_on.why.clone());
        if let Some(why) = &passed_on {
            self.request.cache.memo_put(NOT_KEPT_MEMO, &key.0, why.as_bytes())?;
            self.record_slot(place, key)?;
        }
        if passed_on.is_some() || lock(&self.tolerated).contains(&place) {
            self.lease_result(&result)?;
            return Ok((result, EventOutcome::Built));
        }
        if forced {
            for key in &keys {
                self.request.cache.invalidate(key)?;
            }
        }
        let stored = self.request.cache.put(&key, &result)?;
        for other in &keys[1..] {
            self.request.cache.alias(other, &key)?;
        }
        lock(&self.put).extend(keys);
        self.record_slot(place, key)?;
        drop(guards);
        Ok((stored, EventOutcome::Built))
    }

    /// Whether others get to know of its results.
    fn keeps_results(&self) -> bool {
        self.request.options.results == Results::Kept
    }

    fn outputs(&self, place: usize) -> HashMap<usize, Hash> {
        let results = lock(&self.results);
        self.node(place)
            .prerequisites
            .iter()
            .filter_map(|needed| Some((*needed, results.get(needed)?.output)))
            .collect()
    }

    fn content_key(&self, place: usize) -> Option<ActionKey> {
        let outputs = self.outputs(place);
        if outputs.len() != self.node(place).prerequisites.len() {
            return None;
        }
        content_key(self.key_context(&self.digests()), place, &|needed| outputs[&needed])
    }

    async fn lock_key(
        self: Arc<Self>,
        key: ActionKey,
        place: usize,
        id: ActionId,
    ) -> Result<imgbuild_cache::KeyLock, ActionError> {
        if let Some(guard) = self.request.cache.try_lock_key(&key)? {
            return Ok(guard);
        }
        self.request.events.emit(Event::Waiting {
            id,
            target: self.target(place),
            message: "another process builds the same layer".to_owned(),
        });
        let mut pause = Duration::from_millis(5);
        loop {
            // Polled rather than blocked on, so that a cancelled run does not wait for another process.
            if self.request.cancel.unless_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Err(ActionError::Cancelled);
            }
            pause = (pause * 2).min(Duration::from_millis(100));
            if let Some(guard) = self.request.cache.try_lock_key(&key)? {
                return Ok(guard);
            }
        }
    }

    /// Carries an action out, whose result will be found by `key`, if at all.
    async fn carry_out(
        self: Arc<Self>,
        place: usize,
        id: ActionId,
        key: Option<ActionKey>,
    ) -> Result<ActionResult, ActionError> {
        let node = self.node(place);
        let kind = node.schema.id;
        let executor = self.request.registry.executors.get(kind).cloned().ok_or_else(|| {
            ActionError::environment(format!("`{kind}` is not available in this build of imgbuild"))
        })?;
        let asked = self.request.prompt.before(place);
        self.request.cancel.unless_cancelled(asked).await.unwrap_or(Err(ActionError::Cancelled))?;
        self.request.events.emit(Event::ActionStarted {
            id,
            target: self.target(place),
            kind: kind.to_owned(),
            description: node.describe(),
        });
        let temporary = self.run.temporary().join(format!("action-{place}"));
        fs_err::create_dir_all(&temporary)?;
        let context = ActionContext {
            id,
            graph: self.request.keys.graph.clone(),
            place,
            cache: self.request.cache.clone(),
            results: {
                let results = lock(&self.results);
                node.prerequisites
                    .iter()
                    .filter_map(|needed| Some((*needed, results.get(needed)?.clone())))
                    .collect()
            },
            lock: self.request.keys.lock.clone(),
            workspace: self.request.files.root().to_path_buf(),
            run: self.run.clone(),
            temporary: temporary.clone(),
            builder: self.builder(place)?,
            results_of_run: self.request.options.results,
            secrets: self.request.secrets.clone(),
            fillings: self.request.fillings.clone(),
            prompt: self.request.prompt.clone(),
            cancel: self.request.cancel.clone(),
            events: self.request.events.clone(),
            log: Arc::default(),
            failed_state: Mutex::default(),
            continuity: Continuity::new(
                node.parent.and_then(|parent| lock(&self.passed_on).get(&parent).cloned()),
                self.choices.get(&place).copied(),
            ),
        };
        let started = Instant::now();
        let outcome = attempts(&context, &*executor).await.map(|(outcome, tolerated)| {
            if tolerated {
                lock(&self.tolerated).insert(place);
            }
            outcome
        });
        let outcome = outcome.map_err(|error| match context.disk_is_full() {
            true => error.on_full_disk(),
            false => error,
        });
        let duration = started.elapsed();
        let log = if self.keeps_results() { self.keep_log(place, &context) } else { Ok(None) };
        // What is left of it goes with the run's folder at the latest.
        let _ = fs_err::remove_dir_all(&temporary);
        let (outcome, log) = match outcome {
            Ok(outcome) => (outcome, log?),
            Err(error) => {
                // What went wrong first is what the user must hear of.
                if self.keeps_results()
                    && let Err(problem) = self.keep_failed_state(place, &context)
                {
                    tracing::warn!(%problem, "the state of the failure could not be kept");
                }
                return Err(error);
            }
        };
        if context.continuity.is_ignored() {
            let what = format!("`{}` was not carried out in the machine below it", node.describe());
            return Err(Diagnostic::error(what).class(Class::Bug).into());
        }
        self.check_inputs(place).await?;
        if self.keeps_results() {
            let name = duration_key(&slot(&self.request.keys.graph, place));
            self.request.cache.record_duration(&name, duration)?;
        }
        if let Some(passed_on) = &outcome.passed_on {
            lock(&self.passed_on).insert(place, passed_on.clone());
        }
        self.make_result(place, &context, outcome, key, (duration, log))
    }

    /// Whether a command on the host ran in this run before an action of its chain.
    fn follows_host(&self, place: usize) -> bool {
        let built = lock(&self.built);
        let parent = |place: &usize| self.node(*place).parent;
        std::iter::successors(parent(&place), parent)
            .any(|below| built.contains(&below) && self.node(below).changes_host())
    }

    /// Reads the inputs again, after a command on the host that may have changed them. What cannot be read is left to the
    /// action that needs it.
    async fn read_inputs_again(self: &Arc<Self>) {
        let shared = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let request = &shared.request;
            InputDigests::read(&request.keys.graph.inputs(), &request.files, &request.cache)
        });
        if let Ok(Ok(digests)) = read.await {
            *lock(&self.digests) = Arc::new(digests);
        }
    }

    /// An input that changed while it was read would make a result under the wrong key.
    async fn check_inputs(&self, place: usize) -> Result<(), ActionError> {
        let paths = self.node(place).inputs();
        if paths.is_empty() {
            return Ok(());
        }
        let (files, cache, before) = (self.request.files.clone(), self.request.cache.clone(), self.digests());
        let changed = tokio::task::spawn_blocking(move || {
            let after = InputDigests::read(&paths, &files, &cache);
            match after {
                Ok(after) => paths
                    .into_iter()
                    .find(|path| before.get(path) != after.get(path))
                    .map(|path| format!("`{path}` changed while it was used")),
                Err(problems) => Some(format!("an input changed while it was used: {problems}")),
            }
        })
        .await
        .map_err(|error| ActionError::environment(error.to_string()))?;
        match changed {
            None => Ok(()),
            Some(problem) => {
                Err(ActionError::environment(problem).hint("build again; the result was not kept"))
            }
        }
    }
}

/// Carries out an action as often as it says, until it succeeds. Each time begins from the same start. Also gives whether
/// it failed and that was let pass: then the chain goes on from what the last try left, as far as that is there.
async fn attempts(
    context: &ActionContext,
    executor: &dyn crate::Executor,
) -> Result<(Outcome, bool), ActionError> {
    let mut left = context.number("max_retries").unwrap_or_default();
    loop {
        context.pause("pause_before").await?;
        let error = match with_timeout(context.number("timeout"), executor.execute(context)).await {
            Err(error) if left > 0 && error.is_worth_a_retry() => error,
            Err(error) if error.is_worth_a_retry() && context.flag("continue_on_error") => {
                context.tried(&error, None);
                let left = lock(&context.failed_state).take().unwrap_or_else(|| context.parent());
                return Ok((Outcome { layers: left.layers, ..Outcome::default() }, true));
            }
            done => return done.map(|outcome| (outcome, false)),
        };
        context.tried(&error, u64::try_from(left).ok());
        left -= 1;
        fs_err::remove_dir_all(&context.temporary)?;
        fs_err::create_dir_all(&context.temporary)?;
    }
}

async fn with_timeout(
    seconds: Option<i64>,
    work: impl Future<Output = Result<Outcome, ActionError>>,
) -> Result<Outcome, ActionError> {
    let Some(limit) = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs) else {
        return work.await;
    };
    tokio::time::timeout(limit, work).await.unwrap_or(Err(ActionError::TimedOut(limit)))
}
