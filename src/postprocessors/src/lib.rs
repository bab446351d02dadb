//! What happens to artifacts after a build: Packer's post-processors that are native here, and their chains.
//!
//! A [`PostProcessor`] is made from plain settings, which the caller has evaluated, and turns one [`Artifact`] into
//! another. [`run_chains`] runs them as Packer does and decides which files stay. [`local_command`] runs programs on the
//! host; the provisioner `shell-local` shares it.
//!
//! What is not here: any template language (a caller gives a [`LateTemplate`]), the clock, the journal (a caller gives a
//! [`local_command::ProcessJournal`]), the masking of secrets (the [`OutputSink`]'s matter), and artifacts that are no files.

mod artifact;
mod artifice;
mod chain;
mod checksum;
mod compress;
mod context;
mod files;
mod glob;
mod go_json;
pub mod local_command;
mod manifest;
mod shell_local;

use async_trait::async_trait;
use imgbuild_model::Diagnostic;

pub use artifact::{Artifact, Destroy, Removal};
pub use artifice::{Artifice, ArtificeSettings};
pub use chain::{Chain, ChainOutcome, Link, run_chains};
pub use checksum::{Checksum, ChecksumSettings};
pub use compress::{Compress, CompressSettings};
pub use context::{LateTemplate, OutputSink, PostContext, Speaker, TemplateData, Voice};
pub use glob::{Pattern, glob};
pub use manifest::{Manifest, ManifestSettings};
pub use shell_local::{ShellLocal, ShellLocalSettings};

/// What a post-processor made of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Processed {
    /// The artifact that the next of the chain gets; without one the chain ends here.
    pub artifact: Option<Artifact>,
    /// Whether the input stays when the user does not say.
    pub keep_input: bool,
    /// Whether an input that [`Processed::keep_input`] keeps stays even when the user says that it shall not.
    pub force_keep: bool,
    /// The files that were written, as the settings name them.
    pub written: Vec<std::path::PathBuf>,
}

/// One kind of post-processor with its settings.
#[async_trait]
pub trait PostProcessor: Send + Sync {
    /// The name that templates use, for example `compress`.
    fn kind(&self) -> &'static str;

    /// Processes one artifact.
    ///
    /// # Errors
    ///
    /// What the user must know. Nothing half-written is left behind then.
    async fn process(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic>;
}
