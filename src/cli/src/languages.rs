//! Both languages of a workspace: `BUILD.star` declares all targets, and those that are templates are read by the front
//! end for templates.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use imgbuild_engine::secrets::{Fillings, NamedSecret};
use imgbuild_model::{
    ActionRef, Analysis, AnalysisRequest, Artifact, AttributeValue, Attributes, Dependency, Diagnostic,
    Diagnostics, Files, FrontEnd, Label, LayerRef, LoadedPackage, Location, Package, PackagePath, Platform,
    Provider, ProviderId, Read, Secret, Target, Value, WorkspacePath,
};
use imgbuild_packer::lower::{ARTIFACTS, Lowered, Makes, RealPacker};
use imgbuild_packer::target::{Declared, Opened};
use imgbuild_plan::DiskFiles;
use imgbuild_starlark::{
    Limits, Starlark, default_info, image_info, packer_template, template_build_info, template_info,
};

use crate::template::real_packer;

/// The attribute of a template's target that holds the labels of its builds, and that of a build's with its name. No rule
/// has attributes of such names.
const BUILDS: &str = "[builds]";
const BUILD: &str = "[build]";

/// Reads a template once, whoever asks first.
type Reading = Arc<OnceLock<Result<Arc<Opened>, Diagnostics>>>;

/// The front end of the program.
pub(crate) struct Languages {
    starlark: Arc<Starlark>,
    files: Arc<DiskFiles>,
    templates: Mutex<HashMap<Declaration, Reading>>,
    real: OnceLock<Result<Option<RealPacker>, String>>,
    warnings: Mutex<Vec<Diagnostic>>,
}

impl Languages {
    /// The languages of a workspace. The prelude is loaded meanwhile: a fifth of the time of a small build with nothing to
    /// do.
    pub(crate) fn new(files: &DiskFiles) -> Self {
        let starlark = Arc::new(Starlark::new(Limits::default()));
        let preloaded = Arc::clone(&starlark);
        std::thread::spawn(move || preloaded.preload());
        Self {
            starlark,
            files: Arc::new(files.clone()),
            templates: Mutex::default(),
            real: OnceLock::new(),
            warnings: Mutex::default(),
        }
    }

    /// What is to be known of the templates that were read, each once.
    pub(crate) fn warnings(&self) -> Vec<Diagnostic> {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for opened in self.opened() {
            warnings.extend(opened.warnings().0.iter().cloned());
        }
        let key = |one: &Diagnostic| (one.location.clone(), one.message.clone());
        warnings.sort_by_key(key);
        warnings.dedup();
        warnings
    }

    /// What the marks in the actions of templates stand for.
    pub(crate) fn fillings(&self) -> Fillings {
        let run = uuid::Uuid::new_v4().to_string();
        let (mut texts, mut masked) = (BTreeMap::new(), Vec::new());
        for opened in self.opened() {
            opened.define_run(&run);
            texts.extend(opened.holes().all().into_iter().map(|hole| (hole.mark, hole.text)));
            masked.extend(opened.sensitive().iter().map(|text| NamedSecret {
                name: "sensitive".to_owned(),
                value: Secret::new(text.as_bytes().to_vec()),
            }));
        }
        Fillings::new(texts, &masked)
    }

    fn opened(&self) -> Vec<Arc<Opened>> {
        let templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        templates.values().filter_map(|reading| reading.get()?.as_ref().ok().cloned()).collect()
    }

    /// Adds the builds of a template to its package.
    fn with_builds(&self, package: &mut Package, target: &Arc<Target>) -> Result<(), Diagnostics> {
        let attributes: Attributes = target
            .attributes
            .iter()
            .filter_map(|(name, value)| match value {
                AttributeValue::Concrete(value) => Some((Arc::clone(name), value.clone())),
                AttributeValue::Sum(_) | AttributeValue::Select(_) => None,
            })
            .collect();
        if attributes.get("srcs").is_none() {
            return Err(Diagnostic::error("which files a template has cannot depend on the configuration")
                .at(target.location.clone())
                .hint("`vars` and `var_files` may: `select()` is for them")
                .into());
        }
        let owned = Declaration::new(target, &attributes);
        let builds = owned.declared().builds(Arc::clone(&self.files) as Arc<dyn Files>)?;
        let mut labels = Vec::new();
        for build in builds {
            let label = Label::new(package.path.clone(), target.label.name.part(&build));
            let mut part = Target::clone(target);
            part.label = label.clone();
            part.attributes.push((BUILD.into(), AttributeValue::Concrete(Value::string(&build))));
            package.targets.insert(label.name.clone(), Arc::new(part));
            labels.push(Value::Label(label));
        }
        let mut whole = Target::clone(target);
        whole.attributes.push((BUILDS.into(), AttributeValue::Concrete(Value::list(labels))));
        package.targets.insert(whole.label.name.clone(), Arc::new(whole));
        Ok(())
    }

