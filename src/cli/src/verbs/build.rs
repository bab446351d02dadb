//! `build` and `test`.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use imgbuild::args::{Build, BuildOptions, Test, TestOutput};
use imgbuild::ui::{Aim, Goal, Verbosity};
use imgbuild_cache::ActionResult;
use imgbuild_engine::{
    ActionError, Cancel, Checkpoints, Failure, Results, RunOptions, RunReport, RunRequest, outputs,
};
use imgbuild_model::{Class, Configuration, Diagnostic, Diagnostics, Event, EventSink as _, Platform};
use imgbuild_plan::{Plan, Status};
use rustix::process::geteuid;

use super::check_resume;
use crate::continuity::MachineSteps;
use crate::prompt::Terminal;
use crate::publish::publish;
use crate::secrets::Store;
use crate::session::{Planning, Prepared, Session, Want, cache_error, runtime};
use crate::{ENTER_MARKER, registry};

/// `imgbuild build`.
pub(super) fn build(build: &Build, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let selection = session.selection(build.selection.patterns(), &build.selection.variant)?;
    let options = &build.options;
    if build.check_resume {
        return check_resume::check(session, &selection, options);
    }
    let planning = Planning {
        locked: options.locked,
        force: options.force,
        machines: MachineSteps::asked(options.resume),
        ..Planning::default()
    };
    let prepared = session.prepare(&selection, &planning)?;
    if options.check {
        return check(session, prepared, options, &selection);
    }
    let started = Instant::now();
    let outcome = carry_out(session, &prepared, options, Aim::Build)?;
    let mut problems = failures(&prepared, &outcome);
    if problems.is_empty() && !outcome.cancelled && !options.no_write {
        let folder = options.output_dir.clone().or_else(|| session.config.output_dir.clone());
        if let Err(diagnostics) = publish(session, &prepared, &outcome.results, folder) {
            problems.extend(diagnostics.0);
        }
    }
    finish(session, &outcome, problems, started)
}

