//! The files in `cases`: each case has inputs, files, and what must come out. `IMGBUILD_BLESS=1` writes what comes out.
//!
//! A case starts with `=== title`; lines such as `-var a=b`, `-var-file f`, `env A=b`, `-only p`, `-except p`,
//! `syntax-only`, `warn-undeclared`, `path p` follow, then files, each after `>>> name`; after `<<<` stands the outcome.

use std::fmt::Write as _;

use imgbuild_hcl::value::from_json;
use imgbuild_packer::template::{Inputs, read};

use crate::support::{Memory, Small, dump, told};

#[derive(Default)]
struct Case {
    title: String,
    options: Vec<String>,
    files: Vec<(String, String)>,
    expected: String,
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut in_outcome = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push(Case { title: title.to_owned(), ..Case::default() });
            in_outcome = false;
            continue;
        }
        let case = cases.last_mut().expect("a case starts with its title");
        if line == "<<<" {
            in_outcome = true;
        } else if in_outcome {
            if !line.is_empty() {
                case.expected.push_str(line);
                case.expected.push('\n');
            }
        } else if let Some(name) = line.strip_prefix(">>> ") {
            case.files.push((name.to_owned(), String::new()));
        } else if let Some((_, text)) = case.files.last_mut() {
            text.push_str(line);
            text.push('\n');
        } else if !line.is_empty() {
            case.options.push(line.to_owned());
        }
    }
    cases
}

fn write(cases: &[(Case, String)]) -> String {
    let mut out = String::new();
    for (case, outcome) in cases {
        let _ = writeln!(out, "=== {}", case.title);
        case.options.iter().for_each(|option| out.extend([option, "\n"]));
        for (name, text) in &case.files {
            let _ = write!(out, ">>> {name}\n{text}");
        }
        let _ = write!(out, "<<<\n{outcome}\n");
    }
    out
}

fn run(case: &Case) -> String {
    let mut inputs = Inputs { cwd: "/work".to_owned(), ..Inputs::default() };
    let mut path = vec![];
    let mut answers: Vec<String> = Vec::new();
    for option in &case.options {
        let (name, value) = option.split_once(' ').unwrap_or((option, ""));
        let pair = || {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            (name.to_owned(), value.to_owned())
        };
        match name {
            "-var" => inputs.variables.push(pair()),
            "-var-file" => inputs.var_files.push(value.to_owned()),
            "env" => drop(inputs.environment.insert(pair().0, pair().1)),
            "-only" => inputs.only.push(value.to_owned()),
            "-except" => inputs.except.push(value.to_owned()),
            "path" => path.push(value.to_owned()),
            "answer" => answers.push(value.to_owned()),
            "syntax-only" => inputs.syntax_only = true,
            "warn-undeclared" => inputs.warn_undeclared = true,
            other => panic!("{}: no option is called `{other}`", case.title),
        }
    }
    if path.is_empty() {
        path.push(".".to_owned());
    }
    let files = Memory(case.files.iter().cloned().collect());
    let mut loaded = read(&path, &inputs, &files, &Small);
    for answer in answers {
        for need in std::mem::take(&mut loaded.template.needs) {
            inputs.answers.insert(need, Ok(from_json(&answer).expect("an answer in JSON")));
        }
        loaded = read(&path, &inputs, &files, &Small);
    }
    let mut outcome = told(&loaded);
    if !loaded.has_errors() {
        outcome.push_str(&dump(&loaded.template));
        let told: Vec<&String> =
            loaded.template.env_reads.iter().filter(|name| !name.starts_with("PKR_VAR_")).collect();
        if !told.is_empty() {
            let _ = writeln!(outcome, "environment {told:?}");
        }
    }
    // An outcome is kept without empty lines.
    outcome.lines().filter(|line| !line.is_empty()).fold(String::new(), |text, line| text + line + "\n")
}

fn check(name: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/template/cases").join(name);
    let cases = parse(&fs_err::read_to_string(&path).expect("the cases"));
    assert!(!cases.is_empty(), "{name} has no cases");
    let results: Vec<(Case, String)> = cases
        .into_iter()
        .map(|case| {
            let outcome = run(&case);
            (case, outcome)
        })
        .collect();
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        fs_err::write(&path, write(&results)).expect("the cases are written");
        return;
    }
    let mut failed = String::new();
    for (case, outcome) in &results {
        if *outcome != case.expected {
            let _ = write!(failed, "\n{}: expected\n{}but it is\n{outcome}", case.title, case.expected);
        }
    }
    assert!(failed.is_empty(), "{name}:{failed}");
}

/// All files of all cases.
pub fn corpus() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/template/cases");
    NAMES
        .iter()
        .map(|name| fs_err::read_to_string(folder.join(format!("{name}.txt"))).expect("the cases"))
        .flat_map(|text| parse(&text))
        .flat_map(|case| case.files)
        .filter(|(name, _)| name.ends_with(".pkr.hcl") || name.ends_with(".pkr.json"))
        .collect()
}

macro_rules! files_of_cases {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            check(concat!(stringify!($name), ".txt"));
        })*
    };
}

files_of_cases! { files schema packer variables graph builds dynamic meta registry json }
