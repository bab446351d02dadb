//! The top level of a template: which blocks there may be, and what each declares.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_hcl::eval::{Functions, Scope};
use imgbuild_hcl::syntax::{Attribute, Block, Body};
use imgbuild_model::{Diagnostic, Location, did_you_mean};

use super::body::{Shape, is_name, labels, required};
use super::evaluate::{Evaluator, Names};
use super::graph::{DataDeclaration, LocalDeclaration};
use super::packer_block::Requirements;
use super::report::Report;
use super::variables::{self, Declarer};

const TOP: Shape = Shape {
    what: "a template",
    attributes: &[],
    blocks: &[
        ("packer", 0),
        ("source", 2),
        ("variables", 0),
        ("variable", 1),
        ("locals", 0),
        ("local", 1),
        ("data", 2),
        ("build", 0),
        ("hcp_packer_registry", 0),
        ("communicator", 2),
    ],
};

const LOCAL: Shape = Shape { what: "a `local` block", attributes: &["expression", "sensitive"], blocks: &[] };

/// A `source` block.
#[derive(Clone, Debug)]
pub(super) struct SourceDeclaration {
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub block: Block,
}

/// What the files of a template declare.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    pub requirements: Requirements,
    pub variables: variables::Declarations,
    pub locals: BTreeMap<Arc<str>, LocalDeclaration>,
    pub data: BTreeMap<(Arc<str>, Arc<str>), DataDeclaration>,
    pub sources: BTreeMap<(Arc<str>, Arc<str>), SourceDeclaration>,
    pub builds: Vec<Block>,
    pub registries: Vec<Block>,
    /// Whether something is not declared because its block is wrong. References to it would then be told as wrong too.
    pub incomplete: bool,
}

/// Reads the top level of files, one after the other.
pub(super) struct Schema<'a> {
    pub report: &'a Report,
    /// `env`, and nothing else.
    pub functions: Arc<Functions>,
}

