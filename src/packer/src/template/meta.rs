//! The arguments that a build understands itself in every provisioner and post-processor.

use std::sync::Arc;
use std::time::Duration;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Attribute, Body, Expression};
use imgbuild_hcl::value::{Type, Value};
use imgbuild_model::Location;

use super::build::Provisioner;
use super::evaluate::Evaluator;
use super::settings::Settings;
use crate::go_time;

/// For which sources a component is.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// The names as they are written, and where.
    pub names: Vec<(String, Location)>,
    except: bool,
    given: bool,
}

/// Those of a provisioner.
#[derive(Debug, Default)]
pub(super) struct StepMeta {
    pub name: Option<String>,
    pub filter: Filter,
    pub overrides: Option<(Value, Expression)>,
    pause_before: Option<Duration>,
    timeout: Option<Duration>,
    max_retries: u64,
    continue_on_error: bool,
}

/// Those of a post-processor.
#[derive(Debug, Default)]
pub(super) struct PostMeta {
    pub name: Option<String>,
    pub filter: Filter,
    pub keep_input_artifact: Option<bool>,
}

impl Filter {
    /// Whether it lets a source through, `type.name`.
    pub(super) fn wants(&self, source: &str) -> bool {
        !self.given || self.names.iter().any(|(name, _)| name == source) != self.except
    }
}

impl StepMeta {
    pub(super) const NAMES: &'static [&'static str] = &[
        "name",
        "only",
        "except",
        "override",
        "pause_before",
        "timeout",
        "max_retries",
        "continue_on_error",
    ];

    /// What overrides the settings for a source, by its name in the build or as it is declared, and where it is.
    pub(super) fn override_of(&self, local_name: &str, name: &str) -> Option<(Value, Expression)> {
        let (value, place) = self.overrides.as_ref()?;
        let key = [local_name, name].into_iter().find(|name| value.get(name).is_some())?;
        let own = value.get(key)?.clone().with_marks_of([value]);
        let written = place.items().into_iter().flatten();
        let written = written.into_iter().find(|(name, _)| name.as_text().as_deref() == Some(key));
        Some((own, written.map_or_else(|| place.clone(), |(_, value)| value)))
    }

    pub(super) fn provisioner(&self, kind: Arc<str>, settings: Settings, location: Location) -> Provisioner {
        Provisioner {
            kind,
            name: self.name.clone(),
            pause_before: self.pause_before,
            timeout: self.timeout,
            max_retries: self.max_retries,
            continue_on_error: self.continue_on_error,
            settings,
            location,
        }
    }
}

impl PostMeta {
    pub(super) const NAMES: &'static [&'static str] = &["name", "only", "except", "keep_input_artifact"];
}

/// Reads them.
pub(super) struct MetaReader<'a> {
    pub evaluator: Evaluator<'a>,
    /// What is known before it is known for which source: without `source`, and `build` with its name only.
    pub scope: Scope<'a>,
}

impl MetaReader<'_> {
    /// Those of a provisioner; `kind` is that of its block.
    pub(super) fn step(&self, kind: &str, body: &Body) -> StepMeta {
        StepMeta {
            name: self.text(body, "name"),
            filter: self.filter(kind, body),
            overrides: body.attribute("override").and_then(|attribute| self.overrides(attribute)),
            pause_before: self.duration(body, "pause_before"),
            timeout: self.duration(body, "timeout"),
            max_retries: body
                .attribute("max_retries")
                .and_then(|attribute| self.count(attribute))
                .unwrap_or(0),
            continue_on_error: self.truth(body, "continue_on_error") == Some(true),
        }
    }

    /// Those of a post-processor; `kind` is that of its block.
    pub(super) fn post(&self, kind: &str, body: &Body) -> PostMeta {
        PostMeta {
            name: self.text(body, "name"),
            filter: self.filter(kind, body),
            keep_input_artifact: self.truth(body, "keep_input_artifact"),
        }
    }

    fn text(&self, body: &Body, name: &str) -> Option<String> {
        body.attribute(name).and_then(|attribute| self.evaluator.text(attribute, &self.scope))
    }

    fn truth(&self, body: &Body, name: &str) -> Option<bool> {
        body.attribute(name).and_then(|attribute| self.evaluator.truth(attribute, &self.scope))
    }

    fn filter(&self, kind: &str, body: &Body) -> Filter {
        let only = body.attribute("only");
        let except = body.attribute("except");
        // An empty list is none.
        let names = |attribute: &Attribute| {
            self.evaluator.texts(attribute, &self.scope).filter(|names| !names.is_empty())
        };
        match (only.and_then(names), except.and_then(names)) {
            (Some(names), None) => Filter { names, except: false, given: true },
            (None, Some(names)) => Filter { names, except: true, given: true },
            (None, None) => Filter::default(),
            (Some(_), Some(_)) => {
                if let Some(except) = except {
                    let message = format!("a `{}` block has `only` or `except`, not both", kind);
                    let error = except.expr.source.error(except.name_span, message);
                    self.evaluator.report.push(error.hint("keep one of them"));
                }
                Filter::default()
            }
        }
    }

    fn overrides(&self, attribute: &Attribute) -> Option<(Value, Expression)> {
        let value = self.evaluator.value(&attribute.expr, &self.scope);
        let mapping = |value: &Value| !value.is_known() || value.entries().is_some();
        let good = mapping(&value) && value.entries().into_iter().flatten().all(|(_, inner)| mapping(inner));
        if !good {
            let error = attribute.expr.error("`override` holds an object of settings for each source");
            self.evaluator.report.push(error.hint("write `override = { name = { setting = value } }`"));
        }
        (good && value.is_known()).then(|| (value, attribute.expr.clone()))
    }

    fn duration(&self, body: &Body, name: &str) -> Option<Duration> {
        let attribute = body.attribute(name)?;
        let text = self.evaluator.text(attribute, &self.scope)?;
        let duration = go_time::duration(&text);
        if duration.is_none() {
            let error = attribute.expr.error(format!("`{text}` is not a duration"));
            self.evaluator.report.push(error.hint("write for example `\"90s\"`, `\"10m\"` or `\"1h30m\"`"));
        }
        duration
    }

    fn count(&self, attribute: &Attribute) -> Option<u64> {
        let value = self.evaluator.typed(attribute, &self.scope, &Type::Number)?;
        let number = value.as_number()?;
        let count = number.to_i64().and_then(|count| u64::try_from(count).ok());
        if count.is_none() {
            let error = attribute.expr.error(format!("`{}` must be a whole number from 0", attribute.name));
            self.evaluator.report.push(error.hint("it says how often to try again"));
        }
        count
    }
}