/// `imgbuild test`.
pub(super) fn test(test: &Test, session: &mut Session) -> Result<ExitCode, Diagnostics> {
    let selection = session.selection(test.selection.patterns(), &test.selection.variant)?;
    let planning = Planning {
        want: Want::Tests,
        locked: test.options.locked,
        force: test.rerun || test.options.force,
        machines: MachineSteps::asked(test.options.resume),
        ..Planning::default()
    };
    let prepared = session.prepare(&selection, &planning)?;
    if prepared.wanted.is_empty() {
        session.shell.note("no tests among the targets");
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let options = BuildOptions { keep_going: true, ..test.options.clone() };
    let outcome = carry_out(session, &prepared, &options, Aim::Test)?;
    if test.test_output == TestOutput::All {
        show_logs(session, &prepared, &outcome.results)?;
    }
    let problems = failures(&prepared, &outcome);
    finish(session, &outcome, problems, started)
}

fn show_logs(
    session: &mut Session,
    prepared: &Prepared,
    results: &HashMap<usize, Arc<ActionResult>>,
) -> Result<(), Diagnostics> {
    let cache = session.cache()?;
    for place in &prepared.wanted {
        let Some(log) = results.get(place).and_then(|result| result.log) else { continue };
        let text = cache.read(&log).map_err(|error| cache_error(&error))?;
        session.shell.line(&format!("{}:", prepared.keys.graph.nodes[*place].label()));
        session.shell.print(&String::from_utf8_lossy(&text));
    }
    Ok(())
}

/// Runs what the plan says must run; with nothing to run, only reports the hits.
pub(super) fn carry_out(
    session: &mut Session,
    prepared: &Prepared,
    options: &BuildOptions,
    aim: Aim,
) -> Result<RunReport, Diagnostics> {
    carry_out_keeping(session, prepared, options, aim, Checkpoints::ByPolicy)
}

/// The same for whoever looks at what each step has left: machines are kept behind all of them.
pub(super) fn carry_out_and_keep_all(
    session: &mut Session,
    prepared: &Prepared,
    options: &BuildOptions,
) -> Result<RunReport, Diagnostics> {
    carry_out_keeping(session, prepared, options, Aim::Build, Checkpoints::Everywhere)
}

fn carry_out_keeping(
    session: &mut Session,
    prepared: &Prepared,
    options: &BuildOptions,
    aim: Aim,
    checkpoints: Checkpoints,
) -> Result<RunReport, Diagnostics> {
    let targets = prepared
        .analyzed
        .roots
        .iter()
        .flat_map(|root| {
            root.platforms.iter().map(move |(platform, _)| format!("{} ({platform})", root.label))
        })
        .collect();
    session.ui.goal(Goal { aim, targets });
    let plan = &prepared.plan;
    let runs = plan.running().next().is_some();
    if runs {
        become_root(session)?;
    }
    if aim == Aim::Build {
        restore(session, prepared)?;
    }
    session.ui.emit(Event::RunStarted {
        actions: plan.actions.len(),
        hits: plan.hits(),
        estimate_seconds: plan.estimate_seconds(),
    });
    if !runs {
        return Ok(all_there(plan));
    }
    let cancel = Cancel::new();
    let mut request = request(session, prepared, plan.clone(), options, Results::Kept, &cancel)?;
    request.options.checkpoints = checkpoints;
    let report = runtime()?.block_on(async {
        let listener = cancel.listen_for_signals().map_err(ActionError::from)?;
        let report = imgbuild_engine::execute(request).await;
        drop(listener);
        report
    });
    report.map_err(|error| diagnostic(error, None).into())
}

/// What a run is given.
pub(super) fn request(
    session: &mut Session,
    prepared: &Prepared,
    plan: Plan,
    options: &BuildOptions,
    results: Results,
    cancel: &Cancel,
) -> Result<RunRequest, Diagnostics> {
    let cache = session.cache()?;
    let archives = registry::archives(
        &session.config,
        session.environment(),
        cache.clone(),
        Session::now(),
        session.ui.clone(),
    );
    Ok(RunRequest {
        keys: prepared.keys.clone(),
        plan,
        files: session.files()?.clone(),
        cache,
        registry: registry::registry(archives, session.environment(), options.resume),
        secrets: Arc::new(Store::new(
            session.environment().home.clone(),
            session.config.secret_providers.clone(),
        )),
        fillings: prepared.fillings.clone(),
        prompt: Arc::new(Terminal { shell: session.shell.clone() }),
        options: RunOptions {
            jobs: options.jobs.or(session.config.jobs),
            keep_going: options.keep_going,
            results,
            ..RunOptions::default()
        },
        now: Session::now(),
        cancel: cancel.clone(),
        events: session.ui.clone(),
    })
}

/// Writes what steps that need not run once brought out of their images.
fn restore(session: &mut Session, prepared: &Prepared) -> Result<(), Diagnostics> {
    let mut bringing =
        prepared.keys.graph.nodes.iter().enumerate().filter(|(_, node)| node.brings_files()).peekable();
    if bringing.peek().is_none() {
        return Ok(());
    }
    let cache = session.cache()?;
    let root = session.files()?.root();
    for (place, node) in bringing {
        let planned = &prepared.plan.actions[place];
        if let (Status::Hit { .. }, Some(result)) = (&planned.status, &planned.result) {
            outputs::restore(&cache, node, result, root).map_err(|error| diagnostic(error, None))?;
        }
    }
    Ok(())
}

fn all_there(plan: &Plan) -> RunReport {
    let results = plan
        .actions
        .iter()
        .enumerate()
        .filter(|(_, action)| matches!(action.status, Status::Hit { .. }))
        .filter_map(|(place, action)| Some((place, action.result.clone()?)))
        .collect();
    RunReport { results, hits: plan.actions.len(), ..RunReport::default() }
}

/// An ordinary user becomes root in a namespace by executing the program again; what was planned is planned anew.
pub(crate) fn become_root(session: &Session) -> Result<(), Diagnostics> {
    if geteuid().is_root() {
        return Ok(());
    }
    session.ui.close();
    use std::os::unix::process::CommandExt as _;
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let error =
        std::process::Command::new("/proc/self/exe").arg0(program).args(words).env(ENTER_MARKER, "1").exec();
    Err(Diagnostic::error(format!("cannot execute this program again: {error}"))
        .class(Class::Environment)
        .into())
}

pub(super) fn finish(
    session: &Session,
    outcome: &RunReport,
    problems: Vec<Diagnostic>,
    started: Instant,
) -> Result<ExitCode, Diagnostics> {
    let success = problems.is_empty() && !outcome.cancelled;
    session.ui.emit(Event::RunFinished {
        success,
        built: outcome.built,
        hits: outcome.hits,
        failed: outcome.failures.len(),
        skipped: outcome.skipped,
        duration: started.elapsed(),
    });
    session.ui.close();
    if outcome.cancelled && problems.is_empty() {
        // As a shell reports a program that SIGINT ended.
        return Ok(ExitCode::from(130));
    }
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Diagnostics(problems))
}

