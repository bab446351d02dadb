//! `build --check-resume`: whether machines can go on from each of their steps. What is looked at is in [`crate::continuity`].

use std::process::ExitCode;
use std::time::Instant;

use imgbuild::args::BuildOptions;
use imgbuild_engine::{ActionError, Cancel, Results, RunReport};
use imgbuild_model::{Diagnostics, Event, EventSink as _};
use imgbuild_plan::{Plan, Selection};

use super::build::{carry_out_and_keep_all, diagnostic, failures, finish, request};
use crate::continuity::{Chains, Finding, MachineSteps};
use crate::registry;
use crate::session::{Planning, Prepared, Session, Want, runtime};

/// Builds the layers of the targets and looks whether their machines can go on.
pub(super) fn check(
    session: &mut Session,
    selection: &Selection,
    options: &BuildOptions,
) -> Result<ExitCode, Diagnostics> {
    let planning = Planning {
        want: Want::Layers,
        locked: options.locked,
        machines: MachineSteps::Again,
        ..Planning::default()
    };
    let prepared = session.prepare(selection, &planning)?;
    let steps = Chains::steps(&prepared.keys.graph).len();
    if steps == 0 {
        session.shell.note(
            "there is no step of a virtual machine to be looked at: other layers are trees, and each of their steps starts from the tree below it",
        );
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let live = carry_out_and_keep_all(session, &prepared, options)?;
    let mut problems = failures(&prepared, &live);
    if !problems.is_empty() || live.cancelled {
        return finish(session, &live, problems, started);
    }
    let cache = session.cache()?;
    let folders = registry::folders();
    let chains = Chains {
        keys: &prepared.keys,
        plan: &prepared.plan,
        live: &live.results,
        cache: &cache,
        folders: &folders,
    };
    let found = look(session, &prepared, options, &chains);
    match found {
        Err(ActionError::Cancelled) => {
            let cancelled = RunReport { cancelled: true, ..live };
            return finish(session, &cancelled, Vec::new(), started);
        }
        Err(error) => problems.push(diagnostic(error, None)),
        Ok(Some(finding)) => problems.push(finding.diagnostic(&prepared.keys.graph)),
        Ok(None) => session.shell.note("the machine can go on from each step: its disks come out the same"),
    }
    finish(session, &live, problems, started)
}

fn look(
    session: &mut Session,
    prepared: &Prepared,
    options: &BuildOptions,
    chains: &Chains<'_>,
) -> Result<Option<Finding>, ActionError> {
    let shell = session.shell.clone();
    let runtime = runtime().map_err(first)?;
    let cancel = Cancel::new();
    runtime.block_on(async {
        let listener = cancel.listen_for_signals().map_err(ActionError::from)?;
        let run = async |plan: Plan| {
            session.ui.emit(Event::RunStarted {
                actions: plan.actions.len(),
                hits: plan.hits(),
                estimate_seconds: plan.estimate_seconds(),
            });
            let request =
                request(session, prepared, plan, options, Results::ThrownAway, &cancel).map_err(first)?;
            imgbuild_engine::execute(request).await
        };
        let found = chains.first_finding(run, &|text| shell.note(text)).await;
        drop(listener);
        found
    })
}

fn first(problems: Diagnostics) -> ActionError {
    problems.0.into_iter().next().map_or(ActionError::Cancelled, ActionError::from)
}