    /// The template of a build's target, read.
    fn open(&self, target: &Target, attributes: &Attributes) -> Result<Arc<Opened>, Diagnostics> {
        let owned = Declaration::new(target, attributes);
        let reading = {
            let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(templates.entry(owned.clone()).or_default())
        };
        let open = || owned.declared().open(Arc::clone(&self.files) as Arc<dyn Files>).map(Arc::new);
        reading.get_or_init(open).clone()
    }

    fn build(&self, name: &str, request: &AnalysisRequest<'_>) -> Result<Analysis, Diagnostics> {
        let opened = self.open(request.target, &request.attributes)?;
        let target = request.target;
        let Some(recipe) = opened.build(name) else {
            return Err(Diagnostic::error(format!(
                "the template has no build `{name}` with these variables"
            ))
            .at(target.location.clone())
            .into());
        };
        let ask = || self.real.get_or_init(real_packer::ask).clone();
        let lowered = opened.lower(recipe, &target.label, request.configuration, &ask)?;
        if lowered.configuration.platform != request.configuration.platform {
            let (said, wanted) = (lowered.configuration.platform, request.configuration.platform);
            return Err(Diagnostic::error(format!("`{}` is for {said}, and not for {wanted}", target.label))
                .at(opened.place(&recipe.location))
                .hint("the template says so with `platform`, which may be a variable of it")
                .into());
        }
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.extend(lowered.warnings.0.iter().cloned());
        if let (false, Some(post)) =
            (matches!(lowered.makes, Makes::Delegated { .. }), recipe.post_processors.iter().flatten().next())
        {
            warnings.push(
                Diagnostic::warning("post-processors are not carried out for a target")
                    .at(opened.place(&post.location))
                    .hint("`imgbuild build TEMPLATE` does"),
            );
        }
        drop(warnings);
        Ok(analysis(name, &recipe.kind, lowered))
    }
}

/// What a template's target says, taken out of its attributes: each such template is read once.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Declaration {
    label: Label,
    location: Location,
    srcs: Vec<WorkspacePath>,
    vars: Vec<(String, String)>,
    var_files: Vec<WorkspacePath>,
}

impl Declaration {
    fn new(target: &Target, attributes: &Attributes) -> Self {
        let paths = |name: &str| {
            let items = attributes.get(name).and_then(Value::as_list).unwrap_or_default();
            let path = |item: &Value| match item {
                Value::Label(label) => Some(label.path()),
                _ => None,
            };
            items.iter().filter_map(path).collect()
        };
        let vars = attributes.get("vars").and_then(Value::as_dict).unwrap_or_default().iter();
        Self {
            label: Label::new(target.label.package.clone(), target.label.name.whole()),
            location: target.location.clone(),
            srcs: paths("srcs"),
            vars: vars
                .filter_map(|(name, value)| Some((name.to_string(), value.as_str()?.to_owned())))
                .collect(),
            var_files: paths("var_files"),
        }
    }

    fn declared(&self) -> Declared<'_> {
        Declared {
            label: &self.label,
            location: &self.location,
            srcs: &self.srcs,
            vars: &self.vars,
            var_files: &self.var_files,
        }
    }
}

fn provider<const N: usize>(id: ProviderId, fields: [(&str, Value); N]) -> Arc<Provider> {
    let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Arc::new(Provider { id, fields })
}

