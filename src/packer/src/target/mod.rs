//! Templates as targets of a workspace: `packer_template` in a `BUILD.star`.
//!
//! The workspace's root is `/` to such a template, its package's folder is the working folder. Pure: what is read goes
//! through [`imgbuild_model::Files`], and nothing else is asked. A data source that needs the world is an error.

mod workspace;

use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_hcl::value::Value;
use imgbuild_model::{
    Configuration, Diagnostic, Diagnostics, Files as WorkspaceFiles, Label, Location, NodeData, Platform,
    Severity, WorkspacePath,
};
use imgbuild_packer_functions::Host;
use jiff::Timestamp;

use crate::builders::Known;
use crate::interpolate::Run;
use crate::legacy;
use crate::load::{AnyTemplate, GivenVariables, Loaded, of_hcl, of_json};
use crate::lower::{Holes, Lowered, Lowering, Purpose, RealPacker, Surroundings, Volatile, delegate, lower};
use crate::recipe::Recipe;
use crate::template::{self, Catalog as _, Components, Files as _, Inputs};

use workspace::{FilesFrom, FunctionHost, Refused, StringHost, World};

/// How many times pure data sources are answered and the template is read again.
const ROUNDS: usize = 32;

/// A template as its target declares it.
#[derive(Clone, Copy)]
pub struct Declared<'a> {
    /// The target.
    pub label: &'a Label,
    /// Where it is declared.
    pub location: &'a Location,
    /// The files of the template, or its folder.
    pub srcs: &'a [WorkspacePath],
    /// Values of variables.
    pub vars: &'a [(String, String)],
    /// Files of variables.
    pub var_files: &'a [WorkspacePath],
}

/// A template that was read.
pub struct Opened {
    loaded: Loaded,
    world: Arc<World>,
    holes: Holes,
    cwd: String,
    /// The files of the template from the working folder, or its folder.
    sources: Vec<String>,
}

/// Where a real `packer` is and what it says of itself; `None` if there is none.
pub type AskPacker<'a> = &'a dyn Fn() -> Result<Option<RealPacker>, String>;

impl<'a> Declared<'a> {
    /// The names of its builds, in their order, as far as they are known without its variables.
    ///
    /// # Errors
    /// If the template cannot be read, or two of its builds have the same name.
    pub fn builds(self, files: Arc<dyn WorkspaceFiles>) -> Result<Vec<String>, Diagnostics> {
        let (world, cwd) = self.world(files);
        let names: Vec<String> = match self.legacy(&world, &cwd)? {
            Some(template) => self.legacy_names(&template, &world, &cwd)?,
            None => {
                let loaded = self.read(&world, &cwd);
                if !loaded.declared {
                    return Err(self.placed(loaded.into_result().err().unwrap_or_default(), &cwd));
                }
                loaded.template.pairs().map(|pair| pair.name.clone()).collect()
            }
        };
        let part = |name: &String| self.label.name.part(name);
        match names
            .iter()
            .enumerate()
            .find(|(at, name)| names[..*at].iter().any(|other| part(other) == part(name)))
        {
            None => Ok(names),
            Some((_, name)) => {
                let what = format!("two builds of the template would be `{}`", part(name));
                Err(self.error(what).hint("give their `build` blocks names that differ").into())
            }
        }
    }

