//! The promise of caching: whatever is edited between builds, and whatever impure steps say, a build that
//! reuses gives what a build from nothing gives; and it runs no more than it must.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use imgbuild_model::{ActionRef, LayerRef, Value};
use imgbuild_plan::testing::{Declared, dict, file, made};
use imgbuild_plan::{ActionGraph, PlanOptions, Reason, Status};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{World, commands};

/// A step of a chain.
#[derive(Clone, Debug)]
enum Step {
    /// Bytes of its own, whatever is below; the second number is a comment, so two scripts may make one delta.
    Emit(u8, u8),
    /// Bytes that follow from the parent.
    Mix,
    /// Bytes that follow from the outside world; never kept.
    Ask,
    /// Changes nothing.
    Quiet(u8),
    /// As `Emit`, but never kept.
    Again(u8),
    /// A file of the workspace.
    File(u8),
    /// What variables, user and base configuration say.
    Variables,
    /// Moves the state.
    Env(u8),
    /// A folder.
    Mkdir(u8),
    /// Out of an earlier image.
    Copy(Index),
    /// What an earlier command made.
    Made(Index),
}

/// An image: where it starts, its steps.
#[derive(Clone, Debug)]
struct Image {
    /// On an earlier image, or else on a source whose configuration is this.
    base: Result<Index, u8>,
    steps: Vec<Step>,
    export: u8,
}

/// A workspace.
#[derive(Clone, Debug)]
struct Workspace {
    images: Vec<Image>,
    /// What files hold, by number.
    files: [u8; 3],
    /// What commands write, by number; odd ones ask the outside world and are never kept.
    rules: [u8; 2],
    outside: u64,
}

#[derive(Clone, Debug)]
enum Edit {
    Replace(Index, Index, Step),
    Insert(Index, Index, Step),
    Remove(Index, Index),
    Swap(Index, Index),
    Base(Index, Result<Index, u8>),
    Export(Index, u8),
    File(Index, u8),
    Rule(Index, u8),
    Outside(u64),
    Nothing,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, 0..3_u8).prop_map(|(bytes, comment)| Step::Emit(bytes, comment)),
        3 => Just(Step::Mix),
        2 => Just(Step::Ask),
        2 => (0..3_u8).prop_map(Step::Quiet),
        1 => (0..3_u8).prop_map(Step::Again),
        2 => (0..3_u8).prop_map(Step::File),
        2 => Just(Step::Variables),
        2 => (0..3_u8).prop_map(Step::Env),
        1 => (0..3_u8).prop_map(Step::Mkdir),
        2 => any::<Index>().prop_map(Step::Copy),
        2 => any::<Index>().prop_map(Step::Made),
    ]
}

fn base() -> impl Strategy<Value = Result<Index, u8>> {
    prop_oneof![any::<Index>().prop_map(Ok), (0..3_u8).prop_map(Err)]
}

fn image() -> impl Strategy<Value = Image> {
    (base(), prop::collection::vec(step(), 0..6), 0..3_u8).prop_map(|(base, steps, export)| Image {
        base,
        steps,
        export,
    })
}

fn workspace() -> impl Strategy<Value = Workspace> {
    (prop::collection::vec(image(), 1..4), any::<[u8; 3]>(), [0..4_u8, 0..4_u8])
        .prop_map(|(images, files, rules)| Workspace { images, files, rules, outside: 0 })
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), index(), step()).prop_map(|(image, at, step)| Edit::Replace(image, at, step)),
        3 => (index(), index(), step()).prop_map(|(image, at, step)| Edit::Insert(image, at, step)),
        3 => (index(), index()).prop_map(|(image, at)| Edit::Remove(image, at)),
        2 => (index(), index()).prop_map(|(image, at)| Edit::Swap(image, at)),
        2 => (index(), base()).prop_map(|(image, base)| Edit::Base(image, base)),
        1 => (index(), 0..3_u8).prop_map(|(image, export)| Edit::Export(image, export)),
        2 => (index(), 0..3_u8).prop_map(|(file, contents)| Edit::File(file, contents)),
        2 => (index(), 0..4_u8).prop_map(|(rule, contents)| Edit::Rule(rule, contents)),
        2 => (0..3_u64).prop_map(Edit::Outside),
        1 => Just(Edit::Nothing),
    ]
}

