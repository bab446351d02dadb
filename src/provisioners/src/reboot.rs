//! `reboot`: the machine is started anew.

use std::time::Duration;

use async_trait::async_trait;
use imgbuild_engine::{ActionContext, ActionError, Command, Exit, Reboot, Session};
use imgbuild_model::Stream;

use crate::Provisioner;

/// How long is waited between two tries of the check.
const PAUSE: Duration = Duration::from_secs(1);

/// The code behind `reboot`.
pub(crate) struct Restart;

#[async_trait]
impl Provisioner for Restart {
    async fn provision(&self, context: &ActionContext, session: &mut dyn Session) -> Result<(), ActionError> {
        let limit = context.number("timeout").and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(300);
        let reboot = Reboot { command: context.text("command"), limit: Duration::from_secs(limit) };
        context.line(Stream::Stdout, "Restarting the machine...");
        session.reboot(&reboot).await?;
        if let Some(check) = context.text("check_command") {
            let argv = ["/bin/sh", "-c", &check].map(str::to_owned).to_vec();
            let command = Command { argv, ..Command::default() };
            // The step's `timeout` ends this.
            while !succeeds(context, session, &command).await? {
                tokio::time::sleep(PAUSE).await;
            }
        }
        context.line(Stream::Stdout, "The machine is back");
        Ok(())
    }
}

/// Whether a command succeeds; one during which the machine goes away once more does not.
async fn succeeds(
    context: &ActionContext,
    session: &mut dyn Session,
    command: &Command,
) -> Result<bool, ActionError> {
    match session.exec(command, &mut |stream, line| context.line(stream, line)).await {
        Ok(exit) => Ok(exit == Exit::Code(0)),
        Err(ActionError::MachineLost(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