    /// Reads it whole.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn open(self, files: Arc<dyn WorkspaceFiles>) -> Result<Opened, Diagnostics> {
        let (world, cwd) = self.world(files);
        let mut loaded = match self.legacy(&world, &cwd)? {
            Some(template) => self.json(template, &world, &cwd),
            None => of_hcl(self.read(&world, &cwd), &run(&world, &cwd, None), true),
        }
        .map_err(|problems| self.placed(problems, &cwd))?;
        loaded.warnings = placed(loaded.warnings, &cwd);
        loaded.warnings.0.extend(placed(std::mem::take(&mut loaded.recipes.warnings), &cwd).0);
        let mut refused = world.refused();
        refused.extend(refused_of(&loaded));
        loaded.warnings.0.extend(refused.into_iter().map(|what| self.refusal(what)));
        // All that is sensitive comes from files of the workspace. Whoever has those has the texts; the marks are the same
        // everywhere, so that results can be shared, and whoever sees keys alone could try short texts against them.
        let holes = Holes::new([0; 32], loaded.sensitive.iter().map(String::as_str));
        Ok(Opened { holes, sources: self.sources(&cwd), loaded, world, cwd })
    }

    /// Problems with their places in the workspace; that of the target for those that have none.
    fn placed(self, problems: Diagnostics, cwd: &str) -> Diagnostics {
        let mut problems = placed(problems, cwd);
        for problem in &mut problems.0 {
            problem.location.get_or_insert_with(|| self.location.clone());
        }
        problems
    }

    fn error(self, message: String) -> Diagnostic {
        Diagnostic::error(message).at(self.location.clone())
    }

    fn refusal(self, what: Refused) -> Diagnostic {
        let (what, instead) = match what {
            Refused::Clock => ("the time", "it is the start of 1970 to a target"),
            Refused::Random => ("random bytes", "those of a target follow from its label"),
            Refused::Environment => ("the environment", "a target has none: give `vars`"),
        };
        Diagnostic::warning(format!("the template of `{}` asks for {what}", self.label))
            .at(self.location.clone())
            .hint(instead)
    }

    fn world(self, files: Arc<dyn WorkspaceFiles>) -> (Arc<World>, String) {
        let cwd = format!("/{}", self.label.package.as_str());
        (Arc::new(World::new(files, self.label.to_string())), cwd)
    }

    fn sources(self, cwd: &str) -> Vec<String> {
        self.srcs.iter().map(|path| from_folder(path, cwd)).collect()
    }

    /// The template, if it is one in JSON.
    fn legacy(self, world: &World, cwd: &str) -> Result<Option<legacy::Template>, Diagnostics> {
        let [path] = self.srcs else { return Ok(None) };
        if path.as_str().ends_with(".pkr.json") || !path.as_str().ends_with(".json") {
            return Ok(None);
        }
        let name = from_folder(path, cwd);
        let text = FilesFrom { world, cwd }.read(&name);
        let text = text.map_err(|error| self.error(format!("cannot read `{path}`: {error}")))?;
        legacy::Template::parse(&name, &text).map(Some).map_err(|problems| placed(problems, cwd))
    }

    /// The names of the builders of a template in JSON: variables may be in them.
    fn legacy_names(
        self,
        template: &legacy::Template,
        world: &Arc<World>,
        cwd: &str,
    ) -> Result<Vec<String>, Diagnostics> {
        let given = self.given(world, cwd)?;
        let run = run(world, cwd, None);
        let builds = template.resolve(&run, given.given()).and_then(|values| {
            Ok(template.builds(&run, &values, &[], &[])?.into_iter().map(|own| own.name).collect())
        });
        // What is wrong is told when the template is read whole.
        let raw = |_| template.builders.iter().map(|own| own.name.text.to_string()).collect();
        Ok(builds.unwrap_or_else(raw))
    }

    fn given(self, world: &World, cwd: &str) -> Result<GivenVariables, Diagnostics> {
        let mut variables = GivenVariables::default();
        for path in self.var_files {
            let name = from_folder(path, cwd);
            let text = FilesFrom { world, cwd }.read(&name);
            let text = text.map_err(|error| self.error(format!("cannot read `{path}`: {error}")))?;
            variables.file(&name, &text)?;
        }
        variables.values(self.vars.iter().map(|(name, value)| (name, value)));
        Ok(variables)
    }

    fn json(self, template: legacy::Template, world: &Arc<World>, cwd: &str) -> Result<Loaded, Diagnostics> {
        let variables = self.given(world, cwd)?;
        let folder = self.srcs.first().and_then(|path| path.as_str().rsplit_once('/'));
        let folder = format!("/{}", folder.map_or("", |(folder, _)| folder));
        of_json(template, variables, (&[], &[]), &run(world, cwd, Some(folder)), &|_| {})
    }

    /// The template in HCL as far as it can be read; data sources that need nothing are answered.
    fn read(self, world: &Arc<World>, cwd: &str) -> template::Loaded {
        let host = |root: &str| -> Arc<dyn Host> {
            let cwd = PathBuf::from(cwd);
            Arc::new(FunctionHost { world: Arc::clone(world), root: cwd.join(root), cwd })
        };
        let catalog = Known(Components(host));
        let files = FilesFrom { world, cwd };
        let mut inputs = Inputs {
            variables: self.vars.to_vec(),
            var_files: self.var_files.iter().map(|path| from_folder(path, cwd)).collect(),
            cwd: cwd.to_owned(),
            ..Inputs::default()
        };
        let mut rounds = 0;
        loop {
            let loaded = template::read(&self.sources(cwd), &inputs, &files, &catalog);
            rounds += 1;
            if loaded.template.needs.is_empty() || rounds == ROUNDS {
                return loaded;
            }
            for request in loaded.template.needs.clone() {
                let answer = self.answer(&request.kind, &request.settings);
                let answer = answer.and_then(|answer| match catalog.data_type(&request.kind) {
                    Some(wanted) => imgbuild_hcl::value::convert(&answer, &wanted)
                        .map_err(|error| Diagnostic::error(error.to_string())),
                    None => Ok(answer),
                });
                inputs.answers.insert(request, answer);
            }
        }
    }

    fn answer(self, kind: &str, settings: &Value) -> Result<Value, Diagnostic> {
        if kind != "null" {
            let what = format!("the data source `{kind}` asks the world, and a target asks for files only");
            return Err(Diagnostic::error(what)
                .hint("`imgbuild build TEMPLATE` asks it; for a target, make its answer a variable"));
        }
        let input = settings.entries().and_then(|fields| fields.get("input").cloned());
        Ok(Value::object_of([("output", input.unwrap_or_else(|| Value::string("")))]))
    }
}

