//! Checks of machines by goss files, evaluated through a session, without goss in the machine.
//!
//! [`load`] reads a goss file with its templates and includes, [`check`] asks the machine ([`machine`]) and compares
//! ([`matcher`]), [`report`] writes what was found. The language, and which values are converted before they are
//! compared, is that of goss 0.4; a test compares the verdicts with those of a real goss where there is one.
//!
//! Differences: a key that is a slip of the finger is an error, what only a booted system knows is never taken from the
//! host, and of Sprig's functions those that checks use are there. What is not here: how a machine comes to be, and
//! where results go.

pub mod datum;
mod gjson;
mod goss;
mod gossfile;
pub mod machine;
pub mod matcher;
mod patterns;
pub mod report;
mod semver;
mod template;
mod yaml;

pub use goss::{NotBooted, check};
pub use gossfile::{GossFile, InputFile, KINDS, Resource, ResourceKind, load, read_vars};
pub use template::{Failure, Known, ReadFiles};
