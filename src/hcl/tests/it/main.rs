//! Tests of the language.

mod support;
mod tables;
mod trees;
