//! What a plan says about each action, and why.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use imgbuild_cache::{ActionResult, Cache, OutputFile, Run};
use imgbuild_digest::Hash;
use imgbuild_model::{ActionRef, LayerRef, Value};
use imgbuild_plan::testing::{Declared, answer, context, digests, file, label, locked, made, texts};
use imgbuild_plan::{
    ActionGraph, Ancestry, Change, ChangeKind, Generation, InputDigests, KeyContext, LockFile, Moved,
    PinRequest, Plan, PlanOptions, Reason, Reference, Status, content_key, duration_key, fingerprint, plan,
    slot,
};

use crate::support::{folder, place_of};

/// A cache that is filled as a run would fill it, with results that are made up.
struct World {
    _folder: tempfile::TempDir,
    cache: Cache,
}

/// What an action is said to have made: a text, from its place.
type Makes<'a> = &'a dyn Fn(usize) -> String;

impl World {
    fn new() -> Self {
        let folder = folder();
        let cache = Cache::open(folder.path()).unwrap();
        Self { _folder: folder, cache }
    }

    fn plan(&self, context: KeyContext<'_>, wanted: &[usize]) -> Plan {
        plan(context, wanted, &self.cache, &PlanOptions::default()).unwrap()
    }

    fn result(&self, text: &str, fingerprint: Vec<u8>) -> ActionResult {
        let digest = self.cache.put_bytes(text.as_bytes()).unwrap().digest;
        ActionResult {
            output: Hash::of(text.as_bytes()),
            layers: Vec::new(),
            files: vec![OutputFile { path: "out".to_owned(), digest, executable: false }],
            metadata: Vec::new(),
            fingerprint,
            log: None,
            duration: Duration::from_secs(1),
            created: 0,
            builder: "rootfs/1".to_owned(),
        }
    }

    /// Carries out what a plan says, with made-up results. Returns what ran, in order.
    fn build(&self, context: KeyContext<'_>, wanted: &[usize], makes: Makes<'_>) -> Vec<usize> {
        self.build_at(0, context, wanted, makes)
    }

    fn build_at(&self, time: i64, context: KeyContext<'_>, wanted: &[usize], makes: Makes<'_>) -> Vec<usize> {
        let planned = self.plan(context, wanted);
        let mut outputs: Vec<Option<Hash>> =
            planned.actions.iter().map(|action| action.result.as_ref().map(|result| result.output)).collect();
        let ran: Vec<usize> = planned.running().collect();
        for place in &ran {
            let node = &context.graph.nodes[*place];
            let text = serde_json::to_vec(&fingerprint(context, *place, &|needed| match planned.actions
                [needed]
                .key
            {
                Some(key) => Reference::Static(key.0),
                None => Reference::Output(outputs[needed].unwrap()),
            }))
            .unwrap();
            let result = self.result(&makes(*place), text.clone());
            outputs[*place] = Some(result.output);
            if node.impure().is_some() {
                continue;
            }
            let content = content_key(context, *place, &|needed| outputs[needed].unwrap()).unwrap();
            let key = planned.actions[*place].key.unwrap_or(content);
            self.cache.put(&key, &result).unwrap();
            self.cache.alias(&content, &key).unwrap();
            self.cache.record_slot(&slot(context.graph, *place), &key, &text, time).unwrap();
            self.cache
                .record_duration(&duration_key(&slot(context.graph, *place)), Duration::from_secs(2))
                .unwrap();
        }
        ran
    }

    fn blob(&self, text: &str) -> PathBuf {
        self.cache.path(&imgbuild_digest::Digest::of(text.as_bytes())).unwrap()
    }
}

/// A chain of four actions and an export; the script of its shell step, and of the step after it.
fn chain(script: &str, after: &str) -> (ActionGraph, Vec<usize>) {
    let mut declared = Declared::default();
    let mut layer = declared.source("scratch", &[]);
    layer = declared.step(&layer, "mkdir", &[("path", Value::string("/a"))]);
    layer = declared.step(&layer, "shell", &[("inline", texts(&[script]))]);
    layer =
        declared.step(&layer, "symlink", &[("target", Value::string(after)), ("path", Value::string("/l"))]);
    let export = declared.output(Some(&layer), "tarball", &[], &["image.tar"]);
    declared.graph(&[&export])
}

