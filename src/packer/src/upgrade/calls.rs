//! Go templates into what HCL has in their place.
//!
//! A template is rendered with functions that give, in place of a value, its expression in HCL between two marks. Since
//! such a text is not the value, only templates are rendered that do no more than put texts together; others are left
//! as they are, with a note. Functions that HCL does otherwise are left too: what remains of `{{ }}` is rendered by
//! the component after HCL, so it goes on working.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imgbuild_gotemplate::{Function, Functions, Options, Param, Template, Uses, Value, quote};

use super::hcl::{Scalar, Written, escaped, identifier};

/// Around an expression of HCL.
const EXPRESSION: [char; 2] = ['\u{e000}', '\u{e001}'];
/// Around what remains an action of a Go template.
const ACTION: [char; 2] = ['\u{e002}', '\u{e003}'];

/// Functions that remain, and what HCL has for them.
const REMAINING: [(&str, usize, &str); 6] = [
    ("lower", 1, "lower(text)"),
    ("upper", 1, "upper(text)"),
    ("split", 3, "split(separator, text)"),
    ("replace", 4, "replace(text, old, new)"),
    ("replace_all", 3, "replace(text, old, new)"),
    ("clean_resource_name", 1, "regex_replace(text, pattern, \"-\")"),
];

type Outcome = Result<Value, String>;

/// Converts the strings of one template.
pub(super) struct Calls {
    shared: Arc<Shared>,
    functions: Functions,
    notes: Vec<String>,
}

struct Shared {
    locals: BTreeSet<String>,
    /// The local that stands for `{{timestamp}}`.
    timestamp: String,
    found: Mutex<Found>,
}

/// What the strings so far need beside them.
#[derive(Clone, Default)]
struct Found {
    timestamp: bool,
    secrets: Vec<(String, Option<String>)>,
    remaining: BTreeSet<&'static str>,
}

impl Shared {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    pub fn new<'a>(locals: BTreeSet<String>, names: impl IntoIterator<Item = &'a str>) -> Self {
        let is_taken = names.into_iter().any(|name| name == "timestamp");
        let timestamp = if is_taken { "timestamp_digits" } else { "timestamp" }.to_owned();
        let shared = Arc::new(Shared { locals, timestamp, found: Mutex::default() });
        let functions = functions(&shared);
        Self { shared, functions, notes: Vec::new() }
    }

    pub fn is_local(&self, variable: &str) -> bool {
        self.shared.locals.contains(variable)
    }

    /// The secrets that are asked for, in the order of their numbers.
    pub fn secrets(&self) -> Vec<(String, Option<String>)> {
        self.shared.found().secrets.clone()
    }

    /// The name of the local for `{{timestamp}}`, if it is needed.
    pub fn timestamp(&self) -> Option<&str> {
        self.shared.found().timestamp.then_some(&self.shared.timestamp)
    }

    /// What could not be upgraded since the last time.
    pub fn take_notes(&mut self) -> Vec<String> {
        let remaining = std::mem::take(&mut self.shared.found().remaining);
        let has = |name: &str| REMAINING.iter().find(|(other, ..)| *other == name).map(|(.., hcl)| *hcl);
        let mut notes: Vec<String> = remaining
            .into_iter()
            .map(|name| {
                format!(
                    "unhandled \"{name}\" call: it is left as a Go template. In HCL: {}",
                    has(name).unwrap_or_default()
                )
            })
            .collect();
        notes.append(&mut self.notes);
        notes
    }

    /// A string of a component or local.
    pub fn text(&mut self, source: &str) -> Written {
        Written::Scalar(Scalar::raw(&format!("\"{}\"", self.inside(source))))
    }

    /// The name of a member, as it stands between quotes.
    pub fn key(&mut self, source: &str) -> String {
        self.inside(source)
    }

    fn inside(&mut self, source: &str) -> String {
        if !source.contains("{{") {
            return escaped(source);
        }
        let before = self.shared.found().clone();
        match self.converted(source) {
            Ok(text) => text,
            Err(reason) => {
                *self.shared.found() = before;
                let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                let note = format!("unhandled template, left as it is: {} ({reason})", line(source));
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
                escaped(source)
            }
        }
    }

    fn converted(&self, source: &str) -> Result<String, String> {
        if source.contains(['\u{e000}', '\u{e001}', '\u{e002}', '\u{e003}']) {
            return Err("it has characters that no template has".to_owned());
        }
        let template = Template::parse(source, &self.functions).map_err(|error| error.kind.to_string())?;
        let uses = template.uses();
        if !template.is_flat() || !uses.whole_data.is_empty() {
            return Err("it does more than put texts together".to_owned());
        }
        for call in &uses.functions {
            let name = &*call.name;
            let is_plain_printf = name == "printf" && call.arguments.first().is_some_and(is_plain_format);
            if !is_plain_printf && self.functions.names().all(|other| other != name) {
                return Err(format!("`{name}` has no counterpart"));
            }
        }
        let rendered = template.render(&self.functions, &fields(&uses), &Options::default());
        rendered.map(|text| finished(&text)).map_err(|error| error.kind.to_string())
    }
}

