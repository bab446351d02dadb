//! Rules of users: what implementations see, declare and return, and what is said when they are wrong.

use imgbuild_model::{Class, FrontEnd, Platform};

use crate::workspace::{Workspace, dump};

const RULES: &str = r#"
MyInfo = provider(fields = ["a", "b"])

def _library(ctx):
    return [MyInfo(a = ctx.attrs.value, b = struct(label = ctx.label, of = ctx.platform.arch))]

library = rule(implementation = _library, attrs = {"value": attrs.any()})

def _user(ctx):
    dep = ctx.attrs.dep
    if MyInfo not in dep:
        fail("no info:", dep.label)
    info = dep[MyInfo]
    base = ctx.attrs.image[ImageInfo].layer
    layer = ctx.actions.layer(base, native.step("file", src = ctx.attrs.srcs, dest = "/x/"))
    layer = ctx.actions.layer(layer, env(NAME = ctx.label.name, OF = info.b.of))
    made = ctx.actions.command(layer, ctx.attrs.command, outs = [src.basename + ".out" for src in ctx.attrs.srcs])
    return [DefaultInfo(files = made), MyInfo(a = info.a)]

user = rule(
    implementation = _user,
    attrs = {
        "dep": attrs.label(mandatory = True),
        "image": attrs.label(providers = [ImageInfo]),
        "srcs": attrs.source_list(),
        "command": attrs.step(of = "command", default = None),
    },
)
"#;

#[test]
fn an_implementation_declares_on_what_it_depends_on() {
    let build = r#"
load("//lib/rules.star", "library", "user")
library(name = "l", value = [1, {"k": None}])
image(name = "i", source = scratch(), exports = [])
user(
    name = "u",
    dep = ":l",
    image = ":i",
    srcs = ["a.txt", ":g"],
    command = native.step("genrule", cmd = "make", srcs = ["b.txt"]),
)
filegroup(name = "g", srcs = ["c.txt", "//q:d.txt"])
"#;
    let workspace = Workspace::new(&[("lib/rules.star", RULES), ("p/BUILD.star", build)]);
    let analysis = workspace.analyze("//p:u", "linux/arm64").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        dump(&analysis),
        "0 file on <//p:i#1> src=[<p/a.txt>, <p/c.txt>, <q/d.txt>] dest=\"/x/\" at p/BUILD.star:5:1\n\
         1 genrule on <//p:u#0 NAME=u OF=arm64> cmd=\"make\" srcs=[<p/b.txt>] -> a.txt.out c.txt.out d.txt.out at p/BUILD.star:10:15\n\
         DefaultInfo(files=[<a.txt.out of //p:u#1>, <c.txt.out of //p:u#1>, <d.txt.out of //p:u#1>])\n\
         MyInfo(a=[1, {k: None}], b=None)\n"
    );
}

/// The error of analyzing `x`, an instance of `r` whose implementation is `body`.
fn error(body: &str, attributes: &str, call: &str) -> String {
    let lib = format!(
        "Info = provider(fields = [\"f\"])\ndef _impl(ctx):\n    {body}\nr = rule(implementation = _impl, attrs = {{{attributes}}})\n"
    );
    let build = format!(
        "load(\"//r.star\", \"r\")\nr(name = \"x\", {call})\nfilegroup(name = \"two\", srcs = [\"a\", \"b\"])\nfilegroup(name = \"none\")\n"
    );
    let workspace = Workspace::new(&[("r.star", &lib), ("BUILD.star", &build)]);
    workspace.analyze("//:x", "linux/amd64").unwrap_err().to_string()
}

