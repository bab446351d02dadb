//! What follows when a build has failed: the user is asked (`-on-error`), the cleanup provisioner runs. And `-debug`, which
//! asks before each provisioner.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use imgbuild_cache::ActionResult;
use imgbuild_engine::{
    ActionError, Cancel, FAILED_MEMO, FailedState, Failure, Prompt, RunReport, failed_memo_key,
};
use imgbuild_model::{Class, Diagnostic, KindClass};
use imgbuild_packer::lower::{Lowered, Makes};
use imgbuild_packer_cli::args::OnError;
use imgbuild_packer_cli::prompt::{self as questions, FailureAnswer, Question};
use imgbuild_packer_cli::ui::Event as Said;
use imgbuild_plan::Status;

use super::build::{House, execute};
use super::events::{BuildVoice, packer_name};
use super::prepare::{Planned, Planner};
use crate::prompt::{can_answer, line};

/// The step of Packer's builders in which provisioners run.
const STEP: &str = "StepProvision";

/// Asks on the terminal in the name of a build; one build at a time.
pub(super) struct Asker {
    voice: BuildVoice,
    turn: Arc<tokio::sync::Mutex<()>>,
    cancel: Cancel,
    /// With `-debug`, the provisioners that were asked about.
    debug: Option<Mutex<BTreeSet<usize>>>,
    /// For each action that is one of a provisioner, by its place: which, and its kind.
    provisioners: Vec<Option<(usize, String)>>,
}

impl Asker {
    pub(super) fn new(house: &House<'_>, planned: &Planned, voice: &BuildVoice) -> Self {
        let provisioner = |node: &imgbuild_plan::ActionNode| {
            let place = *planned.lowered.provisioners.get(node.reference.index as usize)?;
            Some((place?, packer_name(node.schema.id).to_owned()))
        };
        Self {
            voice: voice.clone(),
            turn: Arc::clone(&house.turn),
            cancel: house.cancel.clone(),
            debug: house.command.debug.then(Mutex::default),
            provisioners: planned.keys.graph.nodes.iter().map(provisioner).collect(),
        }
    }

    /// The answer; `None` if there is nobody to ask.
    async fn answer(&self, question: &Question) -> Result<Option<String>, ActionError> {
        let _turn = self.turn.lock().await;
        if let Some(said) = &question.said {
            self.voice.say(said);
        }
        if !can_answer() || !self.voice.ask(&question.text) {
            return Ok(None);
        }
        self.cancel.unless_cancelled(line()).await.unwrap_or(Err(ActionError::Cancelled)).map(Some)
    }

    /// With `-debug`, when provisioners have run.
    pub(super) async fn provisioned(&self) -> Result<(), ActionError> {
        if self.debug.is_some() {
            self.answer(&questions::debug_step(STEP)).await?;
        }
        Ok(())
    }

    /// What to do about a failure.
    async fn about_failure(&self) -> Result<FailureAnswer, ActionError> {
        let mut question = questions::failure(STEP);
        loop {
            let Some(line) = self.answer(&question).await? else { return Ok(FailureAnswer::Cleanup) };
            match questions::failure_answer(&line) {
                Ok(answer) => return Ok(answer),
                Err(wrong) => question.said = Some(wrong),
            }
        }
    }
}

#[async_trait]
impl Prompt for Asker {
    async fn ask(&self, question: &str) -> Result<String, ActionError> {
        let question = Question { said: None, text: question.to_owned() };
        match self.answer(&question).await? {
            Some(line) => Ok(line),
            None => imgbuild_engine::Nobody.ask(&question.text).await,
        }
    }

