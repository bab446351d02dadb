//! Keys.
//!
//! What enters a key, in this order:
//!
//! | component | what |
//! |---|---|
//! | `schema` | the version of this table |
//! | `builder` | the builder's name and version |
//! | `kind` | the kind's name and version |
//! | `tool` | the version of each program of the host that its kind, or that of a check, runs |
//! | `platform` | the target platform |
//! | `salt` | the workspace's salt, for disowning a poisoned cache |
//! | `source` | the pinned identity of the source, for the first layer of a chain |
//! | `parent` | the layer it stands on: its key (static), or its output digest (content) |
//! | `place` | the target, for what runs commands on the host |
//! | `tool` | what a program of the host that a step or a check names says of its version |
//! | `epoch` | of the chain, for each of its actions that uses the network |
//! | `packages` | the locked closure of an `apt_install`, or the action that finds it |
//! | `attribute NAME` | each attribute whose role is keyed, default written out; for a test, also those of the machine that is started for it |
//! | `input NAME PATH` | each file of an attribute: digest and execute bit, under its base name |
//! | `env NAME`, `user`, `workdir`, `shell` | the chain's state, for kinds that run commands |
//! | `config` | the whole state, for kinds that write the image's configuration |
//! | `history` | what each step of the chain says that it does, for the same kinds: it is written beside the layers |
//! | `outputs` | the names of the files it makes |
//! | `join PLATFORM` | each export that it joins |
//!
//! A *static* key refers to other actions by their keys and is known before anything runs; a *content* key refers to
//! them by what they made. Both are made by the one function below, so that they cannot drift apart.

use std::collections::HashMap;
use std::fmt;

use imgbuild_cache::ActionKey;
use imgbuild_digest::{ContentHash, ContentHasher, Hash};
use imgbuild_model::{
    ActionRef, Artifact, AttributeSchema, KindSchema, LayerRef, Platform, Role, StateUse, Step, Value,
};
use serde::{Deserialize, Serialize};

use crate::graph::tool_of;
use crate::key_values::{by_key, hash_default, hash_plain, shown, shown_default};
use crate::{ActionNode, DebianPin, DebianRequest, InputDigest, KeyContext, PackageState, PinRequest};

/// The version of the table above: raised when the same inputs come to make another key.
pub const KEY_SCHEMA: u32 = 1;

/// The component that says what the steps below did; it follows from theirs.
pub(crate) const HISTORY: &str = "history";

/// What a key refers to another action by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Its key.
    Static(Hash),
    /// What it made.
    Output(Hash),
}

/// One component of a key: its name, the hash of its value, and the value itself where it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Which, as in the table of this module.
    pub name: String,
    /// The hash of its value.
    pub hash: Hash,
    /// The value in a few words, if it is local and not a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

/// What a key was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub Vec<Component>);

/// A component's name: what it is, of what, and which of several; written only where a person will read it.
#[derive(Clone, Copy)]
struct Name<'a> {
    what: &'static str,
    of: &'a str,
    which: &'a str,
}

impl From<&'static str> for Name<'_> {
    fn from(what: &'static str) -> Self {
        Self { what, of: "", which: "" }
    }
}

impl<'a> From<(&'static str, &'a str)> for Name<'a> {
    fn from((what, of): (&'static str, &'a str)) -> Self {
        Self { what, of, which: "" }
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        for text in [self.of, self.which] {
            if !text.is_empty() {
                write!(f, " {text}")?;
            }
        }
        Ok(())
    }
}

impl ContentHash for Name<'_> {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        let Self { what, of, which } = self;
        what.content_hash(hasher);
        of.content_hash(hasher);
        which.content_hash(hasher);
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is one on the stack at a time, and a box would cost each key an allocation"
)]
enum Sink {
    Key(ContentHasher),
    Fingerprint(Vec<Component>),
}

