//! `build`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use imgbuild::args::{Environment, Global};
use imgbuild::ui::Shell;
use imgbuild_cache::Cache;
use imgbuild_engine::cancel::{CancelReason, StopSignal};
use imgbuild_engine::secrets::{Fillings, NamedSecret};
use imgbuild_engine::{
    ActionError, Cancel, Checkpoints, Failure, Registry, Results, RunOptions, RunReport, RunRequest, outputs,
};
use imgbuild_model::{Class, Diagnostic, Diagnostics, Secret};
use imgbuild_packer::builders::generated;
use imgbuild_packer::lower::{Holes, Makes, Volatile};
use imgbuild_packer::recipe::Recipe;
use imgbuild_packer_cli::args::{Build, OnError, Purpose, exit};
use imgbuild_packer_cli::ui::{Appearance, Artifact as Shown, BuildId, Event as Said, Signal};
use imgbuild_plan::{Ancestry, Generation, Moved, Plan, Reason, Status};
use imgbuild_postprocessors::{Artifact, PostContext, run_chains};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::chains::{GoTemplates, Processes, chains};
use super::events::{BuildVoice, EngineEvents, packer_name};
use super::failure::{self, Asker, Next};
use super::load::{LoadOptions, Place, load};
use super::prepare::{Arguments, Planned, Planner, edges, files, folder_of, makers, secret_key};
use super::{Done, Printer, artifact, check_resume};
use crate::continuity::{Kept, MachineSteps, kept};
use crate::registry;
use crate::secrets::Store;
use crate::session::{Session, cache_error, runtime};
use crate::verbs::{become_root, diagnostic};

/// `build`.
pub(super) fn build(
    command: &Build,
    appearance: Appearance,
    before: &Printer,
    place: &Place,
    global: &Global,
    environment: Environment,
) -> Done {
    let options =
        LoadOptions { ask: true, warn_undeclared: command.warn_on_undeclared_var, ..LoadOptions::default() };
    let loaded = load(&command.template, &command.common, options, place, before)?;
    let recipes = &loaded.recipes.recipes;
    let names: Vec<String> = recipes.iter().map(|recipe| recipe.name.clone()).collect();
    let printer = Arc::new(Printer::new(appearance, &loaded.sensitive, names, &place.cwd));
    before.tell_sources(&printer);
    printer.diagnostics(&loaded.warnings);
    printer.diagnostics(&loaded.recipes.warnings);
    if recipes.is_empty() {
        return Err(Diagnostic::error("no builds to run")
            .hint("`-only` and `-except` leave none, or the template has none; `inspect` lists them")
            .into());
    }
    let edges = edges(recipes, place)?;
    if command.purpose == Purpose::CheckResume
        && let Some(needy) = edges.iter().position(|needs| !needs.is_empty())
    {
        let what = format!(
            "`-check-resume` makes no artifacts, and `{}` reads one of another build",
            recipes[needy].name
        );
        return Err(Diagnostic::error(what)
            .hint("leave it out by `-except`, or name the others by `-only`")
            .into());
    }
    let shell = Shell::of_process(global, &environment);
    let mut session = Session::new(global, environment, shell)?;
    let cache = session.cache()?;
    let run_uuid = uuid::Uuid::new_v4().to_string();
    let holes = Holes::new(secret_key(&cache)?, loaded.sensitive.iter().map(String::as_str));
    holes.define(Volatile::RunUuid, &run_uuid);
    let resume = command.resume.into();
    let planner = Planner {
        place,
        template: command.template.clone(),
        reuse: command.reuse,
        holes: &holes,
        epochs: std::sync::Mutex::default(),
        keeps_epochs: matches!(command.purpose, Purpose::Build | Purpose::CheckResume),
        machines: match (command.purpose, resume) {
            (Purpose::CheckResume, _) => MachineSteps::Again,
            (_, resume) => MachineSteps::asked(resume),
        },
        args: arguments(command, &loaded),
        real: OnceLock::new(),
    };
    let first = first_plans(&planner, recipes, &edges, &mut session)?;
    if matches!(command.purpose, Purpose::Plan | Purpose::Explain) {
        printer.diagnostics(&warnings(&first));
        return show_plan(&first, recipes, &cache, &printer, command.purpose);
    }
    // Only images need a namespace: all else is done as the user who asks for it.
    let needs_trees = |(recipe, first): (&Recipe, &First)| {
        &*recipe.kind == "rootfs"
            && first.planned().is_none_or(|planned| planned.plan.running().next().is_some())
    };
    if recipes.iter().zip(&first).any(needs_trees) {
        become_root(&session)?;
    }
    let refused: Vec<Diagnostic> = first
        .iter()
        .filter_map(|first| match first {
            First::Refused(why) => Some((**why).clone()),
            _ => None,
        })
        .collect();
    printer.diagnostics(&Diagnostics(refused));
    printer.diagnostics(&warnings(&first));
    let archives = registry::archives(
        &session.config,
        session.environment(),
        cache.clone(),
        Session::now(),
        session.ui.clone(),
    );
    let house = House {
        command,
        place,
        printer: printer.clone(),
        cache,
        sensitive: &loaded.sensitive,
        run_uuid,
        registry: registry::registry(archives, session.environment(), resume),
        store: Arc::new(Store::new(
            session.environment().home.clone(),
            session.config.secret_providers.clone(),
        )),
        turn: Arc::default(),
        jobs: session.config.jobs,
        cancel: Cancel::new(),
    };
    run_all(&house, recipes, &edges, first, &planner, session)
}

