//! Input variables: declarations, where values come from and which of them counts, types, validation.
//!
//! A later source wins: the default, the environment (`PKR_VAR_name`), `*.auto.pkrvars.hcl`, `*.auto.pkrvars.json`,
//! files that were asked for in their order, values that were given as such in their order. Only what wins is validated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imgbuild_hcl::eval::{Functions, Scope, references};
use imgbuild_hcl::syntax::{
    Attribute, Block, Body, Expression, Source, TypeConstraint, parse_expression, parse_type,
};
use imgbuild_hcl::value::{Mark, Type, Value, convert};
use imgbuild_model::{Diagnostic, Diagnostics, Location, did_you_mean};

use super::Inputs;
use super::body::{Shape, is_name, labels, required};
use super::evaluate::{Evaluator, Names};
use super::report::Report;

/// The prefix of environment variables that set variables.
pub const ENVIRONMENT_PREFIX: &str = "PKR_VAR_";

/// A variable and its value.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: Arc<str>,
    /// The type that its values are converted to.
    pub ty: Type,
    /// What it is for.
    pub description: Option<String>,
    /// Whether its value must not be shown. The value then carries the mark.
    pub sensitive: bool,
    /// Its value; unknown if it has none.
    pub value: Value,
    /// Where the value comes from.
    pub origin: Origin,
    /// Where it is declared.
    pub location: Location,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From nowhere: there is none.
    Unset,
    /// The declaration.
    Default,
    /// The environment.
    Environment,
    /// A file of variables.
    File(String),
    /// A value that was given as such (`-var`).
    Given,
}

/// A declaration and the values that were assigned.
#[derive(Debug)]
pub(super) struct Declared {
    name: Arc<str>,
    constraint: TypeConstraint,
    description: Option<String>,
    sensitive: bool,
    location: Location,
    assigned: Option<Assigned>,
    validations: Vec<Validation>,
}

#[derive(Debug)]
struct Assigned {
    value: Value,
    origin: Origin,
    location: Location,
}

impl Assigned {
    /// In the place of a default that was probably misspelt.
    fn unknown(constraint: &TypeConstraint, location: Location) -> Self {
        Self { value: Value::unknown(constraint.ty.without_optional()), origin: Origin::Default, location }
    }
}

#[derive(Debug)]
struct Validation {
    condition: Expression,
    message: String,
}

/// All variables, by name.
pub(super) type Declarations = BTreeMap<Arc<str>, Declared>;

const VARIABLE: Shape = Shape {
    what: "a `variable` block",
    attributes: &["type", "default", "description", "sensitive"],
    blocks: &[("validation", 0)],
};

const VALIDATION: Shape =
    Shape { what: "a `validation` block", attributes: &["condition", "error_message"], blocks: &[] };

/// Reads declarations.
pub(super) struct Declarer<'a> {
    pub report: &'a Report,
    /// `env`, and nothing else.
    pub functions: Arc<Functions>,
}

