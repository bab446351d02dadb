//! Data sources that are not built in: a real `packer` is asked for what they answer.
//!
//! Its `console` knows no data source. So it builds a template that is made here, which declares what is asked, its settings
//! evaluated, and writes the answers into a file. The template of the user is not read by that program: neither its variables
//! nor its other data sources are needed. Settings and answers lie in a folder that only the user enters, and only for as long
//! as the program runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imgbuild_hcl::value::{Mark, Value, from_json, to_json};
use imgbuild_kinds::component;
use imgbuild_model::{Class, Diagnostic, KindClass, Secret};
use imgbuild_packer::template::{Plugin, Request, Version};
use serde_json::{Value as Json, json};

use super::load::Place;
use super::real_packer::{self, Asked};
use super::stores::RunStores;
use crate::session::runtime;

/// How long the program may take for all that is asked at once.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// The first version that has data sources.
const FIRST: (u64, u64) = (1, 7);

/// How many characters of an error are told.
const SHOWN: usize = 2000;

type Answers = Vec<(Request, Result<Value, Diagnostic>)>;

/// What these data sources answer, by one call of the program. If some of them fail, the others may have no answer. `plugins`
/// are those that the template asks for.
pub(super) fn ask(requests: &[Request], plugins: &[Plugin], place: &Place) -> Answers {
    if requests.is_empty() {
        return Vec::new();
    }
    let said = program().map_err(Why::from).and_then(|program| {
        let folder = tempfile::Builder::new().prefix("imgbuild-asked-").tempdir().map_err(unusable)?;
        let question = Question { requests, plugins, folder: folder.path() };
        question.put(&program, place, LIMIT)
    });
    match said {
        Ok(values) => requests.iter().cloned().zip(values.into_iter().map(Ok)).collect(),
        Err(Why::Unusable(problem)) => {
            let error = |request: &Request| not_built_in(&request.kind).hint(problem.clone());
            requests.iter().map(|request| (request.clone(), Err(error(request)))).collect()
        }
        Err(Why::Refused(refusals)) => {
            let of_one: Answers = refusals
                .iter()
                .filter_map(|refusal| {
                    let request = requests.get(refusal.place?)?;
                    Some((request.clone(), Err(refusal.error(&request.kind))))
                })
                .collect();
            if !of_one.is_empty() {
                return of_one;
            }
            let all = requests.iter().map(|request| {
                let refusal = refusals.first().cloned().unwrap_or_default();
                (request.clone(), Err(refusal.error(&request.kind)))
            });
            all.collect()
        }
    }
}

/// That nobody asks a data source.
pub(super) fn not_built_in(kind: &str) -> Diagnostic {
    Diagnostic::error(format!("the data source `{kind}` is not built in yet"))
}

/// Marks what nobody may see of an answer, and notes it.
pub(super) fn hide_secrets(kind: &str, answer: Value, stores: &RunStores) -> Value {
    let outputs = component(KindClass::DataSource, kind).map_or(&[][..], |schema| schema.outputs);
    let is_secret = |name: &str| outputs.iter().any(|output| output.secret && output.name == name);
    let Some(entries) = answer.entries() else { return answer };
    let marked = entries.iter().map(|(name, value)| {
        let value = value.clone();
        if !is_secret(name) {
            return (name, value);
        }
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            stores.note(Secret::new(text.as_bytes()));
        }
        (name, value.mark(Mark::SENSITIVE))
    });
    Value::object_of(marked.collect::<Vec<_>>())
}

/// Why there are no answers.
enum Why {
    /// There is nobody to ask.
    Unusable(String),
    /// The program gives none.
    Refused(Vec<Refusal>),
}

impl From<String> for Why {
    fn from(problem: String) -> Self {
        Self::Unusable(problem)
    }
}

fn unusable(problem: impl std::fmt::Display) -> Why {
    Why::Unusable(problem.to_string())
}

