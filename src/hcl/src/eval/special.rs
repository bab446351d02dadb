//! The functions that are part of the language because they decide what is evaluated: `try`, `can` and `convert`.

use imgbuild_model::Diagnostics;

use super::{Function, Functions, LazyCall};
use crate::syntax::parse_type;
use crate::value::Value;

/// `try`, `can` and `convert`.
#[must_use]
pub fn special_functions() -> Functions {
    let mut functions = Functions::new();
    functions.add("try", try_());
    functions.add("can", can());
    functions.add("convert", convert());
    functions
}

/// `try(a, b, …)`: the first that can be evaluated.
#[must_use]
pub fn try_() -> Function {
    Function::new("The value of the first argument that can be evaluated without an error.").runs_lazily(
        |call| {
            if call.arguments.is_empty() {
                return Err(call.error("`try` needs at least one argument").into());
            }
            let mut tried = Vec::new();
            for argument in &call.arguments {
                match argument.evaluate() {
                    // What is not known yet may still fail, and so decide for another argument.
                    Ok(value) if !value.is_wholly_known() => {
                        return Ok(Value::dynamic().with_marks(&value.marks_deep()));
                    }
                    Ok(value) => return Ok(value),
                    Err(Diagnostics(errors)) => tried.extend(errors),
                }
            }
            let error = call.error("no argument of `try` can be evaluated");
            let error =
                tried.into_iter().fold(error, |error, tried| error.note(tried.message, tried.location));
            Err(error.hint("end with an argument that always can, for example `null`").into())
        },
    )
}

/// `can(a)`: whether it can be evaluated.
#[must_use]
pub fn can() -> Function {
    Function::new("Whether an expression can be evaluated without an error.").runs_lazily(|call| {
        let [argument] = call.arguments.as_slice() else { return Err(one_argument(call)) };
        Ok(match argument.evaluate() {
            Ok(value) if !value.is_wholly_known() => Value::unknown(crate::value::Type::Bool),
            Ok(_) => Value::bool(true),
            Err(_) => Value::bool(false),
        })
    })
}

fn one_argument(call: &LazyCall<'_>) -> Diagnostics {
    call.error("`can` needs exactly one argument").into()
}

/// `convert(value, type)`
#[must_use]
pub fn convert() -> Function {
    Function::new("A value as another type, given as a type expression.").runs_lazily(|call| {
        let [value, ty] = call.arguments.as_slice() else {
            return Err(call.error("`convert` needs a value and a type").into());
        };
        let constraint = parse_type(&ty.expr.to_expression())?;
        let result = value.evaluate()?;
        constraint
            .apply(&result)
            .map_err(|error| value.expr.error(format!("the value cannot be converted: {error}")).into())
    })
}
