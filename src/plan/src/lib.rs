//! From patterns to a plan: configuration, the walk over targets, keys, the lock file, reasons, queries.
//!
//! What is here: everything that decides *whether* something runs and *why*. It reads files and the cache's index and
//! changes neither. What is not: anything that runs (the engine), any language (the front ends).

mod digests;
mod files;
mod graph;
mod history;
mod key;
mod key_context;
mod key_values;
mod lock;
mod machines;
mod packages;
mod plan;
mod query;
mod reason;
#[cfg(feature = "testing")]
pub mod testing;
mod walk;

pub use digests::{InputDigest, InputDigests};
pub use files::DiskFiles;
pub use graph::{ActionGraph, ActionNode};
pub use history::{Ancestry, Generation, Moved, duration_key, slot};
pub use key::{Component, Fingerprint, KEY_SCHEMA, Reference, content_key, fingerprint};
pub use key_context::{Builders, KeyContext, KeyInputs, Tools, program_path};
pub use lock::{
    DebianPin, DebianRequest, ImagePin, ImageRequest, IndexPin, IndexRequest, LOCK_FILE, LockError, LockFile,
    OF_IMAGE, PackageArchive, PinLineError, PinRequest, PinnedClosure, PinnedPackage, default_source_date,
};
pub use packages::PackageState;
pub use plan::{FUSED, NOT_KEPT_MEMO, Plan, PlanOptions, Planned, Status, plan};
pub use query::{Query, QueryError, QueryGraph, parse as parse_query};
pub use reason::{Change, ChangeKind, Reason, changes};
pub use walk::{Analyzed, ConfiguredTarget, Entry, Node, Root, Selection, TargetId, Walk};
