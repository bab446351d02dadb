//! What a seal has removed or emptied is not left in the layers below it.
//!
//! A seal is a layer like another: above it a host key is gone, and below it every unpacked image would still have it. So
//! each seal of a chain, that of a base image too, is carried out on the layers below: their manifests lose what it took.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_tree::{DeltaManifest, Entry, Node, TreePath};

/// A layer's manifest and its folder.
pub(crate) type Delta = (Arc<DeltaManifest>, PathBuf);

/// Carries out seals on the layers below them; each is the range of its own layers.
pub(crate) fn carry_out(deltas: &mut [Delta], seals: &[Range<usize>]) {
    for seal in seals {
        let (below, rest) = deltas.split_at_mut(seal.start);
        let own = &mut rest[..seal.len()];
        let mut gone = BTreeSet::new();
        let mut emptied = BTreeSet::new();
        for Entry { path, node } in own.iter().flat_map(|(manifest, _)| &manifest.entries) {
            match node {
                Node::Whiteout => drop(gone.insert(path.clone())),
                Node::File { digest, .. } if digest.size == 0 => drop(emptied.insert(path.clone())),
                _ => {}
            }
        }
        let is_taken = |path: &TreePath| emptied.contains(path) || is_below(path, &gone);
        for (manifest, _) in below {
            if manifest.entries.iter().any(|entry| is_taken(&entry.path)) {
                *manifest = Arc::new(without(manifest, &is_taken));
            }
        }
        // With nothing below it, a mark of removal would only tell what was there.
        for (manifest, _) in own {
            let kept =
                manifest.entries.iter().filter(|entry| entry.node != Node::Whiteout).cloned().collect();
            *manifest = Arc::new(DeltaManifest { entries: kept });
        }
    }
}

/// Whether a path, or a folder above it, is among these.
fn is_below(path: &TreePath, among: &BTreeSet<TreePath>) -> bool {
    let mut at = Some(path.clone());
    while let Some(path) = at {
        if among.contains(&path) {
            return true;
        }
        at = path.parent();
    }
    false
}

/// A manifest without some of its paths. Where the first name of a file goes, its next one carries the file.
fn without(manifest: &DeltaManifest, is_taken: &dyn Fn(&TreePath) -> bool) -> DeltaManifest {
    let mut carriers: HashMap<&TreePath, TreePath> = HashMap::new();
    let mut entries = Vec::with_capacity(manifest.entries.len());
    for Entry { path, node } in manifest.entries.iter().filter(|entry| !is_taken(&entry.path)) {
        let node = match node {
            Node::HardLink { target } if is_taken(target) => match carriers.get(target) {
                Some(carrier) => Node::HardLink { target: carrier.clone() },
                None => {
                    carriers.insert(target, path.clone());
                    let file = manifest.entries.iter().find(|entry| entry.path == *target);
                    file.map_or_else(|| node.clone(), |file| file.node.clone())
                }
            },
            node => node.clone(),
        };
        entries.push(Entry { path: path.clone(), node });
    }
    DeltaManifest { entries }
}

#[cfg(test)]
mod tests {
    use imgbuild_digest::Digest;
    use imgbuild_tree::Metadata;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn delta(entries: &[(&str, Node)]) -> Delta {
        let entries =
            entries.iter().map(|(name, node)| Entry { path: path(name), node: node.clone() }).collect();
        (Arc::new(DeltaManifest { entries }), PathBuf::new())
    }

    fn file(text: &str) -> Node {
        Node::File { digest: Digest::of(text.as_bytes()), sha256: [0; 32], metadata: Metadata::default() }
    }

    fn link(target: &str) -> Node {
        Node::HardLink { target: path(target) }
    }

    fn names(delta: &Delta) -> Vec<String> {
        delta.0.entries.iter().map(|entry| entry.path.to_string()).collect()
    }

    /// The second layer.
    fn seal() -> Vec<Range<usize>> {
        std::iter::once(1..2).collect()
    }

    #[test]
    fn each_seal_is_carried_out_on_the_layers_below_it_alone() {
        let mut deltas = [
            delta(&[("etc/machine-id", file("id")), ("tmp/a/b", file("x")), ("usr/a", file("y"))]),
            delta(&[("etc/machine-id", file("")), ("tmp/a", Node::Whiteout)]),
            delta(&[("tmp/a", file("new"))]),
        ];
        carry_out(&mut deltas, &seal());
        assert_eq!(names(&deltas[0]), ["/usr/a"]);
        assert_eq!(names(&deltas[1]), ["/etc/machine-id"]);
        assert_eq!(names(&deltas[2]), ["/tmp/a"], "what comes after a seal is not its");
    }

    #[test]
    fn a_file_lives_on_under_its_other_names() {
        let mut deltas = [
            delta(&[("tmp/a", file("x")), ("usr/b", link("tmp/a")), ("usr/c", link("tmp/a"))]),
            delta(&[("tmp/a", Node::Whiteout)]),
        ];
        carry_out(&mut deltas, &seal());
        let entries = &deltas[0].0.entries;
        assert_eq!(entries.len(), 2);
        assert_eq!((&entries[0].node, &entries[1].node), (&file("x"), &link("usr/b")));
        deltas[0].0.validate().unwrap();
    }
}
