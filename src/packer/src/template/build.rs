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
use super::dynamic::{Bindings, Expanded, bound, expand};
use super::evaluate::Evaluator;
use super::graph::collect_body;
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
        "source",
        "provisioner",
        "error-cleanup-provisioner",
        "post-processor",
        "post-processors",
        "hcp_packer_registry",
        "from",
        "dynamic",
    ],
};

const CHAIN: Shape =
    Shape { what: "a `post-processors` block", attributes: &[], blocks: &["post-processor", "dynamic"] };

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
    body: Option<(&'b Body, Bindings)>,
}

/// A component of a build before it is known for which source.
struct Declared<'b, M> {
    kind: Arc<str>,
    meta: M,
    block: Expanded<'b>,
}

type Chain<'b> = Vec<Declared<'b, PostMeta>>;

#[derive(Default)]
struct Parts<'b> {
    uses: Vec<SourceUse<'b>>,
    provisioners: Vec<Declared<'b, StepMeta>>,
    error_cleanup: Option<Declared<'b, StepMeta>>,
    chains: Vec<Chain<'b>>,
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
        let body = &block.body;
        let clean = BUILD.check(body, self.evaluator.report);
        let text = |name: &str| body.attribute(name).and_then(|text| self.evaluator.text(text, self.scope));
        let name = text("name").map(Arc::<str>::from);
        let location = body.source.location(block.header);
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
        let label = |kind: &Arc<str>, name: &Option<String>| Label { kind: Arc::clone(kind), name: name.clone() };
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

    fn parts<'b>(&'b self, body: &'b Body, name: &str) -> Parts<'b> {
        let mut parts = Parts::default();
        if let Some(sources) = body.attribute("sources") {
            self.listed(sources, &mut parts);
        }
        let mut scope = self.scope.child();
        scope.set("build", Value::object_of([("name", Value::string(name))]));
        let meta = |block: &Expanded<'_>| MetaReader {
            evaluator: self.evaluator,
            scope: bound(&scope, &block.bindings),
            kind: Arc::clone(&block.kind),
        };
        for block in expand(body, &Bindings::new(), self.scope, self.evaluator) {
            match block.kind.as_ref() {
                "source" => self.nested(block, &mut parts),
                "provisioner" => {
                    let Some(kind) = self.kind(&block) else { continue };
                    let meta = meta(&block).step(block.body);
                    parts.provisioners.push(Declared { kind, meta, block });
                }
                "error-cleanup-provisioner" => {
                    let Some(kind) = self.kind(&block) else { continue };
                    if let Some(first) = &parts.error_cleanup {
                        let error = Diagnostic::error("a build has one `error-cleanup-provisioner`").at(block.header);
                        let error = error.note("it was first given here", Some(first.block.header.clone()));
                        self.fail(error.hint("remove one, or do both with one script"));
                        continue;
                    }
                    let meta = meta(&block).step(block.body);
                    parts.error_cleanup = Some(Declared { kind, meta, block });
                }
                "post-processor" => {
                    let Some(kind) = self.kind(&block) else { continue };
                    let meta = meta(&block).post(block.body);
                    parts.chains.push(vec![Declared { kind, meta, block }]);
                }
                "post-processors" => {
                    if !self.no_labels(&block) {
                        continue;
                    }
                    let mut chain = Chain::new();
                    CHAIN.check(block.body, self.evaluator.report);
                    for block in expand(block.body, &block.bindings, self.scope, self.evaluator) {
                        if block.kind.as_ref() != "post-processor" {
                            continue;
                        }
                        let Some(kind) = self.kind(&block) else { continue };
                        let meta = meta(&block).post(block.body);
                        chain.push(Declared { kind, meta, block });
                    }
                    parts.chains.push(chain);
                }
                "hcp_packer_registry" => {
                    let scope = bound(self.scope, &block.bindings);
                    let hint = "move it to the top level of the template";
                    let warning = Diagnostic::warning("`hcp_packer_registry` in a build is deprecated");
                    self.fail(warning.at(block.header.clone()).hint(hint));
                    let registry = read_registry(block.body, block.header.clone(), &scope, self.evaluator);
                    parts.registry = parts.registry.or(Some(registry));
                }
                "from" => self.fail(
                    Diagnostic::warning("`from` blocks have no effect")
                        .at(block.header)
                        .hint("write `sources = [\"source.type.name\"]`"),
                ),
                // Said already if it is written so; a `dynamic` block may have made it.
                _ if block.bindings.is_empty() => {}
                kind => self.fail(
                    Diagnostic::error(format!("a `build` block has no block `{kind}`"))
                        .at(block.kind_location)
                        .maybe_hint(
                            did_you_mean(kind, BUILD.blocks.iter().copied()).map(|near| format!("did you mean `{near}`?")),
                        ),
                ),
            }
        }
        parts
    }

    fn kind(&self, block: &Expanded<'_>) -> Option<Arc<str>> {
        match block.labels.as_slice() {
            [one] => Some(Arc::clone(&one.text)),
            [] => {
                let message = format!("the type of this `{}` block is missing", block.kind);
                let hint = format!("write `{} \"type\" {{ … }}`, or `labels = [\"type\"]` in a `dynamic` block", block.kind);
                self.fail(Diagnostic::error(message).at(block.header.clone()).hint(hint));
                None
            }
            [_, extra, ..] => {
                let message = format!("a `{}` block has 1 label, this is one more", block.kind);
                let hint = "its name is the attribute `name`";
                self.fail(Diagnostic::error(message).at(extra.location.clone()).hint(hint));
                None
            }
        }
    }

    fn no_labels(&self, block: &Expanded<'_>) -> bool {
        let extra = block.labels.first();
        if let Some(extra) = extra {
            let message = format!("a `{}` block has no label", block.kind);
            let hint = "the `post-processor` blocks in it have types";
            self.fail(Diagnostic::error(message).at(extra.location.clone()).hint(hint));
        }
        extra.is_none()
    }

    /// `sources = ["source.type.name"]`
    fn listed<'b>(&'b self, attribute: &'b Attribute, parts: &mut Parts<'b>) {
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
    fn nested<'b>(&'b self, block: Expanded<'b>, parts: &mut Parts<'b>) {
        parts.excused = true;
        let [label] = block.labels.as_slice() else {
            let error = Diagnostic::error("a `source` block in a build has one label, the source that it names");
            self.fail(error.at(block.header).hint("write `source \"source.type.name\" { … }`"));
            return;
        };
        let Some(declared) = self.source(&label.text, &label.location) else { return };
        let scope = bound(self.scope, &block.bindings);
        let name = block.body.attribute("name").and_then(|name| self.evaluator.text(name, &scope));
        parts.uses.push(SourceUse {
            kind: Arc::clone(&declared.kind),
            declared,
            local_name: name.map_or_else(|| Arc::clone(&declared.name), Into::into),
            body: Some((block.body, block.bindings)),
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
            let known: Vec<String> = self.sources.keys().map(|(kind, name)| format!("{kind}.{name}")).collect();
            let wanted = format!("{kind}.{name}");
            let hint = did_you_mean(&wanted, known.iter().map(String::as_str)).map_or_else(
                || format!("declare it: `source \"{kind}\" \"{name}\" {{ … }}`"),
                |near| format!("did you mean `source.{near}`?"),
            );
            self.fail(Diagnostic::error(format!("there is no source `{wanted}`")).at(location.clone()).hint(hint));
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
                        .or_else(|| Some("it is `type.name`, without `source.` and without the name of the build".to_owned()));
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
        let evaluate = |body: &Body, skip: &[&str], bindings: &Bindings| {
            let scope = self.pair_scope(build, used, body);
            Settings::evaluate(body, skip, bindings, &scope, self.evaluator)
        };
        let mut settings = evaluate(&declared.block.body, &[], &Bindings::new());
        if let Some((body, bindings)) = &used.body {
            settings.add(evaluate(body, &["name"], bindings), self.evaluator);
        }
        self.check(Role::Builder, &used.kind, &location, &settings);
        let here = format!("{}.{}", used.kind, used.local_name);
        let provisioner = |step: &Declared<'_, StepMeta>| {
            let block = &step.block;
            let mut settings = evaluate(block.body, StepMeta::NAMES, &block.bindings);
            if let Some((value, place)) = step.meta.override_of(&used.local_name, &declared.name) {
                settings.replace(value, place);
            }
            self.check(Role::Provisioner, &step.kind, &block.header, &settings);
            step.meta.provisioner(Arc::clone(&step.kind), settings, block.header.clone())
        };
        let provisioners =
            parts.provisioners.iter().filter(|step| step.meta.filter.wants(&here)).map(provisioner).collect();
        let error_cleanup =
            parts.error_cleanup.as_ref().filter(|step| step.meta.filter.wants(&here)).map(provisioner);
        let post = |post: &Declared<'_, PostMeta>| {
            let settings = evaluate(post.block.body, PostMeta::NAMES, &post.block.bindings);
            self.check(Role::PostProcessor, &post.kind, &post.block.header, &settings);
            PostProcessor {
                kind: Arc::clone(&post.kind),
                name: post.meta.name.clone(),
                keep_input_artifact: post.meta.keep_input_artifact,
                settings,
                location: post.block.header.clone(),
            }
        };
        let chain = |chain: &Chain<'_>| -> Vec<PostProcessor> {
            chain
                .iter()
                .filter(|post| post.meta.filter.wants(&here))
                .take_while(|post| !self.selection.leaves_out(post.meta.name.as_deref().unwrap_or(&post.kind)))
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
        element
            .as_traversal()
            .is_some_and(|path| matches!(path.root.name.as_ref(), "source" | "sources") && path.steps.len() >= 2)
    };
    list.elements()?.into_iter().find(is_bare)
}
