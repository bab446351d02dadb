//! From a path to recipes: files, functions, data sources, both kinds of templates.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild::args::Environment;
use imgbuild_datasources::{DataSource, External, ExternalRaw, Http, HttpLimits, Null};
use imgbuild_hcl::value::{Value, convert, from_json, to_json};
use imgbuild_model::{Class, Diagnostic, Diagnostics, EntryKind};
use imgbuild_packer::builders::Known;
use imgbuild_packer::interpolate::{Host as TemplateHost, Run};
use imgbuild_packer::legacy;
use imgbuild_packer::load::{GivenVariables, Loaded, of_hcl, of_json};
use imgbuild_packer::template::{self, Catalog, Components, Files, Inputs, Request};
use imgbuild_packer_cli::args::{Common, ConfigType};
use imgbuild_packer_functions::{Host, LocalHost, SecretError, SecretRequest, Stores as _};
use jiff::Timestamp;

use super::stores::RunStores;
use super::{Printer, asked};
use crate::session::runtime;

/// The data sources that are built in.
const BUILT_IN: [&str; 5] = ["http", "null", "external", "external-json", "external-raw"];

/// How many times data sources are asked and the template is read again.
const ROUNDS: usize = 32;

/// How to load.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoadOptions {
    /// Ask data sources.
    pub(crate) ask: bool,
    /// Warn of variables in files that are not declared.
    pub(crate) warn_undeclared: bool,
    /// Stop after syntax and declarations.
    pub(crate) syntax_only: bool,
    /// Functions ask no store either. Otherwise they do also where data sources are not asked, as in Packer.
    pub(crate) offline: bool,
}

/// Where a template is read: the process and its user.
pub(crate) struct Place {
    pub(crate) cwd: PathBuf,
    pub(crate) home: Option<PathBuf>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) started: Timestamp,
    pub(crate) stores: Arc<RunStores>,
}

/// In which language a path is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// HCL, in its native or its JSON syntax.
    Hcl,
    /// The older JSON form.
    Legacy,
}

/// By the rules of Packer: its suffix, a folder, else what `-config-type` says.
pub(crate) fn language(path: &Path, config_type: ConfigType) -> Language {
    let name = path.to_string_lossy();
    let by_name = name.ends_with(".pkr.hcl") || name.ends_with(".pkr.json") || path.is_dir();
    match (by_name, config_type) {
        (true, _) | (false, ConfigType::Hcl2) => Language::Hcl,
        (false, ConfigType::Json) => Language::Legacy,
    }
}

impl Place {
    /// That of this process.
    pub(crate) fn of_process() -> Result<Self, Diagnostics> {
        let cwd = std::env::current_dir().map_err(|error| {
            Diagnostic::error(format!("cannot tell the current folder: {error}")).class(Class::Environment)
        })?;
        let environment = Environment::whole();
        let home = environment.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let stores = Arc::new(RunStores::new(environment.clone(), home.clone()));
        Ok(Self { cwd, home, environment, started: Timestamp::now(), stores })
    }

    fn host(&self, root: &str, options: LoadOptions) -> Arc<dyn Host> {
        let root = if root.is_empty() { self.cwd.clone() } else { self.cwd.join(root) };
        let host = LocalHost::new(root)
            .with_cwd(self.cwd.clone())
            .with_started(self.started)
            .with_environment(self.environment.clone());
        let host = if options.offline { host } else { host.with_stores(self.stores.clone()) };
        Arc::new(match &self.home {
            Some(home) => host.with_home(home.clone()),
            None => host,
        })
    }

    fn run(&self, template_folder: Option<&Path>) -> Run {
        Run {
            started: self.started,
            folder: self.cwd.display().to_string(),
            template_folder: template_folder.map(|folder| folder.display().to_string()),
            packer_version: template::VERSION.to_owned(),
            host: Arc::new(Outside { environment: self.environment.clone(), stores: self.stores.clone() }),
        }
    }
}

struct Outside {
    environment: BTreeMap<String, String>,
    stores: Arc<RunStores>,
}