#[test]
fn what_an_implementation_may_not() {
    for (body, message) in [
        ("fail(\"it is\", ctx.label)", "r.star:3:5: it is //:x; `//:x` is declared here (BUILD.star:2:1)"),
        (
            "return 3",
            "BUILD.star:2:1: the implementation of `r` returned int, not a list of providers; \
             hint: return a list, for example `[DefaultInfo(files = [...])]`",
        ),
        (
            "return [3]",
            "BUILD.star:2:1: the implementation of `r` returned a list with a value of type int in it; \
             hint: return a list, for example `[DefaultInfo(files = [...])]`",
        ),
        (
            "return [Info(f = 1), Info(f = 2)]",
            "BUILD.star:2:1: the implementation of `r` returned `Info` twice",
        ),
        (
            "return [Info(f = lambda x: x)]",
            "r.star:3:13: `Info.f`: a value of type `function` is not data; `//:x` is declared here (BUILD.star:2:1)",
        ),
        (
            "return [DefaultInfo(files = [\"a\"])]",
            "BUILD.star:2:1: `DefaultInfo.files` is a list of artifacts, not string",
        ),
        (
            "return [DefaultInfo()]",
            "BUILD.star:2:1: `DefaultInfo.files` is a list of artifacts, not None; hint: write `DefaultInfo(files = [])` for none",
        ),
        (
            "print(1)",
            "r.star:3:5: an implementation cannot print; `//:x` is declared here (BUILD.star:2:1); hint: look at a value with `fail(value)`",
        ),
        (
            "glob([\"*\"])",
            "r.star:3:5: `glob` cannot be called in a rule's implementation; `//:x` is declared here (BUILD.star:2:1); \
             hint: call it in a `BUILD.star`",
        ),
        (
            "filegroup(name = \"y\")",
            "r.star:3:5: `filegroup` cannot be called in a rule's implementation; `//:x` is declared here (BUILD.star:2:1); \
             hint: call it in a `BUILD.star`",
        ),
        (
            "file(\"a\", \"/b\")",
            "r.star:3:5: attribute `src` of `file`: an implementation cannot name files by label; \
             `//:x` is declared here (BUILD.star:2:1); \
             hint: give the rule an attribute for it: `attrs.source()`, then use `ctx.attrs.<name>`",
        ),
        (
            "ctx.attrs.sorce",
            "r.star:3:5: object of type `struct` has no attribute `sorce`; `//:x` is declared here (BUILD.star:2:1)",
        ),
        (
            "ctx.actions.layer(ctx.actions.source(scratch()), oci())",
            "r.star:3:5: `oci` is an export, not a step; `//:x` is declared here (BUILD.star:2:1)",
        ),
        (
            "ctx.actions.export(ctx.actions.source(scratch()), shell(\"a\"), name = \"x\")",
            "r.star:3:5: `shell` is a step, not an export; `//:x` is declared here (BUILD.star:2:1)",
        ),
        (
            "ctx.actions.export(ctx.actions.source(scratch()), oci(), name = \"../x\")",
            "r.star:3:5: `../x` is not the name of an output; `//:x` is declared here (BUILD.star:2:1); \
             hint: write a relative path without `..`, for example `bin/tool`",
        ),
        (
            "[ctx.actions.export(ctx.actions.source(scratch()), oci(), name = n) for n in [\"x\", \"x\"]]",
            "r.star:3:6: the output `x` is declared twice; `//:x` is declared here (BUILD.star:2:1)",
        ),
        (
            "ctx.actions.command(None, native.step(\"genrule\", cmd = \"a\"), outs = [])",
            "r.star:3:5: a command without outputs has no use; `//:x` is declared here (BUILD.star:2:1); hint: name them in `outs`",
        ),
        (
            "ctx.actions.join([], name = \"x\")",
            "r.star:3:5: platforms are joined in a rule's `combine`, not in its `implementation`; \
             `//:x` is declared here (BUILD.star:2:1)",
        ),
        (
            "ctx.actions.layer(1, 2)",
            "r.star:3:5: type of parameter `parent` doesn't match, expected `layer`, actual `int (repr: 1)`; \
             `//:x` is declared here (BUILD.star:2:1)",
        ),
    ] {
        assert_eq!(error(body, "", ""), message, "{body}");
    }
}

