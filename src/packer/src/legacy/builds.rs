//! Which builds a template has, and what each consists of.

use imgbuild_model::{Diagnostic, Diagnostics};

use super::{Builder, Override, PostProcessor, Provisioner, Template, Text, Values};
use crate::interpolate::{Context, Place, Renderer, Run};

/// One build.
#[derive(Clone, Debug)]
pub struct Build<'t> {
    /// The builder's name, rendered. `-only` and `-except` speak of it.
    pub name: String,
    /// The builder.
    pub builder: &'t Builder,
    /// The provisioners that are for it, in order.
    pub provisioners: Vec<Selected<'t>>,
    /// What runs if it fails.
    pub error_cleanup: Option<Selected<'t>>,
    /// The sequences of post-processors that are for it; none is empty.
    pub post_processors: Vec<Vec<&'t PostProcessor>>,
}

/// A provisioner for one build.
#[derive(Clone, Debug)]
pub struct Selected<'t> {
    /// As it is written.
    pub provisioner: &'t Provisioner,
    /// What is otherwise for this build.
    pub overriding: Option<&'t Override>,
    /// How many further attempts there are.
    pub max_retries: u32,
}

impl Build<'_> {
    /// The name that output begins with.
    #[must_use]
    pub fn display_name(&self) -> String {
        let Builder { name, kind, .. } = self.builder;
        if name.text == kind.text { self.name.clone() } else { format!("{}.{}", kind.text, self.name) }
    }
}

impl Template {
    /// The builds that `only` (if it names any) and not `except` name, in the order of their names. `except` also
    /// ends each sequence of post-processors before one of a name in it.
    ///
    /// # Errors
    /// Names and numbers of attempts that cannot be rendered; two builds of one name.
    pub fn builds(
        &self,
        run: &Run,
        values: &Values,
        only: &[String],
        except: &[String],
    ) -> Result<Vec<Build<'_>>, Diagnostics> {
        let context = Context::new(run.clone(), Place::Elsewhere, Some(values.values.clone()));
        let mut assembly = Assembly { template: self, renderer: Renderer::new(context), errors: Vec::new() };
        let named = assembly.named();
        let mut builds = Vec::new();
        for (name, builder) in named {
            if (only.is_empty() || only.contains(&name)) && !except.contains(&name) {
                builds.push(assembly.build(name, builder, except));
            }
        }
        let errors = assembly.errors;
        if errors.is_empty() { Ok(builds) } else { Err(Diagnostics(errors)) }
    }
}

struct Assembly<'t> {
    template: &'t Template,
    renderer: Renderer,
    errors: Vec<Diagnostic>,
}

impl<'t> Assembly<'t> {
    fn named(&mut self) -> Vec<(String, &'t Builder)> {
        let mut named: Vec<(String, &Builder)> = Vec::new();
        for builder in &self.template.builders {
            let Some(name) = self.rendered(&builder.name) else { continue };
            match named.iter().find(|(other, _)| *other == name) {
                Some((_, first)) => {
                    let source = &self.template.source;
                    let error = Diagnostic::error(format!("two builders get the name `{name}`"))
                        .at(builder.name.location(source))
                        .note("the first is here", Some(first.name.location(source)))
                        .hint("make the names differ");
                    self.errors.push(error);
                }
                None => named.push((name, builder)),
            }
        }
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        named
    }

    fn build(&mut self, name: String, builder: &'t Builder, except: &[String]) -> Build<'t> {
        let raw = &*builder.name.text;
        let template = self.template;
        let is_for = |provisioner: &&Provisioner| provisioner.selection.selects(raw);
        let provisioners = template.provisioners.iter().filter(is_for);
        let provisioners = provisioners.map(|provisioner| self.selected(provisioner, raw)).collect();
        let error_cleanup =
            template.error_cleanup.as_ref().map(|provisioner| self.selected(provisioner, raw));
        let sequence = |sequence: &'t Vec<PostProcessor>| -> Vec<&'t PostProcessor> {
            sequence
                .iter()
                .filter(|one| one.selection.selects(raw))
                .take_while(|one| !except.iter().any(|name| **name == *one.name.text))
                .collect()
        };
        let post_processors =
            template.post_processors.iter().map(sequence).filter(|sequence| !sequence.is_empty()).collect();
        Build { name, builder, provisioners, error_cleanup, post_processors }
    }

    fn selected(&mut self, provisioner: &'t Provisioner, raw: &str) -> Selected<'t> {
        let overriding = provisioner.overrides.iter().find(|one| &*one.builder.text == raw);
        let max_retries = provisioner.max_retries.as_ref().and_then(|text| self.count(text)).unwrap_or(0);
        Selected { provisioner, overriding, max_retries }
    }

    fn count(&mut self, text: &Text) -> Option<u32> {
        let rendered = self.rendered(text)?;
        let count = rendered.parse::<i64>().ok().and_then(|count| u32::try_from(count.max(0)).ok());
        if count.is_none() {
            let message = format!("`max_retries` must be a whole number, not `{rendered}`");
            self.fail(Diagnostic::error(message).at(text.location(&self.template.source)));
        }
        count
    }

    /// The same is said once, however many builds there are.
    fn fail(&mut self, error: Diagnostic) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn rendered(&mut self, text: &Text) -> Option<String> {
        match self.renderer.settle(&text.text) {
            Ok(rendered) => Some(rendered),
            Err(why) => {
                let at = |inner| Some(self.template.source.inside_string(text.span, inner));
                let error = self.renderer.unsettled(&why, at, &text.text);
                self.fail(error);
                None
            }
        }
    }
}
