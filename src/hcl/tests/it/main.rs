//! Tests of the language.

mod packer;
mod peers;
mod properties;
mod support;
mod tables;
mod trees;
