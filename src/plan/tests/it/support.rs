//! What the tests share.

use std::path::Path;
use std::sync::OnceLock;

use imgbuild_cache::{ActionKey, Cache};
use imgbuild_digest::Hash;
use imgbuild_plan::{ActionGraph, KeyContext, PlanOptions, content_key, plan};

/// A folder that lives in memory where there is one.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// A cache in which nothing is.
pub fn empty_cache() -> &'static Cache {
    static EMPTY: OnceLock<(tempfile::TempDir, Cache)> = OnceLock::new();
    let (_, cache) = EMPTY.get_or_init(|| {
        let folder = folder();
        let cache = Cache::open(folder.path()).unwrap();
        (folder, cache)
    });
    cache
}

/// The keys of an action by what its prerequisites are called and by what they made. The first is absent if it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    pub fixed: Option<ActionKey>,
    pub content: ActionKey,
}

/// The keys of the action at `place`.
pub fn keys(context: KeyContext<'_>, place: usize) -> Keys {
    let planned = plan(context, &[], empty_cache(), &PlanOptions::default()).unwrap();
    assert_eq!(planned.needs, [], "the lock file of a test is whole");
    let output = |needed: usize| Hash::of(format!("output of {needed}").as_bytes());
    Keys { fixed: planned.actions[place].key, content: content_key(context, place, &output).unwrap() }
}

/// The place of the only action of a kind.
pub fn place_of(graph: &ActionGraph, kind: &str) -> usize {
    let places: Vec<usize> =
        (0..graph.nodes.len()).filter(|place| graph.nodes[*place].schema.id == kind).collect();
    assert_eq!(places.len(), 1, "`{kind}` is there once");
    places[0]
}