#[test]
fn what_a_dependency_lacks_is_said_at_the_target() {
    for (attribute, call, message) in [
        (
            "\"a\": attrs.label(providers = [Info])",
            "a = \":two\"",
            "BUILD.star:2:1: attribute `a` of `r`: `//:two` does not provide `Info`; hint: it provides `DefaultInfo`",
        ),
        (
            "\"a\": attrs.label(providers = [ImageInfo])",
            "a = \":file.txt\"",
            "BUILD.star:2:1: attribute `a` of `r`: `//:file.txt` does not provide `ImageInfo`; hint: name an `image` here",
        ),
        (
            "\"a\": attrs.source()",
            "a = \":two\"",
            "BUILD.star:2:1: attribute `a` of `r`: `//:two` gives 2 files where one is wanted; \
             hint: name a target that makes one file, or a file itself",
        ),
        (
            "\"a\": attrs.steps()",
            "a = [\n    shell(script = \":none\")]",
            "BUILD.star:3:5: attribute `script` of `shell`: `//:none` gives no file where one is wanted; \
             hint: name a target that makes one file, or a file itself",
        ),
        (
            "\"a\": attrs.steps()",
            "a = [copy_from(\":two\", \"/x\")]",
            "BUILD.star:2:20: attribute `image` of `copy_from`: `//:two` does not provide `ImageInfo`; hint: name an `image` here",
        ),
    ] {
        assert_eq!(error("return []", attribute, call), message, "{call}");
    }
    assert_eq!(
        error("return [ctx.attrs.a[Info]]", "\"a\": attrs.label()", "a = \":two\""),
        "r.star:3:13: `//:two` does not provide `Info`; `//:x` is declared here (BUILD.star:2:1); hint: it provides `DefaultInfo`"
    );
    assert_eq!(
        error("return [Info(f = ctx.attrs.a)]", "\"a\": attrs.label()", "a = \":two\""),
        "r.star:3:13: `Info.f`: a dependency cannot be kept in a value; `//:x` is declared here (BUILD.star:2:1); \
         hint: keep its `.label`, its `.files` or one of its providers"
    );
    assert_eq!(
        error("return [ctx.attrs.a[1]]", "\"a\": attrs.label()", "a = \":two\""),
        "r.star:3:13: a dependency is indexed by a provider, not by `int`; `//:x` is declared here (BUILD.star:2:1); \
         hint: write `dependency[ImageInfo]`"
    );
}

#[test]
fn platforms_are_known_before_analysis() {
    let workspace = Workspace::new(&[(
        "BUILD.star",
        "image(name = \"m\", source = scratch(), platforms = [\"arm64\", \"amd64\"])\nimage(name = \"s\", source = scratch())\nfilegroup(name = \"g\")\n",
    )]);
    let platforms = |label: &str| {
        let target = workspace.target(label);
        let platforms = workspace.starlark.platforms(&target, &crate::workspace::decide(&target));
        platforms.map(|platforms| platforms.iter().map(Platform::to_string).collect::<Vec<_>>())
    };
    assert_eq!(platforms("//:m"), Some(vec!["linux/arm64".to_owned(), "linux/amd64".to_owned()]));
    assert_eq!(platforms("//:s"), None);
    assert_eq!(platforms("//:g"), None);
}

#[test]
fn a_rule_that_cannot_join_says_so() {
    let workspace = Workspace::new(&[("BUILD.star", "filegroup(name = \"g\")\n")]);
    assert_eq!(
        workspace.combine("//:g", &["linux/amd64", "linux/arm64"]).unwrap_err().to_string(),
        "BUILD.star:1:1: `//:g` is for several platforms, and `filegroup` cannot join them; hint: ask for one platform with `--platform`"
    );
}

#[test]
fn a_rule_whose_file_was_not_loaded_is_loaded_on_demand() {
    let files: &[(&str, &str)] = &[
        (
            "BUILD.star",
            "load(\"//lib/rules.star\", \"library\")\nlibrary(name = \"l\", value = 1)\nfilegroup(name = \"g\")\n",
        ),
        ("lib/rules.star", RULES),
    ];
    let loaded = Workspace::new(files);
    let (library, group) = (loaded.target("//:l"), loaded.target("//:g"));
    let fresh = Workspace::new(files);
    let analyze = |target: &imgbuild_model::Target| {
        fresh.starlark.analyze(&imgbuild_model::AnalysisRequest {
            target,
            configuration: &crate::workspace::configuration("linux/amd64"),
            attributes: crate::workspace::decide(target),
            dependencies: &std::collections::BTreeMap::new(),
            combine: None,
        })
    };
    analyze(&group).unwrap();
    assert_eq!(analyze(&library).unwrap_err().class(), Class::Bug);
    fresh.starlark.load_rule(&library.rule, &fresh.files).unwrap();
    assert_eq!(analyze(&library).unwrap().providers.len(), 2);
}
