//! The sources of a build: those that it lists, those that it adds to, and the names that its parts call them by.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_hcl::syntax::{Attribute, Block, Expression};
use imgbuild_model::{Diagnostic, Location, did_you_mean};

use super::super::body::{content, labels};
use super::super::schema::SourceDeclaration;
use super::{Builder, Parts, SourceUse};

impl Builder<'_> {
    /// `sources = ["type.name"]`
    pub(super) fn listed<'b>(&'b self, attribute: &Attribute, parts: &mut Parts<'b>) {
        if let Some(bare) = bare_reference(&attribute.expr) {
            let reference = bare.source.slice(bare.node.span);
            let error = bare.error("a source is named in quotes").hint(format!("write `\"{reference}\"`"));
            self.fail(error);
            parts.excused = true;
            return;
        }
        let before = self.evaluator.value(&attribute.expr, self.scope);
        if !before.is_wholly_known() {
            // What it depends on was either told as wrong or is not answered yet.
            parts.excused = true;
            return;
        }
        let Some(texts) = self.evaluator.texts(attribute, self.scope) else {
            parts.excused = true;
            return;
        };
        parts.excused |= texts.is_empty() && !before.is_empty();
        for (text, location) in texts {
            match self.source(&text, &location) {
                Some(declared) => parts.uses.push(SourceUse {
                    kind: Arc::clone(&declared.kind),
                    declared,
                    local_name: Arc::clone(&declared.name),
                    body: None,
                }),
                None => parts.excused = true,
            }
        }
    }

    /// `source "type.name" { … }`
    pub(super) fn nested<'b>(&'b self, block: &Block, parts: &mut Parts<'b>) {
        parts.excused = true;
        let Some([label]) = labels(block, ["type.name"], self.evaluator.report) else { return };
        let location = block.body.source.location(label.span);
        let Some(declared) = self.source(&label.text, &location) else { return };
        let body = content(&block.body, &[("dynamic", 1)], self.evaluator.report);
        let name = body.attribute("name").and_then(|name| self.evaluator.text(name, self.scope));
        parts.uses.push(SourceUse {
            kind: Arc::clone(&declared.kind),
            declared,
            local_name: name.map_or_else(|| Arc::clone(&declared.name), Into::into),
            body: Some(body),
        });
    }

    fn source(&self, reference: &str, location: &Location) -> Option<&SourceDeclaration> {
        let mut parts: Vec<&str> = reference.split('.').collect();
        if parts.len() > 2 {
            parts.remove(0);
        }
        let [kind, name, ..] = parts.as_slice() else {
            let message = format!("`{reference}` does not name a source");
            let hint = "write `source.type.name` or `type.name`";
            self.fail(Diagnostic::error(message).at(location.clone()).hint(hint));
            return None;
        };
        let found = self.sources.get(&(Arc::from(*kind), Arc::from(*name)));
        if found.is_none() {
            let known: Vec<String> =
                self.sources.keys().map(|(kind, name)| format!("{kind}.{name}")).collect();
            let wanted = format!("{kind}.{name}");
            let hint = did_you_mean(&wanted, known.iter().map(String::as_str)).map_or_else(
                || format!("declare it: `source \"{kind}\" \"{name}\" {{ … }}`"),
                |near| format!("did you mean `source.{near}`?"),
            );
            self.fail(
                Diagnostic::error(format!("there is no source `{wanted}`")).at(location.clone()).hint(hint),
            );
        }
        found
    }

    /// Warns of `only`, `except` and `override` that name no source of the build.
    pub(super) fn check_names(&self, parts: &Parts<'_>) {
        let whole: Vec<String> =
            parts.uses.iter().map(|used| format!("{}.{}", used.kind, used.local_name)).collect();
        let steps = parts.provisioners.iter().chain(&parts.error_cleanup);
        let filters = steps.map(|step| &step.meta.filter);
        for filter in filters.chain(parts.chains.iter().flatten().map(|post| &post.meta.filter)) {
            for (name, location) in &filter.names {
                if !whole.contains(name) && !parts.uses.is_empty() {
                    let hint = did_you_mean(name, whole.iter().map(String::as_str))
                        .map(|near| format!("did you mean `{near}`?"))
                        .or_else(|| {
                            Some(
                                "it is `type.name`, without `source.` and without the name of the build"
                                    .to_owned(),
                            )
                        });
                    let message = format!("this build has no source `{name}`");
                    self.fail(Diagnostic::warning(message).at(location.clone()).maybe_hint(hint));
                }
            }
        }
        for step in parts.provisioners.iter().chain(&parts.error_cleanup) {
            let Some((value, place)) = &step.meta.overrides else { continue };
            for name in value.entries().into_iter().flat_map(BTreeMap::keys) {
                let known = |used: &SourceUse<'_>| used.local_name == *name || used.declared.name == *name;
                if !parts.uses.is_empty() && !parts.uses.iter().any(known) {
                    let message = format!("this build has no source named `{name}`");
                    let hint = "the keys of `override` are names of sources, without their types";
                    self.fail(Diagnostic::warning(message).at(place.location()).hint(hint));
                }
            }
        }
    }
}

/// The first element of a list that is a reference where its text is wanted.
fn bare_reference(list: &Expression) -> Option<Expression> {
    let is_bare = |element: &Expression| {
        element.as_traversal().is_some_and(|path| {
            matches!(path.root.name.as_ref(), "source" | "sources") && path.steps.len() >= 2
        })
    };
    list.elements()?.into_iter().find(is_bare)
}