    async fn before(&self, place: usize) -> Result<(), ActionError> {
        let (Some(asked), Some(Some((provisioner, kind)))) = (&self.debug, self.provisioners.get(place))
        else {
            return Ok(());
        };
        if asked.lock().unwrap_or_else(PoisonError::into_inner).insert(*provisioner) {
            // Whoever does not sit at a terminal goes on.
            self.answer(&questions::debug_provisioner(kind)).await?;
        }
        Ok(())
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The build ends.
    End,
    /// It begins once more: what has succeeded is in the cache, but for commands on the host and on machines that are there already, which run
    /// again.
    Again,
}

/// Does what the user wants done about a failed build.
pub(super) async fn after(
    house: &House<'_>,
    planner: &Planner<'_>,
    planned: &Planned,
    (report, failure): (&RunReport, &Failure),
    voice: &BuildVoice,
) -> Result<Next, ActionError> {
    let node = &planned.keys.graph.nodes[failure.place];
    let was_reached = !(node.live && node.schema.class == KindClass::Source);
    if matches!(planned.lowered.makes, Makes::Delegated { .. } | Makes::File { .. }) || !was_reached {
        return Ok(Next::End);
    }
    let asker = Asker::new(house, planned, voice);
    let (cleans, leaves) = match house.command.on_error {
        OnError::Cleanup => (true, false),
        OnError::RunCleanupProvisioner => (true, true),
        OnError::Abort => {
            voice.say(&questions::aborting(STEP));
            (false, true)
        }
        OnError::Ask => match asker.about_failure().await? {
            FailureAnswer::Retry => return Ok(Next::Again),
            FailureAnswer::Cleanup => (true, false),
            FailureAnswer::Abort => (false, true),
        },
    };
    let left = left(house, planned, report, failure)?;
    if cleans {
        voice.tell(Said::CleanupProvisioner { build: voice.build });
        if let Some(cleanup) = planned.lowered.cleanup.as_deref()
            && let Err(error) = clean(house, planner, cleanup.clone(), left, voice).await
        {
            voice.tell(Said::Error {
                build: voice.build,
                text: format!("Error executing the cleanup provisioner: {error}"),
            });
        }
    }
    if failure.error.left_a_state() && &*voice.builder == "rootfs" {
        let label = &planned.lowered.label;
        let hint = format!("imgbuild shell --failed '{label}'");
        voice.say(&match leaves {
            true => format!("What the step left is kept; enter it with: {hint}"),
            false => format!("To look at what the step left: {hint}"),
        });
    }
    Ok(Next::End)
}

/// What there is of a build that failed, as the result of an action.
fn left(
    house: &House<'_>,
    planned: &Planned,
    report: &RunReport,
    failure: &Failure,
) -> Result<ActionResult, ActionError> {
    let node = &planned.keys.graph.nodes[failure.place];
    let below = node.parent.and_then(|parent| report.results.get(&parent));
    let mut left = below.map_or_else(empty, |result| (**result).clone());
    if failure.error.left_a_state() && node.schema.class == KindClass::Step {
        let memo = house.cache.memo_get(FAILED_MEMO, &failed_memo_key(node.label()));
        let state: Option<FailedState> = memo?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(state) =
            state.filter(|state| state.layers.iter().all(|layer| house.cache.has_layer(layer)))
        {
            left.layers = state.layers;
        }
    }
    Ok(left)
}

fn empty() -> ActionResult {
    ActionResult {
        output: imgbuild_digest::Hash([0; 32]),
        layers: Vec::new(),
        files: Vec::new(),
        metadata: Vec::new(),
        fingerprint: Vec::new(),
        log: None,
        duration: std::time::Duration::ZERO,
        created: 0,
        builder: String::new(),
    }
}

/// Carries the cleanup provisioner out on what is left. What it makes of it is thrown away.
async fn clean(
    house: &House<'_>,
    planner: &Planner<'_>,
    cleanup: Lowered,
    left: ActionResult,
    voice: &BuildVoice,
) -> Result<(), ActionError> {
    let bug = |problem: Diagnostic| ActionError::Other(Box::new(problem));
    let planned = planner.plan_apart(cleanup, &house.cache);
    let mut planned = planned
        .map_err(|problems| {
            problems.0.into_iter().next().unwrap_or_else(|| Diagnostic::error("no plan").class(Class::Bug))
        })
        .map_err(bug)?;
    if let Some(first) = planned.plan.actions.first_mut() {
        first.status = Status::Hit { by_content: true };
        first.result = Some(Arc::new(left));
    }
    let report = execute(house, &planned, voice).await.map_err(bug)?;
    match report.failures.into_iter().next() {
        Some(Failure { error, .. }) => Err(error),
        None => Ok(()),
    }
}
