//! Templates in memory, read, lowered and migrated as the program does it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use imgbuild_hcl::value::from_json;
use imgbuild_model::{Configuration, Diagnostic, EntryKind, Label, PackagePath, TargetName};
use imgbuild_packer::interpolate::{Generated, Host, Reads, Run};
use imgbuild_packer::legacy::{self, Given};
use imgbuild_packer::load::AnyTemplate;
use imgbuild_packer::lower::{Holes, Lowered, Lowering, Purpose, Surroundings, lower};
use imgbuild_packer::migrate::{Build, Migration, Request, migrate};
use imgbuild_packer::recipe::{Recipe, Recipes, of_legacy, of_template};
use imgbuild_packer::template::{Components, Files, Inputs, Template, read};
use imgbuild_packer_functions::{LocalHost, SecretError, SecretRequest};

/// The working folder and the workspace's root.
pub const WORK: &str = "/work";

/// Files by path, relative to [`WORK`] or absolute.
pub struct Memory(pub BTreeMap<String, String>);

impl Files for Memory {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let path = path.strip_prefix("/work/").unwrap_or(path);
        let below = format!("{path}/");
        if self.0.contains_key(path) {
            Some(EntryKind::File)
        } else if path == "." || self.0.keys().any(|own| own.starts_with(&below)) {
            Some(EntryKind::Directory)
        } else {
            None
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<(String, EntryKind)>> {
        let prefix = if path == "." { String::new() } else { format!("{path}/") };
        let inside = self.0.keys().filter_map(|own| own.strip_prefix(&prefix));
        Ok(inside.filter(|name| !name.contains('/')).map(|name| (name.to_owned(), EntryKind::File)).collect())
    }

    fn read(&self, path: &str) -> io::Result<Arc<str>> {
        self.0.get(path).map(|text| text.as_str().into()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct Nowhere;

impl Host for Nowhere {
    fn environment(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/ada".to_owned())
    }

    fn secret(&self, _: &SecretRequest) -> Result<String, SecretError> {
        Ok("looked up".to_owned())
    }

    fn random(&self) -> [u8; 12] {
        [0; 12]
    }
}

fn run() -> Run {
    Run {
        started: "2024-03-05T07:08:09Z".parse().expect("a time"),
        folder: WORK.to_owned(),
        template_folder: Some(WORK.to_owned()),
        packer_version: "1.16.0".to_owned(),
        host: Arc::new(Nowhere),
    }
}

/// What is migrated.
#[derive(Default)]
pub struct Case {
    pub title: String,
    pub package: String,
    pub vars: Vec<(String, String)>,
    /// What the data sources answer, in JSON.
    pub answer: Option<String>,
    /// The working folder, if it is not [`WORK`].
    pub cwd: Option<String>,
    /// What the workspace's targets are built for.
    pub default: Option<String>,
    /// Whether something in it cannot be written, so that steps differ.
    pub holes: bool,
    pub files: Vec<(String, String)>,
    pub expected: String,
}

/// What came of it.
pub struct Outcome {
    pub lowered: Vec<Result<Lowered, Diagnostic>>,
    pub migration: Migration,
}

fn template_of(case: &Case) -> Template {
    let files = Memory(case.files.iter().cloned().collect());
    let host = |_: &str| -> Arc<dyn imgbuild_packer_functions::Host> {
        Arc::new(LocalHost::new(WORK).with_started("2024-03-05T07:08:09Z".parse().expect("a time")))
    };
    let catalog = Components(host);
    let mut inputs = Inputs { cwd: WORK.to_owned(), variables: case.vars.clone(), ..Inputs::default() };
    let path = [case.files[0].0.clone()];
    let mut loaded = read(&path, &inputs, &files, &catalog);
    if let Some(answer) = &case.answer {
        for need in std::mem::take(&mut loaded.template.needs) {
            inputs.answers.insert(need, Ok(from_json(answer).expect("an answer in JSON")));
        }
        loaded = read(&path, &inputs, &files, &catalog);
    }
    let (template, _) = loaded.into_result().unwrap_or_else(|errors| panic!("{}: {errors}", case.title));
    template
}

fn legacy_recipes(case: &Case) -> (legacy::Template, Recipes, Vec<String>) {
    let (name, text) = &case.files[0];
    let failed = |errors: imgbuild_model::Diagnostics| -> ! { panic!("{}: {errors}", case.title) };
    let template = legacy::Template::parse(name, text).unwrap_or_else(|errors| failed(errors));
    let given =
        |(name, value): &(String, String)| Given { name: name.clone(), value: value.clone(), location: None };
    let given: Vec<Given> = case.vars.iter().map(given).collect();
    let values = template.resolve(&run(), &given).unwrap_or_else(|errors| failed(errors));
    let sensitive = values.sensitive.iter().filter_map(|name| values.values.get(name).cloned()).collect();
    let builds = template.builds(&run(), &values, &[], &[]).unwrap_or_else(|errors| failed(errors));
    let names = |_: &str| Generated::Late(["ID".to_owned()].into());
    let mut recipes =
        of_legacy(&template, &builds, &values, &run(), &names).unwrap_or_else(|errors| failed(errors));
    drop(builds);
    values.reads.values().for_each(|reads| recipes.reads.merge(reads.clone()));
    (template, recipes, sensitive)
}

/// Reads, lowers and migrates.
pub fn outcome(case: &Case) -> Outcome {
    let names = |_: &str| Generated::Late(["ID".to_owned()].into());
    if case.files[0].0.contains(".pkr.") {
        let template = template_of(case);
        let recipes = of_template(&template, &run(), &names).unwrap_or_else(|errors| panic!("{errors}"));
        let hidden = template.variables.iter().filter(|variable| variable.sensitive);
        let hidden = hidden.filter_map(|variable| variable.value.as_str().map(str::to_owned)).collect();
        return of_recipes(case, &AnyTemplate::Hcl(Box::new(template)), recipes, hidden);
    }
    let (template, recipes, hidden) = legacy_recipes(case);
    of_recipes(case, &AnyTemplate::Legacy(Box::new(template)), recipes, hidden)
}

fn of_recipes(case: &Case, template: &AnyTemplate, recipes: Recipes, sensitive: Vec<String>) -> Outcome {
    let holes = Holes::new([7; 32], sensitive.iter().map(String::as_str));
    let files = Memory(case.files.iter().cloned().collect());
    let Recipes { recipes, reads, .. } = recipes;
    let lowered: Vec<_> = recipes.iter().map(|recipe| lowered(case, recipe, &files, &holes)).collect();
    let migration = migrated(case, template, &recipes, &lowered, &reads);
    Outcome { lowered, migration }
}

fn lowered(case: &Case, recipe: &Recipe, files: &Memory, holes: &Holes) -> Result<Lowered, Diagnostic> {
    let name = TargetName::new(&recipe.name).expect("a name");
    let around = Surroundings {
        label: Label::new(PackagePath::new("work").expect("a package"), name),
        configuration: Configuration {
            platform: "linux/amd64".parse().expect("a platform"),
            flags: Arc::default(),
        },
        cwd: case.cwd.as_deref().unwrap_or(WORK),
        files,
        holes,
        purpose: Purpose::WriteDown,
    };
    match lower(recipe, &around).unwrap_or_else(|errors| panic!("{}: {errors}", case.title)) {
        Lowering::Native(lowered) => Ok(*lowered),
        Lowering::Foreign(reason) => Err(reason),
    }
}

fn migrated(
    case: &Case,
    template: &AnyTemplate,
    recipes: &[Recipe],
    lowered: &[Result<Lowered, Diagnostic>],
    reads: &Reads,
) -> Migration {
    let build = |(recipe, lowered)| Build { recipe, lowered: Result::as_ref(lowered) };
    let builds: Vec<Build<'_>> = recipes.iter().zip(lowered).map(build).collect();
    let package = PackagePath::new(&case.package).expect("a package");
    let platform = case.default.as_deref().unwrap_or("linux/amd64").parse().expect("a platform");
    migrate(Request { builds: &builds, template, reads, workspace: WORK, package: &package, platform })
}
