//! What can only be checked when the whole template is known.

use imgbuild_model::{Diagnostic, did_you_mean};

use super::{Selection, Template, Text};
use crate::json::MOST_ERRORS;

impl Template {
    /// What is wrong with the template as a whole, for a program that gives itself out as `version` of Packer.
    #[must_use]
    pub fn validate(&self, version: &str) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if self.builders.is_empty() {
            let location = self.source.location(imgbuild_gotemplate::Span { start: 0, end: 1 });
            found.push(
                Diagnostic::error("a template needs at least one builder")
                    .at(location)
                    .hint("write `\"builders\": [{\"type\": \"…\"}]`"),
            );
        }
        for provisioner in &self.provisioners {
            self.selection(&provisioner.selection, &mut found);
            for name in provisioner.overrides.iter().map(|one| &one.builder) {
                self.unknown_builder(name, "override", &mut found);
            }
        }
        for post_processor in self.post_processors.iter().flatten() {
            self.selection(&post_processor.selection, &mut found);
        }
        found.extend(self.minimum_version(version));
        found.sort_by_key(|diagnostic| diagnostic.location.clone());
        found
    }

    fn selection(&self, selection: &Selection, found: &mut Vec<Diagnostic>) {
        if let ([_, ..], [except, ..]) = (selection.only.as_slice(), selection.except.as_slice()) {
            found.push(
                Diagnostic::error("`only` and `except` cannot stand together")
                    .at(except.location(&self.source))
                    .hint("what `only` does not name is left out already; remove `except`"),
            );
            return;
        }
        selection.only.iter().for_each(|name| self.unknown_builder(name, "only", found));
        selection.except.iter().for_each(|name| self.unknown_builder(name, "except", found));
    }

    fn unknown_builder(&self, name: &Text, attribute: &str, found: &mut Vec<Diagnostic>) {
        let names = || self.builders.iter().map(|builder| &*builder.name.text);
        if found.len() >= MOST_ERRORS || names().any(|other| other == &*name.text) {
            return;
        }
        let hint = match did_you_mean(&name.text, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "the builders are {}",
                names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ),
        };
        let hint = (!self.builders.is_empty()).then_some(hint);
        let message = format!("`{attribute}` names the builder `{}`, which does not exist", name.text);
        found.push(Diagnostic::error(message).at(name.location(&self.source)).maybe_hint(hint));
    }

    fn minimum_version(&self, version: &str) -> Option<Diagnostic> {
        let written = self.min_packer_version.as_ref().filter(|text| !text.text.is_empty())?;
        let location = written.location(&self.source);
        let Some(minimum) = segments(&written.text) else {
            let message = format!("`min_packer_version` must be a version, not `{}`", written.text);
            return Some(Diagnostic::error(message).at(location).hint("write for example `1.8.0`"));
        };
        (segments(version)? < minimum).then(|| {
            let message = format!("this template needs Packer {} or newer; this is {version}", written.text);
            Diagnostic::error(message).at(location)
        })
    }
}

/// The numbers of a version, at least three. A version before a release counts as that release.
fn segments(version: &str) -> Option<Vec<u64>> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let (numbers, rest) = version.split_at(end);
    let suffix = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '~' | '.' | '+');
    if !rest.is_empty() && (rest == "-" || !rest.chars().all(suffix)) {
        return None;
    }
    let mut segments = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
    segments.resize(segments.len().max(3), 0);
    Some(segments)
}
