//! Merging of layers, against the tree crate's own merge and against itself.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use imgbuild_digest::Digest;
use imgbuild_formats::{LayerSource, TreeView, ViewNode};
use imgbuild_tree::{DeltaManifest, Entry, Metadata, Node, TreePath};
use proptest::prelude::*;

use crate::fixture::path;

fn metadata(tag: u8) -> Metadata {
    Metadata { mode: 0o600 + u32::from(tag), ..Metadata::default() }
}

fn file(tag: u8) -> Node {
    Node::File { digest: Digest::of(&[tag]), sha256: [tag; 32], metadata: metadata(tag) }
}

/// A view as a manifest, for comparison.
fn manifest(view: &TreeView<'_>) -> DeltaManifest {
    let node = |node: ViewNode<'_>| match node {
        ViewNode::Whiteout => Node::Whiteout,
        ViewNode::Directory { opaque, metadata } => Node::Directory { opaque, metadata: metadata.clone() },
        ViewNode::File(file) => {
            Node::File { digest: file.digest, sha256: file.sha256, metadata: file.metadata.clone() }
        }
        ViewNode::HardLink { target, .. } => Node::HardLink { target: target.clone() },
        ViewNode::SymbolicLink { target, metadata } => {
            Node::SymbolicLink { target: target.into(), metadata: metadata.clone() }
        }
        ViewNode::Fifo { metadata } => Node::Fifo { metadata: metadata.clone() },
        ViewNode::Device { block, major, minor, metadata } => {
            Node::Device { block, major, minor, metadata: metadata.clone() }
        }
    };
    let entries = view
        .entries()
        .iter()
        .map(|entry| Entry { path: entry.path.clone().into_owned(), node: node(entry.node) })
        .collect();
    DeltaManifest { entries }
}

fn sources(layers: &[DeltaManifest]) -> Vec<LayerSource<'_>> {
    layers.iter().map(|manifest| LayerSource { manifest, tree: Path::new("/nowhere") }).collect()
}

fn merged(layers: &[DeltaManifest]) -> DeltaManifest {
    let layers: Vec<_> = layers.iter().cloned().map(Arc::new).collect();
    let entries = imgbuild_tree::merge(&layers);
    DeltaManifest {
        entries: entries
            .into_iter()
            .map(|entry| Entry { path: entry.path, node: entry.node.into_owned() })
            .collect(),
    }
}

/// What a random change wants at a path.
#[derive(Clone, Debug)]
enum Wish {
    File(u8),
    Link,
    Folder(u8),
    OpaqueFolder(u8),
    Remove,
}

fn wishes() -> impl Strategy<Value = Vec<(String, Wish)>> {
    let name = prop::sample::select(vec!["a", "a-", "b"]);
    let path = prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    let wish = prop_oneof![
        3 => (0..200_u8).prop_map(Wish::File),
        1 => Just(Wish::Link),
        2 => (0..200_u8).prop_map(Wish::Folder),
        1 => (0..200_u8).prop_map(Wish::OpaqueFolder),
        2 => Just(Wish::Remove),
    ];
    prop::collection::vec((path, wish), 0..7)
}

/// Makes a layer of wishes that is possible over what is there, and brings `there` (path to whether it is a folder) up
/// to date.
fn layer(wishes: Vec<(String, Wish)>, there: &mut BTreeMap<String, bool>) -> DeltaManifest {
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for (path, wish) in wishes {
        let ancestors: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).collect();
        // One change to a path and its surroundings in one layer keeps it a change that overlayfs could have made.
        let clashes = nodes.keys().any(|other| {
            other == &path
                || other.starts_with(&format!("{path}/"))
                || (ancestors.contains(&other.as_str()) && !matches!(nodes[other], Node::Directory { .. }))
        });
        // Whether a folder of this layer hides what the layers below have in it.
        let hides = |folder: &str| match nodes.get(folder) {
            Some(Node::Directory { opaque, .. }) => *opaque || there.get(folder) != Some(&true),
            _ => false,
        };
        let possible = ancestors.iter().enumerate().all(|(depth, folder)| {
            matches!(nodes.get(*folder), Some(Node::Directory { .. }))
                || (there.get(*folder) == Some(&true) && !ancestors[..depth].iter().any(|above| hides(above)))
        });
        if clashes || !possible {
            continue;
        }
        let hidden = ancestors.iter().any(|folder| hides(folder));
        let node = match wish {
            Wish::File(tag) => file(tag),
            Wish::Link => {
                let first = nodes.iter().find(|(_, node)| matches!(node, Node::File { .. }));
                match first {
                    Some((target, _)) if *target < path => Node::HardLink { target: self::path(target) },
                    _ => file(201),
                }
            }
            Wish::Folder(tag) => {
                // Over something else than a folder, overlayfs' new folder hides whatever was below that.
                let opaque = !hidden && there.get(&path) == Some(&false);
                Node::Directory { opaque, metadata: metadata(tag) }
            }
            Wish::OpaqueFolder(tag) => Node::Directory { opaque: !hidden, metadata: metadata(tag) },
            Wish::Remove if hidden || !there.contains_key(&path) => continue,
            Wish::Remove => Node::Whiteout,
        };
        nodes.insert(path, node);
    }
    for (path, node) in &nodes {
        let keeps_contents =
            matches!(node, Node::Directory { opaque: false, .. }) && there.get(path) == Some(&true);
        if !keeps_contents {
            there.retain(|other, _| !other.starts_with(&format!("{path}/")) || nodes.contains_key(other));
        }
        match node {
            Node::Whiteout => there.remove(path),
            node => there.insert(path.clone(), matches!(node, Node::Directory { .. })),
        };
    }
    let entries = nodes.into_iter().map(|(path, node)| Entry { path: self::path(&path), node }).collect();
    DeltaManifest { entries }
}

