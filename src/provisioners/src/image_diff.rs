//! `image_diff`: an image held to what it may differ in from another. What differs is found by `imgbuild-compare`, from the
//! layers alone: no machine is started.

use async_trait::async_trait;
use imgbuild_cache::OutputFile;
use imgbuild_compare::{Growth, GrowthError, LayerTree, Options, Report, Rules, Side, check, compare};
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome, Snapshot};
use imgbuild_formats::LayerSource;
use imgbuild_model::{Stream, Value};

use crate::checks::Record;

/// So much of what is refused is told for each rule.
const LINES: usize = 50;

/// The code behind `image_diff`.
pub(crate) struct ImageDiff;

#[async_trait]
impl Executor for ImageDiff {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let rules = rules(context)?;
        // What is no glob is found before anything is read.
        let report = tokio::task::block_in_place(|| report(context))?;
        let verdicts = check(&report, &rules).map_err(|error| ActionError::input(error.to_string()))?;
        let mut records = Vec::new();
        for verdict in verdicts {
            let passed = verdict.refused.is_empty();
            let lines = |limit: usize| {
                let more = verdict.refused.len().saturating_sub(limit);
                let more = (more > 0).then(|| format!("and {more} more"));
                verdict.refused.iter().take(limit).cloned().chain(more)
            };
            context
                .line(Stream::Stdout, &format!("{} {}", if passed { "ok  " } else { "FAIL" }, verdict.rule));
            for line in lines(LINES) {
                context.line(Stream::Stdout, &format!("     {line}"));
            }
            let message = (!passed).then(|| lines(LINES).collect::<Vec<_>>().join("\n"));
            records.push(Record { check: format!("image_diff {}", verdict.rule), passed, message });
        }
        let failed = records.iter().filter(|record| !record.passed).count();
        if failed > 0 {
            return Err(ActionError::Checks { failed, total: records.len() });
        }
        let text = serde_json::to_vec_pretty(&records).unwrap_or_default();
        let blob = context.cache.put_bytes(&text)?;
        let path = context.node().action.outputs.first().map_or("test.json", |name| &**name).to_owned();
        Ok(Outcome {
            files: vec![OutputFile { path, digest: blob.digest, executable: false }],
            ..Outcome::default()
        })
    }
}

fn rules(context: &ActionContext) -> Result<Rules, ActionError> {
    let given = |name: &str| {
        let value = context.attributes().get(name).filter(|value| **value != Value::None);
        value.map(|_| context.texts(name))
    };
    let unless = |off: bool, name: &str| (!off).then(|| context.texts(name));
    let growth = context.text("max_growth").map(|text| text.parse::<Growth>()).transpose();
    let rules = Rules {
        files: given("allow_files"),
        packages: given("allow_packages"),
        units: given("allow_units"),
        growth: growth.map_err(|error: GrowthError| ActionError::input(error.to_string()))?,
        privileges: unless(!context.flag("no_new_setuid"), "allow_setuid"),
        users: unless(!context.flag("no_new_users"), "allow_users"),
    };
    let Rules { files, packages, units, growth, privileges, users } = &rules;
    let lists = [files, packages, units, privileges, users];
    if growth.is_none() && lists.into_iter().all(Option::is_none) {
        return Err(ActionError::input("`image_diff` allows everything")
            .hint("give one of `allow_files`, `allow_packages`, `allow_units`, `max_growth`, or leave `no_new_setuid` on"));
    }
    Ok(rules)
}

fn report(context: &ActionContext) -> Result<Report, ActionError> {
    let (base, image) = (layers(context, &context.layer("base")?)?, layers(context, &context.parent())?);
    let trees = [tree(&base)?, tree(&image)?];
    let [one, other] = &trees;
    let side = |name, tree| Side { name, tree, configuration: None };
    let options = Options::default();
    compare(side("base", one), side("image", other), &options).map_err(|error| ActionError::caused_by(&error))
}

type Layers = Vec<(std::sync::Arc<imgbuild_tree::DeltaManifest>, std::path::PathBuf)>;

fn layers(context: &ActionContext, snapshot: &Snapshot) -> Result<Layers, ActionError> {
    let cache = &context.cache;
    snapshot.layers.iter().map(|delta| Ok((cache.layer_manifest(delta)?, cache.layer_tree(delta)))).collect()
}

fn tree(layers: &Layers) -> Result<LayerTree<'_>, ActionError> {
    let sources: Vec<LayerSource<'_>> =
        layers.iter().map(|(manifest, tree)| LayerSource { manifest, tree }).collect();
    LayerTree::new(&sources).map_err(|error| ActionError::caused_by(&error))
}
