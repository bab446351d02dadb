//! Carries out a plan: what builders and the code behind kinds agree on, the scheduler, the journal.
//!
//! All side effects of a build live below this crate's traits. What is not here: any builder, any kind's code, any
//! rendering; why something runs (the planner).

pub mod cancel;
mod context;
mod contract;
mod execute;
pub mod journal;
pub mod outputs;
pub mod resources;
pub mod scheduler;
pub mod secrets;

/// Set for the program executed again to become root in a user namespace of its own. It is for this program alone.
pub const ENTER_MARKER: &str = "IMGBUILD_ENTER_NAMESPACE";

pub use cancel::Cancel;
pub use context::{ActionContext, InputFile};
pub use contract::{
    ActionError, Bind, Builder, Command, DelegatedArtifact, Executor, Exit, FileOperation, LayerMetadata,
    Machine, MachineSpec, Nobody, OnLine, Outcome, Prompt, Session, SharedExecutor, Snapshot, Stat,
    UnitState, UserSpec, files_output, layer_output,
};
pub use execute::{
    FAILED_MEMO, FailedState, Failure, LOG_MEMO, Registry, RunOptions, RunReport, RunRequest, execute,
    failed_memo_key,
};
