//! Goss files: the check `goss` of images and the step `goss_validate` of templates.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use imgbuild_checks::datum::Datum;
use imgbuild_checks::machine::{Machine, PackageManager, Surroundings};
use imgbuild_checks::report::{Format, FormatOptions, Outcome as TestOutcome, TestResult, counts, written};
use imgbuild_checks::{Failure, GossFile, InputFile, Known, NotBooted, load, read_vars};
use imgbuild_engine::outputs::{write_error, write_whole};
use imgbuild_engine::{ActionContext, ActionError, Executor, Outcome, Session};
use imgbuild_model::{Artifact, Attributes, Step, Stream, Value};

use crate::checks::{Found, Record, files_below};
use crate::shell;

/// The code behind `goss_validate`.
pub(crate) struct GossValidate;

/// What a check or step says, with what it is given.
struct Plan {
    main: InputFile,
    inputs: Vec<InputFile>,
    known: Known,
    around: Surroundings,
    packages: Option<PackageManager>,
    not_booted: NotBooted,
}

fn pairs(context: &ActionContext, attributes: &Attributes, name: &str) -> BTreeMap<String, String> {
    let entries = attributes.get(name).and_then(Value::as_dict).unwrap_or_default();
    let filled = |(key, value): &(std::sync::Arc<str>, Value)| {
        Some((key.to_string(), context.fillings.fill(value.as_str()?)))
    };
    entries.iter().filter_map(filled).collect()
}

/// The files that a value names, with the names that the user knows them by; folders with all that is in them.
fn inputs(context: &ActionContext, value: &Value, found: &mut Vec<InputFile>) -> Result<(), ActionError> {
    if let Value::List(items) = value {
        return items.iter().try_for_each(|item| inputs(context, item, found));
    }
    for file in context.files_of(value)? {
        let shown = match value {
            // The workspace of a template is the whole disk.
            Value::Artifact(Artifact::Source(source)) if context.workspace == Path::new("/") => {
                format!("/{}", source.path.as_str())
            }
            Value::Artifact(Artifact::Source(source)) => source.path.as_str().to_owned(),
            _ => file.name.clone(),
        };
        // Beside the others by its own name, as goss finds it once all is put into one folder.
        let place = Path::new("/").join(&file.name);
        if found.iter().any(|other| other.found_as.iter().any(|path| path.starts_with(&place))) {
            return Err(ActionError::input(format!("two of the files are called `{}`", file.name))
                .hint("files and folders are put beside each other under their own names: rename one"));
        }
        if !file.is_directory {
            found.push(InputFile { shown, found_as: vec![place], path: file.path });
            continue;
        }
        let mut below = Vec::new();
        files_below(&file.path.canonicalize()?, &file.path, &mut below)?;
        for path in below {
            let rest = path.strip_prefix(&file.path).unwrap_or(&path).to_path_buf();
            found.push(InputFile {
                shown: format!("{shown}/{}", rest.display()),
                found_as: vec![place.join(&rest)],
                path,
            });
        }
    }
    Ok(())
}

fn plan(context: &ActionContext, attributes: &Attributes, main: &str) -> Result<Plan, ActionError> {
    let mut all = Vec::new();
    let of = |name: &str, found: &mut Vec<InputFile>| match attributes.get(name) {
        Some(value) => inputs(context, value, found),
        None => Ok(()),
    };
    if main.is_empty() {
        of("file", &mut all)?;
    }
    of("srcs", &mut all)?;
    let flat = Path::new("/").join(main);
    let main = match main {
        "" => all.first().cloned(),
        _ => all.iter().find(|input| input.found_as.contains(&flat)).cloned(),
    };
    let main = main.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|input| &*input.shown).collect();
        ActionError::input(format!(
            "no file that the check is given is `{}`",
            flat.strip_prefix("/").unwrap_or(&flat).display()
        ))
        .hint(format!("there are {}", names.join(", ")))
    })?;
    let mut vars = Vec::new();
    of("vars_file", &mut vars)?;
    let mut known = Known { env: pairs(context, attributes, "env"), ..Known::default() };
    for file in vars {
        let text = fs_err::read_to_string(&file.path)?;
        known.vars.extend(read_vars(&text, &file.shown).map_err(ActionError::Other)?);
    }
    let given = pairs(context, attributes, "vars");
    known.vars.extend(given.into_iter().map(|(name, text)| (name, Datum::Text(text))));
    let chain = shell::Surroundings::new(&context.node().state, &context.parent_metadata());
    let mut env = chain.env;
    env.extend(known.env.clone());
    let around = Surroundings {
        env,
        user: attributes.str("user").map(str::to_owned).or(chain.user),
        workdir: chain.workdir,
        network: attributes.is_true("network"),
    };
    let not_booted = match attributes.str("not_booted") {
        Some("skip") => NotBooted::Skip,
        _ => NotBooted::Fail,
    };
    let packages = attributes.str("package_manager").and_then(PackageManager::named);
    Ok(Plan { main, inputs: all, known, around, packages, not_booted })
}

impl Plan {
    /// Reads the goss file. What its templates want of the machine is read from there.
    async fn load(&mut self, session: &mut dyn Session) -> Result<GossFile, ActionError> {
        loop {
            match load(&self.main, &self.inputs, &self.known) {
                Ok(file) => return Ok(file),
                Err(Failure::Wrong(error)) => return Err(ActionError::Other(error)),
                Err(Failure::Needs(path)) => {
                    let content = session.read(&path).await?;
                    let text = content.map(|content| String::from_utf8_lossy(&content).into_owned());
                    self.known.files.insert(path, text);
                }
            }
        }
    }

