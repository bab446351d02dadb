//! Tests of the language.

mod properties;
mod support;
mod tables;
mod trees;
