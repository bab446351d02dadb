//! Builds that this program cannot carry out itself, as one action of a real `packer`.
//!
//! The key covers the build as it was evaluated, the files that it names, and what the program says of its versions. Where
//! things are put, what they are called and how a machine is reached is no part of it, as the schemas' roles say.

use imgbuild_kinds::component;
use imgbuild_model::{EntryKind, KindClass, Node, NodeData, Role, Table, Value};
use serde_json::{Map, Value as Json};

use super::chain::Chain;
use super::{Holes, Lowered, Makes, Surroundings};
use crate::recipe::{Recipe, Step};
use imgbuild_model::Diagnostics;

/// A real `packer` and how it is called.
#[derive(Clone, Debug)]
pub struct RealPacker {
    /// The program.
    pub program: String,
    /// What it reports of its version and plugins.
    pub versions: String,
    /// The template, as it can be opened from the working folder.
    pub template: String,
    /// Further arguments.
    pub args: Vec<String>,
    /// Values of variables, as a JSON object; empty if there are none.
    pub variables: String,
}

/// The name of the file that a delegated build's artifacts are kept in.
pub const ARTIFACTS: &str = "artifacts.json";

/// Makes one action of a build.
///
/// # Errors
/// What is wrong with paths in it.
pub fn delegate(
    recipe: &Recipe,
    around: &Surroundings<'_>,
    real: &RealPacker,
) -> Result<Lowered, Diagnostics> {
    let mut chain = Chain::new(recipe, around);
    let mut parts = Parts { holes: around.holes, paths: Vec::new() };
    let described = parts.recipe(recipe);
    let mut inputs = Vec::new();
    for path in parts.paths {
        let absolute = chain.absolute(&path);
        // A folder that the build runs in holds everything, also what it writes.
        let is_elsewhere = path.starts_with('/') && !absolute.starts_with(&format!("{}/", around.cwd));
        let is_around = is_elsewhere
            || around.cwd == absolute
            || around.cwd.starts_with(&format!("{}/", absolute.trim_end_matches('/')));
        let kind = around.files.kind(&absolute);
        if kind == Some(EntryKind::File) || (kind == Some(EntryKind::Directory) && !is_around) {
            inputs.extend(chain.input(&path, &recipe.location).map(|(input, _)| input));
        }
    }
    inputs.dedup();
    let texts = |texts: &[String]| Value::list(texts.iter().map(|text| Value::string(text)));
    let attributes = vec![
        ("recipe", Value::string(&described.to_string())),
        ("packer", Value::string(&real.versions)),
        ("srcs", Value::list(inputs)),
        ("name", Value::string(&recipe.plain_name)),
        ("program", Value::string(&real.program)),
        ("template", Value::string(&real.template)),
        ("args", texts(&real.args)),
        ("variables", Value::string(&real.variables)),
        ("workdir", Value::string(&chain.on_host("."))),
    ];
    let action = chain.export("packer_build", attributes, ARTIFACTS);
    chain.makes(Makes::Delegated { action });
    chain.finish()
}

struct Parts<'a> {
    holes: &'a Holes,
    /// Texts that may be paths of inputs.
    paths: Vec<String>,
}

impl Parts<'_> {
    fn recipe(&mut self, recipe: &Recipe) -> Json {
        let steps: Vec<Json> = recipe.provisioners.iter().map(|step| self.step(step)).collect();
        let cleanup = recipe.error_cleanup.as_ref().map(|step| self.step(step));
        let posts: Vec<Vec<Json>> = recipe
            .post_processors
            .iter()
            .map(|chain| {
                chain
                    .iter()
                    .map(|post| {
                        let settings = self.body(KindClass::PostProcessor, &post.kind, &post.settings);
                        serde_json::json!([post.kind, post.keep_input_artifact, settings])
                    })
                    .collect()
            })
            .collect();
        serde_json::json!({
            "builder": [recipe.kind, recipe.source, self.body(KindClass::Builder, &recipe.kind, &recipe.settings)],
            "provisioners": steps,
            "error_cleanup": cleanup,
            "post_processors": posts,
        })
    }

    fn step(&mut self, step: &Step) -> Json {
        let settings = self.body(KindClass::Provisioner, &step.kind, &step.settings);
        serde_json::json!([step.kind, step.continue_on_error, settings])
    }

    fn body(&mut self, class: KindClass, kind: &str, body: &Node) -> Json {
        let table = component(class, kind).map(|schema| schema.table());
        self.table(table.as_ref(), body)
    }

    /// What of a body is keyed. All of it, where the kind is not known.
    fn table(&mut self, table: Option<&Table>, body: &Node) -> Json {
        let NodeData::Object(fields) = &body.data else { return self.value(body) };
        let mut all = Map::new();
        for field in fields {
            let attribute = table.and_then(|table| table.attribute(&field.name));
            if attribute.is_some_and(|attribute| !attribute.role.is_keyed(true)) {
                continue;
            }
            let is_of_guest = field.name.starts_with("remote_") || &*field.name == "destination";
            if !is_of_guest && attribute.is_none_or(|attribute| attribute.role == Role::Content) {
                self.path(&field.value);
            }
            let block = table.and_then(|table| table.block(&field.name));
            let value = match (block, &field.value.data) {
                (Some(block), NodeData::List(items)) => {
                    Json::Array(items.iter().map(|item| self.table(Some(&block.table), item)).collect())
                }
                (Some(block), _) => self.table(Some(&block.table), &field.value),
                (None, _) => self.value(&field.value),
            };
            match all.get_mut(&*field.name) {
                Some(Json::Array(several)) if block.is_some() => several.push(value),
                Some(first) => *first = Json::Array(vec![first.take(), value]),
                None => drop(all.insert(field.name.to_string(), value)),
            }
        }
        Json::Object(all)
    }

    fn path(&mut self, node: &Node) {
        match &node.data {
            NodeData::String(text)
                if !node.secret && !text.is_empty() && text.len() < 4096 && !text.contains('\n') =>
            {
                self.paths.push(text.to_string());
            }
            NodeData::List(items) => items.iter().for_each(|item| self.path(item)),
            _ => {}
        }
    }

    fn value(&self, node: &Node) -> Json {
        match &node.data {
            NodeData::Unknown => Json::String("(known while the build runs)".to_owned()),
            NodeData::Null => Json::Null,
            NodeData::Bool(value) => Json::Bool(*value),
            NodeData::Number(number) => serde_json::json!(number),
            NodeData::String(text) => Json::String(self.holes.hide(text, node.secret)),
            NodeData::List(items) => Json::Array(items.iter().map(|item| self.value(item)).collect()),
            NodeData::Object(fields) => Json::Object(
                fields.iter().map(|field| (field.name.to_string(), self.value(&field.value))).collect(),
            ),
        }
    }
}
