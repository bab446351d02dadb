//! Expressions of a template into values: what can be referred to where, and errors that name what is missing.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgbuild_hcl::eval::{Scope, references};
use imgbuild_hcl::syntax::{Attribute, Body, Expression, File, Traversal, TraversalStep};
use imgbuild_hcl::value::{Type, Value, convert};
use imgbuild_model::{Diagnostic, Diagnostics, Location, did_you_mean};

use super::report::Report;

/// What a template declares, for messages about what it does not.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub variables: BTreeSet<Arc<str>>,
    pub locals: BTreeSet<Arc<str>>,
    /// `type.name`
    pub data: BTreeSet<String>,
}

/// Evaluates and reports. What fails is an unknown, so that one mistake is told once.
#[derive(Clone, Copy)]
pub(super) struct Evaluator<'a> {
    pub names: &'a Names,
    pub report: &'a Report,
}

impl Evaluator<'_> {
    /// The value; unknown if it cannot be told.
    pub(super) fn value(self, expression: &Expression, scope: &Scope<'_>) -> Value {
        self.try_value(expression, scope).unwrap_or_else(|Diagnostics(errors)| {
            self.report.extend(errors);
            Value::dynamic()
        })
    }

    /// The value, or what is wrong.
    pub(super) fn try_value(self, expression: &Expression, scope: &Scope<'_>) -> Result<Value, Diagnostics> {
        expression.evaluate(scope).map_err(|Diagnostics(errors)| {
            let mut references = Vec::new();
            collect(expression, &mut references);
            Diagnostics(self.explained(&references, scope, errors))
        })
    }

    /// Says what a name that does not exist should have been, in place of the evaluator's general words.
    fn explained(
        self,
        references: &[(Traversal, Location)],
        scope: &Scope<'_>,
        mut errors: Vec<Diagnostic>,
    ) -> Vec<Diagnostic> {
        let mut missing: Vec<Diagnostic> = Vec::new();
        for (reference, place) in references {
            let inside =
                |error: &Diagnostic| error.location.as_ref().is_some_and(|inner| covers(place, inner));
            if !errors.iter().any(inside) {
                continue;
            }
            if let Some(error) = self.missing(reference, scope) {
                errors.retain(|error| !inside(error));
                missing.push(error.at(place.clone()));
            }
        }
        missing.extend(errors);
        missing
    }

    fn missing(self, reference: &Traversal, scope: &Scope<'_>) -> Option<Diagnostic> {
        let names = reference.names();
        let root = names[0];
        if scope.get(root).is_none() {
            return out_of_place(root);
        }
        match (root, names.get(1), names.get(2)) {
            ("var", Some(name), _) => self.unknown_name("variable", name, &self.names.variables, |name| {
                format!("declare it: `variable \"{name}\" {{}}`")
            }),
            ("local", Some(name), _) => self.unknown_name("local", name, &self.names.locals, |name| {
                format!("declare it: `locals {{ {name} = … }}`")
            }),
            ("data", Some(kind), Some(name)) => {
                let address = format!("{kind}.{name}");
                if self.names.data.contains(&address) {
                    return None;
                }
                let near = did_you_mean(&address, self.names.data.iter().map(String::as_str));
                let hint = near.map_or_else(
                    || format!("declare it: `data \"{kind}\" \"{name}\" {{}}`"),
                    |near| format!("did you mean `data.{near}`?"),
                );
                Some(Diagnostic::error(format!("there is no data source `data.{address}`")).hint(hint))
            }
            ("data", Some(kind), None) if !self.has_data_type(kind) => {
                Some(Diagnostic::error(format!("there is no data source of type `{kind}`")))
            }
            _ => None,
        }
    }

    fn has_data_type(self, kind: &str) -> bool {
        self.names.data.iter().any(|address| address.split_once('.').is_some_and(|(own, _)| own == kind))
    }

    fn unknown_name(
        self,
        what: &str,
        name: &str,
        known: &BTreeSet<Arc<str>>,
        declare: impl Fn(&str) -> String,
    ) -> Option<Diagnostic> {
        if known.contains(name) {
            return None;
        }
        let prefix = if what == "variable" { "var" } else { what };
        let hint = did_you_mean(name, known.iter().map(AsRef::as_ref))
            .map_or_else(|| declare(name), |near| format!("did you mean `{prefix}.{near}`?"));
        Some(Diagnostic::error(format!("there is no {what} named `{name}`")).hint(hint))
    }

    /// The body with its blocks, whatever its syntax, and those that its `dynamic` blocks make; blocks inside of blocks
    /// stay as they are.
    pub(super) fn expanded(self, body: &Body, blocks: &[(&str, usize)], scope: &Scope<'_>) -> Body {
        let mut all = vec![("dynamic", 1)];
        all.extend(blocks);
        let body = super::body::content(body, &all, self.report);
        let File { body: expanded, errors } = body.expand_here(scope, self.report.expanded());
        if !errors.is_empty() {
            let mut references = Vec::new();
            collect_body(&body, &mut references);
            self.report.extend(self.explained(&references, scope, errors));
        }
        expanded
    }

    /// The value as a type; `None`, after a report, if it is something else.
    pub(super) fn typed(self, attribute: &Attribute, scope: &Scope<'_>, ty: &Type) -> Option<Value> {
        let value = self.value(&attribute.expr, scope);
        match convert(&value, ty) {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("unsuitable value for `{}`: {error}", attribute.name);
                self.report.push(attribute.expr.error(message));
                None
            }
        }
    }

    /// A text that must be known; `None` if it is null, not known or, after a report, something else.
    pub(super) fn text(self, attribute: &Attribute, scope: &Scope<'_>) -> Option<String> {
        self.typed(attribute, scope, &Type::String)?.as_str().map(str::to_owned)
    }

    /// A truth value; as for texts.
    pub(super) fn truth(self, attribute: &Attribute, scope: &Scope<'_>) -> Option<bool> {
        self.typed(attribute, scope, &Type::Bool)?.as_bool()
    }

    /// A list of texts and where each of them stands; `None` if it is null, not known or something else.
    pub(super) fn texts(self, attribute: &Attribute, scope: &Scope<'_>) -> Option<Vec<(String, Location)>> {
        let value = self.typed(attribute, scope, &Type::list(Type::String))?;
        let places = attribute.expr.elements();
        let mut texts = Vec::new();
        for (index, element) in value.elements()?.iter().enumerate() {
            let place = places.as_ref().and_then(|all| all.get(index)).unwrap_or(&attribute.expr);
            if element.is_null() {
                self.report.push(place.error(format!("an element of `{}` is null", attribute.name)));
                continue;
            }
            texts.push((element.as_str()?.to_owned(), place.location()));
        }
        Some(texts)
    }
}

