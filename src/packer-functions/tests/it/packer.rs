//! The real `packer` (Debian's 1.6.6) as a peer: what it evaluates of the tables. Where it is not installed, the test says
//! so and does nothing. What it does not have, or had otherwise, is listed with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use imgbuild_hcl::eval::references;
use imgbuild_hcl::syntax::{Source, parse_expression};
use imgbuild_hcl::value::to_json;

use crate::support::{ROOT, evaluate, fixed};
use crate::tables;

/// Functions that came after 1.6.6; and `index`, which was another function then (that of `list[key]`).
const MISSING: &[&str] = &[
    "alltrue",
    "anytrue",
    "endswith",
    "filebase64",
    "index",
    "regex",
    "regexall",
    "rfc3339_parse",
    "startswith",
    "strcontains",
    "sum",
    "templatefile",
    "textdecodebase64",
    "textencodebase64",
    "unix_timestamp_parse",
];

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

/// Expressions that it answers otherwise, and why. What is not marked as of its time is in `data/differing.txt` too.
const CHANGED: &[(&str, &[&str])] = &[
    ("of its time: nothing merged was null", &["merge()", "merge(null)"]),
    (
        "of its time: times were not read to the letter",
        &[
            "formatdate(\"D\",\"2018-01-02T3:12:01Z\")",
            "formatdate(\"D\",\"2018-01-02T23:12:01+24:00\")",
            "formatdate(\"D\",\"2018-01-02T23:12:01,5Z\")",
        ],
    ),
    ("of its time: nulls of no type were not known", &["jsonencode(null)"]),
    ("of its time: there was no `optional`", &["convert({a=1},object({a=string,b=optional(string)}))"]),
    (
        "of its time: Go took the flag `-` before `0`",
        &["format(\"%05.1f|%-05.1f|%+05d|%-05d\",1.25,1.25,3,3)"],
    ),
    (
        "the template itself is in the folder",
        &["fileset(\".\",\"*\")", "fileset(\".\",\"**\")", "fileset(\".\",\"[^h]*\")"],
    ),
    (
        "of its time: related objects and sets had no common type, and large numbers wrapped",
        &["setunion([{a=1}],[{a=\"x\"}])", "flatten(setunion([[\"a\"]],[[\"b\"]]))", "floor(1e30)"],
    ),
    (
        "ranges at the end of all addresses, and IPv4 within IPv6, go wrong there",
        &[
            "cidrhost(\"::ffff:10.0.0.0/104\",1)",
            "cidrsubnets(\"0.0.0.0/0\",1,1)",
            "cidrsubnets(\"::/0\",1,1)",
        ],
    ),
    ("YAML 1.2 is read here", &["yamldecode(\"b:\\t1\")", "yamldecode(\"a: \\\"\\\\/\\\"\")"]),
    (
        "years end at 9999 here, and the step of a range is never zero",
        &[
            "timeadd(\"9999-12-31T23:59:59Z\",\"1s\")",
            "timeadd(\"9995-02-01T04:55:05Z\",\"1000000h\")",
            "range(1,1,0)",
        ],
    ),
    (
        "the wrong number of a subnet is wrong here",
        &["cidrsubnet(\"10.1.2.0/24\",-1,0)", "cidrsubnet(\"10.1.2.0/24\",4,-1)"],
    ),
    ("nothing is below a file, which is no error here", &["fileexists(\"hello.txt/x\")"]),
    ("what is merged with null is looked at here", &["merge(null,setunion([\"a\"]))"]),
    ("`!` is a negation here", &["fileset(\".\",\"[!h]*\")"]),
    ("a fraction has a sign too", &["signum(0.5)"]),
    ("the last bit of a power with a fraction", &["pow(55,-3.58)", "pow(27,-2.69)"]),
    (
        "sizes have a limit here",
        &["indent(70000,\"a\")", "format(\"%200000d\",1)", "format(\"%.99999999999999999999f\",1)"],
    ),
    (
        "YAML is read otherwise",
        &[
            "yamldecode(\"'<<': {a: 1}\")",
            "yamldecode(\"---\\n\")",
            "yamldecode(\"!!null x\")",
            "yamldecode(\"~\")",
            "yamldecode(\"\\tx\")",
            "yamldecode(\"! 5\")",
        ],
    ),
];

/// What it runs out of memory on.
const TOO_LARGE: &str = "setproduct(range(1000),range(1000),range(1000))";

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
        if text == TOO_LARGE {
            continue;
        }
        if names.iter().any(|name| MISSING.contains(name) || IMPURE.contains(name)) {
            continue;
        }
        let source = Source::new("x", text.as_str());
        let Ok(expression) = parse_expression(&source) else { continue };
        let types = text.starts_with("convert(");
        if !types && !references(&expression).is_empty() || text.contains("secn") {
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
    assert!(programs.len() > 1000, "{} programs", programs.len());
    let Some(version) = packer(Path::new("/"), &["version"]) else { return };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.contains("v1.6.6") {
        return eprintln!("skipped: the lists above are those of Packer 1.6.6, and this is {version}");
    }
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
