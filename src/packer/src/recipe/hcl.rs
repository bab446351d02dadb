//! Recipes of templates in HCL.

use imgbuild_kinds::Dialect;
use imgbuild_model::{Diagnostic, Diagnostics, KindClass, Location, Node, Severity};

use super::body::{Rendering, cleaner, late_attributes, late_fields};
use super::{Post, Recipe, Recipes, Step};
use crate::interpolate::{self, Context, Generated, Place, Reads, Renderer, Run};
use crate::template::{Pair, PostProcessor, Provisioner, Settings, Template};

/// The recipes of a template that has been read. `generated` says what a builder of a kind tells of its machine.
///
/// # Errors
/// Go templates in its strings that are wrong, all of them.
pub fn of_template(
    template: &Template,
    run: &Run,
    generated: &dyn Fn(&str) -> Generated,
) -> Result<Recipes, Diagnostics> {
    let mut problems = Vec::new();
    let mut recipes = Recipes::default();
    for (build, pair) in
        template.builds.iter().flat_map(|build| build.pairs.iter().map(move |pair| (build, pair)))
    {
        let late = generated(&pair.kind);
        let mut maker =
            Maker { pair, run, generated: late, problems: &mut problems, reads: &mut recipes.reads };
        let recipe = maker.recipe(&build.location);
        recipes.recipes.push(recipe);
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(Diagnostics(problems));
    }
    recipes.warnings = Diagnostics(problems);
    Ok(recipes)
}

struct Maker<'a> {
    pair: &'a Pair,
    run: &'a Run,
    generated: Generated,
    problems: &'a mut Vec<Diagnostic>,
    reads: &'a mut Reads,
}

impl Maker<'_> {
    fn recipe(&mut self, build: &Location) -> Recipe {
        let pair = self.pair;
        Recipe {
            name: pair.name.clone(),
            plain_name: pair.name.clone(),
            kind: pair.kind.clone(),
            source: pair.source.clone(),
            settings: self.body(KindClass::Builder, &pair.kind, &pair.settings),
            provisioners: pair.provisioners.iter().map(|step| self.step(step)).collect(),
            error_cleanup: pair.error_cleanup.as_ref().map(|step| self.step(step)),
            post_processors: pair
                .post_processors
                .iter()
                .map(|chain| chain.iter().map(|post| self.post(post)).collect())
                .collect(),
            location: pair.location.clone(),
            build: Some(build.clone()),
            dialect: Dialect::Hcl,
        }
    }

    fn step(&mut self, step: &Provisioner) -> Step {
        Step {
            kind: step.kind.clone(),
            pause_before: step.pause_before.unwrap_or_default(),
            timeout: step.timeout,
            max_retries: u32::try_from(step.max_retries).unwrap_or(u32::MAX),
            continue_on_error: step.continue_on_error,
            settings: self.body(KindClass::Provisioner, &step.kind, &step.settings),
            location: step.location.clone(),
        }
    }

    fn post(&mut self, post: &PostProcessor) -> Post {
        Post {
            kind: post.kind.clone(),
            name: post.name.clone(),
            keep_input_artifact: post.keep_input_artifact,
            settings: self.body(KindClass::PostProcessor, &post.kind, &post.settings),
            location: post.location.clone(),
        }
    }

    fn body(&mut self, class: KindClass, kind: &str, settings: &Settings) -> Node {
        let context = Context {
            build: Some(interpolate::Build {
                name: self.pair.source.to_string(),
                kind: self.pair.kind.to_string(),
            }),
            generated: match class {
                KindClass::Builder => Generated::Nothing,
                _ => self.generated.clone(),
            },
            cleaner: cleaner(class, kind),
            ..Context::new(self.run.clone(), Place::Elsewhere, None)
        };
        Rendering {
            late_renderer: &mut Renderer::new(late_fields(&context)),
            only_late: false,
            renderer: &mut Renderer::new(context),
            late: &late_attributes(class, kind),
            problems: self.problems,
            reads: self.reads,
        }
        .body(settings.to_node(settings.location.clone()))
    }
}