impl Sink {
    fn add<'a>(
        &mut self,
        name: impl Into<Name<'a>>,
        write: impl FnOnce(&mut ContentHasher),
        shown: impl FnOnce() -> Option<String>,
    ) {
        let name = name.into();
        match self {
            Self::Key(hasher) => {
                hasher.write_tag(1);
                name.content_hash(hasher);
                write(hasher);
            }
            Self::Fingerprint(components) => {
                let mut hasher = ContentHasher::new("imgbuild component");
                write(&mut hasher);
                components.push(Component { name: name.to_string(), hash: hasher.finish(), shown: shown() });
            }
        }
    }

    fn text<'a>(&mut self, name: impl Into<Name<'a>>, text: &str) {
        self.add(name, |hasher| text.content_hash(hasher), || Some(text.to_owned()));
    }

    fn key_under(head: Hash) -> Self {
        let mut hasher = ContentHasher::new("imgbuild action");
        head.content_hash(&mut hasher);
        Self::Key(hasher)
    }

    fn key(self) -> Option<ActionKey> {
        match self {
            Self::Key(mut hasher) => {
                hasher.write_tag(0);
                Some(ActionKey(hasher.finish()))
            }
            Self::Fingerprint(_) => None,
        }
    }
}

impl ContentHash for Reference {
    fn content_hash(&self, hasher: &mut ContentHasher) {
        match self {
            Self::Static(hash) => {
                hasher.write_tag(2);
                hash.content_hash(hasher);
            }
            Self::Output(hash) => {
                hasher.write_tag(3);
                hash.content_hash(hasher);
            }
        }
    }
}

/// The static key of an action, given those of the actions before it; `None` if it is unstable, or if the lock file
/// lacks something that it needs.
pub(crate) fn static_key(
    context: KeyContext<'_>,
    common: &Common<'_>,
    place: usize,
    known: &[Option<ActionKey>],
) -> Option<ActionKey> {
    let node = &context.graph.nodes[place];
    if node.impure().is_some() || node.prerequisites.iter().any(|needed| known[*needed].is_none()) {
        return None;
    }
    // Whatever a key refers to is a prerequisite, so it has a key here.
    let reference = |needed: usize| Reference::Static(known[needed].map_or(Hash([0; 32]), |key| key.0));
    debug_assert!(node.parent.is_none_or(|parent| node.prerequisites.contains(&parent)));
    let mut sink = Sink::key_under(common.head(context, node));
    encode(context, Some(common), node, &reference, &mut sink)?;
    sink.key()
}

/// The content key of an action, once each prerequisite's output is known.
///
/// `None` if the lock file lacks something that it needs.
#[must_use]
pub fn content_key(
    context: KeyContext<'_>,
    place: usize,
    output: &dyn Fn(usize) -> Hash,
) -> Option<ActionKey> {
    let node = &context.graph.nodes[place];
    let mut sink = Sink::key_under(head(context, node));
    encode(context, None, node, &|needed| Reference::Output(output(needed)), &mut sink)?;
    sink.key()
}

/// What a key is made from, by component. `reference` says what prerequisites are referred to by.
#[must_use]
pub fn fingerprint(
    context: KeyContext<'_>,
    place: usize,
    reference: &dyn Fn(usize) -> Reference,
) -> Fingerprint {
    let node = &context.graph.nodes[place];
    let mut sink = Sink::Fingerprint(Vec::new());
    encode_head(context, node, &mut sink);
    // A component that the lock file lacks is simply absent here.
    let _ = encode(context, None, node, reference, &mut sink);
    match sink {
        Sink::Fingerprint(components) => Fingerprint(components),
        Sink::Key(_) => Fingerprint::default(),
    }
}

/// What many actions of a graph have in common, hashed once for all of them: what every action of a kind and platform
/// begins with, and what the lock file's closures, which may be long, hold.
pub(crate) struct Common<'a> {
    heads: HashMap<HeadKey, Hash>,
    closures: HashMap<&'a DebianRequest, Hash>,
}

/// The kind, the builder, the platform, whether the action is the first of its chain.
type HeadKey = (&'static str, &'static str, Platform, bool);

fn head_key(node: &ActionNode) -> HeadKey {
    (node.schema.id, node.builder, node.platform(), node.parent.is_none())
}

