//! `debian`, `ubuntu`, `apt_install`, `apt_resolve`: images from the packages of a lock file.
//!
//! What is not here: which packages these are (`resolve`), and how a package is unpacked (the archive's crate). Files of an
//! image are only reached through that crate's root, which no link leads out of, and through commands in the machine.

mod install;
mod solve;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use imgbuild_debian::lock::LockedClosure;
use imgbuild_engine::{
    ActionContext, ActionError, Executor, LayerMetadata, Machine, MachineSpec, Outcome, SharedExecutor,
    Snapshot,
};
use imgbuild_model::{ChainState, Class, Diagnostic};
use imgbuild_plan::{DebianPin, DebianRequest, PackageArchive, PackageState};

use crate::resolve::{Archive, ArchiveConfig, download_packages, locked_closure};
use install::{Installer, Target};

/// The output of an `apt_resolve`.
const CLOSURE: &str = "closure.json";

/// The code behind the kinds that need an archive.
#[must_use]
pub fn debian_executors(config: Arc<ArchiveConfig>) -> HashMap<&'static str, SharedExecutor> {
    let archive = Arc::new(Archive::new(config));
    let source: SharedExecutor = Arc::new(Source { archive: archive.clone() });
    HashMap::from([
        ("debian", source.clone()),
        ("ubuntu", source),
        ("apt_install", Arc::new(Install { archive: archive.clone() }) as SharedExecutor),
        ("apt_resolve", Arc::new(solve::Resolve { archive }) as SharedExecutor),
    ])
}

/// `debian` and `ubuntu`: a root from nothing.
struct Source {
    archive: Arc<Archive>,
}

#[async_trait]
impl Executor for Source {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let Some(source) = &context.node().action.source else {
            return Err(bug("this action is no source"));
        };
        let request = DebianRequest::of_source(source, context.platform());
        let pin = pin(context, &request)?;
        let closure = locked_closure(pin)?;
        let layers =
            make(context, &self.archive, &pin.archive(), &closure, pin.date, &Snapshot::default(), true)
                .await?;
        let metadata = LayerMetadata {
            steps: Vec::new(),
            base: ChainState::default(),
            source_date: pin.date,
            materials: vec![(
                format!("{} {}", request.distribution, pin.codename),
                pin.identity().to_string(),
            )],
        };
        Ok(Outcome { layers: layers.layers, layer: Some(metadata), ..Outcome::default() })
    }
}

/// `apt_install`: packages on top of a layer.
struct Install {
    archive: Arc<Archive>,
}

#[async_trait]
impl Executor for Install {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let (found, closure) = match &context.node().packages {
            PackageState::Known(below) => {
                let pin = pin(context, &below.with_install(context.texts("packages").into_iter()))?;
                (pin.archive(), locked_closure(pin)?)
            }
            PackageState::Unknown(index) => {
                let Some(pin) = context.lock.index(index) else {
                    return Err(bug("the lock file does not have the package indexes"));
                };
                (pin.archive(), solve::closure(context, index)?)
            }
            PackageState::None => return Err(bug("`apt_install` stands on a layer without packages")),
        };
        let parent = context.parent();
        if closure.remove.is_empty() && closure.batches.iter().all(Vec::is_empty) {
            return Ok(Outcome { layers: parent.layers, ..Outcome::default() });
        }
        let date = context.parent_metadata().source_date;
        let layers = make(context, &self.archive, &found, &closure, date, &parent, false).await?;
        Ok(Outcome { layers: layers.layers, ..Outcome::default() })
    }
}

/// Fetches a closure, and installs it on a layer.
async fn make(
    context: &ActionContext,
    archive: &Archive,
    PackageArchive { distribution, suite, .. }: &PackageArchive,
    closure: &LockedClosure,
    source_date: i64,
    parent: &Snapshot,
    bootstrap: bool,
) -> Result<Snapshot, ActionError> {
    let packages: Vec<_> = closure.packages().cloned().collect();
    let progress = |done, total| context.progress("downloading", done, total);
    let download = download_packages(archive, distribution, suite, &packages, closure.date, &progress);
    let files = context.cancel.unless_cancelled(download).await.ok_or(ActionError::Cancelled)??;

    let spec = MachineSpec { source_date, ..context.machine_spec() };
    let mut machine = context.builder.start(parent, &spec).await?;
    let target =
        Target { closure, files: &files, native: context.platform().architecture.debian_name(), bootstrap };
    let installed = match Installer::new(context, machine.session(), target.native) {
        Ok(installer) => installer.run(&target).await,
        Err(error) => Err(error),
    };
    match installed {
        Ok(()) => Ok(machine.finish().await?),
        Err(error) => Err(end(context, machine, error).await),
    }
}

/// Ends a machine in which something failed. The state in which a package's script failed is kept, so that the user can
/// look at it; half an unpacking is of no use to anybody.
async fn end(context: &ActionContext, machine: Box<dyn Machine>, error: install::Failure) -> ActionError {
    let install::Failure { error, keep_state } = error;
    if !keep_state {
        // The failure itself says more than one of the clearing up.
        let _ = machine.discard().await;
        return error;
    }
    match machine.finish().await {
        Ok(state) => {
            if let Ok(mut failed) = context.failed_state.lock() {
                *failed = Some(state);
            }
        }
        Err(problem) => tracing::debug!(%problem, "the state of the failure could not be kept"),
    }
    error
}

fn pin<'c>(context: &'c ActionContext, request: &DebianRequest) -> Result<&'c DebianPin, ActionError> {
    context.lock.debian(request).ok_or_else(|| {
        let name = imgbuild_plan::PinRequest::Debian(request.clone());
        bug(&format!("the lock file does not have {name}"))
    })
}

/// What the planner rules out.
fn bug(message: &str) -> ActionError {
    Diagnostic::error(message).class(Class::Bug).into()
}
