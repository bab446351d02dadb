//! Packer's templates in HCL: from files to the builds that they describe, every expression evaluated.
//!
//! [`read`] is pure: it depends on nothing but its arguments and on what it reads through [`Files`]. Variables, locals
//! and data sources become values; each `build` becomes [`Pair`]s of a build and a source with everything that runs
//! in it. What a data source will answer is an unknown of its type and a [`Request`] in `needs`; with an answer in
//! [`Inputs::answers`] the same template is read again. What is wrong is found all at once.
//!
//! Not here: what the components do and which settings they have ([`Catalog`] knows), the Go templates inside of
//! their strings, templates in the older JSON form.

mod body;
mod build;
mod catalog;
mod components;
mod console;
mod environment;
mod evaluate;
mod files;
mod graph;
mod inspect;
mod mask;
mod meta;
mod node;
mod packer_block;
mod registry;
mod report;
mod schema;
mod selection;
mod settings;
mod variables;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imgbuild_hcl::eval::{Functions, Scope};
use imgbuild_hcl::syntax::{Body, Source, parse_json, parse_source};
use imgbuild_hcl::value::{Type, Value};
use imgbuild_model::{Diagnostic, Diagnostics, Severity};

pub use build::{Build, Label, Pair, PostProcessor, Provisioner};
pub use catalog::Catalog;
pub use components::{Components, unknown_component};
pub use console::{Answer, Console, render};
pub use files::{Files, Read, Syntax};
pub use graph::{Data, Local, Request};
pub use inspect::inspect;
pub use mask::Mask;
pub use packer_block::Plugin;
pub use registry::Registry;
pub use settings::{Setting, Settings, SettingsBlock, Text};
pub use variables::{ENVIRONMENT_PREFIX, Origin, Variable};
pub use version::{Constraints, Version};

use build::Builder;
use environment::Environment;
use evaluate::{Evaluator, Names};
use files::{Found, Reader};
use graph::Graph;
use packer_block::Requirements;
use report::Report;
use schema::{Declarations, Schema};
use selection::Selection;
use variables::Assigner;

/// The version of Packer that templates are told they are read by.
pub const VERSION: &str = "1.16.0";

/// What a template is read with beside its files.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Values of variables (`-var`), in their order.
    pub variables: Vec<(String, String)>,
    /// Files of variables (`-var-file`), in their order.
    pub var_files: Vec<String>,
    /// The environment: for `PKR_VAR_*` and `env`.
    pub environment: BTreeMap<String, String>,
    /// The working folder, absolute.
    pub cwd: String,
    /// Patterns on the names of the wanted builds; none means all.
    pub only: Vec<String>,
    /// Patterns on the names of unwanted builds and post-processors.
    pub except: Vec<String>,
    /// Whether to warn of values for variables that are not declared in files of variables.
    pub warn_undeclared: bool,
    /// Stop after syntax and declarations.
    pub syntax_only: bool,
    /// What data sources answered.
    pub answers: Answers,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            variables: Vec::new(),
            var_files: Vec::new(),
            environment: BTreeMap::new(),
            cwd: "/".to_owned(),
            only: Vec::new(),
            except: Vec::new(),
            warn_undeclared: false,
            syntax_only: false,
            answers: Answers::default(),
        }
    }
}

/// What data sources answered.
#[derive(Clone, Debug, Default)]
pub struct Answers(Vec<(Request, Result<Value, Diagnostic>)>);

impl Answers {
    /// Adds an answer, or why there is none.
    pub fn insert(&mut self, request: Request, answer: Result<Value, Diagnostic>) {
        self.0.push((request, answer));
    }

    /// The answer to the same question, wherever it was asked.
    #[must_use]
    pub fn get(&self, request: &Request) -> Option<&Result<Value, Diagnostic>> {
        let same = |own: &Request| own.kind == request.kind && own.settings == request.settings;
        self.0.iter().find(|(own, _)| same(own)).map(|(_, answer)| answer)
    }
}

/// A template.
#[derive(Clone, Debug)]
pub struct Template {
    /// `path.root`: the folder of the template as the user wrote it.
    pub root: String,
    /// The plugins that it asks for, by name.
    pub plugins: Vec<Plugin>,
    /// Its variables, by name.
    pub variables: Vec<Variable>,
    /// Its locals, by name.
    pub locals: Vec<Local>,
    /// Its data sources, by kind and name.
    pub data: Vec<Data>,
    /// Its builds, in their order.
    pub builds: Vec<Build>,
    /// Where artifacts are registered.
    pub registry: Option<Registry>,
    /// What is to be asked before the template is wholly known.
    pub needs: Vec<Request>,
    /// What was read.
    pub reads: Vec<Read>,
    /// The names in the environment that were looked up.
    pub env_reads: BTreeSet<String>,
    /// The files that diagnostics point into. What is told of a value that was given as such has no text.
    pub sources: Vec<Arc<Source>>,
    scope: Scope<'static>,
}

