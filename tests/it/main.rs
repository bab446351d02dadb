//! Drives the built program from outside, as a user would.

mod basics;
mod examples;
mod faults;
mod images;
mod seal;
mod secrets;
mod support;
