//! From a template of either kind to its recipes.

use std::collections::BTreeMap;

use imgbuild_hcl::value::{Value, to_json};
use imgbuild_kinds::{Dialect, check, component};
use imgbuild_model::{Diagnostic, Diagnostics, KindClass, Location, Node, Severity};

use crate::builders::tells;
use crate::interpolate::Run;
use crate::legacy::{self, Given};
use crate::recipe::{Recipe, Recipes, of_legacy, of_template};
use crate::template::{self, Origin, Template};

/// A template that was read.
pub struct Loaded {
    /// The template itself.
    pub template: AnyTemplate,
    /// Its builds.
    pub recipes: Recipes,
    /// Texts that must not be shown.
    pub sensitive: Vec<String>,
    /// What the user should know.
    pub warnings: Diagnostics,
    /// The variables of a template in JSON.
    texts: BTreeMap<String, String>,
}

impl Loaded {
    /// The values that it was given as such for its variables, as what a file of variables in JSON holds: an object of values
    /// of their types, or of texts for a template in JSON. Empty if there are none.
    #[must_use]
    pub fn given<'v>(&self, values: impl IntoIterator<Item = (&'v String, &'v String)>) -> String {
        let given: Vec<(&str, Value)> = match &self.template {
            AnyTemplate::Hcl(template) => {
                let given = template.variables.iter().filter(|variable| variable.origin == Origin::Given);
                given.map(|variable| (&*variable.name, variable.value.clone())).collect()
            }
            AnyTemplate::Legacy(_) => {
                values.into_iter().map(|(name, value)| (name.as_str(), Value::string(value))).collect()
            }
        };
        as_file(given)
    }

    /// The values of all of its variables, as [`Self::given`] has them: nothing that is read elsewhere can be another then.
    #[must_use]
    pub fn variables(&self) -> String {
        as_file(match &self.template {
            AnyTemplate::Hcl(template) => {
                template.variables.iter().map(|own| (&*own.name, own.value.clone())).collect()
            }
            AnyTemplate::Legacy(_) => {
                self.texts.iter().map(|(name, value)| (name.as_str(), Value::string(value))).collect()
            }
        })
    }
}

fn as_file(values: Vec<(&str, Value)>) -> String {
    if values.is_empty() {
        return String::new();
    }
    let (plain, _) = Value::object_of(values).unmark_deep();
    to_json(&plain).unwrap_or_else(|error| unreachable!("values of variables are known: {error}"))
}

/// A template of either kind.
pub enum AnyTemplate {
    /// In HCL.
    Hcl(Box<Template>),
    /// In JSON.
    Legacy(Box<legacy::Template>),
}

/// The recipes of a template in HCL; without them, where only its syntax and its declarations were read.
///
/// # Errors
/// All that is wrong with it, with the warnings.
pub fn of_hcl(loaded: template::Loaded, run: &Run, with_recipes: bool) -> Result<Loaded, Diagnostics> {
    let (template, mut warnings) = loaded.into_result()?;
    if let Some(registry) = &template.registry {
        let warning = Diagnostic::warning("builds that are built in are not registered with HCP Packer");
        let hint = "a build that a real `packer` carries out is, if that program has the credentials";
        warnings.0.push(warning.at(registry.location.clone()).hint(hint));
    }
    let sensitive = sensitive_of(&template);
    let recipes = if with_recipes { of_template(&template, run, &tells)? } else { Recipes::default() };
    Ok(Loaded {
        template: AnyTemplate::Hcl(Box::new(template)),
        recipes,
        sensitive,
        warnings,
        texts: BTreeMap::new(),
    })
}

/// The sensitive texts of a template in HCL.
fn sensitive_of(template: &Template) -> Vec<String> {
    let variables = template.variables.iter().map(|variable| &variable.value);
    let mut texts = Vec::new();
    for value in variables.chain(template.locals.iter().map(|local| &local.value)) {
        collect(value, false, &mut texts);
    }
    texts.sort();
    texts.dedup();
    texts
}

/// A sensitive text, also as functions often make it.
#[must_use]
pub fn spellings(text: &str) -> [String; 3] {
    [text.to_owned(), text.to_uppercase(), text.to_lowercase()]
}

