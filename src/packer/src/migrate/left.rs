//! What cannot be carried over.

use imgbuild_hcl::syntax::{Source, Start, TokenKind, tokens};
use imgbuild_model::{Diagnostic, Diagnostics, Location};
use imgbuild_packer_functions::SecretRequest;

use super::{Build, Request};
use crate::legacy::Text;
use crate::load::AnyTemplate;
use crate::lower::Makes;
use crate::recipe::Recipe;

/// The functions whose values come from elsewhere or are others in each run, and are not secret.
const OUTSIDE: [&str; 14] = [
    "bcrypt",
    "consul_key",
    "env",
    "file",
    "filebase64",
    "fileexists",
    "fileset",
    "legacy_isotime",
    "legacy_strftime",
    "pathexpand",
    "templatefile",
    "timestamp",
    "uuidv4",
    "abspath",
];

fn warning(message: String, place: &Location, hint: &str) -> Diagnostic {
    Diagnostic::warning(message).at(place.clone()).hint(hint)
}

/// What is frozen: values that another run would have found anew.
pub(super) fn of_template(request: &Request<'_>) -> Vec<Diagnostic> {
    let mut left = Vec::new();
    match request.template {
        AnyTemplate::Hcl(template) => {
            let shown = template.variables.iter().filter(|variable| !variable.sensitive);
            left.extend(variables(
                shown.map(|variable| (&*variable.name, variable.location.clone())).collect(),
            ));
            for data in &template.data {
                let message =
                    format!("what the data source `{}.{}` answered is written out", data.kind, data.name);
                left.push(warning(
                    message,
                    &data.location,
                    "it is not asked again; migrate again if it changes",
                ));
            }
            let native = template.sources.iter().filter(|source| !source.name().ends_with(".json"));
            native.for_each(|source| calls(source, &mut left));
        }
        AnyTemplate::Legacy(template) => {
            let hidden = |name: &Text| template.sensitive.iter().any(|own| own.text == name.text);
            let shown = template.variables.iter().filter(|variable| !hidden(&variable.name));
            let place = |name: &Text| template.source.location(name.span);
            left.extend(variables(shown.map(|own| (&*own.name.text, place(&own.name))).collect()));
        }
    }
    let place = request.builds.first().map(|build| Location::file(&build.recipe.location.file));
    if let Some(place) = place {
        let reads = request.reads;
        let is_setting = |asked: &SecretRequest| matches!(asked, SecretRequest::Consul { .. });
        let asked = [
            (reads.clock, "the time"),
            (reads.random, "random numbers"),
            (!reads.environment.is_empty(), "environment variables"),
            (reads.secrets.iter().any(is_setting), "what stores of settings answered"),
        ];
        for (_, what) in asked.iter().filter(|(asked, _)| *asked) {
            let message = format!("{what} that the template's strings ask for: written out as of this run");
            left.push(warning(message, &place, "migrate again if it changes"));
        }
    }
    left
}

/// Variables whose values are written out.
fn variables(mut all: Vec<(&str, Location)>) -> Option<Diagnostic> {
    all.sort_by(|one, other| one.1.cmp(&other.1));
    let names: Vec<_> = all.iter().map(|(name, _)| format!("`{name}`")).collect();
    let message = format!("variables are written out with their values: {}", names.join(", "));
    let hint = "a `BUILD.star` has no variables that are set from outside";
    all.first().map(|(_, place)| warning(message, place, hint))
}

/// A build whose name is another's.
pub(super) fn renamed(recipe: &Recipe, name: &str) -> Diagnostic {
    let message = format!("`{}` is the target `{name}`, as another build has its name", recipe.name);
    warning(message, &recipe.location, "what it exports has another name, and so another key")
}

/// The calls of functions whose values are frozen.
fn calls(source: &Source, left: &mut Vec<Diagnostic>) {
    let all = tokens(source.text(), Start::Main);
    for (place, token) in all.iter().enumerate() {
        let name = source.slice(token.span);
        let is_call = token.kind == TokenKind::Ident
            && all.get(place + 1).is_some_and(|next| next.kind == TokenKind::OpenParen)
            && OUTSIDE.contains(&name);
        if is_call {
            let message = format!("what `{name}()` gave is written out");
            left.push(warning(message, &source.location(token.span), "migrate again if it changes"));
        }
    }
}

/// What a build has that no target has.
pub(super) fn of_build(build: &Build<'_>, left: &mut Vec<Diagnostic>) {
    let recipe = build.recipe;
    match build.lowered {
        Err(reason) => {
            let message = format!("the build `{}` is not carried over: {}", recipe.name, reason.message);
            return left.push(warning(message, &recipe.location, "keep the template for it"));
        }
        Ok(lowered) if matches!(lowered.makes, Makes::File { .. }) => {
            let message =
                format!("the build `{}` is not carried over: it makes a file of the host", recipe.name);
            return left.push(warning(
                message,
                &recipe.location,
                "make it with a `genrule`, or keep the template for it",
            ));
        }
        Ok(_) => {}
    }
    if let Some(step) = &recipe.error_cleanup {
        let message = "`error-cleanup-provisioner` is not carried over".to_owned();
        left.push(warning(message, &step.location, "a step that fails leaves nothing behind"));
    }
    for post in recipe.post_processors.iter().flatten() {
        let message = format!("the post-processor `{}` is not carried over", post.kind);
        left.push(warning(message, &post.location, "do it with the artifacts that `imgbuild build` leaves"));
    }
}

/// Each once, by place.
pub(super) fn in_order(mut left: Vec<Diagnostic>) -> Diagnostics {
    left.sort_by(|one, other| one.location.cmp(&other.location));
    left.dedup();
    Diagnostics(left)
}
