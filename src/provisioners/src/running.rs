//! Checks of a system that runs: units and ports. Of a tree they cannot be asked, and the planner refuses them there.

use std::time::Duration;

use imgbuild_checks::machine::{Fact, Machine, Problem, Surroundings};
use imgbuild_engine::{ActionContext, ActionError, Session};
use imgbuild_model::{Attributes, Step, Value};
use imgbuild_plan::{ActionGraph, ActionNode};
use tokio::time::Instant;

use crate::checks::Verdict;

/// How long a system may take to start what it starts at boot, before it is looked at as it is then.
const BOOT: Duration = Duration::from_secs(10 * 60);
/// How long to wait before it is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a test starts a machine from an image's disk, which is part of what it tests.
pub(crate) fn boots(node: &ActionNode, graph: &ActionGraph) -> bool {
    node.chain_source.is_some_and(|place| graph.nodes[place].schema.id == "boot")
}

/// Whether a check is of what runs, and so of what has been started by then.
pub(crate) fn is_of_a_system(check: &Step) -> bool {
    matches!(
        check.kind.as_str(),
        "unit_active" | "port_listening" | "testinfra" | "goss" | "command_succeeds"
    )
}

/// Waits until a machine has started what it starts at boot.
///
/// # Errors
/// If it is lost meanwhile, or the run is cancelled.
pub(crate) async fn wait_for_boot(
    context: &ActionContext,
    session: &mut dyn Session,
) -> Result<(), ActionError> {
    if !context.node().logs_in() {
        return Ok(());
    }
    let mut machine = Machine::new(session, true, Surroundings::default());
    let waited = context.cancel.unless_cancelled(machine.wait_for_boot(BOOT)).await;
    match waited.ok_or(ActionError::Cancelled)? {
        Err(Problem::Machine(error)) => Err(error),
        _ => Ok(()),
    }
}

/// The check `unit_active`.
pub(crate) async fn unit_active(
    context: &ActionContext,
    attributes: &Attributes,
    session: &mut dyn Session,
) -> Result<Verdict, ActionError> {
    let name = attributes.str("name").unwrap_or_default();
    let mut machine = Machine::new(session, context.node().logs_in(), Surroundings::default());
    let until = deadline(attributes);
    loop {
        let found = match machine.is_running(name).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => machine.unit_state(name).await.map(|state| Err(format!("it is {state}"))),
            Err(problem) => Err(problem),
        };
        if let Some(verdict) = settled(found, until)? {
            return Ok(verdict);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The check `port_listening`.
pub(crate) async fn port_listening(
    context: &ActionContext,
    attributes: &Attributes,
    session: &mut dyn Session,
) -> Result<Verdict, ActionError> {
    let port = attributes.get("port").and_then(Value::as_int).unwrap_or_default();
    let protocol = attributes.str("protocol").unwrap_or("tcp");
    let wanted = attributes.str("address");
    let mut machine = Machine::new(session, context.node().logs_in(), Surroundings::default());
    let until = deadline(attributes);
    loop {
        let found = listeners(&mut machine, protocol, port).await.map(|found| match wanted {
            _ if found.is_empty() => Err("nobody listens on it".to_owned()),
            Some(address) if !found.iter().any(|other| other == address) => {
                Err(format!("it is listened on at {}, expected {address}", found.join(", ")))
            }
            _ => Ok(()),
        });
        if let Some(verdict) = settled(found, until)? {
            return Ok(verdict);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The addresses of both versions of IP at which a port is listened on.
async fn listeners(machine: &mut Machine<'_>, protocol: &str, port: i64) -> Fact<Vec<String>> {
    let mut found = machine.listeners(&format!("{protocol}:{port}")).await?;
    found.extend(machine.listeners(&format!("{protocol}6:{port}")).await?);
    Ok(found)
}

/// Until when a check that does not hold is made again.
fn deadline(attributes: &Attributes) -> Instant {
    let seconds = attributes.get("within").and_then(Value::as_int);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
    Instant::now() + Duration::from_secs(seconds)
}

/// What came of a check; `None` if it is to be made again.
fn settled(found: Fact<Verdict>, until: Instant) -> Result<Option<Verdict>, ActionError> {
    let verdict = match found {
        Ok(verdict) => verdict,
        Err(Problem::Machine(error)) => return Err(error),
        Err(Problem::NotBooted(what) | Problem::Unknown(what)) => Err(what),
    };
    Ok((verdict.is_ok() || Instant::now() + PAUSE > until).then_some(verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_yet_is_looked_at_again_as_long_as_there_is_time() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        let failing = || Ok(Err("no".to_owned()));
        assert_eq!(settled(Ok(Ok(())), later).unwrap(), Some(Ok(())));
        assert_eq!(settled(failing(), later).unwrap(), None);
        assert_eq!(settled(failing(), now).unwrap(), Some(Err("no".to_owned())));
        let unknown = Err(Problem::NotBooted("it does not run".to_owned()));
        assert_eq!(settled(unknown, now).unwrap(), Some(Err("it does not run".to_owned())));
        assert!(settled(Err(Problem::Machine(ActionError::Cancelled)), later).is_err());
    }
}
