//! `load()`: forms, cycles, chains, sharing between threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_model::Read;
use rayon::prelude::*;

use crate::workspace::Workspace;

#[test]
fn each_file_is_loaded_once_whatever_the_number_of_threads() {
    for _ in 0..20 {
        let mut workspace = Workspace::new(&[
            (
                "lib/a.star",
                "load(\":b.star\", \"b\")\nload(\":c.star\", \"c\")\ndef a(name):\n    filegroup(name = name + b + c)\n",
            ),
            ("lib/b.star", "load(\":c.star\", \"c\")\nb = c + \"b\"\n"),
            ("lib/c.star", "c = \"c\"\n"),
        ]);
        for package in 0..64 {
            let file = ["a", "b", "c"][package % 3];
            let text = match file {
                "a" => "load(\"//lib:a.star\", \"a\")\na(\"x\")\n".to_owned(),
                file => {
                    format!("load(\"//lib/{file}.star\", \"{file}\")\nfilegroup(name = \"x\" + {file})\n")
                }
            };
            workspace.files.add(&format!("p{package}/BUILD.star"), text);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
        let names = pool.install(|| {
            (0..64_usize)
                .into_par_iter()
                .map(|package| {
                    let loaded = workspace.load(&format!("p{package}")).unwrap();
                    loaded.package.targets.keys().map(ToString::to_string).collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        });
        for (package, names) in names.iter().enumerate() {
            assert_eq!(*names, [["xcbc", "xcb", "xc"][package % 3]]);
        }
        for file in ["lib/a.star", "lib/b.star", "lib/c.star"] {
            assert_eq!(workspace.files.times_read(file), 1, "{file}");
        }
    }
}

#[test]
fn a_cycle_is_told_as_a_path_and_in_one_way_from_every_side() {
    let expected = "a.star:1:6: files load each other: `//a.star` → `//b.star` → `//c.star` → `//a.star`; \
                    `//b.star` loads the next one here (b.star:1:6); `//c.star` loads the next one here (c.star:1:6)";
    let hint = "; hint: move what they share into a file of its own";
    for _ in 0..50 {
        let workspace = Workspace::new(&[
            ("a.star", "load(\"//b.star\", \"x\")\n"),
            ("b.star", "load(\"//c.star\", \"x\")\n"),
            ("c.star", "load(\"//a.star\", \"x\")\n"),
            ("pa/BUILD.star", "load(\"//a.star\", \"x\")\n"),
            ("pb/BUILD.star", "load(\"//b.star\", \"x\")\n"),
            ("pc/BUILD.star", "load(\"//c.star\", \"x\")\n"),
        ]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let errors = pool.install(|| {
            ["pa", "pb", "pc"]
                .par_iter()
                .map(|package| workspace.load(package).unwrap_err().to_string())
                .collect::<Vec<_>>()
        });
        for (package, error) in ["pa", "pb", "pc"].iter().zip(errors) {
            let file = format!("{package}/BUILD.star");
            assert_eq!(error, format!("{expected}; loaded by `{file}` ({file}:1:6){hint}"));
        }
    }
    let own = Workspace::new(&[
        ("a.star", "load(\":a.star\", \"x\")\n"),
        ("BUILD.star", "load(\"//a.star\", \"x\")\n"),
    ]);
    assert!(own.load_error().starts_with("a.star:1:6: files load each other: `//a.star` → `//a.star`;"));
}

#[test]
fn an_error_in_a_loaded_file_names_the_chain() {
    let workspace = Workspace::new(&[
        ("BUILD.star", "\nload(\"//lib/a.star\", \"a\")\n"),
        ("lib/a.star", "load(\":b.star\", \"b\")\n"),
        ("lib/b.star", "b = 1 + \"x\"\n"),
    ]);
    assert_eq!(
        workspace.load_error(),
        "lib/b.star:1:5: operation `+` not supported for types `int` and `string`; \
         loaded by `lib/a.star` (lib/a.star:1:6); loaded by `BUILD.star` (BUILD.star:2:6)"
    );
}

#[test]
fn what_a_package_read_is_recorded() {
    let workspace = Workspace::new(&[
        (
            "p/BUILD.star",
            "load(\"//lib/a.star\", \"a\")\nfilegroup(name = \"x\", srcs = glob([\"conf/*.txt\"]))\n",
        ),
        ("p/conf/1.txt", ""),
        ("lib/a.star", "load(\":b.star\", \"b\")\na = b\n"),
        ("lib/b.star", "b = 1\n"),
    ]);
    let reads = workspace.load("p").unwrap().reads;
    let shown = reads.iter().map(|read| match read {
        Read::File(path) => format!("file {path}"),
        Read::Names(path) => format!("names {path}"),
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        ["file lib/a.star", "file lib/b.star", "file p/BUILD.star", "names p", "names p/conf"]
    );
}

#[test]
fn what_a_file_prints_is_a_warning_of_each_package_that_loads_it() {
    let workspace = Workspace::new(&[
        ("BUILD.star", "load(\"//a.star\", \"a\")\nprint(\"mine\", 2)\n"),
        ("a.star", "print(\"hello\")\na = 1\n"),
    ]);
    let warnings = workspace.load("").unwrap().warnings.to_string();
    assert_eq!(warnings, "a.star:1:1: hello\nBUILD.star:2:1: mine 2");
}

#[test]
fn rules_come_from_the_file_that_defines_them() {
    let workspace = Workspace::new(&[
        (
            "BUILD.star",
            "load(\"//b.star\", \"other_name\")\nother_name(name = \"x\")\nimage(name = \"i\", source = scratch())\n",
        ),
        ("a.star", "def _impl(ctx):\n    return []\nmine = rule(implementation = _impl)\n"),
        ("b.star", "load(\"//a.star\", \"mine\")\nother_name = mine\n"),
    ]);
    let loaded = workspace.load("").unwrap();
    let rules: BTreeMap<_, _> = loaded
        .package
        .targets
        .iter()
        .map(|(name, target)| (name.to_string(), format!("{}%{}", target.rule.module, target.rule.name)))
        .collect();
    assert_eq!(rules["x"], "//a.star%mine");
    assert_eq!(rules["i"], "@prelude//image.star%image");
    let shared: Vec<Arc<_>> = loaded.package.targets.values().cloned().collect();
    assert_eq!(shared.len(), 2);
}
