//! A run is killed (`SIGKILL`) at each point of an effect's life, in a process of its own; then a cleanup
//! finds what is left.
//!
//! The child is this very test binary, asked for [`child`] alone. It says on its output how far it has come
//! and waits to be killed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

const FOLDER: &str = "IMGBUILD_TEST_JOURNAL";
const POINT: &str = "IMGBUILD_TEST_CRASH_POINT";

const POINTS: [&str; 7] =
    ["locked", "started", "intended", "made", "done", "removed-by-the-run-itself", "undoing"];

#[test]
#[ignore = "is the child of the crash tests, which start it"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        eprintln!("skipped: this is not a test of its own");
        return;
    };
    let wanted = std::env::var_os(POINT).unwrap().into_string().unwrap();
    let reach = |point: &str| {
        if point == wanted {
            println!("\nreached {point}");
            std::io::stdout().flush().unwrap();
            loop {
                std::thread::park();
            }
        }
    };
    let temporary = folder.join("tmp");
    let journal = Journal::open(folder.join("journal")).unwrap();
    if wanted == "locked" {
        let id = journal.store().new_run_id().unwrap();
        let _lock = journal.create_lock(&id).unwrap().unwrap();
        reach("locked");
    }
    let run = journal.start_run("/w".parse().unwrap()).unwrap();
    reach("started");

    let intent = PathIntent::new(&temporary, format!("of-{}", run.id())).unwrap();
    let path_effect = run.record_intent(&PathUndo::KIND, &intent).unwrap();
    let process = ProcessIntent { tag: ProcessTag::random().unwrap(), description: "a sleeper".to_owned() };
    let process_effect = run.record_intent(&ProcessUndo::KIND, &process).unwrap();
    reach("intended");

    fs_err::create_dir_all(intent.full_path().join("deep")).unwrap();
    #[expect(clippy::zombie_processes, reason = "the point is to die without waiting for it")]
    let sleeper = Command::new("/bin/sleep")
        .arg("1000")
        .env(ProcessTag::VARIABLE, process.tag.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let identity = ProcessIdentity::of(sleeper.id()).unwrap().unwrap();
    // Only for the test: the run itself would not have written it down yet.
    println!("\nsleeper {identity}");
    reach("made");

    run.record_done(process_effect, &ResourceId::from(&identity)).unwrap();
    run.record_done(path_effect, &"unused".parse().unwrap()).unwrap();
    reach("done");

    fs_err::remove_dir_all(intent.full_path()).unwrap();
    reach("removed-by-the-run-itself");

    // A cleanup of its own that dies between the first undo and its record.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let effects = run.outstanding().unwrap();
    let resource = effects[1].resource.clone();
    runtime.block_on(ProcessUndo::default().undo(&effects[1].intent, resource.as_ref())).unwrap();
    reach("undoing");
}

struct Reached {
    child: Child,
    sleeper: Option<ProcessIdentity>,
}

/// Starts a run and returns when it has come to `point`.
fn run_until(point: &str, folder: &Path) -> Reached {
    let name = concat!(module_path!(), "::child");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name.split_once("::").unwrap().1, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(POINT, point)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sleeper = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(identity) = line.strip_prefix("sleeper ") {
            sleeper = Some(identity.parse().unwrap());
        }
        if line == format!("reached {point}") {
            return Reached { child, sleeper };
        }
    }
    panic!("the child ended before it reached `{point}`: {:?}", child.wait());
}

fn registry(folder: &Path) -> UndoRegistry {
    UndoRegistry::new()
        .with(PathUndo::new([folder.join("tmp")]))
        .with(ProcessUndo::new(Duration::from_secs(2)))
}

fn left_in(folder: &Path) -> Vec<PathBuf> {
    match fs_err::read_dir(folder.join("tmp")) {
        Ok(entries) => entries.map(|e| e.unwrap().path()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn whatever_a_killed_run_left_is_undone_and_a_live_run_is_not_touched() {
    for point in POINTS {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let mut live = run_until("done", folder);
        let mut killed = run_until(point, folder);
        let live_sleeper = live.sleeper.clone().unwrap();

        // While both live, a cleanup does nothing.
        let journal = Journal::open(folder.join("journal")).unwrap();
        let before = left_in(folder);
        let report = cleanup(&journal, &registry(folder), &CleanupOptions::default()).await.unwrap();
        assert!(report.runs.iter().all(|r| r.status == RunStatus::Live), "{point}: {report:?}");
        assert_eq!(left_in(folder), before, "{point}");

        killed.child.kill().unwrap();
        killed.child.wait().unwrap();
        let report = cleanup(&journal, &registry(folder), &CleanupOptions::default()).await.unwrap();
        assert!(report.is_clean(), "{point}: {report:?}");
        if let Some(sleeper) = &killed.sleeper {
            assert!(!sleeper.is_alive().unwrap(), "{point}: the process is still there");
        }
        let runs = journal.runs().unwrap();
        assert_eq!(runs.len(), 1, "{point}: only the live run is left");
        assert_eq!(runs[0].process.pid(), live.child.id());
        assert_eq!(left_in(folder), [folder.join(format!("tmp/of-{}", runs[0].id))], "{point}");
        assert!(live_sleeper.is_alive().unwrap(), "{point}: the live run's process was ended");
        assert_eq!(fs_err::read_dir(folder.join("journal/runs")).unwrap().count(), 1, "{point}");

        live.child.kill().unwrap();
        live.child.wait().unwrap();
        let report = cleanup(&journal, &registry(folder), &CleanupOptions::default()).await.unwrap();
        assert!(report.is_clean() && report.effects().count() == 2, "{point}: {report:?}");
        assert!(!live_sleeper.is_alive().unwrap() && left_in(folder).is_empty(), "{point}");
    }
}