/// What the program says of what it refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Refusal {
    text: String,
    /// Which of the requests it is about.
    place: Option<usize>,
}

impl Refusal {
    fn error(&self, kind: &str) -> Diagnostic {
        let text = if self.text.is_empty() { "it does not say why" } else { &self.text };
        let error = Diagnostic::error(format!("`packer` has no answer of the data source `{kind}`: {text}"));
        let missing = ["Missing plugins", "Unknown data type", "Unknown data source"];
        let is_missing = missing.iter().any(|start| text.starts_with(start));
        error.class(Class::Environment).maybe_hint(is_missing.then(|| {
            "the real `packer` needs its plugin: `packer init` or `packer plugins install` installs it"
                .to_owned()
        }))
    }
}

/// The program, if it is one that has data sources.
fn program() -> Result<PathBuf, String> {
    let program = real_packer::path().ok_or(
        "`http`, `null` and `external` are; for others a real `packer` on the path is asked, and there is none",
    )?;
    let version = real_packer::version(&program)?;
    let number = version.split_whitespace().find_map(|word| word.strip_prefix('v'));
    let number: Option<Version> = number.and_then(|word| word.parse().ok());
    match number.map(|number| number.to_string()) {
        Some(number) if is_too_old(&number) => Err(format!(
            "a real `packer` is asked for it, which has data sources since {}.{}; `{}` is version {number}",
            FIRST.0,
            FIRST.1,
            program.display()
        )),
        _ => Ok(program),
    }
}

fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u64>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) < FIRST)
}

/// What is asked, and where.
struct Question<'a> {
    requests: &'a [Request],
    plugins: &'a [Plugin],
    /// A folder for nothing else.
    folder: &'a Path,
}