impl Schema<'_> {
    /// The body of a file with its blocks, whatever its syntax.
    pub(super) fn content(body: &Body, report: &Report) -> Body {
        TOP.content(body, report)
    }

    pub(super) fn read(&self, body: &Body, all: &mut Declarations) {
        for attribute in &body.attributes {
            self.report.push(top_attribute(body, attribute));
        }
        for block in &body.blocks {
            self.block(block, all);
        }
    }

    fn block(&self, block: &Block, all: &mut Declarations) {
        let declarer = Declarer { report: self.report, functions: Arc::clone(&self.functions) };
        match block.kind.as_ref() {
            "packer" => all.requirements.read(block, self.report),
            "variable" => {
                let before = all.variables.len();
                declarer.variable(block, &mut all.variables);
                all.incomplete |= all.variables.len() == before;
            }
            "variables" => declarer.variables(block, &mut all.variables),
            "locals" => self.locals(block, all),
            "local" => self.local(block, all),
            "data" => self.data(block, all),
            "source" => self.source(block, all),
            "build" => all.builds.push(block.clone()),
            "hcp_packer_registry" => all.registries.push(block.clone()),
            "communicator" => {
                if labels(block, ["type", "name"], self.report).is_some() {
                    let warning = Diagnostic::warning("`communicator` blocks have no effect")
                        .at(block.body.source.location(block.header));
                    self.report.push(warning.hint("a source says itself how its machine is reached"));
                }
            }
            _ => {
                all.incomplete = true;
                self.report.push(TOP.unknown_block(block));
            }
        }
    }

    fn twice(&self, what: &str, location: Location, first: Location) {
        let error = Diagnostic::error(format!("{what} is declared twice")).at(location);
        self.report.push(error.note("it was first declared here", Some(first)).hint("keep one of them"));
    }

    fn locals(&self, block: &Block, all: &mut Declarations) {
        if labels(block, [], self.report).is_none() {
            all.incomplete = true;
            return;
        }
        let body = super::body::content(&block.body, &[], self.report);
        for inner in &body.blocks {
            all.incomplete = true;
            let shape = Shape { what: "a `locals` block", attributes: &[], blocks: &[] };
            let hint = format!("it holds `name = value`: write `{} = {{ … }}` for an object", inner.kind);
            self.report.push(shape.unknown_block(inner).hint(hint));
        }
        for attribute in &body.attributes {
            self.declare_local(
                all,
                LocalDeclaration {
                    name: Arc::clone(&attribute.name),
                    expression: attribute.expr.clone(),
                    sensitive: false,
                    location: block.body.source.location(attribute.name_span),
                },
            );
        }
    }

    fn local(&self, block: &Block, all: &mut Declarations) {
        let names = Names::default();
        let constant = Evaluator { names: &names, report: self.report };
        let label = labels(block, ["name"], self.report).map(|[label]| label);
        let (body, clean) = LOCAL.read(&block.body, self.report);
        let expression = if clean {
            required(block, &body, "expression", "expression = …", self.report)
        } else {
            body.attribute("expression")
        };
        let flag = body.attribute("sensitive");
        let sensitive = flag.and_then(|flag| constant.truth(flag, &Scope::new())) == Some(true);
        let (Some(label), Some(expression)) = (label, expression) else {
            all.incomplete = true;
            return;
        };
        if !is_name(block, label, self.report) {
            all.incomplete = true;
            return;
        }
        self.declare_local(
            all,
            LocalDeclaration {
                name: Arc::clone(&label.text),
                expression: expression.expr.clone(),
                sensitive,
                location: block.body.source.location(block.header),
            },
        );
    }

    fn declare_local(&self, all: &mut Declarations, local: LocalDeclaration) {
        match all.locals.get(&local.name) {
            Some(first) => {
                self.twice(&format!("local `{}`", local.name), local.location, first.location.clone())
            }
            None => {
                all.locals.insert(Arc::clone(&local.name), local);
            }
        }
    }

    fn data(&self, block: &Block, all: &mut Declarations) {
        let Some([kind, name]) = labels(block, ["type", "name"], self.report) else {
            all.incomplete = true;
            return;
        };
        if !is_name(block, kind, self.report) | !is_name(block, name, self.report) {
            all.incomplete = true;
            return;
        }
        let key = (Arc::clone(&kind.text), Arc::clone(&name.text));
        match all.data.get(&key) {
            Some(first) => self.twice(
                &format!("data source `{}.{}`", key.0, key.1),
                block.body.source.location(block.header),
                first.block.body.source.location(first.block.header),
            ),
            None => {
                let declaration = DataDeclaration {
                    kind: Arc::clone(&key.0),
                    name: Arc::clone(&key.1),
                    block: block.clone(),
                };
                all.data.insert(key, declaration);
            }
        }
    }

    fn source(&self, block: &Block, all: &mut Declarations) {
        let Some([kind, name]) = labels(block, ["type", "name"], self.report) else {
            all.incomplete = true;
            return;
        };
        let key = (Arc::clone(&kind.text), Arc::clone(&name.text));
        match all.sources.get(&key) {
            Some(first) => self.twice(
                &format!("source `{}.{}`", key.0, key.1),
                block.body.source.location(block.header),
                first.block.body.source.location(first.block.header),
            ),
            None => {
                let declaration = SourceDeclaration {
                    kind: Arc::clone(&key.0),
                    name: Arc::clone(&key.1),
                    block: block.clone(),
                };
                all.sources.insert(key, declaration);
            }
        }
    }
}

fn top_attribute(body: &Body, attribute: &Attribute) -> Diagnostic {
    let name = &attribute.name;
    let error = body.source.error(attribute.name_span, format!("a template has no attribute `{name}`"));
    if TOP.blocks.iter().any(|(kind, _)| *kind == name.as_ref()) {
        return error.hint(format!("`{name}` is a block: write it without `=`"));
    }
    if let Some(near) = did_you_mean(name, TOP.blocks.iter().map(|(kind, _)| *kind)) {
        return error.hint(format!("did you mean `{near}`?"));
    }
    error.hint("values are declared in `locals { … }`; a file of only values is named `*.pkrvars.hcl`")
}