/// The warnings of all builds, each once.
fn warnings(planned: &[First]) -> Diagnostics {
    let mut once: Vec<Diagnostic> = Vec::new();
    for warning in planned.iter().filter_map(First::planned).flat_map(|planned| &planned.lowered.warnings.0) {
        if !once.contains(warning) {
            once.push(warning.clone());
        }
    }
    Diagnostics(once)
}

/// What all builds of a run share.
pub(super) struct House<'a> {
    pub(super) command: &'a Build,
    place: &'a Place,
    printer: Arc<Printer>,
    pub(super) cache: Cache,
    sensitive: &'a [String],
    run_uuid: String,
    registry: Registry,
    store: Arc<Store>,
    /// Who asks the user waits for it.
    pub(super) turn: Arc<Mutex<()>>,
    jobs: Option<std::num::NonZeroUsize>,
    pub(super) cancel: Cancel,
}

/// The texts that actions get in place of marks, and what is masked in all output.
fn fillings(holes: &Holes, sensitive: &[String]) -> Fillings {
    let texts: BTreeMap<String, Secret> =
        holes.all().into_iter().map(|hole| (hole.mark, hole.text)).collect();
    let masked: Vec<NamedSecret> = sensitive
        .iter()
        .map(|text| NamedSecret {
            name: "sensitive".to_owned(),
            value: Secret::new(text.as_bytes().to_vec()),
        })
        .collect();
    Fillings::new(texts, &masked)
}

/// What is known of a build before anything runs.
enum First {
    /// Its plan.
    Planned(Box<Planned>),
    /// It is planned when the artifacts that it reads are there.
    Later,
    /// It cannot be carried out here: why.
    Refused(Box<Diagnostic>),
}

impl First {
    fn planned(&self) -> Option<&Planned> {
        match self {
            Self::Planned(planned) => Some(planned),
            Self::Later | Self::Refused(_) => None,
        }
    }
}

