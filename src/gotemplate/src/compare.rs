//! `eq ne lt le gt ge`.

use std::cmp::Ordering;

use crate::value::Value;

/// Whether the first is equal to one of the others.
pub(crate) fn equal_to_any(arguments: &[Value]) -> Result<Value, String> {
    let (first, others) = arguments.split_first().ok_or("there is nothing to compare")?;
    if others.is_empty() {
        return Err("there is nothing to compare with".to_owned());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub(crate) fn equal(one: &Value, other: &Value) -> Result<bool, String> {
    Ok(match (one, other) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        _ if one.is_nothing() || other.is_nothing() => one.is_nothing() && other.is_nothing(),
        (Value::Record(a), Value::Record(b)) => a == b,
        (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => {
            return Err(format!("{} cannot be compared", kind(one)));
        }
        _ => return Err(incompatible(one, other)),
    })
}

pub(crate) fn order(one: &Value, other: &Value) -> Result<Option<Ordering>, String> {
    Ok(match (one, other) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::String(a), Value::String(b)) => Some(a.as_ref().cmp(b)),
        _ if std::mem::discriminant(one) == std::mem::discriminant(other) => {
            return Err(format!("{} has no order", kind(one)));
        }
        _ => return Err(incompatible(one, other)),
    })
}

fn incompatible(one: &Value, other: &Value) -> String {
    format!("{} cannot be compared with {}", kind(one), kind(other))
}

/// A value's type in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Absent | Value::Nil => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Int(_) => "an integer",
        Value::Float(_) => "a floating point number",
        Value::String(_) => "a string",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Record(_) => "a struct",
        Value::Late => "a value that is not known yet",
    }
}
