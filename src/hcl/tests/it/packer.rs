//! The real `packer` (Debian's 1.6.6) as a peer: what it evaluates, what it refuses and how it lays out. Where it is not
//! installed the tests say so and do nothing. Its HCL is of 2020; what changed since is listed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use imgbuild_hcl::eval::references;
use imgbuild_hcl::format::format;
use imgbuild_hcl::syntax::{self, Expression, Source, parse_expression};
use imgbuild_hcl::value::to_json;

use crate::{support, tables};

/// The variables of the tests that Packer can be given: name, type if that of the value will not do, value.
const VARIABLES: [(&str, &str, &str); 16] = [
    ("t", "", "true"),
    ("f", "", "false"),
    ("n", "", "3"),
    ("s", "", "\"str\""),
    ("e", "", "\"\""),
    ("l", "list(string)", r#"["a", "b", "c"]"#),
    ("nums", "list(number)", "[1, 2, 3]"),
    ("m", "map(string)", r#"{ z = "1", a = "2", m = "3" }"#),
    ("st", "set(string)", r#"["y", "x"]"#),
    (
        "o",
        "object({ k = string, n = number, l = list(string), o = object({ x = bool }) })",
        r#"{ k = "v", n = 1, l = ["p", "q"], o = { x = true } }"#,
    ),
    (
        "a",
        "tuple([object({ id = number, tags = list(string) }), object({ id = number, tags = list(string) })])",
        r#"[{ id = 1, tags = ["t1", "t2"] }, { id = 2, tags = ["t3", "t4"] }]"#,
    ),
    ("la", "list(object({ id = number }))", "[{ id = 1 }, { id = 2 }]"),
    ("el", "list(string)", "[]"),
    ("em", "map(string)", "{}"),
    ("et", "tuple([])", "[]"),
    ("eo", "object({})", "{}"),
];

/// What Packer's functions, and not its language, make different: these are other functions in the tests.
const OTHER_FUNCTIONS: [&str; 3] = ["concat", "length", "floor"];

/// Debian's.
const VERSION: &str = "Packer v1.6.6";

/// What the language has changed since: a null decides nothing but counts as false, one side of `&&` and `||` is enough,
/// nulls of no type have a JSON and are known, and remainders keep their precision. The last is ours: exponents
/// have bounds.
const CHANGED: [&str; 13] = [
    "var.t && null",
    "var.f && null",
    "null && var.f",
    "null || var.t",
    "var.t || null",
    "null && null",
    "var.t || upper(null)",
    "[null] == [null]",
    "null[*]",
    "jsonencode(null)",
    "1e100 % 7",
    "[for i, x in [1, 2] : (i % 9e-23) - 170000000000]",
    "jsondecode(\"1e99999\")",
];

/// Runs Packer in a folder of its own, or says why not.
fn packer(folder: &Path, arguments: &[&str]) -> Option<Output> {
    let run = |arguments: &[&str]| {
        let kept =
            ["PATH", "TMPDIR"].iter().filter_map(|name| std::env::var_os(name).map(|value| (*name, value)));
        Command::new("packer")
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .envs(kept)
            .env("HOME", folder)
            .env("CHECKPOINT_DISABLE", "1")
            .env("PACKER_NO_COLOR", "1")
            .output()
    };
    let version = match run(&["version"]) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            eprintln!("skipped: `packer` cannot be run: {error}");
            return None;
        }
    };
    if !version.starts_with(VERSION) {
        eprintln!("skipped: `packer` is {}, what differs is known of {VERSION}", version.trim());
        return None;
    }
    Some(run(arguments).unwrap())
}

/// The expression as Packer can be given it: with `var.` before each variable. `None` if it uses anything else.
fn translated(text: &str, expression: &Expression) -> Option<String> {
    if OTHER_FUNCTIONS.iter().any(|name| text.contains(name))
        || text.contains("::")
        || text.contains("\u{feff}")
    {
        return None;
    }
    let mut result = text.to_owned();
    let mut roots: Vec<_> = references(expression).into_iter().map(|reference| reference.root).collect();
    roots.sort_by_key(|root| std::cmp::Reverse(root.span));
    roots.dedup();
    for root in roots {
        if !VARIABLES.iter().any(|(name, ..)| *name == root.name.as_ref()) {
            return None;
        }
        result.insert_str(root.span.start as usize, "var.");
    }
    Some(result)
}

/// What Packer can be given of the programs of the tables: as Packer reads it, and its JSON; `None` if it is refused.
fn programs() -> Vec<(String, Option<String>)> {
    let scope = support::scope();
    let mut found = Vec::new();
    for text in tables::of_kind("expr") {
        let Ok(expression) = parse_expression(&Source::new("x", text)) else { continue };
        let Some(text) = translated(text, &expression) else { continue };
        match expression.evaluate(&scope).map(|value| to_json(&value)) {
            Ok(Ok(json)) => found.push((text, Some(format!("{{\"v\":{json}}}")))),
            Ok(Err(_)) => {}
            Err(_) => found.push((text, None)),
        }
    }
    found
}

/// What `packer inspect` shows of its locals `e0`, `e1`, …; those that cannot be evaluated are left out.
fn shown(folder: &Path, programs: &[(String, Option<String>)]) -> Option<BTreeMap<usize, String>> {
    let local =
        |(at, (text, _)): (usize, &(String, _))| format!("  e{at} = jsonencode({{v = (\n{text}\n)}})\n");
    let locals: String = programs.iter().enumerate().map(local).collect();
    let variables = VARIABLES.map(|(name, ty, value)| {
        let ty = if ty.is_empty() { String::new() } else { format!("  type = {ty}\n") };
        format!("variable \"{name}\" {{\n{ty}  default = {value}\n}}\n")
    });
    let template = format!("{}locals {{\n{locals}}}\n", variables.concat());
    fs_err::write(folder.join("x.pkr.hcl"), template).unwrap();
    let output = packer(folder, &["inspect", "x.pkr.hcl"])?;
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (at, value) = line.strip_prefix("local.e")?.split_once(": ")?;
        Some((at.parse().ok()?, serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())))
    };
    let shown: BTreeMap<usize, String> = text.lines().filter_map(line).collect();
    assert!(!shown.is_empty(), "`packer inspect` shows no local:\n{text}");
    Some(shown)
}

