//! How one run goes, and how it ends when something goes wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use imgbuild_engine::{ActionError, Cancel, Results, RunOptions};
use imgbuild_model::{ActionRef, Class, Event, Label, Outcome, Value};
use imgbuild_plan::testing::{Declared, file, label};
use imgbuild_plan::{ActionGraph, ChangeKind, Fingerprint, PlanOptions, Reason, Status, changes, slot};

use crate::world::{How, World, commands, counted};

/// Two chains on one base: the commands of the first, the second and of a step on the second.
fn forked(first: &[&str], second: &[&str], above: &[&str]) -> (ActionGraph, Vec<usize>) {
    let mut declared = Declared::default();
    let base = declared.at("//:base").source("scratch", &[]);
    let one = declared.at("//:one").step(&base, "shell", &[commands(first)]);
    let two = declared.at("//:two").step(&base, "shell", &[commands(second)]);
    let three = declared.at("//:three").step(&two, "shell", &[commands(above)]);
    declared.graph(&[&one.action, &three.action])
}

fn one(texts: &[&str]) -> (ActionGraph, Vec<usize>) {
    let mut declared = Declared::default();
    let source = declared.source("scratch", &[]);
    let step = declared.step(&source, "shell", &[commands(texts)]);
    declared.graph(&[&step.action])
}

fn how(options: RunOptions) -> How {
    How { options, ..How::default() }
}

fn forced(force: impl Into<BTreeSet<Label>>) -> How {
    How { force: force.into(), ..How::default() }
}

fn no_result(world: &World, graph: (ActionGraph, Vec<usize>)) -> bool {
    let plan = world.plan(&graph.0, &graph.1, &PlanOptions::default());
    graph.1.iter().all(|place| plan.actions[*place].result.is_none())
}

#[test]
fn a_failure_keeps_what_depends_on_it_from_running() {
    let world = World::new();
    let graph = || forked(&["sleep 20", "emit one"], &["fail"], &["mix"]);
    let built = world
        .build_with(graph(), &how(RunOptions { jobs: Some(1.try_into().unwrap()), ..RunOptions::default() }));
    assert_eq!(
        built.failed().iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
        ["`fail` ended with exit code 1"]
    );
    assert!(!built.report.results.contains_key(&3), "what stands on it has no result");
    assert!(built.report.skipped >= 1);
    world.take_ran();
    let built = world.build_with(graph(), &how(RunOptions { keep_going: true, ..RunOptions::default() }));
    assert_eq!((built.report.failures.len(), built.report.skipped), (1, 1));
    let one = built.wanted[0];
    assert!(built.report.results.contains_key(&one), "what does not depend on it is built");
    // What failed is not kept, what did not is.
    world.take_ran();
    world.build_with(graph(), &how(RunOptions { keep_going: true, ..RunOptions::default() }));
    assert_eq!(world.take_ran(), ["shell fail"]);
    world.verify();
    assert_eq!(world.left_behind(), 0);
}

#[test]
fn a_panic_is_a_failure_like_another_and_said_to_be_a_bug() {
    let world = World::new();
    let keep_going = RunOptions { keep_going: true, ..RunOptions::default() };
    let built = world.build_with(forked(&["emit x"], &["panic"], &["mix"]), &how(keep_going));
    assert_eq!(built.report.failures.len(), 1);
    assert_eq!(built.report.failures[0].error.class(), Class::Bug);
    assert_eq!(
        built.report.failures[0].error.to_string(),
        "this is a bug in imgbuild: the test asked for it"
    );
    assert_eq!((built.report.built, built.report.skipped), (2, 1));
    let failed = built
        .events
        .iter()
        .filter(|event| matches!(event, Event::ActionFinished { outcome: Outcome::Failed { .. }, .. }));
    assert_eq!(failed.count(), 1, "whoever watches is told");
    world.verify();
}

#[test]
fn a_cancelled_run_keeps_nothing_half_done() {
    let world = World::new();
    let graph = || forked(&["emit done"], &["stuck"], &["mix"]);
    let cancel = Cancel::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let built = runtime.block_on(async {
        let how = How { cancel: cancel.clone(), ..How::default() };
        let ran = world.ran.clone();
        let running = world.running.clone();
        let stop = tokio::spawn(async move {
            // Once the one that never ends is alone.
            while ran.lock().unwrap().len() < 2 || running.load(Ordering::SeqCst) != 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            cancel.cancel();
        });
        let built = world.start(graph(), &how).await.unwrap();
        stop.await.unwrap();
        built
    });
    assert!(built.report.cancelled);
    assert_eq!(built.failed(), [], "how a command ends that was told to is no failure of its own");
    assert_eq!((built.report.built, built.report.skipped), (2, 2));
    assert!(!built.report.results.contains_key(&built.wanted[1]));
    world.verify();
    assert_eq!(world.left_behind(), 0);
    world.take_ran();
    // The next one goes on where it stopped.
    let next = world.build(forked(&["emit done"], &["emit end"], &["mix"]));
    assert_eq!(next.report.built, 2);
}

