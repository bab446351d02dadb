//! Type expressions: `list(object({a = optional(string, "x")}))`, with the defaults of optional attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imgbuild_model::{Diagnostic, Diagnostics};

use super::ast::{Call, ExprRef, Expression, ObjectItem};
use crate::eval::Scope;
use crate::value::{ConvertError, Entries, ObjectType, Type, Value, convert, normalize};

/// A type and what stands for optional attributes that are not given.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeConstraint {
    /// The type.
    pub ty: Type,
    defaults: Defaults,
}

/// Defaults by where they are in the type.
#[derive(Clone, Debug, Default, PartialEq)]
struct Defaults {
    attributes: BTreeMap<Arc<str>, Value>,
    /// Those further inside: by attribute, by the index of a tuple, or under `""` for the elements of a collection.
    inside: BTreeMap<Arc<str>, Defaults>,
}

impl Defaults {
    fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.inside.is_empty()
    }

    fn put(&mut self, step: &str, inside: Self) {
        if !inside.is_empty() {
            self.inside.insert(step.into(), inside);
        }
    }

    fn apply(&self, value: &Value) -> Value {
        let marks = value.marks().clone();
        if self.is_empty() || value.is_null() || !value.is_known() {
            return value.clone();
        }
        let changed = if let Some(entries) = value.entries() {
            self.apply_entries(value, entries)
        } else if let Some(elements) = value.elements() {
            let inner =
                |index: usize| self.inside.get("").or_else(|| self.inside.get(index.to_string().as_str()));
            let elements: Vec<Value> = elements
                .iter()
                .enumerate()
                .map(|(index, element)| inner(index).map_or_else(|| element.clone(), |d| d.apply(element)))
                .collect();
            // A list of objects may get elements of several types here; the conversion makes it a list again.
            Value::tuple(elements)
        } else {
            value.clone()
        };
        changed.with_marks(&marks)
    }

    fn apply_entries(&self, value: &Value, entries: &Entries) -> Value {
        let mut entries = entries.clone();
        if let Some(inner) = self.inside.get("") {
            for element in entries.values_mut() {
                *element = inner.apply(element);
            }
            return Value::object(entries);
        }
        if self.attributes.is_empty() && value.ty().element().is_some() {
            return value.clone();
        }
        for (name, default) in &self.attributes {
            if entries.get(name).is_none_or(Value::is_null) {
                entries.insert(Arc::clone(name), default.clone());
            }
        }
        for (name, inner) in &self.inside {
            if let Some(element) = entries.get_mut(name) {
                *element = inner.apply(element);
            }
        }
        Value::object(entries)
    }
}

impl From<Type> for TypeConstraint {
    fn from(ty: Type) -> Self {
        Self { ty, defaults: Defaults::default() }
    }
}

impl TypeConstraint {
    /// Any type.
    #[must_use]
    pub fn any() -> Self {
        Type::Dynamic.into()
    }

    /// The value with the defaults put in, converted to the type.
    pub fn apply(&self, value: &Value) -> Result<Value, ConvertError> {
        convert(&self.defaults.apply(value), &self.ty)
    }
}

/// Reads a type expression; `any` is allowed. In the JSON syntax it stands in a string.
pub fn parse_type(expression: &Expression) -> Result<TypeConstraint, Diagnostics> {
    let expression = expression.unquoted()?;
    let mut errors = Vec::new();
    let (ty, defaults) = read(expression.borrow(), &mut errors);
    if errors.is_empty() { Ok(TypeConstraint { ty, defaults }) } else { Err(Diagnostics(errors)) }
}

const HINT: &str = "the types are `string`, `number`, `bool`, `any`, `list(T)`, `set(T)`, `map(T)`, `object({name = T})` \
                    and `tuple([T])`";

fn failed(errors: &mut Vec<Diagnostic>, error: Diagnostic) -> (Type, Defaults) {
    errors.push(error);
    (Type::Dynamic, Defaults::default())
}

fn read(expr: ExprRef<'_>, errors: &mut Vec<Diagnostic>) -> (Type, Defaults) {
    let plain = |ty| (ty, Defaults::default());
    if let Some(call) = expr.node.as_call() {
        return constructor(expr, call, errors);
    }
    match expr.node.as_keyword() {
        Some("string") => plain(Type::String),
        Some("number") => plain(Type::Number),
        Some("bool") => plain(Type::Bool),
        Some("any") => plain(Type::Dynamic),
        Some(word @ ("list" | "set" | "map")) => failed(
            errors,
            expr.error(format!("`{word}` needs the type of its elements"))
                .hint(format!("write `{word}(string)`")),
        ),
        Some("object") => failed(
            errors,
            expr.error("`object` needs its attributes").hint("write `object({name = string})`"),
        ),
        Some("tuple") => {
            failed(errors, expr.error("`tuple` needs its elements").hint("write `tuple([string, number])`"))
        }
        Some(word) => failed(errors, expr.error(format!("`{word}` is not a type")).hint(HINT)),
        None => failed(errors, expr.error("this is not a type").hint(HINT)),
    }
}