#[test]
fn packer_evaluates_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let programs = programs();
    assert!(programs.len() > 600, "{} programs", programs.len());
    let Some(shown) = shown(folder.path(), &programs) else { return };
    let mut different = String::new();
    for (at, (text, ours)) in programs.iter().enumerate() {
        let theirs = shown.get(&at);
        let same = ours.as_ref() == theirs;
        if same == CHANGED.contains(&text.as_str()) {
            let _ = writeln!(different, "{text}\n  ours:   {ours:.300?}\n  theirs: {theirs:.300?}");
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn packer_lays_out_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let texts: Vec<&str> =
        tables::of_kind("fmt").filter(|text| syntax::parse("x", text).errors.is_empty()).collect();
    assert!(texts.len() > 250, "{} texts", texts.len());
    let file = |at: usize| folder.path().join(format!("x{at}.pkr.hcl"));
    for (at, text) in texts.iter().enumerate() {
        fs_err::write(file(at), text).unwrap();
    }
    let Some(output) = packer(folder.path(), &["fmt", "."]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut different = String::new();
    for (at, text) in texts.iter().enumerate() {
        // It still put a space after `!`.
        let (ours, theirs) = (format(text), fs_err::read_to_string(file(at)).unwrap().replace("! ", "!"));
        if ours != theirs {
            let _ = writeln!(different, "{text:?}\n  ours:   {ours:?}\n  theirs: {theirs:?}");
        }
    }
    assert!(different.is_empty(), "{different}");
}
