//! Between Starlark's values and the model's.
//!
//! Only data passes: text, numbers, lists, dicts, structs, and the values that wrap the model's own types. What has
//! code in it, such as a function, is refused.

use std::sync::Arc;

use imgbuild_model::Value as Data;
use starlark::values::dict::{AllocDict, DictRef};
use starlark::values::list::{AllocList, ListRef};
use starlark::values::structs::{AllocStruct, StructRef};
use starlark::values::tuple::TupleRef;
use starlark::values::{Heap, UnpackValue, Value};

use crate::error::Problem;
use crate::values::dependency::DependencyValue;
use crate::values::plain::{ArtifactValue, LabelValue, LayerValue, SourceValue, StepValue};
use crate::values::provider::ProviderValue;
use crate::values::select::SelectValue;

/// Lists in lists deeper than this are taken for one that contains itself.
const DEEPEST: usize = 50;

/// The data that a value is.
///
/// # Errors
/// If it, or something in it, is no data.
pub(crate) fn to_data(value: Value<'_>) -> Result<Data, Problem> {
    convert(value, 0)
}

fn convert(value: Value<'_>, depth: usize) -> Result<Data, Problem> {
    if depth > DEEPEST {
        return Err(Problem::new(format!("the value is nested deeper than {DEEPEST} levels")));
    }
    if let Some(text) = value.unpack_str() {
        return Ok(Data::string(text));
    }
    if value.is_none() {
        return Ok(Data::None);
    }
    if let Some(flag) = value.unpack_bool() {
        return Ok(Data::Bool(flag));
    }
    if let Some(items) = ListRef::from_value(value) {
        return items.iter().map(|item| convert(item, depth + 1)).collect::<Result<_, _>>().map(Data::List);
    }
    if let Some(step) = StepValue::from_value(value) {
        return Ok(Data::Step(step.0.clone()));
    }
    if let Some(number) = value.unpack_i32() {
        return Ok(Data::Int(number.into()));
    }
    if let Some(entries) = DictRef::from_value(value) {
        return entries
            .iter()
            .map(|(key, value)| {
                let key = key.unpack_str().ok_or_else(|| {
                    Problem::new(format!("the keys of a dict must be strings, one is `{}`", key.get_type()))
                })?;
                Ok((Arc::from(key), convert(value, depth + 1)?))
            })
            .collect::<Result<_, _>>()
            .map(Data::Dict);
    }
    if let Some(source) = SourceValue::from_value(value) {
        return Ok(Data::Source(source.0.clone()));
    }
    if let Some(label) = LabelValue::from_value(value) {
        return Ok(Data::Label(label.0.clone()));
    }
    if let Some(artifact) = ArtifactValue::from_value(value) {
        return Ok(Data::Artifact(artifact.0.clone()));
    }
    if let Some(layer) = LayerValue::from_value(value) {
        return Ok(Data::Layer(layer.0.clone()));
    }
    if let Some(provider) = ProviderValue::from_value(value) {
        return Ok(Data::Provider(provider.0.clone()));
    }
    if let Some(items) = TupleRef::from_value(value) {
        return items.iter().map(|item| convert(item, depth + 1)).collect::<Result<_, _>>().map(Data::List);
    }
    if let Some(fields) = StructRef::from_value(value) {
        return fields
            .iter()
            .map(|(name, value)| Ok((Arc::from(name.as_str()), convert(value, depth + 1)?)))
            .collect::<Result<_, _>>()
            .map(Data::Struct);
    }
    Err(no_data(value))
}

fn no_data(value: Value<'_>) -> Problem {
    let type_ = value.get_type();
    if matches!(i64::unpack_value(value), Ok(Some(_))) || type_ == "int" {
        return match i64::unpack_value(value) {
            Ok(Some(number)) => Problem::new(format!("the number {number} is too large")),
            _ => Problem::new(format!("the number {value} is too large")),
        };
    }
    if SelectValue::from_value(value).is_some() {
        return Problem::new("`select()` cannot stand inside another value")
            .hint("choose between whole values: `attribute = [...] + select({...})`");
    }
    if DependencyValue::from_value(value).is_some() {
        return Problem::new("a dependency cannot be kept in a value")
            .hint("keep its `.label`, its `.files` or one of its providers");
    }
    Problem::new(format!("a value of type `{type_}` is not data"))
}

/// The Starlark value for data.
pub(crate) fn to_starlark<'v>(heap: Heap<'v>, data: &Data) -> Value<'v> {
    match data {
        Data::None => Value::new_none(),
        Data::Bool(flag) => Value::new_bool(*flag),
        Data::Int(number) => heap.alloc(*number),
        Data::String(text) => heap.alloc(&**text),
        Data::List(items) => heap.alloc(AllocList(items.iter().map(|item| to_starlark(heap, item)))),
        Data::Dict(entries) => {
            heap.alloc(AllocDict(entries.iter().map(|(key, value)| (&**key, to_starlark(heap, value)))))
        }
        Data::Label(label) => heap.alloc(LabelValue(label.clone())),
        Data::Artifact(artifact) => heap.alloc(ArtifactValue(artifact.clone())),
        Data::Layer(layer) => heap.alloc(LayerValue(layer.clone())),
        Data::Step(step) => heap.alloc(StepValue(step.clone())),
        Data::Source(source) => heap.alloc(SourceValue(source.clone())),
        Data::Struct(fields) => {
            heap.alloc(AllocStruct(fields.iter().map(|(name, value)| (&**name, to_starlark(heap, value)))))
        }
        Data::Provider(provider) => heap.alloc(ProviderValue(provider.clone())),
    }
}
