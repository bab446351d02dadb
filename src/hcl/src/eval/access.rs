//! Steps into a value: attributes, indexes, splats.

use imgbuild_model::did_you_mean;

use super::{CallError, Evaluation, Scope};
use crate::syntax::ExprRef;
use crate::syntax::ast::{Node, Step, StepKind};
use crate::value::{Mark, Number, Type, Value, convert};

impl Evaluation {
    pub(super) fn steps(
        &mut self,
        expr: ExprRef<'_>,
        start: Value,
        steps: &[Step],
        scope: &Scope<'_>,
    ) -> Value {
        let mut value = start;
        for step in steps {
            let result = match &step.kind {
                StepKind::Attribute(name) => attribute(&value, name),
                StepKind::LegacyIndex(at) => index(&value, &Value::number(Number::from(*at))),
                StepKind::Index(node) => {
                    let key = self.value(expr.at(node), scope);
                    index(&value, &key)
                }
                StepKind::AttributeSplat(inner) | StepKind::Splat(inner) => {
                    value = self.splat(expr, step, &value, inner, scope);
                    continue;
                }
            };
            match result {
                Ok(next) => value = next,
                Err(error) => {
                    let message = expr.source.error(step.span, error.message);
                    return self.fail(message.maybe_hint(error.hint));
                }
            }
        }
        value
    }

    fn splat(
        &mut self,
        expr: ExprRef<'_>,
        step: &Step,
        source: &Value,
        inner: &[Step],
        scope: &Scope<'_>,
    ) -> Value {
        let (value, marks) = source.clone().unmark();
        let sequence = value.ty().is_sequence();
        if value.is_null() {
            if sequence {
                let node = Node { kind: expr.node.kind.clone(), span: step.span };
                return self.fail(expr.at(&node).error("a splat cannot go over a null list, set or tuple"));
            }
            return Value::tuple(Vec::new()).with_marks(&marks);
        }
        if !value.is_known() {
            let one = value.ty().element().filter(|_| sequence);
            // Errors of the steps do not wait for the value.
            let each = self.steps(expr, Value::unknown(one.unwrap_or(value.ty()).clone()), inner, scope);
            let ty = one.map_or(Type::Dynamic, |_| Type::list(each.ty().clone()));
            return Value::unknown(ty).with_marks(&marks);
        }
        if !sequence {
            let only = self.steps(expr, source.clone(), inner, scope);
            return Value::tuple(vec![only]).with_marks(&marks);
        }
        let elements = value.elements().unwrap_or_default();
        let results: Vec<Value> =
            elements.iter().map(|element| self.steps(expr, element.clone(), inner, scope)).collect();
        let result = match (value.ty().element(), results.first()) {
            (Some(element), None) => {
                let each = self.steps(expr, Value::unknown(element.clone()), inner, scope);
                Value::list(each.ty().clone(), results)
            }
            (Some(_), Some(first)) if results.iter().all(|result| result.ty() == first.ty()) => {
                Value::list(first.ty().clone(), results)
            }
            _ => Value::tuple(results),
        };
        result.with_marks(&marks)
    }
}

/// `value.name`
pub fn attribute(value: &Value, name: &str) -> Result<Value, CallError> {
    let (inner, marks) = value.clone().unmark();
    let found = match inner.ty() {
        Type::Dynamic if inner.is_null() => return Err(null_attribute(name)),
        Type::Dynamic => Ok(Value::dynamic()),
        _ if inner.is_null() => return Err(null_attribute(name)),
        Type::Object(object) => match object.attributes.get(name) {
            Some(ty) => Ok(inner.get(name).cloned().unwrap_or_else(|| Value::unknown(ty.clone()))),
            None => {
                let near = did_you_mean(name, object.attributes.keys().map(AsRef::as_ref));
                let error = CallError::new(format!("this object has no attribute `{name}`"));
                Err(match near {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.maybe_hint(list_of_names(object.attributes.keys().map(AsRef::as_ref))),
                })
            }
        },
        Type::Map(element) => match inner.entries() {
            None => Ok(Value::unknown(element.as_ref().clone())),
            Some(entries) => entries.get(name).cloned().ok_or_else(|| {
                CallError::new(format!("this map has no element with the key `{name}`")).maybe_hint(
                    did_you_mean(name, entries.keys().map(AsRef::as_ref))
                        .map(|near| format!("did you mean `{near}`?")),
                )
            }),
        },
        ty if ty.is_primitive() => {
            Err(CallError::new(format!("{} has no attributes, and so no `{name}`", ty.article_name())))
        }
        ty => Err(CallError::new(format!("{} has no attributes, and so no `{name}`", ty.article_name()))
            .hint(format!("take an element first, `[0].{name}`, or all of them, `[*].{name}`"))),
    };
    match found {
        Ok(found) => Ok(found.with_marks(&marks)),
        // A hint would name keys.
        Err(error) if marks.contains(&Mark::SENSITIVE) => Err(CallError { hint: None, ..error }),
        Err(error) => Err(error),
    }
}

