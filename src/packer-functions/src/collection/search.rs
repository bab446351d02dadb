//! Questions about collections, and one value out of several.

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions, Parameter};
use imgbuild_hcl::value::{Type, Value, convert, unify};
use unicode_segmentation::UnicodeSegmentation;

use crate::{Returned, any, described, number, wrong};

pub(super) fn add(functions: &mut Functions) {
    let flags = || Parameter::new("list", Type::list(Type::Bool));
    let alltrue = Function::new("Whether all of the truth values are true.")
        .parameter(flags())
        .returns(Type::Bool)
        .runs(alltrue);
    functions.add("alltrue", alltrue);
    let anytrue = Function::new("Whether one of the truth values is true.")
        .parameter(flags())
        .returns(Type::Bool)
        .runs(anytrue);
    functions.add("anytrue", anytrue);
    let open = |name| any(name).allow_null().allow_unknown().allow_dynamic();
    let coalesce = Function::new("The first value that is neither null nor an empty text.")
        .variadic(open("vals"))
        .returns_by(coalesce_type)
        .runs(coalesce);
    functions.add("coalesce", coalesce);
    let coalescelist = Function::new("The first list that has elements.")
        .variadic(open("vals"))
        .returns_by(coalescelist_type)
        .runs(coalescelist);
    functions.add("coalescelist", coalescelist);
    let contains = Function::new("Whether a list, set or tuple has an element.")
        .parameter(any("list"))
        .parameter(any("value"))
        .returns(Type::Bool)
        .runs(contains);
    functions.add("contains", contains);
    let element = Function::new("An element of a list; after the last comes the first again.")
        .parameter(any("list").allow_marked())
        .parameter(number("index"))
        .returns_by(element_type)
        .runs(|a| {
            let elements = a.elements(0);
            let at = wrapped(a, elements.len())?;
            Ok(elements[at].clone().with_marks(a.get(0).marks()))
        });
    functions.add("element", element);
    let index = Function::new("Where in a list a value is.")
        .parameter(any("list"))
        .parameter(any("value"))
        .returns(Type::Number)
        .runs(index);
    functions.add("index", index);
    let length = Function::new("How many elements a collection or characters a text has.")
        .parameter(any("value").allow_unknown().allow_dynamic().allow_marked())
        .returns(Type::Number)
        .runs(length);
    functions.add("length", length);
}

/// A null is not true; what is unknown before the first that is not true leaves it open.
fn alltrue(arguments: &Arguments<'_>) -> Returned {
    for element in arguments.elements(0) {
        if !element.is_known() {
            return Ok(Value::unknown(Type::Bool));
        }
        if element.as_bool() != Some(true) {
            return Ok(Value::bool(false));
        }
    }
    Ok(Value::bool(true))
}

fn anytrue(arguments: &Arguments<'_>) -> Returned {
    let elements = arguments.elements(0);
    if elements.iter().any(|element| element.as_bool() == Some(true)) {
        return Ok(Value::bool(true));
    }
    let open = elements.iter().any(|element| !element.is_known());
    Ok(if open { Value::unknown(Type::Bool) } else { Value::bool(false) })
}

fn types(arguments: &Arguments<'_>) -> Vec<Type> {
    arguments.all().iter().map(|value| value.ty().clone()).collect()
}

fn coalesce_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    if arguments.is_empty() {
        return Err(CallError::new("at least one argument is required"));
    }
    unify(&types(arguments)).ok_or_else(|| CallError::new("all arguments must be convertible to one type"))
}

fn coalesce(arguments: &Arguments<'_>) -> Returned {
    let ty = arguments.result_type();
    for (index, value) in arguments.all().iter().enumerate() {
        let value = convert(value, ty).map_err(|error| wrong(index, error.to_string()))?;
        if !value.is_known() {
            return Ok(Value::unknown(ty.clone()));
        }
        if !value.is_null() && value.as_str() != Some("") {
            return Ok(value);
        }
    }
    Err(CallError::new("all arguments are null or empty")
        .hint("end with a value that is neither, or use `try` or a condition"))
}