pub(super) fn failures(prepared: &Prepared, outcome: &RunReport) -> Vec<Diagnostic> {
    outcome
        .failures
        .iter()
        .map(|Failure { place, error }| {
            let node = &prepared.keys.graph.nodes[*place];
            let inner = match error {
                ActionError::Other(inner) | ActionError::MachineLost(inner) => Some(inner),
                _ => None,
            };
            // Its hint and its notes are said below.
            let what = inner.map_or_else(
                || error.to_string(),
                |inner| Diagnostic { hint: None, notes: Vec::new(), ..(**inner).clone() }.to_string(),
            );
            let mut diagnostic = Diagnostic::error(format!("`{}` failed: {what}", node.label()))
                .class(error.class())
                .at(node.action.location.clone())
                .label(node.describe());
            if let Some(inner) = inner {
                diagnostic.hint.clone_from(&inner.hint);
                diagnostic.notes.clone_from(&inner.notes);
            } else if error.left_a_state() {
                let label = format!("{}{}", node.label(), variant(&node.reference.configuration));
                diagnostic.hint = Some(format!(
                    "`imgbuild log {label}` shows all of its output, `imgbuild shell --failed {label}` enters the state that it left"
                ));
            }
            diagnostic
        })
        .collect()
}

/// The flags that choose this configuration of a target, each after a space.
fn variant(configuration: &Configuration) -> String {
    let platform = Some(configuration.platform).filter(|platform| *platform != Platform::host());
    let platform = platform.map(|platform| format!(" --platform {platform}"));
    let flags = configuration.flags.iter().map(|(key, value)| format!(" -D {key}={value}"));
    platform.into_iter().chain(flags).collect()
}

pub(crate) fn diagnostic(error: ActionError, hint: Option<String>) -> Diagnostic {
    match error {
        ActionError::Other(diagnostic) | ActionError::MachineLost(diagnostic) => *diagnostic,
        other => Diagnostic::error(other.to_string()).class(other.class()).maybe_hint(hint),
    }
}

/// `build --check`: builds the targets' own actions once more and compares what comes out.
fn check(
    session: &mut Session,
    prepared: ManuallyDrop<Prepared>,
    options: &BuildOptions,
    selection: &imgbuild_plan::Selection,
) -> Result<ExitCode, Diagnostics> {
    let started = Instant::now();
    // What is compared is what was kept.
    let first = carry_out_and_keep_all(session, &prepared, options)?;
    let problems = failures(&prepared, &first);
    if !problems.is_empty() || first.cancelled {
        return finish(session, &first, problems, started);
    }
    let planning = Planning { locked: true, force: true, ..Planning::default() };
    let again = session.prepare(selection, &planning)?;
    let forced = BuildOptions { force: true, ..options.clone() };
    let second = carry_out_and_keep_all(session, &again, &forced)?;
    let mut problems = failures(&again, &second);
    for place in again.plan.running() {
        let (Some(one), Some(other)) = (first.results.get(&place), second.results.get(&place)) else {
            continue;
        };
        if one.output == other.output {
            continue;
        }
        let node = &again.keys.graph.nodes[place];
        let mut diagnostic =
            Diagnostic::error(format!("`{}` is not reproducible: two runs differ", node.label()))
                .at(node.action.location.clone())
                .label(node.describe());
        for path in differing_paths(session, one, other)?.into_iter().take(20) {
            diagnostic = diagnostic.note(path, None);
        }
        problems.push(diagnostic);
    }
    if problems.is_empty() && session.shell.verbosity() != Verbosity::Quiet {
        session.shell.note("both builds are equal");
    }
    finish(session, &second, problems, started)
}

fn differing_paths(
    session: &mut Session,
    one: &ActionResult,
    other: &ActionResult,
) -> Result<Vec<String>, Diagnostics> {
    let cache = session.cache()?;
    let manifests = |result: &ActionResult| {
        result
            .layers
            .iter()
            .map(|delta| cache.layer_manifest(delta))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| cache_error(&error))
    };
    let (one_layers, other_layers) = (manifests(one)?, manifests(other)?);
    let tree = |layers: &[Arc<imgbuild_tree::DeltaManifest>]| -> std::collections::BTreeMap<String, imgbuild_tree::Node> {
        imgbuild_tree::squash(layers).entries.into_iter().map(|entry| (entry.path.to_string(), entry.node)).collect()
    };
    let (one_tree, other_tree) = (tree(&one_layers), tree(&other_layers));
    let mut paths: Vec<String> = one_tree
        .iter()
        .filter(|(path, node)| other_tree.get(*path) != Some(node))
        .map(|(path, _)| path.clone())
        .chain(other_tree.keys().filter(|path| !one_tree.contains_key(*path)).cloned())
        .collect();
    for file in &one.files {
        if !other.files.contains(file) {
            paths.push(file.path.clone());
        }
    }
    Ok(paths)
}