impl TemplateHost for Outside {
    fn environment(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn secret(&self, request: &SecretRequest) -> Result<String, SecretError> {
        self.stores.secret(request)
    }

    fn random(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..12]);
        bytes
    }
}

/// The files of this machine, relative to a folder.
pub(crate) struct LocalFiles {
    pub(crate) cwd: PathBuf,
}

impl Files for LocalFiles {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let metadata = fs_err::metadata(self.cwd.join(path)).ok()?;
        Some(if metadata.is_file() {
            EntryKind::File
        } else if metadata.is_dir() {
            EntryKind::Directory
        } else {
            EntryKind::Other
        })
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, EntryKind)>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(self.cwd.join(path))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = self.kind(&format!("{path}/{name}")).unwrap_or(EntryKind::Other);
            names.push((name, kind));
        }
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(names)
    }

    fn read(&self, path: &str) -> io::Result<Arc<str>> {
        fs_err::read_to_string(self.cwd.join(path)).map(Arc::from)
    }
}

/// Reads a template of either kind into recipes.
///
/// # Errors
/// All that is wrong with it, with the warnings.
pub(crate) fn load(
    path: &Path,
    common: &Common,
    options: LoadOptions,
    place: &Place,
    printer: &Printer,
) -> Result<Loaded, Diagnostics> {
    match language(path, common.config_type) {
        Language::Hcl => hcl(path, common, options, place, printer),
        Language::Legacy => json(path, common, place, printer),
    }
}

/// What a template in HCL is read with.
pub(crate) fn inputs(common: &Common, options: LoadOptions, place: &Place) -> Inputs {
    Inputs {
        variables: common.vars.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        var_files: common.var_files.iter().map(|path| path.display().to_string()).collect(),
        environment: place.environment.clone(),
        cwd: place.cwd.display().to_string(),
        only: common.only.clone(),
        except: common.except.clone(),
        warn_undeclared: options.warn_undeclared,
        syntax_only: options.syntax_only,
        ..Inputs::default()
    }
}

/// A template in HCL as far as it can be read, its data sources asked if that is wanted.
pub(crate) fn read_hcl(
    path: &Path,
    common: &Common,
    options: LoadOptions,
    place: &Place,
    printer: &Printer,
) -> Result<template::Loaded, Diagnostics> {
    let catalog = Known(Components(|root: &str| place.host(root, options)));
    let files = LocalFiles { cwd: place.cwd.clone() };
    let paths = [path.display().to_string()];
    let mut inputs = inputs(common, options, place);
    for _ in 0..ROUNDS {
        let loaded = template::read(&paths, &inputs, &files, &catalog);
        // No program is started for a template that cannot be built.
        let wanted = |request: &&Request| is_built_in(&request.kind) || !loaded.has_errors();
        let needs: Vec<Request> = loaded.template.needs.iter().filter(wanted).cloned().collect();
        if !options.ask || needs.is_empty() {
            printer.know(&loaded.template.sources);
            printer.hide(&place.stores.sensitive());
            return Ok(loaded);
        }
        let (own, others): (Vec<_>, Vec<_>) =
            needs.into_iter().partition(|request| is_built_in(&request.kind));
        for request in own {
            let answer = ask(&request.kind, &request.settings, place, printer).map_err(|error| *error);
            let answer = answer.and_then(|answer| typed(&answer, &request.kind, &catalog));
            inputs.answers.insert(request, answer);
        }
        for (request, answer) in asked::ask(&others, &loaded.template.plugins, place) {
            let answer = answer.and_then(|answer| typed(&answer, &request.kind, &catalog));
            let answer = answer.map(|answer| asked::hide_secrets(&request.kind, answer, &place.stores));
            inputs.answers.insert(request, answer);
        }
    }
    Err(Diagnostic::error("the data sources of this template never stop asking for each other").into())
}

/// An answer as its data source's schema says that it is.
fn typed(answer: &Value, kind: &str, catalog: &dyn Catalog) -> Result<Value, Diagnostic> {
    let converted = catalog.data_type(kind).map_or_else(|| Ok(answer.clone()), |ty| convert(answer, &ty));
    converted.map_err(|error| Diagnostic::error(error.to_string()).class(Class::Bug))
}