fn apply(workspace: &mut Workspace, edit: &Edit) {
    let count = workspace.images.len();
    match edit {
        Edit::Replace(image, at, step) => {
            let steps = &mut workspace.images[image.index(count)].steps;
            if !steps.is_empty() {
                let at = at.index(steps.len());
                steps[at] = step.clone();
            }
        }
        Edit::Insert(image, at, step) => {
            let steps = &mut workspace.images[image.index(count)].steps;
            let at = at.index(steps.len() + 1);
            steps.insert(at, step.clone());
        }
        Edit::Remove(image, at) => {
            let steps = &mut workspace.images[image.index(count)].steps;
            if !steps.is_empty() {
                steps.remove(at.index(steps.len()));
            }
        }
        Edit::Swap(image, at) => {
            let steps = &mut workspace.images[image.index(count)].steps;
            if steps.len() > 1 {
                let at = at.index(steps.len() - 1);
                steps.swap(at, at + 1);
            }
        }
        Edit::Base(image, base) => workspace.images[image.index(count)].base = *base,
        Edit::Export(image, export) => workspace.images[image.index(count)].export = *export,
        Edit::File(file, contents) => workspace.files[file.index(3)] = *contents,
        Edit::Rule(rule, contents) => workspace.rules[rule.index(2)] = *contents,
        Edit::Outside(says) => workspace.outside = *says,
        Edit::Nothing => {}
    }
}

/// Puts the workspace's files where they belong, and declares its actions.
fn declare(world: &World, workspace: &Workspace) -> (ActionGraph, Vec<usize>) {
    world.outside.store(workspace.outside, Ordering::SeqCst);
    for (number, contents) in workspace.files.iter().enumerate() {
        world.write(&format!("file{number}"), &contents.to_string());
    }
    let mut declared = Declared::default();
    declared.at("//:rules");
    let rules: Vec<Arc<ActionRef>> = workspace
        .rules
        .iter()
        .map(|rule| {
            let command = Value::string(if rule % 2 == 1 { "ask" } else { "emit rule" });
            let command = if *rule == 2 { Value::string("emit other") } else { command };
            declared.output(
                None,
                "genrule",
                &[("cmd", command), ("cache", Value::Bool(rule % 2 == 0))],
                &["out"],
            )
        })
        .collect();
    let mut layers: Vec<LayerRef> = Vec::new();
    let mut wanted: Vec<Arc<ActionRef>> = Vec::new();
    for (number, image) in workspace.images.iter().enumerate() {
        declared.at(&format!("//:image{number}"));
        let mut layer = match image.base {
            Ok(earlier) if !layers.is_empty() => layers[earlier.index(layers.len())].clone(),
            Ok(_) => declared.source("scratch", &[]),
            Err(config) => {
                declared.source("oci_base", &[("ref", Value::string(&format!("config{}", config % 3)))])
            }
        };
        for step in &image.steps {
            layer = declare_step(&mut declared, &layer, step, &layers, &rules);
        }
        let kind = ["oci", "docker_archive", "tarball"][usize::from(image.export % 3)];
        wanted.push(declared.output(Some(&layer), kind, &[("ref", Value::string("same"))], &["image"]));
        layers.push(layer);
    }
    declared.graph(&wanted.iter().collect::<Vec<_>>())
}

