use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::cancel::CancelReason;
use crate::resources::{Cpus, Limits, Usage};

fn pool(cpus: u32, jobs: usize) -> Pool {
    pool_with_memory(cpus, u64::MAX, jobs)
}

fn pool_with_memory(cpus: u32, memory_bytes: u64, jobs: usize) -> Pool {
    Pool::new(Limits { cpus: Cpus::whole(cpus), memory_bytes, jobs: NonZeroUsize::new(jobs).unwrap() })
}

fn graph(seconds: &[u64], edges: &[(u32, u32)]) -> TaskGraph {
    let mut graph = TaskGraph::new();
    for &s in seconds {
        graph.add_node(Task { expected: Duration::from_secs(s), demand: Demand::ONE_CPU });
    }
    graph.extend_with_edges(edges.iter().copied());
    graph
}

fn node(index: usize) -> NodeIndex {
    NodeIndex::new(index)
}

type Reply = Box<dyn Fn(NodeIndex) -> BoxFuture<'static, TaskResult<&'static str>> + Send + Sync>;

/// Writes down what happens; sleeps each task's expected time unless `reply` is set.
struct Recorder {
    graph: TaskGraph,
    log: Mutex<Vec<String>>,
    reply: Option<Reply>,
    unneeded: Vec<usize>,
}

impl Recorder {
    fn new(graph: &TaskGraph) -> Self {
        Self { graph: graph.clone(), log: Mutex::default(), reply: None, unneeded: Vec::new() }
    }

    fn replying(
        graph: &TaskGraph,
        reply: impl Fn(usize) -> BoxFuture<'static, TaskResult<&'static str>> + Send + Sync + 'static,
    ) -> Self {
        Self { reply: Some(Box::new(move |n| reply(n.index()))), ..Self::new(graph) }
    }

    fn note(&self, text: String) {
        self.log.lock().unwrap().push(text);
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().join(" ")
    }
}

impl Executor for Recorder {
    type Error = &'static str;

    fn execute(&self, node: NodeIndex) -> BoxFuture<'static, TaskResult<&'static str>> {
        self.note(format!("+{}", node.index()));
        let expected = self.graph[node].expected;
        match &self.reply {
            Some(reply) => reply(node),
            None => tokio::time::sleep(expected).map(|()| TaskResult::Done).boxed(),
        }
    }

    fn needed(&self, node: NodeIndex) -> bool {
        !self.unneeded.contains(&node.index())
    }

    fn settled(&self, node: NodeIndex, outcome: &Outcome<&'static str>) {
        let sign = match outcome {
            Outcome::Done => "-",
            Outcome::NotNeeded => "~",
            Outcome::Failed(_) => "!",
            Outcome::Cancelled => "c",
            Outcome::Aborted => "a",
            Outcome::Skipped { .. } => "s",
            Outcome::NotStarted(_) => "n",
        };
        self.note(format!("{sign}{}", node.index()));
    }
}

async fn run_all(
    graph: &TaskGraph,
    pool: &Pool,
    options: Options,
    recorder: Recorder,
) -> (Report<&'static str>, String) {
    let recorder = Arc::new(recorder);
    let report = run(graph, pool, &options, &Cancel::new(), recorder.clone()).await.unwrap();
    assert_eq!(pool.usage(), Usage::default(), "everything was given back");
    (report, recorder.log())
}

