//! Post-processors of a build: from their configurations to chains that run.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use imgbuild_cache::Cache;
use imgbuild_engine::journal::{
    self, CleanupOptions, EffectId, Journal, ProcessIdentity, ProcessIntent, ProcessTag, ProcessUndo,
    ResourceId, RunJournal, UndoRegistry, WorkspaceId,
};
use imgbuild_engine::secrets::Fillings;
use imgbuild_gotemplate::{Functions, MissingKey, Options, Template, Value};
use imgbuild_kinds::component;
use imgbuild_model::{AttributeType, Diagnostic, Diagnostics, KindClass, Node, NodeData};
use imgbuild_packer::recipe::{Post, Recipe};
use imgbuild_postprocessors::local_command::{JournaledProcess, ProcessJournal};
use imgbuild_postprocessors::{
    Artifice, Chain, Checksum, Compress, LateTemplate, Link, Manifest, PostProcessor, ShellLocal,
    TemplateData,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use tokio::process::Command;

/// How long what a command started may take to end once the command has.
const GRACE: Duration = Duration::from_secs(2);

/// The chains of a build.
///
/// # Errors
/// Post-processors that are not built in, and settings that do not fit together.
pub(super) fn chains(recipe: &Recipe, fillings: &Fillings) -> Result<Vec<Chain>, Diagnostics> {
    let mut problems = Vec::new();
    let mut chains = Vec::new();
    for posts in &recipe.post_processors {
        let mut chain: Chain = Vec::new();
        for post in posts {
            match processor(post, fillings) {
                Ok(processor) => chain.push(Link {
                    name: post.name.clone().unwrap_or_default(),
                    processor,
                    keep_input: post.keep_input_artifact,
                }),
                Err(diagnostics) => {
                    problems.extend(diagnostics.0.into_iter().map(|problem| match problem.location {
                        None => problem.at(post.location.clone()),
                        Some(_) => problem,
                    }))
                }
            }
        }
        chains.push(chain);
    }
    if problems.is_empty() { Ok(chains) } else { Err(Diagnostics(problems)) }
}

fn processor(post: &Post, fillings: &Fillings) -> Result<Box<dyn PostProcessor>, Diagnostics> {
    Ok(match &*post.kind {
        "artifice" => Box::new(Artifice::new(settings(post, fillings)?)?),
        "checksum" => Box::new(Checksum::new(settings(post, fillings)?)?),
        "compress" => Box::new(Compress::new(settings(post, fillings)?)?),
        "manifest" => Box::new(Manifest::new(settings(post, fillings)?)?),
        "shell-local" => Box::new(ShellLocal::new(settings(post, fillings)?)?),
        other => {
            return Err(Diagnostic::error(format!("the post-processor `{other}` is not built in yet")).into());
        }
    })
}

fn settings<T: DeserializeOwned>(post: &Post, fillings: &Fillings) -> Result<T, Diagnostics> {
    let NodeData::Object(fields) = &post.settings.data else {
        return Err(Diagnostic::error("the settings are no object").into());
    };
    let schema = component(KindClass::PostProcessor, &post.kind);
    let mut all = Map::new();
    for field in fields {
        let name = field.name.to_lowercase();
        let attribute = schema.and_then(|schema| schema.attribute(&name));
        let type_ = attribute.map_or(AttributeType::Any, |attribute| attribute.type_);
        match json(&field.value, type_, fillings) {
            Some(Json::Null) | None => {}
            Some(value) => drop(all.insert(name, value)),
        }
    }
    serde_json::from_value(Json::Object(all)).map_err(|error| {
        Diagnostic::error(format!("the settings of `{}` do not fit: {error}", post.kind)).into()
    })
}

/// A value as its schema has it, under Packer's conversions.
fn json(node: &Node, type_: AttributeType, fillings: &Fillings) -> Option<Json> {
    let text = || match &node.data {
        NodeData::String(text) => Some(fillings.fill(text)),
        NodeData::Number(number) => Some(number.to_string()),
        NodeData::Bool(value) => Some(value.to_string()),
        _ => None,
    };
    let list = |of: AttributeType| match &node.data {
        NodeData::List(items) => {
            Some(Json::Array(items.iter().filter_map(|item| json(item, of, fillings)).collect()))
        }
        NodeData::Null => None,
        _ => Some(Json::Array(vec![json(node, of, fillings)?])),
    };
    match type_ {
        _ if matches!(node.data, NodeData::Null) => None,
        AttributeType::StringList => list(AttributeType::String),
        AttributeType::List(of) => list(*of),
        AttributeType::StringDict | AttributeType::Dict(_) => {
            let NodeData::Object(fields) = &node.data else { return None };
            let entries = fields.iter().filter_map(|field| {
                Some((field.name.to_string(), json(&field.value, AttributeType::String, fillings)?))
            });
            Some(Json::Object(entries.collect()))
        }
        AttributeType::Int => text()?.parse::<i64>().ok().map(Json::from),
        AttributeType::Bool | AttributeType::Trilean => {
            Some(Json::Bool(matches!(text()?.as_str(), "true" | "1" | "t" | "T" | "TRUE" | "True")))
        }
        AttributeType::Any => match &node.data {
            NodeData::Bool(value) => Some(Json::Bool(*value)),
            NodeData::List(_) => list(AttributeType::Any),
            _ => text().map(Json::String),
        },
        _ => text().map(Json::String),
    }
}

/// Go's template language, for what is rendered when it is used.
pub(super) struct GoTemplates;

impl LateTemplate for GoTemplates {
    fn render(&self, text: &str, data: &TemplateData) -> Result<String, Diagnostic> {
        let data = data.clone();
        let values = Value::map(data.iter().map(|(name, value)| (name.clone(), value_of(value))));
        let lookup = Arc::new(data);
        let build =
            imgbuild_gotemplate::Function::new([imgbuild_gotemplate::Param::String], move |arguments| {
                let name = arguments.first().and_then(Value::as_str).unwrap_or_default();
                lookup.get(name).map(value_of).ok_or_else(|| format!("nothing is known of `{name}`"))
            });
        let functions = Functions::new().with("build", build);
        let options = Options { missing_key: MissingKey::Error, ..Options::default() };
        Template::parse(text, &functions)
            .and_then(|template| template.render(&functions, &values, &options))
            .map_err(|error| Diagnostic::error(format!("`{text}` cannot be rendered: {error}")))
    }
}

fn value_of(value: &Json) -> Value {
    match value {
        Json::String(text) => Value::from(text.as_str()),
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => {
            number.as_i64().map_or(Value::Float(number.as_f64().unwrap_or_default()), Value::Int)
        }
        other => Value::from(other.to_string()),
    }
}

/// The journal of processes on the host, for post-processors.
pub(super) struct Processes {
    pub(super) cache: Cache,
    pub(super) folder: PathBuf,
}

struct Written {
    run: RunJournal,
    effect: EffectId,
}

fn unusable(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

impl ProcessJournal for Processes {
    fn intend(&self, command: &mut Command, description: &str) -> io::Result<Box<dyn JournaledProcess>> {
        let journal = Journal::open(self.cache.root().join(journal::FOLDER)).map_err(unusable)?;
        let workspace: WorkspaceId = self.folder.to_string_lossy().parse().map_err(unusable)?;
        let run = journal.start_run(workspace).map_err(unusable)?;
        let tag = ProcessTag::random()?;
        command.env(ProcessTag::VARIABLE, tag.as_str()).env_remove(imgbuild_engine::ENTER_MARKER);
        let intent = ProcessIntent { tag, description: description.to_owned() };
        let effect = run.record_intent(&ProcessUndo::KIND, &intent).map_err(unusable)?;
        Ok(Box::new(Written { run, effect }))
    }
}

#[async_trait]
impl JournaledProcess for Written {
    fn started(&mut self, id: u32) -> io::Result<()> {
        match ProcessIdentity::of(id)? {
            Some(identity) => {
                self.run.record_done(self.effect, &ResourceId::from(&identity)).map_err(unusable)
            }
            None => Ok(()),
        }
    }

    async fn ended(self: Box<Self>) -> io::Result<()> {
        let registry = UndoRegistry::new().with(ProcessUndo::new(GRACE));
        self.run.undo_outstanding(&registry, &CleanupOptions::default()).await.map_err(unusable)?;
        self.run.finish().map(drop).map_err(unusable)
    }
}
