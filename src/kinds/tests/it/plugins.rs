//! Components of plugins: a configuration as people write it, and what each slip brings.

mod amazon;
mod ansible;
mod boards;
mod clouds;
mod containers;
mod guests;
mod hypervisors;
mod qemu;
mod vagrant;
