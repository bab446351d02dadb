//! From recipes to the model: each build becomes a chain of the same actions that a `BUILD.star` declares.
//!
//! A provisioner becomes one or more steps, so that its result is kept like that of every other step; what Packer puts into
//! each script's environment and is the same in each run is declared environment. Steps of a template have the network, as
//! templates expect it. Nothing is read here but what stands at a path.

mod chain;
mod config;
mod delegate;
mod holes;
mod host;
mod manage;
mod qemu;
mod rootfs;
mod steps;

use std::sync::Arc;

use imgbuild_kinds::component;
use imgbuild_model::{
    Action, Availability, Configuration, Diagnostic, Diagnostics, KindClass, Label, LayerRef, Location,
};

use crate::recipe::Recipe;
use crate::template::Files;

pub use delegate::{ARTIFACTS, RealPacker, delegate};
pub use holes::{Hole, Holes, Mark, Volatile};

use chain::Chain;
use config::Config;

/// What a recipe is lowered with.
pub struct Surroundings<'a> {
    /// What the build is called in plans and in the history.
    pub label: Label,
    /// What it is for; the platform is that of builds that say nothing.
    pub configuration: Configuration,
    /// The working folder, absolute: relative paths start there.
    pub cwd: &'a str,
    /// What stands at a path.
    pub files: &'a dyn Files,
    /// Where texts that no key and no plan may show are put.
    pub holes: &'a Holes,
    /// What the actions are for.
    pub purpose: Purpose,
}

/// What builds are lowered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be carried out with the machine's root as the workspace.
    Build,
    /// To be looked at alone: steps with values that are not known are passed over, since data sources were not asked.
    Check,
    /// To be written down: marks stand for what is sensitive in the image's configuration too. Whoever builds the image
    /// puts it into it as it is.
    WriteDown,
    /// To be a target of a workspace, whose root is `/` here. What a step names on the host is relative to that root, and
    /// what a build writes is its output.
    Target,
}

/// A build as actions.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// Its name.
    pub name: String,
    /// What it is called in plans.
    pub label: Label,
    /// What it is for.
    pub configuration: Configuration,
    /// Its actions, in order.
    pub actions: Vec<Arc<Action>>,
    /// For each action, which provisioner of the recipe it belongs to, by its place among them.
    pub provisioners: Vec<Option<usize>>,
    /// The last layer, if it has any.
    pub layer: Option<LayerRef>,
    /// What it makes.
    pub makes: Makes,
    /// What runs on what a failed build left, as a chain of its own: its first action stands for that.
    pub cleanup: Option<Box<Self>>,
    /// What the user should know.
    pub warnings: Diagnostics,
}

/// What a build makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Makes {
    /// Nothing: `null`.
    Nothing,
    /// A file of the host: `file`.
    File {
        /// Where it is written, absolute.
        target: String,
        /// What the user wrote for that.
        shown: String,
        /// The file that is copied, or the text that is written.
        from: FileContent,
    },
    /// Exports of an image: `rootfs`.
    Exports(Vec<Export>),
    /// What a real `packer` told.
    Delegated {
        /// The action that ran it, by its place.
        action: u32,
    },
}

/// What is in a file that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// That of another file, by its absolute path, and by what the user wrote.
    Copy(String, String),
    /// A text; a hole if it is sensitive.
    Text(String),
}

/// An export of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its action, by its place.
    pub action: u32,
    /// The name of its output.
    pub output: Arc<str>,
    /// Where it is written, absolute.
    pub destination: String,
    /// What the user wrote for that.
    pub shown: String,
}

/// How a build can be carried out.
#[derive(Debug)]
pub enum Lowering {
    /// By this program.
    Native(Box<Lowered>),
    /// Not by this program: why.
    Foreign(Diagnostic),
}

/// Lowers a build.
///
/// # Errors
/// What is wrong with it: files that are not there, provisioners that need a machine that there is not.
pub fn lower(recipe: &Recipe, around: &Surroundings<'_>) -> Result<Lowering, Diagnostics> {
    let config = Config::new(&recipe.settings, around.holes, recipe.dialect);
    let communicator = config.text("communicator").unwrap_or_else(|| "ssh".to_owned());
    let mut chain = Chain::new(recipe, around);
    if let Some(why) = foreign(recipe, &config, &communicator, around.purpose) {
        chain.look_for_files();
        return chain.finish().map(|_| Lowering::Foreign(why));
    }
    match &*recipe.kind {
        "rootfs" => rootfs::lower(&config, &mut chain),
        "null" if communicator == "ssh" => host::lower(&config, &mut chain),
        "qemu" => qemu::lower(&config, &mut chain),
        kind => {
            chain.start_from_nothing();
            chain.provision();
            if kind == "file" {
                chain.make_file(&config);
            }
        }
    }
    chain.finish().map(|lowered| Lowering::Native(Box::new(lowered)))
}

/// What of a build is not built in.
fn foreign(recipe: &Recipe, config: &Config<'_>, communicator: &str, purpose: Purpose) -> Option<Diagnostic> {
    let missing = |what: String, location: &Location| Some(Diagnostic::error(what).at(location.clone()));
    match &*recipe.kind {
        // No other program has it.
        "rootfs" => return None,
        // What is done to somebody's machine is no target, and nothing that a workspace could say instead.
        "null" if communicator == "ssh" && matches!(purpose, Purpose::Build | Purpose::Check) => {}
        "null" if communicator == "ssh" => {
            let what = "`null` over SSH works on a machine that is there already, which is no image";
            return missing(what.to_owned(), &recipe.location);
        }
        "null" if communicator != "none" => {
            let what = format!("`null` with `communicator = \"{communicator}\"` is not built in yet");
            return missing(what, &recipe.location);
        }
        "null" | "file" => {}
        "qemu" => {
            if let Some((what, location)) = qemu::lacks(config, communicator) {
                return missing(format!("`qemu` with {what} is not built in yet"), &location);
            }
        }
        kind => return missing(format!("the builder `{kind}` is not built in yet"), &recipe.location),
    }
    let is_foreign = |class, kind: &str| {
        component(class, kind).is_none_or(|schema| schema.availability != Availability::Native)
    };
    let mut steps = recipe.provisioners.iter();
    if let Some(step) = steps.find(|step| is_foreign(KindClass::Provisioner, &step.kind)) {
        return missing(format!("the provisioner `{}` is not built in yet", step.kind), &step.location);
    }
    let mut posts = recipe.post_processors.iter().flatten();
    let post = posts.find(|post| is_foreign(KindClass::PostProcessor, &post.kind))?;
    missing(format!("the post-processor `{}` is not built in yet", post.kind), &post.location)
}
