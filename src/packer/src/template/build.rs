//! `build` blocks: which sources each builds, and what it does with each of them.

mod pairs;
mod sources;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Block, Body};
use imgbuild_hcl::value::Value;
use imgbuild_model::{Diagnostic, Location};

use super::body::{Shape, labels};
use super::catalog::Catalog;
use super::evaluate::Evaluator;
use super::meta::{MetaReader, PostMeta, StepMeta};
use super::registry::{Registry, read_registry};
use super::schema::SourceDeclaration;
use super::selection::Selection;
use super::settings::Settings;

/// A `build` block.
#[derive(Clone, Debug)]
pub struct Build {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// What it is for.
    pub description: Option<String>,
    /// The sources as they are declared: `type.name`.
    pub sources: Vec<String>,
    /// Its provisioners, whatever source they are for.
    pub provisioners: Vec<Label>,
    /// Its post-processors, whatever source they are for, by chain.
    pub post_processors: Vec<Vec<Label>>,
    /// What it does with each of its sources, those that were not selected aside.
    pub pairs: Vec<Pair>,
    /// Where its artifacts are registered, if that is said here and not for the whole template: at most one.
    pub registries: Vec<Registry>,
    /// Where it is.
    pub location: Location,
}

/// A component by its kind and the name that it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Option<String>,
}

/// A build of a source: what other tools call a build.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The whole name: `build.type.name`, or `type.name` if the build has no name.
    pub name: String,
    /// The kind of builder.
    pub kind: Arc<str>,
    /// The name of the declared source.
    pub source: Arc<str>,
    /// The name of the source in this build.
    pub local_name: Arc<str>,
    /// What the builder is configured with.
    pub settings: Settings,
    /// What runs on the machine, in order.
    pub provisioners: Vec<Provisioner>,
    /// What runs if something failed.
    pub error_cleanup: Option<Provisioner>,
    /// What happens to the artifact, by chain.
    pub post_processors: Vec<Vec<PostProcessor>>,
    /// Where the source is declared.
    pub location: Location,
}

/// A provisioner in one pair.
#[derive(Clone, Debug)]
pub struct Provisioner {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Option<String>,
    /// How long to wait before it.
    pub pause_before: Option<Duration>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How often to try again.
    pub max_retries: u64,
    /// Whether the build goes on if it fails.
    pub continue_on_error: bool,
    /// What it is configured with, `override` applied.
    pub settings: Settings,
    /// Where it is.
    pub location: Location,
}

/// A post-processor in one pair.
#[derive(Clone, Debug)]
pub struct PostProcessor {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Option<String>,
    /// Whether what it is given is kept, if that is said.
    pub keep_input_artifact: Option<bool>,
    /// What it is configured with.
    pub settings: Settings,
    /// Where it is.
    pub location: Location,
}

const BUILD: Shape = Shape {
    what: "a `build` block",
    attributes: &["name", "description", "sources"],
    blocks: &[
        ("source", 1),
        ("provisioner", 1),
        ("error-cleanup-provisioner", 1),
        ("post-processor", 1),
        ("post-processors", 0),
        ("hcp_packer_registry", 0),
        ("from", 1),
    ],
};

const CHAIN: Shape =
    Shape { what: "a `post-processors` block", attributes: &[], blocks: &[("post-processor", 1)] };

/// A source as a build names it.
struct SourceUse<'b> {
    kind: Arc<str>,
    declared: &'b SourceDeclaration,
    local_name: Arc<str>,
    body: Option<Body>,
}

/// A component of a build before it is known for which source.
struct Declared<M> {
    kind: Arc<str>,
    meta: M,
    body: Body,
    location: Location,
}

type Chain = Vec<Declared<PostMeta>>;

#[derive(Default)]
struct Parts<'b> {
    uses: Vec<SourceUse<'b>>,
    provisioners: Vec<Declared<StepMeta>>,
    error_cleanup: Option<Declared<StepMeta>>,
    chains: Vec<Chain>,
    registries: Vec<Registry>,
    /// Sources are missing for a reason that was told already.
    excused: bool,
}

/// Reads builds.
pub(super) struct Builder<'a> {
    pub evaluator: Evaluator<'a>,
    pub catalog: &'a dyn Catalog,
    pub sources: &'a BTreeMap<(Arc<str>, Arc<str>), SourceDeclaration>,
    pub selection: &'a Selection,
    /// `var`, `local`, `data`, `path`, `packer` and functions.
    pub scope: &'a Scope<'a>,
}