fn by_place(place: usize) -> String {
    format!("made at {place}")
}

fn reason(plan: &Plan, place: usize) -> &Reason {
    match &plan.actions[place].status {
        Status::Run(reason) => reason,
        other => panic!("action {place} does not run: {other:?}"),
    }
}

fn statuses(plan: &Plan) -> Vec<&'static str> {
    plan.actions
        .iter()
        .map(|action| match &action.status {
            Status::Hit { by_content: false } => "hit",
            Status::Hit { by_content: true } => "hit by content",
            Status::NotNeeded => "not needed",
            Status::Run(Reason::NeverBuilt) => "never built",
            Status::Run(Reason::New) => "new",
            Status::Run(Reason::Changed { .. }) => "changed",
            Status::Run(Reason::Below { .. }) => "below",
            Status::Run(Reason::Impure { .. }) => "impure",
            Status::Run(Reason::Incomplete { .. }) => "incomplete",
            Status::Run(Reason::Forced) => "forced",
            Status::Run(Reason::Dropped) => "dropped",
            Status::Run(Reason::NotKept { .. }) => "not kept",
        })
        .collect()
}

#[test]
fn what_was_never_built_runs_and_what_was_built_does_not() {
    let world = World::new();
    let ((graph, wanted), lock, digests) = (chain("true", "x"), LockFile::default(), InputDigests::default());
    let context = context(&graph, &lock, &digests);
    let planned = world.plan(context, &wanted);
    assert_eq!(statuses(&planned), ["never built", "below", "below", "below", "below"]);
    assert_eq!(reason(&planned, 1), &Reason::Below { action: "scratch".to_owned() });
    assert_eq!((planned.running().count(), planned.hits(), planned.estimate_seconds()), (5, 0, None));
    assert_eq!(world.build(context, &wanted, &by_place), [0, 1, 2, 3, 4]);
    let planned = world.plan(context, &wanted);
    assert_eq!(statuses(&planned), ["not needed", "not needed", "not needed", "not needed", "hit"]);
    assert!(planned.actions[0].result.is_none(), "what nothing needs is not looked up");
    assert_eq!((planned.running().count(), planned.hits()), (0, 5));
    assert_eq!(world.build(context, &wanted, &by_place), [0; 0]);
}

#[test]
fn a_change_is_told_with_both_values_and_the_rest_is_below_it() {
    let world = World::new();
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let (before, wanted) = chain("echo one", "x");
    world.build(context(&before, &lock, &digests), &wanted, &by_place);
    let (after, wanted) = chain("echo two", "x");
    let planned = world.plan(context(&after, &lock, &digests), &wanted);
    assert_eq!(statuses(&planned), ["not needed", "hit", "changed", "below", "below"]);
    let change = Change {
        component: "attribute inline".to_owned(),
        from: Some("[\"echo one\"]".to_owned()),
        to: Some("[\"echo two\"]".to_owned()),
        kind: ChangeKind::Changed,
    };
    assert_eq!(reason(&planned, 2), &Reason::Changed { changes: vec![change] });
    assert_eq!(
        reason(&planned, 2).to_string(),
        "attribute inline changed from [\"echo one\"] to [\"echo two\"]"
    );
    assert_eq!(planned.estimate_seconds(), Some(6.0), "three actions of two seconds");
    // An attribute that was a default and is not any more is told with it.
    let (mut more, wanted) = chain("echo one", "x");
    more = {
        drop(more);
        let mut declared = Declared::default();
        let mut layer = declared.source("scratch", &[]);
        layer =
            declared.step(&layer, "mkdir", &[("path", Value::string("/a")), ("mode", Value::string("0700"))]);
        declared.graph(&[&layer.action]).0
    };
    let planned = world.plan(context(&more, &lock, &digests), &[wanted[0].min(1)]);
    assert_eq!(reason(&planned, 1).to_string(), "attribute mode changed from \"0755\" to \"0700\"");
}