/// A format that only puts texts in.
fn is_plain_format(format: &Option<Value>) -> bool {
    let Some(format) = format.as_ref().and_then(Value::as_str) else { return false };
    let format = format.replace("%%", "");
    format.split('%').skip(1).all(|after| after.starts_with(['s', 'v']))
}

/// Fields such as `.Vars` remain.
fn fields(uses: &Uses) -> Value {
    let fields = uses.fields.iter().filter_map(|field| match field.path.as_slice() {
        [name] => Some((name.to_string(), marked(ACTION, &format!(".{name}")))),
        _ => None,
    });
    Value::record(fields)
}

fn marked([open, close]: [char; 2], text: &str) -> String {
    format!("{open}{text}{close}")
}

/// The inside of a string in HCL.
fn finished(rendered: &str) -> String {
    // The component renders the string once more, so braces that are text must stay text.
    let text = rendered.replace("{{", "{{`{{`}}").replace(ACTION[0], "{{ ").replace(ACTION[1], " }}");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(EXPRESSION[0]) {
        let (expression, after) = after.split_once(EXPRESSION[1]).unwrap_or((after, ""));
        // `$${` would be an escape, so signs right before an expression are an expression too.
        let text = before.trim_end_matches(['$', '%']);
        out.push_str(&escaped(text));
        if text.len() < before.len() {
            out.push_str(&format!("${{\"{}\"}}", &before[text.len()..]));
        }
        out.push_str(&format!("${{{expression}}}"));
        rest = after;
    }
    out + &escaped(rest)
}

/// A text as a string of HCL, inside of an expression.
fn literal(text: &str) -> Result<String, String> {
    if text.contains(ACTION) {
        return Err("it depends on what is known only later".to_owned());
    }
    Ok(format!("\"{}\"", finished(text)))
}

/// A name, which must not be made of other values.
fn plain(value: &Value) -> Result<&str, String> {
    let text = value.as_str().unwrap_or_default();
    if text.contains(ACTION) || text.contains(EXPRESSION) {
        return Err("its argument is made of other values".to_owned());
    }
    Ok(text)
}