/// Plans all builds that need no artifact of another, and looks at all. What is wrong is to be known before anything runs.
fn first_plans(
    planner: &Planner<'_>,
    recipes: &[Recipe],
    edges: &[Vec<usize>],
    session: &mut Session,
) -> Result<Vec<First>, Diagnostics> {
    let made: Vec<_> = makers(recipes, planner.place).into_iter().map(|(path, _)| path).collect();
    let is_error = |problem: &Diagnostic| problem.severity == imgbuild_model::Severity::Error;
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for recipe in recipes {
        match planner.lower(recipe, &made) {
            Ok(lowered) => {
                let is_native =
                    lowered.as_ref().is_ok_and(|lowered| !matches!(lowered.makes, Makes::Delegated { .. }));
                if is_native && let Err(diagnostics) = chains(recipe, &Fillings::default()) {
                    problems.extend(diagnostics.0);
                }
                found.push(lowered);
            }
            Err(diagnostics) => problems.extend(diagnostics.0.into_iter().filter(is_error)),
        }
    }
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }
    found
        .into_iter()
        .zip(edges)
        .map(|(lowered, needs)| match lowered {
            Err(why) => Ok(First::Refused(Box::new(why))),
            Ok(_) if !needs.is_empty() => Ok(First::Later),
            Ok(lowered) => planner.plan(lowered, session).map(|planned| First::Planned(Box::new(planned))),
        })
        .collect()
}

/// What a real `packer` gets: the same variables, and what is to be done with what.
fn arguments(command: &Build, loaded: &imgbuild_packer::load::Loaded) -> Arguments {
    let files = command.common.var_files.iter().map(|file| format!("-var-file={}", file.display()));
    let on_error = match command.on_error {
        OnError::Cleanup | OnError::Ask => None,
        OnError::Abort => Some("-on-error=abort".to_owned()),
        OnError::RunCleanupProvisioner => Some("-on-error=run-cleanup-provisioner".to_owned()),
    };
    let force = command.force.then(|| "-force".to_owned());
    let except = command.common.except.iter().map(|pattern| format!("-except={pattern}"));
    Arguments {
        words: files.chain(except).chain(on_error).chain(force).collect(),
        variables: loaded.given(&command.common.vars),
    }
}

/// `-plan`, and `-explain`, which also says what moved when steps that are there now last ran.
fn show_plan(
    planned: &[First],
    recipes: &[Recipe],
    cache: &Cache,
    printer: &Printer,
    purpose: Purpose,
) -> Done {
    for (planned, recipe) in planned.iter().zip(recipes) {
        let planned = match planned {
            First::Planned(planned) => planned,
            First::Later => {
                let text = "planned when the artifact of another build that it reads is there";
                printer.say(&format!("{}: {text}", recipe.name));
                continue;
            }
            First::Refused(why) => {
                printer.say(&format!("{}: cannot be built: {}", recipe.name, in_a_line(why)));
                continue;
            }
        };
        let actions = &planned.plan.actions;
        printer.say(&format!(
            "{}: {} of {} steps run",
            recipe.name,
            planned.plan.running().count(),
            actions.len()
        ));
        let mut ancestry = Ancestry::new(planned.keys.context(), cache, Generation::BeforeLastChange);
        let kept = kept(&planned.keys.graph, &planned.plan, cache);
        let mark = |place: usize| kept.get(&place).map(Kept::to_string).unwrap_or_default();
        for (place, (node, action)) in planned.keys.graph.nodes.iter().zip(actions).enumerate() {
            let what = node.describe();
            match &action.status {
                Status::Run(Reason::Changed { changes }) if purpose == Purpose::Explain => {
                    printer.say(&format!("  run     {what}"));
                    changes.iter().for_each(|change| printer.say(&format!("            {change}")));
                }
                Status::Run(reason) => printer.say(&format!("  run     {what}: {reason}")),
                _ if purpose == Purpose::Explain => {
                    let key = action.key.map(|key| key.0.short()).unwrap_or_default();
                    printer.say(&format!("  cached  {what} ({key}){}", mark(place)));
                    let keys = |needed: usize| actions[needed].key;
                    let moved = ancestry.moved(place, &keys).map_err(|error| cache_error(&error))?;
                    if let Moved::Own(changes) = moved {
                        changes
                            .iter()
                            .for_each(|change| printer.say(&format!("            last ran: {change}")));
                    }
                }
                _ => printer.say(&format!("  cached  {what}{}", mark(place))),
            }
        }
    }
    Ok(exit::SUCCESS)
}