#[test]
fn two_changes_are_each_told_where_they_are() {
    let world = World::new();
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let (before, wanted) = chain("echo one", "x");
    world.build(context(&before, &lock, &digests), &wanted, &by_place);
    let (after, wanted) = chain("echo two", "y");
    let planned = world.plan(context(&after, &lock, &digests), &wanted);
    assert_eq!(statuses(&planned), ["not needed", "hit", "changed", "changed", "below"]);
}

/// A chain of shell steps, one for each script.
fn scripts(scripts: &[&str]) -> (ActionGraph, Vec<usize>) {
    let mut declared = Declared::default();
    let mut layer = declared.source("scratch", &[]);
    for script in scripts {
        layer = declared.step(&layer, "shell", &[("inline", texts(&[script]))]);
    }
    declared.graph(&[&layer.action])
}

#[test]
fn a_step_that_is_put_in_is_new_and_those_after_it_are_what_they_were() {
    let world = World::new();
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let (before, wanted) = scripts(&["one", "two", "three"]);
    world.build(context(&before, &lock, &digests), &wanted, &by_place);
    let (after, wanted) = scripts(&["one", "between", "two", "three!"]);
    let planned = world.plan(context(&after, &lock, &digests), &wanted);
    assert_eq!(statuses(&planned), ["not needed", "hit", "new", "below", "changed"]);
    assert_eq!(reason(&planned, 4).to_string(), "attribute inline changed from [\"three\"] to [\"three!\"]");
}

#[test]
fn a_step_that_is_taken_out_moves_what_is_above_it_and_no_more() {
    let world = World::new();
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let (before, wanted) = scripts(&["one", "two", "three", "four"]);
    world.build(context(&before, &lock, &digests), &wanted, &by_place);
    let (after, wanted) = scripts(&["one", "three", "four"]);
    let planned = world.plan(context(&after, &lock, &digests), &wanted);
    assert_eq!(statuses(&planned), ["not needed", "hit", "changed", "below"]);
    let Reason::Changed { changes } = reason(&planned, 2) else { panic!() };
    assert_eq!(changes.iter().map(|change| change.component.as_str()).collect::<Vec<_>>(), ["parent"]);
}

#[test]
fn what_ran_last_is_compared_with_the_build_before_it() {
    let world = World::new();
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let moved = |(graph, _): &(ActionGraph, Vec<usize>)| -> Vec<Moved> {
        let context = context(graph, &lock, &digests);
        let mut ancestry = Ancestry::new(context, &world.cache, Generation::BeforeLastChange);
        (0..graph.nodes.len()).map(|place| ancestry.moved(place, &|_| None).unwrap()).collect()
    };
    let first = scripts(&["one", "two"]);
    world.build_at(1, context(&first.0, &lock, &digests), &first.1, &by_place);
    assert_eq!(moved(&first), [Moved::NeverBuilt, Moved::NeverBuilt, Moved::NeverBuilt]);
    let second = scripts(&["zero", "one", "two!"]);
    world.build_at(2, context(&second.0, &lock, &digests), &second.1, &by_place);
    let moved = moved(&second);
    assert!(matches!(moved[0], Moved::Nothing), "{moved:?}");
    assert!(matches!(moved[1], Moved::New), "{moved:?}");
    assert!(matches!(moved[2], Moved::Below(_)), "{moved:?}");
    assert!(matches!(&moved[3], Moved::Own(changes) if changes.len() == 1), "{moved:?}");
}

