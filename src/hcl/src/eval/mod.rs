//! Expressions into values.
//!
//! A [`Scope`] brings variables and [`Functions`]; [`ExprRef::evaluate`] makes a value or says all that is wrong. Marks
//! follow whatever is made of a marked value; what depends on something unknown is unknown, of the best type that can be
//! told.

mod access;
mod collections;
mod dynamic;
mod function;
mod ops;
mod references;
mod scope;
mod special;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use imgbuild_model::{Diagnostic, Diagnostics};

use crate::syntax::ast::{Conditional, Node, NodeKind};
use crate::syntax::{ExprRef, Expression};
use crate::value::{Marks, Type, Value, convert, unify};

pub use access::{attribute, index};
pub use dynamic::Expanded;

pub use function::{Arguments, CallError, Function, Functions, LazyArgument, LazyCall, Parameter};
pub use references::references;
pub use scope::Scope;
pub use special::{can, convert as convert_function, special_functions, try_};

impl Expression {
    /// The value, or all that is wrong.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Diagnostics> {
        self.borrow().evaluate(scope)
    }

    /// The value converted to a type, or all that is wrong. `name` says in a message what the value is for.
    pub fn evaluate_as(&self, scope: &Scope<'_>, ty: &Type, name: &str) -> Result<Value, Diagnostics> {
        let value = self.evaluate(scope)?;
        convert(&value, ty)
            .map_err(|error| self.error(format!("unsuitable value for `{name}`: {error}")).into())
    }
}

impl ExprRef<'_> {
    /// The value, or all that is wrong.
    pub fn evaluate(self, scope: &Scope<'_>) -> Result<Value, Diagnostics> {
        self.evaluate_within(scope, &Steps::default())
    }

    /// The value, as a part of a larger evaluation.
    fn evaluate_within(self, scope: &Scope<'_>, steps: &Steps) -> Result<Value, Diagnostics> {
        let mut evaluation = Evaluation { errors: Vec::new(), steps: steps.clone() };
        let value = evaluation.value(self, scope);
        if steps.are_used_up() {
            let error = self.error(format!("this takes more than {MAX_STEPS} steps to evaluate"));
            return Err(error.hint("let `for` walk over fewer elements").into());
        }
        if evaluation.errors.is_empty() { Ok(value) } else { Err(Diagnostics(evaluation.errors)) }
    }
}

/// How many parts of expressions one evaluation looks at, those that it looks at again counted again. The work of
/// functions counts too.
const MAX_STEPS: u64 = 1 << 20;

/// The steps of an evaluation and all that it is made of.
#[derive(Clone, Debug, Default)]
struct Steps(Rc<Cell<u64>>);

impl Steps {
    fn count(&self, more: u64) {
        self.0.set(self.0.get().saturating_add(more));
    }

    /// For walking all of a value, which takes less than evaluating it.
    fn count_walk(&self, value: &Value) {
        self.count(u64::from(value.weight()) / 64);
    }

    fn are_used_up(&self) -> bool {
        self.0.get() > MAX_STEPS
    }
}

/// How many errors are told of one expression.
const MAX_ERRORS: usize = 100;

/// One evaluation and what went wrong in it. A part that failed is an unknown, so that the rest can go on.
pub(crate) struct Evaluation {
    errors: Vec<Diagnostic>,
    steps: Steps,
}

