//! No input makes the reader panic or take long: templates with pieces changed at random, and large ones.

use std::fmt::Write as _;

use imgbuild_packer::template::{Console, Inputs, inspect, read};
use proptest::prelude::*;

use crate::cases::corpus;
use crate::support::{Disk, Memory, Small, told};

/// What is put in at random: signs and words that mean something.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "${",
    "%{",
    "<<E\n",
    "\n",
    "=",
    ",",
    ".",
    "...",
    "?",
    ":",
    "null",
    "local.a",
    "var.a",
    "data.a.b",
    "dynamic \"x\" {",
    "for_each = [1]",
    "content {",
    "for x in ",
    "\\",
    "é",
    "\u{0}",
    "1e999",
    "*",
    "build {",
    "source \"null\" \"a\" {",
    "sources = [",
    "locals {",
    "variable \"a\" {",
    "optional(",
    "try(",
    "env(",
];

fn read_all(name: &str, text: String) {
    let loaded =
        read(&[name.to_owned()], &Inputs::default(), &Memory([(name.to_owned(), text)].into()), &Small);
    let _ = (told(&loaded), inspect(&loaded.template));
    let _ = Console::new(&loaded.template).answer("variables");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_templates_do_not_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..12), 1..6),
    ) {
        let corpus = corpus();
        let (name, text) = which.get(&corpus);
        let mut text = text.clone();
        for (place, piece, removed) in changes {
            let at = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.ceil_char_boundary((at + removed).min(text.len()));
            text.replace_range(at..end, PIECES[piece.index(PIECES.len())]);
        }
        read_all(name, text);
    }

    #[test]
    fn text_of_any_kind_does_not_panic(text in "\\PC{0,200}") {
        read_all("a.pkr.hcl", text.clone());
        read_all("a.pkr.json", text);
    }
}

#[test]
fn a_long_chain_of_locals_is_followed() {
    let count = 5000;
    let mut text = String::from("locals {\n");
    for index in 0..count {
        let _ = writeln!(text, "l{index} = local.l{} + 1", index + 1);
    }
    let _ = writeln!(text, "l{count} = 0\n}}");
    let files = Memory([("a.pkr.hcl".to_owned(), text)].into());
    let loaded = read(&["a.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
    assert_eq!(told(&loaded), "");
    let first = loaded.template.locals.iter().find(|local| local.name.as_ref() == "l0").expect("it is there");
    assert_eq!(first.value.to_string(), "5000");
}

fn locals(count: usize, value: impl Fn(&str) -> String) -> String {
    let mut text = String::from("locals {\n");
    for index in 0..count {
        let _ = writeln!(text, "l{index} = {}", value(&format!("local.l{}", index + 1)));
    }
    let _ = writeln!(text, "l{count} = \"x\"\n}}");
    text
}

/// Locals that each hold the next, once or twice: what they stand for would be deep, or very large.
#[test]
fn locals_are_not_built_up_without_end() {
    for (count, value, message) in [
        (10_000, "[NEXT]", "this value is nested more than 384 deep"),
        (10_000, "{a = NEXT}", "this value is nested more than 384 deep"),
        (60, "[NEXT, NEXT]", "this value is too large"),
    ] {
        let text = locals(count, |next| value.replace("NEXT", next));
        let files = Memory([("a.pkr.hcl".to_owned(), text)].into());
        let loaded = read(&["a.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
        let errors = &loaded.diagnostics.0;
        assert!(errors.iter().all(|error| error.message == message), "{value}: {}", told(&loaded));
        assert!((1..=30).contains(&errors.len()), "{value}: {}", errors.len());
        let _ = inspect(&loaded.template);
    }
}

#[test]
fn each_of_many_errors_is_told() {
    let text = "variable \"a\" {}\n".repeat(5000);
    let files = Memory([("a.pkr.hcl".to_owned(), text)].into());
    let loaded = read(&["a.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
    assert_eq!(loaded.diagnostics.0.len(), 4999);
}

#[test]
fn a_long_cycle_is_told() {
    let count = 2000;
    let lines: String =
        (0..count).map(|index| format!("l{index} = local.l{}\n", (index + 1) % count)).collect();
    let files = Memory([("a.pkr.hcl".to_owned(), format!("locals {{\n{lines}}}\n"))].into());
    let loaded = read(&["a.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
    let told = told(&loaded);
    assert!(
        told.starts_with("error: a.pkr.hcl:2:1: local.l0 depends on itself: local.l0 -> local.l1 -> "),
        "{}",
        &told[..200]
    );
    assert_eq!(loaded.diagnostics.0.len(), 1);
}

#[test]
fn a_file_that_is_no_text_is_told() {
    let folder = tempfile::TempDir::new().expect("a folder");
    fs_err::write(folder.path().join("a.pkr.hcl"), [0xff, 0xfe, b'a']).expect("it is written");
    let files = Disk(folder.path().into());
    let loaded = read(&["a.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
    assert_eq!(told(&loaded), "error: a.pkr.hcl: `a.pkr.hcl` cannot be read: it is not UTF-8 text\n");
}

#[test]
fn what_declares_nothing_good_is_not_declared() {
    for (text, declared) in [("a = ", false), ("variable {}", false), ("variable \"a\" {}", true), ("", true)]
    {
        let files = Memory([("a.pkr.hcl".to_owned(), text.to_owned())].into());
        let loaded = read(&["a.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
        assert_eq!(loaded.declared, declared, "{text}");
    }
}

#[test]
fn no_files_are_a_template_that_declares_nothing() {
    let loaded = read(&[], &Inputs::default(), &Memory::default(), &Small);
    assert_eq!((told(&loaded), loaded.template.root.as_str(), loaded.declared), (String::new(), ".", true));
}

#[test]
fn blocks_of_dynamic_blocks_have_one_measure() {
    let dynamic = |kind: &str, content: &str| {
        let list = format!("[{}]", "1, ".repeat(500));
        format!("dynamic \"{kind}\" {{\nfor_each = {list}\ncontent {{\n{content}\n}}\n}}\n")
    };
    let inner = dynamic("a", &dynamic("b", &dynamic("c", "")));
    let text = format!("source \"null\" \"x\" {{\n{inner}}}\nbuild {{\n  sources = [\"null.x\"]\n}}\n");
    let files = Memory([("a.pkr.hcl".to_owned(), text)].into());
    let loaded = read(&["a.pkr.hcl".to_owned()], &Inputs::default(), &files, &Small);
    let told = told(&loaded);
    assert!(told.contains("`dynamic` blocks stand for more than 16384 blocks"), "{told}");
    assert!(loaded.diagnostics.0.len() < 10, "{told}");
}