fn null_attribute(name: &str) -> CallError {
    CallError::new(format!("this value is null and has no attribute `{name}`"))
}

fn list_of_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<String> = names.take(9).map(|name| format!("`{name}`")).collect();
    (!names.is_empty() && names.len() < 9).then(|| format!("it has {}", names.join(", ")))
}

/// `value[key]`
pub fn index(value: &Value, key: &Value) -> Result<Value, CallError> {
    let (inner, marks) = value.clone().unmark();
    let (key, key_marks) = key.clone().unmark();
    if inner.is_null() {
        return Err(CallError::new("this value is null and has no elements"));
    }
    if key.is_null() {
        return Err(CallError::new("null cannot be an index"));
    }
    let found = match inner.ty() {
        Type::Dynamic => Ok(Value::dynamic()),
        Type::List(_) | Type::Tuple(_) => sequence_index(&inner, &key),
        Type::Map(_) | Type::Object(_) => key_index(&inner, &key),
        Type::Set(_) => Err(CallError::new("elements of a set have no index")
            .hint("a set has no order; convert it to a list, or use a `for` expression")),
        ty => Err(CallError::new(format!("{} has no elements", ty.article_name()))),
    };
    match found {
        Ok(found) => Ok(found.with_marks(&marks).with_marks(&key_marks)),
        Err(_) if key_marks.contains(&Mark::SENSITIVE) => {
            Err(CallError::new("there is no element of this index, which is sensitive"))
        }
        Err(error) if marks.contains(&Mark::SENSITIVE) => Err(CallError { hint: None, ..error }),
        Err(error) => Err(error),
    }
}

fn sequence_index(value: &Value, key: &Value) -> Result<Value, CallError> {
    let key = convert(key, &Type::Number).map_err(|error| {
        CallError::new(format!("an element of {} has a number: {error}", value.ty().article_name()))
    })?;
    let types = match value.ty() {
        Type::Tuple(types) => Some(types),
        _ => None,
    };
    let Some(number) = key.as_number() else {
        return Ok(Value::unknown(value.ty().element().cloned().unwrap_or(Type::Dynamic)));
    };
    if number.is_negative() && !number.is_zero() {
        return Err(CallError::new(format!("`{number}` is no index: the first element is 0"))
            .hint("take the last element with `[length(list) - 1]`"));
    }
    if !number.is_integer() {
        return Err(CallError::new(format!("`{number}` is no index: it has a fraction")));
    }
    let at = number.to_i64().and_then(|at| usize::try_from(at).ok());
    let count = value.len().or_else(|| types.map(|types| types.len()));
    if let (Some(elements), Some(at)) = (value.elements(), at)
        && let Some(element) = elements.get(at)
    {
        return Ok(element.clone());
    }
    if let (Some(types), Some(at)) = (types, at)
        && !value.is_known()
        && let Some(ty) = types.get(at)
    {
        return Ok(Value::unknown(ty.clone()));
    }
    match count {
        None => Ok(Value::unknown(value.ty().element().cloned().unwrap_or(Type::Dynamic))),
        Some(0) => Err(CallError::new(format!("there is no element `{number}`: there are none"))),
        Some(count) => Err(CallError::new(format!("there is no element `{number}`")).hint(if count == 1 {
            "the only one is 0".to_owned()
        } else {
            format!("the elements are 0 to {}", count - 1)
        })),
    }
}

fn key_index(value: &Value, key: &Value) -> Result<Value, CallError> {
    let key = convert(key, &Type::String).map_err(|error| {
        CallError::new(format!("an element of {} has a name: {error}", value.ty().article_name()))
    })?;
    let Some(name) = key.as_str() else {
        return Ok(Value::unknown(value.ty().element().cloned().unwrap_or(Type::Dynamic)));
    };
    attribute(value, name)
}
