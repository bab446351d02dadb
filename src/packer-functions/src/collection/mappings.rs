//! Maps and objects.

use std::sync::Arc;

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions, Parameter};
use imgbuild_hcl::value::{Entries, Marks, Type, Value, convert};

use super::marks_of;
use crate::{Returned, any, described, text, wrong};

pub(super) fn add(functions: &mut Functions) {
    let keys = Function::new("The keys of a map or the names of an object's attributes, sorted.")
        .parameter(any("inputMap").allow_unknown().allow_marked())
        .returns_by(keys_type)
        .runs(keys);
    functions.add("keys", keys);
    let values = Function::new("The values of a map or object, in the order of their keys.")
        .parameter(any("mapping").allow_marked())
        .returns_by(values_type)
        .runs(values);
    functions.add("values", values);
    let lookup = Function::new("The value of a key, or else a default.")
        .parameter(any("inputMap").allow_marked())
        .parameter(text("key").allow_marked())
        .parameter(any("default").allow_marked())
        .returns_by(lookup_type)
        .runs(lookup);
    functions.add("lookup", lookup);
    let merge = Function::new("Several maps or objects as one; later ones win.")
        .variadic(any("maps").allow_null().allow_dynamic().allow_marked())
        .returns_by(merge_type)
        .runs(merge);
    functions.add("merge", merge);
    let zipmap = Function::new("A map of a list of keys and a list of values.")
        .parameter(Parameter::new("keys", Type::list(Type::String)).allow_marked())
        .parameter(any("values").allow_marked())
        .returns_by(zipmap_type)
        .runs(zipmap);
    functions.add("zipmap", zipmap);
}

fn needs_mapping(index: usize, ty: &Type) -> CallError {
    wrong(index, format!("a map or object is required, not {}", described(ty)))
}

fn keys_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    match arguments.get(0).ty() {
        Type::Map(_) => Ok(Type::list(Type::String)),
        Type::Object(object) => Ok(Type::tuple(vec![Type::String; object.attributes.len()])),
        ty => Err(needs_mapping(0, ty)),
    }
}

/// The names of an object are known even if their values are not.
fn keys(arguments: &Arguments<'_>) -> Returned {
    let value = arguments.get(0);
    let keys = match (value.ty(), value.entries()) {
        (Type::Object(object), _) => {
            Value::tuple(object.attributes.keys().map(Value::string).collect::<Vec<_>>())
        }
        (_, Some(entries)) => Value::strings(entries.keys()),
        _ => Value::unknown(arguments.result_type().clone()),
    };
    Ok(keys.with_marks(value.marks()))
}

fn values_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    match arguments.get(0).ty() {
        Type::Map(element) => Ok(Type::list(element.as_ref().clone())),
        Type::Object(object) => Ok(Type::tuple(object.attributes.values().cloned())),
        ty => Err(needs_mapping(0, ty)),
    }
}

fn values(arguments: &Arguments<'_>) -> Returned {
    let value = arguments.get(0);
    let all: Vec<Value> = value.entries().into_iter().flat_map(|entries| entries.values().cloned()).collect();
    let all = match arguments.result_type() {
        Type::List(element) => Value::list(element.as_ref().clone(), all),
        _ => Value::tuple(all),
    };
    Ok(all.with_marks(value.marks()))
}

fn lookup_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    let (value, default) = (arguments.get(0), arguments.get(2));
    match value.ty() {
        Type::Object(_) if !arguments.get(1).is_known() => Ok(Type::Dynamic),
        Type::Object(object) => {
            Ok(object.attributes.get(arguments.str(1)).cloned().unwrap_or_else(|| default.ty().clone()))
        }
        Type::Map(element) => {
            convert(&default, element).map_err(|_| {
                let (wanted, given) = (element.name(), described(default.ty()));
                wrong(2, format!("the elements of the map are of type {wanted}, and the default is {given}"))
            })?;
            Ok(element.as_ref().clone())
        }
        ty => Err(needs_mapping(0, ty)),
    }
}