impl<'a> Common<'a> {
    /// Of all actions of a graph.
    pub(crate) fn of(context: KeyContext<'a>) -> Self {
        let mut heads = HashMap::new();
        for node in &context.graph.nodes {
            heads.entry(head_key(node)).or_insert_with(|| head(context, node));
        }
        let closures = context.lock.debian_pins().map(|pin| (&pin.request, pin.identity())).collect();
        Self { heads, closures }
    }

    fn head(&self, context: KeyContext<'_>, node: &ActionNode) -> Hash {
        self.heads.get(&head_key(node)).copied().unwrap_or_else(|| head(context, node))
    }
}

/// What a locked closure holds.
fn identity(common: Option<&Common<'_>>, pin: &DebianPin) -> Hash {
    common.and_then(|common| common.closures.get(&pin.request).copied()).unwrap_or_else(|| pin.identity())
}

/// What all actions of a kind and platform have in common, with the kind's defaults: an attribute that has its default is
/// written nowhere else, so that it does not matter whether it was given.
fn head(context: KeyContext<'_>, node: &ActionNode) -> Hash {
    let mut sink = Sink::Key(ContentHasher::new("imgbuild action head"));
    encode_head(context, node, &mut sink);
    let keyed =
        node.schema.table().all_attributes().filter(|schema| schema.role.is_keyed(node.parent.is_none()));
    for schema in keyed {
        sink.add(("default", schema.name), |hasher| hash_default(schema.default, hasher), || None);
    }
    sink.key().map_or(Hash([0; 32]), |key| key.0)
}

fn encode_head(context: KeyContext<'_>, node: &ActionNode, sink: &mut Sink) {
    sink.add("schema", |hasher| KEY_SCHEMA.content_hash(hasher), || Some(KEY_SCHEMA.to_string()));
    sink.text("builder", context.builders.key(node.builder));
    sink.add(
        "kind",
        |hasher| {
            node.schema.id.content_hash(hasher);
            node.schema.key_version.content_hash(hasher);
        },
        || Some(format!("{}/{}", node.schema.id, node.schema.key_version)),
    );
    encode_tools(context, node.schema, sink);
    sink.add("platform", |hasher| node.platform().content_hash(hasher), || Some(node.platform().to_string()));
    if !context.salt.is_empty() {
        sink.text("salt", context.salt);
    }
}

/// Writes the programs of the host that a kind runs.
fn encode_tools(context: KeyContext<'_>, schema: &KindSchema, sink: &mut Sink) {
    for name in schema.tools {
        sink.text(("tool", *name), context.tools.version(name));
    }
}

/// Writes all that [`encode_head`] does not; `None` if the lock file lacks something.
fn encode(
    context: KeyContext<'_>,
    common: Option<&Common<'_>>,
    node: &ActionNode,
    reference: &dyn Fn(usize) -> Reference,
    sink: &mut Sink,
) -> Option<()> {
    let pinned = encode_source(context, common, node, sink)?;
    if let Some(parent) = node.parent {
        sink.add("parent", |hasher| reference(parent).content_hash(hasher), || None);
    }
    if node.changes_host() {
        // What it does is done to one place, and is nobody else's.
        sink.text("place", &node.label().to_string());
    }
    if let Some(tool) = node.tool() {
        sink.text("tool", context.tools.version(tool));
    }
    if let Some(chain) = &node.epoch {
        let id = context.lock.epoch(chain)?;
        sink.text("epoch", id);
    }
    encode_packages(context, common, node, reference, sink)?;
    let attributes = node.attributes();
    let first_of_chain = node.parent.is_none();
    for schema in node.schema.table().all_attributes() {
        // What a pinned source's attributes mean is in its pinned identity.
        if schema.role.is_keyed(first_of_chain) && !(pinned && schema.role == Role::Content) {
            encode_attribute(context, schema, attributes.get(schema.name), reference, sink, false);
        }
    }
    encode_machine(context, node, reference, sink);
    encode_state(context, node, sink);
    if !node.action.outputs.is_empty() {
        sink.add(
            "outputs",
            |hasher| node.action.outputs.as_slice().content_hash(hasher),
            || Some(node.action.outputs.join(" ")),
        );
    }
    for join in &node.action.joins {
        let platform = join.configuration.platform.to_string();
        sink.add(("join", &*platform), |hasher| refer(context, join, reference, hasher), || None);
    }
    Some(())
}

