//! Tests of the functions.

mod contract;
mod host;
mod limits;
mod packer;
mod properties;
mod support;
mod tables;
