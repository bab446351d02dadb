//! Tests of the functions.

mod contract;
mod host;
mod packer;
mod support;
mod tables;
