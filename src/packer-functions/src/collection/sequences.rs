//! Lists and tuples into others.

use std::collections::BTreeSet;

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions, Parameter};
use imgbuild_hcl::value::{Marks, Number, Type, Value, convert, unify};

use super::marks_of;
use crate::{Returned, any, described, number, wrong};

/// The most elements that `range` makes.
const MOST_STEPS: usize = 1024;

pub(super) fn add(functions: &mut Functions) {
    let list = || Parameter::new("list", Type::list(Type::Dynamic));
    let strings = || Parameter::new("list", Type::list(Type::String));
    let chunklist =
        Function::new("The elements of a list in lists of at most a size; of size 0, all in one.")
            .parameter(list().allow_marked())
            .parameter(number("size"))
            .returns_by(|a| Ok(Type::list(a.get(0).ty().clone())))
            .runs(chunklist);
    functions.add("chunklist", chunklist);
    let compact = Function::new("The strings of a list that are neither empty nor null.")
        .parameter(strings().wholly_known())
        .returns(Type::list(Type::String))
        .runs(|a| {
            Ok(Value::strings(a.elements(0).iter().filter_map(Value::as_str).filter(|s| !s.is_empty())))
        });
    functions.add("compact", compact);
    let concat = Function::new("Several lists or tuples as one.")
        .variadic(any("seqs").allow_marked())
        .returns_by(concat_type)
        .runs(concat);
    functions.add("concat", concat);
    let distinct = Function::new("The elements of a list, each only where it comes first.")
        .parameter(list().wholly_known())
        .returns_by(|a| Ok(a.get(0).ty().clone()))
        .runs(distinct);
    functions.add("distinct", distinct);
    let flatten = Function::new("The elements of a list, with those of the lists in it in their places.")
        .parameter(any("list").allow_marked())
        .returns_by(|a| flatten(a).map(|value| value.ty().clone()))
        .runs(flatten);
    functions.add("flatten", flatten);
    let range = Function::new("Numbers from a start up to, but without, an end.")
        .variadic(number("params"))
        .returns(Type::list(Type::Number))
        .runs(range);
    functions.add("range", range);
    let reverse = Function::new("The elements in the opposite order.")
        .parameter(any("list").allow_marked())
        .returns_by(reverse_type)
        .runs(|a| {
            let elements: Vec<Value> = a.elements(0).iter().rev().cloned().collect();
            Ok(sequence(a.result_type(), elements).with_marks(a.get(0).marks()))
        });
    functions.add("reverse", reverse);
    let slice = Function::new("The elements from one index up to, but without, another.")
        .parameter(any("list").allow_marked())
        .parameter(number("start_index"))
        .parameter(number("end_index"))
        .returns_by(slice_type)
        .runs(|a| {
            let (from, to) = slice_bounds(a)?;
            let elements = a.elements(0)[from..to].to_vec();
            Ok(sequence(a.result_type(), elements).with_marks(a.get(0).marks()))
        });
    functions.add("slice", slice);
    let sort = Function::new("The strings of a list, sorted by their bytes.")
        .parameter(strings().wholly_known())
        .returns(Type::list(Type::String))
        .runs(sort);
    functions.add("sort", sort);
}

/// A list or a tuple, as the type says.
fn sequence(ty: &Type, elements: Vec<Value>) -> Value {
    match ty {
        Type::List(element) => Value::list(element.as_ref().clone(), elements),
        _ => Value::tuple(elements),
    }
}

fn chunklist(arguments: &Arguments<'_>) -> Returned {
    let list = arguments.get(0);
    let size =
        arguments.usize(1).map_err(|_| wrong(1, "the size must be a whole number that is not negative"))?;
    let elements = arguments.elements(0);
    let size = if size == 0 { elements.len().max(1) } else { size };
    let element = list.ty().element().cloned().unwrap_or(Type::Dynamic);
    let chunks: Vec<Value> =
        elements.chunks(size).map(|chunk| Value::list(element.clone(), chunk.to_vec())).collect();
    Ok(Value::list(list.ty().clone(), chunks).with_marks(list.marks()))
}

/// One list if all are lists of related types, else a tuple.
fn concat_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    if arguments.is_empty() {
        return Err(CallError::new("at least one argument is required"));
    }
    let types: Vec<Type> = arguments.all().iter().map(|value| value.ty().clone()).collect();
    if types.iter().all(|ty| matches!(ty, Type::List(_)))
        && let Some(ty @ Type::List(_)) = unify(&types)
    {
        return Ok(ty);
    }
    let mut elements = Vec::new();
    for (index, value) in arguments.all().iter().enumerate() {
        match value.ty() {
            Type::Tuple(types) => elements.extend(types.iter().cloned()),
            Type::List(element) => match value.len() {
                Some(count) => elements.extend(std::iter::repeat_n(element.as_ref().clone(), count)),
                None => return Ok(Type::Dynamic),
            },
            ty => return Err(wrong(index, format!("a list or tuple is required, not {}", described(ty)))),
        }
    }
    Ok(Type::tuple(elements))
}

fn concat(arguments: &Arguments<'_>) -> Returned {
    let ty = arguments.result_type();
    let mut elements = Vec::new();
    for (index, value) in arguments.all().iter().enumerate() {
        let converted;
        let value = if let Type::List(_) = ty {
            converted = convert(value, ty).map_err(|error| wrong(index, error.to_string()))?;
            &converted
        } else {
            value
        };
        elements.extend_from_slice(value.elements().unwrap_or_default());
    }
    Ok(sequence(ty, elements).with_marks(&marks_of(arguments.all())))
}

