//! A machine that is there, as steps use it, and what becomes of it between them.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use imgbuild_cache::{Staged, WarmSnapshot, WarmStaged};
use imgbuild_engine::{
    ActionError, Command, ConnectionFacts, Exit, FileOperation, Machine as EngineMachine, MachineId,
    MachineSpec as Wanted, OnLine, Reboot, Results, Session, Snapshot, Stat, price_of_space,
};
use imgbuild_model::Class;
use imgbuild_ssh::{SshSession, Stdin};
use imgbuild_tree::DeltaId;

use super::access::Access;
use super::attributes::Source;
use super::disks::{self, TPM_STATE, VARIABLES, file_name};
use super::host::Host;
use super::start::{CONSOLE_LINES, MEMORY_LIMIT, fingerprint_of, halted, with_console};
use super::warm::{About, MEMORY, Measured, STATE};
use super::{QemuBuilder, Waiting, guest, lock};
use crate::process::{Ended, Machine};
use crate::qmp::NewOverlay;
use crate::spec::MachineSpec;
use crate::tpm::TpmEmulator;

/// How long is waited for QEMU's end, where a connection was lost and it may be about to be gone.
const MOMENT: Duration = Duration::from_secs(2);
/// How long a sealed machine may take to stop by itself.
const STOP: Duration = Duration::from_secs(30);

/// A machine of which we are in.
pub(crate) struct Live {
    pub(crate) machine: Machine,
    pub(crate) session: SshSession,
    pub(crate) access: Access,
    pub(crate) host: Arc<Host>,
    /// The machine as it was started.
    pub(crate) spec: MachineSpec,
    /// The layers that its images lie over.
    pub(crate) layers: Vec<DeltaId>,
    /// The folder of its images.
    pub(crate) staged: Staged,
    /// The folder of seeds and their like, which goes with the machine.
    pub(crate) _media: tempfile::TempDir,
    /// The sizes of its disks, in bytes.
    pub(crate) sizes: Vec<u64>,
    /// Its firmware variables.
    pub(crate) variables: Option<PathBuf>,
    /// Its TPM.
    pub(crate) tpm: Option<TpmEmulator>,
    /// How many times new images were put over the old ones.
    pub(crate) generation: usize,
    /// Whether something sensitive may be in its memory.
    pub(crate) sensitive: bool,
    /// Whether its memory can be of use to another machine.
    pub(crate) keeps_memory: bool,
    /// What it was woken from, until something was done in it.
    pub(crate) woken: Option<WarmSnapshot>,
}

impl Live {
    /// Ends it at once.
    pub(crate) async fn kill(mut self) {
        self.machine.kill().await;
    }

    /// The node of a disk's image.
    fn node(&self, disk: usize, generation: usize) -> String {
        if generation == 0 { format!("disk{disk}") } else { format!("disk{disk}-{generation}") }
    }

    /// Copies the firmware variables, and what its TPM keeps, of a machine that stands still.
    fn copy_variables(&self, folder: &Path) -> Result<(), ActionError> {
        if let Some(variables) = &self.variables {
            fs_err::copy(variables, folder.join(VARIABLES))?;
        }
        if let Some(state) = self.tpm.as_ref().and_then(TpmEmulator::state) {
            fs_err::copy(state, folder.join(TPM_STATE))?;
        }
        Ok(())
    }

    /// Puts new images over those so far; gives the folder of those.
    async fn put_over(&mut self, builder: &QemuBuilder, wanted: &Wanted) -> Result<Staged, ActionError> {
        let next = builder.0.cache.stage(&wanted.run)?;
        let mut overlays = Vec::new();
        for (disk, size) in self.sizes.iter().enumerate() {
            let path = next.upper().join(file_name(disk));
            disks::create(&self.host.images, &path, *size).await?;
            overlays.push((self.node(disk, self.generation), path, self.node(disk, self.generation + 1)));
        }
        let overlays: Vec<NewOverlay<'_>> = std::iter::zip(&overlays, &self.spec.disks)
            .map(|((node, file, name), disk)| NewOverlay { node, file, name, disk })
            .collect();
        self.machine.qmp().stop().await?;
        self.machine.qmp().put_over(&overlays).await?;
        self.copy_variables(self.staged.upper())?;
        self.machine.qmp().resume().await?;
        self.generation += 1;
        Ok(std::mem::replace(&mut self.staged, next))
    }

