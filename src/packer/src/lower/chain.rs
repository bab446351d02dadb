//! The actions of one build, in the making.

use std::sync::Arc;

use imgbuild_model::{
    Action, ActionRef, Artifact, Attributes, ChainState, Configuration, Diagnostic, Diagnostics, EntryKind,
    KindId, Label, LayerRef, Location, PackagePath, Severity, Source, SourceFile, TargetName, Value,
    WorkspacePath,
};
use imgbuild_packer_functions::joined;

use super::config::Config;
use super::{Export, FileContent, Lowered, Makes, Purpose, Surroundings, steps};
use crate::recipe::{Recipe, Step};

/// Where a build's commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// There is none: only what runs on the host can be carried out.
    None,
    /// There is none, and what needs one is passed over, as Packer's `file` builder does.
    Mock,
    /// A machine that is reached over SSH.
    Host,
    /// The tree of an image.
    Rootfs {
        /// Whether steps have the network.
        network: bool,
    },
}

/// The actions so far.
pub(super) struct Chain<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) machine: Machine,
    label: Label,
    configuration: Configuration,
    actions: Vec<Arc<Action>>,
    provisioners: Vec<Option<usize>>,
    layer: Option<LayerRef>,
    makes: Makes,
    cleanup: Option<Box<Lowered>>,
    problems: Vec<Diagnostic>,
    current: Option<usize>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(recipe: &'a Recipe, around: &'a Surroundings<'a>) -> Self {
        Self {
            recipe,
            around,
            machine: Machine::None,
            label: around.label.clone(),
            configuration: around.configuration.clone(),
            actions: Vec::new(),
            provisioners: Vec::new(),
            layer: None,
            makes: Makes::Nothing,
            cleanup: None,
            problems: Vec::new(),
            current: None,
        }
    }

    pub(super) fn set_platform(&mut self, platform: imgbuild_model::Platform) {
        self.configuration.platform = platform;
    }

    pub(super) fn problem(&mut self, problem: Diagnostic) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The start of a chain.
    pub(super) fn start(&mut self, kind: &str, attributes: Attributes, state: ChainState) {
        let location = self.recipe.location.clone();
        let source = Source { kind: KindId::new(kind), attributes, location };
        let action = self.declare(Action {
            kind: source.kind.clone(),
            parent: None,
            attributes: source.attributes.clone(),
            outputs: Vec::new(),
            joins: Vec::new(),
            location: source.location.clone(),
            source: Some(Arc::new(source)),
        });
        self.layer = Some(LayerRef { action, state: Arc::new(state) });
    }

    /// The start of a chain that has no machine.
    pub(super) fn start_from_nothing(&mut self) {
        if &*self.recipe.kind == "file" {
            self.machine = Machine::Mock;
        }
        self.start("scratch", Attributes::default(), ChainState::default());
    }

    /// A step on the layer so far.
    pub(super) fn step(&mut self, kind: &str, attributes: Vec<(&str, Value)>, location: &Location) {
        let outputs =
            if matches!(kind, "download" | "goss_validate") { vec!["files".into()] } else { Vec::new() };
        let attributes = attributes_of(attributes);
        let Some(parent) = self.layer.clone() else { return };
        let action = self.declare(Action {
            kind: KindId::new(kind),
            source: None,
            parent: Some(parent.clone()),
            attributes,
            outputs,
            joins: Vec::new(),
            location: location.clone(),
        });
        self.layer = Some(LayerRef { action, state: parent.state });
    }

    /// An export of the layer so far; gives its place.
    pub(super) fn export(&mut self, kind: &str, attributes: Vec<(&str, Value)>, output: &str) -> u32 {
        let action = self.declare(Action {
            kind: KindId::new(kind),
            source: None,
            parent: self.layer.clone(),
            attributes: attributes_of(attributes),
            outputs: vec![output.into()],
            joins: Vec::new(),
            location: self.recipe.location.clone(),
        });
        action.index
    }

    fn declare(&mut self, action: Action) -> Arc<ActionRef> {
        let index = u32::try_from(self.actions.len()).unwrap_or(u32::MAX);
        self.actions.push(Arc::new(action));
        self.provisioners.push(self.current);
        Arc::new(ActionRef { label: self.label.clone(), configuration: self.configuration.clone(), index })
    }

    /// All provisioners.
    pub(super) fn provision(&mut self) {
        for (place, step) in self.recipe.provisioners.iter().enumerate() {
            self.current = Some(place);
            self.provisioner(step);
        }
        self.current = None;
        self.provision_cleanup();
    }

    /// What runs if something failed. A step that is not known until then is passed over, as elsewhere, when it is looked at
    /// alone.
    fn provision_cleanup(&mut self) {
        let Some(step) = self.recipe.error_cleanup.as_ref() else { return };
        if self.around.purpose == Purpose::Target {
            let warning = Diagnostic::warning("`error-cleanup-provisioner` is not carried out for a target");
            return self.problem(warning.at(step.location.clone()));
        }
        let mut chain = Chain::new(self.recipe, self.around);
        // A name of its own: what is noted of failures and of changes is by name.
        chain.label.name = chain.label.name.part("error-cleanup-provisioner");
        chain.machine = self.machine;
        chain.configuration = self.configuration.clone();
        let state = self.layer.as_ref().map(|layer| (*layer.state).clone()).unwrap_or_default();
        let (kind, attributes) = match (self.machine, self.actions.first()) {
            (Machine::Host, Some(source)) => (source.kind.as_str(), source.attributes.clone()),
            _ => ("scratch", Attributes::default()),
        };
        chain.start(kind, attributes, state);
        chain.current = Some(0);
        chain.provisioner(step);
        match chain.finish() {
            Ok(lowered) => self.cleanup = Some(Box::new(lowered)),
            Err(problems) => problems.0.into_iter().for_each(|problem| self.problem(problem)),
        }
    }

    /// One provisioner.
    fn provisioner(&mut self, step: &'a Step) {
        let config = Config::new(&step.settings, self.around.holes, self.recipe.dialect);
        match config.unknown().first() {
            None => steps::lower(step, &config, self),
            Some(_) if self.around.purpose == Purpose::Check => {}
            Some(location) => {
                let message = "this is only known while the build runs, and no key can be made of it";
                self.problem(Diagnostic::error(message).at(location.clone()));
            }
        }
    }

    /// Looks for the files that provisioners name, where another program carries them out.
    pub(super) fn look_for_files(&mut self) {
        for step in &self.recipe.provisioners {
            let config = Config::new(&step.settings, self.around.holes, self.recipe.dialect);
            for name in steps::files_of(&step.kind, &config) {
                for path in config.texts(name).iter().filter(|path| !path.contains("{{")) {
                    self.input(path, &config.location(name));
                }
            }
        }
    }

    pub(super) fn makes(&mut self, makes: Makes) {
        self.makes = makes;
    }

    /// What the `file` builder makes.
    pub(super) fn make_file(&mut self, config: &Config<'_>) {
        let shown = config.text("target").unwrap_or_default();
        let from = match config.text("source") {
            Some(source) => {
                let path = self.absolute(&source);
                if self.around.files.kind(&path) != Some(EntryKind::File) {
                    let error = Diagnostic::error(format!("there is no file `{source}`"));
                    self.problem(error.at(config.location("source")));
                }
                FileContent::Copy(path, source)
            }
            None => FileContent::Text(config.hidden("content").unwrap_or_default()),
        };
        let target = self.absolute(&shown);
        if self.around.purpose == Purpose::Target {
            return self.write_file(config, from, target, shown);
        }
        self.makes = Makes::File { target, shown, from };
    }

    /// The file as an output.
    fn write_file(&mut self, config: &Config<'_>, from: FileContent, target: String, shown: String) {
        let attribute = match from {
            FileContent::Text(text) => ("content", Value::string(&text)),
            FileContent::Copy(_, source) => match self.input(&source, &config.location("source")) {
                Some((file, _)) => ("src", Value::list([file])),
                None => return,
            },
        };
        let output = target.rsplit('/').next().unwrap_or_default().to_owned();
        let action = self.export("write_file", vec![attribute], &output);
        self.makes =
            Makes::Exports(vec![Export { action, output: output.into(), destination: target, shown }]);
    }

    /// A path of the host as a step names it when it runs: absolute, or relative to the workspace.
    pub(super) fn on_host(&self, path: &str) -> String {
        let absolute = self.absolute(path);
        match self.around.purpose {
            Purpose::Target => absolute.trim_start_matches('/').to_owned(),
            _ => absolute,
        }
    }

    /// A path of the host, absolute and without `.` and `..`.
    pub(super) fn absolute(&self, path: &str) -> String {
        joined(self.around.cwd, path)
    }

    /// A file or folder of the host as an input; `None` if there is none, which is told.
    pub(super) fn input(&mut self, path: &str, location: &Location) -> Option<(Value, EntryKind)> {
        let absolute = self.absolute(path);
        let Some(kind) = self.around.files.kind(&absolute) else {
            let error =
                Diagnostic::error(format!("there is no file or folder `{path}`")).at(location.clone());
            self.problem(error.hint(format!("it is looked for as `{absolute}`")));
            return None;
        };
        let inner = absolute.trim_start_matches('/');
        match (WorkspacePath::new(inner), TargetName::new(inner)) {
            (Ok(path), Ok(name)) => {
                let label = Label::new(PackagePath::root(), name);
                Some((Value::Artifact(Artifact::Source(SourceFile { label, path })), kind))
            }
            (Err(error), _) | (_, Err(error)) => {
                self.problem(Diagnostic::error(error.to_string()).at(location.clone()));
                None
            }
        }
    }

    pub(super) fn finish(self) -> Result<Lowered, Diagnostics> {
        if self.problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(Diagnostics(self.problems));
        }
        Ok(Lowered {
            name: self.recipe.name.clone(),
            label: self.label,
            configuration: self.configuration,
            actions: self.actions,
            provisioners: self.provisioners,
            layer: self.layer,
            makes: self.makes,
            cleanup: self.cleanup,
            warnings: Diagnostics(self.problems),
        })
    }
}

pub(super) fn attributes_of(attributes: Vec<(&str, Value)>) -> Attributes {
    attributes
        .into_iter()
        .filter(|(_, value)| *value != Value::None)
        .map(|(name, value)| (name.into(), value))
        .collect()
}
