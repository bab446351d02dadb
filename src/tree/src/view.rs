//! What a stack of deltas shows, path by path, by overlayfs' rules.
//!
//! A path is looked up in the highest delta that has it, unless a delta in between hides it: a whiteout, anything
//! that is no folder, or an opaque folder at the path itself or above it. A file hides a folder of a lower delta
//! even when a folder stands there again higher up. What is not here: any reading of files.

use std::sync::{Arc, OnceLock};

// Faster than the standard library's for short keys, and a first lookup hashes every path of a stack.
use hashbrown::HashMap;

use crate::{DeltaManifest, Node, TreePath};

/// What the layers below a delta show.
pub trait ParentView: Sync {
    /// What is visible at `path`. Never a [`Node::Whiteout`], and never a [`Node::HardLink`]: a further name of a
    /// file is returned as the file itself.
    fn lookup(&self, path: &TreePath) -> Option<Node>;

    /// Which hard-link group the file at `path` belongs to, so that two names can be told to be one file. `None` if
    /// nothing is visible there.
    fn link_group(&self, path: &TreePath) -> Option<LinkGroup>;
}

/// Names one file of a stack: two paths with equal groups are one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkGroup {
    /// The index of the delta, counted from the lowest.
    pub layer: usize,
    /// The name that sorts first in that delta.
    pub first: TreePath,
}

/// Nothing below: the parent of a first layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyView;

impl ParentView for EmptyView {
    fn lookup(&self, _: &TreePath) -> Option<Node> {
        None
    }

    fn link_group(&self, _: &TreePath) -> Option<LinkGroup> {
        None
    }
}

/// The view of an ordered list of deltas, the lowest first.
///
/// The index over all their paths is built at the first lookup; one lookup then costs a hash probe for each
/// component of the path, however many layers there are.
pub struct MergedView<'a> {
    layers: &'a [Arc<DeltaManifest>],
    index: OnceLock<Index<'a>>,
}

/// One entry of one delta, in the chain of all entries at the same path, the highest layer first.
#[derive(Clone, Copy)]
struct Occurrence {
    layer: u32,
    entry: u32,
    next: u32,
}

const END: u32 = u32::MAX;

struct Index<'a> {
    heads: HashMap<&'a [u8], u32>,
    occurrences: Vec<Occurrence>,
}

/// What is left to see below some folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Floor {
    /// The lowest layer that is still visible.
    pub(crate) layer: u32,
    /// Whether anything was hidden: also what lies below the lowest layer of this stack.
    pub(crate) hides: bool,
}

/// What stands at one path, by the layers of the stack alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) layer: usize,
    pub(crate) entry: usize,
    /// Whether a folder here hides what is below the stack, by its own mark or because of what it replaced.
    pub(crate) hides: bool,
    /// Whether some folder above hides what is below the stack.
    pub(crate) below_hidden: bool,
}

impl<'a> MergedView<'a> {
    /// The view of `layers`, the lowest first.
    #[must_use]
    pub fn new(layers: &'a [Arc<DeltaManifest>]) -> Self {
        Self { layers, index: OnceLock::new() }
    }

    fn index(&self) -> &Index<'a> {
        self.index.get_or_init(|| {
            let total = self.layers.iter().map(|layer| layer.entries.len()).sum();
            let mut heads: HashMap<&'a [u8], u32> = HashMap::with_capacity(total);
            let mut occurrences = Vec::with_capacity(total);
            for (layer, manifest) in self.layers.iter().enumerate() {
                for (entry, item) in manifest.entries.iter().enumerate() {
                    let head = heads.entry(item.path.as_bytes()).or_insert(END);
                    let here = occurrences.len() as u32;
                    occurrences.push(Occurrence { layer: layer as u32, entry: entry as u32, next: *head });
                    *head = here;
                }
            }
            Index { heads, occurrences }
        })
    }

    /// Every path that any layer mentions, once, in no order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'a TreePath> {
        let index = self.index();
        index.heads.values().map(|head| {
            let occurrence = index.occurrences[*head as usize];
            &self.layers[occurrence.layer as usize].entries[occurrence.entry as usize].path
        })
    }

    /// The entry that is on top at `path`, whiteouts included, unless a folder above hides it.
    pub(crate) fn find(&self, path: &[u8]) -> Option<Found> {
        let index = self.index();
        let mut floor = Floor::default();
        if !path.is_empty() {
            self.sink(index, &[], &mut floor);
            for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                self.sink(index, &path[..end], &mut floor);
            }
        }
        let below_hidden = floor.hides;
        let top = self.sink(index, path, &mut floor)?;
        Some(Found { layer: top.layer as usize, entry: top.entry as usize, hides: floor.hides, below_hidden })
    }

    /// Raises `floor` by what the layers have at `path`; returns the highest visible entry there.
    fn sink(&self, index: &Index<'a>, path: &[u8], floor: &mut Floor) -> Option<Occurrence> {
        let mut next = *index.heads.get(path)?;
        let mut top = None;
        while next != END {
            let occurrence = index.occurrences[next as usize];
            if occurrence.layer < floor.layer {
                break;
            }
            top.get_or_insert(occurrence);
            match self.node(occurrence.layer as usize, occurrence.entry as usize) {
                Node::Directory { opaque: false, .. } => next = occurrence.next,
                Node::Directory { opaque: true, .. } => {
                    *floor = Floor { layer: occurrence.layer, hides: true };
                    break;
                }
                _ => {
                    *floor = Floor { layer: occurrence.layer + 1, hides: true };
                    break;
                }
            }
        }
        top
    }

    pub(crate) fn node(&self, layer: usize, entry: usize) -> &'a Node {
        &self.layers[layer].entries[entry].node
    }

    pub(crate) fn layer(&self, layer: usize) -> &'a DeltaManifest {
        &self.layers[layer]
    }

    /// What is visible at `path`, with the index of the layer it comes from; hard links as they are.
    #[must_use]
    pub fn locate(&self, path: &TreePath) -> Option<(usize, &'a Node)> {
        let found = self.find(path.as_bytes())?;
        match self.node(found.layer, found.entry) {
            Node::Whiteout => None,
            node => Some((found.layer, node)),
        }
    }
}

impl ParentView for MergedView<'_> {
    fn lookup(&self, path: &TreePath) -> Option<Node> {
        let (layer, node) = self.locate(path)?;
        match node {
            Node::HardLink { target } => self.layer(layer).get(target).cloned(),
            node => Some(node.clone()),
        }
    }

    fn link_group(&self, path: &TreePath) -> Option<LinkGroup> {
        let (layer, node) = self.locate(path)?;
        let first = match node {
            Node::HardLink { target } => target.clone(),
            _ => path.clone(),
        };
        Some(LinkGroup { layer, first })
    }
}
