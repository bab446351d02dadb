//! The check `testinfra`: pytest of this host, with testinfra, looks at the machine over OpenSSH ([`crate::ssh_files`]).
//!
//! The tests are copied into a folder of their own, so that pytest finds no configuration, `conftest.py` or module that no key
//! has. What it found is read from its JUnit XML.

use std::path::{Path, PathBuf};

use imgbuild_checks::report::{Case, CaseOutcome};
use imgbuild_engine::{ActionContext, ActionError, ConnectionFacts, Exit, Session};
use imgbuild_model::{Step, Stream, Value};
use imgbuild_plan::program_path;
use roxmltree::{Document, Node};
use tokio::process::Command;

use crate::checks::{Found, Record, files_below, report_folder};
use crate::host;
use crate::ssh_files::{MACHINE, SshFiles, private_folder, with_one_connection, write_private};

/// The program where the check does not say it.
const PYTEST: &str = "pytest";
/// How long a connection may take, in seconds: a machine that is translated is slow.
const CONNECT: u32 = 120;

/// The check.
pub(crate) async fn check(
    context: &ActionContext,
    step: &Step,
    session: &mut dyn Session,
    reports: &Path,
) -> Result<Found, ActionError> {
    let facts = session.connection().await?.ok_or_else(|| {
        ActionError::input("`testinfra` needs a machine that is reached over SSH")
            .hint("test the image by an `image_test` with `boot = True`")
    })?;
    if facts.keys.is_empty() && facts.agent.is_none() {
        return Err(ActionError::input("`testinfra` cannot log in by a password")
            .hint("give `ssh_private_key_file`, `ssh_agent_auth` or `seed = \"nocloud\"`"));
    }
    if step.attributes.get("extra_arguments").is_some_and(|words| context.fillings.changes(words)) {
        return Err(ActionError::input("something sensitive is among the `extra_arguments` of `testinfra`, and every process of this host could see it")
            .hint("give it in `env`"));
    }
    let report = report_folder(reports, "testinfra")?.join("junit.xml");
    let run = Run::prepare(context, step, &facts)?;
    let exit = run.pytest(&report).await?;
    let xml = match fs_err::read_to_string(&report) {
        Ok(xml) => {
            let xml = xml.split('\n').map(|line| context.fillings.mask(line)).collect::<Vec<_>>().join("\n");
            fs_err::write(&report, &xml)?;
            xml
        }
        Err(_) => return Err(run.failed(exit)),
    };
    let cases = cases(&xml).map_err(|error| {
        ActionError::environment(format!("the report of `{}` cannot be read: {error}", run.program.display()))
    })?;
    let failing = cases.iter().any(|case| matches!(case.outcome, CaseOutcome::Failed(..)));
    match exit {
        Exit::Code(0) if !cases.is_empty() => {}
        // Tests failed, or their files cannot be read.
        Exit::Code(1 | 2) if failing => {}
        Exit::Code(0 | 5) => {
            return Err(ActionError::input("there is no test in the files of `testinfra`")
                .hint("pytest looks for functions `test_*` in files `test_*.py`"));
        }
        other => return Err(run.failed(other)),
    }
    Ok(Found { records: cases.iter().map(record).collect(), cases })
}

/// One run of pytest.
struct Run<'a> {
    context: &'a ActionContext,
    step: &'a Step,
    program: PathBuf,
    /// The folder of the tests, and their names there.
    work: PathBuf,
    tests: Vec<String>,
    /// Files of the connection, and of pytest.
    ssh_config: PathBuf,
    settings: PathBuf,
    _folder: tempfile::TempDir,
    /// For sockets, whose paths may not be long.
    _sockets: tempfile::TempDir,
}

