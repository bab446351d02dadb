//! From templates to the `BUILD.star` that builds the same images: each native build becomes an `image`, its
//! provisioners become its steps, with the comments of the template, and what cannot be carried over is listed.
//!
//! What is written is what was lowered, so that both have the same keys: variables, locals and functions are in it as the
//! values that they had. Nothing sensitive is written. Nothing is read here, and nothing is looked up.

mod comments;
mod document;
mod image;
mod left;
mod origin;
mod values;

use std::collections::BTreeSet;

use imgbuild_model::{Diagnostic, Diagnostics, Label, PackagePath, Platform, TargetName};

use crate::interpolate::Reads;
use crate::load::AnyTemplate;
use crate::lower::{Lowered, Makes};
use crate::recipe::Recipe;

use comments::{Comments, Pending};
use document::{Statement, file};
use image::Image;

/// What is migrated, and to where.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The builds of the template, in their order.
    pub builds: &'a [Build<'a>],
    /// The template.
    pub template: &'a AnyTemplate,
    /// What the Go templates in it asked for.
    pub reads: &'a Reads,
    /// The workspace's root, absolute.
    pub workspace: &'a str,
    /// The package whose `BUILD.star` is written.
    pub package: &'a PackagePath,
    /// What targets of the workspace are built for that do not say it.
    pub platform: Platform,
}

/// A build of a template.
#[derive(Clone, Copy)]
pub struct Build<'a> {
    /// The build.
    pub recipe: &'a Recipe,
    /// What it was lowered to, or why this program does not carry it out.
    pub lowered: Result<&'a Lowered, &'a Diagnostic>,
}

/// What came of a template.
#[derive(Clone, Debug)]
pub struct Migration {
    /// The text of the `BUILD.star`.
    pub text: String,
    /// The target of each build that has one.
    pub targets: Vec<Migrated>,
    /// What could not be carried over, as warnings, in the order of the template's files and lines.
    pub left: Diagnostics,
}

/// A build that became a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The place of the build in the request.
    pub place: usize,
    /// The name of the build.
    pub build: String,
    /// What it is called in the plans of the template.
    pub from: Label,
    /// The target.
    pub target: Label,
}

/// Writes the `BUILD.star` of a template.
#[must_use]
pub fn migrate(request: Request<'_>) -> Migration {
    let comments = Comments::of(request.template);
    let mut left = left::of_template(&request);
    let (mut names, mut constants) = (BTreeSet::new(), BTreeSet::new());
    let mut statements: Vec<(Vec<String>, Statement)> = Vec::new();
    let mut targets = Vec::new();
    for (place, build) in request.builds.iter().enumerate() {
        left::of_build(build, &mut left);
        let Ok(lowered) = build.lowered else { continue };
        if matches!(lowered.makes, Makes::File { .. }) {
            continue;
        }
        let name = unique(&build.recipe.image_name(), '-', &mut names);
        if name != build.recipe.image_name() {
            left.push(left::renamed(build.recipe, &name));
        }
        let Ok(target) = TargetName::new(&name) else { continue };
        let pending = Pending::new(&comments);
        let constant = unique(&image::constant(&name), '_', &mut constants);
        let image = Image::new(request, build.recipe, lowered, (&name, constant), &pending, &mut left);
        statements.extend(image.statements());
        let target = Label::new(request.package.clone(), target);
        let (build, from) = (build.recipe.name.clone(), lowered.label.clone());
        targets.push(Migrated { place, build, from, target });
    }
    Migration { text: file(&comments.head(), &statements), targets, left: left::in_order(left) }
}

/// The name, or the first of `name-2`, `name-3`, … that is not taken.
fn unique(name: &str, sign: char, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}{sign}{number}"));
    let found = std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    let found = found.unwrap_or_else(|| name.to_owned());
    taken.insert(found.clone());
    found
}
