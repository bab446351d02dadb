//! Drives the front end from outside, on workspaces in memory.

mod analysis;
mod attributes;
mod globs;
mod limits;
mod loads;
mod messages;
mod prelude;
mod workspace;
