//! The cache from outside, on real file systems: what is stored, what is collected, and what is left after a crash,
//! a full disk or two processes at once.

mod actions;
mod blobs;
mod chunks;
mod crash;
mod files;
mod full_disk;
mod gc;
mod layers;
mod processes;
mod records;
mod support;
mod warm;
