//! Keys of representative actions, as they were when they were last looked at. A key that moves by accident throws away
//! everybody's cache, and one that moves too little serves stale results.

use std::fmt::Write as _;
use std::path::Path;

use imgbuild_model::Value;
use imgbuild_plan::KEY_SCHEMA;
use imgbuild_plan::testing::{context, dict, file, texts};

use crate::samples::{Change, Given, sample};
use crate::support::keys;

const FILE: &str = "tests/golden_keys.txt";

/// The plain sample of each kind, and some that say more.
fn vectors() -> String {
    let mut text = format!(
        "# Keys by kind: static, content. Made by `IMGBUILD_BLESS=1 cargo test -p imgbuild-plan golden`.\n\
         # schema {KEY_SCHEMA}\n"
    );
    let mut line = |name: &str, kind: &str, change: &Change| {
        let schema = imgbuild_kinds::find(kind).unwrap();
        let sample = sample(schema, change);
        let keys = keys(context(&sample.graph, &sample.lock, &sample.digests), sample.place);
        let fixed = keys.fixed.map_or_else(|| "-".to_owned(), |key| key.to_string());
        writeln!(text, "{name} {fixed} {}", keys.content).unwrap();
    };
    for schema in imgbuild_kinds::all() {
        line(schema.id, schema.id, &Change::default());
    }
    let given = |given: &[(&'static str, Value)]| Change {
        given: Given::from_iter(given.to_vec()),
        ..Change::default()
    };
    let shell = [
        ("inline", texts(&["apt-get update", "make install"])),
        ("srcs", Value::list([file("one/a"), file("two/b")])),
        ("env", dict(&[("B", "2"), ("A", "1")])),
        ("user", Value::string("app")),
        ("network", Value::Bool(true)),
    ];
    line("shell-full", "shell", &given(&shell));
    line("shell-impure", "shell", &given(&[("cache", Value::Bool(false))]));
    line(
        "file-full",
        "file",
        &given(&[("src", Value::list([file("one/a")])), ("mode", Value::string("0600"))]),
    );
    line("oci_base-image", "oci_base", &given(&[("image", Value::string("registry.example/app:1"))]));
    line("shell-arm64", "shell", &Change { platform: Some("arm64"), ..Change::default() });
    let state = Some(("env", vec![("variables", dict(&[("LANG", "C.UTF-8")]))]));
    line("shell-state", "shell", &Change { state, ..Change::default() });
    text
}

#[test]
fn golden_keys_have_not_drifted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let found = vectors();
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        fs_err::write(&path, found).unwrap();
        return;
    }
    let expected = fs_err::read_to_string(&path).unwrap();
    let drifted: Vec<&str> = found
        .lines()
        .filter(|line| !expected.lines().any(|old| old == *line))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        found == expected,
        "the keys of {drifted:?} are not those of `{FILE}`.\n\
         If that was not meant, undo it: everybody's cached results would be lost.\n\
         If the same attributes of one kind now mean other bytes, raise its `key_version`; if the table of keys changed, \
         raise `KEY_SCHEMA`; then run `IMGBUILD_BLESS=1 cargo test -p imgbuild-plan golden`"
    );
}
