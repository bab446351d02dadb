//! Whole stacks of deltas: the final tree that they show, and one delta in place of several.
//!
//! What is not here: reading or writing files. A caller finds a file's bytes at the same path in the tree of the
//! layer that [`MergedEntry::layer`] names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use crate::view::{Found, MergedView};
use crate::{DeltaManifest, Entry, Node, TreePath};

/// One path of the final tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedEntry<'a> {
    /// Where.
    pub path: TreePath,
    /// What stands there: never a whiteout, and no folder is opaque. A hard link points to the name in the *final*
    /// tree that sorts first, which carries the file.
    pub node: Cow<'a, Node>,
    /// The index of the layer that it comes from, counted from the lowest. Its tree has it at the same path.
    pub layer: usize,
}

/// The final tree that a stack of deltas shows, the lowest delta first: what a squashed image holds, in rising byte
/// order of path. Folders therefore come before what is in them.
#[must_use]
pub fn merge(layers: &[Arc<DeltaManifest>]) -> Vec<MergedEntry<'_>> {
    let view = MergedView::new(layers);
    let mut entries: Vec<MergedEntry<'_>> = on_top(&view)
        .into_iter()
        .filter_map(|(path, found)| {
            let node = match view.node(found.layer, found.entry) {
                Node::Whiteout => return None,
                Node::Directory { opaque: true, metadata } => {
                    Cow::Owned(Node::Directory { opaque: false, metadata: metadata.clone() })
                }
                node => Cow::Borrowed(node),
            };
            Some(MergedEntry { path, node, layer: found.layer })
        })
        .collect();
    relink(&view, entries.iter_mut().map(|entry| (&entry.path, entry.layer, &mut entry.node)));
    entries
}

/// One delta that has the effect of `layers` on whatever lies below them, the lowest first.
///
/// It is canonical for what is known here; since the layers further down are not, a folder that replaced something
/// is marked opaque even where nothing was to be hidden.
#[must_use]
pub fn squash(layers: &[Arc<DeltaManifest>]) -> DeltaManifest {
    let view = MergedView::new(layers);
    let mut entries: Vec<(TreePath, usize, Cow<'_, Node>)> = on_top(&view)
        .into_iter()
        .filter_map(|(path, found)| {
            let node = match view.node(found.layer, found.entry) {
                // Below a folder that hides everything there is nothing to remove.
                Node::Whiteout if found.below_hidden => return None,
                Node::Directory { metadata, .. } => Cow::Owned(Node::Directory {
                    // Below an opaque folder a second mark would say nothing.
                    opaque: found.hides && !found.below_hidden,
                    metadata: metadata.clone(),
                }),
                node => Cow::Borrowed(node),
            };
            Some((path, found.layer, node))
        })
        .collect();
    relink(&view, entries.iter_mut().map(|(path, layer, node)| (&*path, *layer, node)));
    DeltaManifest {
        entries: entries.into_iter().map(|(path, _, node)| Entry { path, node: node.into_owned() }).collect(),
    }
}

/// The visible entry of every path, sorted by path.
fn on_top(view: &MergedView<'_>) -> Vec<(TreePath, Found)> {
    let mut paths: Vec<&TreePath> = view.paths().collect();
    paths.par_sort_unstable();
    paths
        .into_par_iter()
        .filter_map(|path| view.find(path.as_bytes()).map(|found| (path.clone(), found)))
        .collect()
}

/// Lets the first name that is left of each hard-link group carry the file, and the others point to it.
fn relink<'a, 'e>(
    view: &MergedView<'a>,
    entries: impl Iterator<Item = (&'e TreePath, usize, &'e mut Cow<'a, Node>)>,
) where
    'a: 'e,
{
    let mut carriers: BTreeMap<(usize, TreePath), TreePath> = BTreeMap::new();
    for (path, layer, node) in entries {
        let Node::HardLink { target } = &**node else { continue };
        let group = (layer, target.clone());
        match carriers.get(&group) {
            Some(carrier) if carrier == target => {}
            Some(carrier) => *node = Cow::Owned(Node::HardLink { target: carrier.clone() }),
            None => {
                let first_is_left = view.find(target.as_bytes()).is_some_and(|found| found.layer == layer);
                let carrier = if first_is_left { target } else { path };
                let carrier = carrier.clone();
                if !first_is_left && let Some(file) = view.layer(layer).get(target) {
                    *node = Cow::Borrowed(file);
                }
                carriers.insert(group, carrier);
            }
        }
    }
}
