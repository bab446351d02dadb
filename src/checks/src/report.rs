//! What checks found, and how it is written: for people, as JSON, as JUnit's XML and in goss's other formats.
//!
//! Nothing of a clock is in it: the same findings make the same bytes.

use std::fmt::Write as _;

use imgbuild_model::Location;
use serde_json::json;

use crate::datum::Datum;
use crate::matcher::Mismatch;

/// How a test ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed(Box<Mismatch>),
    /// It could not be compared.
    Error(String),
    /// It was not looked at, for this reason if there is one.
    Skipped(Option<String>),
}

/// One attribute of one resource.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// The kind of the resource.
    pub resource: &'static str,
    /// Its name.
    pub id: String,
    /// The attribute.
    pub property: &'static str,
    /// What the author calls it.
    pub title: String,
    /// What the author says of it.
    pub meta: Datum,
    /// Where it is asked for.
    pub location: Location,
    /// What is expected.
    pub expected: Datum,
    /// How it ended.
    pub outcome: Outcome,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line for each test, then those that failed.
    Documentation,
    /// JSON.
    Json,
    /// JSON in one line.
    JsonOneline,
    /// XML as JUnit has it.
    Junit,
    /// A line for Nagios.
    Nagios,
    /// A letter for each test, then those that failed.
    Rspecish,
    /// Nothing.
    Silent,
    /// The Test Anything Protocol.
    Tap,
}

impl Format {
    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "documentation" => Self::Documentation,
            "json" => Self::Json,
            "json_oneline" => Self::JsonOneline,
            "junit" => Self::Junit,
            "nagios" | "nagios_verbose" => Self::Nagios,
            "rspecish" => Self::Rspecish,
            "silent" => Self::Silent,
            "tap" => Self::Tap,
            _ => return None,
        })
    }
}

/// What else is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatOptions {
    /// Indented JSON.
    pub pretty: bool,
    /// Figures behind the line for Nagios.
    pub perfdata: bool,
    /// What failed, below that line.
    pub verbose: bool,
}

/// How many tests ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: usize,
    /// Those that failed or could not be compared.
    pub failed: usize,
    /// Those that were not looked at.
    pub skipped: usize,
}

impl Outcome {
    fn map_texts(self, map: &dyn Fn(&str) -> String) -> Self {
        let each = |data: Vec<Datum>| data.into_iter().map(|datum| datum.map_texts(map)).collect();
        match self {
            Self::Passed => Self::Passed,
            Self::Failed(mismatch) => Self::Failed(Box::new(Mismatch {
                actual: mismatch.actual.map_texts(map),
                message: map(&mismatch.message),
                expected: mismatch.expected.map_texts(map),
                missing: each(mismatch.missing),
                extra: each(mismatch.extra),
            })),
            Self::Error(why) => Self::Error(map(&why)),
            Self::Skipped(why) => Self::Skipped(why.map(|why| map(&why))),
        }
    }
}

impl TestResult {
    /// The same with other texts, as to show none that must not be shown. It is done before they are written: in JSON and XML they
    /// would not be found for their quoting.
    #[must_use]
    pub fn map_texts(self, map: &dyn Fn(&str) -> String) -> Self {
        Self {
            id: map(&self.id),
            title: map(&self.title),
            meta: self.meta.map_texts(map),
            expected: self.expected.map_texts(map),
            outcome: self.outcome.map_texts(map),
            ..self
        }
    }

