//! `image_test`: checks of an image in a throw-away copy of it, or of the machine that was started from its disk.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use imgbuild_checks::report::{Case, CaseOutcome, junit};
use imgbuild_engine::outputs::{write_error, write_whole};
use imgbuild_engine::{ActionContext, ActionError, Command, Executor, Exit, Machine, Outcome, Session};
use imgbuild_model::{Attributes, Step, Stream, Value};
use regex::Regex;

use crate::genrule::keep;
use crate::shell::Surroundings;
use crate::{audits, goss, running, testinfra};

/// What the test of a boot is called among the checks.
const BOOT: &str = "boot";

/// The code behind `image_test`.
pub(crate) struct ImageTest;

/// What one check of a single thing found: `Ok`, or what is wrong.
pub(crate) type Verdict = Result<(), String>;

#[derive(serde::Serialize)]
pub(crate) struct Record {
    pub(crate) check: String,
    pub(crate) passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

impl Record {
    /// What is said of it.
    fn line(&self) -> String {
        let message = self.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        format!("{} {}{message}", if self.passed { "ok  " } else { "FAIL" }, self.check)
    }
}

/// What a check found, which may be of many things.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) records: Vec<Record>,
    pub(crate) cases: Vec<Case>,
}

impl Found {
    pub(crate) fn one(check: String, verdict: Verdict) -> Self {
        let outcome = match &verdict {
            Ok(()) => CaseOutcome::Passed(String::new()),
            Err(message) => CaseOutcome::Failed(message.clone(), format!("{check}: {message}")),
        };
        let case = Case { name: check.clone(), group: "checks".to_owned(), place: None, outcome };
        let record = Record { check, passed: verdict.is_ok(), message: verdict.err() };
        Self { records: vec![record], cases: vec![case] }
    }

    /// Takes in what another check found, and tells what passed.
    fn add(&mut self, context: &ActionContext, found: Self) {
        let found = found.masked(context);
        for record in found.records.iter().filter(|record| record.passed) {
            context.line(Stream::Stdout, &record.line());
        }
        self.records.extend(found.records);
        self.cases.extend(found.cases);
    }

    /// Without what must not be shown.
    fn masked(mut self, context: &ActionContext) -> Self {
        let mask = |text: &mut String| *text = context.fillings.mask(text).into_owned();
        for record in &mut self.records {
            mask(&mut record.check);
            record.message.as_mut().map(mask);
        }
        self.cases = self.cases.into_iter().map(|case| case.map_texts(&mask)).collect();
        self
    }

    fn tell_failures(&self, context: &ActionContext) {
        for record in self.records.iter().filter(|record| !record.passed) {
            context.line(Stream::Stdout, &record.line());
        }
    }

    fn write(&self, context: &ActionContext, reports: &Path) -> Result<(), ActionError> {
        let text = serde_json::to_vec_pretty(&self.records).unwrap_or_default();
        fs_err::write(reports.join("test.json"), &text)?;
        let junit = junit(&context.node().label().to_string(), &self.cases);
        Ok(fs_err::write(reports.join("junit.xml"), junit)?)
    }
}

