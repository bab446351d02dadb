//! What all steps have in common: a machine is started from the parent, the step is carried out in it, and what
//! changed is kept.

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome, Session};

/// The code behind a kind of step.
#[async_trait]
pub trait Provisioner: Send + Sync {
    /// Carries out the step.
    ///
    /// # Errors
    /// What went wrong, for the user.
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError>;

    /// Whether it ends by itself, and in good order, when the run is cancelled.
    fn heeds_cancel(&self) -> bool {
        false
    }
}

/// Makes a layer with a [`Provisioner`].
pub struct StepExecutor<P> {
    provisioner: P,
}

impl<P> StepExecutor<P> {
    /// With this code.
    pub fn new(provisioner: P) -> Self {
        Self { provisioner }
    }
}

#[async_trait]
impl<P: Provisioner> Executor for StepExecutor<P> {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let mut machine = context.machine(&context.parent()).await?;
        let work = self.provisioner.provision(context, machine.session());
        let outcome = match self.provisioner.heeds_cancel() {
            true => work.await,
            false => context.cancel.unless_cancelled(work).await.unwrap_or(Err(ActionError::Cancelled)),
        };
        match outcome {
            Ok(()) => context.finish(machine).await,
            Err(error) if error.left_a_state() && !context.node().logs_in() => {
                let full = context.disk_is_full();
                // A state that holds a secret, or does not fit on the disk, is not kept; the step's own error is what
                // the user must hear of.
                match machine.finish().await {
                    Ok(state) => {
                        if let Ok(mut failed) = context.failed_state.lock() {
                            *failed = Some(state);
                        }
                    }
                    Err(problem) => tracing::warn!(%problem, "the state of the failure was not kept"),
                }
                Err(if full { error.on_full_disk() } else { error })
            }
            Err(error) => {
                // The step's own error says more than one of the clearing up.
                let _ = machine.discard().await;
                Err(error)
            }
        }
    }
}
