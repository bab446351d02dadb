//! `apt_resolve`: the closure of packages on a layer whose packages are known only once it is there.

use std::sync::Arc;

use async_trait::async_trait;
use imgbuild_cache::OutputFile;
use imgbuild_debian::lock::LockedClosure;
use imgbuild_debian::solve::{Request, Universe, solve};
use imgbuild_debian::status::State;
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome};
use imgbuild_model::{Class, Diagnostic};
use imgbuild_plan::{IndexRequest, PackageState};

use super::{CLOSURE, bug};
use crate::resolve::{Archive, Problem, SuiteIndexes, blocking, pinned_indexes, solve_diagnostic, specs};

/// dpkg's database of what is installed.
const STATUS: &str = "/var/lib/dpkg/status";
/// The architectures that dpkg installs packages of.
const ARCHITECTURES: &str = "/var/lib/dpkg/arch";

/// The code behind `apt_resolve`.
pub(super) struct Resolve {
    pub(super) archive: Arc<Archive>,
}

#[async_trait]
impl Executor for Resolve {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let PackageState::Unknown(request) = &context.node().packages else {
            return Err(bug("`apt_resolve` is not needed where the packages are known"));
        };
        let Some(pin) = context.lock.index(request) else {
            return Err(bug("the lock file does not have the package indexes"));
        };
        let work = async {
            let (state, foreign) = installed(context).await?;
            let indexes = pinned_indexes(&self.archive, pin).await?;
            let packages = context.texts("packages");
            let native = request.platform.architecture.debian_name();
            let solved = blocking(move || solve_on(&indexes, native, &foreign, &state, &packages)).await?;
            Ok::<_, ActionError>(solved?)
        };
        let closure = context.cancel.unless_cancelled(work).await.ok_or(ActionError::Cancelled)??;
        let json = serde_json::to_vec(&closure).map_err(|error| bug(&error.to_string()))?;
        let cache = context.cache.clone();
        let stored = blocking(move || cache.put_bytes(&json)).await??;
        let file = OutputFile { path: CLOSURE.to_owned(), digest: stored.digest, executable: false };
        Ok(Outcome { files: vec![file], ..Outcome::default() })
    }
}

/// What the parent layer has installed, and the foreign architectures that it allows.
async fn installed(context: &ActionContext) -> Result<(State, Vec<String>), ActionError> {
    let mut machine = context.machine(&context.parent()).await?;
    let status = machine.session().read(STATUS).await;
    let architectures = machine.session().read(ARCHITECTURES).await;
    machine.discard().await?;
    let damaged = |problem: String| {
        ActionError::input(format!("`{STATUS}` in the image is damaged: {problem}"))
            .hint("a step before this one has changed it")
    };
    let status = status?.ok_or_else(|| {
        ActionError::input(format!("the image has no `{STATUS}`, so nothing can be installed in it"))
            .hint("a step before this one has removed it")
    })?;
    let status = String::from_utf8(status).map_err(|error| damaged(error.to_string()))?;
    let state = State::parse(&status).map_err(|error| damaged(error.to_string()))?;
    let native = context.platform().architecture.debian_name();
    let architectures = String::from_utf8_lossy(&architectures?.unwrap_or_default()).into_owned();
    let foreign =
        architectures.split_whitespace().filter(|name| *name != native).map(str::to_owned).collect();
    Ok((state, foreign))
}

fn solve_on(
    indexes: &SuiteIndexes,
    native: &str,
    foreign: &[String],
    state: &State,
    packages: &[String],
) -> Result<LockedClosure, Problem> {
    let install = specs(packages)?;
    if let Some(spec) =
        install.iter().find(|spec| spec.architecture.as_deref().is_some_and(|name| name != native))
    {
        return Err(Diagnostic::error(format!(
            "`{spec}` cannot be found: only indexes of `{native}` are locked here"
        ))
        .hint("packages of another architecture must come before the first `shell` step of a chain")
        .into());
    }
    let request = Request { install, ..Request::default() };
    let universe = Universe::new(&indexes.indexes, native, foreign);
    let solution = solve(&universe, state, &request)
        .map_err(|error| solve_diagnostic(&format!("`apt_install` of {}", packages.join(" ")), &error))?;
    // Without a date: an index of another day that gives the same packages is to give the same output.
    Ok(LockedClosure::new(&solution, None))
}

/// The closure that an `apt_resolve` found, with the date that its indexes were locked at.
pub(super) fn closure(context: &ActionContext, index: &IndexRequest) -> Result<LockedClosure, ActionError> {
    let result = context.node().resolve.and_then(|place| context.result(place));
    let file = result.and_then(|result| result.files.iter().find(|file| file.path == CLOSURE));
    let file = file.ok_or_else(|| bug("the packages of this `apt_install` were not resolved"))?;
    let bytes = context.cache.read(&file.digest)?;
    let closure: LockedClosure = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the resolved packages cannot be read: {error}");
        ActionError::from(Diagnostic::error(message).class(Class::Environment))
            .hint("run `imgbuild cache verify`, then build again")
    })?;
    let date = context.lock.index(index).and_then(|pin| jiff::Timestamp::from_second(pin.date).ok());
    Ok(LockedClosure { date, ..closure })
}
