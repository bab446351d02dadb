//! Which layers an image gets, and what its history says.

use std::ops::Range;

use imgbuild_tree::Node;

use crate::ExportError;
use crate::image::{Image, LayerPolicy, MAX_LAYERS};
use crate::view::{LayerSource, LeaveOut, TreeView};

/// An image's layers, and for each of its steps whether it has one.
pub(crate) struct PlannedImage<'a> {
    /// What each layer holds, the lowest first; none is empty.
    pub(crate) views: Vec<TreeView<'a>>,
    /// For each step whether the history says that a layer came out of it: exactly `views.len()` do.
    pub(crate) history: Vec<bool>,
}

/// Decides on the layers of an image.
///
/// # Errors
///
/// More than [`MAX_LAYERS`], or a damaged manifest.
pub(crate) fn plan_image<'a>(
    image: &Image<'a>,
    policy: LayerPolicy,
    leave_out: Option<&LeaveOut<'_>>,
) -> Result<PlannedImage<'a>, ExportError> {
    let with_layer: Vec<(usize, LayerSource<'a>)> =
        image.steps.iter().enumerate().filter_map(|(step, it)| Some((step, it.layer?))).collect();
    let layers: Vec<LayerSource<'a>> = with_layer.iter().map(|(_, layer)| *layer).collect();
    // Which layers are left once paths are left out decides what there is to merge.
    let filled: Vec<bool> = match leave_out {
        None => layers.iter().map(|layer| !layer.manifest.entries.is_empty()).collect(),
        Some(_) => {
            let single: Vec<Range<usize>> = (0..layers.len()).map(|layer| layer..layer + 1).collect();
            TreeView::groups(&layers, &single, leave_out)?.iter().map(|view| !view.is_empty()).collect()
        }
    };
    let ranges = match policy {
        LayerPolicy::Squash if layers.is_empty() => Vec::new(),
        LayerPolicy::Squash => std::iter::once(0..layers.len()).collect(),
        LayerPolicy::Steps => joined(&layers, &filled, usize::MAX),
        LayerPolicy::AtMost(limit) => joined(&layers, &filled, limit.get()),
    };
    let mut history = vec![false; image.steps.len()];
    let mut views = Vec::with_capacity(ranges.len());
    for (view, range) in TreeView::groups(&layers, &ranges, leave_out)?.into_iter().zip(&ranges) {
        if view.is_empty() {
            continue;
        }
        // The last step with anything in it stands for the layer.
        let last = range.clone().rev().find(|layer| filled[*layer]).unwrap_or(range.end - 1);
        history[with_layer[last].0] = true;
        views.push(view);
    }
    if views.len() > MAX_LAYERS {
        return Err(ExportError::TooManyLayers { count: views.len(), limit: MAX_LAYERS });
    }
    Ok(PlannedImage { views, history })
}

/// Ranges of adjacent layers, at most `limit` of them: empty layers go with a neighbour, then, as often as needed, the
/// two neighbours with the least in them together, the lower ones if there are several.
fn joined(layers: &[LayerSource<'_>], filled: &[bool], limit: usize) -> Vec<Range<usize>> {
    let mut groups: Vec<(Range<usize>, u64)> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        match groups.last_mut() {
            Some((range, _)) if !filled[index] => range.end = index + 1,
            _ => groups.push((index..index + 1, size_of(layer))),
        }
    }
    // An empty lowest layer has opened a group of its own.
    if groups.len() > 1 && groups[0].0.clone().all(|layer| !filled[layer]) {
        let (empty, _) = groups.remove(0);
        groups[0].0.start = empty.start;
    }
    while groups.len() > limit.max(1) {
        let pairs = groups.windows(2).map(|pair| pair[0].1 + pair[1].1);
        let Some((lower, _)) = pairs.enumerate().min_by_key(|(lower, size)| (*size, *lower)) else { break };
        let (upper, size) = groups.remove(lower + 1);
        groups[lower].0.end = upper.end;
        groups[lower].1 += size;
    }
    groups.into_iter().map(|(range, _)| range).collect()
}

fn size_of(layer: &LayerSource<'_>) -> u64 {
    let size = |node: &Node| match node {
        Node::File { digest, .. } => digest.size,
        _ => 0,
    };
    layer.manifest.entries.iter().map(|entry| size(&entry.node)).sum()
}