impl Evaluation {
    pub(crate) fn fail(&mut self, error: Diagnostic) -> Value {
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&error) {
            self.errors.push(error);
        }
        Value::dynamic()
    }

    pub(crate) fn extend(&mut self, errors: Vec<Diagnostic>) {
        for error in errors {
            self.fail(error);
        }
    }

    /// Runs a part on its own; its errors are not yet those of the whole.
    fn apart<X>(&mut self, run: impl FnOnce(&mut Self) -> X) -> (X, Vec<Diagnostic>) {
        let mine = std::mem::take(&mut self.errors);
        let result = run(self);
        (result, std::mem::replace(&mut self.errors, mine))
    }

    pub(crate) fn value(&mut self, expr: ExprRef<'_>, scope: &Scope<'_>) -> Value {
        self.steps.count(1);
        if self.steps.are_used_up() {
            return Value::dynamic();
        }
        let value = self.unbounded(expr, scope);
        match value.excess() {
            None => value,
            Some(message) => self.fail(expr.error(message)),
        }
    }

    /// The value, however large; its parts are not.
    fn unbounded(&mut self, expr: ExprRef<'_>, scope: &Scope<'_>) -> Value {
        match &expr.node.kind {
            NodeKind::Literal(value) => value.clone(),
            NodeKind::Unreadable(errors) => {
                self.extend(errors.0.clone());
                Value::dynamic()
            }
            NodeKind::Template(parts) => self.template(expr, parts, scope),
            NodeKind::Wrap(inner) | NodeKind::Paren(inner) => self.value(expr.at(inner), scope),
            NodeKind::Join(inner) => self.join(expr.at(inner), scope),
            NodeKind::Variable(name) => self.variable(expr, name, scope),
            NodeKind::Traversal(root, steps) => {
                let value = self.value(expr.at(root), scope);
                self.steps(expr, value, steps, scope)
            }
            NodeKind::Call(call) => self.call(expr, call, scope),
            NodeKind::Tuple(elements) => {
                Value::tuple(elements.iter().map(|node| self.value(expr.at(node), scope)).collect::<Vec<_>>())
            }
            NodeKind::Object(items) => self.object(expr, items, scope),
            NodeKind::For(parts) => self.for_expression(expr, parts, scope),
            NodeKind::Conditional(parts) => self.conditional(expr, parts, scope),
            NodeKind::Binary(first, rest) => self.binary(expr, first, rest, scope),
            NodeKind::Not(inner) => self.not(expr.at(inner), scope),
            NodeKind::Negate(inner) => self.negate(expr.at(inner), scope),
        }
    }

    fn variable(&mut self, expr: ExprRef<'_>, name: &str, scope: &Scope<'_>) -> Value {
        if let Some(value) = scope.get(name) {
            return value.clone();
        }
        if self.errors.len() >= MAX_ERRORS {
            return Value::dynamic();
        }
        let names = scope.names();
        let mut error = expr.error(format!("there is no variable named `{name}`"));
        if names.is_empty() {
            error = expr.error(format!("`{name}` is a variable, and none can be used here"));
        } else if let Some(near) = imgbuild_model::did_you_mean(name, names) {
            error = error.hint(format!("did you mean `{near}`?"));
        } else if scope.has_function(name) {
            error = error.hint(format!("`{name}` is a function; call it with parentheses"));
        }
        self.fail(error)
    }

    /// The value of a condition: `None` if it is unknown or wrong.
    fn condition(&mut self, expr: ExprRef<'_>, scope: &Scope<'_>) -> (Option<bool>, Marks) {
        let value = self.value(expr, scope);
        let (value, marks) = value.unmark();
        if value.is_null() {
            self.fail(expr.error("the condition is null").hint("a condition is either true or false"));
            return (None, marks);
        }
        match convert(&value, &Type::Bool) {
            Ok(value) => (value.as_bool(), marks),
            Err(error) => {
                let message = format!("the condition is {}: {error}", value.ty().article_name());
                self.fail(expr.error(message));
                (None, marks)
            }
        }
    }

    fn conditional(&mut self, expr: ExprRef<'_>, parts: &Conditional, scope: &Scope<'_>) -> Value {
        let (then, then_errors) = self.apart(|this| this.value(expr.at(&parts.then), scope));
        let (otherwise, otherwise_errors) = self.apart(|this| this.value(expr.at(&parts.otherwise), scope));
        self.steps.count_walk(&then);
        self.steps.count_walk(&otherwise);
        let broken = !then_errors.is_empty() || !otherwise_errors.is_empty();
        let Some(ty) = common_type(&then, &otherwise) else {
            let span = parts.then.span.to(parts.otherwise.span);
            let error = expr.source.error(
                span,
                format!(
                    "both results of a condition need one type: if it is true it is {}, otherwise {}",
                    described(&then),
                    described(&otherwise)
                ),
            );
            return self.fail(error.hint("convert one of them, for example with `convert(value, type)`"));
        };
        let (condition, marks) = self.condition(expr.at(&parts.condition), scope);
        // The marks of both follow, as what is not chosen took part in the type.
        let marks = [then.marks(), otherwise.marks()].into_iter().fold(marks, |mut all, more| {
            all.extend(more);
            all
        });
        let (chosen, errors) = match condition {
            None => return Value::unknown(ty).with_marks(&marks),
            Some(true) => (then, then_errors),
            Some(false) => (otherwise, otherwise_errors),
        };
        self.extend(errors);
        if broken && ty.has_dynamic() {
            return chosen.with_marks(&marks);
        }
        match convert(&chosen, &ty) {
            Ok(value) => value.with_marks(&marks),
            Err(error) => {
                self.fail(expr.error(format!(
                    "the result of the condition cannot be converted to {}: {error}",
                    ty.name()
                )))
            }
        }
    }

    fn template(&mut self, expr: ExprRef<'_>, parts: &[Node], scope: &Scope<'_>) -> Value {
        if let [Node { kind: NodeKind::Literal(value), .. }] = parts
            && value.as_str().is_some()
        {
            return value.clone();
        }
        let mut text = String::new();
        let mut marks = Marks::default();
        let mut known = true;
        for node in parts {
            let part = expr.at(node);
            let value = self.value(part, scope);
            let (value, more) = value.unmark_deep();
            marks.extend(&more);
            if value.is_null() {
                self.fail(
                    part.error("a null value cannot be a part of a text")
                        .hint("give it a value for this case, for example with `coalesce` or a condition"),
                );
                known = false;
                continue;
            }
            match convert(&value, &Type::String) {
                Ok(value) => match value.as_str() {
                    // What is too large already is not made larger.
                    Some(_) if text.len() > Value::MOST_TEXT => {}
                    Some(piece) => {
                        self.steps.count(piece.len() as u64 / 256);
                        text.push_str(piece);
                    }
                    None => known = false,
                },
                Err(_) => {
                    let message = format!("a value of type {} cannot be a part of a text", value.ty().name());
                    self.fail(part.error(message).hint(
                        "only strings, numbers and bools can; `jsonencode(value)` makes a text of anything",
                    ));
                    known = false;
                }
            }
        }
        let value = if known { Value::string(text) } else { Value::unknown(Type::String) };
        value.with_marks(&marks)
    }

    /// The texts of a `%{for}` as one.
    fn join(&mut self, expr: ExprRef<'_>, scope: &Scope<'_>) -> Value {
        let value = self.value(expr, scope);
        let (value, marks) = value.unmark_deep();
        let text: Option<String> = value.elements().and_then(|all| all.iter().map(Value::as_str).collect());
        text.map_or_else(|| Value::unknown(Type::String), Value::string).with_marks(&marks)
    }
}

/// What both results of a condition can become.
fn common_type(then: &Value, otherwise: &Value) -> Option<Type> {
    let any_null = |value: &Value| value.is_null() && *value.ty() == Type::Dynamic;
    match (any_null(then), any_null(otherwise)) {
        (true, _) => Some(otherwise.ty().clone()),
        (_, true) => Some(then.ty().clone()),
        _ if [then, otherwise].iter().any(|value| *value.ty() == Type::Dynamic) => Some(Type::Dynamic),
        _ => unify(&[then.ty().clone(), otherwise.ty().clone()]),
    }
}

fn described(value: &Value) -> String {
    match value.ty() {
        Type::Tuple(elements) => format!("a tuple of {} elements", elements.len()),
        Type::Object(object) if object.attributes.is_empty() => "an object without attributes".to_owned(),
        Type::Object(object) => {
            let names: Vec<&str> = object.attributes.keys().map(Arc::as_ref).take(5).collect();
            format!(
                "an object with {}",
                names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
            )
        }
        ty => ty.article_name(),
    }
}
