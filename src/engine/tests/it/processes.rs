//! Several runs on one cache, in threads and in processes of their own, some of which are killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use imgbuild_model::{ActionRef, Value};
use imgbuild_plan::ActionGraph;
use imgbuild_plan::testing::Declared;

use crate::world::{World, commands, counted, folder};

/// Says to this test program that it is the other process, and where to work.
const OTHER: &str = "IMGBUILD_TEST_OTHER";
/// What the other process' last step does.
const LAST: &str = "IMGBUILD_TEST_LAST";

/// Some chains with a common start; each step takes a moment, so that two runs meet.
fn graph(last: &str) -> (ActionGraph, Vec<usize>) {
    let mut declared = Declared::default();
    let mut base = declared.at("//:base").source("scratch", &[]);
    for number in 0..3 {
        base = declared.step(&base, "shell", &[commands(&["sleep 15", &format!("emit base {number}")])]);
    }
    let mut wanted: Vec<Arc<ActionRef>> = Vec::new();
    for image in 0..4 {
        declared.at(&format!("//:image{image}"));
        let step =
            declared.step(&base, "shell", &[commands(&["sleep 15", &format!("emit image {image}"), "mix"])]);
        wanted.push(declared.output(Some(&step), "tarball", &[], &["x"]));
    }
    let end = declared.at("//:end").step(&base, "shell", &[commands(&["sleep 40", last])]);
    wanted.push(declared.output(Some(&end), "oci", &[("ref", Value::string("x"))], &["x"]));
    declared.graph(&wanted.iter().collect::<Vec<_>>())
}

/// This test program again, running only `test`.
fn other(test: &str, folder: &Path, last: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(OTHER, folder).env(LAST, last);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// If this is the other process: does its work and says so.
fn is_other() -> bool {
    let Some(folder) = std::env::var_os(OTHER) else { return false };
    let world = World::at(Path::new(&folder));
    let built = world.build(graph(&std::env::var_os(LAST).unwrap().into_string().unwrap()));
    assert_eq!(built.failed(), []);
    let ran = folder_of_ran(Path::new(&folder));
    fs_err::write(ran.join(std::process::id().to_string()), world.take_ran().join("\n")).unwrap();
    true
}

fn folder_of_ran(folder: &Path) -> std::path::PathBuf {
    let ran = folder.join("ran");
    fs_err::create_dir_all(&ran).unwrap();
    ran
}

#[test]
fn two_runs_in_threads_build_each_key_once() {
    let folder = folder();
    // Two handles on one cache, as two processes have them.
    let worlds = [World::at(folder.path()), World::at(folder.path())];
    let results = std::thread::scope(|scope| {
        let runs: Vec<_> =
            worlds.iter().map(|world| scope.spawn(|| world.build(graph("emit end")).results())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(results[0], results[1]);
    let ran: Vec<String> = worlds.iter().flat_map(World::take_ran).collect();
    let nodes = graph("emit end").0.nodes.len();
    assert_eq!(ran.len(), nodes, "{:?}", counted(&ran));
    worlds[0].verify();
    assert_eq!(worlds[0].left_behind(), 0);
}

#[test]
fn two_runs_in_processes_build_each_key_once() {
    if is_other() {
        return;
    }
    let folder = folder();
    let test = "processes::two_runs_in_processes_build_each_key_once";
    let mut children: Vec<_> =
        (0..2).map(|_| other(test, folder.path(), "emit end").spawn().unwrap()).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let mut ran = Vec::new();
    for entry in fs_err::read_dir(folder_of_ran(folder.path())).unwrap() {
        let text = fs_err::read_to_string(entry.unwrap().path()).unwrap();
        ran.extend(text.lines().map(str::to_owned));
    }
    assert_eq!(ran.len(), graph("emit end").0.nodes.len(), "{:?}", counted(&ran));
    World::at(folder.path()).verify();
}

#[test]
fn a_run_that_is_killed_leaves_a_whole_cache_and_the_next_one_goes_on() {
    if is_other() {
        return;
    }
    let folder = folder();
    let test = "processes::a_run_that_is_killed_leaves_a_whole_cache_and_the_next_one_goes_on";
    let status = other(test, folder.path(), "kill").spawn().unwrap().wait().unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(status.signal(), Some(9), "it was killed in the middle of a step");
    let world = World::at(folder.path());
    world.verify();
    let (graph_after, wanted) = graph("emit end");
    let count = graph_after.nodes.len();
    let built = world.build((graph_after, wanted));
    assert_eq!(built.failed(), []);
    assert!(built.report.hits >= 4, "what had been made is used: {} hits", built.report.hits);
    assert_eq!(built.report.hits + built.report.built, count);
    assert_eq!(built.results(), world.with_empty_cache().build(graph("emit end")).results());
    world.verify();
    assert_eq!(world.left_behind(), 0, "what the dead one left was swept");
}
