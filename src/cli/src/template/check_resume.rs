//! `build -check-resume` of a template. What is looked at is in [`crate::continuity`].

use imgbuild_engine::{ActionError, Results, RunReport};
use imgbuild_model::Diagnostic;
use imgbuild_plan::Plan;

use super::build::{House, carry_out};
use super::events::BuildVoice;
use super::prepare::Planned;
use crate::continuity::Chains;
use crate::registry;
use crate::verbs::diagnostic;

/// How many steps of a build are looked at.
pub(super) fn steps(planned: &Planned) -> usize {
    Chains::steps(&planned.keys.graph).len()
}

/// Looks whether the machine of a build can go on from each of its steps, after these have run on one machine.
///
/// # Errors
/// From which step it cannot; what could not be run or read.
pub(super) async fn look(
    house: &House<'_>,
    planned: &Planned,
    live: &RunReport,
    voice: &BuildVoice,
) -> Result<(), Diagnostic> {
    let chains = Chains {
        keys: &planned.keys,
        plan: &planned.plan,
        live: &live.results,
        cache: &house.cache,
        folders: &registry::folders(),
    };
    let run = async |plan: Plan| {
        let report = carry_out(house, planned, plan, voice, Results::ThrownAway).await;
        report.map_err(|problem| ActionError::Other(Box::new(problem)))
    };
    let found = chains.first_finding(run, &|text| voice.say(text)).await;
    let Some(finding) = found.map_err(|error| diagnostic(error, None))? else {
        voice.say("The machine can go on from each step: its disks come out the same");
        return Ok(());
    };
    let problem = finding.diagnostic(&planned.keys.graph);
    problem.notes.iter().for_each(|note| voice.say(&note.text));
    Err(problem)
}