/// Whether this program asks a kind of data source itself.
fn is_built_in(kind: &str) -> bool {
    BUILT_IN.contains(&kind)
}

/// Asks a data source that is built in; what it warns of is said at once.
fn ask(kind: &str, settings: &Value, place: &Place, printer: &Printer) -> Result<Value, Box<Diagnostic>> {
    let source: Box<dyn DataSource> = match kind {
        "http" => Box::new(Http::new(reqwest::Client::new(), HttpLimits::default())),
        "null" => Box::new(Null),
        "external" | "external-json" => Box::new(External::new(place.cwd.clone())),
        "external-raw" => Box::new(ExternalRaw::new(place.cwd.clone())),
        other => return Err(Box::new(asked::not_built_in(other))),
    };
    let bug =
        |error: &dyn std::fmt::Display| Box::new(Diagnostic::error(error.to_string()).class(Class::Bug));
    let (plain, _) = settings.clone().unmark_deep();
    let text = to_json(&plain).map_err(|error| bug(&error))?;
    let fields = serde_json::from_str(&text).map_err(|error| bug(&error))?;
    let runtime = runtime().map_err(|errors| {
        Box::new(errors.0.into_iter().next().unwrap_or_else(|| Diagnostic::error("no threads")))
    })?;
    let output = runtime.block_on(source.read(&fields)).map_err(Box::new)?;
    printer.diagnostics(&Diagnostics(output.warnings));
    let text = serde_json::Value::Object(output.values).to_string();
    from_json(&text).map_err(|error| bug(&error))
}

fn hcl(
    path: &Path,
    common: &Common,
    options: LoadOptions,
    place: &Place,
    printer: &Printer,
) -> Result<Loaded, Diagnostics> {
    let template = read_hcl(path, common, options, place, printer)?;
    let mut loaded = of_hcl(template, &place.run(None), !options.syntax_only)?;
    loaded.sensitive.extend(place.stores.sensitive());
    Ok(loaded)
}

/// The text of a template in JSON, and the name that errors call it by.
fn text_of(path: &Path, place: &Place) -> Result<(String, String), Diagnostics> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| ("<stdin>".to_owned(), text))
    } else {
        fs_err::read_to_string(place.cwd.join(path)).map(|text| (path.display().to_string(), text))
    };
    read.map_err(|error| Diagnostic::error(format!("cannot read the template: {error}")).into())
}

/// A template in JSON, parsed.
pub(crate) fn read_json(path: &Path, place: &Place) -> Result<legacy::Template, Diagnostics> {
    let (name, text) = text_of(path, place)?;
    legacy::Template::parse(&name, &text)
}

/// The text of a template in JSON for commands that change it.
pub(crate) fn json_text(path: &Path, place: &Place) -> Result<(String, String), Diagnostics> {
    text_of(path, place)
}