/// A template as far as it could be read, and all that there is to tell about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The template.
    pub template: Template,
    /// Errors and warnings.
    pub diagnostics: Diagnostics,
    /// Whether all files could be read and all declarations are good. If not, little else of the template is known.
    pub declared: bool,
}

impl Loaded {
    /// Whether there is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The template and warnings.
    ///
    /// # Errors
    /// All errors, and the warnings.
    pub fn into_result(self) -> Result<(Template, Diagnostics), Diagnostics> {
        if self.has_errors() { Err(self.diagnostics) } else { Ok((self.template, self.diagnostics)) }
    }
}

impl Template {
    /// All pairs of a build and a source.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.builds.iter().flat_map(|build| &build.pairs)
    }

    /// Finds in texts what must not be shown.
    #[must_use]
    pub fn mask(&self) -> Mask {
        let variables = self.variables.iter().map(|variable| &variable.value);
        Mask::new(variables.chain(self.locals.iter().map(|local| &local.value)))
    }
}

/// Reads a template: a folder, or files. Without any it is one that declares nothing.
///
/// # Errors
/// All that is wrong with it, and the warnings.
pub fn load(
    paths: &[String],
    inputs: &Inputs,
    files: &dyn Files,
    catalog: &dyn Catalog,
) -> Result<(Template, Diagnostics), Diagnostics> {
    read(paths, inputs, files, catalog).into_result()
}

/// Reads a template as far as it can be read.
#[must_use]
pub fn read(paths: &[String], inputs: &Inputs, files: &dyn Files, catalog: &dyn Catalog) -> Loaded {
    let report = Report::default();
    let (template, declared) = Loader {
        inputs,
        catalog,
        reader: Reader::new(files, &report),
        report: &report,
        environment: Environment::new(inputs.environment.clone()),
        sources: Vec::new(),
    }
    .run(paths);
    let mask = template.mask();
    let diagnostics = report.into_diagnostics().0.into_iter().map(|one| mask.diagnostic(one));
    Loaded { diagnostics: Diagnostics(diagnostics.collect()), template, declared }
}

struct Loader<'a> {
    inputs: &'a Inputs,
    catalog: &'a dyn Catalog,
    reader: Reader<'a>,
    report: &'a Report,
    environment: Environment,
    sources: Vec<Arc<Source>>,
}