#[test]
fn a_changed_file_is_told_by_its_path() {
    let world = World::new();
    let mut declared = Declared::default();
    let source = declared.source("scratch", &[]);
    let given = [("src", Value::list([file("etc/motd")])), ("dest", Value::string("/etc/motd"))];
    let step = declared.step(&source, "file", &given);
    let (graph, wanted) = declared.graph(&[&step.action]);
    let lock = LockFile::default();
    let (old, new) = (digests(&[("etc/motd", "hello", false)]), digests(&[("etc/motd", "bye", true)]));
    world.build(context(&graph, &lock, &old), &wanted, &by_place);
    let planned = world.plan(context(&graph, &lock, &new), &wanted);
    let text = reason(&planned, wanted[0]).to_string();
    assert!(text.starts_with("input src motd changed from etc/motd "), "{text}");
    assert!(text.ends_with(" (executable)"), "{text}");
}

#[test]
fn another_base_that_is_there_already_is_named_as_the_reason() {
    let world = World::new();
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let (before, wanted) = chain("echo one", "x");
    world.build(context(&before, &lock, &digests), &wanted, &by_place);
    // The changed step is built for itself, and makes other bytes.
    let (after, wanted) = chain("echo two", "x");
    world.build(context(&after, &lock, &digests), &[2], &|place| format!("new {place}"));
    let planned = world.plan(context(&after, &lock, &digests), &wanted);
    assert_eq!(statuses(&planned), ["not needed", "not needed", "hit", "changed", "below"]);
    let Reason::Changed { changes } = reason(&planned, 3) else { panic!() };
    assert_eq!(changes.iter().map(|change| change.component.as_str()).collect::<Vec<_>>(), ["parent"]);
}

#[test]
fn equal_bytes_below_are_a_hit_by_content_all_the_way_up() {
    let world = World::new();
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let (before, wanted) = chain("echo one", "x");
    world.build(context(&before, &lock, &digests), &wanted, &by_place);
    let (after, wanted) = chain("echo one # the same", "x");
    world.build(context(&after, &lock, &digests), &[2], &by_place);
    let planned = world.plan(context(&after, &lock, &digests), &wanted);
    assert_eq!(statuses(&planned), ["not needed", "not needed", "hit", "hit by content", "hit by content"]);
    let other = world.plan(context(&before, &lock, &digests), &wanted);
    assert_eq!(planned.actions[4].result, other.actions[4].result);
}

#[test]
fn what_is_never_kept_runs_each_time_with_what_is_above_it() {
    let world = World::new();
    let mut declared = Declared::default();
    let source = declared.source("scratch", &[]);
    let impure = declared.step(&source, "shell", &[("cache", Value::Bool(false))]);
    let above = declared.step(&impure, "mkdir", &[("path", Value::string("/a"))]);
    let host = [("cmd", Value::string("date > $OUT/x")), ("host", Value::Bool(true))];
    let host = declared.output(None, "genrule", &host, &["x"]);
    let (graph, wanted) = declared.graph(&[&above.action, &host]);
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let context = context(&graph, &lock, &digests);
    for expected in ["never built", "hit"] {
        let planned = world.plan(context, &wanted);
        assert_eq!(statuses(&planned), [expected, "impure", "below", "impure"]);
        assert_eq!(reason(&planned, 1).to_string(), "it says `cache = False`");
        assert_eq!(reason(&planned, 3).to_string(), "it runs on the host");
        assert!(planned.actions[2].key.is_none());
        world.build(context, &wanted, &by_place);
    }
}

