//! Labels, files, layers, steps and sources as Starlark values.

use std::fmt;
use std::sync::Arc;

use allocative::Allocative;
use imgbuild_model::{Artifact, Label, LayerRef, Source, Step};
use starlark::starlark_simple_value;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};

use crate::values::convert::to_starlark;

/// A label.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct LabelValue(#[allocative(skip)] pub(crate) Label);
starlark_simple_value!(LabelValue);

/// A file that an action reads or makes.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct ArtifactValue(#[allocative(skip)] pub(crate) Artifact);
starlark_simple_value!(ArtifactValue);

/// A layer.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct LayerValue(#[allocative(skip)] pub(crate) LayerRef);
starlark_simple_value!(LayerValue);

/// A step, an export, a check, a command.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct StepValue(#[allocative(skip)] pub(crate) Arc<Step>);
starlark_simple_value!(StepValue);

/// Where a chain starts.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct SourceValue(#[allocative(skip)] pub(crate) Arc<Source>);
starlark_simple_value!(SourceValue);

#[starlark_value(type = "label")]
impl<'v> StarlarkValue<'v> for LabelValue {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        match attribute {
            "package" => Some(heap.alloc(self.0.package.as_str())),
            "name" => Some(heap.alloc(self.0.name.as_str())),
            _ => None,
        }
    }

    fn dir_attr(&self) -> Vec<String> {
        vec!["name".to_owned(), "package".to_owned()]
    }

    fn equals(&self, other: Value<'v>) -> starlark::Result<bool> {
        Ok(Self::from_value(other).is_some_and(|other| other.0 == self.0))
    }

    fn write_hash(&self, hasher: &mut starlark::collections::StarlarkHasher) -> starlark::Result<()> {
        use std::hash::Hash;
        self.0.hash(hasher);
        Ok(())
    }
}

#[starlark_value(type = "artifact")]
impl<'v> StarlarkValue<'v> for ArtifactValue {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        match attribute {
            "path" => Some(match &self.0 {
                Artifact::Source(file) => heap.alloc(file.path.as_str()),
                Artifact::Output { name, .. } => heap.alloc(&**name),
            }),
            "basename" => Some(heap.alloc(self.0.base_name())),
            "is_source" => Some(Value::new_bool(matches!(self.0, Artifact::Source(_)))),
            "owner" => Some(heap.alloc(LabelValue(match &self.0 {
                Artifact::Source(file) => file.label.clone(),
                Artifact::Output { action, .. } => action.label.clone(),
            }))),
            _ => None,
        }
    }

    fn dir_attr(&self) -> Vec<String> {
        ["basename", "is_source", "owner", "path"].map(str::to_owned).to_vec()
    }

    fn equals(&self, other: Value<'v>) -> starlark::Result<bool> {
        Ok(Self::from_value(other).is_some_and(|other| other.0 == self.0))
    }

    fn write_hash(&self, hasher: &mut starlark::collections::StarlarkHasher) -> starlark::Result<()> {
        use std::hash::Hash;
        self.0.hash(hasher);
        Ok(())
    }
}

#[starlark_value(type = "layer")]
impl<'v> StarlarkValue<'v> for LayerValue {}

#[starlark_value(type = "step")]
impl<'v> StarlarkValue<'v> for StepValue {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        match attribute {
            "kind" => Some(heap.alloc(self.0.kind.as_str())),
            name => self.0.attributes.get(name).map(|value| to_starlark(heap, value)),
        }
    }

    fn dir_attr(&self) -> Vec<String> {
        let attributes = self.0.attributes.iter().map(|(name, _)| name.to_owned());
        std::iter::once("kind".to_owned()).chain(attributes).collect()
    }
}

#[starlark_value(type = "source")]
impl<'v> StarlarkValue<'v> for SourceValue {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        match attribute {
            "kind" => Some(heap.alloc(self.0.kind.as_str())),
            name => self.0.attributes.get(name).map(|value| to_starlark(heap, value)),
        }
    }

    fn dir_attr(&self) -> Vec<String> {
        let attributes = self.0.attributes.iter().map(|(name, _)| name.to_owned());
        std::iter::once("kind".to_owned()).chain(attributes).collect()
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for ArtifactValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Artifact::Source(file) => write!(f, "<source {}>", file.label),
            Artifact::Output { action, name } => write!(f, "<output {name} of {}>", action.label),
        }
    }
}

impl fmt::Display for LayerValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<layer {} of {}>", self.0.action.index, self.0.action.label)
    }
}

impl fmt::Display for StepValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<step {}>", self.0.kind)
    }
}

impl fmt::Display for SourceValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<source {}>", self.0.kind)
    }
}
