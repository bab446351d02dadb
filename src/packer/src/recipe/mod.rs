//! What templates of both kinds end in: for each build its builder, its provisioners and its post-processors, with
//! configurations whose expressions are evaluated and whose Go templates are rendered.
//!
//! A [`Recipe`] knows no language any more. What only a running build can tell is still a Go template in it, and so are the
//! attributes that a component renders itself, as their schemas say.

mod body;
mod hcl;
mod legacy;

use std::sync::Arc;
use std::time::Duration;

use imgbuild_kinds::Dialect;
use imgbuild_model::{Diagnostics, Location, Node};

use crate::interpolate::Reads;

pub use hcl::of_template;
pub use legacy::of_legacy;

/// A build: a builder and what is done with what it makes.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The name that output begins with, and by which the build is chosen in templates in HCL.
    pub name: String,
    /// The name by which the build is chosen in templates in JSON.
    pub plain_name: String,
    /// The kind of builder.
    pub kind: Arc<str>,
    /// The name of the source as it is declared: `PACKER_BUILD_NAME`.
    pub source: Arc<str>,
    /// What the builder is configured with.
    pub settings: Node,
    /// What runs on the machine, in order.
    pub provisioners: Vec<Step>,
    /// What runs if something failed.
    pub error_cleanup: Option<Step>,
    /// What happens to the artifact, by chain; none is empty.
    pub post_processors: Vec<Vec<Post>>,
    /// Where the source is declared.
    pub location: Location,
    /// Where the build is declared, if that is another place.
    pub build: Option<Location>,
    /// Whose conversions hold.
    pub dialect: Dialect,
}

impl Recipe {
    /// What its image is called as a target of a workspace, and so in the names of its artifacts: its own name without
    /// the kind of builder.
    #[must_use]
    pub fn image_name(&self) -> String {
        let name = match self.dialect {
            Dialect::Legacy => self.plain_name.clone(),
            Dialect::Hcl => match self.name.rsplit_once(&format!("{}.", self.kind)) {
                Some((build, source)) => match build.strip_suffix('.') {
                    Some(build) => format!("{build}-{source}"),
                    None => source.to_owned(),
                },
                None => self.name.clone(),
            },
        };
        let clean = |c: char| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '_' };
        let name: String = name.chars().map(clean).collect();
        if name.trim_matches('.').is_empty() { "image".to_owned() } else { name }
    }
}

/// A provisioner of a build.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its kind.
    pub kind: Arc<str>,
    /// How long to wait before each attempt.
    pub pause_before: Duration,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How many further attempts there are.
    pub max_retries: u32,
    /// Whether the build goes on if it fails.
    pub continue_on_error: bool,
    /// What it is configured with.
    pub settings: Node,
    /// Where it is.
    pub location: Location,
}

/// A post-processor of a build.
#[derive(Clone, Debug)]
pub struct Post {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// Whether what it is given is kept, if that is said.
    pub keep_input_artifact: Option<bool>,
    /// What it is configured with.
    pub settings: Node,
    /// Where it is.
    pub location: Location,
}

/// The recipes of a template, and what else came of them.
#[derive(Clone, Debug, Default)]
pub struct Recipes {
    /// One for each build, in the order in which builds start.
    pub recipes: Vec<Recipe>,
    /// Warnings.
    pub warnings: Diagnostics,
    /// What the Go templates asked for.
    pub reads: Reads,
}