#[test]
fn a_blob_or_a_layer_that_is_gone_is_made_again() {
    let world = World::new();
    let ((graph, wanted), lock, digests) = (chain("true", "x"), LockFile::default(), InputDigests::default());
    let context = context(&graph, &lock, &digests);
    world.build(context, &wanted, &by_place);
    fs_err::remove_file(world.blob("made at 4")).unwrap();
    let planned = world.plan(context, &wanted);
    assert_eq!(statuses(&planned), ["not needed", "not needed", "not needed", "hit", "incomplete"]);
    assert_eq!(
        reason(&planned, 4).to_string(),
        "its result is incomplete: the stored result lacks 0 of its layers and 1 of its blobs"
    );
    fs_err::remove_file(world.blob("made at 3")).unwrap();
    let planned = world.plan(context, &wanted);
    assert_eq!(statuses(&planned), ["not needed", "not needed", "hit", "incomplete", "incomplete"]);
    world.build(context, &wanted, &by_place);
    assert_eq!(world.plan(context, &wanted).running().count(), 0);

    let run = Run::begin(&world.cache).unwrap();
    let staged = world.cache.stage(&run).unwrap();
    fs_err::write(staged.upper().join("file"), "x").unwrap();
    let options = imgbuild_tree::CaptureOptions::new(0, imgbuild_tree::XattrNamespace::User);
    let manifest = imgbuild_tree::capture(staged.upper(), &imgbuild_tree::EmptyView, &options).unwrap();
    let delta = world.cache.commit_layer(staged, &manifest).unwrap();
    let key = world.plan(context, &wanted).actions[4].key.unwrap();
    world.cache.invalidate(&key).unwrap();
    let layered = ActionResult { layers: vec![delta], ..world.result("layered", Vec::new()) };
    world.cache.put(&key, &layered).unwrap();
    assert_eq!(world.plan(context, &wanted).running().count(), 0);
    fs_err::remove_dir_all(world.cache.layer_tree(&delta).parent().unwrap()).unwrap();
    assert_eq!(statuses(&world.plan(context, &wanted))[4], "incomplete");
}

#[test]
fn what_was_dropped_from_the_cache_is_said_to_be() {
    let world = World::new();
    let ((graph, wanted), lock, digests) = (chain("true", "x"), LockFile::default(), InputDigests::default());
    let context = context(&graph, &lock, &digests);
    world.build(context, &wanted, &by_place);
    world.cache.invalidate(&world.plan(context, &wanted).actions[4].key.unwrap()).unwrap();
    assert_eq!(
        statuses(&world.plan(context, &wanted)),
        ["not needed", "not needed", "not needed", "hit", "dropped"]
    );
}

#[test]
fn forced_targets_run_on_results_that_are_there() {
    let world = World::new();
    let mut declared = Declared::default();
    let base = declared.at("//:base").source("scratch", &[]);
    let base = declared.step(&base, "mkdir", &[("path", Value::string("/a"))]);
    let step = declared.at("//:image").step(&base, "mkdir", &[("path", Value::string("/b"))]);
    let export = declared.output(Some(&step), "tarball", &[], &["x"]);
    let (graph, wanted) = declared.graph(&[&export]);
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let context = context(&graph, &lock, &digests);
    world.build(context, &wanted, &by_place);
    let options = PlanOptions { force: BTreeSet::from([label("//:image")]), ..PlanOptions::default() };
    let planned = plan(context, &wanted, &world.cache, &options).unwrap();
    assert_eq!(statuses(&planned), ["not needed", "hit", "forced", "forced"]);
    assert!(planned.actions[1].result.is_some(), "what runs is given what it stands on");
}

#[test]
fn explaining_looks_everything_up_and_two_places_may_have_one_result() {
    let world = World::new();
    let mut declared = Declared::default();
    let mut exports: Vec<Arc<ActionRef>> = Vec::new();
    for target in ["//:one", "//:two"] {
        let source = declared.at(target).source("scratch", &[]);
        let step = declared.step(&source, "mkdir", &[("path", Value::string("/a"))]);
        exports.push(declared.output(Some(&step), "tarball", &[], &["x"]));
    }
    let (graph, wanted) = declared.graph(&exports.iter().collect::<Vec<_>>());
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let context = context(&graph, &lock, &digests);
    world.build(context, &wanted, &by_place);
    let options = PlanOptions { explain_all: true, ..PlanOptions::default() };
    let planned = plan(context, &wanted, &world.cache, &options).unwrap();
    assert_eq!(statuses(&planned), ["not needed", "not needed", "hit", "not needed", "not needed", "hit"]);
    assert!(planned.actions.iter().all(|action| action.result.is_some()));
    assert_eq!(planned.actions[0].key, planned.actions[3].key);
    let without = world.plan(context, &wanted);
    assert!(without.actions[0].result.is_none());
}

