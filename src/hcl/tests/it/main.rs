//! Tests of the language.

mod functions;
mod limits;
mod packer;
mod peers;
mod properties;
mod support;
mod tables;
mod trees;
