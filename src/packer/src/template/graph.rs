//! Locals and data sources: one graph, since each may refer to the other.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};
use std::sync::Arc;

use imgbuild_hcl::eval::Scope;
use imgbuild_hcl::syntax::{Block, Body, Expression, Traversal};
use imgbuild_hcl::value::{Mark, Type, Value};
use imgbuild_model::{Diagnostic, KindClass, Location};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::Answers;
use super::catalog::Catalog;
use super::evaluate::{Evaluator, collect, collect_body, leading_names};
use super::settings::Settings;

/// A local and its value.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its name.
    pub name: Arc<str>,
    /// Whether its value must not be shown. The value then carries the mark.
    pub sensitive: bool,
    /// Its value.
    pub value: Value,
    /// Where it is declared.
    pub location: Location,
}

/// A data source.
#[derive(Clone, Debug)]
pub struct Data {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What it is asked.
    pub settings: Settings,
    /// What it answered; unknown if it was not asked yet.
    pub value: Value,
    /// Where it is declared.
    pub location: Location,
}

/// What a data source is asked: its kind and its settings, all of them known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The kind of data source.
    pub kind: Arc<str>,
    /// Its settings as one object.
    pub settings: Value,
    /// Where it is declared.
    pub location: Location,
}

/// A declaration of a local.
#[derive(Clone, Debug)]
pub(super) struct LocalDeclaration {
    pub name: Arc<str>,
    pub expression: Expression,
    pub sensitive: bool,
    pub location: Location,
}

/// A declaration of a data source.
#[derive(Clone, Debug)]
pub(super) struct DataDeclaration {
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub block: Block,
}

#[derive(Clone, Copy)]
enum Node<'d> {
    Local(&'d LocalDeclaration),
    Data(&'d DataDeclaration),
}

impl Node<'_> {
    fn address(self) -> String {
        match self {
            Self::Local(local) => format!("local.{}", local.name),
            Self::Data(data) => format!("data.{}.{}", data.kind, data.name),
        }
    }

    fn location(self) -> Location {
        match self {
            Self::Local(local) => local.location.clone(),
            Self::Data(data) => data.block.body.source.location(data.block.header),
        }
    }

    fn references(self) -> Vec<(Traversal, Location)> {
        let mut found = Vec::new();
        match self {
            Self::Local(local) => collect(&local.expression, &mut found),
            Self::Data(data) => collect_body(&data.block.body, &mut found),
        }
        found
    }
}

/// What the graph gives.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub locals: Vec<Local>,
    pub data: Vec<Data>,
    pub needs: Vec<Request>,
}

/// Evaluates the graph.
pub(super) struct Graph<'a> {
    pub evaluator: Evaluator<'a>,
    pub catalog: &'a dyn Catalog,
    pub answers: &'a Answers,
}

/// The values that were found so far, as the objects `local` and `data`.
#[derive(Default)]
struct Known {
    locals: BTreeMap<Arc<str>, Value>,
    data: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Value>>,
}

impl Known {
    fn bring_to(self, scope: &mut Scope<'_>) {
        scope.set("local", Value::object(self.locals));
        let types = self.data.into_iter().map(|(kind, all)| (kind, Value::object(all)));
        scope.set("data", Value::object(types.collect()));
    }

    /// The part that these nodes make.
    fn part<'n>(&self, nodes: impl Iterator<Item = Node<'n>>) -> Self {
        let mut part = Self::default();
        for node in nodes {
            match node {
                Node::Local(LocalDeclaration { name, .. }) => {
                    part.locals.extend(self.locals.get(name).map(|value| (Arc::clone(name), value.clone())));
                }
                Node::Data(DataDeclaration { kind, name, .. }) => {
                    let value = self.data.get(kind).and_then(|all| all.get(name)).cloned();
                    let all = part.data.entry(Arc::clone(kind)).or_default();
                    all.extend(value.map(|value| (Arc::clone(name), value)));
                }
            }
        }
        part
    }
}

