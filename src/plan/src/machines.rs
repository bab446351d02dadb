//! Which builder an action's chain must have: some need a machine that runs, some a tree.

use imgbuild_model::{Diagnostic, Diagnostics, KindClass, KindSchema, Value};

use crate::graph::visit;
use crate::{ActionGraph, ActionNode};

/// The builder whose layers are trees that nothing runs in.
const TREES: &str = KindSchema::BLANK.builder;
/// The builder whose layers are disks.
const MACHINES: &str = "qemu";

impl ActionGraph {
    /// Whether each step and check that needs a machine has one, and each export that is made from a tree has that.
    ///
    /// # Errors
    /// All that is not so, each where it is written.
    pub(crate) fn check_machines(&self) -> Result<(), Diagnostics> {
        let lost = |node: &&ActionNode| node.schema.needs_machine && node.builder == TREES;
        let problem = |node: &ActionNode| {
            let message = format!("`{}` needs a machine that runs, and this image is a tree", node.schema.id);
            let hint = match node.schema.id {
                "ansible" => "`ansible_local` runs a playbook in the image itself",
                _ => "take the step out: nothing of an image runs while it is built",
            };
            Diagnostic::error(message).at(node.action.location.clone()).hint(hint)
        };
        let mut problems: Vec<_> = self.nodes.iter().filter(lost).map(problem).collect();
        let without_tree = |node: &&ActionNode| {
            node.schema.class == KindClass::Export && node.schema.id != "disk" && node.builder == MACHINES
        };
        problems.extend(self.nodes.iter().filter(without_tree).map(|node| {
            let message = format!(
                "`{}` is made from a tree, and this image is made in a machine, which has disks",
                node.schema.id
            );
            Diagnostic::error(message)
                .at(node.action.location.clone())
                .hint("export it as `disk(...)`; without `exports` it is `disk(\"qcow2\")`")
        }));
        for node in self.nodes.iter().filter(|node| node.builder == TREES) {
            visit(node.attributes(), &mut |value| {
                if let Value::Step(check) = value
                    && imgbuild_kinds::find(check.kind.as_str()).is_some_and(|schema| schema.needs_machine)
                {
                    let message =
                        format!("`{}` looks at a system that runs, and this image is a tree", check.kind);
                    let hint =
                        "check it in an `image_test` with `boot = True`, which starts the image's disk";
                    problems.push(Diagnostic::error(message).at(check.location.clone()).hint(hint));
                }
            });
        }
        problems.extend(self.fuse_problems());
        if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
    }

    /// What is wrong with steps that are joined to the next.
    fn fuse_problems(&self) -> Vec<Diagnostic> {
        if !self.nodes.iter().any(ActionNode::asks_to_be_fused) {
            return Vec::new();
        }
        let dependents = self.dependents();
        let fused = self.nodes.iter().zip(&dependents).filter(|(node, _)| node.asks_to_be_fused());
        let problem = |(node, dependents): (&ActionNode, &Vec<usize>)| {
            let what = node.describe();
            let (message, hint) = match dependents.as_slice() {
                [] => return None,
                [next] => {
                    let next = &self.nodes[*next];
                    let kind = next.schema.id;
                    if !next.goes_on_in_machine() {
                        let message = format!(
                            "`{what}` has `fuse`, and `{kind}`, which follows it, changes nothing in the machine"
                        );
                        (message, "put that elsewhere: `fuse` joins two steps that change the image")
                    } else if next.begins_again() {
                        let message = format!(
                            "`{what}` has `fuse`, and `{kind}`, which follows it, is to begin again when it fails"
                        );
                        let hint = "nothing is kept between the two to begin from: take `max_retries` or `continue_on_error` out";
                        (message, hint)
                    } else {
                        return None;
                    }
                }
                several => {
                    let message = format!(
                        "`{what}` has `fuse`, and {} others stand on it: one machine cannot go on as each of them",
                        several.len()
                    );
                    (message, "give each of them steps of its own")
                }
            };
            Some(Diagnostic::error(message).at(node.action.location.clone()).hint(hint))
        };
        fused.filter_map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_model::LayerRef;

    use super::*;
    use crate::testing::{Declared, Given};

    const FUSE: &str = "fuse";

    /// What is said of a chain in a machine whose first step is joined to what follows.
    fn said(source: &str, follows: impl FnOnce(&mut Declared, &LayerRef) -> Vec<LayerRef>) -> Vec<String> {
        let mut declared = Declared::default();
        let source = declared.source(source, &[]);
        let first =
            declared.step(&source, "mkdir", &[("path", Value::string("/a")), (FUSE, Value::Bool(true))]);
        let last = follows(&mut declared, &first);
        let wanted: Vec<_> = last.iter().map(|layer| &layer.action).collect();
        let (graph, _) = declared.graph(&wanted);
        graph
            .check_machines()
            .err()
            .map_or(Vec::new(), |all| all.0.into_iter().map(|one| one.message).collect())
    }

    fn one<'a>(
        kind: &'a str,
        given: Given<'a>,
    ) -> impl FnOnce(&mut Declared, &LayerRef) -> Vec<LayerRef> + use<'a> {
        move |declared, first| vec![declared.step(first, kind, given)]
    }

    #[test]
    fn a_step_is_joined_to_one_that_goes_on_in_its_machine() {
        let again: Given<'_> =
            &[("inline", crate::testing::texts(&["true"])), ("max_retries", Value::Int(1))];
        let two = |declared: &mut Declared, first: &LayerRef| {
            ["/b", "/c"].map(|path| declared.step(first, "mkdir", &[("path", Value::string(path))])).to_vec()
        };
        for (found, expected) in [
            (said("qemu", one("mkdir", &[("path", Value::string("/b"))])), None),
            (said("qemu", |_, first| vec![first.clone()]), None),
            (
                said("qemu", two),
                Some(
                    "`mkdir /a` has `fuse`, and 2 others stand on it: one machine cannot go on as each of them",
                ),
            ),
            (
                said("qemu", one("sleep", &[("duration", Value::Int(1))])),
                Some("`mkdir /a` has `fuse`, and `sleep`, which follows it, changes nothing in the machine"),
            ),
            (
                said("qemu", one("shell", again)),
                Some("`mkdir /a` has `fuse`, and `shell`, which follows it, is to begin again when it fails"),
            ),
            (said("scratch", one("sleep", &[("duration", Value::Int(1))])), None),
        ] {
            assert_eq!(found, expected.map(str::to_owned).into_iter().collect::<Vec<_>>());
        }
    }
}