fn constructor(expr: ExprRef<'_>, call: &Call, errors: &mut Vec<Diagnostic>) -> (Type, Defaults) {
    let name = call.name.as_ref();
    match name {
        "list" | "set" | "map" | "object" | "tuple" => {}
        "string" | "number" | "bool" | "any" => {
            return failed(
                errors,
                expr.error(format!("`{name}` has no arguments")).hint("remove the parentheses"),
            );
        }
        "optional" => {
            return failed(
                errors,
                expr.error("`optional` can only stand at an attribute of `object`")
                    .hint("write `object({name = optional(string)})`"),
            );
        }
        _ => return failed(errors, expr.error(format!("`{name}` is not a type")).hint(HINT)),
    }
    let [argument] = call.arguments.as_slice() else {
        return failed(errors, expr.error(format!("`{name}` needs exactly one argument")).hint(HINT));
    };
    let inner = expr.at(argument);
    match name {
        "object" => object(inner, errors),
        "tuple" => tuple(inner, errors),
        _ => {
            let (element, inside) = read(inner, errors);
            let mut defaults = Defaults::default();
            defaults.put("", inside);
            let ty = match name {
                "list" => Type::list(element),
                "set" => Type::set(element),
                _ => Type::map(element),
            };
            (ty, defaults)
        }
    }
}

fn tuple(expr: ExprRef<'_>, errors: &mut Vec<Diagnostic>) -> (Type, Defaults) {
    let Some(elements) = expr.node.as_elements() else {
        return failed(
            errors,
            expr.error("`tuple` needs a list of types").hint("write `tuple([string, number])`"),
        );
    };
    let mut defaults = Defaults::default();
    let types: Vec<Type> = elements
        .iter()
        .enumerate()
        .map(|(index, element)| {
            let (ty, inside) = read(expr.at(element), errors);
            defaults.put(&index.to_string(), inside);
            ty
        })
        .collect();
    (Type::tuple(types), defaults)
}

fn object(expr: ExprRef<'_>, errors: &mut Vec<Diagnostic>) -> (Type, Defaults) {
    let Some(items) = expr.node.as_items() else {
        return failed(
            errors,
            expr.error("`object` needs names and types in braces").hint("write `object({name = string})`"),
        );
    };
    let mut object = ObjectType { attributes: BTreeMap::new(), optional: BTreeSet::new() };
    let mut defaults = Defaults::default();
    for item in items {
        let key = expr.at(&item.key);
        let Some(name) = item.bare_key().map(str::to_owned).or_else(|| item.key.as_text()) else {
            errors.push(
                key.error("the name of an attribute is missing").hint("a plain name or text in quotes"),
            );
            continue;
        };
        let name = normalize(&name);
        if object.attributes.contains_key(&name) {
            errors.push(key.error(format!("attribute `{name}` is declared twice")).hint("keep one of them"));
        }
        let (ty, inside, default) = attribute(expr, item, &mut object.optional, &name, errors);
        defaults.put(&name, inside);
        if let Some(default) = default {
            defaults.attributes.insert(Arc::clone(&name), default);
        }
        object.attributes.insert(name, ty);
    }
    (Type::Object(Arc::new(object)), defaults)
}

fn attribute(
    whole: ExprRef<'_>,
    item: &ObjectItem,
    optional: &mut BTreeSet<Arc<str>>,
    name: &Arc<str>,
    errors: &mut Vec<Diagnostic>,
) -> (Type, Defaults, Option<Value>) {
    let expr = whole.at(&item.value);
    let (ty, default) = match expr.node.as_call().filter(|call| call.name.as_ref() == "optional") {
        None => {
            let (ty, inside) = read(expr, errors);
            return (ty, inside, None);
        }
        Some(call) => {
            optional.insert(Arc::clone(name));
            match call.arguments.as_slice() {
                [ty] => (ty, None),
                [ty, default] => (ty, Some(default)),
                _ => {
                    let (ty, inside) = failed(
                        errors,
                        expr.error("`optional` needs a type and may have a default")
                            .hint("write `optional(string, \"default\")`"),
                    );
                    return (ty, inside, None);
                }
            }
        }
    };
    let (ty, inside) = read(whole.at(ty), errors);
    let default = default.and_then(|node| default_value(whole.at(node), &ty, &inside, errors));
    (ty, inside, default)
}

fn default_value(
    expr: ExprRef<'_>,
    ty: &Type,
    inside: &Defaults,
    errors: &mut Vec<Diagnostic>,
) -> Option<Value> {
    let value = match expr.evaluate(&Scope::new()) {
        Ok(value) => value,
        Err(Diagnostics(found)) => {
            errors.extend(found);
            return None;
        }
    };
    match convert(&inside.apply(&value), ty) {
        Ok(value) => Some(value),
        Err(error) => {
            errors.push(expr.error(format!("this default does not fit the type `{ty}`: {error}")));
            None
        }
    }
}
