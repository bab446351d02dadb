//! The edge of the program that a person meets: the command line, the configuration, what is shown while it works,
//! and the documents generated from these. Not what the verbs do: that is in the binary.

pub mod args;
pub mod config;
pub mod diagnostics;
pub mod generate;
pub mod ui;
