//! Expressions and what becomes of them, in `data/*.txt`. With `IMGBUILD_BLESS=1` in the environment the results are
//! written anew: look at each change, for what is there was compared with `go-cty` 1.13.3 and the other libraries that
//! Packer 1.16 has its functions from.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::support::{ROOT, evaluate, fixed, render};

const TABLES: [&str; 14] = [
    "collection.txt",
    "crypto.txt",
    "datetime.txt",
    "differing.txt",
    "encoding.txt",
    "filesystem.txt",
    "format.txt",
    "marks.txt",
    "network.txt",
    "numeric.txt",
    "outside.txt",
    "pattern.txt",
    "string.txt",
    "yaml.txt",
];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name)
}

fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(|block| block.trim_end_matches('\n'))
}

/// The expressions of all tables, and whether each has a value.
pub fn expressions() -> &'static [(String, bool)] {
    static ALL: LazyLock<Vec<(String, bool)>> = LazyLock::new(|| {
        let texts = TABLES.map(|name| fs_err::read_to_string(path(name)).unwrap());
        let lines = texts.iter().flat_map(|text| blocks(text)).filter_map(|block| block.split_once('\n'));
        let expressions = lines.filter(|(expression, _)| !expression.starts_with('#'));
        expressions.map(|(text, outcome)| (text.to_owned(), outcome.starts_with("=>"))).collect()
    });
    &ALL
}

fn outcome(expression: &str) -> String {
    let outcome = match evaluate(expression, &fixed()) {
        Ok(value) => format!("=> {}", render(&value)),
        Err(errors) => format!("error: {}", errors.to_string().replace('\n', "\nerror: ")),
    };
    outcome.replace(ROOT, "ROOT")
}

fn table(name: &str) {
    let text = fs_err::read_to_string(path(name)).unwrap();
    let mut actual = Vec::new();
    let mut wrong = Vec::new();
    for block in blocks(&text) {
        let expression = block.lines().next().unwrap_or_default();
        if expression.starts_with('#') {
            actual.push(block.to_owned());
            continue;
        }
        let result = format!("{expression}\n{}", outcome(expression));
        if result != block {
            wrong.push(format!("expected:\n{block}\nactual:\n{result}\n"));
        }
        actual.push(result);
    }
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        fs_err::write(path(name), format!("{}\n", actual.join("\n\n"))).unwrap();
    } else {
        assert!(wrong.is_empty(), "{} expressions of {name} differ\n{}", wrong.len(), wrong.join("\n"));
    }
}

macro_rules! tables {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            table(concat!(stringify!($name), ".txt"));
        }
    )*};
}
tables!(
    collection crypto datetime differing encoding filesystem format marks network numeric outside pattern string yaml
);

#[test]
fn every_table_is_run() {
    let mut found: Vec<String> = fs_err::read_dir(path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".txt"))
        .collect();
    found.sort();
    assert_eq!(found, TABLES);
    assert!(expressions().len() > 900, "{}", expressions().len());
}