fn coalescelist_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    if arguments.is_empty() {
        return Err(CallError::new("at least one argument is required"));
    }
    for (index, value) in arguments.all().iter().enumerate() {
        if !value.is_known() {
            return Ok(Type::Dynamic);
        }
        if !matches!(value.ty(), Type::List(_) | Type::Tuple(_)) {
            return Err(wrong(index, format!("a list or tuple is required, not {}", described(value.ty()))));
        }
    }
    let types = types(arguments);
    Ok(if types.iter().all(|ty| *ty == types[0]) { types[0].clone() } else { Type::Dynamic })
}

fn coalescelist(arguments: &Arguments<'_>) -> Returned {
    for value in arguments.all() {
        if !value.is_known() {
            return Ok(Value::unknown(arguments.result_type().clone()));
        }
        if value.len().is_some_and(|length| length > 0) {
            return Ok(value.clone());
        }
    }
    Err(CallError::new("all lists are null or empty"))
}

fn contains(arguments: &Arguments<'_>) -> Returned {
    let list = arguments.get(0);
    if !list.ty().is_sequence() {
        return Err(wrong(0, format!("a list, set or tuple is required, not {}", described(list.ty()))));
    }
    let value = arguments.get(1);
    let mut open = false;
    for element in arguments.elements(0) {
        match value.equals(element).as_bool() {
            Some(true) => return Ok(Value::bool(true)),
            Some(false) => {}
            None => open = true,
        }
    }
    Ok(if open { Value::unknown(Type::Bool) } else { Value::bool(false) })
}

fn wrapped(arguments: &Arguments<'_>, count: usize) -> Result<usize, CallError> {
    let index = arguments.int(1)?;
    let index = usize::try_from(index).map_err(|_| wrong(1, "the index must not be negative"))?;
    index.checked_rem(count).ok_or_else(|| wrong(0, "there is no element in an empty list"))
}

fn element_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    let list = arguments.get(0);
    let known = arguments.get(1).is_known();
    if known && arguments.number(1)?.is_negative() {
        return Err(wrong(1, "the index must not be negative"));
    }
    match list.ty() {
        Type::List(element) => Ok(element.as_ref().clone()),
        Type::Tuple(_) if !known => Ok(Type::Dynamic),
        Type::Tuple(elements) => Ok(elements[wrapped(arguments, elements.len())?].clone()),
        ty => Err(wrong(0, format!("a list or tuple is required, not {}", described(ty)))),
    }
}

fn index(arguments: &Arguments<'_>) -> Returned {
    let list = arguments.get(0);
    if !matches!(list.ty(), Type::List(_) | Type::Tuple(_)) {
        return Err(wrong(0, format!("a list or tuple is required, not {}", described(list.ty()))));
    }
    let elements = arguments.elements(0);
    if elements.is_empty() {
        return Err(wrong(0, "nothing can be found in an empty list"));
    }
    for (at, element) in elements.iter().enumerate() {
        match arguments.get(1).equals(element).as_bool() {
            Some(true) => return Ok(Value::int(at as i64)),
            Some(false) => {}
            None => return Ok(Value::unknown(Type::Number)),
        }
    }
    Err(wrong(1, "the list has no such element").hint("`contains(list, value)` tells whether it has"))
}

/// The number of elements tells nothing of what they are: only the marks of the container itself follow.
fn length(arguments: &Arguments<'_>) -> Returned {
    let value = arguments.get(0);
    let count = match value.ty() {
        Type::Tuple(elements) => Some(elements.len()),
        Type::Object(object) => Some(object.attributes.len()),
        Type::String => value.as_str().map(|text| text.graphemes(true).count()),
        Type::List(_) | Type::Set(_) | Type::Map(_) if !value.is_known() => None,
        // Elements that are not known may turn out to be the same one.
        Type::Set(_) if !value.is_wholly_known() && value.len() != Some(1) => None,
        Type::List(_) | Type::Set(_) | Type::Map(_) => value.len(),
        Type::Dynamic => None,
        ty => {
            return Err(wrong(0, format!("a text or a collection is required, not {}", described(ty))));
        }
    };
    let count = count.map_or_else(|| Value::unknown(Type::Number), |count| Value::int(count as i64));
    Ok(count.with_marks(value.marks()))
}