impl Builder<'_> {
    fn fail(&self, error: Diagnostic) {
        self.evaluator.report.push(error);
    }

    /// Reads a build.
    pub(super) fn read(&self, block: &Block, all_names: &mut Vec<String>) -> Option<Build> {
        labels(block, [], self.evaluator.report)?;
        let body = &self.evaluator.expanded(&block.body, BUILD.blocks, self.scope);
        let clean = BUILD.check(body, self.evaluator.report);
        let text = |name: &str| body.attribute(name).and_then(|text| self.evaluator.text(text, self.scope));
        let name = text("name").map(Arc::<str>::from);
        let location = block.body.source.location(block.header);
        let parts = self.parts(body, name.as_deref().unwrap_or_default());
        if parts.uses.is_empty() && clean && !parts.excused {
            let error = Diagnostic::error("this build has no sources").at(location.clone());
            self.fail(error.hint("write `sources = [\"source.type.name\"]`"));
        }
        self.check_names(&parts);
        let mut pairs = Vec::new();
        for used in &parts.uses {
            let short = format!("{}.{}", used.kind, used.local_name);
            let full = match name.as_deref() {
                None | Some("") => short,
                Some(name) => format!("{name}.{short}"),
            };
            all_names.push(full.clone());
            if self.selection.wants(&full) {
                pairs.push(self.pair(full, name.as_deref(), used, &parts));
            }
        }
        let label =
            |kind: &Arc<str>, name: &Option<String>| Label { kind: Arc::clone(kind), name: name.clone() };
        Some(Build {
            description: text("description"),
            sources: parts.uses.iter().map(|used| format!("{}.{}", used.kind, used.declared.name)).collect(),
            provisioners: parts.provisioners.iter().map(|step| label(&step.kind, &step.meta.name)).collect(),
            post_processors: parts
                .chains
                .iter()
                .map(|chain| chain.iter().map(|post| label(&post.kind, &post.meta.name)).collect())
                .collect(),
            name,
            pairs,
            registries: parts.registries,
            location,
        })
    }

    fn parts(&self, body: &Body, name: &str) -> Parts<'_> {
        let mut parts = Parts::default();
        if let Some(sources) = body.attribute("sources") {
            self.listed(sources, &mut parts);
        }
        let mut scope = self.scope.child();
        scope.set("build", Value::object_of([("name", Value::string(name))]));
        let meta = MetaReader { evaluator: self.evaluator, scope };
        for block in &body.blocks {
            self.part(block, &meta, &mut parts);
        }
        parts
    }

    fn part<'b>(&'b self, block: &Block, meta: &MetaReader<'_>, parts: &mut Parts<'b>) {
        let header = || block.body.source.location(block.header);
        match block.kind.as_ref() {
            "source" => self.nested(block, parts),
            "provisioner" => parts.provisioners.extend(self.step(block, meta)),
            "error-cleanup-provisioner" => {
                if let Some(first) = &parts.error_cleanup {
                    let error = Diagnostic::error("a build has one `error-cleanup-provisioner`").at(header());
                    let error = error.note("it was first given here", Some(first.location.clone()));
                    self.fail(error.hint("remove one, or do both with one script"));
                    return;
                }
                parts.error_cleanup = self.step(block, meta);
            }
            "post-processor" => parts.chains.extend(self.post(block, meta).map(|post| vec![post])),
            "post-processors" => parts.chains.extend(self.chain(block, meta)),
            "hcp_packer_registry" => {
                let hint = "move it to the top level of the template";
                let warning = Diagnostic::warning("`hcp_packer_registry` in a build is deprecated");
                self.fail(warning.at(header()).hint(hint));
                parts.registries.push(read_registry(&block.body, header(), self.scope, self.evaluator));
            }
            "from" => {
                let warning = Diagnostic::warning("`from` blocks have no effect").at(header());
                self.fail(warning.hint("write `sources = [\"source.type.name\"]`"));
            }
            _ => {}
        }
    }

    fn step(&self, block: &Block, meta: &MetaReader<'_>) -> Option<Declared<StepMeta>> {
        let (kind, body, location) = self.component(block)?;
        Some(Declared { kind, meta: meta.step(&block.kind, &body), body, location })
    }

    fn post(&self, block: &Block, meta: &MetaReader<'_>) -> Option<Declared<PostMeta>> {
        let (kind, body, location) = self.component(block)?;
        Some(Declared { kind, meta: meta.post(&block.kind, &body), body, location })
    }

    fn chain(&self, block: &Block, meta: &MetaReader<'_>) -> Option<Chain> {
        labels(block, [], self.evaluator.report)?;
        let body = self.evaluator.expanded(&block.body, CHAIN.blocks, self.scope);
        CHAIN.check(&body, self.evaluator.report);
        Some(body.blocks_of("post-processor").filter_map(|block| self.post(block, meta)).collect())
    }

    fn component(&self, block: &Block) -> Option<(Arc<str>, Body, Location)> {
        let [kind] = labels(block, ["type"], self.evaluator.report)?;
        // What is a block in JSON, the catalog will know; here only the arguments of the build matter.
        let body = super::body::content(&block.body, &[("dynamic", 1)], self.evaluator.report);
        Some((Arc::clone(&kind.text), body, block.body.source.location(block.header)))
    }
}
