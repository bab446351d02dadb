//! Tests of the language.

mod functions;
mod packer;
mod peers;
mod properties;
mod support;
mod tables;
mod trees;
