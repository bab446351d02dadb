//! The Go templates in goss files: `.Vars`, `.Env`, goss's own functions, and those of Sprig that checks use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use imgbuild_gotemplate::{Function, Functions, MissingKey, Options, Param, Template, Value};
use imgbuild_model::{Diagnostic, Location};

use crate::datum::Datum;
use crate::matcher::compiled;

/// Files of the machine that templates have asked for, as far as they have been read.
pub type ReadFiles = BTreeMap<String, Option<String>>;

/// Why a template could not be rendered.
#[derive(Debug)]
pub enum Failure {
    /// It reads a file of the machine that has not been read yet.
    Needs(String),
    /// Something is wrong with it.
    Wrong(Box<Diagnostic>),
}

impl From<Box<Diagnostic>> for Failure {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self::Wrong(diagnostic)
    }
}

/// What templates know.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// `.Vars`.
    pub vars: BTreeMap<String, Datum>,
    /// `.Env`.
    pub env: BTreeMap<String, String>,
    /// What `readFile` gives.
    pub files: ReadFiles,
}

fn value(datum: &Datum) -> Value {
    match datum {
        Datum::Null => Value::Nil,
        Datum::Bool(value) => Value::Bool(*value),
        Datum::Int(number) => Value::Int(*number),
        Datum::Float(number) => Value::Float(*number),
        Datum::Text(text) => Value::from(text.as_str()),
        Datum::List(items) => Value::list(items.iter().map(value)),
        Datum::Map(entries) => Value::map(entries.iter().map(|(key, entry)| (key.clone(), value(entry)))),
    }
}

/// The text of a goss file with its templates rendered.
///
/// # Errors
/// What is wrong, with its place; or which file of the machine is needed first.
pub fn render(text: &str, file: &str, known: &Known) -> Result<String, Failure> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let needed: Arc<Mutex<Option<String>>> = Arc::default();
    let functions = functions(known, &needed);
    let wrong = |error: imgbuild_gotemplate::Error| {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let (line, column) = (number(error.line), number(error.column));
        let at = Location { file: file.into(), line, column, end_line: line, end_column: column };
        Box::new(Diagnostic::error(error.kind.to_string()).at(at))
    };
    let template = Template::parse(text, &functions).map_err(wrong)?;
    let env = known.env.iter().map(|(name, text)| (name.clone(), text.clone()));
    let data = Value::record([
        ("Env", Value::map(env)),
        ("Vars", Value::map(known.vars.iter().map(|(name, datum)| (name.clone(), value(datum))))),
    ]);
    let options = Options { missing_key: MissingKey::Error, ..Options::default() };
    template.render(&functions, &data, &options).map_err(|error| {
        let needed = needed.lock().unwrap_or_else(PoisonError::into_inner).take();
        needed.map_or_else(|| Failure::Wrong(wrong(error)), Failure::Needs)
    })
}

/// As Go's `%v`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        _ => String::new(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Int(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        _ => true,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        #[expect(clippy::cast_possible_truncation, reason = "as Go converts it")]
        Value::Float(number) => *number as i64,
        Value::Bool(value) => i64::from(*value),
        Value::String(text) => text.trim().parse().unwrap_or(0),
        _ => 0,
    }
}

fn items(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::List(items) => Ok(items.to_vec()),
        other => Err(format!("a list is needed, not {}", other.type_name())),
    }
}

