//! Actions as analysis declares them: not yet keyed, nothing read.

use std::sync::Arc;

use crate::{Attributes, ChainState, Configuration, KindId, Label, Location, Source, WorkspacePath};

/// One action of a target's analysis, by its place among that target's actions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionRef {
    /// The target.
    pub label: Label,
    /// What it was analyzed for.
    pub configuration: Configuration,
    /// Its place among the target's actions, from 0. Actions of a `combine` function follow after [`Self::COMBINED`].
    pub index: u32,
}

impl ActionRef {
    /// The index of the first action that joins a target's platforms.
    pub const COMBINED: u32 = 1 << 31;
}

/// A layer: what an action leaves, and the state of the chain there. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerRef {
    /// The action whose layer it is.
    pub action: Arc<ActionRef>,
    /// Environment, user, configuration at this point.
    pub state: Arc<ChainState>,
}

/// A file or folder of the workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceFile {
    /// Its label.
    pub label: Label,
    /// Where it is.
    pub path: WorkspacePath,
}

/// A file that an action reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Artifact {
    /// A file or folder of the workspace.
    Source(SourceFile),
    /// A file or folder that another action makes.
    Output {
        /// That action.
        action: Arc<ActionRef>,
        /// The name that it was declared under.
        name: Arc<str>,
    },
}

impl Artifact {
    /// The last component of its path.
    #[must_use]
    pub fn base_name(&self) -> &str {
        let path = match self {
            Self::Source(file) => file.path.as_str(),
            Self::Output { name, .. } => name,
        };
        path.rsplit('/').next().unwrap_or_default()
    }
}

/// Something to do: a kind with its attributes, on a parent.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Its kind.
    pub kind: KindId,
    /// Where its chain starts, for the action that makes a source's layer.
    pub source: Option<Arc<Source>>,
    /// The layer that it stands on, or in whose tree it works.
    pub parent: Option<LayerRef>,
    /// Its attributes: labels have become artifacts and layers.
    pub attributes: Attributes,
    /// The files it makes, by the names under which others refer to them.
    pub outputs: Vec<Arc<str>>,
    /// For an action that joins several platforms: their exports, in order.
    pub joins: Vec<Arc<ActionRef>>,
    /// Where it was written.
    pub location: Location,
}