fn collect(value: &Value, sensitive: bool, texts: &mut Vec<String>) {
    let sensitive = sensitive || value.is_sensitive();
    if let Some(text) = value.as_str() {
        if sensitive && !text.is_empty() {
            texts.extend(spellings(text));
        }
    } else if let (true, Some(number)) = (sensitive, value.as_number()) {
        texts.push(number.to_string());
    } else if let Some(elements) = value.elements() {
        elements.iter().for_each(|element| collect(element, sensitive, texts));
    } else if let Some(entries) = value.entries() {
        entries.values().for_each(|element| collect(element, sensitive, texts));
    }
}

/// The values that a template in JSON is given for its variables.
#[derive(Default)]
pub struct GivenVariables {
    given: Vec<Given>,
    warnings: Vec<Diagnostic>,
}

impl GivenVariables {
    /// Those of a file.
    ///
    /// # Errors
    /// If it is no JSON object of texts.
    pub fn file(&mut self, name: &str, text: &str) -> Result<(), Diagnostics> {
        let (values, warnings) = Given::read_file(name, text)?;
        self.given.extend(values);
        self.warnings.extend(warnings);
        Ok(())
    }

    /// All so far.
    #[must_use]
    pub fn given(&self) -> &[Given] {
        &self.given
    }

    /// Those of a command line.
    pub fn values<'v>(&mut self, values: impl IntoIterator<Item = (&'v String, &'v String)>) {
        self.given.extend(values.into_iter().map(|(name, value)| Given {
            name: name.clone(),
            value: value.clone(),
            location: None,
        }));
    }
}

/// The recipes of a template in JSON: of the builds that the first of `selected` names, or all, without those that the
/// second names. `hide` is told what is sensitive before anything is said of it.
///
/// # Errors
/// All that is wrong with it, with the warnings.
pub fn of_json(
    template: legacy::Template,
    variables: GivenVariables,
    selected: (&[String], &[String]),
    run: &Run,
    hide: &dyn Fn(&[String]),
) -> Result<Loaded, Diagnostics> {
    let mut problems = template.validate(template::VERSION);
    problems.extend(variables.warnings);
    let values = template.resolve(run, &variables.given)?;
    problems.extend(values.warnings.iter().cloned());
    let sensitive = values.sensitive.iter().filter_map(|name| values.values.get(name).cloned());
    let sensitive: Vec<String> = sensitive.collect();
    hide(&sensitive);
    let builds = template.builds(run, &values, selected.0, selected.1)?;
    let mut recipes = of_legacy(&template, &builds, &values, run, &tells)?;
    values.reads.values().for_each(|reads| recipes.reads.merge(reads.clone()));
    problems.extend(recipes.recipes.iter().flat_map(check_recipe));
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(Diagnostics(problems));
    }
    drop(builds);
    let template = AnyTemplate::Legacy(Box::new(template));
    let warnings = Diagnostics(problems);
    Ok(Loaded { template, recipes, sensitive, warnings, texts: values.values })
}

/// What is wrong with the components of a template in JSON; those in HCL are checked while it is read.
fn check_recipe(recipe: &Recipe) -> Vec<Diagnostic> {
    let builder = (KindClass::Builder, &recipe.kind, &recipe.settings, &recipe.location);
    let steps = recipe.provisioners.iter().chain(&recipe.error_cleanup);
    let steps = steps.map(|step| (KindClass::Provisioner, &step.kind, &step.settings, &step.location));
    let posts = recipe.post_processors.iter().flatten();
    let posts = posts.map(|post| (KindClass::PostProcessor, &post.kind, &post.settings, &post.location));
    std::iter::once(builder)
        .chain(steps)
        .chain(posts)
        .flat_map(|(class, kind, settings, location)| check_component(class, kind, settings, location))
        .collect()
}

fn check_component(class: KindClass, kind: &str, settings: &Node, location: &Location) -> Vec<Diagnostic> {
    match component(class, kind) {
        Some(schema) => {
            check(schema, settings, Dialect::Legacy).iter().map(|problem| problem.diagnostic()).collect()
        }
        None => vec![template::unknown_component(class, kind).at(location.clone())],
    }
}