fn declare_step(
    declared: &mut Declared,
    layer: &LayerRef,
    step: &Step,
    earlier: &[LayerRef],
    rules: &[Arc<ActionRef>],
) -> LayerRef {
    let shell = |declared: &mut Declared, texts: &[&str]| declared.step(layer, "shell", &[commands(texts)]);
    match step {
        Step::Emit(bytes, comment) => shell(declared, &[&format!("emit {bytes}"), &format!("# {comment}")]),
        Step::Mix => shell(declared, &["mix"]),
        Step::Quiet(comment) => shell(declared, &[&format!("# {comment}")]),
        Step::Ask => declared.step(layer, "shell", &[commands(&["ask"]), ("cache", Value::Bool(false))]),
        Step::Again(bytes) => declared.step(
            layer,
            "shell",
            &[commands(&[&format!("emit {bytes}")]), ("cache", Value::Bool(false))],
        ),
        Step::File(number) => {
            let src = Value::list([file(&format!("file{number}"))]);
            declared.step(layer, "file", &[("src", src), ("dest", Value::string("/x"))])
        }
        Step::Variables => shell(declared, &["variables"]),
        Step::Env(number) => {
            let name = format!("NAME{}", number % 2);
            declared.step(layer, "env", &[("variables", dict(&[(name.as_str(), &number.to_string())]))])
        }
        Step::Mkdir(number) => {
            declared.step(layer, "mkdir", &[("path", Value::string(&format!("/{number}")))])
        }
        Step::Copy(index) if !earlier.is_empty() => {
            let image = Value::Layer(earlier[index.index(earlier.len())].clone());
            let given = [("image", image), ("src", Value::string("/a")), ("dest", Value::string("/b"))];
            declared.step(layer, "copy_from", &given)
        }
        Step::Copy(_) => shell(declared, &["mix"]),
        Step::Made(index) => {
            let srcs = Value::list([made(&rules[index.index(rules.len())], "out")]);
            declared.step(layer, "shell", &[commands(&["read"]), ("srcs", srcs)])
        }
    }
}

/// Builds with the cache that there is and from nothing, and compares. Returns how many actions ran.
fn check(world: &World, workspace: &Workspace) -> Result<usize, TestCaseError> {
    let clean = world.with_empty_cache();
    let expected = clean.build(declare(&clean, workspace)).results();
    world.take_ran();
    let built = world.build(declare(world, workspace));
    prop_assert_eq!(built.results(), expected, "it is what a build from nothing gives");
    let ran = world.take_ran().len();
    prop_assert_eq!(ran, built.report.built, "what ran is counted");
    prop_assert!(ran <= clean.take_ran().len(), "it runs no more than a build from nothing");

    // Once more, nothing changed: only what is never kept runs, and what looks again is what it looked at.
    let (graph, wanted) = declare(world, workspace);
    let impure = graph.nodes.iter().filter(|node| node.impure().is_some()).count();
    let again = world.build((graph, wanted));
    prop_assert_eq!(again.results(), built.results());
    prop_assert!(world.take_ran().len() <= impure, "only what is never kept runs again");
    Ok(ran)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_build_that_reuses_gives_what_one_from_nothing_gives(
        mut workspace in workspace(),
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        let world = World::new();
        let mut past = vec![workspace.clone()];
        check(&world, &workspace)?;
        for edit in &edits {
            apply(&mut workspace, edit);
            check(&world, &workspace)?;
            past.push(workspace.clone());
        }
        // Back to where it was: all that was kept is still there.
        let first = &past[0];
        let (graph, wanted) = declare(&world, first);
        let impure = graph.nodes.iter().filter(|node| node.impure().is_some()).count();
        world.build((graph, wanted));
        prop_assert!(world.take_ran().len() <= impure, "what was built once is not built again");
        world.verify();
        prop_assert_eq!(world.left_behind(), 0, "runs leave nothing in the temporary folder");
    }
}