fn functions(known: &Known, needed: &Arc<Mutex<Option<String>>>) -> Functions {
    use Param::{Any, Int, String as Text};
    let (env, files, needed) = (known.env.clone(), known.files.clone(), needed.clone());
    let on_text = |change: fn(&str) -> String| {
        Function::new([Text], move |words: &[Value]| Ok(Value::from(change(text(&words[0])))))
    };
    let on_texts = |change: fn(&str, &str) -> Value| {
        Function::new([Text, Text], move |words: &[Value]| Ok(change(text(&words[0]), text(&words[1]))))
    };
    let on_ints = |change: fn(i64, i64) -> Option<i64>| {
        Function::new([Any, Any], move |words: &[Value]| {
            let result = change(int(&words[0]), int(&words[1]));
            result.map(Value::Int).ok_or_else(|| "the result is no number".to_owned())
        })
    };
    let padded = |count: i64, text: &str| {
        let pad = " ".repeat(usize::try_from(count).unwrap_or_default());
        format!("{pad}{}", text.replace('\n', &format!("\n{pad}")))
    };
    let list = || Function::new([], |words: &[Value]| Ok(Value::list(words.to_vec()))).variadic(Any);
    Functions::new()
        .with("mkSlice", list())
        .with("list", list())
        .with("toUpper", on_text(str::to_uppercase))
        .with("toLower", on_text(str::to_lowercase))
        .with("upper", on_text(str::to_uppercase))
        .with("lower", on_text(str::to_lowercase))
        .with("trim", on_text(|text| text.trim().to_owned()))
        .with("quote", on_text(|text| format!("{text:?}")))
        .with("squote", on_text(|text| format!("'{text}'")))
        .with("trimPrefix", on_texts(|part, text| text.strip_prefix(part).unwrap_or(text).into()))
        .with("trimSuffix", on_texts(|part, text| text.strip_suffix(part).unwrap_or(text).into()))
        .with("trimAll", on_texts(|cut, text| text.trim_matches(|c| cut.contains(c)).into()))
        .with("hasPrefix", on_texts(|part, text| text.starts_with(part).into()))
        .with("hasSuffix", on_texts(|part, text| text.ends_with(part).into()))
        .with("contains", on_texts(|part, text| text.contains(part).into()))
        .with("splitList", on_texts(|by, text| Value::list(text.split(by))))
        .with(
            "add1",
            Function::new([Any], |words: &[Value]| Ok(Value::Int(int(&words[0]).saturating_add(1)))),
        )
        .with("add", on_ints(i64::checked_add))
        .with("sub", on_ints(i64::checked_sub))
        .with("mul", on_ints(i64::checked_mul))
        .with("div", on_ints(i64::checked_div))
        .with("mod", on_ints(i64::checked_rem))
        .with("int", Function::new([Any], |words: &[Value]| Ok(Value::Int(int(&words[0])))))
        .with("atoi", Function::new([Text], |words: &[Value]| Ok(Value::Int(int(&words[0])))))
        .with("toString", Function::new([Any], |words: &[Value]| Ok(plain(&words[0]).into())))
        .with(
            "until",
            Function::new([Int], |words: &[Value]| {
                Ok(Value::list((0..int(&words[0]).min(10_000)).map(Value::Int)))
            }),
        )
        .with(
            "repeat",
            Function::new([Int, Text], |words: &[Value]| {
                let count = usize::try_from(int(&words[0])).unwrap_or_default();
                match count.checked_mul(text(&words[1]).len()) {
                    Some(length) if length < 1 << 20 => Ok(text(&words[1]).repeat(count).into()),
                    _ => Err("the text is too long".to_owned()),
                }
            }),
        )
        .with(
            "replace",
            Function::new([Text, Text, Text], |words: &[Value]| {
                Ok(text(&words[2]).replace(text(&words[0]), text(&words[1])).into())
            }),
        )
        .with(
            "indent",
            Function::new([Int, Text], move |words: &[Value]| {
                Ok(padded(int(&words[0]), text(&words[1])).into())
            }),
        )
        .with(
            "nindent",
            Function::new([Int, Text], move |words: &[Value]| {
                Ok(format!("\n{}", padded(int(&words[0]), text(&words[1]))).into())
            }),
        )
        .with(
            "join",
            Function::new([Text, Any], |words: &[Value]| {
                let all: Vec<String> = items(&words[1])?.iter().map(plain).collect();
                Ok(all.join(text(&words[0])).into())
            }),
        )
        .with(
            "first",
            Function::new([Any], |words: &[Value]| {
                Ok(items(&words[0])?.first().cloned().unwrap_or(Value::Nil))
            }),
        )
        .with(
            "last",
            Function::new([Any], |words: &[Value]| {
                Ok(items(&words[0])?.last().cloned().unwrap_or(Value::Nil))
            }),
        )
        .with(
            "has",
            Function::new([Any, Any], |words: &[Value]| Ok(items(&words[1])?.contains(&words[0]).into())),
        )
        .with("empty", Function::new([Any], |words: &[Value]| Ok(is_empty(&words[0]).into())))
        .with(
            "default",
            Function::new([Any, Any], |words: &[Value]| {
                Ok(if is_empty(&words[1]) { words[0].clone() } else { words[1].clone() })
            }),
        )
        .with(
            "coalesce",
            Function::new([], |words: &[Value]| {
                Ok(words.iter().find(|word| !is_empty(word)).cloned().unwrap_or(Value::Nil))
            })
            .variadic(Any),
        )
        .with(
            "ternary",
            Function::new([Any, Any, Param::Bool], |words: &[Value]| {
                Ok(if words[2] == Value::Bool(true) { words[0].clone() } else { words[1].clone() })
            }),
        )
        .with(
            "dict",
            Function::new([], |words: &[Value]| {
                Ok(Value::map(
                    words.chunks(2).map(|pair| {
                        (plain(&pair[0]), pair.get(1).cloned().unwrap_or_else(|| Value::from("")))
                    }),
                ))
            })
            .variadic(Any),
        )
        .with(
            "get",
            Function::new([Any, Text], |words: &[Value]| {
                Ok(match &words[0] {
                    Value::Map(entries) => {
                        entries.get(text(&words[1])).cloned().unwrap_or_else(|| Value::from(""))
                    }
                    _ => Value::from(""),
                })
            }),
        )
        .with(
            "hasKey",
            Function::new([Any, Text], |words: &[Value]| {
                Ok(matches!(&words[0], Value::Map(entries) if entries.contains_key(text(&words[1]))).into())
            }),
        )
        .with(
            "keys",
            Function::new([Any], |words: &[Value]| match &words[0] {
                Value::Map(entries) => Ok(Value::list(entries.keys().map(String::as_str))),
                other => Err(format!("a map is needed, not {}", other.type_name())),
            }),
        )
        .with(
            "getEnv",
            Function::new([Text], move |words: &[Value]| {
                let found = env.get(text(&words[0])).filter(|found| !found.is_empty());
                let default = words.get(1).map(text).unwrap_or_default();
                Ok(found.map_or(default, String::as_str).into())
            })
            .variadic(Text),
        )
        .with("regexMatch", on_regex(|regex, text| regex.is_match(text).into()))
        .with(
            "findStringSubmatch",
            on_regex(|regex, text| {
                let Some(found) = regex.captures(text) else { return Value::map::<String, Value>([]) };
                let named = regex.capture_names().flatten().next().is_some();
                let mut parts = Vec::new();
                for (place, name) in regex.capture_names().enumerate() {
                    let part = found.get(place).map(|part| part.as_str()).unwrap_or_default();
                    match name {
                        Some(name) => parts.push((name.to_owned(), part)),
                        None if !named => parts.push((place.to_string(), part)),
                        None => {}
                    }
                }
                Value::map(parts)
            }),
        )
        .with(
            "readFile",
            Function::new([Text], move |words: &[Value]| {
                let path = text(&words[0]);
                match files.get(path) {
                    Some(Some(content)) => Ok(content.trim().into()),
                    Some(None) => Err(format!("there is no file `{path}` in the machine")),
                    None => {
                        *needed.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
                        Err(format!("`{path}` has not been read"))
                    }
                }
            }),
        )
}

fn on_regex(change: fn(&regex::Regex, &str) -> Value) -> Function {
    Function::new([Param::String, Param::String], move |words: &[Value]| {
        Ok(change(&compiled(text(&words[0]))?, text(&words[1])))
    })
}
