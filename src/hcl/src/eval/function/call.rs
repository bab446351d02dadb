//! Calls of functions.

use imgbuild_model::{Diagnostics, did_you_mean};

use super::{Body, CallError, Function, LazyArgument, LazyCall};
use crate::eval::{Evaluation, Scope};
use crate::syntax::ExprRef;
use crate::syntax::ast::Call;
use crate::value::{Type, Value};

/// The call of `convert` that does what a function of Terraform does.
fn conversion(name: &str) -> Option<&'static str> {
    Some(match name {
        "tobool" => "convert(…, bool)",
        "tolist" => "convert(…, list(any))",
        "tomap" => "convert(…, map(any))",
        "tonumber" => "convert(…, number)",
        "toset" => "convert(…, set(any))",
        "tostring" => "convert(…, string)",
        _ => return None,
    })
}

impl Evaluation {
    pub(in crate::eval) fn call(&mut self, expr: ExprRef<'_>, call: &Call, scope: &Scope<'_>) -> Value {
        let name = call.name.as_ref();
        let Some(function) = scope.function(name) else {
            let names = scope.function_names();
            let mut error = expr.source.error(call.name_span, format!("there is no function named `{name}`"));
            if names.is_empty() {
                error = expr
                    .source
                    .error(call.name_span, format!("`{name}` is a function, and none can be called here"));
            } else if let Some(instead) = conversion(name).filter(|_| names.contains(&"convert")) {
                error = error.hint(format!("here it is written `{instead}`"));
            } else if let Some(near) = did_you_mean(name, names) {
                error = error.hint(format!("did you mean `{near}`?"));
            }
            return self.fail(error);
        };
        if let Body::Lazy(run) = &function.body {
            let steps = self.steps.clone();
            let argument = |node| LazyArgument { expr: expr.at(node), scope, steps: &steps };
            let arguments = call.arguments.iter().map(argument).collect();
            let result = run(&LazyCall { arguments, expr, call, steps: &steps });
            let value = result.unwrap_or_else(|Diagnostics(errors)| {
                self.extend(errors);
                Value::dynamic()
            });
            self.steps.count_walk(&value);
            return value;
        }
        let before = self.errors.len();
        let Some(values) = self.arguments(expr, call, scope) else { return Value::dynamic() };
        if !self.arity(expr, call, function, values.len()) {
            return Value::dynamic();
        }
        if self.errors.len() > before {
            return Value::dynamic();
        }
        values.iter().for_each(|value| self.steps.count_walk(value));
        if self.steps.are_used_up() {
            return Value::dynamic();
        }
        match function.call(&values) {
            Ok(value) => {
                self.steps.count_walk(&value);
                value
            }
            // What a function says of its arguments may show them.
            Err(error) if values.iter().any(Value::is_sensitive) => {
                let message = "what is wrong is not shown, as an argument is sensitive".to_owned();
                self.call_error(expr, call, function, CallError { message, hint: None, ..error })
            }
            Err(error) => self.call_error(expr, call, function, error),
        }
    }

    /// The values of the arguments; `None` if the expanded one is wrong or not known.
    fn arguments(&mut self, expr: ExprRef<'_>, call: &Call, scope: &Scope<'_>) -> Option<Vec<Value>> {
        let mut values: Vec<Value> =
            call.arguments.iter().map(|node| self.value(expr.at(node), scope)).collect();
        if !call.expand {
            return Some(values);
        }
        let last = expr.at(call.arguments.last()?);
        let (sequence, marks) = values.pop()?.unmark();
        if sequence.is_null() {
            self.fail(last.error("what `...` makes arguments of must not be null"));
            return None;
        }
        if !sequence.ty().is_sequence() && *sequence.ty() != Type::Dynamic {
            let name = sequence.ty().name();
            self.fail(last.error(format!("`...` makes arguments of a list, set or tuple, not of a {name}")));
            return None;
        }
        let elements = sequence.elements()?;
        values.extend(elements.iter().map(|element| element.clone().with_marks(&marks)));
        Some(values)
    }

    fn arity(&mut self, expr: ExprRef<'_>, call: &Call, function: &Function, count: usize) -> bool {
        let wanted = function.parameters.len();
        let more = if function.variadic.is_some() { "at least " } else { "" };
        let plural = if wanted == 1 { "argument" } else { "arguments" };
        if count < wanted {
            let missing = function.parameters[count].name;
            let message =
                format!("`{}` needs {more}{wanted} {plural}; there is none for `{missing}`", call.name);
            self.fail(expr.source.error(call.close, message));
            return false;
        }
        if count > wanted && function.variadic.is_none() {
            let span = call.arguments.get(wanted).map_or(call.close, |node| node.span);
            self.fail(expr.source.error(span, format!("`{}` needs only {wanted} {plural}", call.name)));
            return false;
        }
        true
    }

    fn call_error(&mut self, expr: ExprRef<'_>, call: &Call, function: &Function, error: CallError) -> Value {
        let diagnostic = match error.argument {
            Some(index) => {
                let span =
                    call.arguments.get(index).or(call.arguments.last()).map_or(call.close, |node| node.span);
                let name = function.parameter_of(index).map_or("", |parameter| parameter.name);
                let message =
                    format!("the value for `{name}` of `{}` is wrong: {}", call.name, error.message);
                expr.source.error(span, message)
            }
            None => expr.source.error(call.name_span, format!("`{}` failed: {}", call.name, error.message)),
        };
        self.fail(diagnostic.maybe_hint(error.hint))
    }
}