fn chain(first: &str, cache: bool) -> (ActionGraph, Vec<usize>) {
    let mut declared = Declared::default();
    let mut layer = declared.source("scratch", &[]);
    layer = declared.step(&layer, "shell", &[commands(&[first]), ("cache", Value::Bool(cache))]);
    layer = declared.step(&layer, "shell", &[commands(&["mix"])]);
    layer = declared.step(&layer, "mkdir", &[("path", Value::string("/a"))]);
    let export = declared.output(Some(&layer), "tarball", &[], &["x"]);
    declared.graph(&[&export])
}

#[test]
fn a_step_that_ran_again_and_made_the_same_stops_the_rebuild() {
    let world = World::new();
    let first = world.build(chain("emit x", true));
    assert_eq!((first.report.built, first.report.hits), (5, 0));
    world.take_ran();
    // Another script, equal bytes: the one step runs, and what is above is found by what it made.
    let second = world.build(chain("emit x ", true));
    assert_ne!(second.results(), first.results(), "it is another text");
    world.take_ran();
    let mut declared = Declared::default();
    let mut layer = declared.source("scratch", &[]);
    layer = declared.step(&layer, "shell", &[commands(&["emit x", "# said otherwise"])]);
    layer = declared.step(&layer, "shell", &[commands(&["mix"])]);
    layer = declared.step(&layer, "mkdir", &[("path", Value::string("/a"))]);
    let export = declared.output(Some(&layer), "tarball", &[], &["x"]);
    let third = world.build(declared.graph(&[&export]));
    assert_eq!(third.results(), first.results());
    assert_eq!(world.take_ran(), ["shell emit x; # said otherwise"]);
    assert_eq!((third.report.built, third.report.hits), (1, 4));
    // Both keys name the result now, so the next plan needs nothing of what is below.
    let (graph, wanted) = declared.graph(&[&export]);
    let plan = world.plan(&graph, &wanted, &PlanOptions::default());
    assert!(matches!(plan.actions[4].status, Status::Hit { by_content: false }));
    assert!(plan.actions[..4].iter().all(|action| action.status == Status::NotNeeded));
}

#[test]
fn what_stands_on_a_step_that_is_never_kept_is_found_only_after_it_has_run() {
    let world = World::new();
    let first = world.build(chain("ask", false));
    assert_eq!(world.take_ran().len(), 5);
    let again = world.build(chain("ask", false));
    assert!(matches!(again.plan.actions[1].status, Status::Run(Reason::Impure { .. })));
    assert!(matches!(again.plan.actions[2].status, Status::Run(Reason::Below { .. })));
    assert_eq!(world.take_ran(), ["shell ask"]);
    assert_eq!((again.report.built, again.report.hits), (1, 4));
    assert_eq!(again.results(), first.results());
    world.outside.store(1, Ordering::SeqCst);
    let moved = world.build(chain("ask", false));
    assert_eq!(moved.report.built, 4, "all but the source");
    assert_ne!(moved.results(), first.results());
    world.take_ran();
    world.outside.store(0, Ordering::SeqCst);
    assert_eq!(world.build(chain("ask", false)).results(), first.results());
    assert_eq!(world.take_ran(), ["shell ask"], "what the world once said is known");
}

#[test]
fn a_base_whose_configuration_alone_moved_reaches_all_that_inherits_it() {
    let graph = |config: &str| {
        let mut declared = Declared::default();
        let mut layer = declared.source("oci_base", &[("ref", Value::string(config))]);
        layer = declared.step(&layer, "mkdir", &[("path", Value::string("/a"))]);
        layer = declared.step(&layer, "shell", &[commands(&["variables"])]);
        let export = declared.output(Some(&layer), "oci", &[], &["x"]);
        declared.graph(&[&export])
    };
    let world = World::new();
    world.build(graph("one"));
    let two = world.build(graph("two")).results();
    assert_eq!(two, world.with_empty_cache().build(graph("two")).results());
    assert!(two[0].3.contains("two") && !two[0].3.contains("one"), "{}", two[0].3);
}
