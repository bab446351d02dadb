//! Chains of post-processors, and which artifacts stay. The rules are Packer's (`packer/build.go`):
//!
//! - Every chain starts from the builder's artifact. Each link gets what the one before it made.
//! - The builder's artifact stays if there is no chain, or if the first link of any chain keeps its input. Each later link
//!   decides about its predecessor's artifact.
//! - `keep_input_artifact` of the user wins over what the link says, unless the link must have its input.
//! - A link that makes no artifact ends its chain, and decides nothing.
//! - An error ends its chain and no other; all errors are reported.
//!
//! Where the outcome is the same and fewer builds fail, this differs: a file of the builder's artifact is removed after the
//! last chain, so that no chain takes it from the next; and a file that the link's own artifact consists of is not removed
//! with its input.

use std::io;
use std::path::PathBuf;

use imgbuild_model::{Class, Diagnostic, Diagnostics};

use crate::artifact::Removal;
use crate::{Artifact, PostContext, PostProcessor};

/// One post-processor of a chain.
pub struct Link {
    /// The name that the template gives it; Packer's lines show it. In JSON templates it is the kind by default.
    pub name: String,
    /// The post-processor.
    pub processor: Box<dyn PostProcessor>,
    /// `keep_input_artifact`, if the user wrote it.
    pub keep_input: Option<bool>,
}

/// Post-processors of which each works on what the one before it made.
pub type Chain = Vec<Link>;

/// What all chains of a build came to.
#[derive(Debug, Default)]
pub struct ChainOutcome {
    /// What is there in the end: the builder's own artifact first, if it stays, then those of the chains in their order.
    pub artifacts: Vec<Artifact>,
    /// The files that were written, in their order.
    pub written: Vec<PathBuf>,
    /// The files and folders that were removed with artifacts that did not stay.
    pub removed: Vec<PathBuf>,
    /// What went wrong, in any chain.
    pub errors: Diagnostics,
}

/// Runs all chains on what a builder made, one after the other.
///
/// A chain that fails does not stop the others; a run that is cancelled does, and then nothing more is removed.
pub async fn run_chains(context: &PostContext, chains: &[Chain], built: Artifact) -> ChainOutcome {
    let mut run = Run {
        context,
        built: &built,
        keep_built: chains.is_empty(),
        in_use: Vec::new(),
        late: Vec::new(),
        outcome: ChainOutcome::default(),
    };
    for chain in chains {
        if let Err(error) = run.chain(chain).await {
            run.outcome.errors.0.push(error);
        }
        if context.cancel.is_cancelled() {
            break;
        }
    }
    run.end()
}

struct Run<'a> {
    context: &'a PostContext,
    built: &'a Artifact,
    keep_built: bool,
    /// Files of the builder's artifact that the first links' artifacts consist of too.
    in_use: Vec<PathBuf>,
    /// What of the builder's artifact goes in any case, once all chains have run.
    late: Vec<Removal>,
    outcome: ChainOutcome,
}

impl Run<'_> {
    async fn chain(&mut self, chain: &Chain) -> Result<(), Diagnostic> {
        let mut prior = self.built.clone();
        for (index, link) in chain.iter().enumerate() {
            self.context.check_cancelled()?;
            let kind = link.processor.kind();
            self.context.say(&announcement(&link.name, kind));
            let context = self.context.for_post_processor(kind);
            let processed = link.processor.process(&context, &prior).await.map_err(|error| {
                error.note(format!("in the post-processor `{kind}` of `{}`", context.build_name), None)
            })?;
            self.outcome.written.extend(processed.written);
            let Some(artifact) = processed.artifact else { return Ok(()) };
            let keep = match link.keep_input {
                Some(false) if processed.keep_input && processed.force_keep => true,
                Some(keep) => keep,
                None => processed.keep_input,
            };
            let input = std::mem::replace(&mut prior, artifact);
            match (index, keep) {
                (0, true) => self.keep_built = true,
                (0, false) => self.in_use.extend(prior.files.iter().cloned()),
                (_, true) => self.outcome.artifacts.push(input),
                (_, false) => self.remove_prior(&input, &prior.files),
            }
        }
        if !chain.is_empty() {
            self.outcome.artifacts.push(prior);
        }
        Ok(())
    }

    /// Removes what a link did not keep: what is the builder's only later, and never what `in_use` names.
    fn remove_prior(&mut self, input: &Artifact, in_use: &[PathBuf]) {
        for removal in input.removes() {
            if self.is_builders(&removal) {
                if !self.holds(&removal, in_use) {
                    self.late.push(removal);
                }
            } else {
                self.remove(removal, in_use);
            }
        }
    }

    /// Whether it is of the builder's artifact, whoever holds it now.
    fn is_builders(&self, removal: &Removal) -> bool {
        let path = self.context.resolve(removal.path());
        let removed = self.built.removes();
        let own = self.built.files.iter().map(PathBuf::as_path).chain(removed.iter().map(Removal::path));
        own.map(|own| self.context.resolve(own)).any(|own| path.starts_with(own))
    }

    fn end(mut self) -> ChainOutcome {
        let is_cancelled = self.context.cancel.is_cancelled();
        if !is_cancelled {
            for removal in std::mem::take(&mut self.late) {
                self.remove(removal, &[]);
            }
        }
        if self.keep_built || is_cancelled {
            self.outcome.artifacts.insert(0, self.built.clone());
        } else {
            let in_use = std::mem::take(&mut self.in_use);
            for removal in self.built.removes() {
                self.remove(removal, &in_use);
            }
        }
        self.outcome
    }

    fn holds(&self, removal: &Removal, in_use: &[PathBuf]) -> bool {
        let path = self.context.resolve(removal.path());
        in_use.iter().any(|file| self.context.resolve(file).starts_with(&path))
    }

    fn remove(&mut self, removal: Removal, in_use: &[PathBuf]) {
        if self.holds(&removal, in_use) || self.outcome.removed.iter().any(|path| path == removal.path()) {
            return;
        }
        let path = self.context.resolve(removal.path());
        let removed = match removal {
            Removal::File(_) => fs_err::remove_file(&path),
            Removal::Folder(_) => fs_err::remove_dir_all(&path),
        };
        match removed {
            Ok(()) => self.outcome.removed.push(removal.path().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.outcome.errors.0.push(
                Diagnostic::error(format!("an artifact that is not kept could not be removed: {error}"))
                    .class(Class::Environment),
            ),
        }
    }
}

/// The line before a post-processor.
fn announcement(name: &str, kind: &str) -> String {
    if name == kind {
        format!("Running post-processor: {kind}")
    } else {
        format!("Running post-processor: {name} (type {kind})")
    }
}