impl Declarer<'_> {
    fn insert(&self, all: &mut Declarations, variable: Declared) {
        if let Some(first) = all.get(&variable.name) {
            let error = Diagnostic::error(format!("variable `{}` is declared twice", variable.name))
                .at(variable.location)
                .note("it was first declared here", Some(first.location.clone()))
                .hint("keep one of them");
            self.report.push(error);
            return;
        }
        all.insert(Arc::clone(&variable.name), variable);
    }

    /// `variables { name = default }`
    pub(super) fn variables(&self, block: &Block, all: &mut Declarations) {
        if labels(block, [], self.report).is_none() {
            return;
        }
        let body = super::body::content(&block.body, &[], self.report);
        for inner in &body.blocks {
            let shape = Shape { what: "a `variables` block", attributes: &[], blocks: &[] };
            let hint = "it holds `name = default`; a `variable` block can say more";
            self.report.push(shape.unknown_block(inner).hint(hint));
        }
        for attribute in &body.attributes {
            let location = body.source.location(attribute.name_span);
            let value = self.default(attribute);
            let variable = Declared {
                name: Arc::clone(&attribute.name),
                constraint: implied(&value),
                description: None,
                sensitive: false,
                location: location.clone(),
                assigned: Some(Assigned {
                    value,
                    origin: Origin::Default,
                    location: attribute.expr.location(),
                }),
                validations: Vec::new(),
            };
            self.insert(all, variable);
        }
    }

    /// `variable "name" { … }`
    pub(super) fn variable(&self, block: &Block, all: &mut Declarations) {
        let Some([label]) = labels(block, ["name"], self.report) else { return };
        let (body, clean) = VARIABLE.read(&block.body, self.report);
        if !is_name(block, label, self.report) {
            return;
        }
        let names = Names::default();
        let constant = Evaluator { names: &names, report: self.report };
        let nothing = Scope::new();
        let constraint = body.attribute("type").map(|attribute| self.constraint(attribute));
        let (constraint, assigned) = self.typed_default(body.attribute("default"), constraint);
        let excused = || (!clean).then(|| Assigned::unknown(&constraint, body.source.location(block.header)));
        let assigned = assigned.or_else(excused);
        let variable = Declared {
            name: Arc::clone(&label.text),
            constraint,
            description: body.attribute("description").and_then(|text| constant.text(text, &nothing)),
            sensitive: body.attribute("sensitive").and_then(|flag| constant.truth(flag, &nothing))
                == Some(true),
            location: body.source.location(block.header),
            assigned,
            validations: body
                .blocks_of("validation")
                .filter_map(|validation| self.validation(validation, &label.text))
                .collect(),
        };
        self.insert(all, variable);
    }

    fn constraint(&self, attribute: &Attribute) -> TypeConstraint {
        parse_type(&attribute.expr).unwrap_or_else(|Diagnostics(errors)| {
            self.report.extend(errors);
            TypeConstraint::any()
        })
    }

    fn typed_default(
        &self,
        default: Option<&Attribute>,
        constraint: Option<TypeConstraint>,
    ) -> (TypeConstraint, Option<Assigned>) {
        let Some(attribute) = default else {
            return (constraint.unwrap_or_else(TypeConstraint::any), None);
        };
        let value = self.default(attribute);
        let location = attribute.expr.location();
        let constraint = constraint.unwrap_or_else(|| implied(&value));
        let value = constraint.apply(&value).unwrap_or_else(|error| {
            let message = format!("the default does not fit the type `{}`: {error}", constraint.ty);
            self.report.push(attribute.expr.error(message));
            Value::unknown(constraint.ty.without_optional())
        });
        (constraint, Some(Assigned { value, origin: Origin::Default, location }))
    }

    fn default(&self, attribute: &Attribute) -> Value {
        let scope = Scope::with_functions(Arc::clone(&self.functions));
        attribute.expr.evaluate(&scope).unwrap_or_else(|Diagnostics(errors)| {
            let hint = "a default is made of literals and `env`; put what is computed in `locals`";
            self.report.extend(errors.into_iter().map(|error| match error.hint {
                None => error.hint(hint),
                Some(_) => error,
            }));
            Value::dynamic()
        })
    }

    fn validation(&self, block: &Block, name: &str) -> Option<Validation> {
        labels(block, [], self.report)?;
        let (body, clean) = VALIDATION.read(&block.body, self.report);
        if !clean {
            return None;
        }
        let example = format!("condition = var.{name} != \"\"");
        let condition = required(block, &body, "condition", &example, self.report);
        let message =
            required(block, &body, "error_message", "error_message = \"What must hold.\"", self.report);
        let message = message.and_then(|message| self.message(message));
        let condition = condition.filter(|condition| self.condition(&condition.expr, name))?;
        Some(Validation { condition: condition.expr.clone(), message: message? })
    }

    fn message(&self, attribute: &Attribute) -> Option<String> {
        let Some(text) = attribute.expr.as_text() else {
            self.report
                .push(attribute.expr.error("`error_message` must be plain text").hint("without `${…}`"));
            return None;
        };
        let first = text.chars().next();
        let starts = first.is_some_and(|c| c.is_uppercase() || !c.is_alphabetic());
        let ends = text.ends_with(['.', '?', '!']);
        if !starts || !ends {
            self.report.push(
                attribute
                    .expr
                    .error("`error_message` must be at least one whole sentence")
                    .hint("start with a capital letter and end with `.`, `?` or `!`"),
            );
        }
        Some(text)
    }

    /// Whether a condition refers to its own variable and to nothing else.
    fn condition(&self, condition: &Expression, name: &str) -> bool {
        let mut own = false;
        let mut good = true;
        for reference in references(condition) {
            if reference.names().starts_with(&["var", name]) {
                own = true;
                continue;
            }
            good = false;
            let place = condition.source.location(reference.span);
            self.report.push(
                Diagnostic::error(format!("a condition can refer to `var.{name}` only"))
                    .at(place)
                    .hint("conditions are checked before anything else is known"),
            );
        }
        if !own && good {
            let error = condition.error(format!("a condition must refer to `var.{name}`"));
            self.report.push(error.hint("otherwise it does not depend on the value"));
        }
        own && good
    }
}

