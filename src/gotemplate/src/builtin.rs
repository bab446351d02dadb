//! Go's own functions, but for `and` and `or`, which do not evaluate all their arguments.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::compare::{equal, equal_to_any, kind, order};
use crate::function::Param;
use crate::value::Value;
use crate::{escape, printf};

/// A failure of a function of Go's own.
pub(crate) enum Failure {
    Message(String),
    TooLarge,
}

pub(crate) struct Builtin {
    pub name: &'static str,
    pub params: &'static [Param],
    pub rest: Option<Param>,
    pub call: fn(&[Value], usize) -> Result<Value, Failure>,
}

/// In alphabetical order.
pub(crate) const NAMES: [&str; 19] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print",
    "printf", "println", "slice", "urlquery",
];

static BUILTINS: [Builtin; 17] = [
    builtin("call", &[Param::Any], Some(Param::Any), |a, _| Ok(call(&a[0])?)),
    builtin("eq", &[Param::Any], Some(Param::Any), |a, _| Ok(equal_to_any(a)?)),
    builtin("ne", &[Param::Any, Param::Any], None, |a, _| Ok((!equal(&a[0], &a[1])?).into())),
    builtin("lt", &[Param::Any, Param::Any], None, |a, _| ordered(a, |o| o == Ordering::Less)),
    builtin("le", &[Param::Any, Param::Any], None, |a, _| ordered(a, Ordering::is_le)),
    builtin("gt", &[Param::Any, Param::Any], None, |a, _| ordered(a, |o| o == Ordering::Greater)),
    builtin("ge", &[Param::Any, Param::Any], None, |a, _| ordered(a, Ordering::is_ge)),
    builtin("html", &[], Some(Param::Any), |a, limit| bounded(escape::html(&text_of(a, limit)?), limit)),
    builtin("js", &[], Some(Param::Any), |a, limit| bounded(escape::js(&text_of(a, limit)?), limit)),
    builtin("urlquery", &[], Some(Param::Any), |a, limit| bounded(escape::query(&text_of(a, limit)?), limit)),
    builtin("index", &[Param::Any], Some(Param::Any), |a, _| Ok(index(a)?)),
    builtin("slice", &[Param::Any], Some(Param::Any), |a, _| Ok(slice(a)?)),
    builtin("len", &[Param::Any], None, |a, _| Ok(length(&a[0])?)),
    builtin("not", &[Param::Any], None, |a, _| Ok((!a[0].is_true()).into())),
    builtin("print", &[], Some(Param::Any), |a, limit| bounded(printf::print(a), limit)),
    builtin("println", &[], Some(Param::Any), |a, limit| bounded(printf::println(a), limit)),
    builtin("printf", &[Param::String], Some(Param::Any), |a, limit| {
        let format = a[0].as_str().unwrap_or_default();
        printf::printf(format, &a[1..], limit).map(Value::from).ok_or(Failure::TooLarge)
    }),
];

const fn builtin(
    name: &'static str,
    params: &'static [Param],
    rest: Option<Param>,
    call: fn(&[Value], usize) -> Result<Value, Failure>,
) -> Builtin {
    Builtin { name, params, rest, call }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

/// Whether Go has a function of this name.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(crate) fn get(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

fn bounded(text: String, limit: usize) -> Result<Value, Failure> {
    if text.len() > limit { Err(Failure::TooLarge) } else { Ok(text.into()) }
}

fn text_of(arguments: &[Value], limit: usize) -> Result<String, Failure> {
    let text = match arguments {
        [Value::String(text)] => text.to_string(),
        _ => {
            let shown = |value: &Value| {
                if value.is_nothing() { Value::from("<no value>") } else { value.clone() }
            };
            printf::print(&arguments.iter().map(shown).collect::<Vec<_>>())
        }
    };
    if text.len() > limit { Err(Failure::TooLarge) } else { Ok(text) }
}

fn ordered(arguments: &[Value], wanted: fn(Ordering) -> bool) -> Result<Value, Failure> {
    Ok(order(&arguments[0], &arguments[1])?.is_some_and(wanted).into())
}

fn call(function: &Value) -> Result<Value, String> {
    Err(format!("{} is not a function", kind(function)))
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::List(elements) => elements.len(),
        Value::Map(entries) => entries.len(),
        _ => return Err(format!("{} has no length", kind(value))),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let mut value = arguments[0].clone();
    if value.is_nothing() {
        return Err("nothing cannot be indexed".to_owned());
    }
    for index in &arguments[1..] {
        value = match &value {
            Value::List(elements) => elements[position(index, elements.len(), false)?].clone(),
            Value::String(text) => Value::Int(text.as_bytes()[position(index, text.len(), false)?].into()),
            Value::Map(entries) => match index {
                Value::String(key) => entries.get(key.as_ref()).cloned().unwrap_or(Value::Absent),
                _ => return Err(format!("a key of a map is a string, not {}", kind(index))),
            },
            other => return Err(format!("{} cannot be indexed", kind(other))),
        };
    }
    Ok(value)
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let value = &arguments[0];
    let indexes = &arguments[1..];
    if indexes.len() > 3 {
        return Err(format!("there are {} bounds, and three at most have a meaning", indexes.len()));
    }
    let length = match value {
        Value::String(_) if indexes.len() == 3 => {
            return Err("a string cannot be sliced with three bounds".to_owned());
        }
        Value::String(text) => text.len(),
        Value::List(elements) => elements.len(),
        other => return Err(format!("{} cannot be sliced", kind(other))),
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, length, true)?;
    }
    let [start, end, capacity] = bounds;
    if start > end || end > capacity {
        return Err(format!("the bounds are not in order: {start}, {end}, {capacity}"));
    }
    match value {
        Value::String(text) => text
            .get(start..end)
            .map(Value::from)
            .ok_or_else(|| "a bound lies inside of a character".to_owned()),
        Value::List(elements) => Ok(Value::List(Arc::new(elements[start..end].to_vec()))),
        other => Err(format!("{} cannot be sliced", kind(other))),
    }
}

fn position(index: &Value, length: usize, may_be_length: bool) -> Result<usize, String> {
    let Value::Int(number) = index else {
        return Err(format!("a position is an integer, not {}", kind(index)));
    };
    match usize::try_from(*number) {
        Ok(position) if position < length || may_be_length && position == length => Ok(position),
        _ => Err(format!("there is no position {number}: the length is {length}")),
    }
}
