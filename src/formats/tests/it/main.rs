//! Drives the writers and readers against each other and against the tools of the field: tar, skopeo, umoci, podman, and
//! the validators of SPDX and CycloneDX. A tool that is missing skips its test with a word.

mod export;
mod fixture;
mod golden;
mod hostile;
mod interop;
mod memory;
mod merging;
mod sbom;
