//! `artifice`: other files as the artifact, in place of what the builder says.

use async_trait::async_trait;
use imgbuild_model::Diagnostic;

use crate::artifact::joined;
use crate::glob::{Pattern, glob};
use crate::{Artifact, PostContext, PostProcessor, Processed};

/// The settings of `artifice`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArtificeSettings {
    /// Patterns of the files that are the artifact. One that nothing matches stands for nothing.
    pub files: Vec<String>,
}

/// The post-processor `artifice`. The input stays unless the user says otherwise.
#[derive(Clone, Debug)]
pub struct Artifice(ArtificeSettings);

impl Artifice {
    /// # Errors
    ///
    /// If no file is named, or if a pattern breaks a rule.
    pub fn new(settings: ArtificeSettings) -> Result<Self, Diagnostic> {
        if settings.files.is_empty() {
            return Err(Diagnostic::error("`artifice` needs `files`")
                .hint("name the files that are the artifact, for example `files = [\"output/*.qcow2\"]`"));
        }
        for part in settings.files.iter().flat_map(|pattern| pattern.split('/')) {
            Pattern::new(part)?;
        }
        Ok(Self(settings))
    }
}

#[async_trait]
impl PostProcessor for Artifice {
    fn kind(&self) -> &'static str {
        "artifice"
    }

    async fn process(&self, context: &PostContext, input: &Artifact) -> Result<Processed, Diagnostic> {
        context.check_cancelled()?;
        if !input.files.is_empty() {
            context.say(&format!("Discarding files from artifact: {}", joined(&input.files)));
        }
        let mut files = Vec::new();
        for pattern in &self.0.files {
            let found = glob(&context.folder, pattern)?;
            if found.is_empty() {
                context.warn(&format!("Warning: `{pattern}` matches no file"));
            }
            files.extend(found);
        }
        let list = joined(&files);
        context.say(format!("Using these artifact files: {list}").trim_end());
        let description = format!("Created artifact from files: {list}");
        Ok(Processed {
            artifact: Some(Artifact::of_files(self.kind(), description, files)),
            keep_input: true,
            force_keep: false,
            written: Vec::new(),
        })
    }
}