impl<'a> Run<'a> {
    fn prepare(
        context: &'a ActionContext,
        step: &'a Step,
        facts: &ConnectionFacts,
    ) -> Result<Self, ActionError> {
        let folder = tempfile::Builder::new().prefix("testinfra-").tempdir_in(&context.temporary)?;
        let (work, ssh) = (folder.path().join("tests"), folder.path().join("ssh"));
        private_folder(&work)?;
        private_folder(&ssh)?;
        let tests = stage(context, step, "tests", &work)?;
        stage(context, step, "srcs", &work)?;
        let sockets = tempfile::Builder::new().prefix("imgbuild-").tempdir()?;
        let ssh_config = with_one_connection(&SshFiles::write(facts, &ssh)?.config, sockets.path())?;
        let settings = folder.path().join("pytest.ini");
        write_private(&settings, b"[pytest]\n")?;
        let program = program_path(step.attributes.str("command").unwrap_or(PYTEST), &context.workspace);
        Ok(Self {
            context,
            step,
            program,
            work,
            tests,
            ssh_config,
            settings,
            _folder: folder,
            _sockets: sockets,
        })
    }

    /// Runs it; its report lies at `report` then.
    async fn pytest(&self, report: &Path) -> Result<Exit, ActionError> {
        let attributes = &self.step.attributes;
        let mut command = Command::new(&self.program);
        command.current_dir(&self.work);
        // What the user has set for tests of their own is in no key.
        command.env_remove("PYTEST_ADDOPTS").env_remove("PYTEST_PLUGINS");
        command.env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        let env = attributes.get("env").and_then(Value::as_dict).unwrap_or_default();
        let texts = env.iter().filter_map(|(name, value)| Some((&**name, value.as_str()?)));
        command.envs(texts.map(|(name, text)| (name, self.context.fillings.fill(text))));
        command.arg("-c").arg(&self.settings).arg(option("--rootdir", &self.work));
        command.args(["-q", "--tb=short", "--color=no", "-p", "no:cacheprovider"]);
        command.arg(format!("--hosts=ssh://{MACHINE}?timeout={CONNECT}"));
        command.arg(option("--ssh-config", &self.ssh_config)).arg(option("--junit-xml", report));
        if attributes.is_true("sudo") {
            command.arg("--sudo");
        }
        command.args(attributes.strings("extra_arguments").map(|word| self.context.fillings.fill(word)));
        command.args(&self.tests);
        let on_line = |stream: Stream, line: &str| self.context.line(stream, line);
        let exit = host::run_interruptible(self.context, &mut command, &on_line).await;
        if self.context.cancel.is_cancelled() {
            return Err(ActionError::Cancelled);
        }
        exit.map_err(|error| error.hint(INSTALL))
    }

    /// What is said where it did not come to testing.
    fn failed(&self, exit: Exit) -> ActionError {
        let what = format!("`{}`", self.program.display());
        match exit.success(&what) {
            Err(error) => ActionError::input(error.to_string()).hint(INSTALL),
            Ok(()) => ActionError::environment(format!("{what} wrote no report")),
        }
    }
}

const INSTALL: &str = "is testinfra installed on this host? `pip install pytest-testinfra` does it";

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(format!("{name}="));
    word.push(path);
    word
}

/// Copies what an attribute names into a folder, each under its own name; gives the names, as arguments.
fn stage(
    context: &ActionContext,
    step: &Step,
    attribute: &str,
    folder: &Path,
) -> Result<Vec<String>, ActionError> {
    let Some(value) = step.attributes.get(attribute) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for file in context.files_of(value)? {
        let target = folder.join(&file.name);
        if target.exists() {
            return Err(ActionError::input(format!("two of the files are called `{}`", file.name))
                .hint("files and folders are put beside each other under their own names: rename one"));
        }
        if file.is_directory {
            fs_err::create_dir_all(&target)?;
            let mut below = Vec::new();
            files_below(&file.path.canonicalize()?, &file.path, &mut below)?;
            for path in below {
                let to = target.join(path.strip_prefix(&file.path).unwrap_or(&path));
                to.parent().map_or(Ok(()), fs_err::create_dir_all)?;
                fs_err::copy(&path, &to)?;
            }
        } else {
            fs_err::copy(&file.path, &target)?;
        }
        names.push(format!("./{}", file.name));
    }
    Ok(names)
}

/// The tests of a report.
fn cases(xml: &str) -> Result<Vec<Case>, roxmltree::Error> {
    let document = Document::parse(xml)?;
    Ok(document.descendants().filter(|node| node.has_tag_name("testcase")).map(case).collect())
}

