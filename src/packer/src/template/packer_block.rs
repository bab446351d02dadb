//! The `packer` block: which versions a template is for, and which plugins it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_hcl::syntax::{Attribute, Block, Expression};
use imgbuild_model::{Diagnostic, Location};

use super::body::{Shape, labels};
use super::report::Report;
use super::version::{Constraints, Version};

/// A plugin that a template asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// The name that the names of its components start with.
    pub name: Arc<str>,
    /// Where it comes from: `github.com/hashicorp/amazon`.
    pub source: String,
    /// Which versions will do.
    pub version: Constraints,
    /// Where it is asked for.
    pub location: Location,
}

/// What the `packer` blocks of a template say.
#[derive(Debug, Default)]
pub(super) struct Requirements {
    pub plugins: BTreeMap<Arc<str>, Plugin>,
}

const PACKER: Shape =
    Shape { what: "a `packer` block", attributes: &["required_version"], blocks: &[("required_plugins", 0)] };

const PLUGINS: Shape = Shape { what: "a `required_plugins` block", attributes: &[], blocks: &[] };

const EXAMPLE: &str = "write `{ version = \">= 1.0.0\", source = \"github.com/hashicorp/amazon\" }`";

impl Requirements {
    /// Whether the version will do. A template for another version is not looked at any further.
    pub(super) fn version(block: &Block, own: &Version, report: &Report) {
        let body = PACKER.content(&block.body, report);
        let Some(attribute) = body.attribute("required_version") else { return };
        let Some(constraints) = constraints(&attribute.expr, "required_version", report) else { return };
        if !constraints.allow(&own.release()) {
            let message = format!("this template is for versions `{constraints}`, and this is {own}");
            let hint = "change `required_version` if the template works with this version";
            report.push(attribute.expr.error(message).hint(hint));
        }
    }

    /// Reads a block, its `required_version` aside.
    pub(super) fn read(&mut self, block: &Block, report: &Report) {
        if labels(block, [], report).is_none() {
            return;
        }
        let (body, _) = PACKER.read(&block.body, report);
        for block in body.blocks_of("required_plugins") {
            if labels(block, [], report).is_none() {
                continue;
            }
            let body = PLUGINS.content(&block.body, report);
            for block in &body.blocks {
                let hint = format!("a plugin is an attribute: write `{} = {{ … }}`", block.kind);
                report.push(PLUGINS.unknown_block(block).hint(hint));
            }
            for attribute in &body.attributes {
                self.plugin(attribute, report);
            }
        }
    }

    fn plugin(&mut self, attribute: &Attribute, report: &Report) {
        let name = &attribute.name;
        let location = attribute.expr.source.location(attribute.name_span);
        if let Some(first) = self.plugins.get(name) {
            let error = Diagnostic::error(format!("plugin `{name}` is required twice")).at(location);
            report.push(
                error
                    .note("it was first required here", Some(first.location.clone()))
                    .hint("keep one of them"),
            );
            return;
        }
        let Some(items) = attribute.expr.items() else {
            let message = format!("plugin `{name}` needs its source and version in braces");
            report.push(attribute.expr.error(message).hint(EXAMPLE));
            return;
        };
        let (mut source, mut version) = (None, None);
        for (key, value) in &items {
            match key.as_text().as_deref() {
                Some("source") => source = plugin_source(value, report),
                Some("version") => {
                    version = constraints(value, "version", report).filter(|constraints| {
                        let good = !constraints.has_prerelease();
                        if !good {
                            let error = value.error("a plugin cannot be required in a pre-release");
                            report.push(error.hint("name the release it precedes"));
                        }
                        good
                    })
                }
                _ => report
                    .push(key.error("a required plugin has a `source` and a `version` only").hint(EXAMPLE)),
            }
        }
        for needed in ["source", "version"] {
            if !items.iter().any(|(key, _)| key.as_text().as_deref() == Some(needed)) {
                let message = format!("the `{needed}` of plugin `{name}` is missing");
                report.push(attribute.expr.error(message).hint(EXAMPLE));
            }
        }
        if let (Some(source), Some(version)) = (source, version) {
            self.plugins
                .insert(Arc::clone(name), Plugin { name: Arc::clone(name), source, version, location });
        }
    }
}

fn constraints(expression: &Expression, name: &str, report: &Report) -> Option<Constraints> {
    let Some(text) = expression.as_text() else {
        report.push(
            expression.error(format!("`{name}` must be plain text")).hint("for example `\">= 1.7.0\"`"),
        );
        return None;
    };
    text.parse()
        .map_err(|error: String| {
            report.push(expression.error(error).hint("for example `>= 1.7.0, < 2.0.0` or `~> 1.7`"));
        })
        .ok()
}

fn plugin_source(expression: &Expression, report: &Report) -> Option<String> {
    let Some(text) = expression.as_text() else {
        report.push(
            expression
                .error("`source` must be plain text")
                .hint("for example `\"github.com/hashicorp/amazon\"`"),
        );
        return None;
    };
    let fail = |message: String, hint: &str| {
        report.push(expression.error(message).hint(hint));
        None
    };
    let example = "for example `github.com/hashicorp/amazon`";
    if text.contains("://") || text.contains(['?', '#']) || text.starts_with('/') || text.ends_with('/') {
        return fail(format!("`{text}` is not the source of a plugin"), example);
    }
    let parts: Vec<&str> = text.split('/').collect();
    if !(3..=16).contains(&parts.len()) || parts.iter().any(|part| part.is_empty()) {
        return fail(
            format!("`{text}` is not the source of a plugin: it needs a host, an owner and a name"),
            example,
        );
    }
    let last = parts[parts.len() - 1];
    if let Some(rest) = last.strip_prefix("packer-") {
        let rest = rest.strip_prefix("plugin-").unwrap_or(rest);
        let hint = format!("write `{}/{rest}`", parts[..parts.len() - 1].join("/"));
        return fail(
            format!("the name of a plugin's source does not start with `packer-`, as `{last}` does"),
            &hint,
        );
    }
    if last.contains('.') || parts.iter().any(|part| part.contains("--")) {
        return fail(format!("`{text}` is not the source of a plugin: no dot in its name, no `--`"), example);
    }
    Some(text)
}
