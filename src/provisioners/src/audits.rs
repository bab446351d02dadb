//! Audits by programs of the host: OpenSCAP and Lynis. An image is looked at as a folder of the host, a machine that runs
//! by its own copy of the program.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use imgbuild_checks::report::{Case, CaseOutcome};
use imgbuild_engine::{ActionContext, ActionError, Bind, Command, Exit, Session};
use imgbuild_model::{Architecture, Step, Stream, Value};
use regex::Regex;

use crate::checks::{Found, Record, report_folder};
use crate::host;
use crate::shell::set_mode;

/// What `oscap` says when it cannot read a Debian system's packages, and then takes each for one that is not there.
const PACKAGES_UNREAD: &str = "dpkginfo_init has failed";

/// The list of a Debian system's packages.
const DPKG_STATUS: &str = "/var/lib/dpkg/status";
/// Shows a file in the place of another to a program, which is what follows both.
const IN_ITS_PLACE: &str = r#"mount --bind "$1" "$2" || exit 126; shift 2; exec "$@""#;
/// What that ends with when the file could not be put there.
const NOT_SHOWN: i32 = 126;
/// What a shell ends with when there is no such program.
const NOT_FOUND: i32 = 127;

/// A program with files that it reads, and a folder that it writes reports to.
struct Audit<'a> {
    context: &'a ActionContext,
    program: &'static str,
    package: &'static str,
    /// What it reads, by the names that it is given.
    files: BTreeMap<&'static str, PathBuf>,
    /// What it writes to.
    out: PathBuf,
    /// A copy of the list of the image's packages, shown to the program in the place of this host's.
    packages: Option<PathBuf>,
}

/// Where it finds things: the root that is looked at, its files and the folder for reports.
struct Places {
    root: Option<String>,
    files: BTreeMap<&'static str, String>,
    out: String,
}

impl Audit<'_> {
    /// Runs it.
    async fn run(
        &self,
        session: &mut dyn Session,
        words: impl Fn(&Places) -> Vec<String>,
        env: impl Fn(&Places) -> Vec<(String, String)>,
    ) -> Result<Exit, ActionError> {
        // A mount that has no place in the tree is reached through this program.
        let root = session.root().map(|root| format!("/proc/{}/fd/{}", std::process::id(), root.as_raw_fd()));
        if root.is_some() {
            let files = self.files.iter().map(|(name, path)| (*name, path.display().to_string())).collect();
            let places = Places { root, files, out: self.out.display().to_string() };
            let mut command = match &self.packages {
                None => tokio::process::Command::new(self.program),
                Some(packages) => {
                    let mut command = tokio::process::Command::new("unshare");
                    command.args(["--mount", "--propagation", "private", "sh", "-c", IN_ITS_PLACE, "sh"]);
                    command.arg(packages).arg(DPKG_STATUS).arg(self.program);
                    command
                }
            };
            command.args(words(&places)).current_dir(&self.out).envs(env(&places)).env("LC_ALL", "C");
            let unread = AtomicBool::new(false);
            let on_line = |stream: Stream, line: &str| {
                unread.fetch_or(line.contains(PACKAGES_UNREAD), Ordering::Relaxed);
                self.context.line(stream, line);
            };
            let exit = host::run_with(self.context, &mut command, &on_line).await;
            let exit = exit.map_err(|error| self.missing(error, "on this host"))?;
            if exit == Exit::Code(NOT_FOUND) {
                return Err(self.absent("on this host"));
            }
            if self.packages.is_some() && exit == Exit::Code(NOT_SHOWN) {
                let what = format!("the list of the image's packages cannot be shown to `{}`", self.program);
                return Err(ActionError::environment(what).hint("its output says why: `imgbuild log`"));
            }
            if unread.into_inner() {
                return Err(ActionError::environment(format!(
                    "`{}` cannot read which packages the image has",
                    self.program
                ))
                .hint("what it says of packages would be wrong; its output says more: `imgbuild log`"));
            }
            return Ok(exit);
        }
        let shown = session.step_folder();
        let target = |name: &str| format!("{shown}/{name}");
        let mut binds: Vec<Bind> = self
            .files
            .iter()
            .map(|(name, path)| Bind {
                source: path.clone(),
                target: target(name),
                writable: false,
                leave: false,
            })
            .collect();
        set_mode(&self.out, 0o777)?;
        binds.push(Bind { source: self.out.clone(), target: target("out"), writable: true, leave: false });
        let files = self.files.keys().map(|name| (*name, target(name))).collect();
        let places = Places { root: None, files, out: target("out") };
        let mut argv = vec![self.program.to_owned()];
        argv.extend(words(&places));
        let mut env: BTreeMap<String, String> = env(&places).into_iter().collect();
        env.insert("LC_ALL".to_owned(), "C".to_owned());
        let command = Command { argv, env, binds, ..Command::default() };
        let exit = session.exec(&command, &mut |stream, line| self.context.line(stream, line)).await?;
        match exit {
            Exit::Code(NOT_FOUND) => Err(self.absent("on the machine")),
            exit => Ok(exit),
        }
    }

    fn absent(&self, place: &str) -> ActionError {
        ActionError::environment(format!("there is no `{}` {place}", self.program))
            .hint(format!("install it; on Debian it is in `{}`", self.package))
    }

    fn missing(&self, error: ActionError, place: &str) -> ActionError {
        // The folder that it starts in is there.
        if error.to_string().contains("No such file") { self.absent(place) } else { error }
    }
}

