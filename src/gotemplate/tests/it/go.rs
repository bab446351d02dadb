//! The table of cases: what Go gives, and what this crate says where Go gives an error. Where Go is installed, the table
//! itself is compared with it. `IMGBUILD_BLESS=1` writes the table anew.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use imgbuild_gotemplate::{Function, Functions, MissingKey, Options, Param, Template, Value};
use serde_json::{Value as Json, json};

const TABLE: &str = include_str!("cases.json");
const ORACLE: &str = include_str!("oracle.go");

pub fn functions() -> Functions {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let int = |value: &Value| if let Value::Int(number) = value { *number } else { 0 };
    Functions::new()
        .with("user", Function::new([Param::String], move |a| Ok(format!("<{}>", text(&a[0])).into())))
        .with("add", Function::new([Param::Int, Param::Int], move |a| Ok((int(&a[0]) + int(&a[1])).into())))
        .with(
            "join",
            Function::new([Param::String], move |a| {
                let parts: Vec<String> = a[1..].iter().map(text).collect();
                Ok(parts.join(&text(&a[0])).into())
            })
            .variadic(Param::String),
        )
        .with("fail", Function::new([], |_| Err("it failed".to_owned())))
        .with("flip", Function::new([Param::Bool], |a| Ok((a[0] == Value::Bool(false)).into())))
}

pub fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| number.as_f64().unwrap_or(0.0).into(), Value::from)
        }
        Json::String(text) => text.as_str().into(),
        Json::Array(elements) => Value::list(elements.iter().map(value)),
        Json::Object(entries) => match entries.get("$struct").and_then(Json::as_array) {
            Some(pairs) => Value::record(
                pairs.iter().map(|pair| (pair[0].as_str().unwrap_or_default(), value(&pair[1]))),
            ),
            None => Value::map(entries.iter().map(|(key, element)| (key.as_str(), value(element)))),
        },
    }
}

fn ours(case: &Json, data: &BTreeMap<String, Value>) -> Result<String, String> {
    let functions = functions();
    let missing_key = match case["option"].as_str() {
        Some("missingkey=error") => MissingKey::Error,
        Some("missingkey=zero") => MissingKey::Zero,
        _ => MissingKey::Default,
    };
    let options = Options { missing_key, ..Options::default() };
    let source = case["template"].as_str().expect("a template");
    let data = &data[case["data"].as_str().expect("a name of data")];
    let template = Template::parse(source, &functions).map_err(|error| error.to_string())?;
    template.render(&functions, data, &options).map_err(|error| error.to_string())
}

/// What Go makes of the cases; `None` without Go.
fn oracle(cases: &[Json], data: &Json) -> Option<Vec<Json>> {
    let go = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| {
        Command::new(go).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    })?;
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("main.go");
    write_file(&program, ORACLE);
    let cases: Vec<Json> = cases
        .iter()
        .map(|case| {
            let data = &data[case["data"].as_str().unwrap_or_default()];
            json!({"template": case["template"], "option": case["option"].as_str().unwrap_or(""), "data": data})
        })
        .collect();
    let mut child = Command::new(go)
        .args(["run", "main.go"])
        .current_dir(folder.path())
        .env("GOCACHE", folder.path().join("cache"))
        .env("GOFLAGS", "-mod=mod")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("go runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = serde_json::to_vec(&cases).expect("JSON");
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("go ends");
    writer.join().expect("no panic").expect("go reads");
    assert!(output.status.success(), "the Go program fails");
    Some(serde_json::from_slice(&output.stdout).expect("JSON from Go"))
}

fn write_file(path: &std::path::Path, text: &str) {
    let mut file = std::fs::File::create(path).expect("a file");
    file.write_all(text.as_bytes()).expect("written");
}

fn table() -> (Json, Vec<Json>, BTreeMap<String, Value>) {
    let table: Json = serde_json::from_str(TABLE).expect("the table is JSON");
    let cases = table["cases"].as_array().expect("cases").clone();
    let data = table["data"].as_object().expect("data");
    let values = data
        .iter()
        .map(|(name, json)| (name.clone(), if json.is_null() { Value::Absent } else { value(json) }))
        .collect();
    (table["data"].clone(), cases, values)
}

#[test]
fn every_case_of_the_table_renders_as_in_go() {
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        bless();
        return;
    }
    let (_, cases, data) = table();
    assert!(cases.len() > 700, "the table is whole");
    let mut wrong = Vec::new();
    for case in &cases {
        let expected = match case["output"].as_str() {
            Some(output) => Ok(output.to_owned()),
            None => Err(case["error"].as_str().expect("an output or an error").to_owned()),
        };
        let found = ours(case, &data);
        if found != expected {
            wrong.push(format!(
                "{}\n  wanted {expected:?}\n  found  {found:?}\n  go {}",
                case["template"], case["go_error"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_table_is_what_go_gives() {
    let (data, cases, _) = table();
    let Some(results) = oracle(&cases, &data) else {
        eprintln!("skipped: there is no Go on this machine to compare the table with");
        return;
    };
    assert_eq!(results.len(), cases.len());
    for (case, result) in cases.iter().zip(&results) {
        assert_eq!(case["output"], result["output"], "{}: {}", case["template"], result["error"]);
    }
}

fn bless() {
    let (data, mut cases, values) = table();
    let results = oracle(&cases, &data).expect("Go is needed to write the table");
    for (case, result) in cases.iter_mut().zip(&results) {
        let mut line = json!({"template": case["template"], "data": case["data"]});
        if case["option"].is_string() {
            line["option"] = case["option"].clone();
        }
        match result["output"].as_str() {
            Some(output) => line["output"] = output.into(),
            None => {
                line["go_error"] = result["error"].clone();
                line["error"] = ours(case, &values).expect_err("Go gives an error").into();
            }
        }
        *case = line;
    }
    let data: Vec<String> = data
        .as_object()
        .expect("data")
        .iter()
        .map(|(name, json)| format!("    {}: {json}", Json::from(name.as_str())))
        .collect();
    let cases: Vec<String> = cases.iter().map(|case| format!("    {case}")).collect();
    let text = format!(
        "{{\n  \"data\": {{\n{}\n  }},\n  \"cases\": [\n{}\n  ]\n}}\n",
        data.join(",\n"),
        cases.join(",\n")
    );
    write_file(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases.json"), &text);
}
