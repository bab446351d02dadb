//! How functions are called: conversion, nulls, unknowns, marks.

use imgbuild_hcl::eval::{CallError, Function, Functions, Parameter, Scope};
use imgbuild_hcl::syntax::{Source, parse_expression};
use imgbuild_hcl::value::{Mark, Type, Value};
use std::sync::Arc;

fn secret(value: Value) -> Value {
    value.mark(Mark::SENSITIVE)
}

/// `join(separator, texts...)`
fn join() -> Function {
    Function::new("Joins texts.")
        .parameter(Parameter::new("separator", Type::String))
        .variadic(Parameter::new("texts", Type::String))
        .returns(Type::String)
        .runs(|arguments| {
            let texts: Vec<&str> = arguments.all()[1..].iter().filter_map(Value::as_str).collect();
            Ok(Value::string(texts.join(arguments.str(0))))
        })
}

/// `same(value)`: the value, of its type.
fn same(parameter: Parameter) -> Function {
    Function::new("")
        .parameter(parameter)
        .returns_by(|arguments| Ok(arguments.get(0).ty().clone()))
        .runs(|arguments| Ok(arguments.get(0)))
}

fn one(function: &Function, value: &Value) -> Result<Value, CallError> {
    function.call(std::slice::from_ref(value))
}

fn any() -> Parameter {
    Parameter::new("value", Type::Dynamic)
}

#[test]
fn arguments_are_converted() {
    let joined = join().call(&[Value::string("-"), Value::int(1), Value::bool(true)]);
    assert_eq!(joined, Ok(Value::string("1-true")));
    let error = join().call(&[Value::string("-"), Value::tuple([])]).unwrap_err();
    assert_eq!(error, CallError::argument(1, "a string is required"));
}

#[test]
fn their_number_is_checked() {
    let error = join().call(&[]).unwrap_err();
    assert_eq!(error.message, "an argument for `separator` is missing");
    assert_eq!(join().call(&[Value::string("-")]), Ok(Value::string("")));
    let error = same(any()).call(&[Value::int(1), Value::int(2)]).unwrap_err();
    assert_eq!(error, CallError::argument(1, "there are 2 arguments, but 1 parameters"));
}

#[test]
fn null_is_refused_unless_it_is_taken() {
    let null = Value::null(Type::String);
    assert_eq!(one(&same(any()), &null), Err(CallError::argument(0, "it must not be null")));
    assert_eq!(one(&same(any().allow_null()), &null), Ok(null));
}

#[test]
fn what_is_unknown_makes_the_result_unknown() {
    let unknown = Value::unknown(Type::String);
    assert_eq!(join().call(&[Value::string("-"), unknown.clone()]), Ok(unknown.clone()));
    assert_eq!(join().call(&[Value::string("-"), Value::dynamic()]), Ok(unknown.clone()));
    assert_eq!(same(any()).call(&[Value::unknown(Type::Bool)]), Ok(Value::unknown(Type::Bool)));
    assert_eq!(same(any()).call(&[Value::dynamic()]), Ok(Value::dynamic()));
    let partly = Value::tuple([unknown.clone()]);
    assert_eq!(one(&same(any()), &partly), Ok(partly.clone()));
    assert_eq!(one(&same(any().wholly_known()), &partly), Ok(Value::unknown(partly.ty().clone())));
    let taken = Function::new("")
        .parameter(any().allow_unknown().allow_dynamic())
        .returns(Type::Bool)
        .runs(|arguments| Ok(Value::bool(arguments.get(0).is_known())));
    assert_eq!(taken.call(&[Value::dynamic()]), Ok(Value::bool(false)));
}

#[test]
fn marks_go_over_to_the_result_unless_the_function_sees_to_them() {
    let inner = Value::tuple([secret(Value::int(1)), Value::int(2)]);
    let plain = Value::tuple([Value::int(1), Value::int(2)]);
    assert_eq!(one(&same(any()), &inner), Ok(secret(plain)));
    assert_eq!(one(&same(any().allow_marked()), &inner), Ok(inner));
    let unknown = secret(Value::unknown(Type::String));
    assert_eq!(join().call(&[Value::string("-"), unknown.clone()]), Ok(unknown));
}

#[test]
fn a_function_can_ask_for_whole_numbers() {
    let numbers = Function::new("")
        .parameter(Parameter::new("a", Type::Number))
        .parameter(Parameter::new("b", Type::Number))
        .returns(Type::Number)
        .runs(|arguments| Ok(Value::int(arguments.int(0)? + arguments.usize(1)? as i64)));
    let call = |a: &str, b: &str| numbers.call(&[Value::string(a), Value::string(b)]);
    assert_eq!(call("-2", "3"), Ok(Value::int(1)));
    assert_eq!(call("1.5", "3"), Err(CallError::argument(0, "a whole number is required")));
    assert_eq!(call("1e30", "3"), Err(CallError::argument(0, "a whole number is required")));
    let negative = CallError::argument(1, "a whole number that is not negative is required");
    assert_eq!(call("1", "-1"), Err(negative));
}

#[test]
fn inner_scopes_hide_names_and_keep_functions() {
    let mut functions = Functions::new();
    functions.add("join", join());
    let mut outer = Scope::with_functions(Arc::new(functions));
    outer.set("a", Value::string("outer"));
    outer.set("b", Value::string("b"));
    let mut inner = outer.child();
    inner.set("a", Value::string("inner"));
    let read = |text: &str| parse_expression(&Source::new("x", text)).unwrap();
    assert_eq!(read("join(a, b, b)").evaluate(&inner).unwrap(), Value::string("binnerb"));
    assert_eq!(read("join(a, b, b)").evaluate(&outer).unwrap(), Value::string("bouterb"));
}

#[test]
fn lazy_functions_are_only_for_expressions() {
    let lazy = imgbuild_hcl::eval::try_();
    let error = lazy.call(&[Value::int(1)]).unwrap_err();
    assert_eq!(error.message, "the function can only be called in an expression");
    let empty = Function::new("").call(&[]).unwrap_err();
    assert_eq!(empty.message, "the function has no body");
}

#[test]
fn a_value_can_be_asked_for_by_type() {
    let expression = parse_expression(&Source::new("x", "[1, \"x\"]")).unwrap();
    let scope = Scope::new();
    let strings = expression.evaluate_as(&scope, &Type::list(Type::String), "names").unwrap();
    assert_eq!(strings, Value::strings(["1", "x"]));
    let errors = expression.evaluate_as(&scope, &Type::list(Type::Number), "sizes").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "x:1:1: unsuitable value for `sizes`: element `[1]`: a number is required"
    );
}
