//! Programs and what becomes of them, in `data/*.txt`. With `IMGBUILD_BLESS=1` in the environment the results are written
//! anew; what Go answers was taken down by hand, so look at each change.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::support;

/// One program of a table: the line that holds it, its kind and its text.
fn program(line: &str) -> (&str, String) {
    let (kind, text) = line.split_once(' ').unwrap_or((line, ""));
    match kind.strip_suffix('!') {
        Some(kind) => (kind, serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {line}"))),
        None => (kind, text.to_owned()),
    }
}

const TABLES: [&str; 9] = [
    "defaults.txt",
    "differing.txt",
    "dynamic.txt",
    "expressions.txt",
    "files.txt",
    "format.txt",
    "json.txt",
    "templates.txt",
    "types.txt",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name)
}

/// The programs of all tables, each after its kind.
pub fn programs() -> &'static [(String, String)] {
    static ALL: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let texts: Vec<String> =
            TABLES.iter().map(|name| fs_err::read_to_string(path(name)).unwrap()).collect();
        let blocks = texts.iter().flat_map(|text| text.split("\n\n"));
        let lines = blocks.filter_map(|block| block.lines().next().filter(|line| !line.starts_with('#')));
        lines.map(program).map(|(kind, text)| (kind.to_owned(), text)).collect()
    });
    &ALL
}

/// The programs of one kind.
pub fn of_kind(kind: &str) -> impl Iterator<Item = &'static str> {
    programs().iter().filter(move |(own, _)| own == kind).map(|(_, text)| text.as_str())
}

fn outcome(kind: &str, text: &str) -> String {
    match support::run(kind, text) {
        Ok(value) => format!("=> {value}\n"),
        Err(errors) => errors.lines().fold(String::new(), |mut all, error| {
            let _ = writeln!(all, "error: {error}");
            all
        }),
    }
}

/// Runs a table and returns how many programs it has.
fn table(name: &str) -> usize {
    let text = fs_err::read_to_string(path(name)).unwrap();
    let (mut actual, mut count, mut wrong) = (String::new(), 0, Vec::new());
    for block in text.split("\n\n") {
        let mut block = block.trim_end_matches('\n').to_owned();
        block.push('\n');
        let line = block.lines().next().unwrap_or_default();
        if !line.starts_with('#') {
            let (kind, program) = program(line);
            let result = format!("{line}\n{}", outcome(kind, &program));
            count += 1;
            if result != block {
                wrong.push(format!("expected:\n{block}actual:\n{result}"));
            }
            block = result;
        }
        if !actual.is_empty() {
            actual.push('\n');
        }
        actual.push_str(&block);
    }
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        fs_err::write(path(name), actual).unwrap();
    } else {
        assert!(
            wrong.is_empty(),
            "{} of {count} programs of {name} differ\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
    count
}

#[test]
fn expressions() {
    assert!(table("expressions.txt") > 1000);
}

#[test]
fn templates() {
    assert!(table("templates.txt") > 30);
}

#[test]
fn files() {
    assert!(table("files.txt") > 100);
}

#[test]
fn types() {
    assert!(table("types.txt") > 40);
}

#[test]
fn the_json_syntax() {
    assert!(table("json.txt") > 100);
}

#[test]
fn dynamic_blocks() {
    assert!(table("dynamic.txt") > 50);
}

#[test]
fn defaults_of_optional_attributes() {
    assert!(table("defaults.txt") > 200);
}

#[test]
fn layouts() {
    assert!(table("format.txt") > 300);
}

#[test]
fn programs_on_which_others_differ() {
    assert_eq!(table("differing.txt"), 65);
}
