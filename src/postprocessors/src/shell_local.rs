//! `shell-local` as a post-processor: commands on the host, after which the artifact goes on as it is.

use async_trait::async_trait;
use imgbuild_model::{Diagnostic, Diagnostics};

use crate::local_command::{LocalCommand, LocalCommandSettings};
use crate::{Artifact, PostContext, PostProcessor, Processed};

/// The settings of `shell-local`.
pub type ShellLocalSettings = LocalCommandSettings;

/// The post-processor `shell-local`. It keeps its input, whatever the user says, and passes it on.
#[derive(Clone, Debug)]
pub struct ShellLocal(LocalCommand);

impl ShellLocal {
    /// # Errors
    ///
    /// As [`LocalCommand::new`].
    pub fn new(mut settings: ShellLocalSettings) -> Result<Self, Diagnostics> {
        // A post-processor once took a text here, which `sh` ran; a list of one is such a text.
        if let [text] = &settings.execute_command[..] {
            settings.execute_command = vec!["sh".to_owned(), "-c".to_owned(), text.clone()];
        }
        Ok(Self(LocalCommand::new(settings)?))
    }

    /// What it runs.
    #[must_use]
    pub fn command(&self) -> &LocalCommand {
        &self.0
    }
}

#[async_trait]
impl PostProcessor for ShellLocal {
    fn kind(&self) -> &'static str {
        "shell-local"
    }

    async fn process(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic> {
        self.0.run(&context.local()).await?;
        Ok(Processed {
            artifact: Some(input.clone()),
            keep_input: true,
            force_keep: true,
            written: Vec::new(),
        })
    }
}
