//! What keys are made from besides the actions themselves: the graph, the lock file, what files hold, and which builders and programs
//! there are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{ActionGraph, ActionNode, InputDigests, LockFile};

/// What keys are made from besides the action itself.
#[derive(Clone, Copy)]
pub struct KeyContext<'a> {
    /// The graph.
    pub graph: &'a ActionGraph,
    /// The lock file.
    pub lock: &'a LockFile,
    /// The digests of the workspace's files.
    pub digests: &'a InputDigests,
    /// The builders, with their versions.
    pub builders: &'a Builders,
    /// The programs of this host that carry actions out, with their versions.
    pub tools: &'a Tools,
    /// The workspace's salt.
    pub salt: &'a str,
}

/// The builders that there are: what each is called in keys, with its version, as `rootfs/1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Builders(BTreeMap<&'static str, Arc<str>>);

impl Builders {
    /// Those of these keys; the name of each is what stands before the `/`.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = &'static str>) -> Self {
        let named = |key: &'static str| (key.split('/').next().unwrap_or(key), key.into());
        Self(keys.into_iter().map(named).collect())
    }

    /// What a builder is called in keys: its name alone, if there is no such builder.
    #[must_use]
    pub fn key<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, |key| &**key)
    }
}

/// The program of this host that a step names: a path is one of the workspace, wherever the step runs it, and a name without a `/` is
/// looked for on the path.
#[must_use]
pub fn program_path(name: &str, workspace: &Path) -> PathBuf {
    if name.contains('/') { workspace.join(name) } else { PathBuf::from(name) }
}

/// What programs of this host say of their versions, by their names as steps write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools(BTreeMap<String, String>);

impl Tools {
    /// Those that the keys of a graph need; `ask` is called once for each.
    pub fn of(graph: &ActionGraph, mut ask: impl FnMut(&str) -> String) -> Self {
        let mut all = BTreeMap::new();
        // What is never kept has no key.
        for name in graph.nodes.iter().filter(|node| node.impure().is_none()).flat_map(ActionNode::tools) {
            if !all.contains_key(name) {
                all.insert(name.to_owned(), ask(name));
            }
        }
        Self(all)
    }

    /// What one says; nothing, if it is none of them.
    pub(crate) fn version(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// What a [`KeyContext`] borrows, for those who hold it.
#[derive(Clone, Debug)]
pub struct KeyInputs {
    /// The graph.
    pub graph: Arc<ActionGraph>,
    /// The lock file.
    pub lock: Arc<LockFile>,
    /// The digests of the workspace's files.
    pub digests: Arc<InputDigests>,
    /// The builders, with their versions.
    pub builders: Arc<Builders>,
    /// The programs of this host that carry actions out, with their versions.
    pub tools: Arc<Tools>,
    /// The workspace's salt.
    pub salt: Arc<str>,
}

impl KeyInputs {
    /// What keys are made from.
    #[must_use]
    pub fn context(&self) -> KeyContext<'_> {
        KeyContext {
            graph: &self.graph,
            lock: &self.lock,
            digests: &self.digests,
            builders: &self.builders,
            tools: &self.tools,
            salt: &self.salt,
        }
    }
}