    /// Keeps the memory of a machine that goes on.
    async fn keep_memory(
        &mut self,
        builder: &QemuBuilder,
        wanted: &Wanted,
    ) -> Result<(WarmStaged, About), ActionError> {
        let began = Instant::now();
        let mut staged = builder.0.cache.stage_warm(&wanted.run)?;
        self.machine.qmp().stop().await?;
        let kept = async {
            // Before the memory: devices may write to that as they are saved.
            let state = self.machine.save_state(&staged.file(STATE), MEMORY_LIMIT).await?;
            staged.add(STATE, state);
            tokio::task::block_in_place(|| {
                if let Some(memory) = self.machine.memory() {
                    let memory = memory.save(&staged.file(MEMORY))?;
                    staged.add(MEMORY, memory);
                }
                for disk in (0..self.sizes.len()).map(file_name) {
                    staged.copy(&disk, &self.staged.upper().join(&disk))?;
                }
                if let Some(variables) = &self.variables {
                    staged.copy(VARIABLES, variables)?;
                }
                Ok::<_, ActionError>(())
            })
        };
        let kept = kept.await;
        self.machine.qmp().resume().await?;
        kept?;
        let price = began.elapsed() + price_of_space(staged.size());
        Measured::of(&builder.0.cache, wanted).memory_cost(price)?;
        let fingerprint = fingerprint_of(&self.spec, &self.host)?;
        Ok((staged, About { fingerprint, access: self.access.kept() }))
    }

    /// Switches it off as its owner would.
    async fn power_off(&mut self, source: Source<'_>) -> Result<(), ActionError> {
        if let Some(command) = source.shutdown_command() {
            let mut last = String::new();
            let mut keep = |_, line: &str| line.clone_into(&mut last);
            let work = async {
                // The connection may be lost before the command has ended.
                let told = self.session.ssh().exec(command, Stdin::Empty, &mut keep);
                drop(told.await);
                self.machine.wait().await
            };
            match tokio::time::timeout(source.shutdown_timeout(), work).await {
                Ok(ended) => return Ok(ended?),
                Err(_) => {
                    let limit = source.shutdown_timeout().as_secs();
                    let mut what = format!("the machine was not off {limit} s after `shutdown_command`");
                    if !last.trim().is_empty() {
                        what += &format!(", which said `{}`", last.trim());
                    }
                    let error = ActionError::input(what).hint("`shutdown_timeout` gives it more time");
                    return Err(with_console(error, &self.machine.console(CONSOLE_LINES)));
                }
            }
        }
        match self.machine.shut_down(source.shutdown_timeout()).await? {
            Ended::PoweredDown | Ended::Quit => Ok(()),
            Ended::Killed => Err(killed()),
        }
    }

    /// Stops a sealed machine before anything writes to its disks again.
    async fn stop_sealed(&mut self) -> Result<(), ActionError> {
        guest::stop(&self.session).await?;
        if tokio::time::timeout(STOP, self.machine.wait()).await.is_err() {
            // All is written, and file systems are read-only by now.
            if self.machine.quit().await? == Ended::Killed {
                return Err(killed());
            }
        }
        Ok(())
    }
}

/// What is done in a machine, unless QEMU stops it for good meanwhile: nothing in it would ever answer.
async fn unless_halted<T>(
    machine: &Machine,
    work: impl Future<Output = Result<T, ActionError>>,
) -> Result<T, ActionError> {
    tokio::select! {
        done = work => done,
        halt = machine.halted() => Err(with_console(halted(&halt), &machine.console(CONSOLE_LINES))),
    }
}

/// What a machine that had to be killed wrote is not known.
pub(crate) fn killed() -> ActionError {
    ActionError::environment("QEMU did not end when it was told to, and its disks may not be whole")
}

/// How a machine is to end with its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It goes on.
    No,
    /// As its owner would.
    PoweredOff,
    /// As it is.
    Sealed,
}

