//! Components of plugins: a configuration as people write it, and what each slip brings.

mod amazon;
mod containers;
mod qemu;
