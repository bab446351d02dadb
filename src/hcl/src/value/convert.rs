//! Conversion of values between types, and which conversions there are.
//!
//! A *safe* conversion always succeeds (`number` to `string`); an *unsafe* one may fail for a value (`string` to
//! `number`) or lose something (`list` to `set`). [`convert`] uses both, [`convertible_safely`] tells only of the former.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Data, Entries, Number, ObjectType, Path, PathStep, Type, Value, unify};

/// Why a value could not be converted, and which part of it was to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertError {
    /// Where in the value.
    pub path: Path,
    /// What is wrong there: `a number is required`.
    pub message: String,
}

impl ConvertError {
    fn new(message: impl Into<String>) -> Self {
        Self { path: Path::root(), message: message.into() }
    }

    fn inside(mut self, step: PathStep) -> Self {
        self.path.0.insert(0, step);
        self
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.is_root(), self.path.0.first()) {
            (true, _) => f.write_str(&self.message),
            (_, Some(PathStep::Attribute(name))) if self.path.0.len() == 1 => {
                write!(f, "attribute `{name}`: {}", self.message)
            }
            _ => write!(f, "element `{}`: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for ConvertError {}

/// Whether values of one type can be converted to another at all, though some may fail.
#[must_use]
pub fn convertible(from: &Type, to: &Type) -> bool {
    conversion(from, to, true)
}

/// Whether every value of one type can be converted to another without loss.
#[must_use]
pub fn convertible_safely(from: &Type, to: &Type) -> bool {
    conversion(from, to, false)
}

fn conversion(from: &Type, to: &Type, lossy: bool) -> bool {
    use Type::{Bool, Dynamic, List, Map, Number, Object, Set, String, Tuple};
    match (from, to) {
        (_, Dynamic) | (Number | Bool, String) => true,
        (Dynamic, _) | (String, Number | Bool) => lossy,
        (List(a) | Set(a), List(b)) | (Set(a), Set(b)) | (Map(a), Map(b)) => conversion(a, b, lossy),
        (List(a), Set(b)) => lossy && conversion(a, b, lossy),
        (Tuple(all), Set(_)) if all.is_empty() => true,
        (Tuple(all), List(b) | Set(b)) => unified_to(all.iter(), b, lossy),
        (Tuple(a), Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| conversion(a, b, lossy))
        }
        (Object(a), Map(b)) => unified_to(a.attributes.values(), b, lossy),
        (Map(a), Object(b)) => {
            let converts =
                |(name, to): (&Arc<str>, &Type)| b.optional.contains(name) || conversion(a, to, lossy);
            lossy && b.attributes.iter().all(converts)
        }
        (Object(a), Object(b)) => b.attributes.iter().all(|(name, to)| match a.attributes.get(name) {
            Some(from) => conversion(from, to, lossy),
            None => b.optional.contains(name),
        }),
        (a, b) => a == b,
    }
}

fn unified_to<'a>(from: impl Iterator<Item = &'a Type> + Clone, to: &Type, lossy: bool) -> bool {
    if *to == Type::Dynamic {
        let all: Vec<Type> = from.cloned().collect();
        return all.is_empty() || unify::unified(&all, lossy).is_some();
    }
    from.into_iter().all(|from| conversion(from, to, lossy))
}

/// Converts a value. Marks stay where they are; what is unknown stays unknown, of the new type.
pub fn convert(value: &Value, to: &Type) -> Result<Value, ConvertError> {
    if value.ty == *to || *to == Type::Dynamic {
        return Ok(value.clone());
    }
    let marks = value.marks().clone();
    converted(value, to).map(|value| value.with_marks(&marks))
}

fn converted(value: &Value, to: &Type) -> Result<Value, ConvertError> {
    match &value.data {
        _ if !convertible(&value.ty, to) => Err(mismatch(&value.ty, to)),
        Data::Unknown => Ok(Value::unknown(resolved(&value.ty, to))),
        Data::Null => Ok(Value::null(resolved(&value.ty, to))),
        Data::Bool(flag) if *to == Type::String => Ok(Value::string(if *flag { "true" } else { "false" })),
        Data::Number(number) if *to == Type::String => Ok(Value::string(number.to_string())),
        Data::String(text) if *to == Type::Number => {
            Number::parse(text).map(Value::number).map_err(|error| ConvertError::new(error.to_string()))
        }
        Data::String(text) if *to == Type::Bool => truth(text),
        Data::Sequence(elements) if elements.is_empty() && to.element().is_some() => {
            Ok(Value::new(resolved(&value.ty, to), value.data.clone()))
        }
        Data::Mapping(entries) if entries.is_empty() && to.element().is_some() => {
            Ok(Value::new(resolved(&value.ty, to), value.data.clone()))
        }
        Data::Sequence(elements) => sequence(elements, to),
        Data::Mapping(entries) => mapping(entries, to),
        _ => Err(mismatch(&value.ty, to)),
    }
}

fn truth(text: &str) -> Result<Value, ConvertError> {
    match text {
        "true" | "1" => Ok(Value::bool(true)),
        "false" | "0" => Ok(Value::bool(false)),
        "True" | "TRUE" => {
            Err(ConvertError::new("a bool is required; to convert from string, use lowercase `true`"))
        }
        "False" | "FALSE" => {
            Err(ConvertError::new("a bool is required; to convert from string, use lowercase `false`"))
        }
        _ => Err(ConvertError::new("a bool is required")),
    }
}

/// The type of a converted value that has none itself: where the target says `any`, the source's type is taken.
fn resolved(from: &Type, to: &Type) -> Type {
    match (from, to) {
        (_, Type::Dynamic) => from.clone(),
        (Type::List(a) | Type::Set(a), Type::List(b)) => Type::list(resolved(a, b)),
        (Type::List(a) | Type::Set(a), Type::Set(b)) => Type::set(resolved(a, b)),
        (Type::Map(a), Type::Map(b)) => Type::map(resolved(a, b)),
        (Type::Tuple(all), Type::List(b) | Type::Set(b)) if **b == Type::Dynamic => {
            let all: Vec<Type> = all.to_vec();
            let element = unify::unified(&all, true).unwrap_or(Type::Dynamic);
            if matches!(to, Type::Set(_)) { Type::set(element) } else { Type::list(element) }
        }
        _ => to.without_optional(),
    }
}

fn each(elements: &[Value], to: &Type) -> Result<Vec<Value>, ConvertError> {
    elements
        .iter()
        .enumerate()
        .map(|(index, element)| convert(element, to).map_err(|e| e.inside(PathStep::Index(index))))
        .collect()
}

/// Elements converted to what was asked for and, where that is open, to what they can all become.
fn unified_elements(elements: Vec<Value>, to: &Type) -> Result<(Type, Vec<Value>), ConvertError> {
    if !to.has_dynamic() || elements.is_empty() {
        return Ok((to.without_optional(), elements));
    }
    let failed = || ConvertError::new("all elements must have the same type");
    // A null, or something unknown, without a type is of the type of the others.
    let types: Vec<Type> = elements.iter().map(|e| e.ty.clone()).filter(|ty| *ty != Type::Dynamic).collect();
    let ty =
        if types.is_empty() { Type::Dynamic } else { unify::unified(&types, true).ok_or_else(failed)? };
    let elements: Vec<Value> = elements.iter().map(|e| convert(e, &ty)).collect::<Result<_, _>>()?;
    let same = elements.iter().all(|element| element.ty == elements[0].ty);
    if same { Ok((elements[0].ty.clone(), elements)) } else { Err(failed()) }
}

fn sequence(elements: &[Value], to: &Type) -> Result<Value, ConvertError> {
    match to {
        Type::List(element) => {
            let (ty, elements) = unified_elements(each(elements, element)?, element)?;
            Ok(Value::list(ty, elements))
        }
        Type::Set(element) => {
            let (ty, elements) = unified_elements(each(elements, element)?, element)?;
            Ok(Value::set(ty, elements))
        }
        Type::Tuple(types) => {
            let converted: Result<Vec<Value>, ConvertError> = elements
                .iter()
                .zip(types.iter())
                .enumerate()
                .map(|(index, (element, to))| {
                    convert(element, to).map_err(|error| error.inside(PathStep::Index(index)))
                })
                .collect();
            Ok(Value::tuple(converted?))
        }
        _ => Err(ConvertError::new(requirement(to))),
    }
}

fn mapping(entries: &Entries, to: &Type) -> Result<Value, ConvertError> {
    match to {
        Type::Map(element) => {
            let converted = |(name, value): (&Arc<str>, &Value)| {
                convert(value, element).map_err(|error| error.inside(PathStep::Key(Arc::clone(name))))
            };
            let values: Vec<Value> = entries.iter().map(converted).collect::<Result<_, _>>()?;
            let (ty, values) = unified_elements(values, element)?;
            Ok(Value::map(ty, entries.keys().cloned().zip(values).collect()))
        }
        Type::Object(object) => attributes(entries, object),
        _ => Err(ConvertError::new(requirement(to))),
    }
}

fn attributes(entries: &Entries, object: &ObjectType) -> Result<Value, ConvertError> {
    let mut converted = BTreeMap::new();
    for (name, to) in &object.attributes {
        let value = match entries.get(name) {
            Some(value) => {
                convert(value, to).map_err(|error| error.inside(PathStep::Attribute(Arc::clone(name))))?
            }
            None if object.optional.contains(name) => Value::null(to.without_optional()),
            None => return Err(ConvertError::new(format!("attribute `{name}` is required"))),
        };
        converted.insert(Arc::clone(name), value);
    }
    Ok(Value::object(converted))
}

fn requirement(to: &Type) -> String {
    match to {
        Type::Object(_) => "object required".to_owned(),
        Type::Tuple(_) => "tuple required".to_owned(),
        _ => format!("{} required", to.constraint_name()),
    }
}

/// Why there is no conversion between the types, as deep inside as it can be said.
fn mismatch(from: &Type, to: &Type) -> ConvertError {
    let inside = |step: PathStep, from: &Type, to: &Type| mismatch(from, to).inside(step);
    match (from, to) {
        (Type::Object(a), Type::Object(b)) => {
            let missing: Vec<String> = b
                .attributes
                .keys()
                .filter(|name| !a.attributes.contains_key(*name) && !b.optional.contains(*name))
                .map(|name| format!("`{name}`"))
                .collect();
            match missing.as_slice() {
                [] => {}
                [one] => return ConvertError::new(format!("attribute {one} is required")),
                _ => return ConvertError::new(format!("attributes {} are required", missing.join(", "))),
            }
            for (name, to) in &b.attributes {
                if let Some(from) = a.attributes.get(name).filter(|from| !convertible(from, to)) {
                    return inside(PathStep::Attribute(Arc::clone(name)), from, to);
                }
            }
            ConvertError::new("object required")
        }
        (Type::Tuple(a), Type::Tuple(b)) if a.len() != b.len() => {
            ConvertError::new(format!("tuple of {} elements required, but there are {}", b.len(), a.len()))
        }
        (Type::Tuple(a), Type::Tuple(b)) => {
            let wrong = a.iter().zip(b.iter()).position(|(from, to)| !convertible(from, to)).unwrap_or(0);
            inside(PathStep::Index(wrong), &a[wrong], &b[wrong])
        }
        (Type::Tuple(a), Type::List(b) | Type::Set(b)) => {
            match a.iter().position(|from| !convertible(from, b)) {
                Some(wrong) => inside(PathStep::Index(wrong), &a[wrong], b),
                None => ConvertError::new("all elements must have the same type"),
            }
        }
        (Type::Object(a), Type::Map(b)) => {
            match a.attributes.iter().find(|(_, from)| !convertible(from, b)) {
                Some((name, from)) => inside(PathStep::Key(Arc::clone(name)), from, b),
                None => ConvertError::new("all elements must have the same type"),
            }
        }
        (Type::List(a) | Type::Set(a), Type::List(b) | Type::Set(b)) | (Type::Map(a), Type::Map(b)) => {
            let inner = mismatch(a, b);
            ConvertError::new(format!("incorrect element type: {inner}"))
        }
        (_, Type::Bool) => ConvertError::new("a bool is required"),
        (_, Type::Number) => ConvertError::new("a number is required"),
        (_, Type::String) => ConvertError::new("a string is required"),
        _ => ConvertError::new(requirement(to)),
    }
}
