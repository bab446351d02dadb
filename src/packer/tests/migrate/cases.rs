//! The file `cases.txt`: each case has a template, the text that must come out, and what is told.
//! `IMGBUILD_BLESS=1` writes what comes out.
//!
//! A case starts with `=== title`; lines such as `package images`, `var a=b`, `answer {…}`, `holes` follow, then files,
//! the template first, each after `>>> name`; after `<<<` stands the outcome.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::{Case, outcome};

const FILE: &str = "tests/migrate/cases.txt";

pub fn all() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    parse(&fs_err::read_to_string(path).expect("the cases"))
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
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        if line == "<<<" {
            in_outcome = true;
        } else if in_outcome {
            case.expected.extend([line, "\n"]);
        } else if word == ">>>" {
            case.files.push((value.to_owned(), String::new()));
        } else if let Some((_, text)) = case.files.last_mut() {
            text.extend([line, "\n"]);
        } else {
            match word {
                "package" => case.package = value.to_owned(),
                "var" => case.vars.extend(value.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()))),
                "answer" => case.answer = Some(value.to_owned()),
                "cwd" => case.cwd = Some(value.to_owned()),
                "default" => case.default = Some(value.to_owned()),
                "holes" => case.holes = true,
                other => panic!("{}: no option is called `{other}`", case.title),
            }
        }
    }
    cases
}

fn header(case: &Case) -> String {
    let mut out = format!("=== {}\n", case.title);
    if !case.package.is_empty() {
        let _ = writeln!(out, "package {}", case.package);
    }
    case.vars.iter().for_each(|(name, value)| {
        let _ = writeln!(out, "var {name}={value}");
    });
    case.answer.iter().for_each(|answer| {
        let _ = writeln!(out, "answer {answer}");
    });
    case.cwd.iter().for_each(|cwd| {
        let _ = writeln!(out, "cwd {cwd}");
    });
    case.default.iter().for_each(|platform| {
        let _ = writeln!(out, "default {platform}");
    });
    if case.holes {
        out.push_str("holes\n");
    }
    for (name, text) in &case.files {
        let _ = write!(out, ">>> {name}\n{text}");
    }
    out + "<<<\n"
}

#[test]
fn templates_become_build_files() {
    let cases = all();
    assert!(cases.len() >= 12, "there are {} cases", cases.len());
    let mut written = String::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let migration = outcome(case).migration;
        let mut found = migration.text;
        found.push_str("---\n");
        migration.left.0.iter().for_each(|left| {
            let _ = writeln!(found, "{left}");
        });
        assert!(!found.contains("hunter2"), "{}: a sensitive text is written:\n{found}", case.title);
        if found != case.expected {
            wrong.push(format!("{}:\n{found}", case.title));
        }
        written.extend([header(case), found]);
    }
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
        return fs_err::write(path, written).expect("the cases can be written");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
