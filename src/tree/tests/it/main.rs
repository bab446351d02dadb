//! The crate from outside: encoding, merge semantics against a model, and capture on real file systems.

mod capture;
mod encoding;
mod model;
mod overlay;