impl Opened {
    /// What the user should know of it.
    #[must_use]
    pub fn warnings(&self) -> &Diagnostics {
        &self.loaded.warnings
    }

    /// Texts that must not be shown.
    #[must_use]
    pub fn sensitive(&self) -> &[String] {
        &self.loaded.sensitive
    }

    /// The texts that marks in its actions stand for.
    #[must_use]
    pub fn holes(&self) -> &Holes {
        &self.holes
    }

    /// A build by its name.
    #[must_use]
    pub fn build(&self, name: &str) -> Option<&Recipe> {
        let recipes = &self.loaded.recipes.recipes;
        recipes.iter().find(|recipe| recipe.name == name || recipe.plain_name == name)
    }

    /// The platform that a build says it is for, or without a name that all builds say alike that say one.
    #[must_use]
    pub fn platform(&self, name: Option<&str>) -> Option<Platform> {
        let said = |recipe: &Recipe| match &recipe.settings.field("platform")?.value.data {
            NodeData::String(text) if &*recipe.kind == "rootfs" => text.parse().ok(),
            _ => None,
        };
        match name {
            Some(name) => self.build(name).and_then(said),
            None => {
                let mut all = self.loaded.recipes.recipes.iter().filter_map(said);
                let first = all.next()?;
                all.all(|other| other == first).then_some(first)
            }
        }
    }

    /// A build as actions of the target `label`; through a real `packer` where it is not built in.
    ///
    /// # Errors
    /// What is wrong with it; why it cannot be carried out here.
    pub fn lower(
        &self,
        recipe: &Recipe,
        label: &Label,
        configuration: &Configuration,
        ask: AskPacker<'_>,
    ) -> Result<Lowered, Diagnostics> {
        let files = FilesFrom { world: &self.world, cwd: &self.cwd };
        let around = Surroundings {
            label: label.clone(),
            configuration: configuration.clone(),
            cwd: &self.cwd,
            files: &files,
            holes: &self.holes,
            purpose: Purpose::Target,
        };
        let lowered = match lower(recipe, &around) {
            Ok(Lowering::Native(lowered)) => Ok(*lowered),
            Ok(Lowering::Foreign(why)) => match ask() {
                Ok(Some(real)) => match self.path(&files) {
                    Ok(template) => {
                        // All variables: what the environment says is no part of a key.
                        let variables = self.loaded.variables();
                        delegate(recipe, &around, &RealPacker { template, variables, ..real })
                    }
                    Err((what, hint)) => Err(why.note(what, None).hint(hint).into()),
                },
                Ok(None) => {
                    Err(why.hint("it runs through a real `packer` on the path, and there is none").into())
                }
                Err(problem) => Err(why.hint(problem).into()),
            },
            Err(problems) => Err(problems),
        };
        let mut lowered = lowered.map_err(|problems| {
            let errors = problems.0.into_iter().filter(|problem| problem.severity == Severity::Error);
            placed(Diagnostics(errors.collect()), &self.cwd)
        })?;
        lowered.warnings = placed(lowered.warnings, &self.cwd);
        for action in &mut lowered.actions {
            let action = Arc::make_mut(action);
            action.location = place(action.location.clone(), &self.cwd);
        }
        Ok(lowered)
    }