fn functions(shared: &Arc<Shared>) -> Functions {
    let mut functions = Functions::new();
    for (name, expression) in [
        ("template_dir", "path.root"),
        ("pwd", "path.cwd"),
        ("packer_version", "packer.version"),
        ("uuid", "uuidv4()"),
        // Packer writes `build.name` and `build.type`: the one is another name in HCL, the other is unknown there.
        ("build_name", "source.name"),
        ("build_type", "source.type"),
    ] {
        functions.insert(name, Function::new([], move |_| Ok(marked(EXPRESSION, expression).into())));
    }
    for (name, hcl) in [("isotime", "legacy_isotime"), ("strftime", "legacy_strftime")] {
        let function = Function::new([], move |a| match a {
            [] => Ok(marked(EXPRESSION, "timestamp()").into()),
            [layout, ..] => {
                let layout = literal(layout.as_str().unwrap_or_default())?;
                Ok(marked(EXPRESSION, &format!("{hcl}({layout})")).into())
            }
        });
        functions.insert(name, function.variadic(Param::String));
    }
    for (name, count) in [("env", 1), ("consul_key", 1), ("vault", 2), ("aws_secretsmanager_raw", 1)] {
        let function = Function::new(vec![Param::String; count], move |a| {
            let literals = a.iter().map(|text| literal(text.as_str().unwrap_or_default()));
            let literals = literals.collect::<Result<Vec<_>, _>>()?.join(", ");
            Ok(marked(EXPRESSION, &format!("{name}({literals})")).into())
        });
        functions.insert(name, function);
    }
    functions.insert(
        "build",
        Function::new(
            [Param::String],
            |a| Ok(marked(EXPRESSION, &format!("build.{}", plain(&a[0])?)).into()),
        ),
    );
    with_state(&mut functions, shared);
    functions
}

fn with_state(functions: &mut Functions, shared: &Arc<Shared>) {
    let state = shared.clone();
    functions.insert(
        "timestamp",
        Function::new([], move |_| {
            state.found().timestamp = true;
            Ok(marked(EXPRESSION, &format!("local.{}", state.timestamp)).into())
        }),
    );
    let state = shared.clone();
    functions.insert(
        "user",
        Function::new([Param::String], move |a| {
            let name = plain(&a[0])?;
            let root = if state.locals.contains(name) { "local" } else { "var" };
            Ok(marked(EXPRESSION, &format!("{root}.{}", identifier(name))).into())
        }),
    );
    let state = shared.clone();
    let secret = Function::new([Param::String], move |a| secret(&state, a)).variadic(Param::String);
    functions.insert("aws_secretsmanager", secret);
    for (name, count, _) in REMAINING {
        let state = shared.clone();
        let params = match name {
            "split" => vec![Param::String, Param::String, Param::Int],
            "replace" => vec![Param::String, Param::String, Param::Int, Param::String],
            _ => vec![Param::String; count],
        };
        functions.insert(
            name,
            Function::new(params, move |a| {
                let arguments = a.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
                state.found().remaining.insert(name);
                Ok(marked(ACTION, &format!("{name} {}", arguments.join(" "))).into())
            }),
        );
    }
}

fn secret(shared: &Shared, arguments: &[Value]) -> Outcome {
    let name = plain(&arguments[0])?.to_owned();
    let key = arguments.get(1).map(plain).transpose()?.map(str::to_owned);
    let mut found = shared.found();
    let wanted = (name, key);
    let position = found.secrets.iter().position(|secret| *secret == wanted);
    let number = position.unwrap_or(found.secrets.len()) + 1;
    if position.is_none() {
        found.secrets.push(wanted);
    }
    Ok(marked(EXPRESSION, &format!("data.amazon-secretsmanager.autogenerated_{number}.value")).into())
}

/// An argument of a function that remains.
fn argument(value: &Value) -> Result<String, String> {
    let Some(text) = value.as_str() else {
        return match value {
            Value::Int(number) => Ok(number.to_string()),
            _ => Err("its argument is no text".to_owned()),
        };
    };
    let inner = text.strip_prefix(ACTION[0]).and_then(|text| text.strip_suffix(ACTION[1]));
    match inner {
        Some(inner) if !inner.contains(ACTION) => Ok(format!("({inner})")),
        _ if text.contains(ACTION) => Err("its argument is made of what is known only later".to_owned()),
        _ if !text.contains('`') => Ok(format!("`{text}`")),
        _ if text.contains(EXPRESSION) => Err("its argument has a back quote".to_owned()),
        _ => Ok(quote(text)),
    }
}