/// A machine in the hands of a step.
pub(crate) struct QemuMachine {
    builder: QemuBuilder,
    wanted: Wanted,
    live: Live,
    /// Which it is, where it had more than its layers when it was given to the step.
    from: Option<MachineId>,
    end: End,
    /// Whether something was done in it that may have changed it.
    touched: AtomicBool,
}

impl QemuMachine {
    pub(crate) fn new(builder: QemuBuilder, wanted: Wanted, mut live: Live, from: Option<MachineId>) -> Self {
        live.sensitive |= wanted.sensitive;
        Self { builder, wanted, live, from, end: End::No, touched: AtomicBool::new(false) }
    }

    /// An error of the connection, with what QEMU says if it is gone.
    async fn explained(&mut self, error: ActionError) -> ActionError {
        if !matches!(error, ActionError::MachineLost(_)) {
            return error;
        }
        match tokio::time::timeout(MOMENT, self.live.machine.wait()).await {
            Ok(Err(died)) => match ActionError::from(died) {
                ActionError::Other(diagnostic) => ActionError::MachineLost(diagnostic),
                other => other,
            },
            Ok(Ok(())) => with_console(
                ActionError::environment("the machine switched itself off in the step"),
                &self.live.machine.console(CONSOLE_LINES),
            ),
            Err(_) => with_console(error, &self.live.machine.console(CONSOLE_LINES)),
        }
    }

    /// What came of something that was done in it; an error is [`Self::explained`]. Memory in which the first thing fails, and not by
    /// what the user asked for, is not taken again.
    async fn outcome<T>(&mut self, done: Result<T, ActionError>) -> Result<T, ActionError> {
        let woken = self.live.woken.take();
        match done {
            Ok(done) => Ok(done),
            Err(error) => {
                let is_input = matches!(&error, ActionError::Other(why) if why.class == Class::Input);
                if let Some(woken) = woken.filter(|_| !is_input) {
                    self.builder.0.cache.remove_warm_snapshot(woken);
                }
                Err(self.explained(error).await)
            }
        }
    }

    /// Keeps what a machine that goes on has written so far, and lets it wait for the next step.
    async fn keep(mut self: Box<Self>) -> Result<Snapshot, ActionError> {
        let Self { builder, wanted, live, .. } = &mut *self;
        unless_halted(&live.machine, guest::before(&live.session, &live.access)).await?;
        let written = live.put_over(builder, wanted).await?;
        unless_halted(&live.machine, guest::behind(&live.session, &live.access)).await?;
        let warm = Source { wanted }.warm() && live.keeps_memory && !live.sensitive;
        let warm = warm && wanted.results == Results::Kept;
        let warm = warm && Measured::of(&builder.0.cache, wanted).is_memory_worth()?;
        let memory = match warm {
            false => None,
            true => match live.keep_memory(builder, wanted).await {
                Ok(kept) => Some(kept),
                Err(problem) => {
                    live.machine.alive().await?;
                    wanted.told.line(&format!("The machine's memory is not kept: {problem}"));
                    None
                }
            },
        };
        let layers = tokio::task::block_in_place(|| disks::commit(&wanted.run, &live.layers, written))?;
        if let Some((staged, about)) = memory
            && let Err(problem) = tokio::task::block_in_place(|| staged.commit(&layers, &about))
        {
            wanted.told.line(&format!("The machine's memory is not kept: {problem}"));
        }
        self.live.layers.clone_from(&layers);
        self.wait(None).await;
        Ok(Snapshot::of(layers))
    }

    /// Lets it wait for a step that goes on from its layers, or from it alone, where it has more than they.
    async fn wait(self: Box<Self>, alone: Option<MachineId>) {
        let Self { builder, wanted, live, .. } = *self;
        let from = Snapshot { layers: live.layers.clone(), machine: alone };
        let place = (wanted.run.id().to_string(), from);
        let waiting = Waiting { source: wanted.source, files: wanted.files, live };
        let other = lock(&builder.0.waiting).insert(place, waiting);
        if let Some(other) = other {
            other.live.kill().await;
        }
    }