fn case(node: Node<'_, '_>) -> Case {
    let attribute = |name: &str| node.attribute(name).unwrap_or_default();
    let group = match attribute("classname") {
        "" => "testinfra".to_owned(),
        class => format!("testinfra.{class}"),
    };
    let child = |names: &[&str]| node.children().find(|child| names.contains(&child.tag_name().name()));
    let said = |child: Node<'_, '_>| child.attribute("message").unwrap_or_default().trim().to_owned();
    let outcome = match (child(&["failure", "error"]), child(&["skipped"])) {
        (Some(failure), _) => {
            let whole = failure.text().unwrap_or_default().trim().to_owned();
            let message = match &*said(failure) {
                // Of a file that cannot be read, what is wrong comes last.
                "" | "collection failure" => {
                    whole.lines().last().unwrap_or_default().trim_start_matches("E ").trim().to_owned()
                }
                // An assertion without a text of its own says in further lines what was compared.
                message if message.starts_with("assert ") => in_a_line(message),
                message => message.lines().next().unwrap_or_default().to_owned(),
            };
            CaseOutcome::Failed(message, whole)
        }
        (None, Some(skipped)) => CaseOutcome::Skipped(said(skipped)),
        (None, None) => CaseOutcome::Passed(String::new()),
    };
    Case { name: without_host(attribute("name")), group, place: None, outcome }
}

fn in_a_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A test's name without the machine, which is one for all of them: `test_x[ssh://imgbuild-machine-a]` is `test_x[a]`.
fn without_host(name: &str) -> String {
    let host = format!("ssh://{MACHINE}");
    let name = name.replace(&format!("{host}-"), "").replace(&format!("-{host}"), "").replace(&host, "");
    name.replace("[]", "")
}

fn record(case: &Case) -> Record {
    let class = case.group.strip_prefix("testinfra").unwrap_or_default().trim_start_matches('.');
    let name = if class.is_empty() { case.name.clone() } else { format!("{class}::{}", case.name) };
    let (passed, message) = match &case.outcome {
        CaseOutcome::Passed(_) => (true, None),
        CaseOutcome::Failed(message, _) => (false, Some(message.clone())),
        CaseOutcome::Skipped(why) if why.is_empty() => (true, Some("skipped".to_owned())),
        CaseOutcome::Skipped(why) => (true, Some(format!("skipped: {why}"))),
    };
    Record { check: format!("testinfra {name}"), passed, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_pytest_is_read() {
        let xml = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5">
<testcase classname="test_web" name="test_port[ssh://imgbuild-machine]" time="0.1" />
<testcase classname="test_web.TestUser" name="test_user[ssh://imgbuild-machine-app]" time="0.1"><failure message="AssertionError: no user&#10;assert False">def test():
E   AssertionError: no user</failure></testcase>
<testcase classname="test_web" name="test_later" time="0.0"><skipped type="pytest.skip" message="not now">x</skipped></testcase>
<testcase classname="" name="test_broken" time="0.0"><error message="collection failure">E   SyntaxError: invalid</error></testcase>
<testcase classname="test_web" name="test_two[a-ssh://imgbuild-machine]" time="0.0"><failure message="assert 1 == 2&#10; +  where 1 = f()">test_web.py:3: AssertionError</failure></testcase>
</testsuite></testsuites>"#;
        let cases = cases(xml).unwrap();
        let said: Vec<String> = cases
            .iter()
            .map(record)
            .map(|record| format!("{} {} {:?}", record.check, record.passed, record.message))
            .collect();
        assert_eq!(
            said,
            [
                "testinfra test_web::test_port true None",
                "testinfra test_web.TestUser::test_user[app] false Some(\"AssertionError: no user\")",
                "testinfra test_web::test_later true Some(\"skipped: not now\")",
                "testinfra test_broken false Some(\"SyntaxError: invalid\")",
                "testinfra test_web::test_two[a] false Some(\"assert 1 == 2 +  where 1 = f()\")",
            ]
        );
        assert!(
            matches!(&cases[1].outcome, CaseOutcome::Failed(_, whole) if whole.starts_with("def test()"))
        );
        assert!(super::cases("<testsuites>").is_err());
    }
}
