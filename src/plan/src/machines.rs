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
        if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
    }
}