    /// Keeps what a machine that has ended wrote.
    async fn keep_ended(self: Box<Self>) -> Result<Snapshot, ActionError> {
        let Self { wanted, mut live, end, .. } = *self;
        match end {
            End::Sealed => live.stop_sealed().await?,
            End::PoweredOff | End::No => {
                unless_halted(&live.machine, guest::before_end(&live.session, &live.access)).await?;
                live.power_off(Source { wanted: &wanted }).await?;
            }
        }
        live.copy_variables(live.staged.upper())?;
        let Live { layers, staged, .. } = live;
        let layers = tokio::task::block_in_place(|| disks::commit(&wanted.run, &layers, staged))?;
        Ok(Snapshot::of(layers))
    }
}

#[async_trait]
impl EngineMachine for QemuMachine {
    fn session(&mut self) -> &mut dyn Session {
        self
    }

    async fn finish(mut self: Box<Self>) -> Result<Snapshot, ActionError> {
        self.live.session.take_away().await;
        match self.end {
            End::No => self.keep().await,
            End::PoweredOff | End::Sealed => self.keep_ended().await,
        }
    }

    async fn pass_on(mut self: Box<Self>) -> Result<Snapshot, ActionError> {
        if self.end != End::No {
            return self.finish().await;
        }
        self.live.session.take_away().await;
        self.live.machine.alive().await?;
        let machine = self.builder.new_id();
        let layers = self.live.layers.clone();
        self.wait(Some(machine)).await;
        Ok(Snapshot { layers, machine: Some(machine) })
    }

    async fn discard(mut self: Box<Self>) -> Result<(), ActionError> {
        if self.touched.load(Ordering::Relaxed) || self.live.machine.alive().await.is_err() {
            self.live.kill().await;
        } else {
            let from = self.from;
            self.wait(from).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Session for QemuMachine {
    async fn exec(&mut self, command: &Command, on_line: OnLine<'_>) -> Result<Exit, ActionError> {
        self.touched.store(true, Ordering::Relaxed);
        self.live.sensitive |= !command.secrets.is_empty() || !command.secret_env.is_empty();
        let Live { session, machine, .. } = &mut self.live;
        let done = unless_halted(machine, session.exec(command, on_line)).await;
        self.outcome(done).await
    }

    async fn apply(&mut self, operations: Vec<FileOperation>) -> Result<(), ActionError> {
        self.touched.store(true, Ordering::Relaxed);
        for operation in operations {
            match operation {
                FileOperation::Seal => {
                    let Live { session, machine, access, .. } = &self.live;
                    unless_halted(machine, guest::seal(session, access)).await?;
                    self.end = End::Sealed;
                }
                FileOperation::PowerOff if self.end == End::No => self.end = End::PoweredOff,
                FileOperation::PowerOff => {}
                other => {
                    let Live { session, machine, .. } = &mut self.live;
                    let done = unless_halted(machine, session.apply(vec![other])).await;
                    self.outcome(done).await?;
                }
            }
        }
        Ok(())
    }

    async fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, ActionError> {
        self.live.session.read(path).await
    }

    async fn stat(&mut self, path: &str) -> Result<Option<Stat>, ActionError> {
        self.live.session.stat(path).await
    }

    async fn list(&mut self, path: &str) -> Result<Vec<String>, ActionError> {
        self.live.session.list(path).await
    }

    async fn download(&mut self, pattern: &str, folder: &Path) -> Result<Vec<String>, ActionError> {
        self.live.session.download(pattern, folder).await
    }

    async fn identity(&mut self, owner: &str) -> Result<(u32, u32), ActionError> {
        self.live.session.identity(owner).await
    }

    async fn connection(&mut self) -> Result<Option<ConnectionFacts>, ActionError> {
        // Whoever connects by itself may do anything.
        self.touched.store(true, Ordering::Relaxed);
        let Live { session, machine, .. } = &mut self.live;
        let ready = unless_halted(machine, session.connection()).await;
        self.outcome(ready).await
    }

    async fn reboot(&mut self, reboot: &Reboot) -> Result<(), ActionError> {
        self.touched.store(true, Ordering::Relaxed);
        self.live.session.reboot(reboot).await
    }

    fn root(&mut self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn step_folder(&self) -> String {
        self.live.session.step_folder()
    }
}
