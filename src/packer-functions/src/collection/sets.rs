//! Sets: union, intersection, product.

use imgbuild_hcl::eval::{Arguments, CallError, Function, Functions, Parameter};
use imgbuild_hcl::value::{Type, Value, convert, unify};

use super::marks_of;
use crate::{Returned, any, described, wrong};

/// The most elements that `setproduct` makes.
const MOST_PRODUCTS: usize = 1 << 17;

pub(super) fn add(functions: &mut Functions) {
    let set = |name| Parameter::new(name, Type::set(Type::Dynamic)).allow_dynamic();
    let operation = |description| {
        Function::new(description)
            .parameter(set("first_set"))
            .variadic(set("other_sets"))
            .returns_by(common_type)
    };
    let union = operation("The elements that are in any of the sets.").runs(|a| {
        let sets = converted(a)?;
        let element = element_of(a.result_type());
        Ok(Value::set(
            element,
            sets.iter().flat_map(|set| set.elements().unwrap_or_default().to_vec()).collect(),
        ))
    });
    functions.add("setunion", union);
    functions
        .add("setintersection", operation("The elements that are in all of the sets.").runs(intersection));
    let product = Function::new("All ways to take one element of each of the sets or lists.")
        .variadic(any("sets").allow_marked())
        .returns_by(product_type)
        .runs(product);
    functions.add("setproduct", product);
}

fn element_of(ty: &Type) -> Type {
    ty.element().cloned().unwrap_or(Type::Dynamic)
}

fn common_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    // An empty set of no type is a set of any type.
    let counts = |set: &&Value| !(set.is_empty() && element_of(set.ty()) == Type::Dynamic);
    let types: Vec<Type> = arguments.all().iter().filter(counts).map(|set| element_of(set.ty())).collect();
    if types.is_empty() {
        return Ok(Type::set(Type::Dynamic));
    }
    unify(&types)
        .map(Type::set)
        .ok_or_else(|| CallError::new("the elements of the sets must be convertible to one type"))
}

fn converted(arguments: &Arguments<'_>) -> Result<Vec<Value>, CallError> {
    let ty = arguments.result_type();
    let sets = arguments.all().iter().enumerate();
    sets.map(|(index, set)| convert(set, ty).map_err(|error| wrong(index, error.to_string()))).collect()
}

fn intersection(arguments: &Arguments<'_>) -> Returned {
    let ty = arguments.result_type();
    let sets = converted(arguments)?;
    if !sets.iter().all(Value::is_wholly_known) {
        return Ok(Value::unknown(ty.clone()));
    }
    let has = |set: &Value, element: &Value| set.elements().unwrap_or_default().contains(element);
    let first = sets[0].elements().unwrap_or_default().iter();
    let common = first.filter(|element| sets[1..].iter().all(|set| has(set, element))).cloned().collect();
    Ok(Value::set(element_of(ty), common))
}

fn product_type(arguments: &Arguments<'_>) -> Result<Type, CallError> {
    if arguments.len() < 2 {
        return Err(CallError::new("at least two sets or lists are required"));
    }
    let mut ordered = true;
    let mut types = Vec::new();
    for (index, value) in arguments.all().iter().enumerate() {
        types.push(match value.ty() {
            Type::Set(element) => {
                ordered = false;
                element.as_ref().clone()
            }
            Type::List(element) => element.as_ref().clone(),
            Type::Tuple(elements) if elements.is_empty() => Type::Dynamic,
            Type::Tuple(elements) => {
                unify(elements).ok_or_else(|| wrong(index, "its elements must be convertible to one type"))?
            }
            ty => return Err(wrong(index, format!("a set or list is required, not {}", described(ty)))),
        });
    }
    let tuple = Type::tuple(types);
    Ok(if ordered { Type::list(tuple) } else { Type::set(tuple) })
}

/// The last argument changes fastest.
fn product(arguments: &Arguments<'_>) -> Returned {
    let tuple = element_of(arguments.result_type());
    let Type::Tuple(types) = &tuple else { return Ok(Value::dynamic()) };
    let counts = arguments.all().iter().map(|value| value.len().unwrap_or(0));
    let total = counts.fold(1usize, usize::saturating_mul);
    if total > MOST_PRODUCTS {
        return Err(CallError::new(format!(
            "the result would have {total} elements, more than {MOST_PRODUCTS}"
        )));
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for (index, (value, ty)) in arguments.all().iter().zip(types.iter()).enumerate() {
        let elements: Result<Vec<Value>, CallError> = value
            .elements()
            .unwrap_or_default()
            .iter()
            .map(|element| convert(element, ty).map_err(|error| wrong(index, error.to_string())))
            .collect();
        let elements = elements?;
        let extended = |row: &Vec<Value>| -> Vec<Vec<Value>> {
            elements.iter().map(|element| [row.as_slice(), std::slice::from_ref(element)].concat()).collect()
        };
        rows = rows.iter().flat_map(extended).collect();
    }
    let rows: Vec<Value> = rows.into_iter().map(Value::tuple).collect();
    let product = match arguments.result_type() {
        Type::List(_) => Value::list(tuple, rows),
        _ => Value::set(tuple, rows),
    };
    Ok(product.with_marks(&marks_of(arguments.all())))
}