fn json(path: &Path, common: &Common, place: &Place, printer: &Printer) -> Result<Loaded, Diagnostics> {
    let template = read_json(path, place)?;
    let mut variables = GivenVariables::default();
    for file in &common.var_files {
        let text = fs_err::read_to_string(place.cwd.join(file)).map_err(|error| {
            Diagnostics::from(Diagnostic::error(format!("cannot read the file of variables: {error}")))
        })?;
        variables.file(&file.display().to_string(), &text)?;
    }
    variables.values(&common.vars);
    let folder = place.cwd.join(path);
    let run = place.run(folder.parent().filter(|_| path != Path::new("-")));
    let hide = |sensitive: &[String]| printer.hide(&[sensitive, &place.stores.sensitive()].concat());
    let mut loaded = of_json(template, variables, (&common.only, &common.except), &run, &hide)?;
    loaded.sensitive.extend(place.stores.sensitive());
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use imgbuild_kinds::components;
    use imgbuild_model::{Availability, KindClass};

    use super::*;

    fn native(class: KindClass) -> impl Iterator<Item = &'static str> {
        components()
            .filter(move |schema| schema.class == class && schema.availability == Availability::Native)
            .map(|schema| schema.id)
    }

    #[test]
    fn each_data_source_that_is_said_to_be_built_in_is() {
        let place = Place::of_process().unwrap();
        let printer = Printer::new(Default::default(), &[], Vec::new(), &place.cwd);
        for kind in native(KindClass::DataSource) {
            let asked = ask(kind, &Value::object_of([("input", Value::string("x"))]), &place, &printer);
            let said = asked.map_or_else(|error| error.message, |_| String::new());
            assert!(!said.contains("not built in"), "{kind}: {said}");
        }
    }

    #[test]
    fn each_builder_and_provisioner_that_is_said_to_be_built_in_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { cwd: folder.path().to_path_buf(), ..Place::of_process().unwrap() };
        let printer = Printer::new(Default::default(), &[], Vec::new(), &place.cwd);
        let settings = |kind: &str| match kind {
            "file" => "target = \"x\"\n  content = \"y\"",
            "null" => "communicator = \"none\"",
            _ => "",
        };
        let lower = |template: &str| {
            fs_err::write(place.cwd.join("t.pkr.hcl"), template).unwrap();
            let loaded =
                load(Path::new("t.pkr.hcl"), &Common::default(), LoadOptions::default(), &place, &printer);
            let loaded = loaded.unwrap_or_else(|problems| panic!("{template}: {problems}"));
            super::super::prepare::check(&loaded, &place).map(|_| loaded)
        };
        for kind in native(KindClass::Builder) {
            let text = format!(
                "source \"{kind}\" \"x\" {{\n  {}\n}}\nbuild {{\n  sources = [\"{kind}.x\"]\n}}\n",
                settings(kind)
            );
            let loaded = lower(&text).unwrap();
            assert!(super::super::prepare::is_native(&loaded.recipes.recipes[0], &place), "{kind}");
        }
        for kind in native(KindClass::Provisioner) {
            let body = match kind {
                "sleep" => "duration = \"1s\"",
                "file" => "content = \"x\"\n    destination = \"/y\"",
                "breakpoint" => "",
                "goss" => "tests = [\"t.pkr.hcl\"]",
                "ansible" | "ansible-local" => "playbook_file = \"t.pkr.hcl\"",
                "puppet-masterless" => "manifest_file = \"t.pkr.hcl\"",
                "salt-masterless" => "local_state_tree = \".\"",
                _ => "inline = [\"true\"]",
            };
            // This one works from the host, on machines alone.
            let (builder, settings) = match kind {
                "ansible" => ("null", "ssh_host = \"x\"\n  ssh_username = \"x\"\n  ssh_agent_auth = true"),
                _ => ("rootfs", ""),
            };
            let text = format!(
                "source \"{builder}\" \"x\" {{\n  {settings}\n}}\nbuild {{\n  sources = [\"{builder}.x\"]\n  provisioner \"{kind}\" {{\n    {body}\n  }}\n}}\n"
            );
            lower(&text).unwrap_or_else(|problems| panic!("{kind}: {problems}"));
        }
    }

    #[test]
    fn each_post_processor_that_is_said_to_be_built_in_is() {
        for kind in native(KindClass::PostProcessor) {
            let body = match kind {
                "artifice" => "files = [\"x\"]",
                "shell-local" => "inline = [\"true\"]",
                _ => "",
            };
            let text = format!(
                "source \"null\" \"x\" {{\n  communicator = \"none\"\n}}\nbuild {{\n  sources = [\"null.x\"]\n  post-processor \"{kind}\" {{\n    {body}\n  }}\n}}\n"
            );
            let folder = tempfile::tempdir().unwrap();
            let place = Place { cwd: folder.path().to_path_buf(), ..Place::of_process().unwrap() };
            let printer = Printer::new(Default::default(), &[], Vec::new(), &place.cwd);
            fs_err::write(place.cwd.join("t.pkr.hcl"), text).unwrap();
            let loaded =
                load(Path::new("t.pkr.hcl"), &Common::default(), LoadOptions::default(), &place, &printer)
                    .unwrap();
            let chains = super::super::chains::chains(&loaded.recipes.recipes[0], &Default::default());
            assert!(chains.is_ok_and(|chains| chains.len() == 1), "{kind}");
        }
    }
}
