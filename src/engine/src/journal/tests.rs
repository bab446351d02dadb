use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;

fn journal() -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path().join("journal")).unwrap();
    (dir, journal)
}

fn workspace() -> WorkspaceId {
    "/a/workspace".parse().unwrap()
}

const FAKE: EffectKind = EffectKind::from_static("fake");

/// Writes down in which order effects were undone; does with each what its intent says.
#[derive(Clone, Default)]
struct FakeUndo {
    log: Arc<Mutex<Vec<String>>>,
    calls: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Undo for FakeUndo {
    fn kind(&self) -> &EffectKind {
        const { &FAKE }
    }

    async fn undo(
        &self,
        intent: &serde_json::Value,
        resource: Option<&ResourceId>,
    ) -> Result<UndoOutcome, UndoError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let name = intent["name"].as_str().unwrap();
        self.log.lock().unwrap().push(format!("{name}={}", resource.map_or("?", ResourceId::as_str)));
        match name {
            "gone" => Ok(UndoOutcome::AlreadyGone),
            "fails" => Err(io::Error::other("the cloud says no").into()),
            "panics" => panic!("a bug"),
            "hangs" => std::future::pending().await,
            _ => Ok(UndoOutcome::Undone),
        }
    }
}

fn registry(fake: &FakeUndo) -> UndoRegistry {
    UndoRegistry::new().with(fake.clone())
}

fn results(report: &CleanupReport) -> Vec<(String, EffectResult)> {
    report
        .effects()
        .map(|(_, e)| (e.effect.intent["name"].as_str().unwrap_or("").to_owned(), e.result.clone()))
        .collect()
}

#[test]
fn effects_go_through_their_states() {
    let (_dir, journal) = journal();
    let run = journal.start_run(workspace()).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|n| run.record_intent(&FAKE, &json!({ "name": n })).unwrap());
    assert!(a < b && b < c);
    run.record_done(a, &"i-1".parse().unwrap()).unwrap();
    run.record_undone(b).unwrap();
    run.record_undone(b).unwrap();
    run.record_done(c, &"i-3".parse().unwrap()).unwrap();
    run.record_kept(c).unwrap();
    let effects = journal.effects(run.id()).unwrap();
    let states: Vec<_> =
        effects.iter().map(|e| (e.state, e.resource.as_ref().map(ResourceId::as_str))).collect();
    let expected =
        [(EffectState::Done, Some("i-1")), (EffectState::Undone, None), (EffectState::Kept, Some("i-3"))];
    assert_eq!(states, expected);
    assert_eq!(effects[0].intent, json!({ "name": "a" }));
    assert_eq!(run.outstanding().unwrap().iter().map(|e| e.id).collect::<Vec<_>>(), [a]);

    for (wrong, wanted) in [
        (run.record_done(a, &"again".parse().unwrap()), "done"),
        (run.record_undone(c), "undone"),
        (run.record_kept(b), "kept"),
        (run.record_undone(EffectId(99)), "undone"),
    ] {
        let error = wrong.unwrap_err().to_string();
        assert!(error.contains(&format!("cannot become {wanted}")), "{error}");
    }
    let other = journal.start_run(workspace()).unwrap();
    assert!(other.record_undone(a).is_err(), "another run's effect");
}

#[test]
fn a_settled_run_is_forgotten_and_an_unsettled_one_stays() {
    let (_dir, journal) = journal();
    let settled = journal.start_run(workspace()).unwrap();
    let effect = settled.record_intent(&FAKE, &json!({})).unwrap();
    settled.record_undone(effect).unwrap();
    let unsettled = journal.start_run(workspace()).unwrap();
    unsettled.record_intent(&FAKE, &json!({})).unwrap();
    let id = unsettled.id().clone();
    assert_eq!(settled.finish().unwrap(), []);
    assert_eq!(unsettled.finish().unwrap().len(), 1);
    let runs = journal.runs().unwrap();
    assert_eq!(runs.iter().map(|r| &r.id).collect::<Vec<_>>(), [&id]);
    assert_eq!(runs[0].process, ProcessIdentity::current().unwrap());
    let locks = fs_err::read_dir(journal.folder().join("runs")).unwrap().count();
    assert_eq!(locks, 1);
}