#[test]
fn everything_that_the_lock_lacks_is_asked_for_once_and_in_one_round() {
    let world = World::new();
    let mut declared = Declared::default();
    let mut wanted: Vec<LayerRef> = Vec::new();
    for target in ["//:one", "//:two"] {
        let source = declared.at(target).source("debian", &[]);
        let known = declared.step(&source, "apt_install", &[("packages", texts(&["curl"]))]);
        let impure =
            declared.step(&known, "shell", &[("cache", Value::Bool(false)), ("network", Value::Bool(true))]);
        // Its packages are unknown and it has no static key, but what it needs is known now.
        wanted.push(declared.step(&impure, "apt_install", &[("packages", texts(&["vim"]))]));
        let network = declared.step(&known, "shell", &[("network", Value::Bool(true))]);
        wanted.push(network);
    }
    let image = declared.at("//:three").source("oci_base", &[("image", Value::string("a/b:1"))]);
    wanted.push(image);
    let (graph, places) = declared.graph(&wanted.iter().map(|layer| &layer.action).collect::<Vec<_>>());
    let digests = InputDigests::default();
    let mut lock = LockFile::default();
    let planned = world.plan(context(&graph, &lock, &digests), &places);
    assert!(planned.actions.is_empty());
    let texts: Vec<String> = planned.needs.iter().map(PinRequest::to_string).collect();
    assert_eq!(
        texts,
        [
            "debian stable (linux/amd64)",
            "debian stable (linux/amd64) + curl",
            "a/b:1 (linux/amd64)",
            "package indexes of debian stable (linux/amd64)",
            "epoch of //:one linux/amd64",
            "epoch of //:two linux/amd64",
        ]
    );
    answer(&mut lock, &planned.needs, "");
    let planned = world.plan(context(&graph, &lock, &digests), &places);
    assert_eq!(planned.needs, []);
    let resolve = graph.nodes.iter().position(|node| node.schema.id == "apt_resolve").unwrap();
    assert!(content_key(context(&graph, &lock, &digests), resolve, &|_| Hash::of(b"x")).is_some());
}

#[test]
fn an_export_of_a_changed_step_is_below_it_and_not_changed_itself() {
    let world = World::new();
    let graph = |script: &str| {
        let mut declared = Declared::default();
        let rule = declared.at("//:rule").output(None, "genrule", &[("cmd", Value::string(script))], &["x"]);
        let source = declared.at("//:image").source("scratch", &[]);
        let given = [("src", Value::list([made(&rule, "x")])), ("dest", Value::string("/x"))];
        let step = declared.step(&source, "file", &given);
        let export = declared.output(Some(&step), "oci", &[], &["image"]);
        declared.graph(&[&export])
    };
    let (lock, digests) = (LockFile::default(), InputDigests::default());
    let (before, wanted) = graph("one");
    world.build(context(&before, &lock, &digests), &wanted, &by_place);
    let (after, wanted) = graph("two");
    let planned = world.plan(context(&after, &lock, &digests), &wanted);
    for (kind, expected) in [("genrule", "changed"), ("scratch", "hit"), ("file", "below"), ("oci", "below")]
    {
        assert_eq!(statuses(&planned)[place_of(&after, kind)], expected, "{kind}");
    }
}

#[test]
fn the_two_actions_of_an_install_have_slots_of_their_own() {
    let mut declared = Declared::default();
    let source = declared.source("debian", &[]);
    let shell = declared.step(&source, "shell", &[("inline", texts(&["true"]))]);
    let install = declared.step(&shell, "apt_install", &[("packages", texts(&["vim"]))]);
    let (graph, _) = declared.graph(&[&install.action]);
    let slots: BTreeSet<String> = (0..graph.nodes.len()).map(|place| slot(&graph, place)).collect();
    assert_eq!(slots.len(), graph.nodes.len());
    assert!(locked(&graph).requests().len() == 2, "the source and the indexes");
}
