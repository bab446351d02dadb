//! What an implementation sees of a target that its own depends on.

use std::fmt;
use std::sync::Arc;

use allocative::Allocative;
use imgbuild_model::{Dependency, Provider, Value as Data};
use starlark::starlark_simple_value;
use starlark::values::list::AllocList;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};

use crate::builtin;
use crate::error::Problem;
use crate::values::convert::to_starlark;
use crate::values::plain::LabelValue;
use crate::values::provider::{ProviderType, ProviderValue};

/// A dependency: `.label`, `.files`, `.providers`, `dependency[Provider]`, `Provider in dependency`.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct DependencyValue(#[allocative(skip)] pub(crate) Dependency);
starlark_simple_value!(DependencyValue);

/// The artifacts of a target: those of its `DefaultInfo`.
pub(crate) fn files(dependency: &Dependency) -> &[Data] {
    provider(dependency, &builtin::default_info())
        .and_then(|info| info.field("files"))
        .and_then(Data::as_list)
        .unwrap_or_default()
}

/// The instance of a provider that a target has.
pub(crate) fn provider<'a>(
    dependency: &'a Dependency,
    id: &imgbuild_model::ProviderId,
) -> Option<&'a Arc<Provider>> {
    dependency.providers.iter().find(|provider| provider.id == *id)
}

fn type_of<'v>(value: Value<'v>) -> Result<&'v ProviderType, Problem> {
    ProviderType::from_value(value).ok_or_else(|| {
        Problem::new(format!("a dependency is indexed by a provider, not by `{}`", value.get_type()))
            .hint("write `dependency[ImageInfo]`")
    })
}

#[starlark_value(type = "dependency")]
impl<'v> StarlarkValue<'v> for DependencyValue {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        match attribute {
            "label" => Some(heap.alloc(LabelValue(self.0.label.clone()))),
            "files" => Some(heap.alloc(AllocList(files(&self.0).iter().map(|file| to_starlark(heap, file))))),
            "providers" => {
                let providers = self.0.providers.iter().map(|provider| ProviderValue(provider.clone()));
                Some(heap.alloc(AllocList(providers)))
            }
            _ => None,
        }
    }

    fn dir_attr(&self) -> Vec<String> {
        ["files", "label", "providers"].map(str::to_owned).to_vec()
    }

    fn at(&self, index: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let id = type_of(index)?.id()?;
        match provider(&self.0, id) {
            Some(provider) => Ok(heap.alloc(ProviderValue(provider.clone()))),
            None => Err(missing(&self.0, id).into()),
        }
    }

    fn is_in(&self, other: Value<'v>) -> starlark::Result<bool> {
        Ok(provider(&self.0, type_of(other)?.id()?).is_some())
    }
}

/// What is said when a target lacks a provider.
pub(crate) fn missing(dependency: &Dependency, id: &imgbuild_model::ProviderId) -> Problem {
    let has =
        dependency.providers.iter().map(|provider| format!("`{}`", provider.id.name)).collect::<Vec<_>>();
    let problem = Problem::new(format!("`{}` does not provide `{}`", dependency.label, id.name));
    if id.name.as_ref() == "ImageInfo" {
        problem.hint("name an `image` here")
    } else if has.is_empty() {
        problem
    } else {
        problem.hint(format!("it provides {}", has.join(", ")))
    }
}

impl fmt::Display for DependencyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<dependency {}>", self.0.label)
    }
}