#[test]
fn a_cancelled_run_does_not_wait_for_another_that_builds_the_same() {
    let world = World::new();
    let (graph, wanted) = one(&["emit x"]);
    let key = world.plan(&graph, &wanted, &PlanOptions::default()).actions[0].key.unwrap();
    let guard = world.cache.try_lock_key(&key).unwrap().unwrap();
    let cancel = Cancel::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let built = runtime.block_on(async {
        let how = How { cancel: cancel.clone(), ..How::default() };
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            cancel.cancel();
        });
        world.start((graph, wanted), &how).await.unwrap()
    });
    assert!(built.report.cancelled);
    assert!(built.events.iter().any(|event| matches!(event, Event::Waiting { .. })));
    assert_eq!(world.take_ran(), [""; 0]);
    drop(guard);
}

#[test]
fn an_input_that_changes_while_it_is_read_leaves_no_result() {
    let world = World::new();
    world.write("input", "before");
    let graph = || {
        let mut declared = Declared::default();
        let source = declared.source("scratch", &[]);
        let given = [commands(&["read", "touch input"]), ("srcs", Value::list([file("input")]))];
        let step = declared.step(&source, "shell", &given);
        declared.graph(&[&step.action])
    };
    let built = world.build(graph());
    let [(_, message)] = &built.failed()[..] else { panic!("{:?}", built.failed()) };
    assert_eq!(message, "`input` changed while it was used; hint: build again; the result was not kept");
    assert_eq!(built.report.failures[0].error.class(), Class::Environment);
    assert!(no_result(&world, graph()));
    world.write("input", "before");
    assert!(no_result(&world, graph()), "neither under the key that it had");
    // The step writes what is there already now, so nothing changes any more.
    world.write("input", "touched");
    assert_eq!(world.build(graph()).failed(), []);
    world.verify();
}

#[test]
fn an_input_that_goes_away_leaves_no_result() {
    let world = World::new();
    world.write("input", "before");
    let (graph, wanted) = {
        let mut declared = Declared::default();
        let source = declared.source("scratch", &[]);
        let given = [commands(&["read", "remove input"]), ("srcs", Value::list([file("input")]))];
        let step = declared.step(&source, "shell", &given);
        declared.graph(&[&step.action])
    };
    let built = world.build((graph, wanted));
    let [(_, message)] = &built.failed()[..] else { panic!("{:?}", built.failed()) };
    assert!(message.starts_with("an input changed while it was used: cannot read `input`"), "{message}");
}

#[test]
fn what_takes_longer_than_it_may_is_ended() {
    let world = World::new();
    let mut declared = Declared::default();
    let source = declared.source("scratch", &[]);
    let step = declared.step(&source, "shell", &[commands(&["sleep 60000"]), ("timeout", Value::Int(1))]);
    let built = world.build(declared.graph(&[&step.action]));
    assert!(matches!(built.report.failures[0].error, ActionError::TimedOut(limit) if limit.as_secs() == 1));
    assert_eq!(built.failed()[0].1, "it took longer than its `timeout` of 1 s");
    assert!(no_result(&world, declared.graph(&[&step.action])));
}

#[test]
fn a_forced_run_replaces_what_was_kept() {
    let world = World::new();
    let graph = || {
        let mut declared = Declared::default();
        let source = declared.at("//:base").source("scratch", &[]);
        // Says something else each time although it is kept: a bug of the user's that `--force` helps out of.
        let step = declared.at("//:image").step(&source, "shell", &[commands(&["ask"])]);
        declared.graph(&[&step.action])
    };
    let old = world.build(graph()).results();
    world.outside.store(7, Ordering::SeqCst);
    assert_eq!(world.build(graph()).results(), old, "it is not asked again");
    world.take_ran();
    let new = world.build_with(graph(), &forced([label("//:image")]));
    assert_eq!(world.take_ran(), ["shell ask"], "its base is not another target's to run");
    assert!(matches!(new.plan.actions[1].status, Status::Run(Reason::Forced)));
    assert_ne!(new.results(), old);
    assert_eq!(world.build(graph()).results(), new.results(), "from then on it is what is found");
    assert_eq!(world.take_ran(), [""; 0]);
}

#[test]
fn a_run_apart_leaves_everything_as_it_was() {
    let world = World::new();
    let graph = || one(&["ask"]);
    let old = world.build(graph()).results();
    world.take_ran();
    world.outside.store(7, Ordering::SeqCst);
    let apart = RunOptions { results: Results::ThrownAway, ..RunOptions::default() };
    let again = world.build_with(graph(), &How { options: apart, ..forced([label("//:image")]) });
    assert!(world.take_ran().contains(&"shell ask".to_owned()));
    assert_ne!(again.results(), old, "who asked is given what came out");
    assert_eq!(world.build(graph()).results(), old);
    assert_eq!(world.take_ran(), [""; 0]);
    world.verify();
}