    /// A place in the template's files as one in the workspace.
    #[must_use]
    pub fn place(&self, location: &Location) -> Location {
        place(location.clone(), &self.cwd)
    }

    /// The template as a real `packer` is told of it: one file, or a folder, of which it reads all.
    fn path(&self, files: &FilesFrom<'_>) -> Result<String, (String, &'static str)> {
        let is_read = |name: &str| {
            let endings = [".pkr.hcl", ".pkr.json", ".auto.pkrvars.hcl", ".auto.pkrvars.json"];
            endings.iter().any(|ending| name.ends_with(ending))
        };
        let hint = "put the template into a folder of its own, and name all of its files in `srcs`";
        let folder_of = |path: &str| path.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned();
        let first = match self.sources.as_slice() {
            [path] => return Ok(path.clone()),
            sources => sources.first().map_or_else(|| ".".to_owned(), |path| folder_of(path)),
        };
        if let Some(other) = self.sources.iter().find(|path| folder_of(path) != first) {
            return Err((
                format!("a real `packer` reads one folder, and `{other}` is not in `{first}`"),
                hint,
            ));
        }
        let whole = |name: String| if first == "." { name } else { format!("{first}/{name}") };
        let names = files.list(&first).unwrap_or_default().into_iter().map(|(name, _)| name);
        let stranger =
            names.filter(|name| is_read(name)).map(whole).find(|path| !self.sources.contains(path));
        match stranger {
            None => Ok(first),
            Some(path) => {
                Err((format!("a real `packer` would read `{path}` too, which is not in `srcs`"), hint))
            }
        }
    }

    /// Gives volatile texts their values in this run.
    pub fn define_run(&self, run_uuid: &str) {
        self.holes.define(Volatile::RunUuid, run_uuid);
    }
}

/// What a template asked for in vain elsewhere than of its world.
fn refused_of(loaded: &Loaded) -> impl Iterator<Item = Refused> {
    let reads = &loaded.recipes.reads;
    let by_functions = match &loaded.template {
        AnyTemplate::Hcl(template) => {
            template.env_reads.iter().any(|name| !name.starts_with(template::ENVIRONMENT_PREFIX))
        }
        AnyTemplate::Legacy(_) => false,
    };
    let asked = [
        (reads.clock, Refused::Clock),
        (reads.random, Refused::Random),
        (by_functions || !reads.environment.is_empty(), Refused::Environment),
    ];
    asked.into_iter().filter_map(|(asked, what)| asked.then_some(what))
}

fn run(world: &Arc<World>, cwd: &str, template_folder: Option<String>) -> Run {
    Run {
        started: Timestamp::UNIX_EPOCH,
        folder: cwd.to_owned(),
        template_folder,
        packer_version: template::VERSION.to_owned(),
        host: Arc::new(StringHost(Arc::clone(world))),
    }
}

/// A path of the workspace as it is written in a folder of it.
fn from_folder(path: &WorkspacePath, cwd: &str) -> String {
    let parts: Vec<&str> = path.as_str().split('/').collect();
    let folder: Vec<&str> = cwd.split('/').filter(|part| !part.is_empty()).collect();
    let common = parts.iter().zip(&folder).take_while(|(one, other)| one == other).count();
    // The last name is the file's own.
    let common = common.min(parts.len() - 1);
    [vec![".."; folder.len() - common], parts[common..].to_vec()].concat().join("/")
}

/// A place in a file of the template as one in the workspace.
fn place(location: Location, cwd: &str) -> Location {
    if location.file.starts_with('<') {
        return location;
    }
    let whole = std::path::Path::new(cwd).join(&*location.file);
    let file = whole.to_str().unwrap_or_default().trim_start_matches('/');
    Location { file: file.into(), ..location }
}

fn placed(problems: Diagnostics, cwd: &str) -> Diagnostics {
    let placed = problems.0.into_iter().map(|mut problem| {
        problem.location = problem.location.map(|location| place(location, cwd));
        for note in &mut problem.notes {
            note.location = note.location.take().map(|location| place(location, cwd));
        }
        problem
    });
    Diagnostics(placed.collect())
}
