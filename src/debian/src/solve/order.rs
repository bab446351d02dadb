//! From marks to batches: every batch can be unpacked as a whole and then configured as a whole.

use std::collections::{BTreeSet, HashMap};

use super::explain::SolveError;
use super::graph::{Graph, Kind, PkgId, VerId};
use super::mark::Marks;
use super::{Removed, Solution};
use crate::Version;
use crate::lock::dpkg_id;

struct Node {
    package: PkgId,
    version: VerId,
    /// Nodes that must be configured with or before this one.
    depends: Vec<usize>,
    /// Nodes that must be configured before this one is unpacked.
    pre_depends: Vec<usize>,
}

/// Reads the result off the marks. In a `bootstrap` there is nothing yet that could run a script between two batches, so
/// the essential packages and all they need are one batch.
pub(super) fn solution(
    graph: &Graph<'_>,
    marks: &Marks<'_, '_>,
    bootstrap: bool,
) -> Result<Solution, Box<SolveError>> {
    let mut remove = Vec::new();
    let mut chosen = Vec::new();
    for package in 0..graph.packages.len() {
        let mark = &marks.packages[package];
        match (marks.original[package], mark.chosen) {
            (old, new) if old == new => {}
            (_, Some(new)) => chosen.push((mark_id(package), new)),
            (Some(old), None) => remove.push(removed(graph, mark_id(package), old)),
            (None, None) => {}
        }
    }
    chosen.sort_by_key(|(package, _)| graph.display(*package));
    let nodes = nodes(marks, &chosen);
    let levels = levels(graph, &nodes, bootstrap);
    let mut batches = Vec::new();
    for level in levels.iter().copied().collect::<BTreeSet<_>>() {
        let members: Vec<usize> = (0..nodes.len()).filter(|node| levels[*node] == level).collect();
        let mut batch = Vec::new();
        for node in depth_first(&nodes, &members) {
            let version = nodes[node].version;
            let record = graph.record(version).ok_or_else(|| {
                Box::new(SolveError::NoFile { package: graph.display(nodes[node].package) })
            })?;
            batch.push(record);
        }
        batches.push(batch);
    }
    remove.sort_by(|a: &Removed, b| a.id.cmp(&b.id));
    Ok(Solution { batches, remove })
}

fn mark_id(number: usize) -> PkgId {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn removed(graph: &Graph<'_>, package: PkgId, version: VerId) -> Removed {
    let ver = &graph.versions[version as usize];
    let id = match graph.installed_paragraph(package) {
        Some(installed) => installed.id(),
        None => {
            let architecture = graph.architectures[graph.packages[package as usize].architecture];
            dpkg_id(graph.package_name(package), architecture, ver.multi_arch)
        }
    };
    Removed { id, version: Version::new(ver.version) }
}

fn nodes(marks: &Marks<'_, '_>, chosen: &[(PkgId, VerId)]) -> Vec<Node> {
    let numbers: HashMap<VerId, usize> =
        chosen.iter().enumerate().map(|(n, (_, version))| (*version, n)).collect();
    chosen
        .iter()
        .map(|(package, version)| {
            let (mut depends, mut pre_depends) = (Vec::new(), Vec::new());
            for group in marks.groups(*version).iter() {
                let list = match group.kind {
                    Kind::PreDepends => &mut pre_depends,
                    Kind::Depends => &mut depends,
                    Kind::Conflicts | Kind::Breaks => continue,
                };
                list.extend(
                    marks.group_targets(group, *version).iter().filter_map(|target| numbers.get(target)),
                );
            }
            Node { package: *package, version: *version, depends, pre_depends }
        })
        .collect()
}

/// The batch of each node: a dependency is never in a later batch, a pre-dependency always in an earlier one. Cycles of
/// dependencies stay together; a cycle through a pre-dependency, which policy forbids, does too.
fn levels(graph: &Graph<'_>, nodes: &[Node], bootstrap: bool) -> Vec<usize> {
    let mut levels = vec![0; nodes.len()];
    let mut first = vec![false; nodes.len()];
    if bootstrap {
        let essential = |node: &usize| graph.versions[nodes[*node].version as usize].essential;
        let mut queue: Vec<usize> = (0..nodes.len()).filter(essential).collect();
        while let Some(node) = queue.pop() {
            if !std::mem::replace(&mut first[node], true) {
                queue.extend(nodes[node].depends.iter().chain(&nodes[node].pre_depends));
            }
        }
    }
    for _ in 0..=nodes.len() {
        let mut moved = false;
        for node in 0..nodes.len() {
            if first[node] {
                continue;
            }
            let after = nodes[node].depends.iter().map(|d| levels[*d]);
            let before = nodes[node].pre_depends.iter().map(|d| levels[*d] + 1);
            let level = after.chain(before).chain(bootstrap.then_some(0)).max().unwrap_or(0);
            // A level above the number of nodes only arises in a forbidden cycle.
            if level > levels[node] && level <= nodes.len() {
                levels[node] = level;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    levels
}

/// Dependencies before dependents, otherwise in the order of names.
fn depth_first(nodes: &[Node], members: &[usize]) -> Vec<usize> {
    let mut state = vec![0_u8; nodes.len()];
    let inside: BTreeSet<usize> = members.iter().copied().collect();
    let mut order = Vec::new();
    for start in members {
        let mut stack = vec![(*start, false)];
        while let Some((node, done)) = stack.pop() {
            if done {
                order.push(node);
            } else if state[node] == 0 && inside.contains(&node) {
                state[node] = 1;
                stack.push((node, true));
                let below = nodes[node].pre_depends.iter().chain(&nodes[node].depends);
                let mut below: Vec<usize> = below.copied().filter(|d| state[*d] == 0).collect();
                below.reverse();
                stack.extend(below.into_iter().map(|d| (d, false)));
            }
        }
    }
    order
}