fn layers() -> impl Strategy<Value = Vec<DeltaManifest>> {
    prop::collection::vec(wishes(), 1..7).prop_map(|all| {
        let mut there = BTreeMap::new();
        all.into_iter().map(|wishes| layer(wishes, &mut there)).collect()
    })
}

/// Cuts `0..count` after each layer whose bit is set.
fn cuts(count: usize, bits: u32) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for layer in 0..count {
        if bits & (1 << layer) != 0 || layer + 1 == count {
            ranges.push(start..layer + 1);
            start = layer + 1;
        }
    }
    ranges
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_squash_is_what_the_tree_crate_merges(layers in layers()) {
        let view = TreeView::squash(&sources(&layers), None).unwrap();
        prop_assert_eq!(manifest(&view), merged(&layers));
    }

    #[test]
    fn layers_joined_in_groups_show_the_same_tree(layers in layers(), bits in any::<u32>()) {
        let groups = TreeView::groups(&sources(&layers), &cuts(layers.len(), bits), None).unwrap();
        let joined: Vec<DeltaManifest> = groups.iter().map(manifest).collect();
        prop_assert_eq!(merged(&joined), merged(&layers));
        // Every archive by itself has the folders above each of its entries.
        for manifest in &joined {
            for entry in &manifest.entries {
                let parent = entry.path.parent().filter(|parent| !parent.is_root());
                let known = |parent: &TreePath| manifest.entries.iter().any(|other| other.path == *parent);
                prop_assert!(parent.as_ref().is_none_or(known), "{:?}", entry.path);
            }
        }
    }
}

#[test]
fn an_implied_folder_is_as_the_layers_below_left_it() {
    let folder = |tag| Node::Directory { opaque: false, metadata: metadata(tag) };
    let entry = |text: &str, node| Entry { path: path(text), node };
    let layers = [
        DeltaManifest { entries: vec![entry("etc", folder(1)), entry("etc/apt", folder(2))] },
        DeltaManifest { entries: vec![entry("etc", folder(3))] },
        DeltaManifest { entries: vec![entry("etc/apt/new", file(4))] },
    ];
    let views = TreeView::groups(&sources(&layers), &[0..1, 1..2, 2..3], None).unwrap();
    let expected = vec![entry("etc", folder(3)), entry("etc/apt", folder(2)), entry("etc/apt/new", file(4))];
    assert_eq!(manifest(&views[2]).entries, expected);
}

#[test]
fn what_is_left_out_takes_what_is_below_it_along() {
    let folder = |tag| Node::Directory { opaque: false, metadata: metadata(tag) };
    let entry = |text: &str, node| Entry { path: path(text), node };
    let layers = [
        DeltaManifest {
            entries: vec![
                entry("tmp", folder(1)),
                entry("tmp-2", file(9)),
                entry("tmp/a", folder(1)),
                entry("tmp/a/b", file(1)),
            ],
        },
        // The folder itself is not in this layer, and is asked for all the same.
        DeltaManifest { entries: vec![entry("tmp/a/c", file(2)), entry("tmp/a/b", Node::Whiteout)] },
    ];
    let leave_out = |path: &TreePath| path.parent().is_some_and(|parent| parent.as_bytes() == b"tmp");
    let views = TreeView::groups(&sources(&layers), &[0..1, 1..2], Some(&leave_out)).unwrap();
    assert_eq!(manifest(&views[0]).entries, vec![entry("tmp", folder(1)), entry("tmp-2", file(9))]);
    assert!(views[1].is_empty());
}

#[test]
fn a_hard_link_whose_first_name_is_gone_becomes_the_file() {
    let entry = |text: &str, node| Entry { path: path(text), node };
    let link = |target: &str| Node::HardLink { target: path(target) };
    let layers = [
        DeltaManifest { entries: vec![entry("a", file(1)), entry("b", link("a")), entry("c", link("a"))] },
        DeltaManifest { entries: vec![entry("a", file(2))] },
    ];
    let view = TreeView::squash(&sources(&layers), None).unwrap();
    let expected = vec![entry("a", file(2)), entry("b", file(1)), entry("c", link("b"))];
    assert_eq!(manifest(&view).entries, expected);
    let Some(ViewNode::File(found)) = view.get(b"c") else { panic!("no file") };
    assert_eq!(found.source.as_bytes(), b"a");
}
