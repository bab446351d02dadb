//! `glob()` over folders.

use imgbuild_model::{AttributeValue, Value};

use crate::workspace::{Workspace, build_error};

const FILES: [(&str, &str); 14] = [
    ("p/BUILD.star", ""),
    ("p/a.txt", ""),
    ("p/b.txt", ""),
    ("p/c.md", ""),
    ("p/.hidden.txt", ""),
    ("p/x/1.txt", ""),
    ("p/x/y/2.txt", ""),
    ("p/x/y/z/3.txt", ""),
    ("p/.config/4.txt", ""),
    ("p/sub/BUILD.star", ""),
    ("p/sub/5.txt", ""),
    ("p/x/sub/BUILD.star", ""),
    ("p/x/sub/6.txt", ""),
    ("q/7.txt", ""),
];

fn glob(call: &str) -> Vec<String> {
    let mut workspace = Workspace::new(&FILES);
    workspace.files.add("p/BUILD.star", format!("filegroup(name = \"g\", srcs = {call})\n"));
    let target = workspace.target("//p:g");
    let Some(AttributeValue::Concrete(Value::List(items))) = target.attribute("srcs") else {
        panic!("no list")
    };
    items
        .iter()
        .map(|item| match item {
            Value::Label(label) => label.to_string().strip_prefix("//p:").unwrap().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn patterns_match_component_by_component() {
    for (call, expected) in [
        (r#"glob(["*.txt"])"#, vec!["a.txt", "b.txt"]),
        (r#"glob(["*"])"#, vec!["BUILD.star", "a.txt", "b.txt", "c.md"]),
        (r#"glob(["?.{txt,md}"])"#, vec!["a.txt", "b.txt", "c.md"]),
        (r#"glob(["[!a].txt"])"#, vec!["b.txt"]),
        (r#"glob(["x/*.txt"])"#, vec!["x/1.txt"]),
        (r#"glob(["x/**"])"#, vec!["x/1.txt", "x/y/2.txt", "x/y/z/3.txt"]),
        (r#"glob(["**/*.txt"])"#, vec!["a.txt", "b.txt", "x/1.txt", "x/y/2.txt", "x/y/z/3.txt"]),
        (r#"glob(["x/**/3.txt"])"#, vec!["x/y/z/3.txt"]),
        (r#"glob(["**/y/**/*.txt"])"#, vec!["x/y/2.txt", "x/y/z/3.txt"]),
        (r#"glob(["a.txt", "c.md"])"#, vec!["a.txt", "c.md"]),
        (r#"glob(["c.md", "a.txt", "*.txt"])"#, vec!["a.txt", "b.txt", "c.md"]),
        (r#"glob(["**"], exclude = ["x/**", "*.md", "BUILD.star"])"#, vec!["a.txt", "b.txt"]),
        (r#"glob([".*"])"#, vec![".hidden.txt"]),
        (r#"glob([".hidden.txt", ".config/*"])"#, vec![".config/4.txt", ".hidden.txt"]),
        (r#"glob(["nothing"], allow_empty = True)"#, vec![]),
        (r#"glob([], allow_empty = True)"#, vec![]),
    ] {
        assert_eq!(glob(call), expected, "{call}");
    }
}

#[test]
fn a_package_below_is_another_package() {
    for call in [
        r#"glob(["sub/*"], allow_empty = True)"#,
        r#"glob(["sub/**"], allow_empty = True)"#,
        r#"glob(["x/sub/6.txt"], allow_empty = True)"#,
    ] {
        assert_eq!(glob(call), Vec::<String>::new(), "{call}");
    }
}

#[test]
fn folders_are_read_once_and_only_where_a_match_can_be() {
    let mut workspace = Workspace::new(&FILES);
    workspace.files.add(
        "p/BUILD.star",
        "filegroup(name = \"g\", srcs = glob([\"*.txt\"]) + glob([\"*.md\"]) + glob([\"x/*.txt\"]))\n"
            .to_owned(),
    );
    workspace.load("p").unwrap();
    assert_eq!(workspace.files.lists.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn what_is_no_pattern_is_refused() {
    for (call, message) in [
        (
            r#"glob(["*.txt"])"#,
            "BUILD.star:1:1: no file of `//` matches `*.txt`; hint: mend the pattern, or say `allow_empty = True`",
        ),
        (
            r#"glob(["/etc/*"])"#,
            "BUILD.star:1:1: `/etc/*` is no pattern: it begins with `/`; hint: patterns are relative to the package's folder",
        ),
        (
            r#"glob(["../*"])"#,
            "BUILD.star:1:1: `../*` is no pattern: `.` and `..` are not allowed in it; \
             hint: a glob sees the files of its own package",
        ),
        (
            r#"glob(["a**"])"#,
            "BUILD.star:1:1: `a**` is no pattern: `**` must stand between slashes; hint: write `**/*.txt`",
        ),
        (r#"glob(["a//b"])"#, "BUILD.star:1:1: `a//b` is no pattern: it has an empty component"),
        (r#"glob(["[a"])"#, "BUILD.star:1:1: `[a` is no pattern: unclosed character class; missing ']'"),
    ] {
        assert_eq!(build_error(call), message);
    }
}

#[test]
fn a_glob_belongs_to_a_package() {
    let workspace =
        Workspace::new(&[("BUILD.star", "load(\"//a.star\", \"x\")\n"), ("a.star", "x = glob([\"*\"])\n")]);
    assert_eq!(
        workspace.load_error(),
        "a.star:1:5: `glob` cannot be called while `//a.star` is loaded; loaded by `BUILD.star` (BUILD.star:1:6); \
         hint: call it in a `BUILD.star`, or in a function that a `BUILD.star` calls; `glob` belongs to a package"
    );
}
