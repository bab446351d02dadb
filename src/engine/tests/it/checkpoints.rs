//! Behind which steps machines are kept, and that nothing of a build depends on it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use imgbuild_digest::Hash;
use imgbuild_model::Value;
use imgbuild_plan::testing::{Declared, Given};
use imgbuild_plan::{ActionGraph, PlanOptions, Reason, Status};

use crate::world::{Built, World, commands};

/// More than any step of a test takes.
const DEAR: Duration = Duration::from_secs(3600);

/// A chain of steps in a machine, each with what it says and what else it is given.
fn chain(steps: &[(&str, Given<'_>)]) -> (ActionGraph, Vec<usize>) {
    let mut declared = Declared::default();
    let source = declared.source("qemu", &[]);
    let last = steps.iter().fold(source, |below, (said, more)| {
        let said = format!("emit {said};");
        let given: Vec<_> = more.iter().cloned().chain([commands(&[&said])]).collect();
        declared.step(&below, "shell", &given)
    });
    declared.graph(&[&last.action])
}

/// The same without anything else.
fn plain(steps: &[&str]) -> (ActionGraph, Vec<usize>) {
    chain(&steps.iter().map(|said| (*said, &[][..])).collect::<Vec<_>>())
}

/// Says what it has cost so far to keep a machine of the chain.
fn remember_price(world: &World, price: Duration) {
    for _ in 0..20 {
        world.cache.record_duration(&Hash::of(b"checkpoint //:image linux/amd64"), price).unwrap();
    }
}

/// What the machine had written when its chain was at its end.
fn text(world: &World, built: &Built) -> String {
    assert!(built.report.failures.is_empty(), "{:?}", built.report.failures);
    let layers = &built.report.results[&built.wanted[0]].layers;
    layers[1..]
        .iter()
        .map(|delta| fs_err::read_to_string(world.cache.layer_tree(delta).join("file")).unwrap())
        .collect()
}

/// The steps behind which there is a machine, the source being 0.
fn kept(built: &Built) -> Vec<usize> {
    let mut places: Vec<_> = built.report.results.keys().copied().collect();
    places.sort_unstable();
    places
}

fn started(world: &World) -> usize {
    world.machines.started.swap(0, Ordering::SeqCst)
}

#[test]
fn without_history_each_machine_is_kept_and_with_it_those_that_are_worth_it() {
    let world = World::new();
    let built = world.build(plain(&["a", "b", "c"]));
    assert_eq!((kept(&built), text(&world, &built).as_str()), (vec![0, 1, 2, 3], "a;b;c;"));

    remember_price(&world, DEAR);
    started(&world);
    let built = world.build(plain(&["A", "b", "c"]));
    assert_eq!((kept(&built), text(&world, &built).as_str()), (vec![0, 3], "A;b;c;"));
    assert_eq!(started(&world), 1, "one machine goes through all three");
    assert_eq!(built.report.built, 3);
    assert_eq!(world.build(plain(&["A", "b", "c"])).report.built, 0, "what was asked for is there");

    world.take_ran();
    let (graph, wanted) = plain(&["A", "b", "C"]);
    let plan = world.plan(&graph, &wanted, &PlanOptions::default());
    assert!(
        matches!(&plan.actions[2].status, Status::Run(Reason::NotKept { why }) if why.contains("keeping it 3600.0 s"))
    );
    assert_eq!(plan.resumes(&graph), [0].into());
    let built = world.build((graph, wanted));
    assert_eq!(text(&world, &built), "A;b;C;");
    assert_eq!(world.take_ran(), ["shell emit A;", "shell emit b;", "shell emit C;"]);

    remember_price(&world, Duration::ZERO);
    let built = world.build(plain(&["one", "two", "three"]));
    assert_eq!(kept(&built), [0, 1, 2, 3], "what costs nothing is always worth it");
    world.verify();
}

#[test]
fn a_step_says_itself_whether_its_machine_is_kept() {
    let world = World::new();
    let word = |word: &str| [("checkpoint", Value::string(word))];
    let (never, always) = (word("never"), word("always"));
    let steps = |last: &'static str| chain(&[("a", &never), ("b", &always), ("c", &never), (last, &never)]);
    let built = world.build(steps("d"));
    assert_eq!((kept(&built), text(&world, &built).as_str()), (vec![0, 2, 4], "a;b;c;d;"));
    remember_price(&world, DEAR);
    world.take_ran();
    let built = world.build(steps("e"));
    assert_eq!(text(&world, &built), "a;b;c;e;");
    assert_eq!(
        world.take_ran(),
        ["shell emit c;", "shell emit e;"],
        "it goes on from the last that was kept"
    );
    let plan = world.plan(&steps("f").0, &[4], &PlanOptions::default());
    assert!(matches!(&plan.actions[3].status, Status::Run(Reason::NotKept { why }) if why.contains("never")));
}

#[test]
fn what_is_joined_is_done_again_together() {
    let world = World::new();
    let fuse: Given<'_> = &[("fuse", Value::Bool(true))];
    let steps = |last: &'static str| chain(&[("a", &[]), ("b", fuse), ("c", fuse), (last, &[])]);
    let built = world.build(steps("d"));
    assert_eq!((kept(&built), text(&world, &built).as_str()), (vec![0, 1, 4], "a;b;c;d;"));
    assert_eq!(world.build(steps("d")).report.built, 0);
    world.take_ran();
    started(&world);
    let built = world.build(steps("e"));
    assert_eq!(text(&world, &built), "a;b;c;e;");
    assert_eq!(world.take_ran(), ["shell emit b;", "shell emit c;", "shell emit e;"]);
    assert_eq!(started(&world), 1);

    let unjoined = chain(&[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[])]);
    assert_eq!(world.build(unjoined).report.built, 3, "a step that was joined was another");
}

#[test]
fn a_machine_that_something_may_come_back_to_is_kept() {
    let world = World::new();
    let retries: Given<'_> = &[("max_retries", Value::Int(2))];
    let goes_on: Given<'_> = &[("continue_on_error", Value::Bool(true))];
    let steps = |first: &'static str| chain(&[(first, &[]), ("b", retries), ("c", &[]), ("d", goes_on)]);
    world.build(steps("a"));
    remember_price(&world, DEAR);
    assert_eq!(kept(&world.build(steps("A"))), [0, 1, 3, 4], "only the one before `c` is not");

    // Two images on one prefix, one of which ends in the middle of the other.
    let forked = || {
        let mut declared = Declared::default();
        let source = declared.source("qemu", &[]);
        let one = declared.step(&source, "shell", &[commands(&["emit one;"])]);
        let two = declared.step(&one, "shell", &[commands(&["emit two;"])]);
        let three = declared.step(&two, "shell", &[commands(&["emit three;"])]);
        declared.graph(&[&two.action, &three.action])
    };
    let world = World::new();
    world.build(plain(&["x", "y", "z"]));
    remember_price(&world, DEAR);
    assert_eq!(kept(&world.build(forked())), [0, 2, 3]);
}

#[test]
fn a_failure_behind_a_machine_that_was_not_kept_leaves_nothing_wrong() {
    let world = World::new();
    world.build(plain(&["a", "b", "c"]));
    remember_price(&world, DEAR);
    let failing = || {
        let mut declared = Declared::default();
        let source = declared.source("qemu", &[]);
        let first = declared.step(&source, "shell", &[commands(&["emit A;"])]);
        let second = declared.step(&first, "shell", &[commands(&["fail"])]);
        let third = declared.step(&second, "shell", &[commands(&["emit c;"])]);
        declared.graph(&[&third.action])
    };
    let built = world.build(failing());
    assert_eq!((built.failed().len(), kept(&built)), (1, vec![0]));
    let built = world.build(plain(&["A", "b", "c"]));
    assert_eq!(text(&world, &built), "A;b;c;");
    world.verify();
}

#[test]
fn behind_a_command_on_the_host_machines_are_kept_and_where_to_go_on_is_said() {
    let world = World::new();
    let on_host = |command: &'static str, last: &'static str| {
        let mut declared = Declared::default();
        let source = declared.source("qemu", &[]);
        let first = declared.step(&source, "shell", &[commands(&["emit a;"])]);
        let host = declared.step(&first, "shell_local", &[commands(&[command])]);
        let second = declared.step(&host, "shell", &[commands(&["emit b;"])]);
        let third = declared.step(&second, "shell", &[commands(&[last])]);
        declared.graph(&[&third.action])
    };
    world.build(on_host("true", "emit c;"));
    remember_price(&world, DEAR);
    let built = world.build(on_host("false", "emit c;"));
    assert_eq!((kept(&built), text(&world, &built).as_str()), (vec![0, 1, 2, 3, 4], "a;b;c;"));
    assert_eq!(world.build(on_host("false", "emit c;")).report.built, 0, "what it made is found again");

    // Where it need not run, a step behind it goes on from the machine below it.
    world.build(on_host("false", "emit d;"));
    let (graph, wanted) = on_host("false", "emit e;");
    let plan = world.plan(&graph, &wanted, &PlanOptions::default());
    assert_eq!(plan.resumes(&graph), [3].into());
    let forced = PlanOptions { force_places: [3].into(), ..PlanOptions::default() };
    assert_eq!(world.plan(&graph, &wanted, &forced).resumes(&graph), [1].into());
    world.verify();
}