fn distinct(arguments: &Arguments<'_>) -> Returned {
    if arguments.elements(0).iter().all(|element| element.as_str().is_some() && !element.is_marked()) {
        let mut seen = BTreeSet::new();
        let kept = arguments.elements(0).iter().filter(|element| seen.insert(element.as_str()));
        return Ok(sequence(arguments.result_type(), kept.cloned().collect()));
    }
    let mut kept: Vec<Value> = Vec::new();
    for element in arguments.elements(0) {
        if !kept.iter().any(|other| other.equals(element).as_bool() == Some(true)) {
            kept.push(element.clone());
        }
    }
    Ok(sequence(arguments.result_type(), kept))
}

fn flatten(arguments: &Arguments<'_>) -> Returned {
    let list = arguments.get(0);
    if !list.ty().is_sequence() {
        return Err(wrong(0, format!("a list, set or tuple is required, not {}", described(list.ty()))));
    }
    let mut flat = Vec::new();
    let mut marks = Marks::default();
    let known = flatten_into(&list, &mut flat, &mut marks);
    Ok(if known { Value::tuple(flat) } else { Value::dynamic() }.with_marks(&marks))
}

/// Whether all could be known: what is unknown and may be a sequence could be any number of elements.
fn flatten_into(list: &Value, flat: &mut Vec<Value>, marks: &mut Marks) -> bool {
    marks.extend(list.marks());
    let Some(elements) = list.elements() else { return false };
    let mut known = true;
    for element in elements {
        let open = !element.is_known() && *element.ty() == Type::Dynamic;
        if element.ty().is_sequence() && !element.is_null() {
            known &= flatten_into(element, flat, marks);
        } else {
            known &= !open;
            flat.push(element.clone());
        }
    }
    known
}

fn range(arguments: &Arguments<'_>) -> Returned {
    let get = |index| arguments.number(index).cloned();
    let zero = Number::from(0);
    let towards = |from: &Number, to: &Number| Number::from(if to < from { -1 } else { 1 });
    let (start, end, step) = match arguments.len() {
        1 => (zero.clone(), get(0)?, towards(&zero, &get(0)?)),
        2 => (get(0)?, get(1)?, towards(&get(0)?, &get(1)?)),
        3 => (get(0)?, get(1)?, get(2)?),
        count => return Err(CallError::new(format!("one to three numbers are required, not {count}"))),
    };
    if step.is_zero() {
        return Err(wrong(2, "the step must not be zero"));
    }
    let down = step.is_negative();
    if (down && end > start) || (!down && end < start) {
        let (where_to, sign) = if down { ("below", "negative") } else { ("above", "positive") };
        return Err(wrong(1, format!("the end must be {where_to} the start, because the step is {sign}")));
    }
    let mut steps = Vec::new();
    let mut at = start;
    while if down { at > end } else { at < end } {
        if steps.len() == MOST_STEPS {
            return Err(CallError::new(format!("the result would have more than {MOST_STEPS} numbers"))
                .hint("bring start and end closer together, or take larger steps"));
        }
        steps.push(Value::number(at.clone()));
        at = at.add(&step).map_err(|error| CallError::new(error.to_string()))?;
    }
    Ok(Value::list(Type::Number, steps))
}

fn reverse_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    match arguments.get(0).ty() {
        Type::Tuple(elements) => Ok(Type::tuple(elements.iter().rev().cloned())),
        Type::List(element) | Type::Set(element) => Ok(Type::list(element.as_ref().clone())),
        ty => Err(wrong(0, format!("a list, set or tuple is required, not {}", described(ty)))),
    }
}

fn slice_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    let ty = arguments.get(0).ty().clone();
    match &ty {
        Type::Set(_) => Err(wrong(0, "the elements of a set have no order to slice by")
            .hint("make it a list with `convert(…, list(string))` if any order will do")),
        Type::List(_) => slice_bounds(arguments).map(|_| ty.clone()),
        Type::Tuple(elements) => {
            let (from, to) = slice_bounds(arguments)?;
            if !arguments.get(1).is_known() || !arguments.get(2).is_known() {
                return Ok(Type::Dynamic);
            }
            Ok(Type::tuple(elements[from..to].iter().cloned()))
        }
        ty => Err(wrong(0, format!("a list or tuple is required, not {}", described(ty)))),
    }
}

/// The bounds as far as they are known, else 0 and the length.
fn slice_bounds(arguments: &Arguments<'_>) -> Result<(usize, usize), CallError> {
    let list = arguments.get(0);
    let length = match list.ty() {
        Type::Tuple(elements) => Some(elements.len()),
        _ => list.len(),
    };
    let bound = |index: usize, what: &str| -> Result<Option<usize>, CallError> {
        if !arguments.get(index).is_known() {
            return Ok(None);
        }
        let at = arguments.int(index)?;
        let at = usize::try_from(at).map_err(|_| wrong(index, format!("the {what} must not be negative")))?;
        match length {
            Some(length) if at > length => {
                Err(wrong(index, format!("the {what} {at} is beyond the {length} elements of the list")))
            }
            _ => Ok(Some(at)),
        }
    };
    let (from, to) = (bound(1, "start")?, bound(2, "end")?);
    match (from, to) {
        (Some(from), Some(to)) if from > to => {
            Err(wrong(1, format!("the start {from} is after the end {to}")))
        }
        _ => Ok((from.unwrap_or(0), to.or(length).unwrap_or(0))),
    }
}

fn sort(arguments: &Arguments<'_>) -> Returned {
    let elements = arguments.elements(0);
    if let Some(index) = elements.iter().position(Value::is_null) {
        return Err(wrong(0, format!("element {index} is null, and null has no place in an order")));
    }
    let mut sorted: Vec<&str> = elements.iter().filter_map(Value::as_str).collect();
    sorted.sort_unstable();
    Ok(Value::strings(sorted))
}
