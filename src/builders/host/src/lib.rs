//! The host builder: machines that are there already, reached over SSH, as Packer's builder `null` has them.
//!
//! Such a machine is not made, not copied and not ended here: what steps do to it stays, nothing of it is a layer, and so
//! every step runs in every build. What is not here: the protocol, which is `imgbuild-ssh`'s.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use imgbuild_engine::{
    ActionContext, ActionError, Builder, Executor, Machine, MachineSpec, Outcome, Session, Snapshot,
};
use imgbuild_model::Stream;
use imgbuild_ssh::{Believed, HostKeys, SshSession, Surroundings, connect_after, milliseconds, settings_of};

/// The builder's name and version, as it enters keys.
pub const KEY: &str = "host/1";

/// How long a machine may take to take away what its steps were given, when a run ends.
const FAREWELL: Duration = Duration::from_secs(10);

/// Machines that are there already. The steps of a chain share one connection.
#[derive(Clone)]
pub struct HostBuilder {
    surroundings: Arc<Surroundings>,
    idle: Idle,
    believed: Believed,
}

/// Sessions that wait for the next step of a chain, by run and chain.
type Idle = Arc<Mutex<HashMap<(String, String), SshSession>>>;

impl HostBuilder {
    /// With the user's surroundings.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        Self { surroundings: Arc::new(surroundings), idle: Idle::default(), believed: Believed::default() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Builder for HostBuilder {
    fn key(&self) -> &str {
        KEY
    }

    async fn start(&self, _from: &Snapshot, spec: &MachineSpec) -> Result<Box<dyn Machine>, ActionError> {
        let chain = name(spec);
        let idle = lock(&self.idle).remove(&chain);
        let session = match idle {
            Some(session) => session,
            None => self.connect(spec).await?,
        };
        Ok(Box::new(Host { session, chain, idle: self.idle.clone() }))
    }

    async fn run_ended(&self, ended: &str) {
        let sessions: Vec<SshSession> = {
            let mut idle = lock(&self.idle);
            idle.extract_if(|(run, _), _| run == ended).map(|(_, session)| session).collect()
        };
        for session in sessions {
            // A machine that is gone without a word would be waited for.
            let _ = tokio::time::timeout(FAREWELL, session.end()).await;
        }
    }
}

/// What a session waits for.
fn name(spec: &MachineSpec) -> (String, String) {
    (spec.run.id().to_string(), spec.chain.clone())
}

impl HostBuilder {
    async fn connect(&self, spec: &MachineSpec) -> Result<SshSession, ActionError> {
        let known = self.surroundings.home.as_ref().map(|home| home.join(".ssh/known_hosts"));
        // As with Packer, which trusts whoever answers: what the user knows is held against it, the rest is believed.
        let host_keys = HostKeys::AcceptNew(known, self.believed.clone());
        let settings = settings_of(&spec.source, &self.surroundings, host_keys)?;
        let pause = milliseconds(&spec.source, "pause_before_connecting");
        let connection = connect_after(settings, pause).await?;
        Ok(SshSession::new(connection))
    }
}

/// One machine, connected.
struct Host {
    session: SshSession,
    chain: (String, String),
    idle: Idle,
}

#[async_trait]
impl Machine for Host {
    fn session(&mut self) -> &mut dyn Session {
        &mut self.session
    }

    async fn finish(self: Box<Self>) -> Result<Snapshot, ActionError> {
        self.discard().await?;
        Ok(Snapshot::default())
    }

    async fn discard(mut self: Box<Self>) -> Result<(), ActionError> {
        self.session.take_away().await;
        lock(&self.idle).insert(self.chain, self.session);
        Ok(())
    }
}

/// The code behind the source `host`: the machine is reached before anything is done to it.
pub struct Reach {
    builder: HostBuilder,
}

impl Reach {
    /// For the steps that this builder carries out.
    #[must_use]
    pub fn new(builder: HostBuilder) -> Self {
        Self { builder }
    }
}

#[async_trait]
impl Executor for Reach {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        context.line(Stream::Stdout, "Waiting for SSH to become available...");
        let spec = context.machine_spec();
        let before = self.builder.believed.hosts();
        let session = context.cancel.unless_cancelled(self.builder.connect(&spec)).await;
        let session = session.unwrap_or(Err(ActionError::Cancelled))?;
        for (host, key) in self.builder.believed.hosts() {
            if !before.contains_key(&host) {
                let warning =
                    format!("Warning: {host} is not in ~/.ssh/known_hosts; its key {key} is believed");
                context.line(Stream::Stderr, &warning);
            }
        }
        context.line(Stream::Stdout, "Connected to SSH!");
        lock(&self.builder.idle).insert(name(&spec), session);
        Ok(Outcome::default())
    }
}