    /// Whether it failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_) | Outcome::Error(_))
    }

    fn skipped(&self) -> bool {
        matches!(self.outcome, Outcome::Skipped(_))
    }

    /// What it is about: `File: /etc/motd: mode`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}: {}: {}", self.resource, self.id, self.property)
    }

    /// Where it is asked for: `goss.yaml:3`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.location.file, self.location.line)
    }

    /// What was found, as lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let name = self.name();
        match &self.outcome {
            Outcome::Passed => vec![format!("{name}: matches expectation: {}", self.expected)],
            Outcome::Skipped(None) => vec![format!("{name}: skipped")],
            Outcome::Skipped(Some(why)) => vec![format!("{name}: skipped: {why}")],
            Outcome::Error(why) => {
                let mut lines = vec![format!("{name}:"), "Error".to_owned()];
                lines.extend(why.lines().map(|line| format!("    {line}")));
                lines.push(format!("at {}", self.place()));
                lines
            }
            Outcome::Failed(mismatch) => {
                let Mismatch { actual, message, expected, missing, extra } = &**mismatch;
                let mut lines =
                    vec![format!("{name}:"), "Expected".to_owned(), format!("    {}", short(actual))];
                lines.extend([message.clone(), format!("    {expected}")]);
                for (what, elements) in [("missing", missing), ("extra", extra)] {
                    if !elements.is_empty() {
                        lines.push(format!("the {what} elements were"));
                        lines.push(format!("    {}", Datum::List(elements.clone())));
                    }
                }
                lines.push(format!("at {}", self.place()));
                lines
            }
        }
    }

    /// What is wrong, without its name and place, in one line.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Failed(mismatch) => {
                let mut text = format!(
                    "expected {} {} {}",
                    short(&mismatch.actual),
                    mismatch.message,
                    mismatch.expected
                );
                for (what, elements) in [("missing", &mismatch.missing), ("extra", &mismatch.extra)] {
                    if !elements.is_empty() {
                        let _ = write!(text, ", {what}: {}", Datum::List(elements.clone()));
                    }
                }
                Some(text)
            }
            Outcome::Error(why) => Some(why.replace('\n', " ")),
            _ => None,
        }
    }

    fn compact(&self) -> String {
        self.lines().iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    fn json(&self) -> serde_json::Value {
        let (code, error, found) = match &self.outcome {
            Outcome::Passed => (0, None, None),
            Outcome::Failed(mismatch) => (1, None, Some(mismatch)),
            Outcome::Error(why) => (1, Some(why), None),
            Outcome::Skipped(why) => (2, why.as_ref(), None),
        };
        let list = |elements: &[Datum]| match elements {
            [] => serde_json::Value::Null,
            some => Datum::List(some.to_vec()).to_json(),
        };
        let matched = match found {
            Some(found) => json!({
                "actual": found.actual.to_json(),
                "expected": found.expected.to_json(),
                "message": found.message,
                "missing-elements": list(&found.missing),
                "extra-elements": list(&found.extra),
            }),
            None => json!({"expected": self.expected.to_json()}),
        };
        json!({
            "err": error,
            "file": &*self.location.file,
            "line": self.location.line,
            "matcher-result": matched,
            "meta": self.meta.to_json(),
            "property": self.property,
            "resource-id": self.id,
            "resource-type": self.resource,
            "result": code,
            "skipped": self.skipped(),
            "successful": !self.failed(),
            "summary-line": self.lines().join("\n"),
            "summary-line-compact": self.compact(),
            "title": self.title,
        })
    }

    /// The same for JUnit.
    #[must_use]
    pub fn case(&self) -> Case {
        Case {
            name: format!("{} {} {}", self.resource, self.id, self.property),
            group: format!("goss.{}", self.resource),
            place: Some((self.location.file.to_string(), self.location.line)),
            outcome: match &self.outcome {
                Outcome::Passed => CaseOutcome::Passed(self.compact()),
                Outcome::Skipped(_) => CaseOutcome::Skipped(self.compact()),
                Outcome::Failed(_) | Outcome::Error(_) => {
                    CaseOutcome::Failed(self.problem().unwrap_or_default(), self.lines().join("\n"))
                }
            },
        }
    }
}

