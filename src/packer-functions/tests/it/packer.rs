//! The real `packer` (Debian's 1.6.6) as a peer: what it evaluates of the tables. Where it is not installed, the test says
//! so and does nothing. What it does not have, or had otherwise, is listed with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use imgbuild_hcl::value::to_json;

use crate::support::{ROOT, evaluate, fixed};
use crate::tables;

/// Functions that came after 1.6.6.
const MISSING: &[&str] = &[];

/// Functions whose answers depend on the machine, on time or on chance, or that ask others.
const IMPURE: &[&str] = &[
    "abspath",
    "aws_secretsmanager",
    "aws_secretsmanager_raw",
    "base64gzip",
    "bcrypt",
    "consul_key",
    "env",
    "pathexpand",
    "legacy_isotime",
    "legacy_strftime",
    "timestamp",
    "uuidv4",
    "vault",
];

/// Expressions that it answers otherwise, and why.
const CHANGED: &[(&str, &[&str])] = &[];

/// Runs Packer in a folder of its own, or says why not.
fn packer(folder: &Path, arguments: &[&str]) -> Option<Output> {
    let run = Command::new("packer")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(["PATH", "TMPDIR"].iter().filter_map(|name| std::env::var_os(name).map(|value| (*name, value))))
        .env("HOME", folder)
        .env("CHECKPOINT_DISABLE", "1")
        .env("PACKER_NO_COLOR", "1")
        .output();
    match run {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: `packer` cannot be run: {error}");
            None
        }
    }
}

/// The names of the functions that an expression calls.
fn called(text: &str) -> BTreeSet<&str> {
    let before = text.match_indices('(').map(|(at, _)| &text[..at]);
    before
        .map(|text| {
            &text[text.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1)..]
        })
        .collect()
}

/// Expressions without variables that it can be asked, and our answer as JSON.
fn programs() -> Vec<(&'static str, Option<String>)> {
    let scope = fixed();
    let mut found = Vec::new();
    for (text, _) in tables::expressions() {
        let names = called(text);
        if names.iter().any(|name| MISSING.contains(name) || IMPURE.contains(name)) {
            continue;
        }
        let source = imgbuild_hcl::syntax::Source::new("x", text.as_str());
        let uses_variables = imgbuild_hcl::syntax::parse_expression(&source)
            .map_or(true, |expression| !imgbuild_hcl::eval::references(&expression).is_empty());
        if uses_variables && !text.starts_with("convert(") {
            continue;
        }
        match evaluate(text, &scope).map(|value| to_json(&value)) {
            Ok(Ok(json)) => found.push((text.as_str(), Some(format!("{{\"v\":{json}}}")))),
            Ok(Err(_)) => {}
            Err(_) => found.push((text.as_str(), None)),
        }
    }
    found
}

/// What `packer inspect` shows of its locals `e0`, `e1`, …; those that cannot be evaluated are left out.
fn shown(programs: &[(&str, Option<String>)]) -> Option<BTreeMap<usize, String>> {
    let folder = tempfile::tempdir().unwrap();
    copy(Path::new(ROOT), folder.path());
    let local =
        |(at, (text, _)): (usize, &(&str, _))| format!("  e{at} = jsonencode({{v = (\n{text}\n)}})\n");
    let locals: String = programs.iter().enumerate().map(local).collect();
    fs_err::write(folder.path().join("x.pkr.hcl"), format!("locals {{\n{locals}}}\n")).unwrap();
    let output = packer(folder.path(), &["inspect", "x.pkr.hcl"])?;
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (at, value) = line.strip_prefix("local.e")?.split_once(": ")?;
        Some((at.parse().ok()?, serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())))
    };
    let shown: BTreeMap<usize, String> = text.lines().filter_map(line).collect();
    assert!(!shown.is_empty(), "`packer inspect` shows no local:\n{text}");
    Some(shown)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs_err::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn packer_answers_the_same() {
    let programs = programs();
    assert!(programs.len() > 600, "{} programs", programs.len());
    let Some(shown) = shown(&programs) else { return };
    let changed: BTreeSet<&str> = CHANGED.iter().flat_map(|(_, texts)| texts.iter().copied()).collect();
    let mut different = String::new();
    for (at, (text, ours)) in programs.iter().enumerate() {
        let theirs = shown.get(&at);
        if (ours.as_ref() == theirs) == changed.contains(text) {
            let _ = writeln!(different, "{text}\n  ours:   {ours:?}\n  theirs: {theirs:?}");
        }
    }
    assert!(different.is_empty(), "{different}");
}