fn lookup(arguments: &Arguments<'_>) -> Returned {
    let value = arguments.get(0);
    let marks = marks_of(&arguments.all()[..2]);
    let found = match value.get(arguments.str(1)) {
        Some(found) => found.clone(),
        None => convert(&arguments.get(2), arguments.result_type())
            .map_err(|error| wrong(2, error.to_string()))?,
    };
    Ok(found.with_marks(&marks))
}

fn merge_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    let Some(first) = arguments.all().first() else { return Ok(Type::object::<Arc<str>>([])) };
    let mut attributes = Vec::new();
    let mut known = true;
    for (index, value) in arguments.all().iter().enumerate() {
        match value.ty() {
            Type::Dynamic if !value.is_null() => return Ok(Type::Dynamic),
            Type::Dynamic => {}
            Type::Object(_) if value.is_null() => {}
            Type::Object(object) => {
                attributes.extend(object.attributes.iter().map(|(name, ty)| (Arc::clone(name), ty.clone())));
            }
            Type::Map(element) => match value.entries() {
                Some(entries) => {
                    attributes
                        .extend(entries.keys().map(|name| (Arc::clone(name), element.as_ref().clone())));
                }
                None => known &= value.is_null(),
            },
            ty => return Err(needs_mapping(index, ty)),
        }
    }
    let same = arguments.all().iter().all(|value| value.ty() == first.ty()) && *first.ty() != Type::Dynamic;
    Ok(match (same, known) {
        (true, _) => first.ty().clone(),
        (_, true) => Type::object(attributes),
        _ => Type::Dynamic,
    })
}

fn merge(arguments: &Arguments<'_>) -> Returned {
    let mut merged = Entries::new();
    for value in arguments.all() {
        let entries = value.entries().into_iter().flatten();
        merged.extend(entries.map(|(name, value)| (Arc::clone(name), value.clone())));
    }
    let merged = match arguments.result_type() {
        Type::Map(element) => Value::map(element.as_ref().clone(), merged),
        _ => Value::object(merged),
    };
    Ok(merged.with_marks(&marks_of(arguments.all())))
}

fn differing(keys: usize, values: usize) -> CallError {
    wrong(1, format!("there are {keys} keys, but {values} values"))
}

fn zipmap_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    let (keys, values) = (arguments.get(0), arguments.get(1));
    match values.ty() {
        Type::List(element) => Ok(Type::map(element.as_ref().clone())),
        Type::Tuple(_) if !keys.is_wholly_known() => Ok(Type::Dynamic),
        Type::Tuple(types) => {
            let keys = texts(arguments)?;
            if keys.len() != types.len() {
                return Err(differing(keys.len(), types.len()));
            }
            Ok(Type::object(keys.into_iter().zip(types.iter().cloned())))
        }
        ty => Err(wrong(1, format!("a list or tuple is required, not {}", described(ty)))),
    }
}

fn texts<'a>(arguments: &Arguments<'a>) -> Result<Vec<&'a str>, CallError> {
    let keys = arguments.elements(0).iter().enumerate();
    keys.map(|(index, key)| key.as_str().ok_or_else(|| wrong(0, format!("element {index} is null"))))
        .collect()
}

fn zipmap(arguments: &Arguments<'_>) -> Returned {
    let (keys, values) = (arguments.get(0), arguments.get(1));
    let mut marks: Marks = keys.marks_deep();
    marks.extend(values.marks());
    if !keys.is_wholly_known() {
        return Ok(Value::unknown(arguments.result_type().clone()).with_marks(&marks));
    }
    let (keys, values) = (texts(arguments)?, arguments.elements(1));
    if keys.len() != values.len() {
        return Err(differing(keys.len(), values.len()));
    }
    let entries: Entries =
        keys.into_iter().zip(values).map(|(key, value)| (Arc::from(key), value.clone())).collect();
    let zipped = match arguments.result_type() {
        Type::Map(element) => Value::map(element.as_ref().clone(), entries),
        _ => Value::object(entries),
    };
    Ok(zipped.with_marks(&marks))
}