/// What a build of a template gives.
fn analysis(name: &str, builder: &str, lowered: Lowered) -> Analysis {
    let reference = |index: u32| {
        let (label, configuration) = (lowered.label.clone(), lowered.configuration.clone());
        Arc::new(ActionRef { label, configuration, index })
    };
    let output = |action: u32, name: &str| Artifact::Output { action: reference(action), name: name.into() };
    let files: Vec<(Arc<str>, Artifact)> = match &lowered.makes {
        Makes::Exports(exports) => exports
            .iter()
            .map(|export| {
                let kind = lowered.actions[export.action as usize].kind.as_str().into();
                (kind, output(export.action, &export.output))
            })
            .collect(),
        Makes::Delegated { action } => vec![("packer_build".into(), output(*action, ARTIFACTS))],
        Makes::Nothing | Makes::File { .. } => Vec::new(),
    };
    let layer = |layer: &Option<LayerRef>| layer.clone().map_or(Value::None, Value::Layer);
    let mut providers = vec![
        provider(
            default_info(),
            [("files", Value::list(files.iter().map(|(_, file)| Value::Artifact(file.clone()))))],
        ),
        provider(
            template_build_info(),
            [
                ("name", Value::string(name)),
                ("builder", Value::string(builder)),
                ("layer", layer(&lowered.layer)),
            ],
        ),
    ];
    if builder == "rootfs" {
        let seal = lowered.layer.as_ref().and_then(|layer| lowered.actions.get(layer.action.index as usize));
        let exports = files.iter().map(|(kind, file)| {
            let fields =
                [("kind", Value::String(Arc::clone(kind))), ("artifact", Value::Artifact(file.clone()))];
            Value::Struct(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
        });
        providers.push(provider(
            image_info(),
            [
                ("layer", layer(&lowered.layer)),
                ("unsealed", layer(&seal.and_then(|seal| seal.parent.clone()))),
                ("exports", Value::list(exports)),
                ("platform", Value::string(&lowered.configuration.platform.to_string())),
            ],
        ));
    }
    Analysis { providers: providers.into(), actions: lowered.actions }
}

/// What a template gives as a whole: the files of its builds, and the image, if only one of them is one.
fn whole(labels: &[Value], dependencies: &BTreeMap<Label, Dependency>) -> Analysis {
    let builds: Vec<&Dependency> = labels
        .iter()
        .filter_map(|label| match label {
            Value::Label(label) => dependencies.get(label),
            _ => None,
        })
        .collect();
    let find = |build: &Dependency, id: &ProviderId| {
        build.providers.iter().find(|provider| provider.id == *id).cloned()
    };
    let files = builds
        .iter()
        .filter_map(|build| find(build, &default_info()))
        .flat_map(|info| info.field("files").and_then(Value::as_list).unwrap_or_default().to_vec());
    let mut providers = vec![
        provider(default_info(), [("files", Value::list(files))]),
        provider(template_info(), [("builds", Value::list(labels.to_vec()))]),
    ];
    let images: Vec<_> = builds.iter().filter_map(|build| find(build, &image_info())).collect();
    if let [image] = images.as_slice() {
        providers.push(Arc::clone(image));
    }
    Analysis { providers: providers.into(), actions: Vec::new() }
}

impl FrontEnd for Languages {
    fn load(&self, package: &PackagePath, files: &dyn Files) -> Result<LoadedPackage, Diagnostics> {
        let loaded = self.starlark.load(package, files)?;
        let rule = packer_template();
        let templates: Vec<Arc<Target>> =
            loaded.package.targets.values().filter(|target| target.rule == rule).cloned().collect();
        if templates.is_empty() {
            return Ok(loaded);
        }
        let targets = loaded.package.targets.clone();
        let mut with_builds = Package { path: loaded.package.path.clone(), targets };
        let mut problems = Vec::new();
        for target in &templates {
            problems
                .extend(self.with_builds(&mut with_builds, target).err().into_iter().flat_map(|all| all.0));
        }
        let srcs = templates.iter().flat_map(|target| match target.attribute("srcs") {
            Some(AttributeValue::Concrete(Value::List(items))) => items.to_vec(),
            _ => Vec::new(),
        });
        let files = srcs.filter_map(|item| match item {
            Value::Label(label) => Some(Read::File(label.path())),
            _ => None,
        });
        let mut reads: Vec<Read> = loaded.reads.iter().cloned().chain(files).collect();
        reads.sort();
        reads.dedup();
        if problems.is_empty() {
            Ok(LoadedPackage { package: Arc::new(with_builds), reads: reads.into(), ..loaded })
        } else {
            Err(Diagnostics(problems))
        }
    }

    fn source_file(&self, label: &Label) -> Dependency {
        self.starlark.source_file(label)
    }

    fn platforms(&self, target: &Target, attributes: &Attributes) -> Option<Vec<Platform>> {
        let name = attributes.str(BUILD);
        if name.is_none() && attributes.get(BUILDS).is_none() {
            return self.starlark.platforms(target, attributes);
        }
        // What is wrong with the template is told when it is analyzed.
        let opened = self.open(target, attributes).ok()?;
        opened.platform(name).map(|platform| vec![platform])
    }

    fn analyze(&self, request: &AnalysisRequest<'_>) -> Result<Analysis, Diagnostics> {
        if let Some(name) = request.attributes.str(BUILD) {
            return self.build(name, request);
        }
        match request.attributes.get(BUILDS).and_then(Value::as_list) {
            Some(labels) => Ok(whole(labels, request.dependencies)),
            None => self.starlark.analyze(request),
        }
    }
}
