//! Tests of the tables and of the check, from outside.

mod builtin;
mod check;
mod packer;
mod plugins;
mod registry;
mod support;