fn file(context: &ActionContext, step: &Step, name: &str) -> Result<Option<PathBuf>, ActionError> {
    let Some(value) = step.attributes.get(name) else { return Ok(None) };
    Ok(context.files_of(value)?.into_iter().next().map(|file| file.path))
}

fn number(step: &Step, name: &str) -> Option<i64> {
    step.attributes.get(name).and_then(Value::as_int)
}

/// A threshold as a test of its own.
fn threshold(name: String, problem: Option<String>) -> (Record, Case) {
    let outcome = match &problem {
        None => CaseOutcome::Passed(String::new()),
        Some(problem) => CaseOutcome::Failed(problem.clone(), format!("{name}: {problem}")),
    };
    let case = Case { name: name.clone(), group: "audit".to_owned(), place: None, outcome };
    (Record { check: name, passed: problem.is_none(), message: problem }, case)
}

/// A rule of a benchmark.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    id: String,
    severity: String,
    result: String,
}

const SEVERITIES: [&str; 4] = ["unknown", "low", "medium", "high"];

fn rank(severity: &str) -> usize {
    SEVERITIES.iter().position(|known| *known == severity).unwrap_or_default()
}

fn pattern(text: &str) -> Result<Regex, ActionError> {
    Regex::new(text).map_err(|error| ActionError::environment(error.to_string()))
}