impl Graph<'_> {
    /// Evaluates all of them, each after what it refers to. Sets `local` and `data` in the scope.
    pub(super) fn run(
        &self,
        locals: &[LocalDeclaration],
        data: &[DataDeclaration],
        scope: &mut Scope<'_>,
    ) -> Values {
        let nodes = locals.iter().map(Node::Local).chain(data.iter().map(Node::Data));
        let mut graph: DiGraph<Node<'_>, Location> = DiGraph::new();
        let index: BTreeMap<String, NodeIndex> =
            nodes.map(|node| (node.address(), graph.add_node(node))).collect();
        for node in graph.node_indices() {
            for (reference, place) in graph[node].references() {
                for target in targets(&reference, &index) {
                    graph.add_edge(node, target, place.clone());
                }
            }
        }
        let mut known = Known::default();
        let mut values = Values::default();
        for group in kosaraju_scc(&graph) {
            let cyclic = group.len() > 1 || graph.contains_edge(group[0], group[0]);
            if cyclic {
                self.evaluator.report.push(cycle(&graph, &group));
            }
            for node in group {
                let mut inner = scope.child();
                known.part(graph.neighbors(node).map(|target| graph[target])).bring_to(&mut inner);
                // What stands in the way of each other is unknown to all of them.
                self.node(graph[node], (!cyclic).then_some(&inner), &mut known, &mut values);
            }
        }
        known.bring_to(scope);
        values.locals.sort_by(|a, b| a.name.cmp(&b.name));
        values.needs.sort_by(|a, b| a.location.cmp(&b.location));
        values.data.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        values
    }

    fn node(&self, node: Node<'_>, scope: Option<&Scope<'_>>, known: &mut Known, values: &mut Values) {
        match node {
            Node::Local(local) => {
                let value =
                    scope.map_or_else(Value::dynamic, |scope| self.evaluator.value(&local.expression, scope));
                let value = if local.sensitive { value.mark(Mark::SENSITIVE) } else { value };
                known.locals.insert(Arc::clone(&local.name), value.clone());
                values.locals.push(Local {
                    name: Arc::clone(&local.name),
                    sensitive: local.sensitive,
                    value,
                    location: local.location.clone(),
                });
            }
            Node::Data(declaration) => {
                let data = self.data(declaration, scope, &mut values.needs);
                let all = known.data.entry(Arc::clone(&data.kind)).or_default();
                all.insert(Arc::clone(&data.name), data.value.clone());
                values.data.push(data);
            }
        }
    }

    fn data(
        &self,
        declaration: &DataDeclaration,
        scope: Option<&Scope<'_>>,
        needs: &mut Vec<Request>,
    ) -> Data {
        let DataDeclaration { kind, name, block } = declaration;
        let nothing = Scope::new();
        let body = &block.body;
        let empty = Body::empty(&body.source, body.span);
        let (body, scope) = scope.map_or((&empty, &nothing), |scope| (body, scope));
        let settings = Settings::evaluate(body, &[], scope, self.evaluator);
        let location = block.body.source.location(block.header);
        let request =
            Request { kind: Arc::clone(kind), settings: settings.to_value(), location: location.clone() };
        let ty = self.catalog.data_type(kind).unwrap_or(Type::Dynamic);
        let unknown = || Value::unknown(ty.clone());
        let value = match self.answers.get(&request) {
            Some(Ok(value)) => value.clone(),
            Some(Err(error)) => {
                let error = error.clone();
                self.evaluator.report.push(if error.location.is_none() {
                    error.at(location.clone())
                } else {
                    error
                });
                unknown()
            }
            None => {
                // What failed is unknown too, and must not be asked for.
                if settings.is_wholly_known() && !needs.contains(&request) {
                    needs.push(request);
                }
                unknown()
            }
        };
        // An answer to a secret question may tell the secret.
        let value = value.with_marks(&settings.to_value().marks_deep());
        let errors = self.catalog.check(KindClass::DataSource, kind, &location, &settings);
        self.evaluator.report.extend(errors);
        Data { kind: Arc::clone(kind), name: Arc::clone(name), settings, value, location }
    }
}

fn targets(reference: &Traversal, index: &BTreeMap<String, NodeIndex>) -> Vec<NodeIndex> {
    let with_prefix = |prefix: &str| {
        index.iter().filter(|(address, _)| address.starts_with(prefix)).map(|(_, node)| *node).collect()
    };
    match reference.root.name.as_ref() {
        "local" => match leading_names(reference, 2) {
            Some(names) => index.get(&names.join(".")).copied().into_iter().collect(),
            None => with_prefix("local."),
        },
        "data" => match (leading_names(reference, 3), leading_names(reference, 2)) {
            (Some(names), _) => index.get(&names.join(".")).copied().into_iter().collect(),
            (None, Some(names)) => with_prefix(&format!("{}.", names.join("."))),
            (None, None) => with_prefix("data."),
        },
        _ => Vec::new(),
    }
}

/// The cycle as a path, from the first declaration in it.
fn cycle(graph: &DiGraph<Node<'_>, Location>, group: &[NodeIndex]) -> Diagnostic {
    let first = group.iter().copied().min().unwrap_or_default();
    let path = shortest_way_back(graph, group, first);
    let names: Vec<String> = path.iter().chain([&first]).map(|node| graph[*node].address()).collect();
    let error = Diagnostic::error(format!("{} depends on itself: {}", names[0], names.join(" -> ")));
    let error =
        error.at(graph[first].location()).hint("break the cycle: one of them must do without the next");
    let steps = path.iter().zip(path.iter().skip(1).chain([&first]));
    steps.fold(error, |error, (from, to)| {
        let place = graph.find_edge(*from, *to).map(|edge| graph[edge].clone());
        error.note(format!("{} refers to {}", graph[*from].address(), graph[*to].address()), place)
    })
}

/// The nodes of the shortest cycle through `start`, which lies in the group.
fn shortest_way_back(
    graph: &DiGraph<Node<'_>, Location>,
    group: &[NodeIndex],
    start: NodeIndex,
) -> Vec<NodeIndex> {
    let mut before: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in graph.neighbors(node).filter(|next| group.contains(next)) {
            if next == start {
                let mut path = vec![node];
                while let Some(previous) =
                    path.last().filter(|last| **last != start).and_then(|last| before.get(last))
                {
                    path.push(*previous);
                }
                path.reverse();
                return path;
            }
            if let Entry::Vacant(entry) = before.entry(next) {
                entry.insert(node);
                queue.push_back(next);
            }
        }
    }
    vec![start]
}
