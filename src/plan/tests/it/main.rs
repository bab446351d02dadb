//! What the planner promises, from outside.

mod golden;
mod mutation;
mod samples;
mod statuses;
mod support;
mod walk;
