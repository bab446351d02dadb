//! The rootfs builder: layers as overlay directories, steps in namespaces.
//!
//! A layer is a folder. To run a step, the folders of its ancestors are stacked by [`overlay`] into a mount that is
//! attached nowhere, and [`sandbox`] runs one command in it, in fresh namespaces, through a small helper process.
//! Steps that need no process (files, accounts, unit links) work on the same mount through [`files`]. All of it runs
//! as root or, once [`userns::enter`] has been called, as an ordinary user.
//!
//! Not here: what a layer's changes are called (the tree crate), where layers are kept (the cache), in what order
//! steps run (the engine).

pub mod binfmt;
mod copy;
pub mod files;
mod leaks;
mod machine;
mod mounts;
pub mod overlay;
pub mod sandbox;
mod seal;
pub mod userns;

pub use machine::{KEY, RootfsBuilder};
