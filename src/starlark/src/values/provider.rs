//! Providers: `provider(…)` makes a type, calling the type makes an instance, which is data.

use std::fmt;
use std::sync::{Arc, OnceLock};

use allocative::Allocative;
use imgbuild_model::{Provider, ProviderId, Value as Data};
use starlark::eval::{Arguments, Evaluator};
use starlark::starlark_simple_value;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};

use crate::context::Context;
use crate::error::{Problem, did_you_mean};
use crate::values::convert::{to_data, to_starlark};

/// A type of provider.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct ProviderType {
    #[allocative(skip)]
    id: OnceLock<ProviderId>,
    /// Names, with their docs.
    #[allocative(skip)]
    pub(crate) fields: Vec<(Arc<str>, String)>,
    pub(crate) doc: String,
}
starlark_simple_value!(ProviderType);

/// An instance.
#[derive(Debug, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
pub(crate) struct ProviderValue(#[allocative(skip)] pub(crate) Arc<Provider>);
starlark_simple_value!(ProviderValue);

impl ProviderType {
    pub(crate) fn new(fields: Vec<(Arc<str>, String)>, doc: String) -> Self {
        Self { id: OnceLock::new(), fields, doc }
    }

    /// One of the types that are built in.
    pub(crate) fn built_in(id: ProviderId, fields: &[(&str, &str)], doc: &str) -> Self {
        let fields = fields.iter().map(|(name, doc)| (Arc::from(*name), (*doc).to_owned())).collect();
        Self { id: OnceLock::from(id), fields, doc: doc.to_owned() }
    }

    pub(crate) fn id(&self) -> Result<&ProviderId, Problem> {
        self.id.get().ok_or_else(|| {
            Problem::new("this provider has no name yet")
                .hint("assign it to a name at the top of a `.star` file: `MyInfo = provider(...)`")
        })
    }
}

#[starlark_value(type = "provider_type")]
impl<'v> StarlarkValue<'v> for ProviderType {
    fn export_as(&self, variable_name: &str, eval: &mut Evaluator<'v, '_, '_>) -> starlark::Result<()> {
        if let Some(module) = Context::of(eval).module() {
            // A second name for the same type changes nothing.
            let _first_wins =
                self.id.set(ProviderId { module: module.shared().clone(), name: variable_name.into() });
        }
        Ok(())
    }

    fn invoke(
        &self,
        _me: Value<'v>,
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let id = self.id()?;
        let heap = eval.heap();
        if args.positions(heap)?.next().is_some() {
            let problem = Problem::new(format!("`{}` takes its fields by name", id.name));
            return Err(problem.hint(format!("write `{}({} = ...)`", id.name, self.first_field())).into());
        }
        let mut fields: Vec<_> = self.fields.iter().map(|(name, _)| (name.clone(), Data::None)).collect();
        for (name, value) in args.names_map()? {
            let name = name.as_str();
            let Some(field) = fields.iter_mut().find(|(field, _)| &**field == name) else {
                let known = self.fields.iter().map(|(name, _)| &**name);
                return Err(Problem::new(format!("`{}` has no field `{name}`", id.name))
                    .maybe_hint(did_you_mean(name, known))
                    .into());
            };
            field.1 = to_data(value).map_err(|problem| problem.within(&format!("`{}.{name}`", id.name)))?;
        }
        Ok(heap.alloc(ProviderValue(Arc::new(Provider { id: id.clone(), fields }))))
    }

    fn write_hash(&self, hasher: &mut starlark::collections::StarlarkHasher) -> starlark::Result<()> {
        use std::hash::Hash;
        self.id()?.hash(hasher);
        Ok(())
    }

    fn equals(&self, other: Value<'v>) -> starlark::Result<bool> {
        Ok(Self::from_value(other)
            .is_some_and(|other| self.id.get().is_some() && self.id.get() == other.id.get()))
    }
}

impl ProviderType {
    fn first_field(&self) -> &str {
        self.fields.first().map_or("field", |(name, _)| name)
    }
}

#[starlark_value(type = "provider")]
impl<'v> StarlarkValue<'v> for ProviderValue {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        self.0.field(attribute).map(|value| to_starlark(heap, value))
    }

    fn dir_attr(&self) -> Vec<String> {
        self.0.fields.iter().map(|(name, _)| name.to_string()).collect()
    }
}

impl fmt::Display for ProviderType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id.get().map_or("<provider>", |id| &id.name))
    }
}

impl fmt::Display for ProviderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0.id.name)
    }
}