#[async_trait]
impl Executor for ImageTest {
    async fn execute(&self, context: &ActionContext) -> Result<Outcome, ActionError> {
        let steps: Vec<_> = context
            .attributes()
            .get("checks")
            .and_then(Value::as_list)
            .unwrap_or_default()
            .iter()
            .filter_map(|value| match value {
                Value::Step(step) => Some(step.clone()),
                _ => None,
            })
            .collect();
        let boots = running::boots(context.node(), &context.graph);
        if steps.is_empty() && !boots {
            return Err(ActionError::input("`image_test` has no checks"));
        }
        let reports = context.temporary.join("reports");
        fs_err::create_dir_all(&reports)?;
        let mut all = Found::default();
        let started = start(
            context,
            steps.iter().any(|step| running::is_of_a_system(step)) || boots && !steps.is_empty(),
        )
        .await;
        if boots && !matches!(started, Err(ActionError::Cancelled)) {
            let verdict = started.as_ref().map(|_| ()).map_err(ToString::to_string);
            all.add(context, Found::one(BOOT.to_owned(), verdict));
            if started.is_err() {
                all.tell_failures(context);
                all.write(context, &reports)?;
                hand_out(context, &reports)?;
            }
        }
        let mut machine = started?;
        for step in &steps {
            let work = check(context, step, machine.session(), &reports);
            let found = match heeds_cancel(step) {
                true => work.await,
                false => context.cancel.unless_cancelled(work).await.unwrap_or(Err(ActionError::Cancelled)),
            };
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    // The check's own error says more than one of the clearing up.
                    let _ = machine.discard().await;
                    return Err(error);
                }
            };
            all.add(context, found);
        }
        machine.discard().await?;
        all.write(context, &reports)?;
        let failed = all.records.iter().filter(|record| !record.passed).count();
        if failed > 0 {
            // Last, where it is seen: audits say much.
            all.tell_failures(context);
            hand_out(context, &reports)?;
            return Err(ActionError::Checks { failed, total: all.records.len() });
        }
        let path = context.node().action.outputs.first().map_or("test.json", |name| &**name).to_owned();
        let mut files = Vec::new();
        // A file has the records alone, a folder all reports.
        let from = if path.ends_with(".json") { reports.join("test.json") } else { reports };
        keep(context, &from, &path, &mut files)?;
        Ok(Outcome { files, ..Outcome::default() })
    }
}

/// Starts what is checked; where its system is looked at, that is up then.
async fn start(context: &ActionContext, looks_at_system: bool) -> Result<Box<dyn Machine>, ActionError> {
    let mut machine = context.machine(&context.parent()).await?;
    if looks_at_system && let Err(error) = running::wait_for_boot(context, machine.session()).await {
        // The error itself says more than one of the clearing up.
        let _ = machine.discard().await;
        return Err(error);
    }
    Ok(machine)
}

/// Puts the reports of a test that fails where its author wants them.
fn hand_out(context: &ActionContext, reports: &Path) -> Result<(), ActionError> {
    if let Some(folder) = context.text("failed_reports") {
        copy_folder(reports, &context.workspace.join(&folder))?;
        context.line(Stream::Stdout, &format!("the reports are in {folder}"));
    }
    Ok(())
}

/// Copies files to where the user looks for them.
fn copy_folder(from: &Path, to: &Path) -> Result<(), ActionError> {
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            let mut file = fs_err::File::open(entry.path())?;
            write_whole(&target, false, &mut file).map_err(|error| write_error(&target, &error))?;
        }
    }
    Ok(())
}

/// The folder for the reports of a check.
pub(crate) fn report_folder(reports: &Path, name: &str) -> Result<PathBuf, ActionError> {
    let mut path = reports.join(name);
    let mut number = 2;
    while path.exists() {
        path = reports.join(format!("{name}-{number}"));
        number += 1;
    }
    fs_err::create_dir_all(&path)?;
    Ok(path)
}

/// All files of a folder, sorted. A link is one where it leads to a file of the same `whole` folder: what is elsewhere is no input.
pub(crate) fn files_below(whole: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), ActionError> {
    let mut entries: Vec<PathBuf> =
        fs_err::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        let kind = fs_err::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            files_below(whole, &path, files)?;
            continue;
        }
        if kind.is_symlink() {
            let leads_to = path.canonicalize().ok().filter(|target| target.is_file());
            if !leads_to.is_some_and(|target| target.starts_with(whole)) {
                return Err(ActionError::input(format!(
                    "`{}` is a link that leads to no file of `{}`",
                    path.display(),
                    whole.display()
                ))
                .hint("name what it leads to in `srcs`, and remove the link"));
            }
        }
        files.push(path);
    }
    Ok(())
}

