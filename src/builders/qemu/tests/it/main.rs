//! Real machines under TCG, with a small guest of Debian's kernel and busybox.

mod guest;
mod machines;
mod media;
mod memory;
mod overlays;
mod typing;