impl Question<'_> {
    fn put(&self, program: &Path, place: &Place, limit: Duration) -> Result<Vec<Value>, Why> {
        let template = self.folder.join("asked.pkr.json");
        fs_err::write(&template, self.template().map_err(unusable)?).map_err(unusable)?;
        let runtime = runtime().map_err(unusable)?;
        let asked = runtime.block_on(real_packer::build(program, &template, &place.cwd, limit));
        let asked = asked.map_err(unusable)?.ok_or_else(|| {
            let text = format!("it took more than {} minutes", limit.as_secs() / 60);
            Why::Refused(vec![Refusal { text, place: None }])
        })?;
        if !asked.success {
            return Err(Why::Refused(refusals(&asked, &template)));
        }
        self.answers().ok_or_else(|| {
            let text = "it wrote no answer".to_owned();
            Why::Refused(vec![Refusal { text, place: None }])
        })
    }

    fn answer_file(&self) -> PathBuf {
        self.folder.join("answers")
    }

    /// A template that asks. Each data source stands on a line of its own, from the second on, by which errors name it.
    fn template(&self) -> Result<String, String> {
        let data = self.requests.iter().enumerate().map(|(place, request)| {
            let (plain, _) = request.settings.clone().unmark_deep();
            let text = to_json(&plain).map_err(|error| error.to_string())?;
            let settings = literal(serde_json::from_str(&text).map_err(|error| error.to_string())?);
            Ok(json!({&*request.kind: {name(place): settings}}).to_string())
        });
        let data = data.collect::<Result<Vec<_>, String>>()?.join(",\n");
        let all = self.requests.iter().enumerate();
        let all: Vec<String> =
            all.map(|(place, request)| format!("{0} = data.{1}.{0}", name(place), request.kind)).collect();
        // The builder expands Go templates in what it writes.
        let content = format!("${{base64encode(jsonencode({{{}}}))}}", all.join(", "));
        let target = literal(Json::from(self.answer_file().display().to_string()));
        let source = json!({"file": {"answers": {"content": content, "target": target}}});
        let plugins = json!({"required_plugins": self.plugins_of_these()});
        Ok(format!(
            "{{\"data\": [\n{data}\n],\n\"packer\": {plugins},\n\"source\": {source},\n\"build\": {{\"sources\": [\"source.file.answers\"]}}}}\n"
        ))
    }

    /// The plugins that these data sources are of, as the template asks for them.
    fn plugins_of_these(&self) -> BTreeMap<&str, Json> {
        let is_of = |plugin: &Plugin, kind: &str| {
            kind.strip_prefix(&*plugin.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let needed = |plugin: &&Plugin| self.requests.iter().any(|request| is_of(plugin, &request.kind));
        let said = |plugin: &Plugin| json!({"version": plugin.version.to_string(), "source": plugin.source});
        self.plugins.iter().filter(needed).map(|plugin| (&*plugin.name, said(plugin))).collect()
    }

    fn answers(&self) -> Option<Vec<Value>> {
        let encoded = fs_err::read_to_string(self.answer_file()).ok()?;
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let answers = from_json(&text).ok()?;
        let answers = answers.entries()?;
        (0..self.requests.len()).map(|place| answers.get(name(place).as_str()).cloned()).collect()
    }
}

fn name(place: usize) -> String {
    format!("asked{place}")
}

/// A value whose texts stand for themselves in HCL's JSON form, where they are templates.
fn literal(value: Json) -> Json {
    let text = |text: String| match text.contains("${") || text.contains("%{") {
        true => format!("${{base64decode(\"{}\")}}", STANDARD.encode(text)),
        false => text,
    };
    match value {
        Json::String(own) => Json::String(text(own)),
        Json::Array(all) => Json::Array(all.into_iter().map(literal).collect()),
        Json::Object(fields) => {
            Json::Object(fields.into_iter().map(|(name, value)| (text(name), literal(value))).collect())
        }
        other => other,
    }
}

/// What the program says that is wrong. Warnings are for the template that was made here.
fn refusals(asked: &Asked, template: &Path) -> Vec<Refusal> {
    let said: Vec<String> = asked.stdout.lines().filter_map(error_text).collect();
    let said = said.join("\n");
    let mut found: Vec<Vec<&str>> = Vec::new();
    let mut within = false;
    for line in said.lines() {
        if let Some(summary) = line.strip_prefix("Error: ") {
            found.push(vec![summary]);
            within = true;
        } else if line.starts_with("Warning: ") {
            within = false;
        } else if let (true, Some(lines)) = (within, found.last_mut()) {
            lines.push(line);
        }
    }
    if found.is_empty() {
        let for_programs =
            |line: &&str| line.split_once(',').is_some_and(|(time, _)| time.parse::<i64>().is_ok());
        let plain = asked.stdout.lines().filter(|line| !for_programs(line)).chain(asked.stderr.lines());
        return vec![Refusal { text: in_a_line(plain.flat_map(str::split_whitespace)), place: None }];
    }
    found.into_iter().map(|lines| refusal(&lines, template)).collect()
}

/// One error: a summary, the place, and what there is to say beside.
fn refusal(lines: &[&str], template: &Path) -> Refusal {
    let start = format!("  on {} line ", template.display());
    let mut place = None;
    let mut words = Vec::new();
    let mut shows_source = false;
    for line in lines {
        if let Some(rest) = line.strip_prefix(&start) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            // The first stands on the second line.
            place = digits.parse::<usize>().ok().and_then(|line| line.checked_sub(2));
            shows_source = true;
        } else if line.is_empty() {
            shows_source = false;
        } else if !shows_source {
            words.extend(line.split_whitespace());
        }
    }
    Refusal { text: in_a_line(words.into_iter()), place }
}

/// The text of a line for programs that tells an error.
fn error_text(line: &str) -> Option<String> {
    let text = line.split_once(",ui,error,")?.1;
    Some(text.replace("%!(PACKER_COMMA)", ",").replace("\\n", "\n").replace("\\r", "\r"))
}

fn in_a_line<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
}