/// How a build ended.
type Ended = Result<Vec<Artifact>, String>;

fn run_all(
    house: &House<'_>,
    recipes: &[Recipe],
    edges: &[Vec<usize>],
    first: Vec<First>,
    planner: &Planner<'_>,
    session: Session,
) -> Done {
    let started = Instant::now();
    let ids: Vec<BuildId> = {
        let ui = house.printer.ui.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ui.builds().collect()
    };
    let debug = house.command.debug;
    house.printer.with(|ui, now| ui.event(now, &Said::Started { debug }));
    let limit = match (debug, house.command.parallel_builds) {
        (true, _) => 1,
        (false, Some(limit)) => usize::try_from(limit.get()).unwrap_or(usize::MAX >> 4),
        (false, None) => recipes.len(),
    };
    let permits = Semaphore::new(limit.min(Semaphore::MAX_PERMITS));
    let session = Mutex::new(session);
    let runtime = runtime()?;
    let cancelled = runtime.block_on(async {
        let listener = house.cancel.listen_for_signals().map_err(|error| diagnostic(error.into(), None))?;
        // Each build tells those that wait for it whether it has succeeded.
        let (senders, receivers): (Vec<_>, Vec<_>) =
            recipes.iter().map(|_| watch::channel(None::<bool>)).unzip();
        let builds = recipes.iter().zip(first).enumerate().map(|(index, (recipe, planned))| {
            let needs: Vec<_> =
                edges[index].iter().map(|needed| (*needed, receivers[*needed].clone())).collect();
            let (id, sender, permits, session) = (ids[index], &senders[index], &permits, &session);
            async move {
                let ended = async {
                    if let First::Refused(why) = &planned {
                        return Err(in_a_line(why));
                    }
                    for (needed, mut receiver) in needs {
                        let done = receiver.wait_for(Option::is_some).await.map(|done| *done == Some(true));
                        if !done.unwrap_or(false) {
                            return Err(format!(
                                "`{}`, whose artifact it reads, was not built",
                                recipes[needed].name
                            ));
                        }
                    }
                    let _permit = permits.acquire().await.map_err(|error| error.to_string())?;
                    let planned = match planned {
                        First::Planned(planned) => *planned,
                        First::Refused(_) | First::Later => {
                            let mut session = session.lock().await;
                            plan_late(planner, recipe, &mut session)
                                .map_err(|problems| first_message(&problems))?
                        }
                    };
                    // A build that was planned only now may hold marks that there were not before.
                    let fillings = Arc::new(fillings(planner.holes, house.sensitive));
                    let builder = Arc::clone(&recipe.kind);
                    let voice = BuildVoice { printer: house.printer.clone(), build: id, builder, fillings };
                    one(house, recipe, planner, &planned, &voice).await
                };
                let began = Instant::now();
                let ended: Ended = ended.await;
                let _ = sender.send(Some(ended.is_ok()));
                let result =
                    ended.map(|artifacts| artifacts.iter().map(|artifact| Some(shown(artifact))).collect());
                let finished = Said::BuildFinished { build: id, duration: began.elapsed(), result };
                house.printer.with(|ui, now| ui.event(now, &finished));
            }
        });
        let told = async {
            house.cancel.cancelled().await;
            let signal = match house.cancel.reason() {
                Some(CancelReason::Signal(StopSignal::Terminate)) => Signal::Terminate,
                _ => Signal::Interrupt,
            };
            house.printer.with(|ui, now| ui.event(now, &Said::Interrupted { signal }));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = futures::future::join_all(builds) => {}
            () = told => {}
        }
        drop(listener);
        Ok::<_, Diagnostic>(house.cancel.is_cancelled())
    })?;
    let duration = started.elapsed();
    house.printer.with(|ui, now| ui.event(now, &Said::Finished { duration, cancelled }));
    Ok(if cancelled { exit::FAILURE } else { house.printer.exit_code() })
}

