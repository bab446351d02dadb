//! Tests of the tables and of the check, from outside.

mod builtin;
mod check;
mod registry;
mod support;
