//! The one type to which values of several types can be converted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Type, convertible, convertible_safely};

/// The type to which values of all these types can be converted, though some values may fail.
#[must_use]
pub fn unify(types: &[Type]) -> Option<Type> {
    unified(types, true)
}

/// The type to which all values of these types can be converted without loss.
#[must_use]
pub fn unify_safely(types: &[Type]) -> Option<Type> {
    unified(types, false)
}

pub(super) fn unified(types: &[Type], lossy: bool) -> Option<Type> {
    let first = types.first()?;
    if types.iter().all(|ty| ty == first) {
        return Some(first.clone());
    }
    structural(types, lossy).unwrap_or_else(|| preferred(types, lossy))
}

/// For types of related structure: their common structure, or `Some(None)` if it is settled that there is none.
fn structural(types: &[Type], lossy: bool) -> Option<Option<Type>> {
    let mut counts = [0usize; 6];
    for ty in types {
        counts[match ty {
            Type::Map(_) => 0,
            Type::List(_) => 1,
            Type::Set(_) => 2,
            Type::Object(_) => 3,
            Type::Tuple(_) => 4,
            Type::Dynamic => 5,
            _ => return None,
        }] += 1;
    }
    let [maps, lists, sets, objects, tuples, open] = counts;
    let all = types.len();
    if objects > 0 && tuples > 0 {
        return Some(None);
    }
    if open > 0 {
        let one_kind =
            [maps, lists, sets, objects, tuples].iter().any(|kind| *kind > 0 && kind + open == all);
        return one_kind.then_some(Some(Type::Dynamic));
    }
    if maps == all {
        return Some(elements(types, lossy).map(Type::map));
    }
    if maps > 0 && maps + objects == all {
        return elements(types, lossy).map(|element| Some(Type::map(element)));
    }
    if objects == all {
        return Some(unify_objects(types, lossy));
    }
    if lists == all {
        return Some(elements(types, lossy).map(Type::list));
    }
    if sets == all {
        return Some(elements(types, lossy).map(Type::set));
    }
    if lists > 0 && lists + tuples == all {
        return elements(types, lossy).map(|element| Some(Type::list(element)));
    }
    if tuples == all {
        return Some(unify_tuples(types, lossy));
    }
    None
}

/// What the elements of all of them have in common.
fn elements(types: &[Type], lossy: bool) -> Option<Type> {
    let inner: Vec<Type> = types
        .iter()
        .flat_map(|ty| match ty {
            Type::List(element) | Type::Set(element) | Type::Map(element) => vec![element.as_ref().clone()],
            Type::Object(object) => object.attributes.values().cloned().collect(),
            Type::Tuple(all) => all.to_vec(),
            _ => Vec::new(),
        })
        .collect();
    if inner.is_empty() { Some(Type::Dynamic) } else { unified(&inner, lossy) }
}

fn unify_objects(types: &[Type], lossy: bool) -> Option<Type> {
    let all: Vec<&BTreeMap<Arc<str>, Type>> = types.iter().filter_map(Type::attributes).collect();
    let (first, rest) = all.split_first()?;
    if rest.iter().any(|other| !other.keys().eq(first.keys())) {
        return elements(types, lossy).map(Type::map);
    }
    let attributes: Option<Vec<(Arc<str>, Type)>> = first
        .keys()
        .map(|name| {
            let types: Vec<Type> =
                all.iter().filter_map(|attributes| attributes.get(name).cloned()).collect();
            Some((Arc::clone(name), unified(&types, lossy)?))
        })
        .collect();
    attributes.map(Type::object)
}

fn unify_tuples(types: &[Type], lossy: bool) -> Option<Type> {
    let all: Vec<&[Type]> = types
        .iter()
        .filter_map(|ty| if let Type::Tuple(elements) = ty { Some(elements.as_ref()) } else { None })
        .collect();
    let length = all.first()?.len();
    if all.iter().any(|tuple| tuple.len() != length) {
        return elements(types, lossy).map(Type::list);
    }
    let elements: Option<Vec<Type>> = (0..length)
        .map(|index| unified(&all.iter().map(|tuple| tuple[index].clone()).collect::<Vec<_>>(), lossy))
        .collect();
    elements.map(Type::tuple)
}

/// The first type, by preference, to which all the others convert.
fn preferred(types: &[Type], lossy: bool) -> Option<Type> {
    let rank = |ty: &Type| match ty {
        Type::List(_) | Type::Map(_) => 1,
        Type::Set(_) => 2,
        Type::String => 3,
        // Anything may turn out to be what its neighbours are.
        Type::Dynamic => 5,
        _ => 4,
    };
    let mut order: Vec<&Type> = types.iter().collect();
    order.sort_by_key(|ty| rank(ty));
    let reaches = if lossy { convertible } else { convertible_safely };
    order.into_iter().find(|wanted| types.iter().all(|ty| ty == *wanted || reaches(ty, wanted))).cloned()
}