/// The type of a variable that has a default and no type.
fn implied(default: &Value) -> TypeConstraint {
    if default.is_empty() { TypeConstraint::any() } else { default.ty().clone().into() }
}

/// Brings values to declarations.
pub(super) struct Assigner<'a> {
    pub report: &'a Report,
    pub inputs: &'a Inputs,
}

impl Assigner<'_> {
    /// The environment. Gives the names that were looked up.
    pub(super) fn environment(&self, all: &mut Declarations) -> BTreeSet<String> {
        let mut reads = BTreeSet::new();
        for variable in all.values_mut() {
            let name = format!("{ENVIRONMENT_PREFIX}{}", variable.name);
            if let Some(text) = self.inputs.environment.get(&name) {
                self.text(variable, &name, text, Origin::Environment);
            }
            reads.insert(name);
        }
        reads
    }

    /// A file of variables.
    pub(super) fn file(&self, body: &Body, all: &mut Declarations) {
        let body = &super::body::content(body, &[("variable", 1), ("variables", 0)], self.report);
        for block in &body.blocks {
            let hint = match block.kind.as_ref() {
                "variable" | "variables" => "it holds `name = value`; variables are declared in templates",
                _ => "it holds `name = value`",
            };
            let message = format!("a file of variables has no block `{}`", block.kind);
            self.report.push(body.source.error(block.kind_span, message).hint(hint));
        }
        for attribute in &body.attributes {
            let Some(variable) = all.get_mut(&attribute.name) else {
                self.undeclared(body, attribute, all);
                continue;
            };
            // Text in JSON is no template here.
            let plain = attribute.expr.json_value().map(Ok);
            let value = plain.unwrap_or_else(|| attribute.expr.evaluate(&Scope::new()));
            let value = value.unwrap_or_else(|Diagnostics(errors)| {
                self.report.extend(errors);
                Value::dynamic()
            });
            let origin = Origin::File(body.source.name().to_owned());
            self.assign(variable, value, origin, &attribute.expr);
        }
    }

    fn undeclared(&self, body: &Body, attribute: &Attribute, all: &Declarations) {
        if !self.inputs.warn_undeclared {
            return;
        }
        let name = &attribute.name;
        let near = did_you_mean(name, all.keys().map(AsRef::as_ref));
        let hint = near.map_or_else(
            || format!("declare it, `variable \"{name}\" {{}}`, or remove it from the file"),
            |near| format!("did you mean `{near}`?"),
        );
        let warning = Diagnostic::warning(format!("variable `{name}` is set here but not declared"));
        self.report.push(warning.at(body.source.location(attribute.name_span)).hint(hint));
    }

    /// Values that were given as such.
    pub(super) fn given(&self, all: &mut Declarations) {
        for (name, text) in &self.inputs.variables {
            match all.get_mut(name.as_str()) {
                Some(variable) => self.text(variable, &format!("-var {name}"), text, Origin::Given),
                None => {
                    let near = did_you_mean(name, all.keys().map(AsRef::as_ref));
                    let hint = near.map_or_else(
                        || format!("declare it: `variable \"{name}\" {{}}`"),
                        |near| format!("did you mean `{near}`?"),
                    );
                    let message = format!("variable `{name}` was given a value but is not declared");
                    self.report.push(
                        Diagnostic::error(message).at(Location::file(&format!("-var {name}"))).hint(hint),
                    );
                }
            }
        }
    }

    /// Text of the environment or the command line: itself for texts, numbers and variables of any type, an expression
    /// for all others.
    fn text(&self, variable: &mut Declared, name: &str, text: &str, origin: Origin) {
        let source = Source::new(name, text);
        let literal = matches!(variable.constraint.ty, Type::String | Type::Number | Type::Dynamic);
        let expression = if literal {
            let span = imgbuild_hcl::syntax::Span { start: 0, end: text.len() as u32 };
            Ok(Expression::literal(&source, span, Value::string(text)))
        } else {
            parse_expression(&source)
        };
        let evaluated =
            expression.and_then(|expression| Ok((expression.evaluate(&Scope::new())?, expression)));
        match evaluated {
            Ok((value, expression)) => self.assign(variable, value, origin, &expression),
            Err(Diagnostics(errors)) => {
                let hint = format!("variable `{}` has the type `{}`", variable.name, variable.constraint.ty);
                self.report.extend(errors.into_iter().map(|error| match error.hint {
                    None => error.hint(hint.clone()),
                    Some(_) => error,
                }));
                self.fail(variable, origin, Location::file(name));
            }
        }
    }

    fn assign(&self, variable: &mut Declared, value: Value, origin: Origin, place: &Expression) {
        match variable.constraint.apply(&value) {
            Ok(value) => variable.assigned = Some(Assigned { value, origin, location: place.location() }),
            Err(error) => {
                let message = format!("this value does not fit variable `{}`: {error}", variable.name);
                self.report.push(place.error(message).note(
                    format!("it has the type `{}`", variable.constraint.ty),
                    Some(variable.location.clone()),
                ));
                self.fail(variable, origin, place.location());
            }
        }
    }

    /// A value that was wrong is unknown, so that it is told once.
    fn fail(&self, variable: &mut Declared, origin: Origin, location: Location) {
        let value = Value::unknown(variable.constraint.ty.without_optional());
        variable.assigned = Some(Assigned { value, origin, location });
    }
}

