//! From labels to what they stand for: artifacts and layers.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_model::{
    Artifact, AttributeType, Attributes, Dependency, Label, Location, Source, Step, Value as Data,
};

use crate::analysis::{Unresolved, not_analyzed, source_with_attributes, with_attributes};
use crate::builtin;
use crate::error::Problem;
use crate::schema;
use crate::values::dependency::{self, missing, provider};

/// What labels stand for.
pub(crate) struct Resolver<'a> {
    pub(crate) dependencies: &'a BTreeMap<Label, Dependency>,
    /// Whether labels may be unknown, and then stay labels: when platforms are joined, each has its own.
    pub(crate) partial: bool,
}

impl Resolver<'_> {
    /// The target behind a label; `None` if it stays a label.
    pub(crate) fn dependency(&self, label: &Label) -> Result<Option<&Dependency>, Unresolved> {
        match self.dependencies.get(label) {
            Some(dependency) => Ok(Some(dependency)),
            None if self.partial => Ok(None),
            None => Err(not_analyzed(label)),
        }
    }

    /// The one file behind a label.
    pub(crate) fn file(&self, label: &Label) -> Result<Option<Artifact>, Unresolved> {
        let Some(dependency) = self.dependency(label)? else { return Ok(None) };
        match dependency::files(dependency) {
            [Data::Artifact(artifact)] => Ok(Some(artifact.clone())),
            files => {
                let number =
                    if files.is_empty() { "no file".to_owned() } else { format!("{} files", files.len()) };
                Err(Problem::new(format!("`{label}` gives {number} where one is wanted"))
                    .hint("name a target that makes one file, or a file itself")
                    .into())
            }
        }
    }

    /// All files behind labels.
    pub(crate) fn files(&self, items: &[Data]) -> Result<Vec<Data>, Unresolved> {
        let mut files = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Data::Label(label) => match self.dependency(label)? {
                    Some(dependency) => files.extend(dependency::files(dependency).iter().cloned()),
                    None => files.push(item.clone()),
                },
                other => files.push(other.clone()),
            }
        }
        Ok(files)
    }

    fn layer(&self, label: &Label) -> Result<Data, Unresolved> {
        let Some(dependency) = self.dependency(label)? else { return Ok(Data::Label(label.clone())) };
        let id = builtin::image_info();
        provider(dependency, &id)
            .and_then(|info| info.field("layer"))
            .cloned()
            .ok_or_else(|| missing(dependency, &id).into())
    }

    /// The step with its labels followed. A step without labels stays the same one.
    pub(crate) fn step(&self, step: &Arc<Step>) -> Result<Arc<Step>, Unresolved> {
        Ok(match self.attributes(step.kind.as_str(), &step.attributes, &step.location)? {
            Some(attributes) => with_attributes(step, attributes),
            None => step.clone(),
        })
    }

    /// The source with its labels followed.
    pub(crate) fn source(&self, source: &Arc<Source>) -> Result<Arc<Source>, Unresolved> {
        Ok(match self.attributes(source.kind.as_str(), &source.attributes, &source.location)? {
            Some(attributes) => source_with_attributes(source, attributes),
            None => source.clone(),
        })
    }

    fn attributes(
        &self,
        kind: &str,
        attributes: &Attributes,
        location: &Location,
    ) -> Result<Option<Attributes>, Unresolved> {
        let mut has_labels = false;
        attributes.visit_labels(&mut |_| has_labels = true);
        if !has_labels {
            return Ok(None);
        }
        let schema = schema::kind(kind).map(|kind| kind.schema);
        let type_of =
            |name: &str| schema.and_then(|schema| schema.attribute(name)).map(|attribute| attribute.type_);
        let resolved = attributes.try_map(|name, value| {
            self.value(type_of(name), value).map_err(|error| match error {
                // The place of the step says more than that of the target.
                Unresolved::Here(problem) => {
                    let problem = problem.within(&format!("attribute `{name}` of `{kind}`"));
                    Unresolved::At(Box::new(problem.at(location.clone())))
                }
                located => located,
            })
        })?;
        Ok(Some(resolved))
    }

    fn value(&self, type_: Option<AttributeType>, value: &Data) -> Result<Data, Unresolved> {
        Ok(match (type_, value) {
            (Some(AttributeType::File), Data::Label(label)) => match self.file(label)? {
                Some(artifact) => Data::Artifact(artifact),
                None => value.clone(),
            },
            (Some(AttributeType::Files), Data::List(items)) => Data::List(self.files(items)?.into()),
            (Some(AttributeType::Image), Data::Label(label)) => self.layer(label)?,
            (Some(AttributeType::Steps), Data::List(items)) => items
                .iter()
                .map(|item| match item {
                    Data::Step(step) => self.step(step).map(Data::Step),
                    other => Ok(other.clone()),
                })
                .collect::<Result<_, _>>()
                .map(Data::List)?,
            _ => value.clone(),
        })
    }
}
