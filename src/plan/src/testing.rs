//! Graphs made by code, for tests: declared actions without a language, pins without an archive, digests without
//! files. What is not here: anything that a build uses.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use imgbuild_digest::Digest;
use imgbuild_model::{
    Action, ActionRef, Artifact, Attributes, ChainState, Configuration, Effect, KindId, Label, LayerRef,
    Location, PackagePath, Platform, Source, SourceFile, Step, Value, WorkspacePath,
};

use crate::{
    ActionGraph, Builders, DebianPin, ImagePin, IndexPin, InputDigest, InputDigests, KeyContext, LockFile,
    PinRequest, Tools, default_source_date,
};

/// Declares actions, each at the target that was named last.
#[derive(Clone, Debug)]
pub struct Declared {
    actions: BTreeMap<ActionRef, Arc<Action>>,
    counts: BTreeMap<(Label, Platform), u32>,
    target: Label,
    platform: Platform,
    /// Where the next action is said to stand.
    pub location: Location,
}

/// Attributes, by name and value.
pub type Given<'a> = &'a [(&'a str, Value)];

/// A label of the workspace's root package or an absolute one.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn label(text: &str) -> Label {
    Label::parse(text, &PackagePath::root()).expect("a test names a valid label")
}

/// A platform by its name.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn platform(name: &str) -> Platform {
    name.parse().expect("a test names a known platform")
}

/// A list of texts.
#[must_use]
pub fn texts(items: &[&str]) -> Value {
    Value::list(items.iter().map(|item| Value::string(item)))
}

/// A map from text to text, in this order.
#[must_use]
pub fn dict(items: &[(&str, &str)]) -> Value {
    Value::Dict(items.iter().map(|(key, value)| (Arc::from(*key), Value::string(value))).collect())
}

/// A file or folder of the workspace.
///
/// # Panics
/// If the path is no path of a workspace.
#[must_use]
pub fn file(path: &str) -> Value {
    let path = WorkspacePath::new(path).expect("a test names a valid path");
    Value::Artifact(Artifact::Source(SourceFile { label: label(&format!("//:{}", path.as_str())), path }))
}

/// The attributes with these values.
#[must_use]
pub fn attributes(given: Given<'_>) -> Attributes {
    given.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect()
}

/// A step as a value: a check of an `image_test`.
#[must_use]
pub fn step(kind: &str, given: Given<'_>) -> Value {
    Value::Step(Arc::new(Step {
        kind: KindId::new(kind),
        attributes: attributes(given),
        location: Location::default(),
    }))
}

/// What files are said to hold: path, contents, whether it may be executed.
///
/// # Panics
/// If a path is no path of a workspace.
#[must_use]
pub fn digests(files: &[(&str, &str, bool)]) -> InputDigests {
    files
        .iter()
        .map(|(path, contents, executable)| {
            let digest =
                InputDigest::File { digest: Digest::of(contents.as_bytes()), executable: *executable };
            (WorkspacePath::new(path).expect("a test names a valid path"), digest)
        })
        .collect()
}

/// Answers requests with pins that say nothing but `salt`.
pub fn answer(lock: &mut LockFile, requests: &[PinRequest], salt: &str) {
    for request in requests {
        match request.clone() {
            PinRequest::Debian(request) => {
                let sha256 = Digest::of(salt.as_bytes()).hex();
                let add = vec![format!("base-files 1{salt} amd64 {sha256} 12 pool/main/base-files.deb")];
                lock.set_debian(DebianPin {
                    archive: None,
                    request,
                    codename: "bookworm".to_owned(),
                    date: 1_700_000_000,
                    add,
                });
            }
            PinRequest::Image(request) => {
                let digest = format!("sha256:{}", Digest::of(salt.as_bytes()).hex());
                lock.set_image(ImagePin { request, digest, created: default_source_date() });
            }
            PinRequest::Index(request) => {
                let files = vec![format!("bookworm main/binary-amd64/Packages.xz {salt} 1")];
                lock.set_index(IndexPin {
                    archive: None,
                    request,
                    codename: "bookworm".to_owned(),
                    date: 1_700_000_000,
                    files,
                });
            }
            PinRequest::Epoch(chain) => lock.set_epoch(&chain, &format!("epoch{salt}")),
        }
    }
}

/// A lock file that has all that a graph looks up.
#[must_use]
pub fn locked(graph: &ActionGraph) -> LockFile {
    let mut lock = LockFile::default();
    for node in &graph.nodes {
        answer(&mut lock, &node.pins(), "");
    }
    lock
}

/// What keys are made from, with a builder and a salt that say nothing.
#[must_use]
pub fn context<'a>(graph: &'a ActionGraph, lock: &'a LockFile, digests: &'a InputDigests) -> KeyContext<'a> {
    static BUILDERS: LazyLock<Builders> = LazyLock::new(|| Builders::new(["rootfs/1", "qemu/1"]));
    static TOOLS: LazyLock<Tools> = LazyLock::new(Tools::default);
    KeyContext { graph, lock, digests, builders: &BUILDERS, tools: &TOOLS, salt: "" }
}