/// Plans a build while others run. On a thread of its own: to ask archives takes a runtime, and there is one around this.
fn plan_late(planner: &Planner<'_>, recipe: &Recipe, session: &mut Session) -> Result<Planned, Diagnostics> {
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let plan = || match planner.lower(recipe, &[])? {
                Ok(lowered) => planner.plan(lowered, session),
                Err(why) => Err(why.into()),
            };
            let planned = scope.spawn(plan).join();
            planned
                .unwrap_or_else(|_| Err(Diagnostic::error("the plan was not made").class(Class::Bug).into()))
        })
    })
}

fn first_message(problems: &Diagnostics) -> String {
    problems.0.first().map(in_a_line).unwrap_or_default()
}

/// What went wrong and what to do, for the one line that a build has.
fn in_a_line(problem: &Diagnostic) -> String {
    match &problem.hint {
        Some(hint) => format!("{}; {hint}", problem.message),
        None => problem.message.clone(),
    }
}

fn shown(artifact: &Artifact) -> Shown {
    Shown {
        builder_id: artifact.builder_id.clone(),
        id: artifact.id.clone(),
        text: artifact.description.clone(),
        files: artifact.files.iter().map(|file| file.display().to_string()).collect(),
    }
}

/// Carries out one build, and what happens to its artifact.
async fn one(
    house: &House<'_>,
    recipe: &Recipe,
    planner: &Planner<'_>,
    planned: &Planned,
    voice: &BuildVoice,
) -> Ended {
    let checks = house.command.purpose == Purpose::CheckResume;
    if checks && check_resume::steps(planned) == 0 {
        voice.say("There is no step of a virtual machine to be looked at");
        return Ok(Vec::new());
    }
    tell_cached(planned, voice);
    let report = loop {
        let report = execute(house, planned, voice).await.map_err(|error| in_a_line(&error))?;
        let Some(failure) = report.failures.first().filter(|_| !house.cancel.is_cancelled()) else {
            break report;
        };
        let next = failure::after(house, planner, planned, (&report, failure), voice).await;
        if !matches!(next, Ok(Next::Again)) {
            break report;
        }
    };
    if let Some(Failure { error, .. }) = report.failures.first() {
        return Err(match error {
            ActionError::Other(problem) | ActionError::MachineLost(problem) => in_a_line(problem),
            other => other.to_string(),
        });
    }
    if report.cancelled || house.cancel.is_cancelled() {
        return Err("it was cancelled".to_owned());
    }
    if checks {
        check_resume::look(house, planned, &report, voice).await.map_err(|problem| in_a_line(&problem))?;
        return Ok(Vec::new());
    }
    if let Makes::Delegated { action } = planned.lowered.makes {
        return artifact::delegated(action, planned, &report, &house.cache)
            .map_err(|problems| first_message(&problems));
    }
    Asker::new(house, planned, voice).provisioned().await.map_err(|error| error.to_string())?;
    let made = artifact::make(planned, &report, &house.cache, &voice.fillings, &|text| voice.say(text))
        .map_err(|problems| first_message(&problems))?;
    let chains = chains(recipe, &voice.fillings).map_err(|problems| first_message(&problems))?;
    let context = post_context(house, recipe, voice);
    let outcome = {
        let mut work = std::pin::pin!(run_chains(&context, &chains, made));
        match house.cancel.unless_cancelled(&mut work).await {
            Some(outcome) => outcome,
            None => {
                context.cancel.cancel();
                work.await
            }
        }
    };
    match outcome.errors.0.as_slice() {
        [] => Ok(outcome.artifacts),
        errors => Err(errors.iter().map(in_a_line).collect::<Vec<_>>().join("; ")),
    }
}