#[tokio::test]
async fn dead_runs_are_undone_newest_first_and_live_ones_left_alone() {
    let (dir, journal) = journal();
    let live = journal.start_run(workspace()).unwrap();
    live.record_intent(&FAKE, &json!({ "name": "live" })).unwrap();
    let dead = journal.start_run(workspace()).unwrap();
    for name in ["one", "gone", "three"] {
        let effect = dead.record_intent(&FAKE, &json!({ "name": name })).unwrap();
        if name == "three" {
            dead.record_done(effect, &"i-3".parse().unwrap()).unwrap();
        }
    }
    let kept = dead.record_intent(&FAKE, &json!({ "name": "kept" })).unwrap();
    dead.record_kept(kept).unwrap();
    let dead_id = dead.id().clone();
    drop(dead);

    let fake = FakeUndo::default();
    // Another opening of the same journal, as another process would have it.
    let other = Journal::open(dir.path().join("journal")).unwrap();
    let dry = CleanupOptions { dry_run: true, ..CleanupOptions::default() };
    let report = cleanup(&other, &registry(&fake), &dry).await.unwrap();
    assert!(!report.is_clean());
    assert_eq!(results(&report).len(), 3);
    assert!(results(&report).iter().all(|(_, r)| *r == EffectResult::WouldUndo));
    assert_eq!(fake.calls.load(Ordering::SeqCst), 0);

    let report = cleanup(&other, &registry(&fake), &CleanupOptions::default()).await.unwrap();
    assert!(report.is_clean());
    assert_eq!(*fake.log.lock().unwrap(), ["three=i-3", "gone=?", "one=?"]);
    assert_eq!(results(&report)[1], ("gone".into(), EffectResult::AlreadyGone));
    let statuses: Vec<_> = report.runs.iter().map(|r| (&r.run.id, r.status)).collect();
    assert_eq!(statuses, [(live.id(), RunStatus::Live), (&dead_id, RunStatus::Cleaned)]);
    assert_eq!(journal.runs().unwrap().len(), 1);

    let again = cleanup(&other, &registry(&fake), &CleanupOptions::default()).await.unwrap();
    assert_eq!(results(&again), []);
    assert_eq!(fake.calls.load(Ordering::SeqCst), 3);
    assert_eq!(live.outstanding().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_are_told_and_do_not_stop_the_rest() {
    let (_dir, journal) = journal();
    let run = journal.start_run(workspace()).unwrap();
    for name in ["first", "fails", "panics", "hangs", "last"] {
        run.record_intent(&FAKE, &json!({ "name": name })).unwrap();
    }
    run.record_intent(&"from-the-future".parse().unwrap(), &json!({ "name": "unknown" })).unwrap();
    let id = run.id().clone();
    drop(run);
    let fake = FakeUndo::default();
    let report = cleanup(&journal, &registry(&fake), &CleanupOptions::default()).await.unwrap();
    assert!(!report.is_clean());
    assert_eq!(report.runs[0].status, RunStatus::Remaining);
    let failed = |message: &str| EffectResult::Failed { message: message.into() };
    let expected = [
        ("unknown", EffectResult::UnknownKind),
        ("last", EffectResult::Undone),
        ("hangs", failed("undoing it took longer than 300 seconds")),
        ("panics", failed("undoing it panicked: a bug")),
        ("fails", failed("the cloud says no")),
        ("first", EffectResult::Undone),
    ];
    assert_eq!(results(&report), expected.map(|(n, r)| (n.to_owned(), r)));
    let left: Vec<_> = journal.effects(&id).unwrap().into_iter().filter(|e| !e.state.is_settled()).collect();
    assert_eq!(left.len(), 4);
    assert_eq!(left[0].state, EffectState::Failed);
    assert_eq!(left[0].error.as_deref(), Some("the cloud says no"));
    // The next cleanup tries only those again.
    let report = cleanup(&journal, &registry(&fake), &CleanupOptions::default()).await.unwrap();
    assert_eq!(results(&report).len(), 4);
}

#[tokio::test]
async fn a_run_undoes_its_own_at_its_end() {
    let (_dir, journal) = journal();
    let run = journal.start_run(workspace()).unwrap();
    run.record_intent(&FAKE, &json!({ "name": "one" })).unwrap();
    let fake = FakeUndo::default();
    let done = run.undo_outstanding(&registry(&fake), &CleanupOptions::default()).await.unwrap();
    assert_eq!(done[0].result, EffectResult::Undone);
    assert_eq!(run.finish().unwrap(), []);
    assert_eq!(journal.runs().unwrap(), []);
}

#[tokio::test]
async fn another_host_is_left_alone_until_it_is_adopted() {
    let (_dir, journal) = journal();
    let run = journal.start_run(workspace()).unwrap();
    run.record_intent(&FAKE, &json!({ "name": "far" })).unwrap();
    drop(run);
    let database = rusqlite::Connection::open(journal.folder().join("journal.db")).unwrap();
    database.execute("UPDATE runs SET host = 'elsewhere'", []).unwrap();
    let fake = FakeUndo::default();
    let report = cleanup(&journal, &registry(&fake), &CleanupOptions::default()).await.unwrap();
    assert_eq!(report.runs[0].status, RunStatus::OtherHost);
    assert_eq!(fake.calls.load(Ordering::SeqCst), 0);
    let adopt = CleanupOptions { adopt: vec!["elsewhere".parse().unwrap()], ..CleanupOptions::default() };
    let report = cleanup(&journal, &registry(&fake), &adopt).await.unwrap();
    assert_eq!(report.runs[0].status, RunStatus::Cleaned);
}

#[tokio::test]
async fn a_lock_file_removed_by_hand_does_not_kill_a_live_run() {
    let (_dir, journal) = journal();
    let live = journal.start_run(workspace()).unwrap();
    live.record_intent(&FAKE, &json!({ "name": "live" })).unwrap();
    fs_err::remove_file(journal.lock_path(live.id())).unwrap();
    let fake = FakeUndo::default();
    let report = cleanup(&journal, &registry(&fake), &CleanupOptions::default()).await.unwrap();
    assert_eq!(report.runs[0].status, RunStatus::Live);
    assert_eq!(fake.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn lock_files_without_a_run_are_removed_and_strange_files_stay() {
    let (_dir, journal) = journal();
    let runs = journal.folder().join("runs");
    let orphan = runs.join(format!("{}.lock", "ab".repeat(16)));
    let held = runs.join(format!("{}.lock", "cd".repeat(16)));
    let strange = runs.join("README");
    for path in [&orphan, &held, &strange] {
        fs_err::write(path, "").unwrap();
    }
    let lock = File::open(&held).unwrap();
    lock.lock().unwrap();
    cleanup(&journal, &UndoRegistry::new(), &CleanupOptions::default()).await.unwrap();
    assert!(!orphan.exists() && held.exists() && strange.exists());
}

#[test]
fn a_newer_format_is_refused_and_left_as_it_is() {
    let (dir, journal) = journal();
    let path = journal.folder().join("journal.db");
    drop(journal);
    let database = rusqlite::Connection::open(&path).unwrap();
    database.pragma_update(None, "user_version", 7).unwrap();
    drop(database);
    let error = Journal::open(dir.path().join("journal")).unwrap_err();
    assert!(matches!(error, JournalError::NewerFormat { found: 7, known: 1, .. }));
    let text = error.to_string();
    assert!(
        text.contains("has format 7, and this version knows formats up to 1; use the newer version"),
        "{text}"
    );
}

#[test]
fn a_foreign_database_and_garbage_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE precious (x)").unwrap();
    drop(database);
    let error = Journal::open(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::NotAJournal { .. }), "{error}");
    assert!(error.to_string().contains("is not a journal of imgbuild"));
    fs_err::write(&path, "no database at all, but long enough to be taken for one: ".repeat(20)).unwrap();
    let error = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("cannot use the journal") && error.contains("not a database"), "{error}");
}

#[test]
fn opening_at_once_migrates_once() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let journal = Journal::open(dir.path().join("journal")).unwrap();
                let run = journal.start_run(workspace()).unwrap();
                let effect = run.record_intent(&FAKE, &json!({})).unwrap();
                run.record_undone(effect).unwrap();
                assert_eq!(run.finish().unwrap(), []);
            });
        }
    });
    assert_eq!(Journal::open(dir.path().join("journal")).unwrap().runs().unwrap(), []);
}

