//! What the engine promises, with a builder and executors that live in memory and a real cache.

mod checkpoints;
mod incremental;
mod processes;
mod runs;
mod world;
