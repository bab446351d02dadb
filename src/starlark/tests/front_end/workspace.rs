//! A workspace in memory, a small walk over targets, and dumps of what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use imgbuild_model::{
    Action, Analysis, AnalysisRequest, Artifact, AttributeValue, Attributes, Configuration, Dependency,
    Diagnostics, EntryKind, Files, FrontEnd, Label, LayerRef, LoadedPackage, PackagePath, Platform, Target,
    TargetName, Value, WorkspacePath,
};
use imgbuild_starlark::{Limits, Starlark};

/// Files in memory. Counts how often each was read.
#[derive(Default)]
pub struct Memory {
    files: BTreeMap<String, String>,
    reads: Mutex<BTreeMap<String, usize>>,
    pub lists: AtomicUsize,
}

impl Memory {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Self { files, ..Self::default() }
    }

    pub fn add(&mut self, path: &str, text: String) {
        self.files.insert(path.to_owned(), text);
    }

    pub fn times_read(&self, path: &str) -> usize {
        self.reads.lock().unwrap().get(path).copied().unwrap_or_default()
    }
}

impl Files for Memory {
    fn read(&self, path: &WorkspacePath) -> io::Result<Arc<str>> {
        *self.reads.lock().unwrap().entry(path.as_str().to_owned()).or_default() += 1;
        self.files
            .get(path.as_str())
            .map(|text| text.as_str().into())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &WorkspacePath) -> io::Result<Vec<(String, EntryKind)>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        let prefix = if path.as_str().is_empty() { String::new() } else { format!("{}/", path.as_str()) };
        let mut names = BTreeMap::new();
        for file in self.files.keys().filter_map(|file| file.strip_prefix(&prefix)) {
            match file.split_once('/') {
                Some((folder, _)) => names.insert(folder.to_owned(), EntryKind::Directory),
                None => names.insert(file.to_owned(), EntryKind::File),
            };
        }
        Ok(names.into_iter().collect())
    }

    fn kind(&self, path: &WorkspacePath) -> Option<EntryKind> {
        if self.files.contains_key(path.as_str()) {
            return Some(EntryKind::File);
        }
        let prefix = format!("{}/", path.as_str());
        self.files.keys().any(|file| file.starts_with(&prefix)).then_some(EntryKind::Directory)
    }
}

/// A front end over files in memory.
pub struct Workspace {
    pub files: Memory,
    pub starlark: Starlark,
}

pub fn configuration(platform: &str) -> Configuration {
    Configuration { platform: platform.parse().unwrap(), flags: Arc::default() }
}

impl Workspace {
    pub fn new(files: &[(&str, &str)]) -> Self {
        Self { files: Memory::new(files), starlark: Starlark::default() }
    }

    pub fn with_limits(files: &[(&str, &str)], limits: Limits) -> Self {
        Self { files: Memory::new(files), starlark: Starlark::new(limits) }
    }

    pub fn load(&self, package: &str) -> Result<LoadedPackage, Diagnostics> {
        self.starlark.load(&PackagePath::new(package).unwrap(), &self.files)
    }

    pub fn target(&self, label: &str) -> Arc<Target> {
        let label: Label = label.parse().unwrap();
        let loaded = self.load(label.package.as_str()).unwrap_or_else(|error| panic!("{error}"));
        loaded.package.targets[&label.name].clone()
    }

    /// Analyzes a target after all that it depends on, for one platform. Takes the default branch of each `select()`.
    pub fn analyze(&self, label: &str, platform: &str) -> Result<Analysis, Diagnostics> {
        self.walk(&label.parse().unwrap(), &configuration(platform))
    }

    fn walk(&self, label: &Label, configuration: &Configuration) -> Result<Analysis, Diagnostics> {
        let loaded = self.load(label.package.as_str())?;
        let target = loaded.package.targets.get(&label.name).unwrap_or_else(|| panic!("no target {label}"));
        let attributes = decide(target);
        let mut labels = BTreeSet::new();
        attributes.visit_labels(&mut |label| {
            labels.insert(label.clone());
        });
        let mut dependencies = BTreeMap::new();
        for label in labels {
            dependencies.insert(label.clone(), self.dependency(&label, configuration)?);
        }
        self.starlark.analyze(&AnalysisRequest {
            target,
            configuration,
            attributes,
            dependencies: &dependencies,
            combine: None,
        })
    }

    fn dependency(&self, label: &Label, configuration: &Configuration) -> Result<Dependency, Diagnostics> {
        let is_target = self.load(label.package.as_str()).is_ok_and(|loaded| {
            loaded.package.targets.contains_key(&TargetName::new(label.name.as_str()).unwrap())
        });
        if !is_target {
            return Ok(self.starlark.source_file(label));
        }
        let analysis = self.walk(label, configuration)?;
        Ok(Dependency { label: label.clone(), providers: analysis.providers })
    }

