//! Carries out a plan: what builders and the code behind kinds agree on, the scheduler, the journal.
//!
//! All side effects of a build live below this crate's traits. What is not here: any builder, any kind's code, any
//! rendering; why something runs (the planner).

pub mod cancel;
mod checkpoint;
mod connection;
mod context;
mod contract;
mod execute;
pub mod journal;
pub mod outputs;
pub mod resources;
mod run;
pub mod scheduler;
pub mod secrets;

/// Set for the program executed again to become root in a user namespace of its own. It is for this program alone.
pub const ENTER_MARKER: &str = "IMGBUILD_ENTER_NAMESPACE";

/// What is in a mutex, also where somebody has panicked who held it.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

pub use cancel::Cancel;
pub use checkpoint::{Continuity, believed, price_of_space};
pub use connection::{ConnectionFacts, PrivateKeyFacts, Via};
pub use context::{ActionContext, InputFile};
pub use contract::{
    ActionError, Bind, Builder, Command, DelegatedArtifact, Executor, Exit, FREE_SPACE, FileOperation,
    LayerMetadata, Machine, MachineId, MachineSpec, Nobody, OnLine, Outcome, PassedOn, Prompt, Reboot,
    Session, SharedExecutor, Snapshot, Stat, Told, UnitState, UserSpec, files_output, layer_output,
};
pub use execute::execute;
pub use run::{
    Checkpoints, FAILED_MEMO, FailedState, Failure, LOG_MEMO, Registry, Results, RunOptions, RunReport,
    RunRequest, failed_memo_key,
};
