//! Servers for tests: one that answers as it is told, and real ones where this machine has them.

mod real;
mod stand_in;

pub use real::{ConsulAgent, MotoServer};
pub use stand_in::{Request, StandIn};