    /// Analyzes a target for several platforms and joins the results.
    pub fn combine(&self, label: &str, platforms: &[&str]) -> Result<Analysis, Diagnostics> {
        let target = self.target(label);
        let results = platforms
            .iter()
            .map(|platform| {
                let analysis = self.analyze(label, platform)?;
                Ok((platform.parse::<Platform>().unwrap(), Arc::new(analysis)))
            })
            .collect::<Result<Vec<_>, Diagnostics>>()?;
        self.starlark.analyze(&AnalysisRequest {
            target: &target,
            configuration: &configuration(platforms[0]),
            attributes: decide(&target),
            dependencies: &BTreeMap::new(),
            combine: Some(&results),
        })
    }

    /// The error of loading the package in the root, as text: one line a diagnostic.
    pub fn load_error(&self) -> String {
        match self.load("") {
            Ok(_) => panic!("loading succeeded"),
            Err(error) => error.to_string(),
        }
    }
}

pub fn decide(target: &Target) -> Attributes {
    fn value(attribute: &AttributeValue) -> Value {
        match attribute {
            AttributeValue::Concrete(value) => value.clone(),
            AttributeValue::Select(branches) => {
                branches.iter().find(|branch| branch.condition.is_none()).expect("a default").value.clone()
            }
            AttributeValue::Sum(parts) => {
                Value::list(parts.iter().flat_map(|part| value(part).as_list().unwrap().to_vec()))
            }
        }
    }
    target.attributes.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
}

/// The error of a `BUILD.star` in the root.
pub fn build_error(text: &str) -> String {
    Workspace::new(&[("BUILD.star", text)]).load_error()
}

/// An analysis as text.
pub fn dump(analysis: &Analysis) -> String {
    let mut out = String::new();
    for (index, action) in analysis.actions.iter().enumerate() {
        dump_action(&mut out, index, action);
    }
    for provider in analysis.providers.iter() {
        let fields = provider.fields.iter().map(|(name, value)| format!("{name}={}", show(value)));
        writeln!(out, "{}({})", provider.id.name, fields.collect::<Vec<_>>().join(", ")).unwrap();
    }
    out
}

fn dump_action(out: &mut String, index: usize, action: &Action) {
    write!(out, "{index} {}", action.kind).unwrap();
    if let Some(parent) = &action.parent {
        write!(out, " on {}", show_layer(parent)).unwrap();
    }
    for (name, value) in action.attributes.iter() {
        write!(out, " {name}={}", show(value)).unwrap();
    }
    if !action.outputs.is_empty() {
        write!(out, " -> {}", action.outputs.join(" ")).unwrap();
    }
    for joined in &action.joins {
        write!(out, " join {}#{}@{}", joined.label, joined.index, joined.configuration.platform).unwrap();
    }
    writeln!(out, " at {}", action.location).unwrap();
}

fn show_layer(layer: &LayerRef) -> String {
    let state = &layer.state;
    let mut shown = format!("{}#{}", layer.action.label, layer.action.index);
    for (key, value) in &state.env {
        write!(shown, " {key}={value}").unwrap();
    }
    for (name, value) in [("user", &state.user), ("workdir", &state.workdir), ("stop", &state.stop_signal)] {
        if let Some(value) = value {
            write!(shown, " {name}={value}").unwrap();
        }
    }
    for (name, value) in [("shell", &state.shell), ("entrypoint", &state.entrypoint), ("cmd", &state.cmd)] {
        if let Some(value) = value {
            write!(shown, " {name}={}", value.join(",")).unwrap();
        }
    }
    for (key, value) in &state.labels {
        write!(shown, " label:{key}={value}").unwrap();
    }
    for port in &state.exposed_ports {
        write!(shown, " {port}").unwrap();
    }
    for volume in &state.volumes {
        write!(shown, " volume:{volume}").unwrap();
    }
    format!("<{shown}>")
}

pub fn show(value: &Value) -> String {
    let fields = |entries: &[(Arc<str>, Value)]| {
        entries.iter().map(|(name, value)| format!("{name}: {}", show(value))).collect::<Vec<_>>().join(", ")
    };
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Dict(entries) => format!("{{{}}}", fields(entries)),
        Value::Label(label) => label.to_string(),
        Value::Artifact(Artifact::Source(file)) => format!("<{}>", file.path),
        Value::Artifact(Artifact::Output { action, name }) => {
            format!("<{name} of {}#{}>", action.label, action.index)
        }
        Value::Layer(layer) => show_layer(layer),
        Value::Step(step) => {
            let attributes = step.attributes.iter().map(|(name, value)| format!("{name}={}", show(value)));
            format!("{}({})", step.kind, attributes.collect::<Vec<_>>().join(", "))
        }
        Value::Source(source) => {
            let attributes = source.attributes.iter().map(|(name, value)| format!("{name}={}", show(value)));
            format!("{}({})", source.kind, attributes.collect::<Vec<_>>().join(", "))
        }
        Value::Struct(entries) => format!("struct({})", fields(entries)),
        Value::Provider(provider) => format!("{}({})", provider.id.name, fields(&provider.fields)),
    }
}
