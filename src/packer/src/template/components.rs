//! The catalog of this program: Packer's functions, and the components whose schemas are known.

use std::sync::Arc;

use imgbuild_hcl::eval::Functions;
use imgbuild_hcl::value::Type;
use imgbuild_kinds::{Dialect, check, classes_of, component, suggest};
use imgbuild_model::{AttributeType, Diagnostic, KindClass, KindSchema, Location};
use imgbuild_packer_functions::{Host, functions};

use super::catalog::Catalog;
use super::settings::Settings;

/// The known functions and components; `H` makes the host that functions ask, for the folder in which relative paths
/// start (see [`Catalog::functions`]).
pub struct Components<H>(pub H);

impl<H: Fn(&str) -> Arc<dyn Host>> Catalog for Components<H> {
    fn functions(&self, root: &str) -> Functions {
        functions(&(self.0)(root))
    }

    fn data_type(&self, kind: &str) -> Option<Type> {
        let schema = component(KindClass::DataSource, kind)?;
        let outputs = schema.outputs.iter().map(|output| (output.name, value_type(output.type_)));
        Some(Type::object(outputs))
    }

    fn generated(&self, builder: &str) -> Option<Vec<String>> {
        let schema = component(KindClass::Builder, builder).filter(|schema| !schema.outputs.is_empty())?;
        Some(schema.outputs.iter().map(|output| output.name.to_owned()).collect())
    }

    fn check(
        &self,
        class: KindClass,
        kind: &str,
        location: &Location,
        settings: &Settings,
    ) -> Vec<Diagnostic> {
        match component(class, kind) {
            Some(schema) => checked(schema, location, settings),
            None => vec![unknown_component(class, kind).at(location.clone())],
        }
    }
}

fn checked(schema: &KindSchema, location: &Location, settings: &Settings) -> Vec<Diagnostic> {
    let problems = check(schema, &settings.to_node(location.clone()), Dialect::Hcl);
    problems.iter().map(|problem| problem.diagnostic()).collect()
}

/// What is to be said of a component's name that there is not. One that is no slip may be that of a plugin that only others
/// know.
#[must_use]
pub fn unknown_component(class: KindClass, kind: &str) -> Diagnostic {
    let word = class.word();
    let error = || Diagnostic::error(format!("there is no {word} `{kind}`"));
    if let Some(near) = suggest(class, kind) {
        return error().hint(format!("did you mean `{near}`?"));
    }
    if let Some(other) = classes_of(kind).next() {
        return error().hint(format!("`{kind}` is a {}", other.word()));
    }
    Diagnostic::warning(format!("the {word} `{kind}` is not known here, so its settings are not checked"))
        .hint("real `packer` can run it, if its plugin is installed")
}

fn value_type(ty: AttributeType) -> Type {
    match ty {
        AttributeType::String | AttributeType::Enum(_) | AttributeType::EnumAnyCase(_) => Type::String,
        AttributeType::Int | AttributeType::Number => Type::Number,
        AttributeType::Bool => Type::Bool,
        AttributeType::StringList => Type::list(Type::String),
        AttributeType::StringDict => Type::map(Type::String),
        AttributeType::List(element) => Type::list(value_type(*element)),
        AttributeType::Dict(element) => Type::map(value_type(*element)),
        _ => Type::Dynamic,
    }
}
