//! `merge`, `squash` and `MergedView` against plain trees: a random history of trees is turned into deltas, and the
//! deltas must show the trees again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imgbuild_digest::Digest;
use imgbuild_tree::{
    DeltaManifest, Entry, MergedView, Metadata, Node, ParentView as _, TreePath, merge, squash,
};
use proptest::prelude::*;

/// What stands at a path of a plain tree. Files of one group are names of one file, whose contents are the group.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Folder(u8),
    File(u8),
    Linked(u8),
}

type Tree = BTreeMap<String, Thing>;

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        4 => (0..2u8).prop_map(Thing::Folder),
        3 => (0..3u8).prop_map(Thing::File),
        2 => (0..2u8).prop_map(Thing::Linked),
    ]
}

/// A tree whose every folder is there: what stands below something else is left out.
fn tree() -> impl Strategy<Value = Tree> {
    let path = proptest::collection::vec("(a|b|a-b)", 1..4).prop_map(|parts| parts.join("/"));
    proptest::collection::btree_map(path, thing(), 0..16).prop_map(|things| {
        let mut tree = Tree::new();
        for (path, thing) in things {
            let has_folder = match path.rsplit_once('/') {
                None => true,
                Some((parent, _)) => matches!(tree.get(parent), Some(Thing::Folder(_))),
            };
            if has_folder {
                tree.insert(path, thing);
            }
        }
        tree
    })
}