#[test]
fn ids_are_checked() {
    assert!("process".parse::<EffectKind>().is_ok() && "amazon-ebs/key-pair".parse::<EffectKind>().is_ok());
    for wrong in ["", "A", "1a", "a b", "-a", "ä"] {
        assert!(wrong.parse::<EffectKind>().is_err(), "{wrong}");
    }
    for wrong in ["", "../../etc/passwd", &"AB".repeat(16), &"a".repeat(33)] {
        assert!(wrong.parse::<RunId>().is_err(), "{wrong}");
    }
    assert!("".parse::<ResourceId>().is_err());
}

#[test]
#[should_panic(expected = "two undos for one kind")]
fn a_kind_has_one_undo() {
    let _registry = UndoRegistry::new().with(FakeUndo::default()).with(FakeUndo::default());
}

/// The figure is for reading (`--nocapture`): what an effect costs a run.
#[test]
fn many_effects_of_one_run() {
    let (_dir, journal) = journal();
    let run = journal.start_run(workspace()).unwrap();
    let start = std::time::Instant::now();
    const COUNT: u32 = 100;
    for i in 0..COUNT {
        let effect = run.record_intent(&FAKE, &json!({ "name": i })).unwrap();
        run.record_done(effect, &"i-0123456789".parse().unwrap()).unwrap();
    }
    let each = start.elapsed() / COUNT;
    eprintln!("intent and done, both on disk: {each:.0?}");
    assert_eq!(journal.effects(run.id()).unwrap().len(), COUNT as usize);
}