/// Whether a check ends by itself, and in good order, when the run is cancelled.
fn heeds_cancel(step: &Step) -> bool {
    step.kind.as_str() == "testinfra"
}

fn title(step: &Step) -> String {
    let attributes = &step.attributes;
    let port = || attributes.get("port").and_then(Value::as_int).map(|port| port.to_string());
    let detail =
        ["path", "name"].iter().find_map(|name| attributes.str(name)).map(str::to_owned).or_else(port);
    let command: Vec<&str> = attributes.strings("command").collect();
    format!("{} {}", step.kind, detail.unwrap_or_else(|| command.join(" ")))
}

async fn check(
    context: &ActionContext,
    step: &Step,
    session: &mut dyn Session,
    reports: &Path,
) -> Result<Found, ActionError> {
    let attributes = &step.attributes;
    let verdict = match step.kind.as_str() {
        "goss" => return goss::check(context, step, session).await,
        "openscap" => return audits::openscap(context, step, session, reports).await,
        "lynis" => return audits::lynis(context, step, session, reports).await,
        "testinfra" => return testinfra::check(context, step, session, reports).await,
        "unit_active" => running::unit_active(context, attributes, session).await,
        "port_listening" => running::port_listening(context, attributes, session).await,
        "command_succeeds" => command_succeeds(context, attributes, session).await,
        "file_exists" => file_exists(attributes, session).await,
        "file_absent" => file_absent(attributes, session).await,
        "user_exists" => user_exists(attributes, session).await,
        "package_installed" => package_installed(attributes, session).await,
        "unit_enabled" => unit_enabled(attributes, session).await,
        other => Err(ActionError::input(format!("`{other}` is no check"))),
    };
    Ok(Found::one(title(step), verdict?))
}