    async fn check(
        &mut self,
        context: &ActionContext,
        session: &mut dyn Session,
    ) -> Result<Vec<TestResult>, ActionError> {
        // What a file of the machine holds may be another in the next try.
        self.known.files.clear();
        let file = self.load(session).await?;
        for warning in &file.warnings {
            context.line(Stream::Stderr, &format!("warning: {warning}"));
        }
        let mut machine = Machine::new(session, context.node().logs_in(), self.around.clone());
        machine.packages = self.packages;
        let results = imgbuild_checks::check(&file, &mut machine, self.not_booted).await?;
        let mask = |text: &str| context.fillings.mask(text).into_owned();
        Ok(results.into_iter().map(|result| result.map_texts(&mask)).collect())
    }
}

/// The check of images.
pub(crate) async fn check(
    context: &ActionContext,
    step: &Step,
    session: &mut dyn Session,
) -> Result<Found, ActionError> {
    let results = plan(context, &step.attributes, "")?.check(context, session).await?;
    let records = results.iter().map(|result| {
        let skipped = match &result.outcome {
            TestOutcome::Skipped(why) => {
                Some(why.as_ref().map_or_else(|| "skipped".to_owned(), |why| format!("skipped: {why}")))
            }
            _ => None,
        };
        let problem = result.problem().map(|problem| format!("{problem} (at {})", result.place()));
        Record {
            check: format!("goss {}", result.name()),
            passed: !result.failed(),
            message: problem.or(skipped),
        }
    });
    Ok(Found { records: records.collect(), cases: results.iter().map(TestResult::case).collect() })
}

#[async_trait]
impl Executor for GossValidate {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let parent = context.parent();
        let mut machine = context.machine(&parent).await?;
        let work = validate(context, machine.session());
        let done = context.cancel.unless_cancelled(work).await.unwrap_or(Err(ActionError::Cancelled));
        machine.discard().await?;
        let junit = done?;
        let blob = context.cache.put_bytes(junit.as_bytes())?;
        let output = context.node().action.outputs.first().map_or("files", |name| &**name);
        let file = imgbuild_cache::OutputFile {
            path: format!("{output}/junit.xml"),
            digest: blob.digest,
            executable: false,
        };
        Ok(Outcome { layers: parent.layers, files: vec![file], ..Outcome::default() })
    }
}

/// Carries out the step; the results as JUnit's XML.
async fn validate(context: &ActionContext, session: &mut dyn Session) -> Result<String, ActionError> {
    let main = context.text("file").unwrap_or_default();
    let mut plan = plan(context, context.attributes(), &main)?;
    let seconds = |name: &str| {
        Duration::from_secs(
            context.number(name).and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default(),
        )
    };
    let until = tokio::time::Instant::now() + seconds("retry_timeout");
    let results = loop {
        let results = plan.check(context, session).await?;
        let again = tokio::time::Instant::now() + seconds("retry_sleep");
        if counts(&results).failed == 0 || again > until {
            break results;
        }
        context.line(Stream::Stdout, "checks fail; they are tried again");
        tokio::time::sleep_until(again).await;
    };
    let format = context.text("format").and_then(|name| Format::named(&name)).unwrap_or(Format::Rspecish);
    let option = context.text("format_options");
    let is = |name: &str| option.as_deref() == Some(name);
    let verbose = is("verbose") || context.text("format").as_deref() == Some("nagios_verbose");
    let options = FormatOptions { pretty: is("pretty"), perfdata: is("perfdata"), verbose };
    written(&results, format, options).lines().for_each(|line| context.line(Stream::Stdout, line));
    let junit = written(&results, Format::Junit, FormatOptions::default());
    let counted = counts(&results);
    if counted.failed > 0 && !context.flag("inspect") {
        if let Some(dest) = context.text("dest") {
            let path = context.workspace.join(dest);
            write_whole(&path, false, &mut junit.as_bytes()).map_err(|error| write_error(&path, &error))?;
        }
        return Err(ActionError::Checks { failed: counted.failed, total: counted.total });
    }
    Ok(junit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_do_not_lead_out_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs_err::create_dir_all(path("goss/deep")).unwrap();
        for name in ["goss/a.yaml", "goss/deep/b.yaml", "other.yaml"] {
            fs_err::write(path(name), "").unwrap();
        }
        let link = |to: &str, name: &str| fs_err::os::unix::fs::symlink(to, path(name)).unwrap();
        let listed = || {
            let mut found = Vec::new();
            files_below(&path("goss").canonicalize().unwrap(), &path("goss"), &mut found).map(|()| found)
        };
        link("a.yaml", "goss/c.yaml");
        assert_eq!(listed().unwrap(), ["goss/a.yaml", "goss/c.yaml", "goss/deep/b.yaml"].map(path));
        for target in ["../other.yaml", "/etc/passwd", "nothing", "deep"] {
            link(target, "goss/bad");
            let error = listed().unwrap_err().to_string();
            assert!(error.contains("goss/bad` is a link that leads to no file of"), "{target}: {error}");
            fs_err::remove_file(path("goss/bad")).unwrap();
        }
    }
}
