//! What an expression refers to, without being evaluated: for graphs of what depends on what.

use std::sync::Arc;

use crate::syntax::ast::{For, Node, NodeKind, Step, StepKind};
use crate::syntax::statics_constant;
use crate::syntax::{Expression, Root, Traversal};

/// All references of an expression to variables outside it, in order: a name and the constant steps from it up to the
/// first that is not constant. Names that a `for` defines are no references within it.
#[must_use]
pub fn references(expression: &Expression) -> Vec<Traversal> {
    let mut found = Vec::new();
    collect(&expression.node, &mut Vec::new(), &mut found);
    found
}

fn collect(node: &Node, bound: &mut Vec<Arc<str>>, found: &mut Vec<Traversal>) {
    match &node.kind {
        NodeKind::Literal(_) | NodeKind::Unreadable(_) => {}
        NodeKind::Variable(_) => refer(node, &[], bound, found),
        NodeKind::Traversal(root, steps) => {
            if matches!(root.kind, NodeKind::Variable(_)) {
                refer(root, steps, bound, found);
            } else {
                collect(root, bound, found);
            }
            collect_steps(steps, bound, found);
        }
        NodeKind::Template(nodes) | NodeKind::Tuple(nodes) => {
            nodes.iter().for_each(|node| collect(node, bound, found));
        }
        NodeKind::Wrap(inner)
        | NodeKind::Join(inner)
        | NodeKind::Not(inner)
        | NodeKind::Negate(inner)
        | NodeKind::Paren(inner) => collect(inner, bound, found),
        NodeKind::Call(call) => call.arguments.iter().for_each(|node| collect(node, bound, found)),
        NodeKind::Object(items) => {
            for item in items {
                if item.bare_key().is_none() {
                    collect(&item.key, bound, found);
                }
                collect(&item.value, bound, found);
            }
        }
        NodeKind::For(parts) => collect_for(parts, bound, found),
        NodeKind::Conditional(parts) => {
            for node in [&parts.condition, &parts.then, &parts.otherwise] {
                collect(node, bound, found);
            }
        }
        NodeKind::Binary(first, rest) => {
            collect(first, bound, found);
            rest.iter().for_each(|operand| collect(&operand.node, bound, found));
        }
    }
}

fn collect_for(parts: &For, bound: &mut Vec<Arc<str>>, found: &mut Vec<Traversal>) {
    collect(&parts.collection, bound, found);
    let outside = bound.len();
    bound.extend(parts.key_name.iter().cloned());
    bound.push(Arc::clone(&parts.value_name));
    for node in parts.key.iter().chain([&parts.value]).chain(&parts.condition) {
        collect(node, bound, found);
    }
    bound.truncate(outside);
}

fn collect_steps(steps: &[Step], bound: &mut Vec<Arc<str>>, found: &mut Vec<Traversal>) {
    for step in steps {
        match &step.kind {
            StepKind::Index(node) => collect(node, bound, found),
            StepKind::AttributeSplat(inner) | StepKind::Splat(inner) => collect_steps(inner, bound, found),
            StepKind::Attribute(_) | StepKind::LegacyIndex(_) => {}
        }
    }
}

fn refer(root: &Node, steps: &[Step], bound: &[Arc<str>], found: &mut Vec<Traversal>) {
    let NodeKind::Variable(name) = &root.kind else { return };
    if bound.contains(name) {
        return;
    }
    let constants: Vec<_> = steps.iter().map_while(statics_constant).collect();
    let span = match constants.len().checked_sub(1).and_then(|last| steps.get(last)) {
        Some(last) => root.span.to(last.span),
        None => root.span,
    };
    found.push(Traversal { root: Root { name: Arc::clone(name), span: root.span }, steps: constants, span });
}
