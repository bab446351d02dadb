//! File trees as data: the canonical manifest of a layer's changes (its *delta*).
//!
//! A layer is a directory as overlayfs writes it: changed files whole, removed ones as whiteouts. [`DeltaManifest`]
//! says the same in one canonical form whose hash names the delta, whoever captured it, as root or in a user
//! namespace. What is here: the types, their encoding, the capture of a directory, the check of one against its
//! manifest, the tree that a stack of deltas shows. What is not: where trees are kept (the cache) and how they are
//! mounted (the rootfs builder).

mod attributes;
mod capture;
mod encoding;
mod error;
mod manifest;
mod merge;
mod scan;
mod verify;
mod view;

pub use attributes::XattrNamespace;
pub use capture::{CaptureOptions, Exclusion, capture, prepare_root};
pub use encoding::{DecodeError, InvalidManifest};
pub use error::{Error, Result};
pub use manifest::{DeltaId, DeltaManifest, Entry, Metadata, Node, TreePath};
pub use merge::{MergedEntry, merge, squash};
pub use verify::{Mismatch, MismatchKind, verify};
pub use view::{EmptyView, LinkGroup, MergedView, ParentView};
