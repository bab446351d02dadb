//! The plan of every target in `examples/`, committed: a key that moves without intent fails here.
//!
//! `IMGBUILD_BLESS=1` writes the files anew; do so in the commit that moves the keys, and say why.

use std::fmt::Write as _;
use std::path::Path;

use crate::examples::Examples;
use crate::support::said;

/// The plan of a workspace's targets as text: a line for each action, without what this machine or its cache adds.
fn plan(examples: &Examples, below: &str, patterns: &[&str]) -> String {
    let words = [&["--json", "plan", "--locked", "--platform", "linux/amd64", "--"], patterns].concat();
    // The versions of programs of the host are in keys: here there are none.
    let planned = said(&examples.command(below, &words).env("PATH", "/nowhere").output().unwrap());
    assert_eq!(planned.code, Some(0), "{planned:#?}");
    let plan: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    let mut text = String::new();
    for action in plan["actions"].as_array().unwrap() {
        let of = |name: &str| action[name].as_str().unwrap_or("-").to_owned();
        let (target, platform, key) = (of("target"), of("platform"), of("key"));
        writeln!(text, "{target} {platform} {}\n    {key}", of("description")).unwrap();
    }
    text
}

/// Compares with a file of `golden/`, or writes it.
pub fn check(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/golden").join(name);
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, found).unwrap();
    }
    let expected = fs_err::read_to_string(&path).unwrap_or_default();
    let moved: Vec<_> =
        expected.lines().zip(found.lines()).filter(|(one, other)| one != other).take(4).collect();
    assert!(
        expected == found,
        "what `{name}` records has moved; if that is meant, set IMGBUILD_BLESS=1: {moved:#?}"
    );
}

#[test]
fn the_plans_of_the_examples_have_not_moved() {
    let examples = Examples::new();
    check("examples.txt", &plan(&examples, "", &["//examples/..."]));
    // Ubuntu's archive has no place in a committed lock file: it is not reached from where the tests run.
    check("monorepo.txt", &plan(&examples, "examples/monorepo", &["//...", "-//images:ubuntu-base"]));
}