/// The variables with their values: those without one are reported, and conditions checked, if `full`.
pub(super) fn finish(
    all: Declarations,
    functions: &Arc<Functions>,
    full: bool,
    report: &Report,
) -> Vec<Variable> {
    let finish = |variable: Declared| {
        if full {
            match &variable.assigned {
                None => report.push(unset(&variable)),
                Some(assigned) => validate(&variable, assigned, functions, report),
            }
        }
        let Declared { name, constraint, description, sensitive, location, assigned, .. } = variable;
        let ty = constraint.ty;
        let (value, origin) = match assigned {
            Some(assigned) => (assigned.value, assigned.origin),
            None => (Value::unknown(ty.without_optional()), Origin::Unset),
        };
        let value = if sensitive { value.mark(Mark::SENSITIVE) } else { value };
        Variable { name, ty, description, sensitive, value, origin, location }
    };
    all.into_values().map(finish).collect()
}

fn unset(variable: &Declared) -> Diagnostic {
    let name = &variable.name;
    Diagnostic::error(format!("variable `{name}` has no value"))
        .at(variable.location.clone())
        .hint(format!("give it one with `-var {name}=…`, in a file of variables, as `{ENVIRONMENT_PREFIX}{name}`, or a default"))
}

fn validate(variable: &Declared, assigned: &Assigned, functions: &Arc<Functions>, report: &Report) {
    let mut scope = Scope::with_functions(Arc::clone(functions));
    scope.set("var", Value::object_of([(variable.name.as_ref(), assigned.value.clone())]));
    for validation in &variable.validations {
        let condition = &validation.condition;
        let result = match condition.evaluate(&scope) {
            Ok(value) => value,
            Err(Diagnostics(errors)) => {
                report.extend(errors);
                continue;
            }
        };
        let result = match convert(&result, &Type::Bool) {
            Ok(value) if value.is_null() => {
                report.push(condition.error("the condition is null").hint("it is either true or false"));
                continue;
            }
            Ok(value) => value,
            Err(error) => {
                report.push(condition.error(format!("the condition is no truth value: {error}")));
                continue;
            }
        };
        if result.as_bool() == Some(false) {
            let message =
                format!("the value of variable `{}` is not valid: {}", variable.name, validation.message);
            let error = Diagnostic::error(message);
            report.push(
                error
                    .at(assigned.location.clone())
                    .note("this condition does not hold", Some(condition.location())),
            );
        }
    }
}