/// Writes what an action that a value names is referred to by.
fn refer(
    context: KeyContext<'_>,
    action: &ActionRef,
    reference: &dyn Fn(usize) -> Reference,
    hasher: &mut ContentHasher,
) {
    match context.graph.find(action) {
        Some(place) => reference(place).content_hash(hasher),
        // The graph holds all that its actions name; a reference out of it is in no key that is used.
        None => hasher.write_tag(0),
    }
}

/// Writes the identity of a source that has a pin. Gives whether it has one; `None` if the lock file lacks it.
fn encode_source(
    context: KeyContext<'_>,
    common: Option<&Common<'_>>,
    node: &ActionNode,
    sink: &mut Sink,
) -> Option<bool> {
    match node.source_pin() {
        Some(PinRequest::Debian(request)) => {
            let pin = context.lock.debian(&request)?;
            sink.add(
                "source",
                |hasher| identity(common, pin).content_hash(hasher),
                || Some(format!("{} {}, {} packages", request.distribution, pin.codename, pin.add.len())),
            );
            Some(true)
        }
        Some(PinRequest::Image(request)) => {
            let pin = context.lock.image(&request)?;
            sink.add(
                "source",
                |hasher| pin.digest.content_hash(hasher),
                || Some(format!("{}@{}", request.image, pin.digest)),
            );
            Some(true)
        }
        _ => Some(false),
    }
}

fn encode_packages(
    context: KeyContext<'_>,
    common: Option<&Common<'_>>,
    node: &ActionNode,
    reference: &dyn Fn(usize) -> Reference,
    sink: &mut Sink,
) -> Option<()> {
    match (node.schema.id, &node.packages) {
        ("apt_install", PackageState::Known(below)) => {
            let request = node.install_request(below);
            let pin = context.lock.debian(&request)?;
            sink.add(
                "packages",
                |hasher| identity(common, pin).content_hash(hasher),
                || {
                    Some(
                        pin.add
                            .iter()
                            .filter_map(|line| line.split(' ').next())
                            .collect::<Vec<_>>()
                            .join(" "),
                    )
                },
            );
        }
        ("apt_install", _) => {
            if let Some(resolve) = node.resolve {
                sink.add("packages", |hasher| reference(resolve).content_hash(hasher), || None);
            }
        }
        ("apt_resolve", PackageState::Unknown(request)) => {
            let pin = context.lock.index(request)?;
            sink.add(
                "index",
                |hasher| pin.files.content_hash(hasher),
                || Some(format!("{} {}", request.distribution, pin.codename)),
            );
        }
        _ => {}
    }
    Some(())
}

fn encode_attribute(
    context: KeyContext<'_>,
    schema: &AttributeSchema,
    value: Option<&Value>,
    reference: &dyn Fn(usize) -> Reference,
    sink: &mut Sink,
    in_step: bool,
) {
    let name = ("attribute", schema.name);
    match value {
        Some(value) if !schema.default.is_said_by(value) => {
            let shown = || if schema.secret { None } else { shown(value) };
            sink.add(name, |hasher| hash_plain(value, hasher), shown);
            encode_inputs(context, schema.name, value, reference, sink);
        }
        // In a key it is part of the kind's defaults.
        _ if matches!(sink, Sink::Key(_)) && !in_step => {}
        _ => sink.add(name, |hasher| hash_default(schema.default, hasher), || shown_default(schema.default)),
    }
}