async fn command_succeeds(
    context: &ActionContext,
    attributes: &Attributes,
    session: &mut dyn Session,
) -> Result<Verdict, ActionError> {
    let around = Surroundings::new(&context.node().state, &context.parent_metadata());
    let command = Command {
        argv: attributes.strings("command").map(str::to_owned).collect(),
        env: around.env,
        user: attributes.str("user").map(str::to_owned).or(around.user),
        workdir: around.workdir,
        ..Command::default()
    };
    let mut stdout = String::new();
    let mut last = String::new();
    let exit = session
        .exec(&command, &mut |stream, line| {
            context.line(stream, line);
            line.clone_into(&mut last);
            if stream == Stream::Stdout {
                stdout.push_str(line);
                stdout.push('\n');
            }
        })
        .await?;
    let expected = attributes.get("exit_code").and_then(Value::as_int).unwrap_or(0);
    if exit != Exit::Code(i32::try_from(expected).unwrap_or(-1)) {
        let ended = match exit {
            Exit::Code(code) => format!("exit code {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
        };
        return Ok(Err(format!("ended with {ended}, expected exit code {expected} (last line: `{last}`)")));
    }
    Ok(match attributes.str("stdout_matches") {
        Some(pattern) => matches(pattern, &stdout, "its output")?,
        None => Ok(()),
    })
}

async fn file_exists(attributes: &Attributes, session: &mut dyn Session) -> Result<Verdict, ActionError> {
    let path = attributes.str("path").unwrap_or_default();
    let Some(found) = session.stat(path).await? else { return Ok(Err("it is not there".to_owned())) };
    if let Some(mode) = attributes.str("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok())
        && mode != found.mode
    {
        return Ok(Err(format!("its mode is {:04o}, expected {mode:04o}", found.mode)));
    }
    if let Some(owner) = attributes.str("owner") {
        let wanted = session.identity(owner).await?;
        if wanted != (found.uid, found.gid) {
            return Ok(Err(format!("its owner is {}:{}, expected {owner}", found.uid, found.gid)));
        }
    }
    if let Some(target) = attributes.str("link_target")
        && found.link_target.as_deref() != Some(target)
    {
        return Ok(Err(match found.link_target {
            Some(other) => format!("it says `{other}`, expected `{target}`"),
            None => "it is no symbolic link".to_owned(),
        }));
    }
    if let Some(pattern) = attributes.str("content_matches") {
        let content = session.read(path).await?.unwrap_or_default();
        return matches(pattern, &String::from_utf8_lossy(&content), "its text");
    }
    Ok(Ok(()))
}

async fn file_absent(attributes: &Attributes, session: &mut dyn Session) -> Result<Verdict, ActionError> {
    let path = attributes.str("path").unwrap_or_default();
    Ok(match session.stat(path).await? {
        None => Ok(()),
        Some(_) => Err("it is there".to_owned()),
    })
}

async fn user_exists(attributes: &Attributes, session: &mut dyn Session) -> Result<Verdict, ActionError> {
    let name = attributes.str("name").unwrap_or_default();
    let passwd = text(session, "/etc/passwd").await?;
    let Some(line) = passwd.lines().find(|line| line.split(':').next() == Some(name)) else {
        return Ok(Err("there is no such user".to_owned()));
    };
    let uid = line.split(':').nth(2).and_then(|uid| uid.parse::<i64>().ok());
    if let Some(wanted) = attributes.get("uid").and_then(Value::as_int)
        && uid != Some(wanted)
    {
        return Ok(Err(format!("its number is {}, expected {wanted}", uid.unwrap_or(-1))));
    }
    let group = text(session, "/etc/group").await?;
    let primary = line.split(':').nth(3).unwrap_or_default();
    for wanted in attributes.strings("groups") {
        let is_member = group.lines().any(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            fields.first() == Some(&wanted)
                && (fields.get(2) == Some(&primary)
                    || fields.get(3).is_some_and(|list| list.split(',').any(|member| member == name)))
        });
        if !is_member {
            return Ok(Err(format!("it is not in group `{wanted}`")));
        }
    }
    Ok(Ok(()))
}

async fn package_installed(
    attributes: &Attributes,
    session: &mut dyn Session,
) -> Result<Verdict, ActionError> {
    let name = attributes.str("name").unwrap_or_default();
    let status = text(session, "/var/lib/dpkg/status").await?;
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    let found = status.split("\n\n").find(|paragraph| {
        field(paragraph, "Package").as_deref() == Some(name)
            && field(paragraph, "Status").is_some_and(|status| status.ends_with(" installed"))
    });
    let Some(found) = found else { return Ok(Err("it is not installed".to_owned())) };
    let version = field(found, "Version").unwrap_or_default();
    Ok(match attributes.str("version") {
        Some(wanted) if wanted != version => Err(format!("its version is {version}, expected {wanted}")),
        _ => Ok(()),
    })
}

async fn unit_enabled(attributes: &Attributes, session: &mut dyn Session) -> Result<Verdict, ActionError> {
    let name = attributes.str("name").unwrap_or_default();
    let links = session.list("/etc/systemd/system").await?;
    for folder in links.iter().filter(|entry| entry.ends_with(".wants") || entry.ends_with(".requires")) {
        if session.list(&format!("/etc/systemd/system/{folder}")).await?.iter().any(|entry| entry == name) {
            return Ok(Ok(()));
        }
    }
    Ok(Err("nothing wants or requires it".to_owned()))
}

async fn text(session: &mut dyn Session, path: &str) -> Result<String, ActionError> {
    Ok(String::from_utf8_lossy(&session.read(path).await?.unwrap_or_default()).into_owned())
}

fn matches(pattern: &str, text: &str, what: &str) -> Result<Verdict, ActionError> {
    let regex = Regex::new(pattern)
        .map_err(|error| ActionError::input(format!("`{pattern}` is no regular expression: {error}")))?;
    Ok(if regex.is_match(text) { Ok(()) } else { Err(format!("{what} does not match `{pattern}`")) })
}
