//! Rendering what is known now, and leaving the rest as a template.
//!
//! A node at the top of a template is *late* if it mentions a late field, a late function, a template that does, or a
//! variable that another late node mentions. Nodes that are not late are rendered; late ones are written back, with
//! what is known in them as literals. Since no variable is shared between the two, their order does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ast::{Branch, Command, Expr, ExprKind, Node, Pipeline, Template};
use crate::error::Error;
use crate::eval::{Machine, Options};
use crate::function::Functions;
use crate::value::Value;
use crate::write::{Known, Writer, literal_text};

/// What comes of a partial rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// Nothing was late: the text.
    Text(String),
    /// A template to be rendered later, with the late fields and functions.
    Template(String),
}

impl Template {
    /// Renders what does not depend on [late values](Value::Late) of the data or on
    /// [late functions](crate::Function::late).
    ///
    /// # Errors
    /// Like [`Template::render`], for what is rendered.
    pub fn render_partial(
        &self,
        functions: &Functions,
        data: &Value,
        options: &Options,
    ) -> Result<Rendered, Error> {
        let partial = Partial::new(self, functions, data, options);
        let nodes = partial.chosen(&self.body);
        let late = partial.late_nodes(&nodes);
        if late.is_empty() {
            return self.render(functions, data, options).map(Rendered::Text);
        }
        let mut out = String::new();
        let writer = Writer { known: &partial, data: true };
        if late.iter().any(|&position| calls_template(nodes[position])) {
            for (name, body) in &self.defines {
                writer.define(&mut out, name, body);
            }
        }
        let mut machine = Machine::new(self, functions, data, options);
        for (position, node) in nodes.iter().enumerate() {
            if late.contains(&position) {
                writer.node(&mut out, node);
            } else {
                machine.node(node, data).map_err(|(kind, span)| self.error(kind, span))?;
                literal_text(&mut out, &std::mem::take(&mut machine.out));
            }
        }
        Ok(Rendered::Template(out))
    }
}

struct Partial<'a> {
    template: &'a Template,
    functions: &'a Functions,
    data: &'a Value,
    options: &'a Options,
    late_templates: BTreeSet<Arc<str>>,
}

/// Whether the dot and `$` are the data.
#[derive(Clone, Copy)]
struct Scope {
    dot: bool,
    root: bool,
}

const DATA: Scope = Scope { dot: true, root: true };

impl<'a> Partial<'a> {
    fn new(template: &'a Template, functions: &'a Functions, data: &'a Value, options: &'a Options) -> Self {
        let mut partial = Self { template, functions, data, options, late_templates: BTreeSet::new() };
        loop {
            let inner = Scope { dot: false, root: false };
            let found: BTreeSet<Arc<str>> = template
                .defines
                .iter()
                .filter(|(_, body)| partial.any_late(body, inner))
                .map(|(name, _)| name.clone())
                .collect();
            if found == partial.late_templates {
                return partial;
            }
            partial.late_templates = found;
        }
    }