impl Default for Declared {
    fn default() -> Self {
        Self {
            actions: BTreeMap::new(),
            counts: BTreeMap::new(),
            target: label("//:image"),
            platform: platform("amd64"),
            location: Location::default(),
        }
    }
}

impl Declared {
    /// The target of the actions that follow.
    pub fn at(&mut self, target: &str) -> &mut Self {
        self.target = label(target);
        self
    }

    /// The platform of the actions that follow.
    pub fn on(&mut self, name: &str) -> &mut Self {
        self.platform = platform(name);
        self
    }

    /// Declares an action as it is.
    pub fn action(&mut self, action: Action) -> Arc<ActionRef> {
        let count = self.counts.entry((self.target.clone(), self.platform)).or_default();
        let configuration = Configuration { platform: self.platform, flags: Arc::default() };
        let reference = ActionRef { label: self.target.clone(), configuration, index: *count };
        *count += 1;
        self.actions.insert(reference.clone(), Arc::new(action));
        Arc::new(reference)
    }

    fn bare(&self, kind: &str, given: Given<'_>) -> Action {
        Action {
            kind: KindId::new(kind),
            source: None,
            parent: None,
            attributes: attributes(given),
            outputs: Vec::new(),
            joins: Vec::new(),
            location: self.location.clone(),
        }
    }

    /// Where a chain starts.
    pub fn source(&mut self, kind: &str, given: Given<'_>) -> LayerRef {
        let bare = self.bare(kind, given);
        let source = Source {
            kind: bare.kind.clone(),
            attributes: bare.attributes.clone(),
            location: bare.location.clone(),
        };
        let action = self.action(Action { source: Some(Arc::new(source)), ..bare });
        LayerRef { action, state: Arc::default() }
    }

    /// A step on a layer; one that only moves the state, such as `env`, declares no action.
    ///
    /// # Panics
    /// If there is no such kind.
    pub fn step(&mut self, on: &LayerRef, kind: &str, given: Given<'_>) -> LayerRef {
        let schema = imgbuild_kinds::find(kind).expect("a test names a known kind");
        if schema.effect == Effect::State {
            let location = self.location.clone();
            let step = Step { kind: KindId::new(kind), attributes: attributes(given), location };
            return LayerRef { action: on.action.clone(), state: Arc::new(on.state.after(&step)) };
        }
        let bare = self.bare(kind, given);
        let action = self.action(Action { parent: Some(on.clone()), ..bare });
        LayerRef { action, state: on.state.clone() }
    }

    /// What makes files: an export, a command, a test.
    pub fn output(
        &mut self,
        on: Option<&LayerRef>,
        kind: &str,
        given: Given<'_>,
        outputs: &[&str],
    ) -> Arc<ActionRef> {
        let bare = self.bare(kind, given);
        let outputs = outputs.iter().map(|name| Arc::from(*name)).collect();
        self.action(Action { parent: on.cloned(), outputs, ..bare })
    }

    /// Joins exports.
    pub fn join(&mut self, exports: &[&Arc<ActionRef>], output: &str) -> Arc<ActionRef> {
        let bare = self.bare("index", &[]);
        let joins = exports.iter().map(|export| (*export).clone()).collect();
        self.action(Action { joins, outputs: vec![output.into()], ..bare })
    }

    /// Changes an action that was declared.
    ///
    /// # Panics
    /// If it was not.
    pub fn change(&mut self, reference: &ActionRef, change: impl FnOnce(&mut Action)) {
        let action = self.actions.get_mut(reference).expect("a test changes what it declared");
        change(Arc::make_mut(action));
    }

    /// The graph of what is wanted, with its places there.
    ///
    /// # Panics
    /// If something does not fit.
    #[must_use]
    pub fn graph(&self, wanted: &[&Arc<ActionRef>]) -> (ActionGraph, Vec<usize>) {
        let find = |reference: &ActionRef| self.actions.get(reference).cloned();
        let graph = ActionGraph::of(wanted.iter().copied(), &find).expect("a test declares what it uses");
        let places = wanted.iter().filter_map(|reference| graph.find(reference)).collect();
        (graph, places)
    }
}

/// A file that an action makes, as an input.
#[must_use]
pub fn made(action: &Arc<ActionRef>, name: &str) -> Value {
    Value::Artifact(Artifact::Output { action: action.clone(), name: name.into() })
}

/// A layer with another state, as if set by steps before it.
#[must_use]
pub fn with_state(layer: &LayerRef, change: impl FnOnce(&mut ChainState)) -> LayerRef {
    let mut state = (*layer.state).clone();
    change(&mut state);
    LayerRef { action: layer.action.clone(), state: Arc::new(state) }
}