fn post_context(house: &House<'_>, recipe: &Recipe, voice: &BuildVoice) -> PostContext {
    let mut context = PostContext::new(
        house.place.cwd.clone(),
        house.cache.clone(),
        Arc::new(GoTemplates),
        Arc::new(voice.clone()),
        Arc::new(Processes {
            cache: house.cache.clone(),
            folder: folder_of(&house.command.template, house.place),
        }),
        CancellationToken::new(),
    );
    context.build_name = recipe.source.to_string();
    context.builder_type = recipe.kind.to_string();
    context.run_uuid.clone_from(&house.run_uuid);
    context.force = house.command.force;
    context.time = Session::now();
    context.generated =
        generated(&house.run_uuid).into_iter().map(|(name, value)| (name, value.into())).collect();
    context
}

/// One line for the provisioners whose results are there already.
fn tell_cached(planned: &Planned, voice: &BuildVoice) {
    let mut told = None;
    for (place, node) in planned.keys.graph.nodes.iter().enumerate() {
        let provisioner = planned.lowered.provisioners.get(node.reference.index as usize).copied().flatten();
        let runs = matches!(planned.plan.actions[place].status, Status::Run(_));
        let is_whole = node.schema.id == "packer_build";
        if runs || !is_whole && (provisioner.is_none() || provisioner == told) {
            continue;
        }
        told = provisioner;
        let created = planned.plan.actions[place].result.as_ref().map(|result| result.created);
        let age = created.and_then(|created| u64::try_from(Session::now() - created).ok());
        let step = packer_name(node.schema.id).to_owned();
        voice.tell(Said::Cached { build: voice.build, step, age: age.map(std::time::Duration::from_secs) });
    }
}

pub(super) async fn execute(
    house: &House<'_>,
    planned: &Planned,
    voice: &BuildVoice,
) -> Result<RunReport, Diagnostic> {
    let failed = |error: ActionError| diagnostic(error, None);
    for (node, action) in planned.keys.graph.nodes.iter().zip(&planned.plan.actions) {
        if let (Status::Hit { .. }, Some(result)) = (&action.status, &action.result) {
            outputs::restore(&house.cache, node, result, Path::new("/")).map_err(failed)?;
        }
    }
    if planned.plan.running().next().is_none() {
        let results = planned.plan.actions.iter().enumerate();
        let results = results.filter_map(|(place, action)| Some((place, action.result.clone()?))).collect();
        return Ok(RunReport { results, hits: planned.plan.actions.len(), ..RunReport::default() });
    }
    carry_out(house, planned, planned.plan.clone(), voice, Results::Kept).await
}

/// Runs what a plan says.
pub(super) async fn carry_out(
    house: &House<'_>,
    planned: &Planned,
    plan: Plan,
    voice: &BuildVoice,
    results: Results,
) -> Result<RunReport, Diagnostic> {
    // A cleanup provisioner goes on from behind the last step that did not fail.
    let checkpoints = match planned.lowered.cleanup {
        Some(_) => Checkpoints::Everywhere,
        None => Checkpoints::ByPolicy,
    };
    let request = RunRequest {
        keys: planned.keys.clone(),
        plan,
        files: files(),
        cache: house.cache.clone(),
        registry: house.registry.clone(),
        secrets: house.store.clone(),
        fillings: voice.fillings.clone(),
        prompt: Arc::new(Asker::new(house, planned, voice)),
        options: RunOptions { jobs: house.jobs, keep_going: false, results, checkpoints },
        now: Session::now(),
        cancel: house.cancel.clone(),
        events: Arc::new(EngineEvents { voice: voice.clone(), graph: planned.keys.graph.clone() }),
    };
    imgbuild_engine::execute(request).await.map_err(|error| diagnostic(error, None))
}
