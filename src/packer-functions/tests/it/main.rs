//! Tests of the functions.

mod contract;
mod host;
mod packer;
mod properties;
mod support;
mod tables;