#[tokio::test(start_paused = true)]
async fn an_empty_graph_is_done() {
    let (report, log) =
        run_all(&graph(&[], &[]), &pool(1, 1), Options::default(), Recorder::new(&graph(&[], &[]))).await;
    assert!(report.is_success() && report.stop.is_none() && log.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_critical_path_goes_first() {
    // 0 is long alone; 1 is short but 2 and 3 after it make the longest way; 4 is the shortest.
    let graph = graph(&[10, 1, 9, 9, 2], &[(1, 2), (2, 3)]);
    let (_, log) = run_all(&graph, &pool(1, 1), Options::default(), Recorder::new(&graph)).await;
    assert_eq!(log, "+1 -1 +2 -2 +0 -0 +3 -3 +4 -4");
    let start = Instant::now();
    let (report, log) = run_all(&graph, &pool(2, 2), Options::default(), Recorder::new(&graph)).await;
    assert_eq!(log, "+1 +0 -1 +2 -0 -2 +3 +4 -4 -3");
    assert_eq!(start.elapsed().as_secs(), 19, "as long as the critical path");
    let timing = report.timings[3].unwrap();
    assert_eq!((timing.started_after.as_secs(), timing.took.as_secs()), (10, 9));
}

#[tokio::test(start_paused = true)]
async fn ties_go_by_index() {
    let graph = graph(&[1; 6], &[]);
    let (_, log) = run_all(&graph, &pool(1, 1), Options::default(), Recorder::new(&graph)).await;
    assert_eq!(log, "+0 -0 +1 -1 +2 -2 +3 -3 +4 -4 +5 -5");
}

#[tokio::test(start_paused = true)]
async fn parallel_edges_are_one() {
    let graph = graph(&[1, 1], &[(0, 1), (0, 1), (0, 1)]);
    let (report, log) = run_all(&graph, &pool(4, 4), Options::default(), Recorder::new(&graph)).await;
    assert!(report.is_success());
    assert_eq!(log, "+0 -0 +1 -1");
}

#[tokio::test(start_paused = true)]
async fn a_failure_stops_the_start_of_new_tasks_but_not_those_that_run() {
    // 0 fails after a second while 1 runs on; 2 depends on 0, 3 on 2, 4 on 1.
    let graph = graph(&[20, 20, 5, 5, 5], &[(0, 2), (2, 3), (1, 4)]);
    let failing = |n: usize| {
        async move {
            if n == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                return TaskResult::Failed("no");
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            TaskResult::Done
        }
        .boxed()
    };
    let recorder = Recorder::replying(&graph, failing);
    let (report, log) = run_all(&graph, &pool(2, 2), Options::default(), recorder).await;
    assert_eq!(log, "+0 +1 !0 s2 s3 -1 n4");
    assert_eq!(report.stop, Some(Stop::Failure(node(0))));
    assert_eq!(report.outcomes[0], Outcome::Failed(Failure::Task("no")));
    assert_eq!(report.outcomes[3], Outcome::Skipped { root: node(0) });
    assert_eq!(report.outcomes[4], Outcome::NotStarted(Stop::Failure(node(0))));
    assert!(!report.is_success());
    assert_eq!(report.failures().count(), 1);

    let options = Options { keep_going: true, ..Options::default() };
    let (report, log) = run_all(&graph, &pool(2, 2), options, Recorder::replying(&graph, failing)).await;
    assert_eq!(log, "+0 +1 !0 s2 s3 -1 +4 -4");
    assert_eq!(report.stop, None);
}

#[tokio::test(start_paused = true)]
async fn a_dependent_of_two_failures_names_the_first() {
    let graph = graph(&[2, 1, 1], &[(0, 2), (1, 2)]);
    let recorder = Recorder::replying(&graph, |n| {
        async move {
            tokio::time::sleep(Duration::from_secs(2 - n as u64)).await;
            TaskResult::Failed("no")
        }
        .boxed()
    });
    let options = Options { keep_going: true, ..Options::default() };
    let (report, _) = run_all(&graph, &pool(2, 2), options, recorder).await;
    assert_eq!(report.outcomes[2], Outcome::Skipped { root: node(1) });
}

#[tokio::test(start_paused = true)]
async fn what_is_not_needed_counts_as_done() {
    let graph = graph(&[1, 1, 1], &[(0, 1), (1, 2)]);
    let recorder = Recorder { unneeded: vec![1], ..Recorder::new(&graph) };
    let (report, log) = run_all(&graph, &pool(1, 1), Options::default(), recorder).await;
    assert_eq!(log, "+0 -0 ~1 +2 -2");
    assert!(report.is_success());
    assert_eq!(report.timings[1], None);
}

#[tokio::test(start_paused = true)]
async fn early_cutoff_by_what_an_earlier_task_found_out() {
    struct Cutoff {
        same_output: AtomicBool,
        ran: AtomicUsize,
    }
    struct Shared(Arc<Cutoff>);
    impl Executor for Shared {
        type Error = &'static str;
        fn execute(&self, node: NodeIndex) -> BoxFuture<'static, TaskResult<&'static str>> {
            let state = self.0.clone();
            async move {
                state.ran.fetch_add(1, Ordering::SeqCst);
                if node.index() == 0 {
                    state.same_output.store(true, Ordering::SeqCst);
                }
                TaskResult::Done
            }
            .boxed()
        }
        fn needed(&self, node: NodeIndex) -> bool {
            node.index() == 0 || !self.0.same_output.load(Ordering::SeqCst)
        }
    }
    let state = Arc::new(Cutoff { same_output: AtomicBool::new(false), ran: AtomicUsize::new(0) });
    let graph = graph(&[1; 4], &[(0, 1), (1, 2), (2, 3)]);
    let executor = Arc::new(Shared(state.clone()));
    let report = run(&graph, &pool(2, 2), &Options::default(), &Cancel::new(), executor).await.unwrap();
    assert!(report.is_success());
    assert_eq!(state.ran.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_bug_and_not_a_hang() {
    let graph = graph(&[1; 4], &[(0, 1), (2, 3)]);
    let recorder = Recorder::replying(&graph, |n| match n {
        // Before the future exists, and inside it.
        0 => panic!("early {n}"),
        2 => async { std::panic::panic_any("late".to_owned()) }.boxed(),
        _ => async { TaskResult::Done }.boxed(),
    });
    let options = Options { keep_going: true, ..Options::default() };
    let (report, _) = run_all(&graph, &pool(1, 1), options, recorder).await;
    let messages: Vec<_> = report.failures().map(|(n, f)| (n.index(), f.to_string())).collect();
    assert_eq!(messages, [(0, "a task panicked: early 0".into()), (2, "a task panicked: late".into())]);
    assert!(report.failures().all(|(_, f)| f.class(|_| Class::Input) == Class::Bug));
    assert_eq!(report.outcomes[1], Outcome::Skipped { root: node(0) });
}

#[tokio::test]
async fn a_cycle_is_told_with_its_path() {
    // 0 -> 1 -> (2 -> 4 -> 3 -> 2) -> 5; and a task that depends on itself.
    let circle = graph(&[1; 6], &[(0, 1), (1, 2), (2, 4), (4, 3), (3, 2), (3, 5)]);
    let executor = Arc::new(Recorder::new(&circle));
    let error = run(&circle, &pool(1, 1), &Options::default(), &Cancel::new(), executor).await.unwrap_err();
    assert_eq!(error.path, [2, 4, 3, 2].map(node));
    assert_eq!(error.to_string(), "tasks depend on each other in a circle: 2 -> 4 -> 3 -> 2");
    let own = graph(&[1; 2], &[(1, 1)]);
    assert_eq!(execution_order(&own).unwrap_err().path, [1, 1].map(node));
}

#[tokio::test(start_paused = true)]
async fn graceful_cancellation_starts_nothing_new_and_waits() {
    let graph = graph(&[10, 10, 1], &[(0, 2)]);
    let cancel = Cancel::new();
    let recorder = Arc::new(Recorder::new(&graph));
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            cancel.raise(CancelLevel::Graceful, CancelReason::Program);
        }
    });
    let start = Instant::now();
    let report = run(&graph, &pool(1, 1), &Options::default(), &cancel, recorder.clone()).await.unwrap();
    assert_eq!(recorder.log(), "+0 -0 n1 n2", "0 was let finish within its grace");
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(report.stop, Some(Stop::Cancelled));
    assert!(!cancel.is_cancelled_now());
}

#[tokio::test(start_paused = true)]
async fn grace_ends_in_immediate_and_that_in_dropping() {
    let graph = graph(&[1; 4], &[(0, 3)]);
    let cancel = Cancel::new();
    let recorder = Recorder::replying(&graph, {
        let cancel = cancel.clone();
        move |n| {
            let cancel = cancel.clone();
            async move {
                match n {
                    0 => cancel.cancelled().await,
                    1 => cancel.cancelled_now().await,
                    _ => std::future::pending().await,
                }
                TaskResult::Cancelled
            }
            .boxed()
        }
    });
    let recorder = Arc::new(recorder);
    let options =
        Options { grace: Duration::from_secs(30), settle: Duration::from_secs(5), ..Options::default() };
    let start = Instant::now();
    cancel.child().cancel();
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        later.cancel();
    });
    let pool = pool(8, 8);
    let report = run(&graph, &pool, &options, &cancel, recorder.clone()).await.unwrap();
    assert_eq!(recorder.log(), "+0 +1 +2 c0 s3 c1 a2");
    assert_eq!(start.elapsed().as_secs(), 1 + 30 + 5);
    assert_eq!(report.outcomes[2], Outcome::Aborted);
    assert_eq!(pool.usage(), Usage::default());
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_cuts_the_grace_short() {
    let graph = graph(&[1000], &[]);
    let cancel = Cancel::new();
    let later = cancel.clone();
    tokio::spawn(async move {
        for level in [CancelLevel::Graceful, CancelLevel::Immediate] {
            tokio::time::sleep(Duration::from_secs(2)).await;
            later.raise(level, CancelReason::Program);
        }
    });
    let start = Instant::now();
    let recorder = Arc::new(Recorder::new(&graph));
    run(&graph, &pool(1, 1), &Options::default(), &cancel, recorder.clone()).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 2 + 2 + 5);
    assert_eq!(recorder.log(), "+0 a0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_blocks_its_thread_does_not_hold_up_the_end_for_ever() {
    let graph = graph(&[1], &[]);
    let cancel = Cancel::new();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Mutex::new(Some(blocked));
    let asked = cancel.clone();
    let recorder = Recorder::replying(&graph, move |_| {
        let blocked = blocked.lock().unwrap().take().unwrap();
        let asked = asked.clone();
        async move {
            asked.cancel_now();
            let _released = blocked.recv();
            TaskResult::Done
        }
        .boxed()
    });
    let options = Options { settle: Duration::from_millis(20), ..Options::default() };
    let report = run(&graph, &pool(1, 1), &options, &cancel, Arc::new(recorder)).await.unwrap();
    assert_eq!(report.outcomes[0], Outcome::Aborted);
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn cancelled_before_it_began() {
    let graph = graph(&[1; 3], &[(0, 1)]);
    let cancel = Cancel::new();
    cancel.cancel();
    let recorder = Arc::new(Recorder::new(&graph));
    let report = run(&graph, &pool(1, 1), &Options::default(), &cancel, recorder.clone()).await.unwrap();
    assert_eq!(recorder.log(), "n0 n1 n2");
    assert_eq!(report.stop, Some(Stop::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn small_tasks_overtake_a_large_one_but_not_for_ever() {
    // Two CPUs; 0 keeps one of them for long, 1 wants both and comes next, a hundred small ones could use the
    // other for ever.
    let mut graph = graph(&[1000, 500], &[]);
    graph[node(1)].demand.cpus = Cpus::whole(2);
    graph[node(1)].expected = Duration::from_secs(900);
    for _ in 0..100 {
        graph.add_node(Task { expected: Duration::from_secs(100), demand: Demand::ONE_CPU });
    }
    let recorder = Arc::new(Recorder::new(&graph));
    let pool = pool(2, 10);
    run(&graph, &pool, &Options::default(), &Cancel::new(), recorder.clone()).await.unwrap();
    let log = recorder.log();
    let before = log.split(" +1 ").next().unwrap().matches('+').count();
    assert!((2..=OVERTAKINGS + 1).contains(&before), "{before} started before the large one: {log}");
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_wakes_the_run() {
    let pool = pool(1, 1);
    let elsewhere = pool.try_acquire(Demand::ONE_CPU).unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(7)).await;
        drop(elsewhere);
    });
    let graph = graph(&[1], &[]);
    let start = Instant::now();
    run(&graph, &pool, &Options::default(), &Cancel::new(), Arc::new(Recorder::new(&graph))).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_drops_its_tasks() {
    let graph = graph(&[1000; 4], &[]);
    let pool = pool(4, 4);
    let recorder = Arc::new(Recorder::new(&graph));
    let (options, cancel) = (Options::default(), Cancel::new());
    let running = run(&graph, &pool, &options, &cancel, recorder);
    assert!(tokio::time::timeout(Duration::from_secs(1), running).await.is_err());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(pool.usage(), Usage::default());
}

#[tokio::test(start_paused = true)]
async fn a_closure_is_an_executor() {
    let graph = graph(&[1, 1], &[(0, 1)]);
    let closure = |node: NodeIndex| {
        async move { if node.index() == 1 { TaskResult::Failed(5) } else { TaskResult::Done } }.boxed()
    };
    let report =
        run(&graph, &pool(1, 1), &Options::default(), &Cancel::new(), Arc::new(closure)).await.unwrap();
    assert_eq!(report.outcomes, [Outcome::Done, Outcome::Failed(Failure::Task(5))]);
}

#[derive(Clone, Debug)]
struct Plan {
    tasks: Vec<(u64, u64, u64)>,
    edges: Vec<(usize, usize)>,
    /// By task: 0 fails, 1 panics, 2 is not needed, anything else is done.
    fates: Vec<u8>,
    cpus: u32,
    memory: u64,
    jobs: usize,
    keep_going: bool,
}

fn plans() -> impl Strategy<Value = Plan> {
    (1_usize..40).prop_flat_map(|count| {
        (
            prop::collection::vec((0_u64..50, 0_u64..5000, 0_u64..150), count),
            prop::collection::vec((0..count, 0..count), 0..count * 2),
            prop::collection::vec(0_u8..40, count),
            (1_u32..5, 1_u64..120, 1_usize..8, any::<bool>()),
            Just((0..count).collect::<Vec<_>>()).prop_shuffle(),
        )
            .prop_map(|(tasks, edges, fates, (cpus, memory, jobs, keep_going), names)| {
                // Along a random order of the nodes, so that an edge may lead to a lower index too.
                let edges = edges
                    .into_iter()
                    .filter(|(a, b)| a != b)
                    .map(|(a, b)| (names[a.min(b)], names[a.max(b)]))
                    .collect();
                Plan { tasks, edges, fates, cpus, memory, jobs, keep_going }
            })
    })
}

/// Checks at each start and end what must hold, and fails the property by what it writes down.
struct Checker {
    plan: Plan,
    pool: Pool,
    /// By task: 0 not started, 1 running, 2 ended well, 3 ended badly.
    state: Mutex<Vec<u8>>,
    wrong: Mutex<Vec<String>>,
}

struct Checked(Arc<Checker>);

impl Executor for Checked {
    type Error = ();

    fn execute(&self, node: NodeIndex) -> BoxFuture<'static, TaskResult<()>> {
        let checker = self.0.clone();
        async move {
            let index = node.index();
            checker.at_start(index);
            tokio::time::sleep(Duration::from_millis(checker.plan.tasks[index].0)).await;
            let fate = checker.plan.fates[index];
            checker.state.lock().unwrap()[index] = if fate < 2 { 3 } else { 2 };
            match fate {
                0 => TaskResult::Failed(()),
                1 => std::panic::resume_unwind(Box::new("quietly")),
                _ => TaskResult::Done,
            }
        }
        .boxed()
    }

    fn needed(&self, node: NodeIndex) -> bool {
        let needed = self.0.plan.fates[node.index()] != 2;
        if !needed {
            self.0.state.lock().unwrap()[node.index()] = 2;
        }
        needed
    }
}

impl Checker {
    fn at_start(&self, index: usize) {
        let mut wrong = self.wrong.lock().unwrap();
        let mut state = self.state.lock().unwrap();
        if state[index] != 0 {
            wrong.push(format!("{index} started twice"));
        }
        for &(before, _) in self.plan.edges.iter().filter(|(_, after)| *after == index) {
            if state[before] != 2 {
                wrong.push(format!("{index} started before its prerequisite {before}"));
            }
        }
        state[index] = 1;
        let running: Vec<_> =
            (0..state.len()).filter(|&i| state[i] == 1).map(|i| self.plan.tasks[i]).collect();
        let (cpus, memory) = running.iter().fold((0, 0), |(c, m), t| (c + t.1, m + t.2));
        let beyond = cpus > u64::from(self.plan.cpus) * 1000 || memory > self.plan.memory;
        if running.len() > self.plan.jobs || (beyond && running.len() > 1) {
            wrong.push(format!("limits exceeded by {running:?}"));
        }
        if self.pool.usage().jobs < running.len() {
            wrong.push("a task runs without a permit".into());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_random_graph_is_run_by_the_rules(plan in plans()) {
        let mut graph = TaskGraph::new();
        for &(millis, milli_cpus, memory_bytes) in &plan.tasks {
            let demand = Demand { cpus: Cpus::from_milli(milli_cpus), memory_bytes };
            graph.add_node(Task { expected: Duration::from_millis(millis), demand });
        }
        for &(a, b) in &plan.edges {
            graph.add_edge(node(a), node(b), ());
        }
        let pool = pool_with_memory(plan.cpus, plan.memory, plan.jobs);
        let checker = Arc::new(Checker {
            plan: plan.clone(),
            pool: pool.clone(),
            state: Mutex::new(vec![0; plan.tasks.len()]),
            wrong: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let report = runtime.block_on(async {
            let options = Options { keep_going: plan.keep_going, ..Options::default() };
            run(&graph, &pool, &options, &Cancel::new(), Arc::new(Checked(checker.clone())))
                .await
                .unwrap()
        });
        prop_assert_eq!(&*checker.wrong.lock().unwrap(), &Vec::<String>::new());
        prop_assert_eq!(pool.usage(), Usage::default());
        let state = checker.state.lock().unwrap();
        for (index, outcome) in report.outcomes.iter().enumerate() {
            let ok_before = plan.edges.iter().filter(|(_, b)| *b == index).all(|(a, _)| report.outcomes[*a].is_success());
            match outcome {
                Outcome::Done => prop_assert!(state[index] == 2 && plan.fates[index] > 2),
                Outcome::NotNeeded => prop_assert_eq!(plan.fates[index], 2),
                Outcome::Failed(Failure::Task(())) => prop_assert_eq!(plan.fates[index], 0),
                Outcome::Failed(Failure::Panicked { .. }) => prop_assert_eq!(plan.fates[index], 1),
                Outcome::Skipped { root } => {
                    prop_assert!(state[index] == 0 && !ok_before);
                    prop_assert!(matches!(report.outcomes[root.index()], Outcome::Failed(_)));
                    prop_assert!(petgraph::algo::has_path_connecting(&graph, *root, node(index), None));
                }
                Outcome::NotStarted(stop) => {
                    prop_assert!(state[index] == 0 && !plan.keep_going);
                    prop_assert_eq!(Some(*stop), report.stop);
                }
                other => prop_assert!(false, "nothing cancels here, but {} is {:?}", index, other),
            }
            // With `keep_going`, whatever could run did.
            prop_assert!(!plan.keep_going || !ok_before || state[index] != 0);
        }
        if plan.fates.iter().all(|&f| f > 1) {
            prop_assert!(report.is_success() && report.stop.is_none());
        }
    }
}

#[derive(Clone, Copy)]
struct Nothing;

impl Executor for Nothing {
    type Error = ();

    fn execute(&self, _: NodeIndex) -> BoxFuture<'static, TaskResult<()>> {
        async { TaskResult::Done }.boxed()
    }
}

/// A hundred thousand tasks that do nothing, in a graph with long chains, wide layers and shared
/// prerequisites. The figure is for reading (`--nocapture`, in a release build); the bound only catches what
/// grows faster than the graph.
#[test]
fn a_hundred_thousand_tasks_are_cheap() {
    const COUNT: u32 = 100_000;
    let mut graph = TaskGraph::with_capacity(COUNT as usize, 2 * COUNT as usize);
    for i in 0..COUNT {
        let expected = Duration::from_millis(u64::from(i.wrapping_mul(2_654_435_761) >> 20));
        graph.add_node(Task { expected, demand: Demand::ONE_CPU });
        if i >= 100 {
            graph.add_edge(NodeIndex::new(i as usize - 100), NodeIndex::new(i as usize), ());
            graph.add_edge(NodeIndex::new(i as usize / 2), NodeIndex::new(i as usize), ());
        }
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    for pool in [pool(2, 8), pool(1000, 1000)] {
        let start = std::time::Instant::now();
        let nothing = Nothing;
        let report = runtime
            .block_on(run(&graph, &pool, &Options::default(), &Cancel::new(), Arc::new(nothing)))
            .unwrap();
        let elapsed = start.elapsed();
        eprintln!("{COUNT} tasks on {} CPUs: {elapsed:.0?}", pool.limits().cpus);
        assert!(report.is_success());
    }
}