impl Loader<'_> {
    /// The template, and whether what it declares is good.
    fn run(mut self, paths: &[String]) -> (Template, bool) {
        let found = self.reader.discover(paths);
        let bodies = self.bodies(&found.templates);
        let bodies: Vec<Body> = bodies.iter().map(|body| Schema::content(body, self.report)).collect();
        let own: Version = VERSION.parse().unwrap_or_else(|_| unreachable!("our own version is one"));
        for block in bodies.iter().flat_map(|body| body.blocks_of("packer")) {
            Requirements::version(block, &own, self.report);
        }
        let mut template = self.nothing(found.root.clone());
        // A template for another version may be of another language.
        if self.report.has_errors() {
            return (self.finish(template), false);
        }
        let defaults = Arc::new(self.environment.functions(false));
        let schema = Schema { report: self.report, functions: defaults };
        let mut declared = Declarations::default();
        bodies.iter().for_each(|body| schema.read(body, &mut declared));
        self.assign(&found.auto, &mut declared);
        template.plugins = std::mem::take(&mut declared.requirements.plugins).into_values().collect();
        let good = !self.report.has_errors();
        let full = !self.inputs.syntax_only && !declared.incomplete;
        let conditions = Arc::new(self.functions(""));
        let variables = std::mem::take(&mut declared.variables);
        template.variables = variables::finish(variables, &conditions, full, self.report);
        if full {
            self.evaluate(&declared, &mut template);
        }
        (self.finish(template), good)
    }

    fn nothing(&self, root: String) -> Template {
        Template {
            root,
            plugins: Vec::new(),
            variables: Vec::new(),
            locals: Vec::new(),
            data: Vec::new(),
            builds: Vec::new(),
            registry: None,
            needs: Vec::new(),
            reads: Vec::new(),
            env_reads: BTreeSet::new(),
            sources: Vec::new(),
            scope: Scope::new(),
        }
    }

    fn finish(self, mut template: Template) -> Template {
        let (reads, warnings) = self.environment.told();
        template.env_reads.extend(reads);
        self.report.extend(warnings);
        template.reads = self.reader.into_reads();
        template.sources = self.sources;
        template
    }

    fn functions(&self, root: &str) -> Functions {
        let mut functions = self.catalog.functions(root);
        functions.extend(self.environment.functions(true));
        functions
    }

    fn bodies(&mut self, files: &[Found]) -> Vec<Body> {
        files.iter().filter_map(|file| self.body(file)).collect()
    }

    fn body(&mut self, (path, syntax): &Found) -> Option<Body> {
        let source = self.reader.source(path)?;
        self.sources.push(Arc::clone(&source));
        let file = match syntax {
            Syntax::Native => parse_source(&source),
            Syntax::Json => parse_json(path, source.text()),
        };
        self.report.extend(file.errors);
        Some(file.body)
    }

    fn assign(&mut self, auto: &[Found], declared: &mut Declarations) {
        let asked = self.reader.var_files(&self.inputs.var_files);
        let bodies = self.bodies(&[auto, &asked].concat());
        let assigner = Assigner { report: self.report, inputs: self.inputs };
        let variables = &mut declared.variables;
        self.environment.note(assigner.environment(variables));
        bodies.iter().for_each(|body| assigner.file(body, variables));
        assigner.given(variables);
    }

    fn evaluate(&self, declared: &Declarations, template: &mut Template) {
        let names = Names {
            variables: template.variables.iter().map(|variable| Arc::clone(&variable.name)).collect(),
            locals: declared.locals.keys().cloned().collect(),
            data: declared.data.keys().map(|(kind, name)| format!("{kind}.{name}")).collect(),
        };
        let evaluator = Evaluator { names: &names, report: self.report };
        let mut scope = Scope::with_functions(Arc::new(self.functions(&template.root)));
        self.bring_known(template, &mut scope);
        let locals: Vec<_> = declared.locals.values().cloned().collect();
        let data: Vec<_> = declared.data.values().cloned().collect();
        let graph = Graph { evaluator, catalog: self.catalog, answers: &self.inputs.answers };
        let values = graph.run(&locals, &data, &mut scope);
        template.locals = values.locals;
        template.data = values.data;
        template.needs = values.needs;
        self.builds(declared, evaluator, &scope, template);
        template.scope = scope;
    }

    fn bring_known(&self, template: &Template, scope: &mut Scope<'_>) {
        let variables = template.variables.iter();
        scope.set("var", Value::object_of(variables.map(|own| (own.name.as_ref(), own.value.clone()))));
        let cwd = self.inputs.cwd.replace('\\', "/");
        scope.set(
            "path",
            Value::object_of([("cwd", Value::string(cwd)), ("root", Value::string(&template.root))]),
        );
        let unknown = || Value::unknown(Type::String);
        let packer = [
            ("version", Value::string(VERSION)),
            ("iterationID", unknown()),
            ("versionFingerprint", unknown()),
        ];
        scope.set("packer", Value::object_of(packer));
    }

    fn builds(
        &self,
        declared: &Declarations,
        evaluator: Evaluator<'_>,
        scope: &Scope<'_>,
        template: &mut Template,
    ) {
        let selection = Selection::new(&self.inputs.only, &self.inputs.except, self.report);
        let builder = Builder {
            evaluator,
            catalog: self.catalog,
            sources: &declared.sources,
            selection: &selection,
            scope,
        };
        let mut names = Vec::new();
        template.builds =
            declared.builds.iter().filter_map(|block| builder.read(block, &mut names)).collect();
        selection.warn(&names, self.report);
        let mut registries = declared.registries.iter().map(|block| {
            let _ = body::labels(block, [], self.report);
            registry::read_registry(&block.body, block.body.source.location(block.header), scope, evaluator)
        });
        template.registry = registries.next();
        let rest: Vec<Registry> = registries.collect();
        let inner = template.builds.iter().flat_map(|build| &build.registries);
        let all: Vec<&Registry> = template.registry.iter().chain(&rest).chain(inner).collect();
        if let [first, others @ ..] = all.as_slice() {
            for other in others {
                let error = Diagnostic::error("a template has one `hcp_packer_registry` block")
                    .at(other.location.clone())
                    .note("it was first given here", Some(first.location.clone()));
                self.report.push(error.hint("keep one of them"));
            }
        }
    }
}