/// The rules of a results file, and its score.
fn rules(xml: &str) -> Result<(Vec<Rule>, Option<f64>), ActionError> {
    let each = pattern(r"(?s)<(?:\w+:)?rule-result\b([^>]*)>(.*?)</(?:\w+:)?rule-result>")?;
    let result = pattern(r"<(?:\w+:)?result>(\w+)</")?;
    let attribute = |name: &str| pattern(&format!(r#"\b{name}="([^"]*)""#));
    let (id, severity) = (attribute("idref")?, attribute("severity")?);
    let score = pattern(r#"<(?:\w+:)?score\b[^>]*>([0-9.]+)</"#)?;
    let group = |regex: &Regex, text: &str| regex.captures(text).map(|found| found[1].to_owned());
    let rules = each.captures_iter(xml).map(|found| Rule {
        id: group(&id, &found[1]).unwrap_or_default(),
        severity: group(&severity, &found[1]).unwrap_or_else(|| "unknown".to_owned()),
        result: group(&result, &found[2]).unwrap_or_default(),
    });
    Ok((rules.collect(), group(&score, xml).and_then(|score| score.parse().ok())))
}

/// A configuration of apt's library, by which `oscap` reads the packages of a tree: nothing of this host's own is heeded, the `dpkg`
/// in the tree, which would be called without a sandbox, is not asked for its architectures, and `nowhere` keeps caches from being
/// written through links of the tree.
fn apt_configuration(architecture: Architecture, nowhere: &str) -> String {
    let name = architecture.debian_name();
    let unread = ["main", "parts", "sourcelist", "sourceparts", "preferences", "preferencesparts"]
        .map(|part| format!("Dir::Etc::{part} \"/dev/null\";\n"));
    let caches =
        ["pkgcache", "srcpkgcache"].map(|cache| format!("Dir::Cache::{cache} \"/{nowhere}/{cache}\";\n"));
    let rest = format!(
        "APT::Architecture \"{name}\";\nAPT::Architectures {{ \"{name}\"; }};\nDPkg::Chroot-Directory \"/\";\n"
    );
    unread.concat() + &caches.concat() + &rest
}

/// The list of the image's packages as a file of this host, where `oscap` would read this host's own: apt resolves the list's path,
/// and that of a mount without a place in the tree begins at `/`.
async fn listed_packages(
    context: &ActionContext,
    session: &mut dyn Session,
) -> Result<Option<PathBuf>, ActionError> {
    if session.root().is_none() || !Path::new(DPKG_STATUS).exists() {
        return Ok(None);
    }
    let path = context.temporary.join("packages");
    fs_err::write(&path, session.read(DPKG_STATUS).await?.unwrap_or_default())?;
    Ok(Some(path))
}

/// The check `openscap`.
pub(crate) async fn openscap(
    context: &ActionContext,
    step: &Step,
    session: &mut dyn Session,
    reports: &Path,
) -> Result<Found, ActionError> {
    let out = report_folder(reports, "openscap")?;
    let mut files = BTreeMap::new();
    for name in ["content", "tailoring"] {
        if let Some(path) = file(context, step, name)? {
            files.insert(name, path);
        }
    }
    let profile = step.attributes.str("profile").unwrap_or_default().to_owned();
    let skipped: Vec<&str> = step.attributes.strings("skip_rules").collect();
    let audit = Audit {
        context,
        program: "oscap",
        package: "openscap-scanner",
        files,
        out: out.clone(),
        packages: listed_packages(context, session).await?,
    };
    let words = |places: &Places| {
        let mut words = ["xccdf", "eval", "--skip-validation", "--profile"].map(str::to_owned).to_vec();
        words.push(profile.clone());
        for (option, name) in [
            ("--results", "openscap.xml"),
            ("--results-arf", "openscap-arf.xml"),
            ("--report", "openscap.html"),
        ] {
            words.extend([option.to_owned(), format!("{}/{name}", places.out)]);
        }
        if let Some(tailoring) = places.files.get("tailoring") {
            words.extend(["--tailoring-file".to_owned(), tailoring.clone()]);
        }
        for rule in &skipped {
            words.extend(["--skip-rule".to_owned(), (*rule).to_owned()]);
        }
        words.extend(places.files.get("content").cloned());
        words
    };
    let apt = context.temporary.join("apt.conf");
    // A name that no tree can know.
    let unknown = tempfile::Builder::new().prefix("imgbuild-").tempdir_in(&context.temporary)?;
    let nowhere = unknown.path().file_name().unwrap_or_default().to_string_lossy();
    fs_err::write(&apt, apt_configuration(context.platform().architecture, &nowhere))?;
    let env = |places: &Places| {
        let Some(root) = places.root.clone() else { return Vec::new() };
        vec![("OSCAP_PROBE_ROOT".to_owned(), root), ("APT_CONFIG".to_owned(), apt.display().to_string())]
    };
    let exit = audit.run(session, words, env).await?;
    // 2 says that a rule does not hold.
    exit.among(&[0, 2], "`oscap`")?;
    let xml = fs_err::read_to_string(out.join("openscap.xml"))?;
    let (rules, score) = rules(&xml)?;
    let looked_at = |rule: &&Rule| matches!(&*rule.result, "pass" | "fail" | "error" | "unknown" | "fixed");
    if rules.iter().filter(looked_at).count() == 0 {
        let message = format!("no rule of the profile `{profile}` applies: nothing was checked");
        return Err(ActionError::input(message)
            .hint("the content must be that of the image's system, as `ssg-debian12-ds.xml` for Debian 12"));
    }
    let least = rank(step.attributes.str("severity").unwrap_or("unknown"));
    let bad =
        |rule: &&Rule| matches!(&*rule.result, "fail" | "error" | "unknown") && rank(&rule.severity) >= least;
    let failing: Vec<&Rule> = rules.iter().filter(bad).collect();
    let most = number(step, "max_failures").unwrap_or_default();
    let problem = if i64::try_from(failing.len()).unwrap_or(i64::MAX) > most {
        let names: Vec<String> =
            failing.iter().map(|rule| format!("{} ({}, {})", rule.id, rule.severity, rule.result)).collect();
        Some(format!("{} rules do not hold, {most} may: {}", failing.len(), names.join(", ")))
    } else {
        None
    };
    let mut all = vec![threshold(format!("openscap {profile}"), problem)];
    if let Some(wanted) = number(step, "min_score") {
        let found = score.unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a score of at most 100")]
        let problem =
            (found < wanted as f64).then(|| format!("the score is {found}, expected at least {wanted}"));
        all.push(threshold(format!("openscap {profile}: score"), problem));
    }
    let (records, mut cases): (Vec<Record>, Vec<Case>) = all.into_iter().unzip();
    // Those that the profile does not select are many, and nothing is known of them.
    let selected = rules.iter().filter(|rule| rule.result != "notselected");
    cases.extend(selected.map(|rule| Case {
        name: rule.id.clone(),
        group: format!("openscap.{}", rule.severity),
        place: None,
        outcome: match &*rule.result {
            "pass" | "fixed" => CaseOutcome::Passed(String::new()),
            _ if failing.contains(&rule) && !records[0].passed => {
                let said = format!("{}: {} ({})", rule.id, rule.result, rule.severity);
                CaseOutcome::Failed(said.clone(), said)
            }
            other => CaseOutcome::Skipped(other.to_owned()),
        },
    }));
    Ok(Found { records, cases })
}

/// The values of a key in Lynis's report.
fn values<'r>(report: &'r str, key: &str) -> Vec<&'r str> {
    report
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

/// The check `lynis`.
pub(crate) async fn lynis(
    context: &ActionContext,
    step: &Step,
    session: &mut dyn Session,
    reports: &Path,
) -> Result<Found, ActionError> {
    let out = report_folder(reports, "lynis")?;
    let mut files = BTreeMap::new();
    if let Some(path) = file(context, step, "profile")? {
        files.insert("profile", path);
    }
    let skipped: Vec<&str> = step.attributes.strings("skip_tests").collect();
    if !skipped.is_empty() {
        if files.contains_key("profile") {
            return Err(ActionError::input("`lynis` takes `profile` or `skip_tests`, not both")
                .hint("write `skip-test=ID` into the profile"));
        }
        let path = context.temporary.join("lynis.prf");
        let lines: Vec<String> = skipped.iter().map(|id| format!("skip-test={id}\n")).collect();
        fs_err::write(&path, lines.concat())?;
        files.insert("profile", path);
    }
    let audit =
        Audit { context, program: "lynis", package: "lynis", files, out: out.clone(), packages: None };
    let words = |places: &Places| {
        let mut words = ["audit", "system", "--quick", "--quiet", "--no-colors"].map(str::to_owned).to_vec();
        words.extend(["--logfile".to_owned(), format!("{}/lynis.log", places.out)]);
        words.extend(["--report-file".to_owned(), format!("{}/lynis-report.dat", places.out)]);
        if let Some(root) = &places.root {
            words.extend(["--rootdir".to_owned(), format!("{root}/")]);
        }
        if let Some(profile) = places.files.get("profile") {
            words.extend(["--profile".to_owned(), profile.clone()]);
        }
        words
    };
    let exit = audit.run(session, words, |_| Vec::new()).await?;
    // 78 says that there are warnings.
    exit.among(&[0, 78], "`lynis`")?;
    let report = fs_err::read_to_string(out.join("lynis-report.dat"))?;
    let index = values(&report, "hardening_index").first().and_then(|index| index.parse::<i64>().ok());
    let index = index.ok_or_else(|| {
        ActionError::environment("lynis ended without a hardening index")
            .hint("its log says why: `imgbuild log`")
    })?;
    let wanted = number(step, "min_index").unwrap_or_default();
    let problem = (index < wanted).then(|| format!("it is {index}, expected at least {wanted}"));
    let mut all = vec![threshold(format!("lynis: hardening index {index}"), problem)];
    let warnings = values(&report, "warning[]");
    if let Some(most) = number(step, "max_warnings") {
        let many = i64::try_from(warnings.len()).unwrap_or(i64::MAX) > most;
        let problem =
            many.then(|| format!("there are {}, {most} may be: {}", warnings.len(), warnings.join("; ")));
        all.push(threshold("lynis: warnings".to_owned(), problem));
    }
    let (records, cases) = all.into_iter().unzip();
    Ok(Found { records, cases })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read() {
        let xml = r#"<TestResult><rule-result idref="a" role="full" severity="high" weight="1.0"><result>fail</result></rule-result>
            <rule-result idref="b" severity="low"><result>pass</result><check/></rule-result>
            <cdf:rule-result idref="c"><cdf:result>notapplicable</cdf:result></cdf:rule-result>
            <score system="urn:xccdf:scoring:default" maximum="100.000000">72.500000</score></TestResult>"#;
        let (found, score) = rules(xml).unwrap();
        let said: Vec<String> =
            found.iter().map(|rule| format!("{} {} {}", rule.id, rule.severity, rule.result)).collect();
        assert_eq!(said, ["a high fail", "b low pass", "c unknown notapplicable"]);
        assert_eq!(score, Some(72.5));
        assert!(rank("high") > rank("medium") && rank("strange") == rank("unknown"));
    }

    #[test]
    fn packages_are_those_of_the_tree_alone() {
        let text = apt_configuration(Architecture::Arm64, "x-1");
        for line in [
            "Dir::Etc::parts \"/dev/null\";",
            "Dir::Cache::pkgcache \"/x-1/pkgcache\";",
            "APT::Architectures { \"arm64\"; };",
            "DPkg::Chroot-Directory \"/\";",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn lynis_reports_are_read() {
        let report = "# report\nhardening_index=62\nwarning[]=A-1|x|-|-|\nwarning[]=B-2|y|-|-|\n";
        assert_eq!(values(report, "hardening_index"), ["62"]);
        assert_eq!(values(report, "warning[]").len(), 2);
    }
}