/// The references of an expression, and where they are.
pub(super) fn collect(expression: &Expression, found: &mut Vec<(Traversal, Location)>) {
    let place = |reference: &Traversal| expression.source.location(reference.span);
    found.extend(references(expression).into_iter().map(|reference| {
        let place = place(&reference);
        (reference, place)
    }));
}

/// The references of a body with all that is in it.
pub(super) fn collect_body(body: &Body, found: &mut Vec<(Traversal, Location)>) {
    body.attributes.iter().for_each(|attribute| collect(&attribute.expr, found));
    body.blocks.iter().for_each(|block| collect_body(&block.body, found));
}

fn out_of_place(root: &str) -> Option<Diagnostic> {
    let (message, hint) = match root {
        "var" => ("`var` cannot be used here", "values of variables are not known here yet"),
        "local" => ("`local` cannot be used here", "locals are not known here yet"),
        "data" => ("`data` cannot be used here", "data sources are not known here yet"),
        "build" | "source" => (
            "`build` and `source` cannot be used here",
            "they are known in the bodies of sources, provisioners and post-processors",
        ),
        "each" | "count" => ("there is neither `each` nor `count`", "use a `dynamic` block"),
        _ => return None,
    };
    Some(Diagnostic::error(message).hint(hint))
}

fn covers(outer: &Location, inner: &Location) -> bool {
    outer.file == inner.file
        && (outer.line, outer.column) <= (inner.line, inner.column)
        && (inner.end_line, inner.end_column) <= (outer.end_line, outer.end_column)
}

/// A name as the key of what depends on what: the first `count` names of a reference, if all of them are names.
pub(super) fn leading_names(reference: &Traversal, count: usize) -> Option<Vec<&str>> {
    let steps = reference.steps.get(..count - 1)?;
    let names: Option<Vec<&str>> = steps
        .iter()
        .map(|step| match step {
            TraversalStep::Name(name) => Some(name.as_ref()),
            TraversalStep::Index(_) => None,
        })
        .collect();
    names.map(|names| std::iter::once(reference.root.name.as_ref()).chain(names).collect())
}