/// A tree, and which of its folders a step would have removed and made anew.
fn history() -> impl Strategy<Value = Vec<(Tree, BTreeSet<String>)>> {
    let replaced = proptest::collection::btree_set(
        proptest::collection::vec("(a|b|a-b)", 1..3).prop_map(|parts| parts.join("/")),
        0..2,
    );
    proptest::collection::vec((tree(), replaced), 1..6)
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn is_below(folders: &BTreeSet<String>, at: &str) -> bool {
    folders.iter().any(|folder| at.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/')))
}

fn node(thing: &Thing, opaque: bool) -> Node {
    match thing {
        Thing::Folder(mode) => Node::Directory { opaque, metadata: Metadata::of_root(u32::from(*mode), 0) },
        Thing::File(contents) => {
            Node::File { digest: Digest::of(&[*contents]), sha256: [0; 32], metadata: Metadata::default() }
        }
        Thing::Linked(group) => {
            Node::File { digest: Digest::of(&[0xff, *group]), sha256: [0; 32], metadata: Metadata::default() }
        }
    }
}

fn group_of(tree: &Tree, group: u8) -> BTreeSet<&String> {
    tree.iter().filter(|(_, thing)| **thing == Thing::Linked(group)).map(|(path, _)| path).collect()
}

/// What a capture would write for the step from `old` to `new`.
fn delta(old: &Tree, new: &Tree, replaced: &BTreeSet<String>) -> DeltaManifest {
    let replaced: BTreeSet<String> = replaced
        .iter()
        .filter(|at| {
            matches!((old.get(*at), new.get(*at)), (Some(Thing::Folder(_)), Some(Thing::Folder(_))))
                && !is_below(replaced, at)
        })
        .cloned()
        .collect();
    let old_at = |at: &String| if is_below(&replaced, at) { None } else { old.get(at) };
    let mut entries = BTreeMap::new();
    for (at, thing) in new {
        let opaque = replaced.contains(at);
        let changed = match thing {
            Thing::Linked(group) => {
                let names = group_of(new, *group);
                let same = names.iter().all(|name| old_at(name) == Some(thing));
                if !same && names.first() != Some(&at) {
                    let target = path(names.first().unwrap());
                    entries.insert(path(at), Node::HardLink { target });
                    continue;
                }
                !same
            }
            _ => opaque || old_at(at) != Some(thing),
        };
        if changed {
            entries.insert(path(at), node(thing, opaque));
        }
    }
    for at in old.keys() {
        let parent_is_left =
            at.rsplit_once('/').is_none_or(|(parent, _)| matches!(new.get(parent), Some(Thing::Folder(_))));
        if !new.contains_key(at) && parent_is_left && !is_below(&replaced, at) {
            entries.insert(path(at), Node::Whiteout);
        }
    }
    DeltaManifest { entries: entries.into_iter().map(|(path, node)| Entry { path, node }).collect() }
}

/// A tree in one form, whether it comes from a model or from deltas: each node with the names it shares.
fn plain(tree: &Tree) -> Vec<(TreePath, Node, BTreeSet<TreePath>)> {
    let mut all: Vec<_> = tree
        .iter()
        .map(|(at, thing)| {
            let names = match thing {
                Thing::Linked(group) => group_of(tree, *group).into_iter().map(|name| path(name)).collect(),
                _ => BTreeSet::from([path(at)]),
            };
            (path(at), node(thing, false), names)
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

fn merged(layers: &[Arc<DeltaManifest>]) -> Vec<(TreePath, Node, BTreeSet<TreePath>)> {
    let entries = merge(layers);
    let carrier = |path: &TreePath, node: &Node| match node {
        Node::HardLink { target } => target.clone(),
        _ => path.clone(),
    };
    entries
        .iter()
        .map(|entry| {
            let carrier_here = carrier(&entry.path, &entry.node);
            let file = entries.iter().find(|other| other.path == carrier_here).unwrap();
            assert!(file.path <= entry.path, "a link points to a later name");
            let names = entries
                .iter()
                .filter(|other| carrier(&other.path, &other.node) == carrier_here)
                .map(|other| other.path.clone())
                .collect();
            (entry.path.clone(), file.node.clone().into_owned(), names)
        })
        .collect()
}

fn deltas(history: &[(Tree, BTreeSet<String>)]) -> Vec<Arc<DeltaManifest>> {
    let empty = Tree::new();
    let before = std::iter::once(&empty).chain(history.iter().map(|(tree, _)| tree));
    before.zip(history).map(|(old, (new, replaced))| Arc::new(delta(old, new, replaced))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn deltas_show_the_tree_that_they_were_made_from(history in history()) {
        let layers = deltas(&history);
        for layer in &layers {
            prop_assert_eq!(layer.validate(), Ok(()));
        }
        for end in 0..=layers.len() {
            let expected = end.checked_sub(1).map(|last| plain(&history[last].0)).unwrap_or_default();
            prop_assert_eq!(merged(&layers[..end]), expected);
        }
    }

    #[test]
    fn lookups_agree_with_the_tree(history in history()) {
        let layers = deltas(&history);
        let view = MergedView::new(&layers);
        let last = &history[history.len() - 1].0;
        let everything: BTreeSet<&String> = history.iter().flat_map(|(tree, _)| tree.keys()).collect();
        for at in everything {
            let found = view.lookup(&path(at)).map(|found| match found {
                Node::Directory { metadata, .. } => Node::Directory { opaque: false, metadata },
                other => other,
            });
            prop_assert_eq!(found, last.get(at).map(|thing| node(thing, false)), "{}", at);
            prop_assert_eq!(view.link_group(&path(at)).is_some(), last.contains_key(at));
        }
        for (at, thing) in last {
            let Thing::Linked(group) = thing else { continue };
            for other in group_of(last, *group) {
                prop_assert_eq!(view.link_group(&path(at)), view.link_group(&path(other)));
            }
        }
    }

    #[test]
    fn squashing_any_part_changes_nothing(history in history(), from in 0..6usize, count in 0..6usize) {
        let layers = deltas(&history);
        let from = from.min(layers.len());
        let to = (from + count).min(layers.len());
        let squashed = squash(&layers[from..to]);
        prop_assert_eq!(squashed.validate(), Ok(()));
        let mut fewer = layers[..from].to_vec();
        fewer.push(Arc::new(squashed));
        fewer.extend_from_slice(&layers[to..]);
        prop_assert_eq!(merged(&fewer), merged(&layers));
        if to == from + 1 {
            prop_assert_eq!(&*fewer[from], &*layers[from]);
        }
    }
}

#[test]
fn a_file_hides_a_folder_further_down_even_under_a_new_folder() {
    let folder = |opaque| Node::Directory { opaque, metadata: Metadata::default() };
    let layer = |entries: Vec<(&str, Node)>| {
        let entries = entries.into_iter().map(|(at, node)| Entry { path: path(at), node }).collect();
        Arc::new(DeltaManifest { entries })
    };
    let file = node(&Thing::File(1), false);
    let layers = [
        layer(vec![("d", folder(false)), ("d/hidden", file.clone())]),
        layer(vec![("d", file.clone())]),
        layer(vec![("d", folder(false)), ("d/new", file.clone())]),
    ];
    let view = MergedView::new(&layers);
    assert_eq!(view.lookup(&path("d/hidden")), None);
    assert_eq!(view.lookup(&path("d/new")), Some(file.clone()));
    assert_eq!(
        squash(&layers[1..]),
        *layer(vec![("d", folder(true)), ("d/new", file)]),
        "the mark must hide what the file has hidden"
    );
    let names: Vec<(TreePath, usize)> =
        merge(&layers).into_iter().map(|entry| (entry.path, entry.layer)).collect();
    assert_eq!(names, [(path("d"), 2), (path("d/new"), 2)]);
}

#[test]
fn a_link_whose_first_name_is_gone_becomes_the_file() {
    let file = node(&Thing::Linked(0), false);
    let link = || Node::HardLink { target: path("a") };
    let entries = |list: Vec<(&str, Node)>| {
        let entries = list.into_iter().map(|(at, node)| Entry { path: path(at), node }).collect();
        Arc::new(DeltaManifest { entries })
    };
    let layers = [
        entries(vec![("a", file.clone()), ("b", link()), ("c", link())]),
        entries(vec![("a", Node::Whiteout)]),
    ];
    let merged: Vec<(TreePath, Node)> =
        merge(&layers).into_iter().map(|entry| (entry.path, entry.node.into_owned())).collect();
    assert_eq!(merged, [(path("b"), file.clone()), (path("c"), Node::HardLink { target: path("b") })]);
    assert_eq!(MergedView::new(&layers).lookup(&path("c")), Some(file));
}
