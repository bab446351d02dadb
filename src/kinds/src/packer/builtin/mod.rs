//! The components that Packer itself brings.

mod builders;
mod data_sources;
mod post_processors;
mod provisioners;

use imgbuild_model::KindSchema;

/// Each built-in component.
pub(super) static ALL: &[&KindSchema] = &[
    &builders::NULL,
    &builders::FILE,
    &provisioners::SHELL,
    &provisioners::SHELL_LOCAL,
    &provisioners::FILE,
    &provisioners::BREAKPOINT,
    &provisioners::SLEEP,
    &provisioners::POWERSHELL,
    &provisioners::WINDOWS_SHELL,
    &provisioners::WINDOWS_RESTART,
    &provisioners::HCP_SBOM,
    &post_processors::MANIFEST,
    &post_processors::CHECKSUM,
    &post_processors::COMPRESS,
    &post_processors::ARTIFICE,
    &post_processors::SHELL_LOCAL,
    &post_processors::PROVENANCE,
    &data_sources::HTTP,
    &data_sources::NULL,
    &data_sources::HCP_VERSION,
    &data_sources::HCP_ARTIFACT,
    &data_sources::HCP_ITERATION,
    &data_sources::HCP_IMAGE,
];
