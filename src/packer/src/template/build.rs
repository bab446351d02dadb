//! `build` blocks: which sources each builds, and what it does with each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Attribute, Block, Body, Expression};
use imgbuild_hcl::value::{Type, Value};
use imgbuild_model::{Diagnostic, Location, did_you_mean};

use super::body::{Shape, labels};
use super::catalog::{Catalog, Role};
use super::evaluate::{Evaluator, collect_body};
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
    /// The sources as it names them: `type.name`.
    pub sources: Vec<String>,
    /// Its provisioners, whatever source they are for.
    pub provisioners: Vec<Label>,
    /// Its post-processors, whatever source they are for, by chain.
    pub post_processors: Vec<Vec<Label>>,
    /// What it does with each of its sources, those that were not selected aside.
    pub pairs: Vec<Pair>,
    /// Where its artifacts are registered.
    pub registry: Option<Registry>,
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

/// What every builder tells of its machine.
const GENERATED: [&str; 13] = [
    "ID",
    "Host",
    "Port",
    "User",
    "Password",
    "ConnType",
    "PackerRunUUID",
    "PackerHTTPPort",
    "PackerHTTPIP",
    "PackerHTTPAddr",
    "SSHPublicKey",
    "SSHPrivateKey",
    "WinRMPassword",
];

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
    registry: Option<Registry>,
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
            sources: parts.uses.iter().map(|used| format!("{}.{}", used.kind, used.local_name)).collect(),
            provisioners: parts.provisioners.iter().map(|step| label(&step.kind, &step.meta.name)).collect(),
            post_processors: parts
                .chains
                .iter()
                .map(|chain| chain.iter().map(|post| label(&post.kind, &post.meta.name)).collect())
                .collect(),
            name,
            pairs,
            registry: parts.registry,
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
                let registry = read_registry(&block.body, header(), self.scope, self.evaluator);
                parts.registry = parts.registry.take().or(Some(registry));
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

    /// `sources = ["type.name"]`
    fn listed<'b>(&'b self, attribute: &Attribute, parts: &mut Parts<'b>) {
        if let Some(bare) = bare_reference(&attribute.expr) {
            let reference = bare.source.slice(bare.node.span);
            let error = bare.error("a source is named in quotes").hint(format!("write `\"{reference}\"`"));
            self.fail(error);
            parts.excused = true;
            return;
        }
        let before = self.evaluator.value(&attribute.expr, self.scope);
        if !before.is_wholly_known() {
            // What it depends on was either told as wrong or is not answered yet.
            parts.excused = true;
            return;
        }
        let Some(texts) = self.evaluator.texts(attribute, self.scope) else {
            parts.excused = true;
            return;
        };
        parts.excused |= texts.is_empty() && !before.is_empty();
        for (text, location) in texts {
            match self.source(&text, &location) {
                Some(declared) => parts.uses.push(SourceUse {
                    kind: Arc::clone(&declared.kind),
                    declared,
                    local_name: Arc::clone(&declared.name),
                    body: None,
                }),
                None => parts.excused = true,
            }
        }
    }

    /// `source "type.name" { … }`
    fn nested<'b>(&'b self, block: &Block, parts: &mut Parts<'b>) {
        parts.excused = true;
        let Some([label]) = labels(block, ["type.name"], self.evaluator.report) else { return };
        let location = block.body.source.location(label.span);
        let Some(declared) = self.source(&label.text, &location) else { return };
        let body = super::body::content(&block.body, &[("dynamic", 1)], self.evaluator.report);
        let name = body.attribute("name").and_then(|name| self.evaluator.text(name, self.scope));
        parts.uses.push(SourceUse {
            kind: Arc::clone(&declared.kind),
            declared,
            local_name: name.map_or_else(|| Arc::clone(&declared.name), Into::into),
            body: Some(body),
        });
    }

    fn source(&self, reference: &str, location: &Location) -> Option<&SourceDeclaration> {
        let mut parts: Vec<&str> = reference.split('.').collect();
        if parts.len() > 2 {
            parts.remove(0);
        }
        let [kind, name, ..] = parts.as_slice() else {
            let message = format!("`{reference}` does not name a source");
            let hint = "write `source.type.name` or `type.name`";
            self.fail(Diagnostic::error(message).at(location.clone()).hint(hint));
            return None;
        };
        let found = self.sources.get(&(Arc::from(*kind), Arc::from(*name)));
        if found.is_none() {
            let known: Vec<String> =
                self.sources.keys().map(|(kind, name)| format!("{kind}.{name}")).collect();
            let wanted = format!("{kind}.{name}");
            let hint = did_you_mean(&wanted, known.iter().map(String::as_str)).map_or_else(
                || format!("declare it: `source \"{kind}\" \"{name}\" {{ … }}`"),
                |near| format!("did you mean `source.{near}`?"),
            );
            self.fail(
                Diagnostic::error(format!("there is no source `{wanted}`")).at(location.clone()).hint(hint),
            );
        }
        found
    }

    /// Warns of `only`, `except` and `override` that name no source of the build.
    fn check_names(&self, parts: &Parts<'_>) {
        let whole: Vec<String> =
            parts.uses.iter().map(|used| format!("{}.{}", used.kind, used.local_name)).collect();
        let steps = parts.provisioners.iter().chain(&parts.error_cleanup);
        let filters = steps.map(|step| &step.meta.filter);
        for filter in filters.chain(parts.chains.iter().flatten().map(|post| &post.meta.filter)) {
            for (name, location) in &filter.names {
                if !whole.contains(name) && !parts.uses.is_empty() {
                    let hint = did_you_mean(name, whole.iter().map(String::as_str))
                        .map(|near| format!("did you mean `{near}`?"))
                        .or_else(|| {
                            Some(
                                "it is `type.name`, without `source.` and without the name of the build"
                                    .to_owned(),
                            )
                        });
                    let message = format!("this build has no source `{name}`");
                    self.fail(Diagnostic::warning(message).at(location.clone()).maybe_hint(hint));
                }
            }
        }
        for step in parts.provisioners.iter().chain(&parts.error_cleanup) {
            let Some((value, place)) = &step.meta.overrides else { continue };
            for name in value.entries().into_iter().flat_map(BTreeMap::keys) {
                let known = |used: &SourceUse<'_>| used.local_name == *name || used.declared.name == *name;
                if !parts.uses.is_empty() && !parts.uses.iter().any(known) {
                    let message = format!("this build has no source named `{name}`");
                    let hint = "the keys of `override` are names of sources, without their types";
                    self.fail(Diagnostic::warning(message).at(place.location()).hint(hint));
                }
            }
        }
    }

    fn pair(&self, full: String, build: Option<&str>, used: &SourceUse<'_>, parts: &Parts<'_>) -> Pair {
        let declared = used.declared;
        let location = declared.block.body.source.location(declared.block.header);
        let evaluate = |body: &Body, skip: &[&str]| {
            let scope = self.pair_scope(build, used, body);
            Settings::evaluate(body, skip, &scope, self.evaluator)
        };
        let mut settings = evaluate(&declared.block.body, &[]);
        if let Some(body) = &used.body {
            settings.add(evaluate(body, &["name"]), self.evaluator);
        }
        self.check(Role::Builder, &used.kind, &location, &settings);
        let here = format!("{}.{}", used.kind, used.local_name);
        let provisioner = |step: &Declared<StepMeta>| {
            let mut settings = evaluate(&step.body, StepMeta::NAMES);
            if let Some((value, place)) = step.meta.override_of(&used.local_name, &declared.name) {
                settings.replace(value, place);
            }
            self.check(Role::Provisioner, &step.kind, &step.location, &settings);
            step.meta.provisioner(Arc::clone(&step.kind), settings, step.location.clone())
        };
        let provisioners =
            parts.provisioners.iter().filter(|step| step.meta.filter.wants(&here)).map(provisioner).collect();
        let error_cleanup =
            parts.error_cleanup.as_ref().filter(|step| step.meta.filter.wants(&here)).map(provisioner);
        let post = |post: &Declared<PostMeta>| {
            let settings = evaluate(&post.body, PostMeta::NAMES);
            self.check(Role::PostProcessor, &post.kind, &post.location, &settings);
            PostProcessor {
                kind: Arc::clone(&post.kind),
                name: post.meta.name.clone(),
                keep_input_artifact: post.meta.keep_input_artifact,
                settings,
                location: post.location.clone(),
            }
        };
        let chain = |chain: &Chain| -> Vec<PostProcessor> {
            chain
                .iter()
                .filter(|post| post.meta.filter.wants(&here))
                .take_while(|post| {
                    !self.selection.leaves_out(post.meta.name.as_deref().unwrap_or(&post.kind))
                })
                .map(post)
                .collect()
        };
        let post_processors = parts.chains.iter().map(chain).filter(|chain| !chain.is_empty()).collect();
        Pair {
            name: full,
            kind: Arc::clone(&used.kind),
            source: Arc::clone(&declared.name),
            local_name: Arc::clone(&used.local_name),
            settings,
            provisioners,
            error_cleanup,
            post_processors,
            location,
        }
    }

    fn check(&self, role: Role, kind: &str, location: &Location, settings: &Settings) {
        self.evaluator.report.extend(self.catalog.check(role, kind, location, settings));
    }

    /// What a body of this pair can refer to: also `source` and `build`.
    fn pair_scope(&self, build: Option<&str>, used: &SourceUse<'_>, body: &Body) -> Scope<'_> {
        let mut scope = self.scope.child();
        let source = [("type", Value::string(&used.kind)), ("name", Value::string(&used.local_name))];
        scope.set("source", Value::object_of(source));
        let mut names: Vec<String> = GENERATED.map(str::to_owned).to_vec();
        match self.catalog.generated(&used.kind) {
            Some(more) => names.extend(more),
            // Whatever is asked for may be what this builder tells.
            None => names.extend(told(body)),
        }
        let unknown = names.into_iter().map(|name| (name, Value::unknown(Type::String)));
        let name = ("name".to_owned(), Value::string(build.unwrap_or_default()));
        scope.set("build", Value::object_of(unknown.chain([name])));
        scope
    }
}

fn told(body: &Body) -> Vec<String> {
    let mut found = Vec::new();
    collect_body(body, &mut found);
    let name = |reference: &imgbuild_hcl::syntax::Traversal| match reference.names().as_slice() {
        ["build", name, ..] => Some((*name).to_owned()),
        _ => None,
    };
    found.iter().filter_map(|(reference, _)| name(reference)).collect()
}

/// The first element of a list that is a reference where its text is wanted.
fn bare_reference(list: &Expression) -> Option<Expression> {
    let is_bare = |element: &Expression| {
        element.as_traversal().is_some_and(|path| {
            matches!(path.root.name.as_ref(), "source" | "sources") && path.steps.len() >= 2
        })
    };
    list.elements()?.into_iter().find(is_bare)
}