/// A value that is not shown whole where it is long.
fn short(datum: &Datum) -> String {
    const MOST: usize = 1000;
    let text = datum.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

/// How many ended in which way.
#[must_use]
pub fn counts(results: &[TestResult]) -> Counts {
    let count = |which: fn(&TestResult) -> bool| results.iter().filter(|result| which(result)).count();
    Counts { total: results.len(), failed: count(TestResult::failed), skipped: count(TestResult::skipped) }
}

/// The results in a format.
#[must_use]
pub fn written(results: &[TestResult], format: Format, options: FormatOptions) -> String {
    match format {
        Format::Silent => String::new(),
        Format::Documentation => {
            let lines: Vec<String> = results.iter().flat_map(TestResult::lines).collect();
            format!("{}\n\n{}", lines.join("\n"), failures(results))
        }
        Format::Rspecish => {
            let letter = |result: &TestResult| match &result.outcome {
                Outcome::Passed => '.',
                Outcome::Skipped(_) => 'S',
                _ => 'F',
            };
            format!("{}\n\n{}", results.iter().map(letter).collect::<String>(), failures(results))
        }
        Format::Json | Format::JsonOneline => {
            let Counts { total, failed, skipped } = counts(results);
            let document = json!({
                "results": results.iter().map(TestResult::json).collect::<Vec<_>>(),
                "summary": {
                    "failed-count": failed,
                    "skipped-count": skipped,
                    "summary-line": summary(results),
                    "test-count": total,
                },
            });
            let mut text = if options.pretty && format == Format::Json {
                serde_json::to_string_pretty(&document).unwrap_or_default()
            } else {
                document.to_string()
            };
            text.push('\n');
            text
        }
        Format::Junit => junit("goss", &results.iter().map(TestResult::case).collect::<Vec<_>>()),
        Format::Nagios => nagios(results, options),
        Format::Tap => tap(results),
    }
}

fn summary(results: &[TestResult]) -> String {
    let Counts { total, failed, skipped } = counts(results);
    format!("Count: {total}, Failed: {failed}, Skipped: {skipped}")
}

fn failures(results: &[TestResult]) -> String {
    let mut text = String::new();
    let odd: Vec<&TestResult> = results.iter().filter(|result| result.failed() || result.skipped()).collect();
    if !odd.is_empty() {
        text.push_str("Failures/Skipped:\n\n");
    }
    let mut before = None;
    for result in odd {
        let this = (result.resource, &result.id);
        if before != Some(this) {
            if before.is_some() {
                text.push('\n');
            }
            if !result.title.is_empty() {
                let _ = writeln!(text, "Title: {}", result.title);
            }
            if let Datum::Map(entries) = &result.meta {
                text.push_str("Meta:\n");
                for (key, value) in entries {
                    let _ = writeln!(text, "    {key}: {}", value.plain());
                }
            }
        }
        before = Some(this);
        text.push_str(&result.lines().join("\n"));
        text.push('\n');
    }
    if before.is_some() {
        text.push('\n');
    }
    text + &summary(results) + "\n"
}

fn nagios(results: &[TestResult], options: FormatOptions) -> String {
    let Counts { total, failed, skipped } = counts(results);
    let word = if failed > 0 { "CRITICAL" } else { "OK" };
    let mut text = format!("GOSS {word} - Count: {total}, Failed: {failed}, Skipped: {skipped}");
    if options.perfdata {
        let _ = write!(text, "|total={total} failed={failed} skipped={skipped}");
    }
    text.push('\n');
    if options.verbose {
        for (place, result) in results.iter().filter(|result| result.failed()).enumerate() {
            let _ = writeln!(text, "Fail {} - {}", place + 1, result.compact());
        }
    }
    text
}

fn tap(results: &[TestResult]) -> String {
    let mut text = format!("1..{}\n", results.len());
    for (place, result) in results.iter().enumerate() {
        let (word, skip) = match &result.outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Skipped(_) => ("ok", "# SKIP "),
            _ => ("not ok", ""),
        };
        let _ = writeln!(text, "{word} {} - {skip}{}", place + 1, result.compact());
    }
    text
}

/// One test for JUnit, whatever it was that checked.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What it belongs to.
    pub group: String,
    /// The file and line that ask for it.
    pub place: Option<(String, u32)>,
    /// How it ended.
    pub outcome: CaseOutcome,
}

impl Case {
    /// The same with other texts.
    #[must_use]
    pub fn map_texts(mut self, map: &dyn Fn(&mut String)) -> Self {
        map(&mut self.name);
        map(&mut self.group);
        match &mut self.outcome {
            CaseOutcome::Passed(text) | CaseOutcome::Skipped(text) => map(text),
            CaseOutcome::Failed(line, text) => {
                map(line);
                map(text);
            }
        }
        self
    }
}

/// How a test ended, with what is said of it.
#[derive(Clone, Debug)]
pub enum CaseOutcome {
    /// Well.
    Passed(String),
    /// Otherwise: in a line, and whole.
    Failed(String, String),
    /// It did not run.
    Skipped(String),
}

/// A document of JUnit's.
#[must_use]
pub fn junit(suite: &str, cases: &[Case]) -> String {
    let count = |which: fn(&CaseOutcome) -> bool| cases.iter().filter(|case| which(&case.outcome)).count();
    let failed = count(|outcome| matches!(outcome, CaseOutcome::Failed(..)));
    let skipped = count(|outcome| matches!(outcome, CaseOutcome::Skipped(_)));
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(
        text,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"{skipped}\">",
        escaped(suite),
        cases.len()
    );
    for case in cases {
        let _ =
            write!(text, "<testcase classname=\"{}\" name=\"{}\"", escaped(&case.group), escaped(&case.name));
        if let Some((file, line)) = &case.place {
            let _ = write!(text, " file=\"{}\" line=\"{line}\"", escaped(file));
        }
        text.push_str(">\n");
        let _ = match &case.outcome {
            CaseOutcome::Passed(said) if said.is_empty() => Ok(()),
            CaseOutcome::Passed(said) => writeln!(text, "<system-out>{}</system-out>", escaped(said)),
            CaseOutcome::Skipped(why) => writeln!(text, "<skipped message=\"{}\"/>", escaped(why)),
            CaseOutcome::Failed(why, said) => {
                writeln!(text, "<failure message=\"{}\">{}</failure>", escaped(why), escaped(said))
            }
        };
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite>\n");
    text
}

/// A text in XML. What XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => {}
            letter if letter < ' ' => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}