    /// The nodes, with each `if` whose condition is known replaced by the branch that is taken.
    fn chosen(&self, nodes: &'a [Node]) -> Vec<&'a Node> {
        let mut out = Vec::new();
        for node in nodes {
            match node {
                Node::If(branch) => match self.branch_taken(branch) {
                    Some(taken) => out.extend(self.chosen(taken)),
                    None => out.push(node),
                },
                _ => out.push(node),
            }
        }
        out
    }

    fn branch_taken(&self, branch: &'a Branch) -> Option<&'a [Node]> {
        let pipeline = &branch.pipeline;
        let count = pipeline.commands.len();
        let known = pipeline.variables.is_empty().then(|| self.front(&pipeline.commands, true))?;
        let (_, value) = known.filter(|(known, _)| *known == count)?;
        let taken =
            if value.is_true() { &branch.body } else { branch.otherwise.as_deref().unwrap_or_default() };
        let declares = |node: &Node| matches!(node, Node::Action { pipeline, .. } if !pipeline.variables.is_empty() && !pipeline.assigns);
        (!taken.iter().any(declares)).then_some(taken)
    }

    /// The positions of those that are late themselves, and of those that share a variable with one.
    fn late_nodes(&self, nodes: &[&Node]) -> BTreeSet<usize> {
        let mut mentioned: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        let mut variables = Vec::new();
        let mut open = Vec::new();
        for (position, node) in nodes.iter().enumerate() {
            let mut own = BTreeSet::new();
            variables_of(node, &mut own);
            for name in &own {
                mentioned.entry(name.clone()).or_default().push(position);
            }
            variables.push(own);
            if self.is_late(node, DATA) {
                open.push(position);
            }
        }
        let mut late = BTreeSet::new();
        while let Some(position) = open.pop() {
            if late.insert(position) {
                let of = |name: &Arc<str>| mentioned.remove(name).unwrap_or_default();
                open.extend(variables[position].iter().flat_map(of));
            }
        }
        late
    }

    fn any_late(&self, nodes: &[Node], scope: Scope) -> bool {
        nodes.iter().any(|node| self.is_late(node, scope))
    }

    fn is_late(&self, node: &Node, scope: Scope) -> bool {
        let pipeline = |pipeline: &Pipeline| self.late_pipeline(pipeline, scope);
        let branch = |branch: &Branch, inner: Scope| {
            pipeline(&branch.pipeline)
                || self.any_late(&branch.body, inner)
                || self.any_late(branch.otherwise.as_deref().unwrap_or_default(), scope)
        };
        match node {
            Node::Text { .. } | Node::Break { .. } | Node::Continue { .. } => false,
            Node::Action { pipeline: one, .. } => pipeline(one),
            Node::If(one) => branch(one, scope),
            Node::With(one) | Node::Range(one) => branch(one, Scope { dot: false, ..scope }),
            Node::Call { name, argument, .. } => {
                self.late_templates.contains(name) || argument.as_ref().is_some_and(pipeline)
            }
        }
    }

    fn late_pipeline(&self, pipeline: &Pipeline, scope: Scope) -> bool {
        let mut late = false;
        pipeline.for_each(&mut |word| late |= self.late_word(word, scope));
        late
    }

    fn late_word(&self, word: &Expr, scope: Scope) -> bool {
        match &word.kind {
            ExprKind::Dot => scope.dot && self.data.has_late(),
            ExprKind::Field(path) => scope.dot && self.late_path(path),
            ExprKind::Variable(name, path) if name.is_empty() => scope.root && self.late_path(path),
            ExprKind::Function(name) => {
                self.functions.get(name).is_some_and(|function| function.body.is_none())
            }
            _ => false,
        }
    }

    fn late_path(&self, path: &[Arc<str>]) -> bool {
        let mut value = self.data;
        for name in path {
            match value.member(name) {
                Some(next) => value = next,
                None => return *value == Value::Late,
            }
        }
        value.has_late()
    }

    /// Whether the word can be evaluated here: no variable, nothing late, no dot but the data.
    fn is_known(&self, word: &Expr, data: bool) -> bool {
        let mut known = true;
        word.for_each(&mut |word| {
            known &= match &word.kind {
                ExprKind::Dot | ExprKind::Field(_) => data && !self.late_word(word, DATA),
                ExprKind::Variable(name, _) => name.is_empty() && data && !self.late_word(word, DATA),
                ExprKind::Function(_) => !self.late_word(word, DATA),
                ExprKind::Pipeline(pipeline) => pipeline.variables.is_empty(),
                _ => true,
            };
        });
        known
    }

    fn evaluate(&self, commands: &[Command]) -> Option<Value> {
        let span = commands.first()?.words.first()?.span;
        let pipeline = Pipeline { variables: Vec::new(), assigns: false, commands: commands.to_vec(), span };
        let mut machine = Machine::new(self.template, self.functions, self.data, self.options);
        machine.pipeline(&pipeline, self.data).ok()
    }
}

impl Known for Partial<'_> {
    fn expr(&self, expr: &Expr, data: bool) -> Option<Value> {
        let has_work = !matches!(expr.kind, ExprKind::Nil);
        (has_work && self.is_known(expr, data))
            .then(|| self.evaluate(&[Command { words: vec![expr.clone()] }]))
            .flatten()
    }

    fn front(&self, commands: &[Command], data: bool) -> Option<(usize, Value)> {
        let is_known = |command: &&Command| command.words.iter().all(|word| self.is_known(word, data));
        let count = commands.iter().take_while(is_known).count();
        let value = self.evaluate(&commands[..count])?;
        Some((count, value))
    }
}

fn calls_template(node: &Node) -> bool {
    match node {
        Node::Call { .. } => true,
        Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
            branch.body.iter().chain(branch.otherwise.iter().flatten()).any(calls_template)
        }
        _ => false,
    }
}

/// Variables that the node declares, assigns or uses.
fn variables_of(node: &Node, into: &mut BTreeSet<Arc<str>>) {
    let mut add = |pipeline: &Pipeline| {
        into.extend(pipeline.variables.iter().cloned());
        pipeline.for_each(&mut |word| match &word.kind {
            ExprKind::Variable(name, _) if !name.is_empty() => {
                into.insert(name.clone());
            }
            ExprKind::Pipeline(inner) => into.extend(inner.variables.iter().cloned()),
            _ => {}
        });
    };
    match node {
        Node::Action { pipeline, .. } | Node::Call { argument: Some(pipeline), .. } => add(pipeline),
        Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
            add(&branch.pipeline);
            for node in branch.body.iter().chain(branch.otherwise.iter().flatten()) {
                variables_of(node, into);
            }
        }
        _ => {}
    }
}