/// Writes the files, layers and steps in a value.
fn encode_inputs(
    context: KeyContext<'_>,
    name: &str,
    value: &Value,
    reference: &dyn Fn(usize) -> Reference,
    sink: &mut Sink,
) {
    match value {
        Value::List(items) => {
            items.iter().for_each(|item| encode_inputs(context, name, item, reference, sink))
        }
        Value::Dict(entries) | Value::Struct(entries) => {
            by_key(entries)
                .iter()
                .for_each(|(_, value)| encode_inputs(context, name, value, reference, sink));
        }
        Value::Artifact(artifact) => {
            let component = Name { what: "input", of: name, which: artifact.base_name() };
            match artifact {
                Artifact::Source(file) => {
                    let digest = context.digests.get(&file.path);
                    sink.add(
                        component,
                        |hasher| match digest {
                            Some(digest) => digest.content_hash(hasher),
                            None => hasher.write_tag(0),
                        },
                        || digest.map(|digest| format!("{} {}", file.path, short(digest))),
                    );
                }
                Artifact::Output { action, name } => {
                    let write = |hasher: &mut ContentHasher| {
                        name.content_hash(hasher);
                        refer(context, action, reference, hasher);
                    };
                    sink.add(component, write, || None);
                }
            }
        }
        Value::Layer(LayerRef { action, .. }) => {
            // The other image's name says nothing about its bytes: it is in the name for people alone.
            let write = |hasher: &mut ContentHasher| refer(context, action, reference, hasher);
            match sink {
                Sink::Key(_) => sink.add(("input", name), write, || None),
                Sink::Fingerprint(_) => {
                    let label = action.label.to_string();
                    sink.add(Name { what: "input", of: name, which: &label }, write, || None);
                }
            }
        }
        Value::Step(step) => encode_step(context, name, step, reference, sink),
        _ => {}
    }
}

fn encode_step(
    context: KeyContext<'_>,
    name: &str,
    step: &Step,
    reference: &dyn Fn(usize) -> Reference,
    sink: &mut Sink,
) {
    let schema = imgbuild_kinds::find(step.kind.as_str());
    sink.add(
        ("kind", name),
        |hasher| {
            step.kind.as_str().content_hash(hasher);
            schema.map_or(0, |schema| schema.key_version).content_hash(hasher);
        },
        || Some(step.kind.as_str().to_owned()),
    );
    if let Some(schema) = schema {
        encode_tools(context, schema, sink);
        if let Some(tool) = tool_of(schema, &step.attributes) {
            sink.text(("tool", schema.id), context.tools.version(tool));
        }
    }
    for attribute in schema.into_iter().flat_map(|schema| schema.table().all_attributes()) {
        if attribute.role == Role::Content {
            encode_attribute(context, attribute, step.attributes.get(attribute.name), reference, sink, true);
        }
    }
}

/// Writes the machine that is started for a test. The layer below is the disk alone, which is one and the same however it is started.
fn encode_machine(
    context: KeyContext<'_>,
    node: &ActionNode,
    reference: &dyn Fn(usize) -> Reference,
    sink: &mut Sink,
) {
    let source = node.parent.and(node.chain_source).map(|place| &context.graph.nodes[place]);
    let Some(source) = source.filter(|source| source.schema.id == "boot") else { return };
    sink.text("machine", &source.schema.key_version.to_string());
    for schema in source.schema.table().all_attributes().filter(|schema| schema.role.is_keyed(true)) {
        // The disk is the layer.
        if let Some(value) = source.attributes().get(schema.name).filter(|_| schema.name != "disk") {
            encode_attribute(context, schema, Some(value), reference, sink, false);
        }
    }
}

fn encode_state(context: KeyContext<'_>, node: &ActionNode, sink: &mut Sink) {
    let state = &node.state;
    match node.schema.state {
        StateUse::None => {}
        StateUse::Commands => {
            for (name, value) in &state.env {
                sink.text(("env", &**name), value);
            }
            for (name, value) in [("user", &state.user), ("workdir", &state.workdir)] {
                if let Some(value) = value {
                    sink.text(name, value);
                }
            }
            if let Some(shell) = &state.shell {
                sink.add("shell", |hasher| shell.content_hash(hasher), || Some(shell.join(" ")));
            }
        }
        StateUse::Image => {
            sink.add("config", |hasher| state.content_hash(hasher), || serde_json::to_string(&**state).ok());
            sink.add(
                HISTORY,
                |hasher| {
                    context.graph.chain_below(node).for_each(|step| step.describe().content_hash(hasher));
                },
                || None,
            );
        }
    }
}

fn short(digest: &InputDigest) -> String {
    match digest {
        InputDigest::File { digest, executable } => {
            format!("{}{}", &digest.hex()[..12], if *executable { " (executable)" } else { "" })
        }
        InputDigest::Tree(hash) => hash.short(),
    }
}
