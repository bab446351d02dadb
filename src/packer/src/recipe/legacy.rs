//! Recipes of templates in JSON.

use std::sync::Arc;

use imgbuild_kinds::Dialect;
use imgbuild_model::{Diagnostics, KindClass, Node};

use super::body::{Rendering, cleaner, late_attributes, late_fields, node_of_json};
use super::{Post, Recipe, Recipes, Step};
use crate::interpolate::{self, Context, Generated, Place, Renderer, Run};
use crate::json::Member;
use crate::legacy::{self, Build, Selected, Template, Values};

/// The recipes of builds of a template.
///
/// # Errors
/// Go templates in its strings that are wrong, all of them.
pub fn of_legacy(
    template: &Template,
    builds: &[Build<'_>],
    values: &Values,
    run: &Run,
    generated: &dyn Fn(&str) -> Generated,
) -> Result<Recipes, Diagnostics> {
    let mut maker = Maker { template, values, run, recipes: Recipes::default(), problems: Vec::new() };
    for build in builds {
        let recipe = maker.recipe(build, &generated(&build.builder.kind.text));
        maker.recipes.recipes.push(recipe);
    }
    if maker.problems.is_empty() { Ok(maker.recipes) } else { Err(Diagnostics(maker.problems)) }
}

struct Maker<'a> {
    template: &'a Template,
    values: &'a Values,
    run: &'a Run,
    recipes: Recipes,
    problems: Vec<imgbuild_model::Diagnostic>,
}

/// A build's name and builder, and what a machine of it tells.
#[derive(Clone, Copy)]
struct Of<'a> {
    name: &'a str,
    builder: &'a Arc<str>,
    generated: &'a Generated,
}

impl Maker<'_> {
    fn recipe(&mut self, build: &Build<'_>, generated: &Generated) -> Recipe {
        let kind = &build.builder.kind.text;
        let of = Of { name: &build.name, builder: kind, generated };
        let location = self.template.source.location(build.builder.span);
        Recipe {
            name: build.display_name(),
            plain_name: build.name.clone(),
            kind: kind.clone(),
            source: build.name.as_str().into(),
            settings: self.body(of, KindClass::Builder, kind, &build.builder.config, build.builder.span),
            provisioners: build.provisioners.iter().map(|step| self.step(of, step)).collect(),
            error_cleanup: build.error_cleanup.as_ref().map(|step| self.step(of, step)),
            post_processors: build
                .post_processors
                .iter()
                .map(|chain| chain.iter().map(|post| self.post(of, post)).collect())
                .collect(),
            location,
            build: None,
            dialect: Dialect::Legacy,
        }
    }

    fn step(&mut self, of: Of<'_>, step: &Selected<'_>) -> Step {
        let Selected { provisioner, overriding, max_retries } = step;
        let mut config = provisioner.config.clone();
        for member in overriding.iter().flat_map(|one| &one.config) {
            config.retain(|other| !other.name.eq_ignore_ascii_case(&member.name));
            config.push(member.clone());
        }
        let kind = &provisioner.kind.text;
        Step {
            kind: kind.clone(),
            pause_before: provisioner.pause_before,
            timeout: provisioner.timeout,
            max_retries: *max_retries,
            continue_on_error: false,
            settings: self.body(of, KindClass::Provisioner, kind, &config, provisioner.span),
            location: self.template.source.location(provisioner.span),
        }
    }

    fn post(&mut self, of: Of<'_>, post: &legacy::PostProcessor) -> Post {
        let kind = &post.kind.text;
        Post {
            kind: kind.clone(),
            name: Some(post.name.text.to_string()),
            keep_input_artifact: post.keep_input_artifact,
            settings: self.body(of, KindClass::PostProcessor, kind, &post.config, post.span),
            location: self.template.source.location(post.span),
        }
    }

    fn body(
        &mut self,
        of: Of<'_>,
        class: KindClass,
        kind: &str,
        members: &[Member],
        span: imgbuild_gotemplate::Span,
    ) -> Node {
        let context = Context {
            build: Some(interpolate::Build { name: of.name.to_owned(), kind: of.builder.to_string() }),
            generated: match class {
                KindClass::Builder => Generated::Nothing,
                _ => of.generated.clone(),
            },
            cleaner: cleaner(class, kind),
            ..Context::new(self.run.clone(), Place::Elsewhere, Some(self.values.values.clone()))
        };
        let source = &self.template.source;
        let mut late_renderer = Renderer::new(late_fields(&context));
        let mut renderer = Renderer::new(context);
        let location = source.location(span);
        let late = late_attributes(class, kind);
        match legacy::render(source, members, &mut renderer, &late) {
            Ok(config) => {
                self.recipes.reads.merge(config.reads);
                self.recipes.warnings.0.extend(config.warnings);
                Rendering {
                    renderer: &mut renderer,
                    late_renderer: &mut late_renderer,
                    only_late: true,
                    late: &late,
                    problems: &mut self.problems,
                    reads: &mut self.recipes.reads,
                }
                .body(node_of_json(source, &config.members, location))
            }
            Err(problems) => {
                self.problems.extend(problems.0);
                node_of_json(source, members, location)
            }
        }
    }
}