#[test]
fn equal_actions_of_several_targets_run_once_even_if_forced() {
    let world = World::new();
    let graph = || {
        let mut declared = Declared::default();
        let mut wanted: Vec<Arc<ActionRef>> = Vec::new();
        for target in ["//:one", "//:two", "//:three"] {
            let source = declared.at(target).source("scratch", &[]);
            let step = declared.step(&source, "shell", &[commands(&["sleep 5", "emit x"])]);
            wanted.push(declared.step(&step, "shell", &[commands(&["mix"])]).action);
        }
        declared.graph(&wanted.iter().collect::<Vec<_>>())
    };
    let built = world.build(graph());
    assert_eq!((built.report.built, built.report.hits), (3, 6));
    assert!(counted(&world.take_ran()).values().all(|count| *count == 1));
    let forced = world.build_with(graph(), &forced(["//:one", "//:two", "//:three"].map(label)));
    assert_eq!((forced.report.built, forced.report.hits), (3, 6));
    assert!(counted(&world.take_ran()).values().all(|count| *count == 1));
}

#[test]
fn what_comes_to_the_same_by_content_runs_once() {
    let world = World::new();
    let mut declared = Declared::default();
    let mut wanted: Vec<Arc<ActionRef>> = Vec::new();
    for comment in ["# one", "# two", "# three"] {
        let source = declared.at(&format!("//:{}", &comment[2..])).source("scratch", &[]);
        let step = declared.step(&source, "shell", &[commands(&["emit x", comment])]);
        wanted.push(declared.step(&step, "shell", &[commands(&["sleep 10", "mix"])]).action);
    }
    world.build(declared.graph(&wanted.iter().collect::<Vec<_>>()));
    assert_eq!(counted(&world.take_ran())["shell sleep 10; mix"], 1);
}

#[test]
fn what_is_missing_of_a_result_is_made_again_and_no_more() {
    let world = World::new();
    let graph = || {
        let mut declared = Declared::default();
        let source = declared.source("scratch", &[]);
        let one = declared.step(&source, "shell", &[commands(&["emit one"])]);
        let two = declared.step(&one, "shell", &[commands(&["emit two"])]);
        declared.graph(&[&two.action])
    };
    let before = world.build(graph());
    world.take_ran();
    let layers = &before.report.results[&2].layers;
    fs_err::remove_dir_all(world.cache.layer_tree(&layers[2]).parent().unwrap()).unwrap();
    let after = world.build(graph());
    assert_eq!(world.take_ran(), ["shell emit two"]);
    assert_eq!(after.results(), before.results());
    // A layer in the middle: the step that makes it runs, and what is above is whole again.
    fs_err::remove_dir_all(world.cache.layer_tree(&layers[1]).parent().unwrap()).unwrap();
    let after = world.build(graph());
    assert_eq!(world.take_ran(), ["shell emit one"]);
    assert_eq!(after.results(), before.results());
    world.verify();
}

#[test]
fn the_history_of_a_place_says_what_moved_right_after_two_builds() {
    let world = World::new();
    let graph = |text: &str| {
        let mut declared = Declared::default();
        let source = declared.source("scratch", &[]);
        let one = declared.step(&source, "shell", &[commands(&[text])]);
        let two = declared.step(&one, "shell", &[commands(&["mix"])]);
        declared.graph(&[&two.action])
    };
    world.build(graph("emit one"));
    world.build(graph("emit two"));
    let (graph, _) = graph("emit two");
    let history = |place| {
        let records = world.cache.slot_history(&slot(&graph, place), 2).unwrap();
        let [new, old] = records.as_slice() else { panic!("{} records", records.len()) };
        let read = |bytes: &[u8]| serde_json::from_slice::<Fingerprint>(bytes).unwrap();
        changes(&read(&old.fingerprint), &read(&new.fingerprint))
    };
    let moved = history(1);
    assert_eq!(moved.len(), 1);
    assert_eq!(
        (moved[0].component.as_str(), moved[0].from.as_deref(), moved[0].to.as_deref(), moved[0].kind),
        ("attribute inline", Some("[\"emit one\"]"), Some("[\"emit two\"]"), ChangeKind::Changed)
    );
    let above: Vec<String> = history(2).into_iter().map(|change| change.component).collect();
    assert_eq!(above, ["parent"]);
    assert_eq!(world.cache.slot_history(&slot(&graph, 0), 2).unwrap().len(), 1, "nothing moved below");
}

#[test]
fn durations_are_remembered_for_the_next_plan() {
    let world = World::new();
    world.build(one(&["sleep 30", "emit x"]));
    let (graph, wanted) = one(&["sleep 30", "emit y"]);
    let plan = world.plan(&graph, &wanted, &PlanOptions::default());
    assert!(plan.actions[1].estimate.unwrap() >= Duration::from_millis(30));
    assert!(plan.estimate_seconds().unwrap() >= 0.03);
}
